"""What TensorRT says while it works: kept, never printed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_PLACE = re.compile(r"^\S+\.(?:cpp|cc|h|cu):\d+: ")
#: said after every other error where no GPU is: the state of the machine, not what went wrong
_ECHO = "[checkMacros.cpp::catchCudaError"


@dataclass
class Messages:
    """The errors and warnings of one piece of work, in order. TensorRT repeats itself; here each stands once."""

    _errors: dict[str, None] = field(default_factory=dict)
    _warnings: dict[str, None] = field(default_factory=dict)

    def add(self, *, error: bool, text: str) -> None:
        """Keep a message, without the place in NVIDIA's sources that it comes from."""
        kept = self._errors if error else self._warnings
        kept.setdefault(_PLACE.sub("", text).strip())

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong, the first first."""
        real = [text for text in self._errors if not text.startswith(_ECHO)]
        return tuple(real or self._errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user may want to know."""
        return tuple(self._warnings)


class Log:
    """The one logger of a process: TensorRT keeps the first that it is given, and ignores later ones."""

    def __init__(self, module: ModuleType) -> None:
        self.logger = _logger(module, self._receive)
        self._now = Messages()

    @contextlib.contextmanager
    def collecting(self) -> Iterator[Messages]:
        """Messages of what is done inside; one piece of work at a time."""
        before, self._now = self._now, Messages()
        try:
            yield self._now
        finally:
            self._now = before

    def _receive(self, text: str, *, error: bool) -> None:
        self._now.add(error=error, text=text)


def _logger(module: ModuleType, receive: Any) -> Any:
    severity = module.ILogger.Severity
    errors = {severity.INTERNAL_ERROR: True, severity.ERROR: True, severity.WARNING: False}

    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]  # the module is not typed
        def __init__(self) -> None:
            base.__init__(self)  # TensorRT wants it called by name

        def log(self, severity: Any, msg: str) -> None:
            error = errors.get(severity)
            if error is not None:
                receive(msg, error=error)

    return Logger()
