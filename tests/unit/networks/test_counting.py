"""Counts of single layers against their closed forms, and networks that cannot run on shapes alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from espdeploy.errors import UsageError
from espdeploy.networks.counting import count_layers, count_macs, count_module, count_params


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(3, 16, 3, stride=2, padding=1), (1, 3, 32, 48), 16 * 3 * 9 * 16 * 24),
        (nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=4), (1, 8, 10, 10), 8 * 2 * 9 * 100),
        (nn.Conv2d(4, 6, (1, 5), padding=(0, 2)), (2, 4, 7, 9), 2 * 6 * 4 * 5 * 63),
        (nn.ConvTranspose2d(20, 20, 2, stride=2), (1, 20, 8, 8), 20 * 20 * 4 * 64),
        (nn.ConvTranspose2d(6, 9, 3, stride=2, padding=1, groups=3), (1, 6, 5, 5), 6 * 3 * 9 * 25),
        (nn.Conv1d(3, 5, 3), (1, 3, 12), 5 * 3 * 3 * 10),
        (nn.Linear(7, 11), (4, 7), 4 * 7 * 11),
    ],
)
def test_closed_forms(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(layer, shape) == macs


def test_transposed_convolution_is_counted_as_its_scatter() -> None:
    # without padding every input pixel meets every tap, so ones in and ones as weights sum to the multiply-adds
    layer = nn.ConvTranspose2d(3, 4, 3, stride=2, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1)
        total = layer(torch.ones(1, 3, 6, 5)).sum()
    assert count_macs(layer, (1, 3, 6, 5)) == int(total)


def test_shared_layers_count_their_parameters_once_and_every_call() -> None:
    conv = nn.Conv2d(4, 4, 1, bias=False)
    twice = nn.Sequential(conv, nn.ReLU(), conv)
    assert count_params(twice) == 16
    assert count_macs(twice, (1, 4, 5, 5)) == 2 * 16 * 25


def test_buffers_are_no_parameters() -> None:
    assert count_params(nn.BatchNorm2d(10)) == 20


def test_counting_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_layers(network, (1, 3, 8, 8))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


class ReadsValues(nn.Module):
    """Needs real data: its forward branches on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if y.sum().item() > -1 else -y


class HiddenTensor(ReadsValues):
    """Holds a tensor that is neither parameter nor buffer."""

    hidden = torch.ones(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * self.hidden


@pytest.mark.parametrize("network", [ReadsValues(), HiddenTensor()])
def test_a_network_that_needs_data_runs_once_for_real(network: nn.Module) -> None:
    assert count_macs(network, (1, 3, 4, 4)) == 6 * 16


def test_a_wrong_input_says_the_shape_and_the_cause() -> None:
    with pytest.raises(UsageError) as caught:
        count_macs(nn.Conv2d(4, 4, 3), (1, 3, 8, 8))
    assert "1x3x8x8" in caught.value.what
    assert "4 channels" in caught.value.why


def test_no_known_layer_is_unknown_not_zero() -> None:
    counts = count_module(nn.PReLU(3), (1, 3, 4, 4))
    assert (counts.params, counts.macs) == (3, None)
    assert "unknown" in counts.note
