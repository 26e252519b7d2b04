"""What a GPU profiler told, whichever it was: kernels, memory operations, counter readings, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel over all its launches. A file of counters alone has no times: those are None then."""

    name: str
    calls: int
    total_ms: float | None = None
    mean_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryOperation:
    """Copies and sets of memory of one kind, such as ``HtoD``; ``total_mb`` is in 10^6 bytes, None where not told."""

    name: str
    calls: int
    total_ms: float | None = None
    mean_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    total_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A counter of one kernel under the tool's own name, in the tool's own unit.

    ``calls`` is over how many launches ``mean`` is the plain mean; ``mean_by_time`` weighs each by its time, None where
    the tool does not tell launches apart. Values that the tool could not give are None.
    """

    kernel: str
    metric: str
    unit: str
    calls: int
    mean: float | None
    mean_by_time: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, kw_only=True)
class ToolMessage:
    """A failure that the tool told of: a code of ours, its words, and what mends it."""

    code: str
    text: str
    do: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one file holds. ``kind`` is ``nvprof``, ``nsys`` or ``ncu``; ``skipped_lines`` could not be read."""

    kind: str
    tool_version: str | None = None
    device: str | None = None
    kernels: tuple[Kernel, ...] = ()
    memops: tuple[MemoryOperation, ...] = ()
    readings: tuple[Reading, ...] = ()
    errors: tuple[ToolMessage, ...] = ()
    notes: tuple[str, ...] = ()
    skipped_lines: int = 0
    extra: dict[str, object] = field(default_factory=dict)
