"""What a TensorRT-RTX engine says of its convolutions, read from the file without a GPU.

The plan holds a listing of its tensors with their types (``descriptors``), and of its operations with the tensors that
they read and the ONNX nodes that they come from (``main``). NVIDIA does not document it; this is how 1.7 writes it, and
what is not found that way is left unsaid. It shows what the typed network cannot: that INT8 convolutions for compute
capability 7.5, and transposed ones everywhere, are computed in floating point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_DESCRIPTORS, _MAIN, _END = b"\ndescriptors {", b"\nmain {", b"\n}"
#: operations that read their data first and their weights second; bias, scale and factors follow
_CONVOLUTIONS = (b"corrltn", b"deconvolution", b"fully_connected")
#: 1x1 convolutions together with what follows them; they read in no order that is known
_FUSED = b"runtime_fusion"
_TENSOR = re.compile(rb'^ *(?:sub_)?tensor=\{[^\n]*? name="([^"\n]+)"[^\n]*? type=(\w+)', re.MULTILINE)
_OPERATION = re.compile(rb'^ *(\w+)=\{[^\n]*? input(?:_args)?=\{([^}\n]*)\}[^\n]*? layers="([^"\n]*)"', re.MULTILINE)
_QUOTED = re.compile(rb'"([^"]+)"')
_NODE = re.compile(rb"\[ONNX Layer: ([^\]]*)\]")
#: types as the listing writes them, from the narrowest to the widest
_TYPES = {b"int8": "int8", b"half": "fp16", b"float": "fp32"}
_ORDER = tuple(_TYPES.values())


def node_precisions(plan: bytes) -> dict[str, str]:
    """The precision of convolutions by ONNX node: the wider of their data and their weights.

    Where an engine holds code for several GPUs and they differ, the widest counts. Other nodes that were merged into a
    convolution are named with it. Empty where nothing is found.
    """
    found: dict[str, str] = {}
    for descriptors, main in _listings(plan):
        types = {name: _TYPES.get(kind) for name, kind in _TENSOR.findall(descriptors)}
        for operation, reads, nodes in _OPERATION.findall(main):
            precision = _precision(operation, [types.get(name) for name in _QUOTED.findall(reads)])
            for node in _NODE.findall(nodes) if precision else ():
                name = node.decode("utf-8", "replace")
                found[name] = max(precision or "", found.get(name, _ORDER[0]), key=_ORDER.index)
    return found


def _precision(operation: bytes, reads: list[str | None]) -> str | None:
    """None for what is no convolution, and where the types do not tell."""
    if operation in _CONVOLUTIONS:
        reads = reads[:2]
    elif operation != _FUSED or len(set(reads)) > 1:
        return None
    known = [kind for kind in reads if kind is not None]
    return max(known, key=_ORDER.index) if len(known) == len(reads) > 1 else None


def _listings(plan: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Tensors and operations of each program; the rest of a plan is code and weights."""
    start = plan.find(_DESCRIPTORS)
    while start >= 0:
        main = plan.find(_MAIN, start)
        end = plan.find(_END, main)
        if main < 0 or end < 0:
            return
        yield plan[start:main], plan[main:end]
        start = plan.find(_DESCRIPTORS, end)
