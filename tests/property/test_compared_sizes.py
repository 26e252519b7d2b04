"""The compared networks over sizes, widths and classes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espdeploy.networks import registry
from espdeploy.networks.counting import count_network, count_params
from espdeploy.networks.factories import make
from espdeploy.networks.mobilenet import scaled
from espdeploy.specs import ImageSize

EIGHTHS = st.integers(1, 9)
SIDE = st.integers(32, 120)
CLASSES = st.integers(1, 50)


@given(width=EIGHTHS, height=EIGHTHS, classes=CLASSES, name=st.sampled_from(["enet", "erfnet"]))
@settings(max_examples=6, deadline=None)
def test_scores_have_the_images_size(width: int, height: int, classes: int, name: str) -> None:
    network = registry.entry(name)
    with torch.device("meta"):
        module = make(network, registry.with_defaults(network, {"classes": classes})).eval()
        output = module(torch.empty(2, 3, 8 * height, 8 * width))
    assert output.shape == (2, classes, 8 * height, 8 * width)


@given(
    width=SIDE,
    height=SIDE,
    classes=CLASSES,
    name=st.sampled_from(["mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2"]),
)
@settings(max_examples=8, deadline=None)
def test_any_image_gets_one_score_for_each_class(width: int, height: int, classes: int, name: str) -> None:
    network = registry.entry(name)
    with torch.device("meta"):
        module = make(network, registry.with_defaults(network, {"classes": classes})).eval()
        output = module(torch.empty(2, 3, height, width))
    assert output.shape == (2, classes)


@given(channels=st.integers(1, 1280), width=st.floats(0.1, 2.0))
def test_scaled_channels_are_near_what_was_asked_for(channels: int, width: float) -> None:
    found, wanted = scaled(channels, width), channels * width
    assert found % 8 == 0
    assert found >= 8
    assert found >= 0.9 * wanted
    assert found <= max(8, wanted + 8)


@given(widths=st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0)), name=st.sampled_from(["mobilenetv1", "mobilenetv2"]))
@settings(max_examples=4, deadline=None)
def test_a_wider_network_never_costs_less(widths: tuple[float, float], name: str) -> None:
    network = registry.entry(name)
    size = ImageSize(width=64, height=64)
    narrow, wide = (count_network(network, {"width": width, "classes": 10}, size=size) for width in sorted(widths))
    assert narrow.params <= wide.params
    assert narrow.macs <= wide.macs


@given(classes=CLASSES, name=st.sampled_from(["mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2"]))
@settings(max_examples=4, deadline=None)
def test_a_class_costs_its_row_of_the_linear_layer(classes: int, name: str) -> None:
    network = registry.entry(name)
    with torch.device("meta"):
        module = make(network, registry.with_defaults(network, {"classes": classes}))
        more = make(network, registry.with_defaults(network, {"classes": classes + 1}))
    assert count_params(more) - count_params(module) == 1 + module[-1].linear.in_features
