"""The stand-in's files: what of a TX2's /sys, /proc and /etc espdeploy and the fake tools read and write.

Layout and texts are those of Linux for Tegra 32.7: INA3221 under iio, devfreq of 17000000.gp10b, thermal zones, BPMP's
clocks in debugfs. Files that the board keeps up to date have a fixed width, so that they are overwritten in place, and
whoever reads one at any time, or keeps it open, gets a whole value.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from tx2_physics import MODES, RAILS, STEPS_MHZ, Mode

HZ = 1_000_000
GPU = Path("sys/devices/17000000.gp10b")
DEVFREQ = GPU / "devfreq/17000000.gp10b"
LOAD = GPU / "load"
MIN_FREQ, MAX_FREQ, CUR_FREQ = DEVFREQ / "min_freq", DEVFREQ / "max_freq", DEVFREQ / "cur_freq"
EMC_CAP = Path("sys/kernel/nvpmodel_emc_cap/emc_iso_cap")
DEBUG = Path("sys/kernel/debug")
EMC = DEBUG / "bpmp/debug/clk/emc"
STATUS = Path("var/lib/nvpmodel/status")
CPU = Path("sys/devices/system/cpu")
EMC_MAX_HZ, EMC_IDLE_HZ = 1_866_000_000, 665_600_000
CPU_MIN_KHZ = 345_600
MEMORY_MB, MEMORY_USED_MB, SWAP_MB = 7859, 896, 3929  # MiB, as tegrastats counts them
#: type of the zone, name that tegrastats gives it, and its temperature: a constant, or so much of the GPU's rise
ZONES = (
    ("PLL-therm", "PLL", 0.9),
    ("MCPU-therm", "MCPU", 0.9),
    ("PMIC-Die", "PMIC", None),
    ("Tboard_tegra", "Tboard", 0.3),
    ("GPU-therm", "GPU", 1.0),
    ("BCPU-therm", "BCPU", 0.9),
    ("thermal-fan-est", "thermal", 0.95),
    ("Tdiode_tegra", "Tdiode", 0.6),
)
PMIC_C = 100.0
#: how many steps heat takes from the clock; what a TX2 calls this device is from memory
COOLING = Path("sys/class/thermal/cooling_device0")
_NUMBER, _HERTZ = 7, 10
#: what root may set, and others may only read
SETTINGS = (
    MIN_FREQ,
    MAX_FREQ,
    DEVFREQ / "governor",
    GPU / "railgate_enable",
    EMC_CAP,
    *(CPU / f"cpu{core}/{name}" for core in range(6) for name in ("online", "cpufreq/scaling_min_freq")),
    *(CPU / f"cpu{core}/cpufreq/scaling_max_freq" for core in range(6)),
    STATUS,
)


def sensor(rail: str, what: str) -> Path:
    """A file of the rail's INA3221: ``power`` in mW, ``current`` in mA, ``voltage`` in mV."""
    number = RAILS.index(rail)
    chip, channel = divmod(number, 3)
    folder = Path(f"sys/bus/i2c/drivers/ina3221x/0-004{chip}/iio:device{chip}")
    return folder / (f"rail_name_{channel}" if what == "name" else f"in_{what}{channel}_input")


def zone(number: int, what: str) -> Path:
    return Path(f"sys/class/thermal/thermal_zone{number}/{what}")


def fixed(value: float, *, hertz: bool = False) -> str:
    """A number as a file of fixed width has it."""
    return f"{round(value):>{_HERTZ if hertz else _NUMBER}}\n"


def online_text(cores: tuple[int, ...]) -> str:
    """``0,3-5`` of (0, 3, 4, 5)."""
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def make(root: Path, mode: Mode) -> None:
    """Write the whole tree, as the board is after it has started in a mode and nobody has set anything else."""
    texts = _identity() | _gpu(mode) | _cpu(mode) | _sensors()
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "sys/class/power_supply").mkdir(parents=True)
    for link, target in (
        ("sys/devices/gpu.0", "17000000.gp10b"),
        ("sys/class/devfreq/17000000.gp10b", "../../devices/17000000.gp10b/devfreq/17000000.gp10b"),
        (str(DEVFREQ / "device"), "../.."),
    ):
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)


def _identity() -> dict[Path, str]:
    zones = {
        "proc/device-tree/model": "quill\0",
        "proc/device-tree/compatible": "nvidia,p2597-0000+p3310-1000\0nvidia,quill\0nvidia,tegra186\0",
        "etc/nv_tegra_release": (
            "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64, "
            "DATE: Sat Feb 19 17:07:00 UTC 2022\n"
        ),
        "etc/os-release": 'NAME="Ubuntu"\nVERSION_ID="18.04"\nPRETTY_NAME="Ubuntu 18.04.6 LTS"\n',
        "etc/nvpmodel.conf": _configuration(),
        "proc/sys/kernel/osrelease": "4.9.253-tegra\n",
        "proc/sys/kernel/arch": "aarch64\n",
        "proc/sys/kernel/random/boot_id": f"{uuid.uuid4()}\n",
        "proc/device-tree/serial-number": "0423418056782\0",
        "proc/1/cgroup": "0::/init.scope\n",
        "proc/meminfo": (
            f"MemTotal:        {MEMORY_MB * 1024} kB\n"
            f"MemFree:         {(MEMORY_MB - MEMORY_USED_MB - 900) * 1024} kB\n"
            f"MemAvailable:    {(MEMORY_MB - MEMORY_USED_MB) * 1024} kB\n"
            f"SwapTotal:       {SWAP_MB * 1024} kB\nSwapFree:        {SWAP_MB * 1024} kB\n"
        ),
        "sys/devices/soc0/family": "Tegra\n",
        "sys/devices/soc0/machine": "quill\n",
        "sys/module/tegra_fuse/parameters/tegra_chip_id": "24\n",
    }
    return {Path(path): text for path, text in zones.items()}


