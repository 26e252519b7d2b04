"""What an explanation rests on: plain figures of records, profilers and the network; None where they are not known."""

from __future__ import annotations

from dataclasses import dataclass

from espdeploy.profilers.layers import Layers
from espdeploy.profilers.roofline import Roofline


@dataclass(frozen=True, kw_only=True)
class KernelShare:
    """A kernel's share of the time of all kernels; ``kind`` tells a layout change from other movements of memory."""

    name: str
    category: str
    kind: str
    time_pct: float


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A counter in percent: its mean over the run, and each kernel's with that kernel's share of the time, if known."""

    mean_pct: float | None
    kernels: tuple[tuple[str, float, float | None], ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of a run.

    ``compute_ms`` and ``enqueue_ms`` are medians of the time on the GPU and of the launch; ``copies_ms`` those of
    copies from and to the host, where they were timed. ``idle_pct`` is the share of the timeline in which the GPU had
    nothing to do. ``precision`` is the engine's.
    """

    compute_ms: float | None = None
    enqueue_ms: float | None = None
    copies_ms: float | None = None
    cuda_graph: bool | None = None
    idle_pct: float | None = None
    launches: int | None = None
    roofline: Roofline | None = None
    layers: Layers | None = None
    kernels: tuple[KernelShare, ...] = ()
    counters: dict[str, Counted] | None = None
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Something that holds a run back.

    ``share_pct`` is how much of the time it explains at most, None where that cannot be told; ``evidence`` are the
    figures that say so, ``do`` what usually helps.
    """

    code: str
    share_pct: float | None
    evidence: dict[str, float | str | None]
    text: str
    do: str

    def document(self) -> dict[str, object]:
        """As ``explain`` prints it."""
        return {
            "code": self.code,
            "share_pct": self.share_pct,
            "evidence": self.evidence,
            "text": self.text,
            "do": self.do,
        }
