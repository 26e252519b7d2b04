"""A precision asked for by builder flags, which TensorRT 10 has beside typed graphs."""

from __future__ import annotations

import warnings
from typing import Any

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.errors import MissingCapability


def set_precision(api: Api, builder: Any, config: Any, plan: TensorRTPlan) -> list[Any]:
    """Set the flags that a precision takes where the graph does not say it; returns what must outlive the build.

    Raises:
        MissingCapability: INT8 on a GPU without fast INT8.
    """
    flag = api.module.BuilderFlag
    if not plan.tf32:
        config.clear_flag(flag.TF32)  # on unless told otherwise: FP32 in name, 10 bits of mantissa in fact
    if plan.typed_graph or plan.precision == "fp32" or api.abilities.typed_only:
        return []
    if plan.precision == "int8" and not builder.platform_has_fast_int8:
        raise MissingCapability(
            "this GPU has no fast INT8", why="it would run slower than FP16", do="choose --precision fp16 or fp32"
        )
    with warnings.catch_warnings():  # flags and calibrators are deprecated in favour of typed graphs from 10.12 on
        warnings.simplefilter("ignore", DeprecationWarning)
        config.set_flag(getattr(flag, plan.precision.upper()))
        if plan.calibration_cache is None:
            return []
        if plan.rest != "fp32":
            config.set_flag(getattr(flag, plan.rest.upper()))
        calibrator = _calibrator(api, plan.calibration_cache.read_bytes())
        config.int8_calibrator = calibrator
        return [calibrator]


def _calibrator(api: Api, cache: bytes) -> Any:
    """A calibrator that has no images, only the ranges of a cache."""
    base: Any = api.module.IInt8EntropyCalibrator2

    class FromCache(base):  # type: ignore[misc]  # the module is not typed
        def __init__(self) -> None:
            base.__init__(self)  # TensorRT wants it called by name

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> None:
            """No images: without ranges for all tensors the build fails."""

        def read_calibration_cache(self) -> bytes:
            return cache

        def write_calibration_cache(self, cache: object) -> None:
            """The cache stays as it is."""

    return FromCache()
