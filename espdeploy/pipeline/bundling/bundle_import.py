"""``espdeploy import``: the results of a bundle go into a folder of records, as if they had been measured here."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from espdeploy import store
from espdeploy.artifacts import write_atomic
from espdeploy.errors import InputFileError
from espdeploy.pipeline.bundling.bundle_manifest import PASSPORT, RECORD, RESULTS, Manifest, Packed, how
from espdeploy.pipeline.bundling.bundle_tar import opened
from espdeploy.records import Record

#: the passports of engines that stayed on their boards: below the records, where no reader of records looks
PASSPORTS = "passports"


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A file of the results, and whether it is new in the folder; ``record`` is None for a passport."""

    path: Path
    new: bool
    record: Record | None = None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What came home."""

    folder: Path
    manifest: Manifest
    arrived: tuple[Arrived, ...]

    @property
    def records(self) -> tuple[tuple[Arrived, Record], ...]:
        """The records among it."""
        return tuple((item, item.record) for item in self.arrived if item.record is not None)

    def document(self) -> dict[str, object]:
        """As ``import --json`` prints it."""
        return {
            "results": str(self.folder),
            "device": self.manifest.device,
            "bundle_sha256": self.manifest.bundle_sha256,
            "records": [
                {"id": record.id, "file": str(item.path), "model": record.model.name, "new": item.new}
                for item, record in self.records
            ],
            "passports": [str(item.path) for item in self.arrived if item.record is None],
            "notes": list(self.manifest.notes),
        }


def import_results(path: Path, folder: Path) -> Imported:
    """Check the results and store their records in ``folder``; what lies there already is left as it is.

    Raises:
        InputFileError: the results are damaged, newer, of another kind, or hold something else than records.
        MissingCapability: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="espdeploy-import-") as temporary, opened(path, RESULTS) as results:
        manifest = results.manifest
        contents = {name: place.read_bytes() for name, place in results.unpack(Path(temporary)).items()}
    records = {item.name: _record(path, manifest, item, contents[item.name]) for item in manifest.of_role(RECORD)}
    store.probe_writable(folder)
    arrived = [_kept(folder, item, contents[item.name], records[item.name]) for item in manifest.of_role(RECORD)]
    passports = [_kept(folder / PASSPORTS, item, contents[item.name]) for item in manifest.of_role(PASSPORT)]
    return Imported(folder=folder, manifest=manifest, arrived=(*arrived, *passports))


def _record(path: Path, manifest: Manifest, item: Packed, content: bytes) -> Record:
    try:
        record = store.decode(content)
    except InputFileError as error:
        raise InputFileError(f"{item.name} in {path}: {error.what}", why=error.why, do=how(RESULTS)) from error
    if record.device.name != manifest.device:
        raise InputFileError(
            f"{item.name} in {path} was measured on {record.device.name}, and the results are of {manifest.device}",
            do=how(RESULTS),
        )
    return record


def _kept(folder: Path, item: Packed, content: bytes, record: Record | None = None) -> Arrived:
    """The file under its own name, or beside another one of that name; the same content is not stored twice."""
    final = folder / item.file_name
    if final.is_file() and final.read_bytes() == content:
        return Arrived(path=final, new=False, record=record)
    if final.exists():
        final = final.with_name(f"{final.stem}-{secrets.token_hex(3)}{final.suffix}")
    write_atomic(final, content)
    return Arrived(path=final, new=True, record=record)
