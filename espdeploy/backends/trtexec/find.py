"""Where the tool is, and who it says it is.

Its first line is a banner, ``&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # …``, printed before the help and before
any library of the driver is needed (samples/trtexec/trtexec.cpp; TensorRT 7 and older leave the bracket out).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from espdeploy.backends.trtexec.tool import (
    OLDEST,
    TENSORRT_RTX,
    TRTEXEC,
    Tool,
    Version,
    dotted,
    version_of_code,
)
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError
from espdeploy.shell import Completed, run

_HELP_TIMEOUT_S = 60  # a Jetson reads TensorRT's libraries, hundreds of MB, from its card first
#: TensorRT shows its release from 7 on; TensorRT-RTX counts from 1
_OLDEST_IN_BANNER = 7
_BANNER = re.compile(r"&&&& RUNNING \S+(?: \[[^\]\n]*?v(?P<code>\d{4,7})\])?")
_OPTION = re.compile(r"(?:^|,)\s*(--[A-Za-z]\w*)", re.MULTILINE)
_NUMBERED = re.compile(r"-(\d+(?:\.\d+)+)")

#: where each tool lies when PATH does not hold it: JetPack and Debian packages, NGC containers, unpacked archives
_FOLDERS = {
    TRTEXEC: ("usr/src/tensorrt/bin", "opt/tensorrt/bin", "usr/local/tensorrt/bin"),
    TENSORRT_RTX: ("opt/tensorrt-rtx/bin", "usr/local/tensorrt-rtx/bin"),
}
_ARCHIVES = {TRTEXEC: "TensorRT-[0-9]*/bin", TENSORRT_RTX: "TensorRT-RTX-[0-9]*/bin"}
_ARCHIVES_IN = ("opt", "usr/local")
_HOMES = {
    TRTEXEC: ("TENSORRT_HOME", "TENSORRT_ROOT", "TRT_ROOT"),
    TENSORRT_RTX: ("TENSORRT_RTX_HOME", "TENSORRT_RTX_ROOT"),
}
_HOW_TO_GET = {
    TRTEXEC: (
        "install JetPack's TensorRT (sudo apt install libnvinfer-bin) or NVIDIA's archive, and put its bin on PATH; "
        "`pip install tensorrt` brings no trtexec"
    ),
    TENSORRT_RTX: (
        "unpack NVIDIA's archive of TensorRT-RTX and put its bin on PATH; `pip install tensorrt-rtx` brings no tool"
    ),
}


def find(
    kind: str = TRTEXEC,
    path: Path | None = None,
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
) -> Tool:
    """The tool, and its release as it says it itself.

    Args:
        kind: ``trtexec`` or ``tensorrt_rtx``.
        path: the program, or the folder with it; None looks on PATH, below ``TENSORRT_HOME`` and in the usual places.
        root: the folder that stands for ``/``.
        environ: the environment variables.

    Raises:
        UsageError: ``kind`` is neither.
        MissingCapability: it is nowhere, or what is there is something else, broken, or older than 8.2.
    """
    if kind not in _FOLDERS:
        raise UsageError(f'"{kind}" is no tool of TensorRT', do=f"choose {TRTEXEC} or {TENSORRT_RTX}")
    if path is not None:
        return _asked(kind, path / kind if path.is_dir() else path)
    refused: list[EspdeployError] = []
    looked_in = list(_folders(kind, root, environ))
    for folder in looked_in:
        program = folder / kind
        if program.is_file() and os.access(program, os.X_OK):
            try:
                return _asked(kind, program)
            except MissingCapability as error:
                refused.append(error)
    if refused:
        raise refused[0]
    raise MissingCapability(
        f"{kind} is not on this machine",
        why="looked in " + ", ".join(str(folder) for folder in looked_in),
        do=_HOW_TO_GET[kind],
    )


def program_path(
    kind: str = TRTEXEC, *, root: Path = Path("/"), environ: Mapping[str, str] = os.environ
) -> Path | None:
    """Where :func:`find` looks first, the tool not asked who it is; None where there is none."""
    programs = (folder / kind for folder in _folders(kind, root, environ))
    return next((program for program in programs if program.is_file() and os.access(program, os.X_OK)), None)


def _folders(kind: str, root: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where to look, best first, each folder once."""
    found: dict[Path, None] = {}
    on_path = shutil.which(kind, path=environ.get("PATH", ""))
    if on_path is not None:
        found[Path(on_path).absolute().parent] = None
    for name in _HOMES[kind]:
        if environ.get(name):
            found[Path(environ[name]) / "bin"] = None
    for folder in _FOLDERS[kind]:
        found[root / folder] = None
    for folder in _ARCHIVES_IN:
        for archive in sorted((root / folder).glob(_ARCHIVES[kind]), key=_release_in_name, reverse=True):
            found[archive] = None
    yield from found


def _release_in_name(folder: Path) -> Version:
    """Of ``TensorRT-10.3.0.26/bin``, so that 10.3 comes before 8.6."""
    match = _NUMBERED.search(folder.parent.name)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _asked(kind: str, program: Path) -> Tool:
    done = _help_of(program)
    text = f"{done.stdout}\n{done.stderr}"
    if "error while loading shared libraries" in text:
        raise MissingCapability(
            f"{program} cannot start: a library of TensorRT is missing",
            why=next(line for line in text.splitlines() if "shared libraries" in line).strip(),
            do="add TensorRT's lib folder to LD_LIBRARY_PATH",
        )
    banner = _BANNER.search(text)
    if banner is None or "--loadEngine" not in text:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "nothing")
        raise MissingCapability(
            f"{program} is not NVIDIA's {kind}",
            why=f"asked for its --help it says: {first[:100]}",
            do=f"name the right program, or take this one off PATH; {_HOW_TO_GET[kind]}",
        )
    version = version_of_code(int(banner["code"])) if banner["code"] else ()
    _check_version(kind, program, version)
    return Tool(path=program, kind=kind, version=version, options=frozenset(_OPTION.findall(text)))


def _help_of(program: Path) -> Completed:
    try:
        return run([str(program), "--help"], timeout_s=_HELP_TIMEOUT_S, check=False)
    except ToolFailed as error:
        raise MissingCapability(
            f"{program} does not answer to --help within {_HELP_TIMEOUT_S} s",
            do="start it by hand to see why; a GPU that hangs needs a restart",
        ) from error


def _check_version(kind: str, program: Path, version: Version) -> None:
    """Refuse the other tool under this name, and releases that espdeploy does not speak to."""
    is_rtx = bool(version) and version[0] < _OLDEST_IN_BANNER
    if kind == TENSORRT_RTX and version and not is_rtx:
        raise MissingCapability(f"{program} is of TensorRT {dotted(version)}, not {kind}", do=_HOW_TO_GET[kind])
    if kind == TRTEXEC and is_rtx:
        raise MissingCapability(f"{program} is of TensorRT-RTX {dotted(version)}, not {kind}", do=_HOW_TO_GET[kind])
    if kind == TRTEXEC and version < OLDEST:
        release = dotted(version) if version else "7 or older"
        raise MissingCapability(
            f"{program} is of TensorRT {release}, and espdeploy needs {dotted(OLDEST)} or newer",
            do="upgrade the board to JetPack 4.6.1 or newer, or install a newer TensorRT",
        )
