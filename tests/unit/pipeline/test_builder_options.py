"""Ranges of shapes, timings that builds share, a DLA's share, and constants for boards without the package onnx."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from espdeploy import lazy
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability, ToolFailed, UsageError
from espdeploy.pipeline.building import timing_cache
from espdeploy.pipeline.building.build_trtexec import share_on_dla_pct
from espdeploy.pipeline.building.builder_options import BuilderOptions, batches_from, resolved
from espdeploy.pipeline.building.calibration_cache import cache_for
from espdeploy.protocols import no_progress
from espdeploy.quantize.table import CalibrationTable, TensorRange, read_table, write_table
from espdeploy.quantize.tensorrt_cache import operand_ranges, read_cache
from espdeploy.specs import ShapeRange

NET = Path("net.onnx")
OPEN, FIXED = {"input": (-1, 3, 8, 16)}, {"input": (1, 3, 8, 16)}


def asked(batch: str = "", *shapes: str) -> BuilderOptions:
    ranges = tuple(ShapeRange.parse(text) for text in shapes)
    return BuilderOptions(shapes=ranges, batch=batches_from(batch) if batch else ())


@pytest.mark.parametrize(
    ("batch", "shapes"),
    [
        ("1,4,8", "input=1x3x8x16..4x3x8x16..8x3x8x16"),
        ("1,8", "input=1x3x8x16..8x3x8x16"),
        ("8", "input=8x3x8x16"),
    ],
)
def test_a_range_of_batches_is_short_for_a_range_of_shapes(batch: str, shapes: str) -> None:
    short, long = (resolved(options, NET, OPEN) for options in (asked(batch), asked("", shapes)))
    assert short == long
    assert short.key == long.key
    assert ShapeRange.parse(str(short.shapes[0])) == short.shapes[0]


def test_of_two_shapes_kernels_are_chosen_for_the_larger() -> None:
    found = ShapeRange.parse("a=b:0=1x3..8x3")
    assert (found.name, found.smallest, found.usual, found.largest) == ("a=b:0", (1, 3), (8, 3), (8, 3))


@pytest.mark.parametrize(
    ("options", "inputs", "says"),
    [
        (asked(), OPEN, "--batch 1,4,8"),
        (asked(), {"input": (1, 3, -1, -1)}, "--shapes input=1x3x512x1024..1x3x512x1024..1x3x512x1024"),
        (asked("1,8"), {"input": (-1, 3, -1, 16)}, "--shapes input=1x3x512x16.."),
        (asked("4"), FIXED, "export the network with --batch dynamic"),
        (asked("", "input=1x3x8x16"), FIXED, "export the network with --batch dynamic"),
        (asked("", "image=1x3x8x16"), OPEN, "its inputs are input"),
        (asked("", "input=1x3x8x16..8x3x8x32"), OPEN, "8x3x8x32 does not fit"),
        (asked("", "input=1x3x8"), OPEN, "1x3x8 does not fit"),
        (asked("", "input=1x3x8x16", "input=2x3x8x16"), OPEN, "two ranges"),
        (asked("1,8", "input=1x3x8x16"), OPEN, "give --shapes alone"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(
    options: BuilderOptions, inputs: dict[str, tuple[int, ...]], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(options, NET, inputs)
    assert says in f"{caught.value.what} {caught.value.why} {caught.value.do}"


@pytest.mark.parametrize("text", ["", "8,1", "0,4", "1,2,3,4", "1,x", "-1", "1.5"])
def test_what_is_no_range_of_batches(text: str) -> None:
    with pytest.raises(UsageError, match="no range of batches"):
        batches_from(text)


@pytest.mark.parametrize(
    "text", ["input", "input:1x3", "=1x3", "input=1x3...2x3", "input=1x", "input=1..2..3..4", "i=-1x3"]
)
def test_what_is_no_range_of_shapes(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ShapeRange.parse(text)
    assert "--shapes input=1x3x512x1024..8x3x512x1024" in caught.value.do


def test_timings_are_lent_as_a_copy_and_kept_when_the_build_ends_well(tmp_path: Path) -> None:
    kept = tmp_path / "mine.cache"
    for build in (b"\0one", b"\0two"):
        work = tmp_path / build[1:].decode()
        work.mkdir()
        with timing_cache.lent(kept, tmp_path / "other", work, no_progress) as timings:
            assert timings is not None
            assert timings.found == (build == b"\0two")
            assert not timings.found or timings.copy.read_bytes() == b"\0one"
            timings.copy.write_bytes(build)
        assert kept.read_bytes() == build
    with pytest.raises(ToolFailed), timing_cache.lent(kept, tmp_path / "other", work, no_progress) as timings:
        _fail_after_learning(timings)
    assert kept.read_bytes() == b"\0two"
    assert not list(tmp_path.glob(".*"))  # neither a lock nor a part stays behind


def _fail_after_learning(timings: timing_cache.Lent | None) -> None:
    assert timings is not None
    timings.copy.write_bytes(b"\0half")
    raise ToolFailed("the build")


def test_a_cache_of_ours_that_cannot_be_used_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    nowhere = tmp_path / "file" / "t.cache"
    with timing_cache.lent(None, nowhere, tmp_path, no_progress) as timings:
        assert timings is None
    with pytest.raises(MissingCapability), timing_cache.lent(nowhere, tmp_path / "t", tmp_path, no_progress):
        pass


def test_our_own_timings_are_apart_by_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESPDEPLOY_CACHE", str(tmp_path))
    paths = {timing_cache.default_path("orin-agx", "tensorrt", release) for release in ("10.3.0", "10.7.0")}
    assert len(paths) == 2
    assert {path.parent for path in paths} == {tmp_path}


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"TRT-8201-x\n"), ("a.engine", b"ftrt\0\0"), ("a.json", b"{}")]
)
def test_a_file_of_another_kind_is_never_taken_for_a_timing_cache(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputFileError, match="no timing cache"):
        timing_cache.check_named(path)
    assert path.read_bytes() == content
    timing_cache.check_named(tmp_path / "new.cache")
    old = tmp_path / "old.cache"
    old.write_bytes(b"ptrt\0\1\2\3")  # as those of TensorRT 8.2 begin, and its engines too
    timing_cache.check_named(old)


GPU_85 = """[11/20/2026-10:00:00] [I] [TRT] ---------- Layers Running on DLA ----------
[11/20/2026-10:00:00] [I] [TRT] [DlaLayer] {ForeignNode[conv1...act1]}
[11/20/2026-10:00:00] [I] [TRT] ---------- Layers Running on GPU ----------
[11/20/2026-10:00:00] [I] [TRT] [GpuLayer] DECONVOLUTION: up
"""
SWITCHED = (
    "[11/20/2026-10:00:00] [W] [TRT] Layer 'up' (DECONVOLUTION): Unsupported on DLA. "
    "Switching this layer's device type to GPU.\n"
)
OLDER = "[W] [TRT] Default DLA is enabled but layer up is not supported on DLA, falling back to GPU.\n"
NONE = "[I] [TRT] ---------- Layers Running on DLA ----------\n[I] [TRT] ---------- Layers Running on GPU ----------\n"


@pytest.mark.parametrize(
    ("output", "nodes", "share"),
    [
        ("", ("conv1", "act1", "conv2", "up"), 100),
        (SWITCHED + GPU_85, ("conv1", "act1", "conv2", "up"), 75),
        (OLDER, ("conv1", "up"), 50),
        (SWITCHED.replace("'up'", "'(Unnamed Layer* 3) [Constant]'"), ("conv1", "up"), 100),
        (NONE, ("conv1", "up"), 0),
        ("", ("conv1", ""), None),
    ],
)
def test_how_much_of_a_network_a_dla_takes(output: str, nodes: tuple[str, ...], share: float | None) -> None:
    assert share_on_dla_pct(output, nodes) == share


PRELU = """<ir_version: 8, opset_import: ["" : 13]> net (float[1,2,4,4] x) => (float[1,2,4,4] y)
    <float[2,1,1] slope = {0.25, -0.5}> { y = PRelu (x, slope) }"""


def test_constants_reach_a_board_that_cannot_read_them_off_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    net = tmp_path / "net.onnx"
    onnx.save(onnx.parser.parse_model(PRELU), str(net))
    ranges = {"x": TensorRange(amax=1.27, lowest=-1, highest=1.27)}
    table = CalibrationTable(
        schema=1,
        method="mse",
        images=1,
        onnx_sha256="0" * 64,
        graph_sha256=None,
        data_sha256=None,
        recipe=None,
        preprocessing=None,
        random=False,
        espdeploy_version="0",
        created="2026-11-21T00:00:00+00:00",
        ranges=ranges,
        operands=operand_ranges(net),
    )
    write_table(table, tmp_path / "T.json")
    table = read_table(tmp_path / "T.json")
    here = read_cache(cache_for(table, net, "10.3.0", tmp_path / "here.cache"))
    assert here.amax["slope_output"] == pytest.approx(0.5)
    monkeypatch.setattr(lazy, "available", lambda name: name != "onnx")
    assert read_cache(cache_for(table, net, "10.3.0", tmp_path / "board.cache")) == here
    older = dataclasses.replace(table, operands=None)
    with pytest.raises(EspdeployError, match=r"10\.3\.0 needs the ranges of the constants") as caught:
        cache_for(older, net, "10.3.0", tmp_path / "no.cache")
    assert "espdeploy calibrate net.onnx" in caught.value.do
    assert set(read_cache(cache_for(older, net, "8.5.2", tmp_path / "8.cache")).scales) == {"x"}  # which names none
