"""Failures to load an engine: of another GPU, of another release, damaged, absent."""

from __future__ import annotations

import re

from espdeploy.backends.trtexec.case import Case, Diagnosis
from espdeploy.errors import InputFileError

_BUILD_HERE = "build it again on this device"
_OTHER_RELEASE = re.compile(
    r"Version tag does not match|not compatible with this version of TensorRT|incompatible serialization version"
    r"|has been created with TensorRT-RTX version|old deserialization call on a newer plan file"
)
_DAMAGED = re.compile(
    r"Current Version: 0,|[Mm]agic ?[Tt]ag\w* (?:==|does not match)|size == blobSize|cursor (?:<|==) blobSize"
)
_NAMES_RELEASES = re.compile(r"Current Version: [1-9]|library version|TensorRT-RTX version")


def other_gpu(case: Case) -> Diagnosis | None:
    """An engine for another compute capability; TensorRT says first what this GPU has, then what the engine is of."""
    match = re.search(r"incompatible device, expecting compute ([\d.]*\d) got compute ([\d.]*\d)", case.text)
    if match is not None:
        why = f"it was built for compute capability {match[2]}, and this GPU has {match[1]}"
    elif "The engine cannot run on this GPU" in case.text:
        here = re.search(r"has compute capability ([\d.]*\d)", case.text)
        why = f"this GPU has compute capability {here[1]}, and the engine is for others" if here else ""
    else:
        return None
    error = InputFileError(f"{case.engine} was built for another GPU", why=why, do=_BUILD_HERE)
    return Diagnosis(code="other-gpu", error=error)


def other_release(case: Case) -> Diagnosis | None:
    """An engine of another release, or a file that is no whole engine; from the text alone one cannot always tell."""
    damaged = _DAMAGED.search(case.text) is not None and not _NAMES_RELEASES.search(case.text)
    if damaged:
        error = InputFileError(
            f"{case.engine} is no whole engine of this TensorRT",
            why="it is cut off, of another release, or begins with something else (some tools put a JSON before it)",
            do=_BUILD_HERE,
        )
        return Diagnosis(code="damaged-engine", error=error)
    if not _OTHER_RELEASE.search(case.text):
        return None
    error = InputFileError(
        f"{case.engine} was built by another release than {case.who}",
        why=_releases(case.text),
        do=f"{_BUILD_HERE}; where two TensorRT are installed, check PATH and LD_LIBRARY_PATH",
    )
    return Diagnosis(code="other-release", error=error)


def no_engine(case: Case) -> Diagnosis | None:
    """A file that cannot be opened."""
    if not re.search(r"Error (?:opening|loading) engine file", case.text):
        return None
    error = InputFileError(f"{case.who} cannot open {case.engine}", do="check that it is there and may be read")
    return Diagnosis(code="no-engine", error=error)


def _releases(text: str) -> str:
    library = re.search(r"expecting library version ([\d.]*\d) got ([\d.]*\d)", text)
    if library is not None:
        return f"this is TensorRT {library[1]}, the engine is of {library[2]}"
    made = re.search(
        r"created with TensorRT-RTX version ([\d.]*\d), but the current runtime is TensorRT-RTX version ([\d.]*\d)",
        text,
    )
    if made is not None:
        return f"this is TensorRT-RTX {made[2]}, the engine is of {made[1]}"
    tags = re.search(r"Current Version: (\d+), Serialized Engine Version: (\d+)", text)
    return f"the engine's format is {tags[2]}, this release reads {tags[1]}" if tags else ""
