"""ONNX Runtime on the first CUDA device behind the Runner protocol: its CUDA, TensorRT and TensorRT-RTX providers.

Source: ONNX Runtime's documentation of I/O binding, of ``user_compute_stream`` and of the run option that leaves the
waiting to the caller: work goes to our stream, between our events, on memory that stays where it is.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from espdeploy import lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends import onnx_precision
from espdeploy.backends import onnxruntime_session as sessions
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.onnxruntime import tensor_info
from espdeploy.backends.onnxruntime_binding import Binding
from espdeploy.backends.onnxruntime_providers import CUDA, PROVIDERS, Provider, check_installed, provider_options
from espdeploy.backends.source import Source, onnx_path
from espdeploy.backends.tensorrt import cuda
from espdeploy.backends.tensorrt.steps import DEFAULT_ROOM, Steps
from espdeploy.errors import EspdeployError, MissingCapability, UsageError
from espdeploy.protocols import RunnerFacts, TensorInfo
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor

PRECISIONS = (
    "fp32",
    "fp16",
)  # the graph's; INT8 has no kernels in CUDA, and TensorRT inside does not tell what it took
#: ONNX Runtime captures a graph after its first runs
_RUNS_BEFORE_A_GRAPH = 4


class OnnxRuntimeCudaRunner:
    """An ONNX file in ONNX Runtime's CUDA provider.

    Args:
        source: the file.
        spec: its ``precision`` is the graph's; ``threads`` mean nothing here.
        cuda_graph: launch it as one CUDA graph, where ``spec`` allows it; every node must then run on the provider.

    Raises:
        UsageError: a precision other than fp32 and fp16.
        InputFileError: not an ONNX file; on entry: one that ONNX Runtime does not read.
        MissingCapability: on entry: the provider is not in the package that is installed, does not start, or was left
            out; no package for CUDA, no driver, no GPU, or no memory on it.
        ToolFailed: on entry: the provider takes no node of the graph.
    """

    name: ClassVar[str] = "onnxruntime-cuda"

    def __init__(self, source: Source, spec: RunSpec, *, cuda_graph: bool = False) -> None:
        if spec.precision not in PRECISIONS:
            raise UsageError(
                f"{self.name} runs {' and '.join(PRECISIONS)} graphs, not {spec.precision}",
                do="--runtime tensorrt, or another --precision",
            )
        self._path: Path = onnx_path(source, self.name)
        self._spec = spec
        self._cuda_graph = cuda_graph and spec.cuda_graph
        self._open: _Open | None = None

    @property
    def provider(self) -> Provider:
        """What ONNX Runtime is asked for."""
        return PROVIDERS[self.name]

    def __enter__(self) -> Self:
        runtime = lazy.require("onnxruntime", extra=self.provider.extra)
        check_installed(runtime, self.provider)
        gpu = _gpu()
        try:
            options = self._options(gpu.stream)
            session, placement = sessions.open_session(runtime, self._path, self.provider, options=options)
        except BaseException:
            gpu.close()
            raise
        self._open = _Open(runtime, session, gpu, provider=placement.text(self.provider.name))
        return self

    def __exit__(self, *exc_info: object) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    @property
    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the runner is not entered")
        return self._open

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in the graph's order."""
        return tuple(tensor_info(item) for item in self._opened.session.get_inputs())

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the graph's order."""
        return tuple(tensor_info(item) for item in self._opened.session.get_outputs())

    @property
    def facts(self) -> RunnerFacts:
        """What the session says it runs, with the nodes that other providers compute."""
        opened = self._opened
        return RunnerFacts(
            runtime=self.name,
            runtime_version=str(opened.runtime.__version__),
            provider=opened.provider,
            threads=None,
            precision_share_pct=self._shares(),
        )

    @property
    def card(self) -> ModelCard | None:
        """The metadata that the file carries."""
        return ModelCard.from_metadata(self._opened.session.get_modelmeta().custom_metadata_map)

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once, copies included; the outputs outlive the next run.

        Raises:
            UsageError: a feed that the graph does not take.
            MissingCapability: no memory left on the GPU.
            ToolFailed: it does not run.
        """
        binding = self._binding(feed)
        binding.upload()
        self._run(binding)
        binding.download()
        self._opened.gpu.synchronize()
        return binding.results()

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """:meth:`steps` on data that stays on the device."""
        return self.steps(feed)

    def steps(self, feed: Mapping[str, Tensor], *, transfers: bool = False, room: int = DEFAULT_ROOM) -> Steps:
        """A timed step with everything prepared: inputs on the device, buffers bound, events made.

        Args:
            feed: the inputs.
            transfers: copy inputs to the device and outputs back in each step, timed apart.
            room: for how many calls the times are kept.

        Raises:
            UsageError, MissingCapability, ToolFailed: as :meth:`infer`.
        """
        binding = self._binding(feed)
        binding.upload()
        for _ in range(_RUNS_BEFORE_A_GRAPH if self._cuda_graph else 1):
            self._run(binding)
        self._opened.gpu.synchronize()
        return Steps(
            self._opened.gpu,
            binding.launch,
            cuda_graph=self._cuda_graph,
            upload=binding.upload if transfers else None,
            download=binding.download if transfers else None,
            room=room,
        )

    def _run(self, binding: Binding) -> None:
        try:
            binding.launch()
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise sessions.explained(self._path, error) from error

    def _binding(self, feed: Mapping[str, Tensor]) -> Binding:
        """The buffers for these shapes with ``feed`` in them, made where the shapes are new."""
        opened = self._opened
        arrays = checked_feed(feed, self.inputs)
        shapes = {name: array.shape for name, array in arrays.items()}
        if opened.binding is None or opened.binding.shapes != shapes:
            graph = next(opened.graphs) if self._cuda_graph else None
            try:
                opened.binding = Binding(opened.runtime, opened.session, opened.gpu, arrays, graph=graph)
            except EspdeployError:
                raise
            except Exception as error:  # the first run finds the outputs' shapes, and may fail as any
                raise sessions.explained(self._path, error) from error
        opened.binding.load(arrays)
        return opened.binding

    def _options(self, stream: int | None) -> sessions.Options:
        names = (self.provider.name, *self.provider.then)
        graph = self._cuda_graph and stream is not None
        half = self._spec.precision
        return {
            name: provider_options(name, precision=half, stream=stream, cuda_graph=graph and name == names[0])
            for name in names
        }

    def _shares(self) -> Mapping[str, float] | None:
        """Read off the graph as CUDA's kernels run it; None for TensorRT, which does not tell from inside."""
        if self.provider.name != CUDA:
            return None
        if onnx_precision.declared(self._path) in ("fp32", None):
            return onnx_precision.convolution_shares(self._path)
        with tempfile.TemporaryDirectory(prefix="espdeploy-ort-") as folder:
            rewritten = Path(folder) / "optimized.onnx"
            options = self._options(None)
            sessions.open_session(
                self._opened.runtime, self._path, self.provider, options=options, write_to=str(rewritten)
            )
            return onnx_precision.convolution_shares(rewritten)


