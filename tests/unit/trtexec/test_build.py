"""Builds through fake tools of every release: what is asked for, what is left behind, what each failure becomes."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from espdeploy.backends.trtexec import build as building
from espdeploy.backends.trtexec.build import build
from espdeploy.backends.trtexec.plan import BuildPlan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability, ToolFailed, UsageError
from espdeploy.profilers.trtexec.layer_info import read_layer_info

RELEASES = ("8.2.1", "8.5.2", "8.6.1", "10.3.0", "11.1.0", "rtx-1.7.1")
ToolOf = Callable[[str], Tool]


@pytest.fixture
def plan(tmp_path: Path, onnx: Path) -> BuildPlan:
    return BuildPlan(onnx=onnx, engine=tmp_path / "out/net.engine", precision="fp16", workspace_mb=1024)


def planned(tool: Tool, plan: BuildPlan) -> BuildPlan:
    return replace(plan, typed_graph=tool.typed)


def header(engine: Path) -> dict[str, object]:
    """What the fake engine says of how it was asked for."""
    read: dict[str, object] = json.loads(engine.read_bytes().partition(b"\n")[0])
    return read


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_builds_and_leaves_only_the_engine(tool: ToolOf, plan: BuildPlan, release: str) -> None:
    there = tool(release)
    told: list[tuple[int, int | None, str]] = []
    log = build(there, planned(there, plan), lambda *step: told.append(step))
    assert [path.name for path in plan.engine.parent.iterdir()] == ["net.engine"]
    assert header(plan.engine)["precision"] == ("typed" if there.typed else "fp16")
    assert f"--saveEngine={plan.engine}" in log.argv  # the command names the engine, not where it was written meanwhile
    assert log.build_s > 0
    assert log.layer_info_path is None
    assert [text for _, _, text in told][1:] == [
        "reading net.onnx", "choosing kernels", "putting the engine together", "saving net.engine",
    ]  # fmt: skip
    assert told[-1][:2] == (4, 4)


@pytest.mark.parametrize("release", ["8.2.1", "10.3.0"])
def test_a_warning_that_comes_often_is_told_once(tool: ToolOf, plan: BuildPlan, release: str) -> None:
    warnings = build(tool(release), plan).warnings
    if release == "8.2.1":
        assert len(warnings) == 1
        assert warnings[0].startswith("Your ONNX model has been generated with INT64 weights")
        assert warnings[0].endswith("(3 times)")
    else:
        assert warnings == ()


@pytest.mark.parametrize("release", RELEASES)
def test_the_layers_are_written_beside_and_say_their_precision(
    tool: ToolOf, plan: BuildPlan, tmp_path: Path, release: str
) -> None:
    there = tool(release)
    log = build(there, replace(planned(there, plan), layer_info=tmp_path / "layers.json"))
    assert log.layer_info_path == tmp_path / "layers.json"
    info = read_layer_info(io.StringIO((tmp_path / "layers.json").read_text()))
    assert info.convolution_pct == pytest.approx({"fp16": 200 / 3, "fp32": 100 / 3})
    assert info.bindings == ("input", "output")


def test_int8_takes_its_ranges_from_the_cache(tool: ToolOf, plan: BuildPlan, cache: Path) -> None:
    build(tool("8.5.2"), replace(plan, precision="int8", calibration_cache=cache))
    assert header(plan.engine)["calibration"] == str(cache)


@pytest.mark.parametrize("content", [None, "", "input: 3c010a14\n", "TRT-8201-MinMaxCalibration\ninput: 3c010a14\n"])
def test_a_cache_that_the_tool_would_pass_over_is_refused(
    tool: ToolOf, plan: BuildPlan, tmp_path: Path, content: str | None
) -> None:
    """It would calibrate on random numbers then, and pass."""
    bad = tmp_path / "bad.cache"
    if content is not None:
        bad.write_text(content)
    with pytest.raises(InputFileError, match="calibration cache"):
        build(tool("8.2.1"), replace(plan, precision="int8", calibration_cache=bad))
    assert not plan.engine.exists()


def test_a_graph_said_to_be_quantized_that_is_not(
    tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantized = replace(plan, precision="int8", typed_graph=True)
    with pytest.raises(UsageError, match="no Q/DQ pairs, so its INT8 ranges would be made up"):
        build(tool("8.6.1"), quantized)
    assert not plan.engine.exists()
    monkeypatch.setenv("FAKE_FAULT", "quantized")
    build(tool("8.6.1"), quantized)


def test_int8_without_hardware_ends_at_once(
    tool: ToolOf, plan: BuildPlan, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT only warns, builds for minutes, and passes with an engine slower than FP16's."""
    monkeypatch.setenv("FAKE_FAULT", "no-int8")
    monkeypatch.setenv("FAKE_SLEEP_S", "600")
    began = time.monotonic()
    with pytest.raises(MissingCapability, match="this GPU has no fast INT8") as caught:
        build(tool("8.2.1"), replace(plan, precision="int8", calibration_cache=cache))
    assert time.monotonic() - began < 60
    assert "--precision fp16" in caught.value.do
    assert list(plan.engine.parent.iterdir()) == []


