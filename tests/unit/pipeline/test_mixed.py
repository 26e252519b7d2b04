"""Mixed precision on a made-up network of which one layer, by hand, must not go to INT8."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from espdeploy import __version__
from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing
from espdeploy.errors import UsageError
from espdeploy.pipeline.building.layer_times import layer_times, with_surroundings
from espdeploy.pipeline.building.lowering import lowering, read_network
from espdeploy.pipeline.building.mixed import MixedRequest, mixed
from espdeploy.protocols import no_progress
from espdeploy.quantize.table import TABLE_SCHEMA, CalibrationTable, TensorRange

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

UNIT = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSES = ClassSet(name="two", names=("red", "green"), palette=((255, 0, 0), (0, 255, 0)))
#: ``good`` writes 1000 x red and red - green, ``bad`` makes the two classes' scores of the second
TWO = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4,6] x) => (float[1,2,4,6] y)
<float[2,3,1,1] w = {1000,0,0, 1,-1,0}, float[2,2,1,1] v = {0,1, 0,-1}>
{ [good] t = Conv(x, w) [bad] y = Conv(t, v) }"""
RANGES = MappingProxyType({"x": 1.0, "t": 1000.0, "y": 1.0})
#: no runtime of this name can be timed: layers count by their multiply-adds, so that no chance decides
NOT_HERE = "trtexec"


def table(ranges: Mapping[str, float] = RANGES, *, random: bool = False) -> CalibrationTable:
    return CalibrationTable(
        schema=TABLE_SCHEMA,
        method="minmax",
        images=1,
        onnx_sha256="0" * 64,
        graph_sha256=None,
        data_sha256=None,
        recipe=None,
        preprocessing=UNIT,
        random=random,
        espdeploy_version=__version__,
        created="2026-01-01T00:00:00+00:00",
        ranges={name: TensorRange(amax=amax, lowest=-amax, highest=amax) for name, amax in ranges.items()},
    )


