"""The figures against hand-made outputs, and the inputs against what photographs are known to look like."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy import parity
from espdeploy.artifacts import Preprocessing
from espdeploy.errors import InternalError, UsageError

SCORES = np.array([[[[1.0, -8.0], [3.0, 2.0]], [[0.5, 0.0], [4.0, 1.0]]]], np.float32)  # (1, 2 classes, 2, 2)


def always(*outputs: np.ndarray):
    return lambda _: list(outputs) if len(outputs) > 1 else outputs[0]


def test_equal_outputs() -> None:
    assert parity.compare(always(SCORES), always(SCORES.copy()), [SCORES]) == parity.Parity(
        max_abs_err=0.0, max_rel_err=0.0, argmax_agreement_pct=100.0, worst_input=0
    )


def test_relative_error_is_the_largest_difference_over_the_largest_reference() -> None:
    changed = SCORES.copy()
    changed[0, 0, 0, 0] -= 2.0  # 1.0 -> -1.0: another class wins at one of four places
    found = parity.compare(always(SCORES), always(changed), [SCORES])
    assert (found.max_abs_err, found.max_rel_err, found.argmax_agreement_pct) == (2.0, 2.0 / 8.0, 75.0)


def test_the_worst_input_is_that_with_the_largest_relative_error() -> None:
    scales = [100.0, 1.0, 10.0]
    inputs = [SCORES * np.float32(scale) for scale in scales]
    found = parity.compare(lambda x: x, lambda x: x + np.float32(0.25), inputs)
    assert found.worst_input == 1
    assert found.max_rel_err == 0.25 / 8
    assert found.argmax_agreement_pct == 100.0


def test_several_outputs_count_together() -> None:
    vector = np.array([1.0, 2.0], np.float32)
    found = parity.compare(always(SCORES, vector), always(SCORES, vector + np.float32(1)), [SCORES])
    assert (found.max_abs_err, found.max_rel_err, found.argmax_agreement_pct) == (1.0, 0.5, 100.0)


@pytest.mark.parametrize(("output", "axis"), [(SCORES, None), (SCORES[:, :1], 1), (SCORES[0, 0, 0], 1)])
def test_without_classes_there_is_no_agreement(output: np.ndarray, axis: int | None) -> None:
    assert parity.compare(always(output), always(output), [SCORES], class_axis=axis).argmax_agreement_pct is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_a_fault_of_whoever_gave_it(bad: float) -> None:
    broken = SCORES.copy()
    broken[0, 1, 0, 0] = bad
    with pytest.raises(InternalError, match=r"the exported network gives .* at 1 of 8 places in output 0 of input 0"):
        parity.compare(always(SCORES), always(broken), [SCORES])
    with pytest.raises(UsageError, match="the network itself gives"):
        parity.compare(always(broken), always(broken), [SCORES])


def test_other_shapes_and_other_numbers_of_outputs_are_faults() -> None:
    with pytest.raises(InternalError, match=r"shape \(1, 2, 2, 2\) in the original and \(1, 1, 2, 2\)"):
        parity.compare(always(SCORES), always(SCORES[:, :1]), [SCORES])
    with pytest.raises(InternalError, match="has 1 outputs, the other 2"):
        parity.compare(always(SCORES), always(SCORES, SCORES), [SCORES])


def test_a_reference_of_zeros() -> None:
    zeros = np.zeros_like(SCORES)
    assert parity.compare(always(zeros), always(zeros), [SCORES]).max_rel_err == 0
    assert parity.compare(always(zeros), always(SCORES), [SCORES]).max_rel_err == np.inf


def test_no_input_is_refused() -> None:
    with pytest.raises(UsageError, match="no input"):
        parity.compare(always(SCORES), always(SCORES), [])


def made(rel: float, agreement: float | None) -> parity.Parity:
    return parity.Parity(max_abs_err=0.5, max_rel_err=rel, argmax_agreement_pct=agreement, worst_input=3)


@pytest.mark.parametrize(("rel", "agreement"), [(1e-4, 99.95), (0.0, None), (1e-6, 100.0)])
def test_rounding_is_accepted(rel: float, agreement: float | None) -> None:
    parity.check(made(rel, agreement))


@pytest.mark.parametrize(
    ("rel", "agreement", "text"),
    [
        (2e-4, 100.0, "relative error 0.0002 (limit 0.0001)"),
        (float("nan"), None, "relative error nan"),
        (1e-6, 99.9, "equal classes 99.900 % (at least 99.95 %)"),
    ],
)
def test_more_than_rounding_is_refused_with_the_figures(rel: float, agreement: float | None, text: str) -> None:
    with pytest.raises(InternalError) as caught:
        parity.check(made(rel, agreement))
    assert text in caught.value.what
    assert "input 3" in caught.value.why


def test_the_share_of_values_over_the_limit_is_that_of_the_worst_input() -> None:
    def jump(x: np.ndarray) -> np.ndarray:
        changed = x.copy()
        changed.flat[: int(x.flat[0])] += np.float32(1)  # so many values as the first says
        return changed

    inputs = [np.full((1, 2, 5, 5), value, np.float32) for value in (1.0, 3.0, 2.0)]
    found = parity.compare(lambda x: x, jump, inputs)
    assert found.over_limit_pct == 100 * 3 / 50
    assert parity.compare(lambda x: x, lambda x: x * np.float32(1 + 5e-5), inputs).over_limit_pct == 0


@pytest.mark.parametrize(("allowed_pct", "accepted"), [(0.0, False), (0.2, False), (0.3, True), (1.0, True)])
def test_few_jumps_are_accepted_only_where_they_are_allowed(allowed_pct: float, accepted: bool) -> None:
    found = parity.Parity(
        max_abs_err=0.5, max_rel_err=0.1, argmax_agreement_pct=100.0, worst_input=0, over_limit_pct=0.25
    )
    if accepted:
        parity.check(found, jumps_pct=allowed_pct)
    else:
        with pytest.raises(InternalError, match=r"relative error 0\.1"):
            parity.check(found, jumps_pct=allowed_pct)


def test_jumps_that_are_allowed_do_not_excuse_other_classes() -> None:
    found = parity.Parity(
        max_abs_err=0.5, max_rel_err=0.1, argmax_agreement_pct=99.0, worst_input=0, over_limit_pct=0.25
    )
    with pytest.raises(InternalError, match="equal classes"):
        parity.check(found, jumps_pct=1.0)


PLAIN = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def test_the_same_seed_gives_the_same_inputs_and_another_others() -> None:
    first, again, other = (parity.real_looking_inputs((2, 3, 16, 24), 2, seed, PLAIN) for seed in (1, 1, 2))
    assert [tensor.shape for tensor in first] == [(2, 3, 16, 24)] * 3
    assert all(tensor.dtype == np.float32 for tensor in first)
    for mine, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(mine, same)
        assert not np.array_equal(mine, different)
    assert not np.array_equal(first[0][0], first[0][1])  # images of one batch differ too


def test_photographs_are_8_bit_and_use_most_of_the_range() -> None:
    photograph = parity.real_looking_inputs((1, 3, 128, 128), 1, 0, PLAIN)[0]
    levels = photograph * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert levels.min() >= 0
    assert levels.max() <= 255
    assert len(np.unique(np.rint(levels))) > 128


def test_photographs_have_the_spectrum_and_the_colours_of_photographs() -> None:
    """Amplitude falls about as 1 / frequency (Field, 1987); channels and neighbours are alike; noise has none of it."""
    photograph = parity.real_looking_inputs((1, 3, 256, 256), 1, 5, PLAIN)[0][0]
    amplitude = np.abs(np.fft.fft2(photograph[0] - photograph[0].mean()))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    rings = [(low, amplitude[(radius >= low) & (radius < 1.5 * low)].mean()) for low in (0.02, 0.04, 0.08, 0.16, 0.3)]
    slope = np.polyfit(*np.log(np.array(rings)).T, 1)[0]
    assert -1.5 < slope < -0.7
    assert np.corrcoef(photograph[0].ravel(), photograph[1].ravel())[0, 1] > 0.5
    assert np.corrcoef(photograph[0, :, 1:].ravel(), photograph[0, :, :-1].ravel())[0, 1] > 0.7


def test_the_last_input_is_standard_normal() -> None:
    noise = parity.real_looking_inputs((1, 3, 64, 64), 1, 0, PLAIN)[-1]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_preprocessing_is_applied_channel_by_channel() -> None:
    """The formula of Preprocessing, on the pixels that the same seed gives without any."""
    settings = Preprocessing(
        channel_order="BGR", divisor=2.0, mean=(72.0, 82.0, 73.0), std=(45.0, 46.0, 44.0), post_divisor=255.0
    )
    pixels = np.rint(parity.real_looking_inputs((1, 3, 8, 8), 1, 0, None)[0] * 255)
    prepared = parity.real_looking_inputs((1, 3, 8, 8), 1, 0, settings)[0]
    for channel in range(3):
        expected = (pixels[0, channel] / 2 - settings.mean[channel]) / settings.std[channel] / 255
        np.testing.assert_allclose(prepared[0, channel], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 5, 7, 3)])
def test_odd_shapes_work_without_preprocessing(shape: tuple[int, int, int, int]) -> None:
    assert all(np.isfinite(tensor).all() for tensor in parity.real_looking_inputs(shape, 2, 0, None))


def test_preprocessing_for_another_number_of_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="takes 1 channels, its pre-processing gives 3"):
        parity.real_looking_inputs((1, 1, 8, 8), 1, 0, PLAIN)
