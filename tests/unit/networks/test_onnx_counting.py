"""Counts of ONNX graphs: closed forms on hand-written graphs, and an exported ESPNet against PyTorch's count."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, parser

from espdeploy.errors import InputFileError
from espdeploy.networks.build import build
from espdeploy.networks.onnx_counting import count_onnx
from espdeploy.specs import ImageSize, ModelSpec


def save(path: Path, text: str, **constants: tuple[int, ...]) -> Path:
    """A model from ONNX text, with float constants of the given shapes."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> {text}')
    for name, shape in constants.items():
        size = 1
        for extent in shape:
            size *= extent
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, shape, [0.5] * size))
    onnx.save(model, str(path))
    return path


def test_convolution_in_a_batch_is_counted_for_one_image(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        "g (float[2,3,16,8] x) => (float[2,6,8,4] y) { y = Conv <strides=[2,2], pads=[1,1,1,1]> (x, w, b) }",
        w=(6, 3, 3, 3),
        b=(6,),
    )
    counts = count_onnx(path)
    assert (counts.params, counts.macs) == (6 * 27 + 6, 6 * 27 * 8 * 4)


def test_transposed_convolution(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        "g (float[1,4,5,5] x) => (float[1,6,10,10] y) { y = ConvTranspose <strides=[2,2], group=2> (x, w) }",
        w=(4, 3, 2, 2),
    )
    assert count_onnx(path).macs == 4 * 3 * 4 * 25


def test_gemm_matmul_and_two_activations(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[1,7] x) => (float[7,7] y) {
             a = Gemm <transB=1> (x, w, b)
             c = MatMul (a, v)
             t = Transpose <perm=[1,0]> (c)
             y = MatMul (t, c)
           }""",
        w=(5, 7), b=(5,), v=(5, 7),
    )  # fmt: skip
    counts = count_onnx(path)
    assert counts.macs == 35 + 35 + 49
    assert counts.params == 35 + 5 + 35


def test_learned_constants_only(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
             a = BatchNormalization (x, scale, shift, mean, var)
             b = PRelu (a, slope)
             d = Mul (b, two)
             y = Add (d, bias)
           }""",
        scale=(4,), shift=(4,), mean=(4,), var=(4,), slope=(4, 1, 1), two=(1,), bias=(4, 1, 1),
    )  # fmt: skip
    counts = count_onnx(path)
    assert counts.params == 4 + 4 + 4 + 4  # scale, shift, slope, bias
    assert counts.macs == 0
    assert "running means" in counts.note


def test_a_shared_layer_counts_once_and_merged_slopes_at_each_use(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
             a = Conv (x, w, b)
             c = PRelu (a, slope)
             d = Conv (c, w, b)
             y = PRelu (d, slope)
           }""",
        w=(4, 4, 1, 1), b=(4,), slope=(4, 1, 1),
    )  # fmt: skip
    counts = count_onnx(path)
    assert counts.params == 16 + 4 + 4 + 4
    assert counts.macs == 2 * 16 * 64


def test_weights_behind_a_dequantisation_are_parameters(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        "g (float[1,3,4,4] x) => (float[1,5,4,4] y) { q = Cast <to=1> (w) y = Conv (x, q) }",
        w=(5, 3, 1, 1),
    )
    assert count_onnx(path).params == 15
    assert count_onnx(path).macs == 15 * 16


def test_dynamic_sizes_are_unknown_until_they_are_given(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        "g (float[N,3,H,W] x) => (float[N,5,H,W] y) { y = Conv (x, w) }",
        w=(5, 3, 1, 1),
    )
    unknown = count_onnx(path)
    assert (unknown.params, unknown.macs) == (15, None)
    assert "dynamic" in unknown.note
    assert count_onnx(path, input_shape=(4, 3, 8, 8)).macs == 15 * 64


def test_an_exported_espnet_counts_as_the_network_but_for_folding(tmp_path: Path) -> None:
    built = build(ModelSpec(name="espnet", settings={"alpha3": "1"}), size=ImageSize(width=64, height=32))
    path = tmp_path / "espnet.onnx"
    torch.onnx.export(built.module, (torch.zeros(1, 3, 32, 64),), str(path), dynamo=False, opset_version=13)

    counts = count_onnx(path)

    assert counts.macs == built.card.macs
    # the exporter folds the normalisations that follow a convolution: of scale and shift per channel one bias is
    # left, for level 1 (16 channels), the up-sampling from 1/4 (20) and the last 3x3 convolution (20)
    assert built.card.params is not None
    assert built.card.params - counts.params == 16 + 20 + 20


@pytest.mark.parametrize("content", [b"", b"\x00\x01 not onnx", b"PK\x03\x04"])
def test_files_that_are_no_graph_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"m\.onnx"):
        count_onnx(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="there is no ONNX file"):
        count_onnx(tmp_path / "none.onnx")
