"""Layers of TensorRT laid on a network that is small enough to say by hand what each must come to."""

from __future__ import annotations

import io

import pytest

from espdeploy.profilers.layer_changes import compared
from espdeploy.profilers.layer_names import taken_apart
from espdeploy.profilers.layer_origins import read_origins
from espdeploy.profilers.layers import Layers, laid_on
from espdeploy.profilers.network import Network, Node
from espdeploy.profilers.trtexec.values import LayerProfile, LayerTime

#: 2 channels of 4x4 -> Conv 3x3 (4) -> PRelu -> two convolutions 1x1 -> Concat -> Conv 1x1 (2), after Q/DQ
_NODES = (
    ("stem/Conv", "Conv", "stem", ("x",), "a", 4 * 16 * 2 * 9, 72),
    ("stem/PRelu", "PRelu", "stem", ("a",), "b", 0, 4),
    ("stage.0.left/Conv", "Conv", "stage.0.left", ("b",), "c", 4 * 16 * 4, 16),
    ("stage.0.right/Conv", "Conv", "stage.0.right", ("b",), "d", 12 * 16 * 4, 48),
    ("stage.0/Concat", "Concat", "stage.0", ("c", "d"), "e", 0, 0),
    ("e.q/QuantizeLinear", "QuantizeLinear", "e.q", ("e",), "f", 0, 2),
    ("e.dq/DequantizeLinear", "DequantizeLinear", "e.q", ("f",), "g", 0, 2),
    ("Add", "Add", "", ("g",), "h", 0, 16),
    ("head/Conv", "Conv", "head", ("h",), "y", 2 * 16 * 16, 32),
)
_ELEMENTS = {"x": 32, "a": 64, "b": 64, "c": 64, "d": 192, "e": 256, "f": 256, "g": 256, "h": 256, "y": 32}


@pytest.fixture
def network() -> Network:
    nodes = tuple(
        Node(name=name, op=op, module=module, inputs=inputs, outputs=(output,), macs=macs, weight_elements=weights)
        for name, op, module, inputs, output, macs, weights in _NODES
    )
    return Network(nodes=nodes, elements=_ELEMENTS, outputs=frozenset({"y"}), constants=frozenset({"head.weight"}))


def profile(*layers: tuple[str, float]) -> LayerProfile:
    times = tuple(LayerTime(name=name, mean_ms=ms, time_pct=None) for name, ms in layers)
    return LayerProfile(iterations=10, layers=times)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("Conv_1 + PRelu_3", "compute", ("Conv_1", "PRelu_3")),
        ("a/Conv + a/Relu || b/Conv", "compute", ("a/Conv", "a/Relu", "b/Conv")),
        ("PWN(PWN(Sigmoid_1), Mul_2)", "compute", ("Sigmoid_1", "Mul_2")),
        ("PWN(a), PWN(b)", "compute", ("a", "b")),
        ("Reformatting CopyNode for Input Tensor 0 to Conv_0 + Relu_1", "reformat", ("Conv_0", "Relu_1")),
        ("Reformatting CopyNode for Output Tensor 12 to {ForeignNode[a...b]}", "reformat", ("a", "b")),
        ("Reformatting CopyNode for Network Input input", "reformat", ("input",)),
        ("034_upsample copy", "copy", ("034_upsample",)),
        ("reshape_after_Gemm_48", "shape", ("Gemm_48",)),
        ("reshape_after_/fc/MatMul_copy_input", "copy", ("reshape_after_/fc/MatMul",)),
        ("QuantizeLinear_2_quantize_scale_node", "quantize", ("QuantizeLinear_2_quantize_scale_node",)),
        ("/conv1/weight_quantizer/DequantizeLinear", "quantize", ("/conv1/weight_quantizer/DequantizeLinear",)),
        ("conv1.weight + QuantizeLinear_7 + Conv_9", "compute", ("conv1.weight", "QuantizeLinear_7", "Conv_9")),
        ("", "compute", ()),
        ("((( + PWN(", "compute", ("((( + PWN(",)),
    ],
)
def test_a_name_says_what_the_layer_stands_for(name: str, kind: str, words: tuple[str, ...]) -> None:
    told = taken_apart(name)
    assert (told.kind, told.words) == (kind, words)


def test_a_known_name_is_never_parted() -> None:
    known = {"odd + name, (x)", "b"}
    told = taken_apart("odd + name, (x)", lambda word: word if word in known else None)
    assert told.words == ("odd + name, (x)",)


def test_every_layer_finds_its_operators(network: Network) -> None:
    laid = laid_on(
        profile(
            ("Reformatting CopyNode for Input Tensor 0 to stem/Conv + stem/PRelu", 0.5),
            ("stem/Conv + stem/PRelu", 2.0),
            ("stage.0.left/Conv || stage.0.right/Conv", 4.0),
            ("c copy", 0.25),
            ("e.q/QuantizeLinear + e.dq/DequantizeLinear", 0.75),
            ("PWN(Add)", 0.5),
            ("head.weight + node_of_y", 2.0),
        ),
        network,
    )
    assert [layer.nodes for layer in laid.layers] == [
        ("stem/Conv", "stem/PRelu"),
        ("stem/Conv", "stem/PRelu"),
        ("stage.0.left/Conv", "stage.0.right/Conv"),
        ("stage.0.left/Conv",),  # of the tensor that is moved
        ("e.q/QuantizeLinear", "e.dq/DequantizeLinear"),
        ("Add",),
        ("head/Conv",),
    ]
    assert laid.by_kind_ms == {"compute": 8.5, "reformat": 0.5, "copy": 0.25, "quantize": 0.75}
    assert laid.unmatched_pct == 0
    assert laid.layers[1].elements == 32 + 64 + 72 + 4  # a stays inside
    assert laid.layers[1].macs == 1152
    assert laid.layers[2].elements == 64 + 64 + 192 + 16 + 48  # b is read once
    assert laid.layers[0].elements is None  # nothing of it has to be


