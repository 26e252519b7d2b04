"""Do two ways to run a network give the same answers on the same inputs?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from espdeploy.artifacts import Preprocessing
from espdeploy.errors import InternalError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from espdeploy.protocols import Tensor, TensorInfo

    Outputs: TypeAlias = Tensor | Sequence[Tensor]

#: what a network is given: one tensor, or several by name
Given = TypeVar("Given")

#: what rounding alone explains in an FP32 export of a deep network, as max |difference| / max |reference|
FP32_LIMIT_REL = 1e-4
#: share of positions whose highest score must stay the same class; ties within rounding may fall either way
FP32_MIN_AGREEMENT_PCT = 99.95
_PIXEL_MAX = 255


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two runs are apart, over all inputs and outputs.

    ``max_rel_err`` is max |difference| / max |reference|, of the worst input. ``argmax_agreement_pct`` (0..100) is
    None where no output has a class axis. ``worst_input`` is the position of the input with the largest relative error.
    ``over_limit_pct`` is the share of the values (0..100) that alone would exceed :data:`FP32_LIMIT_REL`, of the input
    with most of them.
    """

    max_abs_err: float
    max_rel_err: float
    argmax_agreement_pct: float | None
    worst_input: int
    over_limit_pct: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Difference:
    abs_err: float
    rel_err: float
    agreeing: int
    positions: int
    over_limit_pct: float


def compare(
    reference: Callable[[Given], Outputs],
    candidate: Callable[[Given], Outputs],
    inputs: Sequence[Given],
    *,
    class_axis: int | Sequence[int | None] | None = 1,
) -> Parity:
    """Run both on each of ``inputs`` and measure the difference of their outputs.

    Args:
        reference: from an input, such as an image (N,C,H,W), to one output or a sequence of them.
        candidate: the same network, run in another way.
        inputs: at least one.
        class_axis: the axis with one score for each class, of all outputs or of each; None where there is none.

    Raises:
        UsageError: there are no inputs, or the reference itself gives NaN or infinity.
        InternalError: number or shape of the outputs differ, or the candidate gives NaN or infinity.
    """
    if not inputs:
        raise UsageError("there is no input to compare the networks on", do="give at least one")
    per_input = [
        [
            _difference(
                expected,
                actual,
                where=f"output {position} of input {index}",
                class_axis=class_axis[position] if isinstance(class_axis, Sequence) else class_axis,
            )
            for position, (expected, actual) in enumerate(_pairs(reference(tensor), candidate(tensor)))
        ]
        for index, tensor in enumerate(inputs)
    ]
    relative = [max(found.rel_err for found in differences) for differences in per_input]
    everything = [found for differences in per_input for found in differences]
    positions = sum(found.positions for found in everything)
    agreeing = sum(found.agreeing for found in everything)
    return Parity(
        max_abs_err=max(found.abs_err for found in everything),
        max_rel_err=max(relative),
        argmax_agreement_pct=100 * agreeing / positions if positions else None,
        worst_input=relative.index(max(relative)),
        over_limit_pct=max(found.over_limit_pct for found in everything),
    )


def check(
    parity: Parity,
    *,
    limit_rel: float = FP32_LIMIT_REL,
    min_agreement_pct: float = FP32_MIN_AGREEMENT_PCT,
    jumps_pct: float = 0.0,
) -> None:
    """Accept a difference that rounding explains.

    ``jumps_pct`` is the share of the values that may lie beyond the limit: above 0 only for a network that chooses
    places by comparing values, where rounding tips a few of the choices (see ``NetworkEntry.jumps_pct``).

    Raises:
        InternalError: it is larger; with the figures and the limits.
    """
    faults = []
    few_jumps = 0 < parity.over_limit_pct <= jumps_pct
    if not parity.max_rel_err <= limit_rel and not few_jumps:
        faults.append(f"relative error {parity.max_rel_err:.3g} (limit {limit_rel:.3g})")
    agreement = parity.argmax_agreement_pct
    if agreement is not None and not agreement >= min_agreement_pct:
        faults.append(f"equal classes {agreement:.3f} % (at least {min_agreement_pct:g} %)")
    if faults:
        raise InternalError(
            f"the exported network gives other answers than the original: {', '.join(faults)}",
            why=f"largest absolute error {parity.max_abs_err:.3g}; the worst is input {parity.worst_input}",
            do="export with --verify-passes to find the step that breaks it, or with --no-simplify",
        )


def real_looking_inputs(
    shape: tuple[int, int, int, int], count: int, seed: int, preprocessing: Preprocessing | None
) -> list[Tensor]:
    """``count`` synthetic photographs, pre-processed, and after them one tensor of standard normal noise.

    Photographs have a spectrum that falls as 1/f, correlated colours and hard edges (Field, 1987); noise alone
    would leave deep layers in a range that no camera puts them in. The same seed gives the same tensors, each
    float32 of ``shape`` (N,C,H,W).

    Raises:
        UsageError: the pre-processing is for three channels and ``shape`` has another number.
    """
    import numpy as np

    if preprocessing is not None and shape[1] != len(preprocessing.mean):
        raise UsageError(
            f"the network takes {shape[1]} channels, its pre-processing gives {len(preprocessing.mean)}",
            do="give the network an input of three channels",
        )
    random = np.random.default_rng(seed)
    photographs = [_preprocessed(_photograph(random, shape), preprocessing) for _ in range(count)]
    return [*photographs, random.standard_normal(shape, dtype=np.float32)]


