"""One error class per way to fail; each carries the exit code that the command line ends with."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_NAMES_SHOWN = 30


class EspdeployError(Exception):
    """A failure that the user can act on: what happened, why, and what to do.

    Args:
        what: what happened, with the value and the path.
        why: the cause, where it is not plain from ``what``.
        do: the command or change that mends it.
    """

    exit_code = 70

    def __init__(self, what: str, *, why: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.do = do


class AnswerIsNo(EspdeployError):
    """It ran, and a limit that the caller set is not met, or a required check failed."""

    exit_code = 1


class UsageError(EspdeployError):
    """Wrong usage: an unknown name or key, an impossible combination."""

    exit_code = 2


class InputFileError(UsageError):
    """A file that was given cannot be used: missing, damaged, or of another kind."""


class MissingCapability(EspdeployError):
    """This machine or device lacks a tool, a library, a permission or a hardware feature."""

    exit_code = 3


class ToolFailed(EspdeployError):
    """An external tool or runtime failed; its last lines are in ``why``."""

    exit_code = 4


class InternalError(EspdeployError):
    """A fault of espdeploy itself, such as a pass that broke the graph."""

    exit_code = 70


class Interrupted(EspdeployError):
    """The user or the system stopped the command; what was kept is said in ``what``."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name closest to ``name`` as ``did you mean "x"?``, or the names when none is close."""
    names = sorted(known)
    by_lower = {known_name.lower(): known_name for known_name in names}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{by_lower[close[0]]}"?'
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return "known: " + ", ".join(names[:_NAMES_SHOWN]) + more
