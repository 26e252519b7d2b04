"""Where in a log tegrastats began anew: the mean that it prints starts over."""

from __future__ import annotations

from collections.abc import Iterable

from espdeploy.readings.tegrastats import read_rail

#: a mean that goes on is off by rounding alone where it equals the newest value
_ROUNDING_MW = 2

#: place in the log, rail, and its token: ``now/mean`` or ``now/mean/greatest``
Reading = tuple[int, str, str]


class Restarts:
    """Counts them.

    A mean over n values can equal the newest of them only where that one equals the mean before it. So a mean that
    jumps onto the newest value is over this one value alone.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[str, str] = {}

    def take(self, readings: Iterable[Reading]) -> None:
        """The next readings, in order; of each line one rail."""
        before = self._before
        for _, rail, token in readings:
            now, _, rest = token.partition("/")
            if rest.partition("/")[0] == now and rail in before:
                self.count += _jumps(before[rail], token)
            before[rail] = token


def _jumps(before: str, token: str) -> bool:
    """Whether the mean moved by more than rounding."""
    first, second = read_rail(before), read_rail(token)
    if first is None or second is None or first[1] is None or second[1] is None:
        return False
    return abs(second[1] - first[1]) > _ROUNDING_MW
