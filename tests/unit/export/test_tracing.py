"""What the exporters write computes what PyTorch computes, at the opset and under the names that were asked for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from espdeploy import export
from espdeploy.errors import ToolFailed, UsageError

SHAPE = (1, 3, 24, 32)
OPSETS = (13, 20)


class Branches(nn.Module):
    """What ESPNet is made of: convolutions, joins, sums, strided and transposed convolutions, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6, eps=1e-3), nn.PReLU(6))
        self.dilated = nn.ModuleList(nn.Conv2d(6, 4, 3, padding=d, dilation=d, bias=False) for d in (1, 2, 4))
        self.norm = nn.BatchNorm2d(12, eps=1e-3)
        self.up = nn.ConvTranspose2d(12, 5, 2, 2, groups=1)
        self.up_norm = nn.BatchNorm2d(5)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        first, second, third = (layer(x) for layer in self.dilated)
        x = self.norm(torch.cat([first, first + second, first + second + third], 1))
        x = self.dropout(self.up_norm(self.up(x)))
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Several(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor | tuple[torch.Tensor, ...]]:
        return {"out": x * 2, "aux": (x.mean(1), x.amax((2, 3)))}


class Unpool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, indices = nn.functional.max_pool2d(x, 2, return_indices=True)
        return nn.functional.max_unpool2d(y, indices, 2)


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, -1)


class Demanding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % 7:
            raise ValueError("the width must be a multiple of 7")
        return x


class DataDependent(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def with_statistics(module: nn.Module, seed: int = 0) -> nn.Module:
    """Batch normalization and PReLU as after training: fresh ones would hide a swapped or forgotten tensor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                low, high = (-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.3, 1.5)
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return module


def run(model: onnx.ModelProto, feed: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": feed})


def photo(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_computes_what_pytorch_computes(opset: int, dynamic_batch: bool) -> None:
    module = with_statistics(Branches())
    model = export.trace(module, input_shape=SHAPE, opset=opset, dynamic_batch=dynamic_batch)
    facts = export.inspect(model)
    assert facts.opset == opset
    batch = "batch" if dynamic_batch else 1
    assert [(value.name, value.shape) for value in facts.inputs] == [("input", (batch, 3, 24, 32))]
    assert [(value.name, value.shape) for value in facts.outputs] == [("output", (batch, 5, 48, 64))]
    for images in (1, 3) if dynamic_batch else (1,):
        feed = photo(images, *SHAPE[1:])
        with torch.no_grad():
            expected = module.eval()(feed).numpy()
        np.testing.assert_allclose(run(model, feed.numpy())[0], expected, atol=2e-6)


@pytest.mark.parametrize("opset", [9, 18, 25])
def test_the_ends_of_the_range_are_written_as_asked(opset: int) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.PReLU(2))
    model = export.trace(module, input_shape=SHAPE, opset=opset, dynamic_batch=False)
    assert export.inspect(model).opset == opset
    feed = photo(*SHAPE)
    np.testing.assert_allclose(run(model, feed.numpy())[0], module(feed).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("opset", [8, 26])
def test_an_opset_outside_the_range_is_refused_with_the_range(opset: int) -> None:
    with pytest.raises(UsageError, match=f"opset {opset} cannot be written: the range is 9 to 25"):
        export.trace(Branches(), input_shape=SHAPE, opset=opset, dynamic_batch=False)


def test_evaluation_mode_is_used_and_each_flag_put_back() -> None:
    module = Branches().train()
    module.norm.eval()  # frozen by its owner
    before = {name: part.training for name, part in module.named_modules()}
    model = export.trace(module, input_shape=SHAPE, opset=13, dynamic_batch=False)
    assert {name: part.training for name, part in module.named_modules()} == before
    assert "Dropout" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("opset", OPSETS)
def test_several_outputs_are_numbered_in_order(opset: int) -> None:
    model = export.trace(Several(), input_shape=SHAPE, opset=opset, dynamic_batch=False)
    feed = photo(*SHAPE).numpy()
    assert [value.name for value in model.graph.output] == ["output_0", "output_1", "output_2"]
    for actual, expected in zip(run(model, feed), (feed * 2, feed.mean(1), feed.max((2, 3))), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("opset", OPSETS)
def test_nothing_reaches_the_users_terminal(opset: int, capfd: pytest.CaptureFixture[str]) -> None:
    export.trace(nn.Conv2d(3, 1, 1), input_shape=SHAPE, opset=opset, dynamic_batch=False)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_the_opset_lacks_is_named_with_the_next_step() -> None:
    with pytest.raises(ToolFailed, match="cannot export aten::max_unpool2d to ONNX opset 13") as caught:
        export.trace(Unpool(), input_shape=SHAPE, opset=13, dynamic_batch=False)
    assert "--opset 20" in caught.value.do
    assert __file__ in caught.value.why  # where in the user's network


@pytest.mark.parametrize(("opset", "operator"), [(13, "aten::special_bessel_j0"), (20, "prims::bessel_j0")])
def test_an_operator_that_no_opset_has_is_named(opset: int, operator: str) -> None:
    with pytest.raises(ToolFailed, match=f"cannot export {operator} to ONNX opset {opset}"):
        export.trace(Bessel(), input_shape=SHAPE, opset=opset, dynamic_batch=False)


def test_a_branch_on_data_is_refused_by_the_newer_exporter_with_the_line() -> None:
    with pytest.raises(ToolFailed) as caught:
        export.trace(DataDependent(), input_shape=SHAPE, opset=20, dynamic_batch=False)
    assert __file__ in caught.value.why


def test_a_branch_on_data_is_logged_by_the_older_exporter(caplog: pytest.LogCaptureFixture) -> None:
    export.trace(DataDependent(), input_shape=SHAPE, opset=13, dynamic_batch=False)
    assert "while tracing: Converting a tensor to a Python boolean" in caplog.text


def test_a_batch_that_the_network_fixes_is_refused() -> None:
    with pytest.raises(UsageError, match="does not follow the batch") as caught:
        export.trace(FixedBatch(), input_shape=SHAPE, opset=13, dynamic_batch=True)
    assert caught.value.do.endswith("--batch 1")


def test_a_network_that_does_not_run_on_the_size_says_why_and_where() -> None:
    with pytest.raises(UsageError, match="does not run on an input of 1x3x24x32") as caught:
        export.trace(Demanding(), input_shape=SHAPE, opset=13, dynamic_batch=False)
    assert caught.value.why.startswith(f"the width must be a multiple of 7 ({__file__}:")
