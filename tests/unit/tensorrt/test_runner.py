"""The runner on a simulated GPU: right results, right copies, times kept apart, everything given back."""

from __future__ import annotations

import importlib.machinery
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from espdeploy import lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends.source import FileSource, ModuleSource
from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt import cuda, settings
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.log import Log
from espdeploy.backends.tensorrt.plan import EngineSource, TensorRTPlan
from espdeploy.backends.tensorrt.runner import TensorRTRtxRunner, TensorRTRunner
from espdeploy.errors import InputFileError, MissingCapability, UsageError
from espdeploy.specs import RunSpec

SPEC = RunSpec(runtime=apis.TENSORRT, threads=1)
Opened = Callable[..., TensorRTRunner]
COPY_BYTES = {batch: 4 * batch * 60 for batch in (1, 2, 4)}


def images(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, 4, 5), dtype=np.float32)


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Put a module, and the packages that it is in, where Python finds them."""
    parts = module.__name__.split(".")
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        found = module if name == module.__name__ else ModuleType(name)
        found.__spec__ = importlib.machinery.ModuleSpec(name, None)
        found.__path__ = []  # type: ignore[attr-defined]  # so that it counts as a package
        monkeypatch.setitem(sys.modules, name, found)


@pytest.fixture
def gpu(simulated: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A simulated CUDA runtime in the place of cuda-python's."""
    runtime = simulated.Runtime()
    install(monkeypatch, runtime)
    return runtime


