"""The board's process: steps the model in real time, follows what is written to its files, keeps its sensors current.

Started by install.py as ``tx2_board.py FOLDER PARENT``. It ends when its standard input ends or its parent dies.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tx2_link
import tx2_tree as tree
from tx2_faults import Watched
from tx2_physics import MODES, PARTS, RAILS, STEPS_MHZ, TOTAL, Client, Limits, Mode, Network, Plant, rails_w

#: a row of the truth: CLOCK_MONOTONIC in s, energy of each rail since the start in J, MHz, load, °C
TRUTH = struct.Struct(f"{1 + len(RAILS) + 3}d")
_PR_SET_PDEATHSIG = 1
_VOLTS = dict.fromkeys(PARTS, 4.8) | {TOTAL: 19.0}
_STICKS_S, _COMPETITOR, _THROTTLE_C = 0.2, 0.3, 40.0


class Files:
    """The board's own ends of its files, held open: a file that somebody puts in their place is none of sysfs'."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[Path, int] = {}
        self._last: dict[Path, bytes] = {}

    def open(self, *paths: Path) -> None:
        """Open what may be moved away later."""
        for path in paths:
            self._descriptor(path)

    def put(self, path: Path, text: str) -> None:
        """Overwrite a file of fixed width, in place, where its value is another."""
        content = text.encode()
        if self._last.get(path) != content:
            os.pwrite(self._descriptor(path), content, 0)
            self._last[path] = content

    def set(self, path: Path, value: int) -> None:
        """Put another value into a setting."""
        content = f"{value}\n".encode()
        os.pwrite(self._descriptor(path), content, 0)
        os.ftruncate(self._descriptor(path), len(content))

    def number(self, path: Path) -> int | None:
        """The number that a setting holds; None while it is being written, or holds none."""
        words = os.pread(self._descriptor(path), 64, 0).split()
        return int(words[0]) if words and words[0].lstrip(b"-").isdigit() else None

    def text(self, path: Path) -> str:
        return os.pread(self._descriptor(path), 64, 0).decode()

    def _descriptor(self, path: Path) -> int:
        if path not in self._open:
            self._open[path] = os.open(self._root / path, os.O_RDWR)
        return self._open[path]


