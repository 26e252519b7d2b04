"""A network as figures of profilers are laid on it: its operators in order, where each stands, what it has to move."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

#: operators that a runtime computes together with the one before them, if nobody else reads what that one writes
_FOLLOWING = re.compile(
    r"Relu|PRelu|LeakyRelu|Elu|Selu|Celu|Clip|Sigmoid|HardSigmoid|HardSwish|Tanh|Softplus|Mish|Gelu|"
    r"Erf|Exp|Sqrt|Pow|Neg|BatchNormalization|Add|Sub|Mul|Div|Cast|QuantizeLinear|DequantizeLinear"
)
#: operators that need move nothing: the next one can read in place, or the ones before write to the right place
_VIEWS = re.compile(
    r"Concat|Reshape|Flatten|Squeeze|Unsqueeze|Identity|Dropout|Split|Slice|Shape|Constant|"
    r"ConstantOfShape"
)
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator of the ONNX graph.

    ``module`` is the path of the module that it came from (``stage3.0.reduce``), empty for the network itself;
    ``inputs`` are the tensors that it reads, without constants, whose ``weight_elements`` are counted; ``macs`` are
    multiply-adds for the whole batch, None where shapes are unknown.
    """

    name: str
    op: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int | None
    weight_elements: int = 0


@dataclass(frozen=True, kw_only=True)
class Network:
    """The operators in the order in which they run; ``elements`` of each tensor whose shape is known, for ``batch``."""

    nodes: tuple[Node, ...]
    elements: Mapping[str, int]
    outputs: frozenset[str]
    constants: frozenset[str] = frozenset()
    batch: int = 1

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Operators by their names."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Where in the order each operator stands."""
        return {node.name: index for index, node in enumerate(self.nodes)}

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """Who writes each tensor."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """The operators that read each tensor."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found.setdefault(tensor, []).append(node.name)
        return {tensor: tuple(names) for tensor, names in found.items()}

    @property
    def macs(self) -> int | None:
        """Multiply-adds of the whole network; None where those of an operator are unknown."""
        known = [node.macs for node in self.nodes if node.macs is not None]
        return sum(known) if len(known) == len(self.nodes) else None

    def traffic_elements(self, names: Collection[str]) -> int | None:
        """Elements that one kernel of these operators reads and writes at least; None where a shape is unknown.

        What passes between them is not counted, and what they read twice counts once.
        """
        inside = set(names)
        nodes = [self.by_name[name] for name in inside]
        if all(_VIEWS.fullmatch(node.op) for node in nodes):
            return 0
        written = [tensor for node in nodes for tensor in node.outputs if self._leaves(tensor, inside)]
        own = {tensor for node in nodes for tensor in node.outputs}
        read = dict.fromkeys(tensor for node in nodes for tensor in node.inputs if tensor not in own)
        sizes = [self.elements.get(tensor) for tensor in (*written, *read)]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            return None
        return sum(known) + sum(node.weight_elements for node in nodes)

    def kernels(self) -> tuple[tuple[str, ...], ...]:
        """The operators as a runtime would put them together at least: element-wise ones with the one before them."""
        group_of: dict[str, int] = {}
        groups: list[list[str]] = []
        for node in self.nodes:
            before = self._joins(node)
            if before is None:
                group_of[node.name] = len(groups)
                groups.append([node.name])
            else:
                group_of[node.name] = group_of[before]
                groups[group_of[before]].append(node.name)
        return tuple(tuple(group) for group in groups)

    def between(self, first: str, last: str) -> set[str]:
        """The operators from ``first`` to ``last``: what ``last`` needs, or ``first`` leads to, in that stretch."""
        begin, end = sorted((self.position[first], self.position[last]))
        stretch = self.nodes[begin : end + 1]
        names = {node.name for node in stretch}
        needed = self._reached(reversed(stretch), last, forward=False)
        return (needed | self._reached(stretch, first, forward=True)) & names

    def _reached(self, stretch: Iterable[Node], start: str, *, forward: bool) -> set[str]:
        found = {start}
        own = self.by_name[start]
        tensors = set(own.outputs if forward else own.inputs)
        for node in stretch:
            towards, further = (node.inputs, node.outputs) if forward else (node.outputs, node.inputs)
            if tensors.intersection(towards):
                found.add(node.name)
                tensors.update(further)
        return found

    def _leaves(self, tensor: str, inside: set[str]) -> bool:
        return tensor in self.outputs or any(name not in inside for name in self.readers.get(tensor, ()))

    def _joins(self, node: Node) -> str | None:
        """The operator that ``node`` is computed together with: the last before it whose answer it alone reads."""
        if not _FOLLOWING.fullmatch(node.op):
            return None
        candidates = [
            self.producer[tensor].name
            for tensor in node.inputs
            if tensor in self.producer
            and not _VIEWS.fullmatch(self.producer[tensor].op)
            and len(self.readers[tensor]) == 1
            and tensor not in self.outputs
        ]
        return max(candidates, key=lambda name: self.position[name], default=None)


def is_quantizing(node: Node) -> bool:
    """Whether it only changes between precisions."""
    return node.op in QUANTIZING


def modules_above(path: str) -> tuple[str, ...]:
    """``a.b.0`` as ``a``, ``a.b``, ``a.b.0``; nothing for the network itself."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[: count + 1]) for count in range(len(parts)))


def blocks(paths: Iterable[str]) -> tuple[str, ...]:
    """The modules that hold others, and those right below the network, in the order in which they appear."""
    above = [modules_above(path) for path in paths]
    inner = Counter(prefix for prefixes in (set(item) for item in above) for prefix in prefixes)
    holds = {prefixes[-2] for prefixes in above if len(prefixes) > 1}
    for prefixes in above:
        holds.update(prefixes[:-1])
    ordered = dict.fromkeys(prefix for prefixes in above for prefix in prefixes)
    return tuple(path for path in ordered if inner[path] and (path in holds or "." not in path))