@pytest.fixture
def board(simulated: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same behind a simulated PyCUDA, and no cuda-python."""
    if lazy.available("cuda.bindings"):
        pytest.skip("cuda-python is installed here, and is taken first")
    runtime = simulated.Runtime()
    runtime.driver = simulated.pycuda(runtime)
    install(monkeypatch, runtime.driver)
    return runtime


@pytest.fixture
def opened(simulated: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A runner for a simulated engine, not yet entered."""

    def make(engine: Any, **settings: bool) -> TensorRTRunner:
        module, version = simulated.tensorrt(engine), (10, 13, 3)
        abilities = apis.abilities_of(apis.TENSORRT, version)
        api = apis.Api(kind=apis.TENSORRT, module=module, version=version, abilities=abilities, log=Log(module))
        monkeypatch.setattr(apis, "load", lambda kind: api)
        file = tmp_path / "f.engine"
        file.write_bytes(struct.pack("<4sIQQ4B", b"ftrt", 0, 2, 28, 10, 13, 3, 9))
        return TensorRTRunner(FileSource(path=file), SPEC, **settings)

    return make


@pytest.fixture
def opened_rtx(simulated: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A runner of TensorRT-RTX for a simulated engine, which keeps its kernels where it is told."""

    def make(engine: Any, kernels: Path) -> TensorRTRunner:
        module, version = simulated.tensorrt(engine), (1, 7, 1)
        abilities = apis.abilities_of(apis.RTX, version)
        api = apis.Api(kind=apis.RTX, module=module, version=version, abilities=abilities, log=Log(module))
        monkeypatch.setattr(apis, "load", lambda kind: api)
        file = tmp_path / "f.engine"
        file.write_bytes(struct.pack("<4sIQQ4B", b"vtrt", 0, 2, 28, 1, 7, 1, 116))
        return TensorRTRtxRunner(EngineSource(path=file, kernels=kernels), SPEC)

    return make


def test_kernels_are_compiled_once_and_kept_for_the_next_start(
    opened_rtx: Opened, simulated: ModuleType, gpu: Any, tmp_path: Path
) -> None:
    kept = tmp_path / "cache" / "f.kernels"
    counts = []
    for _ in range(2):
        engine = simulated.RtxEngine(gpu)
        with opened_rtx(engine, kept) as runner:
            np.testing.assert_array_equal(runner.infer({"input": images(2)})["output"], images(2) * 3)
        counts.append(engine.compiled)
    assert counts == [2, 0]
    written_ns = kept.stat().st_mtime_ns
    with opened_rtx(simulated.RtxEngine(gpu), kept):
        pass
    assert kept.stat().st_mtime_ns == written_ns  # nothing new was learnt
    kept.write_bytes(b"of another release")
    engine = simulated.RtxEngine(gpu)
    with opened_rtx(engine, kept):
        pass
    assert engine.compiled == 2
    assert kept.read_bytes().startswith(simulated.RuntimeCache.HEAD)


def test_kernels_that_cannot_be_kept_cost_time_alone(
    opened_rtx: Opened, simulated: ModuleType, gpu: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    engine = simulated.RtxEngine(gpu)
    with opened_rtx(engine, tmp_path / "file" / "f.kernels") as runner:
        np.testing.assert_array_equal(runner.infer({"input": images(1)})["output"], images(1) * 3)
    assert engine.compiled == 2


def test_an_engine_has_the_card_of_its_passport(simulated: ModuleType, gpu: Any, tmp_path: Path) -> None:
    card = ModelCard(name="espnet", task="segmentation", settings={})
    runner = TensorRTRunner(EngineSource(path=tmp_path / "f.engine", card=card), SPEC)
    assert runner.card == card


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_results_are_those_of_the_inputs_of_that_run(
    opened: Opened, simulated: ModuleType, gpu: Any, batch: int
) -> None:
    runner = opened(simulated.Engine(gpu))
    with runner:
        first = runner.infer({"input": images(batch)})["output"]
        second = runner.infer({"input": images(batch, seed=1)})["output"]
        np.testing.assert_array_equal(first, images(batch) * 3)
        np.testing.assert_array_equal(second, images(batch, seed=1) * 3)
        assert gpu.copies == [COPY_BYTES[batch]] * 4  # not the room of the largest batch
    assert gpu.live == {}


def test_a_board_with_pycuda_runs_the_same_without_graphs(opened: Opened, simulated: ModuleType, board: Any) -> None:
    runner = opened(simulated.Engine(board))
    with runner:
        np.testing.assert_array_equal(runner.infer({"input": images(2)})["output"], images(2) * 3)
        step = runner.steps({"input": images(2)}, transfers=True)
        step()
        assert step.cuda_graph is False
        assert min(step.times().compute_ms) > 0
        assert runner.facts.provider == "cuda through pycuda"
    del step
    assert (board.live, board.driver.contexts) == ({}, [])


def test_a_board_shares_its_memory(board: Any) -> None:
    board.free_bytes = 4 * 10**9
    assert cuda.device_memory() == cuda.Memory(free_mb=4000, total_mb=8000, shared=True)
    board.devices = 0
    assert cuda.device_memory() is None


def test_the_engine_is_described(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu))
    with runner:
        assert [(item.name, item.shape, item.dtype) for item in (*runner.inputs, *runner.outputs)] == [
            ("input", ("batch", 3, 4, 5), "float32"),
            ("output", ("batch", 3, 4, 5), "float32"),
        ]
        assert (runner.facts.runtime, runner.facts.provider) == ("tensorrt", "cuda through cuda-python")
        assert runner.facts.precision_share_pct is None
        assert runner.card is None


@pytest.mark.parametrize("graph", [True, False])
def test_a_step_is_one_launch_and_copies_nothing(opened: Opened, simulated: ModuleType, gpu: Any, graph: bool) -> None:
    engine = simulated.Engine(gpu)
    runner = opened(engine, cuda_graph=graph)
    with runner:
        step = runner.steps({"input": images(2)})
        prepared, copied = engine.contexts[0].launches, len(gpu.copies)
        for _ in range(5):
            step()
        times = step.times()
        assert engine.contexts[0].launches - prepared == (0 if graph else 5)  # a graph is launched without TensorRT
        assert (len(gpu.copies), step.cuda_graph) == (copied, graph)
        assert len(times.compute_ms) == len(times.enqueue_ms) == 5
        assert all(0 < enqueue <= compute for enqueue, compute in zip(times.enqueue_ms, times.compute_ms, strict=True))
        assert (times.upload_ms, times.download_ms) == (None, None)
    assert gpu.live == {}


def test_transfers_are_timed_apart(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu))
    with runner:
        step = runner.steps({"input": images(4)}, transfers=True)
        gpu.copies.clear()
        step()
        step()
        times = step.times()
        assert gpu.copies == [COPY_BYTES[4]] * 4
        for part in (times.upload_ms, times.compute_ms, times.download_ms):
            assert part is not None
            assert len(part) == 2
            assert min(part) > 0
    assert gpu.live == {}


def test_only_the_last_calls_are_kept(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu))
    with runner:
        step = runner.steps({"input": images(1)}, room=3)
        for _ in range(7):
            step()
        assert len(step.times().compute_ms) == 3
        assert min(step.times().compute_ms) > 0


def test_a_stepper_is_a_step(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu))
    with runner:
        assert runner.stepper({"input": images(1)})() is None


@pytest.mark.parametrize("feed", [{"input": images(1)[:, :2]}, {"image": images(1)}, {"input": np.zeros((5, 3, 4, 5))}])
def test_a_wrong_feed_is_our_error(
    opened: Opened, simulated: ModuleType, gpu: Any, feed: dict[str, np.ndarray]
) -> None:
    runner = opened(simulated.Engine(gpu))
    with runner, pytest.raises(UsageError, match="input"):
        runner.infer(feed)


def test_a_type_without_numpy_name_is_our_error(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu, dtype="BF16"))
    with pytest.raises(UsageError, match="bf16"), runner:
        pass
    assert gpu.live == {}


def test_what_does_not_open_leaves_nothing_behind(opened: Opened, gpu: Any) -> None:
    runner = opened(None)
    with pytest.raises(InputFileError, match="another GPU"), runner:
        pass
    assert gpu.live == {}


def test_a_gpu_without_memory_is_said(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu))
    gpu.free_bytes = 100
    with pytest.raises(MissingCapability, match="no memory"), runner:
        pass
    assert gpu.live == {}


def test_no_driver_is_said(opened: Opened, simulated: ModuleType, gpu: Any) -> None:
    runner = opened(simulated.Engine(gpu))
    gpu.devices = 0
    with pytest.raises(MissingCapability, match="no GPU") as caught, runner:
        pass
    assert "InsufficientDriver" in caught.value.why
    assert "nvidia-smi" in caught.value.do


def test_the_workspace_is_half_of_what_is_free(
    gpu: Any, rtx: apis.Api, net: Path, plan_for: Callable[..., TensorRTPlan]
) -> None:
    gpu.free_bytes = 3 * 10**9
    report = build(plan_for(rtx, net, compute_capability=None), rtx.kind)
    assert report.workspace_mb == 1500
    assert "50 %" in report.notes[0]
    assert gpu.live == {}


def test_building_for_another_gpu_asks_none(
    gpu: Any, rtx: apis.Api, net: Path, plan_for: Callable[..., TensorRTPlan]
) -> None:
    gpu.free_bytes = 3 * 10**9
    assert build(plan_for(rtx, net), rtx.kind).workspace_mb == settings.DEFAULT_WORKSPACE_MB


def test_a_real_engine_without_a_gpu_is_our_error(
    rtx: apis.Api, net: Path, plan_for: Callable[..., TensorRTPlan]
) -> None:
    if cuda.device_memory() is not None:
        pytest.skip("there is a GPU here")
    plan = plan_for(rtx, net)
    build(plan, rtx.kind)
    runner = TensorRTRtxRunner(FileSource(path=plan.engine), SPEC)
    with pytest.raises(MissingCapability) as caught, runner:
        pass
    assert caught.value.do


def test_modules_and_strange_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="not modules"):
        TensorRTRunner(ModuleSource(module=lambda: (), card=None), SPEC)
    with pytest.raises(UsageError, match="fp8"):
        TensorRTRunner(FileSource(path=tmp_path), RunSpec(runtime=apis.TENSORRT, precision="fp8", threads=1))
