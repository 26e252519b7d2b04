"""Known failures in the words that users report, where nothing else is known of the run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from espdeploy.backends.trtexec.failures import diagnose, explain
from espdeploy.backends.trtexec.plan import BuildPlan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed, UsageError

REPORTED = [
    (
        (
            "[E] Error[6]: The engine plan file is generated on an incompatible device, expecting compute 7.2 got "
            "compute 8.6, please rebuild."
        ),
        "other-gpu",
        "built for compute capability 8.6, and this GPU has 7.2",
    ),
    (
        "[E] [rtx] The engine cannot run on this GPU, which has compute capability 7.5",
        "other-gpu",
        "compute capability 7.5",
    ),
    (
        (
            "[E] Error[6]: The engine plan file is not compatible with this version of TensorRT, expecting library "
            "version 8.4.2.4 got 8.4.0.6, please rebuild."
        ),
        "other-release",
        "this is TensorRT 8.4.2.4, the engine is of 8.4.0.6",
    ),
    (
        (
            "[E] Error[1]: Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag "
            "does not match. Note: Current Version: 213, Serialized Engine Version: 205"
        ),
        "other-release",
        "the engine's format is 205, this release reads 213",
    ),
    (
        (
            "[E] Error[1]: Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag "
            "does not match. Note: Current Version: 0, Serialized Engine Version: 43"
        ),
        "damaged-engine",
        "no whole engine",
    ),
    ("[E] Error[3]: Cannot create DLA engine, 0 not available", "no-dla", "no DLA core 0"),
    (
        "[W] [TRT] Int8 support requested on hardware without native Int8 support, performance will be negatively",
        "no-precision",
        "no fast INT8",
    ),
    (
        (
            "[E] Error[1]: [defaultAllocator.cpp::allocate::19] Error Code 1: Cuda Runtime (out of memory)\n"
            "[W] [TRT] Requested amount of GPU memory (536870912 bytes) could not be allocated"
        ),
        "out-of-gpu-memory",
        "no memory left on the GPU",
    ),
    ("NvMapMemAllocInternalTagged: 1075072515 error 12", "out-of-gpu-memory", "no memory left on the GPU"),
    ("Cuda failure: no CUDA-capable device is detected", "no-gpu", "no CUDA-capable device is detected"),
    (
        "trtexec: error while loading shared libraries: libcuda.so.1: cannot open shared object file",
        "no-gpu",
        "libcuda.so.1: cannot open",
    ),
    (
        "[E] Error[10]: Could not find any implementation for node Conv_0 + Relu_1.",
        "no-kernel",
        "the layer Conv_0 + Relu_1",
    ),
    (
        (
            '[E] [TRT] ModelImporter.cpp:773: While parsing node number 12 [MaxUnpool -> "up"]:\n'
            "[E] [TRT] ModelImporter.cpp:774: --- Begin node ---\n"
            'input: "x"\noutput: "up"\nname: "unpool1"\nop_type: "MaxUnpool"\n'
            "[E] [TRT] builtin_op_importers.cpp:4951 In function importFallbackPluginImporter:\n"
            '[8] Assertion failed: creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
        ),
        "unsupported-operator",
        'the operator MaxUnpool (node "unpool1")',
    ),
    (
        (
            "[I] [TRT] No importer registered for op: GridSampler. Attempting to import as plugin.\n"
            "[E] [TRT] 3: getPluginCreator could not find plugin: GridSampler version: 1"
        ),
        "unsupported-operator",
        "the operator GridSampler",
    ),
    ("[E] Unknown option: --workspace 4096", "unknown-option", "does not know --workspace"),
    ("[E] Unknown option: --int8 ", "unknown-option", "the graph alone says the precision"),
    ("[E] Static dimension mismatch while setting input shapes.", "shapes", "Static dimension mismatch"),
    ("[E] Saving engine to file failed.", "not-saved", "cannot save"),
    ("[E] Error opening engine file: a.engine", "no-engine", "cannot open the engine"),
    ("[E] Error[4]: Calibration failure occurred with no scaling factors detected.", "calibration", "no scale"),
]


@pytest.mark.parametrize(
    ("text", "code", "says"), REPORTED, ids=[f"{code}-{at}" for at, (_, code, _) in enumerate(REPORTED)]
)
def test_a_text_alone_is_known(text: str, code: str, says: str) -> None:
    known = diagnose(f"[I] Starting\n{text}\n&&&& FAILED TensorRT.trtexec\n")
    assert known is not None
    assert known.code == code
    assert says in f"{known.error.what} | {known.error.why}"
    assert known.error.do


@pytest.mark.parametrize(
    "text",
    [
        "",
        "&&&& PASSED TensorRT.trtexec",
        (
            "[W] Dynamic dimensions required for input: x, but no shapes were provided. Automatically overriding "
            "shape to: 1x3x8x8"
        ),
        (
            "[I] [TRT] No importer registered for op: ScatterND. Attempting to import as plugin.\n"
            "[I] [TRT] Successfully created plugin: ScatterND"
        ),
        "[W] Your ONNX model has been generated with INT64 weights, while TensorRT does not natively support INT64.",
        "[I] Engine built in 12.5 sec.",
    ],
)
def test_what_is_no_failure_stays_unknown(text: str) -> None:
    assert diagnose(text) is None


def test_a_real_shape_error_after_a_harmless_one_is_seen() -> None:
    harmless = "[W] Dynamic dimensions required for input: x, but no shapes were provided. Automatically overriding"
    known = diagnose(f"{harmless}\n[E] Dynamic dimensions required for input: y\n")
    assert known is not None
    assert "input: y" in known.error.why


PLAN = BuildPlan(onnx=Path("net.onnx"), engine=Path("net.engine"), precision="fp16", opset=13, workspace_mb=512)
TOOL = Tool(path=Path("/usr/bin/trtexec"), kind="trtexec", version=(8, 2, 1), options=frozenset())


@pytest.mark.parametrize("code", [-signal.SIGKILL, 137])
def test_a_signal_says_more_than_the_text(code: int) -> None:
    error = explain("[E] Unknown option: --x", code, tool=TOOL, plan=PLAN)
    assert isinstance(error, MissingCapability)
    assert "out of memory" in error.what
    assert "workspace 512 MB" in error.why


def test_the_unknown_gives_its_last_error_lines() -> None:
    text = "[03/14/2026-09:26:53] [E] [TRT] first\n[I] more\n[03/14/2026-09:26:53] [E] Error[9]: second\n[I] end\n"
    error = explain(text, 1, tool=TOOL, plan=PLAN)
    assert isinstance(error, ToolFailed)
    assert error.why == "first | Error[9]: second"
    assert "exit code 1" in error.what


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Calibrator is not being used.", UsageError),
        ("Failed to parse onnx file", InputFileError),
        ("Could not find any implementation for node a.", ToolFailed),
    ],
)
def test_kinds_of_errors_are_who_can_mend_them(text: str, kind: type) -> None:
    assert isinstance(explain(text, 1, tool=TOOL, plan=PLAN), kind)
