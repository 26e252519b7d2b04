"""From a ``torch.nn.Module`` to an ONNX model of exactly the operator set that was asked for."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espdeploy import lazy, shell
from espdeploy.errors import MissingCapability, ToolFailed, UsageError
from espdeploy.export.files import first_line, opset_of
from espdeploy.export.scopes import complete_paths
from espdeploy.protocols import BATCH, TensorInfo

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

_log = logging.getLogger(__name__)

INPUT_NAME = "input"
#: below it PyTorch's exporter folds no constants, and TensorRT's parser documents 9 as its lowest
OPSET_MIN = 9
#: from here on the exporter that builds on torch.export writes the graph; below it only the TorchScript one can
OPSET_TORCH_EXPORT = 18
#: the newest that PyTorch 2.13 and onnxscript 0.7 convert to themselves
OPSET_MAX = 25

#: warnings that tell the user nothing he could act on, each with the reason
_EXPECTED_WARNINGS: Mapping[type[Warning], str] = {
    DeprecationWarning: "the TorchScript exporter announces its end; it alone writes opset 13, for TensorRT 8.2",
    FutureWarning: "PyTorch's own use of its older tree interface",
}


def trace(
    module: torch.nn.Module, *, input_shape: tuple[int, int, int, int], opset: int, dynamic_batch: bool
) -> ModelProto:
    """Write ``module`` as an ONNX model of exactly ``opset``, in evaluation mode and all in one piece.

    The input is ``input`` (N,C,H,W; N is ``batch`` where ``dynamic_batch`` is set), the output ``output``, or
    ``output_0`` … where the module returns several. The module's training flags are as before afterwards.

    Raises:
        UsageError, ToolFailed: as :func:`trace_named`.
    """
    image = TensorInfo(name=INPUT_NAME, shape=(BATCH, *input_shape[1:]), dtype="float32")
    return trace_named(module, inputs=[image], batch=None if dynamic_batch else input_shape[0], opset=opset)


def trace_named(
    module: torch.nn.Module,
    *,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[str] = (),
    batch: int | None,
    opset: int,
) -> ModelProto:
    """Write a module of any inputs as an ONNX model; otherwise as :func:`trace`.

    Args:
        module: called with one tensor for each input, in order.
        inputs: names, types and shapes; a dynamic extent is that of the batch.
        outputs: the names of what it returns; none gives ``output``, or ``output_0`` …
        batch: None keeps that extent dynamic, under the name ``batch``.
        opset: of the model.

    Raises:
        UsageError: the opset is out of range, or the module does not run on this shape or batch.
        ToolFailed: PyTorch's exporter failed; names the operator where it is known.
    """
    if not OPSET_MIN <= opset <= OPSET_MAX:
        raise UsageError(
            f"opset {opset} cannot be written: the range is {OPSET_MIN} to {OPSET_MAX}",
            do=f"give --opset {min(max(opset, OPSET_MIN), OPSET_MAX)}",
        )
    torch = lazy.require("torch", extra="export")
    onnx = lazy.require("onnx", extra="export")
    # Two images show an output that does not follow the batch; torch.export takes an extent of 1 for a constant.
    batches = (1, 2) if batch is None else (batch,)
    with _evaluating(module), torch.no_grad():
        shapes = _output_shapes(module, inputs, batches)
        signature = _Signature(
            inputs=tuple(inputs), outputs=_names(outputs, shapes), output_shapes=shapes, dynamic=batch is None
        )
        model = _convert(module, _example(inputs, batches[-1]), signature, opset)
    for output, shape in zip(model.graph.output, shapes, strict=True):
        elem_type = output.type.tensor_type.elem_type
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, elem_type, shape))
    _check_written(model, opset)
    return model


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, with each submodule's own flag put back afterwards."""
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            part.training = training


