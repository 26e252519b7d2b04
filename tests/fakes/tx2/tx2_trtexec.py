"""trtexec 8.2.1 on the stand-in: what the fake trtexec prints, takes and writes, with times of the board's model.

Runs take as long as they say: each inference begins when the one before is over, on the clock that the board has then.
As with 8.2, transfers and computing take turns, the exported times hold the warm-up's rows, and those are slow.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
import zlib
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fake_figures
import fake_program
import tx2_kernels
from fake_figures import say
from tx2_faults import Watched
from tx2_link import Load, StateFile, network_name, options_of
from tx2_physics import Network

H2D_MS, D2H_MS = 0.21, 0.10
#: between inferences without spin-wait, and what launching takes with a CUDA graph and without
GAP_MS, GRAPH_MS, LAUNCH_MS = 0.05, 0.05, 0.9
BUILD_S = 0.3
_WARM_MORE, _WARM_MS = 0.6, 40.0
_WRITTEN_ON_A_FULL_DISK = 1000
#: where nvprof, if it is the one that runs us, wants the kernels' times
KERNELS = "STANDIN_TX2_KERNELS"


class Tool:
    """What one run of the tool knows: the stand-in's folder, and the engine once it is built or loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = options_of(folder)
        self.faults = Watched(folder)
        self.state = StateFile(folder)
        self.header: dict[str, Any] = {}

    @property
    def network(self) -> Network:
        return self.options.networks[self.header["network"]]

    @property
    def precision(self) -> str:
        return "fp16" if self.header["precision"] == "fp16" else "fp32"

    def compute_ms(self) -> float:
        """One inference now, alone or beside others."""
        mhz, slowdown = self.state.get()
        return self.network.latency_ms(mhz, self.precision) * slowdown

    def layers(self) -> list[tuple[str, str, float]]:
        mhz, slowdown = self.state.get()
        return [
            (layer.name, layer.kind, slowdown * layer.ms(self.network, mhz, self.precision))
            for layer in tx2_kernels.LAYERS
        ]


