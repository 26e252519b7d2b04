"""What a bundle says of itself: its files with their digests, and what is to be done with them, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from espdeploy.errors import InputFileError

BUNDLE_SCHEMA = 1
#: the first member of every bundle
MANIFEST = "manifest.json"
BUNDLE, RESULTS = "bundle", "results"
#: what a member is for
GRAPH, CALIBRATION, TENSORRT_CACHE, DEVICE, RECORD, PASSPORT = (
    "graph",
    "calibration",
    "tensorrt-cache",
    "device",
    "record",
    "passport",
)
_HOW_TO_MAKE = {
    BUNDLE: "espdeploy bundle F.onnx --device NAME -o NAME.tar writes one",
    RESULTS: "espdeploy run-bundle NAME.tar writes one, on the device",
}
_READ_BY = {BUNDLE: "run-bundle", RESULTS: "import"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}")  # what a plain tar header holds
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_FILES = 2000
#: more than any graph, which protobuf ends at 2 GiB
MOST_BYTES = 4_000_000_000


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A file in a bundle; ``role`` says what it is for, ``file_name`` what it was called before."""

    name: str
    role: str
    sha256: str
    size_bytes: int
    file_name: str


@dataclass(frozen=True, kw_only=True)
class BuildStep:
    """What `espdeploy build` is to do: its options, as it has them."""

    precision: str
    runtime: str | None = None
    shapes: tuple[str, ...] = ()
    dla: int | None = None
    workspace_mb: float | None = None
    optimization_level: int | None = None


@dataclass(frozen=True, kw_only=True)
class BenchStep:
    """What `espdeploy bench` is to do with the engine: its options, as it has them."""

    trials: int = 200
    duration_s: float = 1.0
    warmup_s: float = 1.0
    warmup_max_s: float = 20.0
    threads: int | None = None
    batch: int | None = 1
    size: str | None = None
    freq: str | None = None
    power_mode: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The two steps that a board runs."""

    build: BuildStep
    bench: BenchStep


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A bundle (with the ``recipe``) or its results (with ``bundle_sha256``, that of the bundle's manifest)."""

    schema: int
    kind: str
    espdeploy_version: str
    created: str
    device: str
    files: tuple[Packed, ...]
    recipe: Recipe | None = None
    bundle_sha256: str | None = None
    notes: tuple[str, ...] = ()

    def of_role(self, role: str) -> tuple[Packed, ...]:
        """The files of one role, in the bundle's order."""
        return tuple(item for item in self.files if item.role == role)

    def encoded(self) -> bytes:
        """As the bundle's first member."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The part of a manifest that every schema has."""

    schema: int
    kind: str


def read_manifest(content: bytes, kind: str, named: str) -> Manifest:
    """The manifest of a bundle.

    Args:
        content: of the bundle's first member.
        kind: what it must be of, ``bundle`` or ``results``.
        named: what errors call the bundle.

    Raises:
        InputFileError: damaged, newer, of the other kind, or it names files as no bundle does.
    """
    try:
        head = msgspec.json.decode(content, type=_Head)
        _check_head(head, kind, named)
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputFileError(
            f"{named} has a damaged manifest", why=str(error), do=f"copy it again; {how(kind)}"
        ) from error
    wrong = _wrong(manifest)
    if wrong:
        raise InputFileError(f"{named} has a manifest that cannot be", why=wrong, do=how(kind))
    return manifest


def how(kind: str) -> str:
    """How one gets such a file."""
    return _HOW_TO_MAKE[kind]


def check_name(name: str) -> bool:
    """Whether a member may be called so: letters, digits, dots, dashes; no folder, nothing hidden."""
    return _NAME.fullmatch(name) is not None


def _check_head(head: _Head, kind: str, named: str) -> None:
    if head.schema > BUNDLE_SCHEMA:
        raise InputFileError(
            f"{named} was written by a newer espdeploy",
            why=f"it is of schema {head.schema}, and this espdeploy reads {BUNDLE_SCHEMA}",
            do="pip install --upgrade espdeploy",
        )
    if head.kind in _READ_BY and head.kind != kind:
        what = "a bundle to run" if head.kind == BUNDLE else "the results of a bundle"
        raise InputFileError(f"{named} is {what}", do=f"espdeploy {_READ_BY[head.kind]} {named}")


def _wrong(manifest: Manifest) -> str:
    """What cannot be; empty where everything can."""
    names = [item.name for item in manifest.files]
    if manifest.schema != BUNDLE_SCHEMA or manifest.kind not in _READ_BY:
        return f"schema {manifest.schema} of kind {manifest.kind!r} does not exist"
    if len(names) > _MOST_FILES or len(set(names)) != len(names):
        return f"it names {len(names)} files, {len(set(names))} of them different"
    if not check_name(manifest.device):
        return f"it is for a device called {manifest.device!r}"
    for item in manifest.files:
        if not check_name(item.name) or item.name == MANIFEST or not _FILE_NAME.fullmatch(item.file_name):
            return f"it names a file {item.name!r}, from {item.file_name!r}"
        if not _SHA256.fullmatch(item.sha256) or not 0 <= item.size_bytes <= MOST_BYTES:
            return f"{item.name} has the digest {item.sha256!r} and {item.size_bytes} bytes"
    return _wrong_files(manifest)


def _wrong_files(manifest: Manifest) -> str:
    """What a bundle or its results must hold and do not."""
    if manifest.kind == RESULTS:
        return "" if manifest.of_role(RECORD) else "it holds no record"
    if manifest.recipe is None:
        return "it has no recipe"
    counts = {role: len(manifest.of_role(role)) for role in (GRAPH, DEVICE, CALIBRATION, TENSORRT_CACHE)}
    if counts[GRAPH] != 1 or counts[DEVICE] != 1 or counts[CALIBRATION] > 1 or counts[TENSORRT_CACHE] > 1:
        return f"it holds {counts[GRAPH]} graphs, {counts[DEVICE]} devices and {counts[CALIBRATION]} tables"
    return ""
