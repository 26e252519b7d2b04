"""MobileNetV1 and V2: published counts at several widths and sizes, channel rounding, residual sums."""

from __future__ import annotations

import pytest
import torch

from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.counting import count_network
from espdeploy.networks.mobilenet import InvertedResidual, scaled
from espdeploy.specs import ImageSize

V1, V2 = registry.entry("mobilenetv1"), registry.entry("mobilenetv2")


@pytest.mark.parametrize(("name", "params"), [("mobilenetv1", 4_231_976), ("mobilenetv2", 3_504_872)])
def test_parameters_are_the_published_ones(name: str, params: int) -> None:
    network = registry.entry(name)
    assert count_network(network, network.defaults, size=network.default_size).params == params


@pytest.mark.parametrize(
    ("name", "width", "side", "macs_m"),
    [
        # the papers' tables
        ("mobilenetv1", 1.0, 224, 569), ("mobilenetv1", 0.75, 224, 325), ("mobilenetv1", 0.5, 224, 149),
        ("mobilenetv1", 0.25, 224, 41), ("mobilenetv2", 1.0, 224, 300), ("mobilenetv2", 1.4, 224, 585),
    ],
)  # fmt: skip
def test_multiply_adds_are_the_printed_ones(name: str, width: float, side: int, macs_m: int) -> None:
    settings = {"width": width, "classes": 1000}
    counted = count_network(registry.entry(name), settings, size=ImageSize(width=side, height=side)).macs
    assert counted == pytest.approx(macs_m * 1e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "width", "side"), [("mobilenetv1", 0.25, 192), ("mobilenetv2", 0.35, 160), ("mobilenetv2", 0.25, 224)]
)
def test_the_small_settings_that_the_notes_name_are_small(name: str, width: float, side: int) -> None:
    network = registry.entry(name)
    settings = {"width": width, "classes": 1000}
    counted = count_network(network, settings, size=ImageSize(width=side, height=side)).macs
    assert counted is not None
    assert 28e6 <= counted <= 40e6
    assert f"width={width:g}" in network.note
    assert f"{counted / 1e6:.1f} M" in network.note


def test_normalisation_explains_the_printed_parameters_of_v2() -> None:
    counts = count_network(V2, V2.defaults, size=V2.default_size)
    weights = sum(layer.params for layer in counts.layers)
    assert f"{int(weights / 1e4) / 100:.2f} M without them" in V2.note


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 0.75, 24),
        (16, 0.35, 8),  # 5.6: at least 8
        (24, 0.35, 8),  # 8.4
        (32, 0.35, 16),  # 11.2: 8 would be less than 90 %
        (96, 0.35, 32),  # 33.6
        (1280, 1.4, 1792),
    ],
)
def test_channels_are_the_nearest_multiple_of_8_that_is_not_much_less(
    channels: int, width: float, expected: int
) -> None:
    assert scaled(channels, width) == expected


def test_the_input_is_added_only_where_shapes_agree() -> None:
    x = torch.rand(1, 8, 6, 6)
    kept = InvertedResidual(8, 8, expansion=6, stride=1).eval()
    strided = InvertedResidual(8, 8, expansion=6, stride=2).eval()
    wider = InvertedResidual(8, 16, expansion=6, stride=1).eval()
    for block in (kept, strided, wider):
        torch.nn.init.zeros_(block.layers[-1].weight)  # the last normalisation: what the branch adds becomes 0
    assert torch.equal(kept(x), x)
    assert not strided(x).any()
    assert strided(x).shape == (1, 8, 3, 3)
    assert not wider(x).any()


@pytest.mark.parametrize("width", ["0.05", "3", "nan", "wide"])
@pytest.mark.parametrize("network", [V1, V2], ids=lambda network: network.name)
def test_widths_out_of_range_are_refused(network: registry.NetworkEntry, width: str) -> None:
    with pytest.raises(UsageError, match=f"width={width}") as caught:
        registry.parse_settings(network, {"width": width})
    assert "a number from 0.1 to 2" in caught.value.why


def test_any_size_from_32_up_fits() -> None:
    registry.check_size(V1, ImageSize(width=33, height=101))
    with pytest.raises(UsageError, match="31x224") as caught:
        registry.check_size(V1, ImageSize(width=31, height=224))
    assert "start at 32x32" in caught.value.why
    assert caught.value.do == "--size 32x224"
