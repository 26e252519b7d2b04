"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
