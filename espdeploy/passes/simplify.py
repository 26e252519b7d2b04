"""Constant folding and algebraic clean-up, by onnxsim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espdeploy import lazy, shell
from espdeploy.errors import ToolFailed
from espdeploy.onnx_graph import opset_of
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from onnx import ModelProto


def run(model: ModelProto) -> PassResult:
    """Let onnxsim work on the graph; batch normalization is left to our own pass, which folds in double precision.

    Raises:
        ToolFailed: onnxsim failed, or changed the operator set or the names of inputs and outputs.
    """
    onnxsim = lazy.require("onnxsim", extra="export")
    with shell.captured_output() as printed:
        try:
            simplified, valid = onnxsim.simplify(model, check_n=0, skip_fuse_bn=True)
        except Exception as error:  # onnxsim lets through what its C++ core and ONNX raise
            raise _failed(_last_line(str(error) or printed())) from error
        if not valid:
            raise _failed(_last_line(printed()))
    if _interface(simplified) != _interface(model):
        raise _failed("it changed the operator set, or the names of inputs and outputs")
    if _structure(simplified) == _structure(model):
        return PassResult(model=model, changes=0)
    removed = len(model.graph.node) - len(simplified.graph.node)
    simplified.ir_version = model.ir_version
    del simplified.metadata_props[:]
    simplified.metadata_props.extend(model.metadata_props)
    return PassResult(model=simplified, changes=max(1, abs(removed)), note=f"{removed} nodes fewer")


def _interface(model: ModelProto) -> tuple[object, ...]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    return opset_of(model), inputs, [value.name for value in model.graph.output]


def _structure(model: ModelProto) -> tuple[list[bytes], list[bytes]]:
    """Nodes and constants as bytes in a fixed order: what counts as a change."""
    nodes = []
    for node in model.graph.node:
        plain = type(node)()
        plain.CopyFrom(node)
        plain.ClearField("metadata_props")
        plain.ClearField("doc_string")
        nodes.append(plain.SerializeToString(deterministic=True))
    constants = [tensor.SerializeToString(deterministic=True) for tensor in model.graph.initializer]
    return sorted(nodes), sorted(constants)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "it gave no reason"


def _failed(why: str) -> ToolFailed:
    return ToolFailed("onnxsim could not simplify the graph", why=why, do="export with --no-simplify")


PASS = Pass(
    name="simplify",
    does="folds constants and removes what has no effect",
    run=run,
    breaks=frozenset({"names", "shapes", "no-identities", "no-denormals", "batch-norm-folded"}),
)
