"""Energy counters of x86 processors (RAPL), as Linux shows them under /sys/class/powercap.

Source: the kernel's documentation of the power capping framework (``energy_uj`` is a counter in microjoules that
starts over at ``max_energy_range_uj``; zones nest as ``intel-rapl:0:1``). AMD processors use the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.errors import MissingCapability
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Clock
from espdeploy.units import NS_PER_S

_UJ_PER_J = 1_000_000
#: the counter moves about every millisecond, at idle by tens of millijoules in this time
_PROBE_S = 0.1
_PERMIT = "sudo chmod a+r /sys/class/powercap/*/energy_uj"
_NO_OTHER = "measure on a machine with a power sensor; everything but power and energy is measured without one"


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One counter: ``package-0``, ``dram``, ``psys`` …"""

    name: str
    path: Path
    range_uj: int

    def energy_uj(self) -> int:
        """The counter now.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        return int(self.path.read_text(encoding="ascii"))


def find(root: Path = Path("/"), *, clock: Clock) -> RaplSource | Unavailable:
    """The machine's energy counters, tried out: absent, unreadable and dead ones are told apart.

    Args:
        root: where ``sys/class/powercap`` lies.
        clock: for the moment between two readings that shows whether the counters count.
    """
    folders = _zones(root / "sys/class/powercap")
    if not folders:
        return _unavailable("this machine shows no RAPL counters (/sys/class/powercap has no intel-rapl)", do=_NO_OTHER)
    try:
        domains = [_domain(folder) for folder in folders]
        wanted = [domain for domain in domains if _is_counted(domain.name)]
        before = [domain.energy_uj() for domain in wanted]
        clock.sleep_s(_PROBE_S)
        after = [domain.energy_uj() for domain in wanted]
    except PermissionError as error:
        return _unavailable(f"only root may read {error.filename}", do=_PERMIT)
    except (OSError, ValueError) as error:
        return _unavailable(f"its counters cannot be read: {error}", do=_NO_OTHER)
    live = [domain for domain, first, second in zip(wanted, before, after, strict=True) if first != second]
    total = total_domains(live)
    if not total:
        return _unavailable("its counters are there but do not count (a virtual machine?)", do=_NO_OTHER)
    return RaplSource(total=total, others=[domain for domain in live if domain not in total], clock=clock)


def total_domains(domains: Sequence[Domain]) -> list[Domain]:
    """The counters whose sum is the processors' energy: all packages; the platform (psys) only without any.

    The platform counter holds the packages already, and memory (dram) is a reading of its own.
    """
    packages = [domain for domain in domains if domain.name.startswith("package")]
    return packages or [domain for domain in domains if domain.name == "psys"]


class RaplSource:
    """A :class:`~espdeploy.protocols.Monitor` of RAPL counters.

    Channels: ``rapl_energy_j``, the energy of the packages since the first reading, ``rapl_power_w``, their mean power
    since the reading before (None at first), and ``rapl_<name>_w`` for each other counter (dram, psys).
    """

    name = "rapl"
    period_s: float | None = None
    energy_channel = "rapl_energy_j"
    power_channel = "rapl_power_w"

    def __init__(self, *, total: Sequence[Domain], others: Sequence[Domain], clock: Clock) -> None:
        self.rails = tuple(domain.name for domain in total)
        self._total = [_Counter(domain) for domain in total]
        self._others = [_Counter(domain) for domain in others]
        self._clock = clock
        self._read_ns: int | None = None
        self._energy_j = 0.0

    def read(self) -> Mapping[str, float | None]:
        """The current values.

        Raises:
            MissingCapability: a counter that could be read before cannot be read any more.
        """
        now_ns = self._clock.now_ns()
        seconds = None if self._read_ns is None else (now_ns - self._read_ns) / NS_PER_S
        self._read_ns = now_ns
        grown_j = sum(counter.growth_j() for counter in self._total)
        self._energy_j += grown_j
        values: dict[str, float | None] = {
            self.energy_channel: self._energy_j,
            self.power_channel: _rate(grown_j, seconds),
        }
        for counter in self._others:
            values[f"rapl_{counter.domain.name}_w"] = _rate(counter.growth_j(), seconds)
        return values


class _Counter:
    """A domain and its last reading."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self._last_uj: int | None = None

    def growth_j(self) -> float:
        """Joules since the last call (0 at the first), over the counter's end if it started over."""
        try:
            now_uj = self.domain.energy_uj()
        except (OSError, ValueError) as error:
            raise MissingCapability(
                f"the energy counter {self.domain.path} went away during the run", why=str(error), do="espdeploy doctor"
            ) from error
        step_uj = 0 if self._last_uj is None else now_uj - self._last_uj
        self._last_uj = now_uj
        return (step_uj if step_uj >= 0 else step_uj + self.domain.range_uj) / _UJ_PER_J


def _zones(powercap: Path) -> list[Path]:
    """The folder of each zone, nested ones too, each once; the memory-mapped twins only if there is nothing else."""
    for prefix in ("intel-rapl:", "intel-rapl-mmio:"):
        found: dict[str, Path] = {}
        for pattern in (f"{prefix}*", f"{prefix}*/{prefix}*"):
            for folder in sorted(powercap.glob(pattern)):
                found.setdefault(folder.name, folder)
        if found:
            return list(found.values())
    return []


def _domain(folder: Path) -> Domain:
    """A zone as a counter, named with its socket where zones of several sockets share a name."""
    name = (folder / "name").read_text(encoding="ascii").strip()
    socket = folder.name.partition(":")[2].partition(":")[0]
    range_uj = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
    if range_uj <= 0:
        raise ValueError(f"{folder}/max_energy_range_uj is {range_uj}")
    return Domain(name=f"dram-{socket}" if name == "dram" else name, path=folder / "energy_uj", range_uj=range_uj)


def _is_counted(name: str) -> bool:
    """Cores and the built-in GPU are parts of their package and would be read for nothing."""
    return name.startswith(("package", "dram")) or name == "psys"


def _rate(joules: float, seconds: float | None) -> float | None:
    return joules / seconds if seconds else None


def _unavailable(reason: str, *, do: str) -> Unavailable:
    return Unavailable(source="rapl", reason=reason, do=do)
