"""Timing and profile runs through fake tools of every release, read back by the readers that users get."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from espdeploy.backends.trtexec.build import build
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.plan import BuildPlan, ProfilePlan, TimePlan
from espdeploy.backends.trtexec.timing import profile_engine, time_engine
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed, UsageError
from espdeploy.profilers.trtexec.layer_info import read_layer_info
from espdeploy.profilers.trtexec.layer_profile import read_profile
from espdeploy.profilers.trtexec.log import read_log
from espdeploy.profilers.trtexec.times import read_times, summed_up

RELEASES = ("8.2.1", "8.5.2", "8.6.1", "10.3.0", "11.1.0", "rtx-1.7.1")
ToolOf = Callable[[str], Tool]
Built = Callable[[str], tuple[Tool, TimePlan]]


@pytest.fixture
def built(tool: ToolOf, tmp_path: Path, onnx: Path) -> Built:
    """An engine of a release, and a plan to time it."""

    def make(release: str) -> tuple[Tool, TimePlan]:
        there = tool(release)
        engine = tmp_path / f"{release}.engine"
        build(
            there,
            BuildPlan(onnx=onnx, engine=engine, precision="fp16", workspace_mb=1024, typed_graph=there.typed),
        )
        plan = TimePlan(
            engine=engine,
            times_json=tmp_path / "times.json",
            warmup_ms=200,
            duration_s=1,
            iterations=20,
            cuda_graph=True,
            spin_wait=True,
            transfers=True,
        )
        return there, plan

    return make


@pytest.mark.parametrize("release", RELEASES)
def test_rows_and_summary_agree_once_the_warm_up_is_left_out(built: Built, release: str) -> None:
    """An inference takes 10 ms, and 30 ms while it warms up: one row too many would show."""
    there, plan = built(release)
    told: list[str] = []
    done = time_engine(there, plan, lambda _done, _total, text: told.append(text))
    (run,) = read_log(done.output.splitlines()).runs
    times = read_times(io.StringIO(plan.times_json.read_text()), warmup_ms=plan.warmup_ms)
    rows = summed_up(times.gpu_compute_ms)
    assert rows is not None
    assert rows.max_ms is not None
    assert rows.max_ms < 11
    assert run.gpu_compute is not None
    assert rows.document() == pytest.approx(run.gpu_compute.document(), rel=1e-5)
    assert run.queries == times.gpu_compute_ms.size == 100
    assert times.warmup_dropped == (7 if there.version < (8, 5) and not there.is_rtx else 0)
    assert run.latency is not None
    assert run.latency.median_ms == pytest.approx(rows.median_ms + 0.375, rel=1e-5)  # with both transfers
    assert run.version == there.version
    assert run.passed
    assert times.enqueue_ratio == pytest.approx(0.05, rel=0.01)
    assert told[-1] == "reading its figures"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("cuda_graph", "spin_wait", "transfers"), [(True, True, True), (False, False, False), (True, False, True)]
)
def test_every_release_runs_as_it_was_asked(
    built: Built, release: str, cuda_graph: bool, spin_wait: bool, transfers: bool
) -> None:
    """The same plan means the same run, whatever a release does of its own accord: the tool itself says what it did."""
    there, plan = built(release)
    done = time_engine(there, replace(plan, cuda_graph=cuda_graph, spin_wait=spin_wait, transfers=transfers))
    (run,) = read_log(done.output.splitlines()).runs
    on = {True: "Enabled", False: "Disabled"}
    graph = run.settings["RTX CUDA Graph Strategy"] == "True" if there.is_rtx else None
    assert (on[graph] if graph is not None else run.settings["CUDA Graph"]) == on[cuda_graph]
    assert run.settings["Spin-wait"] == on[spin_wait]
    assert run.settings["Data transfers"] == on[transfers]


@pytest.mark.parametrize("release", RELEASES)
def test_a_profile_run_gives_layers_with_times_and_precisions(built: Built, tmp_path: Path, release: str) -> None:
    there, plan = built(release)
    asked = ProfilePlan(
        engine=plan.engine, profile_json=tmp_path / "profile.json", layer_info=tmp_path / "layers.json", duration_s=1
    )
    done = profile_engine(there, asked)
    (run,) = read_log(done.output.splitlines()).runs
    profile = read_profile(io.StringIO(asked.profile_json.read_text()))
    assert run.profile is not None
    assert profile.iterations == run.profile.iterations == 100
    assert profile.total_mean_ms == pytest.approx(10.0)
    named = [(layer.name, layer.mean_ms) for layer in profile.layers]
    assert named == [(layer.name, layer.mean_ms) for layer in run.profile.layers]
    assert named[2] == ("PWN(level2_prelu, add [1])", 1.5)
    assert sum(layer.time_pct or 0 for layer in profile.layers) == pytest.approx(100)
    assert {
        layer.name for layer in read_layer_info(io.StringIO((tmp_path / "layers.json").read_text())).layers
    } == dict(named).keys()


def test_a_cuda_graph_that_the_tool_drops_is_an_error(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    there, plan = built("8.6.1")
    monkeypatch.setenv("FAKE_FAULT", "no-graph")
    with pytest.raises(MissingCapability, match="cannot be launched as a CUDA graph"):
        time_engine(there, plan)
    assert not plan.times_json.exists()
    time_engine(there, replace(plan, cuda_graph=False))


def test_a_tool_that_does_otherwise_than_asked_is_an_error(built: Built) -> None:
    """A release that is taken for one with other defaults: figures under a wrong name are worse than none."""
    there, plan = built("10.3.0")
    mistaken = replace(there, version=(11, 0, 0), options=frozenset())
    with pytest.raises(ToolFailed, match="cuda graph disabled, which was not asked for"):
        time_engine(mistaken, replace(plan, transfers=False))


@pytest.mark.parametrize("pair", [("8.2.1", "8.5.2"), ("8.6.1", "10.3.0"), ("10.3.0", "8.2.1"), ("11.1.0", "10.3.0")])
def test_an_engine_of_another_release(built: Built, tool: ToolOf, pair: tuple[str, str]) -> None:
    _, plan = built(pair[0])
    with pytest.raises(InputFileError, match="was built by another release than") as caught:
        time_engine(tool(pair[1]), plan)
    assert "format" in caught.value.why
    assert "build it again" in caught.value.do
    assert not plan.times_json.exists()


def test_an_engine_of_another_rtx_release(built: Built, tool: ToolOf) -> None:
    _, plan = built("10.3.0")
    with pytest.raises(InputFileError, match="another release") as caught:
        time_engine(tool("rtx-1.7.1"), plan)
    assert caught.value.why == "this is TensorRT-RTX 1.7.1.116, the engine is of 1.4.0.76"


@pytest.mark.parametrize("release", RELEASES)
def test_an_engine_of_another_gpu(built: Built, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    there, plan = built(release)
    monkeypatch.setenv("FAKE_COMPUTE", "5.3")
    with pytest.raises(InputFileError, match="was built for another GPU") as caught:
        time_engine(there, plan)
    assert "this GPU has 5.3" in caught.value.why


@pytest.mark.parametrize("release", RELEASES)
def test_engines_that_are_cut_off_or_begin_with_something_else(built: Built, release: str) -> None:
    there, plan = built(release)
    whole = plan.engine.read_bytes()
    prefix = json.dumps({"description": "a model"}).encode()
    for content in (whole[:-1000], b"", b"\x7fELF", len(prefix).to_bytes(4, "little") + prefix + whole):
        plan.engine.write_bytes(content)
        with pytest.raises(InputFileError, match="is no whole engine of this TensorRT") as caught:
            time_engine(there, plan)
        assert "build it again" in caught.value.do


def test_engines_that_are_not_there(built: Built, tmp_path: Path) -> None:
    there, plan = built("8.2.1")
    with pytest.raises(InputFileError, match="does not exist"):
        time_engine(there, replace(plan, engine=tmp_path / "gone.engine"))
    with pytest.raises(InputFileError, match="is not a file"):
        profile_engine(there, ProfilePlan(engine=tmp_path, profile_json=tmp_path / "p.json"))
    with pytest.raises(UsageError, match="is a folder"):
        time_engine(there, replace(plan, times_json=tmp_path))


def test_no_driver(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    there, plan = built("10.3.0")
    monkeypatch.setenv("FAKE_FAULT", "no-driver")
    with pytest.raises(MissingCapability, match="finds no GPU") as caught:
        time_engine(there, plan)
    assert "driver version is insufficient" in caught.value.why


def test_every_fake_release_is_tested(fake: ModuleType, tmp_path: Path) -> None:
    assert set(fake.RELEASES) == set(RELEASES)
    assert find("trtexec", fake.install(tmp_path, "8.2.1")).label == "trtexec 8.2.1"
