"""Boards made of files, with a fake trtexec of a release where JetPack has it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing

_FAKES = Path(__file__).parents[1] / "fakes/trtexec/install.py"
_MODELS = {
    "tx2": "NVIDIA Jetson TX2 Developer Kit",
    "xavier-agx": "NVIDIA Jetson AGX Xavier",
    "orin-agx": "NVIDIA Jetson AGX Orin",
}
CARD = ModelCard(
    name="tiny",
    task="segmentation",
    settings={},
    params=108,
    macs=6912,
    preprocessing=Preprocessing(channel_order="BGR", divisor=255.0, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)),
    classes=ClassSet(name="four", names=("a", "b", "c", "d"), palette=((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3))),
)


def _installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_tools", _FAKES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def board(folder: Path, name: str, release: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine is that board from now on; returns its trtexec."""
    root = folder / name
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text(_MODELS[name])
    (root / "etc").mkdir()
    (root / "etc/nv_tegra_release").write_text("# R32 (release), REVISION: 7.1, GCID: 1, BOARD: t186ref\n")
    monkeypatch.setenv("ESPDEPLOY_SYSTEM_ROOT", str(root))
    monkeypatch.setenv("FAKE_FAULT", "")
    program: Path = _installer().install(root / "usr/src/tensorrt/bin", release)
    return program


def tiny_onnx(path: Path, batch: str = "1", card: ModelCard | None = CARD) -> Path:
    """One convolution of four classes over 8x8 pixels, that opset 13 has; ``batch`` may be a name."""
    import onnx

    from espdeploy import export

    text = (
        f'<ir_version: 8, opset_import: ["" : 13]> net (float[{batch},3,8,8] x) => (float[{batch},4,8,8] y) '
        "{ [only] y = Conv <pads = [1,1,1,1]> (x, w) }"
    )
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    export.save(model, path, card)
    return path
