"""`espdeploy doctor engine` on this machine: whether an engine runs here, and files and passports that are damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, assert_contract_error
from tests.cli.engines import PLAN, TX2, written

CONTRACT = {"name", "ok", "found", "hint", "expected", "required"}


@pytest.fixture
def built(run: Run, small_onnx: Path) -> Path:
    """A real engine for this processor."""
    ran = run("build", small_onnx, "-o", "e.onnx", "--runtime", "onnxruntime")
    assert ran.code == 0, ran
    return Path("e.onnx").resolve()


def test_an_engine_that_was_built_here_runs_here(run: Run, built: Path) -> None:
    ran = run("doctor", "engine", built, "--json")
    assert ran.code == 0, ran
    checks = {check["name"]: check for check in ran.document["checks"]}
    assert all(set(check) >= CONTRACT for check in checks.values())
    assert {"file", "runtime", "onnxruntime release", "device", "CPU", "espdeploy", "ONNX"} <= set(checks)
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert ran.document["runs"] is True
    shown = run("doctor", "engine", built)
    assert shown.code == 0
    assert "runs here" in shown.out
    assert len(shown.out.splitlines()) <= 24


def test_json_before_the_word_engine_counts_too(run: Run, built: Path) -> None:
    assert run("doctor", "--json", "engine", built).document == run("doctor", "engine", built, "--json").document


def test_doctor_alone_is_as_it_was(run: Run) -> None:
    names = {check["name"] for check in run("doctor", "--json").document["checks"]}
    assert {"Python", "engine cache"} <= names
    assert_contract_error(run("doctor", "--device", "tx2", "engine", "x"), 2, "--device tx2")
    assert_contract_error(run("doctor", "engin"), 2, "engin")


def test_an_engine_of_another_processor_and_release_runs_but_its_timings_do_not_hold(run: Run, built: Path) -> None:
    passport = json.loads(Path(f"{built}.json").read_text())
    passport |= {"cpu": "Some Other CPU", "runtime_version": "1.0.0", "espdeploy_version": "0.0.1"}
    Path(f"{built}.json").write_text(json.dumps(passport))
    ran = run("doctor", "engine", built, "--json")
    assert ran.code == 0, ran
    checks = {check["name"]: check for check in ran.document["checks"]}
    differing = {name: check["effect"] for name, check in checks.items() if not check["ok"]}
    assert differing == {"CPU": "timings", "onnxruntime release": "timings", "espdeploy": "harmless"}
    assert checks["CPU"]["expected"] == "Some Other CPU"
    assert "timings" in run("doctor", "engine", built).out


def test_a_graph_that_changed_since_is_told(run: Run, small_onnx: Path, built: Path) -> None:
    shutil.copyfile(small_onnx, built.with_name("small.onnx"))
    checks = {check["name"]: check for check in run("doctor", "engine", built, "--json").document["checks"]}
    assert checks["ONNX"]["status"] == "ok"
    assert "the same" in checks["ONNX"]["found"]
    with built.with_name("small.onnx").open("ab") as stream:
        stream.write(b"\x0a\x00")
    ran = run("doctor", "engine", built, "--json")
    assert ran.code == 0
    checks = {check["name"]: check for check in ran.document["checks"]}
    assert checks["ONNX"]["status"] == "differs"
    assert "espdeploy build small.onnx" in checks["ONNX"]["hint"]


def test_a_plain_onnx_file_needs_no_passport(run: Run, small_onnx: Path) -> None:
    ran = run("doctor", "engine", small_onnx, "--json")
    assert ran.code == 0, ran
    assert ran.document["passport"] is None


def test_an_engine_of_a_board_does_not_run_here(run: Run, tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", TX2)
    ran = run("doctor", "engine", engine, "--json")
    assert ran.code == 1
    assert ran.document["runs"] is False
    checks = {check["name"]: check for check in ran.document["checks"]}
    assert checks["compute capability"]["required"]
    assert not checks["compute capability"]["ok"]
    assert checks["compute capability"]["expected"] == "6.2"
    shown = run("doctor", "engine", engine)
    assert (shown.code, shown.err) == (1, "")
    assert "does not run here" in shown.out


def test_an_engine_without_passport_may_not_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bare.engine").write_bytes(PLAN)
    ran = run("doctor", "engine", "bare.engine", "--json")
    assert ran.code == 1
    check = next(check for check in ran.document["checks"] if check["name"] == "passport")
    assert (check["status"], check["required"]) == ("unknown", True)
    assert "espdeploy build" in check["hint"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PLAN[:-1], "not the engine that its passport describes"),
        (PLAN + b"\0", "not the engine that its passport describes"),
        (PLAN[:20], "cut short"),
        (b"", "neither"),
        (b"an engine", "neither"),
    ],
)
def test_a_file_that_changed_after_the_build_is_refused(run: Run, tmp_path: Path, content: bytes, told: str) -> None:
    engine = written(tmp_path / "net.engine", TX2)
    engine.write_bytes(content)
    assert_contract_error(run("doctor", "engine", engine), 2, told, "net.engine")
    assert run("doctor", "engine", engine, "--json").document["error"]["code"] == 2


def test_the_passport_of_another_engine_is_refused(run: Run, tmp_path: Path) -> None:
    written(tmp_path / "a.engine", TX2)
    engine = written(tmp_path / "b.engine", TX2, PLAN + b"another")
    shutil.copyfile("a.engine.json", "b.engine.json")
    assert_contract_error(run("doctor", "engine", engine), 2, "not the engine that its passport describes")


def test_a_foreign_prefix_is_named_with_the_way_to_take_it_off(run: Run, tmp_path: Path) -> None:
    metadata = json.dumps({"description": "a network", "stride": 32}).encode()
    (tmp_path / "y.engine").write_bytes(len(metadata).to_bytes(4, "little") + metadata + PLAN)
    ran = run("doctor", "engine", "y.engine")
    assert_contract_error(ran, 2, "metadata", f"tail -c +{5 + len(metadata)} y.engine")
    Path("stripped.engine").write_bytes(Path("y.engine").read_bytes()[4 + len(metadata) :])
    assert run("doctor", "engine", "stripped.engine").code == 1  # an engine now, without passport
    assert Path("stripped.engine").read_bytes() == PLAN


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text.replace(b'"schema": 1', b'"schema": 2'), "newer espdeploy"),
        (lambda text: text.replace(b'"schema": 1', b'"schema": 7').replace(b'"build_s"', b'"renamed"'), "newer"),
        (lambda text: text.replace(b'"schema": 1', b'"schema": 0'), "not a readable passport"),
        (lambda text: text[: len(text) // 2], "not a readable passport"),
        (lambda _: b"", "not a readable passport"),
        (lambda _: b"[]", "not a readable passport"),
        (lambda text: text.replace(b"net.onnx", b"\xff\xfe"), "not a readable passport"),
        (
            lambda text: text.replace(b'"schema"', b'"x": ' + b"[" * 9999 + b"]" * 9999 + b', "schema"'),
            "not a readable",
        ),
    ],
)
def test_a_damaged_passport_ends_with_2(run: Run, tmp_path: Path, damage: Any, told: str) -> None:
    engine = written(tmp_path / "net.engine", TX2)
    path = Path(f"{engine}.json")
    path.write_bytes(damage(path.read_bytes()))
    assert_contract_error(run("doctor", "engine", engine), 2, told, "net.engine.json")


def test_what_is_no_file_is_refused(run: Run, tmp_path: Path) -> None:
    assert_contract_error(run("doctor", "engine", "missing.engine"), 2, "missing.engine does not exist")
    assert_contract_error(run("doctor", "engine", tmp_path), 2, "is not a file")
    assert_contract_error(run("doctor", "engine", "/dev/null"), 2, "is not a file")
