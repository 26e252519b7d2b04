from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from espdeploy.bench.energy import integrate_j
from espdeploy.errors import InternalError, MissingCapability, ToolFailed
from espdeploy.monitors.sampler import Sampler, next_due_ns
from espdeploy.protocols import SystemClock

MS = 1_000_000


class SteppedClock:
    """Its sleeps take no time until the end of the story; there the sampling thread waits to be stopped."""

    def __init__(self, *, ends_ms: int) -> None:
        self.at_ns = 0
        self.ends_ns = ends_ms * MS
        self.told = threading.Event()  # the story is over
        self.go_on = threading.Event()

    def now_ns(self) -> int:
        return self.at_ns

    def sleep_s(self, seconds: float) -> None:
        if self.at_ns + round(seconds * 1e9) > self.ends_ns:
            self.told.set()
            self.go_on.wait(20)
            return
        self.at_ns += round(seconds * 1e9)


class Script:
    """A monitor that gives the time in ms; each reading takes a while on the clock."""

    def __init__(self, clock: SteppedClock, *, takes_ms: int = 0, name: str = "script", channel: str = "t_ms") -> None:
        self.clock = clock
        self.takes_ms = takes_ms
        self.name = name
        self.channel = channel

    def read(self) -> Mapping[str, float | None]:
        self.clock.at_ns += self.takes_ms * MS
        return {self.channel: self.clock.at_ns / MS, f"{self.name}_gap": None}


def played(clock: SteppedClock, *monitors: object, period_s: float = 0.1) -> Sampler:
    """The sampler after the story."""
    sampler = Sampler(monitors, clock=clock, period_s=period_s)  # type: ignore[arg-type]
    with sampler:
        assert clock.told.wait(20)
        clock.go_on.set()
    return sampler


def times_ms(sampler: Sampler, channel: str = "t_ms") -> list[float]:
    return [t_ns / MS for t_ns in sampler.readings(channel)[0]]


def test_the_rate_is_fixed() -> None:
    clock = SteppedClock(ends_ms=1000)
    assert times_ms(played(clock, Script(clock))) == [100.0 * k for k in range(11)]


def test_a_reading_that_takes_time_is_dated_to_its_middle_and_moves_no_later_one() -> None:
    clock = SteppedClock(ends_ms=450)
    assert times_ms(played(clock, Script(clock, takes_ms=30))) == [15.0, 115.0, 215.0, 315.0, 415.0]


def test_missed_turns_are_left_out_not_made_up() -> None:
    clock = SteppedClock(ends_ms=860)
    assert times_ms(played(clock, Script(clock, takes_ms=250))) == [125.0, 425.0, 725.0]


@pytest.mark.parametrize(
    ("now_ms", "due_ms"), [(0, 100), (1, 100), (99, 100), (100, 200), (101, 200), (300, 400), (1_000_000, 1_000_100)]
)
def test_the_next_turn_lies_ahead_on_the_grid(now_ms: int, due_ms: int) -> None:
    start_ns = 123_456_789
    assert next_due_ns(start_ns, now_ns=start_ns + now_ms * MS, period_s=0.1) == start_ns + due_ms * MS


def test_series_and_means_are_of_the_window_alone() -> None:
    clock = SteppedClock(ends_ms=1000)
    sampler = played(clock, Script(clock))
    window = {"start_ns": 250 * MS, "end_ns": 600 * MS}
    series = sampler.series(zero_ns=250 * MS, **window)
    assert set(series) == {"t_ms"}  # a channel without a value is no series
    assert series["t_ms"].t_s == pytest.approx([0.05, 0.15, 0.25, 0.35])
    assert series["t_ms"].values == [300.0, 400.0, 500.0, 600.0]
    assert sampler.mean("t_ms", **window) == 450.0
    assert sampler.mean("script_gap", **window) is None
    assert sampler.mean("no such channel", **window) is None
    assert sampler.mean("t_ms", start_ns=610 * MS, end_ns=650 * MS) is None


def test_two_monitors_share_the_thread() -> None:
    clock = SteppedClock(ends_ms=300)
    sampler = played(clock, Script(clock), Script(clock, name="other", channel="other_ms"))
    assert times_ms(sampler) == times_ms(sampler, "other_ms") == [0.0, 100.0, 200.0, 300.0]


def test_a_monitor_that_raises_ends_it_loudly() -> None:
    class Breaks(Script):
        def read(self) -> Mapping[str, float | None]:
            if self.clock.at_ns >= 300 * MS:
                self.clock.told.set()
                raise OSError("the bus is gone")
            return super().read()

    clock = SteppedClock(ends_ms=1000)
    sampler = Sampler([Breaks(clock)], clock=clock, period_s=0.1)

    def run() -> None:
        with sampler:
            assert clock.told.wait(20)

    with pytest.raises(ToolFailed, match="the bus is gone") as caught:
        run()
    assert isinstance(caught.value.__cause__, OSError)
    assert times_ms(sampler) == [0.0, 100.0, 200.0]
    with pytest.raises(ToolFailed):  # and again, whoever asks
        sampler.stop()


