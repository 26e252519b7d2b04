"""SQLite exports made here, against sums in Python; and files that are none, damaged, locked, or up to something."""

# ruff: noqa: ISC004, S311, S608 - long statements made of constants; damage that is the same in every run

from __future__ import annotations

import contextlib
import random
import sqlite3
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from espdeploy.errors import InputFileError
from espdeploy.profilers.nsys.document import is_sqlite, parse_sqlite, recognise

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"
PROCESS = (1 << 48) + (77 << 24)
Launch = tuple[int, int, int, int, int]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def launches(count: int, *, devices: int = 1) -> list[Launch]:
    """Begin, end, device, correlation and name of kernels on two streams, which overlap."""
    draw, at, found = random.Random(count), 5_000, []
    for number in range(count):
        at += draw.randint(0, 90)
        found.append((at, at + draw.randint(1, 100), number % devices, number + 1, draw.randint(10, 14)))
    return found


def export(path: Path, kernels: list[Launch], *, newer: bool = False) -> Path:
    """An export with the columns of two releases, in the order in which each has them."""
    with writing(path) as base:
        green = "greenContextId INTEGER, " if newer else ""
        base.execute(
            f'CREATE TABLE {KERNEL} (start INTEGER NOT NULL, "end" INTEGER NOT NULL, deviceId INTEGER NOT NULL, '
            f"contextId INTEGER, {green}streamId INTEGER, correlationId INTEGER, globalPid INTEGER, "
            "demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL)"
        )
        base.execute("CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        base.execute("CREATE TABLE TARGET_INFO_GPU (id INTEGER NOT NULL, name TEXT, cuDevice INTEGER)")
        meta = "META_DATA_EXPORT" if newer else "EXPORT_META_DATA"
        base.execute(f"CREATE TABLE {meta} (name TEXT, value TEXT)")
        base.execute(f"INSERT INTO {meta} VALUES ('EXPORT_PRODUCT_VERSION', '2024.5.4')")
        base.execute(
            'CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER, "end" INTEGER, globalTid INTEGER, '
            "correlationId INTEGER, nameId INTEGER)"
        )
        base.executemany(
            f'INSERT INTO {KERNEL} (start, "end", deviceId, correlationId, demangledName, shortName, globalPid) '
            f"VALUES (?, ?, ?, ?, ?, 1, {PROCESS})",
            kernels,
        )
        base.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, ?, ?, 2)",
            [(start - 40 - at % 7, start - 30, PROCESS + 5, at) for start, _, _, at, _ in kernels],
        )
        base.executemany(
            "INSERT INTO StringIds VALUES (?, ?)", [(at, f"void k{at}<1, 2>(int)") for at in range(10, 15)]
        )
        base.executemany("INSERT INTO StringIds VALUES (?, ?)", [(1, "short"), (2, "cudaLaunchKernel_v7000")])
        base.executemany("INSERT INTO TARGET_INFO_GPU VALUES (?, ?, ?)", [(0, "Orin", 0), (1, "A100", 1)])
    return path


@pytest.mark.parametrize("newer", [False, True])
def test_kernels_and_launches_add_up_as_in_python(tmp_path: Path, newer: bool) -> None:
    rows = launches(700)
    profile = parse_sqlite(export(tmp_path / "r.sqlite", rows, newer=newer))
    for kernel in profile.kernels:
        held = [end - start for start, end, _, _, name in rows if f"void k{name}<1, 2>(int)" == kernel.name]
        assert (kernel.calls, round((kernel.total_ms or 0) * 1e6)) == (len(held), sum(held))
        assert (kernel.min_us, kernel.max_us) == (min(held) / 1e3, max(held) / 1e3)
    assert (
        sum(kernel.calls for kernel in profile.kernels)
        == profile.extra["launches"]
        == profile.extra["launch_calls"]
        == 700
    )
    assert list(profile.kernels) == sorted(profile.kernels, key=lambda kernel: -(kernel.total_ms or 0))
    assert profile.extra["launch_latency_us"] == pytest.approx(
        statistics.median(40 + at % 7 for at in range(1, 701)) / 1e3
    )
    assert profile.extra["launch_call_us"] == pytest.approx(
        statistics.median(10 + at % 7 for at in range(1, 701)) / 1e3
    )
    assert (profile.tool_version, profile.device, profile.skipped_lines) == ("2024.5.4", "Orin", 0)


