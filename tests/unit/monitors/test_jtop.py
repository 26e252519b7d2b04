"""jetson-stats as its documentation describes it: the package itself needs a Jetson with its service."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espdeploy.errors import ToolFailed
from espdeploy.monitors.jtop import JtopMonitor, find
from espdeploy.monitors.sources import Unavailable
from espdeploy.recipes import device_profile

TX2: dict[str, Any] = {
    "power": {
        "rail": {
            "VDD_SYS_GPU": {"volt": 4960, "curr": 61, "power": 305, "avg": 999},
            "VDD_SYS_CPU": {"volt": 4960, "curr": 92, "power": 458, "avg": 999},
        },
        "tot": {"volt": 4960, "curr": 998, "power": 4950, "avg": 999, "name": "VDD_IN"},
    },
    "gpu": {"gp10b": {"type": "integrated", "status": {"load": 37.5}, "freq": {"cur": 854250, "max": 1300500}}},
    "memory": {"RAM": {"tot": 8046440, "used": 2000000, "free": 1}, "SWAP": {"tot": 0, "used": 0}},
    "temperature": {"GPU": {"temp": 41.5, "online": True}, "CV0": {"temp": -256, "online": False}},
}


class Client:
    def __init__(self, told: dict[str, Any], *, interval: float) -> None:
        self.interval = interval
        self.observers: list[Callable[[Any], None]] = []
        self.alive: bool | Exception = True
        self.closed = False
        self.tell(told, at_once=False)

    def start(self) -> None:
        """Connect."""

    def attach(self, observer: Callable[[Any], None]) -> None:
        self.observers.append(observer)
        observer(self)

    def tell(self, told: dict[str, Any], *, at_once: bool = True) -> None:
        vars(self).update(copy.deepcopy(told))
        for observer in self.observers if at_once else ():
            observer(self)

    def ok(self, *, spin: bool) -> bool:
        assert spin  # without it the call waits for the next reading
        if isinstance(self.alive, Exception):
            raise self.alive
        return self.alive

    def close(self) -> None:
        self.closed = True


def package(told: dict[str, Any] = TX2, **changes: Any) -> tuple[Any, list[Client]]:
    made: list[Client] = []

    def jtop(interval: float) -> Client:
        client = Client({**told, **changes}, interval=interval)
        made.append(client)
        return client

    return SimpleNamespace(jtop=jtop), made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/jtop.sock").touch()
    return tmp_path


def looked_for(module: Any, root: Path, clock, device: str = "tx2") -> JtopMonitor | Unavailable:
    return find(module, device_profile(device).rails, clock=clock, root=root, within_s=0.2)


def found(root: Path, clock, *, device: str = "tx2", **changes: Any) -> tuple[JtopMonitor, Client]:
    module, made = package(**changes)
    monitor = looked_for(module, root, clock, device)
    assert isinstance(monitor, JtopMonitor), monitor
    return monitor, made[0]


def refused(module: Any, root: Path, clock) -> Unavailable:
    monitor = looked_for(module, root, clock)
    assert isinstance(monitor, Unavailable)
    return monitor


def test_a_tx2(root: Path, clock) -> None:
    monitor, client = found(root, clock)
    assert monitor.read() == pytest.approx(
        {
            "jtop_rail_VDD_SYS_GPU_w": 0.305,
            "jtop_rail_VDD_SYS_CPU_w": 0.458,
            "jtop_rail_VDD_IN_w": 4.95,
            "jtop_total_w": 4.95,
            "jtop_gpu_util_pct": 37.5,
            "jtop_gpu_freq_mhz": 854.25,
            "jtop_memory_used_mb": 2048.0,
            "jtop_temp_GPU_c": 41.5,
        }
    )
    assert (monitor.rails, monitor.period_s) == (("VDD_IN",), 0.5)
    assert monitor.probe_text().endswith("VDD_IN 4.95 W, GPU 37.5 %")
    monitor.close()
    assert client.closed


def test_each_reading_is_given_once(root: Path, clock) -> None:
    monitor, client = found(root, clock)
    assert monitor.read()
    assert monitor.read() == {}
    client.tell({**TX2, "gpu": {}})
    values = monitor.read()
    assert (values["jtop_total_w"], values["jtop_gpu_freq_mhz"]) == (4.95, None)


def test_a_sum_that_jtop_made_is_made_again_by_the_facts(root: Path, clock) -> None:
    rails = {name: {"power": power} for name, power in {"GPU": 467, "CPU": 933, "SOC": 1400, "CV": 0}.items()}
    power = {"rail": rails | {"ucsi-source": {"power": 9000}}, "tot": {"power": 11800, "avg": 1}}
    monitor, _ = found(root, clock, device="xavier-agx", power=power)
    assert monitor.read()["jtop_total_w"] == pytest.approx(2.8)
    assert monitor.rails == ("GPU", "CPU", "SOC", "CV")


def test_a_board_without_sensors_has_no_power(root: Path, clock) -> None:
    monitor, _ = found(root, clock, power={})
    assert monitor.power_channel is None
    assert "jtop_total_w" not in monitor.read()


def test_without_its_socket_the_client_is_never_asked(tmp_path: Path, clock) -> None:
    module, made = package()
    absent = refused(module, tmp_path, clock)
    assert "does not run here" in absent.reason
    assert "-v /run/jtop.sock" in absent.do
    assert made == []


def test_a_service_that_does_not_answer_is_not_waited_for(root: Path, clock) -> None:
    ends = threading.Event()
    hangs = SimpleNamespace(jtop=lambda interval: SimpleNamespace(start=lambda: ends.wait(60)))
    absent = refused(hangs, root, clock)
    ends.set()
    assert "did not answer" in absent.reason
    assert absent.do == "sudo systemctl restart jtop.service"


def test_a_service_that_refuses_is_quoted(root: Path, clock) -> None:
    def refuses() -> None:
        raise RuntimeError("Mismatch version jtop service: [4.2.1] and client: [4.3.0]\nand more")

    module = SimpleNamespace(jtop=lambda interval: SimpleNamespace(start=refuses))
    assert refused(module, root, clock).reason.endswith("client: [4.3.0]")


def test_a_service_that_tells_nothing_new_is_no_source(root: Path, clock) -> None:
    class Mute(Client):
        def attach(self, observer: Callable[[Any], None]) -> None:
            """Nothing is ever told."""

    made: list[Mute] = []

    def jtop(interval: float) -> Client:
        made.append(Mute(TX2, interval=interval))
        return made[0]

    assert "told nothing" in refused(SimpleNamespace(jtop=jtop), root, clock).reason
    assert made[0].closed


def test_another_generation_of_the_package_is_said_to_be_one(root: Path, clock) -> None:
    module, made = package(power=({"cur": 4950}, {}))  # a pair, as version 3 has it
    assert "another form than jetson-stats 4" in refused(module, root, clock).reason
    assert made[0].closed


def test_a_service_that_falls_silent_or_ends_is_an_error(root: Path, clock) -> None:
    monitor, client = found(root, clock)
    monitor.read()
    clock.sleep_s(2.9)
    assert monitor.read() == {}
    clock.sleep_s(0.1)
    with pytest.raises(ToolFailed, match=r"told nothing for 3\.0 s"):
        monitor.read()
    client.alive = RuntimeError("Lost connection with jtop server")
    with pytest.raises(ToolFailed, match="ended") as caught:
        monitor.read()
    assert caught.value.why == "Lost connection with jtop server"
