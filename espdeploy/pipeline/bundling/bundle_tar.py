"""Bundles on disk: plain tar archives that begin with a manifest, written whole and read with nothing taken on trust.

A bundle comes from elsewhere. So nothing in it decides where a file goes: members are plain files with plain names, no
more and no fewer than the manifest names, each of the size and SHA-256 that it gives. Links, devices, folders, sparse
files, absolute names and ``..`` are refused (Python's documentation of tarfile: "Extraction filters").
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from espdeploy import units
from espdeploy.artifacts import atomic_path, sha256_of
from espdeploy.errors import InputFileError, MissingCapability
from espdeploy.pipeline.bundling.bundle_manifest import MANIFEST, Manifest, Packed, check_name, how, read_manifest

_PIECE_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 4_000_000
_NAME_CHARS = 80
_BLOCK_BYTES = 512


def packed(path: Path, role: str, *, name: str | None = None, file_name: str | None = None) -> Packed:
    """A file as a manifest has it, under its own name or another."""
    return Packed(
        name=name or path.name,
        role=role,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        file_name=file_name or path.name,
    )


def pack(manifest: Manifest, files: Mapping[str, Path], final: Path) -> str:
    """Write a bundle, and read it back before it gets its name; returns the SHA-256 of its manifest.

    Args:
        manifest: names each file.
        files: where each lies, by its name in the bundle.
        final: the bundle.

    Raises:
        UsageError, MissingCapability: as :func:`espdeploy.artifacts.atomic_path`.
        InputFileError: a file changed while it was packed.
    """
    content = manifest.encoded()
    with atomic_path(final) as temporary:
        with tarfile.open(temporary, "w:", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, MANIFEST, io.BytesIO(content), len(content))
            for item in manifest.files:
                with files[item.name].open("rb") as stream:
                    _add(tar, item.name, stream, item.size_bytes)
        try:
            with opened(temporary, manifest.kind) as bundle:
                bundle.check()
        except InputFileError as error:
            raise InputFileError(f"a file changed while {final} was written", why=error.why, do="try again") from error
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def opened(path: Path, kind: str) -> Iterator[Bundle]:
    """A bundle, open for reading; only its manifest has been read.

    Raises:
        InputFileError: no such file, no tar archive, or one that does not begin with a fitting manifest.
    """
    with contextlib.ExitStack() as stack:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputFileError(f"{path} is not a file", do="check the path")
            stream = stack.enter_context(path.open("rb"))
            _check_headers(path, stream, kind)
            tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:", encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputFileError(f"{path} does not exist", do="check the path") from error
        except OSError as error:
            raise InputFileError(
                f"cannot read {path}: {error.strerror or error}", do="check its permissions"
            ) from error
        except tarfile.TarError as error:
            raise InputFileError(
                f"{path} is no bundle of espdeploy", why=f"not a plain tar archive: {error}", do=how(kind)
            ) from error
        yield Bundle(path, tar, kind)


class Bundle:
    """A bundle that is open for reading."""

    def __init__(self, path: Path, tar: tarfile.TarFile, kind: str) -> None:
        self._path, self._tar, self._kind = path, tar, kind
        first = self._next()
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MOST_MANIFEST_BYTES:
            raise InputFileError(
                f"{path} is no bundle of espdeploy", why=f"it does not begin with {MANIFEST}", do=how(kind)
            )
        content = io.BytesIO()
        self._copy(first, content, first.size)
        self.manifest = read_manifest(content.getvalue(), kind, str(path))
        #: identifies the bundle: the manifest holds the digest of everything else
        self.manifest_sha256 = hashlib.sha256(content.getvalue()).hexdigest()

    def check(self) -> None:
        """Read every member and hold it against the manifest.

        Raises:
            InputFileError: as :meth:`unpack`.
        """
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - the name is the system's own, and no path of ours
            for member, item in self._members():
                self._checked_copy(member, item, nowhere)

    def unpack(self, folder: Path) -> dict[str, Path]:
        """Write every member into an empty folder; returns where each lies, by name.

        Raises:
            InputFileError: a member that no bundle has, or that is not as the manifest says; a bundle cut short.
            MissingCapability: the folder has no room for it.
        """
        self._check_room(folder)
        paths: dict[str, Path] = {}
        for member, item in self._members(folder):
            paths[item.name] = folder / item.name
            with paths[item.name].open("xb") as stream:
                self._checked_copy(member, item, stream)
        return paths

    def _members(self, folder: Path | None = None) -> Iterator[tuple[tarfile.TarInfo, Packed]]:
        """Each member with what the manifest says of it; every file that it names, once."""
        missing = {item.name: item for item in self.manifest.files}
        while (member := self._next()) is not None:
            self._check_member(member, folder)
            if member.name not in missing:
                known = any(item.name == member.name for item in self.manifest.files)
                raise self._refused(member.name, "twice" if known or member.name == MANIFEST else "not in its manifest")
            yield member, missing.pop(member.name)
        if missing:
            raise self._damaged(f"it ends without {', '.join(missing)}")

    def _next(self) -> tarfile.TarInfo | None:
        try:
            return self._tar.next()
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error

    def _check_member(self, member: tarfile.TarInfo, folder: Path | None) -> None:
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise self._refused(member.name, "no plain file")
        if not check_name(member.name):
            raise self._refused(member.name, "not a plain name")
        data_filter = getattr(tarfile, "data_filter", None)  # Python 3.10.12, 3.11.4 and newer
        if data_filter is not None:
            try:
                data_filter(member, os.fspath(folder or Path.cwd()))
            except tarfile.TarError as error:
                raise self._refused(member.name, str(error)) from error

    def _checked_copy(self, member: tarfile.TarInfo, item: Packed, stream: BinaryIO) -> None:
        if member.size != item.size_bytes:
            raise self._damaged(f"{item.name} has {member.size:,} bytes, and {item.size_bytes:,} in the manifest")
        found = self._copy(member, stream, item.size_bytes)
        if found != item.sha256:
            raise self._damaged(f"{item.name} has the SHA-256 {found[:12]}…, and {item.sha256[:12]}… in the manifest")

    def _copy(self, member: tarfile.TarInfo, stream: BinaryIO, size_bytes: int) -> str:
        """Copy a member's bytes; returns their SHA-256."""
        digest, left = hashlib.sha256(), size_bytes
        source = self._tar.extractfile(member)
        try:
            while source is not None and left and (piece := source.read(min(_PIECE_BYTES, left))):
                digest.update(piece)
                stream.write(piece)
                left -= len(piece)
        except tarfile.TarError as error:
            raise self._damaged(str(error)) from error
        if left:
            raise self._damaged(f"it ends within {member.name}")
        return digest.hexdigest()

    def _check_room(self, folder: Path) -> None:
        needed, free = sum(item.size_bytes for item in self.manifest.files), shutil.disk_usage(folder).free
        if needed > free:
            raise MissingCapability(
                f"{folder} has no room for {self._path}",
                why=f"it needs {units.mb_from_bytes(needed):,.0f} MB, {units.mb_from_bytes(free):,.0f} MB are free",
                do="make room, or set TMPDIR to a folder on another disk",
            )

    def _damaged(self, why: str) -> InputFileError:
        return _damaged(self._path, why, self._kind)

    def _refused(self, name: str, why: str) -> InputFileError:
        return _refused(self._path, name, why, self._kind)


