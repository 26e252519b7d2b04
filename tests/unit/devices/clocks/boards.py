"""A TX2's files and its nvpmodel, as small as setting clocks needs them; and espdeploys that are killed over it.

Loaded from its file, by the tests beside it and by benchmarks/clock_restore.py: tests are no package.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

GPU = "sys/devices/17000000.gp10b/devfreq/17000000.gp10b"
CPU = "sys/devices/system/cpu"
EMC = "sys/kernel/nvpmodel_emc_cap/emc_iso_cap"
STATUS = "var/lib/nvpmodel/status"
STEPS_HZ = (
    "114750000 216750000 318750000 420750000 522750000 624750000 726750000 "
    "854250000 930750000 1032750000 1122000000 1236750000 1300500000"
)
#: number, name, limit of the GPU in Hz, cores that are off, cap of the memory controller
MODES = (
    (0, "MAXN", 1300500000, "", 0),
    (1, "MAXQ", 850000000, "1 2", 1331200000),
    (2, "MAXP_CORE_ALL", 1120000000, "", 1600000000),
    (3, "MAXP_CORE_ARM", 1120000000, "1 2", 1600000000),
)

#: a mode takes its time, file after file, so that a kill can come in between
NVPMODEL = """#!/bin/sh
root="{root}"
put() {{ [ -e "$root/$2" ] && echo "$1" > "$root/$2"; }}
mode() {{ # name limit off emc
  for core in 0 1 2 3 4 5; do
    case " $3 " in *" $core "*) on=0 ;; *) on=1 ;; esac
    put $on {cpu}/cpu$core/online
    put 345600 {cpu}/cpu$core/cpufreq/scaling_min_freq
    put 2035200 {cpu}/cpu$core/cpufreq/scaling_max_freq
  done
  if [ -n "$3" ]; then put 0,3-5 {cpu}/online; else put 0-5 {cpu}/online; fi
  sleep 0.01
  put 114750000 {gpu}/min_freq
  put $2 {gpu}/max_freq
  put $4 {emc}
  put "pmode:000$ID fmode:quiet" {status}
}}
if [ "$1" = -q ]; then
  [ "$NVPMODEL_FAULT" = silent ] && {{ echo "NVPM ERROR: failed to read PMC"; exit 255; }}
  id=$(sed 's/pmode:000\\([0-9]\\).*/\\1/' "$root/{status}")
  echo "NVPM ERROR: Error opening /sys/kernel/debug/bpmp/emc: 13" >&2
  echo "NV Fan Mode:quiet"
  case $id in {names} esac
  echo $id
  exit 0
fi
[ "$1" = -m ] || exit 1
ID=$2
case "$NVPMODEL_FAULT" in
reboot)
  echo "NVPM WARN: Golden image context is already created"
  echo "NVPM WARN: Reboot required for changing to this power mode: $2"
  echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
  read answer || {{ echo "NVPM ERROR: bad input!"; exit 255; }}
  [ "$answer" = YES ] && touch "$root/rebooted"
  exit 0 ;;
denied) echo "NVPM ERROR: Error opening /sys/devices/system/cpu/cpu1/online: 13"; exit 255 ;;
nothing) exit 0 ;;
esac
case $2 in {modes} *) echo "NVPM ERROR: request for bad power mode $2"; exit 255 ;; esac
"""


def make_tx2(root: Path, mode: int = 3) -> Path:
    """Write the board's files below ``root``, in a power mode; gives the folder with its tools, for PATH."""
    files = {
        f"{GPU}/available_frequencies": STEPS_HZ,
        f"{GPU}/min_freq": "114750000",
        f"{GPU}/max_freq": "1120000000",
        f"{GPU}/cur_freq": "114750000",
        f"{GPU}/governor": "nvhost_podgov",
        "sys/devices/17000000.gp10b/power/control": "auto",
        EMC: "1600000000",
        f"{CPU}/online": "0,3-5",
        STATUS: f"pmode:000{mode} fmode:quiet",
        "proc/device-tree/serial-number": "0420318000000",
        "etc/nvpmodel.conf": configuration(),
    }
    for core in range(6):
        files[f"{CPU}/cpu{core}/online"] = "0" if core in (1, 2) else "1"
        files[f"{CPU}/cpu{core}/cpufreq/scaling_min_freq"] = "345600"
        files[f"{CPU}/cpu{core}/cpufreq/scaling_max_freq"] = "1190400"  # by a user: the mode itself would allow more
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    tools = root / "bin"
    tools.mkdir()
    tool = tools / "nvpmodel"
    tool.write_text(
        NVPMODEL.format(
            root=root,
            gpu=GPU,
            cpu=CPU,
            emc=EMC,
            status=STATUS,
            names=" ".join(f'{id_}) echo "NV Power Mode: {name}" ;;' for id_, name, *_ in MODES),
            modes=" ".join(f'{id_}) mode {name} {hz} "{off}" {emc} ;;' for id_, name, hz, off, emc in MODES),
        )
    )
    tool.chmod(0o755)
    return tools


