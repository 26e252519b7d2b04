"""``espdeploy bench``: from the request to the stored records, one for each frequency."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from espdeploy import store
from espdeploy.bench import crosscheck
from espdeploy.devices.clocks import ClockSession, clock_session, parse_frequencies
from espdeploy.devices.detect import Machine, detect
from espdeploy.errors import AnswerIsNo, MissingCapability, UsageError
from espdeploy.pipeline.engine_files.opening import check_is_here, check_precision
from espdeploy.pipeline.evaluating.evaluate import scorable
from espdeploy.pipeline.machine import is_simulated, journal_folder, system_root
from espdeploy.pipeline.measuring import frequencies, planning
from espdeploy.pipeline.measuring.alone import alone
from espdeploy.pipeline.measuring.assemble import ClockState, Observed, record_of
from espdeploy.pipeline.measuring.cross_check import check_against_tool, check_here, check_possible
from espdeploy.pipeline.measuring.observe import Setting, Watch, observe, scored
from espdeploy.pipeline.measuring.request import Benched, BenchRequest, Step, check_possible_spec
from espdeploy.pipeline.measuring.sources import check_power_source
from espdeploy.pipeline.measuring.subject import opened
from espdeploy.pipeline.measuring.targets import Target, check_named, check_there, resolve
from espdeploy.protocols import Clock, Progress, SystemClock
from espdeploy.records import Record


def check(request: BenchRequest) -> None:
    """Refuse impossible combinations before anything slow or anything that touches the device.

    Raises:
        UsageError: neither or both of a file and a network, times that are no times, clocks or power modes for a device
            without them, labels without images.
        MissingCapability: a precision or runtime that the device does not have.
    """
    profile = request.target.profile
    check_named(request.target)
    check_possible_spec(request.spec)
    for flag, value in (("--freq", request.frequencies), ("--power-mode", request.power_mode)):
        if value is not None and profile.gpu is None:
            raise UsageError(
                f"{flag} {value} cannot be set on {profile.name}",
                why=f"{profile.name} has no GPU clocks to set",
                do=f"leave {flag} away, or choose a --device that has them",
            )
    if request.frequencies is not None:
        parse_frequencies(request.frequencies)
    elif request.freq_strict:
        raise UsageError("--freq-strict needs the frequency that it is strict about", do="add --freq MHZ")
    if request.labels is not None and request.data is None:
        raise UsageError("--labels needs the images that they belong to", do="add --data DIR")
    if request.target.precision is not None:
        check_precision(profile, request.target.precision)
    if request.cross_check:
        check_possible(profile)
    check_power_source(profile, request.power_source)


def plan(request: BenchRequest, results: Path) -> list[Step]:
    """The steps of this request in order, without doing any."""
    check(request)
    check_there(request.target)
    return planning.steps(request, results)


def benchmark(request: BenchRequest, results: Path, progress: Progress, clock: Clock | None = None) -> list[Benched]:
    """Measure, judge and store: one record, or one for each frequency. Another that measures here is waited for.

    Raises:
        AnswerIsNo: ``--cross-check`` found another time; the record that says so is stored.
        ResultsUnwritable: the folder takes no record; the last one made is in the error.
        EspdeployError: as resolving, opening and running do; what was measured before is stored.
        KeyboardInterrupt: before one trial was complete.
    """
    check(request)
    watch = Watch(clock or SystemClock(), progress)
    machine = check_is_here(request.target.profile)
    store.probe_writable(results)
    found: list[Benched] = []

    def keep(record: Record, *, stopped: bool) -> None:
        full = dataclasses.replace(record, findings=[*record.findings, *doubts])
        found.append(Benched(record=full, path=_stored(full, results, found), stopped=stopped))

    with alone(request.command, progress) as doubts:
        target = resolve(request.target, progress)
        _check_target(request, target)
        _measure(request, target, machine, watch, keep)
        benched = _together(found)
    _answer(benched)
    return benched


class _Keep(Protocol):
    """What becomes of each record as it is there."""

    def __call__(self, record: Record, *, stopped: bool) -> None: ...


def _measure(request: BenchRequest, target: Target, machine: Machine, watch: Watch, keep: _Keep) -> None:
    """Measure at each frequency, until the user wants nothing more to be begun."""
    with _clocks(request) as session, opened(request.target, target, watch.clock) as subject:
        start_c: float | None = None
        labelled = scorable(subject.runner, request.data, request.labels) if subject.runner and request.data else None
        states = _states(request, session)
        machine = detect(system_root()) if request.power_mode else machine  # a mode switches cores off
        for state in states:
            rest = frequencies.cool_down(start_c, clock=watch.clock, progress=watch.progress, root=system_root())
            locked = _locked(request, session, state, rest)
            setting = Setting(machine=machine, root=system_root(), clocks=locked, simulated=is_simulated())
            seen = scored(observe(request, target, subject, setting, watch), request, subject.runner, labelled, watch)
            record, stopped = _judged(request, target, seen, watch)
            keep(record, stopped=stopped)
            start_c = record.thermal.start_c if start_c is None else start_c
            if stopped:
                break


def _stored(record: Record, results: Path, earlier: Sequence[Benched]) -> Path:
    """The record's file; where it cannot be stored, the error has all records of the request."""
    try:
        return store.keep(record, results)
    except store.ResultsUnwritable as error:
        error.records = (*(item.record for item in earlier), record)
        raise


