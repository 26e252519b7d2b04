"""What TensorRT's errors mean, and what to do. The library's texts are those that trtexec passes on, known there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from espdeploy.backends.tensorrt.api import RTX, Api
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.backends.trtexec.failures import diagnose
from espdeploy.backends.trtexec.plan import BuildPlan, TimePlan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed

_MOST_LINES = 3
_LONGEST_LINE = 300
#: what pybind11 says for a builder or a runtime that the library does not make
_NOTHING_MADE = "factory function returned nullptr"
_DOCTOR = "espdeploy doctor"
#: TensorRT-RTX 1.7, given too little
_WORKSPACE = re.compile(
    r"no tactics to implement the operation within workspace limit|requires workspace memory greater"
)


def explain_build(api: Api, plan: TensorRTPlan, workspace_mb: float | None, errors: Sequence[str]) -> EspdeployError:
    """The error for a build that came to nothing.

    Args:
        api: the package that built.
        plan: what was asked for.
        workspace_mb: what it was given; None where it did not come so far.
        errors: what TensorRT said.
    """
    text = "\n".join(errors)
    if workspace_mb is not None and _WORKSPACE.search(text):
        return ToolFailed(
            f"{api.label} finds no kernels for {plan.onnx} that fit into a workspace of {workspace_mb:,.0f} MB",
            do="give a larger workspace, or none: a share of the GPU's free memory is taken then",
        )
    asked = BuildPlan(
        onnx=plan.onnx,
        engine=plan.engine,
        precision=plan.precision,
        workspace_mb=workspace_mb or plan.workspace_mb or 0,
    )
    known = diagnose(text, tool=_tool(api), plan=asked)
    return known.error if known is not None else _unknown(api, f"{api.label} could not build {plan.onnx}", errors)


def explain_load(api: Api, engine: Path, errors: Sequence[str]) -> EspdeployError:
    """The error for an engine that was not accepted."""
    plan = TimePlan(engine=engine, times_json=engine, cuda_graph=False, spin_wait=False, transfers=False)
    known = diagnose("\n".join(errors), tool=_tool(api), plan=plan)
    return known.error if known is not None else _unknown(api, f"{api.label} could not open {engine}", errors)


def _unknown(api: Api, what: str, errors: Sequence[str]) -> EspdeployError:
    lines = [line.strip()[:_LONGEST_LINE] for text in errors for line in text.splitlines() if line.strip()]
    why = " | ".join(lines[:_MOST_LINES])
    if _NOTHING_MADE in why:
        return MissingCapability(f"{api.label} does not start: it needs a GPU and its driver", why=why, do=_DOCTOR)
    return ToolFailed(what, why=why, do="run it with --debug; report it with the network")


def _tool(api: Api) -> Tool:
    name = "tensorrt_rtx" if api.kind == RTX else "tensorrt"
    return Tool(path=Path(name), kind=name, version=api.version[:3])
