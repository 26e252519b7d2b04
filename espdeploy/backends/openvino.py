"""OpenVINO behind the Runner protocol, on the CPU.

Source: OpenVINO's Python API reference and its page on inference precision: on processors with bf16 units the
CPU plug-in computes FP32 graphs in bf16 unless ``INFERENCE_PRECISION_HINT`` says otherwise. Here it always says.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.onnx_precision import shares_pct, unknown_opset
from espdeploy.backends.source import Source, onnx_path
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed, UsageError
from espdeploy.protocols import RunnerFacts, TensorInfo
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor

_DEVICE = "CPU"
# what is not quantized in an int8 or mixed graph stays in fp32
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32", "mixed": "f32"}
_HINT_TYPES = {"float32": "f32", "float16": "f16", "float": "f32", "bfloat16": "bf16"}
#: what the plug-in calls precisions, and we
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_CONVOLUTIONS = ("Convolution", "Deconvolution")


class OpenVinoRunner:
    """An ONNX file compiled by OpenVINO's CPU plug-in.

    Raises:
        UsageError: a precision that the plug-in cannot be told to compute in.
        InputFileError: on entry, the file is not a graph that OpenVINO reads.
        MissingCapability: on entry, openvino is absent, or computes in another precision than asked for.
    """

    name = "openvino"

    def __init__(self, source: Source, spec: RunSpec) -> None:
        if spec.precision not in _HINTS:
            raise UsageError(f"openvino on the CPU runs {', '.join(_HINTS)}, not {spec.precision}")
        self._path: Path = onnx_path(source, self.name)
        self._spec = spec
        self._metadata: dict[str, str] = {}
        self._compiled: Any = None
        self._request: Any = None

    def __enter__(self) -> Self:
        runtime = lazy.require("openvino", extra="cpu")
        model = _read(runtime, self._path)
        self._metadata = _metadata(model)
        self._compiled = _compile(model, self._spec)
        self._request = self._compiled.create_infer_request()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._request = None
        self._compiled = None

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in the graph's order."""
        return tuple(_tensor_info(port) for port in self._compiled.inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the graph's order."""
        return tuple(_tensor_info(port) for port in self._compiled.outputs)

    @functools.cached_property
    def facts(self) -> RunnerFacts:
        """What the compiled model says it runs."""
        runtime = lazy.require("openvino", extra="cpu")
        return RunnerFacts(
            runtime=self.name,
            runtime_version=str(runtime.__version__).partition("-")[0],
            provider=str(self._compiled.get_property("EXECUTION_DEVICES")[0]),
            threads=int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            precision_share_pct=_convolution_shares(self._compiled),
        )

    @functools.cached_property
    def card(self) -> ModelCard | None:
        """The metadata that the file carries."""
        return ModelCard.from_metadata(self._metadata)

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once; the outputs are copies that outlive the next run."""
        try:
            values = self._request.infer(checked_feed(feed, self.inputs), share_inputs=True)
        except RuntimeError as error:
            raise ToolFailed(f"openvino failed while running {self._path}", why=_last_line(error)) from error
        return {info.name: values[index].copy() for index, info in enumerate(self.outputs)}

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """A synchronous run of one request whose input tensors are set once, so no copy is timed."""
        runtime = lazy.require("openvino", extra="cpu")
        try:
            for name, array in checked_feed(feed, self.inputs).items():
                self._request.set_tensor(name, runtime.Tensor(array, shared_memory=True))
        except RuntimeError as error:
            raise ToolFailed(f"openvino cannot feed {self._path}", why=_last_line(error)) from error
        request = self._request
        return functools.partial(request.infer, share_inputs=True, share_outputs=True)


@functools.cache
def core() -> Any:
    """OpenVINO's ``Core``, one for the whole life of the process.

    The CPU plug-in of 2026.4 gives the thread a stack of its own for signal handlers and takes it away with its Core.
    Of two that live at the same time, the second to go puts back the first one's stack, which is no longer there: the
    next signal, such as Ctrl-C, is a segmentation fault, and clocks stay as they are.

    Raises:
        MissingCapability: openvino is not installed.
    """
    return lazy.require("openvino", extra="cpu").Core()


def _read(runtime: ModuleType, path: Path) -> Any:
    unknown = unknown_opset(path)
    if unknown is not None:  # openvino would read it as the newest that it knows
        raise InputFileError(
            f"{path} is of opset {unknown}, which is newer than the installed onnx knows",
            do="export it again with --opset 20, or pip install -U onnx openvino",
        )
    try:
        return core().read_model(path)
    except RuntimeError as error:
        why = _last_line(error)
        advice = "check that it is an ONNX file; export it again, with a lower --opset if the reader is older"
        raise InputFileError(
            f"openvino {runtime.__version__.partition('-')[0]} cannot open {path}",
            why=why,
            do="put the file that holds its weights beside it" if "externally stored" in why else advice,
        ) from error


def _metadata(model: Any) -> dict[str, str]:
    """The ONNX metadata, which OpenVINO keeps under ``framework``."""
    path = ["framework"]
    if not model.has_rt_info(path):
        return {}
    return {key: str(value) for key, value in model.get_rt_info(path).value.items()}


def compiled_file(runtime: ModuleType, path: Path, spec: RunSpec, **settings: str) -> Any:
    """A file compiled as the runner does it, with further settings of the plug-in.

    Raises:
        InputFileError, MissingCapability, ToolFailed: as entering the runner does.
    """
    return _compile(_read(runtime, path), spec, **settings)


def _compile(model: Any, spec: RunSpec, **settings: str) -> object:
    hint = _HINTS[spec.precision]
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(spec.threads),
        "INFERENCE_PRECISION_HINT": hint,
        **settings,
    }
    try:
        compiled = core().compile_model(model, _DEVICE, config)
    except RuntimeError as error:
        raise ToolFailed("openvino cannot compile the network for this CPU", why=_last_line(error)) from error
    active = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    active = _HINT_TYPES.get(active, active)
    if active != hint:
        have = ", ".join(str(item) for item in core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))
        raise MissingCapability(
            f"openvino computes in {active} where {hint} was asked for",
            why=f"what it has for this CPU: {have}",
            do="choose another --precision for this CPU",
        )
    return compiled


def _convolution_shares(compiled: Any) -> Mapping[str, float] | None:
    """Read off the graph that the plug-in really executes."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        if info["layerType"].value in _CONVOLUTIONS:
            name = str(info["runtimePrecision"].value)
            counts[PRECISIONS.get(name, name)] += 1
    return shares_pct(counts)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].removeprefix("-- ")


def _tensor_info(port: Any) -> TensorInfo:
    shape = tuple(
        int(dim.get_length()) if dim.is_static else f"dynamic_{index}" for index, dim in enumerate(port.partial_shape)
    )
    return TensorInfo(name=port.any_name, shape=shape, dtype=port.element_type.to_dtype().name)
