"""Power rails of a Jetson, by the INA3221 sensors on its module, as Linux shows them in /sys.

JetPack 4 has the driver ``ina3221x`` with ``rail_name_K`` and ``in_powerK_input`` in mW, JetPack 5 and newer the
kernel's ``ina3221`` with ``inK_label``, ``inK_input`` in mV and ``currK_input`` in mA. Sources: the kernel's
documentation of ``ina3221`` and ``ina238``, NVIDIA's Jetson Linux developer guides (software-based power consumption).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.monitors import rails
from espdeploy.monitors.attributes import Attribute, Watched, below, channel_name, text_of
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Clock
from espdeploy.specs import RailFacts

_MW_PER_W = 1_000
_UW_PER_W = 1_000_000  # and mV times mA
#: a channel without a rail, as NVIDIA's device trees call it
_NOT_CONNECTED = "NC"
_DRIVERS = ("sys/bus/i2c/drivers/ina3221x", "sys/bus/i2c/drivers/ina3221")
_INPUT_DRIVERS = ("sys/bus/i2c/drivers/ina238",)
_OTHER = "take another source: tegrastats shows the rails where these sensors are hidden"


@dataclass(frozen=True, kw_only=True)
class Rail:
    """One rail and how its power is read, in W; negative where current flows back."""

    name: str
    watts: Callable[[], float]


def find(facts: RailFacts, *, clock: Clock, root: Path = Path("/")) -> Ina3221Monitor | Unavailable:
    """The module's sensors, each rail read once: those that do not answer are left out.

    Args:
        facts: the device's rails; ``sensor_paths`` are tried first, and all sensors where none of them exists.
        clock: for telling one failed reading from a sensor that went away.
        root: where ``sys`` lies.
    """
    sensors = _sensors(facts.sensor_paths, root)
    found, refusals = _open_rails(facts, sensors, root)
    answering: dict[str, Rail] = {}
    for rail in found:
        try:
            rail.watts()
        except (OSError, ValueError) as error:
            refusals[rail.name] = error
        else:
            answering[rail.name] = rail
    if not answering:
        return _unavailable(sensors, refusals)
    roles = rails.roles(facts, answering=answering, silent=refusals)
    return Ina3221Monitor(list(answering.values()), roles=roles, clock=clock)


class Ina3221Monitor:
    """A :class:`~espdeploy.protocols.Monitor` of the module's power rails.

    Channels: ``ina3221_rail_<NAME>_w`` for each rail and ``ina3221_total_w``, which is the rail of the whole module or,
    on boards without one, the sum of all; both instantaneous. ``power_channel`` is None where the device's facts name
    no total: rails alone are not the device's power.
    """

    name = "ina3221"
    period_s: float | None = None
    energy_channel: str | None = None

    def __init__(self, found: Sequence[Rail], *, roles: rails.Roles, clock: Clock) -> None:
        self.rails = roles.total
        self.power_channel = "ina3221_total_w" if roles.total else None
        self.gpu_power_channel = None if roles.gpu is None else _channel(roles.gpu)
        self._rails = {
            rail.name: Watched(rail.watts, what=f"the power sensor of {rail.name}", clock=clock) for rail in found
        }

    def read(self) -> Mapping[str, float | None]:
        """The current values.

        Raises:
            ToolFailed: a sensor is gone, or has not answered for 3 s.
        """
        watts = self._watts()
        values = {_channel(name): value for name, value in watts.items()}
        if self.power_channel is not None:
            values[self.power_channel] = rails.total_w(watts, self.rails)
        return values

    def probe_text(self) -> str:
        """One live reading for people: ``VDD_IN 4.95 W, VDD_SYS_GPU 0.3 W``."""
        return rails.text(self._watts())

    def _watts(self) -> dict[str, float | None]:
        return {name: rail.value() for name, rail in self._rails.items()}


def _channel(rail: str) -> str:
    return f"ina3221_rail_{rail}_w"


def _sensors(paths: Sequence[str], root: Path) -> list[Path]:
    """The folders of the sensors: the module's by its facts, else every one (a carrier has some of its own)."""
    named = [folder for folder in (below(root, path) for path in paths) if folder.is_dir()]
    return named or _bound(_DRIVERS, root)


