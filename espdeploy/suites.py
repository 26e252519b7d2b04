"""Suites of measurements (benchmarks/suites/*.toml): every combination that one file asks for, each with an id."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from espdeploy.artifacts import sha256_of
from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.facts import check_name, fact_files, read_facts
from espdeploy.specs import ImageSize

Value = str | int | float | bool
_KIND = "benchmarks/suites"
_ADVICE = "see benchmarks/suites and the other suites there"
_ID_HEX_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """A network of the zoo with its hyper-parameters, or an ONNX file; ``label`` is what people call it.

    A path, here and in ``weights``, starts at the folder of the suite's file, wherever the command is started.
    """

    name: str
    set: dict[str, Value] = field(default_factory=dict)
    weights: str | None = None
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """How each cell is measured; the meaning is that of the options of ``bench``."""

    trials: int = 200
    duration_s: float = 1.0
    warmup_s: float = 1.0
    warmup_max_s: float = 20.0
    idle_s: float = 2.0
    sample_ms: float = 100.0
    cuda_graph: bool = True
    spin_wait: bool = False
    transfers: bool = False


@dataclass(frozen=True, kw_only=True)
class SuiteMatrix:
    """Lists whose every combination is a cell. ``freq`` holds texts as ``--freq`` takes them, one request each."""

    models: tuple[str | NetworkChoice, ...] = ()
    devices: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("fp32",)
    runtimes: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    freq: tuple[str, ...] = ()
    power_modes: tuple[str, ...] = ()
    power_source: str | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """A figure that a paper prints for one of the cells, to be shown beside ours: never measured here."""

    model: str
    metric: str
    value: float
    where: str
    gpu_mhz: float | None = None
    size: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A file of a suite; ``source`` is that file."""

    name: str
    description: str
    matrix: tuple[SuiteMatrix, ...] = ()
    run: SuiteRun = field(default_factory=SuiteRun)
    published: tuple[PublishedFigure, ...] = ()
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement of a suite (with ``freq``: one request over those frequencies). None leaves it to ``bench``.

    ``folder`` is where paths of the suite start. ``sha256`` is of the ONNX file; None for other networks, and where it
    cannot be read.
    """

    model: NetworkChoice
    device: str
    size: str | None
    batch: int
    precision: str
    runtime: str | None
    threads: int | None
    freq: str | None
    power_mode: str | None
    power_source: str | None
    run: SuiteRun
    folder: str = ""
    sha256: str | None = None

    @property
    def network(self) -> str:
        """What ``--model`` takes: an ONNX file by its path from the current folder."""
        return _path(self.folder, self.model.name) if _is_file(self.model) else self.model.name

    @property
    def weights(self) -> str | None:
        """What ``--weights`` takes, as a path from the current folder."""
        return None if self.model.weights is None else _path(self.folder, self.model.weights)

    @property
    def id(self) -> str:
        """Of everything that makes it this measurement, so that a finished one is known again.

        A file counts by its name in the suite and its content, so that it is measured anew when it has changed, and
        not when the suite was moved with its files.
        """
        content = dataclasses.asdict(self)
        content["model"].pop("label")
        del content["folder"]
        sha256 = content.pop("sha256")
        if _is_file(self.model):
            content["model"]["sha256"] = sha256
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_ID_HEX_DIGITS]

    @property
    def label(self) -> str:
        """In one line, for people and for ``--only``."""
        named = self.model.label or self.model.name
        settings = ",".join(f"{key}={value}" for key, value in sorted(self.model.set.items()))
        parts = [
            f"{named}({settings})" if settings and self.model.label is None else named,
            self.device,
            self.size or "",
            f"batch {self.batch}" if self.batch != 1 else "",
            self.precision,
            self.runtime or "",
            f"{self.threads} threads" if self.threads else "",
            f"{self.freq} MHz" if self.freq else "",
            self.power_mode or "",
        ]
        return " ".join(part for part in parts if part)


def suite_names() -> tuple[str, ...]:
    """The names of all suites, in alphabetical order; no file is read."""
    return tuple(fact_files(_KIND))


def suite(name: str) -> Suite:
    """The suite of that name, or in that file where it is a path (with a folder, or the suffix ``.toml``).

    Raises:
        UsageError: there is none; the nearest name is given.
        InputFileError: as :func:`read_suite`.
    """
    known = fact_files(_KIND)
    path = Path(name) if name.endswith(".toml") or "/" in name else known.get(name.lower())
    if path is None or not path.is_file():
        raise UsageError(
            f'unknown suite "{name}"' if path is None else f"there is no suite {path}",
            why=nearest(Path(name).stem, known),
            do="give one of these names, or a TOML file of your own: espdeploy sweep ./mine.toml",
        )
    return read_suite(path)


def read_suite(path: Path) -> Suite:
    """One suite from its TOML.

    Raises:
        InputFileError: not TOML, an unknown key (the nearest is named), a wrong type, an empty matrix, or two cells
            alike.
    """
    found = read_facts(path, Suite, do=_ADVICE)
    check_name(found.name, path, "a suite's")
    seen: dict[str, Cell] = {}
    for cell in _cells(found, path):
        if cell.id in seen:
            raise InputFileError(
                f"{path}: two cells are alike: {cell.label}", do="leave one of the lists' entries away"
            )
        seen[cell.id] = cell
    return dataclasses.replace(found, source=str(path))


def cells(of: Suite) -> tuple[Cell, ...]:
    """Every measurement of a suite, in the file's order."""
    return tuple(_cells(of, Path(of.source)))


