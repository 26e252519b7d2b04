"""A stand-in Jetson TX2 for tests: a folder tree and tools that behave as a board does, driven by one physical model.

    with install(tmp_path / "board", mode=3) as board:
        monkeypatch.setenv(...)  # each of board.environment
        board.set_fault("throttling", 45)
        truth = board.truth()
        truth.energy_j("VDD_IN", start_s, end_s), truth.latency_ms(854.25), truth.sensitivity(624.75, 854.25)
        board.lock(854.25), board.run("nvpmodel", "-q")

It lives in real time. A process, the board, steps the model (tx2_physics.py) every 10 ms, and ends with the test. What
may go wrong stands in tx2_faults.py; trtexec heeds FAKE_FAULT too (tests/fakes/trtexec). A test loads this file by its
path (tests are no package), and enters it in sys.modules.

Where it is not a TX2: what is written to a file of sysfs is looked at within a step, so that a value which the kernel
would refuse is put back then, and not refused to the writer; and the memory controller's clock changes no latency.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

_FOLDER = Path(__file__).parent
if str(_FOLDER) not in sys.path:
    sys.path.append(str(_FOLDER))

import tx2_faults  # noqa: E402 (the path comes first)
import tx2_link  # noqa: E402
import tx2_tree  # noqa: E402
from tx2_physics import MODES, PARTS, RAILS, STEPS_MHZ, TOTAL, Network, Options, State  # noqa: E402
from tx2_truth import Truth  # noqa: E402

__all__ = ["FAULTS", "MODES", "PARTS", "RAILS", "STEPS_MHZ", "TOTAL", "Network", "Options", "State", "Tx2", "install"]

FAULTS = tx2_faults.FAULTS
_STOP_S = 10
_RUN_S = 60
_LOCK_S = 5
#: what each program runs: its module, and how it is called
_PROGRAMS = {
    "trtexec": "import fake_releases\nfake_releases.RELEASE = '8.2.1'\nimport tx2_trtexec\ntx2_trtexec.main(FOLDER)\n",
    "tegrastats": "import tx2_tegrastats\ntx2_tegrastats.main(FOLDER)\n",
    "nvpmodel": "import tx2_nvpmodel\nsys.exit(tx2_nvpmodel.main(FOLDER))\n",
    "jetson_clocks": "import tx2_jetson_clocks\nsys.exit(tx2_jetson_clocks.main(FOLDER))\n",
    "unprivileged": "import tx2_unprivileged\ntx2_unprivileged.main()\n",
    "nvprof": "import tx2_nvprof\nsys.exit(tx2_nvprof.main(FOLDER))\n",
}


class Tx2:
    """One stand-in. As a context it is started, and stopped at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._board: subprocess.Popen[str] | None = None
        self.root = folder / "root"
        self.bin = folder / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make espdeploy and its tools see this board."""
        return {
            "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}",
            "ESPDEPLOY_SYSTEM_ROOT": str(self.root),
        }

    def start(self) -> Tx2:
        """Start the board; it runs once this returns."""
        self._board = subprocess.Popen(
            [sys.executable, "-SEB", str(_FOLDER / "tx2_board.py"), str(self._folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._board.stdout is not None
        if self._board.stdout.readline() != "ready\n":
            self.stop()
            raise RuntimeError("the stand-in's board did not start")
        return self

    def stop(self) -> None:
        """End the board, which puts back what a fault took away. The files stay."""
        board, self._board = self._board, None
        if board is None:
            return
        assert board.stdin is not None
        assert board.stdout is not None
        board.stdin.close()
        try:
            board.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            board.kill()
            board.wait()
        board.stdout.close()

    def __enter__(self) -> Tx2:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def process(self) -> int | None:
        """The board's process id; None where it does not run."""
        return None if self._board is None else self._board.pid

    def truth(self) -> Truth:
        """What is exactly so."""
        return Truth(self._folder)

    def set_fault(self, name: str, value: Any = True) -> None:
        """Turn a fault on, or off with False; tools and board see it within a step or a line."""
        faults = tx2_faults.read(self._folder) | {name: value}
        tx2_faults.write(self._folder, {fault: on for fault, on in faults.items() if on is not False})

    def clear_faults(self) -> None:
        """All is well again."""
        tx2_faults.write(self._folder, {})

    def run(self, *command: str, told: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of the board's programs to its end; ``told`` is its standard input."""
        argv, environment = [self.bin / command[0], *command[1:]], os.environ | self.environment
        return subprocess.run(
            argv, env=environment, input=told, capture_output=True, text=True, check=False, timeout=_RUN_S
        )

    @contextmanager
    def beside(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """One of the board's programs that runs on, its output a pipe, until the block ends."""
        process = subprocess.Popen(
            [self.bin / command[0], *command[1:]], env=os.environ | self.environment, stdout=subprocess.PIPE
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def lock(self, mhz: float) -> None:
        """Hold the GPU's clock at a step, as root would: the maximum is raised before the minimum closes in."""
        folder, hertz = self.root / tx2_tree.DEVFREQ, round(mhz * tx2_tree.HZ)
        for name, value in (("max_freq", round(STEPS_MHZ[-1] * tx2_tree.HZ)), ("min_freq", hertz), ("max_freq", hertz)):
            (folder / name).write_text(f"{value}\n")
            tx2_link.taken(self._folder)
        given_up_s = time.monotonic() + _LOCK_S  # a clock that was throttled comes back step by step
        while self.hz("cur_freq") != hertz:
            if time.monotonic() > given_up_s:
                raise ValueError(
                    f"the board does not hold {mhz} MHz: no step, above the mode's limit, or a fault is on"
                )
            time.sleep(0.01)

    def hz(self, name: str) -> int:
        """A frequency that a file of the GPU's devfreq folder holds, such as ``cur_freq``."""
        return int((self.root / tx2_tree.DEVFREQ / name).read_text())


def install(folder: Path, **options: Any) -> Tx2:
    """Write a stand-in into ``folder``, which must not hold one; the options are those of tx2_physics.Options."""
    chosen = Options(**options)
    root, programs = folder / "root", folder / "bin"
    programs.mkdir(parents=True)
    tx2_tree.make(root, MODES[chosen.mode])
    (folder / "options.json").write_text(json.dumps(asdict(chosen)))
    tx2_faults.write(folder, {})
    for name, text in _PROGRAMS.items():
        program = programs / name
        program.write_text(
            f"#!{sys.executable} -SE\nimport sys\nfrom pathlib import Path\n"
            f"sys.path[:0] = [{str(_FOLDER)!r}, {str(_FOLDER.parent / 'trtexec')!r}]\nsys.dont_write_bytecode = True\n"
            f"FOLDER = Path({str(folder.resolve())!r})\n{text}"
        )
        program.chmod(0o755)
    at_home = root / "usr/src/tensorrt/bin"  # where JetPack has it
    at_home.mkdir(parents=True)
    (at_home / "trtexec").symlink_to(programs.resolve() / "trtexec")
    return Tx2(folder)
