"""In which precision layers compute: by the typed network before the build, or as the engine says of itself.

Sources: NVIDIA's documentation of explicit quantization (a layer between DequantizeLinear and QuantizeLinear computes
on the quantized values), and of the engine inspector (JSON of a build with detailed profiling verbosity).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from espdeploy.backends.onnx_precision import shares_pct
from espdeploy.backends.tensorrt.plan import LayerInfo

#: NVIDIA's names of data types -> ours
_NAMES = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "BF16": "bf16",
    "INT8": "int8",
    "FP8": "fp8",
    "INT4": "int4",
    "FP4": "fp4",
}
_CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")
_DEQUANTIZE = "DEQUANTIZE"
#: layers that hand values on in another shape
_RESHAPES = ("SHUFFLE", "SQUEEZE", "UNSQUEEZE")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
#: the data type in a tensor's format as the inspector writes it, releases 8 to 11
_FORMAT_TYPE = re.compile(r"\b(int8|fp8|bf16|bfloat16|fp16|half|fp32|float|int4|fp4)", re.IGNORECASE)
_OF_FORMAT = {"bfloat16": "bf16", "half": "fp16", "float": "fp32"}


def typed_layers(network: Any) -> tuple[LayerInfo, ...]:
    """The layers of a strongly typed network, each with what its type says it computes in.

    A layer with weights whose data and weights both come from DequantizeLinear computes in what these were
    dequantized from; any other in the type of its data. An engine may still do otherwise: :func:`corrected`.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = [_name_of(layer.type) for layer in layers]
    writers = {
        layer.get_output(index).name: (kind, layer)
        for layer, kind in zip(layers, kinds, strict=True)
        for index in range(layer.num_outputs)
    }
    return tuple(
        LayerInfo(
            name=layer.name,
            type=kind.lower(),
            precision=_precision(layer, kind, writers),
            nodes=tuple(_NODE.findall(layer.metadata)),
        )
        for layer, kind in zip(layers, kinds, strict=True)
    )


def _precision(layer: Any, kind: str, writers: Mapping[str, tuple[str, Any]]) -> str | None:
    if kind not in _CONVOLUTIONS:
        return _type_of(layer.get_output(0))
    data, weights = layer.get_input(0), layer.get_input(1) if layer.num_inputs > 1 else None
    stored = {_dequantized_from(tensor, writers) for tensor in (data, weights)}
    quantized = stored.pop() if len(stored) == 1 else None
    return quantized or _type_of(data)


def _dequantized_from(tensor: Any, writers: Mapping[str, tuple[str, Any]]) -> str | None:
    """The type behind the DequantizeLinear that a tensor comes from; None where it comes from elsewhere."""
    while tensor is not None:
        kind, layer = writers.get(tensor.name, ("", None))
        if layer is None or kind not in (_DEQUANTIZE, *_RESHAPES):
            return None
        tensor = layer.get_input(0)
        if kind == _DEQUANTIZE:
            return _type_of(tensor)
    return None


def _type_of(tensor: Any) -> str | None:
    if tensor is None:
        return None
    name = _name_of(tensor.dtype)
    return _NAMES.get(name, name.lower())


def _name_of(value: Any) -> str:
    """The name of an enumeration's value. Asking the value itself takes a hundred times as long."""
    enumeration: Any = type(value)
    return _names_of(enumeration)[int(value)]


@functools.cache
def _names_of(enumeration: Any) -> dict[int, str]:
    return {int(value): name for name, value in enumeration.__members__.items()}


def inspected_layers(information: str) -> tuple[LayerInfo, ...]:
    """The layers of an engine from the inspector's JSON; empty where it gives names only, or is not readable."""
    try:
        document = json.loads(information)
    except json.JSONDecodeError:
        return ()
    entries = document.get("Layers") if isinstance(document, dict) else None
    return tuple(_inspected(entry) for entry in entries or () if isinstance(entry, dict))


def _inspected(entry: Mapping[str, Any]) -> LayerInfo:
    kind = str(entry.get("ParameterType") or entry.get("LayerType") or "")
    return LayerInfo(
        name=str(entry.get("Name", "")),
        type=kind.lower(),
        precision=next(_types(entry.get("Inputs")), None) or next(_types(entry.get("Outputs")), None),
        nodes=tuple(_NODE.findall(str(entry.get("Metadata", "")))),
    )


def _types(tensors: object) -> Iterator[str]:
    for tensor in tensors if isinstance(tensors, list) else []:
        text = " ".join(str(tensor.get(key, "")) for key in ("Format/Datatype", "Datatype", "Format"))
        match = _FORMAT_TYPE.search(text)
        if match is not None:
            name = match[1].lower()
            yield _OF_FORMAT.get(name, name)


def is_convolution(layer: LayerInfo) -> bool:
    """Whether a layer is a convolution, transposed or not, under any of NVIDIA's names for it."""
    return "convolution" in layer.type  # convolution, deconvolution, caskconvolution, caskdeconvolutionv2 …


def corrected(layers: Sequence[LayerInfo], found: Mapping[str, str]) -> tuple[tuple[LayerInfo, ...], int]:
    """The layers with the convolutions' precision by ONNX node as the engine has it, and how many that settled."""
    settled = 0
    result = []
    for layer in layers:
        precision = (
            next((found[node] for node in layer.nodes if node in found), None) if is_convolution(layer) else None
        )
        settled += precision is not None
        result.append(layer if precision is None else dataclasses.replace(layer, precision=precision))
    return tuple(result), settled


def by_node(layers: Iterable[LayerInfo]) -> dict[str, str]:
    """The precision of each ONNX node that an engine's layers name."""
    return {node: layer.precision for layer in layers if layer.precision is not None for node in layer.nodes}


def convolution_shares_pct(layers: Iterable[LayerInfo]) -> dict[str, float] | None:
    """Percent of the convolutions in each precision; None where there is no convolution."""
    return shares_pct(Counter(layer.precision or "unknown" for layer in layers if is_convolution(layer)))
