"""What a Jetson's own files in /sys tell of its GPU: clock, load, temperatures, and signs of throttling.

None of it needs root or tegrastats. Sources: the kernel's documentation of devfreq, thermal zones and cooling devices;
NVIDIA's Jetson Linux developer guides (``load`` counts thousandths; ``soctherm_oc`` counts events of too much current
or too little voltage).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from espdeploy import units
from espdeploy.monitors.attributes import Attribute, Watched, below, channel_name, number_or_none, text_of
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Clock
from espdeploy.units import NS_PER_S

_HZ_PER_MHZ = 1_000_000
_PER_MILLE = 10
_MILLI = 1_000
#: temperatures, cooling and the memory's clock move slowly, and the power controller is asked for each of them
_SLOW_NS = NS_PER_S
_COLDEST_C, _HOTTEST_C = -100.0, 200.0
#: what the power chip of a TX2 or Nano says whatever its temperature
_PMIC_CONSTANTS_C = (100.0, 50.0)
_GPU_DEVFREQ = re.compile(r"\.(gpu|gm20b|gp10b|gv11b|ga10b|gb10b)$|^gpu-gpc-0$|^(gm20b|gp10b|gv11b|ga10b|gb10b)$")
_GPU_LOADS = ("sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load")
_EMC_RATES = ("/sys/kernel/debug/bpmp/debug/clk/emc", "/sys/kernel/debug/clk/emc")
_EMC_FILES = ("rate", "clk_rate", "cur_freq")
#: cooling devices that take no speed away
_HARMLESS = ("fan", "hot-surface")
#: cooling devices whose state counts steps below the highest clock, by heat or by the power mode
_CAPS = ("devfreq", "cpufreq", "thermal-cpufreq", "thermal-devfreq")
_OTHER = "sudo tegrastats shows whether the board's tools see the GPU; in a container, pass /sys/devices to it"


def find(
    frequency_paths: Sequence[str], *, rate_paths: Sequence[str] = (), clock: Clock, root: Path = Path("/")
) -> SocMonitor | Unavailable:
    """The board's GPU in /sys, tried out: its clock or its load must answer.

    Args:
        frequency_paths: the GPU's devfreq folders by the device's facts; any devfreq device of a Tegra GPU after them.
        rate_paths: where the memory's clock is read, by the same; mostly root's alone, and then left out.
        clock: for what is read once a second only.
        root: where ``sys`` lies.
    """
    folder = _gpu_folder(frequency_paths, root)
    files = {
        "soc_gpu_freq_mhz": _opened([] if folder is None else [folder / "cur_freq"]),
        "soc_gpu_cap_mhz": _opened([] if folder is None else [folder / "max_freq"]),
        "soc_gpu_util_pct": _opened(_loads(folder, root)),
    }
    gpu = {channel: attribute for channel, attribute in files.items() if attribute is not None}
    if not gpu.keys() & {"soc_gpu_freq_mhz", "soc_gpu_util_pct"}:
        return _unavailable(folder)
    emc = _opened([below(root, path) / file for path in (*rate_paths, *_EMC_RATES) for file in _EMC_FILES])
    slow = {**_zones(root), **_cooling(root), **_events(root)}
    return SocMonitor(gpu, slow=slow if emc is None else {"soc_emc_freq_mhz": emc, **slow}, clock=clock)


class SocMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of a Jetson's chip.

    Channels: ``soc_gpu_util_pct``, ``soc_gpu_freq_mhz`` and ``soc_gpu_cap_mhz`` (the highest clock it may take now) at
    each reading; once a second ``soc_emc_freq_mhz``, ``soc_temp_<zone>_c``, ``soc_cooling_<device>_state`` (0: not
    held back) and ``soc_<counter>_events``. A sensor that is switched off with its part gives None.
    """

    name = "soc"

    def __init__(self, gpu: Mapping[str, Attribute], *, slow: Mapping[str, Attribute], clock: Clock) -> None:
        self._load = gpu.get("soc_gpu_util_pct")
        self._clocks = {
            channel: Watched(attribute.number, what=str(attribute.path), clock=clock)
            for channel, attribute in gpu.items()
            if channel != "soc_gpu_util_pct"
        }
        self._slow = dict(slow)
        self._clock = clock
        self._slow_due_ns = clock.now_ns()
        self.gpu_util_channel = None if self._load is None else "soc_gpu_util_pct"
        self.gpu_freq_channel = "soc_gpu_freq_mhz" if "soc_gpu_freq_mhz" in gpu else None
        self.memory_used_channel: str | None = None
        self.temperature_channels = tuple(channel for channel in slow if channel.endswith("_c"))
        self._cooling_before = {
            channel: number_or_none(attribute) or 0 for channel, attribute in slow.items() if channel.endswith("_state")
        }

    def read(self) -> Mapping[str, float | None]:
        """The current values.

        Raises:
            ToolFailed: the GPU's clock cannot be read any more.
        """
        values: dict[str, float | None] = {}
        if self._load is not None:
            values["soc_gpu_util_pct"] = _load_pct(self._load)
        for channel, watched in self._clocks.items():
            hertz = watched.value()
            values[channel] = None if hertz is None else hertz / _HZ_PER_MHZ
        now_ns = self._clock.now_ns()
        if now_ns >= self._slow_due_ns:
            self._slow_due_ns = now_ns + _SLOW_NS
            values.update((channel, _scaled(channel, attribute)) for channel, attribute in self._slow.items())
        return values

    def throttle_reasons(self, readings: Mapping[str, Sequence[float | None]]) -> tuple[str, ...] | None:
        """Why the board held itself back, by readings of its channels over a run; None where it has no such sign.

        A cooling device counts that names itself one of throttling, and one that holds a clock down further than when
        the monitor began (a power mode holds clocks down too); an event counter counts by its growth.
        """
        signs = [channel for channel in self._slow if channel.endswith(("_state", "_events"))]
        if not signs:
            return None
        reasons = (self._reason(channel, [v for v in readings.get(channel, ()) if v is not None]) for channel in signs)
        return tuple(reason for reason in reasons if reason is not None)

    def probe_text(self) -> str:
        """One live reading for people: ``GPU 854 MHz at 12 % load, GPU-therm 41 °C``."""
        values = self.read()
        gpu_mhz, load_pct = values.get("soc_gpu_freq_mhz"), values.get("soc_gpu_util_pct")
        parts = [f"GPU {units.significant(gpu_mhz)} MHz at {units.significant(load_pct)} % load"]
        zones = {channel: number_or_none(self._slow[channel]) for channel in self.temperature_channels}
        hottest = max(((value, channel) for channel, value in zones.items() if value is not None), default=None)
        if hottest is not None:
            name = hottest[1].removeprefix("soc_temp_").removesuffix("_c")
            parts.append(f"{name} {units.significant(hottest[0] / _MILLI)} °C")
        return ", ".join(parts)

    def _reason(self, channel: str, values: Sequence[float]) -> str | None:
        if not values:
            return None
        if channel.endswith("_events"):
            growth = values[-1] - values[0]
            name = channel.removeprefix("soc_").removesuffix("_events")
            return f"{name}: {growth:.0f} events of too much current or too little voltage" if growth > 0 else None
        name = channel.removeprefix("soc_cooling_").removesuffix("_state")
        before = self._cooling_before[channel] if name.startswith(_CAPS) else 0
        return f"{name} in state {max(values):.0f}" if max(values) > before else None