def _gpu(mode: Mode) -> dict[Path, str]:
    return {
        DEVFREQ / "available_frequencies": " ".join(str(round(step * HZ)) for step in STEPS_MHZ) + "\n",
        MIN_FREQ: f"{round(STEPS_MHZ[0] * HZ)}\n",
        MAX_FREQ: f"{round(mode.gpu_mhz * HZ)}\n",
        CUR_FREQ: fixed(STEPS_MHZ[0] * HZ, hertz=True),
        DEVFREQ / "governor": "nvhost_podgov\n",
        DEVFREQ
        / "available_governors": "wmark_active wmark_simple nvhost_podgov userspace performance simple_ondemand\n",
        GPU / "of_node/name": "gp10b\0",
        GPU / "railgate_enable": "1\n",
        LOAD: fixed(0),
        EMC_CAP: f"{round(mode.emc_mhz * HZ)}\n",
        EMC / "rate": fixed(EMC_IDLE_HZ, hertz=True),
        EMC / "min_rate": "40800000\n",
        EMC / "max_rate": f"{EMC_MAX_HZ}\n",
        EMC / "mrq_rate_locked": "0\n",
        STATUS: f"pmode:{mode.id:04d} fmode:quiet\n",
    }


def _cpu(mode: Mode) -> dict[Path, str]:
    """Core 0 and 3 to 5 are Cortex-A57, 1 and 2 Denver."""
    texts = {CPU / "online": fixed_range(mode.cores), CPU / "possible": "0-5\n", CPU / "present": "0-5\n"}
    lines = []
    for core in range(6):
        folder = CPU / f"cpu{core}"
        texts |= {
            folder / "online": f"{int(core in mode.cores)}\n",
            folder / "cpufreq/scaling_governor": "schedutil\n",
            folder / "cpufreq/scaling_min_freq": f"{CPU_MIN_KHZ}\n",
            folder / "cpufreq/scaling_max_freq": f"{round(mode.cpu_mhz * 1000)}\n",
            folder / "cpufreq/scaling_cur_freq": fixed(CPU_MIN_KHZ),
            folder / "cpuidle/state0/name": "WFI\n",
            folder / "cpuidle/state0/disable": "0\n",
            folder / "cpuidle/state1/name": "c7\n",
            folder / "cpuidle/state1/disable": "0\n",
        }
        implementer, part = ("0x4e", "0x003") if core in (1, 2) else ("0x41", "0xd07")
        if core in mode.cores:
            lines.append(f"processor\t: {core}\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n")
    texts[Path("proc/cpuinfo")] = "\n".join(lines)
    return texts


def fixed_range(cores: tuple[int, ...]) -> str:
    return f"{online_text(cores):<7}\n"


def _sensors() -> dict[Path, str]:
    texts = {}
    for rail in RAILS:
        texts[sensor(rail, "name")] = f"{rail}\n"
        texts |= {sensor(rail, what): fixed(0) for what in ("power", "current", "voltage")}
    for number, (kind, _, _) in enumerate(ZONES):
        texts |= {zone(number, "type"): f"{kind}\n", zone(number, "temp"): fixed(1000 * PMIC_C)}
    texts |= {COOLING / "type": "gpu-balanced\n", COOLING / "max_state": f"{len(STEPS_MHZ) - 1}\n"}
    return texts | {COOLING / "cur_state": fixed(0)}


def _configuration() -> str:
    """nvpmodel's, of which the power modes are read: names of settings and their files, then values for each mode."""
    lines = ["< PARAM TYPE=FILE NAME=CPU_ONLINE >"]
    lines += [f"CORE_{core} /{CPU}/cpu{core}/online" for core in range(1, 6)]
    lines += ["", "< PARAM TYPE=CLOCK NAME=GPU >", f"FREQ_TABLE /{DEVFREQ}/available_frequencies"]
    lines += [f"MAX_FREQ /{MAX_FREQ}", f"MIN_FREQ /{MIN_FREQ}"]
    lines += ["", "< PARAM TYPE=CLOCK NAME=EMC >", f"MAX_FREQ /{EMC_CAP}"]
    for mode in MODES:
        lines += ["", f"< POWER_MODEL ID={mode.id} NAME={mode.name} >"]
        lines += [f"CPU_ONLINE CORE_{core} {int(core in mode.cores)}" for core in range(1, 6)]
        top = "-1" if mode.gpu_mhz == STEPS_MHZ[-1] else round(mode.gpu_mhz * HZ)
        lines += ["GPU MIN_FREQ 0", f"GPU MAX_FREQ {top}", f"EMC MAX_FREQ {round(mode.emc_mhz * HZ)}"]
    return "\n".join([*lines, "", "< PM_CONFIG DEFAULT=3 >", ""])