@dataclass(frozen=True, kw_only=True)
class _Signature:
    """What goes in and comes out; dynamic extents are named ``batch`` where the batch is dynamic."""

    inputs: tuple[TensorInfo, ...]
    outputs: list[str]
    output_shapes: list[tuple[int | str, ...]]
    dynamic: bool

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """By tensor, the position of the batch; empty where it is fixed."""
        if not self.dynamic:
            return {}
        shapes = {item.name: item.shape for item in self.inputs} | dict(
            zip(self.outputs, self.output_shapes, strict=True)
        )
        return {
            name: {axis: BATCH for axis, extent in enumerate(shape) if isinstance(extent, str)}
            for name, shape in shapes.items()
        }


def _names(given: Sequence[str], shapes: Sequence[object]) -> list[str]:
    if not given:
        return ["output"] if len(shapes) == 1 else [f"output_{index}" for index in range(len(shapes))]
    if len(given) != len(shapes):
        raise UsageError(f"the network returns {len(shapes)} tensors, and the names are for {len(given)}: {given}")
    return list(given)


def _example(inputs: Sequence[TensorInfo], batch: int) -> tuple[torch.Tensor, ...]:
    """Fixed inputs in 0..1, and 0 for whole numbers; values matter only to a module that looks at them."""
    torch = lazy.require("torch", extra="export")
    return tuple(
        torch.rand(item.extents(batch), generator=torch.Generator().manual_seed(0))
        if item.dtype == "float32"
        else torch.zeros(item.extents(batch), dtype=getattr(torch, item.dtype))
        for item in inputs
    )


def _shown(inputs: Sequence[TensorInfo], batch: int) -> str:
    """``1x3x24x32 (N,C,H,W)`` for an image, each with its name otherwise."""
    texts = ["x".join(str(extent) for extent in item.extents(batch)) for item in inputs]
    if len(inputs) == 1:
        return f"{texts[0]} (N,C,H,W)"
    return ", ".join(f"{item.name} {text}" for item, text in zip(inputs, texts, strict=True))


def _output_shapes(
    module: torch.nn.Module, inputs: Sequence[TensorInfo], batches: Sequence[int]
) -> list[tuple[int | str, ...]]:
    """The shape of each output, run for each batch; where there are several, the one that follows is ``batch``."""
    found = []
    for batch in batches:
        try:
            found.append([tuple(leaf.shape) for leaf in _leaves(module(*_example(inputs, batch)))])
        except Exception as error:  # a user's network may raise anything
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise MissingCapability(
                    f"there is not enough memory for an input of {_shown(inputs, batch)}",
                    do="give a smaller --size or --batch",
                ) from error
            raise UsageError(
                f"the network does not run on an input of {_shown(inputs, batch)}",
                why=f"{first_line(error)}{_where(error)}",
                do="give a --size that fits its strides, or mend the network",
            ) from error
        if not found[-1]:
            raise UsageError("the network returns no tensor", do="return a tensor, or a list, tuple or dict of tensors")
    if len(batches) == 1:
        return list(found[0])
    return [_following(first, second) for first, second in zip(*found, strict=True)]


def _following(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int | str, ...]:
    """An output's shape with its batch named, from what it is for a batch of one and of two."""
    differing = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
    if len(first) != len(second) or differing != [(1, 2)]:
        raise UsageError(
            f"the network's output does not follow the batch: {first} for one image, {second} for two",
            do="export with a fixed batch: --batch 1",
        )
    return tuple(BATCH if a != b else a for a, b in zip(first, second, strict=True))


