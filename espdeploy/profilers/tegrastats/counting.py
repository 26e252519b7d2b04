"""How the value of each kind of reading goes into a log's tallies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from espdeploy.profilers.tegrastats.values import Log, Tally
from espdeploy.readings.tegrastats import READERS, Core, Field, Load, is_rail, is_real

_MOST_NAMES = 256


def count_sample(tokens: Sequence[str], fields: Iterable[Field], log: Log) -> None:
    """One sample, as the fields in its tokens tell it."""
    log.samples += 1
    for each in fields:
        COUNTERS[each.kind](log, each.name, READERS[each.kind](tokens[each.index]), 1)


def count_cores(log: Log, loads: Counter[int], *, cores: int, lines: int) -> None:
    """The loads of all cores online in so many lines, in each of which the same ones of ``cores`` are online."""
    online = sum(loads.values())
    log.cores_listed = max(log.cores_listed, cores)
    log.cores_online.add(online / lines, lines)
    if online:
        log.cpu_util_pct.add(sum(load * times for load, times in loads.items()) / online, lines)


def _cores(log: Log, name: str, value: Sequence[Core | None], times: int) -> None:
    loads = Counter(core.util_pct for core in value if core is not None)
    for _ in range(times):
        count_cores(log, loads, cores=len(value), lines=1)


def _ram(log: Log, name: str, value: tuple[float, float], times: int) -> None:
    log.ram_used_mb.add(value[0], times)
    log.ram_total_mb = value[1]


def _swap(log: Log, name: str, value: tuple[float, float], times: int) -> None:
    log.swap_used_mb.add(value[0], times)


def _gpu(log: Log, name: str, value: Load, times: int) -> None:
    _load(log.gpu_util_pct, log.gpu_freq_mhz, value, times)


def _emc(log: Log, name: str, value: Load, times: int) -> None:
    _load(log.emc_util_pct, log.emc_freq_mhz, value, times)


def _load(util: Tally, freq: Tally, value: Load, times: int) -> None:
    if value.util_pct is not None:
        util.add(value.util_pct, times)
    if value.freq_mhz is not None:
        freq.add(value.freq_mhz, times)


def _temp(log: Log, name: str, value: float, times: int) -> None:
    if is_real(name, value):
        tally_of(log.temps_c, name).add(value, times)
    elif len(log.left_out) < _MOST_NAMES:
        log.left_out[name] = f"{value:g} C"


def _rail(log: Log, name: str, value: tuple[int, int | None], times: int) -> None:
    if is_rail(name):
        tally_of(log.rails_mw, name).add(value[0], times)
    else:
        log.left_out[name] = f"{value[0]} mW"


def tally_of(tallies: dict[str, Tally], name: str) -> Tally:
    """The tally of a name; one that nobody sees when a damaged file has brought names without end."""
    return tallies.setdefault(name, Tally()) if name in tallies or len(tallies) < _MOST_NAMES else Tally()


#: by the kind of field: takes the log, the reading's name, its value and how often it came
COUNTERS: Mapping[str, Callable[[Log, str, Any, int], None]] = {
    "cores": _cores,
    "emc": _emc,
    "gpu": _gpu,
    "rail": _rail,
    "ram": _ram,
    "swap": _swap,
    "temp": _temp,
}
