from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espdeploy import recipes
from espdeploy.devices.clocks import ClockSession, clock_session


@pytest.fixture(scope="session")
def boards() -> ModuleType:
    """The module boards.py, loaded from its file since tests are no package."""
    spec = importlib.util.spec_from_file_location("clock_boards", Path(__file__).with_name("boards.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class Board:
    """A TX2 in MAXP_CORE_ARM: its root, and a journal that lies elsewhere."""

    gpu = "sys/devices/17000000.gp10b/devfreq/17000000.gp10b"

    def __init__(self, root: Path, journal: Path, boards: ModuleType) -> None:
        self.root = root
        self.journal = journal
        self.profile = recipes.device_profile("tx2")
        self.tools = boards.make_tx2(root)
        self._boards = boards

    def state(self) -> dict[str, str]:
        """All that clocks and power mode are."""
        found: dict[str, str] = self._boards.state(self.root)
        return found

    def session(self, **options: Any) -> AbstractContextManager[ClockSession]:
        """A session over this board."""
        return clock_session(self.profile, root=self.root, **{"journal": self.journal, **options})

    def limits(self) -> tuple[int, int]:
        """The GPU's, in Hz."""
        return int(self.text("min_freq")), int(self.text("max_freq"))

    def text(self, name: str) -> str:
        """Of a file of the GPU's."""
        return self.path(name).read_text().strip()

    def path(self, name: str) -> Path:
        """Of a file of the GPU's."""
        return self.root / self.gpu / name

    def journals(self) -> list[Path]:
        """What is written down now: one file, or none."""
        return list(self.journal.glob("clocks-*.json"))


@pytest.fixture
def tx2(boards: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A TX2 whose nvpmodel is first on PATH."""
    board = Board(tmp_path / "tx2", tmp_path / "journal", boards)
    monkeypatch.setenv("PATH", f"{board.tools}{os.pathsep}{os.environ['PATH']}")
    return board