def _leaves(value: Any) -> list[torch.Tensor]:
    """The tensors of what a module returned, in order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value] if hasattr(value, "shape") else []


def _convert(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], signature: _Signature, opset: int
) -> ModelProto:
    """Run the exporter that writes ``opset``, quietly."""
    torch = lazy.require("torch", extra="export")
    write = _by_torchscript if opset < OPSET_TORCH_EXPORT else _by_torch_export
    lazy.require("onnxscript", extra="export")  # needed by the second; imported before its output is captured
    with shell.captured_output() as printed, warnings.catch_warnings(record=True) as caught:
        for category in _EXPECTED_WARNINGS:
            warnings.simplefilter("ignore", category)
        warnings.simplefilter("always", torch.jit.TracerWarning)
        try:
            model = write(module, example, signature, opset)
        except Exception as error:  # the exporters let through whatever the network or they themselves raise
            raise _export_failed(error, opset) from error
        _log.debug("the exporter printed: %s", printed())
    for warning in caught:
        _log.warning("while tracing: %s", first_line(warning.message))
    return model


def _by_torchscript(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], signature: _Signature, opset: int
) -> ModelProto:
    torch = lazy.require("torch", extra="export")
    onnx = lazy.require("onnx", extra="export")
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        example,
        buffer,
        dynamo=False,
        opset_version=opset,
        input_names=[item.name for item in signature.inputs],
        output_names=signature.outputs,
        dynamic_axes=signature.dynamic_axes() or None,
    )
    model = onnx.load_model_from_string(buffer.getvalue())
    complete_paths(model, [name for name, _ in module.named_modules() if name])
    return model


def _by_torch_export(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], signature: _Signature, opset: int
) -> ModelProto:
    torch = lazy.require("torch", extra="export")
    axes = signature.dynamic_axes()
    # one name for the first input; that the others follow it is found out, and naming them too draws a warning each
    dims = [torch.export.Dim(BATCH), *[torch.export.Dim.DYNAMIC] * (len(signature.inputs) - 1)]
    pairs = zip(signature.inputs, dims, strict=True)
    shapes = tuple(dict.fromkeys(axes[item.name], dim) for item, dim in pairs) if axes else None
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        external_data=False,
        verbose=False,
        opset_version=opset,
        input_names=[item.name for item in signature.inputs],
        output_names=signature.outputs,
        dynamic_shapes=shapes,
    )
    return program.model_proto


def _check_written(model: ModelProto, opset: int) -> None:
    onnx = lazy.require("onnx", extra="export")
    if opset_of(model) != opset:
        raise ToolFailed(
            f"PyTorch's exporter wrote opset {opset_of(model)} where {opset} was asked for",
            why="it found no way to convert the graph",
            do=f"give --opset {opset_of(model)}, or replace the operators that are newer than opset {opset}",
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ToolFailed(
            f"PyTorch's exporter wrote an invalid graph at opset {opset}", why=first_line(error), do="try --opset 20"
        ) from error


def _export_failed(error: Exception, opset: int) -> ToolFailed:
    chain = [error, *_causes(error)]
    operator = _operator_of(chain)
    advice = f"replace {operator or 'that line'} in the network by operators that export"
    if opset < OPSET_TORCH_EXPORT:
        advice = f"give --opset 20, whose exporter knows more operators, if the device reads it; else {advice}"
    return ToolFailed(
        f"PyTorch cannot export {operator or 'the network'} to ONNX opset {opset}",
        why=f"{first_line(chain[-1])}{_where(chain[-1])}",
        do=advice,
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error


def _operator_of(chain: Sequence[BaseException]) -> str | None:
    """The operator that an exporter stopped at: from the messages, else the public function of torch.nn.functional."""
    for error in chain:
        if match := re.search(r"\b(aten|prims|torchvision)(::|\.)(\w+)", first_line(error)):
            return f"{match[1]}::{match[3]}"
    for error in chain:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename.endswith("torch/nn/functional.py") and not frame.name.startswith("_"):
                return f"aten::{frame.name}"
    return None


def _where(error: BaseException) -> str:
    """The user's line that an error came from, as `` (file:line)``; empty where only libraries were at work."""
    libraries = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], __file__, "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(libraries):
            return f" ({frame.filename}:{frame.lineno})"
    return ""
