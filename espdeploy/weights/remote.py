"""What is to be fetched, within which limits, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy.artifacts import sha256_of


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file at a public address, known by its SHA-256 and its size."""

    name: str
    url: str
    sha256: str
    size_bytes: int

    def stands_at(self, path: Path) -> bool:
        """Whether ``path`` holds exactly this file."""
        try:
            return path.stat().st_size == self.size_bytes and sha256_of(path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a server may be silent and a download take, and which addresses are taken.

    ``loopback_http`` allows unencrypted HTTP to this machine itself, for tests; nothing else sets it.
    """

    silence_s: float = 30.0
    total_s: float = 1800.0
    loopback_http: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file on its way to ``final``."""

    file: RemoteFile
    final: Path
    limits: Limits

    @property
    def by_hand(self) -> str:
        """What to do where this machine cannot fetch it."""
        return (
            f"try again later, or fetch {self.file.url} elsewhere and save it as {self.final}: espdeploy finds it there"
        )


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that stands under its name with the right SHA-256.

    ``cached``: it stood there before, and no server was asked. ``resumed_from_bytes``: what an earlier attempt left.
    """

    path: Path
    cached: bool
    resumed_from_bytes: int
    received_bytes: int
