"""The command line as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, in an empty folder, with a cache of its own."""
    from espdeploy.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPDEPLOY_CACHE", str(tmp_path / "cache"))

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(item) for item in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


def start(arguments: Sequence[object], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own, for signals and for what a fresh interpreter imports."""
    return subprocess.Popen(
        [sys.executable, "-m", "espdeploy", *(str(item) for item in arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ESPDEPLOY_CACHE": str(folder / "cache"), **environment},
    )


def assert_contract_error(ran: Ran, code: int, *told: str) -> None:
    """The contract's form: at most five lines on standard error, what happened first, and what to do."""
    assert ran.code == code, ran
    lines = ran.err.strip().splitlines()
    errors = [line for line in lines if line.startswith(("error: ", "why: ", "do: "))]
    assert errors, ran
    assert errors[0].startswith("error: "), ran
    assert len(errors) <= 5
    assert "Traceback" not in ran.err
    text = "\n".join(errors)
    for part in told:
        assert part in text, (part, text)


@pytest.fixture(scope="session")
def small_onnx(once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESPNet with two classes at 64x48, exported once by the command itself."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")

    def write(path: Path) -> None:
        command = ["export", "--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48", "-o", "small.onnx"]
        process = start(command, path.parent)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        (path.parent / "small.onnx").replace(path)

    folder = tmp_path_factory.mktemp("small")
    return Path(shutil.copy(once("exported-small.onnx", write), folder / "small.onnx"))
