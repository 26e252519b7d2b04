"""Runs passes in order, checks the graph after each, and names the culprit when one breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espdeploy.errors import EspdeployError, InternalError, UsageError, nearest
from espdeploy.onnx_graph import check
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.registry import PASSES
from espdeploy.protocols import Progress, no_progress

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one pass did."""

    name: str
    changes: int
    note: str

    @property
    def modified(self) -> bool:
        """Whether the pass changed anything."""
        return self.changes > 0


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The model after all passes, and what each of them did."""

    model: ModelProto
    steps: tuple[Step, ...]

    @property
    def changed_by(self) -> tuple[str, ...]:
        """The passes that changed something, each once, in order."""
        return tuple(dict.fromkeys(step.name for step in self.steps if step.modified))


def apply(
    model: ModelProto,
    names: Sequence[str],
    *,
    verify: Callable[[ModelProto], None] | None = None,
    progress: Progress = no_progress,
    passes: Mapping[str, Pass] = PASSES,
) -> Applied:
    """Run the passes ``names`` on a copy of ``model``; the argument itself stays as it is.

    Args:
        model: a valid ONNX model.
        names: passes in order; one may stand there more than once.
        verify: called with the model after each pass that changed it, for example to compare outputs.
        progress: told before each pass.
        passes: what the names mean.

    Raises:
        UsageError: a name is unknown.
        InternalError: a pass failed, left an invalid graph, or failed ``verify``; names it and those before it.
    """
    unknown = next((name for name in names if name not in passes), None)
    if unknown is not None:
        raise UsageError(f'there is no graph pass "{unknown}"', do=nearest(unknown, passes))
    current = type(model)()
    current.CopyFrom(model)
    holds: set[str] = set()
    steps: list[Step] = []
    for index, name in enumerate(names):
        progress(index, len(names), name)
        chosen = passes[name]
        if missing := sorted(chosen.requires - holds):
            raise InternalError(f"the pass {name} needs {', '.join(missing)}, which no pass before it gives")
        result = _run(chosen, current, steps, verify)
        current = result.model
        holds = (holds - chosen.breaks if result.modified else holds) | chosen.ensures
        steps.append(Step(name=name, changes=result.changes, note=result.note))
    progress(len(names), len(names), "")
    return Applied(model=current, steps=tuple(steps))


def _run(
    chosen: Pass, model: ModelProto, before: Sequence[Step], verify: Callable[[ModelProto], None] | None
) -> PassResult:
    stage = "failed"
    try:
        result = chosen.run(model)
        stage = "left an invalid graph"
        check(result.model)
        stage = "changed what the network computes"
        if verify is not None and result.modified:
            verify(result.model)
    except EspdeployError as error:
        if stage == "failed":  # a pass that says itself what to do, such as simplify
            raise
        raise _named(chosen, stage, before, error.what) from error
    except Exception as error:  # a pass is our own code on a graph of any kind: whatever it raises is our fault
        raise _named(chosen, stage, before, f"{type(error).__name__}: {error}") from error
    return result


def _named(chosen: Pass, stage: str, before: Sequence[Step], cause: str) -> InternalError:
    ran = ", ".join(step.name for step in before) or "none"
    return InternalError(
        f"the graph pass {chosen.name} {stage}",
        why=f"{cause.strip().splitlines()[0] if cause.strip() else 'no reason given'} (passes before it: {ran})",
        do="report this with the network; --no-simplify leaves out all passes that change the graph",
    )
