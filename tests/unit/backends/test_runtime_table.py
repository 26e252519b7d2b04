"""The table of runtimes: what each takes, at which precision, and what it says where it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.backends.registry import PRECISIONS, RUNTIMES, TAKES_MODULES, open_runner
from espdeploy.backends.source import FileSource, ModuleSource, Source
from espdeploy.errors import InputFileError, MissingCapability, UsageError
from espdeploy.pipeline import capability
from espdeploy.specs import RunSpec

torch = pytest.importorskip("torch")
TORCH_ON_GPU = sorted(name for name in TAKES_MODULES if "cuda" in name)
ORT_ON_GPU = {
    "onnxruntime-cuda": "espdeploy[gpu]",
    "onnxruntime-tensorrt": "espdeploy[gpu]",
    "onnxruntime-rtx": "onnxruntime-ep-nv-tensorrt-rtx",
}


@pytest.fixture
def module() -> ModuleSource:
    return ModuleSource(module=torch.nn.Conv2d(3, 8, 3), input_shape=(1, 3, 16, 24), card=None)


def fitting(runtime: str, conv_onnx: Path, module: ModuleSource) -> Source:
    return module if runtime in TAKES_MODULES else FileSource(path=conv_onnx)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_runtime_opens_networks_or_files_and_only_its_precisions(
    runtime: str, conv_onnx: Path, module: ModuleSource
) -> None:
    source = fitting(runtime, conv_onnx, module)
    assert open_runner(source, RunSpec(runtime=runtime, threads=1)).name == runtime
    other = FileSource(path=conv_onnx) if source is module else module
    with pytest.raises(InputFileError, match=r"modules|not ONNX files"):
        open_runner(other, RunSpec(runtime=runtime, threads=1))
    for precision in capability.PRECISIONS:
        spec = RunSpec(runtime=runtime, precision=precision, threads=1)
        if precision in PRECISIONS[runtime]:
            open_runner(source, spec)
        else:
            with pytest.raises(UsageError, match=precision):
                open_runner(source, spec)


def test_every_runtime_of_a_device_profile_is_one_of_the_table() -> None:
    for profile in recipes.device_profiles().values():
        assert set(profile.runtimes) - {"trtexec"} <= set(RUNTIMES), profile.name


@pytest.mark.parametrize("runtime", TORCH_ON_GPU)
def test_pytorch_without_cuda_is_told_apart_from_a_machine_without_a_gpu(runtime: str, module: ModuleSource) -> None:
    if torch.version.cuda is not None:
        pytest.skip("this PyTorch has CUDA: tests/gpu runs it, or shows what is missing")
    runner = open_runner(module, RunSpec(runtime=runtime, precision="fp16", threads=1))
    with pytest.raises(MissingCapability, match="has no CUDA") as caught, runner:
        pass
    assert torch.__version__ in caught.value.why
    assert "pip install" in caught.value.do
    assert next(module.module.parameters()).dtype is torch.float32


@pytest.mark.parametrize("runtime", ORT_ON_GPU)
def test_a_package_without_the_provider_is_told_with_the_one_that_has_it(runtime: str, conv_onnx: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is one for GPUs: tests/gpu runs it, or shows what is missing")
    runner = open_runner(FileSource(path=conv_onnx), RunSpec(runtime=runtime, threads=1))
    with pytest.raises(MissingCapability, match=r"no .* execution provider") as caught, runner:
        pass
    assert "CPUExecutionProvider" in caught.value.why
    assert ORT_ON_GPU[runtime] in caught.value.do


def test_a_graph_that_is_asked_for_and_refused_in_one_breath() -> None:
    source = ModuleSource(module=torch.nn.Conv2d(3, 8, 3), input_shape=(1, 3, 16, 24), card=None)
    with pytest.raises(UsageError) as caught:
        open_runner(source, RunSpec(runtime="torch-cuda-graph", threads=1, cuda_graph=False))
    assert caught.value.do == "--runtime torch-cuda"
