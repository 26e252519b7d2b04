"""What the readers give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Version = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A distribution as the tool sums it up. ``percentiles_ms`` by percentage; what a release leaves out is None."""

    min_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    median_ms: float | None = None
    percentiles_ms: Mapping[float, float] = field(default_factory=dict)

    def document(self) -> dict[str, float | None]:
        """As ``parse`` prints it."""
        return {
            "min": self.min_ms,
            "max": self.max_ms,
            "mean": self.mean_ms,
            "median": self.median_ms,
            "p99": self.percentiles_ms.get(99.0),
        }


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One layer in a profile. ``time_pct`` is its share of the sum over layers; unknown parts are None."""

    name: str
    mean_ms: float | None
    time_pct: float | None
    total_ms: float | None = None
    median_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """How long each layer takes, in the order in which they run, over so many inferences.

    Events between layers cost time themselves: the sum is larger than the inference takes.
    """

    iterations: int | None
    layers: tuple[LayerTime, ...]
    damaged: int = 0

    @property
    def total_mean_ms(self) -> float:
        """The sum over layers, in milliseconds per inference."""
        return sum(layer.mean_ms or 0.0 for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run of the tool as its log tells it. A part that the log does not hold is None or empty.

    ``passed`` is None where the log says neither that it passed nor that it failed: a fragment, or another program's.
    ``settings`` are the options that the tool printed before it began, such as ``CUDA Graph``: ``Enabled``.
    """

    version: Version | None = None
    passed: bool | None = None
    command: str | None = None
    device: str | None = None
    compute_capability: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    throughput_qps: float | None = None
    latency: Timing | None = None
    end_to_end: Timing | None = None
    enqueue: Timing | None = None
    h2d: Timing | None = None
    gpu_compute: Timing | None = None
    d2h: Timing | None = None
    walltime_s: float | None = None
    warmup_queries: int | None = None
    warmup_ms: float | None = None
    queries: int | None = None
    build_s: float | None = None
    profile: LayerProfile | None = None
    warnings: tuple[str, ...] = ()
    warning_lines: int = 0
    errors: tuple[LogError, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LogError:
    """An error line without its marks. ``code`` is TensorRT's own number for its kind, where the line holds one."""

    text: str
    code: int | None = None
