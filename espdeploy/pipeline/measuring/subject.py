"""An opened target that can be timed again and again, whether a runtime of ours or NVIDIA's tool runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from espdeploy.artifacts import ModelCard
from espdeploy.backends.trtexec.plan import InputShape
from espdeploy.backends.trtexec.tool import Tool, dotted
from espdeploy.errors import InternalError, ToolFailed
from espdeploy.pipeline.engine_files.passport import Passport
from espdeploy.pipeline.measuring.feeds import feeds
from espdeploy.pipeline.measuring.targets import Target, TargetRequest, concrete_inputs, describe
from espdeploy.pipeline.measuring.timing import Timed, time_runner
from espdeploy.pipeline.measuring.tool_timing import time_with_tool
from espdeploy.protocols import Clock, Progress, Runner, RunnerFacts
from espdeploy.records import ModelInfo
from espdeploy.specs import BenchSpec


class Subject(Protocol):
    """What is timed. ``model`` may be asked after the first timing, for a tool tells shapes only then."""

    @property
    def runner(self) -> Runner | None:
        """The runtime behind it, which can answer too; None for a tool, which cannot."""

    @property
    def facts(self) -> RunnerFacts:
        """What really runs."""

    def model(self) -> tuple[ModelInfo, tuple[str, ...]]:
        """The record's model section, and notes on what is unknown."""

    def time(self, spec: BenchSpec, progress: Progress) -> Timed:
        """Warm up and time it."""


@contextlib.contextmanager
def opened(request: TargetRequest, target: Target, clock: Clock) -> Iterator[Subject]:
    """The target, ready to be timed.

    Raises:
        EspdeployError: as the runtime does on opening.
    """
    if target.tool is not None and target.path is not None:
        yield ToolSubject(request, target, target.tool, target.path, clock)
        return
    if target.runner is None:
        raise InternalError("a target with neither a runner nor a tool")
    with target.runner as runner:
        yield RunnerSubject(request, target, runner, clock)


class RunnerSubject:
    """A runner, entered. It runs once at the start: a network that cannot run says so in its runtime's words."""

    def __init__(self, request: TargetRequest, target: Target, runner: Runner, clock: Clock) -> None:
        self.runner: Runner | None = runner
        self.facts = runner.facts
        self._runner, self._target, self._clock = runner, target, clock
        self._inputs = concrete_inputs(runner.inputs, card_of(target, runner), request)
        # zeros or noise can run faster, and draw less power, than real data
        self._feed = feeds(self._inputs, card_of(target, runner), count=1, batch=1)[0]
        runner.infer(self._feed)

    def model(self) -> tuple[ModelInfo, tuple[str, ...]]:
        """The record's model section, and notes on what is unknown."""
        return describe(card_of(self._target, self._runner), self._target, self._inputs[0].extents(1))

    def time(self, spec: BenchSpec, progress: Progress) -> Timed:
        """Warm up and time it in our own loop."""
        return time_runner(self._runner, self._feed, spec=spec, clock=self._clock, progress=progress)


class ToolSubject:
    """An engine that NVIDIA's tool times; it gives no answers."""

    runner: Runner | None = None

    def __init__(self, request: TargetRequest, target: Target, tool: Tool, engine: Path, clock: Clock) -> None:
        self._request, self._target, self._tool, self._clock = request, target, tool, clock
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        passport = target.passport
        self.facts = RunnerFacts(
            runtime=tool.kind,
            runtime_version=dotted(tool.version),
            provider=str(tool.path),
            threads=None,
            precision_share_pct=passport.precision_share_pct if passport else None,
        )

    def model(self) -> tuple[ModelInfo, tuple[str, ...]]:
        """The record's model section; its shape is the one that the tool ran."""
        if not self._shapes:
            raise ToolFailed(
                f"{self._tool.label} did not tell the shape of the network's input",
                why="without it neither the record nor its energy per image means anything",
                do="build the engine again with espdeploy build, and bench that",
            )
        return describe(card_of(self._target, None), self._target, next(iter(self._shapes.values())))

    def time(self, spec: BenchSpec, progress: Progress) -> Timed:
        """Time it in a run of the tool."""
        done = time_with_tool(
            self._tool,
            self._engine,
            spec=spec,
            clock=self._clock,
            progress=progress,
            shapes=asked_shapes(self._target.passport, self._request.batch),
            dla_core=self._target.passport.dla_core if self._target.passport else None,
        )
        self._shapes = done.shapes or self._shapes
        return done.timed


def asked_shapes(passport: Passport | None, batch: int | None) -> tuple[InputShape, ...]:
    """Shapes for an engine with open extents: those that kernels were chosen for, at the batch asked for."""
    if passport is None:
        return ()
    found = []
    for item in passport.shapes:
        named = passport.inputs.get(item.name, ())
        only_batch = bool(named) and not isinstance(named[0], int) and item.smallest[0] != item.largest[0]
        shape = (batch, *item.usual[1:]) if only_batch and batch is not None else item.usual
        found.append(InputShape(name=item.name, shape=tuple(shape)))
    return tuple(found)


def card_of(target: Target, runner: Runner | None) -> ModelCard | None:
    """What is known of the network: by the engine itself, else by its passport."""
    own = runner.card if runner is not None else None
    return own or (target.passport.card if target.passport is not None else None)
