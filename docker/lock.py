"""Writes the requirement files of the boards: exact versions, the wheel that is meant, and its SHA-256.

``python docker/lock.py`` asks the package index again; ``--check`` only fetches what the files already name, so that it
fails when a wheel has gone, has changed, or does not fit the board. Versions follow constraints.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: the tags of wheels that a machine takes with this glibc, newest first (PEP 600; 2014 is the old name of 2_17)
MANYLINUX_MINORS = (35, 34, 31, 28, 27, 26, 24, 17)


@dataclass(frozen=True, kw_only=True)
class Board:
    """One requirement file: for whom it is, and what goes in."""

    file: str
    title: str
    python: str
    glibc_minor: int
    core: bool = True
    extra: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()  # versions that differ from constraints.txt, with the reason in ``notes``
    source_only: tuple[str, ...] = ()  # what the index has as source alone
    notes: tuple[str, ...] = ()


BOARDS = (
    Board(
        file="requirements-cp311.txt",
        title="JetPack 4.6 and 5, and every board with a standalone Python 3.11: aarch64, glibc 2.27 or newer",
        python="3.11",
        glibc_minor=27,
    ),
    Board(
        file="requirements-cp310.txt",
        title="JetPack 6, with the system's Python 3.10, whose TensorRT package is used: aarch64, glibc 2.35",
        python="3.10",
        glibc_minor=35,
        extra=("cuda-python<13",),
        instead=("numpy==1.26.4",),
        notes=(
            "numpy 1: setups of such boards report that the TensorRT 10.3 bindings of JetPack 6 want it.",
            "cuda-python 12: JetPack 6 has CUDA 12.",
        ),
    ),
    Board(
        file="requirements-build.txt",
        title="what builds espdeploy's own wheel; not kept in the image",
        python="3.10",
        glibc_minor=17,
        core=False,
        extra=("hatchling>=1.26", 'tomli; python_version < "3.11"'),
    ),
    Board(
        file="requirements-jtop4.txt",
        title="the client of a jtop service 4.3, the last one for the Python 3.6 of JetPack 4",
        python="3.11",
        glibc_minor=27,
        core=False,
        extra=("smbus2", "distro", "setuptools"),
        source_only=("jetson-stats==4.3.2",),
        notes=("jetson-stats 4.3.2 is there as source alone; it is plain Python, and setuptools builds it.",),
    ),
    Board(
        file="requirements-jtop7.txt",
        title="the client of a jtop service 7.2, for JetPack 5 and newer",
        python="3.10",
        glibc_minor=27,
        core=False,
        extra=("jetson-stats==7.2.2",),
    ),
)


def core_requirements() -> list[str]:
    """What pyproject.toml asks for."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def platform_options(board: Board) -> list[str]:
    """pip's words for a machine that is not this one."""
    abi = f"cp{board.python.replace('.', '')}"
    options = ["--only-binary=:all:", "--python-version", board.python, "--implementation", "cp"]
    options += [word for tag in (abi, "abi3", "none") for word in ("--abi", tag)]
    for minor in MANYLINUX_MINORS:
        if minor <= board.glibc_minor:
            options += ["--platform", f"manylinux_2_{minor}_aarch64"]
    return [*options, "--platform", "manylinux2014_aarch64"]


