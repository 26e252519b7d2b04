"""`espdeploy sweep`: what is done is skipped, a failure costs its cell, and workers that die cost theirs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.boards import tiny_onnx
from tests.cli.conftest import Run, assert_contract_error

RUN = "[run]\ntrials = 3\nduration_s = {duration_s}\nwarmup_s = 0.0\nwarmup_max_s = 0.1\nidle_s = 0.0\n"


def suite(folder: Path, names: list[str], *, duration_s: float = 0.0) -> Path:
    for name in names:
        tiny_onnx(folder / name)
    path = folder / "mine.toml"
    models = ", ".join(f'"{folder / name}"' for name in names)
    path.write_text(
        f'name = "mine"\ndescription = "d"\n{RUN.format(duration_s=duration_s)}'
        f'[[matrix]]\ndevices = ["cpu"]\nmodels = [{models}]\nruntimes = ["onnxruntime"]\n'
    )
    return path


def states(run: Run, path: Path) -> list[bool]:
    return [cell["done"] for cell in run("sweep", path, "--dry-run", "--json").document["cells"]]


def test_a_sweep_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    path = suite(tmp_path, ["a.onnx", "b.onnx", "c.onnx"])
    first = run("sweep", path, "--only", "b.onnx", "--json")
    assert first.code == 0, first.err
    assert [cell["state"] for cell in first.document["cells"]] == ["measured"]
    assert states(run, path) == [False, True, False]
    (tmp_path / "c.onnx").unlink()
    second = run("sweep", path, "--json")
    assert second.code == 2  # the missing file's own code
    assert [cell["state"] for cell in second.document["cells"]] == ["measured", "found", "failed"]
    assert "does not exist" in second.document["cells"][2]["error"]["what"]
    assert second.document["cells"][1]["records"] == first.document["cells"][0]["records"]
    tiny_onnx(tmp_path / "c.onnx")
    third = run("sweep", path, "--json")
    assert third.code == 0
    assert [cell["state"] for cell in third.document["cells"]] == ["found", "found", "measured"]
    assert len(list((tmp_path / "results").glob("*.json"))) == 3


def test_a_file_that_has_changed_is_measured_anew(run: Run, tmp_path: Path) -> None:
    path = suite(tmp_path, ["a.onnx", "b.onnx"])
    assert run("sweep", path).code == 0
    tiny_onnx(tmp_path / "a.onnx", card=None)
    assert states(run, path) == [False, True]
    os.utime(tmp_path / "b.onnx", (0, 0))  # another time is no other content
    assert states(run, path) == [False, True]
    tiny_onnx(tmp_path / "a.onnx")
    assert states(run, path) == [True, True]


def test_paths_start_at_the_suite_s_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    path = suite(tmp_path / "deep", ["a.onnx", "b.onnx"])
    path.write_text(path.read_text().replace(f"{tmp_path / 'deep'}/", ""))
    (tmp_path / "deep/b.onnx").rename(tmp_path / "b.onnx")  # in the current folder, and not looked for there
    done = run("sweep", "deep/mine.toml", "--json")
    assert done.code == 2
    measured, failed = done.document["cells"]
    assert (measured["state"], failed["state"]) == ("measured", "failed")
    assert failed["error"]["what"] == "deep/b.onnx does not exist"
    assert "the suite's file" in failed["error"]["why"]
    monkeypatch.chdir(tmp_path / "deep")
    moved = run("sweep", "mine.toml", "--dry-run", "--results", tmp_path / "results", "--json").document
    assert [cell["done"] for cell in moved["cells"]] == [True, False]


def test_a_sweep_without_a_name_lists_the_suites(run: Run) -> None:
    listed = run("sweep", "--json")
    assert {"espnet-tx2", "espnetv2-power"} <= {item["name"] for item in listed.document}
    unknown = run("sweep", "espnet-tx1")
    assert unknown.code == 2
    assert "espnet-tx2" in unknown.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path, *, leave_bytes: int) -> None:
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(1024)):
            pass
    os.truncate(path, path.stat().st_size - leave_bytes)


def test_a_full_disk_ends_the_sweep_and_costs_no_record(
    run: Run, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite(tmp_path, ["a.onnx", "b.onnx"])
    path.write_text(path.read_text().replace("trials = 3", "trials = 300"))  # 300 raw times are more than a page
    results, temporary = small_disk / "results", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    fill(small_disk / "other", leave_bytes=4096)  # there is room for a first look, and for no record
    stopped = run("sweep", path, "--results", results)
    assert_contract_error(stopped, 3, "No space left on device")
    assert not list(results.iterdir())
    (rescued,) = temporary.glob("espdeploy-rescued-*/*.json")
    command = stopped.err.partition("do: make room, then: ")[2].strip()
    assert str(rescued) in command
    (small_disk / "other").unlink()
    subprocess.run(["sh", "-c", command], check=True)
    done = run("sweep", path, "--results", results, "--json")
    assert [cell["state"] for cell in done.document["cells"]] == ["found", "measured"]


def test_a_record_that_no_folder_takes_is_on_standard_output(
    run: Run, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_onnx(tmp_path / "a.onnx")
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    fill(small_disk / "other", leave_bytes=4096)
    quick = ("--runtime", "onnxruntime", "--trials", "300", "--duration-s", "0", "--warmup-s", "0", "--idle-s", "0")
    done = run("bench", "a.onnx", *quick, "--results", small_disk / "results", "--json")
    assert_contract_error(done, 3, "No space left on device", "make room")
    assert (done.document["trials"], len(done.document["traces"]["latency_ms"]["values"])) == (300, 300)
    assert {path.name for path in small_disk.iterdir()} == {"other", "results"}


def test_no_scheduler_is_told_as_that(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    path = suite(tmp_path, ["a.onnx"])
    refused = run("sweep", path, "--scheduler", "nonsense://nowhere")
    assert refused.code == 3
    assert "no scheduler answers" in refused.err


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers of this machine's processor, each a process of its own."""
    dask = shutil.which("dask", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if dask is None:
        pytest.skip("distributed is not installed")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, "ESPDEPLOY_CACHE": str(folder / "there"), "ESPDEPLOY_STATE": str(folder / "state")}
    log = (folder / "dask.log").open("wb")

    def started(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [dask, *arguments, "--no-dashboard"], stdout=log, stderr=log, env=environment, cwd=folder
        )

    running = [started("scheduler", "--host", "127.0.0.1", "--port", str(port))]
    own = ("--nthreads", "1", "--no-nanny", "--resources", "cpu=1", "--local-directory", str(folder / "dask"))
    running += [started("worker", address, *own) for _ in range(workers)]
    try:
        yield address, running[1:]
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
        log.close()


