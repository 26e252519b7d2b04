"""One run of the tool while its lines come.

Three forms of the summary exist: blocks of ``min: 3.1 ms`` lines under ``Host Latency`` and ``GPU Compute`` (TensorRT
7), one line for each metric with an end-to-end latency and one percentile (8.0 to 8.4), and without that latency and
with three percentiles (8.5 and later). With ``--verbose`` words of the summary come again in lines that explain them.
Sources: samples/common/sampleReporting.cpp at v7.1 to v11, and logs of 7.1 to 10.16.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from espdeploy.profilers.trtexec.lines import Line, error_code
from espdeploy.profilers.trtexec.numbers import number
from espdeploy.profilers.trtexec.table import TableReader
from espdeploy.profilers.trtexec.values import LogError, Summary, Timing, Version

_FIELDS = {
    "Latency": "latency",
    "End-to-End Host Latency": "end_to_end",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "gpu_compute",
    "D2H Latency": "d2h",
}
_METRIC = re.compile(rf"(?P<name>{'|'.join(_FIELDS)}): (?P<figures>min = .*)")
_FIGURE = re.compile(r"(?:(?P<word>min|max|mean|median)|percentile\((?P<pct>[\d.]+)%?\)) = (?P<value>\S+) ms")
_BLOCKS = {
    "Host latency": "latency",
    "Host Latency": "latency",
    "Enqueue Time": "enqueue",
    "GPU Compute": "gpu_compute",
}
_BLOCK_FIGURE = re.compile(r"(?P<word>min|max|mean|median|percentile): (?P<value>\S+) ms(?: at (?P<pct>[\d.]+)%)?")
_END_TO_END = re.compile(r"\(end to end (?P<value>\S+) ms")
_SETTING = re.compile(r"(?P<name>[A-Z][\w .()/+-]{1,60}): (?P<value>.*)")
_SETTINGS_END = re.compile(r"=== (?:Trace details|Performance summary|Device Information) ===|Starting inference")
_PLAIN: tuple[tuple[str, re.Pattern[str], Callable[[str], object]], ...] = (
    ("throughput_qps", re.compile(r"[Tt]hroughput: (\S+) qps"), number),
    ("walltime_s", re.compile(r"(?:Total Host Walltime|walltime): (\S+) s"), number),
    ("build_s", re.compile(r"Engine built in (\S+) sec"), number),
    ("warmup_queries", re.compile(r"Warmup completed (\d{1,12}) queries"), int),
    ("warmup_ms", re.compile(r"Warmup completed \d+ queries over (\S+) ms"), number),
    ("queries", re.compile(r"Timing trace has (\d{1,12}) queries"), int),
    ("device", re.compile(r"Selected Device: (.+)"), str.strip),
    ("compute_capability", re.compile(r"Compute Capability: (\d+\.\d+)"), str.strip),
)
_DOTTED = re.compile(r"TensorRT(?:-RTX)? version: (\d{1,4}(?:\.\d{1,5}){1,3})\s*$")
_KEPT = 1000
_CONTINUED = 8


class RunReader:
    """Takes the lines of a run; ``fields`` may be set from outside by what stands around it."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.began = False
        self._table = TableReader()
        self._settings: dict[str, str] = {}
        self._settings_open = True
        self._warnings: dict[str, None] = {}
        self._warning_lines = 0
        self._errors: list[LogError] = []
        self._continued: int | None = None  # unmarked lines since the last error
        self._block: str | None = None
        self._figures: dict[str, dict[str, Any]] = {}

    def is_over(self, line: Line) -> bool:
        """Whether the line begins another run, in a log whose runs are not marked."""
        return line.text.startswith("=== Performance summary") and "gpu_compute" in self._figures

    def take(self, line: Line) -> None:
        """The next line."""
        if line.severity in ("E", "F"):
            self._error(line.text)
        elif line.severity == "W":
            self._warning_lines += 1
            if len(self._warnings) < _KEPT:
                self._warnings.setdefault(line.text.strip())
        elif not line.severity and self._continued is not None and self._continue_error(line.text):
            return
        elif line.severity != "V" and not self._table.take(line.text):
            self._information(line.text)
        self._continued = 0 if line.severity in ("E", "F") else None

    def finish(self) -> Summary:
        """What the lines came to."""
        self._table.finish()
        passed = self.fields.pop("passed", None)
        if passed is None and (self.began or self._errors):
            passed = False  # it began and never came to its end, or failed before it said so
        timings: dict[str, Any] = {name: _timing(figures) for name, figures in self._figures.items()}
        return Summary(
            **self.fields,
            **timings,
            passed=passed,
            settings=self._settings,
            profile=self._table.profile,
            warnings=tuple(self._warnings),
            warning_lines=self._warning_lines,
            errors=tuple(self._errors),
        )

    def _error(self, text: str) -> None:
        if len(self._errors) < _KEPT:
            self._errors.append(LogError(text=text.strip(), code=error_code(text)))

    def _continue_error(self, text: str) -> bool:
        """A message that goes on without marks: the parser's, which holds the node, and those with line breaks."""
        if not text.strip() or not self._errors or self._continued is None or self._continued >= _CONTINUED:
            return False
        last = self._errors[-1]
        self._errors[-1] = LogError(text=f"{last.text} {text.strip()}", code=last.code)
        self._continued += 1
        return True

    def _information(self, text: str) -> None:
        if self._metric(text) or self._block_line(text):
            return
        for name, pattern, read in _PLAIN:
            match = pattern.match(text)
            if match is not None:
                self.fields.setdefault(name, read(match[1]))
        dotted = _DOTTED.match(text)
        if dotted is not None:
            self.fields.setdefault("version", tuple(int(part) for part in dotted[1].split(".")))
        self._setting(text)

    def _metric(self, text: str) -> bool:
        metric = _METRIC.match(text)
        if metric is None:
            return False
        for figure in _FIGURE.finditer(metric["figures"]):
            self._figure(_FIELDS[metric["name"]], figure, figure["value"])
        return True

    def _block_line(self, text: str) -> bool:
        """A line of TensorRT 7's summary."""
        block = _BLOCKS.get(text.strip())
        if block is not None:
            self._block = block
            return True
        figure = _BLOCK_FIGURE.match(text)
        if figure is None or self._block is None:
            return False
        self._figure(self._block, figure, figure["value"])
        end_to_end = _END_TO_END.search(text)
        if end_to_end is not None:
            self._figure("end_to_end", figure, end_to_end["value"])
        return True

    def _figure(self, name: str, figure: re.Match[str], text: str) -> None:
        figures = self._figures.setdefault(name, {"percentiles": {}})
        value, pct = number(text), number(figure["pct"])
        if value is not None and pct is not None:
            figures["percentiles"][pct] = value
        elif value is not None and figure["word"]:
            figures[figure["word"]] = value

    def _setting(self, text: str) -> None:
        if _SETTINGS_END.match(text):
            self._settings_open = False
        match = _SETTING.match(text) if self._settings_open else None
        if match is not None and len(self._settings) < _KEPT:
            self._settings.setdefault(match["name"], match["value"].strip())


def _timing(figures: dict[str, Any]) -> Timing:
    return Timing(
        min_ms=figures.get("min"),
        max_ms=figures.get("max"),
        mean_ms=figures.get("mean"),
        median_ms=figures.get("median"),
        percentiles_ms=figures["percentiles"],
    )


def version_of_code(code: int) -> Version:
    """Of NV_TENSORRT_VERSION: 8201 is 8.2.1, 100300 is 10.3.0, 10701 is TensorRT-RTX 1.7.1."""
    unit = 10_000 if code >= 10_000 else 1000
    return (code // unit, code % unit // 100, code % 100)
