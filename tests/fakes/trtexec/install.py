"""Fake tools for tests: executables that behave as ``trtexec`` or ``tensorrt_rtx`` of a release does.

    program = install(tmp_path, "8.2.1")

``RELEASES`` names those that there are. A test loads this file by its path (tests are no package). Nothing documents
the banner of tensorrt_rtx: here it has trtexec's form, with the number that TensorRT-RTX's library has for its release.
"""

from __future__ import annotations

import sys
from pathlib import Path

RELEASES = ("8.2.1", "8.5.2", "8.6.1", "10.3.0", "11.1.0", "rtx-1.7.1")
_FOLDER = Path(__file__).parent


def install(folder: Path, release: str, name: str = "") -> Path:
    """Write the program of one release into ``folder``, under its own name or another; returns its path."""
    program = folder / (name or ("tensorrt_rtx" if release.startswith("rtx-") else "trtexec"))
    folder.mkdir(parents=True, exist_ok=True)
    program.write_text(
        f"#!{sys.executable} -SE\n"
        f"import sys\nsys.path.insert(0, {str(_FOLDER)!r})\nsys.dont_write_bytecode = True\n"
        f"import fake_releases\nfake_releases.RELEASE = {release!r}\nimport fake_program\nfake_program.main()\n"
    )
    program.chmod(0o755)
    return program
