"""Which runtime tries out INT8 graphs: the one that is faster, where it computes them as they are written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.errors import EspdeployError, MissingCapability
from espdeploy.pipeline.building.agreement import LIMITS_PCT, rms_error_pct
from espdeploy.pipeline.building.judging import opened
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from onnx import ModelProto

    from espdeploy.protocols import Tensor

#: takes a Q/DQ graph by its word, and is asked where another one may not
REFERENCE = "onnxruntime"
_FAST = "openvino"
_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """The runtime, and what is to be said about the choice. ``doubtful`` is a faster one that may go wrong."""

    runtime: str
    notes: tuple[str, ...] = ()
    doubtful: bool = False


def trusted_runtime(
    model: ModelProto, lowered: ModelProto, feed: dict[str, Tensor], *, images: int, threads: int
) -> Trusted:
    """OpenVINO where it is faster than ONNX Runtime and agrees with it on the graph that is INT8 throughout.

    Args:
        model: the graph in FP32, which graphs of one INT8 layer resemble in time.
        lowered: the graph with all layers in INT8.
        feed: one image.
        images: how many each graph is to be run on.
        threads: of the CPU.

    Raises:
        MissingCapability: neither is installed.
    """
    here = [name for name in (REFERENCE, _FAST) if lazy.available(name)]
    if not here:
        raise MissingCapability("no runtime that has int8 is installed", do='pip install "espdeploy[cpu]"')
    if _FAST not in here:
        return Trusted(runtime=REFERENCE)
    if REFERENCE not in here:
        return Trusted(runtime=_FAST, notes=(f"not checked against a second runtime: {REFERENCE} is not installed",))
    try:
        answers = [_answers(lowered, name, feed, threads) for name in (REFERENCE, _FAST)]
        off_pct = rms_error_pct(*answers)
    except EspdeployError as error:
        return Trusted(runtime=REFERENCE, notes=(f"tried out in {REFERENCE}: {error.what}",))
    if off_pct > LIMITS_PCT["int8"]:
        note = f"tried out in {REFERENCE}: {_FAST} does not compute this INT8 graph rightly ({off_pct:.0f} % off)"
        return Trusted(runtime=REFERENCE, notes=(note,))
    taken_s = {name: _taken_s(model, name, feed, images=images, threads=threads) for name in (REFERENCE, _FAST)}
    if taken_s[_FAST] < taken_s[REFERENCE]:
        return Trusted(runtime=_FAST, doubtful=True)
    return Trusted(runtime=REFERENCE)


def _answers(lowered: ModelProto, runtime: str, feed: dict[str, Tensor], threads: int) -> list[Tensor]:
    with opened(lowered, RunSpec(runtime=runtime, precision="int8", threads=threads)) as runner:
        return list(runner.infer(feed).values())


def _taken_s(model: ModelProto, runtime: str, feed: dict[str, Tensor], *, images: int, threads: int) -> float:
    """Seconds to open a graph and run it on so many images."""
    begun = time.perf_counter()
    with opened(model, RunSpec(runtime=runtime, precision="fp32", threads=threads)) as runner:
        step = runner.stepper(feed)
        open_s = time.perf_counter() - begun
        runs_s = []
        for _ in range(_RUNS):
            begun = time.perf_counter()
            step()
            runs_s.append(time.perf_counter() - begun)
    return open_s + images * min(runs_s)
