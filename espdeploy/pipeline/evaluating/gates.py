"""Limits that a script sets on an engine's accuracy, and whether they are met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.accuracy.classify import ClassEvaluation
from espdeploy.accuracy.evaluate import Evaluation
from espdeploy.errors import AnswerIsNo, UsageError

_MOST_PCT = 100.0
_ROUNDING_PCT = 1e-9  # a limit that is met but for the last bit of a sum is met
_OPTIONS = {"min_miou_pct": "--min-miou", "min_top1_pct": "--min-top1", "max_drop_pct": "--max-drop-pct"}
_INSTEAD = {"min_miou_pct": "min_top1_pct", "min_top1_pct": "min_miou_pct"}
_METRICS = {"min_miou_pct": "mIOU", "min_top1_pct": "top-1 accuracy"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an engine's accuracy must be: at least so many percent, at most so many points below the reference's.

    ``max_drop_pct`` is of mIOU, for classifiers of top-1 accuracy.
    """

    min_miou_pct: float | None = None
    min_top1_pct: float | None = None
    max_drop_pct: float | None = None

    @property
    def given(self) -> dict[str, float]:
        """The limits that were set, by name."""
        named = {name: getattr(self, name) for name in _OPTIONS}
        return {name: value for name, value in named.items() if value is not None}


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One limit, what was found and whether that meets it; an unknown value (None) never does."""

    name: str
    limit: float
    value: float | None
    passed: bool


def check_limits(limits: Limits, *, has_reference: bool) -> None:
    """Refuse limits that nothing could be held against, before any slow work.

    Raises:
        UsageError: a limit outside 0..100, or one on the drop without a reference.
    """
    for name, value in limits.given.items():
        if not 0.0 <= value <= _MOST_PCT:  # NaN as well
            unit = "points" if name == "max_drop_pct" else "percent"
            raise UsageError(
                f"{option(name)} {value:g} is not from 0 to 100",
                why=f"it is in {unit}, so that 0.5 is half a {unit.removesuffix('s')}",
                do=f"for example {option(name)} {0.5 if name == 'max_drop_pct' else 65}",
            )
    if limits.max_drop_pct is not None and not has_reference:
        raise UsageError(
            f"--max-drop-pct {limits.max_drop_pct:g} needs something to drop from",
            do="add --reference F.onnx: the same network in FP32",
        )


def check_task(limits: Limits, *, classification: bool) -> None:
    """Refuse a limit on the metric of another kind of network.

    Raises:
        UsageError: mIOU asked of a classifier, or top-1 accuracy of a segmentation network.
    """
    wrong = "min_miou_pct" if classification else "min_top1_pct"
    if wrong in limits.given:
        kind = "classification" if classification else "segmentation"
        raise UsageError(
            f"{option(wrong)} does not fit: the engine is a {kind} network, which has no {_METRICS[wrong]}",
            do=f"use {option(_INSTEAD[wrong])} for {_METRICS[_INSTEAD[wrong]]}",
        )


def gates_of(limits: Limits, evaluation: Evaluation | ClassEvaluation) -> tuple[Gate, ...]:
    """Each limit that was set, held against what was found. The figures themselves decide, not their intervals."""
    values = _values(evaluation)
    return tuple(_gate(name, limit, values.get(name)) for name, limit in limits.given.items())


def refusal(gates: Sequence[Gate], evaluation: Evaluation | ClassEvaluation) -> AnswerIsNo | None:
    """What to tell where a limit is not met; None where all are."""
    missed = [gate for gate in gates if not gate.passed]
    if not missed:
        return None
    intervals = _intervals(evaluation)
    doubts = [_doubt(gate, intervals.get(gate.name)) for gate in missed]
    return AnswerIsNo(
        "; ".join(_told(gate, evaluation) for gate in missed),
        why="; ".join(doubt for doubt in doubts if doubt),
        do=_advice(missed),
    )


def _gate(name: str, limit: float, value: float | None) -> Gate:
    if value is None or not math.isfinite(value):
        return Gate(name=name, limit=limit, value=None, passed=False)
    beyond = value - limit if name == "max_drop_pct" else limit - value
    return Gate(name=name, limit=limit, value=value, passed=beyond <= _ROUNDING_PCT)


def _values(evaluation: Evaluation | ClassEvaluation) -> dict[str, float | None]:
    if isinstance(evaluation, ClassEvaluation):
        drop = evaluation.reference.top1_drop_pct if evaluation.reference else None
        return {"min_top1_pct": evaluation.top1_pct, "max_drop_pct": drop}
    drop = evaluation.reference.miou_drop_pct if evaluation.reference else None
    return {"min_miou_pct": evaluation.miou_pct, "max_drop_pct": drop}


def _intervals(evaluation: Evaluation | ClassEvaluation) -> dict[str, tuple[float, float] | None]:
    if isinstance(evaluation, ClassEvaluation):
        drop = evaluation.reference.top1_drop_ci95_pct if evaluation.reference else None
        return {"min_top1_pct": evaluation.top1_ci95_pct, "max_drop_pct": drop}
    drop = evaluation.reference.miou_drop_ci95_pct if evaluation.reference else None
    return {"min_miou_pct": evaluation.ci95, "max_drop_pct": drop}


def _told(gate: Gate, evaluation: Evaluation | ClassEvaluation) -> str:
    metric = _METRICS["min_top1_pct" if isinstance(evaluation, ClassEvaluation) else "min_miou_pct"]
    if gate.value is None:
        return f"{option(gate.name)} {gate.limit:g} cannot be met: no pixel of a class that counts, so no {metric}"
    if gate.name == "max_drop_pct":
        return (
            f"{gate.value:.3g} points of {metric} are lost against the reference, at most {gate.limit:g} were allowed"
        )
    return f"{metric} is {gate.value:.2f} %, at least {gate.limit:g} % was asked for"


def _doubt(gate: Gate, interval: tuple[float, float] | None) -> str:
    """That other images could turn the answer, where they could."""
    if interval is None or not interval[0] <= gate.limit <= interval[1]:
        return ""
    return (
        f"the 95 % interval over images is {interval[0]:.2f} … {interval[1]:.2f}, so that other images "
        f"could meet {option(gate.name)} {gate.limit:g}"
    )


def _advice(missed: Sequence[Gate]) -> str:
    if any(gate.name == "max_drop_pct" for gate in missed):
        return "build the engine with more of it in a higher precision (--precision mixed or fp16), or allow more"
    return "evaluate better weights or an engine of higher precision, or ask for less"


def option(name: str) -> str:
    """A limit's name as it is written on the command line."""
    return _OPTIONS[name]
