"""``espdeploy bundle``: everything that a board needs to build and measure an engine without a network."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__, export, lazy, units
from espdeploy.artifacts import check_replaceable, sha256_of, utc_now
from espdeploy.backends.onnx_precision import declared, external_data
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.pipeline import capability
from espdeploy.pipeline.building.lower import table_for
from espdeploy.pipeline.bundling.bundle_manifest import (
    BUNDLE,
    BUNDLE_SCHEMA,
    CALIBRATION,
    DEVICE,
    GRAPH,
    TENSORRT_CACHE,
    BenchStep,
    BuildStep,
    Manifest,
    Packed,
    Recipe,
)
from espdeploy.pipeline.bundling.bundle_tar import pack, packed
from espdeploy.protocols import Progress
from espdeploy.quantize.table import CalibrationTable, write_table
from espdeploy.quantize.tensorrt_cache import constant_ranges, operand_ranges, version_code, write_cache
from espdeploy.specs import DeviceProfile

#: where a table and a cache lie in a bundle
TABLE_NAME, CACHE_NAME = "calibration.json", "calibration.cache"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_STEM_CHARS = 80


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What is to be packed, and what the board is to do with it."""

    onnx: Path
    profile: DeviceProfile
    recipe: Recipe
    calibration: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """A bundle that was written."""

    output: Path
    manifest: Manifest
    manifest_sha256: str

    def document(self) -> dict[str, object]:
        """As ``bundle --json`` prints it."""
        return {
            "output": str(self.output),
            "sha256": self.manifest_sha256,
            "device": self.manifest.device,
            "size_mb": units.mb_from_bytes(self.output.stat().st_size),
            "files": [dataclasses.asdict(item) for item in self.manifest.files],
            "commands": [list(argv) for argv in commands(self.manifest)],
            "notes": list(self.manifest.notes),
        }


def bundle(request: BundleRequest, output: Path, progress: Progress) -> Bundled:
    """Pack the graph, its calibration, the device's facts and the recipe; what the device cannot do is refused now.

    Raises:
        InputFileError: the graph or the calibration table is unusable, or does not fit the other.
        UsageError: a precision or runtime that does not exist or needs what a bundle has not; a place that is no file.
        MissingCapability: the device lacks the precision, or reads no graph of this opset; no room.
    """
    onnx = _checked(request)
    check_replaceable(output)
    table = table_for(onnx, request.recipe.build.precision, request.calibration)
    progress(0, None, "packing")
    with tempfile.TemporaryDirectory(prefix="espdeploy-bundle-") as folder:
        items, paths, notes = _gathered(request, onnx, table, Path(folder))
        manifest = Manifest(
            schema=BUNDLE_SCHEMA,
            kind=BUNDLE,
            espdeploy_version=__version__,
            created=utc_now(),
            device=request.profile.name,
            files=tuple(items),
            recipe=request.recipe,
            notes=tuple(notes),
        )
        digest = pack(manifest, paths, output)
    return Bundled(output=output, manifest=manifest, manifest_sha256=digest)


def commands(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    """The recipe as the two commands that do the same, for people and for records."""
    if manifest.recipe is None:
        return
    build, bench = manifest.recipe.build, manifest.recipe.bench
    graph = manifest.of_role(GRAPH)[0].name
    calibration = ["--calibration", TABLE_NAME] if manifest.of_role(CALIBRATION) else []
    yield ("espdeploy", "build", graph, "--device", manifest.device, *_options(build), *calibration, "-o", "ENGINE")
    yield ("espdeploy", "bench", "ENGINE", "--device", manifest.device, *_options(bench))


def _options(step: BuildStep | BenchStep) -> list[str]:
    """A step's values as options; what was left open is left away, and a dynamic batch is ``dynamic``."""
    values = dataclasses.asdict(step)
    if "batch" in values and values["batch"] is None:
        values["batch"] = "dynamic"
    found: list[str] = []
    for name, value in values.items():
        for one in value if isinstance(value, tuple) else (value,):
            found += [] if one is None else [f"--{name.replace('_', '-')}", f"{one}"]
    return found


def _checked(request: BundleRequest) -> Path:
    """The graph, after everything that can be known here was refused."""
    profile, build = request.profile, request.recipe.build
    if build.precision == "mixed":
        raise UsageError(
            "a bundle holds no images, and mixed looks for its layers with them",
            do="--precision int8 or fp16; or run build --precision mixed on the device itself",
        )
    onnx = onnx_path(FileSource(path=request.onnx), "espdeploy bundle")
    opset = export.inspect(export.load(onnx)).opset if lazy.available("onnx") else None
    capability.check(profile, precision=build.precision, opset=opset)
    if build.runtime is not None and build.runtime not in profile.runtimes:
        raise UsageError(
            f'{profile.name} is not run through "{build.runtime}"', why=nearest(build.runtime, profile.runtimes)
        )
    _check_bench(profile, request.recipe.bench)
    outside, own = external_data(onnx), declared(onnx)
    if outside is not None:
        raise InputFileError(
            f"{onnx} keeps weights outside, in {outside}",
            do=f"espdeploy export --model {onnx} -o FILE.onnx writes one file; bundle that",
        )
    if own not in (None, "fp32", "fp64"):
        raise UsageError(
            f"{onnx} is written for {own} already",
            why="the board's build lowers an FP32 graph itself",
            do="bundle the FP32 graph that it was made from",
        )
    return onnx


def _check_bench(profile: DeviceProfile, bench: BenchStep) -> None:
    for flag, value in (("--freq", bench.freq), ("--power-mode", bench.power_mode)):
        if value is not None and profile.gpu is None:
            raise UsageError(f"{flag} {value} cannot be set on {profile.name}", why="it has no GPU clocks to set")


def _gathered(
    request: BundleRequest, onnx: Path, table: CalibrationTable | None, folder: Path
) -> tuple[list[Packed], dict[str, Path], list[str]]:
    """What goes into the bundle: for the manifest, where each file lies, and what is to be said of it."""
    profile, notes = request.profile, []
    graph = f"{_UNSAFE.sub('-', onnx.stem).strip('-.')[:_STEM_CHARS] or 'network'}.onnx"
    items = [
        packed(onnx, GRAPH, name=graph, file_name=graph),
        packed(Path(profile.source), DEVICE, name=f"{profile.name}.toml"),
    ]
    paths = {graph: onnx, items[1].name: Path(profile.source)}
    if table is not None:
        path = folder / TABLE_NAME
        if table.onnx_sha256 != sha256_of(onnx):
            # a board without the package onnx knows the graph by its file alone; here they were compared node by node
            table = dataclasses.replace(table, onnx_sha256=sha256_of(onnx))
            notes.append("the calibration table was made from another file of the same graph, and now names this one")
        if table.operands is None and lazy.available("onnx"):  # the board may not be able to read them off the graph
            table = dataclasses.replace(table, operands=operand_ranges(onnx))
        write_table(table, path)
        items.append(packed(path, CALIBRATION))
        paths[TABLE_NAME] = path
    if table is not None and profile.tensorrt is not None:
        path = folder / CACHE_NAME
        code = version_code(_release(profile.tensorrt.newest))
        with contextlib.suppress(UsageError):  # a tensor's name that no cache can hold; the table can
            write_cache(table.ranges | constant_ranges(onnx, version_code=code), path, version_code=code)
            items.append(packed(path, TENSORRT_CACHE))
            paths[CACHE_NAME] = path
    return items, paths, notes


def _release(text: str) -> str:
    """``8.5`` as ``8.5.0``, which is how a cache's header numbers releases."""
    return ".".join([*text.split("."), "0", "0"][:3])
