"""What is measured: a network by name, an ONNX file or an engine, opened and described."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from espdeploy import __version__, lazy, units
from espdeploy.artifacts import ModelCard, sha256_of
from espdeploy.backends.registry import TAKES_MODULES, open_runner
from espdeploy.backends.source import ModuleSource
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import InternalError, UsageError
from espdeploy.networks.registry import entry, parse_settings
from espdeploy.pipeline.building.build import BuildRequest, build_engine
from espdeploy.pipeline.building.builders import PACKAGES, TRTEXEC, choose_builder
from espdeploy.pipeline.engine_files.cache import engine_cache, writing_to_cache
from espdeploy.pipeline.engine_files.opening import (
    available_threads,
    check_precision,
    choose_runtime,
    declared_precision,
    examine,
    open_file,
)
from espdeploy.pipeline.engine_files.passport import Passport, read_passport
from espdeploy.pipeline.export import ExportRequest, export_model
from espdeploy.pipeline.machine import system_root
from espdeploy.pipeline.measuring.feeds import one_image, takes_text
from espdeploy.protocols import Progress, Runner, TensorInfo
from espdeploy.records import ModelInfo, Scalar
from espdeploy.specs import DeviceProfile, ImageSize, ModelSpec, RunSpec

_CHANNELS, _IMAGE_AXES = 3, 4
_DEFAULT_PRECISION = "fp32"
#: what a runtime, or the engine built for it, makes of an FP32 network without anything else
_MADE_AT_ONCE = {
    "openvino": "bf16",
    **dict.fromkeys((TRTEXEC, *PACKAGES, "torch-cuda", "torch-cuda-graph", "torch-cuda-compile"), "fp16"),
}


@dataclass(frozen=True, kw_only=True)
class TargetRequest:
    """What the user named, and how it is to run. Exactly one of ``engine`` and ``model`` is set."""

    profile: DeviceProfile
    engine: Path | None = None
    model: ModelSpec | None = None
    runtime: str | None = None
    precision: str | None = None  # None: as the file says; fp32 for a network by name
    size: ImageSize | None = None
    batch: int | None = 1
    threads: int | None = None
    cuda_graph: bool = True


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is timed: a runner, not yet entered, or an engine that NVIDIA's tool runs; and the identity of it.

    ``sha256`` is of the file or of the weights. Exactly one of ``runner`` and ``tool`` is set.
    """

    runner: Runner | None = None
    tool: Tool | None = None
    name: str
    sha256: str
    provenance: Mapping[str, Scalar]
    precision: str
    notes: tuple[str, ...] = ()
    path: Path | None = None
    passport: Passport | None = None


def resolve(request: TargetRequest, progress: Progress) -> Target:
    """Find or make what is to be measured.

    Raises:
        UsageError: both or neither of a file and a model, or options that cannot apply to a file.
        InputFileError, MissingCapability, ToolFailed: as exporting and opening do.
    """
    check_named(request)
    if (file := _file_of(request)) is not None:
        return _file_target(request, file, progress)
    assert request.model is not None  # noqa: S101 - one of the two is set
    precision = request.precision or _DEFAULT_PRECISION
    check_precision(request.profile, precision)
    builder = choose_builder(request.profile, request.runtime)
    runtime = builder or choose_runtime(request.profile, request.runtime, precision)
    check_is_plain(precision, request.model.name, runtime=runtime)
    if runtime in TAKES_MODULES:
        return _module_target(request, request.model, runtime, precision)
    path = exported(request, progress)
    return _made(request, path, builder, progress, provenance={"exported": "by this command, or found in the cache"})


def check_named(request: TargetRequest) -> None:
    """Refuse neither, or both, of a file and a network by name.

    Raises:
        UsageError: so it is.
    """
    if (request.engine is None) == (request.model is None):
        raise UsageError(
            "name either an engine or ONNX file, or --model, and not both", do="espdeploy bench --model espnet"
        )


