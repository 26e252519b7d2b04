"""What TensorRT says when something goes wrong, in the words of the release."""

from __future__ import annotations

from fake_releases import before, code

PLUGIN = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
INT64 = (
    "Your ONNX model has been generated with INT64 weights, while TensorRT does not natively support INT64. "
    "Attempting to cast down to INT32."
)
NO_CALIBRATOR = "Calibrator is not being used. Users must provide dynamic range for all tensors that are not Int32."
NO_INT8 = "Int8 support requested on hardware without native Int8 support, performance will be negatively affected."
NO_GRAPH = (
    "The built TensorRT engine contains operations that are not permitted under CUDA graph capture mode.",
    (
        "The specified --useCudaGraph flag has been ignored. "
        "The inference will be launched without using CUDA graph launch."
    ),
)
GRAPH_ON_DLA = (
    "CUDA graphs and DLA offloading are not simultaneously supported. The CUDA graph option has been disabled"
)
GPU_OOM = (
    "[TRT] 1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)",
    "[TRT] 2: [virtualMemoryBuffer.cpp::resize::161] Error Code 2: OutOfMemory (Requested size was 536870912 bytes.)",
    "Engine could not be created from network",
)
NO_KERNEL = (
    (
        "[TRT] 10: [optimizer.cpp::computeCosts::3869] Error Code 10: Internal Error "
        "(Could not find any implementation for node {ForeignNode[encoder/conv_3...decoder/add]}.)"
    ),
    "Engine could not be created from network",
)
CALIBRATION = (
    "[TRT] 4: [calibrator.cpp] Error Code 4: Internal Error (Calibration failure occurred with no scaling factors "
    "detected. This could be due to no int8 calibrator or insufficient custom scales for network layers.)"
)
NOT_LOADED = ("Engine deserialization failed", "Got invalid engine!", "Inference set up failed")


def unsupported() -> tuple[str, ...]:
    """The parser's report of an operator that it does not know."""
    end = ("Failed to parse onnx file", "Parsing model failed", "Engine set up failed")
    if not before(10):
        return (
            '[TRT] ModelImporter.cpp:140: While parsing node number 41 [Det -> "y"]:',
            "[TRT] ModelImporter.cpp:142: --- Begin node ---\nNode name: head/det_1",
            "[TRT] ModelImporter.cpp:143: --- End node ---",
            f"[TRT] ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:1130 In function checkDet:\n[8] {PLUGIN}",
            *end,
        )
    node = 'input: "x"\noutput: "y"\nname: "head/det_1"\nop_type: "Det"\n'
    importer = "builtin_op_importers.cpp:4643 In function importFallbackPluginImporter:"
    return (
        "[TRT] 3: getPluginCreator could not find plugin: Det version: 1",
        '[TRT] ModelImporter.cpp:720: While parsing node number 41 [Det -> "y"]:',
        f"[TRT] ModelImporter.cpp:721: --- Begin node ---\n{node}",
        "[TRT] ModelImporter.cpp:723: --- End node ---",
        f"[TRT] ModelImporter.cpp:726: ERROR: {importer}\n[8] Assertion failed: {PLUGIN}",
        *end,
    )


def damaged_text() -> str:
    if not before(10):
        return (
            "Error[1]: [runtime.cpp::parsePlan::455] Error Code 1: Serialization (Serialization assertion "
            "plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)"
        )
    return (
        "1: [stdArchiveReader.cpp::StdArchiveReader::35] Error Code 1: Serialization (Serialization assertion "
        "safeVersionRead == safeSerializationVersion failed.Version tag does not match. Note: Current Version: 0, "
        "Serialized Engine Version: 96)"
    )


def mismatch_text(other: int) -> str:
    if code() < 100_000 and code() > 10_000:
        return (
            "The engine has been created with TensorRT-RTX version 1.4.0.76, but the current runtime is TensorRT-RTX "
            "version 1.7.1.116. Rebuild the engine with the same version of TensorRT-RTX as the current runtime."
        )
    constant = "kSERIALIZATION_VERSION" if not before(10) else "serializationVersion"
    return (
        "1: [stdArchiveReader.cpp::StdArchiveReader::40] Error Code 1: Serialization (Serialization assertion "
        f"stdVersionRead == {constant} failed.Version tag does not match. Note: Current Version: "
        f"{code() % 997}, Serialized Engine Version: {other % 997})"
    )


def other_gpu(here: str, there: str) -> str:
    """The engine's compute capability, without its point, is not this GPU's."""
    return (
        f"Error[6]: The engine plan file is generated on an incompatible device, expecting compute {here} got compute "
        f"{there[:-1]}.{there[-1]}, please rebuild."
    )
