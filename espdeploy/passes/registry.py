"""All graph passes, and the order in which they run."""

from __future__ import annotations

from types import MappingProxyType

from espdeploy.passes import (
    align_channels,
    flush_denormals,
    fold_batch_norm,
    fold_norm_into_branches,
    fold_norm_into_next,
    infer_shapes,
    name_nodes,
    pool_to_convolution,
    remove_dead,
    simplify,
    spell_out_prelu,
    split_concat_conv,
    split_output,
)

#: every pass by name
PASSES = MappingProxyType(
    {
        "name-nodes": name_nodes.PASS,
        "simplify": simplify.PASS,
        "remove-dead": remove_dead.PASS,
        "fold-batch-norm": fold_batch_norm.PASS,
        "fold-norm-into-branches": fold_norm_into_branches.PASS,
        "fold-norm-into-next": fold_norm_into_next.PASS,
        "split-concat-conv": split_concat_conv.PASS,
        "pool-to-convolution": pool_to_convolution.PASS,
        "spell-out-prelu": spell_out_prelu.PASS,
        "align-channels": align_channels.PASS,
        "split-output": split_output.PASS,
        "split-resized-output": split_output.PASS_RESIZED,
        "flush-denormals": flush_denormals.PASS,
        "infer-shapes": infer_shapes.PASS,
    }
)

#: Names come first because simplification drops where a node came from, and again at the end for what it made.
_SIMPLIFY = (
    "name-nodes",
    "simplify",
    "remove-dead",
    "fold-batch-norm",
    "fold-norm-into-branches",
    "fold-norm-into-next",
    "remove-dead",
    "flush-denormals",
    "name-nodes",
    "infer-shapes",
)
#: the graph as it was traced: no node is added or removed
_AS_TRACED = ("name-nodes", "flush-denormals", "infer-shapes")


def pipeline_for(*, simplify: bool) -> tuple[str, ...]:
    """The names of the passes that an export runs, in order; without ``simplify`` no node is added or removed."""
    return _SIMPLIFY if simplify else _AS_TRACED


#: What paid when it was measured (benchmarks/passes.py). All keep the names of the tensors that were there before, so
#: that a calibration table still fits.
_FOR_RUNTIME = MappingProxyType(
    {
        "openvino": ("pool-to-convolution", "split-output", "remove-dead"),
        "onnxruntime": ("pool-to-convolution", "spell-out-prelu", "align-channels", "remove-dead"),
    }
)
#: What pays at FP32 only, and goes first
_FP32_FOR_RUNTIME = MappingProxyType({"openvino": ("split-resized-output",)})


def pipeline_for_runtime(runtime: str, precision: str = "fp32") -> tuple[str, ...]:
    """The names of the passes that ``build`` adds for a runtime on top of an exported graph; () where none pays."""
    first = _FP32_FOR_RUNTIME.get(runtime, ()) if precision == "fp32" else ()
    return (*first, *_FOR_RUNTIME.get(runtime, ()))
