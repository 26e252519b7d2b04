"""What a release cannot do is refused before it works; each refusal says what to do instead."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt.checks import check_plan
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability, UsageError
from espdeploy.specs import ShapeRange


def release(kind: str, *version: int) -> apis.Api:
    """A release of which only the abilities matter."""
    return apis.Api(
        kind=kind,
        module=ModuleType("none"),
        version=version,
        abilities=apis.abilities_of(kind, version),
        log=None,  # type: ignore[arg-type]  # nothing is said
    )


TEN, ELEVEN, RTX = release(apis.TENSORRT, 10, 13), release(apis.TENSORRT, 11, 4), release(apis.RTX, 1, 7)


def plan(**settings: Any) -> TensorRTPlan:
    return TensorRTPlan(**{"onnx": Path("f.onnx"), "engine": Path("f.engine"), "precision": "fp32", **settings})


def over(*shapes: tuple[int, ...]) -> ShapeRange:
    return ShapeRange(name="input", smallest=shapes[0], usual=shapes[1], largest=shapes[2])


@pytest.mark.parametrize(
    ("api", "settings", "kind", "words"),
    [
        (TEN, {"precision": "fp8"}, UsageError, "fp8"),
        (TEN, {"workspace_mb": 0}, UsageError, "workspace"),
        (TEN, {"optimization_level": 6}, UsageError, "level 6"),
        (TEN, {"optimization_level": -1}, UsageError, "level -1"),
        (TEN, {"precision": "int8"}, UsageError, "calibration cache"),
        (TEN, {"precision": "mixed"}, UsageError, "mixed"),
        (TEN, {"precision": "int8", "typed_graph": True, "calibration_cache": Path("c")}, UsageError, "ignored"),
        (TEN, {"precision": "int8", "calibration_cache": Path("absent")}, InputFileError, "absent"),
        (TEN, {"compute_capability": "8.9"}, UsageError, "8.9"),
        (TEN, {"dla_core": 0}, UsageError, "DLA"),
        (ELEVEN, {"precision": "fp16"}, UsageError, "fp16"),
        (ELEVEN, {"precision": "int8", "calibration_cache": Path("c")}, UsageError, "ignored"),
        (RTX, {"precision": "int8"}, UsageError, "int8"),
        (RTX, {"dla_core": 0, "precision": "fp16", "typed_graph": True}, MissingCapability, "DLA"),
        (RTX, {"timing_cache": Path("t")}, UsageError, "timing cache"),
        (RTX, {"optimization_level": 3}, UsageError, "same engine at every optimization level"),
        (TEN, {"precision": "fp16", "dla_core": 0, "inputs": (over((1, 3), (2, 3), (4, 3)),)}, UsageError, "DLA"),
        (RTX, {"inputs": (over((1, 3), (4, 3), (2, 3)),)}, UsageError, "1x3, 4x3, 2x3"),
        (RTX, {"inputs": (over((1, 3), (1, 3, 2), (2, 3)),)}, UsageError, "1x3x2"),
    ],
)
def test_what_cannot_be_is_refused(api: apis.Api, settings: Any, kind: type[EspdeployError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        check_plan(api, plan(**settings))
    assert type(caught.value) is kind
    assert caught.value.do


@pytest.mark.parametrize(
    ("api", "settings"),
    [
        (TEN, {"precision": "fp16"}),
        (TEN, {"precision": "fp16", "dla_core": 1, "timing_cache": Path("t"), "optimization_level": 5}),
        (ELEVEN, {"precision": "int8", "typed_graph": True}),
        (RTX, {"precision": "mixed", "typed_graph": True, "compute_capability": "8.9"}),
        (RTX, {"inputs": (over((1, 3), (4, 3), (8, 3)),)}),
    ],
)
def test_what_can_be_is_not(api: apis.Api, settings: Any) -> None:
    check_plan(api, plan(**settings))


def test_a_calibration_cache_of_tensorrt_is_taken(tmp_path: Path) -> None:
    cache = tmp_path / "calib.cache"
    cache.write_bytes(b"TRT-101303-EntropyCalibration2\ninput: 3c010a14\n")
    check_plan(TEN, plan(precision="int8", calibration_cache=cache))
    cache.write_bytes(b"\x00\x01 not a cache")
    with pytest.raises(InputFileError, match=r"calib\.cache"):
        check_plan(TEN, plan(precision="int8", calibration_cache=cache))
