"""The ways in which an engine can be built here, each proven against its graph and timed; the fastest wins."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import export, lazy, passes
from espdeploy.artifacts import ModelCard
from espdeploy.backends.registry import PRECISIONS, RUNTIMES, TAKES_MODULES, open_runner
from espdeploy.backends.source import FileSource
from espdeploy.errors import MissingCapability, ToolFailed, UsageError
from espdeploy.pipeline.building.agreement import LIMITS_PCT, rms_error_pct
from espdeploy.pipeline.engine_files.opening import available_threads
from espdeploy.pipeline.engine_files.passport import Tried
from espdeploy.protocols import Clock, Progress, RunnerFacts, SystemClock
from espdeploy.specs import DeviceProfile, RunSpec

if TYPE_CHECKING:
    from onnx import ModelProto

    from espdeploy.protocols import Tensor

#: what may pay before a graph is quantized: each branch of a Concat gets a scale of its own (docs/decisions/0006)
_BEFORE_QUANTIZING = {"openvino": ("split-concat-conv",)}
_ROUNDS = 5
_ROUND_S = 0.15
_FEWEST = 2  # runs in a round, however slow the network
_MOST = 50


class WrongPrecision(ToolFailed):
    """A runtime computes in another precision than the graph asks for; no graph pass mends that."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A runtime and the graph passes that run before it."""

    runtime: str
    passes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way that works: its graph in a file, what runs there, and how far its answers are from the graph's own."""

    way: Way
    path: Path
    facts: RunnerFacts
    rms_error_pct: float | None
    median_ms: float | None = None

    def tried(self) -> Tried:
        """As the passport keeps it."""
        return Tried(
            runtime=self.way.runtime,
            passes=self.way.passes,
            median_ms=self.median_ms,
            refused=None,
            rms_error_pct=self.rms_error_pct,
        )


def ways(profile: DeviceProfile, precision: str, wanted: str | None) -> list[Way]:
    """The runtimes of a device that can, each with its own graph passes and without.

    Raises:
        MissingCapability: none is installed.
        UsageError: the runtime that was asked for has no such precision.
    """
    named = [wanted] if wanted else [name for name in profile.runtimes if name not in TAKES_MODULES]
    able = [name for name in named if precision in PRECISIONS.get(name, ())]
    if not able and wanted:
        raise UsageError(
            f"{wanted} has no {precision}", do=f"--precision {' or '.join(PRECISIONS.get(wanted, ('fp32',)))}"
        )
    here = [name for name in able if lazy.available(RUNTIMES[name][2])] if not wanted else able
    if not here:
        raise MissingCapability(f"no runtime that has {precision} is installed", do='pip install "espdeploy[cpu]"')
    found = []
    for runtime in here:
        own = passes.pipeline_for_runtime(runtime, precision)
        first = _BEFORE_QUANTIZING.get(runtime, ()) if precision in ("int8", "mixed") else ()
        variants = dict.fromkeys([(), own, (*first, *own)])
        found += [Way(runtime=runtime, passes=variant) for variant in variants]
    return found


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a candidate is held against: an input and the right answers to it, None where nothing can give them."""

    feed: dict[str, Tensor]
    answers: Sequence[Tensor] | None


def prove(way: Way, path: Path, precision: str, expected_pct: float, proof: Proof) -> Candidate:
    """Open a candidate, and check that it computes in the precision that was asked for, and computes rightly.

    Args:
        way: what ``path`` was made by.
        path: the graph.
        precision: as asked for.
        expected_pct: the share of convolutions that the graph has in that precision.
        proof: an input and the right answers.

    Raises:
        ToolFailed: it computes in another precision, or something else than the graph.
        EspdeployError: as opening and running do.
    """
    spec = RunSpec(runtime=way.runtime, precision=precision, threads=available_threads())
    with open_runner(FileSource(path=path), spec) as runner:
        facts = runner.facts
        check_shares(facts, precision, expected_pct)
        got = list(runner.infer(proof.feed).values())
    error_pct = None if proof.answers is None else rms_error_pct(proof.answers, got)
    if error_pct is not None and not error_pct <= LIMITS_PCT[precision]:
        raise ToolFailed(
            f"{way.runtime} {facts.runtime_version} does not compute what the {precision} graph says",
            why=f"its answers are {error_pct:.3g} % off (root mean square), beyond the {LIMITS_PCT[precision]:g} % "
            "that rounding explains",
            do="choose another --runtime or --precision",
        )
    return Candidate(way=way, path=path, facts=facts, rms_error_pct=error_pct)


def check_shares(facts: RunnerFacts, precision: str, expected_pct: float = 100.0) -> None:
    """What was asked for must be what runs, up to a tenth of the layers that a runtime may have its reasons for.

    Raises:
        WrongPrecision: too few convolutions compute in that precision.
    """
    shares = facts.precision_share_pct
    if shares is None or "unknown" in shares:
        return
    named = "int8" if precision == "mixed" else precision
    found_pct = shares.get(named, 0.0)
    if found_pct < 0.9 * expected_pct:
        raise WrongPrecision(
            f"{facts.runtime} computes {found_pct:.0f} % of the convolutions in {named} where the graph asks for "
            f"{expected_pct:.0f} %",
            why="what runs: " + ", ".join(f"{pct:.0f} % {name}" for name, pct in shares.items()),
            do="choose another --runtime, or the precision that this machine has",
        )


def fastest(
    candidates: Sequence[Candidate], precision: str, proof: Proof, progress: Progress, clock: Clock | None = None
) -> list[Candidate]:
    """The candidates with their median latency in ms, the fastest first.

    They are timed in turns, so that all meet the same noise; one candidate alone is not timed.
    """
    if len(candidates) < 2:
        return list(candidates)
    watch = clock or SystemClock()
    times: list[list[float]] = [[] for _ in candidates]
    with contextlib.ExitStack() as stack:
        steps = []
        for item in candidates:
            spec = RunSpec(runtime=item.way.runtime, precision=precision, threads=available_threads())
            runner = stack.enter_context(open_runner(FileSource(path=item.path), spec))
            steps.append(runner.stepper(proof.feed))
        for turn in range(_ROUNDS):
            progress(turn, _ROUNDS, "timing the candidates in turns")
            order = range(len(steps)) if turn % 2 == 0 else range(len(steps) - 1, -1, -1)
            for index in order:
                steps[index]()  # the caches, and the threads of the one before, settle
                times[index] += _timed(steps[index], watch)
    timed = [
        Candidate(
            way=item.way,
            path=item.path,
            facts=item.facts,
            rms_error_pct=item.rms_error_pct,
            median_ms=statistics.median(taken),
        )
        for item, taken in zip(candidates, times, strict=True)
    ]
    return sorted(timed, key=lambda item: item.median_ms or 0.0)


def _timed(step: Callable[[], object], clock: Clock) -> list[float]:
    """Milliseconds of each run, for a while."""
    taken: list[float] = []
    while len(taken) < _FEWEST or (sum(taken) < _ROUND_S * 1e3 and len(taken) < _MOST):
        begun = clock.now_ns()
        step()
        taken.append((clock.now_ns() - begun) / 1e6)
    return taken


def save(model: ModelProto, folder: Path, name: str, card: ModelCard | None) -> Path:
    """The candidate's graph as a file in ``folder``."""
    path = folder / f"{name}.onnx"
    export.save(model, path, card)
    return path
