"""``espdeploy`` and ``python -m espdeploy``."""

import sys


def main() -> int:
    """Run one command; Ctrl-C while the program still loads ends it as quietly as Ctrl-C later."""
    try:
        from espdeploy.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped before anything was begun\n")
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