def _cells(of: Suite, path: Path) -> Iterator[Cell]:
    if not of.matrix:
        raise InputFileError(f"{path}: there is no [[matrix]], so nothing to measure", do=_ADVICE)
    for matrix in of.matrix:
        for key in ("models", "devices", "batches", "precisions"):
            if not getattr(matrix, key):
                raise InputFileError(f"{path}: {key} of a [[matrix]] is empty, so nothing to measure", do=_ADVICE)
        yield from _product(matrix, of.run, path)


def _product(matrix: SuiteMatrix, run: SuiteRun, path: Path) -> Iterator[Cell]:
    for key in ("batches", "threads"):
        if (wrong := next((count for count in getattr(matrix, key) if count < 1), None)) is not None:
            raise InputFileError(f"{path}: {wrong} in {key} of a [[matrix]]", do="write whole numbers from 1 up")
    models = [item if isinstance(item, NetworkChoice) else NetworkChoice(name=item) for item in matrix.models]
    for size in matrix.sizes:
        try:
            ImageSize.parse(size)
        except UsageError as error:
            raise InputFileError(f"{path}: {error.what}", do="write it like 1024x512") from error
    folder = str(path.parent)
    for device, model, dimensions, batch, precision, runtime, threads, mode, freq in itertools.product(
        matrix.devices,
        models,
        matrix.sizes or (None,),
        matrix.batches,
        matrix.precisions,
        matrix.runtimes or (None,),
        matrix.threads or (None,),
        matrix.power_modes or (None,),
        matrix.freq or (None,),
    ):
        yield Cell(
            model=model,
            device=device,
            size=dimensions,
            batch=batch,
            precision=precision,
            runtime=runtime,
            threads=threads,
            freq=freq,
            power_mode=mode,
            power_source=matrix.power_source,
            run=run,
            folder=folder,
            sha256=_sha256(_path(folder, model.name)) if _is_file(model) else None,
        )


def _is_file(model: NetworkChoice) -> bool:
    return model.name.endswith(".onnx")


def _path(folder: str, name: str) -> str:
    return str(Path(folder) / name)


def _sha256(path: str) -> str | None:
    """Of a file's content, read once as long as it stays as it is; None where it cannot be read."""
    try:
        status = Path(path).stat()
        return _sha256_of(path, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=1024)
def _sha256_of(path: str, _inode: int, _size_bytes: int, _changed_ns: int) -> str:
    return sha256_of(Path(path))
