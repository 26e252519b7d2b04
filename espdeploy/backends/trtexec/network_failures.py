"""Failures that the network or the plan causes: operators, shapes, scales, kernels, options."""

from __future__ import annotations

import re

from espdeploy.backends.trtexec import unsupported
from espdeploy.backends.trtexec.case import Case, Diagnosis
from espdeploy.backends.trtexec.plan import BuildPlan
from espdeploy.backends.trtexec.tool import TYPED_FROM, dotted
from espdeploy.errors import MissingCapability, ToolFailed, UsageError


def unknown_option(case: Case) -> Diagnosis | None:
    """An option that this release has not, or has no more."""
    options = list(dict.fromkeys(re.findall(r"Unknown option: (\S+)", case.text)))
    if not options:
        return None
    typed = [name for name in options if name in ("--fp16", "--int8", "--best", "--calib", "--bf16", "--fp8")]
    if typed:
        why = f"from TensorRT {dotted(TYPED_FROM)} on the graph alone says the precision"
        do = "build an FP16 or Q/DQ graph without these options; espdeploy build makes one"
    else:
        why, do = (
            "this release spells it in another way, or has it no more",
            "espdeploy doctor shows which release it is",
        )
    error = MissingCapability(f"{case.who} does not know {', '.join(options)}", why=why, do=do)
    return Diagnosis(code="unknown-option", error=error)


def operator(case: Case) -> Diagnosis | None:
    """A network that the parser refuses."""
    error = unsupported.explain(case.text, network=case.network, who=case.who)
    return None if error is None else Diagnosis(code="unsupported-operator", error=error)


def shapes(case: Case) -> Diagnosis | None:
    """Shapes that contradict the network."""
    pattern = r"Static dimension mismatch[^\n]*|Dynamic dimensions required for input: (?!.*Automatically over)[^\n]*"
    match = re.search(pattern, case.text)
    if match is None:
        return None
    error = UsageError(
        f"the shapes given do not fit {case.network}", why=match[0].strip()[:150], do="give the shapes that it declares"
    )
    return Diagnosis(code="shapes", error=error)


def not_quantized(case: Case) -> Diagnosis | None:
    """With ``--int8``, neither cache nor Q/DQ pairs: trtexec makes ranges up (setTensorScales, RndInt8Calibrator)."""
    if "Calibrator is not being used" not in case.text or not isinstance(case.plan, BuildPlan):
        return None
    if case.plan.calibration_cache is not None:
        return None
    error = UsageError(
        f"{case.network} holds no Q/DQ pairs, so its INT8 ranges would be made up",
        do="build from a quantized graph, or give a calibration cache",
    )
    return Diagnosis(code="not-quantized", error=error)


def calibration(case: Case) -> Diagnosis | None:
    """A calibration cache of another network."""
    if not re.search(r"Calibration failure occurred|no scaling factors detected", case.text):
        return None
    error = UsageError(
        "the calibration cache has no scale for tensors of this network",
        do="calibrate the very ONNX file that is built: espdeploy calibrate F.onnx --data DIR --trt-cache FILE",
    )
    return Diagnosis(code="calibration", error=error)


def no_kernel(case: Case) -> Diagnosis | None:
    """A layer for which no kernel could be used."""
    match = re.search(r"Could not find any implementation for node ([^\n]*?)\.?\)?\s*(?:\n|$)", case.text)
    if match is None:
        return None
    workspace = f" (it was {case.plan.workspace_mb:g} MB)" if isinstance(case.plan, BuildPlan) else ""
    error = ToolFailed(
        f"{case.who} found no kernel for the layer {match[1][:120]}",
        why="every one that it knows needs more memory than there is, or fails",
        do=f"give a larger workspace{workspace}, free memory, or build in another precision",
    )
    return Diagnosis(code="no-kernel", error=error)
