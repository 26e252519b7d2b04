"""TensorRT's layer profile laid on the network: what each layer stands for, and what each module costs.

The builder fuses operators, and puts in layers that nobody asked for: changes of layout where neighbours want different
ones, copies, and changes of precision. Those are kept apart from the network's own work, and counted to the module that
they are there for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from espdeploy.profilers import layer_names
from espdeploy.profilers.layer_names import COMPUTE, OVERHEAD, QUANTIZE, REFORMAT, LayerName
from espdeploy.profilers.layer_origins import Origin
from espdeploy.profilers.network import Network, Node, blocks, is_quantizing, modules_above
from espdeploy.profilers.trtexec.values import LayerProfile


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer of the engine.

    ``kind`` is ``compute`` or one of ``OVERHEAD``; ``nodes`` are the operators that it stands for, or that an overhead
    is there for; ``words`` the parts of its name. ``elements`` is what it has to read and write at least, and with
    ``macs`` None where it is not known. ``time_pct`` is of the sum over layers.
    """

    name: str
    mean_ms: float | None
    time_pct: float | None
    kind: str
    words: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    macs: int | None = None
    elements: int | None = None

    def document(self) -> dict[str, object]:
        """As ``explain`` prints it."""
        return {
            "name": self.name,
            "mean_ms": self.mean_ms,
            "time_pct": self.time_pct,
            "kind": self.kind,
            "nodes": list(self.nodes),
            "modules": list(self.modules),
            "macs": self.macs,
        }


@dataclass(frozen=True, kw_only=True)
class ModuleTime:
    """A module with all that is in it; an empty path is the network's own code, outside of all modules.

    ``overhead_ms`` of its ``mean_ms`` is of layers that the builder put in.
    """

    path: str
    mean_ms: float
    overhead_ms: float
    time_pct: float | None
    nodes: int
    macs: int | None

    def document(self) -> dict[str, object]:
        """As ``explain`` prints it."""
        return {
            "module": self.path,
            "mean_ms": self.mean_ms,
            "overhead_ms": self.overhead_ms,
            "time_pct": self.time_pct,
            "nodes": self.nodes,
            "macs": self.macs,
        }


@dataclass(frozen=True, kw_only=True)
class Layers:
    """An engine's layers in the order in which they run.

    ``by_kind_ms`` sums their times up by kind; ``unmatched_pct`` is the share of time whose operators are not known,
    None without a network.
    """

    layers: tuple[Layer, ...]
    total_ms: float
    by_kind_ms: Mapping[str, float]
    modules: tuple[ModuleTime, ...] = ()
    unmatched_pct: float | None = None

    def share_pct(self, kind: str) -> float | None:
        """Of the time of all layers; None where no layer has a time."""
        return 100 * self.by_kind_ms.get(kind, 0.0) / self.total_ms if self.total_ms else None


def laid_on(
    profile: LayerProfile, network: Network | None = None, origins: Mapping[str, Origin] | None = None
) -> Layers:
    """Find out what each layer stands for.

    Args:
        profile: the layers and their times.
        network: the ONNX graph that the engine was built of; None: names alone tell.
        origins: the layer information of the same engine, where there is any.
    """
    known = _Known(network)
    told = [_taken_apart(layer.name, known, (origins or {}).get(layer.name)) for layer in profile.layers]
    nodes = known.all_nodes(told)
    total_ms = math.fsum(layer.mean_ms or 0.0 for layer in profile.layers)
    layers = tuple(
        _layer(timed.name, timed.mean_ms, total_ms, (name, own), network)
        for timed, name, own in zip(profile.layers, told, nodes, strict=True)
    )
    by_kind = {kind: _sum_ms(layer for layer in layers if layer.kind == kind) for kind in (COMPUTE, *OVERHEAD)}
    unmatched_ms = _sum_ms(layer for layer in layers if not layer.nodes)
    return Layers(
        layers=layers,
        total_ms=total_ms,
        by_kind_ms={kind: ms for kind, ms in by_kind.items() if ms or kind == COMPUTE},
        modules=_modules(layers, network, total_ms) if network is not None else (),
        unmatched_pct=100 * unmatched_ms / total_ms if network is not None and total_ms else None,
    )


