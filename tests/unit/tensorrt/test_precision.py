"""Which builder flags a precision sets on TensorRT 10, whose libraries are seldom where the tests run."""

from __future__ import annotations

import enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.backends.tensorrt.precision import set_precision
from espdeploy.errors import MissingCapability

CACHE = b"TRT-101303-EntropyCalibration2\ninput: 3c010a14\n"


class Config:
    """A configuration as TensorRT makes it: TF32 is on."""

    def __init__(self, flag: type[enum.Enum]) -> None:
        self.flags = {flag["TF32"]}
        self.int8_calibrator: Any = None
        self.set_flag, self.clear_flag = self.flags.add, self.flags.discard


def set_up(tmp_path: Path, *version: int, fast_int8: bool = True, **asked: Any) -> tuple[set[str], Any]:
    """The flags that are set in the end, and the calibrator."""
    module: Any = ModuleType("tensorrt")
    module.BuilderFlag = enum.Enum("BuilderFlag", "TF32 FP16 INT8 BF16")
    module.IInt8EntropyCalibrator2 = object
    abilities = apis.abilities_of(apis.TENSORRT, version)
    api = apis.Api(kind=apis.TENSORRT, module=module, version=version, abilities=abilities, log=None)  # type: ignore[arg-type]  # nothing is said
    config = Config(module.BuilderFlag)
    plan = TensorRTPlan(onnx=tmp_path / "f.onnx", engine=tmp_path / "f.engine", **asked)
    alive = set_precision(api, SimpleNamespace(platform_has_fast_int8=fast_int8), config, plan)
    assert alive == ([] if config.int8_calibrator is None else [config.int8_calibrator])
    return {flag.name for flag in config.flags}, config.int8_calibrator


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        ({"precision": "fp32"}, set()),
        ({"precision": "fp32", "tf32": True}, {"TF32"}),
        ({"precision": "fp16"}, {"FP16"}),
        ({"precision": "fp16", "typed_graph": True}, set()),
        ({"precision": "int8", "typed_graph": True}, set()),
    ],
)
def test_only_what_the_graph_does_not_say_is_a_flag(tmp_path: Path, asked: dict[str, Any], flags: set[str]) -> None:
    assert set_up(tmp_path, 10, 13, **asked)[0] == flags


@pytest.mark.parametrize(("rest", "flags"), [("fp16", {"INT8", "FP16"}), ("fp32", {"INT8"})])
def test_int8_by_a_cache_has_a_calibrator_without_images(tmp_path: Path, rest: str, flags: set[str]) -> None:
    cache = tmp_path / "calib.cache"
    cache.write_bytes(CACHE)
    found, calibrator = set_up(tmp_path, 10, 3, precision="int8", calibration_cache=cache, rest=rest)
    assert found == flags
    assert calibrator.read_calibration_cache() == CACHE
    assert calibrator.get_batch(["input"]) is None
    calibrator.write_calibration_cache(b"something else")
    assert cache.read_bytes() == CACHE


def test_a_gpu_without_fast_int8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="INT8"):
        set_up(tmp_path, 10, 3, fast_int8=False, precision="int8", calibration_cache=tmp_path / "c")


def test_a_release_without_flags_gets_none(tmp_path: Path) -> None:
    assert set_up(tmp_path, 11, 4, precision="fp16", typed_graph=True)[0] == set()