def _check_target(request: BenchRequest, target: Target) -> None:
    """Refuse what only the file that is to be timed makes impossible, before the device is touched.

    Raises:
        UsageError: accuracy of what gives no answers.
        MissingCapability: a cross-check that cannot be made here.
    """
    if target.tool is not None and request.data is not None:
        raise UsageError(
            f"--data {request.data} cannot be evaluated here",
            why=f"{target.tool.kind} times the engine, and gives no answers",
            do=f"leave --data and --labels away, and score the graph: espdeploy eval F.onnx --data {request.data}",
        )
    if request.cross_check:
        check_here(target)


def _judged(request: BenchRequest, target: Target, seen: Observed, watch: Watch) -> tuple[Record, bool]:
    """The record of one measurement, and whether it was stopped in the middle or right after."""
    record = record_of(seen)
    if record.interrupted or seen.stopped or not request.cross_check:
        return record, record.interrupted or seen.stopped
    return crosscheck.with_check(record, check_against_tool(request, target, record, watch)), False


@contextlib.contextmanager
def _clocks(request: BenchRequest) -> Iterator[ClockSession]:
    """The session that puts clocks back; one that changes nothing where none are to be set."""
    changes = request.frequencies is not None or request.power_mode is not None
    profile, journal = request.target.profile, journal_folder()
    with clock_session(profile, root=system_root(), journal=journal, dry_run=not changes) as session:
        yield session


def _states(request: BenchRequest, session: ClockSession) -> list[ClockState]:
    """What is to be set, in the order of measuring; every frequency is checked before the first is measured."""
    if request.power_mode is not None:
        mode: str | None = session.set_power_mode(request.power_mode).name
    else:
        active = session.power_mode()
        mode = None if active is None else active.name
    if request.frequencies is None:
        return [ClockState(power_mode=mode)]
    wanted = parse_frequencies(request.frequencies)
    locks = {lock.requested_mhz: lock for lock in session.resolve_gpu(wanted, strict=request.freq_strict)}
    steps = frequencies.order(list(locks))
    sweep = secrets.token_hex(6) if len(steps) > 1 else None
    return [ClockState(requested_mhz=mhz, power_mode=mode, sweep=sweep) for mhz in steps]


def _locked(request: BenchRequest, session: ClockSession, state: ClockState, rest: str | None) -> ClockState:
    """The state with the frequency set, and said."""
    notes = (rest,) if rest else ()
    if state.requested_mhz is None:
        return dataclasses.replace(state, notes=notes)
    lock = session.lock_gpu(state.requested_mhz, strict=request.freq_strict)
    return dataclasses.replace(state, set_mhz=lock.set_mhz, locked=True, notes=(*notes, lock.text))


def _together(found: Sequence[Benched]) -> list[Benched]:
    """Records of several frequencies, with what only all of them tell, stored again under their names."""
    if len(found) < 2:
        return list(found)
    records = frequencies.together([item.record for item in found])
    for item, record in zip(found, records, strict=True):
        try:
            store.replace(record, item.path)
        except MissingCapability as error:
            told = f"every record is in {item.path.parent}, without what only all of them tell"
            lacking = store.ResultsUnwritable(error.what, why=told, do="make room, and repeat for the sensitivity")
            lacking.records = tuple(records)
            raise lacking from error
    return [dataclasses.replace(item, record=record) for item, record in zip(found, records, strict=True)]


def _answer(found: Sequence[Benched]) -> None:
    failed = next((item for item in found if item.record.cross_check and not item.record.cross_check.passed), None)
    if failed is not None and failed.record.cross_check is not None:
        check_ = failed.record.cross_check
        raise AnswerIsNo(
            f"{check_.tool} measured {check_.median_ms:.3f} ms where espdeploy measured {check_.own_median_ms:.3f} ms",
            why=f"median GPU compute differs by {check_.difference_pct:.1f} %, more than {check_.limit_pct:g} %",
            do=f"lock the clocks (--freq) and repeat; both are in {failed.path}",
        )
