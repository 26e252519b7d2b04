"""What a record says of its GPU: times on the GPU beside wall times, the launch, copies, clocks, the cross-check."""

from __future__ import annotations

from collections.abc import Iterator

from espdeploy.records import CrossCheck, GpuFrequency, Launch, Record
from espdeploy.report import reasons
from espdeploy.report.parts import Fact
from espdeploy.report.text import DASH, mhz, number, shorten

#: above it the processor's time in launches is what limits
LAUNCH_LIMITS = 0.8


def facts(record: Record) -> tuple[Fact, ...]:
    """All of it; nothing for a record that ran on no GPU."""
    if record.device.gpu is None and record.gpu_latency_ms is None:
        return ()
    return tuple(_facts(record))


def clock(frequency: GpuFrequency) -> str:
    """Requested, set and read under load: ``floating`` where none was set."""
    read = "not read under load" if frequency.mean is None else f"{mhz(_rounded(frequency.mean))} MHz under load"
    if frequency.set is None:
        return f"floating, {read}"
    requested = frequency.requested
    asked = f"requested {mhz(requested)}, " if requested is not None and requested != frequency.set else ""
    return f"{asked}set {mhz(frequency.set)} MHz, {read}"


def _facts(record: Record) -> Iterator[Fact]:
    yield _times(record)
    if record.gpu_latency_ms is not None:
        times = record.gpu_latency_ms
        yield Fact(name="GPU time, p95 and greatest", value=f"{number(times.p95)}, {number(times.max)} ms")
    yield Fact(name="Launch", value=_launch(record.launch))
    yield Fact(name="Copies to and from the GPU", value=_copies(record))
    yield Fact(name="Cross-check", value=_cross_check(record.cross_check))
    yield Fact(name="GPU clock", value=clock(record.device.gpu_freq_mhz))
    throttled = record.thermal.throttled
    told = f"{DASH} ({reasons.throttled(record)})" if throttled is None else ("yes" if throttled else "no")
    yield Fact(name="Throttled", value=told)
    if record.frequency_sensitivity is not None:
        span = record.frequency_sensitivity.span
        yield Fact(
            name="Sensitivity to GPU frequency",
            value=f"{span.value:.3f} from {mhz(span.from_mhz)} to {mhz(span.to_mhz)} MHz",
        )


def _times(record: Record) -> Fact:
    times = record.gpu_latency_ms
    if times is None:
        return Fact(name="GPU time, median", value=f"{DASH} ({reasons.gpu_times(record)})")
    wall_ms = record.latency_ms.p50
    part = f", {number(times.p50 / wall_ms * 100)} % of the wall time" if wall_ms > 0 else ""
    return Fact(name="GPU time, median", value=f"{number(times.p50)} ms{part}")


def _launch(launch: Launch | None) -> str:
    if launch is None:
        return f"{DASH} (not timed)"
    verdict = "the processor limits" if launch.enqueue_ratio > LAUNCH_LIMITS else "the processor does not limit"
    return f"{number(launch.enqueue_p50_ms)} ms, {number(launch.enqueue_ratio * 100)} % of the GPU time: {verdict}"


def _copies(record: Record) -> str:
    launch = record.launch
    if launch is None or (launch.upload_p50_ms is None and launch.download_p50_ms is None):
        transfers = record.protocol.transfers
        return f"none timed (transfers {shorten(transfers, 60)})" if transfers else f"{DASH} (not timed)"
    return f"{number(launch.upload_p50_ms)} ms to it, {number(launch.download_p50_ms)} ms back"


def _cross_check(check: CrossCheck | None) -> str:
    if check is None:
        return "not made (--cross-check does)"
    verdict = "passed" if check.passed else "FAILED"
    return (
        f"{verdict}: {shorten(check.tool, 40)} {number(check.median_ms, 4)} ms, here "
        f"{number(check.own_median_ms, 4)} ms, {number(check.difference_pct)} % apart "
        f"(limit {number(check.limit_pct, 2)} %)"
    )


def _rounded(value_mhz: float) -> float:
    return float(f"{value_mhz:.5g}")
