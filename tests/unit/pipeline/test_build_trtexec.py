"""Engines through trtexec: which graph and which flags each release is given, and what counts as done.

The tool is a stand-in that takes and refuses options as the real one of that release does (tests/fakes/trtexec).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from espdeploy.errors import EspdeployError, MissingCapability
from espdeploy.pipeline.building import build_trtexec
from espdeploy.pipeline.building.build_tensorrt import TensorRTMade, TensorRTRequest
from espdeploy.pipeline.building.candidates import WrongPrecision
from espdeploy.protocols import no_progress
from espdeploy.quantize.table import TABLE_SCHEMA, CalibrationTable, TensorRange
from espdeploy.quantize.tensorrt_cache import read_cache
from espdeploy.recipes import device_profile

onnx = pytest.importorskip("onnx")

FAKES = Path(__file__).parents[2] / "fakes" / "trtexec" / "install.py"


def fakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_trtexec_install", FAKES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def network(tmp_path: Path) -> Path:
    weight = ", ".join(["0.5"] * 108)
    text = (
        '<ir_version: 8, opset_import: ["" : 13]> net (float[1,3,8,8] x) => (float[1,4,8,8] y) '
        f"<float[4,3,3,3] w = {{{weight}}}> {{ y = Conv <pads = [1,1,1,1]> (x, w) }}"
    )
    path = tmp_path / "net.onnx"
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


#: a release of trtexec, a device, a precision, and the calibration table where there is one
Build = Callable[..., TensorRTMade]


@pytest.fixture
def build(tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setattr(build_trtexec, "check_is_here", lambda profile: None)  # this machine is no Jetson

    def call(release: str, device: str, precision: str, table: CalibrationTable | None = None) -> TensorRTMade:
        program = fakes().install(tmp_path / f"bin-{release}", release)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        folder = tmp_path / f"work-{release}-{precision}"
        folder.mkdir()
        request = TensorRTRequest(
            onnx=network,
            profile=device_profile(device),
            runtime="trtexec",
            precision=precision,
            table=table,
            compute_capability=None,
            folder=folder,
        )
        return build_trtexec.make_trtexec(request, no_progress)

    return call


def table() -> CalibrationTable:
    ranges = {
        "x": TensorRange(amax=2.54, lowest=-2.54, highest=1.0),
        "y": TensorRange(amax=1.27, lowest=0, highest=1.27),
    }
    return CalibrationTable(
        schema=TABLE_SCHEMA,
        method="mse",
        images=2,
        onnx_sha256="0" * 64,
        graph_sha256=None,
        data_sha256=None,
        recipe=None,
        preprocessing=None,
        random=False,
        espdeploy_version="0",
        created="2026-11-21T00:00:00+00:00",
        ranges=ranges,
    )


def test_a_tx2_gets_fp16_by_flag_and_never_the_tools_own_workspace(build: Build, network: Path) -> None:
    made = build("8.2.1", "tx2", "fp16")
    assert made.runtime_version == "8.2.1"
    assert "--fp16" in made.flags
    assert any(flag.startswith("--workspace=") and flag != "--workspace=16" for flag in made.flags)
    assert made.path.stat().st_size > 0
    assert made.path.read_bytes() != network.read_bytes()


def test_int8_for_a_xavier_goes_through_a_cache_of_the_tables_ranges(build: Build, tmp_path: Path) -> None:
    made = build("8.5.2", "xavier-agx", "int8", table())
    assert "--int8" in made.flags
    cache = read_cache(tmp_path / "work-8.5.2-int8" / "calibration.cache")
    assert cache.version_code == 8502
    assert cache.scales["x"] == pytest.approx(2.54 / 127, rel=1e-6)


def test_from_tensorrt_11_on_the_graph_says_the_precision_and_the_engine_must_have_it(
    build: Build, tmp_path: Path
) -> None:
    # the stand-in's engine has a third of its convolutions in FP32: in a graph that is FP16 throughout that is a lie
    with pytest.raises(WrongPrecision, match="67 %"):
        build("11.1.0", "orin-agx", "fp16")
    typed = onnx.load(str(tmp_path / "work-11.1.0-fp16" / "typed.onnx"))
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in typed.graph.initializer}


def test_int8_on_a_board_without_it_never_reaches_the_tool(build: Build) -> None:
    with pytest.raises(MissingCapability, match="int8"):
        build("8.2.1", "tx2", "int8", table())


def test_a_release_that_the_board_never_had_is_refused(build: Build) -> None:
    with pytest.raises(MissingCapability, match=r"10\.3"):
        build("10.3.0", "tx2", "fp16")


def test_a_failing_tool_leaves_no_engine(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_FAULT", "unsupported-op")
    with pytest.raises(EspdeployError, match="operator"):
        build("8.2.1", "tx2", "fp16")
    assert not list(tmp_path.glob("work-*/*.engine"))


def test_without_the_tool_one_is_told_where_it_was_looked_for(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_trtexec, "check_is_here", lambda profile: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    request = TensorRTRequest(
        onnx=network,
        profile=device_profile("tx2"),
        runtime="trtexec",
        precision="fp32",
        table=None,
        compute_capability=None,
        folder=tmp_path,
    )
    with pytest.raises(MissingCapability, match="trtexec is not on this machine"):
        build_trtexec.make_trtexec(request, no_progress)
