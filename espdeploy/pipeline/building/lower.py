"""A graph in a lower precision: by its types (FP16), or by Q/DQ pairs (INT8, all of it or a chosen part)."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import passes
from espdeploy.errors import UsageError
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.quantize.qdq import quantize
from espdeploy.quantize.table import CalibrationTable, check_fits, read_table

if TYPE_CHECKING:
    from onnx import ModelProto

#: precisions whose graph holds Q/DQ pairs, and so needs activation ranges
QUANTIZED = ("int8", "mixed")


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """The graph, the passes that changed it, the layers left in a higher precision with the reason, and remarks."""

    model: ModelProto
    changed_by: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def table_for(onnx: Path, precision: str, calibration: Path | None) -> CalibrationTable | None:
    """The activation ranges that a precision needs, checked to be of this network.

    Raises:
        UsageError: INT8 without a table, or a table where none is used.
        InputFileError: the table is damaged, or of another network.
    """
    if calibration is None:
        if precision in QUANTIZED:
            raise UsageError(
                f"{precision} needs activation ranges",
                why="made-up ranges would give an engine with made-up accuracy",
                do=f"espdeploy calibrate {shlex.quote(str(onnx))} --data DIR -o T.json, then add --calibration T.json",
            )
        return None
    if precision not in (*QUANTIZED, "fp16"):
        raise UsageError(f"--calibration is of no use to {precision}", do="leave it away, or choose --precision int8")
    table = read_table(calibration)
    check_fits(table, onnx, named=str(calibration))
    return table


def lower(
    model: ModelProto,
    precision: str,
    *,
    amax: Mapping[str, float] | None = None,
    layers: Collection[str] | None = None,
    names: tuple[str, ...] = (),
    keep_io: bool = True,
) -> Lowered:
    """Run the graph passes ``names``, then bring the graph to ``precision``; ``model`` itself stays as it is.

    Args:
        model: an FP32 graph.
        precision: ``fp32`` and ``bf16`` leave the types to the runtime.
        amax: the magnitude of each tensor that becomes 127; INT8 needs it, FP16 finds overflows by it.
        layers: which layers go to INT8; None: every one that can.
        names: graph passes that run first.
        keep_io: whether an FP16 graph keeps FP32 inputs and outputs.

    Raises:
        UsageError: a graph that is quantized already, or that holds nothing to quantize.
        InputFileError: weights that are not finite.
    """
    applied = passes.apply(model, names)
    prepared, changed_by = applied.model, applied.changed_by
    if precision in QUANTIZED:
        quantized = quantize(prepared, amax or {}, layers=layers)
        return Lowered(model=quantized.model, changed_by=changed_by, kept=dict(quantized.left))
    if precision == "fp16":
        half = to_fp16(prepared, keep_io=keep_io, amax=amax)
        flushed = f"{half.flushed} weights too small for FP16 became zero"
        notes = (*((flushed,) if half.flushed else ()), *half.notes)
        return Lowered(model=half.model, changed_by=changed_by, kept=dict(half.kept), notes=notes)
    return Lowered(model=prepared, changed_by=changed_by)


def amax_of(table: CalibrationTable | None) -> dict[str, float] | None:
    """The table's magnitudes by tensor; None without a table."""
    return None if table is None else {name: item.amax for name, item in table.ranges.items()}