def check_there(request: TargetRequest) -> None:
    """Whether what is named is there at all, without opening it: for a plan, which promises that it can be done.

    Raises:
        InputFileError, UsageError: no such file, or no such network.
        MissingCapability: a precision that the device does not have.
    """
    if (file := _file_of(request)) is not None:
        builds = file.suffix == ".onnx" and file.is_file() and read_passport(file) is None
        examine(file, request.profile, None if builds else request.precision)
    elif request.model is not None:
        check_network(request.model)


def check_network(model: ModelSpec) -> None:
    """Whether the zoo has a network of that name with those settings; files and factories are not looked at.

    Raises:
        UsageError: it has none.
    """
    if not model.is_onnx and not model.is_factory:
        parse_settings(entry(model.name), model.settings)


def _file_of(request: TargetRequest) -> Path | None:
    return request.engine or (Path(request.model.name) if request.model and request.model.is_onnx else None)


def check_is_plain(precision: str, model: str, *, runtime: str) -> None:
    """A network by name can be measured at once only in precisions that are made of the FP32 graph alone.

    Args:
        precision: what is asked for.
        model: the network, for the error.
        runtime: what is to run it: OpenVINO computes in bf16 by itself, engines for GPUs are made FP16 of FP32.

    Raises:
        UsageError: the precision needs an engine made first; says how.
    """
    if precision not in ("fp32", _MADE_AT_ONCE.get(runtime)):
        raise UsageError(
            f"--precision {precision} needs an engine",
            why="activation ranges, or a graph with its types changed, come before it",
            do=f"espdeploy export --model {model} -o F.onnx, then espdeploy build F.onnx --precision {precision} …, "
            "and bench what that writes",
        )


def describe(card: ModelCard | None, target: Target, input_shape: tuple[int, ...]) -> tuple[ModelInfo, tuple[str, ...]]:
    """The record's model section, from the metadata or else counted from the graph; and notes on what is unknown."""
    params, macs, notes = (card.params, card.macs, ()) if card else _counted(target)
    return ModelInfo(
        name=card.name if card else target.name,
        params=params,
        macs=macs,
        size_mb=None if params is None else units.fp32_size_mb(params),
        input_shape=input_shape,
        sha256=target.sha256,
        settings=dict(card.settings) if card else {},
        weights=card.weights if card else None,
    ), notes


def concrete_shape(info: TensorInfo, request: TargetRequest) -> tuple[int, ...]:
    """The input's shape with dynamic extents filled in: the batch, and the size where it is asked for.

    Raises:
        UsageError: a fixed extent contradicts ``--batch`` or ``--size``, or a dynamic one is left open.
    """
    wanted: list[int | None] = [request.batch or 1, None, None, None]
    if request.size is not None:
        wanted = [wanted[0], None, request.size.height, request.size.width]
    defaults = (1, _CHANNELS, None, None)
    shape = []
    for axis, (extent, want, default) in enumerate(zip(info.shape, wanted, defaults, strict=True)):
        if isinstance(extent, int):
            asked_for = want is not None and (axis != 0 or request.batch not in (None, 1))
            if asked_for and want != extent:
                option = f"--batch {request.batch}" if axis == 0 else f"--size {request.size}"
                raise UsageError(
                    f"the engine's input is {list(info.shape)} (N,C,H,W), which {option} cannot change",
                    do="export the network at that size and batch, or leave the option away",
                )
            shape.append(extent)
        elif want is not None or default is not None:
            shape.append(want if want is not None else default or 1)
        else:
            raise UsageError(
                f"the engine's input size is dynamic: {list(info.shape)} (N,C,H,W)", do="give --size WIDTHxHEIGHT"
            )
    return tuple(shape)


