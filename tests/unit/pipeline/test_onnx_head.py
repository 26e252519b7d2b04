"""What is read of an ONNX file without the package onnx, against what that package reads."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from espdeploy.artifacts import ModelCard
from espdeploy.errors import InputFileError
from espdeploy.pipeline.building.onnx_head import read_head

onnx = pytest.importorskip("onnx")

TEXT = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    net (float[N,3,8,16] image, float[1] scale, float[2,?] state) => (float[N,4,8,16] y, float[2,M] z)
    <float[1] scale = {1.0}> {
    [first] a = Conv <pads=[1,1,1,1]> (image, w)
    [last] y = Relu (a)
    z = Identity (state)
}"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(TEXT)
    weights = np.ones((4, 3, 3, 3), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    card = ModelCard(name="tiny", task="segmentation", settings={"classes": 4})
    for key, value in card.to_metadata().items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


def test_it_reads_what_the_library_reads(file: Path) -> None:
    model, head = onnx.load(str(file)), read_head(file)
    assert head.opset == 17
    assert list(head.nodes) == [node.name for node in model.graph.node]
    assert dict(head.inputs) == {"image": (-1, 3, 8, 16), "state": (2, -1)}  # `scale` is a weight that is listed too
    assert head.card is not None
    assert (head.card.name, head.card.settings) == ("tiny", {"classes": 4})


def test_a_file_that_is_cut_anywhere_is_our_error(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    cut = tmp_path / "cut.onnx"
    told = []
    for length in range(0, len(whole), 7):
        cut.write_bytes(whole[:length])
        with contextlib.suppress(InputFileError):  # any other error ends the test
            told.append(read_head(cut))
    assert len(told) < 0.1 * len(whole) / 7  # between two fields a file is whole, as far as protobuf goes
