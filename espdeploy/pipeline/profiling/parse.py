"""``espdeploy parse``: what tools wrote, read into one document."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import IO

from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.pipeline.profiling.opening import STDIN, Found, Opened, opened
from espdeploy.pipeline.profiling.trtexec_advice import with_advice
from espdeploy.profilers import document as joined
from espdeploy.profilers.document import Part
from espdeploy.profilers.kinds import KINDS, PROFILERS, Recognised
from espdeploy.profilers.metrics import COUNTERS
from espdeploy.profilers.ncu import document as ncu
from espdeploy.profilers.nsys import document as nsys
from espdeploy.profilers.nvidia_smi import document as nvidia_smi
from espdeploy.profilers.nvprof import document as nvprof
from espdeploy.profilers.tegrastats import document as tegrastats
from espdeploy.profilers.trtexec import document as trtexec
from espdeploy.profilers.trtexec.joining import join
from espdeploy.profilers.values import Profile

_PROFILES: dict[str, Callable[[IO[str]], Profile | None]] = {
    nsys.KIND: nsys.parse,
    ncu.KIND: lambda text: ncu.parse(text, only=COUNTERS),
    nvprof.KIND: nvprof.parse,
}
_DOCUMENTS: dict[str, Callable[[IO[str]], dict[str, object] | None]] = {
    trtexec.KIND: trtexec.parse,
    tegrastats.KIND: tegrastats.parse,
    nvidia_smi.KIND: nvidia_smi.parse,
}


def parse_files(paths: Sequence[str], kind: str | None = None) -> dict[str, object]:
    """What the files of one run tell, with the keys of ``parse``.

    Outputs of profilers are joined on kernels' names, and trtexec's log on its layers with what it exported.

    Args:
        paths: files, or ``-`` for standard input.
        kind: one of ``KINDS``, where it is not to be told by the content.

    Raises:
        UsageError: no such kind, or files that do not belong together.
        InputFileError: a file that cannot be read, or of no kind that is known.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind {kind}: no such kind", do=nearest(kind, KINDS))
    found = [(name, *_read(name, kind)) for name in _once(paths)]
    parts = [Part(file=name, variant=what.variant, profile=it) for name, what, it in found if isinstance(it, Profile)]
    documents = [it for _, _, it in found if isinstance(it, dict)]
    kinds = {what.kind for _, what, _ in found}
    if parts and not documents:
        return joined.document(parts)
    if len(documents) == 1 and not parts:
        return documents[0]
    if kinds == {trtexec.KIND}:
        return join(documents)
    told = ", ".join(f"{name} is of {what.kind}" for name, what, _ in found[:4])
    raise UsageError(
        f"these files do not make one document: {told}",
        why=f"outputs of {', '.join(PROFILERS)} are joined, and what trtexec wrote in one run; nothing else is",
        do=f"read them one by one: espdeploy parse {found[0][0]}",
    )


def _once(paths: Sequence[str]) -> list[str]:
    """Each file once, whatever it is called."""
    return list({os.path.realpath(name) if name != STDIN else name: name for name in reversed(paths)}.values())[::-1]


def _read(name: str, kind: str | None) -> tuple[Recognised, Profile | dict[str, object]]:
    with opened(name) as file:
        if file.is_sqlite and kind in (None, nsys.KIND):
            return Recognised(kind=nsys.KIND, variant="sqlite"), nsys.parse_sqlite(file.path)
        found = file.found(kind)
        if found is not None:
            read = _parsed(file, found)
            if read is not None:
                return found.what, _with_note(read, found.beside)
        raise _unknown(file.name, kind)


def _parsed(file: Opened, found: Found) -> Profile | dict[str, object] | None:
    kind = found.what.kind
    # nsys and the tools without a profile tell by the first lines whether a text is theirs; the others pass over lines
    start = found.start if kind not in (nvprof.KIND, ncu.KIND) else 0
    with file.text(start) as text:
        if kind in _PROFILES:
            return _PROFILES[kind](text)
        document = _DOCUMENTS[kind](text)
    return with_advice(document, file.end) if document and kind == trtexec.KIND else document


def _with_note(read: Profile | dict[str, object], beside: tuple[str, ...]) -> Profile | dict[str, object]:
    """With a word on other tools whose output stands in the same file."""
    new = [f"the file holds output of {kind} too: --kind {kind} reads that" for kind in beside]
    if isinstance(read, Profile):
        return replace(read, notes=(*read.notes, *new))
    notes = read.get("notes")
    return {**read, "notes": [*(notes if isinstance(notes, list) else []), *new]}


def _unknown(name: str, kind: str | None) -> InputFileError:
    if kind is not None:
        return InputFileError(
            f"{name} holds nothing that {kind} wrote",
            do="leave --kind out: the content tells it",
        )
    return InputFileError(
        f"{name} is of no known kind",
        why="its content is none of what these tools write: " + ", ".join(KINDS),
        do="give what one of them wrote, with its header; --kind K says which it is",
    )
