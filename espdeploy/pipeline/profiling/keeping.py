"""A profile beside the records, with what it explains, for the report to draw."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import msgspec

from espdeploy import store
from espdeploy.artifacts import sha256_of, utc_now, write_atomic
from espdeploy.errors import InputFileError, MissingCapability, UsageError
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
    explanation, missing = _explanation(done, request)
    document: dict[str, Any] = {
        **done.document,
        "notes": [*done.document["notes"], *missing],
        "model": card.name if card is not None else Path(named).stem,
        "engine": named,
        "device": request.target.profile.name,
        "created": utc_now(),
        "explanation": explanation,
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


def _explanation(done: Profiled, request: ProfileRequest) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """What the files say limits the run, and what is missing of it; a board may lack the package that reads graphs."""
    graph = None if request.target.engine is None else graph_of(request.target.engine)
    try:
        return _explained(done, request, graph), ()
    except MissingCapability as error:
        missing = f"the network was left aside: {error.what}"
    except (UsageError, InputFileError) as error:
        return None, (f"nothing is said of what limits the run: {error.what}",)
    try:
        return _explained(done, request, None), (missing,)
    except (UsageError, InputFileError) as error:
        return None, (missing, f"nothing is said of what limits the run: {error.what}")


def _explained(done: Profiled, request: ProfileRequest, graph: Path | None) -> dict[str, Any]:
    engine = request.target.engine
    passport = None if engine is None else read_passport(engine)
    return explain(
        ExplainRequest(
            targets=tuple(str(path) for path in (*done.files, *(() if graph is None else (graph,)))),
            device=request.target.profile.name,
            precision=None if passport is None else passport.precision,
            shares_pct=None if passport is None else passport.precision_share_pct,
        )
    )
