"""Temperatures, by the kernel's thermal zones or, on a PC that has none, by its processor's sensor."""

from __future__ import annotations

from pathlib import Path

from espdeploy.devices.files import int_of, text_of

_MILLI = 1_000
#: a zone that is switched off says -256 °C
_COLDEST_C = -100.0
_HOTTEST_C = 200.0
#: what the power chip of a TX2 or Nano says whatever its temperature
_PMIC_CONSTANTS_C = (100.0, 50.0)
_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def zones_c(root: Path = Path("/")) -> dict[str, float]:
    """Each thermal zone's temperature by its type, those left out that are switched off or constant."""
    found: dict[str, float] = {}
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        kind = text_of(folder / "type") or folder.name
        value_c = _celsius(folder / "temp")
        if value_c is not None and not ("pmic" in kind.lower() and value_c in _PMIC_CONSTANTS_C):
            found[kind] = max(value_c, found.get(kind, value_c))
    return found


def hottest_c(root: Path = Path("/")) -> float | None:
    """The temperature of the hottest zone, or else of the processor's sensor; None where nothing tells."""
    return max((zones_c(root) or _processor_c(root)).values(), default=None)


def _processor_c(root: Path) -> dict[str, float]:
    found = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if text_of(folder / "name") in _PROCESSOR_SENSORS:
            for path in sorted(folder.glob("temp*_input")):
                value_c = _celsius(path)
                if value_c is not None:
                    found[f"{folder.name}/{path.name}"] = value_c
    return found


def _celsius(path: Path) -> float | None:
    value = int_of(path)
    if value is None or not _COLDEST_C < value / _MILLI < _HOTTEST_C:
        return None
    return value / _MILLI
