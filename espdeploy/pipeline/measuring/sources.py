"""Which sources are read beside a run, and which of them tells what."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from espdeploy import lazy
from espdeploy.errors import MissingCapability, UsageError, nearest
from espdeploy.monitors import battery, ina3221, jtop, nvidia_smi, nvml, rapl, soc, tegrastats
from espdeploy.monitors.process import ProcessMonitor
from espdeploy.monitors.sources import PowerSource, Unavailable
from espdeploy.protocols import Clock, Monitor
from espdeploy.specs import BenchSpec, DeviceProfile, RailFacts

Found = Monitor | Unavailable

#: sources of power by kind of device, the best first: what is read directly, then what a tool tells
POWER = {
    "jetson": ("ina3221", "tegrastats", "jtop"),
    "desktop": ("nvml", "nvidia-smi"),
    "cpu": ("rapl", "battery"),
}
_ASK_DOCTOR = "espdeploy doctor shows what each source tells"
_NONE_ASKED = "power was not measured: --power-source none"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is sampled beside the run; ``power_note`` says why there is no power where there is none."""

    monitors: tuple[Monitor, ...]
    power: PowerSource | None
    power_note: str | None
    period_s: float
    idle_s: float

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Sources with a process or a connection of their own live inside this block."""
        with contextlib.ExitStack() as stack:
            for monitor in self.monitors:
                close = getattr(monitor, "close", None)
                if callable(close):
                    stack.callback(close)
            yield

    def channel(self, role: str) -> str | None:
        """The channel that tells ``role`` (``gpu_util``, ``gpu_freq``, ``memory_used``), by the first that has it."""
        return self._first(f"{role}_channel")

    def of_gpu(self) -> Monitor | None:
        """The first source that tells the GPU's clock."""
        return next((monitor for monitor in self.monitors if getattr(monitor, "gpu_freq_channel", None)), None)

    def _first(self, attribute: str) -> str | None:
        named = (getattr(monitor, attribute, None) for monitor in self.monitors)
        return next((name for name in named if name), None)


@dataclass(frozen=True)
class _Place:
    """Where sources are looked for."""

    profile: DeviceProfile
    root: Path
    clock: Clock
    period_s: float

    @property
    def rails(self) -> RailFacts:
        """What the device's power rails are."""
        return self.profile.rails or RailFacts()


def find_sources(
    profile: DeviceProfile, *, root: Path, clock: Clock, spec: BenchSpec, wanted: str | None = None
) -> Sources:
    """The sources of this machine, each proven by a reading.

    Args:
        profile: the device.
        root: the file system that sensors are read from.
        clock: what readings are dated on.
        spec: for the sampling period and the time of the idle readings.
        wanted: the power source that was asked for; None takes the best that answers, ``none`` none.

    Raises:
        UsageError: a power source that this kind of device does not have.
        MissingCapability: the one that was asked for does not answer.
    """
    place = _Place(profile, root, clock, spec.sample_period_s)
    monitors: list[Monitor] = [ProcessMonitor(clock=clock)]
    power, refused = _power(place, wanted)
    if power is not None:
        monitors.append(power)
    monitors += _of_gpu(place, power)
    note = None
    if power is None:
        reasons = "; ".join(f"{item.reason} ({item.do})" for item in refused)
        note = f"power was not measured: {reasons}" if refused else _NONE_ASKED
    return Sources(
        monitors=tuple(monitors), power=power, power_note=note, period_s=spec.sample_period_s, idle_s=spec.idle_s
    )


def check_power_source(profile: DeviceProfile, wanted: str | None) -> None:
    """Refuse a source of power that this kind of device does not have.

    Raises:
        UsageError: it is none of them; the nearest is named.
    """
    known = (*_kinds(profile), "none")
    if wanted is not None and wanted not in known:
        raise UsageError(
            f'{profile.name} has no power source "{wanted}"',
            why=nearest(wanted, known),
            do="give one of them to --power-source, or leave it away for the best that answers",
        )


