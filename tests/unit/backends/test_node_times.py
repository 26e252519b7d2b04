"""Times of a runtime's kernels, brought back to the nodes of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from espdeploy.backends import onnxruntime_profile, openvino_profile
from espdeploy.backends.kernel_times import Kernel, NodeNames, by_node
from espdeploy.errors import UsageError

NodeTimes = Callable[..., dict[str, float]]
#: two convolutions with what runtimes fuse into them, and a pooling that they do not
TEXT = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,32,32] x) => (float[1,8,16,16] z)
{ [first] a = Conv<pads = [1,1,1,1]>(x, w) [act] b = PRelu(a, s) [second] c = Conv<pads = [1,1,1,1]>(b, v)
[relu] d = Relu(c) [pool] z = AveragePool<kernel_shape = [2,2], strides = [2,2]>(d) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name, shape in (("w", (16, 3, 3, 3)), ("v", (8, 16, 3, 3)), ("s", (16, 1, 1))):
        values = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def feed() -> Mapping[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)}


def spent(path: Path, *kernels: Kernel) -> dict[str, float]:
    return by_node(kernels, NodeNames(path))


def kernel(name: str, *made_of: str, ms: float, reads: tuple[str, ...] = (), prepares: bool = False) -> Kernel:
    return Kernel(name=name, made_of=made_of, reads=reads, time_ms=ms, prepares=prepares)


def test_a_fused_kernel_counts_for_its_convolution(path: Path) -> None:
    assert spent(path, kernel("k", "first", "act", ms=3.0)) == {"first": 3.0}


def test_a_convolution_that_is_named_after_what_was_fused_into_it_is_the_one_before(path: Path) -> None:
    named = Kernel(name="d_nchwc", made_of=("d_nchwc",), reads=(), time_ms=3.0, heavy=True)
    assert spent(path, named, kernel("k", "relu", ms=1.0)) == {"second": 3.0, "relu": 1.0}


def test_light_nodes_share_a_kernel_equally(path: Path) -> None:
    assert spent(path, kernel("k", "relu", "pool", "Multiply_7", ms=3.0)) == {"relu": 1.5, "pool": 1.5}


@pytest.mark.parametrize(
    "name", ["first/WithoutBiases", "a", "a_nchwc", "first_token_12", "fused first", "first/duplicated_token_3"]
)
def test_a_node_is_known_under_the_names_that_runtimes_give_it(name: str, path: Path) -> None:
    assert spent(path, kernel("k", name, ms=1.0)) == {"first": 1.0}


def test_a_change_of_layout_counts_for_the_layer_that_it_serves(path: Path) -> None:
    """One before ``first``, one after ``second``; a chain of the runtime's own goes to the nearest node."""
    found = spent(
        path,
        kernel("to blocks", ms=0.5, prepares=True),
        kernel("1", "first", ms=2.0, reads=("to blocks",)),
        kernel("2", "second", ms=4.0, reads=("1",)),
        kernel("scale", ms=0.25, reads=("2",)),
        kernel("back", ms=0.125, reads=("scale",)),
    )
    assert found == {"first": 2.5, "second": 4.375}


def test_what_serves_nobody_is_nobodys(path: Path) -> None:
    assert spent(path, kernel("lost", ms=1.0), kernel("k", "pool", ms=2.0)) == {"pool": 2.0}


@pytest.mark.parametrize(
    ("package", "node_times_ms"),
    [("openvino", openvino_profile.node_times_ms), ("onnxruntime", onnxruntime_profile.node_times_ms)],
)
def test_every_layer_has_a_time_whatever_it_was_fused_into(
    package: str, node_times_ms: NodeTimes, path: Path, feed: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    pytest.importorskip(package)
    before = set(tmp_path.iterdir())
    times_ms = node_times_ms(path, feed, threads=1)
    assert {"first", "second"} <= set(times_ms) <= {"first", "act", "second", "relu", "pool"}
    assert all(0 <= value < 1000 for value in times_ms.values())
    assert times_ms["second"] > 0
    assert set(tmp_path.iterdir()) == before


def test_a_precision_that_the_runtime_does_not_leave_the_rest_in(path: Path, feed: Mapping[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="bf16"):
        onnxruntime_profile.node_times_ms(path, feed, precision="bf16", threads=1)
    with pytest.raises(UsageError, match="int4"):
        openvino_profile.node_times_ms(path, feed, precision="int4", threads=1)
