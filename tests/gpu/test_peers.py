"""PyTorch and ONNX Runtime on a real GPU: their answers are the CPU's, their times hang together, memory comes back."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from espdeploy import export
from espdeploy.backends.onnxruntime_gpu import OnnxRuntimeCudaRunner
from espdeploy.backends.registry import PRECISIONS, RUNTIMES, TAKES_MODULES, open_runner
from espdeploy.backends.source import FileSource, ModuleSource, Source
from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.devices import abilities, gpus
from espdeploy.errors import EspdeployError, MissingCapability
from espdeploy.networks.build import build as build_network
from espdeploy.passes import apply, pipeline_for
from espdeploy.protocols import Runner
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.specs import ImageSize, ModelSpec, RunSpec

pytestmark = pytest.mark.gpu

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

SHAPE = (1, 3, 128, 256)
PEERS = [name for name in RUNTIMES if "cuda" in name or name.startswith("onnxruntime-")]
RELATIVE_ERROR = {"fp32": 1e-4, "fp16": 2e-2}
MOST_PCT = 95  # a convolution at the border may read what it casts itself
CALLS = 60


@pytest.fixture(scope="module")
def module() -> ModuleSource:
    network = build_network(ModelSpec(name="espnet"), size=ImageSize(width=SHAPE[3], height=SHAPE[2]))
    return ModuleSource(module=network.module, input_shape=SHAPE, card=network.card)


@pytest.fixture(scope="module")
def files(module: ModuleSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network as an ONNX file per precision."""
    folder = tmp_path_factory.mktemp("peers")
    model = apply(
        export.trace(module.module, input_shape=SHAPE, opset=13, dynamic_batch=False), pipeline_for(simplify=True)
    ).model
    for precision, graph in (("fp32", model), ("fp16", to_fp16(model).model)):
        onnx.save(graph, folder / f"{precision}.onnx")
    return {precision: folder / f"{precision}.onnx" for precision in RELATIVE_ERROR}


def image(seed: int) -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)}


def on_cpu(module: ModuleSource, seed: int) -> np.ndarray:
    with open_runner(module, RunSpec(runtime="torch", threads=4)) as runner:
        return next(iter(runner.infer(image(seed)).values()))


def source_of(runtime: str, precision: str, module: ModuleSource, files: dict[str, Path]) -> Source:
    return module if runtime in TAKES_MODULES else FileSource(path=files[precision])


@pytest.fixture
def entered(request: pytest.FixtureRequest, module: ModuleSource, files: dict[str, Path]) -> Iterator[Runner]:
    """A peer that is ready, or a skip with what is missing."""
    runtime, precision = request.param
    spec = RunSpec(runtime=runtime, precision=precision, threads=1)
    runner = open_runner(source_of(runtime, precision, module, files), spec)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(runner)
        except MissingCapability as error:
            pytest.skip(f"{error.what}; {error.why or error.do}")
        yield runner


EACH = [(runtime, precision) for runtime in PEERS for precision in PRECISIONS[runtime]]