def try_sources(profile: DeviceProfile, *, root: Path, clock: Clock, period_s: float) -> list[tuple[str, Found]]:
    """Every source of power that this kind of device can have, each tried: for ``espdeploy doctor``."""
    place = _Place(profile, root, clock, period_s)
    return [(name, _FINDERS[name](place)) for name in _kinds(profile)]


def _kinds(profile: DeviceProfile) -> tuple[str, ...]:
    return POWER.get(profile.kind, POWER["cpu"])


def _power(place: _Place, wanted: str | None) -> tuple[PowerSource | None, list[Unavailable]]:
    """The first source that tells power, and why those before it do not."""
    check_power_source(place.profile, wanted)
    if wanted == "none":
        return None, []
    refused: list[Unavailable] = []
    for name in [wanted] if wanted else _kinds(place.profile):
        found = _FINDERS[name](place)
        if isinstance(found, Unavailable):
            refused.append(found)
        elif getattr(found, "power_channel", None) is None:
            _close(found)
            refused.append(Unavailable(source=name, reason=f"{name} shows no rail of the whole device", do=_ASK_DOCTOR))
        else:
            return found, refused  # type: ignore[return-value]  # a monitor with a power channel is a PowerSource
    if wanted:
        raise MissingCapability(f"{wanted} tells no power here", why=refused[0].reason, do=refused[0].do)
    return None, refused


def _of_gpu(place: _Place, power: Monitor | None) -> list[Monitor]:
    """What tells the GPU's clock and load, where the source of power does not."""
    if getattr(power, "gpu_freq_channel", None) is not None or place.profile.gpu is None:
        return [] if place.profile.kind != "desktop" or power is not None else _available(_nvml(place))
    if place.profile.kind == "jetson":
        found = _soc(place)
        return _available(found if not isinstance(found, Unavailable) else _tegrastats(place))
    return _available(_nvml(place))


def _available(found: Found) -> list[Monitor]:
    return [] if isinstance(found, Unavailable) else [found]


def _close(monitor: object) -> None:
    close = getattr(monitor, "close", None)
    if callable(close):
        close()


def _ina3221(place: _Place) -> Found:
    return ina3221.find(place.rails, clock=place.clock, root=place.root)


def _soc(place: _Place) -> Found:
    gpu, emc = place.profile.gpu, place.profile.emc
    return soc.find(
        gpu.frequency_paths if gpu else (), rate_paths=emc.rate_paths if emc else (), clock=place.clock, root=place.root
    )


def _tegrastats(place: _Place) -> Found:
    return tegrastats.find(place.rails, clock=place.clock, period_s=place.period_s, root=place.root)


def _jtop(place: _Place) -> Found:
    if not lazy.available("jtop"):
        return Unavailable(source="jtop", reason="jetson-stats is not installed", do='pip install "espdeploy[jetson]"')
    return jtop.find(lazy.require("jtop", extra="jetson"), place.rails, clock=place.clock, root=place.root)


def _nvml(place: _Place) -> Found:
    if not lazy.available("pynvml"):
        return Unavailable(source="nvml", reason="nvidia-ml-py is not installed", do='pip install "espdeploy[nvml]"')
    return nvml.find(lazy.require("pynvml", extra="nvml"), clock=place.clock, root=place.root)


def _nvidia_smi(place: _Place) -> Found:
    return nvidia_smi.find(clock=place.clock, period_s=place.period_s)


def _rapl(place: _Place) -> Found:
    return rapl.find(place.root, clock=place.clock)


def _battery(place: _Place) -> Found:
    return battery.find(clock=place.clock, root=place.root)


_FINDERS: dict[str, Callable[[_Place], Found]] = {
    "ina3221": _ina3221,
    "tegrastats": _tegrastats,
    "jtop": _jtop,
    "nvml": _nvml,
    "nvidia-smi": _nvidia_smi,
    "rapl": _rapl,
    "battery": _battery,
}
