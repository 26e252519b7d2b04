"""ShuffleNet and ShuffleNetV2: the counts that papers and authors list, the shuffle, the units."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.counting import ModelCounts, count_network
from espdeploy.networks.shufflenet import Shuffle, UnitV1, UnitV2
from espdeploy.specs import ImageSize

V1, V2 = registry.entry("shufflenetv1"), registry.entry("shufflenetv2")


def counts(network: registry.NetworkEntry, **settings: float) -> ModelCounts:
    return count_network(network, registry.with_defaults(network, settings), size=network.default_size)


def truncated_or_rounded(count: int, printed_m: float) -> bool:
    """Whether a count in millions is printed so, with one digit after the point."""
    return int(count / 1e5) / 10 == printed_m or round(count / 1e6, 1) == printed_m


@pytest.mark.parametrize(("width", "params"), [(1.0, 2_278_604), (2.0, 7_393_996)])
def test_parameters_of_v2_are_the_published_ones(width: float, params: int) -> None:
    assert counts(V2, width=width).params == params


@pytest.mark.parametrize("row", V2.published, ids=lambda row: str(row.settings["width"]))
def test_v2_counts_a_little_less_than_is_printed(row: registry.NetworkEntry) -> None:
    found = counts(V2, **row.settings)
    assert truncated_or_rounded(found.params, row.params / 1e6)
    assert 0.7 <= round(100 * (1 - found.macs / row.macs), 1) <= 1.3
    assert "0.7 to 1.3 %" in V2.note


@pytest.mark.parametrize(("groups", "macs_m"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_v1_has_the_complexity_of_the_papers_table(groups: int, macs_m: int) -> None:
    layers = counts(V1, groups=groups).layers
    without_linear = sum(layer.macs or 0 for layer in layers if layer.kind == "Conv2d")
    assert round(without_linear / 1e6) == macs_m


@pytest.mark.parametrize(
    ("groups", "width", "macs_m", "params_m"),
    [
        (3, 0.5, 38, 0.7), (3, 1.0, 138, 1.9), (3, 1.5, 292, 3.4), (3, 2.0, 524, 5.4),
        (8, 0.5, 40, 1.0), (8, 1.0, 138, 2.4), (8, 1.5, 290, 4.3), (8, 2.0, 522, 6.5),
    ],
)  # fmt: skip
def test_v1_counts_what_its_authors_list(groups: int, width: float, macs_m: int, params_m: float) -> None:
    found = counts(V1, groups=groups, width=width)
    assert truncated_or_rounded(found.params, params_m)
    assert found.macs / 1e6 == pytest.approx(macs_m, abs=0.6)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 1.5, 2.0])
def test_every_width_goes_with_every_number_of_groups(groups: int, width: float) -> None:
    nominal = {0.25: 13, 0.5: 38, 1.0: 140, 1.5: 292, 2.0: 524}[width]
    found = counts(V1, groups=groups, width=width).macs
    assert found is not None
    assert found / 1e6 == pytest.approx(nominal, rel=0.25)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_the_shuffle_is_pytorchs(groups: int) -> None:
    x = torch.randn(2, 24, 3, 5)
    assert torch.equal(Shuffle(groups)(x), nn.ChannelShuffle(groups)(x))


def test_one_half_of_the_channels_passes_a_v2_unit() -> None:
    x = torch.randn(1, 12, 4, 4)
    answer = UnitV2(12).eval()(x)
    assert torch.equal(answer[:, 0::2], x[:, :6])
    assert not torch.equal(answer[:, 1::2], x[:, 6:])


def test_a_strided_v1_unit_keeps_the_pooled_input_beside_what_it_adds() -> None:
    x = torch.rand(1, 24, 7, 10)
    answer = UnitV1(24, 240, groups=3, first_groups=1, stride=2).eval()(x)
    assert answer.shape == (1, 240, 4, 5)
    torch.testing.assert_close(answer[:, :24], F.avg_pool2d(x, 3, stride=2, padding=1))


def test_every_group_of_a_v1_unit_sees_all_groups_after_two_grouped_convolutions() -> None:
    unit = UnitV1(36, 36, groups=3, first_groups=3, stride=1).eval()
    x = torch.rand(1, 36, 5, 5, requires_grad=True)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.abs_()
    (unit(x)[0, 0, 2, 2] - x[0, 0, 2, 2]).backward()
    assert x.grad is not None
    seen = x.grad[0].amax((1, 2)).reshape(3, 12)
    assert (seen > 0).all()


@pytest.mark.parametrize(
    ("network", "setting", "value", "range_"),
    [
        (V1, "groups", "5", "1 or 2 or 3 or 4 or 8"),
        (V1, "width", "0.75", "0.25 or 0.5 or 1.0 or 1.5 or 2.0"),
        (V2, "width", "0.75", "0.5 or 1.0 or 1.5 or 2.0"),
        (V2, "width", "-1", "0.5 or 1.0 or 1.5 or 2.0"),
        (V2, "classes", "0", "from 1"),
    ],
)
def test_settings_that_the_paper_does_not_have_are_refused(
    network: registry.NetworkEntry, setting: str, value: str, range_: str
) -> None:
    with pytest.raises(UsageError, match=f"{setting}={value}") as caught:
        registry.parse_settings(network, {setting: value})
    assert range_ in caught.value.why


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(UsageError, match="16x16"):
        registry.check_size(V2, ImageSize(width=16, height=16))
