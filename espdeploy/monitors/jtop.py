"""Readings of jetson-stats, whose service (jtop) reads a Jetson's sensors as root and tells them to every user.

Source: the documentation of jetson-stats 4: ``power`` holds rails and their total in mW, ``gpu`` each GPU's load in
percent and clock in kHz, ``memory`` kB, ``temperature`` degrees. Nothing is ever set through it. Its averages are
not used: they are no means over time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espdeploy import units
from espdeploy.errors import ToolFailed
from espdeploy.monitors import rails
from espdeploy.monitors.attributes import channel_name
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Clock
from espdeploy.specs import RailFacts
from espdeploy.units import NS_PER_S, mb_from_bytes

_MW_PER_W = 1_000
_KHZ_PER_MHZ = 1_000
_BYTES_PER_KB = 1_024
_COLDEST_C = -100.0
_SOCKET = "run/jtop.sock"
_START = "sudo systemctl restart jtop.service"
_SILENT_PERIODS = 5
_SILENT_LEAST_S = 3.0
_TRY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the service told last. ``rails_w`` holds the total's rail too; None: not told."""

    rails_w: Mapping[str, float]
    gpu_util_pct: float | None
    gpu_freq_mhz: float | None
    memory_used_mb: float | None
    temps_c: Mapping[str, float]


def find(
    module: Any,
    facts: RailFacts,
    *,
    clock: Clock,
    root: Path = Path("/"),
    period_s: float = 0.5,
    within_s: float = 5.0,
) -> JtopMonitor | Unavailable:
    """The service's readings, the first of them waited for.

    Args:
        module: the module ``jtop`` of jetson-stats.
        facts: which rails are the total and the GPU's; jtop's own choice is not taken.
        clock: for telling a service that fell silent.
        root: where ``run/jtop.sock`` lies.
        period_s: how often the service is asked to read; where others asked before, their period holds.
        within_s: how long to wait for the service; its client alone would wait for ever.
    """
    refusal = _no_socket(root / _SOCKET)
    if refusal is not None:
        return refusal
    client = _started(module, period_s=period_s, within_s=within_s)
    if isinstance(client, Unavailable):
        return client
    try:
        monitor = JtopMonitor(client, facts, clock=clock)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        client.close()
        reason = f"the service tells its readings in another form than jetson-stats 4: {_first_line(error)}"
        return _unavailable(reason, do="sudo pip3 install -U jetson-stats, then " + _START)
    deadline_ns = clock.now_ns() + round(within_s * NS_PER_S)
    while not monitor.has_news:
        if clock.now_ns() >= deadline_ns:
            monitor.close()
            return _unavailable(f"the service took the connection and told nothing within {within_s:g} s", do=_START)
        clock.sleep_s(_TRY_S)
    return monitor


class JtopMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of what the jtop service tells.

    Channels: ``jtop_rail_<NAME>_w``, ``jtop_total_w``, ``jtop_gpu_util_pct``, ``jtop_gpu_freq_mhz``,
    ``jtop_memory_used_mb`` and ``jtop_temp_<NAME>_c``. Each of the service's readings is given once: where it has told
    nothing new, there are no channels.
    """

    name = "jtop"
    energy_channel: str | None = None
    gpu_util_channel = "jtop_gpu_util_pct"
    gpu_freq_channel = "jtop_gpu_freq_mhz"
    memory_used_channel = "jtop_memory_used_mb"

    def __init__(self, client: Any, facts: RailFacts, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._newest = snapshot(client)
        self._news = threading.Event()
        self._told_ns = clock.now_ns()
        roles = rails.roles(facts, answering=self._newest.rails_w)
        self.rails = roles.total
        self.power_channel = "jtop_total_w" if roles.total else None
        self.gpu_power_channel = None if roles.gpu is None else f"jtop_rail_{roles.gpu}_w"
        self.temperature_channels = tuple(f"jtop_temp_{name}_c" for name in self._newest.temps_c)
        self.period_s: float | None = float(client.interval)
        client.attach(self._told)

    @property
    def has_news(self) -> bool:
        """Whether the service told something that was not read yet."""
        return self._news.is_set()

    def read(self) -> Mapping[str, float | None]:
        """What the service told since the reading before.

        Raises:
            ToolFailed: the service ended, or fell silent for five periods and 3 s.
        """
        now_ns = self._clock.now_ns()
        if not self._news.is_set():
            self._check_alive(now_ns)
            return {}
        self._news.clear()
        self._told_ns = now_ns
        return self._values(self._newest)

    def probe_text(self) -> str:
        """The last reading for people: ``VDD_IN 4.95 W, GPU 12 %``."""
        newest = self._newest
        power = rails.text(newest.rails_w) or "no power rail"
        return f"{power}, GPU {units.significant(newest.gpu_util_pct)} %"

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _told(self, client: Any) -> None:
        """Called by the client's own thread at each reading of the service."""
        self._newest = snapshot(client)
        self._news.set()

    def _values(self, told: Snapshot) -> dict[str, float | None]:
        values: dict[str, float | None] = {f"jtop_rail_{name}_w": watts for name, watts in told.rails_w.items()}
        if self.power_channel is not None:
            values[self.power_channel] = rails.total_w(told.rails_w, self.rails)
        values[self.gpu_util_channel] = told.gpu_util_pct
        values[self.gpu_freq_channel] = told.gpu_freq_mhz
        values[self.memory_used_channel] = told.memory_used_mb
        values.update((f"jtop_temp_{name}_c", value) for name, value in told.temps_c.items())
        return values

    def _check_alive(self, now_ns: int) -> None:
        why = ""
        try:
            alive = bool(self._client.ok(spin=True))
        except Exception as error:  # whatever ended the client's thread is raised here
            alive, why = False, _first_line(error)
        silent_s = (now_ns - self._told_ns) / NS_PER_S
        limit_s = max(_SILENT_PERIODS * (self.period_s or 0.0), _SILENT_LEAST_S)
        if not alive or silent_s >= limit_s:
            what = "ended" if not alive else f"has told nothing for {silent_s:.1f} s"
            raise ToolFailed(f"the jtop service {what} during the run", why=why, do=_START)


