"""ENet: published counts, the same answers as with PyTorch's own unpooling, and what the parity check lets through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from espdeploy import parity
from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.build import build
from espdeploy.networks.counting import count_network
from espdeploy.networks.factories import make
from espdeploy.networks.max_unpool import MaxPoolWithWinners, Winners
from espdeploy.specs import ImageSize, ModelSpec

ENET = registry.entry("enet")
SQUARE = ImageSize(width=224, height=224)


class IndexPool(nn.MaxPool2d):
    def __init__(self) -> None:
        super().__init__(2, return_indices=True)


class IndexUnpool(nn.MaxUnpool2d):
    def __init__(self) -> None:
        super().__init__(2)


class LastWins(MaxPoolWithWinners):
    """A wrong rule for ties."""

    def forward(self, x: Tensor) -> tuple[Tensor, Winners]:
        pooled, winners = super().forward(x.flip(2, 3))
        below, right_above, right_below = (flag.flip(2, 3) for flag in winners)
        return pooled.flip(2, 3), Winners(below=~below, right_above=~right_below, right_below=~right_above)


@pytest.mark.parametrize(
    ("form", "classes", "params"),
    [("pytorch", 20, 351_804), ("torch7", 20, 364_376), ("pytorch", 12, 351_804 - 8 * 9 * 16)],
)
def test_parameters_are_the_published_ones(form: str, classes: int, params: int) -> None:
    settings = {"form": form, "classes": classes}
    assert count_network(ENET, settings, size=SQUARE).params == params


def test_the_wider_form_is_the_one_that_the_papers_print() -> None:
    printed = next(row for row in ENET.published if row.params is not None)
    counted = count_network(ENET, registry.with_defaults(ENET, printed.settings), size=SQUARE).params
    assert round(counted, -3) == printed.params


def test_the_printed_multiply_adds_leave_transposed_convolutions_out() -> None:
    printed = next(row.macs for row in ENET.published if row.macs is not None)
    counts = count_network(ENET, ENET.defaults, size=SQUARE)
    plain = sum(layer.macs or 0 for layer in counts.layers if layer.kind == "Conv2d")
    assert plain == pytest.approx(printed, rel=0.01)
    up4, up5, last = (32 * 32 * 4 * 28**2, 16 * 16 * 4 * 56**2, 16 * 20 * 9 * 112**2)
    assert counts.macs == plain + up4 + up5 + last


@pytest.mark.parametrize("form", ["pytorch", "torch7"])
def test_it_answers_as_with_pytorchs_own_unpooling(form: str) -> None:
    torch.manual_seed(0)
    network = make(ENET, {"form": form, "classes": 5}).eval()
    image = torch.randint(0, 4, (2, 3, 40, 56)).float()  # few levels: the pooled image is full of ties
    with torch.no_grad():
        answer = network(image)
        network.down1.pool = network.down2.pool = IndexPool()
        network.up4.unpool = network.up5.unpool = IndexUnpool()
        expected = network(image)
    assert answer.shape == (2, 5, 40, 56)
    assert torch.equal(answer, expected)


def test_what_the_parity_check_allows_does_not_hide_a_wrong_rule_for_ties() -> None:
    size = ImageSize(width=128, height=96)
    right, wrong = (build(ModelSpec(name="enet"), size=size) for _ in range(2))
    wrong.module.down1.pool = LastWins()
    inputs = parity.real_looking_inputs((1, 3, 96, 128), 1, 0, right.card.preprocessing)

    def run(network: nn.Module):
        return lambda feed: network(torch.from_numpy(feed)).numpy()

    parity.check(parity.compare(run(right.module), run(right.module), inputs))
    found = parity.compare(run(right.module), run(wrong.module), inputs)
    assert found.over_limit_pct > 10 * right.jumps_pct


def test_last_wins_is_wrong_only_about_ties() -> None:
    x = torch.randn(1, 2, 6, 8)
    pooled, winners = LastWins()(x)
    expected, right = MaxPoolWithWinners()(x)
    assert torch.equal(pooled, expected)
    assert torch.equal(winners.below, right.below)
    _, tied = LastWins()(torch.zeros(1, 1, 2, 2))
    assert tied.below.all()
    assert tied.right_below.all()


@pytest.mark.parametrize(("size", "offered"), [("100x100", "96x96 or 104x104"), ("4x4", "8x8"), ("481x360", "480x360")])
def test_sizes_must_halve_three_times(size: str, offered: str) -> None:
    with pytest.raises(UsageError, match=size) as caught:
        registry.check_size(ENET, ImageSize.parse(size))
    assert offered in caught.value.do


def test_an_unknown_form_names_the_forms() -> None:
    with pytest.raises(UsageError, match="form=caffe") as caught:
        registry.parse_settings(ENET, {"form": "caffe"})
    assert "pytorch or torch7" in caught.value.why
