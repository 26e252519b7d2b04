"""The knee of a curve, against places that calculus gives."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from espdeploy.report.knee import knee

GAINS = [1 + index / 100 for index in range(301)]  # 1 to 4 in hundredths


def at(cost: list[float]) -> float:
    found = knee(list(zip(GAINS, cost, strict=True)))
    assert found is not None
    return GAINS[found]


def test_of_a_hyperbola_it_is_the_geometric_mean_of_its_ends() -> None:
    assert at([1 / x for x in GAINS]) == pytest.approx(math.sqrt(1 * 4), abs=0.01)


def test_of_an_exponential_it_is_where_the_slope_is_that_of_the_chord() -> None:
    expected = math.log((math.exp(4) - math.exp(1)) / 3)
    assert at([math.exp(x) for x in GAINS]) == pytest.approx(expected, abs=0.01)


numbers = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 20))


@given(numbers, st.tuples(st.floats(-100, 100), st.floats(0.01, 1e4)), st.permutations(range(21)))
def test_of_any_parabola_it_is_the_middle_whatever_the_units_and_the_order(
    curve: tuple[float, float, float], axis: tuple[float, float], order: list[int]
) -> None:
    offset, slope, bend = curve
    gains = [axis[0] + axis[1] * index / 20 for index in range(21)]
    costs = [offset + slope * index / 20 + bend * (index / 20) ** 2 for index in range(21)]
    height = max(costs) - min(costs)
    assume(bend / 4 > 0.06 * height and height > 0.03 * max(map(abs, costs)))  # neither nearly straight nor nearly flat
    found = knee([(gains[index], costs[index]) for index in order])
    assert found is not None
    assert order[found] == 10


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1.0, 2.0), (2.0, 1.0)],
        [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)],  # straight
        [(1.0, 1.0), (2.0, 5.0), (3.0, 6.0)],  # bulges upwards
        [(1.0, 100.0), (2.0, 99.5), (3.0, 100.0)],  # flat within 2 %
        [(1.0, 3.0), (1.0, 2.0), (1.0, 1.0)],  # no gain
    ],
)
def test_curves_without_one(points: list[tuple[float, float]]) -> None:
    assert knee(points) is None
