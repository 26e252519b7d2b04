"""``espdeploy weights``: which files the authors released, what is here of them, and one of them fetched."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from espdeploy import units
from espdeploy.artifacts import atomic_path
from espdeploy.errors import InputFileError, MissingCapability, UsageError, nearest
from espdeploy.networks.entry import ReleasedCheckpoint
from espdeploy.networks.registry import REGISTRY
from espdeploy.pipeline.engine_files.cache import weights_cache
from espdeploy.protocols import Progress
from espdeploy.weights.download import fetch
from espdeploy.weights.remote import Fetched, Limits, RemoteFile

_SUFFIX = ".pth"


@dataclass(frozen=True, kw_only=True)
class Released:
    """A released file, the network that it is of, and where it stands in the cache (None: not, or another file)."""

    network: str
    checkpoint: ReleasedCheckpoint
    cached: Path | None

    @property
    def name(self) -> str:
        """The file's name, which is what commands take."""
        return self.checkpoint.name

    @property
    def state(self) -> str:
        """What can be done with it."""
        if self.cached is not None:
            return "here"
        if self.checkpoint.url is None:
            return "not published at a known address"
        return "can be fetched" if self.checkpoint.read else "by hand: no checksum known"

    def document(self) -> dict[str, object]:
        """As ``weights list --json`` prints it: the size of images is [width, height]."""
        known = self.checkpoint
        return {
            "name": known.name,
            "network": self.network,
            "settings": dict(known.settings),
            "data": known.data,
            "input_size": [known.size.width, known.size.height],
            "url": known.url,
            "sha256": known.sha256,
            "licence": known.licence,
            "size_bytes": known.size_bytes,
            "size_mb": None if known.size_bytes is None else units.mb_from_bytes(known.size_bytes),
            "metric": known.metric,
            "value": known.value,
            "source": known.source,
            "read": known.read,
            "cached": str(self.cached) if self.cached else None,
            "state": self.state,
        }


@dataclass(frozen=True, kw_only=True)
class FetchedWeights:
    """A file that is here now; ``output`` is the copy that was asked for, else the one in the cache."""

    released: Released
    output: Path
    fetched: Fetched

    @property
    def next_command(self) -> str:
        """What one does with it. In the cache the name alone is enough."""
        weights = self.released.name if self.output == self.fetched.path else self.output
        return f"espdeploy export --model {self.released.network} --weights {weights}"

    def document(self) -> dict[str, object]:
        """As ``weights fetch --json`` prints it."""
        known = self.released.checkpoint
        return {
            "output": str(self.output),
            "name": known.name,
            "network": self.released.network,
            "url": known.url,
            "sha256": known.sha256,
            "licence": known.licence,
            "size_bytes": known.size_bytes,
            "cached": self.fetched.cached,
            "resumed_from_bytes": self.fetched.resumed_from_bytes,
            "received_bytes": self.fetched.received_bytes,
        }


def released() -> tuple[Released, ...]:
    """Every released file of the zoo; what is in the cache is checked by its SHA-256."""
    return tuple(
        Released(network=network.name, checkpoint=known, cached=_cached(known))
        for network in REGISTRY.values()
        for known in network.checkpoints
    )


def find(name: str) -> Released:
    """The released file of this name, with or without ``.pth``.

    Raises:
        UsageError: there is none; names the nearest one.
    """
    known = {item.name: item for item in released()}
    found = known.get(name) or known.get(name + _SUFFIX)
    if found is None:
        raise UsageError(
            f'there are no released weights "{name}"', why=nearest(name, known), do="espdeploy weights list"
        )
    return found


def fetch_weights(
    chosen: Released, output: Path | None, progress: Progress, *, limits: Limits | None = None
) -> FetchedWeights:
    """Bring a released file into the cache, and to ``output`` where that is given; a folder keeps the file's name.

    Raises:
        MissingCapability: its address or its checksum is not known, or as :func:`espdeploy.weights.download.fetch`.
        InputFileError: as there.
    """
    known = chosen.checkpoint
    place = weights_cache() / known.name
    if known.url is None:
        raise MissingCapability(
            f"{known.name} is not published at a known address",
            why=known.source,
            do="ask its authors for it, and give the file itself: --weights FILE",
        )
    if known.sha256 is None or known.size_bytes is None:
        raise MissingCapability(
            f"{known.name} cannot be fetched safely: its checksum is not known here",
            do=f"fetch {known.url} by hand and give it as --weights FILE; its tensors are checked then",
        )
    file = RemoteFile(name=known.name, url=known.url, sha256=known.sha256, size_bytes=known.size_bytes)
    fetched = fetch(file, place.parent, progress=progress, limits=limits)
    if output is None:
        return FetchedWeights(released=chosen, output=fetched.path, fetched=fetched)
    target = output / known.name if output.is_dir() else output
    with atomic_path(target) as temporary:
        shutil.copyfile(fetched.path, temporary)
    return FetchedWeights(released=chosen, output=target, fetched=fetched)


def local(given: Path | None) -> Path | None:
    """The file that ``--weights`` names: itself, or where there is none here, the fetched one of that name.

    Raises:
        InputFileError: it is a released file's name, and that was not fetched yet.
    """
    if given is None or given.exists() or len(given.parts) != 1:
        return given
    known = {item.name: item for item in released()}
    found = known.get(given.name) or known.get(given.name + _SUFFIX)
    if found is None:
        return given
    if found.cached is None:
        raise InputFileError(
            f"there is no checkpoint {given} here, and the released file of that name was not fetched yet",
            do=f"espdeploy weights fetch {found.name}",
        )
    return found.cached


def _cached(known: ReleasedCheckpoint) -> Path | None:
    if known.sha256 is None or known.size_bytes is None:
        return None
    file = RemoteFile(name=known.name, url=known.url or "", sha256=known.sha256, size_bytes=known.size_bytes)
    place = weights_cache() / known.name
    return place if file.stands_at(place) else None
