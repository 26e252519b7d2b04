"""What ``--exportLayerInfo`` writes: the engine's layers as its inspector sees them, and the precision of each.

An engine built without ``--profilingVerbosity=detailed`` gives names alone, and then no precision is known. With it
each layer has a type (``CaskConvolution``, ``CaskDeconvolution``; from 10 on ``conv``, ``gemm`` and ``kgen`` too), the
formats of its tensors (``Half``; before 10 ``Channel major FP16 format where channel % 8 == 0``) and, where it has
weights, theirs: a convolution multiplies in its weights' type. Source: IEngineInspector, and files of 8.2 to 10.16.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from espdeploy.profilers.trtexec.elements import ElementReader, Text

#: what stands for a convolution in the name of a kernel that Myelin made: correlation
_MYELIN_CONVOLUTION = re.compile(r"__myl_\w*?(?:Corr|Conv)")
_CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
_PRECISIONS = (
    ("fp4", re.compile(r"FP4|E2M1", re.IGNORECASE)),
    ("fp8", re.compile(r"FP8|E4M3", re.IGNORECASE)),
    ("int8", re.compile(r"\bint8", re.IGNORECASE)),
    ("bf16", re.compile(r"BF16|BFloat", re.IGNORECASE)),
    ("fp16", re.compile(r"FP16|Half", re.IGNORECASE)),
    ("fp32", re.compile(r"FP32|\bFloat", re.IGNORECASE)),
)
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """``kind`` and ``precision`` are None where the engine was built without details, or does not tell."""

    name: str
    kind: str | None
    precision: str | None
    convolution: bool


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """The layers in the order in which they run, and the names of the engine's inputs and outputs."""

    layers: tuple[Layer, ...]
    bindings: tuple[str, ...]
    damaged: int = 0

    @property
    def detailed(self) -> bool:
        """Whether it tells more than names."""
        return any(layer.kind is not None for layer in self.layers)

    @property
    def precisions(self) -> Mapping[str, str]:
        """The precision of each layer by its name, where it is known."""
        return {layer.name: layer.precision for layer in self.layers if layer.precision is not None}

    @property
    def convolution_pct(self) -> dict[str, float] | None:
        """The share of convolutions in each precision, in percent; None where the layers are not told, or none is one.

        What does not tell its precision counts as ``unknown``.
        """
        counts = Counter(layer.precision or UNKNOWN for layer in self.layers if layer.convolution)
        total = sum(counts.values())
        return {name: 100 * count / total for name, count in sorted(counts.items())} if total else None


def read_layer_info(stream: Text) -> LayerInfo:
    """Read the first engine in the file; what is no layer is passed over and counted."""
    layers: list[Layer] = []
    bindings: list[str] = []
    damaged = 0
    reader = ElementReader(stream)
    for element in reader:
        value = element.value
        if element.document != 0:
            continue
        if element.section == "Bindings":
            bindings.append(str(value))
        elif isinstance(value, str):
            layers.append(Layer(name=value, kind=None, precision=None, convolution=False))
        elif isinstance(value, dict) and isinstance(value.get("Name"), str):
            layers.append(_layer(value))
        else:
            damaged += 1
    return LayerInfo(layers=tuple(layers), bindings=tuple(bindings), damaged=damaged + reader.damaged)


def _layer(value: Mapping[str, object]) -> Layer:
    name, kind = str(value["Name"]), value.get("LayerType")
    kinds = f"{kind} {value.get('ParameterType', '')}"
    return Layer(
        name=name,
        kind=kind if isinstance(kind, str) else None,
        precision=_weights(value) or _tensor(value, "Inputs") or _tensor(value, "Outputs"),
        convolution=bool(_CONVOLUTION.search(kinds)) or bool(_MYELIN_CONVOLUTION.match(name)),
    )


def _weights(value: Mapping[str, object]) -> str | None:
    weights = value.get("Weights")
    return _precision(weights.get("Type")) if isinstance(weights, dict) else None


def _tensor(value: Mapping[str, object], which: str) -> str | None:
    tensors = value.get(which)
    for tensor in tensors if isinstance(tensors, list) else ():
        found = _precision(tensor.get("Format/Datatype")) if isinstance(tensor, dict) else None
        if found is not None:
            return found
    return None


def _precision(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    return next((name for name, pattern in _PRECISIONS if pattern.search(text)), None)