class Locked:
    """Settings that nobody may write: links to sealed memory files, which the kernel protects from root too."""

    def __init__(self, root: Path, kept: Path) -> None:
        self._root, self._kept = root, kept
        self._sealed: dict[Path, int] = {}

    def lock(self) -> None:
        self._kept.mkdir()
        for number, path in enumerate(tree.SETTINGS):
            content = (self._root / path).read_bytes()
            sealed = os.memfd_create(path.name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            os.write(sealed, content)
            os.fchmod(sealed, 0o444)
            fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._sealed[path] = sealed
            os.link(self._root / path, self._kept / str(number))
            link = self._kept / "link"
            link.symlink_to(f"/proc/{os.getpid()}/fd/{sealed}")
            link.replace(self._root / path)
        (self._root / tree.DEBUG).rename(self._kept / "debug")

    def unlock(self) -> None:
        for number, path in enumerate(tree.SETTINGS):
            (self._kept / str(number)).replace(self._root / path)
        (self._kept / "debug").rename(self._root / tree.DEBUG)
        self._kept.rmdir()
        for sealed in self._sealed.values():
            os.close(sealed)
        self._sealed.clear()

    @property
    def on(self) -> bool:
        return bool(self._sealed)


class Board:
    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, folder / "root"
        self._options = tx2_link.options_of(folder)
        self._files = Files(self._root)
        self._faults = Watched(folder)
        self._locked = Locked(self._root, folder / "locked")
        self._state = tx2_link.StateFile(folder, create=True)
        self._files.open(*tree.SETTINGS, tree.EMC / "rate")
        self._accepted = {path: self._files.number(path) or 0 for path in (tree.MIN_FREQ, tree.MAX_FREQ)}
        self._written_s: float | None = None
        self._mode_now = MODES[self._options.mode]
        self._online = [True] * 6
        self._heard: dict[socket.socket, bytes] = {}
        self._truth = os.open(folder / "truth.bin", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._plant = Plant(self._options, self._limits(), time.monotonic())
        self._selector = selectors.DefaultSelector()
        self._ended = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for what is under test
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(tx2_link.address(self._folder))
        listener.listen()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._step()
        print("ready", flush=True)  # noqa: T201 (this is what the installer waits for)
        due_s = time.monotonic()
        while not self._ended:
            for key, _ in self._selector.select(max(0.0, due_s - time.monotonic())):
                self._event(key.fileobj, listener)
            if time.monotonic() >= due_s:
                self._step()
                due_s = max(due_s + self._options.step_s, time.monotonic())
        self._advance()
        if self._locked.on:
            self._locked.unlock()

    def _end(self, *_: object) -> None:
        self._ended = True

    def _event(self, source: Any, listener: socket.socket) -> None:
        if source is sys.stdin:
            self._ended = True
        elif source is listener:
            connection, _ = listener.accept()
            self._heard[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)
        else:
            self._hear(source)

    def _hear(self, connection: socket.socket) -> None:
        """A tool's line: what it does on the GPU, or that it is done; or its end."""
        try:
            heard = connection.recv(4096)
        except ConnectionError:
            heard = b""
        self._heard[connection] += heard
        line, ended, rest = self._heard[connection].partition(b"\n")
        if heard and not ended:
            return
        self._advance()
        self._plant.clients.pop(connection, None)
        if heard:
            self._heard[connection] = rest
            what = json.loads(line)
            if "look" in what:
                self._step()
            elif "off" not in what:
                self._plant.clients[connection] = _client(what)
            self._govern()
            with suppress(OSError):  # it died while it asked; its end comes next
                connection.sendall(f"{self._plant.now_s!r}\n".encode())
            return
        self._govern()
        del self._heard[connection]
        self._selector.unregister(connection)
        connection.close()

    def _step(self) -> None:
        self._advance()
        self._follow_faults()
        self._follow_writes()
        self._plant.limits = self._limits()
        self._govern()
        self._publish()

    def _advance(self) -> None:
        plant = self._plant
        plant.advance(time.monotonic())
        row = (plant.now_s, *(plant.energy_j[rail] for rail in RAILS), plant.mhz, plant.load, plant.temperature_c)
        os.write(self._truth, TRUTH.pack(*row))

    def _govern(self) -> None:
        self._plant.govern()
        self._state.put(self._plant.mhz, self._plant.slowdown)
        self._files.put(tree.CUR_FREQ, tree.fixed(self._plant.mhz * tree.HZ, hertz=True))

    def _follow_faults(self) -> None:
        wanted = bool(self._faults.now().get("no_root"))
        if wanted and not self._locked.on:
            self._locked.lock()
        elif self._locked.on and not wanted:
            self._locked.unlock()

    def _follow_writes(self) -> None:
        """Take what was written to min_freq and max_freq; as the kernel does, refuse a minimum above the maximum."""
        found = {path: self._files.number(path) for path in self._accepted}
        low, high = found[tree.MIN_FREQ], found[tree.MAX_FREQ]
        if low is None or high is None:  # somebody is writing
            return
        if found != self._accepted and 0 <= low <= high:
            self._accepted = {tree.MIN_FREQ: low, tree.MAX_FREQ: high}
            self._written_s = time.monotonic()
        self._put_back(found)
        sticks_s = self._faults.value("clock_does_not_stick", _STICKS_S)
        if sticks_s is not None and self._written_s is not None and time.monotonic() >= self._written_s + sticks_s:
            self._written_s = None
            self._accepted = {
                tree.MIN_FREQ: round(STEPS_MHZ[0] * tree.HZ),
                tree.MAX_FREQ: round(self._mode().gpu_mhz * tree.HZ),
            }
            self._put_back(found)

    def _put_back(self, found: Mapping[Path, int | None]) -> None:
        for path, accepted in self._accepted.items():
            if found[path] != accepted:
                self._files.set(path, accepted)

    def _mode(self) -> Mode:
        """The power mode; while somebody writes it, the one before."""
        words = self._files.text(tree.STATUS).split()
        if len(words) == 2:
            self._mode_now = MODES[int(words[0].removeprefix("pmode:"))]
        return self._mode_now

    def _cores(self) -> tuple[int, ...]:
        """The cores that are on; those that somebody is setting, as they were."""
        for core in range(6):
            online = self._files.number(tree.CPU / f"cpu{core}/online")
            self._online[core] = self._online[core] if online is None else online == 1
        return tuple(core for core in range(6) if self._online[core])

    def _limits(self) -> Limits:
        return Limits(
            min_mhz=self._accepted[tree.MIN_FREQ] / tree.HZ,
            max_mhz=(self._accepted[tree.MAX_FREQ] or STEPS_MHZ[-1] * tree.HZ) / tree.HZ,
            mode_mhz=self._mode().gpu_mhz,
            throttle_c=self._faults.value("throttling", _THROTTLE_C) or self._options.limit_c,
            cores=len(self._cores()),
            competitor=self._faults.value("competitor", _COMPETITOR) or 0.0,
            ignored=bool(self._faults.now().get("clock_ignored")),
        )

    def _publish(self) -> None:
        plant = self._plant
        put, fixed = self._files.put, tree.fixed
        watts = rails_w(plant.state, self._options)
        for rail in RAILS:
            put(tree.sensor(rail, "power"), fixed(1000 * watts[rail]))
            put(tree.sensor(rail, "voltage"), fixed(1000 * _VOLTS[rail]))
            put(tree.sensor(rail, "current"), fixed(1000 * watts[rail] / _VOLTS[rail]))
        for number, (_, _, share) in enumerate(tree.ZONES):
            risen_c = plant.temperature_c - self._options.ambient_c
            celsius = tree.PMIC_C if share is None else self._options.ambient_c + share * risen_c
            put(tree.zone(number, "temp"), fixed(1000 * round(2 * celsius) / 2))
        put(tree.COOLING / "cur_state", fixed(plant.withheld))
        put(tree.LOAD, fixed(1000 * plant.load))
        put(tree.CPU / "online", tree.fixed_range(self._cores()))
        cap = self._files.number(tree.EMC_CAP) or tree.EMC_MAX_HZ
        put(tree.EMC / "rate", fixed(cap if plant.load > 0 else tree.EMC_IDLE_HZ, hertz=True))
        for core in range(6):
            clocks = tree.CPU / f"cpu{core}/cpufreq"
            khz = self._files.number(clocks / f"scaling_{'max' if plant.clients else 'min'}_freq")
            put(clocks / "scaling_cur_freq", fixed(khz or 0))


def _client(what: dict[str, Any]) -> Client:
    network = what.get("network")
    return Client(
        network=None if network is None else Network(**network),
        precision=what.get("precision", "fp32"),
        other_ms=what.get("other_ms", 0.0),
    )


def main() -> None:
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        return
    Board(folder).run()


main()