def _bound(drivers: Sequence[str], root: Path) -> list[Path]:
    """The devices that a driver serves, as links ``<bus>-<address>`` in its folder."""
    return [folder for driver in drivers for folder in sorted((root / driver).glob("[0-9]*-*")) if folder.is_dir()]


def _open_rails(
    facts: RailFacts, sensors: Sequence[Path], root: Path
) -> tuple[list[Rail], dict[str, OSError | ValueError]]:
    """Every rail that could be opened, and the others with the reason."""
    opened: list[Rail] = []
    refusals: dict[str, OSError | ValueError] = {}
    for name, files in _labelled(facts, sensors, root):
        try:
            opened.append(Rail(name=_unique(name, opened), watts=_reader([Attribute(file) for file in files])))
        except OSError as error:
            refusals[name] = error
    return opened, refusals


def _labelled(facts: RailFacts, sensors: Sequence[Path], root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Each rail's name, and the files whose numbers make its power."""
    names = set()
    for sensor in sensors:
        for name, files in (*_iio(sensor), *_hwmon(sensor)):
            names.add(name)
            yield name, files
    missing = [name for name in facts.total if name not in names]
    if len(missing) == len(facts.total) == 1:  # AGX Thor: a chip with one channel measures the board's input
        for sensor in _bound(_INPUT_DRIVERS, root):
            for file in sorted(sensor.glob("hwmon/hwmon*/power1_input")):
                label = text_of(file.with_name("label")) or text_of(file.with_name("in1_label"))
                yield channel_name(label or missing[0]), [file]


def _iio(sensor: Path) -> Iterator[tuple[str, list[Path]]]:
    """JetPack 4 and older."""
    for folder in (*sorted(sensor.glob("iio:device*")), sensor / "iio_device"):
        for label in sorted(folder.glob("rail_name_*")):
            name = text_of(label)
            if name is not None and name != _NOT_CONNECTED:
                yield channel_name(name), [folder / f"in_power{label.name.removeprefix('rail_name_')}_input"]


def _hwmon(sensor: Path) -> Iterator[tuple[str, list[Path]]]:
    """JetPack 5 and newer. Channel 7 is the sum of the shunts' voltages: no rail, and it has no current."""
    for label in sorted(sensor.glob("hwmon/hwmon*/in*_label")):
        name = text_of(label)
        current = label.with_name(label.name.replace("in", "curr", 1).replace("_label", "_input"))
        if name is not None and name != _NOT_CONNECTED and "shunt" not in name.lower() and current.exists():
            yield channel_name(name), [label.with_name(label.name.replace("_label", "_input")), current]


def _reader(files: Sequence[Attribute]) -> Callable[[], float]:
    """From a power in mW or uW, or from a voltage in mV and a current in mA, to W."""
    first = files[0]
    if len(files) == 2:
        current = files[1]
        return lambda: first.number() * current.number() / _UW_PER_W
    scale = _MW_PER_W if first.path.name.startswith("in_power") else _UW_PER_W
    return lambda: first.number() / scale


def _unique(name: str, opened: Sequence[Rail]) -> str:
    """A rail's name, numbered where two sensors use it."""
    count = sum(rail.name.partition("#")[0] == name for rail in opened)
    return name if count == 0 else f"{name}#{count + 1}"


def _unavailable(sensors: Sequence[Path], refusals: Mapping[str, OSError | ValueError]) -> Unavailable:
    if not sensors:
        reason = "no INA3221 sensor is shown in /sys/bus/i2c/drivers (no Jetson, or a container that hides them)"
    elif not refusals:
        reason = f"the sensors at {', '.join(sensor.name for sensor in sensors)} name no rail"
    else:
        name, error = next(iter(refusals.items()))
        if isinstance(error, PermissionError):
            do = f"sudo chmod a+r {error.filename}"
            return Unavailable(source="ina3221", reason=f"only root may read {error.filename}", do=do)
        reason = f"the sensor of {name} cannot be read: {error}"
    return Unavailable(source="ina3221", reason=reason, do=_OTHER)
