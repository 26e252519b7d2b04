"""ESPNetv2 over any settings and sizes: shapes, and parameters by a closed form."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from espdeploy.networks import registry
from espdeploy.networks.adaptive_pooling import adaptive_average
from espdeploy.networks.counting import count_network
from espdeploy.networks.entry import SettingValue
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize

SCALES = st.sampled_from([0.5, 1.0, 1.25, 1.5, 1.75, 2.0])
HEADS = st.sampled_from(["paper", "edgenets"])
CLASSES = st.integers(2, 60)
SIXTEENTHS = st.integers(1, 9)
EXTENTS = st.integers(1, 40)


def counts(name: str, given_settings: dict[str, SettingValue], size: ImageSize) -> tuple[int, int]:
    network = registry.entry(name)
    found = count_network(network, registry.with_defaults(network, given_settings), size=size)
    assert found.macs is not None
    return found.params, found.macs


def norm_act(channels: int) -> int:
    return 3 * channels


def eesp(inputs: int, outputs: int, *, groups: int) -> int:
    """Parameters of an EESP unit, counted by hand from Figure 1c."""
    narrow = outputs // 4
    reduction = inputs * narrow // groups + norm_act(narrow)
    pyramid = 4 * 9 * narrow + norm_act(outputs)
    expansion = outputs * outputs // 4 + 2 * outputs
    return reduction + pyramid + expansion + outputs


def strided(inputs: int, outputs: int, *, groups: int, shortcut: bool) -> int:
    """The same of a strided one (Figure 2)."""
    image = 81 + norm_act(3) + 3 * outputs + 2 * outputs
    return eesp(inputs, outputs - inputs, groups=groups) + outputs + (image if shortcut else 0)


def classification(scale: float, classes: int, *, groups: int, shortcut: bool) -> int:
    """Table 2, row by row."""
    level2 = int(64 * scale)
    level1 = min(32, level2 // 2)
    channels = [level1, level2, 2 * level2, 4 * level2, 8 * level2]
    last = 1280 if scale > 1.5 else 1024
    total = 27 * level1 + norm_act(level1)
    for before, after in pairwise(channels):
        total += strided(before, after, groups=groups, shortcut=shortcut)
    for width, repeats in zip(channels[2:], (3, 7, 3), strict=True):
        total += repeats * eesp(width, width, groups=groups)
    depthwise = 9 * channels[4] + norm_act(channels[4])
    return total + depthwise + channels[4] * last // 4 + norm_act(last) + (last + 1) * classes


@given(scale=SCALES, classes=CLASSES, grouped=st.booleans(), shortcut=st.booleans())
@settings(max_examples=12, deadline=None)
def test_parameters_follow_the_closed_form(scale: float, classes: int, grouped: bool, shortcut: bool) -> None:
    reduction = "group" if grouped else "pointwise"
    chosen: dict[str, SettingValue] = {
        "scale": scale,
        "classes": classes,
        "reduction": reduction,
        "shortcut": shortcut,
    }
    expected = classification(scale, classes, groups=4 if grouped else 1, shortcut=shortcut)
    assert counts("espnetv2", chosen, ImageSize(width=32, height=32))[0] == expected


@given(scale=SCALES, width=st.integers(1, 130), height=st.integers(1, 130), batch=st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_classification_takes_any_size(scale: float, width: int, height: int, batch: int) -> None:
    network = registry.entry("espnetv2")
    with torch.device("meta"):
        module = make(network, registry.with_defaults(network, {"scale": scale, "classes": 10})).eval()
        assert module(torch.empty(batch, 3, height, width)).shape == (batch, 10)


@given(head=HEADS, classes=CLASSES, width=SIXTEENTHS, height=SIXTEENTHS)
@settings(max_examples=12, deadline=None)
def test_segmentation_scores_every_pixel(head: str, classes: int, width: int, height: int) -> None:
    network = registry.entry("espnetv2-seg")
    module = make(network, {"scale": 0.5, "head": head, "classes": classes}).eval()
    with torch.no_grad():
        output = module(torch.randn(2, 3, 16 * height, 16 * width))
    assert output.shape == (2, classes, 16 * height, 16 * width)
    assert output.isfinite().all()


@given(scale=SCALES, classes=CLASSES)
@settings(max_examples=8, deadline=None)
def test_the_papers_decoder_adds_its_parts_to_the_encoder(scale: float, classes: int) -> None:
    level2 = int(64 * scale)
    level1, level3, level4 = min(32, level2 // 2), 2 * level2, 4 * level2
    whole = classification(scale, 1, groups=4, shortcut=True)
    level5, last = 8 * level2, 1280 if scale > 1.5 else 1024
    beyond = strided(level4, level5, groups=4, shortcut=True) + 3 * eesp(level5, level5, groups=4)
    beyond += 9 * level5 + norm_act(level5) + level5 * last // 4 + norm_act(last) + last + 1
    decoder = level4 * level3 + norm_act(level3) + eesp(2 * level3, level3, groups=4)
    decoder += 4 * 9 * level3 + 5 * level3 * level3 + norm_act(level3)
    decoder += level3 * classes + norm_act(classes)
    decoder += (level2 + classes) * classes + norm_act(classes) + (level1 + classes) * classes
    chosen: dict[str, SettingValue] = {"scale": scale, "classes": classes, "head": "paper"}
    assert counts("espnetv2-seg", chosen, ImageSize(width=16, height=16))[0] == whole - beyond + decoder


@given(height=EXTENTS, width=EXTENTS, rows=EXTENTS, columns=EXTENTS)
@settings(max_examples=80, deadline=None)
def test_adaptive_average_is_pytorchs_own(height: int, width: int, rows: int, columns: int) -> None:
    x = torch.arange(2.0 * height * width).reshape(1, 2, height, width).sin()
    expected = functional.adaptive_avg_pool2d(x, (rows, columns))
    torch.testing.assert_close(adaptive_average(x, (rows, columns)), expected)
