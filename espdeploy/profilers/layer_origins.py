"""Where an engine's layers come from, as ``--exportLayerInfo`` tells: their types, and the operators behind them.

From TensorRT 10 on each layer has ``Metadata`` with ``[ONNX Layer: name]`` for each operator that it stands for, which
is all that Myelin's kernels tell of it (``onnx-tensorrt`` writes it, IEngineInspector shows it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from espdeploy.profilers.trtexec.elements import ElementReader, Text

_ONNX_LAYER = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f]|$|\[ONNX)")
#: what only changes a layout, or hands a tensor on as it is
_REFORMATTING = ("Reformat", "NoOp")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """``kind`` is TensorRT's own word, such as ``CaskConvolution``; ``operators`` are empty where it tells none."""

    kind: str | None
    operators: tuple[str, ...]

    @property
    def is_reformat(self) -> bool:
        """Whether TensorRT says that it only changes a layout."""
        return self.kind in _REFORMATTING


def read_origins(stream: Text) -> dict[str, Origin]:
    """By the layer's name; of an engine built without details, or of a damaged file, as much as it tells."""
    found: dict[str, Origin] = {}
    for element in ElementReader(stream):
        value = element.value
        if element.document != 0 or element.section == "Bindings" or not isinstance(value, dict):
            continue
        name, kind, metadata = value.get("Name"), value.get("LayerType"), value.get("Metadata")
        if isinstance(name, str):
            told = _ONNX_LAYER.findall(metadata) if isinstance(metadata, str) else []
            found[name] = Origin(kind=kind if isinstance(kind, str) else None, operators=tuple(dict.fromkeys(told)))
    return found