class _Known:
    """Operators by all that layers may call them: by name, and by the tensor that they write."""

    def __init__(self, network: Network | None) -> None:
        self._network = network
        by_name = dict(network.by_name) if network is not None else {}
        by_tensor = dict(network.producer) if network is not None else {}
        self._names = {**{tensor: node.name for tensor, node in by_tensor.items()}, **{name: name for name in by_name}}

    def __call__(self, word: str) -> str | None:
        return self._names.get(word)

    def is_constant(self, word: str) -> bool:
        return self._network is not None and word in self._network.constants

    def is_quantizing(self, nodes: Sequence[str]) -> bool:
        network = self._network
        return bool(nodes) and network is not None and all(is_quantizing(network.by_name[name]) for name in nodes)

    def all_nodes(self, told: Sequence[LayerName]) -> list[tuple[str, ...]]:
        """The operators of each layer. A span gets what lies in it and no other layer names."""
        named = [self._named(name.words) for name in told]
        network = self._network
        if network is None:
            return named
        taken = {node for name, own in zip(told, named, strict=True) if name.kind == COMPUTE for node in own}
        found = []
        for name, own in zip(told, named, strict=True):
            inside: dict[str, None] = dict.fromkeys(own)
            for first, last in name.spans:
                ends = [self._named((word,)) for word in (first, last)]
                if all(ends):
                    between = network.between(ends[0][0], ends[1][0]) - (taken - set(own))
                    inside.update(dict.fromkeys(between))
            found.append(tuple(sorted(inside, key=lambda node: network.position[node])))
            if name.kind == COMPUTE:
                taken.update(inside)
        return found

    def _named(self, words: Iterable[str]) -> tuple[str, ...]:
        spelled = (layer_names.spelling(word, self) for word in words if not self.is_constant(word))
        return tuple(dict.fromkeys(node for node in spelled if node is not None))


def _taken_apart(name: str, known: _Known, origin: Origin | None) -> LayerName:
    told = layer_names.taken_apart(name, known)
    if origin is not None and origin.operators and told.kind == COMPUTE and not told.spans:
        told = LayerName(kind=COMPUTE, words=tuple(dict.fromkeys((*origin.operators,))))
    spelled = [layer_names.spelling(word, known) for word in told.words if not known.is_constant(word)]
    nodes = [node for node in spelled if node is not None]
    kind = told.kind
    if origin is not None and origin.is_reformat and kind == COMPUTE:
        kind = REFORMAT
    elif kind == COMPUTE and not told.spans and len(nodes) == len(spelled) and known.is_quantizing(nodes):
        kind = QUANTIZE
    return LayerName(kind=kind, words=told.words, spans=told.spans)


def _layer(
    name: str, mean_ms: float | None, total_ms: float, told: tuple[LayerName, tuple[str, ...]], network: Network | None
) -> Layer:
    parts, nodes = told
    own = [network.by_name[node] for node in nodes] if network is not None else []
    computes = parts.kind == COMPUTE and bool(own)
    macs = [node.macs for node in own]
    return Layer(
        name=name,
        mean_ms=mean_ms,
        time_pct=100 * mean_ms / total_ms if mean_ms is not None and total_ms else None,
        kind=parts.kind,
        words=parts.words,
        nodes=nodes,
        modules=tuple(dict.fromkeys(node.module for node in own)),
        macs=sum(known for known in macs if known is not None) if computes and None not in macs else None,
        elements=network.traffic_elements(nodes) if computes and network is not None else None,
    )


def _modules(layers: Sequence[Layer], network: Network, total_ms: float) -> tuple[ModuleTime, ...]:
    """The time of each module that holds others, of those right below the network, and of the network's own code."""
    of_node = _node_times(layers, network)
    overhead = _node_times([layer for layer in layers if layer.kind in OVERHEAD], network)
    members: dict[str, list[Node]] = {}
    for node in network.nodes:
        for path in modules_above(node.module) or ("",):
            members.setdefault(path, []).append(node)
    found = []
    own = [""] if "" in members else []
    for path in (*blocks(node.module for node in network.nodes), *own):
        inside = members[path]
        macs = [node.macs for node in inside]
        mean_ms = math.fsum(of_node.get(node.name, 0.0) for node in inside)
        found.append(
            ModuleTime(
                path=path,
                mean_ms=mean_ms,
                overhead_ms=math.fsum(overhead.get(node.name, 0.0) for node in inside),
                time_pct=100 * mean_ms / total_ms if total_ms else None,
                nodes=len(inside),
                macs=sum(known for known in macs if known is not None) if None not in macs else None,
            )
        )
    return tuple(found)


def _node_times(layers: Iterable[Layer], network: Network) -> dict[str, float]:
    """A layer's time goes to its operators by their multiply-adds, or where there are none by what they write."""
    found: dict[str, float] = {}
    for layer in layers:
        weights = _weights(layer.nodes, network)
        whole = math.fsum(weights.values())
        for name, weight in weights.items():
            found[name] = found.get(name, 0.0) + (layer.mean_ms or 0.0) * weight / whole
    return found


def _weights(names: Sequence[str], network: Network) -> dict[str, float]:
    nodes = [network.by_name[name] for name in names]
    macs = {node.name: float(node.macs or 0) for node in nodes}
    if any(macs.values()):
        return macs
    sizes = {node.name: float(sum(network.elements.get(tensor, 0) for tensor in node.outputs)) for node in nodes}
    return sizes if any(sizes.values()) else dict.fromkeys(names, 1.0)


def _sum_ms(layers: Iterable[Layer]) -> float:
    return math.fsum(layer.mean_ms or 0.0 for layer in layers)
