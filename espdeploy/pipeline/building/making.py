"""From a graph to the engine file: every way that this machine offers is tried, proven, timed; the fastest is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import export, lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends.openvino_shares import time_shares_pct
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource
from espdeploy.errors import EspdeployError, InputFileError, InternalError, MissingCapability, ToolFailed, UsageError
from espdeploy.pipeline.building.candidates import Candidate, Proof, Way, WrongPrecision, fastest, prove, save, ways
from espdeploy.pipeline.building.lower import QUANTIZED, Lowered, amax_of, lower
from espdeploy.pipeline.building.mixed import MixedRequest, mixed
from espdeploy.pipeline.engine_files.opening import available_threads
from espdeploy.pipeline.engine_files.passport import AccuracyDrop, Tried
from espdeploy.pipeline.measuring.feeds import feeds
from espdeploy.protocols import Progress, TensorInfo
from espdeploy.quantize.table import CalibrationTable
from espdeploy.specs import DeviceProfile, RunSpec

if TYPE_CHECKING:
    from onnx import ModelProto

    from espdeploy.protocols import Tensor

_REFERENCE = "onnxruntime"
_PROBE = {2: 256, 3: 512}  # height and width where a graph leaves them open


@dataclass(frozen=True, kw_only=True)
class Making:
    """What is to be made, and the folder for what is only tried."""

    onnx: Path
    profile: DeviceProfile
    precision: str
    runtime: str | None
    table: CalibrationTable | None
    folder: Path
    max_drop_pct: float | None = None
    data: Path | None = None
    labels: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """The chosen candidate, and what is known about how it was chosen."""

    candidate: Candidate
    tried: tuple[Tried, ...]
    kept: Mapping[str, str] = field(default_factory=dict)
    time_share_pct: dict[str, float] | None = None
    drop: AccuracyDrop | None = None
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The engine's file."""
        return self.candidate.path

    @property
    def runtime(self) -> str:
        """What opens it."""
        return self.candidate.facts.runtime

    @property
    def runtime_version(self) -> str:
        """The release that accepted it."""
        return self.candidate.facts.runtime_version

    @property
    def precision_share_pct(self) -> dict[str, float] | None:
        """What its convolutions compute in."""
        shares = self.candidate.facts.precision_share_pct
        return dict(shares) if shares else None


@dataclass
class _Trial:
    """What is known while the ways are tried."""

    making: Making
    model: ModelProto
    card: ModelCard | None
    feed: dict[str, Tensor] | None
    seen: list[Way] = field(default_factory=list)
    works: list[tuple[Candidate, Lowered]] = field(default_factory=list)
    refused: list[tuple[Way, EspdeployError]] = field(default_factory=list)


def make(making: Making, progress: Progress) -> Made:
    """Try every way, take the fastest that computes rightly in the precision that was asked for.

    Raises:
        EspdeployError: the first way's failure, where none works.
    """
    progress(0, None, "reading the graph")
    model = export.load(making.onnx)
    facts = export.inspect(model)
    trial = _Trial(making=making, model=model, card=facts.card, feed=_feed(facts))
    made = _mixed(trial, progress) if making.precision == "mixed" else _of_one_precision(trial, progress)
    return dataclasses.replace(made, time_share_pct=_time_share_pct(made.candidate, making.precision, trial.feed))


def _time_share_pct(best: Candidate, precision: str, feed: dict[str, Tensor] | None) -> dict[str, float] | None:
    """Percent of the time in each precision; None where the runtime does not tell."""
    if feed is None or best.way.runtime != "openvino":
        return None
    spec = RunSpec(runtime=best.way.runtime, precision=precision, threads=available_threads())
    return time_shares_pct(best.path, feed, spec)


def _mixed(trial: _Trial, progress: Progress) -> Made:
    """The way that is fastest with everything in INT8, then the layers that pay and cost little enough there."""
    making = trial.making
    if making.table is None or making.data is None or making.max_drop_pct is None:
        raise InternalError("mixed precision was asked for without ranges, images or a limit")
    trial.making = dataclasses.replace(making, precision="int8")
    whole = _of_one_precision(trial, progress)
    way = whole.candidate.way
    request = MixedRequest(
        onnx=making.onnx,
        table=making.table,
        data=making.data,
        labels=making.labels,
        max_drop_pct=making.max_drop_pct,
        runtime=way.runtime,
        passes=way.passes,
    )
    found = mixed(request, progress)
    trial.making = making
    path = save(found.model, making.folder, "mixed", trial.card)
    lowered = Lowered(model=found.model, kept=found.kept, changed_by=way.passes)
    answers = _answers(trial, path)
    proof = Proof(feed=trial.feed or {}, answers=answers)
    candidate = prove(way, path, "mixed", _expected_pct(lowered, "mixed"), proof)
    return Made(
        candidate=candidate,
        tried=whole.tried,
        kept=found.kept,
        drop=AccuracyDrop(
            search_pct=found.drop_search_pct,
            heldout_pct=found.drop_heldout_pct,
            heldout_ci95_pct=found.drop_heldout_ci95_pct,
            images_search=found.images_search,
            images_heldout=found.images_heldout,
        ),
        notes=found.notes,
    )


