"""A bundle goes to a TX2, is built and timed there by trtexec 8.2.1 (a fake one), and its records come home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.boards import board, tiny_onnx
from tests.cli.conftest import Run

pytest.importorskip("onnx")

QUICK = ("--trials", 5, "--duration-s", 0, "--warmup-s", 0, "--warmup-max-s", 0)


def test_a_bundle_runs_through_trtexec_and_comes_home(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_onnx(tmp_path / "tiny.onnx")
    ran = run("bundle", network, "--device", "tx2", "--precision", "fp16", *QUICK, "-o", "tx2.tar", "--json")
    assert ran.code == 0, ran
    bundled = ran.document["sha256"]
    board(tmp_path, "tx2", "8.2.1", monkeypatch)
    ran = run("run-bundle", "tx2.tar", "--json")
    assert ran.code == 0, ran
    done = ran.document
    assert (done["runtime"], done["runtime_version"], done["precision"]) == ("trtexec", "8.2.1", "fp16")
    assert done["latency_ms"] == pytest.approx(10.02, abs=0.05)  # what the fake tool's rows say
    monkeypatch.delenv("ESPDEPLOY_SYSTEM_ROOT")
    ran = run("import", "tx2.results.tar", "--results", "home", "--json")
    assert ran.code == 0, ran
    assert ran.document["bundle_sha256"] == bundled
    record = json.loads(Path(ran.document["records"][0]["file"]).read_text())
    assert (record["device"]["name"], record["model"]["name"]) == ("tx2", "tiny")
    assert record["engine"]["runtime_version"] == "8.2.1"
    passport = json.loads(Path(ran.document["passports"][0]).read_text())
    assert passport["sha256"] == record["engine"]["sha256"]
    assert {"--fp16", "--buildOnly"} <= set(passport["flags"])
    assert passport["card"]["name"] == "tiny"
