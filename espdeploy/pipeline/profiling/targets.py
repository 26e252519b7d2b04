"""What ``espdeploy explain`` is given, by content: a record, a network, an engine's layers, outputs of profilers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espdeploy import store
from espdeploy.errors import InputFileError, UsageError
from espdeploy.pipeline.profiling.opening import Opened, opened
from espdeploy.pipeline.profiling.parse import parse_files
from espdeploy.profilers.kinds import PROFILERS
from espdeploy.profilers.layer_origins import Origin, read_origins
from espdeploy.profilers.trtexec import document as trtexec
from espdeploy.profilers.trtexec.values import LayerProfile, LayerTime
from espdeploy.records import Record

_RECORD = re.compile(r'\s*\{\s*"schema"\s*:\s*\d')
_LAYER_INFO = "layers"
_LOG = "log"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What trtexec told of one run: its figures with the keys of ``parse``, and its layers where they have times."""

    name: str
    document: dict[str, Any]
    layers: LayerProfile | None


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that was given. ``runs`` are of trtexec, ``profiled`` what profilers wrote, joined."""

    record: Record | None = None
    onnx: Path | None = None
    runs: tuple[Timed, ...] = ()
    origins: tuple[dict[str, Origin], ...] = ()
    profiled: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def with_layers(self) -> tuple[Timed, ...]:
        """The runs whose layers have times."""
        return tuple(run for run in self.runs if run.layers is not None)


def sorted_out(names: Sequence[str]) -> Given:
    """Read every file.

    Raises:
        UsageError: nothing is given, or two of what there can be one of.
        InputFileError: a file that cannot be read, or of no kind that is known.
    """
    records, graphs, tools, notes = [], [], [], []
    for name in dict.fromkeys(names):
        path = Path(name)
        if path.is_dir() or _is_record(path):
            record, said = _newest(path)
            records.append(record)
            notes += said
        elif path.suffix.lower() == ".onnx":
            graphs.append(path)
        else:
            tools.append(name)
    _at_most_one(records, "records", "explain them one by one, or set them side by side: espdeploy compare A B")
    _at_most_one(graphs, "ONNX files", "give the one that the engine was built of")
    runs, origins, profilers = _sorted_tools(tools)
    return Given(
        record=records[0] if records else None,
        onnx=graphs[0] if graphs else None,
        runs=tuple(runs),
        origins=tuple(origins),
        profiled=parse_files(profilers) if profilers else None,
        notes=tuple(notes),
    )


def _sorted_tools(names: Sequence[str]) -> tuple[list[Timed], list[dict[str, Origin]], list[str]]:
    logs: list[Timed] = []
    exports: list[Timed] = []
    origins: list[dict[str, Origin]] = []
    profilers: list[str] = []
    for name in names:
        with opened(name) as file:
            kind, variant = _kind(file)
            if variant == _LAYER_INFO:
                with file.text() as text:
                    origins.append(read_origins(text))
        if kind in PROFILERS:
            profilers.append(name)
        elif kind != trtexec.KIND:
            raise InputFileError(
                f"{name} is what {kind} wrote, which tells nothing of kernels or layers",
                do="give a record of bench, a layer profile, or what nsys, ncu or nvprof wrote",
            )
        elif variant != _LAYER_INFO:
            document = parse_files([name])
            timed = Timed(name=name, document=document, layers=_layers(document))
            (logs if variant == _LOG else exports).append(timed)
    return _runs(logs, exports), origins, profilers


def _kind(file: Opened) -> tuple[str, str]:
    if file.is_sqlite:
        return "nsys", "sqlite"
    found = file.found()
    if found is None:
        raise InputFileError(
            f"{file.name} is nothing that can be explained",
            why="it is no record of bench, no ONNX file, and no tool that is known wrote it",
            do="give a record of bench, a layer profile of trtexec, an .onnx file, or what a profiler wrote",
        )
    return found.what.kind, found.what.variant


def _runs(logs: list[Timed], exports: list[Timed]) -> list[Timed]:
    """Runs, each once: a log and what the same run exported tell of the same layers."""
    layered = [timed for timed in exports if timed.layers is not None]
    if layered and len(logs) == 1 and len(layered) == 1:
        return [
            Timed(
                name=layered[0].name,
                document={**layered[0].document, **{k: v for k, v in logs[0].document.items() if v}},
                layers=layered[0].layers,
            )
        ]
    return [*logs, *exports]


def _layers(document: dict[str, Any]) -> LayerProfile | None:
    timed = [layer for layer in document["layers"] if layer["mean_ms"] is not None]
    if not timed:
        return None
    return LayerProfile(
        iterations=None,
        layers=tuple(
            LayerTime(name=layer["name"], mean_ms=layer["mean_ms"], time_pct=layer["time_pct"]) for layer in timed
        ),
    )


def _is_record(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _RECORD.match(stream.read(256).decode("utf-8", errors="replace")) is not None


def _newest(path: Path) -> tuple[Record, list[str]]:
    stored = store.read_folder(path)
    record = stored.records[-1]
    count = len(stored.records)
    said = [f"{path} holds {count} records: the newest is explained, {record.id}"] if count > 1 else []
    return record, said


def _at_most_one(found: Sequence[object], what: str, do: str) -> None:
    if len(found) > 1:
        raise UsageError(f"{len(found)} {what} are given", why="one run is explained at a time", do=do)
