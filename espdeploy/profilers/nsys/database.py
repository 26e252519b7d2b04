"""A SQLite file from somewhere, opened so that it can neither write, nor run code of its own, nor keep us for ever.

Tables alone are read: a view, a virtual table or a computed column of the same name is refused, since reading those
runs what the file says. Rows are counted against what a file of its size can hold, since pages of a damaged file may
point in circles.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from espdeploy.errors import InputFileError
from espdeploy.profilers.nsys.sums import PIECE

MAGIC = b"SQLite format 3\0"
#: no row that holds a figure takes less
_LEAST_ROW_BYTES = 4
_STEPS = 1_000_000
_LIMIT_S = 120.0
_LIMIT_S_PER_GB = 120.0
_LONGEST_VALUE = 1 << 26
_WAL = 2
_LOCK_WAIT_S = 0.2
#: a damaged file's own names stand in SQLite's messages, which Python then cannot decode
_FAILURES = (sqlite3.Error, UnicodeError)
_AGAIN = "export it again: nsys export --type sqlite --force-overwrite true REPORT.nsys-rep"


class Database:
    """Use as a context manager.

    Args:
        path: the file.

    Raises:
        InputFileError: it is locked, not whole, or no SQLite database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = _opened(path)
        size_gb = path.stat().st_size / 1e9
        self._rows_left = int(size_gb * 1e9) // _LEAST_ROW_BYTES
        #: the rows of each table that ``arrays`` went through, sound or not
        self.seen: dict[str, int] = {}
        deadline = time.monotonic() + _LIMIT_S + _LIMIT_S_PER_GB * size_gb
        self._connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
        #: the columns of each table by its name, as the file spells both
        self.tables = {name: self._columns(name) for name in self._names()}

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def has(self, table: str, *columns: str) -> bool:
        """Whether there is a table with all of these columns."""
        return table in self.tables and set(columns) <= self.tables[table]

    def rows(self, query: str, values: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
        """The rows of a query; its texts are ours, only ``values`` may come from elsewhere.

        Raises:
            InputFileError: the file is damaged.
        """
        try:
            for row in self._connection.execute(query, values):
                self._count(1)
                yield row
        except _FAILURES as error:
            raise _unreadable(self.path, error) from None

    def arrays(self, table: str, expressions: tuple[str, ...], where: str) -> Iterator[tuple[NDArray[np.int64], ...]]:
        """Columns of whole numbers, in the file's order, ``PIECE`` rows at a time: an array for each expression.

        Each column is handed over as one text of figures, which costs half as much as rows of Python numbers.

        Args:
            table: its name.
            expressions: over its columns.
            where: what holds for a sound row; rows in which an expression would be NULL must not pass.
        """
        joined = ", ".join(f"group_concat({expression})" for expression in expressions)
        query = f'SELECT {joined} FROM "{table}" WHERE rowid > ? AND rowid <= ? AND {where}'  # noqa: S608 - our names
        after = -(1 << 63)
        for until in self._bounds(table):
            found = next(self.rows(query, (after, until)))
            after = until
            columns = [np.fromstring(text, dtype=np.int64, sep=",") for text in found if isinstance(text, str)]
            if len(columns) == len(expressions):
                yield tuple(columns)

    def _bounds(self, table: str) -> Iterator[int]:
        """The last row number of each piece."""
        self.seen[table] = 0
        query = f'SELECT rowid FROM "{table}" WHERE rowid > ? ORDER BY rowid LIMIT 1 OFFSET ?'  # noqa: S608 - our names
        after = -(1 << 63)
        while found := next(self.rows(query, (after, PIECE - 1)), None):
            until = found[0]
            if not isinstance(until, int) or until <= after:
                raise _unreadable(self.path, "its rows are not in order")
            self._count(PIECE)
            self.seen[table] += PIECE
            yield until
            after = until
        # with a condition SQLite counts row by row, and can be stopped at it
        rest = next(self.rows(f'SELECT count(*) FROM "{table}" WHERE rowid > ?', (after,)))[0]  # noqa: S608 - our names
        self.seen[table] += rest if isinstance(rest, int) else 0
        yield (1 << 63) - 1

    def _count(self, rows: int) -> None:
        self._rows_left -= rows
        if self._rows_left < 0:
            raise _unreadable(self.path, "it has more rows than a file of its size can hold")

    def _names(self) -> list[str]:
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
            " AND typeof(name) = 'text' AND length(name) < 200 AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
        return [name for (name,) in self.rows(query) if isinstance(name, str)]

    def _columns(self, table: str) -> frozenset[str]:
        """Those that hold what they hold; computed ones are left out."""
        found = self.rows("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,))
        return frozenset(name for name, hidden in found if hidden == 0 and isinstance(name, str))


def _opened(path: Path) -> sqlite3.Connection:
    try:
        _refuse_unfinished(path)
        with path.open("rb") as stream:
            head = stream.read(20)
    except OSError as error:
        raise InputFileError(
            f"{path} cannot be read", why=error.strerror or "", do="check the path and its rights"
        ) from None
    options = "mode=ro"
    if not head.startswith(MAGIC):
        raise InputFileError(f"{path} is no SQLite database", why="it does not begin as one", do=_AGAIN)
    if _WAL in head[18:20]:
        # without its log the file is whole, but SQLite would want to write beside it
        options += "&immutable=1"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=_LOCK_WAIT_S)
        if sys.version_info >= (3, 11):
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        connection.text_factory = lambda value: value.decode("utf-8", "replace")
        for setting in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON", "mmap_size=0"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except _FAILURES as error:
        raise _unreadable(path, error) from None
    return connection


def _refuse_unfinished(path: Path) -> None:
    """A log beside the file holds changes that are not in it yet, or are to be taken back."""
    for ending in ("-journal", "-wal"):
        beside = path.with_name(path.name + ending)
        if beside.is_file() and beside.stat().st_size:
            with beside.open("rb") as stream:
                if stream.read(1) != b"\0":
                    raise InputFileError(
                        f"{path} is being written, or its export was broken off",
                        why=f"{beside.name} lies beside it",
                        do=f"wait for nsys to end, or {_AGAIN}",
                    )


def _unreadable(path: Path, error: Exception | str) -> InputFileError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return InputFileError(
            f"{path} is locked: another program writes to it",
            do="wait for nsys to end, or copy the file and read the copy",
        )
    if "interrupted" in text:
        return InputFileError(f"{path} takes too long to read", why="it may be damaged", do=_AGAIN)
    return InputFileError(f"{path} cannot be read as a SQLite database", why=text[:200], do=_AGAIN)
