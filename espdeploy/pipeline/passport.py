"""The JSON beside an engine: what it was made from, by what, for what."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from espdeploy.artifacts import write_atomic
from espdeploy.errors import InputFileError

PASSPORT_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Passport:
    """Where an engine comes from; ``sha256`` is of the engine's own bytes."""

    schema: int
    sha256: str
    onnx: str
    onnx_sha256: str
    device: str
    runtime: str
    runtime_version: str
    precision: str
    precision_share_pct: dict[str, float] | None
    cpu: str | None
    built: str
    build_s: float
    espdeploy_version: str
    command: str | None = None


def passport_path(engine: Path) -> Path:
    """``net.onnx`` has its passport in ``net.onnx.json``."""
    return engine.with_name(engine.name + ".json")


def write_passport(passport: Passport, engine: Path) -> None:
    """Write it whole beside the engine."""
    write_atomic(passport_path(engine), msgspec.json.format(msgspec.json.encode(passport), indent=2) + b"\n")


def read_passport(engine: Path) -> Passport | None:
    """The passport of an engine; None where there is none.

    Raises:
        InputFileError: it is damaged, or of a newer schema.
    """
    path = passport_path(engine)
    if not path.is_file():
        return None
    try:
        passport = msgspec.json.decode(path.read_bytes(), type=Passport)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputFileError(f"{path} is not a readable passport", why=str(error), do=_how_to_mend(path)) from error
    if passport.schema > PASSPORT_SCHEMA:
        raise InputFileError(
            f"{path} was written by a newer espdeploy", do=f"upgrade espdeploy, or {_how_to_mend(path)}"
        )
    return passport


def _how_to_mend(path: Path) -> str:
    return f"build the engine again (espdeploy build F.onnx -o {shlex.quote(str(path.with_suffix('')))})"
