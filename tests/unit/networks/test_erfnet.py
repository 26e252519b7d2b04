"""ERFNet: published counts, and what its modules see."""

from __future__ import annotations

import pytest
import torch

from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.counting import count_network
from espdeploy.networks.erfnet import Down, Factorised
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize

ERFNET = registry.entry("erfnet")
SQUARE = ImageSize(width=224, height=224)


def test_parameters_are_the_published_ones() -> None:
    printed = ERFNET.published[0].params
    params = count_network(ERFNET, {"classes": 20}, size=SQUARE).params
    assert params == 2_066_836
    assert params == pytest.approx(printed, rel=0.01)


def test_classes_cost_the_two_classifiers() -> None:
    more, fewer = (count_network(ERFNET, {"classes": classes}, size=SQUARE).params for classes in (20, 19))
    assert more - fewer == (128 + 1) + (16 * 2 * 2 + 1)


def test_the_printed_multiply_adds_leave_transposed_convolutions_out() -> None:
    counts = count_network(ERFNET, ERFNET.defaults, size=SQUARE)
    plain = sum(layer.macs or 0 for layer in counts.layers if layer.kind == "Conv2d")
    assert plain == pytest.approx(ERFNET.published[0].macs, rel=0.01)
    assert counts.macs == plain + 128 * 64 * 9 * 28**2 + 64 * 16 * 9 * 56**2 + 16 * 20 * 4 * 112**2


def test_the_encoders_own_classifier_is_not_run() -> None:
    network = make(ERFNET, {"classes": 4}).eval()
    image = torch.randn(1, 3, 16, 24)
    with torch.no_grad():
        before = network(image)
        network.encoder_classifier.weight.fill_(torch.nan)
        after = network(image)
    assert before.shape == (1, 4, 16, 24)
    assert torch.equal(before, after)


@pytest.mark.parametrize("dilation", [1, 2, 8])
def test_a_module_sees_a_3x3_and_a_dilated_3x3_after_it(dilation: int) -> None:
    module = Factorised(2, dilation=dilation).eval()
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 0.5)  # keeps every ReLU open
    image = torch.ones(1, 2, 41, 41, requires_grad=True)
    module(image)[0, 0, 20, 20].backward()
    assert image.grad is not None
    rows, columns = (image.grad[0, 1].abs().sum(axis).nonzero().flatten() for axis in (0, 1))
    assert rows.tolist() == columns.tolist()
    assert int(rows.max() - rows.min()) + 1 == 1 + 2 + 2 * dilation


def test_down_sampling_puts_the_pooled_input_beside_the_convolution() -> None:
    down = Down(3, 16).eval()
    image = torch.rand(1, 3, 6, 10)
    answer = down(image)
    assert answer.shape == (1, 16, 3, 5)
    scale = (1 + 1e-3) ** 0.5  # of an untrained normalisation
    torch.testing.assert_close(answer[:, 13:], image.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)) / scale)


def test_sizes_must_halve_three_times() -> None:
    with pytest.raises(UsageError, match="1020x512") as caught:
        registry.check_size(ERFNET, ImageSize.parse("1020x512"))
    assert caught.value.do == "--size 1016x512 or 1024x512"
