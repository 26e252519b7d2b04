"""Text pages: a line for each launch, sections below it, and tables whose rules of dashes are their columns.

Figures cannot be told apart by blanks, which mark thousands in some locales (``1 487 113,75``): a rule says where each
column ends. Up to 2022.3 a table stands between two rules; from 2023 on a header and a third rule come first; summaries
up to 2022.3 have one rule and end with an empty line.
"""

from __future__ import annotations

import re
from itertools import pairwise

from espdeploy.profilers.ncu.ledger import Ledger
from espdeploy.profilers.ncu.pages import ATTRIBUTE, Found, Groups, Launch, invocations, name_of

PROCESS = re.compile(r"\[(?P<pid>\d{1,10})\] (?P<name>.{0,500})@\S{1,300}")
#: a comma or a blank inside a figure marks thousands
_FACTS = r"(?P<facts>(?:, [A-Z][A-Za-z]{1,20}(?: [A-Za-z]{1,20})? (?:[\w.'\u202f-]|[, ](?=\d)){1,40}){0,8})"
_LAUNCHES = (
    re.compile(rf"(?P<name>\S.*?) (?P<shape>\([\d, ]{{5,60}}\)x\([\d, ]{{5,60}}\)){_FACTS}"),
    re.compile(r"(?P<name>\S.*?), (?P<shape>\d{4}-\w{3,9}-\d{1,2} \d\d:\d\d:\d\d)(?P<facts>, Context \d+, Stream \d+)"),
    re.compile(
        r"(?P<name>\S.*?), (?P<shape>Block Size [\d.,]{1,20}, Grid Size [\d.,]{1,30})"
        r"(?P<facts>(?:, Device \d+)?, [\d.,]{1,20} invocations)"
    ),
)
_CALLS = re.compile(r"Invocations (?P<new>\d[\d.,' \u202f]*)|(?P<old>\d[\d.,]*) invocations")
_CC = re.compile(r"\bCC (?P<cc>\d{1,2}\.\d)\b")
_DEVICE = re.compile(r"Device \d+(?:, CC \d{1,2}\.\d)?")
RULE = re.compile(r"\s*-{2,}(?: -{2,})+\s*")
_DASHES = re.compile(r"-+")
_LONGEST = 20_000


class TextPages:
    """Takes lines; what belongs to no page is not taken."""

    def __init__(self, ledger: Ledger, found: Found) -> None:
        self._found = found
        self._launch = Launch(ledger)
        self._groups = Groups()
        self._run = 0
        self._device = ""
        self._number = 0
        self._kernel = False
        self._table = ""
        self._ends: list[tuple[int, int]] = []
        self._rows = 0

    def take(self, line: str) -> bool:
        """Whether a line belongs to a text page."""
        text = line.strip()
        if not text or len(line) > _LONGEST:
            self._ends = []
            return not text
        if RULE.fullmatch(line):
            self._rule(line)
            return True
        if line[0] == "[" and PROCESS.fullmatch(text):
            self.finish()
            self._run += 1
            return True
        if self._ends and self._row(line):
            return True
        return self._title(text) or (line[0] == " " and self._begin(text))

    def finish(self) -> None:
        """The file, or a process's part of it, is over."""
        self._launch.finish()
        self._kernel, self._ends = False, []

    def _title(self, text: str) -> bool:
        if text.startswith(("Section: ", "Table Name : ")):
            self._table = text.partition(": ")[2].strip() if text.startswith("T") else ""
            self._ends = []
            return True
        if _DEVICE.fullmatch(text):
            self._device = text
            self._see(text)
            return True
        return text.startswith("Metric Name ") and "Metric Unit" in text

    def _see(self, text: str) -> None:
        match = _CC.search(text)
        if match is not None and self._found.compute_capability is None:
            self._found.compute_capability = match["cc"]

    def _begin(self, text: str) -> bool:
        if ")x(" not in text and ", Context " not in text and " invocations" not in text:
            return False
        match = next((found for one in _LAUNCHES if (found := one.fullmatch(text)) is not None), None)
        if match is None:
            return False
        self._see(match["facts"])
        self._table, self._ends, self._kernel = "", [], True
        calls = _CALLS.search(match["facts"])
        if calls is None:
            self._number += 1
            self._found.kinds.setdefault("text", None)
            self._found.launches += 1
            self._launch.begin((str(self._run), str(self._number)), match["name"])
            return True
        over = invocations(calls["new"] or calls["old"]) or 0
        key = (str(self._run), self._device, match["name"], match["shape"], match["facts"])
        new = over if self._groups.new(key) else 0
        self._found.launches += new
        self._found.kinds.setdefault("summary-text", None)
        self._launch.begin(key, match["name"], launches=new, over=over)
        return True

    def _rule(self, line: str) -> None:
        ends = [(match.start(), match.end()) for match in _DASHES.finditer(line)]
        if self._ends and self._rows:
            self._ends = []
        elif self._kernel and len(ends) in (3, 5):
            self._ends, self._rows = ends, 0

    def _row(self, line: str) -> bool:
        """Whether a line is a table's row: name, unit, and one or three figures."""
        cells = self._cells(line)
        if cells is None:
            return False
        name, unit, *values = cells
        if name == "Metric Name":
            return True
        self._rows += 1
        if not any(values) or not name:
            return True
        if name.startswith(ATTRIBUTE):
            self._found.attributes.setdefault(name.removeprefix(ATTRIBUTE), values[0])
            return True
        ordered = (values[2], values[0], values[1]) if len(values) == 3 else (values[0],)
        return self._launch.take(name_of(name, self._table), unit, ordered)

    def _cells(self, line: str) -> list[str] | None:
        ends = self._ends
        bounds = [0, *(end for _, end in ends[:-1]), len(line)]
        if any(line[end : end + 1].strip() for end in bounds[1:-1]):
            return self._overflowing(line)
        return [line[start:end].strip() for start, end in pairwise(bounds)]

    def _overflowing(self, line: str) -> list[str] | None:
        """A row whose name is longer than its column: what stands behind it is set apart by two blanks or more."""
        parts = re.split(r"\s{2,}", line.strip(), maxsplit=8)
        count = len(self._ends)
        if len(parts) == count - 1:
            parts.insert(1, "")
        return parts if len(parts) == count else None
