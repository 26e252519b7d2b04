"""What a laptop draws from its battery, by /sys/class/power_supply: the ESPNet papers' figure for laptops.

Source: the kernel's documentation of power supplies: power in uW, voltage in uV, current in uA, energy in uWh, charge
in uAh. Drivers differ in the sign of a discharging current, so its size alone counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from espdeploy import units
from espdeploy.monitors.attributes import Attribute, Watched, channel_name, text_of
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Clock

_MICRO = 1_000_000
_J_PER_WH = 3_600
_DISCHARGING = "Discharging"
_UNPLUG = "unplug the mains, and repeat while the machine runs on its battery"
_OTHER = "espdeploy doctor names the other sources of power"


def find(*, clock: Clock, root: Path = Path("/")) -> BatteryMonitor | Unavailable:
    """The machine's batteries, if one of them is being drawn from now and tells how fast.

    Batteries of mice and the like (``scope`` Device) are none of the machine's.
    """
    folders = [folder for folder in sorted((root / "sys/class/power_supply").glob("*")) if _is_machines(folder)]
    if not folders:
        return _unavailable("this machine shows no battery", do=_OTHER)
    found = []
    for folder in folders:
        try:
            found.append(Battery(folder, clock=clock))
        except (OSError, ValueError) as error:
            refusal = error
    if not found:
        return _unavailable(f"the battery does not tell its rate: {refusal}", do=_OTHER)
    if not any(battery.discharging for battery in found):
        return _unavailable("the machine runs on the mains, so its battery does not tell what it draws", do=_UNPLUG)
    monitor = BatteryMonitor(found)
    if not monitor.read()[monitor.power_channel]:
        return _unavailable("the battery discharges at a rate of 0 W by its own word: it measures none", do=_OTHER)
    return monitor


class Battery:
    """One battery, proven by one reading of its rate.

    Raises:
        OSError, ValueError: it tells none.
    """

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self.name = folder.name
        self._status = folder / "status"
        rate_w = _rate_w(folder)
        rate_w()
        self._watched = Watched(rate_w, what=f"the battery {self.name}", clock=clock)
        self._energy_wh = _energy_wh(folder)

    @property
    def discharging(self) -> bool:
        """Whether the machine runs on it now."""
        return text_of(self._status) == _DISCHARGING

    def power_w(self) -> float | None:
        """The rate of discharge; None for one failed reading.

        Raises:
            ToolFailed: it went away.
        """
        return self._watched.value()

    def energy_wh(self) -> float | None:
        """What is left in it; None where it does not tell."""
        try:
            return self._energy_wh()
        except (OSError, ValueError):
            return None


class BatteryMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of the machine's batteries.

    Channels: ``battery_power_w``, the rate of discharge of all that are being drawn from, None while none is (the mains
    are connected), and ``battery_energy_j``, what is left. That counter moves in steps of many joules and downwards, so
    it is no ``energy_channel``. Firmware renews the rate every few seconds only.
    """

    name = "battery"
    period_s: float | None = None
    power_channel = "battery_power_w"
    energy_channel: str | None = None

    def __init__(self, batteries: Sequence[Battery]) -> None:
        self.rails = tuple(channel_name(battery.name) for battery in batteries)
        self._batteries = tuple(batteries)

    def read(self) -> Mapping[str, float | None]:
        """The current values.

        Raises:
            ToolFailed: a battery went away.
        """
        drawn = [battery.power_w() for battery in self._batteries if battery.discharging]
        left_wh = [battery.energy_wh() for battery in self._batteries]
        energy_wh = _sum(left_wh)
        return {
            self.power_channel: _sum(drawn),
            "battery_energy_j": None if energy_wh is None else energy_wh * _J_PER_WH,
        }

    def probe_text(self) -> str:
        """One live reading for people: ``12.3 W discharging, 41.2 Wh left``."""
        values = self.read()
        power_w, energy_j = values[self.power_channel], values["battery_energy_j"]
        drawn = "on the mains" if power_w is None else f"{units.significant(power_w)} W discharging"
        return drawn if energy_j is None else f"{drawn}, {units.significant(energy_j / _J_PER_WH)} Wh left"


def _is_machines(folder: Path) -> bool:
    return text_of(folder / "type") == "Battery" and text_of(folder / "scope") != "Device"


def _rate_w(folder: Path) -> Callable[[], float]:
    """How its rate is read: as power, or as voltage and current."""
    try:
        power = Attribute(folder / "power_now")
        power.number()
    except (OSError, ValueError):
        voltage, current = Attribute(folder / "voltage_now"), Attribute(folder / "current_now")
        return lambda: abs(voltage.number() / _MICRO * current.number() / _MICRO)
    return lambda: abs(power.number()) / _MICRO


def _energy_wh(folder: Path) -> Callable[[], float | None]:
    """How what is left is read: as energy, or as charge at the voltage of now."""
    try:
        energy = Attribute(folder / "energy_now")
    except OSError:
        try:
            charge, voltage = Attribute(folder / "charge_now"), Attribute(folder / "voltage_now")
        except OSError:
            return lambda: None
        return lambda: charge.number() / _MICRO * voltage.number() / _MICRO
    return lambda: energy.number() / _MICRO


def _sum(values: Sequence[float | None]) -> float | None:
    """None without a value, or where one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _unavailable(reason: str, *, do: str) -> Unavailable:
    return Unavailable(source="battery", reason=reason, do=do)
