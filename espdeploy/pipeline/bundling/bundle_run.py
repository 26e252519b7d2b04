"""``espdeploy run-bundle``: on the device, from a bundle to results that go home as one file."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__
from espdeploy.artifacts import check_replaceable, utc_now
from espdeploy.errors import InputFileError, InternalError
from espdeploy.pipeline.building.build import BuildRequest, Built, build_engine
from espdeploy.pipeline.building.builder_options import BuilderOptions
from espdeploy.pipeline.bundling.bundle import commands
from espdeploy.pipeline.bundling.bundle_manifest import (
    BUNDLE,
    BUNDLE_SCHEMA,
    CALIBRATION,
    DEVICE,
    GRAPH,
    PASSPORT,
    RECORD,
    RESULTS,
    Manifest,
    Packed,
    Recipe,
)
from espdeploy.pipeline.bundling.bundle_tar import opened, pack, packed
from espdeploy.pipeline.engine_files.opening import check_is_here
from espdeploy.pipeline.engine_files.passport import passport_path
from espdeploy.pipeline.measuring.bench import benchmark
from espdeploy.pipeline.measuring.bench import check as check_bench
from espdeploy.pipeline.measuring.request import Benched, BenchRequest
from espdeploy.pipeline.measuring.targets import TargetRequest
from espdeploy.protocols import Progress
from espdeploy.recipes import device_profiles, read_device
from espdeploy.specs import BenchSpec, DeviceProfile, ImageSize, ShapeRange

#: where a device's facts may point: what is written there later must be the kernel's
_DEVICE_FILES = "/sys/"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A bundle that was run, and the file with its results."""

    output: Path
    manifest: Manifest
    built: Built
    benched: tuple[Benched, ...]

    def document(self) -> dict[str, object]:
        """As ``run-bundle --json`` prints it."""
        return {
            "output": str(self.output),
            "device": self.manifest.device,
            "bundle_sha256": self.manifest.bundle_sha256,
            "engine": str(self.built.engine.path),
            "runtime": self.built.engine.runtime,
            "runtime_version": self.built.engine.runtime_version,
            "precision": self.built.engine.precision,
            "cache": self.built.cache,
            "build_s": self.built.build_s,
            "files": [dataclasses.asdict(item) for item in self.manifest.files],
            "record": self.benched[0].record.id,
            "records": [item.record.id for item in self.benched],
            "latency_ms": self.benched[0].record.latency_ms.p50,
            "interrupted": any(item.record.interrupted for item in self.benched),
            "notes": list(self.manifest.notes),
        }


@dataclass(frozen=True, kw_only=True)
class _Unpacked:
    """A bundle's content on this machine, every digest checked."""

    manifest: Manifest
    recipe: Recipe
    profile: DeviceProfile
    graph: Path
    calibration: Path | None
    notes: tuple[str, ...]


def plan(path: Path) -> tuple[Manifest, str]:
    """A bundle's manifest and its SHA-256, after every file in it was checked; nothing is unpacked.

    Raises:
        InputFileError: the bundle is damaged, newer, or holds what no bundle does.
    """
    with opened(path, BUNDLE) as bundle:
        bundle.check()
        return bundle.manifest, bundle.manifest_sha256


def run_bundle(path: Path, output: Path, progress: Progress) -> Ran:
    """Check the bundle, build its engine (or find it in the cache), measure it, and pack what came out.

    Raises:
        InputFileError: the bundle is damaged, newer, or holds what no bundle does.
        MissingCapability: this is another device; or as building and measuring do.
        EspdeployError: as :func:`build_engine` and :func:`benchmark`; no results are written then.
    """
    check_replaceable(output)
    with tempfile.TemporaryDirectory(prefix="espdeploy-bundle-") as folder:
        progress(0, None, "checking the bundle")
        with opened(path, BUNDLE) as bundle:
            inside = Path(folder) / "bundle"
            inside.mkdir()
            unpacked = _unpacked(bundle.manifest, bundle.unpack(inside), str(path))
            digest = bundle.manifest_sha256
        check_is_here(unpacked.profile)
        request = _bench_request(unpacked, engine=None)
        check_bench(request)  # what cannot be measured is refused before the engine is built
        built = build_engine(_build_request(unpacked), None, progress)
        records = Path(folder) / "results"
        benched = tuple(benchmark(_bench_request(unpacked, engine=built.engine.path), records, progress))
        manifest = _pack_results(unpacked, digest, built, records, output)
    return Ran(output=output, manifest=manifest, built=built, benched=benched)


