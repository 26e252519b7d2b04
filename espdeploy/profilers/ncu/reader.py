"""ncu's output, line by line: messages, CSV pages and text pages, with a program's own output in between."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import IO

from espdeploy.profilers.ncu import columns
from espdeploy.profilers.ncu.ledger import Ledger
from espdeploy.profilers.ncu.lines import Lines
from espdeploy.profilers.ncu.messages import Messages
from espdeploy.profilers.ncu.pages import Found, Page
from espdeploy.profilers.ncu.text import TextPages

_VERSION = re.compile(r"^Version (?P<version>20\d\d\.\d+(?:\.\d+)*)")
_LONGEST_ROW, _MOST_LINES = 1 << 16, 64
#: the header of a table of the machine's topology, which details of a section may hold
_TOPOLOGY = re.compile(r'"[A-Z][A-Za-z ]{1,60}"(?:,"[A-Z][A-Za-z ]{1,60}"){1,7},?')
#: a line with more of them is a row that lost its beginning
_FEW_CELLS = 3


class OutputReader:
    """Reads a file once; then its parts hold what it told."""

    def __init__(self, only: Container[str] | None = None) -> None:
        self.ledger = Ledger()
        self.found = Found(only=only)
        self.messages = Messages()
        self.skipped = 0
        self.version: str | None = None
        self._text = TextPages(self.ledger, self.found)
        self._page: Page | None = None
        self._open: list[str] = []
        #: whether other text, or a table with other columns, came since the page's last row
        self._loose = False

    def read(self, stream: IO[str]) -> None:
        """Read all of it."""
        lines = Lines(stream)
        for line in lines:
            self._take(line)
        self._end_page()
        self._text.finish()
        self.ledger.finish()
        self.skipped += lines.overlong + self.ledger.refused

    def _take(self, line: str) -> None:
        page = self._page
        if page is not None and self._take_row(page, line):
            return
        if "Process ID" in line and (header := columns.header(line)) is not None:
            self._end_page()
            self._page = Page(header, self.ledger, self.found)
        elif self.messages.take(line):
            self._drop_open()
        elif self._open or (page is not None and line.startswith('"')):
            self._go_on(page, line)
        elif not self._text.take(line):
            self._other(line)

    def _other(self, line: str) -> None:
        match = _VERSION.match(line)
        if match is not None:
            self.version = match["version"]
        if self._page is not None:
            self._loose = True
            self.skipped += line.count('","') > _FEW_CELLS

    def _take_row(self, page: Page, line: str) -> bool:
        """Whether a line is a row, whole in itself; one that was open before it never closed."""
        if not line or (page.header.quoted and line[0] != '"'):
            return False
        cells = columns.row(line, page.header)
        if cells is None or tuple(cells[:3]) == page.header.names[:3] or not page.take(cells):
            return False
        self._drop_open()
        self._loose = False
        return True

    def _go_on(self, page: Page | None, line: str) -> None:
        """A rule's text may hold ends of line; what does not become a row soon was none."""
        if page is None or not (self._open or columns.is_open(line)):
            self._loose = self._loose or _TOPOLOGY.fullmatch(line) is not None
            self.skipped += not self._loose
            return
        self._open.append(line)
        cells = columns.row("\n".join(self._open), page.header)
        if cells is not None and page.take(cells):
            self._open = []
        elif len(self._open) >= _MOST_LINES or sum(map(len, self._open)) > _LONGEST_ROW:
            self._drop_open()

    def _drop_open(self) -> None:
        self.skipped += bool(self._open)
        self._open = []

    def _end_page(self) -> None:
        self._drop_open()
        if self._page is not None:
            self._page.finish()
        self._page = None
