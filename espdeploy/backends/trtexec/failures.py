"""What the tool's last words mean, and what to do about it.

Texts: TensorRT's own messages as its users report them (NVIDIA/TensorRT issues 1404, 2041, 2195, 3734, 4587 and others;
onnx-tensorrt 465, 800), trtexec's from samples/common/sampleEngines.cpp at v8.2 to v11, and TensorRT-RTX's from the
library and parser of 1.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from espdeploy.backends.trtexec import engine_failures, machine_failures, network_failures
from espdeploy.backends.trtexec.case import Case, Diagnosis
from espdeploy.backends.trtexec.plan import Plan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import EspdeployError, ToolFailed

_WHY_LINES = 3
_TIME = r"^(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)?"
_MARKS = re.compile(_TIME + r"(?:\[(?:TRT|[A-Z])\] ?)*")
_ERROR_LINE = re.compile(_TIME + r"(?:\[TRT\] ?)?(?:\[[EF]\]|ERROR:|\[TensorRT\] ERROR:)")


def explain(output: str, returncode: int, *, tool: Tool, plan: Plan) -> EspdeployError:
    """The error for a run of the tool that failed: a known one with what to do, else its last error lines.

    Args:
        output: what it printed, both streams; the last few hundred lines are enough.
        returncode: its exit code, negative where a signal ended it.
        tool: which tool.
        plan: what it was asked for.
    """
    known = diagnose(output, returncode, tool=tool, plan=plan)
    if known is not None:
        return known.error
    lines = [line for line in output.splitlines() if _ERROR_LINE.match(line)] or output.strip().splitlines()
    why = " | ".join(_MARKS.sub("", line).strip() for line in lines[-_WHY_LINES:])
    ended = f"failed with exit code {returncode}" if returncode else "ended without saying that it passed"
    return ToolFailed(f"{tool.label} {ended}", why=why, do="run it by hand with --verbose added to see more")


def diagnose(
    output: str, returncode: int | None = None, *, tool: Tool | None = None, plan: Plan | None = None
) -> Diagnosis | None:
    """The known failure that a tool's output tells of; None where there is none.

    What is not known of the run (a log of another machine, say) may be left out.
    """
    case = Case(text=output, returncode=returncode, tool=tool, plan=plan)
    return next((known for rule in _RULES if (known := rule(case)) is not None), None)


#: the first that fits wins: what a signal says before what the text says, the particular before the general
_RULES: tuple[Callable[[Case], Diagnosis | None], ...] = (
    machine_failures.killed,
    network_failures.unknown_option,
    engine_failures.other_gpu,
    engine_failures.other_release,
    machine_failures.no_dla,
    machine_failures.no_hardware,
    network_failures.not_quantized,
    network_failures.calibration,
    network_failures.operator,
    machine_failures.gpu_memory,
    machine_failures.no_driver,
    machine_failures.not_saved,
    engine_failures.no_engine,
    network_failures.shapes,
    network_failures.no_kernel,
    machine_failures.crashed,
)