def concrete_inputs(inputs: Sequence[TensorInfo], card: ModelCard | None, request: TargetRequest) -> list[TensorInfo]:
    """The inputs with dynamic extents filled in: one image, or the text and state of a language model.

    Raises:
        UsageError: as :func:`concrete_shape`; not one image, or ``--size`` for a network of texts.
    """
    if not takes_text(card):
        image = one_image(inputs, of=str(request.engine or "the network"))
        return [dataclasses.replace(image, shape=concrete_shape(image, request))]
    if request.size is not None:
        raise UsageError(
            f"--size {request.size} does not fit {card.name if card else 'the network'}",
            why="it takes no images, but a text of a fixed number of tokens",
            do="leave --size away; with --model, --set seq_len=N sets the tokens",
        )
    fixed = inputs[0].shape[0]
    if isinstance(fixed, int) and request.batch not in (None, 1, fixed):
        raise UsageError(
            f"the engine's input is {list(inputs[0].shape)} (N,T), which --batch cannot change",
            do="export the network at that batch, or leave the option away",
        )
    return [dataclasses.replace(item, shape=item.extents(request.batch or 1)) for item in inputs]


def _file_target(request: TargetRequest, path: Path, progress: Progress) -> Target:
    if request.model is not None and (request.model.settings or request.model.weights):
        raise UsageError(f"--set and --weights cannot change {path}", why="its weights are fixed", do="leave them away")
    builder = choose_builder(request.profile, request.runtime)
    is_graph = builder is not None and path.suffix == ".onnx" and read_passport(path) is None
    return _made(request, path, builder if is_graph else None, progress, provenance={})


def _made(
    request: TargetRequest, path: Path, builder: str | None, progress: Progress, *, provenance: Mapping[str, Scalar]
) -> Target:
    """The file itself, or the engine that ``builder`` makes of it, from the cache where it is there."""
    if builder is None:
        return _opened(request, path, provenance=provenance)
    precision = request.precision or declared_precision(path)
    build = BuildRequest(onnx=path, profile=request.profile, precision=precision, runtime=request.runtime)
    built = build_engine(build, None, progress)
    made = dataclasses.replace(request, precision=precision)
    target = _opened(made, built.engine.path, provenance={**provenance, "built_for_this": built.cache == "built"})
    return dataclasses.replace(target, name=path.stem)  # the cache's own name has a hash in it


def _opened(request: TargetRequest, path: Path, *, provenance: Mapping[str, Scalar]) -> Target:
    named = read_passport(path) if path.exists() else None
    if TRTEXEC in (request.runtime, named.runtime if named and request.runtime is None else None):
        return _tool_target(request, path, provenance)
    opened = open_file(
        path,
        request.profile,
        runtime=request.runtime,
        precision=request.precision,
        threads=request.threads,
        cuda_graph=request.cuda_graph,
    )
    return Target(
        runner=opened.runner,
        name=path.stem,
        sha256=sha256_of(path),
        provenance=_facts(path, opened.passport, provenance),
        precision=opened.precision,
        path=path,
        passport=opened.passport,
    )


def _tool_target(request: TargetRequest, path: Path, provenance: Mapping[str, Scalar]) -> Target:
    """An engine that trtexec times, every field of its passport that would keep it from running here checked first."""
    if request.runtime is not None and request.runtime not in request.profile.runtimes:
        choose_runtime(request.profile, request.runtime)
    precision, passport = examine(path, request.profile, request.precision)
    _check_fits(request, path, passport)
    return Target(
        tool=find(TRTEXEC, root=system_root()),
        name=path.stem,
        sha256=sha256_of(path),
        provenance=_facts(path, passport, provenance),
        precision=precision,
        path=path,
        passport=passport,
    )


