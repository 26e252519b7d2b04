"""Mixed precision: the layers whose INT8 pays without costing more accuracy than is allowed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy.accuracy.datasets import find_pairs
from espdeploy.accuracy.evaluate import Agreement, evaluate
from espdeploy.errors import InternalError, UsageError
from espdeploy.pipeline.building.judging import Judge, JudgedBy, keep, opened
from espdeploy.pipeline.building.layer_times import PROFILERS, LayerTimes, layer_times
from espdeploy.pipeline.building.lowering import Lowering, Network, judged_by, lowering, read_network
from espdeploy.pipeline.building.trusted_runtime import REFERENCE
from espdeploy.pipeline.engine_files.opening import available_threads
from espdeploy.protocols import Progress
from espdeploy.quantize.search import DEFAULT_BUDGET, Assignment, Drop, search
from espdeploy.quantize.sensitivity import Effect, each_alone, weights
from espdeploy.quantize.table import CalibrationTable
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from onnx import ModelProto

#: with fewer labelled images neither half says anything
LEAST_IMAGES = 4
#: images that assignments are tried on, and those by which single layers are put in order
USUAL_SEARCH_IMAGES, _ORDERING_IMAGES = 32, 8
_MOST_PCT = 100.0


@dataclass(frozen=True, kw_only=True)
class MixedRequest:
    """Which network is to be sped up, for which runtime, and how much mIOU it may lose on which labelled images.

    ``passes`` are graph passes that run first, ``placement`` that of :func:`espdeploy.quantize.qdq.quantize`. ``limit``
    is of the images of the search, ``budget`` of the assignments that are tried.
    """

    onnx: Path
    table: CalibrationTable
    data: Path
    labels: Path | None
    max_drop_pct: float
    runtime: str
    threads: int | None = None
    passes: tuple[str, ...] = ()
    placement: str = "convolutions"
    limit: int | None = None
    budget: int = DEFAULT_BUDGET


@dataclass(frozen=True, kw_only=True)
class MixedResult:
    """The graph with Q/DQ pairs round the layers that were chosen, and why the others were not.

    Drops are mIOU points lost against FP32, with their 95 % intervals over images, on the images of the search and on
    those it did not see. ``saved_ms`` is what the layers gain by their own times, None where these were not measured.
    """

    model: ModelProto
    int8: tuple[str, ...]
    kept: dict[str, str]
    drop_search_pct: float
    drop_search_ci95_pct: tuple[float, float] | None
    drop_heldout_pct: float
    drop_heldout_ci95_pct: tuple[float, float] | None
    images_search: int
    images_heldout: int
    evaluations: int
    saved_ms: float | None
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Trier:
    """Judges assignments; what was judged once is remembered."""

    judge: Judge
    lowering: Lowering
    spec: RunSpec
    progress: Progress
    known: dict[frozenset[str], Drop] = field(default_factory=dict)

    def drop(self, layers: frozenset[str]) -> Drop:
        if layers not in self.known:
            self.progress(len(self.known), None, "assignments tried")
            effect = self.effect(self.judge, layers)
            self.known[layers] = Drop(points=_known(effect.drop_pct), ci95=effect.drop_ci95_pct)
        return self.known[layers]

    def effect(self, judge: Judge, layers: frozenset[str]) -> Effect:
        with opened(self.lowering.graph(layers), self.spec) as runner:
            return judge.effect(runner)


def mixed(request: MixedRequest, progress: Progress) -> MixedResult:
    """Find the fastest assignment within the allowed drop on every second image, and judge it on the others.

    Raises:
        UsageError: fewer than four images, none with labels, a drop outside 0..100, or no layer that can go to INT8.
        InputFileError: an unusable network, image or label.
        MissingCapability: no runtime that has INT8 is installed.
        ToolFailed: the runtime does not run one of the graphs.
    """
    check_mixed(request.data, request.labels, request.max_drop_pct)
    progress(0, None, "reading the network")
    network = read_network(request.onnx, request.table, request.passes)
    _check_scorable(network)
    lower = lowering(network, "int8", request.table, placement=request.placement)
    images = judged_by(network, request.data, request.labels)
    threads = request.threads or available_threads()
    runtime = request.runtime if request.runtime in PROFILERS else REFERENCE
    with opened(network.model, RunSpec(runtime=runtime, precision="fp32", threads=threads)) as reference:
        tried = dataclasses.replace(images, pairs=images.pairs[::2])
        judge = keep(reference, tried, limit=request.limit, usual=USUAL_SEARCH_IMAGES, progress=progress)
    spec = RunSpec(runtime=runtime, precision="mixed", threads=threads)
    trier = _Trier(judge=judge, lowering=lower, spec=spec, progress=progress)
    times = layer_times(lower, judge.feed, request.runtime, threads=threads, progress=progress)
    found = _searched(request, trier, times)
    heldout = dataclasses.replace(images, pairs=images.pairs[1::2])
    agreement = _on_heldout(heldout, trier, found.int8)
    return MixedResult(
        model=lower.graph(found.int8),
        int8=found.int8,
        kept={**lower.left, **found.kept},
        drop_search_pct=found.drop_search.points,
        drop_search_ci95_pct=found.drop_search.ci95,
        drop_heldout_pct=_known(agreement.miou_drop_pct),
        drop_heldout_ci95_pct=agreement.miou_drop_ci95_pct,
        images_search=judge.images,
        images_heldout=len(heldout.pairs),
        evaluations=found.evaluations,
        saved_ms=found.saved_ms if times.measured else None,
        notes=tuple(_notes(request, found, times, agreement)),
    )


def check_mixed(data: Path, labels: Path | None, max_drop_pct: float) -> None:
    """Refuse what the search cannot do, before any slow work; nothing is run for it.

    Raises:
        UsageError: a drop that is not from 0 to 100, no labels, or fewer than four images.
        InputFileError: unusable folders of images or labels.
    """
    if not 0.0 <= max_drop_pct <= _MOST_PCT:  # NaN as well
        raise UsageError(
            f"--max-drop-pct {max_drop_pct:g} is not from 0 to 100",
            why="it is in points of mIOU, so that 0.2 is a fifth of a point",
            do="for example --max-drop-pct 0.2",
        )
    pairs = find_pairs(data, labels)
    if pairs[0].label is None:
        raise UsageError(
            f"the images in {data} have no labels",
            why="how much mIOU a layer in INT8 costs can only be told with them",
            do="add --labels DIR, or build with --precision int8",
        )
    if len(pairs) < LEAST_IMAGES:
        raise UsageError(
            f"{data} has {len(pairs)} labelled images, mixed needs {LEAST_IMAGES} or more",
            why="half of them choose the layers, the others judge the choice",
            do="give more images, or build with --precision int8",
        )


def _check_scorable(network: Network) -> None:
    if network.label_classes is None:
        raise UsageError(
            f"mIOU of {network.path} cannot be scored",
            why="it does not say which classes its labels have, or gives one class for a whole image",
            do="espdeploy export --model NAME --weights FILE -o F.onnx, and build that; or --precision int8",
        )


def _searched(request: MixedRequest, trier: _Trier, times: LayerTimes) -> Assignment:
    """The search; how sensitive single layers are is only measured where all of them together lose too much."""
    layers = trier.lowering.layers
    faster = [layer for layer in layers if times.time_ms[layer][1] < times.time_ms[layer][0]]
    effects: dict[str, Effect] = {}
    if faster and not trier.drop(frozenset(faster)).points <= request.max_drop_pct:
        few = trier.judge.part(_ORDERING_IMAGES)
        effects = each_alone(faster, lambda layer: trier.effect(few, frozenset([layer])), trier.progress)
    return search(
        layers,
        accuracy=trier.drop,
        time_ms=times.time_ms,
        sensitivity=weights(effects) if effects else dict.fromkeys(faster, 0.0),
        max_drop=request.max_drop_pct,
        budget=request.budget,
        alone={layer: f"costs {_known(effect.drop_pct):.2f} points alone" for layer, effect in effects.items()},
    )


def _on_heldout(images: JudgedBy, trier: _Trier, int8: Collection[str]) -> Agreement:
    """The chosen assignment on images that had no part in choosing it, at the labels' own size."""
    fp32 = dataclasses.replace(trier.spec, precision="fp32")
    if images.classes is None:
        raise InternalError("labelled images have no classes")
    with (
        opened(trier.lowering.network.model, fp32) as reference,
        opened(trier.lowering.graph(int8), trier.spec) as runner,
    ):
        found = evaluate(
            runner, images.folder(images.pairs), images.classes, progress=trier.progress, reference=reference
        )
    if found.reference is None:
        raise InternalError("an evaluation with a reference tells no agreement")
    return found.reference


def _notes(request: MixedRequest, found: Assignment, times: LayerTimes, agreement: Agreement) -> Iterator[str]:
    if not times.measured:
        yield f"{request.runtime} is not here to be timed: layers were chosen by their multiply-adds"
    if not found.int8:
        slower = all(int8 >= floating for floating, int8 in times.time_ms.values())
        why = "no layer is faster in INT8" if slower else f"no layer fits into {request.max_drop_pct:g} points"
        yield f"everything stays in floating point: {why} in {request.runtime}"
    if request.table.random:
        yield "the calibration table is from made-up inputs: this engine is for timing only"
    drop_pct, between = _known(agreement.miou_drop_pct), agreement.miou_drop_ci95_pct
    if drop_pct > request.max_drop_pct:
        chance = between is not None and between[0] <= request.max_drop_pct
        yield (
            f"on images that the search did not see {drop_pct:.2f} points are lost, {request.max_drop_pct:g} allowed"
            + (f" (95 % interval {between[0]:.2f} … {between[1]:.2f})" if between and chance else "")
        )


def _known(points: float | None) -> float:
    """Points lost, which are known wherever a label holds a class that counts; NaN, which meets no limit, elsewhere."""
    return math.nan if points is None else points