@pytest.mark.parametrize("entered", EACH, indirect=True, ids="-".join)
def test_a_peer_answers_as_the_cpu_and_times_itself(
    entered: Runner, module: ModuleSource, request: pytest.FixtureRequest
) -> None:
    precision = request.node.callspec.params["entered"][1]
    first = entered.infer(image(1))
    for seed in (2, 1):  # of a static input the last values count, and kept answers stay
        given, wanted = next(iter(entered.infer(image(seed)).values())), on_cpu(module, seed)
        assert given.dtype == np.float32
        assert np.abs(given - wanted).max() / np.abs(wanted).max() < RELATIVE_ERROR[precision]
    again = next(iter(entered.infer(image(1)).values()))
    assert np.abs(again - next(iter(first.values()))).max() <= RELATIVE_ERROR[precision] * np.abs(again).max()
    shares = entered.facts.precision_share_pct
    assert shares is None or shares.get(precision, 0) > MOST_PCT

    step = entered.steps(image(1), transfers=True, room=CALLS)
    walls_ms = []
    for _ in range(2 * CALLS):
        start = time.perf_counter()
        step()
        walls_ms.append((time.perf_counter() - start) * 1e3)
    times = step.times()
    assert len(times.compute_ms) == CALLS
    assert min(*times.compute_ms, *times.upload_ms, *times.download_ms, *times.enqueue_ms) > 0
    parts = (times.compute_ms, times.upload_ms, times.download_ms)
    assert median(map(sum, zip(*parts, strict=True))) < median(walls_ms[-CALLS:])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_cuda_graph_gives_what_eager_gives(precision: str, module: ModuleSource) -> None:
    answers = {}
    for runtime in ("torch-cuda", "torch-cuda-graph"):
        try:
            with open_runner(module, RunSpec(runtime=runtime, precision=precision, threads=1)) as runner:
                answers[runtime] = [runner.infer(image(seed))["output"] for seed in (1, 2, 1)]
                assert runner.stepper(image(1)).cuda_graph == (runtime == "torch-cuda-graph")
        except MissingCapability as error:
            pytest.skip(f"{error.what}; {error.why or error.do}")
    eager, graph = answers.values()
    assert np.array_equal(graph[0], graph[2])
    assert not np.array_equal(graph[0], graph[1])
    for one, other in zip(eager, graph, strict=True):
        assert (
            np.abs(one - other).max() / np.abs(one).max() < RELATIVE_ERROR[precision] / 4
        )  # other kernels may be chosen


def test_a_cuda_graph_of_onnx_runtime_gives_what_it_gives_without(files: dict[str, Path]) -> None:
    answers = {}
    for graph in (False, True):
        spec = RunSpec(runtime="onnxruntime-cuda", precision="fp16", threads=1)
        try:
            with OnnxRuntimeCudaRunner(FileSource(path=files["fp16"]), spec, cuda_graph=graph) as runner:
                answers[graph] = [next(iter(runner.infer(image(seed)).values())) for seed in (1, 2, 1)]
        except MissingCapability as error:
            pytest.skip(f"{error.what}; {error.why or error.do}")
    for one, other in zip(answers[False], answers[True], strict=True):
        assert np.abs(one - other).max() / np.abs(one).max() < RELATIVE_ERROR["fp16"] / 4


def test_no_memory_left_is_our_error_and_memory_comes_back(module: ModuleSource) -> None:
    spec = RunSpec(runtime="torch-cuda", precision="fp32", threads=1)
    try:
        with open_runner(module, spec) as runner:
            runner.infer(image(1))
    except MissingCapability as error:
        pytest.skip(f"{error.what}; {error.why or error.do}")
    before = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(MissingCapability, match="no memory left on the GPU"), open_runner(module, spec) as runner:
            runner.infer(image(1))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for runtime in ("torch-cuda", "torch-cuda-graph"):
        with open_runner(module, RunSpec(runtime=runtime, precision="fp16", threads=1)) as runner:
            runner.stepper(image(1))()
    assert torch.cuda.memory_allocated() - before < 64e6  # what cuBLAS keeps for itself once


def test_whether_tensorrt_rtx_runs_on_this_card(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed in any case; and our table of compute capabilities says the same."""
    found = gpus.by_nvml()
    card = next(iter(found or ()), None)
    capability = abilities.capability_of((card.compute_capability if card else None) or "")
    if card is None or capability is None:
        pytest.skip("NVML tells of no GPU: no driver, or nvidia-ml-py is not installed")
    try:
        apis.load(apis.RTX)
    except MissingCapability as error:
        pytest.skip(f"{error.what}; {error.why or error.do}")
    engine, why = tmp_path / "fp16.engine", ""
    try:
        build(TensorRTPlan(onnx=files["fp16"], engine=engine, precision="fp16", typed_graph=True), apis.RTX)
        with open_runner(
            FileSource(path=engine), RunSpec(runtime="tensorrt-rtx", precision="fp16", threads=1)
        ) as runner:
            runner.infer(image(1))
    except EspdeployError as error:
        why = f": {error.what}; {error.why}"
    with capsys.disabled():
        does = "does not run" if why else "runs"
        sys.stdout.write(f"\nTensorRT-RTX {does} on {card.name}, compute capability {card.compute_capability}{why}\n")
    assert (not why) == (capability in abilities.RTX_TARGETS)