@pytest.mark.parametrize("order", ["begin", "shuffled"])
def test_idle_share_counts_every_moment(tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espdeploy.profilers.nsys.database.PIECE", 32)
    monkeypatch.setattr("espdeploy.profilers.nsys.export.PIECE", 32)
    rows = launches(300, devices=2)
    listed = rows if order == "begin" else random.Random(1).sample(rows, len(rows))
    path = export(tmp_path / "r.sqlite", listed)
    with writing(path) as base:
        base.execute(
            'CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, "end" INTEGER, deviceId INTEGER, '
            "bytes INTEGER, copyKind INTEGER)"
        )
        base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (6000, 6500, 1, 1000000, 1), (0, 4000, 1, 5, 2)")
    profile = parse_sqlite(path)
    shares = []
    for device in (0, 1):
        mine = [(start, end) for start, end, on, _, _ in rows if on == device] + ([(6000, 6500)] if device else [])
        busy = {moment for start, end in mine for moment in range(start, end)}
        kernels = [(start, end) for start, end, on, _, _ in rows if on == device]
        span = range(kernels[0][0], max(end for _, end in kernels))
        shares.append(
            (sum(moment in busy for moment in span), 100 * sum(moment not in busy for moment in span) / len(span))
        )
    assert profile.extra["idle_pct"] == pytest.approx(max(shares)[1])
    assert profile.extra["gpus"] == 2
    assert [(one.name, one.calls, one.total_mb) for one in profile.memops] == [("DtoH", 1, 5e-6), ("HtoD", 1, 1.0)]


def test_damaged_rows_are_counted_and_the_others_used(tmp_path: Path) -> None:
    path = export(tmp_path / "r.sqlite", launches(5))
    with writing(path) as base:
        for start, end in (("text", 9), (9, 3), (-5, 2), (b"\0" * 100, 7), (1.5, 7), (0, 1 << 60)):
            base.execute(
                f'INSERT INTO {KERNEL} (start, "end", deviceId, demangledName, shortName) VALUES (?, ?, 0, 10, 1)',
                (start, end),
            )
    profile = parse_sqlite(path)
    assert (profile.extra["launches"], profile.skipped_lines) == (5, 6)


def test_a_kernel_whose_name_is_missing_still_counts(tmp_path: Path) -> None:
    profile = parse_sqlite(export(tmp_path / "r.sqlite", [(10, 20, 0, 1, 99)]))
    assert [(kernel.calls, "99" in kernel.name) for kernel in profile.kernels] == [(1, True)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (f"DROP TABLE {KERNEL}", "no_kernels"),
        (f"DELETE FROM {KERNEL}", "no_kernels"),
        (f"ALTER TABLE {KERNEL} RENAME TO CUPTI_ACTIVITY_KIND_GRAPH_TRACE", "graphs_whole"),
    ],
)
def test_an_export_without_kernels_says_why(tmp_path: Path, change: str, code: str) -> None:
    path = export(tmp_path / "r.sqlite", launches(3))
    with writing(path) as base:
        base.execute(change)
    profile = parse_sqlite(path)
    assert profile.kernels == ()
    assert [error.code for error in profile.errors] == [code]


