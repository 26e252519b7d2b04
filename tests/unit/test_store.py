"""The record store: what is written is read back, and a damaged folder is read as far as it goes."""

from __future__ import annotations

import json
import math
import os
import tempfile
import types
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espdeploy.errors import InputFileError, InternalError, MissingCapability
from espdeploy.records import SCHEMA, Record
from espdeploy.store import ResultsUnwritable, append, decode, encode, keep, probe_writable, read_folder

_HOSTILE = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "\x00", "../../etc/passwd", "<script>alert(1)</script>", "\u202eabc", "שלום", "a\nb", "😀"]),
)
_SIMPLE = {
    str: _HOSTILE,
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that records are made of, derived from the type alone."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    container = _CONTAINERS.get(get_origin(kind))
    if container is not None:
        return container(get_args(kind))
    hints = get_type_hints(kind)
    return st.builds(kind, **{item.name: values_of(hints[item.name]) for item in fields(kind)})


def _union(arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.one_of([values_of(argument) for argument in arguments])


def _tuple(arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=4).map(tuple)
    return st.tuples(*map(values_of, arguments))


_CONTAINERS: dict[Any, Callable[[tuple[Any, ...]], st.SearchStrategy[Any]]] = {
    Union: _union,
    types.UnionType: _union,
    tuple: _tuple,
    list: lambda arguments: st.lists(values_of(arguments[0]), max_size=3),
    dict: lambda arguments: st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3),
}
records = values_of(Record).map(lambda record: replace(record, schema=SCHEMA))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(records)
def test_every_record_survives_the_file(record: Record) -> None:
    assert decode(encode(record)) == record


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    with pytest.raises(InputFileError):
        decode(content)


def test_a_record_cut_anywhere_is_refused(example_records: ModuleType) -> None:
    content = encode(example_records.timed([24.0, 25.0])).rstrip()
    for end in range(0, len(content), 97):
        with pytest.raises(InputFileError):
            decode(content[:end])


def test_the_file_is_plain_indented_json_that_any_tool_reads(example_records: ModuleType) -> None:
    record = example_records.make()
    content = encode(record)
    assert content.count(b"\n") > 50
    parsed = json.loads(content)
    assert parsed["fps"] == record.fps
    assert parsed["latency_ms"]["p99"] is None
    assert parsed["traces"]["latency_ms"]["values"] == record.traces["latency_ms"].values


def test_nan_becomes_null_where_a_value_may_be_unknown(example_records: ModuleType) -> None:
    record = example_records.make()
    odd = replace(record, utilization=replace(record.utilization, cpu_pct=math.nan, gpu_pct=math.inf))
    content = encode(odd)
    assert b"NaN" not in content
    assert b"Infinity" not in content
    assert decode(content).utilization.cpu_pct is None
    assert decode(content).utilization.gpu_pct is None


def test_nan_where_the_record_needs_a_number_is_refused_by_name(example_records: ModuleType) -> None:
    with pytest.raises(InternalError, match="fps"):
        encode(example_records.make(fps=math.nan))


def test_a_file_name_that_is_not_unicode_does_not_cost_the_record(example_records: ModuleType) -> None:
    name = os.fsdecode(b"net\xff.onnx")
    assert decode(encode(example_records.make(model=example_records.model(name, 1)))).model.name == r"net\udcff.onnx"


@pytest.mark.parametrize(
    "name", ["espnet", "../../../tmp/x", "a/b\\c:d", "", "...", "x" * 500, "שלום", "\x00\n", "CON", "-rf"]
)
def test_the_file_stays_in_the_folder_whatever_the_model_is_called(
    example_records: ModuleType, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "results"
    record = example_records.make(model=example_records.model(name, 1))
    path = append(record, folder)
    assert list(folder.iterdir()) == [path]
    assert path.name.startswith("20260203T091405Z_")
    assert path.name.endswith("_cpu_0f3a9c41d2b7.json")
    assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
    assert decode(path.read_bytes()) == record


def test_a_second_record_of_the_same_name_overwrites_nothing(example_records: ModuleType, tmp_path: Path) -> None:
    first, second = example_records.make(), example_records.make(fps=1.0)
    assert append(first, tmp_path) != append(second, tmp_path)
    assert {record.fps for record in read_folder(tmp_path).records} == {first.fps, 1.0}


def test_a_folder_that_cannot_be_made_is_named_with_the_option(example_records: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    folder = tmp_path / "file" / "results"
    with pytest.raises(MissingCapability, match="file/results") as probed:
        probe_writable(folder)
    with pytest.raises(MissingCapability, match="file/results") as appended:
        append(example_records.make(), folder)
    assert "--results" in probed.value.do
    assert "--results" in appended.value.do


def test_a_record_that_no_folder_takes_is_in_the_error(
    example_records: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    record = example_records.make()
    with pytest.raises(ResultsUnwritable) as caught:
        keep(record, tmp_path / "file/results")
    assert (caught.value.records, caught.value.rescued) == ((record,), None)
    assert "temporary files did not take it either" in caught.value.why
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(ResultsUnwritable) as caught:
        keep(record, tmp_path / "file/results")
    (rescued,) = (tmp_path / "temporary").glob("*/*.json")
    assert caught.value.rescued == rescued
    assert str(rescued) in caught.value.do
    assert decode(rescued.read_bytes()) == record


def test_probing_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    probe_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_records_come_back_oldest_first(example_records: ModuleType, tmp_path: Path) -> None:
    for record in reversed(example_records.suite()):
        append(record, tmp_path)
    assert list(read_folder(tmp_path).records) == sorted(example_records.suite(), key=lambda r: r.started)


def test_each_unreadable_file_is_left_out_with_its_reason(example_records: ModuleType, tmp_path: Path) -> None:
    good = append(example_records.make(), tmp_path)
    content = good.read_bytes()
    newer = json.loads(content) | {"schema": SCHEMA + 1, "unheard_of": {}}
    (tmp_path / "cut.json").write_bytes(content[: len(content) // 2])
    (tmp_path / "newer.json").write_text(json.dumps(newer))
    (tmp_path / "other.json").write_text('{"name": "package"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "rubbish.json").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "deep.json").write_text('{"schema": 1, "x": ' + "[" * 100_000)
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "copy.json").write_bytes(content)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate(300_000_000)
    (tmp_path / "README.txt").write_text("not a record, and not named like one")

    stored = read_folder(tmp_path)
    reasons = {entry.path.name: entry.reason for entry in stored.left_out}
    assert len(stored.records) == 1
    assert set(reasons) == {
        path.name
        for path in tmp_path.iterdir()
        if path.suffix == ".json" and path not in (good, tmp_path / "copy.json")
    } | {"copy.json" if "copy.json" in reasons else good.name}
    assert "cut short" in reasons["cut.json"]
    assert f"schema {SCHEMA + 1}" in reasons["newer.json"]
    assert "not a record" in reasons["other.json"]
    assert "plain file" in reasons["folder.json"]
    assert "plain file" in reasons["pipe.json"]
    assert "too large" in reasons["huge.json"]
    assert "empty" in reasons["empty.json"]
    assert "same measurement" in next(reason for name, reason in reasons.items() if name in ("copy.json", good.name))


def test_one_record_file_is_a_folder_of_one(example_records: ModuleType, tmp_path: Path) -> None:
    record = example_records.make()
    assert read_folder(append(record, tmp_path)).records == (record,)


@pytest.mark.parametrize("content", [None, {}, {"notes.json": b"{}"}])
def test_no_record_at_all_says_how_to_make_one(tmp_path: Path, content: dict[str, bytes] | None) -> None:
    folder = tmp_path / "results"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_bytes(text)
    with pytest.raises(InputFileError) as caught:
        read_folder(folder)
    assert "espdeploy bench" in caught.value.do
    assert str(folder) in caught.value.what + caught.value.do


def test_a_half_written_file_of_a_running_bench_is_not_in_the_way(example_records: ModuleType, tmp_path: Path) -> None:
    path = append(example_records.make(), tmp_path)
    (tmp_path / f".{path.name}.abcd.part.json").write_bytes(path.read_bytes()[:100])
    assert read_folder(tmp_path).left_out == ()
