"""A profile beside the records, with what it explains, for the report to draw."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import msgspec

from espdeploy import store
from espdeploy.artifacts import sha256_of, utc_now, write_atomic
from espdeploy.errors import InputFileError, UsageError
from espdeploy.pipeline.engine_files.passport import read_passport
from espdeploy.pipeline.profiling.explain import ExplainRequest, explain
from espdeploy.pipeline.profiling.profile import Profiled, ProfileRequest

_IN_NAMES = re.compile(r"[^\w.]+")


def keep(done: Profiled, request: ProfileRequest, results: Path) -> Path:
    """Store the document in ``results`` under a name of its own; returns the file.

    Raises:
        MissingCapability: the folder cannot be made or written.
    """
    results.mkdir(parents=True, exist_ok=True)
    engine = request.target.engine
    named = engine.name if engine is not None else "network"
    passport = read_passport(engine) if engine is not None else None
    card = passport.card if passport is not None else None
    document: dict[str, Any] = {
        **done.document,
        "model": card.name if card is not None else Path(named).stem,
        "engine": named,
        "device": request.target.profile.name,
        "created": utc_now(),
        "explanation": _explanation(done, request),
    }
    stamp = re.sub(r"\D", "", str(document["created"]))[:14]
    stem = _IN_NAMES.sub("-", f"{stamp}_{named}_{document['device']}_{document['kind']}")
    path = results / f"{stem}{store.PROFILE_SUFFIX}"
    write_atomic(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


def graph_of(engine: Path) -> Path | None:
    """The ONNX file that an engine is or was made of, where it still lies beside it or at its passport's address.

    A file whose content is another one than the passport says is not taken for it.
    """
    if engine.suffix == ".onnx":
        return engine
    passport = read_passport(engine)
    if passport is None:
        return None
    named = Path(passport.onnx)
    for path in (engine.parent / named.name, named):
        with contextlib.suppress(OSError):
            if path.is_file() and sha256_of(path) == passport.onnx_sha256:
                return path
    return None


def _explanation(done: Profiled, request: ProfileRequest) -> dict[str, Any] | None:
    """What the files say limits the run; None where they do not belong to one picture."""
    engine = request.target.engine
    passport = None if engine is None else read_passport(engine)
    graph = None if engine is None else graph_of(engine)
    targets = [str(path) for path in (*done.files, *(() if graph is None else (graph,)))]
    try:
        return explain(
            ExplainRequest(
                targets=tuple(targets),
                device=request.target.profile.name,
                precision=None if passport is None else passport.precision,
                shares_pct=None if passport is None else passport.precision_share_pct,
            )
        )
    except (UsageError, InputFileError):
        return None