def test_another_database_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with writing(path) as base:
        base.execute("CREATE TABLE songs (id INTEGER)")
    with pytest.raises(InputFileError) as refused:
        parse_sqlite(path)
    assert "StringIds" in refused.value.why
    assert "songs" in refused.value.why


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW {k} AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        'SELECT i AS start, i AS "end", 0 AS deviceId, 10 AS demangledName FROM n',
        "CREATE TABLE {k} (start INTEGER, deviceId INTEGER, demangledName INTEGER, "
        '"end" INTEGER GENERATED ALWAYS AS (length(hex(zeroblob(1000000000)))))',
        "CREATE VIRTUAL TABLE {k} USING fts4(start, end, demangledName)",
    ],
    ids=["view", "computed column", "virtual table"],
)
def test_what_would_run_code_of_the_file_is_not_read(tmp_path: Path, statement: str) -> None:
    path = export(tmp_path / "r.sqlite", launches(3))
    with writing(path) as base:
        base.execute(f"DROP TABLE {KERNEL}")
        base.execute(statement.format(k=KERNEL))
    profile = parse_sqlite(path)
    assert profile.kernels == ()
    assert [error.code for error in profile.errors] == ["no_kernels"]


def test_a_locked_file_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "r.sqlite", launches(3))
    with writing(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputFileError, match="locked"):
            parse_sqlite(path)


def test_a_file_with_unfinished_changes_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "r.sqlite", launches(3))
    (tmp_path / "r.sqlite-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + b"\0" * 600)
    with pytest.raises(InputFileError, match="being written") as refused:
        parse_sqlite(path)
    assert "r.sqlite-journal" in refused.value.why


def test_a_write_ahead_database_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = export(tmp_path / "wal #1?.sqlite", launches(3))
    with writing(path) as base:
        base.execute("PRAGMA journal_mode = WAL")
    before = sorted(one.name for one in tmp_path.iterdir())
    assert parse_sqlite(path).extra["launches"] == 3
    assert sorted(one.name for one in tmp_path.iterdir()) == before


def test_a_missing_or_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"SQLite format 3\0")
    with pytest.raises(InputFileError):
        parse_sqlite(path)
    path.write_bytes(b"Time (%),Total Time (ns)\n")
    with pytest.raises(InputFileError, match="no SQLite"):
        parse_sqlite(path)
    with pytest.raises(InputFileError):
        parse_sqlite(tmp_path / "missing.sqlite")


def test_the_kind_is_told_by_the_first_bytes(tmp_path: Path) -> None:
    path = export(tmp_path / "named.csv", launches(1))
    assert is_sqlite(path.read_bytes()[:64])
    assert recognise(path.read_text(errors="replace")[:1000]) == "sqlite"
    assert not is_sqlite(b"SQLite")


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.choice((1, 8, 200))):
        data[draw.randrange(len(data))] = draw.randrange(256)


def _copy(draw: random.Random, data: bytearray) -> None:
    """A page over another: trees that point in circles."""
    one, other = (draw.randrange(len(data) // 512) * 512 for _ in range(2))
    data[one : one + 512] = data[other : other + 512]


def _edge(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(100) if draw.random() < 0.5 else draw.randrange(len(data) - 8)
    data[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))


def test_damage_of_any_kind_ends_in_figures_or_a_refusal(tmp_path: Path) -> None:
    whole = export(tmp_path / "whole.sqlite", launches(150))
    with writing(whole) as base:
        base.execute("PRAGMA page_size = 512")
        base.execute("VACUUM")
    data, draw, read = whole.read_bytes(), random.Random(3), 0
    changes: list[Callable[[random.Random, bytearray], None]] = [_cut, _flip, _flip, _copy, _edge]
    path = tmp_path / "damaged.sqlite"
    for _ in range(700):
        changed = bytearray(data)
        draw.choice(changes)(draw, changed)
        path.write_bytes(changed)
        with contextlib.suppress(InputFileError):
            profile = parse_sqlite(path)
            read += 1
            assert all(kernel.calls > 0 for kernel in profile.kernels)
    assert 50 < read < 650
