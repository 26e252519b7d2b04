"""What a person or a script sees: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from espdeploy.errors import EspdeployError

if TYPE_CHECKING:
    from rich.console import Console

    from espdeploy.records import Finding

_PLAIN_WIDTH = 200  # a table in a file or a pipe is not cut at 80 columns
_LEAST_WRAPPED = 40  # a narrower column of text is worse than a broken line
_SEVERITY_STYLE = {"info": "cyan", "warning": "yellow", "error": "red"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table: its head (with the unit) and whether it holds numbers."""

    head: str
    numeric: bool = False


@dataclass(frozen=True, kw_only=True)
class Output:
    """Writes results either as one JSON document or as text for people."""

    as_json: bool

    def json(self, document: object) -> None:
        """The one JSON document on standard output."""
        import msgspec

        try:
            encoded = msgspec.json.encode(document)
        except UnicodeEncodeError:  # a file's name in another encoding
            from espdeploy.store import without_surrogates

            encoded = msgspec.json.encode(without_surrogates(msgspec.to_builtins(document)))
        sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")

    def error(self, error: EspdeployError) -> None:
        """An error in at most three lines on standard error; with ``--json`` on standard output too."""
        parts = {"error": error.what, "why": error.why, "do": error.do}
        if self.as_json:
            self.json({"error": {"code": error.exit_code, "what": error.what, "why": error.why, "do": error.do}})
            return
        sys.stdout.flush()
        for label, text in parts.items():
            if text:
                sys.stderr.write(f"{label}: {' '.join(text.split())}\n")

    def line(self, text: str) -> None:
        """One line of the result, for people."""
        _console(sys.stdout.isatty(), stderr=False).print(text, markup=False, highlight=False)

    def note(self, text: str) -> None:
        """A line beside the result: where a file went, what was chosen."""
        _console(sys.stderr.isatty(), stderr=True).print(text, markup=False, highlight=False, style="dim")

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
        """A table on standard output; numbers stand at the right."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(Text(column.head), justify="right" if column.numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        _console(sys.stdout.isatty(), stderr=False).print(table)

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values, one a line; on a terminal a long value goes on below its beginning."""
        width = max(len(name) for name, _ in rows)
        terminal = sys.stdout.isatty()
        columns = _console(terminal, stderr=False).width
        for name, value in rows:
            room = max(columns - width - 2, _LEAST_WRAPPED)
            lines = textwrap.wrap(value, room, break_on_hyphens=False, break_long_words=False)
            for number, line in enumerate(lines if terminal and lines else [value]):
                self.line(f"{'' if number else name:<{width}}  {line}")

    def findings(self, findings: Sequence[Finding]) -> None:
        """Verdicts with what to do, worst first, on standard error."""
        order = list(_SEVERITY_STYLE)
        console = _console(sys.stderr.isatty(), stderr=True)
        for finding in sorted(findings, key=lambda item: -order.index(item.severity)):
            style = _SEVERITY_STYLE[finding.severity]
            console.print(f"{finding.severity}: {finding.text}", markup=False, highlight=False, style=style)
            if finding.do:
                console.print(f"  do: {finding.do}", markup=False, highlight=False)

    def shared_findings(self, held: Sequence[tuple[str, Sequence[Finding]]]) -> None:
        """The verdicts of several records, given by name, each once; where not all of them have it, whose it is."""
        from dataclasses import replace

        from espdeploy.findings import shared

        names = {name for name, _ in held}
        for part in shared((name, finding) for name, findings in held for finding in findings):
            whose = "" if len(part.owners) == len(names) else f" ({', '.join(part.owners)})"
            self.findings([replace(part.finding, text=part.finding.text + whose)])


def colours_wanted(terminal: bool) -> bool:
    """Whether to draw colours and moving bars: on a terminal without ``NO_COLOR`` (https://no-color.org)."""
    return terminal and not os.environ.get("NO_COLOR")


def _console(terminal: bool, *, stderr: bool) -> Console:
    from rich.console import Console

    width = None if terminal else _PLAIN_WIDTH
    # without a colour system bold and dim are left away too
    colours: Literal["auto"] | None = "auto" if colours_wanted(terminal) else None
    return Console(stderr=stderr, width=width, soft_wrap=not terminal, color_system=colours)
