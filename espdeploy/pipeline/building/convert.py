"""``espdeploy convert``: the graph itself in FP16 or with Q/DQ pairs, for runtimes whose precision is in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import export, lazy, parity
from espdeploy.artifacts import OnnxArtifact, check_replaceable
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.errors import UsageError
from espdeploy.pipeline.building.agreement import rms_error_pct
from espdeploy.pipeline.building.lower import amax_of, lower, table_for
from espdeploy.pipeline.building.making import probe_inputs
from espdeploy.pipeline.engine_files.opening import available_threads
from espdeploy.pipeline.measuring.feeds import class_axes, feeds
from espdeploy.protocols import Progress
from espdeploy.quantize.qdq import quantizable
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

PRECISIONS = ("fp16", "int8")
_RUNTIME = "onnxruntime"
_STAGES = 4


@dataclass(frozen=True, kw_only=True)
class ConvertRequest:
    """Which graph is wanted in which precision. ``keep_io``: whether an FP16 graph keeps FP32 inputs and outputs."""

    onnx: Path
    precision: str
    calibration: Path | None = None
    keep_io: bool = True


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The written graph, what stayed in FP32 and why, and how far its answers are from the FP32 graph's.

    The two figures are None where they cannot be known: no runtime, or inputs that are not images or texts.
    """

    artifact: OnnxArtifact
    precision: str
    layers: int
    kept: dict[str, str]
    rms_error_pct: float | None
    argmax_agreement_pct: float | None
    notes: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """As ``convert --json`` prints it."""
        return {
            "output": str(self.artifact.path),
            "precision": self.precision,
            "opset": self.artifact.opset,
            "sha256": self.artifact.sha256,
            "layers": self.layers,
            "kept": self.kept,
            "rms_error_pct": self.rms_error_pct,
            "argmax_agreement_pct": self.argmax_agreement_pct,
            "notes": list(self.notes),
        }


def convert_graph(request: ConvertRequest, output: Path | None, progress: Progress) -> Converted:
    """Lower the graph, check that it runs and how far its answers move, and write it.

    Raises:
        UsageError: a precision that no graph is written in, INT8 without a table, a graph that is quantized already.
        InputFileError: the graph or the table cannot be used, or no layer can be lowered.
        ToolFailed: the lowered graph does not run.
        MissingCapability: a package is missing, or the place cannot be written.
    """
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"no graph is written in {request.precision}",
            why="bf16 is a runtime's own choice, and mixed is found by building"
            if request.precision in ("bf16", "mixed")
            else "",
            do=f"--precision {' or '.join(PRECISIONS)}; espdeploy build takes the others",
        )
    onnx = onnx_path(FileSource(path=request.onnx), "espdeploy convert")
    final = output or onnx.with_name(f"{onnx.stem}.{request.precision}.onnx")
    check_replaceable(final)
    progress(0, _STAGES, "reading the graph")
    table = table_for(onnx, request.precision, request.calibration)
    model = export.load(onnx)
    facts = export.inspect(model)
    progress(1, _STAGES, f"converting to {request.precision}")
    lowered = lower(model, request.precision, amax=amax_of(table), keep_io=request.keep_io)
    layers = len(quantizable(model))
    progress(2, _STAGES, "writing")
    artifact = export.save(lowered.model, final, facts.card)
    progress(3, _STAGES, "comparing with FP32")
    error_pct, agreement_pct = _compared(onnx, final, facts)
    return Converted(
        artifact=artifact,
        precision=request.precision,
        layers=layers,
        kept=dict(lowered.kept),
        rms_error_pct=error_pct,
        argmax_agreement_pct=agreement_pct,
        notes=(
            *lowered.notes,
            *(("compared with nothing: no runtime, or unknown inputs",) if error_pct is None else ()),
        ),
    )


def _compared(before: Path, after: Path, facts: export.GraphFacts) -> tuple[float | None, float | None]:
    """The relative root mean square error and the share of equal decisions, both in percent."""
    inputs = probe_inputs(facts)
    try:
        feed = feeds(inputs, facts.card, count=1, batch=1)[0]
    except UsageError:
        return None, None
    if not lazy.available(_RUNTIME):
        return None, None
    right, got = _run(before, feed, "fp32"), _run(after, feed, "fp16")
    compared = parity.compare(lambda _: right, lambda _: got, [feed], class_axis=class_axes(facts.card, len(right)))
    return rms_error_pct(right, got), compared.argmax_agreement_pct


def _run(path: Path, feed: dict[str, Tensor], precision: str) -> list[Tensor]:
    with open_runner(
        FileSource(path=path), RunSpec(runtime=_RUNTIME, precision=precision, threads=available_threads())
    ) as runner:
        cast = {info.name: feed[info.name].astype(info.dtype) for info in runner.inputs}
        return [answer.astype("float32") for answer in runner.infer(cast).values()]
