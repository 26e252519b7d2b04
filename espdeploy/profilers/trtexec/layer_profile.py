"""What ``--exportProfile`` writes: a count of inferences, then each layer with its times."""

from __future__ import annotations

from espdeploy.profilers.trtexec.elements import ElementReader, Text
from espdeploy.profilers.trtexec.numbers import number
from espdeploy.profilers.trtexec.values import LayerProfile, LayerTime


def read_profile(stream: Text) -> LayerProfile:
    """The first profile in the file (several runs may write to one); the median is there from TensorRT 8.5 on."""
    iterations: int | None = None
    layers: list[LayerTime] = []
    damaged = 0
    reader = ElementReader(stream)
    for element in reader:
        value = element.value if element.document == 0 else None
        if not isinstance(value, dict):
            damaged += element.document == 0
        elif "count" in value:
            count = number(value["count"])
            iterations = None if count is None else int(count)
        elif isinstance(value.get("name"), str):
            layers.append(_layer(value))
        else:
            damaged += 1
    return LayerProfile(iterations=iterations, layers=tuple(layers), damaged=damaged + reader.damaged)


def _layer(value: dict[str, object]) -> LayerTime:
    return LayerTime(
        name=str(value["name"]),
        mean_ms=number(value.get("averageMs")),
        time_pct=number(value.get("percentage")),
        total_ms=number(value.get("timeMs")),
        median_ms=number(value.get("medianMs")),
    )