@pytest.fixture
def net(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(TWO)
    card = ModelCard(name="net", task="segmentation", settings={}, preprocessing=UNIT, classes=CLASSES)
    onnx.helper.set_model_props(model, card.to_metadata())
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def pictures(folder: Path, count: int, *, heldout_wrong: bool = False) -> Path:
    """Pictures half red and half green with their labels; on every second one the labels may be the wrong way round."""
    pixels, label = np.zeros((4, 6, 3), dtype=np.uint8), np.zeros((4, 6), dtype=np.uint8)
    pixels[:, :3, 0], pixels[:, 3:, 1], label[:, 3:] = 200, 200, 1
    for name in ("images", "labels"):
        (folder / name).mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(pixels).save(folder / f"images/{index}.png")
        turned = heldout_wrong and index % 2 == 1
        Image.fromarray(1 - label if turned else label).save(folder / f"labels/{index}.png")
    return folder / "images"


def request(net: Path, **options: object) -> MixedRequest:
    given = MixedRequest(
        onnx=net,
        table=table(),
        data=net.parent / "images",
        labels=net.parent / "labels",
        max_drop_pct=1.0,
        runtime=NOT_HERE,
        threads=1,
    )
    return dataclasses.replace(given, **options)  # type: ignore[arg-type]  # options of several types in one mapping


def answers(model: onnx.ModelProto, pixel: tuple[float, float, float]) -> np.ndarray:
    feed = np.broadcast_to(np.float32(pixel).reshape(1, 3, 1, 1), (1, 3, 4, 6)).copy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": feed})[0])


def quantized(model: onnx.ModelProto) -> set[str]:
    """The layers that read a DequantizeLinear."""
    written = {name: node.op_type for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return {node.name for node in convolutions if written.get(node.input[0]) == "DequantizeLinear"}


def test_the_layer_that_costs_stays_and_the_other_goes(net: Path) -> None:
    """By hand: ``bad`` in INT8 makes every pixel class 0, of which a mean IOU of 25 is left."""
    pictures(net.parent, 6)
    found = mixed(request(net), no_progress)
    assert found.int8 == ("good",)
    assert quantized(found.model) == {"good"}
    assert found.kept == {"bad": "costs 75.00 points alone; with it in INT8 75.000 points would be lost, 1 are allowed"}
    assert (found.drop_search_pct, found.drop_heldout_pct) == (0.0, 0.0)
    assert (found.images_search, found.images_heldout) == (3, 3)
    assert 1 <= found.evaluations <= 4
    assert found.saved_ms is None
    assert any("multiply-adds" in note for note in found.notes)
    red, green = answers(found.model, (0.8, 0, 0)), answers(found.model, (0, 0.8, 0))
    assert red.argmax(axis=1).max() == 0
    assert green.argmax(axis=1).min() == 1


def test_what_may_cost_all_is_int8_throughout(net: Path) -> None:
    pictures(net.parent, 4)
    found = mixed(request(net, max_drop_pct=75.0), no_progress)
    assert set(found.int8) == quantized(found.model) == {"good", "bad"}
    assert found.kept == {}
    assert found.drop_search_pct == pytest.approx(75.0)
    assert found.drop_heldout_pct == pytest.approx(75.0)
    assert found.drop_heldout_ci95_pct == pytest.approx((75.0, 75.0))
    assert found.evaluations == 1


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_whatever_is_faster_here_the_drop_is_kept_to(runtime: str, net: Path) -> None:
    pytest.importorskip(runtime)
    pictures(net.parent, 4)
    found = mixed(request(net, runtime=runtime), no_progress)
    assert "bad" in found.kept
    assert quantized(found.model) == set(found.int8) <= {"good"}
    if "good" in found.kept:
        assert found.kept["good"].startswith("INT8 is not faster here")
    assert found.drop_search_pct == 0.0
    assert found.saved_ms is not None


def test_the_drop_is_judged_on_what_the_search_did_not_see(net: Path) -> None:
    """Held-out labels are turned round: FP32 scores 0 there, all of class 0 scores 25."""
    pictures(net.parent, 6, heldout_wrong=True)
    found = mixed(request(net, max_drop_pct=75.0), no_progress)
    assert found.drop_search_pct == pytest.approx(75.0)
    assert found.drop_heldout_pct == pytest.approx(-25.0)


def test_more_lost_on_the_others_than_allowed_is_said(net: Path) -> None:
    """The search sees pictures of one class, on which all of class 0 is right."""
    images = pictures(net.parent, 4)
    for index in (0, 2):
        Image.new("RGB", (6, 4), (200, 0, 0)).save(images / f"{index}.png")
        Image.new("L", (6, 4), 0).save(net.parent / f"labels/{index}.png")
    found = mixed(request(net), no_progress)
    assert set(found.int8) == {"good", "bad"}
    assert found.drop_search_pct == 0.0
    assert found.drop_heldout_pct == pytest.approx(75.0)
    assert any("75.00 points are lost, 1 allowed" in note for note in found.notes)


def test_a_layer_without_a_range_stays_with_the_reason(net: Path) -> None:
    pictures(net.parent, 4)
    found = mixed(request(net, table=table({"x": 1.0})), no_progress)
    assert found.int8 == ("good",)
    assert found.kept == {"bad": "t has no calibrated range"}


def test_a_table_of_made_up_inputs_is_said(net: Path) -> None:
    pictures(net.parent, 4)
    assert any("made-up" in note for note in mixed(request(net, table=table(random=True)), no_progress).notes)


def test_images_of_the_search_are_limited_and_spread(net: Path) -> None:
    pictures(net.parent, 9)
    found = mixed(request(net, limit=2), no_progress)
    assert (found.images_search, found.images_heldout) == (2, 4)


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_images(count: int, net: Path) -> None:
    pictures(net.parent, count)
    with pytest.raises(UsageError, match=f"{count} labelled images") as caught:
        mixed(request(net), no_progress)
    assert "--precision int8" in caught.value.do


def test_images_without_labels(net: Path) -> None:
    pictures(net.parent, 4)
    with pytest.raises(UsageError, match="no labels") as caught:
        mixed(request(net, labels=None), no_progress)
    assert "--labels DIR" in caught.value.do


@pytest.mark.parametrize("drop", [-0.1, 100.5, math.nan, math.inf])
def test_a_drop_that_is_none(drop: float, net: Path) -> None:
    with pytest.raises(UsageError, match="--max-drop-pct"):
        mixed(request(net, max_drop_pct=drop), no_progress)


def test_multiply_adds_stand_in_where_nothing_can_be_timed(net: Path) -> None:
    """24 pixels x 2 outputs x 3 and 2 inputs."""
    lower = lowering(read_network(net, None), "int8", table())
    times = layer_times(lower, {}, NOT_HERE, threads=1, progress=no_progress)
    assert times.time_ms == {"good": (144.0, 72.0), "bad": (96.0, 48.0)}
    assert not times.measured


def test_layers_count_the_same_where_the_size_is_open(net: Path) -> None:
    model = onnx.load(net)
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in ((2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, net)
    lower = lowering(read_network(net, None), "int8", table())
    times = layer_times(lower, {}, NOT_HERE, threads=1, progress=no_progress)
    assert times.time_ms == {"good": (1.0, 0.5), "bad": (1.0, 0.5)}


def test_quantizing_counts_for_the_layers_that_it_is_done_for(net: Path) -> None:
    """``one`` and ``two`` read the same tensor in INT8 and ``joined`` a Concat of theirs; times are made up."""
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4,6] x) => (float[1,2,4,6] y)
    <float[2,3,1,1] w = {1,0,0, 1,-1,0}, float[2,4,1,1] v = {0,1,0,0, 0,-1,0,1}>
    { [one] a = Conv(x, w) [two] b = Conv(x, w) [cat] c = Concat<axis = 1>(a, b) [joined] y = Conv(c, v) }"""
    onnx.save(onnx.parser.parse_model(text), net)
    lower = lowering(read_network(net, table()), "int8", table({"x": 1.0, "a": 1.0, "b": 1.0, "c": 1.0}))
    whole = lower.graph(lower.layers)
    times = {node.name: {"QuantizeLinear": 1.0, "Conv": 10.0}.get(node.op_type, 0.0) for node in whole.graph.node}
    quantizing = [node for node in whole.graph.node if node.op_type == "QuantizeLinear"]
    found = with_surroundings(whole, times, lower.layers)
    assert found["one"] == found["two"] == 10.5
    assert sum(found.values()) == pytest.approx(30.0 + len(quantizing))
    assert found["joined"] == pytest.approx(10.0 + len(quantizing) - 1)
