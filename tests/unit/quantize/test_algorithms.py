from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espdeploy.errors import UsageError
from espdeploy.quantize import algorithms, kl
from espdeploy.quantize.sketch import Sketch

METHODS = ("minmax", "entropy", "percentile", "mse")


def sketch_of(values: np.ndarray) -> Sketch:
    sketch = Sketch()
    sketch.update(np.asarray(values, np.float32))
    return sketch


def activations(kind: str, count: int = 200_000) -> np.ndarray:
    """Values spread as layers spread them."""
    random = np.random.default_rng(11)
    normal = random.standard_normal(count)
    spread = {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "prelu": np.where(normal < 0, 0.01 * normal, 3 * normal),
        "heavy tail": random.standard_t(3, count),
        "uniform": random.uniform(-2, 2, count),
        "negative": -np.abs(normal) - 0.5,
        "far outlier": np.append(normal, [40.0]),
    }
    return spread[kind].astype(np.float32)


KINDS = ("normal", "relu", "prelu", "heavy tail", "uniform", "negative", "far outlier")


def literal_divergence(counts: np.ndarray, kept: int) -> float:
    """One candidate, step by step as the talk on TensorRT's calibration describes it."""
    reference = [float(count) for count in counts[:kept]]
    reference[-1] += float(sum(counts[kept:]))
    level_of = [index * 128 // kept for index in range(kept)]
    sums, filled = [0.0] * 128, [0] * 128
    for index, level in enumerate(level_of):
        sums[level] += counts[index]
        filled[level] += counts[index] > 0
    expanded = [sums[level] / filled[level] if counts[index] > 0 else 0.0 for index, level in enumerate(level_of)]
    total_p, total_q = sum(reference), sum(expanded)
    divergence = 0.0
    for p, q in zip(reference, expanded, strict=True):
        if p > 0 and q == 0:
            return math.inf
        if p > 0:
            divergence += p / total_p * math.log((p / total_p) / (q / total_q))
    return divergence


def check_against_literal(counts: np.ndarray) -> None:
    expected = [literal_divergence(counts, kept) for kept in range(128, counts.size + 1)]
    assert kl.divergences(counts) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "shape", ["falling", "gaps", "sparse", "one bin", "last bin outweighs all", "nothing at first"]
)
def test_divergences_are_those_of_the_literal_procedure(shape: str) -> None:
    random = np.random.default_rng(13)
    places = np.arange(400)
    counts = random.poisson(3000 * np.exp(-places / 60)).astype(np.float64)
    if shape == "gaps":
        counts[random.random(400) < 0.4] = 0
    elif shape == "sparse":
        counts = np.where(random.random(400) < 0.03, random.integers(1, 5, 400), 0).astype(np.float64)
    elif shape == "one bin":
        counts[:] = 0
    elif shape == "nothing at first":
        counts[:200] = 0
    counts[-1] = 1e9 if shape == "last bin outweighs all" else 2
    check_against_literal(counts)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=128, max_size=160), st.floats(0.1, 1e6))
def test_divergences_of_any_histogram_are_those_of_the_literal_procedure(counts: list[int], unit: float) -> None:
    check_against_literal(np.array([*counts[:-1], counts[-1] + 1]) * unit)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_clips_where_the_literal_procedure_on_the_values_finds_little_loss(kind: str) -> None:
    values = np.abs(activations(kind).astype(np.float64))
    counts, edges = np.histogram(values, bins=2048, range=(0, values.max()))
    counts[0] = 0
    chosen = algorithms.amax(sketch_of(values), "entropy")
    kept = int(np.argmin(np.abs(edges - chosen)))
    assert edges[kept] == pytest.approx(chosen, rel=1e-5), "an edge of one of the 2048 bins"
    tried = [literal_divergence(counts, each) for each in range(128, 2049, 40)]
    # the bins of the sketch are not those of this histogram: the last bin kept may be its neighbour here, and empty
    found = min(literal_divergence(counts, each) for each in range(kept - 2, min(kept + 2, 2048) + 1))
    assert found <= 1.1 * min(tried) + 1e-4


def test_entropy_clips_a_lone_outlier_and_keeps_an_even_spread() -> None:
    assert 3 < algorithms.amax(sketch_of(activations("far outlier")), "entropy") < 8
    even = sketch_of(activations("uniform"))
    assert algorithms.amax(even, "entropy") > 0.98 * even.amax


def test_entropy_does_not_see_how_many_values_are_nearly_zero() -> None:
    values = activations("heavy tail")
    expected = algorithms.amax(sketch_of(values), "entropy")
    with_zeros = np.concatenate([values, np.zeros(10 * values.size), np.full(values.size, 1e-9)])
    assert algorithms.amax(sketch_of(with_zeros), "entropy") == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pct", [60, 90, 99, 99.9, 99.99])
