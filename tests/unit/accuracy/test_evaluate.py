"""The evaluation loop with runners whose answers are known, and the authors' figures with the authors' weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy.datasets import ImageFolder, OnBad, find_pairs
from espdeploy.accuracy.evaluate import Evaluation, evaluate
from espdeploy.accuracy.prediction import label_map
from espdeploy.artifacts import ClassSet, Preprocessing
from espdeploy.errors import InputFileError, ToolFailed, UsageError
from espdeploy.protocols import Sample, TensorInfo
from espdeploy.specs import ImageSize, ModelSpec

THREE = ClassSet(name="three", names=("a", "b", "c"), palette=((0, 0, 0),) * 3, ignore=(255,))


class FunctionRunner:
    """A runner that computes its output from the image with a function of NumPy arrays."""

    facts = None
    card = None

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], *, batch: int | str = 1, outputs: int = 1) -> None:
        self._function = function
        self.inputs = (TensorInfo(name="image", shape=(batch, 3, "h", "w"), dtype="float32"),)
        self.outputs = tuple(TensorInfo(name=f"out{n}", shape=(1,), dtype="float32") for n in range(outputs))

    def __enter__(self) -> FunctionRunner:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def infer(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"out0": self._function(feed["image"])}

    def stepper(self, feed: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self.infer(feed)


def from_first_channel(image: np.ndarray) -> np.ndarray:
    """One-hot scores of the class that the first channel holds."""
    return (image[:, :1] == np.arange(3).reshape(1, 3, 1, 1)).astype(np.float32)


def samples(images: Sequence[np.ndarray], labels: Sequence[np.ndarray | None]) -> list[Sample]:
    return [
        Sample(name=f"s{n}", image=np.repeat(image[None, None].astype(np.float32), 3, axis=1), label=label)
        for n, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


TRUTH = [np.array([[0, 1], [2, 255]], np.uint8), np.array([[0, 0], [1, 1]], np.uint8)]
SEEN = [np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]])]


def run(
    function: Callable[[np.ndarray], np.ndarray] = from_first_channel,
    images: Sequence[np.ndarray] = SEEN,
    labels: Sequence[np.ndarray | None] = TRUTH,
    reference: FunctionRunner | None = None,
) -> Evaluation:
    return evaluate(FunctionRunner(function), samples(images, labels), THREE, reference=reference)


def test_scores_over_two_images_by_hand() -> None:
    result = run()
    assert result.images == 2
    assert result.confusion == [[3, 0, 0], [0, 3, 0], [0, 1, 0]]
    assert result.class_iou_pct == pytest.approx({"a": 100.0, "b": 75.0, "c": 0.0})
    assert result.miou_pct == pytest.approx(175 / 3)
    assert result.pixel_accuracy_pct == pytest.approx(100 * 6 / 7)
    assert result.ci95 is not None
    assert result.ci95[0] <= 175 / 3 <= result.ci95[1]
    assert result.reference is None


def test_a_class_that_nowhere_occurs_is_noted_and_left_out() -> None:
    result = run(images=SEEN[1:], labels=TRUTH[1:])
    assert result.class_iou_pct["c"] is None
    assert result.miou_pct == 100.0
    assert any("not in the mean: c" in note for note in result.notes)


def test_agreement_counts_all_pixels_and_drop_is_in_points() -> None:
    def reference(image: np.ndarray) -> np.ndarray:
        scores = from_first_channel(image)
        if image[0, 0, 0, 1] == 1:  # the first image, with its one mistake put right
            scores[0, :, 1, 0] = (0, 0, 1)
        return scores

    result = run(reference=FunctionRunner(reference))
    assert result.reference is not None
    assert result.reference.agreement_pct == pytest.approx(100 * 7 / 8)
    assert result.reference.miou_pct == pytest.approx(100.0)
    assert result.reference.miou_drop_pct == pytest.approx(100 - 175 / 3)
    # draws of two images: twice the first (networks' mIOU 50 and 100), one of each (58 and 100), or twice the second
    assert result.reference.miou_drop_ci95_pct == pytest.approx((0.0, 50.0))


def test_a_network_beside_itself_loses_nothing_for_certain() -> None:
    result = run(reference=FunctionRunner(from_first_channel))
    assert result.reference is not None
    assert result.reference.miou_drop_pct == 0.0
    assert result.reference.miou_drop_ci95_pct == (0.0, 0.0)


def test_without_labels_there_is_agreement_only() -> None:
    result = run(labels=[None, None], reference=FunctionRunner(from_first_channel))
    assert result.miou_pct is None
    assert result.ci95 is None
    assert result.confusion is None
    assert result.class_iou_pct == {}
    assert result.reference is not None
    assert result.reference.agreement_pct == 100.0
    assert result.reference.miou_drop_pct is None
    assert result.reference.miou_drop_ci95_pct is None


def folder(tmp_path: Path, sizes: dict[str, tuple[int, int]]) -> ImageFolder:
    """Images whose left half is class 0 and right half class 1, with labels, of several sizes; prepared at 8x4."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for name, (width, height) in sizes.items():
        values = np.repeat(np.arange(width)[None] * 2 // width, height, axis=0).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / f"labels/{name}.png")
        Image.fromarray(np.repeat(values[..., None], 3, axis=2)).save(tmp_path / f"images/{name}.png")
    plain = Preprocessing(channel_order="RGB", divisor=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    pairs = find_pairs(tmp_path / "images", tmp_path / "labels")
    return ImageFolder(pairs, preprocessing=plain, size=ImageSize(width=8, height=4), on_bad=OnBad(skip=True))


def test_images_of_other_sizes_are_scored_at_their_own(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a": (8, 4), "b": (16, 8), "c": (32, 16)})
    result = evaluate(FunctionRunner(from_first_channel), images, THREE)
    assert result.confusion == [[16 + 64 + 256, 0, 0], [0, 16 + 64 + 256, 0], [0, 0, 0]]
    assert result.miou_pct == 100.0


def test_skipped_images_are_counted_named_and_done(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a": (8, 4), "b": (8, 4), "c": (8, 4)})
    (tmp_path / "images/b.png").write_bytes(b"")
    seen: list[tuple[int, int | None]] = []
    result = evaluate(
        FunctionRunner(from_first_channel),
        images,
        THREE,
        progress=lambda done, total, text: seen.append((done, total)),
    )
    assert result.images == 2
    assert [item.image for item in result.skipped] == [str(tmp_path / "images/b.png")]
    assert any("cannot be used, 1: " in note and "b.png" in note for note in result.notes)
    assert seen[-1] == (3, 3)


def test_a_label_outside_the_classes_names_its_file(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a": (8, 4)})
    Image.new("L", (8, 4), 9).save(tmp_path / "labels/a.png")
    with pytest.raises(InputFileError, match=f"{tmp_path}/labels/a.png.* the value 9"):
        evaluate(FunctionRunner(from_first_channel), images, THREE)


def test_each_image_is_scored_before_the_next_is_read() -> None:
    alive: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[Sample]:
            for _ in range(3):
                alive.append(1)
                yield from samples(SEEN[1:], TRUTH[1:])

    seen: list[tuple[int, int | None, int]] = []
    evaluate(
        FunctionRunner(from_first_channel),
        Watched(),
        THREE,
        progress=lambda done, total, text: seen.append((done, total, len(alive))),
    )
    assert seen == [(1, 3, 1), (2, 3, 2), (3, 3, 3)]


def test_coarse_scores_are_resized_before_the_largest_is_taken() -> None:
    # between 4:0 and 0:2 the border lies where 4(1-t) = 2t, at two thirds, not at the half of nearest
    scores = np.array([[[[4.0, 0.0]], [[0.0, 2.0]]]], dtype=np.float32)
    wide = label_map(scores, ImageSize(width=24, height=1), name="x")
    centres = (np.arange(24) + 0.5) / 12 - 0.5
    assert wide[0].tolist() == (centres > 2 / 3).astype(int).tolist()


@pytest.mark.parametrize("factor", [8, 2.5])
def test_resized_scores_give_pytorchs_classes(factor: float) -> None:
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(4).standard_normal((1, 20, 8, 10)).astype(np.float32)
    size = ImageSize(width=int(10 * factor), height=int(8 * factor))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(scores), size=(size.height, size.width), mode="bilinear", align_corners=False
    ).argmax(1)[0]
    assert np.mean(label_map(scores, size, name="x") == expected.numpy()) > 0.999


def test_scores_at_label_size_are_argmax_with_ties_to_the_lower_class() -> None:
    scores = np.random.default_rng(2).integers(0, 3, (1, 5, 9, 7)).astype(np.float16)
    found = label_map(scores, ImageSize(width=7, height=9), name="x")
    assert found.dtype == np.uint8
    assert np.array_equal(found, scores[0].argmax(0))


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 2, 2)])
def test_integer_labels_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    labels = np.array([[0, 1], [2, 1]], dtype=np.int64)
    assert np.array_equal(label_map(labels.reshape(shape), ImageSize(width=2, height=2), name="x"), labels)
    wide = label_map(labels.reshape(shape), ImageSize(width=4, height=2), name="x")
    assert wide.tolist() == [[0, 0, 1, 1], [2, 2, 1, 1]]


@pytest.mark.parametrize(
    "output",
    [
        np.zeros((1, 1000), np.float32),
        np.zeros((1, 1, 2, 2), np.float32),
        np.zeros((1, 2, 2), np.float32),
        np.zeros((2, 3, 2, 2), np.float32),
        np.zeros((2, 2, 2), np.int64),
        np.zeros((1, 3, 0, 2), np.float32),
        np.float32(1.0),
    ],
)
def test_an_output_of_another_shape_is_a_usage_error_that_shows_it(output: np.ndarray) -> None:
    with pytest.raises(UsageError, match="s0"):
        run(lambda _: output)


@pytest.mark.parametrize(("bad", "said"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_an_output_that_is_not_finite_names_the_image(bad: float, said: str) -> None:
    def broken(image: np.ndarray) -> np.ndarray:
        scores = from_first_channel(image)
        if image[0, 0, 0, 1] == 0:  # the second image
            scores[0, 0, 0, 0] = bad
        return scores

    with pytest.raises(ToolFailed, match=f"s1 holds {said}"):
        run(broken)


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        run(labels=[None, None])
    with pytest.raises(UsageError, match="no images"):
        run(images=[], labels=[])
    with pytest.raises(UsageError, match="s1 has no label"):
        run(labels=[TRUTH[0], None], reference=FunctionRunner(from_first_channel))
    with pytest.raises(UsageError, match="4 images at once"):
        evaluate(FunctionRunner(from_first_channel, batch=4), samples(SEEN, TRUTH), THREE)
    with pytest.raises(UsageError, match="2 outputs"):
        evaluate(FunctionRunner(from_first_channel, outputs=2), samples(SEEN, TRUTH), THREE)
    with pytest.raises(InputFileError, match="label of s0 holds the value 9"):
        run(labels=[np.full((2, 2), 9, np.uint8), TRUTH[1]])


@pytest.mark.data
def test_the_authors_camvid_figures_come_out(data_dir: Path) -> None:
    """51 validation frames, the authors' weights, against figures that the authors' own code gave."""
    torch = pytest.importorskip("torch")
    from espdeploy.networks.build import build

    expected = json.loads((data_dir / "reference/camvid_val51_fp32.json").read_text())
    network = build(ModelSpec(name="espnet", weights=data_dir / "weights/espnet/espnet_p_2_q_8_camvid.pth"))
    card = network.card
    assert card.preprocessing is not None
    assert card.classes is not None

    def infer(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network.module(torch.from_numpy(image)).numpy()

    pairs = find_pairs(data_dir / "data/camvid/val", data_dir / "data/camvid/valannot")
    batches = ImageFolder(pairs, preprocessing=card.preprocessing, size=network.size)
    result = evaluate(FunctionRunner(infer), batches, card.classes)
    assert result.images == expected["images"]
    assert result.miou_pct == pytest.approx(100 * expected["miou"], abs=0.05)
    assert result.pixel_accuracy_pct == pytest.approx(100 * expected["pixel_accuracy"], abs=0.05)
    assert list(result.class_iou_pct.values()) == pytest.approx([100 * v for v in expected["class_iou"]], abs=0.1)
    assert result.ci95 is not None
    assert result.ci95[0] < result.miou_pct < result.ci95[1]
