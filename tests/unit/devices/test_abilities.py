"""The table by compute capability, against NVIDIA's published matrix and NVIDIA's own builder."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from espdeploy.devices import abilities

#: compute capability -> FP16, INT8: NVIDIA's TensorRT 8.4 support matrix, "hardware and precision"
MATRIX = {
    (8, 7): (True, True),
    (8, 6): (True, True),
    (8, 0): (True, True),
    (7, 5): (True, True),
    (7, 2): (True, True),
    (7, 0): (True, True),
    (6, 2): (True, False),
    (6, 1): (False, True),
    (6, 0): (True, False),
    (5, 3): (True, False),
    (5, 2): (False, False),
    (5, 0): (False, False),
}


@pytest.mark.parametrize("capability", MATRIX)
def test_fp16_and_int8_are_where_nvidias_matrix_has_them(capability: tuple[int, int]) -> None:
    has = tuple(abilities.lacks(precision, capability) is None for precision in ("fp16", "int8"))
    assert has == MATRIX[capability]
    assert abilities.lacks("fp32", capability) is None
    assert (abilities.lacks("mixed", capability) is None) == has[1]


@pytest.mark.parametrize(
    ("precision", "last_without", "first_with"), [("bf16", (7, 5), (8, 0)), ("fp8", (8, 7), (8, 9))]
)
def test_newer_precisions_begin_with_their_generation(
    precision: str, last_without: tuple[int, int], first_with: tuple[int, int]
) -> None:
    assert str(last_without[0]) in (abilities.lacks(precision, last_without) or "")
    assert abilities.lacks(precision, first_with) is None


@pytest.mark.parametrize(
    ("capability", "end"), [((5, 3), "9.0"), ((6, 1), "10.0"), ((7, 0), "10.5"), ((7, 5), None), ((12, 0), None)]
)
def test_releases_that_dropped_a_generation(capability: tuple[int, int], end: str | None) -> None:
    assert abilities.tensorrt_end(capability) == end


@pytest.mark.parametrize(
    ("text", "capability"),
    [("8.9", (8, 9)), (" 12.1\n", (12, 1)), ("8.90", None), ("89", None), ("sm_89", None), ("", None), ("-8.9", None)],
)
def test_capabilities_are_read(text: str, capability: tuple[int, int] | None) -> None:
    assert abilities.capability_of(text) == capability
    assert capability is None or abilities.capability_text(capability) == text.strip()


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


def test_targets_are_those_that_tensorrt_rtx_has(trt: ModuleType) -> None:
    named = {name.removeprefix("SM") for name in trt.ComputeCapability.__members__ if name.startswith("SM")}
    assert named == {f"{major}{minor}" for major, minor in abilities.RTX_TARGETS}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "fp8"])
@pytest.mark.parametrize("capability", abilities.RTX_TARGETS)
def test_tensorrt_rtx_builds_just_what_the_table_says(
    trt: ModuleType, precision: str, capability: tuple[int, int]
) -> None:
    assert builds(trt, convolution(precision), capability) == (abilities.lacks(precision, capability) is None)


def builds(trt: ModuleType, model: bytes, capability: tuple[int, int]) -> bool:
    """Whether NVIDIA's builder makes an engine of it for that target; its complaints go nowhere."""

    class Silent(trt.ILogger):
        def log(self, severity: object, message: str) -> None: ...

    builder = trt.Builder(logger := Silent())
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model), parser.get_error(0).desc()
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability[0]}{capability[1]}"), 0)
    return builder.build_serialized_network(network, config) is not None


def convolution(precision: str) -> bytes:
    """One convolution: in a type of its own, or between Q/DQ pairs."""
    onnx = pytest.importorskip("onnx")
    names = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16", "int8": "INT8", "fp8": "FLOAT8E4M3FN"}
    kind = getattr(onnx.TensorProto, names[precision])
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor
    weights = [0.01 * (index % 7 - 3) for index in range(16 * 16 * 9)]
    if precision in ("int8", "fp8"):
        constants = [
            tensor("w", onnx.TensorProto.FLOAT, [16, 16, 3, 3], weights),
            tensor("scale", onnx.TensorProto.FLOAT, [], [0.02]),
            tensor("zero", kind, [], [0]),
        ]
        nodes = [
            node("QuantizeLinear", ["input", "scale", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
            node("QuantizeLinear", ["w", "scale", "zero"], ["wq"]),
            node("DequantizeLinear", ["wq", "scale", "zero"], ["k"]),
            node("Conv", ["x", "k"], ["output"], pads=[1, 1, 1, 1]),
        ]
    else:
        constants = [tensor("k", kind, [16, 16, 3, 3], weights)]
        nodes = [
            node("Cast", ["input"], ["x"], to=kind),
            node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1]),
            node("Cast", ["y"], ["output"], to=onnx.TensorProto.FLOAT),
        ]
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 16, 32, 32]) for name in ("input", "output")]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    return bytes(model.SerializeToString())
