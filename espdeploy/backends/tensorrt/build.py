"""An ONNX file becomes an engine: parsed, configured, built, written whole, and asked what it computes in."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espdeploy.artifacts import check_replaceable, write_atomic
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt import cuda, engine, failures, layers, monitor, program, settings
from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.checks import check_plan
from espdeploy.backends.tensorrt.log import Messages
from espdeploy.backends.tensorrt.parsing import parse
from espdeploy.backends.tensorrt.plan import BuildReport, LayerInfo, TensorRTPlan
from espdeploy.errors import EspdeployError
from espdeploy.protocols import Progress, no_progress
from espdeploy.units import mb_from_bytes

TYPED_NETWORK, ENGINE = "typed network", "engine"


def build(plan: TensorRTPlan, kind: str, progress: Progress = no_progress) -> BuildReport:
    """Build ``plan.engine`` with the package behind ``kind`` (``tensorrt`` or ``tensorrt-rtx``).

    The engine stands under its name whole or not at all, also after Ctrl-C.

    Raises:
        UsageError: an impossible plan; a range of shapes that is missing or does not fit.
        InputFileError: not an ONNX file, one that the parser refuses, a cache that is not what it should be.
        MissingCapability: the package, the GPU, its memory or the place to write lacks something.
        ToolFailed: TensorRT could not build it; its words are in ``why``.
        KeyboardInterrupt: once the build has ended.
    """
    clock = _Clock()
    check_replaceable(plan.engine)
    onnx_path(FileSource(path=plan.onnx), kind)
    progress(0, None, "loading the builder")
    with clock.nvidia("load"):
        api = apis.load(kind)
    check_plan(api, plan)
    with api.log.collecting() as messages:
        network, content, made = _made(api, plan, messages, clock, progress)
    _write(plan, content, made.config)
    read = _read_back(api, plan, network, content, clock)
    return BuildReport(
        runtime=kind,
        runtime_version=api.version_text,
        size_mb=mb_from_bytes(len(content)),
        load_s=clock.spent_s["load"],
        parse_s=clock.spent_s["parse"],
        build_s=clock.spent_s["build"],
        own_s=clock.own_s,
        workspace_mb=made.workspace_mb,
        layers=read.layers,
        layers_from=read.source,
        dla_share_pct=made.dla_share_pct,
        warnings=messages.warnings,
        notes=(*made.notes, *read.notes),
    )


def _made(
    api: Api, plan: TensorRTPlan, messages: Messages, clock: _Clock, progress: Progress
) -> tuple[Any, bytes, settings.Settings]:
    """The network, the engine, and how it was configured."""
    with clock.nvidia("load"):
        builder = _builder(api, plan, messages)
        memory = None if plan.compute_capability else cuda.device_memory()
    progress(0, None, "reading the graph")
    with clock.nvidia("parse"):
        network = parse(api, builder, plan.onnx, messages, typed=plan.typed_graph)
    made = settings.configure(api, builder, network, plan, memory)
    try:
        with clock.nvidia("build"):
            built = monitor.run(api, builder, network, made.config, progress)
    except (MemoryError, RuntimeError) as error:  # what the library throws
        said = "std::bad_alloc" if isinstance(error, MemoryError) else str(error)
        raise failures.explain_build(api, plan, made.workspace_mb, [*messages.errors, said]) from error
    if built is None:
        raise failures.explain_build(api, plan, made.workspace_mb, messages.errors)
    return network, bytes(built), made


def _builder(api: Api, plan: TensorRTPlan, messages: Messages) -> Any:
    try:
        return api.module.Builder(api.log.logger)
    except TypeError as error:  # so pybind11 says that the library made none, as without a GPU
        raise failures.explain_build(api, plan, plan.workspace_mb, messages.errors or [str(error)]) from error


def _write(plan: TensorRTPlan, content: bytes, config: Any) -> None:
    """The engine, and what was learnt while building it where that is kept."""
    write_atomic(plan.engine, content)
    learnt = settings.timing_cache_of(config) if plan.timing_cache is not None else None
    if plan.timing_cache is not None and learnt is not None:
        write_atomic(plan.timing_cache, learnt)


@dataclass(frozen=True, kw_only=True)
class _ReadBack:
    layers: tuple[LayerInfo, ...]
    source: str
    notes: tuple[str, ...] = ()


def _read_back(api: Api, plan: TensorRTPlan, network: Any, content: bytes, clock: _Clock) -> _ReadBack:
    """The layers with the precision that the engine gives each convolution, else that of the typed network."""
    if api.kind == apis.RTX:
        return _of_typed(layers.typed_layers(network), program.node_precisions(content))
    inspected: tuple[LayerInfo, ...] = ()
    unread: tuple[str, ...] = ()
    try:
        with clock.nvidia("build"):
            runtime, opened = engine.deserialize(api, content, plan.engine)
            inspected = engine.inspect(api, opened)
            del opened, runtime  # in this order: an engine must not outlive its runtime
    except EspdeployError as error:
        unread = (f"the engine could not be read back: {error.what}",)
    if plan.typed_graph or api.abilities.typed_only:
        read = _of_typed(layers.typed_layers(network), layers.by_node(inspected))
        return dataclasses.replace(read, notes=(*unread, *read.notes))
    if inspected:
        return _ReadBack(layers=inspected, source=ENGINE)
    unknown = tuple(dataclasses.replace(layer, precision=None) for layer in layers.typed_layers(network))
    return _ReadBack(layers=unknown, source=ENGINE, notes=(*unread, "the engine does not tell its precision"))


def _of_typed(declared: Sequence[LayerInfo], found: Mapping[str, str]) -> _ReadBack:
    settled_layers, settled = layers.corrected(declared, found)
    total = sum(layers.is_convolution(layer) for layer in declared)
    if settled == total and total:
        return _ReadBack(layers=settled_layers, source=ENGINE)
    left = f"{total - settled} of {total} convolutions: precision by the graph's types, not by the engine"
    source = ENGINE if settled else TYPED_NETWORK
    return _ReadBack(layers=settled_layers, source=source, notes=(left,) if total else ())


class _Clock:
    """How long NVIDIA's parts took, and what is left of the whole."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.spent_s = dict.fromkeys(("load", "parse", "build"), 0.0)

    @contextlib.contextmanager
    def nvidia(self, part: str) -> Iterator[None]:
        """What is done inside is NVIDIA's work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s[part] += time.perf_counter() - began

    @property
    def own_s(self) -> float:
        """The rest, until now."""
        return time.perf_counter() - self._started - sum(self.spent_s.values())