def test_a_monitors_own_error_comes_through_as_it_is() -> None:
    class Gone(Script):
        def read(self) -> Mapping[str, float | None]:
            raise MissingCapability("no sensor", do="plug it in")

    clock = SteppedClock(ends_ms=100)
    with pytest.raises(MissingCapability, match="no sensor"), Sampler([Gone(clock)], clock=clock, period_s=0.1):
        pass


def test_the_error_of_the_measurement_is_not_hidden_by_the_samplers() -> None:
    class Gone(Script):
        def read(self) -> Mapping[str, float | None]:
            raise MissingCapability("no sensor")

    clock = SteppedClock(ends_ms=100)
    with pytest.raises(ZeroDivisionError), Sampler([Gone(clock)], clock=clock, period_s=0.1):
        raise ZeroDivisionError


class Periodic:
    """A source with a period of 70 ms: each of its values is there from its own time on, and is told once."""

    name = "periodic"
    cpu_ns = 0

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.told = 0

    def read(self) -> Mapping[str, float | None]:
        raise AssertionError("its own times are asked for")

    def timed_read(self) -> list[tuple[int, Mapping[str, float | None]]]:
        come = range(self.told + 1, self.clock.at_ns // (70 * MS) + 1)
        self.told = max(self.told, self.clock.at_ns // (70 * MS))
        return [(70 * MS * k, {"k": float(k)}) for k in come]


def test_a_source_with_a_period_of_its_own_dates_its_values_and_gives_each_once() -> None:
    clock = SteppedClock(ends_ms=1000)
    sampler = played(clock, Script(clock), Periodic(clock))
    assert times_ms(sampler, "k") == [70.0 * k for k in range(1, 15)]
    assert sampler.readings("k")[1] == [float(k) for k in range(1, 15)]
    assert times_ms(sampler) == [100.0 * k for k in range(11)]  # the others are read as ever


def test_power_that_ramps_is_integrated_as_if_it_had_been_read_at_once() -> None:
    """1 W per s of ramp, read every 70 ms: dated to the sampler's own turns it would come 35 ms late."""
    clock = SteppedClock(ends_ms=1000)
    sampler = played(clock, Periodic(clock))
    times, values = sampler.readings("k")
    ramp_w = [None if value is None else 0.07 * value for value in values]
    joules = integrate_j(times, ramp_w, start_ns=200 * MS, end_ns=900 * MS)
    assert joules == pytest.approx((0.9**2 - 0.2**2) / 2)


def test_what_the_threads_of_monitors_cost_counts_as_sampling() -> None:
    class Dear(Periodic):
        @property
        def cpu_ns(self) -> int:  # type: ignore[override]
            return self.clock.at_ns // 2

    clock = SteppedClock(ends_ms=1000)
    sampler = played(clock, Dear(clock))
    assert sampler.cpu_pct is not None
    assert sampler.cpu_pct >= 50


def test_two_sources_of_one_channel_are_refused() -> None:
    clock = SteppedClock(ends_ms=100)
    twins = [Script(clock), Script(clock, name="twin")]
    with pytest.raises(InternalError, match="script and twin both give"), Sampler(twins, clock=clock, period_s=0.1):
        pass


def test_on_the_machines_clock_it_samples_in_one_daemon_thread_and_ends_it() -> None:
    enough = threading.Event()
    threads: set[tuple[str, bool]] = set()

    class Counts:
        name = "counts"
        readings = 0

        def read(self) -> Mapping[str, float | None]:
            threads.add((threading.current_thread().name, threading.current_thread().daemon))
            self.readings += 1
            if self.readings == 20:
                enough.set()
            return {"n": float(self.readings)}

    before = threading.active_count()
    with Sampler([Counts()], clock=SystemClock(), period_s=0.002) as sampler:
        assert sampler.cpu_pct is None or sampler.cpu_pct >= 0
        assert enough.wait(20)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert threads == {("espdeploy-sampler", True)}
    times, values = sampler.readings("n")
    assert values == [float(k) for k in range(1, len(values) + 1)]
    assert times == sorted(times)
    assert sampler.cpu_pct is not None
    assert 0 < sampler.cpu_pct < 100


def test_a_period_must_be_positive() -> None:
    with pytest.raises(InternalError):
        Sampler([], clock=SystemClock(), period_s=0)
