"""What sampling a Jetson's sensors costs: the real sampler at 10 Hz over a folder laid out like a board's /sys.

Two INA3221 sensors (each layout), the GPU's files, eight temperatures and the process monitor, for 20 s each. The files
lie on a disk here: on a board the drivers' transfers over I2C come on top, in which a thread mostly waits.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import write

from espdeploy.monitors import ina3221, soc
from espdeploy.monitors.process import ProcessMonitor
from espdeploy.monitors.sampler import Sampler
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Monitor, SystemClock
from espdeploy.recipes import device_profile

PERIOD_S = 0.1
SECONDS = 20.0
READS = 500
LIMIT_PCT = 2.0


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def jetpack_4(root: Path) -> str:
    """A TX2: six rails, a file each."""
    rails = ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"), ("VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR")
    for sensor, names in enumerate(rails):
        folder = root / f"sys/bus/i2c/drivers/ina3221x/0-004{sensor}/iio:device{sensor}"
        for index, name in enumerate(names):
            put(folder / f"rail_name_{index}", name)
            put(folder / f"in_power{index}_input", 1000 + index)
    gpu(root, "sys/devices/gpu.0/devfreq/17000000.gp10b", "sys/devices/gpu.0/load")
    return "tx2"


def jetpack_6(root: Path) -> str:
    """An AGX Orin: six channels, two files each."""
    rails = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), ("VDDQ_VDD2_1V8AO", "VDD_A", "VDD_B")
    for sensor, names in enumerate(rails):
        folder = root / f"sys/bus/i2c/drivers/ina3221/1-004{sensor}/hwmon/hwmon{sensor}"
        for index, name in enumerate(names, start=1):
            put(folder / f"in{index}_label", name)
            put(folder / f"in{index}_input", 5000)
            put(folder / f"curr{index}_input", 200 + index)
    gpu(root, "sys/devices/17000000.ga10b/devfreq/17000000.ga10b", "sys/devices/17000000.ga10b/load")
    return "orin-agx"


def gpu(root: Path, devfreq: str, load: str) -> None:
    put(root / devfreq / "cur_freq", 854250000)
    put(root / devfreq / "max_freq", 1300500000)
    put(root / load, 437)
    put(root / "sys/kernel/debug/bpmp/debug/clk/emc/rate", 1866000000)
    for index in range(8):
        put(root / f"sys/class/thermal/thermal_zone{index}/type", f"zone{index}-thermal")
        put(root / f"sys/class/thermal/thermal_zone{index}/temp", 41000 + index)
        put(root / f"sys/class/thermal/cooling_device{index}/type", f"part{index}-throttle-alert")
        put(root / f"sys/class/thermal/cooling_device{index}/cur_state", 0)


def monitors(root: Path, device: str) -> list[Monitor]:
    profile, clock = device_profile(device), SystemClock()
    assert profile.rails is not None
    assert profile.gpu is not None
    found = [
        ina3221.find(profile.rails, clock=clock, root=root),
        soc.find(profile.gpu.frequency_paths, clock=clock, root=root),
    ]
    assert not any(isinstance(monitor, Unavailable) for monitor in found), found
    return [*found, ProcessMonitor(clock=clock)]  # type: ignore[list-item]


def read_us(monitor: Monitor) -> float:
    """Processor time of one reading; the median, since files read once a second are read now and then."""
    taken = []
    for _ in range(READS):
        start_ns = time.thread_time_ns()
        monitor.read()
        taken.append(time.thread_time_ns() - start_ns)
    return statistics.median(taken) / 1000


def cost(layout: Callable[[Path], str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        watching = monitors(root, layout(root))
        with Sampler(watching, clock=SystemClock(), period_s=PERIOD_S) as sampler:
            time.sleep(SECONDS)
        samples = len(sampler.readings("ina3221_total_w")[0])
        reads = {monitor.name: read_us(monitor) for monitor in watching}
        return {
            "sampler_cpu_pct": sampler.cpu_pct,
            "channels": len(sampler.channels),
            "samples": samples,
            "read_cpu_us": reads,
        }


def main() -> None:
    figures: dict[str, object] = {"limit_cpu_pct": LIMIT_PCT, "rate_hz": 1 / PERIOD_S, "seconds": SECONDS}
    for layout in (jetpack_4, jetpack_6):
        figures[layout.__name__] = cost(layout)
    write("sampler_cost", figures)


if __name__ == "__main__":
    main()
