"""The table that ``--dumpProfile`` prints.

Up to TensorRT 8 the layer's name stands left, right-aligned; from 10 on it stands right. The median came with 8.5.
Names hold blanks, brackets and plus signs, so the figures are what is looked for. Source: Profiler::print in
samples/common/sampleReporting.cpp at v8.2, v8.6, v10 and v11, and logs of 7.1 to 10.16.
"""

from __future__ import annotations

import re

from espdeploy.profilers.trtexec.numbers import number
from espdeploy.profilers.trtexec.values import LayerProfile, LayerTime

_TITLE = re.compile(r"=== Profile \((?P<count>\d{1,12}) iterations ?\) ===")
_FIGURE = r"(?:\d[\d.]*(?:e[+-]?\d+)?|-?nan|-?inf)"
_LEFT = re.compile(
    rf"\s*(?P<name>\S.*?)\s+(?P<total>{_FIGURE})\s+(?P<mean>{_FIGURE})(?:\s+(?P<median>{_FIGURE}))?\s+(?P<pct>{_FIGURE})\s*"
)
_RIGHT = re.compile(
    rf"\s*(?P<total>{_FIGURE})\s+(?P<mean>{_FIGURE})(?:\s+(?P<median>{_FIGURE}))?\s+(?P<pct>{_FIGURE})\s{{1,3}}(?P<name>\S.*)"
)
_MOST_LAYERS = 100_000


class TableReader:
    """Takes the text of each line; has the profile once the table is over."""

    def __init__(self) -> None:
        self.profile: LayerProfile | None = None
        self._count: int | None = None
        self._row: re.Pattern[str] | None = None
        self._layers: list[LayerTime] = []
        self._damaged = 0

    def take(self, text: str) -> bool:
        """Whether the line belongs to a table."""
        title = _TITLE.search(text)
        if title is not None:
            self._count, self._row, self._layers, self._damaged = int(title["count"]), None, [], 0
            return True
        if self._count is None:
            return False
        return self._header(text) if self._row is None else self._take_row(self._row, text)

    def _header(self, text: str) -> bool:
        words = text.split()
        if "Layer" in words and "Time" in text:
            self._row = _LEFT if words[0] == "Layer" else _RIGHT
            return True
        self._count = None
        return False

    def _take_row(self, row: re.Pattern[str], text: str) -> bool:
        match = row.fullmatch(text)
        if match is not None and match["name"].strip() == "Total":
            self.finish()
        elif match is not None and len(self._layers) < _MOST_LAYERS:
            self._layers.append(_layer(match))
        elif not text.strip() or text.startswith("==="):
            self.finish()
        else:
            self._damaged += 1
        return True

    def finish(self) -> None:
        """The table is over; what came of it counts."""
        if self._count is not None and self._layers:
            self.profile = LayerProfile(iterations=self._count, layers=tuple(self._layers), damaged=self._damaged)
        self._count, self._row, self._layers, self._damaged = None, None, [], 0


def _layer(match: re.Match[str]) -> LayerTime:
    return LayerTime(
        name=match["name"].strip(),
        mean_ms=number(match["mean"]),
        time_pct=number(match["pct"]),
        total_ms=number(match["total"]),
        median_ms=number(match["median"]),
    )
