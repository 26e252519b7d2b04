from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from espdeploy.errors import InputFileError, InternalError, ToolFailed, UsageError
from espdeploy.quantize import taps
from espdeploy.quantize.observe import Observation, merge, observe
from espdeploy.quantize.sketch import Sketch

WEIGHT = np.array([[1.0, -2.0, 0.5], [0.25, 1.0, -1.0]], np.float32)
CHANNELS, HEIGHT, WIDTH = 3, 4, 5

Feed = tuple[str, dict[str, np.ndarray]]


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, int],
    *,
    shape: list[int | str] | None = None,
    constants: dict[str, np.ndarray] | None = None,
) -> Path:
    """A network of one input x; outputs are of ONNX element types, their shapes left to the tools."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, CHANNELS, HEIGHT, WIDTH])
    graph = helper.make_graph(
        nodes,
        "g",
        [x],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def images(count: int, seed: int = 0) -> Iterator[Feed]:
    random = np.random.default_rng(seed)
    for index in range(count):
        yield f"{index}.png", {"x": random.standard_normal((1, CHANNELS, HEIGHT, WIDTH), dtype=np.float32)}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Convolution, ReLU, and its classes; whole-number and constant side tensors."""
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["active"]),
        helper.make_node("Mul", ["factor", "factor"], ["folded"]),  # of constants alone
        helper.make_node("Mul", ["active", "folded"], ["scaled"]),
        helper.make_node("Shape", ["scaled"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["extents"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["scaled"], ["classes"], axis=1),
    ]
    constants = {"weight": WEIGHT[:, :, None, None], "factor": np.float32([2.0])}
    outputs = {"classes": TensorProto.INT64, "scaled": TensorProto.FLOAT, "extents": TensorProto.FLOAT}
    return write(tmp_path / "net.onnx", nodes, outputs, constants=constants)


def reference(feeds: list[Feed]) -> dict[str, np.ndarray]:
    """The same tensors by NumPy, all images together."""
    x = np.concatenate([feed["x"] for _, feed in feeds])
    convolved = np.einsum("oc,nchw->nohw", WEIGHT, x)
    active = np.maximum(convolved, 0)
    extents = np.float32([1, 2, HEIGHT, WIDTH] * len(feeds))
    return {"x": x, "convolved": convolved, "active": active, "scaled": 4 * active, "extents": extents}


def check(found: Sketch, values: np.ndarray) -> None:
    expected = Sketch()
    expected.update(values)
    assert (found.count, found.zeros, found.exponent) == (expected.count, expected.zeros, expected.exponent)
    assert found.lowest == pytest.approx(expected.lowest, rel=1e-5, abs=1e-6)
    assert found.highest == pytest.approx(expected.highest, rel=1e-5)
    # a sum in another order may round a value at an edge into the next bin
    assert np.abs(np.cumsum(found.counts - expected.counts)).max() <= 1


def test_every_float_activation_is_seen_as_numpy_computes_it(network: Path) -> None:
    feeds = list(images(6))
    seen = observe(network, iter(feeds), threads=2)
    expected = reference(feeds)
    assert seen.images == 6
    assert list(seen.sketches) == ["x", "convolved", "active", "scaled", "extents"]
    for name, values in expected.items():
        check(seen.sketches[name], values)


def test_tensors_that_are_asked_for_come_with_the_outputs_of_the_graph(network: Path) -> None:
    seen = observe(network, images(2), tensors=["scaled", "convolved", "shape"], threads=1)
    assert list(seen.sketches) == ["convolved", "scaled", "extents"]  # shape is of whole numbers
    check(seen.sketches["convolved"], reference(list(images(2)))["convolved"])
    assert list(observe(network, images(1), tensors=["x"], threads=1).sketches) == ["x", "scaled", "extents"]


def test_channels_are_seen_one_by_one_where_asked(network: Path) -> None:
    feeds = list(images(3))
    seen = observe(network, iter(feeds), tensors=["x"], per_channel=["active"], threads=1)
    assert list(seen.sketches) == ["x", "active", "scaled", "extents"]
    assert list(seen.channels) == ["active"]
    for channel, sketch in enumerate(seen.channels["active"].channels):
        check(sketch, reference(feeds)["active"][:, channel])


def test_groups_of_tensors_give_what_one_session_gives(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = observe(network, images(4), threads=1)
    monkeypatch.setattr(taps, "_GROUP_BYTES", 300)  # of 160, 160, 160 and 16 bytes: one or two in a group
    grouped = observe(network, images(4), threads=1)
    assert list(grouped.sketches) == list(whole.sketches)
    for name, sketch in whole.sketches.items():
        assert np.array_equal(grouped.sketches[name].counts, sketch.counts)
        assert (grouped.sketches[name].lowest, grouped.sketches[name].highest) == (sketch.lowest, sketch.highest)


@pytest.mark.parametrize("group_bytes", [1, 10**9])
def test_what_a_branch_reads_from_outside_is_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_bytes: int
) -> None:
    monkeypatch.setattr(taps, "_GROUP_BYTES", group_bytes)
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branches = {
        f"{side}_branch": helper.make_graph([helper.make_node(kind, ["doubled"], ["inner"])], side, [], [inner])
        for side, kind in (("then", "Neg"), ("else", "Identity"))
    }
    nodes = [
        helper.make_node("Add", ["x", "x"], ["doubled"]),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["large"]),
        helper.make_node("If", ["large"], ["y"], **branches),
    ]
    path = write(tmp_path / "if.onnx", nodes, {"y": TensorProto.FLOAT}, constants={"limit": np.float32(3)})
    x = np.full((1, CHANNELS, HEIGHT, WIDTH), 2, np.float32)
    seen = observe(path, [("small", {"x": x}), ("large", {"x": 2 * x})], threads=1)
    assert list(seen.sketches) == ["x", "doubled", "most", "y"]
    assert (seen.sketches["y"].lowest, seen.sketches["y"].highest) == (-8, 4)