def _check_fits(request: TargetRequest, path: Path, passport: Passport | None) -> None:
    """Refuse options that the tool would not heed, for it runs an engine as it was built.

    Raises:
        UsageError: ``--threads``; a batch or size that the engine does not have.
    """
    if request.threads is not None:
        raise UsageError(
            f"--threads {request.threads} means nothing to {TRTEXEC}, which runs on the GPU", do="leave --threads away"
        )
    images = [shape for shape in (passport.inputs.values() if passport else ()) if len(shape) == _IMAGE_AXES]
    if len(images) != 1 or passport is None:
        return
    usual = next((item.usual for item in passport.shapes), images[0])
    extents = [usual[axis] if axis and not isinstance(extent, int) else extent for axis, extent in enumerate(images[0])]
    info = TensorInfo(name=next(iter(passport.inputs)), shape=tuple(extents), dtype="float32")
    concrete_shape(info, request)


def _facts(path: Path, passport: Passport | None, more: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {"file": path.name, **more, **(_origin(passport) if passport else {})}


def _origin(passport: Passport) -> dict[str, Scalar]:
    origin: dict[str, Scalar] = {
        "onnx": passport.onnx,
        "onnx_sha256": passport.onnx_sha256,
        "built": passport.built,
        "graph_passes": ", ".join(passport.passes) or None,
    }
    if passport.calibration is not None:
        made_up = " of made-up data" if passport.performance_only else ""
        origin["calibration"] = f"{passport.calibration.method}, {passport.calibration.images} images{made_up}"
        origin["performance_only"] = passport.performance_only
    if passport.drop is not None:
        origin["miou_drop_heldout_pct"] = passport.drop.heldout_pct
    return {key: value for key, value in origin.items() if value is not None}


def _module_target(request: TargetRequest, model: ModelSpec, runtime: str, precision: str) -> Target:
    from espdeploy.networks.build import build  # loads PyTorch

    built = build(model, size=request.size)
    inputs = tuple(dataclasses.replace(item, shape=item.extents(request.batch or 1)) for item in built.inputs)
    threads = request.threads or available_threads()
    spec = RunSpec(runtime=runtime, precision=precision, threads=threads, cuda_graph=request.cuda_graph)
    identity = built.card.weights_sha256 or hashlib.sha256(msgspec.json.encode(built.card)).hexdigest()
    return Target(
        runner=open_runner(ModuleSource(module=built.module, inputs=inputs, card=built.card), spec),
        name=built.card.name,
        sha256=identity,
        provenance={"module": built.card.name, "weights": built.card.weights},
        precision=precision,
        notes=built.notes,
    )


def exported(request: TargetRequest, progress: Progress) -> Path:
    """The network of a request as an ONNX file in the cache, exported now if it is not there.

    Raises:
        UsageError, InputFileError, MissingCapability: as exporting does.
    """
    model = request.model
    if model is None:
        raise InternalError("there is no network to export")
    key = [
        model.name,
        sorted(model.settings.items()),
        sha256_of(model.weights) if model.weights and model.weights.is_file() else str(model.weights),
        str(request.size),
        request.batch,
        request.profile.opset,
        __version__,
    ]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in model.name)
    path = engine_cache() / f"{name}.{digest}.onnx"
    reusable = path.is_file() and not model.is_factory  # a factory's code may have changed
    if not reusable:
        export = ExportRequest(model=model, profile=request.profile, size=request.size, batch=request.batch)
        with writing_to_cache():
            export_model(export, path, progress)
    return path


def _counted(target: Target) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Parameters and MACs of a file without our metadata."""
    if target.passport is not None and target.passport.runtime in (TRTEXEC, *PACKAGES):
        return None, None, ("params and macs are unknown: the graph that the engine was built of had no metadata",)
    if target.path is None or not lazy.available("onnx"):
        return (
            None,
            None,
            ("params and macs are unknown: the file has no espdeploy metadata, and onnx is not installed",),
        )
    from espdeploy.networks.onnx_counting import count_onnx

    counts = count_onnx(target.path)
    note = "params and macs are counted from the graph: folded weights count as they are stored"
    return counts.params, counts.macs, (note,)