@pytest.mark.parametrize("release", RELEASES)
def test_a_killed_build_is_out_of_memory_and_leaves_nothing(
    tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "oom-kill")
    there = tool(release)
    plan.engine.parent.mkdir()
    plan.engine.write_bytes(b"an engine of before")
    with pytest.raises(MissingCapability, match=f"{there.label} was killed .* out of memory") as caught:
        build(there, planned(there, plan))
    assert "MB are available now" in caught.value.why
    assert "workspace 1,024 MB" in caught.value.why
    assert "swap file" in caught.value.do
    assert [path.read_bytes() for path in plan.engine.parent.iterdir()] == [b"an engine of before"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("fault", ["full-disk", "full-disk-unnoticed"])
def test_a_full_disk_is_noticed_even_where_the_tool_does_not(
    tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch, release: str, fault: str
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    there = tool(release)
    with pytest.raises(MissingCapability, match="cannot save") as caught:
        build(there, planned(there, plan))
    assert "MB are free in" in caught.value.why
    assert list(plan.engine.parent.iterdir()) == []


@pytest.mark.parametrize("release", RELEASES)
def test_an_operator_that_tensorrt_lacks_is_named_with_its_node(
    tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "unsupported-op")
    there = tool(release)
    with pytest.raises(InputFileError, match=r'the operator Det \(node "head/det_1"\)') as caught:
        build(there, planned(there, plan))
    assert "Plugin not found" in caught.value.why
    assert caught.value.do


KNOWN: dict[str, tuple[type[EspdeployError], str]] = {
    "gpu-oom": (MissingCapability, "no memory left on the GPU for trtexec 8.6.1, which asked for 536.9 MB"),
    "no-kernel": (ToolFailed, "no kernel for the layer {ForeignNode[encoder/conv_3...decoder/add]}"),
    "calibration": (UsageError, "no scale for tensors of this network"),
    "no-driver": (MissingCapability, "finds no GPU that it can use"),
    "crash": (ToolFailed, "crashed (exit code -11)"),
    "silent": (ToolFailed, "ended without saying that it passed"),
}


@pytest.mark.parametrize("fault", KNOWN)
def test_known_failures_say_what_to_do(
    tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    error, says = KNOWN[fault]
    with pytest.raises(error) as caught:
        build(tool("8.6.1"), plan)
    assert says in caught.value.what
    assert caught.value.do
    assert len(f"{caught.value.what}\n{caught.value.why}\n{caught.value.do}".splitlines()) <= 5
    assert list(plan.engine.parent.iterdir()) == []


def test_a_dla_that_is_not_there(tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no-dla")
    with pytest.raises(MissingCapability, match="no DLA core 1"):
        build(tool("8.5.2"), replace(plan, dla_core=1))


def test_rtx_builds_without_a_gpu(tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no-driver")
    build(tool("rtx-1.7.1"), replace(plan, typed_graph=True, compute_capability="8.6"))
    assert header(plan.engine)["compute"] == "86"


@pytest.mark.parametrize(
    ("release", "taken_for", "options"),
    [
        ("11.1.0", (10, 3, 0), "--fp16"),
        ("rtx-1.7.1", (10, 3, 0), "--fp16"),
        ("10.3.0", (8, 2, 0), "--buildOnly, --workspace"),
        ("8.2.1", (8, 6, 0), "--skipInference, --memPoolSize"),
    ],
)
def test_an_unknown_option_becomes_our_error(
    tool: ToolOf, plan: BuildPlan, release: str, taken_for: tuple[int, ...], options: str
) -> None:
    """A tool that is another release than it was when it was asked."""
    mistaken = replace(tool(release), version=taken_for, kind="trtexec", options=frozenset())
    with pytest.raises(MissingCapability, match=f"does not know {options}$") as caught:
        build(mistaken, plan)
    assert ("the graph alone says the precision" in caught.value.why) == (options == "--fp16")
    assert caught.value.do


def test_a_build_that_hangs_is_ended(tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "hang")
    with pytest.raises(ToolFailed, match="did not end within 1 s"):
        build(tool("8.2.1"), plan, timeout_s=1)
    assert list(plan.engine.parent.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(tool: ToolOf, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "hang")

    def interrupt(done: int, total: int | None, text: str) -> None:
        if text == "choosing kernels":
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build(tool("8.2.1"), plan, interrupt)
    assert time.monotonic() - began < 60
    assert list(plan.engine.parent.iterdir()) == []


def test_two_builds_of_one_engine_leave_one_whole_engine(tool: ToolOf, plan: BuildPlan) -> None:
    there = tool("8.2.1")
    build(there, plan)
    whole = plan.engine.stat().st_size
    sizes: list[int] = []

    def again() -> None:
        build(there, plan)
        sizes.append(plan.engine.stat().st_size)

    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [whole] * 3
    assert [path.name for path in plan.engine.parent.iterdir()] == ["net.engine"]


def test_bad_places_are_refused_before_the_tool_starts(
    tool: ToolOf, plan: BuildPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tool("8.2.1")
    monkeypatch.setattr(building, "follow", None)  # nothing may be started
    with pytest.raises(InputFileError, match="does not exist"):
        build(there, replace(plan, onnx=tmp_path / "gone.onnx"))
    with pytest.raises(InputFileError, match="is not a file"):
        build(there, replace(plan, onnx=tmp_path))
    with pytest.raises(UsageError, match="is a folder"):
        build(there, replace(plan, engine=tmp_path))
    with pytest.raises(UsageError, match="is a folder"):
        build(there, replace(plan, layer_info=tmp_path))


def test_a_path_with_blanks_equals_signs_and_accents(tool: ToolOf, plan: BuildPlan, tmp_path: Path) -> None:
    odd = tmp_path / "größe a=b 'c'"
    odd.mkdir()
    network = odd / "net ü.onnx"
    network.write_bytes(b"onnx")
    build(tool("10.3.0"), replace(plan, onnx=network, engine=odd / "out é.engine", layer_info=odd / "l=.json"))
    assert sorted(path.name for path in odd.iterdir()) == ["l=.json", "net ü.onnx", "out é.engine"]