class OnnxRuntimeTensorRTRunner(OnnxRuntimeCudaRunner):
    """An ONNX file in ONNX Runtime's TensorRT provider; what TensorRT does not take runs on CUDA.

    Raises:
        UsageError, InputFileError, MissingCapability, ToolFailed: as :class:`OnnxRuntimeCudaRunner`.
    """

    name = "onnxruntime-tensorrt"


class OnnxRuntimeRtxRunner(OnnxRuntimeCudaRunner):
    """An ONNX file in the TensorRT-RTX provider: NVIDIA's plug-in, or a package with the provider inside.

    Raises:
        UsageError, InputFileError, MissingCapability, ToolFailed: as :class:`OnnxRuntimeCudaRunner`.
    """

    name = "onnxruntime-rtx"


class _Open:
    """What lives between enter and exit: the session of ONNX Runtime, and that of CUDA with its buffers."""

    def __init__(self, runtime: ModuleType, session: Any, gpu: cuda.Session, *, provider: str) -> None:
        self.runtime, self.session, self.gpu, self.provider = runtime, session, gpu, provider
        self.binding: Binding | None = None
        self.graphs = itertools.count()

    def close(self) -> None:
        """Let go of the bound buffers, then of ONNX Runtime, then of its stream."""
        self.binding = None
        del self.session
        self.gpu.close()


def _gpu() -> cuda.Session:
    """A stream and memory on the first device.

    Raises:
        MissingCapability: no package for CUDA, no driver, or no GPU.
    """
    if not (lazy.available("cuda.bindings") or lazy.available("pycuda")):
        raise MissingCapability(
            "no Python package for CUDA is installed, and a timed run needs a GPU's memory and events",
            do='pip install "cuda-python>=12.6"',
        )
    return cuda.open_session()