def test_modules_get_their_layers_time_and_add_up(network: Network) -> None:
    laid = laid_on(
        profile(
            ("Reformatting CopyNode for Input Tensor 0 to stem/Conv", 0.5),
            ("stem/Conv + stem/PRelu", 2.0),
            ("stage.0.left/Conv || stage.0.right/Conv", 4.0),
            ("Add + head/Conv", 1.0),
            ("unheard of", 8.0),
        ),
        network,
    )
    times = {module.path: module for module in laid.modules}
    assert times["stem"].mean_ms == pytest.approx(2.5)
    assert times["stem"].overhead_ms == pytest.approx(0.5)
    assert times["stage"].mean_ms == times["stage.0"].mean_ms == pytest.approx(4.0)
    assert times["head"].mean_ms == pytest.approx(1.0)  # the convolution's, not the Add's before it
    assert times["stage.0"].macs == 1024
    top = sum(module.mean_ms for path, module in times.items() if "." not in path)
    assert top + 8.0 == pytest.approx(laid.total_ms)
    assert laid.unmatched_pct == pytest.approx(100 * 8 / 15.5)


def test_a_foreign_node_stands_for_what_lies_between_and_nobody_else_names(network: Network) -> None:
    laid = laid_on(
        profile(("{ForeignNode[stem/Conv...stage.0/Concat]}", 3.0), ("stage.0.left/Conv", 1.0), ("head/Conv", 1.0)),
        network,
    )
    assert laid.layers[0].nodes == ("stem/Conv", "stem/PRelu", "stage.0.right/Conv", "stage.0/Concat")
    assert laid.layers[0].kind == "compute"


def test_kernels_of_myelin_are_known_by_the_layer_information(network: Network) -> None:
    info = (
        '{"Layers": [{"Name": "__myl_ConvPrel_myl0_1", "LayerType": "kgen", "Metadata": '
        '"[ONNX Layer: stem/Conv]\\u001f[ONNX Layer: stem/PRelu]"},'
        '{"Name": "whatever", "LayerType": "Reformat", "Metadata": "[ONNX Layer: head/Conv]"}], "Bindings": ["x"]}'
    )
    laid = laid_on(profile(("__myl_ConvPrel_myl0_1", 1.0), ("whatever", 1.0)), network, read_origins(io.StringIO(info)))
    assert laid.layers[0].nodes == ("stem/Conv", "stem/PRelu")
    assert [layer.kind for layer in laid.layers] == ["compute", "reformat"]


def test_without_a_shape_nothing_is_said_of_bytes(network: Network) -> None:
    open_ended = Network(nodes=network.nodes, elements={"x": 32}, outputs=network.outputs)
    assert laid_on(profile(("stem/Conv", 1.0)), open_ended).layers[0].elements is None


@pytest.mark.parametrize("with_network", [True, False])
def test_two_engines_are_compared_by_what_their_layers_stand_for(network: Network, with_network: bool) -> None:
    """FP16 against INT8: the stem is fused differently, a layout change and Q/DQ are put in, the head is faster."""
    graph = network if with_network else None
    base = profile(("stem/Conv", 1.0), ("stem/PRelu", 0.5), ("stage.0.left/Conv", 1.0), ("head/Conv", 2.0))
    new = profile(
        ("stem/Conv + stem/PRelu", 1.25),
        ("Reformatting CopyNode for Input Tensor 0 to stage.0.left/Conv", 0.75),
        ("stage.0.left/Conv", 1.5),
        ("e.q/QuantizeLinear", 0.25),
        ("head.weight + head/Conv", 1.0),
    )
    changes = compared(laid_on(base, graph), laid_on(new, graph))
    told = {(change.base, change.new): (change.kind, change.verdict, change.change_ms) for change in changes.changes}
    assert told == {
        (("stem/Conv", "stem/PRelu"), ("stem/Conv + stem/PRelu",)): ("compute", "faster", -0.25),
        (("stage.0.left/Conv",), ("stage.0.left/Conv",)): ("compute", "slower", 0.5),
        (("head/Conv",), ("head.weight + head/Conv",)): ("compute", "faster", -1.0),
        ((), ("Reformatting CopyNode for Input Tensor 0 to stage.0.left/Conv",)): ("reformat", "inserted", 0.75),
        ((), ("e.q/QuantizeLinear",)): ("quantize", "inserted", 0.25),
    }
    assert sum(change.change_ms for change in changes.changes) == pytest.approx(changes.new_ms - changes.base_ms)
    assert abs(changes.changes[0].change_ms) == 1.0
    assert changes.sum_ms("inserted") == pytest.approx(1.0)


def test_an_empty_profile_has_no_shares(network: Network) -> None:
    laid: Layers = laid_on(profile(), network)
    assert laid.total_ms == 0
    assert laid.share_pct("reformat") is None
