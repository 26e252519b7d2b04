"""Many lines of one shape at once.

Lines of one log differ in their digits alone, nearly all of them: with the digits taken out they are equal. For each
such shape the readings are found once, by their names. Of all further lines of that shape the names are compared, and
the values counted column by column; lines that do not compare are read one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import mul
from typing import Any

from espdeploy.profilers.tegrastats.counting import COUNTERS, count_cores, tally_of
from espdeploy.profilers.tegrastats.values import Log, Tally
from espdeploy.readings.tegrastats import OFF, READERS, Field, is_rail, is_real, read_core, read_rail

#: 35C and 34.5C are of one shape
_DIGITS = b"0123456789.-"
_MOST_KNOWN = 1 << 15
#: rails that feed the whole module
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")


class UnlikeError(Exception):
    """Lines of one shape are not alike after all."""


def shapes(lines: Sequence[str]) -> list[bytes]:
    """Each line without its digits."""
    return "\n".join(lines).encode("utf-8", "replace").translate(None, _DIGITS).split(b"\n")


class Shape:
    """The readings of all lines of one shape; ``width`` is how many tokens such a line has."""

    def __init__(self, fields: Sequence[Field], *, width: int) -> None:
        self._width = width
        self._names = [(each.index - 1, each.name) for each in fields if each.kind != "temp"]
        self._columns = [_COLUMNS.get(each.kind, _Values)(each) for each in fields]
        self._lead = leading_rail(fields)

    @property
    def lead(self) -> str | None:
        """The rail whose tokens :meth:`add` returns."""
        return self._lead.name if self._lead else None

    def add(self, lines: Sequence[str], log: Log) -> Sequence[str]:
        """Count the lines' readings; the token of the leading rail in each line.

        Raises:
            UnlikeError: some line is different; nothing was counted then.
        """
        tokens, width = " ".join(lines).split(), self._width
        # a line with more or fewer tokens moves the names of those behind it, at least RAM's
        if len(tokens) != len(lines) * width:
            raise UnlikeError
        if any(tokens[index::width].count(name) != len(lines) for index, name in self._names):
            raise UnlikeError
        ready = [each.take(tokens[each.field.index :: width]) for each in self._columns]
        for count in ready:
            count(log)
        log.samples += len(lines)
        return tokens[self._lead.index :: width] if self._lead else ()


def leading_rail(fields: Sequence[Field]) -> Field | None:
    """The rail of the whole module, else the first."""
    rails = [each for each in fields if each.kind == "rail"]
    return next((each for each in rails if each.name in TOTALS), rails[0] if rails else None)


class _Values:
    """One field over many lines; what a token means is worked out once."""

    def __init__(self, each: Field) -> None:
        self.field = each
        self._known: dict[str, Any] = {}

    def take(self, tokens: Sequence[str]) -> Callable[[Log], None]:
        """What counts these values.

        Raises:
            UnlikeError: a token is something else.
        """
        counts = Counter(self._texts(tokens))
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for text in counts.keys() - self._known.keys():
            self._learn(text)
        return partial(self._count, counts)

    def _texts(self, tokens: Sequence[str]) -> Iterable[str]:
        return tokens

    def _learn(self, text: str) -> None:
        value = READERS[self.field.kind](text)
        if value is None:
            raise UnlikeError
        self._known[text] = value

    def _count(self, counts: Counter[str], log: Log) -> None:
        into = COUNTERS[self.field.kind]
        for text, times in counts.items():
            into(log, self.field.name, self._known[text], times)


class _Rails(_Values):
    """A rail's instantaneous values."""

    def _texts(self, tokens: Sequence[str]) -> Iterable[str]:
        return [token.partition("/")[0] for token in tokens]

    def _learn(self, text: str) -> None:
        pair = read_rail(f"{text}/")
        if pair is None:
            raise UnlikeError
        self._known[text] = pair[0]

    def _count(self, counts: Counter[str], log: Log) -> None:
        if is_rail(self.field.name):
            tally_of(log.rails_mw, self.field.name).merge(_tallied(counts, self._known))
        else:
            log.left_out[self.field.name] = f"{self._known[next(iter(counts))]} mW"


class _Temps(_Values):
    """A zone's values; those that are no temperature are left to be counted one by one."""

    def __init__(self, each: Field) -> None:
        super().__init__(each)
        self._prefix = f"{each.name}@"
        self._all_real = True

    def _learn(self, text: str) -> None:
        if not text.startswith(self._prefix):
            raise UnlikeError
        super()._learn(text)
        self._all_real &= is_real(self.field.name, self._known[text])

    def _count(self, counts: Counter[str], log: Log) -> None:
        if self._all_real:
            tally_of(log.temps_c, self.field.name).merge(_tallied(counts, self._known))
        else:
            super()._count(counts, log)


class _Cores(_Values):
    """The core lists: the loads of all cores together, since in lines of one shape the same cores are online."""

    def take(self, tokens: Sequence[str]) -> Callable[[Log], None]:
        """What counts these loads.

        Raises:
            UnlikeError: something in the lists is no core.
        """
        parts = Counter(",".join(tokens).replace("[", "").replace("]", "").split(","))
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for part in parts.keys() - self._known.keys():
            core = read_core(part)
            if core is None and part != OFF:
                raise UnlikeError
            self._known[part] = core.util_pct if core else None
        loads: Counter[int] = Counter()
        for part, times in parts.items():
            load_pct = self._known[part]
            if load_pct is not None:
                loads[load_pct] += times
        return partial(count_cores, loads=loads, cores=tokens[0].count(",") + 1, lines=len(tokens))


def _tallied(counts: Counter[str], known: dict[str, Any]) -> Tally:
    values = [known[text] for text in counts]
    total = sum(map(mul, values, counts.values()))
    return Tally(count=sum(counts.values()), total=total, min=min(values), max=max(values))


_COLUMNS: dict[str, type[_Values]] = {"cores": _Cores, "rail": _Rails, "temp": _Temps}
