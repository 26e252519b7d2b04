"""The committed counts against fresh ones, reasons where print differs, and the parts of a count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from espdeploy.networks import breakdown, published
from espdeploy.networks.counted import COUNTED
from espdeploy.networks.counting import LayerCount, count_network
from espdeploy.networks.entry import Published
from espdeploy.networks.registry import REGISTRY, entry, with_defaults
from espdeploy.specs import ImageSize


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_committed_counts_are_current(name: str) -> None:
    network, fresh = entry(name), {}
    for row in network.published:
        size = published.counted_size(network, row)
        counts = count_network(network, with_defaults(network, row.settings), size=size)
        fresh[published.key(network, row)] = (counts.params, counts.macs)
    assert COUNTED.get(name, {}) == fresh, "run: python docs/generate_counts.py"


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_difference_over_1_percent_has_a_reason_of_its_own(name: str) -> None:
    for row in published.compared(entry(name)):
        assert not row.reason.endswith("not known"), (name, dict(row.row.settings))


def _reason(printed: int, counted: int) -> str:
    network = replace(entry("erfnet"), name="made-up", differences={"params": "a reason"})
    return published._reason(network, "params", printed=printed, counted=counted)


@pytest.mark.parametrize(
    ("printed", "counted", "told"),
    [
        (1_300_000, 1_331_592, "rounds"),  # 1.3 M
        (500_000, 470_072, "rounds"),  # 0.5 M
        (3_400_000, 3_504_872, "a reason"),  # 3.5 M is not 3.4 M
        (80_000, 84_000, "rounds"),  # 0.08 M
        (7_000_000, 7_400_000, "a reason"),  # not taken for "7 M, rounded"
        (364_000, 364_569, ""),
        (1_000, 1_010, ""),
    ],
)
def test_rounding_is_told_from_a_difference(printed: int, counted: int, told: str) -> None:
    reason = _reason(printed, counted)
    assert told in reason
    assert bool(reason) == bool(told)


def test_the_accuracy_to_show_is_of_the_defaults_and_of_a_test_set() -> None:
    espnet = entry("espnet")
    shown = published.headline(espnet)
    assert shown is not None
    assert (shown.value, shown.data) == (60.34, "Cityscapes test")
    other = Published(settings={"alpha3": 3}, source="s", metric="miou_pct", value=99.0, data="Cityscapes test")
    default = Published(settings={"alpha3": 8}, source="s", metric="miou_pct", value=1.0, data="Cityscapes validation")
    shown = published.headline(replace(espnet, published=(other, default)))
    assert shown == default
    assert published.headline(replace(espnet, published=())) is None


@pytest.mark.parametrize("name", ["espnet", "espnetv2-seg", "enet", "shufflenetv2", "eru"])
def test_the_parts_add_up_to_the_whole(name: str) -> None:
    network = entry(name)
    size = network.default_size if name == "eru" else ImageSize(width=64, height=64)
    whole = count_network(network, network.defaults, size=size)
    parts = breakdown.of_network(network, network.defaults, size=size)
    assert sum(layer.params for layer in parts.layers) == whole.params
    assert sum(layer.macs or 0 for layer in parts.layers) == whole.macs
    assert sum(kind.params for kind in parts.kinds) == whole.params
    assert len({layer.name for layer in parts.layers}) == len(parts.layers)


def test_blocks_are_the_papers_units() -> None:
    network = entry("espnet-c")
    parts = breakdown.of_network(network, network.defaults, size=network.default_size)
    blocks = {block.kind: block for block in parts.blocks}
    assert blocks["ESP"].count == 2 + 8  # alpha2 = 2 and alpha3 = 8 (ESPNet paper, section 4.1)
    # an ESP module of 64 channels: weights 64 x 12 + 12 x 9 x 64, then a slope, a scale and a shift for each channel
    assert blocks["ESP"].params == 2 * (7_680 + 3 * 64) + 8 * (32_000 + 3 * 128)


def test_a_shared_parameter_counts_where_it_is_first() -> None:
    shared = nn.Linear(4, 4, bias=False)
    twice = nn.Sequential(shared, nn.Sequential(nn.ReLU(), nn.Linear(4, 4, bias=False)))
    twice[1][1].weight = shared.weight
    layers = tuple(breakdown._layers(twice, {"0": 16, "1.1": 16}))
    assert [(layer.name, layer.params) for layer in layers] == [("0", 16), ("1.1", 0)]


def test_an_unknown_count_makes_its_kind_unknown() -> None:
    layers = [
        LayerCount(name="a", kind="Conv", params=1, macs=5),
        LayerCount(name="b", kind="Conv", params=1, macs=None),
        LayerCount(name="c", kind="Gemm", params=2, macs=3),
    ]
    kinds = {kind.kind: kind.macs for kind in breakdown.kinds(layers)}
    assert kinds == {"Conv": None, "Gemm": 3}
