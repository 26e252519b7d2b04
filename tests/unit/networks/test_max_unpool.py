"""Pooling and unpooling against PyTorch's own, which work with indices; and the operators that are exported."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from espdeploy import export
from espdeploy.networks.max_unpool import MaxPoolWithWinners, MaxUnpool
from espdeploy.passes import apply, pipeline_for


def ours(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    pooled, winners = MaxPoolWithWinners()(x)
    return pooled, MaxUnpool()(values, winners)


def of_pytorch(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    pooled, indices = nn.MaxPool2d(2, return_indices=True)(x)
    return pooled, nn.MaxUnpool2d(2)(values, indices)


def assert_equal(x: Tensor, values: Tensor) -> None:
    for mine, theirs in zip(ours(x, values), of_pytorch(x, values), strict=True):
        assert mine.shape == theirs.shape
        assert torch.equal(mine, theirs)


def test_every_order_and_every_tie_of_a_window() -> None:
    # four values from 0..3 hold every order of a window with every pattern of ties
    windows = torch.tensor([*itertools.product(range(4), repeat=4)], dtype=torch.float32).reshape(-1, 1, 2, 2)
    values = torch.arange(1.0, len(windows) + 1).reshape(-1, 1, 1, 1)
    assert_equal(windows, values)
    assert_equal(-windows, -values)


def test_where_all_are_equal_the_first_place_wins() -> None:
    _, unpooled = ours(torch.full((1, 2, 4, 6), -3.0), torch.full((1, 2, 2, 3), 5.0))
    expected = torch.zeros(1, 2, 4, 6)
    expected[:, :, 0::2, 0::2] = 5
    assert torch.equal(unpooled, expected)


def test_zeros_of_both_signs_are_equal() -> None:
    x = torch.tensor([[[[-0.0, 0.0], [0.0, -0.0]]], [[[-1.0, -0.0], [0.0, -2.0]]]])
    assert_equal(x, torch.tensor([[[[7.0]]], [[[8.0]]]]))


def test_infinities_stay_in_their_place() -> None:
    x = torch.tensor([[[[-torch.inf, 1.0], [torch.inf, 2.0]]]])
    assert_equal(x, torch.tensor([[[[torch.inf]]]]))
    assert_equal(torch.full((1, 1, 2, 2), -torch.inf), torch.tensor([[[[-torch.inf]]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_other_values_than_the_pooled_ones_take_the_places(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-2, 3, (2, 5, 12, 8), generator=generator).to(dtype)
    assert_equal(x, torch.randn(2, 5, 6, 4, generator=generator).to(dtype))


class RoundTrip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = MaxPoolWithWinners(), MaxUnpool()

    def forward(self, x: Tensor) -> Tensor:
        pooled, winners = self.pool(x)
        return self.unpool(2 * pooled, winners)


@pytest.mark.parametrize(("opset", "dynamic"), [(13, False), (13, True), (20, False)])
def test_exported_it_is_equal_to_the_bit_and_has_no_scatter(opset: int, dynamic: bool) -> None:
    traced = export.trace(RoundTrip(), input_shape=(1, 3, 8, 12), opset=opset, dynamic_batch=dynamic)
    model = apply(traced, pipeline_for(simplify=True)).model
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {
        "Slice", "Max", "Greater", "Mul", "Where", "Unsqueeze", "Concat", "Reshape", "DepthToSpace", "Constant",
    }  # fmt: skip
    x = torch.randint(-2, 3, (4 if dynamic else 1, 3, 8, 12), generator=torch.Generator().manual_seed(opset)).float()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer = session.run(None, {"input": x.numpy()})[0]
    pooled, _ = of_pytorch(x, torch.zeros(x.shape[0], 3, 4, 6))
    np.testing.assert_array_equal(answer, of_pytorch(x, 2 * pooled)[1].numpy())
