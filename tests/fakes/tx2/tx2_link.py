"""Between the board and the fake tools: a socket on which a tool says that it uses the GPU, and the board's state.

The load of a tool is on from the board's answer to its first line until it says ``off``, or dies, however it dies. The
state is a file of doubles that both map: clock in MHz, and by how much an inference takes longer than alone.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import socket
import struct
import sys
from pathlib import Path
from typing import Any, TextIO

from tx2_physics import NETWORKS, Network, Options

_STATE = struct.Struct("dd")
_ANSWER_S = 10.0


def address(folder: Path) -> bytes:
    """In the abstract space: a path below pytest's folders may be longer than a socket's name can be."""
    return b"\0espdeploy-tx2-" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32].encode()


def options_of(folder: Path) -> Options:
    """What the stand-in was installed with."""
    told: dict[str, Any] = json.loads((folder / "options.json").read_text())
    networks = {name: Network(**cost) for name, cost in told.pop("networks").items()}
    return Options(**told, networks=networks)


def network_name(path: str, networks: dict[str, Network]) -> str:
    """The network whose name the path of its ONNX file holds, the longest such name; else ``default``."""
    held = [name for name in networks if name in path.lower()]
    return max(held, key=len, default="default" if "default" in networks else next(iter(NETWORKS)))


class StateFile:
    """What the board's clock is this moment."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        path = folder / "state.bin"
        if create:
            path.write_bytes(_STATE.pack(0.0, 1.0))
        with path.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), _STATE.size)

    def put(self, mhz: float, slowdown: float) -> None:
        # pack_into zeroes the bytes first, and a reader in another process may look just then
        self._map[:] = _STATE.pack(mhz, slowdown)

    def get(self) -> tuple[float, float]:
        mhz, slowdown = _STATE.unpack_from(self._map, 0)
        return mhz, slowdown


def tell(*lines: str, to: TextIO = sys.stdout) -> None:
    """Print lines."""
    to.write("".join(f"{line}\n" for line in lines))


def _connected(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address(folder))
    except ConnectionRefusedError as error:
        connection.close()
        raise ConnectionError(f"no board runs in {folder}: start it, or use it as a context") from error
    return connection


class Alive:
    """Whether the board runs on: a tool that would run for ever must not outlive its test."""

    def __init__(self, folder: Path) -> None:
        self._socket = _connected(folder)
        self._socket.setblocking(False)

    def __bool__(self) -> bool:
        try:
            return self._socket.recv(1) != b""
        except BlockingIOError:
            return True


def taken(folder: Path) -> None:
    """Return once the board has seen what was written to its files: a tool's settings hold when the tool ends."""
    with _connected(folder) as connection:
        connection.settimeout(_ANSWER_S)
        connection.sendall(b'{"look": true}\n')
        connection.recv(64)


class Load:
    """A context in which a tool's work lies on the GPU; ``began_s`` is when, on CLOCK_MONOTONIC."""

    def __init__(self, folder: Path, what: dict[str, Any]) -> None:
        self._folder = folder
        self._what = what
        self.began_s = 0.0

    def __enter__(self) -> Load:
        self._socket = _connected(self._folder)
        self._socket.settimeout(_ANSWER_S)
        self.began_s = self._ask(self._what)
        return self

    def __exit__(self, *_: object) -> None:
        self._ask({"off": True})
        self._socket.close()

    def wait(self) -> None:
        """Hang, until the board is gone."""
        self._socket.settimeout(None)
        self._socket.recv(1)

    def _ask(self, what: dict[str, Any]) -> float:
        self._socket.sendall(json.dumps(what).encode() + b"\n")
        answer = self._socket.recv(64)
        if not answer:
            raise ConnectionError("the stand-in's board is gone")
        return float(answer)
