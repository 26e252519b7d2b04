"""ONNX Runtime behind the Runner protocol, on the CPU.

Source: the Python API reference of onnxruntime (``SessionOptions``, ``InferenceSession``).
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends import onnx_precision
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.source import Source, onnx_path
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed, UsageError
from espdeploy.protocols import RunnerFacts, TensorInfo
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor

_PROVIDER = "CPUExecutionProvider"
_PRECISIONS = ("fp32", "fp16", "int8", "mixed")  # the graph decides; what its kernels compute in is read back
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed: ?)?")
_SOURCE_PLACE = re.compile(r"/\S+\.(?:cc|cpp|h):\d+ [^()]*\([^()]*\)(?: const)? ")
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxRuntimeRunner:
    """An ONNX file in ONNX Runtime's CPU provider.

    Raises:
        UsageError: a precision that the CPU provider has no kernels for.
        InputFileError: on entry, the file is not ONNX, or of an opset that this release does not read.
        MissingCapability: on entry, onnxruntime is not installed, or fell back to another provider.
    """

    name = "onnxruntime"

    def __init__(self, source: Source, spec: RunSpec) -> None:
        if spec.precision not in _PRECISIONS:
            raise UsageError(
                f"onnxruntime on the CPU runs {', '.join(_PRECISIONS)} graphs, not {spec.precision}",
                do="--runtime openvino, or another --precision",
            )
        self._path: Path = onnx_path(source, self.name)
        self._spec = spec
        self._session: Any = None

    def __enter__(self) -> Self:
        runtime = lazy.require("onnxruntime", extra="cpu")
        self._session = open_session(runtime, self._path, self._spec.threads)
        active = self._session.get_providers()[0]
        if active != _PROVIDER:
            raise MissingCapability(
                f"onnxruntime runs on {active} where {_PROVIDER} was asked for", do="espdeploy doctor --device cpu"
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._session = None

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in the graph's order."""
        return tuple(tensor_info(item) for item in self._session.get_inputs())

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the graph's order."""
        return tuple(tensor_info(item) for item in self._session.get_outputs())

    @functools.cached_property
    def facts(self) -> RunnerFacts:
        """What the session says it runs."""
        runtime = lazy.require("onnxruntime", extra="cpu")
        return RunnerFacts(
            runtime=self.name,
            runtime_version=str(runtime.__version__),
            provider=str(self._session.get_providers()[0]),
            threads=self._spec.threads,
            precision_share_pct=self._shares(),
        )

    def _shares(self) -> Mapping[str, float] | None:
        """Read off the graph as ONNX Runtime rewrote it: a quantized graph may still run in float, and FP16 in FP32."""
        if onnx_precision.declared(self._path) in ("fp32", None):
            return onnx_precision.convolution_shares(self._path)
        runtime = lazy.require("onnxruntime", extra="cpu")
        with tempfile.TemporaryDirectory(prefix="espdeploy-ort-") as folder:
            rewritten = Path(folder) / "optimized.onnx"
            open_session(runtime, self._path, self._spec.threads, write_to=rewritten)
            return onnx_precision.convolution_shares(rewritten)

    @functools.cached_property
    def card(self) -> ModelCard | None:
        """The metadata that the file carries."""
        return ModelCard.from_metadata(self._session.get_modelmeta().custom_metadata_map)

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once."""
        names = [item.name for item in self.outputs]
        checked = checked_feed(feed, self.inputs)
        values = _translated(lambda: self._session.run(names, checked), self._path)
        return dict(zip(names, values, strict=True))

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """``InferenceSession.run`` with everything bound beforehand."""
        names = [item.name for item in self.outputs]
        return functools.partial(self._session.run, names, checked_feed(feed, self.inputs))


def open_session(runtime: ModuleType, path: Path, threads: int, *, write_to: Path | None = None) -> object:
    """A session on the CPU; ``write_to`` receives the graph as ONNX Runtime executes it.

    Raises:
        InputFileError: ONNX Runtime does not read the file.
    """
    options = runtime.SessionOptions()
    if write_to is not None:
        options.optimized_model_filepath = str(write_to)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = (
        4  # what it logs goes to standard error, where only ours belongs; its errors are raised
    )
    try:
        return runtime.InferenceSession(str(path), options, providers=[_PROVIDER])
    except Exception as error:  # onnxruntime's classes share no base but Exception
        why = first_line(error)
        advice = "check that it is an ONNX file; export it again, with a lower --opset if the reader is older"
        raise InputFileError(
            f"onnxruntime {runtime.__version__} cannot open {path}",
            why=why,
            do="put the file that holds its weights beside it" if "External data" in why else advice,
        ) from error


def _translated(call: Callable[[], list[Tensor]], path: Path) -> list[Tensor]:
    try:
        return call()
    except Exception as error:
        raise ToolFailed(f"onnxruntime failed while running {path}", why=first_line(error)) from error


def first_line(error: Exception) -> str:
    """What went wrong, without the code, the path (which our own text names) and the place in the C++ source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _CODE.sub("", _SOURCE_PLACE.sub("", line)) or line


def tensor_info(item: Any) -> TensorInfo:
    """An input or output as the session describes it."""
    shape = tuple(extent if isinstance(extent, int) else str(extent) for extent in item.shape)
    return TensorInfo(name=item.name, shape=shape, dtype=_DTYPES.get(item.type, item.type))
