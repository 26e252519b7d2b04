"""What limits a run, from its figures: each limit with the evidence, how much it explains, and what usually helps.

Nothing is said without evidence, and what could not be judged is named with what would tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from espdeploy.profilers import explain_kernels
from espdeploy.profilers.evidence import Evidence, Limit
from espdeploy.profilers.layer_names import COPY, QUANTIZE, REFORMAT

#: the time to launch over the time on the GPU from which on the processor limits
LAUNCH_RATIO = 0.8
IDLE_LIMIT_PCT = 10.0
COPIES_LIMIT_PCT = 20.0
#: what a limit of the hardware has to explain to be one
FLOOR_LIMIT_PCT = 25.0
#: below it the hardware's limits do not explain the time
FAR_LIMIT_PCT = 50.0
REFORMAT_LIMIT_PCT = 5.0
QUANTIZE_LIMIT_PCT = 3.0
LAYER_LIMIT_PCT = 25.0


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """``limits``, the one that explains most first; ``notes`` say what was not judged, and what would tell.

    ``sentences`` are what to read first.
    """

    limits: tuple[Limit, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]


def explained(evidence: Evidence) -> Explanation:
    """Judge every limit that the evidence bears on."""
    limits = [limit for check in CHECKS for limit in check(evidence)]
    limits.sort(key=lambda limit: -1.0 if limit.share_pct is None else -limit.share_pct - 1.0)
    return Explanation(
        limits=tuple(limits),
        sentences=tuple(limit.text for limit in limits) or (_no_limit(evidence),),
        notes=tuple(_not_judged(evidence)),
    )


def _no_limit(e: Evidence) -> str:
    roof = e.roofline
    if roof is not None and not roof.time_ms:
        share = 100 * roof.memory_floor_ms / roof.floor_ms if roof.floor_ms else 0.0
        return (
            f"The device's limits allow no less than {roof.floor_ms:.3g} ms for an inference, "
            f"{share:.0f} % of it for moving data."
        )
    judged = e.kernels or e.counters or e.layers or roof or e.compute_ms or e.idle_pct is not None
    return (
        "Nothing in these figures stands out as a limit." if judged else "These files tell nothing to judge a run by."
    )


def _launch(e: Evidence) -> Iterator[Limit]:
    if not e.compute_ms or e.enqueue_ms is None:
        return
    ratio = e.enqueue_ms / e.compute_ms
    if ratio <= LAUNCH_RATIO:
        return
    yield Limit(
        code="launch_bound",
        share_pct=min(100.0, 100 * ratio),
        evidence={"enqueue_ms": e.enqueue_ms, "compute_ms": e.compute_ms, "ratio": ratio},
        text=f"Launching takes the processor {e.enqueue_ms:.3g} ms beside {e.compute_ms:.3g} ms on the GPU "
        f"({100 * ratio:.0f} %): the GPU {'waits' if ratio >= 1 else 'may wait'} for the processor.",
        do="launch the network as one CUDA graph (bench --cuda-graph), give it larger batches, or raise the "
        "processor's clocks (power mode)"
        if not e.cuda_graph
        else "it is one CUDA graph already: give it larger batches, or raise the processor's clocks (power mode)",
    )


def _idle(e: Evidence) -> Iterator[Limit]:
    if e.idle_pct is None or e.idle_pct <= IDLE_LIMIT_PCT:
        return
    over = f" between {e.launches:,} launches" if e.launches else ""
    yield Limit(
        code="idle_gaps",
        share_pct=e.idle_pct,
        evidence={"idle_pct": e.idle_pct, "launches": e.launches},
        text=f"The GPU had nothing to do in {e.idle_pct:.0f} % of the time{over}.",
        do="launch the network as one CUDA graph, prepare the next input while the GPU computes, and keep copies "
        "and synchronisation out of the loop",
    )


def _copies(e: Evidence) -> Iterator[Limit]:
    if not e.compute_ms or not e.copies_ms:
        return
    share = 100 * e.copies_ms / (e.copies_ms + e.compute_ms)
    if share <= COPIES_LIMIT_PCT:
        return
    yield Limit(
        code="transfers",
        share_pct=share,
        evidence={"copies_ms": e.copies_ms, "compute_ms": e.compute_ms},
        text=f"Copies from and to the host take {e.copies_ms:.3g} ms beside {e.compute_ms:.3g} ms of computing.",
        do="use pinned or shared memory (a Jetson's GPU reads the host's), copy bytes instead of floats, and "
        "let copies run beside computing",
    )


def _roof(e: Evidence) -> Iterator[Limit]:
    """The two limits of the hardware, where they explain a good part, or that neither does."""
    roof = e.roofline
    if roof is None or not roof.time_ms or roof.reached_pct is None:
        return
    memory_pct = 100 * roof.memory_floor_ms / roof.time_ms
    figures: dict[str, float | str | None] = {
        "intensity": roof.intensity,
        "ridge": roof.peaks.ridge,
        "attainable_gflops": roof.attainable_gflops,
        "achieved_gflops": roof.achieved_gflops,
    }
    for code, share in (("memory_bound", memory_pct), ("compute_bound", roof.reached_pct - memory_pct)):
        if share > FLOOR_LIMIT_PCT:
            yield Limit(code=code, share_pct=min(share, 100.0), evidence=figures, **_ROOF_WORDS[code](e, share))
    waiting = any(_launch(e)) or any(_idle(e))
    if roof.reached_pct < FAR_LIMIT_PCT and not waiting:
        yield Limit(
            code="far_from_roof",
            share_pct=100 - roof.reached_pct,
            evidence={**figures, "floor_ms": roof.floor_ms, "time_ms": roof.time_ms},
            text=f"By its limits the device could do it in {roof.floor_ms:.3g} ms, and it takes {roof.time_ms:.3g} ms: "
            f"{100 - roof.reached_pct:.0f} % of the time is lost to something else.",
            do="see which layers and kernels it is: espdeploy profile, and explain with what it wrote",
        )


def _memory_words(e: Evidence, share: float) -> dict[str, str]:
    roof = e.roofline
    gb_s = roof.bytes / (roof.time_ms * 1e6) if roof and roof.time_ms else 0.0
    peak = roof.peaks.dram_gb_s if roof else 0.0
    return {
        "text": f"Moving data takes {share:.0f} % of the time even at full bandwidth "
        f"(at least {gb_s:.3g} of {peak:.3g} GB/s are used).",
        "do": "lower precision halves the bytes; fewer element-wise layers, concatenations and skip connections of "
        "large maps; a smaller input; a higher clock of the memory",
    }


def _arithmetic_words(e: Evidence, share: float) -> dict[str, str]:
    roof = e.roofline
    achieved = roof.achieved_gflops if roof else None
    peak = roof.peaks.gflops if roof else 0.0
    return {
        "text": f"Arithmetic takes {share:.0f} % of the time even at its peak "
        f"({achieved or 0.0:.4g} of {peak:.4g} GFLOPS are reached).",
        "do": "lower precision where the GPU has it, fewer channels or a smaller input, or a higher GPU clock",
    }


_ROOF_WORDS: dict[str, Callable[[Evidence, float], dict[str, str]]] = {
    "memory_bound": _memory_words,
    "compute_bound": _arithmetic_words,
}


def _overheads(e: Evidence) -> Iterator[Limit]:
    """Layers that the builder put in."""
    if e.layers is None:
        return
    moved = (e.layers.share_pct(REFORMAT) or 0.0) + (e.layers.share_pct(COPY) or 0.0)
    moved_ms = e.layers.by_kind_ms.get(REFORMAT, 0.0) + e.layers.by_kind_ms.get(COPY, 0.0)
    if moved > REFORMAT_LIMIT_PCT:
        yield Limit(
            code="layout_changes",
            share_pct=moved,
            evidence={"reformat_ms": moved_ms, "of_ms": e.layers.total_ms},
            text=f"Layers that only change layouts or copy take {moved_ms:.3g} ms, {moved:.0f} % of all layers.",
            do="let neighbouring layers run in one precision and layout: channels in multiples of 8 (FP16) or 32 "
            "(INT8), no lone layers in another precision, inputs in the layout that the first layer wants",
        )
    share = e.layers.share_pct(QUANTIZE)
    if share is not None and share > QUANTIZE_LIMIT_PCT:
        ms = e.layers.by_kind_ms[QUANTIZE]
        yield Limit(
            code="quantize_overhead",
            share_pct=share,
            evidence={"quantize_ms": ms, "of_ms": e.layers.total_ms},
            text=f"Changing between precisions takes {ms:.3g} ms, {share:.0f} % of all layers.",
            do="quantize what lies between two INT8 layers too (Concat, Add, pooling), or leave the small ones in FP16",
        )


def _layer(e: Evidence) -> Iterator[Limit]:
    if e.layers is None or not e.layers.total_ms:
        return
    longest = max(e.layers.layers, key=lambda layer: layer.mean_ms or 0.0, default=None)
    if longest is None or not longest.time_pct or longest.time_pct <= LAYER_LIMIT_PCT or len(e.layers.layers) == 1:
        return
    yield Limit(
        code="one_layer",
        share_pct=longest.time_pct,
        evidence={"layer": longest.name, "mean_ms": longest.mean_ms},
        text=f"One layer takes {longest.time_pct:.0f} % of the time: {longest.name}.",
        do="begin there: fewer channels, a smaller map, or another operator in its place",
    )


CHECKS: tuple[Callable[[Evidence], Iterator[Limit]], ...] = (
    _launch,
    _idle,
    _copies,
    _roof,
    _overheads,
    _layer,
    *explain_kernels.CHECKS,
)


def _not_judged(e: Evidence) -> Iterator[str]:
    if e.enqueue_ms is None and e.idle_pct is None:
        yield "not judged: whether launching limits (no time of the launch, no timeline): bench on the device, or nsys"
    if e.roofline is None:
        yield (
            "not judged: memory against arithmetic (it takes a time, the network's ONNX file and a device whose peaks "
            "are known)"
        )
    elif not e.roofline.time_ms:
        yield "the roofline has no time of the network: give a record, or a layer profile"
    if e.layers is None:
        yield "not judged: what layers and changes of layout cost (no layer profile): espdeploy profile --tool trtexec"
    if e.counters is None:
        yield "not judged: divergence, coalescing and occupancy (no counters): espdeploy profile with nvprof or ncu"