def test_a_worker_that_dies_costs_its_cell_only_and_another_takes_it(run: Run, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    path = suite(tmp_path, [f"{letter}.onnx" for letter in "abcd"], duration_s=0.8)
    with cluster(tmp_path, 3) as (address, workers):
        with distributed.Client(address, timeout=30) as client:
            client.wait_for_workers(3, timeout=60)
        # the second file's record is there: two workers wait for their turn on this machine, one measures
        killer = subprocess.Popen(
            [sys.executable, "-c", _KILLER, str(workers[0].pid), str(tmp_path / "results")], stdout=subprocess.DEVNULL
        )
        done = run("sweep", path, "--scheduler", address, "--json")
        killer.wait(60)
        assert workers[0].wait(10) == -signal.SIGKILL
    assert done.code == 0, done.err
    assert [cell["state"] for cell in done.document["cells"]] == ["measured"] * 4
    records = [name for cell in done.document["cells"] for name in cell["records"]]
    assert len(set(records)) == 4
    assert states(run, path) == [True] * 4


_KILLER = """
import glob, os, signal, sys, time
while not glob.glob(sys.argv[2] + "/*.json"):
    time.sleep(0.05)
time.sleep(0.3)
os.kill(int(sys.argv[1]), signal.SIGKILL)
"""


def test_a_device_that_no_worker_has_is_told_at_once(run: Run, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    path = suite(tmp_path, ["a.onnx"])
    path.write_text(path.read_text().replace('["cpu"]', '["tx2"]').replace('runtimes = ["onnxruntime"]\n', ""))
    with cluster(tmp_path, 1) as (address, _):
        with distributed.Client(address, timeout=30) as client:
            client.wait_for_workers(1, timeout=60)
        started_s = time.monotonic()
        refused = run("sweep", path, "--scheduler", address)
        assert time.monotonic() - started_s < 60
    assert refused.code == 3
    assert "no worker of the cluster has tx2" in refused.err
    assert 'resources "tx2=1"' in refused.err
