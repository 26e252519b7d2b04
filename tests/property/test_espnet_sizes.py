"""ESPNet over any settings and sizes: shapes, and parameters by a closed form."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.counting import count_network, count_params
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize

DEPTH = st.integers(1, 6)
WIDTH_DIVIDER = st.integers(2, 8)
CLASSES = st.integers(8, 40)
FAMILY = ("espnet", "espnet-a", "espnet-b", "espnet-c")
EIGHTHS = st.integers(1, 12)


def norm_act(channels: int) -> int:
    return 3 * channels


def esp(inputs: int, outputs: int, k: int, *, kernel: int) -> int:
    """Parameters of an ESP module, counted by hand from the paper's description."""
    narrow = outputs // k
    pyramid = 9 * narrow * outputs  # the branches' widths add up to the outputs
    return kernel**2 * inputs * narrow + pyramid + norm_act(outputs)


def espnet_c(alpha2: int, alpha3: int, k: int, classes: int) -> int:
    level1 = 27 * 16 + norm_act(16) + norm_act(19)
    level2 = esp(19, 64, k, kernel=3) + alpha2 * esp(64, 64, k, kernel=1) + norm_act(131)
    level3 = esp(131, 128, k, kernel=3) + alpha3 * esp(128, 128, k, kernel=1) + norm_act(256)
    return level1 + level2 + level3 + 256 * classes


def decoder(k: int, classes: int, level1: int) -> int:
    up = 4 * classes**2
    rum3 = 2 * classes + up + 131 * classes
    rum2 = norm_act(2 * classes) + esp(2 * classes, classes, k, kernel=1) + up + norm_act(classes)
    return rum3 + rum2 + 9 * (classes + level1) * classes + norm_act(classes) + up


@given(alpha2=DEPTH, alpha3=DEPTH, k=WIDTH_DIVIDER, classes=CLASSES, joined=st.sampled_from([16, 19]))
@settings(max_examples=20, deadline=None)
def test_parameters_follow_the_closed_form(alpha2: int, alpha3: int, k: int, classes: int, joined: int) -> None:
    given_settings = {"alpha2": alpha2, "alpha3": alpha3, "k": k, "classes": classes}
    encoder = espnet_c(alpha2, alpha3, k, classes)
    with torch.device("meta"):
        assert count_params(make(registry.entry("espnet-c"), given_settings)) == encoder
        full = make(registry.entry("espnet"), {**given_settings, "decoder": joined})
    assert count_params(full) == encoder + decoder(k, classes, joined)


@given(width=EIGHTHS, height=EIGHTHS, k=WIDTH_DIVIDER, name=st.sampled_from(FAMILY))
@settings(max_examples=20, deadline=None)
def test_outputs_have_the_promised_size(width: int, height: int, k: int, name: str) -> None:
    network = registry.entry(name)
    module = make(network, registry.with_defaults(network, {"k": k, "alpha3": 1})).eval()
    shrink = 1 if name == "espnet" else 8
    with torch.no_grad():
        output = module(torch.zeros(2, 3, 8 * height, 8 * width))
    assert output.shape == (2, 20, 8 * height // shrink, 8 * width // shrink)


@given(width=EIGHTHS, height=EIGHTHS)
@settings(max_examples=10, deadline=None)
def test_multiply_adds_grow_with_the_area(width: int, height: int) -> None:
    network = registry.entry("espnet")
    one = count_network(network, network.defaults, size=ImageSize(width=8, height=8)).macs
    many = count_network(network, network.defaults, size=ImageSize(width=8 * width, height=8 * height)).macs
    assert one is not None
    assert many == one * width * height


@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_a_refused_size_comes_with_sizes_that_fit(width: int, height: int) -> None:
    network = registry.entry("espnet")
    size = ImageSize(width=width, height=height)
    try:
        registry.check_size(network, size)
    except UsageError as error:
        offered = error.do.removeprefix("--size ").split(" or ")
        assert 1 <= len(offered) <= 2
        for text in offered:
            fits = ImageSize.parse(text)
            registry.check_size(network, fits)
            assert abs(fits.width - width) < 8
            assert abs(fits.height - height) < 8
    else:
        assert width % 8 == height % 8 == 0