def real_looking_texts(
    inputs: Sequence[TensorInfo], *, words: int, count: int, seed: int, batch: int = 1
) -> list[dict[str, Tensor]]:
    """``count`` feeds for a language model: words as frequent as in a language, and a state.

    The n-th commonest of ``words`` words comes about as often as 1 / n (Zipf's law), and commoner words have lower
    numbers. The first feed has the state before any text, zeros; the others one in the range that gated cells keep
    it in, -1 … 1. Whole-number inputs are taken for words, others for state.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, words + 1)
    frequency /= frequency.sum()

    def tensor(info: TensorInfo, first: bool) -> Tensor:
        shape = info.extents(batch)
        if np.issubdtype(np.dtype(info.dtype), np.integer):
            return random.choice(words, size=shape, p=frequency).astype(info.dtype)
        return (np.zeros(shape) if first else random.uniform(-1, 1, shape)).astype(info.dtype)

    return [{info.name: tensor(info, index == 0) for info in inputs} for index in range(count)]


def _pairs(expected: Outputs, actual: Outputs) -> list[tuple[Tensor, Tensor]]:
    first, second = _listed(expected), _listed(actual)
    if len(first) != len(second):
        raise InternalError(f"the original network has {len(first)} outputs, the other {len(second)}")
    return list(zip(first, second, strict=True))


def _listed(outputs: Outputs) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]  # type: ignore[list-item]


def _difference(expected: Tensor, actual: Tensor, *, where: str, class_axis: int | None) -> _Difference:
    import numpy as np

    if expected.shape != actual.shape:
        raise InternalError(f"{where} has shape {expected.shape} in the original and {actual.shape} in the other")
    if not np.isfinite(expected).all():
        raise UsageError(
            f"the network itself gives {_not_finite(expected)} in {where}",
            why="its weights are damaged, or do not fit it",
            do="check the weights that it was made with, or make it again from others",
        )
    if not np.isfinite(actual).all():
        raise InternalError(
            f"the exported network gives {_not_finite(actual)} in {where}; the original does not",
            do="export with --verify-passes to find the step that breaks it",
        )
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    abs_err = float(np.max(difference, initial=0.0))
    largest = float(np.max(np.abs(expected), initial=0.0))
    rel_err = abs_err / largest if largest else (0.0 if abs_err == 0 else float("inf"))
    agreeing = positions = 0
    if class_axis is not None and expected.ndim > class_axis and expected.shape[class_axis] > 1:
        same = expected.argmax(axis=class_axis) == actual.argmax(axis=class_axis)
        agreeing, positions = int(same.sum()), int(same.size)
    over = 100 * int(np.count_nonzero(difference > FP32_LIMIT_REL * largest)) / max(1, difference.size)
    return _Difference(abs_err=abs_err, rel_err=rel_err, agreeing=agreeing, positions=positions, over_limit_pct=over)


def _not_finite(values: Tensor) -> str:
    import numpy as np

    kind = "NaN" if np.isnan(values).any() else "infinity"
    return f"{kind} at {int((~np.isfinite(values)).sum())} of {values.size} places"


def _photograph(random: np.random.Generator, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """An 8-bit picture for each image of the batch (N,C,H,W): 1/f noise in luminance and colour, and rectangles."""
    import numpy as np

    batch, channels, height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf  # the mean is set below
    pictures = np.empty(shape, np.uint8)
    for index in range(batch):
        spectrum = np.fft.rfft2(random.standard_normal((channels + 1, height, width))) / frequency
        noise = np.fft.irfft2(spectrum, s=(height, width))
        scene = noise[:1] + 0.3 * noise[1:]  # channels of a photograph differ less than its pixels do
        scene /= scene.std() or 1.0
        for _ in range(6):
            top, left = random.integers(0, height), random.integers(0, width)
            bottom, right = top + random.integers(1, height // 2 + 2), left + random.integers(1, width // 2 + 2)
            scene[:, top:bottom, left:right] += random.normal(0, 1, (channels, 1, 1))
        pictures[index] = np.clip(np.rint(110 + 50 * scene), 0, _PIXEL_MAX)
    return pictures


def _preprocessed(pixels: NDArray[np.uint8], preprocessing: Preprocessing | None) -> Tensor:
    """To the network's input; the picture is noise, so its channels are already in whatever order is wanted."""
    import numpy as np

    if preprocessing is None:
        return (pixels / _PIXEL_MAX).astype(np.float32)
    mean = np.asarray(preprocessing.mean).reshape(1, -1, 1, 1)
    std = np.asarray(preprocessing.std).reshape(1, -1, 1, 1)
    prepared: NDArray[np.float64] = (pixels / preprocessing.divisor - mean) / std / preprocessing.post_divisor
    return prepared.astype(np.float32)
