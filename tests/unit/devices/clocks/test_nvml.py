"""A desktop's clock by NVML: a library in its place that does what NVML's API reference says of each function."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.devices.clocks import check_clocks, clock_session, plan_steps, recover
from espdeploy.devices.clocks import nvml as clocks_nvml
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError

DESKTOP = recipes.device_profile("desktop")
STEPS = [1980, 1965, 1950, 1410, 345]  # from high to low, as NVML lists them


class NVMLError(Exception):
    """As nvidia-ml-py's: the code is its value."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


class Library:
    """One GPU: its lock is (low, high) in MHz or None; ``refuses`` is the code that setting answers with."""

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4
    NVML_CLOCK_SM = 1

    def __init__(self, *, refuses: int | None = None, lists: bool = True) -> None:
        self.locked: tuple[int, int] | None = None
        self.users = 0
        self.refuses = refuses
        self._lists = lists

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's names
        self.users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.users -= 1
        if self.users == 0:
            self.locked = None  # without the persistence daemon

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        assert self.users
        if index:
            raise NVMLError(6)
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        assert uuid == "GPU-1"
        return "handle"

    def nvmlDeviceGetUUID(self, _handle: str) -> str:  # noqa: N802
        return "GPU-1"

    def nvmlDeviceGetSupportedMemoryClocks(self, _handle: str) -> list[int]:  # noqa: N802
        if not self._lists:
            raise NVMLError(3)
        return [9501, 405]

    def nvmlDeviceGetSupportedGraphicsClocks(self, _handle: str, memory_mhz: int) -> list[int]:  # noqa: N802
        return STEPS if memory_mhz == 9501 else [405, 300]

    def nvmlDeviceGetClockInfo(self, _handle: str, kind: int) -> int:  # noqa: N802
        assert kind == self.NVML_CLOCK_SM
        return self.locked[0] if self.locked else 210

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _handle: str) -> int:  # noqa: N802  # before release 535
        return 0x4 | 0x20

    def nvmlDeviceSetGpuLockedClocks(self, _handle: str, low: int, high: int) -> None:  # noqa: N802
        if self.refuses is not None:
            raise NVMLError(self.refuses)
        assert isinstance(low, int)
        self.locked = (low, high)

    def nvmlDeviceResetGpuLockedClocks(self, _handle: str) -> None:  # noqa: N802
        if self.refuses is not None:
            raise NVMLError(self.refuses)
        self.locked = None


def test_the_clock_is_locked_at_a_listed_step_and_let_go(tmp_path: Path) -> None:
    library = Library()
    library.users = 1  # another program keeps the driver alive: only the reset ends the lock
    with clock_session(DESKTOP, root=tmp_path, journal=tmp_path / "journal", library=library) as session:
        assert session.steps_mhz == tuple(sorted(STEPS))
        assert session.lock_gpu(1955).text == "requested 1955 -> 1950 MHz"
        assert library.locked == (1950, 1950)
        assert session.gpu_mhz() == 1950
        assert session.throttle_reasons() == ("power cap (software)", "heat (software)")
        with pytest.raises(UsageError, match="above the GPU's highest step, 1980 MHz"):
            session.lock_gpu(2100)
        with pytest.raises(UsageError, match="desktop has no power modes"):
            session.set_power_mode("MAXN")
    assert library.locked is None
    assert library.users == 1
    assert list((tmp_path / "journal").glob("clocks-*.json")) == []


@pytest.mark.parametrize(
    ("code", "kind", "what"),
    [
        (Library.NVML_ERROR_NO_PERMISSION, MissingCapability, "only root may lock"),
        (Library.NVML_ERROR_NOT_SUPPORTED, MissingCapability, "cannot be locked"),
        (15, ToolFailed, "NVML error 15"),  # the GPU has fallen off the bus
    ],
)
def test_what_nvml_refuses(tmp_path: Path, code: int, kind: type[EspdeployError], what: str) -> None:
    gpu = Library(refuses=code)
    with clocks_nvml.opened(gpu) as found, pytest.raises(kind, match=what) as caught:
        found.lock(1950)
    assert caught.value.do


def lost_while_locked(library: Library, root: Path) -> None:
    with clock_session(DESKTOP, root=root, journal=root / "journal", library=library) as session:
        session.lock_gpu(1410)
        library.refuses = 15


def test_a_lock_that_a_dead_espdeploy_left_is_ended(tmp_path: Path) -> None:
    library = Library()
    library.users = 1
    with pytest.raises(EspdeployError, match="NOT as they were") as caught:
        lost_while_locked(library, tmp_path)
    assert caught.value.do == "sudo sh -c 'nvidia-smi -i GPU-1 --reset-gpu-clocks'"
    assert library.locked == (1410, 1410)
    library.refuses = None
    assert recover(tmp_path / "journal", root=tmp_path, library=library)[1:] == ["the clock of GPU-1 floats again"]
    assert library.locked is None


def test_the_plan_and_the_doctor_touch_nothing(tmp_path: Path) -> None:
    library = Library()
    steps = plan_steps(DESKTOP, (1950.0, 1400.0), root=tmp_path, library=library)
    assert [step.command for step in steps] == [
        "nvidia-smi -i 0 --lock-gpu-clocks=1950,1950",
        "nvidia-smi -i 0 --lock-gpu-clocks=1410,1410",
    ]
    (check,) = check_clocks(DESKTOP, tmp_path, library=library)
    assert check.state in ("ok", "not permitted")
    assert "210 MHz now; 5 steps, 345 to 1980 MHz" in check.found
    assert (library.locked, library.users) == (None, 0)


def test_a_gpu_that_lists_no_clocks(tmp_path: Path) -> None:
    library = Library(lists=False)
    (check,) = check_clocks(DESKTOP, tmp_path, library=library)
    assert check.state == "missing"
    with (
        pytest.raises(MissingCapability, match="does not tell which clocks"),
        clock_session(DESKTOP, root=tmp_path, journal=tmp_path / "journal", library=library) as session,
    ):
        session.lock_gpu(1950)


def test_the_reasons_are_those_of_nvidia_ml_py() -> None:
    """The bits, held against the constants of the library itself."""
    library = pytest.importorskip("pynvml")
    known = {
        getattr(library, name): name
        for name in dir(library)
        if name.startswith("nvmlClocksEventReason") and isinstance(getattr(library, name), int)
    }
    named = {bit for bit, _ in clocks_nvml._REASONS}
    single = {bit for bit in known if bit and bit & (bit - 1) == 0}
    assert single - named == {library.nvmlClocksEventReasonGpuIdle}
    assert named <= single
    assert library.NVML_ERROR_NO_PERMISSION == Library.NVML_ERROR_NO_PERMISSION
    assert library.NVML_ERROR_NOT_SUPPORTED == Library.NVML_ERROR_NOT_SUPPORTED
    assert library.NVML_CLOCK_SM == Library.NVML_CLOCK_SM
