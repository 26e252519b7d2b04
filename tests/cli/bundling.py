"""Bundles for tests: a good one, and what a tar can be made into."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from espdeploy.pipeline.bundling.bundle import BundleRequest, bundle
from espdeploy.pipeline.bundling.bundle_manifest import BenchStep, BuildStep, Recipe
from espdeploy.protocols import no_progress
from espdeploy.recipes import device_profile

STEP = BenchStep(trials=5, duration_s=0, warmup_s=0, warmup_max_s=0)
Member = tuple[tarfile.TarInfo, bytes]


def good_bundle(onnx: Path, folder: Path) -> bytes:
    """A bundle for this processor, of a network that is built and measured in seconds."""
    recipe = Recipe(build=BuildStep(precision="fp32", runtime="onnxruntime"), bench=STEP)
    bundle(BundleRequest(onnx=onnx, profile=device_profile("cpu"), recipe=recipe), folder / "cpu.tar", no_progress)
    return (folder / "cpu.tar").read_bytes()


def members(content: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(item, tar.extractfile(item).read()) for item in tar]  # type: ignore[union-attr]  # plain files all


def written(path: Path, items: Iterable[Member]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in items:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def plain(name: str, content: bytes = b"x") -> Member:
    return tarfile.TarInfo(name), content


def special(name: str, kind: bytes, linkname: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info, b""


def with_manifest(content: bytes, change: Callable[[dict[str, Any]], object]) -> list[Member]:
    """The members of a bundle, its manifest changed."""
    (info, text), *rest = members(content)
    manifest = json.loads(text)
    change(manifest)
    return [(info, json.dumps(manifest).encode()), *rest]


def replaced(content: bytes, name: str, new: bytes) -> list[Member]:
    """The members of a bundle with another content for one of them, and a manifest that vouches for it."""

    def change(manifest: dict[str, Any]) -> None:
        item = next(item for item in manifest["files"] if item["name"] == name)
        item |= {"sha256": hashlib.sha256(new).hexdigest(), "size_bytes": len(new)}

    return [(info, new if info.name == name else old) for info, old in with_manifest(content, change)]
