"""Engines on a real GPU: the answers are ONNX Runtime's, the times hang together, and memory comes back."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import onnx
import pytest

from espdeploy import export
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource
from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt import cuda
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.engine_file import engine_bytes
from espdeploy.backends.tensorrt.layers import convolution_shares_pct
from espdeploy.backends.tensorrt.plan import BuildReport, TensorRTPlan
from espdeploy.backends.tensorrt.runner import TensorRTRtxRunner, TensorRTRunner
from espdeploy.errors import InputFileError, MissingCapability, UsageError
from espdeploy.networks.build import build as build_network
from espdeploy.passes import apply, pipeline_for
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.specs import ImageSize, ModelSpec, RunSpec, ShapeRange

pytestmark = pytest.mark.gpu

RUNNERS = {apis.TENSORRT: TensorRTRunner, apis.RTX: TensorRTRtxRunner}
SPEC = RunSpec(runtime="tensorrt", threads=1)
MOST_PCT = 95  # a convolution at the border may read what it casts itself
RELATIVE_ERROR = {"fp32": 1e-4, "fp16": 2e-2}


@pytest.fixture(scope="module", params=sorted(RUNNERS))
def kind(request: pytest.FixtureRequest) -> str:
    """A runtime whose package and GPU are here."""
    try:
        apis.load(request.param)
        cuda.open_session().close()
    except MissingCapability as error:
        pytest.skip(f"{error.what}; {error.why or error.do}")
    return str(request.param)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """ESPNet with an open batch."""
    network = build_network(ModelSpec(name="espnet"), size=ImageSize(width=256, height=128))
    model = export.trace(network.module, input_shape=(1, 3, 128, 256), opset=13, dynamic_batch=True)
    return apply(model, pipeline_for(simplify=True)).model


@pytest.fixture
def built(kind: str, model: onnx.ModelProto, tmp_path: Path) -> tuple[Path, BuildReport]:
    """An FP32 engine for batches of 1 to 4."""
    return engine_of(kind, model, tmp_path, "fp32")


def engine_of(kind: str, model: onnx.ModelProto, folder: Path, precision: str) -> tuple[Path, BuildReport]:
    file, engine = folder / f"{precision}.onnx", folder / f"{precision}.engine"
    onnx.save(model, file)
    name = model.graph.input[0].name
    low, usual, high = ((batch, 3, 128, 256) for batch in (1, 2, 4))
    plan = TensorRTPlan(
        onnx=file,
        engine=engine,
        precision=precision,
        typed_graph=precision != "fp32",
        inputs=(ShapeRange(name=name, smallest=low, usual=usual, largest=high),),
    )
    return engine, build(plan, kind)


def images(batch: int) -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(batch).standard_normal((batch, 3, 128, 256), dtype=np.float32)}


def expected(model: onnx.ModelProto, folder: Path, batch: int) -> np.ndarray:
    onnx.save(model, folder / "reference.onnx")
    with open_runner(FileSource(path=folder / "reference.onnx"), RunSpec(runtime="onnxruntime", threads=4)) as runner:
        return next(iter(runner.infer(images(batch)).values()))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_answers_are_those_of_onnx_runtime(kind: str, model: onnx.ModelProto, tmp_path: Path, precision: str) -> None:
    graph = model if precision == "fp32" else to_fp16(model).model
    engine, report = engine_of(kind, graph, tmp_path, precision)
    with RUNNERS[kind](FileSource(path=engine), SPEC) as runner:
        for batch in (1, 4, 2):
            wanted = expected(model, tmp_path, batch)
            given = next(iter(runner.infer(images(batch)).values()))
            assert np.abs(given - wanted).max() / np.abs(wanted).max() < RELATIVE_ERROR[precision]
        assert (runner.facts.precision_share_pct or {}).get(precision, 0) > MOST_PCT
    assert (convolution_shares_pct(report.layers) or {}).get(precision, 0) > MOST_PCT


@pytest.mark.parametrize("graph", [True, False])
def test_times_hang_together(kind: str, built: tuple[Path, BuildReport], graph: bool) -> None:
    with RUNNERS[kind](FileSource(path=built[0]), SPEC, cuda_graph=graph) as runner:
        step = runner.steps(images(1), transfers=True, room=50)
        for _ in range(120):
            step()
        times = step.times()
    assert times.upload_ms is not None
    assert times.download_ms is not None
    assert len(times.compute_ms) == len(times.enqueue_ms) == len(times.upload_ms) == 50
    assert min(*times.compute_ms, *times.enqueue_ms, *times.upload_ms, *times.download_ms) > 0
    if graph and runner.name == apis.TENSORRT:
        assert step.cuda_graph
        assert median(times.enqueue_ms) < median(times.compute_ms)  # one launch of a graph is short


def test_a_batch_out_of_range_is_our_error(kind: str, built: tuple[Path, BuildReport]) -> None:
    with RUNNERS[kind](FileSource(path=built[0]), SPEC) as runner, pytest.raises(UsageError, match="input"):
        runner.infer(images(5))


def test_memory_comes_back(kind: str, built: tuple[Path, BuildReport]) -> None:
    before = cuda.device_memory()
    for _ in range(5):
        with RUNNERS[kind](FileSource(path=built[0]), SPEC) as runner:
            runner.steps(images(4))()
    after = cuda.device_memory()
    assert before is not None
    assert after is not None
    assert before.free_mb - after.free_mb < 64  # what the driver keeps for itself once


def test_a_damaged_engine_is_refused_before_cuda_sees_it(kind: str, built: tuple[Path, BuildReport]) -> None:
    content = built[0].read_bytes()
    built[0].write_bytes(content[:-100])
    with pytest.raises(InputFileError, match="no whole engine"), RUNNERS[kind](FileSource(path=built[0]), SPEC):
        pass
    built[0].write_bytes(content)
    assert engine_bytes(built[0], apis.load(kind)) == content
