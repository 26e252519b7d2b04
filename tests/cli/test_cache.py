"""`espdeploy cache`: what is kept and what it is, and that making room takes nothing else."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espdeploy.pipeline.building.build_lock import building, lock_path
from espdeploy.pipeline.engine_files.passport import Passport, write_passport
from espdeploy.protocols import no_progress
from tests.cli.conftest import Run, assert_contract_error

DAY_S = 86_400
DIGEST = "0123456789abcdef"
PASSPORT = Passport(
    schema=1,
    sha256="0" * 64,
    onnx="net.onnx",
    onnx_sha256="1" * 64,
    device="tx2",
    runtime="trtexec",
    runtime_version="8.2.1",
    precision="fp16",
    precision_share_pct=None,
    cpu=None,
    built="2026-01-02T03:04:05+00:00",
    build_s=1.0,
    espdeploy_version="0.1.0",
)
#: takes the lock of an engine and begins to write it, as a build does, and never ends
STUCK = """
import sys, time
from pathlib import Path
from espdeploy.artifacts import atomic_path
from espdeploy.pipeline.building.build_lock import building
engine = Path(sys.argv[1])
with building(engine, lambda *_: None), atomic_path(engine) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def age(path: Path, days: float) -> Path:
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))
    return path


def engine(cache: Path, name: str, *, size: int = 1_000_000, days: float = 0) -> Path:
    """An engine with its passport."""
    path = cache / f"{name}.{DIGEST}.engine"
    path.write_bytes(b"x" * size)
    write_passport(dataclasses.replace(PASSPORT, onnx=f"{name}.onnx"), path)
    age(path.with_name(f"{path.name}.json"), days)
    return age(path, days)


def names(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if not path.is_dir())


def test_an_empty_cache_is_no_error(run: Run) -> None:
    ran = run("cache", "list", "--json")
    assert (ran.code, ran.document["entries"], ran.document["total_mb"]) == (0, [], 0)
    assert run("cache", "prune", "--all").code == 0
    assert "0 entries" in run("cache", "list").out


def test_what_build_and_bench_keep_is_listed_for_what_it_is(run: Run, small_onnx: Path) -> None:
    pytest.importorskip("onnxruntime")
    built = run("build", small_onnx, "--runtime", "onnxruntime", "--json").document
    small = ("--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48", "--runtime", "onnxruntime")
    quick = ("--trials", 3, "--duration-s", 0, "--warmup-s", 0, "--warmup-max-s", 0)
    assert run("bench", *small, *quick).code == 0
    document = run("cache", "list", "--json").document
    entries = {entry["kind"]: entry for entry in document["entries"]}
    assert set(entries) == {"engine", "graph"}
    kept = entries["engine"]
    assert (kept["device"], kept["precision"], kept["runtime"], kept["onnx"]) == (
        "cpu",
        "fp32",
        "onnxruntime",
        "small.onnx",
    )
    assert kept["files"] == [built["engine"], built["engine"] + ".json"]
    assert kept["size_mb"] == pytest.approx(sum(Path(path).stat().st_size for path in kept["files"]) / 1e6)
    assert document["total_mb"] == pytest.approx(sum(entry["size_mb"] for entry in document["entries"]))
    shown = run("cache", "list").out
    assert "small.onnx in fp32 for cpu, onnxruntime" in shown
    assert "an exported network" in shown
    # what was pruned is built anew, and what stays is found again
    assert run("cache", "prune", "--all").code == 0
    assert run("cache", "list", "--json").document["entries"] == []
    assert run("build", small_onnx, "--runtime", "onnxruntime", "--json").document["cache"] == "built"
    assert run("cache", "prune", "--older-than", "1d").code == 0
    assert run("build", small_onnx, "--runtime", "onnxruntime", "--json").document["cache"] == "hit"


def test_old_engines_go_with_their_passports(run: Run, cache: Path) -> None:
    engine(cache, "old", days=40)
    new = engine(cache, "new", days=20)
    ran = run("cache", "prune", "--older-than", "30d", "--json")
    assert ran.code == 0, ran
    assert [entry["name"] for entry in ran.document["removed"]] == [f"old.{DIGEST}.engine"]
    assert ran.document["freed_mb"] == pytest.approx(1.0, abs=0.01)
    assert ran.document["left_mb"] == pytest.approx(1.0, abs=0.01)
    assert names(cache) == [new.name, f"{new.name}.json"]