def configuration() -> str:
    """A nvpmodel.conf of these modes, with an example in its head as the real ones have."""
    lines = ["# < POWER_MODEL ID=id_num NAME=mode_name >", "# GPU MAX_FREQ 1", "< PARAM TYPE=CLOCK NAME=GPU >"]
    lines += [f"MAX_FREQ /{GPU}/max_freq", f"MIN_FREQ /{GPU}/min_freq"]
    for id_, name, hz, _, emc in MODES:
        lines += ["", f"< POWER_MODEL ID={id_} NAME={name} >", "GPU MIN_FREQ 0"]
        lines += [f"GPU MAX_FREQ {-1 if id_ == 0 else hz}", f"EMC MAX_FREQ {emc}"]
    return "\n".join([*lines, "< PM_CONFIG DEFAULT=3 >"])


def state(root: Path) -> dict[str, str]:
    """All that clocks and power mode are, by file; what a kernel derives from others left out."""
    paths = [path for folder in ("sys", "var/lib/nvpmodel") for path in (root / folder).rglob("*") if path.is_file()]
    found = {str(path.relative_to(root)): path.read_text().strip() for path in paths if path.name != "cur_freq"}
    del found[f"{CPU}/online"]
    return found


#: holds sessions one after the other until it is killed. One process loads everything once and forks for each line
#: that it reads, so that a kill costs no start of Python.
SERVER = """
import os, signal, sys
from pathlib import Path
from espdeploy import recipes
from espdeploy.devices.clocks import clock_session
from espdeploy.devices.clocks import keeper, restore, session

def hold(root):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.environ["PATH"] = f"{root}/bin:{os.environ['PATH']}"
    profile = recipes.device_profile("tx2")
    while True:
        with clock_session(profile, root=root, journal=root / "journal") as clocks:
            clocks.lock_gpu(318.75)
            clocks.set_power_mode("MAXN")
            clocks.lock_gpu(1300.5)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            hold(Path(line.strip()))
        except KeyboardInterrupt:
            os._exit(130)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Killed:
    """How one espdeploy ended: the signal, when it came, the exit code, and whether clocks were changed by then."""

    signal: str
    after_s: float
    exit_code: int
    changed: bool
    restored: bool
    said: list[str]


class Killer:
    """Starts espdeploys that change clocks, and kills them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)  # noqa: S311  # moments, no secrets
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def kill(self, number: signal.Signals, *, within_s: float) -> Killed:
        """One run: killed at a random moment, and what a later espdeploy puts back where this one could not."""
        from espdeploy.devices.clocks import recover

        self._count += 1
        root = self._folder / f"board{self._count}"
        make_tx2(root)
        before = state(root)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{root}\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        after_s = self._random.uniform(0, within_s)
        time.sleep(after_s)
        os.kill(pid, number)
        exit_code = int(self._server.stdout.readline())
        changed = state(root) != before
        said: list[str] = []
        if number is signal.SIGKILL:
            path, os.environ["PATH"] = os.environ["PATH"], f"{root}/bin:{os.environ['PATH']}"
            said = recover(root / "journal", root=root)
            os.environ["PATH"] = path
        left = list((root / "journal").glob("clocks-*.json"))
        return Killed(
            signal=number.name,
            after_s=after_s,
            exit_code=exit_code,
            changed=changed,
            restored=state(root) == before and not (number is not signal.SIGKILL and changed) and not left,
            said=said,
        )

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=30)
