"""Fake tools of each release, found as the real ones are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.tool import TENSORRT_RTX, TRTEXEC, Tool


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "fakes/trtexec/install.py"
    spec = importlib.util.spec_from_file_location("fake_tools", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAKE = _load()


@pytest.fixture
def fake() -> ModuleType:
    """The module of the fake tools: ``install`` and ``RELEASES``."""
    return FAKE


@pytest.fixture(autouse=True)
def _no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAKE_FAULT", "FAKE_COMPUTE", "FAKE_SLEEP_S"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str], Tool]:
    """A tool of a release, such as ``8.2.1`` or ``rtx-1.7.1``."""

    def make(release: str) -> Tool:
        kind = TENSORRT_RTX if release.startswith("rtx-") else TRTEXEC
        return find(kind, FAKE.install(tmp_path / release, release))

    return make


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """A file that stands for a network; the fakes do not look into it."""
    path = tmp_path / "net.onnx"
    path.write_bytes(b"onnx")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A calibration cache of the algorithm that trtexec reads."""
    path = tmp_path / "net.cache"
    path.write_text("TRT-8201-EntropyCalibration2\ninput: 3c010a14\n")
    return path
