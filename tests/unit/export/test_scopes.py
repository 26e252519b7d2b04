"""What the TorchScript exporter leaves out of the paths of modules (test_zoo.py: both exporters name them alike)."""

from __future__ import annotations

import pytest

onnx = pytest.importorskip("onnx")
from espdeploy.export.scopes import complete_paths  # noqa: E402 (onnx comes first)


def named(*names: str) -> onnx.ModelProto:
    nodes = [onnx.helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"], name=name) for i, name in enumerate(names)]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ("/level1/conv/Conv", "/encoder.level1.conv/Conv"),
        ("/stage2/stage2.0/reduce/Conv_1", "/encoder.stage2.0.reduce/Conv_1"),
        ("/pool_1/AveragePool", "/encoder.pool/AveragePool"),  # called a second time
        ("/decoder/up/ConvTranspose", "/decoder/up/ConvTranspose"),  # whole already
        ("/merge/Relu", "/encoder.merge/Relu"),  # the decoder has one too, and is never cut
        ("/elsewhere/Add", "/elsewhere/Add"),
        ("/Concat", "/Concat"),
        ("Add_3", "Add_3"),
    ],
)
def test_what_the_exporter_left_out_is_added_where_it_is_unmistakable(written: str, whole: str) -> None:
    modules = ["encoder", "encoder.level1.conv", "encoder.stage2.0.reduce", "encoder.pool", "encoder.merge"]
    model = named("/level1/conv/Conv", "/decoder/up/ConvTranspose", written)
    complete_paths(model, [*modules, "decoder", "decoder.up", "decoder.merge"])
    assert model.graph.node[2].name == whole


def test_a_path_that_two_modules_end_in_is_left_as_it_is() -> None:
    model = named("/conv/Conv")
    complete_paths(model, ["left.conv", "right.conv"])
    assert model.graph.node[0].name == "/conv/Conv"