@pytest.mark.parametrize(("keep_mb", "left"), [(10, "abc"), (3.5, "abc"), (2.5, "bc"), (1.5, "c"), (0.5, ""), (0, "")])
def test_the_oldest_go_until_so_much_is_left(run: Run, cache: Path, keep_mb: float, left: str) -> None:
    for days, name in ((3, "a"), (2, "b"), (1, "c")):
        engine(cache, name, days=days)
    document = run("cache", "prune", "--keep-mb", keep_mb, "--json").document
    assert {name[0] for name in names(cache)} == set(left)
    assert document["left_mb"] <= keep_mb


def test_a_dry_run_says_the_same_and_removes_nothing(run: Run, cache: Path) -> None:
    engine(cache, "old", days=40)
    before = names(cache)
    dry = run("cache", "prune", "--all", "--dry-run", "--json").document
    assert dry["dry_run"] is True
    assert names(cache) == before
    assert "would free 1.00 MB" in run("cache", "prune", "--all", "--dry-run").out
    real = run("cache", "prune", "--all", "--json").document
    assert real["freed_mb"] == dry["freed_mb"]
    assert names(cache) == []


def test_nothing_that_is_not_the_caches_own_is_touched(run: Run, cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = engine(outside, "target", days=99)
    (cache / f"link.{DIGEST}.engine").symlink_to(target)
    (cache / f"nowhere.{DIGEST}.engine").symlink_to(tmp_path / "missing")
    (cache / "weights").mkdir()
    (cache / f"folder.{DIGEST}.engine").mkdir()
    foreign = [
        "notes.txt",
        "net.onnx",
        "mine.engine",
        "mine.engine.json",
        f"net.{DIGEST}.txt",
        f"net.{DIGEST}0.engine",
        ".hidden",
        ".net.onnx.0a1b2c3d.part.onnx",
        f"folder.{DIGEST}.engine/x.{DIGEST}.engine",
        "weights/mine.pth",
        f"weights/x.{DIGEST}.engine",
    ]
    for name in foreign:
        age(cache / name, 0) if (cache / name).exists() else (cache / name).write_text("mine")
        age(cache / name, 99)
    before = names(cache)
    engine(cache, "ours", days=99)
    document = run("cache", "prune", "--all", "--json").document
    assert [entry["name"] for entry in document["removed"]] == [f"ours.{DIGEST}.engine"]
    assert names(cache) == before
    assert target.exists()
    listed = run("cache", "list")
    assert "0 entries" in listed.out
    assert "not espdeploy's" in listed.err


def test_names_with_dots_and_digests_keep_their_own_files(run: Run, cache: Path) -> None:
    first = engine(cache, f"net.{DIGEST}.onnx", days=5)
    (cache / f"net.{DIGEST}.onnx").write_bytes(b"graph")
    entries = {entry["name"]: entry for entry in run("cache", "list", "--json").document["entries"]}
    assert {name: entry["kind"] for name, entry in entries.items()} == {
        first.name: "engine",
        f"net.{DIGEST}.onnx": "graph",
    }
    assert run("cache", "prune", "--older-than", "1d").code == 0
    assert names(cache) == [f"net.{DIGEST}.onnx"]


def test_what_a_killed_build_leaves_is_removed_and_a_running_one_is_not_disturbed(run: Run, cache: Path) -> None:
    final = cache / f"net.{DIGEST}.engine"
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(final)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout, process:
        try:
            assert process.stdout.readline() == "writing\n"
            before = names(cache)
            assert len(before) == 2  # the lock, and half an engine
            ran = run("cache", "prune", "--all", "--json")
            assert ran.document["removed"] == []
            assert f"process {process.pid}" in ran.document["busy"][0]["busy"]
            assert names(cache) == before
            assert f"process {process.pid} is building it" in run("cache", "list").out
        finally:
            process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert names(cache) == before
    document = run("cache", "prune", "--json").document
    assert [entry["kind"] for entry in document["removed"]] == ["leftover"]
    assert names(cache) == []


def test_half_a_graph_goes_once_nobody_can_be_writing_it(run: Run, cache: Path) -> None:
    part = cache / f".net.{DIGEST}.onnx.0a1b2c3d.part.onnx"
    part.write_bytes(b"half")
    ran = run("cache", "prune")
    assert "stays" in ran.err
    assert part.exists()
    age(part, 1)
    assert run("cache", "prune", "--json").document["removed"][0]["kind"] == "leftover"
    assert names(cache) == []


def test_an_engine_that_is_being_built_anew_stays(run: Run, cache: Path) -> None:
    path = engine(cache, "net", days=99)
    with building(path, no_progress):
        assert run("cache", "prune", "--all", "--json").document["removed"] == []
    assert path.exists()
    assert not lock_path(path).exists()
    assert len(run("cache", "prune", "--all", "--json").document["removed"]) == 1


def test_a_passport_without_its_engine_is_a_leftover(run: Run, cache: Path) -> None:
    engine(cache, "net").unlink()
    engine(cache, "other")
    document = run("cache", "prune", "--json").document
    assert [entry["kind"] for entry in document["removed"]] == ["leftover"]
    assert names(cache) == [f"other.{DIGEST}.engine", f"other.{DIGEST}.engine.json"]


def test_a_damaged_passport_does_not_end_the_list(run: Run, cache: Path) -> None:
    for index, content in enumerate((b"", b"\xff", b'{"schema": 99}', b'{"schema": 1, "x": ' + b"[" * 9999)):
        path = engine(cache, f"net{index}")
        path.with_name(f"{path.name}.json").write_bytes(content)
    ran = run("cache", "list", "--json")
    assert ran.code == 0, ran
    assert {entry["what"] for entry in ran.document["entries"]} == {"its passport is damaged, or newer"}


def test_fetched_weights_and_half_downloads_are_listed(run: Run, cache: Path) -> None:
    weights = cache / "weights"
    weights.mkdir()
    (weights / "espnet_p_2_q_3.pth").write_bytes(b"x" * 2000)
    age(weights / "espnet_p_2_q_3.pth", 3)
    (weights / ".espnet_p_2_q_8.pth.part").write_bytes(b"x" * 1000)
    (weights / ".espnet_p_2_q_8.pth.part.json").write_text("{}")
    entries = {entry["kind"]: entry for entry in run("cache", "list", "--json").document["entries"]}
    assert set(entries) == {"weights", "download"}
    assert entries["weights"]["size_mb"] == pytest.approx(0.002)
    assert run("cache", "prune").code == 0  # a download goes on where it ended: it is no leftover
    assert len(names(cache)) == 3
    ran = run("cache", "prune", "--all")
    assert "still coming" in ran.err
    assert names(cache) == ["weights/.espnet_p_2_q_8.pth.part", "weights/.espnet_p_2_q_8.pth.part.json"]
    for name in names(cache):
        age(cache / name, 3)
    assert run("cache", "prune", "--all").code == 0
    assert names(cache) == []


@pytest.mark.parametrize("text", ["30", "d", "-1d", "30 days", "1e9d", "nan", "99999999d", "5y"])
def test_an_age_that_is_none_is_refused_before_anything_goes(run: Run, cache: Path, text: str) -> None:
    engine(cache, "old", days=400)
    assert_contract_error(run("cache", "prune", f"--older-than={text}"), 2, "--older-than", "30d")
    assert len(names(cache)) == 2


@pytest.mark.parametrize(
    "options", [["--keep-mb", "-1"], ["--keep-mb", "nan"], ["--all", "--keep-mb", "5"], ["--everything"]]
)
def test_impossible_requests_remove_nothing(run: Run, cache: Path, options: list[str]) -> None:
    engine(cache, "old", days=400)
    assert run("cache", "prune", *options).code == 2
    assert len(names(cache)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_a_folder_without_permission_is_told(run: Run, cache: Path) -> None:
    engine(cache, "old", days=40)
    cache.chmod(0o500)
    try:
        assert_contract_error(run("cache", "prune", "--all"), 3, "could not be removed")
    finally:
        cache.chmod(0o700)


def test_the_group_alone_shows_its_help(run: Run) -> None:
    ran = run("cache")
    assert ran.code == 0
    assert "prune" in ran.out
