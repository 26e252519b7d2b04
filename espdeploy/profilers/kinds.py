"""Which tool wrote a text, told by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from espdeploy.profilers.ncu import document as ncu
from espdeploy.profilers.nsys import document as nsys
from espdeploy.profilers.nvidia_smi import document as nvidia_smi
from espdeploy.profilers.nvprof import document as nvprof
from espdeploy.profilers.tegrastats import document as tegrastats
from espdeploy.profilers.trtexec import document as trtexec

#: in the order in which they are asked. Profilers come first: their output holds that of the program that they ran
RECOGNISERS: dict[str, Callable[[str], str | None]] = {
    nsys.KIND: nsys.recognise,
    ncu.KIND: ncu.recognise,
    nvprof.KIND: nvprof.recognise,
    trtexec.KIND: trtexec.recognise,
    tegrastats.KIND: tegrastats.recognise,
    nvidia_smi.KIND: nvidia_smi.recognise,
}
KINDS = tuple(RECOGNISERS)
#: those whose files are read into a ``Profile``, and may be joined
PROFILERS = (nsys.KIND, ncu.KIND, nvprof.KIND)
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
#: what a tool says without a table or page
_SAID = frozenset({"messages", "failure"})
#: the rank of those
MESSAGES = 2


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """The tool, and which of its outputs a text is, such as ``summary-csv``."""

    kind: str
    variant: str

    @property
    def rank(self) -> int:
        """What counts first: 0 for a profiler's figures, 1 for another tool's, then mere messages."""
        if self.variant in _SAID:
            return MESSAGES
        return 0 if self.kind in PROFILERS else 1


def recognised(text: str) -> tuple[Recognised, ...]:
    """The tools whose output a text holds, the one that counts first."""
    found = []
    for kind, recognise in RECOGNISERS.items():
        variant = recognise(text)
        if variant is not None:
            found.append(Recognised(kind=kind, variant=variant))
    return tuple(sorted(found, key=lambda one: one.rank))
