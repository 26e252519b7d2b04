"""Kernels that TensorRT-RTX compiled on this machine, kept in a file so that the next start need not compile them.

Source: "Working with Runtime Cache" of the TensorRT-RTX documentation. A cache is checked by the library itself against
its release, the GPU and the driver; one that does not fit is not taken, and is replaced after the run.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from espdeploy.artifacts import write_atomic
from espdeploy.errors import EspdeployError


class Kernels:
    """The runtime cache of one execution context.

    Args:
        path: where it is kept. A place that cannot be read or written costs time at the next start, and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = b""
        self._cache: Any = None

    def attach(self, config: Any) -> None:
        """Have a runtime configuration use the kernels that are kept, and gather new ones."""
        cache = config.create_runtime_cache()
        if cache is None:
            return
        with contextlib.suppress(OSError):
            content = self._path.read_bytes()
            self._kept = content if content and cache.deserialize(content) else b""
        if config.set_runtime_cache(cache):
            self._cache = cache

    def keep(self) -> None:
        """Write what was gathered, where it is more than what is kept."""
        cache, self._cache = self._cache, None
        memory = None if cache is None else cache.serialize()
        content = b"" if memory is None else bytes(memory)
        if content and content != self._kept:
            with contextlib.suppress(EspdeployError):
                write_atomic(self._path, content)
