"""The provider that was asked for is the one that runs, or an error: with ONNX Runtime itself, on the CPU.

The two log texts are what onnxruntime-gpu 1.31.1 and NVIDIA's plug-in 0.5.0 print on a machine without a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espdeploy.backends import onnxruntime_session as sessions
from espdeploy.backends.onnxruntime_binding import Binding
from espdeploy.backends.onnxruntime_providers import CPU, CUDA, PROVIDERS, Placement, Provider
from espdeploy.backends.tensorrt.cuda import Buffer, Memory
from espdeploy.backends.tensorrt.steps import Steps
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed

onnxruntime = pytest.importorskip("onnxruntime")
IN_PROCESSOR = Provider(name=CPU, label="CPU", extra="cpu", libraries="")
NO_CUBLAS = (
    "\x1b[1;31m2026-11-21 10:43:09.958468240 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
    "provider_bridge_ort.cc:2043 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : "
    "FAIL : Failed to load library /site/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: "
    "libcublasLt.so.13: cannot open shared object file: No such file or directory\n\x1b[m"
)
NO_DRIVER = (
    "[ONNXRuntimeError] : 1 : FAIL : Failed to load library /site/libonnxruntime_providers_nv_tensorrt_rtx.so with "
    "error: libcuda.so.1: cannot open shared object file: No such file or directory"
)


def opened(path: Path, provider: Provider) -> tuple[Any, Placement]:
    return sessions.open_session(onnxruntime, path, provider, options={provider.name: {}})


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_that_went_on_without_the_provider_is_refused(conv_onnx: Path) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(MissingCapability, match=f"runs on {CPU} where {CUDA} was asked for"):
        opened(conv_onnx, PROVIDERS["onnxruntime-cuda"])


def test_a_provider_that_takes_no_node_is_refused(conv_onnx: Path) -> None:
    azure = Provider(name="AzureExecutionProvider", label="Azure", extra="cpu", libraries="")
    if azure.name not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider that computes nothing")
    with pytest.raises(ToolFailed, match="takes no node") as caught:
        opened(conv_onnx, azure)
    assert f"1 of 1 nodes on {CPU}" in caught.value.why


def test_a_file_that_no_provider_reads_is_the_files_fault(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "future.onnx"
    text = '<ir_version: 8, opset_import: ["" : 99]> g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(InputFileError, match=r"future\.onnx"):
        opened(path, IN_PROCESSOR)


@pytest.mark.parametrize(
    ("runtime", "log", "missing", "do"),
    [
        ("onnxruntime-cuda", NO_CUBLAS, "libcublasLt.so.13", "onnxruntime-gpu[cuda,cudnn]"),
        ("onnxruntime-tensorrt", NO_CUBLAS, "libcublasLt.so.13", "onnxruntime-gpu[cuda,cudnn]"),
        ("onnxruntime-tensorrt", NO_CUBLAS.replace("libcublasLt.so.13", "libnvinfer.so.10"), "libnvinfer", "tensorrt"),
        ("onnxruntime-rtx", NO_DRIVER, "libcuda.so.1", "driver"),
        ("onnxruntime-rtx", "", "says nothing", "reinstall"),
    ],
)
def test_the_reason_is_taken_from_the_log(runtime: str, log: str, missing: str, do: str) -> None:
    error = sessions.left_out(onnxruntime, PROVIDERS[runtime], [CPU], log)
    assert missing in error.why
    assert "\x1b" not in error.why
    assert do in error.do


def test_nodes_that_others_compute_are_told(conv_onnx: Path) -> None:
    _, placement = opened(conv_onnx, IN_PROCESSOR)
    assert placement.text(CPU) == CPU
    assert placement.nodes == {CPU: 1}
    mixed = Placement(nodes={"CUDAExecutionProvider": 3, "TensorrtExecutionProvider": 120, CPU: 1})
    assert mixed.text("TensorrtExecutionProvider") == (
        f"TensorrtExecutionProvider, 3 of 124 nodes on CUDAExecutionProvider, 1 of 124 nodes on {CPU}"
    )
    assert Placement(nodes={}).text(CUDA) == CUDA


class HostSession:
    """The seam to a GPU, with the host's own memory and clock behind it."""

    name, stream = "host", 0

    def memory(self) -> Memory:
        return Memory(free_mb=1, total_mb=1, shared=True)

    def allocate(self, size_bytes: int) -> Buffer:
        host = np.zeros(size_bytes, np.uint8)
        return Buffer(device=host.ctypes.data, host=host)

    def upload(self, buffer: Buffer, size_bytes: int) -> None:
        assert size_bytes <= buffer.host.size

    download = upload

    def event(self) -> list[int]:
        return [0]

    def recorder(self, event: list[int]) -> Callable[[], object]:
        return lambda: event.__setitem__(0, time.perf_counter_ns())

    def elapsed_ms(self, start: list[int], end: list[int]) -> float:
        return (end[0] - start[0]) / 1e6

    def capture(self, enqueue: Callable[[], object]) -> None:
        del enqueue

    def synchronize(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("batch", [1, 3])
def test_bound_memory_holds_the_inputs_and_gets_the_answers(conv_onnx: Path, batch: int) -> None:
    """The batch of this graph is open: the outputs' shape is found by running."""
    session, _ = opened(conv_onnx, IN_PROCESSOR)
    random = np.random.default_rng(batch)
    first, second = (random.standard_normal((batch, 3, 16, 24), dtype=np.float32) for _ in range(2))
    gpu = HostSession()
    bound = Binding(onnxruntime, session, gpu, {"input": first}, graph=None, device="cpu")
    for image in (second, first):
        bound.load({"input": image})
        bound.upload()
        step = Steps(gpu, bound.launch, cuda_graph=False, upload=bound.upload, download=bound.download, room=4)
        step()
        assert np.array_equal(bound.results()["output"], session.run(None, {"input": image})[0])
        assert step.times().compute_ms[0] > 0
