"""What the readers of all tables share."""

from __future__ import annotations

from espdeploy.profilers.nvprof.columns import Columns, row


class TableReader:
    """Takes the rows of one table, one by one, or many at once where a table has a quicker way."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def set_units(self, columns: Columns) -> None:
        """The row of units below the header came."""
        self.columns = columns

    def take(self, line: str) -> bool:
        """Whether a line is a row of this table."""
        cells = row(line, self.columns)
        return cells is not None and self.take_cells(dict(zip(self.columns.names, map(str.strip, cells), strict=True)))

    def take_cells(self, told: dict[str, str]) -> bool:
        """Whether a row's cells, by column, are sound."""
        raise NotImplementedError

    def run(self, _lines: list[str], start: int) -> int:
        """Take what goes quickly; returns where the first line is that does not."""
        return start

    def finish(self) -> None:
        """Add up what is waiting, if anything is."""


class PassedOver(TableReader):
    """A table that nothing is read of: samples of the processor, or of program counters."""

    def take(self, line: str) -> bool:
        """Every line is."""
        return bool(line)
