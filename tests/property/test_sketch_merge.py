"""Sketches of parts equal one sketch of everything, whatever the values and the parts."""

from __future__ import annotations

import functools
import itertools
from copy import deepcopy
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper

from espdeploy.quantize.observe import Observation, merge, observe
from espdeploy.quantize.sketch import ChannelSketch, Sketch

BINS = 16  # so few that doubling soon folds everything into the first one
numbers = st.one_of(
    st.floats(width=32),  # NaN, infinities, denormals and 3.4e38 among them
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-40, 1e38]),
    st.integers(-2000, 2000).map(float),
)
tensors = arrays(np.float32, st.integers(0, 12), elements=numbers)
parts = st.lists(tensors, max_size=6)


def sketch_of(*values: np.ndarray) -> Sketch:
    sketch = Sketch(bins=BINS)
    for each in values:
        sketch.update(each)
    return sketch


def merged(*sketches: Sketch) -> Sketch:
    result = Sketch(bins=BINS)
    for each in sketches:
        result.merge(each)
    return result


def state(sketch: Sketch) -> tuple[object, ...]:
    """Everything in it; repr tells 0.0 from -0.0."""
    extremes = repr((sketch.lowest, sketch.highest))
    return sketch.counts.tolist(), sketch.exponent, extremes, sketch.count, sketch.zeros, sketch.not_finite


@given(parts, st.randoms(use_true_random=False))
def test_parts_merged_in_any_order_equal_one_run(values: list[np.ndarray], random) -> None:
    whole = state(sketch_of(*values))
    shuffled = list(values)
    random.shuffle(shuffled)
    assert state(sketch_of(*shuffled)) == whole
    cut = random.randint(0, len(shuffled))
    assert state(merged(sketch_of(*shuffled[:cut]), sketch_of(*shuffled[cut:]))) == whole
    assert state(merged(*map(sketch_of, shuffled))) == whole
    joined = np.concatenate([np.empty(0, np.float32), *values])
    assert state(sketch_of(joined)) == whole


@given(tensors, tensors, tensors)
def test_merging_is_associative_and_leaves_its_argument_alone(one, two, three) -> None:
    a, b, c = (sketch_of(each) for each in (one, two, three))
    before = state(b)
    assert state(merged(merged(a, b), c)) == state(merged(a, merged(b, c)))
    assert state(b) == before


@given(tensors)
def test_an_empty_sketch_changes_nothing(values: np.ndarray) -> None:
    filled, empty = sketch_of(values), Sketch(bins=BINS)
    before = state(filled)
    filled.merge(empty)
    assert state(filled) == before
    empty.merge(filled)
    assert state(empty) == before


@given(tensors)
def test_every_value_is_in_the_bin_that_exact_arithmetic_gives(values: np.ndarray) -> None:
    sketch = sketch_of(values)
    finite = [Fraction(float(value)) for value in values if np.isfinite(value)]
    expected = [0] * BINS
    for value in finite:
        expected[int(abs(value) * BINS / Fraction(2) ** sketch.exponent)] += 1
    assert sketch.counts.tolist() == expected
    largest = max(map(abs, finite), default=Fraction(0))
    needed = next(power for power in range(-100, 129) if largest < Fraction(2) ** power)  # 2**-100 is the least range
    assert sketch.exponent == needed
    assert Fraction(sketch.amax) == largest
    assert sketch.zeros == finite.count(Fraction(0))
    assert sketch.not_finite == len(values) - len(finite)


@given(st.lists(arrays(np.float32, (2, 3, 2), elements=numbers), min_size=1, max_size=4))
def test_channels_merge_as_tensors_do(values: list[np.ndarray]) -> None:
    whole = ChannelSketch(bins=BINS)
    result = ChannelSketch(bins=BINS)
    for each in values:
        whole.update(each)
        part = ChannelSketch(bins=BINS)
        part.update(each)
        result.merge(part)
        result.merge(ChannelSketch(bins=BINS))
    assert [state(sketch) for sketch in result.channels] == [state(sketch) for sketch in whole.channels]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, its activation and their sum with the input."""
    weight = numpy_helper.from_array(np.random.default_rng(1).standard_normal((2, 2, 1, 1)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["active"]),
        helper.make_node("Add", ["active", "x"], ["y"]),
    ]
    shape = [1, 2, 4, 4]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    path = tmp_path_factory.mktemp("merge") / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def observed(network: Path, images: list[np.ndarray]) -> Observation:
    feeds = ((f"{index}", {"x": image}) for index, image in enumerate(images))
    return observe(network, feeds, per_channel=["active"], threads=1)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=6), st.data())
def test_observing_parts_equals_observing_everything(network: Path, seeds: list[int], data: st.DataObject) -> None:
    images = [
        np.random.default_rng(seed).normal(0, 10.0 ** (seed % 9 - 4), (1, 2, 4, 4)).astype(np.float32) for seed in seeds
    ]
    cuts = sorted({0, *data.draw(st.sets(st.integers(1, len(images) - 1))), len(images)})
    pieces = [observed(network, images[start:end]) for start, end in itertools.pairwise(cuts)]
    before = deepcopy(pieces[0])
    result, whole = functools.reduce(merge, data.draw(st.permutations(pieces))), observed(network, images)
    assert facts(result) == facts(whole)
    assert facts(pieces[0]) == facts(before)
    nothing = Observation(images=0, sketches={})
    assert facts(merge(nothing, whole)) == facts(merge(whole, nothing)) == facts(whole)


def facts(seen: Observation) -> tuple[object, ...]:
    sketches = {name: state(sketch) for name, sketch in seen.sketches.items()}
    channels = {name: [state(each) for each in sketch.channels] for name, sketch in seen.channels.items()}
    return seen.images, sketches, channels, seen.constant