def test_open_extents_are_taken_from_each_image(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "open.onnx", nodes, {"y": TensorProto.FLOAT}, shape=["batch", 1, "height", 3])
    feeds = [("a", {"x": np.ones((2, 1, 4, 3), np.float32)}), ("b", {"x": -np.ones((1, 1, 7, 3), np.float32)})]
    sketch = observe(path, feeds, threads=1).sketches["y"]
    assert (sketch.count, sketch.zeros) == (24 + 21, 21)


def test_an_output_that_is_the_input_itself_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "pass.onnx", [helper.make_node("Neg", ["x"], ["y"])], {"x": 1, "y": 1})
    seen = observe(path, images(1), threads=1)
    assert list(seen.sketches) == ["x", "y"]
    assert seen.sketches["x"].highest == -seen.sketches["y"].lowest


def test_half_precision_tensors_are_seen_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["y"], to=TensorProto.FLOAT),
    ]
    path = write(tmp_path / "half.onnx", nodes, {"y": TensorProto.FLOAT})
    seen = observe(path, images(1), threads=1)
    assert np.array_equal(seen.sketches["half"].counts, seen.sketches["y"].counts)
    assert seen.sketches["half"].count == CHANNELS * HEIGHT * WIDTH


def test_tensors_of_one_value_over_all_images_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "nothing"], ["dead"]),
        helper.make_node("Add", ["dead", "one"], ["ones"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Sum", ["ones", "mean"], ["y"]),
    ]
    constants = {"nothing": np.float32(0), "one": np.float32(1)}
    path = write(tmp_path / "dead.onnx", nodes, {"y": TensorProto.FLOAT}, constants=constants)
    assert observe(path, images(2), threads=1).constant == ("dead", "ones")


def test_images_are_taken_one_at_a_time_and_told(network: Path) -> None:
    told: list[tuple[int, int | None, str]] = []
    taken: list[int] = []

    def feeds() -> Iterator[Feed]:
        for index, feed in enumerate(images(3)):
            taken.append(index)
            yield feed

    def progress(done: int, total: int | None, text: str) -> None:
        told.append((done, total, text))
        assert len(taken) == done

    observe(network, feeds(), threads=1, total=3, progress=progress)
    assert told == [(done, 3, "images observed") for done in (1, 2, 3)]


def test_no_images_is_wrong_usage(network: Path) -> None:
    with pytest.raises(UsageError, match="no images to calibrate with"):
        observe(network, iter(()), threads=1)


@pytest.mark.parametrize("asked", [{"tensors": ["convolvd"]}, {"tensors": [], "per_channel": ["convolvd"]}])
def test_a_tensor_that_is_not_there_is_named_with_the_nearest(network: Path, asked: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="no activation convolvd") as caught:
        observe(network, images(1), threads=1, **asked)
    assert '"convolved"' in caught.value.do


@pytest.mark.parametrize("name", ["weight", "folded"])
def test_weights_and_what_is_computed_of_them_alone_are_no_activations(network: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no activation {name}"):
        observe(network, images(1), tensors=[name], threads=1)


def test_a_broken_image_is_named_with_the_input(network: Path) -> None:
    feeds = list(images(3))
    feeds[1][1]["x"][0, 0, 0, :2] = np.nan
    with pytest.raises(InputFileError, match=r"input x holds NaN at 2 of 60 places for 1\.png") as caught:
        observe(network, feeds, threads=1)
    assert "pre-processing" in caught.value.do


def test_a_network_that_overflows_is_told_where_and_on_which_image(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["grown"]),
        helper.make_node("Sub", ["grown", "grown"], ["lost"]),
        helper.make_node("Neg", ["lost"], ["y"]),
    ]
    path = write(tmp_path / "exp.onnx", nodes, {"y": TensorProto.FLOAT})
    feeds = list(images(2))
    feeds[1][1]["x"][0, 0, 0, 0] = 200
    message = r"activation grown holds infinity at 1 of 60 places for 1\.png"
    with pytest.raises(InputFileError, match=message) as caught:
        observe(path, feeds, threads=1)
    assert "first tensor" in caught.value.why


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_file_that_is_no_network_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"net\.onnx") as caught:
        observe(path, images(1), threads=1)
    assert caught.value.do


