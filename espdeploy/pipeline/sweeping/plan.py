"""Which cells of a suite are done, and what each of the others asks for."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy import store
from espdeploy.devices.clocks import parse_frequencies
from espdeploy.errors import InputFileError, UsageError
from espdeploy.pipeline.capability import resolved_profile
from espdeploy.pipeline.measuring.bench import check
from espdeploy.pipeline.measuring.request import BenchRequest
from espdeploy.pipeline.measuring.targets import TargetRequest, check_network
from espdeploy.recipes import device_profile
from espdeploy.records import Record
from espdeploy.specs import BenchSpec, ImageSize, ModelSpec
from espdeploy.suites import Cell, Suite, cells
from espdeploy.units import MS_PER_S

_SEVERAL = 2


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A cell, and the records of it that are there already (all that it asks for, or none)."""

    cell: Cell
    records: tuple[Record, ...]

    @property
    def done(self) -> bool:
        """Whether it was measured before."""
        return bool(self.records)


def plan(suite: Suite, results: Path, *, only: Sequence[str] = ()) -> list[Planned]:
    """The cells of a suite in order, each checked against its device, with what ``results`` holds of them.

    Args:
        suite: the suite.
        results: the folder of records; it need not be there yet.
        only: parts of labels, or patterns with ``*``: a cell that fits any of them stays.

    Raises:
        UsageError: nothing fits ``only``, or a cell that its device cannot do.
        MissingCapability: a precision or runtime that a device does not have.
    """
    chosen = [cell for cell in cells(suite) if not only or _fits(cell, only)]
    if not chosen:
        raise UsageError(
            f"no cell of {suite.name} fits --only {' '.join(only)}", do=f"espdeploy sweep {suite.name} --dry-run"
        )
    for cell in chosen:
        request = request_of(cell)
        check(request)
        if request.target.model is not None:
            check_network(request.target.model)
    found = _records(results)
    return [Planned(cell=cell, records=_complete(cell, found.get(cell.id, []))) for cell in chosen]


def check_files(cell: Cell) -> None:
    """Whether the files that a cell names are there; asked for each cell alone, for a missing one costs its cell only.

    Raises:
        InputFileError: one is not; says where it was looked for.
    """
    written = {cell.model.name: cell.network if cell.model.name.endswith(".onnx") else None}
    if cell.model.weights is not None:
        written[cell.model.weights] = cell.weights
    for name, path in written.items():
        if path is not None and not Path(path).is_file():
            raise InputFileError(
                f"{path} does not exist",
                why="" if Path(name).is_absolute() else "a path in a suite starts at the folder of the suite's file",
                do=f"put it there, or change {name} in the suite",
            )


def request_of(cell: Cell, *, graph: Path | None = None) -> BenchRequest:
    """What ``bench`` is asked for; ``graph`` is the network's ONNX file where that is there already."""
    run = cell.run
    model = ModelSpec(
        name=cell.network,
        settings={key: str(value) for key, value in cell.model.set.items()},
        weights=Path(cell.weights) if cell.weights else None,
    )
    return BenchRequest(
        target=TargetRequest(
            profile=resolved_profile(device_profile(cell.device)),
            engine=graph,
            model=None if graph else model,
            runtime=cell.runtime,
            precision=cell.precision,
            size=ImageSize.parse(cell.size) if cell.size else None,
            batch=cell.batch,
            threads=cell.threads,
            cuda_graph=run.cuda_graph,
        ),
        spec=BenchSpec(
            trials=run.trials,
            duration_min_s=run.duration_s,
            warmup_min_s=run.warmup_s,
            warmup_max_s=max(run.warmup_s, run.warmup_max_s),
            sample_period_s=run.sample_ms / MS_PER_S,
            idle_s=run.idle_s,
            cuda_graph=run.cuda_graph,
            spin_wait=run.spin_wait,
            transfers=run.transfers,
        ),
        frequencies=cell.freq,
        power_mode=cell.power_mode,
        power_source=cell.power_source,
        command=command_of(cell),
        cell=cell.id,
    )


def command_of(cell: Cell, *, graph: Path | None = None) -> str:
    """The command line that measures a cell alone; ``graph`` is the network's ONNX file where that is there already."""
    run = cell.run
    words = ["espdeploy", "bench", *([str(graph)] if graph else ["--model", cell.network])]
    for key, value in sorted(cell.model.set.items()) if graph is None else ():
        words += ["--set", f"{key}={value}"]
    options = {
        "--weights": None if graph else cell.weights,
        "--device": cell.device,
        "--runtime": cell.runtime,
        "--precision": cell.precision,
        "--size": cell.size,
        "--batch": None if cell.batch == 1 else cell.batch,
        "--threads": cell.threads,
        "--freq": cell.freq,
        "--power-mode": cell.power_mode,
        "--power-source": cell.power_source,
        "--trials": run.trials,
        "--duration-s": f"{run.duration_s:g}",
        "--warmup-s": f"{run.warmup_s:g}",
        "--warmup-max-s": f"{run.warmup_max_s:g}",
        "--idle-s": f"{run.idle_s:g}",
        "--sample-ms": f"{run.sample_ms:g}",
    }
    for name, option in options.items():
        words += [] if option is None else [name, str(option)]
    words += [] if run.cuda_graph else ["--no-cuda-graph"]
    words += ["--spin-wait"] if run.spin_wait else []
    words += ["--transfers"] if run.transfers else []
    return shlex.join(words)


def _fits(cell: Cell, only: Sequence[str]) -> bool:
    label = cell.label.lower()
    return any(
        fnmatch.fnmatchcase(label, part.lower()) if "*" in part else part.lower() in label for part in only
    ) or any(part == cell.id for part in only)


def _records(results: Path) -> dict[str, list[Record]]:
    """Records by the cell that asked for them."""
    if not results.is_dir():
        return {}
    try:
        stored = store.read_folder(results).records
    except InputFileError:  # nothing in it yet
        return {}
    found: dict[str, list[Record]] = {}
    for record in stored:
        if record.cell is not None and not record.interrupted:
            found.setdefault(record.cell, []).append(record)
    return found


def _complete(cell: Cell, records: Iterable[Record]) -> tuple[Record, ...]:
    """The records where they are all that a cell asks for; a request that was cut off is measured anew as a whole."""
    requests: dict[str | None, list[Record]] = {}
    for record in records:
        requests.setdefault(record.sweep, []).append(record)
    return next((tuple(found) for found in requests.values() if _is_whole(cell, found)), ())


def _is_whole(cell: Cell, request: Sequence[Record]) -> bool:
    """Whether one request got to its end: of three frequencies or more the first comes again there."""
    wanted = parse_frequencies(cell.freq) if cell.freq else ()
    if request[0].sweep is None or len(wanted) + ("all" in wanted) < _SEVERAL:
        return True
    steps = [record.device.gpu_freq_mhz.requested for record in request]
    return len(set(steps)) < len(steps) or (len(steps) == len(wanted) == _SEVERAL and "all" not in wanted)
