"""An engine timed by NVIDIA's own tool, its rows put onto the clock that the monitors are read on."""

from __future__ import annotations

import math
import tempfile
from array import array
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from espdeploy.backends.trtexec.plan import InputShape, TimePlan
from espdeploy.backends.trtexec.timing import input_shapes, is_start, time_engine
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.bench.loop import Measurement
from espdeploy.bench.warmup import WINDOW_RUNS, WINDOW_S, WINDOWS, Warmup, is_steady
from espdeploy.errors import ToolFailed
from espdeploy.pipeline.measuring.timing import Timed, Way
from espdeploy.profilers.trtexec.times import Times, read_times
from espdeploy.protocols import Clock, Progress
from espdeploy.records import Launch
from espdeploy.specs import BenchSpec
from espdeploy.units import MS_PER_S, NS_PER_MS

#: the tool warms up for a fixed time; whether that was enough is judged on what it measured
_WARMUP_RULE = "fixed time by the tool"


@dataclass(frozen=True, kw_only=True)
class ToolTimed:
    """The times, and the inputs' shapes as the tool told them (empty: it did not)."""

    timed: Timed
    shapes: dict[str, tuple[int, ...]]


def time_with_tool(
    tool: Tool,
    engine: Path,
    *,
    spec: BenchSpec,
    clock: Clock,
    progress: Progress,
    shapes: tuple[InputShape, ...] = (),
    dla_core: int | None = None,
) -> ToolTimed:
    """Time an engine through the tool, with every option of the protocol given.

    Latency is what the tool calls so: the time on the GPU, with the copies where ``spec.transfers`` asks for them. What
    runs on a DLA (``dla_core``) cannot be launched as a CUDA graph, and is not.

    Raises:
        EspdeployError: as :func:`~espdeploy.backends.trtexec.timing.time_engine`; ToolFailed where it wrote no rows.
    """
    began_ns: list[int] = []

    def watch(line: str) -> None:
        if is_start(line):
            began_ns.append(clock.now_ns())

    with tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        plan = time_plan(spec, engine, Path(folder) / "times.json", shapes=shapes, dla_core=dla_core)
        run = time_engine(tool, plan, progress, watch=watch)
        with plan.times_json.open(encoding="utf-8", errors="replace") as stream:
            times = read_times(stream, warmup_ms=plan.warmup_ms)
    if not times.gpu_compute_ms.size or not began_ns:
        raise ToolFailed(
            f"{tool.label} passed, and told no time of an inference",
            do=f"make room in {tempfile.gettempdir()}, where it writes them; espdeploy doctor shows its release",
        )
    # without a line of its own the end of loading is not known, so the last one that says "inference" counts
    measurement = _measurement(times, spec, began_ns[-1])
    notes = _notes(times)
    timed = Timed(
        measurement=measurement,
        way=Way(
            clock=f"{tool.kind} events",
            warmup_rule=_WARMUP_RULE,
            cuda_graph=plan.cuda_graph,
            spin_wait=spec.spin_wait,
            transfers="included" if spec.transfers else "excluded",
        ),
        compute_ms=tuple(times.gpu_compute_ms.tolist()),
        launch=_launch(times),
        notes=notes,
    )
    return ToolTimed(timed=timed, shapes=input_shapes(run.output))


def time_plan(
    spec: BenchSpec, engine: Path, times_json: Path, *, shapes: tuple[InputShape, ...] = (), dla_core: int | None = None
) -> TimePlan:
    """What the tool is asked for, from what ``bench`` was asked for; whole seconds are never fewer than were wanted."""
    return TimePlan(
        engine=engine,
        times_json=times_json,
        warmup_ms=round(spec.warmup_min_s * MS_PER_S),
        duration_s=max(1, math.ceil(spec.duration_min_s)),
        iterations=spec.trials,
        cuda_graph=spec.cuda_graph and dla_core is None,
        spin_wait=spec.spin_wait,
        transfers=spec.transfers,
        inputs=shapes,
        dla_core=dla_core,
    )


def _measurement(times: Times, spec: BenchSpec, began_ns: int) -> Measurement:
    latency_ms = times.latency_ms if spec.transfers and times.latency_ms.size else times.gpu_compute_ms
    starts = (began_ns + times.start_ms * NS_PER_MS).astype(np.int64)
    durations = np.maximum((latency_ms * NS_PER_MS).astype(np.int64), 1)
    medians = _window_medians_ms(times.start_ms, latency_ms)
    return Measurement(
        start_ns=array("q", starts.tolist()),
        duration_ns=array("q", durations.tolist()),
        warmup=Warmup(
            trials=times.warmup_dropped,
            seconds=spec.warmup_min_s,
            steady=is_steady(medians),
            window_medians_ms=medians,
            fixed=True,
        ),
    )


def _window_medians_ms(start_ms: NDArray[np.float64], latency_ms: NDArray[np.float64]) -> tuple[float, ...]:
    """Medians of the first windows that were measured: steady there means that the warm-up was long enough."""
    found: list[float] = []
    runs: list[float] = []
    opened_ms = float(start_ms[0])
    for start, latency in zip(start_ms.tolist(), latency_ms.tolist(), strict=True):
        runs.append(latency)
        if len(runs) >= WINDOW_RUNS and start + latency - opened_ms >= WINDOW_S * MS_PER_S:
            found.append(median(runs))
            runs, opened_ms = [], start + latency
        if len(found) == WINDOWS:
            break
    return tuple(found)


def _launch(times: Times) -> Launch | None:
    ratio = times.enqueue_ratio
    if ratio is None:
        return None
    return Launch(
        enqueue_p50_ms=float(np.median(times.enqueue_ms)),
        enqueue_ratio=ratio,
        upload_p50_ms=_median_ms(times.h2d_ms),
        download_p50_ms=_median_ms(times.d2h_ms),
    )


def _median_ms(values: NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if values.size and values.any() else None


def _notes(times: Times) -> tuple[str, ...]:
    damaged = f"{times.damaged} rows of the tool could not be read" if times.damaged else ""
    return tuple(note for note in (damaged,) if note)
