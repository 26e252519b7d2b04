"""``espdeploy export``: a network, or an ONNX file, becomes a simplified ONNX file that is proven equal to it."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espdeploy import export, lazy, parity, passes
from espdeploy.artifacts import ModelCard, OnnxArtifact, check_replaceable
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.parity import Parity
from espdeploy.pipeline.capability import check_opset
from espdeploy.pipeline.engine_files.opening import available_threads
from espdeploy.pipeline.measuring.feeds import class_axes, feeds, one_image
from espdeploy.protocols import Progress, TensorInfo
from espdeploy.specs import DeviceProfile, ImageSize, ModelSpec, RunSpec

if TYPE_CHECKING:
    from onnx import ModelProto

    from espdeploy.pipeline.measuring.feeds import Feed
    from espdeploy.protocols import Tensor

Answer = Callable[["Feed"], "list[Tensor]"]

_PARITY_RUNTIMES = ("onnxruntime", "openvino")
_NO_MACS = "macs is null: no layer that is counted in them, or extents that the graph leaves open"
_PARITY_INPUTS = 2
_STAGES = 5
_DYNAMIC_PROBE_BATCH = 2
_DYNAMIC_FILE_PROBE = (1, 3, 224, 224)  # N,C,H,W


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is to be exported, for which device. ``batch`` None means dynamic; ``opset`` None the device's own."""

    model: ModelSpec
    profile: DeviceProfile
    size: ImageSize | None = None
    batch: int | None = 1
    opset: int | None = None
    simplify: bool = True
    verify_passes: bool = False


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The file, and the proof that it computes what the network does."""

    artifact: OnnxArtifact
    model: str
    weights: str
    params: int | None
    macs: int | None
    nodes_before: int
    nodes_after: int
    passes: tuple[str, ...]
    parity: Parity
    notes: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """As ``export --json`` prints it."""
        return {
            "output": str(self.artifact.path),
            "model": self.model,
            "weights": self.weights,
            "params": self.params,
            "macs": self.macs,
            "input_shape": list(self.artifact.input_shape),
            "opset": self.artifact.opset,
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "passes": list(self.passes),
            "parity": {
                "max_abs_err": self.parity.max_abs_err,
                "max_rel_err": self.parity.max_rel_err,
                "argmax_agreement_pct": self.parity.argmax_agreement_pct,
                "over_limit_pct": self.parity.over_limit_pct,
            },
            "sha256": self.artifact.sha256,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class _Original:
    """What the export is held against: its graph before the passes, and its answer to inputs of ``batch``."""

    model: ModelProto
    card: ModelCard | None
    inputs: tuple[TensorInfo, ...]
    answer: Answer
    default_name: str
    batch: int = 1
    notes: tuple[str, ...] = ()
    jumps_pct: float = 0.0


def export_model(request: ExportRequest, output: Path | None, progress: Progress) -> Exported:
    """Trace or read, simplify, prove equal, and only then write.

    Raises:
        UsageError: an unknown network or setting, a size, batch or opset that cannot be.
        InputFileError: a checkpoint or ONNX file that cannot be used.
        MissingCapability: a package is missing, or the place cannot be written.
        ToolFailed: the exporter failed.
        InternalError: the written graph does not compute what the network does.
    """
    opset = _opset(request)
    if output is not None:
        check_replaceable(output)
    with tempfile.TemporaryDirectory(prefix="espdeploy-export-") as scratch:
        original = _original(request, opset, Path(scratch), progress)
        progress(2, _STAGES, "simplifying")
        names = passes.pipeline_for(simplify=request.simplify)
        fed = feeds(original.inputs, original.card, count=_PARITY_INPUTS, batch=original.batch, noise=True)

        def prove(model: ModelProto) -> Parity:
            return _prove(model, original, fed, Path(scratch))

        def verify(model: ModelProto) -> None:
            parity.check(prove(model), jumps_pct=original.jumps_pct)

        passed = passes.apply(original.model, names, verify=verify if request.verify_passes else None)
        progress(3, _STAGES, "comparing with the original")
        proven = prove(passed.model)
        parity.check(proven, jumps_pct=original.jumps_pct)
    progress(4, _STAGES, "writing")
    card = dataclasses.replace(original.card, passes=passed.changed_by) if original.card else None
    artifact = export.save(passed.model, output or Path(original.default_name), card)
    return _exported(artifact, request, original, passed, proven)


def _exported(
    artifact: OnnxArtifact, request: ExportRequest, original: _Original, passed: passes.Applied, proven: Parity
) -> Exported:
    params, macs = _counts(original, artifact)
    return Exported(
        artifact=artifact,
        model=original.card.name if original.card else Path(request.model.name).stem,
        weights=original.card.weights if original.card else "as in the file",
        params=params,
        macs=macs,
        nodes_before=export.inspect(original.model).nodes,
        nodes_after=export.inspect(passed.model).nodes,
        passes=passed.changed_by,
        parity=proven,
        notes=(*original.notes, *_jump_notes(proven), *([_NO_MACS] if macs is None else [])),
    )


def _counts(original: _Original, artifact: OnnxArtifact) -> tuple[int | None, int | None]:
    """Parameters and multiply-adds, from the metadata or else counted from the graph."""
    if original.card is not None:
        return original.card.params, original.card.macs
    from espdeploy.networks.onnx_counting import count_onnx

    counts = count_onnx(artifact.path)
    return counts.params, counts.macs


def _jump_notes(proven: Parity) -> tuple[str, ...]:
    """What is said where a difference beyond rounding was accepted."""
    if not proven.over_limit_pct:
        return ()
    text = (
        f"{proven.over_limit_pct:.2g} % of the output values differ by more than rounding: the network chooses places "
        "by comparing values, and where two are equal but for rounding, each runtime chooses its own"
    )
    return (text,)


def _opset(request: ExportRequest) -> int:
    """The opset that is asked for, within what the device can read."""
    profile = request.profile
    wanted = profile.opset if request.opset is None else request.opset
    fitting = profile.tensorrt.opset_max if profile.tensorrt else profile.opset
    check_opset(profile, wanted, do=f"--opset {fitting}, or leave --opset away")
    return wanted


def _original(request: ExportRequest, opset: int, scratch: Path, progress: Progress) -> _Original:
    if request.model.is_onnx:
        progress(0, _STAGES, "reading")
        return _from_file(request, scratch)
    return _from_network(request, opset, progress)


def _from_network(request: ExportRequest, opset: int, progress: Progress) -> _Original:
    from espdeploy.networks.build import build  # loads PyTorch

    progress(0, _STAGES, "building the network")
    built = build(request.model, size=request.size)
    progress(1, _STAGES, "tracing")
    traced = export.trace_named(
        built.module, inputs=built.inputs, outputs=built.outputs, batch=request.batch, opset=opset
    )
    module: Any = built.module
    torch = lazy.require("torch", extra="export")

    def answer(feed: Feed) -> list[Tensor]:
        with torch.inference_mode():
            result = module(*(torch.from_numpy(feed[item.name]) for item in built.inputs))
        return [item.numpy() for item in (result if isinstance(result, (list, tuple)) else [result])]

    return _Original(
        model=traced,
        card=built.card,
        inputs=built.inputs,
        answer=answer,
        batch=request.batch or _DYNAMIC_PROBE_BATCH,
        default_name=f"{_safe(built.card.name)}_{built.size}.onnx",
        notes=built.notes,
        jumps_pct=built.jumps_pct,
    )


def _from_file(request: ExportRequest, scratch: Path) -> _Original:
    """An ONNX file is exported as it is: what would change the network itself is refused."""
    given = {
        "--size": request.size,
        "--weights": request.model.weights,
        "--set": dict(request.model.settings) or None,
        "--opset": request.opset,
        "--batch": request.batch if request.batch != 1 else None,
    }
    refused = [flag for flag, value in given.items() if value is not None]
    if refused:
        raise UsageError(
            f"{' and '.join(refused)} cannot change {request.model.name}",
            why="an ONNX file has its size, weights and opset fixed",
            do="export the network that it was made from with these options, or leave them away",
        )
    path = Path(request.model.name)
    model = export.load(path)
    facts = export.inspect(model)
    _check_image_input(facts, path)
    check_opset(request.profile, facts.opset, file=path)
    copy = scratch / "original.onnx"
    export.save(model, copy, None)
    return _Original(
        model=model,
        card=facts.card,
        inputs=tuple(_probed(item) for item in facts.inputs),
        answer=lambda feed: _run(copy, feed),
        default_name=f"{_safe(path.stem)}_simplified.onnx",
        notes=() if facts.card else ("the file carries no espdeploy metadata: pre-processing and classes are unknown",),
    )


def _probed(info: TensorInfo) -> TensorInfo:
    """The input at an extent that a network of any size is likely to take, for what the file leaves dynamic."""
    extents = zip(info.shape, _DYNAMIC_FILE_PROBE, strict=True)
    return dataclasses.replace(info, shape=tuple(have if isinstance(have, int) else probe for have, probe in extents))


def _check_image_input(facts: export.GraphFacts, path: Path) -> None:
    odd = [item.name for item in facts.outputs if item.dtype == "unknown"]
    if odd:
        raise UsageError(
            f"{path} has the output {odd[0]}, which is no tensor",
            why="sequences and optional values cannot be compared, nor built for devices",
            do="export the network again with tensors as its outputs",
        )
    one_image(facts.inputs, of=str(path))


def _prove(model: ModelProto, original: _Original, fed: list[Feed], scratch: Path) -> Parity:
    candidate = scratch / "candidate.onnx"
    export.save(model, candidate, None)
    axes = class_axes(original.card, len(model.graph.output))
    return parity.compare(original.answer, lambda feed: _run(candidate, feed), fed, class_axis=axes)


def _run(path: Path, feed: Feed) -> list[Tensor]:
    runtime = next((name for name in _PARITY_RUNTIMES if lazy.available(name)), None)
    if runtime is None:
        raise MissingCapability(
            "the exported graph cannot be proven equal: no runtime is installed", do='pip install "espdeploy[cpu]"'
        )
    spec = RunSpec(runtime=runtime, threads=available_threads())
    with open_runner(FileSource(path=path), spec) as runner:
        return list(runner.infer(feed).values())


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
