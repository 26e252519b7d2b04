"""From the times of a runtime's kernels to times of the ONNX nodes that they compute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy import lazy

#: operators that decide how long a kernel takes; what is fused into theirs costs next to nothing
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: what runtimes add to the name of a node or tensor when they rewrite the graph
_ADDED = re.compile(r"(?:/WithoutBiases|_original|_nchwc|_token_\d+|/duplicated)+$")
_ADDED_BEFORE = "fused "
_STEPS = 4  # from a kernel of the runtime's own to one of the graph's: reorder, cast, transpose


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One thing that a runtime executes: the names of what it was made of, and the kernels whose results it reads.

    ``prepares`` marks one that brings its input into the form that its reader wants, such as a change of layout;
    ``heavy`` one that is a convolution or matrix product, whatever it is named after.
    """

    name: str
    made_of: tuple[str, ...]
    reads: tuple[str, ...]
    time_ms: float
    prepares: bool = False
    heavy: bool = False


class NodeNames:
    """The nodes of an ONNX file, by their own names and by those of what they write."""

    def __init__(self, path: Path) -> None:
        onnx = lazy.require("onnx", extra="export")
        self._nodes: dict[str, str] = {}
        self._reads: dict[str, str] = {}
        self.heavy: set[str] = set()
        for node in onnx.load(str(path), load_external_data=False).graph.node:
            name = str(node.name or node.output[0])
            for alias in (name, *node.output):
                self._nodes.setdefault(alias, name)
            if node.input:
                self._reads[name] = node.input[0]
            if node.op_type in HEAVY:
                self.heavy.add(name)

    def of(self, names: Iterable[str]) -> list[str]:
        """The nodes that a runtime means by these names, each once; what it made up itself is left out."""
        found = (self._nodes.get(name) or self._nodes.get(_plain(name)) for name in names)
        return list(dict.fromkeys(node for node in found if node))

    def heavy_before(self, node: str) -> str | None:
        """The convolution or matrix product whose result this node works on: what a runtime fused it into."""
        for _ in range(_STEPS):
            if node in self.heavy:
                return node
            node = self._nodes.get(self._reads.get(node, ""), "")
        return None


def by_node(kernels: Sequence[Kernel], names: NodeNames) -> dict[str, float]:
    """Milliseconds per ONNX node. Nodes that no kernel names were fused away, or are constant, and have no entry.

    A kernel of several nodes counts for its convolution or matrix product, where it has one, else for all of them in
    equal parts. A kernel that the runtime added, such as a change of layout, counts for the nodes that it serves: those
    of its reader where it prepares an input, else those whose result it takes on.
    """
    nodes = {kernel.name: _made_of(kernel, names) for kernel in kernels}
    before = {kernel.name: kernel.reads for kernel in kernels}
    after: dict[str, list[str]] = {kernel.name: [] for kernel in kernels}
    for kernel in kernels:
        for name in kernel.reads:
            after.setdefault(name, []).append(kernel.name)
    times_ms: dict[str, float] = {}
    for kernel in kernels:
        ways = (after, before) if kernel.prepares else (before, after)
        served = next((found for way in ways if (found := _nearest(kernel.name, nodes, way))), [])
        for node, part_ms in _shared(kernel.time_ms, served, names.heavy):
            times_ms[node] = times_ms.get(node, 0.0) + part_ms
    return times_ms


def _made_of(kernel: Kernel, names: NodeNames) -> list[str]:
    found = names.of(kernel.made_of)
    if not kernel.heavy or not names.heavy.isdisjoint(found):
        return found
    return [name for node in found if (name := names.heavy_before(node))] or found


def _nearest(start: str, nodes: Mapping[str, list[str]], way: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes of the kernel itself, or of the first ones on the way that have any."""
    reached = [start]
    for _ in range(_STEPS):
        found = list(dict.fromkeys(node for name in reached for node in nodes.get(name, ())))
        if found:
            return found
        reached = [name for current in reached for name in way.get(current, ())]
    return []


def _shared(time_ms: float, nodes: Sequence[str], heavy: set[str]) -> Iterator[tuple[str, float]]:
    decisive = [node for node in nodes if node in heavy] or nodes
    return ((node, time_ms / len(decisive)) for node in decisive)


def _plain(name: str) -> str:
    return _ADDED.sub("", name.removeprefix(_ADDED_BEFORE))
