"""Processor load and memory of the machine and of this process, by psutil."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from espdeploy.protocols import Clock
from espdeploy.units import NS_PER_S, mb_from_bytes

_CHILDREN_EVERY_NS = NS_PER_S
_BYTES_PER_KB = 1024
#: processor times come in ticks of 10 ms: over a shorter time a share means nothing
_SHORTEST_INTERVAL_NS = NS_PER_S // 50


class ProcessMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of this machine and of this process with its children.

    Channels: ``cpu_pct`` (of the whole machine, 0..100), ``process_cpu_pct`` (percent of one core, so above
    100 with several threads), ``process_rss_mb``, ``memory_used_mb`` (total - available), ``memory_pct`` and
    ``swap_used_mb``. Loads are means since the reading before: None at the first one, and when less than 20 ms
    have passed. Children are listed anew every second, because listing them costs most.
    """

    name = "psutil"

    def __init__(self, *, clock: Clock, root: Path = Path("/")) -> None:
        import psutil

        self._psutil = psutil
        self._clock = clock
        self._meminfo = root / "proc/meminfo"
        self._own = psutil.Process()
        self._children: list[psutil.Process] = []
        self._children_due_ns = clock.now_ns()
        self._machine: tuple[float, float] | None = None  # busy and total seconds of all cores
        self._process: tuple[int, float] | None = None  # time and processor seconds

    def read(self) -> Mapping[str, float | None]:
        """The current values."""
        now_ns = self._clock.now_ns()
        processes = list(self._processes(now_ns))
        memory = self._psutil.virtual_memory()
        return {
            "cpu_pct": self._machine_load(),
            "process_cpu_pct": self._process_load(now_ns, sum(cpu_s for cpu_s, _ in processes)),
            "process_rss_mb": mb_from_bytes(sum(rss for _, rss in processes)),
            "memory_used_mb": mb_from_bytes(memory.total - memory.available),
            "memory_pct": (memory.total - memory.available) / memory.total * 100,
            "swap_used_mb": swap_used_mb(self._meminfo),
        }

    def _machine_load(self) -> float | None:
        before, now = self._machine, busy_and_total_s(self._psutil.cpu_times()._asdict())
        if before is None or now[1] <= before[1]:
            self._machine = self._machine or now
            return None
        self._machine = now
        return min(max((now[0] - before[0]) / (now[1] - before[1]), 0.0), 1.0) * 100

    def _process_load(self, now_ns: int, cpu_s: float) -> float | None:
        if self._process is None:
            self._process = now_ns, cpu_s
            return None
        before_ns, before_s = self._process
        if now_ns - before_ns < _SHORTEST_INTERVAL_NS:
            return None
        self._process = now_ns, cpu_s
        if cpu_s < before_s:  # a child has gone and took its time with it
            return None
        return (cpu_s - before_s) / (now_ns - before_ns) * NS_PER_S * 100

    def _processes(self, now_ns: int) -> Iterator[tuple[float, int]]:
        """Processor seconds and resident bytes of this process and of each child that still lives."""
        if now_ns >= self._children_due_ns:
            self._children = self._own.children(recursive=True)
            self._children_due_ns = now_ns + _CHILDREN_EVERY_NS
        for process in (self._own, *self._children):
            with contextlib.suppress(self._psutil.NoSuchProcess, self._psutil.AccessDenied):
                times = process.cpu_times()
                ended_s = times.children_user + times.children_system
                yield times.user + times.system + ended_s, process.memory_info().rss


def busy_and_total_s(times: Mapping[str, float]) -> tuple[float, float]:
    """Busy and total seconds of all cores from the fields of /proc/stat.

    Waiting for a disk is idle. Linux counts guests in ``user`` and ``nice`` already.
    """
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


def swap_used_mb(meminfo: Path) -> float | None:
    """Swap in use by the file /proc/meminfo; None where it does not say."""
    fields: dict[str, int] = {}
    try:
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key in {"SwapTotal", "SwapFree"}:
                fields[key] = int(value.split()[0])
    except (OSError, ValueError, IndexError):
        return None
    if len(fields) < 2:
        return None
    return mb_from_bytes((fields["SwapTotal"] - fields["SwapFree"]) * _BYTES_PER_KB)
