"""A network of which any part can be brought to a lower precision, and what opens the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import export, passes
from espdeploy.accuracy.datasets import ImageFolder, Pair, find_pairs
from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing
from espdeploy.errors import UsageError
from espdeploy.onnx_graph import fresh_name
from espdeploy.pipeline.building.judging import JudgedBy
from espdeploy.pipeline.building.lower import amax_of
from espdeploy.pipeline.calibrating.calibration_images import fixed_size
from espdeploy.pipeline.measuring.feeds import one_image
from espdeploy.protocols import TensorInfo
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.quantize.qdq import quantizable, quantize
from espdeploy.quantize.rounding import round_layers
from espdeploy.quantize.table import CalibrationTable

if TYPE_CHECKING:
    from onnx import ModelProto

_CLASSIFICATION = "classification"


@dataclass(frozen=True, kw_only=True)
class Network:
    """An FP32 graph, the operators of its layers that can go to a lower precision, and the form of its images."""

    path: Path
    model: ModelProto
    layers: Mapping[str, str]
    info: TensorInfo
    card: ModelCard | None
    preprocessing: Preprocessing

    @property
    def label_classes(self) -> ClassSet | None:
        """The classes of its label maps; None where it does not name them, or has one class for a whole image."""
        return self.card.classes if self.card is not None and self.card.task != _CLASSIFICATION else None

    def folder(self, pairs: Sequence[Pair]) -> ImageFolder:
        """Images as the network takes them."""
        return ImageFolder(pairs, preprocessing=self.preprocessing, size=fixed_size(self.info))


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """Brings layers of a network to ``precision``, INT8 by ranges; ``left`` are those that cannot go, and why."""

    network: Network
    precision: str
    table: CalibrationTable | None
    placement: str = "convolutions"
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that can go."""
        return tuple(layer for layer in self.network.layers if layer not in self.left)

    def graph(self, layers: Collection[str]) -> ModelProto:
        """The network with these layers in the lower precision, and all else in FP32."""
        model = self.network.model
        if not layers:
            return model
        if self.precision == "int8":
            return quantize(model, amax_of(self.table) or {}, layers=layers, placement=self.placement).model
        return round_layers(model, layers, self.precision)


def read_network(path: Path, table: CalibrationTable | None, names: tuple[str, ...] = ()) -> Network:
    """An FP32 network whose nodes all have names of their own, after the graph passes ``names``.

    Raises:
        InputFileError: not an ONNX file, or a damaged one.
        UsageError: it does not take one image, or nothing says which pre-processing it wants.
    """
    model = export.load(path)
    if names:
        model = passes.apply(model, names).model
    _name_nodes(model)
    facts = export.inspect(model)
    info = one_image(facts.inputs, of=str(path))
    preprocessing = (facts.card.preprocessing if facts.card else None) or (table.preprocessing if table else None)
    if preprocessing is None:
        raise UsageError(
            f"{path} does not say which pre-processing it wants",
            why="it was not written by espdeploy export, or from a network that states none",
            do="calibrate it with --recipe FILE.toml that has a table [preprocessing], and give that calibration table",
        )
    operators = {node.name: str(node.op_type) for node in model.graph.node}
    layers = {layer: operators[layer] for layer in quantizable(model)}
    return Network(path=path, model=model, layers=layers, info=info, card=facts.card, preprocessing=preprocessing)


def lowering(
    network: Network, precision: str, table: CalibrationTable | None, *, placement: str = "convolutions"
) -> Lowering:
    """What brings layers of a network to ``precision``.

    Raises:
        UsageError: no layer can go there, or the graph is quantized already.
        InputFileError: a weight or range is not finite.
    """
    left: Mapping[str, str] = {}
    if precision == "int8":
        left = quantize(network.model, amax_of(table) or {}, placement=placement).left
    elif precision == "fp16":
        left = to_fp16(network.model, amax=amax_of(table)).kept
    found = Lowering(network=network, precision=precision, table=table, placement=placement)
    found = dataclasses.replace(found, left={layer: left[layer] for layer in network.layers if layer in left})
    if not found.layers:
        reason = next(iter(found.left.items()), None)
        raise UsageError(
            f"no layer of {network.path} can go to {precision}",
            why=f"{reason[0]}: {reason[1]}" if reason else "it has no convolution or matrix product with fixed weights",
            do="give the FP32 network, or choose another --precision",
        )
    return found


def judged_by(network: Network, data: Path, labels: Path | None) -> JudgedBy:
    """The images below ``data``, with labels where these are given or lie where the data set has them.

    Raises:
        InputFileError: there are none, or they do not fit together.
        UsageError: labels were given for a network that does not name its classes.
    """
    classes = network.label_classes
    if labels is not None and classes is None:
        known = network.card is not None and network.card.classes is not None
        what = "is a classification network" if known else "does not say which classes it has"
        raise UsageError(
            f"--labels {labels} is of no use: {network.path} {what}",
            why="label maps are scored class by class, pixel by pixel",
            do="leave --labels away: the agreement with FP32 is measured instead",
        )
    pairs = tuple(find_pairs(data, labels))
    return JudgedBy(pairs=pairs, classes=classes if pairs[0].label else None, folder=network.folder)


def _name_nodes(model: ModelProto) -> None:
    """Give nodes without a name, or with another's, one of their own; layers are chosen by name."""
    taken: set[str] = set()
    for node in model.graph.node:
        node.name = fresh_name(node.name or node.output[0] or node.op_type, taken)
