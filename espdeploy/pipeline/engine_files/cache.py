"""Where engines that espdeploy makes for itself, and weights that it fetched, are kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from espdeploy.errors import MissingCapability


@contextlib.contextmanager
def writing_to_cache() -> Iterator[None]:
    """A block that writes to a cache: where that fails, the advice is how to have the cache elsewhere.

    Raises:
        MissingCapability: from inside.
    """
    try:
        yield
    except MissingCapability as error:
        if not error.what.startswith("cannot write"):
            raise
        raise MissingCapability(
            error.what, why=error.why, do="set ESPDEPLOY_CACHE to a folder that can be written, or make room"
        ) from error


def engine_cache() -> Path:
    """``engines/build`` of the project that one stands in, else the user's cache folder.

    ``ESPDEPLOY_CACHE`` names another place; ``XDG_CACHE_HOME`` is honoured (XDG base directory specification).
    """
    named = os.environ.get("ESPDEPLOY_CACHE")
    if named:
        return Path(named)
    here = Path.cwd() / "engines"
    if any(here.glob("*.toml")):
        return here / "build"
    return _user_cache() / "engines"


def weights_cache() -> Path:
    """Where fetched weights are kept: in the place that ``ESPDEPLOY_CACHE`` names, else in the user's cache folder."""
    named = os.environ.get("ESPDEPLOY_CACHE")
    return (Path(named) if named else _user_cache()) / "weights"


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "espdeploy"
