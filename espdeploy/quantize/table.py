"""The calibration table: the range of each activation, and everything that it was measured from."""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from espdeploy import lazy
from espdeploy.artifacts import ModelCard, Preprocessing, sha256_of, write_atomic
from espdeploy.errors import InputFileError, InternalError
from espdeploy.onnx_graph import subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

#: raised when a reader of the older schema could misread a newer table
TABLE_SCHEMA = 1
#: a table with 100,000 tensors takes about 10 MB; nothing that calibrate writes comes near this
_MAX_BYTES = 256 * 1_000_000
_SHA_CHARS = 12  # of a digest in a message: enough to tell two apart
_NAMES_SHOWN = 3
_HOW_TO_MAKE = "espdeploy calibrate F.onnx --data DIR -o T.json writes one"


@dataclass(frozen=True, kw_only=True)
class TensorRange:
    """A tensor's values over all images: the lowest, the highest, and ``amax``, the magnitude that becomes 127."""

    amax: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class CalibrationTable:
    """Ranges by tensor, with what they come from.

    ``images`` counts those that were really used; ``skipped`` names files that could not be read. ``random`` says that
    the inputs were made up: an engine from such a table is for timing only, and ``data_sha256`` (over the contents of
    the images, in their order) is None. ``recipe`` is the name or file of the recipe that chose the images.
    ``graph_sha256`` (:func:`graph_sha256`) is None where the table was made without the package onnx. ``operands`` are
    the ranges of constants that TensorRT 10 wants (:func:`espdeploy.quantize.tensorrt_cache.operand_ranges`), for
    boards that cannot read them off the graph; None in tables of an espdeploy that did not keep them.
    """

    schema: int
    method: str
    images: int
    onnx_sha256: str
    graph_sha256: str | None
    data_sha256: str | None
    recipe: str | None
    preprocessing: Preprocessing | None
    random: bool
    espdeploy_version: str
    created: str
    ranges: dict[str, TensorRange]
    skipped: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()  # tensors that had one value everywhere
    seed: int | None = None  # what drew the images, or made them up
    operands: dict[str, TensorRange] | None = None


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The part of a table that every schema has."""

    schema: int
    method: str


def write_table(table: CalibrationTable, path: Path) -> None:
    """Write the table as indented JSON, whole or not at all.

    Raises:
        InternalError: a range is not finite, or upside down.
        UsageError, MissingCapability: the place cannot be written.
    """
    fault = _fault(table)
    if fault is not None:
        raise InternalError(
            f"the calibration table cannot be stored: {fault}", do="report this with the command that you ran"
        )
    write_atomic(path, msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n")


def read_table(path: Path) -> CalibrationTable:
    """The table in a file.

    Raises:
        InputFileError: missing, unreadable, cut short, something else, of a newer schema, or with impossible ranges.
    """
    content = _content(path)
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.schema > TABLE_SCHEMA:
            raise InputFileError(
                f"{path} is a calibration table of schema {head.schema}",
                why=f"this espdeploy reads schemas up to {TABLE_SCHEMA}",
                do="pip install --upgrade espdeploy",
            )
        table = msgspec.json.decode(content, type=CalibrationTable)
    except msgspec.ValidationError as error:
        raise InputFileError(f"{path} is no calibration table", why=str(error), do=_HOW_TO_MAKE) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = _why_undecodable(content, error)
        raise InputFileError(f"{path} is no calibration table: {what}", why=str(error), do=_HOW_TO_MAKE) from error
    fault = _fault(table)
    if fault is not None:
        raise InputFileError(f"{path} is damaged: {fault}", do=_HOW_TO_MAKE)
    return table


def check_fits(table: CalibrationTable, onnx: Path, *, named: str = "the calibration table") -> None:
    """Refuse a table that was made from another network than ``onnx``.

    What counts is the graph with its weights and operator sets (:func:`graph_sha256`), and the pre-processing that the
    file carries: other metadata may differ. Without the package onnx the file's own digest must be the same.

    Raises:
        InputFileError: it was made from another one; both digests are given, and what else differs.
    """
    if not onnx.is_file():
        raise InputFileError(f"{onnx} {'is not a file' if onnx.exists() else 'does not exist'}", do="check the path")
    made_from, why = _difference(table, onnx)
    if why:
        raise InputFileError(
            f"{named} was made from {made_from} {onnx}",
            why=why,
            do=f"calibrate this network: espdeploy calibrate {shlex.quote(str(onnx))} --data DIR",
        )


def _difference(table: CalibrationTable, onnx: Path) -> tuple[str, str]:
    """What the table was made from instead, and how that is known; the latter is empty where it fits."""
    if table.graph_sha256 is None or not lazy.available("onnx"):
        found = sha256_of(onnx)
        why = f"SHA-256 {_short(table.onnx_sha256)} in the table, {_short(found)} of the file"
        return "another file than", why if found != table.onnx_sha256 else ""
    model = _load(onnx)
    found = _graph_digest(model)
    if found == table.graph_sha256:
        return "other pre-processing than that of", _compared(table.preprocessing, _preprocessing_of(model))
    digests = f"graph SHA-256 {_short(table.graph_sha256)} in the table, {_short(found)} of the file"
    return "another network than", f"{digests}; {_tensors_compared(table.ranges, _tensor_names(model.graph))}"


def graph_sha256(path: Path) -> str | None:
    """SHA-256 of a network's graph: nodes, weights, inputs, outputs and operator sets.

    Metadata, documentation and shape annotations of inner tensors are left out, so that the same network exported
    twice has one digest. None where the package onnx is not installed.

    Raises:
        InputFileError: the file holds no whole ONNX model.
    """
    if not lazy.available("onnx"):
        return None
    return _graph_digest(_load(path))


def _graph_digest(model: ModelProto) -> str:
    """The digest of a model, which is stripped for it: metadata of the whole model stay."""
    digest = hashlib.sha256()
    for entry in sorted(model.opset_import, key=lambda entry: str(entry.domain)):
        digest.update(f"{entry.domain}:{entry.version}\n".encode())
    for function in model.functions:
        function.ClearField("doc_string")
        digest.update(function.SerializeToString(deterministic=True))
    _strip(model.graph)
    digest.update(model.graph.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _load(path: Path) -> ModelProto:
    onnx = lazy.require("onnx", extra="export")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError lives in a module that moves between its versions
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputFileError(
            f"{path} is no whole ONNX file", why=why, do="export it again, or fetch it again"
        ) from error


def _strip(graph: GraphProto) -> None:
    """Leave nothing but what decides the network's answers."""
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    for items in (graph.input, graph.output, graph.initializer, graph.node):
        for item in items:
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
    for tensor in graph.initializer:  # where its bytes lay does not matter once they are loaded
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    for node in graph.node:
        for inner in subgraphs(node):
            _strip(inner)