def _gpu_folder(paths: Sequence[str], root: Path) -> Path | None:
    """The GPU's devfreq folder: one of the facts' paths, or the device of that class that bears a GPU's name."""
    named = [below(root, path) for path in paths]
    by_class = [f for f in sorted((root / "sys/class/devfreq").glob("*")) if _GPU_DEVFREQ.search(f.name)]
    return next((folder for folder in (*named, *by_class) if (folder / "cur_freq").exists()), None)


def _loads(folder: Path | None, root: Path) -> list[Path]:
    """Where the GPU's load may stand: at the device that the devfreq folder belongs to, or at its older name."""
    named = [root / path for path in _GPU_LOADS]
    if folder is None:
        return named
    real = folder.resolve()  # the class of devices holds links
    return [folder / "device/load", real.parent / "load", real.parent.parent / "load", *named]


def _opened(paths: Sequence[Path]) -> Attribute | None:
    """The first file that holds a number now."""
    for path in paths:
        try:
            attribute = Attribute(path)
            attribute.number()
        except (OSError, ValueError):
            continue
        return attribute
    return None


def _zones(root: Path) -> dict[str, Attribute]:
    """The thermal zones by channel, those left out that say the same whatever the temperature."""
    found: dict[str, Attribute] = {}
    for folder, kind in _typed(root, "thermal_zone*"):
        attribute = _kept_open(folder / "temp")
        constant = "pmic" in kind.lower() and attribute is not None and _celsius(attribute) in _PMIC_CONSTANTS_C
        if attribute is not None and not constant:
            found.setdefault(f"soc_temp_{kind}_c", attribute)
    return found


def _cooling(root: Path) -> dict[str, Attribute]:
    """The cooling devices by channel, without fans."""
    found: dict[str, Attribute] = {}
    for folder, kind in _typed(root, "cooling_device*"):
        attribute = _kept_open(folder / "cur_state")
        if attribute is not None and not any(word in kind.lower() for word in _HARMLESS):
            found.setdefault(f"soc_cooling_{kind}_state", attribute)
    return found


def _events(root: Path) -> dict[str, Attribute]:
    """The counters of over-current and under-voltage events (Orin and newer)."""
    found = {}
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        attribute = _kept_open(path)
        if attribute is not None and number_or_none(attribute) is not None:
            found[f"soc_{path.name.removesuffix('_event_cnt')}_events"] = attribute
    return found


def _typed(root: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    for folder in sorted((root / "sys/class/thermal").glob(pattern)):
        yield folder, channel_name(text_of(folder / "type") or folder.name)


def _kept_open(path: Path) -> Attribute | None:
    try:
        return Attribute(path)
    except OSError:
        return None


def _scaled(channel: str, attribute: Attribute) -> float | None:
    if channel.endswith("_c"):
        return _celsius(attribute)
    value = number_or_none(attribute)
    return value if value is None or not channel.endswith("_mhz") else value / _HZ_PER_MHZ


def _celsius(attribute: Attribute) -> float | None:
    value = number_or_none(attribute)
    return None if value is None or not _COLDEST_C < value / _MILLI < _HOTTEST_C else value / _MILLI


def _load_pct(attribute: Attribute) -> float | None:
    """None while the GPU is switched off, or for what cannot be a load."""
    value = number_or_none(attribute)
    return None if value is None or not 0 <= value <= 1_000 else value / _PER_MILLE


def _unavailable(folder: Path | None) -> Unavailable:
    if folder is None:
        reason = "no GPU of a Jetson is shown in /sys (no devfreq device of its name)"
    else:
        reason = f"{folder} tells neither a clock nor a load"
    return Unavailable(source="soc", reason=reason, do=_OTHER)
