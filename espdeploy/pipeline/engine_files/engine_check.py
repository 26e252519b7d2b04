"""One field of an engine's passport beside what is here, and everything that the fields are judged from."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from espdeploy.pipeline.engine_files.engine_file import ONNX, EngineFile
from espdeploy.pipeline.engine_files.engine_here import Here
from espdeploy.pipeline.engine_files.passport import Passport

Status = Literal["ok", "differs", "unknown"]
#: what follows where a field is not the same: build the engine anew, figures do not compare, or nothing
Effect = Literal["", "rebuild", "timings", "harmless"]


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """One field: what is here (``found``), what it was at the build (``expected``), and what follows.

    Where a ``required`` one is not ok, the engine does not run, or nobody can say that it does.
    """

    name: str
    status: Status
    found: str
    expected: str
    hint: str = ""
    effect: Effect = ""
    required: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is as it must be."""
        return self.status == "ok"

    def document(self) -> dict[str, object]:
        """As ``doctor engine --json`` prints it."""
        return {
            "name": self.name,
            "ok": self.ok,
            "found": self.found,
            "expected": self.expected,
            "hint": self.hint,
            "required": self.required,
            "status": self.status,
            "effect": self.effect,
        }


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What is in hand: the file, its passport (None: it has none), and this machine."""

    engine: Path
    file: EngineFile
    passport: Passport | None
    here: Here

    @property
    def bound(self) -> bool:
        """Whether it is an engine of TensorRT, which is bound to its release and to its GPU."""
        return self.file.kind != ONNX

    @property
    def rebuild(self) -> str:
        """The command that builds the engine for this machine."""
        passport, profile = self.passport, self.here.profile
        if profile is not None and profile.gpu is not None:
            device = profile.name
        else:
            device = "" if passport is None else passport.device
        options = ["--device", device] if self.bound and device else []
        if passport is None:
            return shlex.join(["espdeploy", "build", "F.onnx", *options])
        calibration = ["--calibration", "T.json"] if passport.calibration else []
        argv = ["espdeploy", "build", passport.onnx, *options, "--precision", passport.precision, *calibration]
        return shlex.join(argv)


def compared(
    name: str, *, found: str | None, expected: str | None, hint: str, effect: Effect, required: bool = False
) -> EngineCheck:
    """A field whose two values must be equal; the hint and what follows count only where they are not."""
    status: Status = "unknown" if found is None or expected is None else "ok" if found == expected else "differs"
    return EngineCheck(
        name=name,
        status=status,
        found=found or "unknown",
        expected=expected or "not in the passport",
        hint="" if status == "ok" else hint,
        effect="" if status == "ok" else effect,
        required=required,
    )