def pip_download(arguments: list[str], folder: Path) -> None:
    """Run ``pip download`` into ``folder``; its own message says what failed."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *arguments]
    subprocess.run(argv, check=True)


def for_board(lines: Iterable[str], board: Board) -> list[str]:
    """The requirements among ``lines`` that hold on ``board``, without their markers.

    pip weighs markers by the Python that runs it, not by the one it is asked to fetch for.
    """
    there = {"python_version": board.python, "platform_machine": "aarch64", "sys_platform": "linux"}
    wanted = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    return [f"{one.name}{one.specifier}" for one in wanted if one.marker is None or one.marker.evaluate(dict(there))]


def constraints(board: Board, folder: Path) -> Path:
    """constraints.txt, with what this board has to have instead."""
    others = {one.partition("==")[0] for one in board.instead}
    lines = for_board((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(), board)
    kept = [line for line in lines if line.partition("==")[0].lower() not in others]
    path = folder / "constraints.txt"
    path.write_text("\n".join([*kept, *board.instead]) + "\n", encoding="utf-8")
    return path


def resolved(board: Board, folder: Path) -> list[Path]:
    """The files that pip takes for ``board``, by name."""
    wheels = folder / "wheels"
    asked = [*(core_requirements() if board.core else ()), *board.extra]
    limits = ["--constraint", str(constraints(board, folder))]
    pip_download([*platform_options(board), *limits, *for_board(asked, board)], wheels)
    for source in board.source_only:
        pip_download(["--no-deps", "--no-build-isolation", "--no-binary=:all:", source], wheels)
    return sorted(wheels.iterdir(), key=lambda path: path.name.lower())


def pinned(path: Path) -> str:
    """One requirement: the file that is meant, its version and its SHA-256."""
    stem = path.name.removesuffix(".tar.gz")
    name, version = stem.split("-")[:2] if path.suffix == ".whl" else stem.rsplit("-", 1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"# {path.name}\n{name.replace('_', '-').lower()}=={version} --hash=sha256:{digest}"


def text_of(board: Board, files: list[Path]) -> str:
    """The whole requirement file."""
    head = [board.title, *board.notes, "Written by docker/lock.py; docker/install.sh installs it."]
    return "\n".join([*(f"# {line}" for line in head), "", *map(pinned, files)]) + "\n"


def write(board: Board) -> None:
    """Resolve ``board`` and write its file."""
    with tempfile.TemporaryDirectory() as scratch:
        text = text_of(board, resolved(board, Path(scratch)))
    (HERE / board.file).write_text(text, encoding="utf-8")
    say(f"{board.file}: {text.count('--hash=')} pinned")


def fetch(board: Board, folder: Path) -> list[Path]:
    """Fetch what the file names, by version and SHA-256, as the board's pip would."""
    lines = (HERE / board.file).read_text(encoding="utf-8").splitlines()
    sources = tuple(f"{one.partition('==')[0]}==" for one in board.source_only)
    wheels = [line for line in lines if line[:1] not in ("", "#") and not line.startswith(sources or ("#",))]
    got = folder / board.file
    listed = folder / "listed.txt"
    listed.write_text("\n".join(wheels) + "\n", encoding="utf-8")
    pip_download(["--require-hashes", "--no-deps", *platform_options(board), "-r", str(listed)], got)
    if sources:
        listed.write_text("\n".join(line for line in lines if line.startswith(sources)) + "\n", encoding="utf-8")
        pip_download(["--require-hashes", "--no-deps", "--no-build-isolation", "-r", str(listed)], got)
    listed.unlink()
    return sorted(got.iterdir())


def newest_glibc(wheel: Path) -> int:
    """The newest ``GLIBC_2.<minor>`` that a library in ``wheel`` asks for, whatever its tags promise."""
    with zipfile.ZipFile(wheel) as archive:
        libraries = [archive.read(name) for name in archive.namelist() if ".so" in Path(name).name]
    return max((int(one) for library in libraries for one in re.findall(rb"GLIBC_2\.(\d+)", library)), default=0)


def check(board: Board, keep: Path | None = None) -> None:
    """Fetch what is pinned and look into it; ``keep`` takes the files.

    Raises:
        ValueError: a library asks for a newer glibc than the board has.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = fetch(board, Path(scratch))
        needed = {path.name: newest_glibc(path) for path in files if path.suffix == ".whl"}
        for name, minor in needed.items():
            if minor > board.glibc_minor:
                raise ValueError(f"{name} asks for glibc 2.{minor}; the board has 2.{board.glibc_minor}")
        if keep is not None:
            for path in files:
                shutil.copy(path, keep)
    newest = max(needed.values())
    libraries = f"their libraries ask for glibc 2.{newest} at most" if newest else "plain Python"
    say(f"{board.file}: {len(files)} files as pinned; {libraries}")


def say(line: str) -> None:
    """One line for whoever runs this."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fetch what is pinned and look into it; write nothing")
    parser.add_argument("--fetch", type=Path, metavar="DIR", help="check, and keep the files in DIR")
    options = parser.parse_args()
    if options.fetch:
        options.fetch.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        try:
            check(board, options.fetch) if options.check or options.fetch else write(board)
        except subprocess.CalledProcessError:
            sys.stderr.write(f"error: {board.file} does not resolve for its board; pip's message stands above\n")
            return 1
        except ValueError as error:
            sys.stderr.write(f"error: {board.file}: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
