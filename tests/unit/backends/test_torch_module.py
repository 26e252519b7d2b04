"""What PyTorch is given to run: FP16 in channels-last behind FP32 ends, compiled code, and errors in our words."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy.backends import torch_failures
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import ModuleSource
from espdeploy.backends.torch_module import module_shares_pct, placed, with_fp32_ends
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed
from espdeploy.specs import RunSpec

torch = pytest.importorskip("torch")
HALF_EPSILON = 2.0**-11


@pytest.fixture
def module():
    """A convolution, a normalisation and a slope, as in the zoo."""
    torch.manual_seed(5)
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.PReLU(8)]
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


def image() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, 3, 16, 24), dtype=np.float32)


def test_fp16_is_channels_last_and_computes_the_same_within_its_rounding(module) -> None:
    half = placed(module, device="cpu", precision="fp16")
    weight = half[0].weight
    assert weight.dtype is torch.float16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert module_shares_pct(half) == {"fp16": 100.0}
    assert module_shares_pct(module) == {"fp32": 100.0}  # the source stays as it is
    given = with_fp32_ends(half, "fp16")(torch.from_numpy(image()))
    assert given.dtype is torch.float32
    assert given.is_contiguous()
    exact = module.double()(torch.from_numpy(image()).double())
    # image and weights are rounded once each, and every layer's result once more
    assert (given - exact).abs().max() / exact.abs().max() < 6 * HALF_EPSILON
    assert (given - exact).abs().max() > 0


def test_several_outputs_come_back_and_whole_numbers_stay_whole() -> None:
    class Two(torch.nn.Module):
        def forward(self, state, words):
            return state * 2, words + 1

    ready = with_fp32_ends(placed(Two(), device="cpu", precision="fp16"), "fp16")
    state, words = torch.full((1, 4), 1 / 3), torch.tensor([[70_000]])
    doubled, next_words = ready(state, words)
    assert doubled.dtype is torch.float32
    assert doubled[0, 0].item() == float(np.float16(1 / 3)) * 2
    assert next_words.item() == 70_001


def test_the_compiled_network_answers_as_the_eager_one_or_names_the_compiler(module, tmp_path, monkeypatch) -> None:
    """One test, since loading the compiler takes most of its ten seconds."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    source = ModuleSource(module=module, input_shape=(2, 3, 16, 24), card=None)
    with open_runner(source, RunSpec(runtime="torch", threads=1)) as runner:
        wanted = runner.infer({"input": image()})["output"]
    spec = RunSpec(runtime="torch-compile", threads=1)
    with open_runner(source, spec) as runner:
        runner.stepper({"input": image()})()
        given = runner.infer({"input": image()})["output"]
        assert "compile" in runner.facts.provider
    assert np.abs(given - wanted).max() / np.abs(wanted).max() < 1e-5
    larger = ModuleSource(module=module, input_shape=(2, 3, 32, 24), card=None)
    with torch._inductor.config.patch({"cpp.cxx": (None, "/no/compiler")}), open_runner(larger, spec) as runner:
        torch._dynamo.reset()
        with pytest.raises(MissingCapability, match="compiler") as caught:
            runner.stepper({"input": np.zeros((2, 3, 32, 24), np.float32)})
    assert "/no/compiler" in caught.value.why
    assert "g++" in caught.value.do


@pytest.mark.parametrize(
    ("error", "kind", "do"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), MissingCapability, "--size"),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors …"),
            MissingCapability,
            "PyTorch release",
        ),
        (RuntimeError("expected scalar type Half but found Float"), ToolFailed, ""),
    ],
)
def test_what_the_gpu_says_is_told_with_what_to_do(error: Exception, kind: type[EspdeployError], do: str) -> None:
    told = torch_failures.explained(torch, error)
    assert type(told) is kind
    assert told.why == str(error).splitlines()[0]
    assert do in told.do