def _of_one_precision(trial: _Trial, progress: Progress) -> Made:
    making = trial.making
    offered = ways(making.profile, making.precision, making.runtime)
    if trial.feed is None:
        offered = offered[:1]
    for index, way in enumerate(offered):
        if any(
            before.runtime == way.runtime and isinstance(error, (MissingCapability, WrongPrecision))
            for before, error in trial.refused
        ):
            continue  # what the runtime or this machine has not got, no graph pass brings
        progress(index, len(offered), f"{way.runtime}{' with graph passes' if way.passes else ''}")
        try:
            tried = _candidate(trial, way, index)
        except EspdeployError as error:
            if isinstance(error, UsageError) and making.precision in QUANTIZED:
                raise  # the graph or the table is at fault, whatever the runtime
            trial.refused.append((way, error))
        else:
            trial.works += [tried] if tried else []
    if not trial.works:
        raise _none_works(trial)
    return _chosen(trial, progress)


def _none_works(trial: _Trial) -> EspdeployError:
    """One error for all ways: the failure itself where they fail alike, else what each runtime said."""
    precision = trial.making.precision
    by_runtime = {way.runtime: error for way, error in trial.refused}
    if len(by_runtime) == 1 or len({error.what for error in by_runtime.values()}) == 1:
        return trial.refused[0][1]
    missing = all(isinstance(error, (ToolFailed, MissingCapability)) for error in by_runtime.values())
    kind = MissingCapability if missing else type(trial.refused[0][1])
    return kind(
        f"no runtime here builds {trial.making.onnx} in {precision}",
        why="; ".join(error.what for error in by_runtime.values()),
        do=trial.refused[-1][1].do,
    )


def _candidate(trial: _Trial, offered: Way, index: int) -> tuple[Candidate, Lowered] | None:
    """The engine of one way, proven; None where its graph passes found nothing to do that was not tried already."""
    making = trial.making
    lowered = lower(trial.model, making.precision, amax=amax_of(making.table), names=offered.passes)
    way = Way(runtime=offered.runtime, passes=lowered.changed_by)
    if way in trial.seen:
        return None
    trial.seen.append(way)
    if not way.passes and making.precision in ("fp32", "bf16"):
        path = making.onnx
    else:
        path = save(lowered.model, making.folder, str(index), trial.card)
    expected_pct = _expected_pct(lowered, making.precision)
    proof = Proof(feed=trial.feed or {}, answers=_answers(trial, path))
    return prove(way, path, making.precision, expected_pct, proof), lowered


def _answers(trial: _Trial, lowered: Path) -> list[Tensor] | None:
    """The right answers: of the FP32 graph, or of the Q/DQ graph itself, which another runtime takes by its word.

    None where that runtime is absent, or cannot run the graph: what another one makes of it may still be an engine.
    """
    making = trial.making
    if trial.feed is None or not lazy.available(_REFERENCE):
        return None
    quantized = making.precision in QUANTIZED
    spec = RunSpec(runtime=_REFERENCE, precision=making.precision if quantized else "fp32", threads=available_threads())
    try:
        with open_runner(FileSource(path=lowered if quantized else making.onnx), spec) as runner:
            return list(runner.infer(trial.feed).values())
    except (InputFileError, ToolFailed):
        return None


def _expected_pct(lowered: Lowered, precision: str) -> float:
    """The share of the convolutions that the graph has in the precision that was asked for."""
    if precision not in QUANTIZED:
        return 100.0
    nodes = [node for node in lowered.model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    left = sum(node.name in lowered.kept for node in nodes)
    return 100.0 * (len(nodes) - left) / len(nodes) if nodes else 0.0


def _chosen(trial: _Trial, progress: Progress) -> Made:
    making = trial.making
    candidates = [candidate for candidate, _ in trial.works]
    if trial.feed is None:
        ranked = candidates
    else:
        proof = Proof(feed=trial.feed, answers=None)
        ranked = fastest(candidates, making.precision, proof, progress)
    best = ranked[0]
    lowered = next(
        lowered for candidate, lowered in trial.works if candidate.path == best.path and candidate.way == best.way
    )
    refused = [
        Tried(runtime=way.runtime, passes=way.passes, median_ms=None, refused=error.what)
        for way, error in trial.refused
    ]
    return Made(
        candidate=best,
        tried=(*(item.tried() for item in ranked), *refused),
        kept=dict(lowered.kept),
        notes=(*lowered.notes, *_doubts(trial)),
    )


def _doubts(trial: _Trial) -> tuple[str, ...]:
    if trial.feed is None:
        return ("not proven and not timed: the graph does not say what its inputs are",)
    if not lazy.available(_REFERENCE):
        return (f"not proven against a second runtime: {_REFERENCE} is not installed",)
    if any(candidate.rms_error_pct is None for candidate, _ in trial.works):
        return (f"not proven against a second runtime: {_REFERENCE} cannot run this graph",)
    return ()


def probe_inputs(facts: export.GraphFacts) -> list[TensorInfo]:
    """The inputs of a graph with open extents filled in: one image of a size that most networks take."""
    return [
        dataclasses.replace(
            item,
            shape=tuple(
                extent if isinstance(extent, int) else _PROBE.get(axis, 1) for axis, extent in enumerate(item.shape)
            ),
        )
        for item in facts.inputs
    ]


def _feed(facts: export.GraphFacts) -> dict[str, Tensor] | None:
    """An input that looks real; None where the graph takes no image and no text."""
    try:
        return feeds(probe_inputs(facts), facts.card, count=1, batch=1)[0]
    except UsageError:
        return None
