"""Two measurements on one machine: the second waits, says for whom, and can be stopped at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from espdeploy.pipeline.measuring.alone import alone
from espdeploy.protocols import no_progress
from tests.cli.boards import tiny_onnx
from tests.cli.conftest import Run, start

QUICK = ("--runtime", "onnxruntime", "--trials", "3", "--duration-s", "0", "--warmup-s", "0", "--idle-s", "0")


def until_it_waits(running: subprocess.Popen[str]) -> str:
    """The line that says so; a command that never says it is ended by the timer."""
    assert running.stderr is not None
    with_limit = threading.Timer(60, running.kill)
    with_limit.start()
    line = next((line for line in running.stderr if line.startswith("waiting for")), "")
    with_limit.cancel()
    return line


def test_the_second_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_onnx(tmp_path / "net.onnx")
    monkeypatch.setenv("ESPDEPLOY_STATE", str(tmp_path / "state"))
    with alone("espdeploy bench --set a=1, --trials 9", no_progress) as doubts:
        assert doubts == ()
        stopped = start(("bench", "net.onnx", *QUICK), tmp_path)
        told = until_it_waits(stopped)
        assert f"process {os.getpid()} " in told
        assert "--trials 9" in told
        stopped.send_signal(signal.SIGINT)
        stopped.communicate(timeout=20)
        assert stopped.returncode == 130
        waiting = start(("bench", "net.onnx", *QUICK, "--json"), tmp_path)
        assert until_it_waits(waiting) == told  # the one that gave up has altered nothing
        assert not list((tmp_path / "results").glob("*.json"))
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    assert "not_alone" not in [finding["code"] for finding in json.loads(out)["findings"]]


def test_where_no_lock_can_be_had_the_record_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_onnx(tmp_path / "net.onnx")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ESPDEPLOY_STATE", str(tmp_path / "file"))
    done = run("bench", "net.onnx", *QUICK, "--json")
    assert done.code == 0, done.err
    (finding,) = [item for item in done.document["findings"] if item["code"] == "not_alone"]
    assert finding["severity"] == "warning"
    assert "ESPDEPLOY_STATE" in finding["do"]