def _unpacked(manifest: Manifest, files: dict[str, Path], named: str) -> _Unpacked:
    if manifest.recipe is None:
        raise InternalError("a bundle without a recipe was let through")
    path = files[manifest.of_role(DEVICE)[0].name]
    if path.name != f"{manifest.device}.toml":
        raise InputFileError(
            f"{named} is for {manifest.device}, and holds the facts of {path.stem}", do="make it again"
        )
    profile = read_device(path)
    stray = next((place for place in _paths(profile) if not place.startswith(_DEVICE_FILES) or ".." in place), None)
    if stray is not None:
        raise InputFileError(
            f"{named} has a device whose clocks or sensors would lie in {stray}",
            why=f"they lie below {_DEVICE_FILES} on every board",
            do="do not use it, or mend the device's TOML and bundle again",
        )
    tables = manifest.of_role(CALIBRATION)
    return _Unpacked(
        manifest=manifest,
        recipe=manifest.recipe,
        profile=profile,
        graph=files[manifest.of_role(GRAPH)[0].name],
        calibration=files[tables[0].name] if tables else None,
        notes=(*manifest.notes, *_differing(profile)),
    )


def _paths(profile: DeviceProfile) -> Iterator[str]:
    if profile.gpu is not None:
        yield from profile.gpu.frequency_paths
    if profile.emc is not None:
        yield from (*profile.emc.cap_paths, *profile.emc.rate_paths)
    if profile.rails is not None:
        yield from profile.rails.sensor_paths


def _differing(profile: DeviceProfile) -> Iterator[str]:
    own = device_profiles().get(profile.name)
    if own is not None and dataclasses.replace(own, source="") != dataclasses.replace(profile, source=""):
        yield f"the facts of {profile.name} in the bundle differ from {own.source}; the bundle's were used"


def _build_request(unpacked: _Unpacked) -> BuildRequest:
    build, (command, _) = unpacked.recipe.build, commands(unpacked.manifest)
    return BuildRequest(
        onnx=unpacked.graph,
        profile=unpacked.profile,
        precision=build.precision,
        runtime=build.runtime,
        calibration=unpacked.calibration,
        options=BuilderOptions(
            shapes=tuple(ShapeRange.parse(text) for text in build.shapes),
            dla_core=build.dla,
            workspace_mb=build.workspace_mb,
            optimization_level=build.optimization_level,
        ),
        command=shlex.join(command),
    )


def _bench_request(unpacked: _Unpacked, *, engine: Path | None) -> BenchRequest:
    """The bench step; without an engine yet, for what can be refused beforehand."""
    bench, (_, command) = unpacked.recipe.bench, commands(unpacked.manifest)
    named = [str(engine) if part == "ENGINE" and engine else part for part in command]
    return BenchRequest(
        target=TargetRequest(
            profile=unpacked.profile,
            engine=engine or unpacked.graph,
            size=ImageSize.parse(bench.size) if bench.size else None,
            batch=bench.batch,
            threads=bench.threads,
        ),
        spec=BenchSpec(
            trials=bench.trials,
            duration_min_s=bench.duration_s,
            warmup_min_s=bench.warmup_s,
            warmup_max_s=max(bench.warmup_s, bench.warmup_max_s),
        ),
        frequencies=bench.freq,
        power_mode=bench.power_mode,
        command=shlex.join(named),
    )


def _pack_results(unpacked: _Unpacked, digest: str, built: Built, records: Path, output: Path) -> Manifest:
    """Every record that was written, and the engine's passport."""
    found = sorted(records.glob("*.json"))
    passport = passport_path(built.engine.path)
    named: list[tuple[Packed, Path]] = [
        (packed(path, RECORD, name=f"record-{number:04}.json"), path) for number, path in enumerate(found, start=1)
    ]
    named.append((packed(passport, PASSPORT, name="passport.json"), passport))
    manifest = Manifest(
        schema=BUNDLE_SCHEMA,
        kind=RESULTS,
        espdeploy_version=__version__,
        created=utc_now(),
        device=unpacked.manifest.device,
        files=tuple(item for item, _ in named),
        bundle_sha256=digest,
        notes=unpacked.notes,
    )
    pack(manifest, {item.name: path for item, path in named}, output)
    return manifest