def _check_headers(path: Path, stream: BinaryIO, kind: str) -> None:
    """Walk the archive's headers before tarfile sees them: plain files of plain sizes, nothing else.

    Extended headers can say anything of what follows them, and older releases of tarfile hang on some. Source: POSIX
    pax, "ustar Interchange Format": name at byte 0, size in octal digits at 124, type at 156.
    """
    size_bytes, offset = path.stat().st_size, 0
    while header := os.pread(stream.fileno(), _BLOCK_BYTES, offset):
        is_header = header[257:262] == b"ustar"
        if not offset and not is_header:
            raise InputFileError(f"{path} is no bundle of espdeploy", why="it is not a plain tar archive", do=how(kind))
        if len(header) < _BLOCK_BYTES:
            raise _damaged(path, "it ends within a header", kind)
        if not header.strip(b"\0"):
            return
        if not is_header:
            raise _damaged(path, f"at byte {offset:,} stands no header", kind)
        name = header[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
        if header[156:157] not in (b"0", b"\0"):
            raise _refused(path, name, "no plain file", kind)
        digits = header[124:136].strip(b" \0")
        if not digits or digits.strip(b"01234567"):
            raise _refused(path, name, "without a plain size", kind)
        offset += _BLOCK_BYTES + -(-int(digits, 8) // _BLOCK_BYTES) * _BLOCK_BYTES
        if offset > size_bytes:
            raise _damaged(path, f"it ends within {name}", kind)


def _damaged(path: Path, why: str, kind: str) -> InputFileError:
    do = f"copy it again, and compare sha256sum; {how(kind)}"
    return InputFileError(f"{path} is damaged or cut short", why=why, do=do)


def _refused(path: Path, name: str, why: str, kind: str) -> InputFileError:
    return InputFileError(
        f"{path} holds {shlex.quote(name[:_NAME_CHARS])}, which no bundle of espdeploy does",
        why=f"it is {why}",
        do=f"do not use it; {how(kind)}",
    )


def _add(tar: tarfile.TarFile, name: str, stream: BinaryIO, size_bytes: int) -> None:
    """Add a member without its owner or time, so that the same content gives the same archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o644
    tar.addfile(member, stream)
