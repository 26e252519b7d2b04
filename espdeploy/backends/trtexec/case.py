"""A run that failed, and what is found out about it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from espdeploy.backends.trtexec.plan import BuildPlan, Plan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import EspdeployError
from espdeploy.units import mb_from_bytes


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A known failure: a stable code for it, and the error to raise."""

    code: str
    error: EspdeployError


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is known of a run that failed; all but its text may be unknown."""

    text: str
    returncode: int | None
    tool: Tool | None
    plan: Plan | None

    @property
    def who(self) -> str:
        """The tool, for people."""
        return self.tool.label if self.tool else "trtexec"

    @property
    def network(self) -> str:
        """The ONNX file, for people."""
        return str(self.plan.onnx) if isinstance(self.plan, BuildPlan) else "the network"

    @property
    def engine(self) -> str:
        """The engine, for people."""
        return str(self.plan.engine) if self.plan else "the engine"

    @property
    def memory(self) -> str:
        """What there is now, and what the tool was allowed: MemAvailable of /proc/meminfo, through psutil."""
        now, swap = psutil.virtual_memory(), psutil.swap_memory()
        parts = [
            f"{_mb(now.available)} of {_mb(now.total)} are available now that it is gone",
            f"swap {_mb(swap.total)}",
        ]
        if isinstance(self.plan, BuildPlan):
            parts.append(f"workspace {self.plan.workspace_mb:,.0f} MB")
        return ", ".join(parts)


def _mb(count: int) -> str:
    return f"{mb_from_bytes(count):,.0f} MB"