def _tensor_names(graph: GraphProto) -> set[str]:
    return {value.name for value in graph.input} | {name for node in graph.node for name in node.output if name}


def _tensors_compared(ranges: Iterable[str], present: set[str]) -> str:
    missing = sorted(set(ranges) - present)
    if not missing:
        return "tensors have the same names, so weights or settings differ"
    more = f" and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
    return f"the file lacks the tensors {', '.join(missing[:_NAMES_SHOWN])}{more}"


def _preprocessing_of(model: ModelProto) -> Preprocessing | None:
    card = ModelCard.from_metadata({entry.key: entry.value for entry in model.metadata_props})
    return card.preprocessing if card else None


def _compared(table: Preprocessing | None, file: Preprocessing | None) -> str:
    """What differs; nothing where one of them is not known."""
    if table is None or file is None:
        return ""
    own, other = msgspec.to_builtins(table), msgspec.to_builtins(file)
    return "; ".join(
        f"{key} {own[key]} in the table, {other[key]} in the file" for key in own if own[key] != other[key]
    )


def _fault(table: CalibrationTable) -> str | None:
    """What no calibration can have measured; None where all is plausible."""
    if table.schema < 1 or table.images < 1:
        return f"schema {table.schema} does not exist" if table.schema < 1 else "it counts no image"
    for name, item in (*table.ranges.items(), *(table.operands or {}).items()):
        if not all(math.isfinite(value) for value in (item.amax, item.lowest, item.highest)):
            return f'the range of "{name}" is not finite'
        if item.amax < 0 or item.lowest > item.highest:
            return f'the range of "{name}" is upside down ({item.lowest} … {item.highest}, amax {item.amax})'
    return None


def _content(path: Path) -> bytes:
    """The bytes of a plain file of bounded size; a pipe or device is never opened."""
    if not path.is_file():
        what = f"{path} is not a file" if path.exists() else f"{path} does not exist"
        raise InputFileError(what, do=_HOW_TO_MAKE)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputFileError(f"{path} is too large for a calibration table", do=_HOW_TO_MAKE)
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}", do="check its permissions") from error


def _why_undecodable(content: bytes, error: Exception) -> str:
    if not content.strip():
        return "it is empty"
    return "it is cut short" if "truncated" in str(error) else "it is not JSON text"


def _short(digest: str) -> str:
    return digest[:_SHA_CHARS]
