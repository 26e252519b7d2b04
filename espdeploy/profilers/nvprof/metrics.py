"""Metrics and events: over all launches of a kernel, of each launch, or of each unit of the GPU.

``sm_efficiency (16 instances)`` holds the values of 16 units, when nvprof ran with ``--aggregate-mode off``; the
ledger makes the whole's percentage of them. What is no percentage keeps that name, since some of it sums up.
"""

from __future__ import annotations

import re
import statistics

from espdeploy.profilers.nvprof import names
from espdeploy.profilers.nvprof.cells import count, is_untold, metric_value
from espdeploy.profilers.nvprof.columns import METRICS, Columns
from espdeploy.profilers.nvprof.ledger import Readings, Room
from espdeploy.profilers.nvprof.tables import TableReader

_INSTANCES = re.compile(r"(?P<metric>\S+) \((?P<count>\d{1,5}) instances\)")
_BETWEEN = re.compile(r"[\s,]+(?!\()")  # but not inside "Low (1)"
_NO_CELL = ("", "-")
_OF_THE_LAUNCH = frozenset({"Device", "Context", "Stream", "Kernel", "Correlation_ID", "Start", "Duration", ""})


class Counters:
    """What the tables of counters in a file add up to."""

    def __init__(self, room: Room) -> None:
        self.readings = Readings(room)
        self.devices: dict[str, None] = {}
        self.instances: dict[str, int] = {}
        self.untold = 0
        #: the kernel whose rows a text table holds next
        self.kernel = ""

    def see(self, text: str) -> None:
        """A device was named."""
        if text.strip() and len(self.devices) < 64:
            self.devices.setdefault(names.device(text), None)


class CounterReader(TableReader):
    """Takes the rows of a table with the least, greatest and mean value over a kernel's launches."""

    def __init__(self, columns: Columns, into: Counters) -> None:
        super().__init__(columns)
        self._into = into
        self._title = "Metric Name" if columns.kind == METRICS else "Event Name"

    def take_cells(self, told: dict[str, str]) -> bool:
        """Whether a row's cells, by column, are sound."""
        calls, kernel = count(told["Invocations"]), told.get("Kernel", self._into.kernel)
        metric = told[self._title]
        if calls is None or not metric or not kernel:
            return False
        instances = _INSTANCES.fullmatch(metric)
        if instances is not None:
            found = self._instances(kernel, instances["metric"], calls, told["Avg"])
        else:
            found = self._plain(kernel, metric, calls, [told["Avg"], told["Min"], told["Max"]])
        if found:
            self._into.see(told.get("Device", ""))
        return found

    def _plain(self, kernel: str, metric: str, calls: int, cells: list[str]) -> bool:
        values = [metric_value(cell) for cell in cells]
        units = {unit for value, unit in values if value is not None}
        unknown = [cell for cell, (value, _) in zip(cells, values, strict=True) if value is None]
        if len(units) > 1 or not all(is_untold(cell) or cell in _NO_CELL for cell in unknown):
            return False
        self._into.untold += sum(map(is_untold, unknown))
        mean, least, most = (value for value, _ in values)
        self._into.readings.add(kernel, metric, next(iter(units), ""), calls, (mean, least, most))
        return True

    def _instances(self, kernel: str, metric: str, calls: int, cell: str) -> bool:
        texts = [text for text in _BETWEEN.split(cell.strip("[] ").replace('"', "")) if text]
        values = [metric_value(text) for text in texts]
        told = [value for value, _ in values if value is not None]
        units = {unit for value, unit in values if value is not None}
        untold = sum(map(is_untold, texts))
        if not texts or len(units) > 1 or untold + len(told) < len(texts):
            return False
        self._into.untold += untold
        unit = next(iter(units), "")
        mean = statistics.fmean(told) if told else None
        self._into.readings.add(kernel, f"{metric} ({len(texts)} instances)", unit, calls, (mean, None, None))
        if unit == "%" and len(self._into.instances) < 1000:
            self._into.instances[metric] = len(texts)
        return True


class LaunchReader(TableReader):
    """Takes the rows of a trace whose columns are metrics: one launch each."""

    def __init__(self, columns: Columns, into: Counters) -> None:
        super().__init__(columns)
        self._into = into
        self._metrics = [name for name in dict.fromkeys(columns.names) if name not in _OF_THE_LAUNCH]
        self._numbered = "Correlation_ID" in columns.names

    def take_cells(self, told: dict[str, str]) -> bool:
        """Whether a row's cells, by column, are sound."""
        values = {name: metric_value(told[name], self.columns.unit(name)) for name in self._metrics}
        unknown = [told[name] for name, (value, _) in values.items() if value is None]
        kernel = told["Kernel"] if self._numbered else names.without_launch(told["Kernel"])
        if not kernel or not all(is_untold(text) or text in _NO_CELL for text in unknown):
            return False
        self._into.untold += sum(map(is_untold, unknown))
        for name, (value, unit) in values.items():
            if told[name] not in _NO_CELL:
                self._into.readings.add(kernel, names.metric(name), unit, 1, (value, value, value))
        self._into.see(told["Device"])
        return True