def test_a_network_of_whole_numbers_has_nothing_to_calibrate(tmp_path: Path) -> None:
    path = tmp_path / "int.onnx"
    ends = [helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(InputFileError, match="no float activations"):
        observe(path, [("a", {"x": np.array([1, 2])})], threads=1)


def test_an_image_that_onnxruntime_refuses_is_named(network: Path) -> None:
    feeds = [*images(1), ("wide.png", {"x": np.zeros((1, CHANNELS, HEIGHT, WIDTH + 1), np.float32)})]
    with pytest.raises(ToolFailed, match=r"onnxruntime failed while running .*net\.onnx on wide\.png") as caught:
        observe(network, feeds, threads=1)
    assert "nvalid dimensions" in caught.value.why


def test_a_graph_that_onnxruntime_refuses_is_a_failed_tool(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.onnx", [helper.make_node("Unheard", ["x"], ["y"])], {"y": TensorProto.FLOAT})
    with pytest.raises(ToolFailed, match=r"cannot open .*odd\.onnx") as caught:
        observe(path, images(1), threads=1)
    assert "Unheard" in caught.value.why


def test_observations_of_different_networks_do_not_merge(network: Path) -> None:
    one = observe(network, images(1), threads=1)
    other = Observation(images=1, sketches={"z": Sketch()})
    with pytest.raises(InternalError, match="different tensors"):
        merge(one, other)


PEAK = """
import sys
from pathlib import Path
import numpy as np
from espdeploy.quantize.observe import observe
random = np.random.default_rng(0)
feeds = ((str(i), {"x": random.standard_normal((1, 16, 512, 512), dtype=np.float32)}) for i in range(int(sys.argv[2])))
observe(Path(sys.argv[1]), feeds, threads=2)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_does_not_grow_with_the_images_nor_with_the_tensors(tmp_path: Path) -> None:
    def peak_mb(layers: int, count: int) -> float:
        names = ["x", *(f"t{index}" for index in range(layers))]
        nodes = [helper.make_node("Neg", [source], [made]) for source, made in itertools.pairwise(names)]
        shape: list[int | str] = [1, 16, 512, 512]  # 16.8 MB
        path = write(tmp_path / f"{layers}.onnx", nodes, {names[-1]: TensorProto.FLOAT}, shape=shape)
        command = [sys.executable, "-c", PEAK, str(path), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout) * 1024 / 1e6

    few, many = peak_mb(10, 2), peak_mb(10, 9)
    assert many == pytest.approx(few, rel=0.05)
    # 50 tensors more, 839 MB, of which groups of 256 MB are held at a time; allocators keep some of what is freed
    assert peak_mb(60, 2) < few + 450
