"""A file is known by its head, before anything opens it; what cannot be opened is sent to its remedy."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.engine_file import EngineKind, engine_bytes, recognise
from espdeploy.backends.tensorrt.failures import explain_load
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability, ToolFailed


def plan_head(tag: bytes, size: int, *version: int) -> bytes:
    """The first 28 bytes of a plan: tag, format, platform, size of the whole, release."""
    return struct.pack("<4sIQQ4B", tag, 0, 2, size, *version)


def plan_file(path: Path, tag: bytes, *version: int, size: int = 200) -> Path:
    path.write_bytes(plan_head(tag, size, *version) + bytes(172))
    return path


@pytest.fixture
def engine(rtx: apis.Api, net: Path, plan_for: Callable[..., TensorRTPlan]) -> Path:
    plan = plan_for(rtx, net)
    build(plan, apis.RTX)
    return plan.engine


def prefixed(engine: Path) -> Path:
    """As the ultralytics exporter writes engines: four bytes of length, JSON, the engine."""
    text = json.dumps({"author": "Ultralytics", "task": "segment", "names": {"0": "road"}}).encode()
    file = engine.with_name("yolo.engine")
    file.write_bytes(struct.pack("<I", len(text)) + text + engine.read_bytes())
    return file


def test_a_real_engine_is_read_for_its_release(engine: Path, rtx: apis.Api) -> None:
    assert recognise(engine) == EngineKind(
        kind=apis.RTX, note=f"an engine of TensorRT-RTX {rtx.version_text}", version=rtx.version
    )
    assert engine_bytes(engine, rtx) == engine.read_bytes()


def test_an_engine_cut_anywhere_is_not_taken_for_whole(engine: Path, rtx: apis.Api, tmp_path: Path) -> None:
    whole, cut = engine.read_bytes(), tmp_path / "cut.engine"
    for length in (1, 4, 12, 27, 28, 1000, len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert recognise(cut).kind == ("cut" if length >= 4 else "unknown")
        with pytest.raises(InputFileError, match="no whole engine"):
            engine_bytes(cut, rtx)
    cut.write_bytes(whole + b"\n")
    assert recognise(cut).kind == "cut"


def test_an_engine_behind_a_json_is_freed_by_the_command_given(engine: Path, rtx: apis.Api) -> None:
    file = prefixed(engine)
    found = recognise(file)
    assert found.kind == "prefixed"
    assert "Ultralytics" in found.note
    with pytest.raises(InputFileError, match="does not begin with an engine") as caught:
        engine_bytes(file, rtx)
    subprocess.run(caught.value.do, shell=True, check=True)  # noqa: S602  # the very command that is advised
    assert engine.with_name("yolo.plain.engine").read_bytes() == engine.read_bytes()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>not found</html>" * 20, "unknown"),
        (bytes(4096), "unknown"),
        (b"\x02\x00\x00\x00{}ftr", "unknown"),
        (struct.pack("<I", 10**6) + b'{"author": "nobody"}', "unknown"),
    ],
)
def test_what_is_no_engine_is_said(content: bytes, kind: str, tmp_path: Path, rtx: apis.Api) -> None:
    (tmp_path / "f.engine").write_bytes(content)
    assert recognise(tmp_path / "f.engine").kind == kind
    with pytest.raises(InputFileError, match=r"f\.engine"):
        engine_bytes(tmp_path / "f.engine", rtx)


def test_an_onnx_file_is_sent_to_build(net: Path, rtx: apis.Api) -> None:
    assert recognise(net).kind == "onnx"
    with pytest.raises(InputFileError, match="ONNX") as caught:
        engine_bytes(net, rtx)
    assert caught.value.do == f"espdeploy build {net}"


def test_engines_of_tensorrt_are_told_by_release(tmp_path: Path) -> None:
    ten = recognise(plan_file(tmp_path / "ten.engine", b"ftrt", 10, 13, 3, 9))
    assert (ten.kind, ten.version) == (apis.TENSORRT, (10, 13, 3, 9))
    assert recognise(plan_file(tmp_path / "cut.engine", b"ftrt", 10, 13, 3, 9, size=201)).kind == "cut"
    (tmp_path / "old.engine").write_bytes(b"ptrt" + bytes(200))
    old = recognise(tmp_path / "old.engine")
    assert (old.kind, old.version) == (apis.TENSORRT, None)
    assert "8.5" in old.note


@pytest.mark.parametrize(
    ("tag", "version", "expected"),
    [
        (b"ftrt", (10, 13, 3, 9), ("cannot open", "--runtime tensorrt")),
        (b"vtrt", (2, 0, 0, 1), ("another release", "espdeploy build")),
        (b"ptrt", (8, 2, 1, 8), ("cannot open", "--runtime tensorrt")),
    ],
)
def test_an_engine_for_someone_else_is_sent_there(
    tag: bytes, version: tuple[int, ...], expected: tuple[str, str], rtx: apis.Api, tmp_path: Path
) -> None:
    file = plan_file(tmp_path / "f.engine", tag, *version)
    with pytest.raises(InputFileError) as caught:
        engine_bytes(file, rtx)
    assert expected[0] in caught.value.what
    assert expected[1] in caught.value.do


@pytest.mark.parametrize("name", ["absent.engine", "."])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"is not a file|does not exist"):
        recognise(tmp_path / name)


REFUSAL = "IRuntime::deserializeCudaEngine: Error Code {code} ({text})"
OTHER_GPU = (
    "The engine plan file is generated on an incompatible device, "
    "expecting compute 8.9 got compute 8.6, please rebuild."
)
OTHER_FORMAT = (
    "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. "
    "Note: Current Version: 240, Serialized Engine Version: 239"
)
NO_DRIVER = (
    "In ScopedCudaStream at x.cpp:25 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version)"
)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (REFUSAL.format(code="6: API Usage Error", text=OTHER_GPU), InputFileError, "another GPU"),
        (REFUSAL.format(code="1: Serialization", text=OTHER_FORMAT), InputFileError, "another release"),
        (REFUSAL.format(code="1: Cuda Runtime", text=NO_DRIVER), MissingCapability, "no GPU"),
        ("a new text that nobody has seen", ToolFailed, "could not open"),
    ],
)
def test_what_tensorrt_says_of_an_engine_becomes_our_error(
    said: str, kind: type[EspdeployError], words: str, rtx: apis.Api
) -> None:
    error = explain_load(rtx, Path("f.engine"), [said])
    assert type(error) is kind
    assert words in error.what
    assert error.do
