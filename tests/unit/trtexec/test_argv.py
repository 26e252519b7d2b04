"""The command for each release: whole lists, the same everywhere, and refusals that name the release that can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espdeploy.backends.trtexec.argv import build_argv, profile_argv, time_argv
from espdeploy.backends.trtexec.plan import BuildPlan, InputShape, ProfilePlan, TimePlan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.specs import ShapeRange

PLAN = BuildPlan(onnx=Path("net.onnx"), engine=Path("net.engine"), precision="fp16", workspace_mb=1024)
TIME = TimePlan(
    engine=Path("net.engine"), times_json=Path("times.json"), cuda_graph=True, spin_wait=False, transfers=True
)
PROFILE = ProfilePlan(engine=Path("net.engine"), profile_json=Path("profile.json"))
BATCH = ShapeRange(name="input", smallest=(1, 3, 8, 16), usual=(4, 3, 8, 16), largest=(8, 3, 8, 16))
ONE_BATCH = replace(BATCH, smallest=BATCH.usual, largest=BATCH.usual)


def trtexec(*version: int) -> Tool:
    """A tool that was not asked for its help."""
    return Tool(path=Path("/opt/trtexec"), kind="trtexec", version=version)


RTX = Tool(path=Path("/opt/tensorrt_rtx"), kind="tensorrt_rtx", version=(1, 7, 1))


def build(tool: Tool, **changes: Any) -> list[str]:
    return build_argv(tool, replace(PLAN, **changes))[1:]


def test_the_build_command_of_8_2_in_full() -> None:
    changes: dict[str, Any] = {
        "precision": "int8",
        "calibration_cache": Path("net.cache"),
        "opset": 13,
        "inputs": (ONE_BATCH,),
        "dla_core": 0,
        "timing_cache": Path("t.cache"),
        "layer_info": Path("layers.json"),
    }
    assert build_argv(trtexec(8, 2, 1), replace(PLAN, **changes)) == [
        "/opt/trtexec",
        "--onnx=net.onnx",
        "--saveEngine=net.engine",
        "--buildOnly",
        "--workspace=976",  # 1024 MB of 10^6 bytes in MiB
        "--noTF32",
        "--fp16",
        "--int8",
        "--calib=net.cache",
        "--minShapes=input:4x3x8x16",
        "--optShapes=input:4x3x8x16",
        "--maxShapes=input:4x3x8x16",
        "--useDLACore=0",
        "--allowGPUFallback",
        "--timingCacheFile=t.cache",
        "--profilingVerbosity=detailed",
        "--exportLayerInfo=layers.json",
    ]


def test_what_later_releases_spell_otherwise() -> None:
    words = {
        (8, 2, 1): ["--buildOnly", "--workspace=976"],
        (8, 4, 0): ["--buildOnly", "--memPoolSize=workspace:976"],
        (8, 5, 2): ["--buildOnly", "--memPoolSize=workspace:976"],
        (8, 6, 1): ["--skipInference", "--memPoolSize=workspace:976"],
        (10, 3, 0): ["--skipInference", "--memPoolSize=workspace:976"],
        (11, 1, 0): ["--skipInference", "--memPoolSize=workspace:976"],
    }
    for version, expected in words.items():
        assert build(trtexec(*version), precision="fp32")[2:4] == expected


def test_precision_comes_from_flags_or_from_the_graph() -> None:
    def flags(tool: Tool, **changes: Any) -> list[str]:
        given = {"--fp16", "--int8", "--stronglyTyped", "--noTF32", "--calib"}
        return [option for option in build(tool, **changes) if option.partition("=")[0] in given]

    cache = Path("c")
    assert flags(trtexec(8, 2), precision="fp32") == ["--noTF32"]
    assert flags(trtexec(8, 2), precision="fp32", tf32=True) == []
    assert flags(trtexec(8, 2), precision="int8", calibration_cache=cache, rest="fp32") == [
        "--noTF32", "--int8", "--calib=c",
    ]  # fmt: skip
    assert flags(trtexec(8, 6), precision="int8", typed_graph=True) == ["--noTF32", "--fp16", "--int8"]
    assert flags(trtexec(8, 6), precision="mixed", typed_graph=True) == ["--noTF32", "--fp16", "--int8"]
    assert flags(trtexec(10, 3), precision="int8", typed_graph=True) == ["--noTF32", "--stronglyTyped"]
    for tool in (trtexec(11, 1), RTX):
        assert not {"--fp16", "--int8", "--stronglyTyped"} & set(flags(tool, precision="int8", typed_graph=True))


def test_rtx_builds_for_a_gpu_that_is_not_here() -> None:
    argv = build(RTX, precision="fp32", compute_capability="8.9")
    assert "--computeCapabilities=89" in argv
    assert not [option for option in argv if option.startswith(("--workspace", "--buildOnly", "--useDLACore"))]


@pytest.mark.parametrize(
    ("tool", "changes", "error", "says"),
    [
        (trtexec(8, 2), {"precision": "int8"}, UsageError, "random numbers"),
        (trtexec(10, 3), {"precision": "int8"}, UsageError, "random numbers"),
        (trtexec(8, 2), {"precision": "mixed"}, UsageError, "stands in the graph"),
        (trtexec(8, 2), {"precision": "fp8"}, UsageError, "choose one of"),
        (trtexec(8, 2), {"workspace_mb": 0}, UsageError, "256 MB"),
        (trtexec(11, 1), {}, UsageError, "trtexec 8.2 to 10"),
        (trtexec(11, 1), {"precision": "int8", "calibration_cache": Path("c")}, UsageError, "Q/DQ"),
        (RTX, {}, UsageError, "the graph alone says the precision"),
        (
            trtexec(10, 3),
            {"precision": "int8", "typed_graph": True, "calibration_cache": Path("c")},
            UsageError,
            "would be ignored",
        ),
        (trtexec(8, 2, 1), {"opset": 17}, MissingCapability, "TensorRT 8.5 is the first that reads it"),
        (trtexec(8, 6, 1), {"opset": 20}, MissingCapability, "--opset 19"),
        (trtexec(8, 6), {"compute_capability": "8.9"}, UsageError, "builds for the GPU that it runs on"),
        (RTX, {"precision": "fp32", "compute_capability": "sm89"}, UsageError, "8.9"),
        (RTX, {"precision": "fp32", "timing_cache": Path("t")}, UsageError, "timing cache"),
        (RTX, {"precision": "fp32", "dla_core": 0}, MissingCapability, "no DLA"),
        (trtexec(8, 2), {"precision": "fp32", "dla_core": 0}, UsageError, "FP16 and INT8 only"),
        (trtexec(8, 5), {"optimization_level": 3}, MissingCapability, "came with TensorRT 8.6"),
        (trtexec(8, 6), {"optimization_level": 6}, UsageError, "0 to 5"),
        (RTX, {"precision": "fp32", "optimization_level": 3}, UsageError, "where the engine runs"),
        (trtexec(8, 5), {"inputs": (BATCH,), "dla_core": 0}, UsageError, "--shapes input=4x3x8x16"),
        (trtexec(8, 2), {"inputs": (replace(BATCH, usual=(9, 3, 8, 16)),)}, UsageError, "cannot range over"),
        (trtexec(8, 2), {"inputs": (replace(BATCH, smallest=(3, 8, 16)),)}, UsageError, "of one rank"),
        (trtexec(8, 2), {"inputs": (replace(BATCH, name="a,b"),)}, UsageError, "rename the input"),
    ],
)
def test_what_cannot_be_done_is_refused(tool: Tool, changes: dict[str, Any], error: type, says: str) -> None:
    with pytest.raises(error) as caught:
        build(tool, **changes)
    assert says in f"{caught.value.what} {caught.value.why} {caught.value.do}"


@pytest.mark.parametrize(("version", "opset"), [((8, 2, 1), 13), ((8, 4, 0), 17), ((10, 3, 0), 24), ((12, 0, 0), 99)])
def test_opsets_that_a_release_may_read_pass(version: tuple[int, ...], opset: int) -> None:
    assert build(trtexec(*version), precision="fp32", opset=opset)


def test_time_commands_say_everything_whose_default_changed() -> None:
    run = ["--loadEngine=net.engine", "--warmUp=500", "--duration=3", "--iterations=200"]
    asked = replace(TIME, spin_wait=True, transfers=False)
    for version, streams in (((8, 2, 1), "--streams=1"), ((8, 5, 2), "--streams=1"), ((10, 3, 0), "--infStreams=1")):
        tool = trtexec(*version)
        assert time_argv(tool, TIME)[1:] == [*run, streams, "--useCudaGraph", "--exportTimes=times.json"]
        assert time_argv(tool, asked)[6:-1] == ["--useCudaGraph", "--useSpinWait", "--noDataTransfers"]
        assert time_argv(tool, replace(TIME, cuda_graph=False))[6:-1] == []
    new = trtexec(11, 1, 0)
    assert time_argv(new, TIME)[6:-1] == ["--noSpinWait", "--includeDataTransfers"]
    assert time_argv(new, asked)[6:-1] == []
    assert time_argv(new, replace(TIME, cuda_graph=False))[6:-1] == [
        "--noCudaGraph", "--noSpinWait", "--includeDataTransfers",
    ]  # fmt: skip
    assert time_argv(RTX, replace(TIME, cuda_graph=False))[6] == "--rtxCudaGraphStrategy=disable"


def test_the_tools_own_help_decides_where_it_was_asked() -> None:
    """A release that keeps the older defaults longer, and one of TensorRT-RTX from before its own graphs."""
    common = {"--loadEngine", "--warmUp", "--duration", "--iterations", "--infStreams", "--exportTimes"}
    older = {"--useCudaGraph", "--useSpinWait", "--noDataTransfers"}
    for tool in (trtexec(11, 0, 0), replace(RTX, version=(1, 1, 0))):
        asked = replace(tool, options=frozenset(common | older))
        assert time_argv(asked, replace(TIME, transfers=False))[6:-1] == ["--useCudaGraph", "--noDataTransfers"]
    with pytest.raises(MissingCapability, match=r"has no option .*--exportTimes"):
        time_argv(replace(trtexec(12, 0), options=frozenset(common - {"--exportTimes"})), replace(TIME, spin_wait=True))


def test_a_dynamic_engine_is_run_at_a_shape() -> None:
    inputs = (InputShape(name="input", shape=(4, 3, 8, 16)), InputShape(name="state:0", shape=(1,)))
    assert time_argv(trtexec(8, 2), replace(TIME, inputs=inputs))[2] == "--shapes=input:4x3x8x16,'state:0':1"


def test_a_profile_run_stands_apart_from_timing() -> None:
    older, newer = profile_argv(trtexec(8, 2), PROFILE), profile_argv(trtexec(11, 1), PROFILE)
    assert older[6:] == ["--noDataTransfers", "--dumpProfile", "--separateProfileRun", "--exportProfile=profile.json"]
    assert newer[6:] == ["--noCudaGraph", "--dumpProfile", "--exportProfile=profile.json"]  # apart in any case


def test_an_engine_on_the_dla_is_no_cuda_graph() -> None:
    with pytest.raises(UsageError, match="CUDA graph"):
        time_argv(trtexec(8, 2), replace(TIME, dla_core=0))
    assert "--useDLACore=1" in time_argv(trtexec(8, 2), replace(TIME, dla_core=1, cuda_graph=False))


@pytest.mark.parametrize("release", ["8.2.1", "8.5.2", "8.6.1", "10.3.0", "11.1.0", "rtx-1.7.1"])
def test_every_option_is_one_of_the_release(tool: Callable[[str], Tool], release: str) -> None:
    """The whole of what may be asked, against the options that the release's help lists."""
    there = tool(release)
    plan = replace(PLAN, inputs=(BATCH,), layer_info=Path("l"), typed_graph=there.typed)
    if not there.is_rtx:
        plan = replace(plan, dla_core=0, inputs=(ONE_BATCH,), timing_cache=Path("t"))
    if there.is_rtx:
        plan = replace(plan, compute_capability="8.9")
    elif there.version >= (8, 6):
        plan = replace(plan, optimization_level=5)
    time = replace(TIME, inputs=(InputShape(name="input", shape=(1, 3, 8, 16)),), spin_wait=True, transfers=False)
    off = replace(time, cuda_graph=False, spin_wait=False, transfers=True)
    for argv in (build_argv(there, plan), time_argv(there, time), time_argv(there, off), profile_argv(there, PROFILE)):
        assert {option.partition("=")[0] for option in argv[1:]} <= there.options
