"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# No test fails for being slow, and CI draws the same examples every time; elsewhere new ones are looked for.
settings.register_profile(
    "espdeploy",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("espdeploy")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the public checkpoints and images (README of the data: layout and licences)."""
    named = os.environ.get("ESPDEPLOY_DATA")
    if not named:
        pytest.skip("ESPDEPLOY_DATA is not set: the public checkpoints and images are not here")
    path = Path(named)
    if not (path / "weights").is_dir():
        pytest.skip(f"ESPDEPLOY_DATA={named} has no weights/")
    return path


@pytest.fixture(scope="session")
def example_records() -> ModuleType:
    """Made-up records: the module tests/example_records.py, loaded from its file since tests are no package."""
    spec = importlib.util.spec_from_file_location("example_records", Path(__file__).with_name("example_records.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
