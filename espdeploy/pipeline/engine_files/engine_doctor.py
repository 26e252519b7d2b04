"""``espdeploy doctor engine``: whether an engine runs on this machine, and which field of its passport differs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from espdeploy.artifacts import sha256_of
from espdeploy.errors import InputFileError
from espdeploy.pipeline.engine_files import engine_fields, engine_runtime
from espdeploy.pipeline.engine_files.engine_check import EngineCheck, Examined
from espdeploy.pipeline.engine_files.engine_file import engine_passport, read_engine_file
from espdeploy.pipeline.engine_files.engine_here import Here, look
from espdeploy.pipeline.engine_files.passport import Passport, passport_path

_SHA_CHARS = 12


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Every check of one engine; ``passport`` is None where it has none."""

    engine: Path
    passport: Passport | None
    checks: tuple[EngineCheck, ...]

    @property
    def runs(self) -> bool:
        """Whether everything that it needs is here."""
        return all(check.ok for check in self.checks if check.required)

    @property
    def verdict(self) -> str:
        """One line that says it."""
        wrong = [check for check in self.checks if check.required and not check.ok]
        if wrong:
            known = "does not run here" if any(check.status == "differs" for check in wrong) else "may not run here"
            return f"{self.engine} {known}: {', '.join(check.name for check in wrong)}"
        slower = [check.name for check in self.checks if check.effect == "timings"]
        differing = f"; timings from elsewhere do not hold ({', '.join(slower)})" if slower else ""
        return f"{self.engine} runs here{differing}"

    def document(self) -> dict[str, object]:
        """As ``doctor engine --json`` prints it."""
        return {
            "engine": str(self.engine),
            "passport": None if self.passport is None else str(passport_path(self.engine)),
            "runs": self.runs,
            "verdict": self.verdict,
            "checks": [check.document() for check in self.checks],
        }


def diagnose(engine: Path, here: Here | None = None) -> Diagnosis:
    """Hold an engine and its passport against this machine.

    Args:
        engine: an engine or ONNX file.
        here: the machine; None: this one.

    Raises:
        InputFileError: the file is missing, damaged or no engine; its passport is damaged, newer or of another file.
    """
    file = read_engine_file(engine)
    passport = engine_passport(engine)
    sha256 = sha256_of(engine)
    if passport is not None and passport.sha256 != sha256:
        raise InputFileError(
            f"{engine} is not the engine that its passport describes",
            why=f"SHA-256 {sha256[:_SHA_CHARS]}… of the file, {passport.sha256[:_SHA_CHARS]}… in {engine.name}.json: "
            "changed, cut short, or the passport of another engine",
            do=f"copy both again, or build it again: espdeploy build F.onnx -o {shlex.quote(str(engine))}",
        )
    examined = Examined(engine=engine, file=file, passport=passport, here=here or look())
    checks = list(engine_runtime.checks(examined, sha256))
    if passport is not None:
        checks += engine_fields.checks(examined, passport)
    return Diagnosis(engine=engine, passport=passport, checks=tuple(checks))
