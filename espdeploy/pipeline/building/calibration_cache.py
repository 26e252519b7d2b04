"""A calibration table as the calibrator of one TensorRT release reads it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from espdeploy import lazy
from espdeploy.errors import MissingCapability
from espdeploy.quantize.table import CalibrationTable, TensorRange
from espdeploy.quantize.tensorrt_cache import constant_ranges, names_constants, version_code, write_cache


def cache_for(table: CalibrationTable, onnx: Path, release: str, path: Path) -> Path:
    """Write the cache of a table for a release, ``8.2.1``.

    From TensorRT 10 on it holds the constants too that are operands, such as the slopes of PReLU: without their ranges
    these layers would be computed in another precision, and nothing would say so. They come from the graph, or, on
    boards without the package onnx, from the table, where calibrate has put them.

    Raises:
        MissingCapability: the release wants those ranges, and they are nowhere; or the place cannot be written.
        UsageError: a tensor's name that no cache can hold.
    """
    code = version_code(release)
    write_cache({**table.ranges, **_constants(table, onnx, code, release)}, path, version_code=code)
    return path


def _constants(table: CalibrationTable, onnx: Path, code: int, release: str) -> Mapping[str, TensorRange]:
    if not names_constants(code):
        return {}
    if lazy.available("onnx"):
        return constant_ranges(onnx, version_code=code)
    if table.operands is None:
        raise MissingCapability(
            f"INT8 for TensorRT {release} needs the ranges of the constants of {onnx}, and its table has none",
            why="the table is of an older espdeploy, and without the package onnx the graph cannot be asked",
            do=f"calibrate it again at home (espdeploy calibrate {shlex.quote(onnx.name)} --data DIR), "
            "or pip install onnx here",
        )
    return table.operands
