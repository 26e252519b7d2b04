"""NVIDIA's packages where they are here, small graphs for them, and a machine with a GPU that is only simulated."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.errors import MissingCapability

HEAD = '<ir_version: 8, opset_import: ["" : 13]>\n'
#: a convolution, a transposed one, and what stands between them
NET = """g (float[1,3,16,32] input) => (float[1,4,32,64] output) {
    [first] a = Conv <pads=[1,1,1,1]> (input, w)
    [act] b = Relu(a)
    [second] output = ConvTranspose <strides=[2,2]> (b, v)
}"""


def loaded(kind: str) -> apis.Api:
    """The package behind a runtime; the test is skipped with the reason where it is not here."""
    try:
        return apis.load(kind)
    except MissingCapability as error:
        pytest.skip(f"{kind}: {error.what}; {error.why or error.do}")


@pytest.fixture(scope="session", params=[apis.RTX, apis.TENSORRT])
def api(request: pytest.FixtureRequest) -> apis.Api:
    """Each package that is here. TensorRT itself builds only where a GPU is."""
    return loaded(request.param)


@pytest.fixture(scope="session")
def rtx() -> apis.Api:
    return loaded(apis.RTX)


@pytest.fixture
def write_onnx(tmp_path: Path) -> Callable[..., Path]:
    """An ONNX file from its text form and its weights."""

    def write(text: str, name: str = "net.onnx", **weights: np.ndarray) -> Path:
        model = onnx.parser.parse_model(text if text.startswith("<") else HEAD + text)
        model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in weights.items())
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def net(write_onnx: Callable[..., Path]) -> Path:
    """The small network in FP32."""
    random = np.random.default_rng(0)
    first, second = random.standard_normal((8, 3, 3, 3)), random.standard_normal((8, 4, 2, 2))
    return write_onnx(NET, w=first.astype(np.float32), v=second.astype(np.float32))


@pytest.fixture
def plan_for(tmp_path: Path) -> Callable[..., TensorRTPlan]:
    """A plan for a file, at compute capability 8.9 where the package builds for GPUs that are not there."""

    def plan(api: apis.Api, onnx_file: Path, precision: str = "fp32", **settings: object) -> TensorRTPlan:
        given: dict[str, object] = {"compute_capability": "8.9"} if api.abilities.compute_capabilities else {}
        given |= {"onnx": onnx_file, "engine": tmp_path / "made" / "net.engine", "precision": precision}
        return TensorRTPlan(**(given | {"typed_graph": precision != "fp32"} | settings))  # type: ignore[arg-type]

    return plan


@pytest.fixture(scope="session")
def simulated() -> ModuleType:
    """The module simulated_gpu.py beside this file, loaded from there since tests are no package."""
    spec = importlib.util.spec_from_file_location("simulated_gpu", Path(__file__).with_name("simulated_gpu.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
