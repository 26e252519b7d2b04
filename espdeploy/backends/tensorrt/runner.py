"""TensorRT and TensorRT-RTX behind the Runner protocol, on the first CUDA device.

Sources: NVIDIA's Python API reference (``IExecutionContext.execute_async_v3``), the developer guide on CUDA graphs (run
once outside of the capture after shapes were set), and for TensorRT-RTX its guide "Working with RTX CUDA Graphs": it
captures by itself when the context was made so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espdeploy.artifacts import ModelCard
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.source import FileSource, Source
from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt import cuda, engine, failures, kernels
from espdeploy.backends.tensorrt.checks import PRECISIONS
from espdeploy.backends.tensorrt.engine_file import engine_bytes
from espdeploy.backends.tensorrt.plan import EngineSource
from espdeploy.backends.tensorrt.steps import DEFAULT_ROOM, Steps
from espdeploy.backends.tensorrt.tensors import Tensors
from espdeploy.errors import InputFileError, ToolFailed, UsageError
from espdeploy.protocols import RunnerFacts, TensorInfo
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor


class TensorRTRunner:
    """An engine of TensorRT.

    Args:
        source: the engine's file, as an EngineSource with what its passport knows of it.
        spec: its ``precision`` is what the engine was built at; ``threads`` mean nothing here.
        cuda_graph: launch it as one CUDA graph, where ``spec`` allows it.

    Raises:
        InputFileError: not a file; on entry: no engine, one that is cut, or of another TensorRT, release or GPU.
        UsageError: a precision that engines are not built at.
        MissingCapability: on entry: no TensorRT, no package for CUDA, no driver, no GPU, or no memory on it.
        ToolFailed: on entry: TensorRT does not open the engine.
    """

    name = apis.TENSORRT

    def __init__(self, source: Source, spec: RunSpec, *, cuda_graph: bool = True) -> None:
        if not isinstance(source, FileSource):
            raise InputFileError(f"{self.name} opens engines, not modules", do="espdeploy build first")
        if spec.precision not in PRECISIONS:
            raise UsageError(f"{self.name} runs {', '.join(PRECISIONS)}, not {spec.precision}")
        self._path: Path = source.path
        self._known = source if isinstance(source, EngineSource) else EngineSource(path=source.path)
        self._cuda_graph = cuda_graph and spec.cuda_graph
        self._session: cuda.Session | None = None
        self._open: _Open | None = None

    def __enter__(self) -> Self:
        api = apis.load(self.name)
        content = engine_bytes(self._path, api)
        self._session = cuda.open_session()
        try:
            self._open = _Open(api, self._known, content, self._session, cuda_graph=self._cuda_graph)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()
        session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the runner is not entered")
        return self._open

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in the engine's order."""
        return self._opened.tensors.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the engine's order."""
        return self._opened.tensors.outputs

    @property
    def facts(self) -> RunnerFacts:
        """What the engine says of itself."""
        opened = self._opened
        return RunnerFacts(
            runtime=self.name,
            runtime_version=opened.api.version_text,
            provider=f"cuda through {opened.session.name}",
            threads=None,
            precision_share_pct=opened.shares_pct,
        )

    @property
    def card(self) -> ModelCard | None:
        """What the engine's passport says of the network; engines themselves carry no metadata."""
        return self._known.card

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once, copies included; the outputs outlive the next run."""
        opened = self._opened
        opened.tensors.load(checked_feed(feed, self.inputs))
        opened.tensors.upload()
        opened.enqueue()
        opened.tensors.download()
        opened.session.synchronize()
        return opened.tensors.results()

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """:meth:`steps` on data that stays on the device."""
        return self.steps(feed)

    def steps(self, feed: Mapping[str, Tensor], *, transfers: bool = False, room: int = DEFAULT_ROOM) -> Steps:
        """A timed step with everything prepared: inputs on the device, the graph captured, events made.

        Args:
            feed: the inputs.
            transfers: copy inputs to the device and outputs back in each step, timed apart.
            room: for how many calls the times are kept.

        Raises:
            UsageError: a feed that the engine does not take.
            ToolFailed: it does not run, or cannot be captured as a graph.
        """
        opened = self._opened
        tensors = opened.tensors
        tensors.load(checked_feed(feed, self.inputs))
        tensors.upload()
        opened.enqueue()
        opened.session.synchronize()
        graph = opened.captured() if self._cuda_graph and not opened.captures_itself else None
        return Steps(
            opened.session,
            graph or opened.enqueue,
            cuda_graph=graph is not None or opened.captures_itself,
            upload=tensors.upload if transfers else None,
            download=tensors.download if transfers else None,
            room=room,
        )


class TensorRTRtxRunner(TensorRTRunner):
    """An engine of TensorRT-RTX."""

    name = apis.RTX


class _Open:
    """What lives between enter and exit: runtime, engine, one context, and its tensors."""

    def __init__(
        self, api: apis.Api, source: EngineSource, content: bytes, session: cuda.Session, *, cuda_graph: bool
    ) -> None:
        self.api, self.session = api, session
        self._path = source.path
        self.captures_itself = cuda_graph and api.abilities.own_cuda_graphs
        self._runtime, self._engine = engine.deserialize(api, content, source.path)
        self._kernels = kernels.Kernels(source.kernels) if source.kernels and api.abilities.runtime_cache else None
        self._context = self._made_context()
        self.tensors = Tensors(api, self._engine, self._context, session)
        self.shares_pct = engine.convolution_shares_pct(api, self._engine, content)
        self._execute = functools.partial(self._context.execute_async_v3, session.stream)

    def _made_context(self) -> Any:
        with self.api.log.collecting() as messages:
            if self.captures_itself or self._kernels is not None:
                config = self._engine.create_runtime_config()
                if self.captures_itself:
                    config.cuda_graph_strategy = self.api.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
                if self._kernels is not None:
                    self._kernels.attach(config)
                context = self._engine.create_execution_context(config)
            else:
                context = self._engine.create_execution_context()
        if context is None:
            raise failures.explain_load(self.api, self._path, messages.errors)
        return context

    def close(self) -> None:
        """Keep the kernels that were compiled; let go of the context, then of the engine, then of the runtime."""
        if self._kernels is not None:
            self._kernels.keep()
            self._kernels = None
        del self._execute, self.tensors, self._context
        del self._engine, self._runtime

    def captured(self) -> Callable[[], object] | None:
        """A call that launches the inference as a CUDA graph; None where the package for CUDA has none.

        Raises:
            ToolFailed: the engine cannot be captured.
        """
        try:
            return self.session.capture(self.enqueue)
        except ToolFailed as error:
            why = f"{error.what}; loops and sizes that depend on data cannot be captured"
            do = "time it without a CUDA graph"
            raise ToolFailed(f"{self._path} cannot be launched as a CUDA graph", why=why, do=do) from error

    def enqueue(self) -> None:
        """Put one inference onto the stream.

        Raises:
            ToolFailed: TensorRT does not take it.
        """
        if not self._execute():
            raise ToolFailed(f"{self.api.label} failed while running {self._path}", do="run it with --debug")
