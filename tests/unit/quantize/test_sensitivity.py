"""What a layer in a lower precision changes: the measures, their order, and how they are asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from espdeploy.quantize.sensitivity import Effect, RelativeError, each_alone, ranked, weights

outputs = arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=16))


@given(st.lists(st.tuples(outputs, outputs), min_size=1, max_size=4))
def test_the_error_is_squared_distance_over_squared_size(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    error = RelativeError()
    for reference, found in pairs:
        error.add(reference, found)
    values = [(float(r), float(f)) for a, b in pairs for r, f in zip(a.flat, b.flat, strict=True)]
    distance, size = sum((f - r) ** 2 for r, f in values), sum(r**2 for r, _ in values)
    expected = 0.0 if distance == 0 else distance / size if size else math.inf
    assert error.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_output_that_is_not_finite_is_an_infinite_error(bad: float) -> None:
    error = RelativeError()
    error.add(np.ones(4, dtype=np.float32), np.array([1, 1, bad, 1], dtype=np.float32))
    assert error.value == math.inf


def effect(drop: float | None = None, *, agreement: float = 100.0, error: float | None = 0.0) -> Effect:
    return Effect(agreement_pct=agreement, error=error, drop_pct=drop)


def test_the_worst_is_what_loses_most_and_small_effects_are_told_apart_by_their_error() -> None:
    effects = {
        "gains": effect(-0.02, error=0.5),
        "small": effect(0.0, error=1e-6),
        "worst": effect(0.4, error=1e-3),
        "larger": effect(0.0, error=1e-4),
    }
    assert ranked(effects) == ["worst", "larger", "small", "gains"]


def test_without_labels_the_worst_is_what_changes_most_pixels() -> None:
    effects = {"a": effect(agreement=99.5), "b": effect(agreement=98.0), "c": effect(agreement=math.nan)}
    assert ranked(effects) == ["c", "b", "a"]
    assert effects["b"].loss_pct == pytest.approx(2.0)


def test_equal_layers_keep_their_order() -> None:
    assert ranked({"b": effect(0.1), "a": effect(0.1)}) == ["b", "a"]


def test_layers_are_weighed_by_their_error_and_by_changed_classes_where_outputs_have_none() -> None:
    assert weights({"a": effect(0.4, error=0.25), "b": effect(0.9, error=0.5)}) == {"a": 0.25, "b": 0.5}
    assert weights({"a": effect(agreement=99.0, error=None), "b": effect(error=None)}) == {"a": 1.0, "b": 0.0}


def test_each_layer_is_asked_once_and_progress_tells_which() -> None:
    told: list[tuple[int, int | None, str]] = []
    asked: list[str] = []

    def effect_of(layer: str) -> Effect:
        asked.append(layer)
        return effect(0.1 * len(asked))

    found = each_alone(["x", "y"], effect_of, lambda done, total, text: told.append((done, total, text)))
    assert asked == ["x", "y"]
    assert {layer: value.drop_pct for layer, value in found.items()} == {"x": 0.1, "y": 0.2}
    assert [(done, total) for done, total, _ in told] == [(0, 2), (1, 2), (2, 2)]
    assert len({text.partition(", ")[0] for *_, text in told}) == 1