def test_a_percentile_has_that_share_of_the_values_below_it_to_a_bin(kind: str, pct: float) -> None:
    values = activations(kind)
    sketch = sketch_of(values)
    found = algorithms.percentile(sketch, pct)
    below = np.count_nonzero(np.abs(values) < found - sketch.bin_width)
    up_to = np.count_nonzero(np.abs(values) <= found + sketch.bin_width)
    assert below <= values.size * pct / 100 <= up_to


def test_a_percentile_is_interpolated_within_its_bin() -> None:
    values = np.linspace(0, 1, 1_000_001, dtype=np.float32)[1:]
    values[-1] = 0.999_999  # 1 itself would double the range
    for pct in (10.01, 50.007, 99.99):
        assert algorithms.percentile(sketch_of(values), pct) == pytest.approx(pct / 100, abs=2e-6)  # a bin is 2.4e-4


def test_zeros_count_for_a_percentile_but_never_make_a_range_of_nothing() -> None:
    values = np.append(np.zeros(99), 5.0)
    assert algorithms.percentile(sketch_of(values), 99.5) == pytest.approx(5.0, abs=2e-3)
    assert algorithms.percentile(sketch_of(values), 98) == 5.0
    half = np.append(np.zeros(1000), np.arange(1, 1001))
    assert algorithms.percentile(sketch_of(half), 75) == pytest.approx(500, abs=1)


@pytest.mark.parametrize("pct", [0, -1, 100.1, math.nan])
def test_what_is_no_percentile_is_refused(pct: float) -> None:
    with pytest.raises(UsageError, match="is no percentile"):
        algorithms.percentile(sketch_of(np.ones(3)), pct)
    assert algorithms.percentile(sketch_of(np.array([1.0, -7.25])), 100) == 7.25


def quantized(values: np.ndarray, amax: float) -> np.ndarray:
    """Symmetric INT8 and back."""
    step = amax / 127
    return np.clip(np.rint(values / step), -127, 127) * step


@pytest.mark.parametrize("kind", KINDS)
def test_squared_errors_are_those_of_quantizing_the_values(kind: str) -> None:
    values = activations(kind).astype(np.float64)
    sketch = sketch_of(values)
    expected_by_edge = algorithms.squared_errors(sketch) * sketch.bin_width**2
    assert expected_by_edge.size == sketch.used_bins
    for edge in np.linspace(0.05, 1, 12) * sketch.used_bins:
        bins = int(edge)
        measured = np.sum((values - quantized(values, bins * sketch.bin_width)) ** 2)
        assert expected_by_edge[bins - 1] == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_mse_clips_where_quantizing_the_values_errs_least(kind: str) -> None:
    values = activations(kind).astype(np.float64)
    sketch = sketch_of(values)
    chosen = np.sum((values - quantized(values, algorithms.amax(sketch, "mse"))) ** 2)
    tried = [np.sum((values - quantized(values, each)) ** 2) for each in np.linspace(0.02, 1, 150) * sketch.amax]
    assert chosen <= 1.02 * min(tried)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_in_another_unit_has_its_range_in_that_unit(method: str, kind: str) -> None:
    values = activations(kind)
    expected = algorithms.amax(sketch_of(values), method)
    assert 0 < expected <= np.abs(values).max()
    assert algorithms.amax(sketch_of(values * np.float32(2.0**-20)), method) == expected * 2.0**-20
    assert algorithms.amax(sketch_of(-values), method) == expected


def test_minmax_is_the_greatest_magnitude() -> None:
    assert algorithms.amax(sketch_of(np.array([1.5, -3.25, 2.0])), "minmax") == 3.25


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_zeros_or_nothing_at_all_has_no_range(method: str) -> None:
    assert algorithms.amax(sketch_of(np.zeros((1, 2, 3))), method) == 0.0
    assert algorithms.amax(Sketch(), method) == 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [1e-45, 1e-38, -1e-20, 3.0, -1e38, 3.4e38])
def test_one_value_everywhere_is_its_own_range(method: str, value: float) -> None:
    held = abs(float(np.float32(value)))
    found = algorithms.amax(sketch_of(np.full(1000, value)), method)
    if held > 1e-30:  # below, all values share the first bin of the least range, and within a bin nothing is told apart
        assert found == pytest.approx(held, rel=1e-3)
    assert 0 < found <= held


@pytest.mark.parametrize("method", METHODS)
def test_a_handful_of_values_has_a_range_among_them(method: str) -> None:
    found = algorithms.amax(sketch_of(np.array([0.0, 0.25, -1.0])), method)
    assert 0.25 <= found <= 1.0


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    assert tuple(algorithms.METHODS) == METHODS
    with pytest.raises(UsageError, match="no calibration method entopy") as caught:
        algorithms.amax(Sketch(), "entopy")
    assert '"entropy"' in caught.value.do
