"""How fast the command line answers: `--help` and `devices`, median of ten, limit 0.3 s."""

from __future__ import annotations

from common import ESPDEPLOY, spread, timed_s, write

RUNS = 10
LIMIT_S = 0.3


def main() -> None:
    figures: dict[str, object] = {"limit_s": LIMIT_S}
    python_s = [timed_s([ESPDEPLOY[0], "-c", "pass"]) for _ in range(RUNS)]
    figures["bare_python_s"] = spread(python_s)
    for name in ("--help", "devices"):
        timed_s([*ESPDEPLOY, name])  # the byte code is compiled once
        figures[f"espdeploy_{name.strip('-')}_s"] = spread([timed_s([*ESPDEPLOY, name]) for _ in range(RUNS)])
    write("startup", figures)


if __name__ == "__main__":
    main()
