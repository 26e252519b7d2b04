"""The search for the fastest assignment, against every assignment of small made-up networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.quantize.search import Assignment, Drop, search

Accuracy = Callable[[frozenset[str]], Drop]
ROUNDING = 1e-9
points = st.floats(0, 1, width=32)
times = st.tuples(st.floats(0.0625, 4, width=32), st.floats(0.0625, 4, width=32))


@dataclass(frozen=True)
class Network:
    """Layers with what each costs in points, what each pair costs besides, and its times in ms."""

    costs: dict[str, float]
    pairs: dict[frozenset[str], float]
    time_ms: dict[str, tuple[float, float]]

    @property
    def layers(self) -> list[str]:
        return list(self.costs)

    def drop(self, int8: frozenset[str]) -> Drop:
        alone = math.fsum(self.costs[layer] for layer in int8)
        return Drop(points=alone + math.fsum(value for pair, value in self.pairs.items() if pair <= int8))

    def saved_ms(self, int8: frozenset[str]) -> float:
        return math.fsum(self.time_ms[layer][0] - self.time_ms[layer][1] for layer in int8)

    def most_saved_ms(self, max_drop: float) -> float:
        """Of all assignments within the drop, by trying each."""
        subsets = (
            frozenset(chosen)
            for count in range(len(self.layers) + 1)
            for chosen in itertools.combinations(self.layers, count)
        )
        return max(self.saved_ms(chosen) for chosen in subsets if self.drop(chosen).points <= max_drop)


@st.composite
def networks(draw: st.DrawFn, *, interacting: bool) -> Network:
    names = [f"layer{index}" for index in range(draw(st.integers(1, 8)))]
    costs = {name: draw(points) for name in names}
    couples = [frozenset(pair) for pair in itertools.combinations(names, 2)]
    either_way = st.floats(-1, 1, width=32)
    pairs = draw(st.dictionaries(st.sampled_from(couples), either_way, max_size=6)) if interacting and couples else {}
    return Network(costs, pairs, {name: draw(times) for name in names})


def searched(network: Network, max_drop: float, **options: object) -> Assignment:
    given: Mapping[str, object] = {
        "accuracy": network.drop,
        "time_ms": network.time_ms,
        "sensitivity": network.costs,
        "max_drop": max_drop,
        **options,
    }
    return search(network.layers, **given)  # type: ignore[arg-type]  # options of several types in one mapping


@given(networks(interacting=False), st.floats(0, 4, width=32))
def test_where_losses_add_up_less_than_one_layers_gain_is_missed(network: Network, max_drop: float) -> None:
    found = searched(network, max_drop)
    int8 = frozenset(found.int8)
    assert found.drop_search == network.drop(int8)
    assert found.drop_search.points <= max_drop
    assert found.saved_ms == pytest.approx(network.saved_ms(int8))
    largest = max(fp - low for fp, low in network.time_ms.values())
    assert found.saved_ms >= network.most_saved_ms(max_drop) - max(largest, 0.0) - ROUNDING


@given(networks(interacting=True), st.floats(0, 2, width=32), st.integers(1, 20))
def test_the_drop_is_kept_to_however_layers_interact_and_however_few_trials_there_are(
    network: Network, max_drop: float, budget: int
) -> None:
    asked: list[frozenset[str]] = []

    def accuracy(int8: frozenset[str]) -> Drop:
        asked.append(int8)
        return network.drop(int8)

    found = searched(network, max_drop, accuracy=accuracy, budget=budget)
    int8 = frozenset(found.int8)
    assert found.drop_search == network.drop(int8)
    assert found.drop_search.points <= max_drop
    assert found.evaluations == len(asked) == len(set(asked)) <= budget
    assert set(found.kept) == set(network.layers) - int8
    assert list(found.int8) == [layer for layer in network.layers if layer in int8]
    fitting = [tried for tried in asked if network.drop(tried).points <= max_drop]
    assert found.saved_ms >= max((network.saved_ms(tried) for tried in fitting), default=0.0) - ROUNDING


@given(networks(interacting=True))
def test_no_layer_that_int8_slows_down_is_ever_chosen(network: Network) -> None:
    found = searched(network, max_drop=100.0)
    for layer, (fp_ms, int8_ms) in network.time_ms.items():
        assert (layer in found.int8) == (int8_ms < fp_ms)
        if int8_ms >= fp_ms:
            assert found.kept[layer] == f"INT8 is not faster here: {int8_ms:.3g} ms against {fp_ms:.3g} ms"


def test_each_reason_names_what_the_layer_costs_and_what_it_would_lead_to() -> None:
    network = Network({"a": 0.41, "b": 0.02, "c": 0.3}, {}, {"a": (1.0, 0.5), "b": (1.0, 0.5), "c": (0.1, 0.12)})
    found = searched(network, 0.1)
    assert found.int8 == ("b",)
    assert found.kept == {
        "a": "costs 0.41 points alone; with it in INT8 0.430 points would be lost, 0.1 are allowed",
        "c": "INT8 is not faster here: 0.12 ms against 0.1 ms",
    }


def test_a_layer_that_cost_more_for_its_gain_comes_back_where_there_is_room() -> None:
    """By cost for gain ``dear`` goes first, then ``cheap``; without ``cheap`` there is room for ``dear``."""
    network = Network(
        {"dear": 0.1, "cheap": 0.95, "free": 0.0},
        {},
        {"dear": (0.2, 0.1), "cheap": (9.0, 1.0), "free": (2.0, 1.0)},
    )
    found = searched(network, 0.9)
    assert set(found.int8) == {"dear", "free"}
    assert set(found.kept) == {"cheap"}


def test_all_layers_fit_at_the_first_trial() -> None:
    network = Network({"a": 0.1, "b": 0.1}, {}, {"a": (2.0, 1.0), "b": (2.0, 1.0)})
    found = searched(network, 0.2)
    assert found.int8 == ("a", "b")
    assert found.kept == {}
    assert found.evaluations == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_fits_and_goes_first(bad: float) -> None:
    network = Network({"a": 0.01, "b": bad}, {}, {"a": (2.0, 1.0), "b": (200.0, 1.0)})
    found = searched(network, 0.5)
    assert found.int8 == ("a",)
    assert found.drop_search.points == 0.01


def test_a_spent_budget_is_said() -> None:
    costs = {f"layer{index}": 1.0 for index in range(8)}
    network = Network(costs, {}, dict.fromkeys(costs, (2.0, 1.0)))
    found = searched(network, 0.5, budget=2)
    assert found.int8 == ()
    assert found.evaluations == 2
    assert all("all 2 trials were spent" in reason for reason in found.kept.values())


def test_words_about_a_layer_are_taken_as_given() -> None:
    network = Network({"a": 7.0}, {}, {"a": (2.0, 1.0)})
    found = searched(network, 0.5, alone={"a": "changes 2 % of the pixels alone"})
    assert found.kept["a"].startswith("changes 2 % of the pixels alone; ")
