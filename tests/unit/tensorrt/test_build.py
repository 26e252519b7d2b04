"""Real builds: what comes out, how it is told, and that nothing half-done is left."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espdeploy.backends.tensorrt.api import RTX, Api
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.engine_file import recognise
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError
from espdeploy.specs import ShapeRange

Plans = Callable[..., TensorRTPlan]
Write = Callable[..., Path]
OPEN_BATCH = "g (float[N,3,8,8] input) => (float[N,3,8,8] output) { output = Relu(input) }"
OPEN_SIZE = "g (float[N,3,H,W] input) => (float[N,3,H,W] output) { output = Relu(input) }"


def left_behind(plan: TensorRTPlan) -> list[str]:
    return [path.name for path in plan.engine.parent.iterdir()] if plan.engine.parent.exists() else []


def test_an_engine_is_built_and_says_what_it_is(api: Api, net: Path, plan_for: Plans) -> None:
    plan = plan_for(api, net)
    report = build(plan, api.kind)
    found = recognise(plan.engine)
    assert (report.runtime, report.runtime_version) == (api.kind, api.version_text)
    assert (found.kind, found.version) == (api.kind, api.version)
    assert report.size_mb * 1e6 == plan.engine.stat().st_size
    assert left_behind(plan) == ["net.engine"]
    assert {layer.precision for layer in report.layers if "convolution" in layer.type} == {"fp32"}
    assert {node for layer in report.layers for node in layer.nodes} >= {"first", "second"}


def test_an_engine_carries_the_graphs_weights(rtx: Api, write_onnx: Write, plan_for: Plans) -> None:
    weights = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    text = "g (float[1,1024] input) => (float[1,1024] output) { output = Mul(input, w) }"
    plan = plan_for(rtx, write_onnx(text, w=weights))
    build(plan, RTX)
    assert weights.tobytes() in plan.engine.read_bytes()


def test_progress_is_told_by_phase_in_the_callers_thread(api: Api, net: Path, plan_for: Plans) -> None:
    told: list[tuple[int, int | None, str]] = []
    threads = set()

    def progress(done: int, total: int | None, text: str) -> None:
        told.append((done, total, text))
        threads.add(threading.current_thread())

    build(plan_for(api, net), api.kind, progress)
    assert [text for _, _, text in told[:2]] == ["loading the builder", "reading the graph"]
    assert len(told) > 2
    assert all(total is None or 0 <= done <= total for done, total, _ in told)
    assert threads == {threading.current_thread()}


def test_an_interrupted_build_ends_and_leaves_nothing(api: Api, net: Path, plan_for: Plans) -> None:
    plan = plan_for(api, net)

    def interrupted(done: int, total: int | None, text: str) -> None:
        if text not in ("loading the builder", "reading the graph"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plan, api.kind, interrupted)
    assert left_behind(plan) == []
    assert "tensorrt-build" not in {thread.name for thread in threading.enumerate()}
    assert build(plan, api.kind).size_mb > 0  # and the next one works


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_engine_that_cannot_be_written_leaves_nothing(api: Api, net: Path, plan_for: Plans) -> None:
    plan = plan_for(api, net)
    with files_of_at_most(10_000), pytest.raises(MissingCapability, match="cannot write"):
        build(plan, api.kind)
    assert left_behind(plan) == []


def test_a_folder_is_refused_before_the_build(api: Api, net: Path, plan_for: Plans, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        build(plan_for(api, net, engine=tmp_path), api.kind)


def shapes(*batches: int, name: str = "input", rest: tuple[int, ...] = (3, 8, 8)) -> tuple[ShapeRange, ...]:
    low, usual, high = ((batch, *rest) for batch in batches)
    return (ShapeRange(name=name, smallest=low, usual=usual, largest=high),)


def test_a_dynamic_batch_is_built_for_its_range(api: Api, write_onnx: Write, plan_for: Plans) -> None:
    plan = plan_for(api, write_onnx(OPEN_BATCH), inputs=shapes(1, 2, 4))
    assert build(plan, api.kind).size_mb > 0


@pytest.mark.parametrize(
    ("text", "option"),
    [
        (OPEN_BATCH, "--shapes input=1x3x8x8..4x3x8x8..8x3x8x8"),
        (OPEN_SIZE, "--shapes input=1x3x512x1024..4x3x512x1024..8x3x512x1024"),
    ],
)
def test_a_missing_range_names_the_option(api: Api, write_onnx: Write, plan_for: Plans, text: str, option: str) -> None:
    with pytest.raises(UsageError, match="input") as caught:
        build(plan_for(api, write_onnx(text)), api.kind)
    assert option in caught.value.do


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        (shapes(1, 2, 4, name="image"), "image"),
        (shapes(1, 2, 4, rest=(4, 8, 8)), "1x4x8x8"),
        (shapes(1, 2, 4, rest=(3, 8)), "1x3x8"),
    ],
)
def test_a_range_that_does_not_fit_is_refused(
    api: Api, write_onnx: Write, plan_for: Plans, ranges: tuple[ShapeRange, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        build(plan_for(api, write_onnx(OPEN_BATCH), inputs=ranges), api.kind)


@pytest.mark.parametrize("capability", ["9.0", "8", "SM89", ""])
def test_an_unknown_compute_capability_names_those_there_are(
    rtx: Api, net: Path, plan_for: Plans, capability: str
) -> None:
    with pytest.raises(UsageError) as caught:
        build(plan_for(rtx, net, compute_capability=capability), RTX)
    assert "7.5, 8.0, 8.6, 8.9, 12.0" in caught.value.why


def test_too_small_a_workspace_is_said(rtx: Api, write_onnx: Write, plan_for: Plans) -> None:
    text = """g (float[1,16,256,256] input) => (float[1,16,256,256] output) {
        a = Conv <pads=[1,1,1,1]> (input, w)
        output = Conv <pads=[1,1,1,1]> (a, w)
    }"""  # 4 MB lie between the two
    plan = plan_for(rtx, write_onnx(text, w=np.ones((16, 16, 3, 3), np.float32)), workspace_mb=1)
    with pytest.raises(ToolFailed, match="workspace of 1 MB") as caught:
        build(plan, RTX)
    assert "larger" in caught.value.do
    assert left_behind(plan) == []


def test_tf32_is_off_unless_asked_for(rtx: Api, net: Path, plan_for: Plans) -> None:
    for tf32 in (False, True):
        plan = plan_for(rtx, net, tf32=tf32)
        build(plan, RTX)
        assert f"tf32={int(tf32)}\n".encode() in plan.engine.read_bytes()  # as the engine itself lists it


def test_a_timing_cache_is_kept_and_never_a_file_of_another_kind(
    api: Api, net: Path, plan_for: Plans, tmp_path: Path
) -> None:
    if not api.abilities.timing_cache:
        pytest.skip(f"{api.label} has no timing cache")
    cache, other = tmp_path / "timing.cache", tmp_path / "other.onnx"
    build(plan_for(api, net, timing_cache=cache), api.kind)
    assert cache.stat().st_size > 0
    other.write_bytes(net.read_bytes())
    with pytest.raises(EspdeployError, match=r"other\.onnx"):
        build(plan_for(api, net, timing_cache=other), api.kind)
    assert other.read_bytes() == net.read_bytes()


def without_a_gpu(module: Any, logger: Any) -> None:
    """As TensorRT does where it finds no driver: it says so, and makes nothing."""
    text = "CUDA initialization failure with error: 35. Please check your CUDA installation"
    logger.log(module.ILogger.Severity.ERROR, text)
    raise TypeError("pybind11::init(): factory function returned nullptr")


def test_a_builder_that_finds_no_gpu_is_our_error(
    rtx: Api, net: Path, plan_for: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx.module, "Builder", lambda logger: without_a_gpu(rtx.module, logger))
    with pytest.raises(MissingCapability, match="no GPU") as caught:
        build(plan_for(rtx, net), RTX)
    assert "CUDA initialization failure" in caught.value.why


def test_memory_that_runs_out_in_the_library_is_our_error(
    rtx: Api, net: Path, plan_for: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(rtx.module.Builder, "build_serialized_network", exhausted)
    plan = plan_for(rtx, net)
    with pytest.raises(MissingCapability, match="no memory"):
        build(plan, RTX)
    assert left_behind(plan) == []


def test_each_warning_is_told_once(api: Api, write_onnx: Write, plan_for: Plans) -> None:
    text = "g (int64[4] input) => (int64[4] output) { a = Add(input, input)\n output = Mul(a, input) }"
    warnings = build(plan_for(api, write_onnx(text)), api.kind).warnings
    assert len(warnings) == len(set(warnings))


def test_nothing_is_printed(api: Api, net: Path, plan_for: Plans, capfd: pytest.CaptureFixture[str]) -> None:
    build(plan_for(api, net), api.kind)
    assert capfd.readouterr() == ("", "")
