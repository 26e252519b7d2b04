"""``espdeploy eval`` and ``espdeploy predict``: an engine's answers, scored and drawn."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espdeploy.accuracy.class_folders import ClassFolders
from espdeploy.accuracy.classify import ClassEvaluation, evaluate_classes
from espdeploy.accuracy.datasets import ImageFolder, find_pairs, spread
from espdeploy.accuracy.evaluate import Evaluation, evaluate
from espdeploy.accuracy.images import preprocess, read_rgb
from espdeploy.accuracy.overlay import OutputPaths, output_paths, overlay, write_labels, write_png
from espdeploy.accuracy.prediction import check_runner, predict
from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing
from espdeploy.errors import UsageError
from espdeploy.pipeline.building.selection import ALL_IMAGES, Selection, check_labelled
from espdeploy.pipeline.engine_files.opening import open_file
from espdeploy.pipeline.evaluating import classify, confusion
from espdeploy.pipeline.evaluating.gates import NO_LIMITS, Limits, check_limits, check_task
from espdeploy.pipeline.measuring.feeds import one_image
from espdeploy.protocols import Progress, Runner
from espdeploy.specs import DeviceProfile, ImageSize


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """Which engine is judged, on what, beside which reference, and what it is held to.

    ``confusion_picture`` is the file that the confusion matrix is drawn to.
    """

    engine: Path
    data: Path
    labels: Path | None
    reference: Path | None
    profile: DeviceProfile
    runtime: str | None = None
    threads: int | None = None
    limits: Limits = NO_LIMITS
    selection: Selection = ALL_IMAGES
    confusion_picture: Path | None = None


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Which engine looks at which pictures."""

    engine: Path
    images: tuple[Path, ...]
    profile: DeviceProfile
    runtime: str | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The files that were made of one image, and the classes that occur in it, the largest first."""

    paths: OutputPaths
    classes: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """As ``predict --json`` lists it."""
        return {
            "input": str(self.paths.image),
            "overlay": str(self.paths.overlay),
            "labels": str(self.paths.labels),
            "classes": list(self.classes),
        }


@dataclass(frozen=True, kw_only=True)
class Scorable:
    """Images as an engine takes them, with their labels, and the classes that these are of."""

    batches: ImageFolder
    classes: ClassSet


def evaluate_engine(request: EvalRequest, progress: Progress) -> Evaluation | ClassEvaluation:
    """Score an engine on a folder of images: label maps for segmentation, class folders for classification.

    Raises:
        InputFileError: unusable engine, images or labels.
        UsageError: nothing to score against, a limit that does not fit, or an engine that does neither.
        MissingCapability: the picture of the confusion matrix cannot be written.
    """
    check_limits(request.limits, has_reference=request.reference is not None)
    confusion.check_picture(request.confusion_picture)
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(_open(request.engine, request))
        reference = stack.enter_context(_open(request.reference, request)) if request.reference else None
        if reference is not None:
            _check_reference(runner, reference, named=f"{request.engine} and its reference {request.reference}")
        check_task(request.limits, classification=classify.classifies(runner))
        if classify.classifies(runner):
            return _evaluate_classes(runner, request, progress, reference=reference)
        evaluation = evaluate_runner(
            runner, request.data, request.labels, progress=progress, reference=reference, selection=request.selection
        )
    if request.confusion_picture:
        confusion.draw(evaluation, request.confusion_picture, engine=request.engine, data=request.data)
    return evaluation


def _evaluate_classes(
    runner: Runner, request: EvalRequest, progress: Progress, *, reference: Runner | None
) -> ClassEvaluation:
    classify.check_no_label_maps(request.labels, request.confusion_picture, request.selection)
    check_runner(runner)
    preprocessing, classes = _needs(runner.card)
    has_reference = reference is not None
    classed = classify.classed_images(request.data, classes, request.selection, has_reference=has_reference)
    images = ClassFolders(
        classed, preprocessing=preprocessing, size=_input_size(runner), on_bad=request.selection.on_bad
    )
    return evaluate_classes(runner, images, len(classes.names), progress=progress, reference=reference)


def evaluate_runner(
    runner: Runner,
    data: Path,
    labels: Path | None,
    *,
    progress: Progress,
    reference: Runner | None = None,
    selection: Selection = ALL_IMAGES,
) -> Evaluation:
    """Score an open runner, with the pre-processing and classes that its engine carries."""
    scored = scorable(runner, data, labels, has_reference=reference is not None, selection=selection)
    return evaluate(runner, scored.batches, scored.classes, progress=progress, reference=reference)


def scorable(
    runner: Runner, data: Path, labels: Path | None, *, has_reference: bool = False, selection: Selection = ALL_IMAGES
) -> Scorable:
    """What is to be scored, found and checked without running anything.

    Raises:
        InputFileError: unusable images or labels.
        UsageError: neither labels nor a reference, or an engine that is no segmentation network.
    """
    check_runner(runner)
    preprocessing, classes = _needs(runner.card)
    classify.check_segments(runner)
    pairs = spread(find_pairs(data, labels), selection.limit)
    check_labelled(pairs, data, has_reference=has_reference, labels_for=selection.labels_for)
    batches = ImageFolder(pairs, preprocessing=preprocessing, size=_input_size(runner), on_bad=selection.on_bad)
    return Scorable(batches=batches, classes=classes)


def _check_reference(runner: Runner, reference: Runner, *, named: str) -> None:
    """Both see the same prepared images, so they must take the same ones and mean the same classes.

    Raises:
        UsageError: they differ in input size, pre-processing or classes.
    """
    for item in (runner, reference):
        one_image(item.inputs)
    own_size, other_size = _input_size(runner), _input_size(reference)
    if other_size is not None and other_size != own_size:
        raise UsageError(
            f"{named} take images of {own_size or 'any size'} and of {other_size}", do="export both at the same --size"
        )
    if runner.card is None or reference.card is None:
        return
    for what, own, other in (
        ("pre-processing", runner.card.preprocessing, reference.card.preprocessing),
        ("classes", runner.card.classes, reference.card.classes),
    ):
        if own is not None and other is not None and own != other:
            raise UsageError(
                f"{named} have different {what}",
                why="they are compared on the same prepared images, class by class",
                do="give the same network in FP32 as the reference",
            )


def predict_images(request: PredictRequest, folder: Path, progress: Progress) -> list[Picture]:
    """Write a class map and an overlay for each image.

    Raises:
        InputFileError: unusable engine or image; the pictures of the images before it stand.
        MissingCapability: the folder cannot be written.
    """
    with _open(request.engine, request) as runner:
        check_runner(runner)
        preprocessing, classes = _needs(runner.card)
        pictures = []
        for done, paths in enumerate(output_paths(request.images, folder)):
            progress(done, len(request.images), "predicting")
            pictures.append(_picture(runner, paths, preprocessing, classes))
        return pictures


def _open(path: Path, request: EvalRequest | PredictRequest) -> Runner:
    opened = open_file(path, request.profile, runtime=request.runtime, precision=None, threads=request.threads)
    return opened.runner


def _picture(runner: Runner, paths: OutputPaths, preprocessing: Preprocessing, classes: ClassSet) -> Picture:
    rgb = read_rgb(paths.image)
    own_size = ImageSize(width=rgb.shape[1], height=rgb.shape[0])
    tensor = preprocess(rgb, preprocessing, _input_size(runner) or own_size)
    labels = predict(runner, tensor, own_size, name=paths.image.name)
    write_labels(paths.labels, labels, classes)
    write_png(paths.overlay, overlay(rgb, labels, classes))
    found, counts = np.unique(labels, return_counts=True)
    by_area = found[np.argsort(-counts)]
    return Picture(paths=paths, classes=tuple(classes.names[index] for index in by_area))


def _needs(card: ModelCard | None) -> tuple[Preprocessing, ClassSet]:
    """Images cannot be fed, nor answers named, without these two."""
    if card is None or card.preprocessing is None or card.classes is None:
        raise UsageError(
            "the engine does not say which pre-processing and classes it has",
            why="it was not written by espdeploy export, or from a network that states none",
            do="espdeploy export --model NAME --weights FILE -o F.onnx, and use that",
        )
    return card.preprocessing, card.classes


def _input_size(runner: Runner) -> ImageSize | None:
    """The engine's fixed input size; None where it takes any."""
    height, width = runner.inputs[0].shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        return ImageSize(width=width, height=height)
    return None
