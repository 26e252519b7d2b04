"""Fixtures that every test may use."""

from __future__ import annotations

import fcntl
import gc
import importlib.util
import os
from collections.abc import Callable
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

# PyTorch's threads wait for each other by spinning: where every core has a worker of its own, that is half of the time.
# Before PyTorch is loaded, and for the commands in processes of their own too.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each worker's measurements wait for its own alone, and nothing of this machine's state is read or written."""
    os.environ["ESPDEPLOY_STATE"] = str(tmp_path_factory.mktemp("state"))


def pytest_collection_finish() -> None:
    """PyTorch and the tests themselves are a million objects, which each full collection would look through again."""
    gc.collect()
    gc.freeze()


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """``once(name, write)``: a file that all workers of a run share, written by the first that asks for it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"
    folder.mkdir(exist_ok=True)

    def call(name: str, write: Callable[[Path], object]) -> Path:
        path = folder / name
        with path.with_name(f"lock-{name}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait; one that dies lets go
            if not path.exists():
                part = path.with_name(f"part-{name}")
                write(part)
                part.replace(path)
        return path

    return call


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