class Inferences:
    """A run's inferences, in real time."""

    def __init__(self, tool: Tool, given: dict[str, str], run: dict[str, bool]) -> None:
        self._tool = tool
        self._run = run
        self.warmup_ms = float(given.get("--warmUp", "200"))
        self._wanted = int(given.get("--iterations", "10"))
        self._until_ms = self.warmup_ms + 1000 * float(given.get("--duration", "3"))
        seed = zlib.crc32(f"{tool.options.seed} {tool.header['network']} {tool.precision}".encode())
        self._random = random.Random(seed)  # noqa: S311 (jitter, no secret)
        self.h2d_ms, self.d2h_ms = (H2D_MS, D2H_MS) if run["transfers"] else (0.0, 0.0)
        self.gap_ms = 0.0 if run["spin"] else GAP_MS

    def rows(self, began_s: float) -> list[dict[str, float]]:
        """A record for each, of the warm-up too; the GPU's work began at ``began_s``."""
        made: list[dict[str, float]] = []
        at_ms, counted = self.h2d_ms, 0
        while counted < self._wanted or at_ms < self._until_ms:
            row = self._row(at_ms)
            made.append(row)
            counted += at_ms >= self.warmup_ms
            at_ms = row["endD2hMs"] + self.gap_ms + self.h2d_ms
            time.sleep(max(0.0, began_s + at_ms / 1000 - time.monotonic()))
            if at_ms >= self._until_ms / 2:
                self._half_way()
        return made

    def _row(self, at_ms: float) -> dict[str, float]:
        jitter = self._tool.options.jitter
        cold = _WARM_MORE * math.exp(-at_ms / _WARM_MS) if at_ms < self.warmup_ms else 0.0
        noise = min(max(self._random.gauss(0.0, 1.0), -3.0), 3.0)
        compute_ms = self._tool.compute_ms() * (1 + jitter * noise + cold)
        enqueue_ms = GRAPH_MS if self._run["graph"] else LAUNCH_MS
        over_ms = at_ms + compute_ms
        row = {"startEnqMs": at_ms - enqueue_ms, "endEnqMs": at_ms}
        row |= {"startH2dMs": at_ms - self.h2d_ms, "endH2dMs": at_ms, "startComputeMs": at_ms, "endComputeMs": over_ms}
        row |= {"startD2hMs": over_ms, "endD2hMs": over_ms + self.d2h_ms}
        latency_ms = self.h2d_ms + compute_ms + self.d2h_ms
        row |= {"h2dMs": self.h2d_ms, "computeMs": compute_ms, "d2hMs": self.d2h_ms, "latencyMs": latency_ms}
        return row | {"endToEndMs": latency_ms + self.gap_ms}

    def _half_way(self) -> None:
        faults = self._tool.faults.now()
        if faults.get("trtexec_crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if faults.get("dropped_connection"):
            drop_connection(int(faults["dropped_connection"]))


def drop_connection(listener: int) -> None:
    """Kill the session that this process runs in, if it is one of that sshd: all of its processes above us."""
    session: list[int] = []
    above = os.getppid()
    while above not in (0, listener):
        status = Path(f"/proc/{above}/stat").read_text()
        if status[status.index("(") + 1 :].startswith("sshd"):
            session.append(above)
        above = int(status.rpartition(")")[2].split()[1])
    for process in session if above == listener else ():
        os.kill(process, signal.SIGKILL)


def infer(tool: Tool, given: dict[str, str], run: dict[str, bool]) -> None:
    inferences = Inferences(tool, given, run)
    say("I", "Using random values for input input")
    say("I", "Created input binding for input with dimensions 1x3x512x1024")
    say("I", "Starting inference")
    what = {"network": asdict(tool.network), "precision": tool.precision}
    what["other_ms"] = inferences.h2d_ms + inferences.d2h_ms + inferences.gap_ms
    with Load(tool.folder, what) as load:
        if tool.faults.now().get("trtexec_hang"):
            load.wait()
        rows = inferences.rows(load.began_s)
        layers = tool.layers()
    counted = [row for row in rows if row["startComputeMs"] >= inferences.warmup_ms]
    wall_s = (counted[-1]["endD2hMs"] - counted[0]["startH2dMs"]) / 1000
    mean = {key: sum(row[key] for row in counted) / len(counted) for key in ("computeMs", "latencyMs", "endToEndMs")}
    say("I", f"Warmup completed {len(rows) - len(counted)} queries over {inferences.warmup_ms:g} ms")
    say("I", f"Timing trace has {len(counted)} queries over {wall_s:.6g} s")
    say("I", "=== Trace details ===")
    say("I", "Trace averages of 10 runs:")
    text = f"GPU latency: {mean['computeMs']:.6g} ms - Host latency: {mean['latencyMs']:.6g} ms"
    say("I", f"Average on 10 runs - {text} (end to end {mean['endToEndMs']:.6g} ms, enqueue 0.5 ms)")
    fake_figures.summary(counted, run)
    fake_figures.layers = lambda: layers
    fake_figures.PROFILED = len(counted)
    if "--exportTimes" in given:
        fake_figures.export_times(given["--exportTimes"], rows, inferences.warmup_ms)
    fake_figures.profile(given)
    if KERNELS in os.environ:
        tx2_kernels.hand_over(Path(os.environ[KERNELS]), layers, len(rows), transfers=run["transfers"])


def main(folder: Path) -> None:
    """The fake trtexec's life, with the parts that take time or know the network put in its place."""
    tool = Tool(folder)
    build, load, save = fake_program.build, fake_program.load, fake_program.save

    def build_on_the_gpu(given: dict[str, str], compute: str) -> dict[str, Any]:
        with Load(folder, {}) if Path(given["--onnx"]).is_file() else nullcontext():
            time.sleep(BUILD_S)
        tool.header = build(given, compute)
        return tool.header

    def save_with_network(given: dict[str, str], header: dict[str, Any]) -> None:
        header["network"] = network_name(given["--onnx"], dict(tool.options.networks))
        if "--saveEngine" in given:
            save(given, header)

    def load_known(given: dict[str, str], compute: str) -> dict[str, Any]:
        tool.header = {"network": "default"} | load(given, compute)
        return tool.header

    fake_program.build, fake_program.load, fake_program.save = build_on_the_gpu, load_known, save_with_network
    fake_program.infer = lambda given, run: infer(tool, given, run)
    fake_figures.layers = tool.layers
    if tool.faults.now().get("full_disk"):
        fake_program.fault = lambda: "full-disk"
    fake_program.main()
    if tool.faults.now().get("full_disk"):
        _cut_exports()


def _cut_exports() -> None:
    """A stream of C++ that cannot write says nothing."""
    for argument in sys.argv[1:]:
        name, _, path = argument.partition("=")
        if name.startswith("--export") and Path(path).is_file():
            os.truncate(path, min(Path(path).stat().st_size, _WRITTEN_ON_A_FULL_DISK))