def snapshot(client: Any) -> Snapshot:
    """What the client holds now, in our units; whatever it does not hold is left out."""
    gpu: Mapping[str, Any] = next((found for found in dict(client.gpu).values() if found.get("type") != "discrete"), {})
    freq_khz = gpu.get("freq", {}).get("cur")
    used_kb = dict(client.memory).get("RAM", {}).get("used")
    return Snapshot(
        rails_w=dict(_rails_w(client.power or {})),
        gpu_util_pct=gpu.get("status", {}).get("load"),
        gpu_freq_mhz=None if freq_khz is None else freq_khz / _KHZ_PER_MHZ,
        memory_used_mb=None if used_kb is None else mb_from_bytes(used_kb * _BYTES_PER_KB),
        temps_c={
            channel_name(name): float(zone["temp"])
            for name, zone in dict(client.temperature).items()
            if zone.get("online", True) and zone.get("temp") is not None and zone["temp"] > _COLDEST_C
        },
    )


def _rails_w(power: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The rails, and the total's own where it is a rail: a sum that jtop made has no name."""
    for name, rail in power.get("rail", {}).items():
        if rail.get("power") is not None:
            yield channel_name(name), rail["power"] / _MW_PER_W
    total = power.get("tot", {})
    if total.get("name") and total.get("power") is not None:
        yield channel_name(total["name"]), total["power"] / _MW_PER_W


def _no_socket(socket: Path) -> Unavailable | None:
    """Why the service cannot be reached; None where its socket is there and open to this user."""
    if not socket.exists():
        do = "sudo pip3 install -U jetson-stats, then restart; in a container: -v /run/jtop.sock:/run/jtop.sock"
        return _unavailable(f"the jtop service does not run here ({socket} is absent)", do=do)
    if not os.access(socket, os.R_OK | os.W_OK):
        do = "sudo usermod -aG jtop $USER, then log in anew"
        return _unavailable(f"this user may not speak to the jtop service ({socket})", do=do)
    return None


def _started(module: Any, *, period_s: float, within_s: float) -> Any:
    """The connected client, or why there is none. The connection is made in a thread, because it can hang."""
    outcome: list[Any] = []

    def connect() -> None:
        try:
            client = module.jtop(interval=period_s)
            client.start()
        except Exception as error:  # the package raises its own, socket errors and those of multiprocessing
            outcome.append(error)
        else:
            outcome.append(client)

    thread = threading.Thread(target=connect, name="espdeploy-jtop", daemon=True)
    thread.start()
    thread.join(within_s)
    if not outcome:
        return _unavailable(f"the service did not answer within {within_s:g} s", do=_START)
    if isinstance(outcome[0], Exception):
        do = "install the version of the service for this Python too: pip install -U jetson-stats; then " + _START
        return _unavailable(f"the service refused the connection: {_first_line(outcome[0])}", do=do)
    return outcome[0]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _unavailable(reason: str, *, do: str) -> Unavailable:
    return Unavailable(source="jtop", reason=reason, do=do)
