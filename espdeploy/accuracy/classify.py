"""Run a classifier over images in class folders and score it; or compare it with a reference network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.accuracy.class_folders import ClassFolders, ClassSample
from espdeploy.accuracy.classification import true_ranks
from espdeploy.accuracy.datasets import Skipped, skipped_note
from espdeploy.accuracy.intervals import share_ci95_pct, share_drop_ci95_pct
from espdeploy.accuracy.prediction import check_runner
from espdeploy.errors import ToolFailed, UsageError
from espdeploy.protocols import Progress, Runner, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOP = 5


@dataclass(frozen=True, kw_only=True)
class ClassAgreement:
    """How far a classifier agrees with its reference on the same images.

    ``agreement_pct`` is the share of images that both give the same class. ``top1_drop_pct`` is the reference's top-1
    accuracy less the network's, in percentage points, with its 95 % interval over images; None where no classes are
    known.
    """

    agreement_pct: float
    top1_drop_pct: float | None
    top1_drop_ci95_pct: tuple[float, float] | None
    top1_pct: float | None


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """A classifier's accuracy over a set of images, in percent. None where no classes are known."""

    images: int
    top1_pct: float | None
    top1_ci95_pct: tuple[float, float] | None
    top5_pct: float | None
    reference: ClassAgreement | None
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Answers:
    """One network's answers over the images seen so far: two numbers for each."""

    def __init__(self) -> None:
        self.best: list[int] = []
        self.ranks: list[int] = []

    def add(self, scores: NDArray[np.floating], truth: int | None) -> None:
        self.best.append(int(scores.argmax()))
        if truth is not None:
            self.ranks.append(int(true_ranks(scores[None], np.array([truth]))[0]))

    def right(self, k: int = 1) -> NDArray[np.bool_]:
        return np.array(self.ranks, dtype=np.int64) < k


def evaluate_classes(
    runner: Runner,
    images: ClassFolders,
    class_count: int,
    *,
    progress: Progress = no_progress,
    reference: Runner | None = None,
) -> ClassEvaluation:
    """Score ``runner``, which is open, over ``images``, one at a time; ``reference`` sees the same ones.

    Raises:
        UsageError: an engine or output that does not fit.
        InputFileError: an image that cannot be used.
        ToolFailed: an output that is not finite.
    """
    runners = [runner] if reference is None else [runner, reference]
    for item in runners:
        check_runner(item)
    answers = [_Answers() for _ in runners]
    for sample in images:
        for item, answer in zip(runners, answers, strict=True):
            answer.add(_scores(item, sample, class_count), sample.truth)
        progress(len(answers[0].best) + len(images.skipped), len(images), "images evaluated")
    own = answers[0]
    hits = int(own.right().sum())
    return ClassEvaluation(
        images=len(own.best),
        top1_pct=_pct(own.right()),
        top1_ci95_pct=share_ci95_pct(hits, len(own.ranks)),
        top5_pct=_pct(own.right(_TOP)) if class_count >= _TOP else None,
        reference=_agreement(own, answers[1]) if reference is not None else None,
        skipped=list(images.skipped),
        notes=_notes(images, own, class_count),
    )


def _agreement(own: _Answers, reference: _Answers) -> ClassAgreement:
    same = np.array(own.best) == np.array(reference.best)
    right, reference_right = own.right(), reference.right()
    known = bool(right.size)
    lost = int((reference_right & ~right).sum())
    won = int((right & ~reference_right).sum())
    return ClassAgreement(
        agreement_pct=100.0 * float(same.mean()),
        top1_drop_pct=100.0 * (lost - won) / right.size if known else None,
        top1_drop_ci95_pct=share_drop_ci95_pct(lost, won, right.size),
        top1_pct=_pct(reference_right),
    )


def _scores(runner: Runner, sample: ClassSample, class_count: int) -> NDArray[np.floating]:
    """The class scores (C,) of one image."""
    output = np.asarray(runner.infer({runner.inputs[0].name: sample.image})[runner.outputs[0].name])
    if output.shape[:2] != (1, class_count) or output.size != class_count:
        raise UsageError(
            f"the engine's output for {sample.name} has shape {list(output.shape)}",
            why=f"a classifier of {class_count} classes gives their scores, (1, {class_count})",
            do="evaluate a classification network, exported with its own classes",
        )
    scores = output.reshape(class_count).astype(np.float32, copy=False)
    if not np.isfinite(scores).all():
        raise ToolFailed(
            f"the engine's output for {sample.name} is not finite",
            why="a precision whose range the network exceeds, or damaged weights",
            do="build the engine with --precision fp32 or mixed and evaluate it again",
        )
    return scores


def _pct(right: NDArray[np.bool_]) -> float | None:
    return 100.0 * float(right.mean()) if right.size else None


def _notes(images: ClassFolders, own: _Answers, class_count: int) -> list[str]:
    notes = list(images.notes)
    if not own.ranks:
        notes.append("the images lie in no class folders: top-1 is not known")
    elif class_count < _TOP:
        notes.append(f"with {class_count} classes there is no top-5")
    return notes + skipped_note(images.skipped)
