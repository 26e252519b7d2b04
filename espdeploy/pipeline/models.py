"""``espdeploy models``: the zoo, one network of it, or an ONNX file, with what was counted and what papers print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import units
from espdeploy.artifacts import ModelCard
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.networks import published
from espdeploy.networks.entry import ModuleFigures, NetworkEntry, NetworkSummary, Published, ReleasedCheckpoint
from espdeploy.networks.published import Compared
from espdeploy.networks.registry import REGISTRY, entry, parse_settings, summary
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from espdeploy.networks.breakdown import Breakdown

_IMAGE_DIMS = 4


@dataclass(frozen=True, kw_only=True)
class Described:
    """A network of the zoo. ``breakdown`` is None where it was not counted, and ``notes`` say why where it was to be.

    ``accuracy`` is the printed row to show first; ``printed_with`` are its settings that are not the defaults.
    """

    summary: NetworkSummary
    accuracy: Published | None
    printed_with: str
    compared: tuple[Compared, ...]
    breakdown: Breakdown | None = None
    notes: tuple[str, ...] = ()

    @property
    def checkpoints_read(self) -> int:
        """How many of the released files were at hand, and load."""
        return sum(checkpoint.read for checkpoint in self.summary.checkpoints)

    def document(self, *, layers: bool = False) -> dict[str, object]:
        """As ``models --json`` prints it: sizes are [width, height]; the layers one by one where they are wanted."""
        network = self.summary
        return {
            "name": network.name,
            "task": network.task,
            "params": network.params,
            "macs": network.macs,
            "input_size": _pair(network.input_size),
            "size_mb": network.size_mb,
            "source": network.source,
            "settings": network.settings,
            "accuracy": _accuracy(self.accuracy),
            "checkpoints": [_checkpoint(checkpoint) for checkpoint in network.checkpoints],
            "modules": [_module(module) for module in network.modules],
            "published": [_published(row) for row in self.compared],
            **_parts(self.breakdown, layers=layers),
            "note": network.note,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class DescribedFile:
    """An ONNX file, counted from its graph. ``input_size`` is None where it is dynamic and none was asked for."""

    path: Path
    card: ModelCard | None
    params: int
    macs: int | None
    input_size: ImageSize | None
    breakdown: Breakdown

    @property
    def name(self) -> str:
        """The network's name where the file carries it, else the file's."""
        return self.card.name if self.card else self.path.stem

    @property
    def task(self) -> str:
        """What the file says it is for."""
        return self.card.task if self.card else "unknown"

    def document(self, *, layers: bool = False) -> dict[str, object]:
        """With the keys of a network of the zoo."""
        return {
            "name": self.name,
            "task": self.task,
            "params": self.params,
            "macs": self.macs,
            "input_size": _pair(self.input_size) if self.input_size else None,
            "size_mb": units.fp32_size_mb(self.params),
            "source": str(self.path),
            "settings": self.card.settings if self.card else {},
            "accuracy": None,
            "checkpoints": [],
            "modules": [],
            "published": [],
            **_parts(self.breakdown, layers=layers),
            "note": "",
            "notes": [] if self.macs is not None else [self.breakdown.note],
        }


def listing() -> tuple[Described, ...]:
    """The whole zoo at its default settings and sizes; needs no PyTorch."""
    return tuple(_described(network, summary(network)) for network in REGISTRY.values())


def describe(name: str, settings: Mapping[str, str], *, size: ImageSize | None = None, count: bool = True) -> Described:
    """One network of the zoo.

    Args:
        name: of the network.
        settings: what ``--set`` gave.
        size: of the images; None is the network's own.
        count: whether to count its layers, which needs PyTorch; without it a note says so.

    Raises:
        UsageError: an unknown network or setting, or a size that does not fit.
        MissingCapability: other settings or sizes than the default ones, and PyTorch is not installed.
    """
    network = entry(name)
    found = summary(network, parse_settings(network, settings), size=size)
    if not count:
        return _described(network, found)
    from espdeploy.networks.breakdown import of_network  # loads PyTorch when it counts

    try:
        parts = of_network(network, found.settings, size=found.input_size)
    except MissingCapability as error:
        return _described(network, found, notes=(f"the layers are not counted: {error.what} ({error.do})",))
    return _described(network, found, breakdown=parts)


def describe_file(path: Path, *, size: ImageSize | None = None) -> DescribedFile:
    """An ONNX file.

    Raises:
        InputFileError: the file is missing or no ONNX graph.
        UsageError: the file's size is fixed, and another was asked for.
        MissingCapability: the onnx package is not installed.
    """
    from espdeploy import export
    from espdeploy.networks import breakdown
    from espdeploy.networks.onnx_counting import count_onnx

    facts = export.inspect(export.load(path))
    shape = facts.inputs[0].shape if facts.inputs else ()
    at = _file_size(path, shape, size)
    is_image = len(shape) == _IMAGE_DIMS
    channels = shape[1] if is_image and isinstance(shape[1], int) else 3
    counts = count_onnx(path, input_shape=(1, channels, at.height, at.width) if at and is_image else None)
    return DescribedFile(
        path=path,
        card=facts.card,
        params=counts.params,
        macs=counts.macs,
        input_size=at,
        breakdown=breakdown.of_counts(counts),
    )


def _file_size(path: Path, shape: tuple[int | str, ...], size: ImageSize | None) -> ImageSize | None:
    """The image size of a file: its own, or the one asked for where its own is dynamic."""
    height, width = shape[2:] if len(shape) == _IMAGE_DIMS else (None, None)
    if not isinstance(height, int) or not isinstance(width, int):
        return size
    own = ImageSize(width=width, height=height)
    if size not in (None, own):
        raise UsageError(
            f"--size {size} cannot change {path}",
            why=f"it is exported for images of {own}",
            do="leave --size away, or export the network at that size",
        )
    return own


def _described(
    network: NetworkEntry, found: NetworkSummary, *, breakdown: Breakdown | None = None, notes: tuple[str, ...] = ()
) -> Described:
    row = published.headline(network)
    return Described(
        summary=found,
        accuracy=row,
        printed_with=published.written(published.unusual(network, row)) if row else "",
        compared=published.compared(network),
        breakdown=breakdown,
        notes=notes,
    )


def _accuracy(row: Published | None) -> dict[str, object] | None:
    if row is None:
        return None
    return {
        "metric": row.metric,
        "value": row.value,
        "data": row.data,
        "source": row.source,
        "settings": dict(row.settings),
    }


def _checkpoint(checkpoint: ReleasedCheckpoint) -> dict[str, object]:
    return {
        "name": checkpoint.name,
        "sha256": checkpoint.sha256,
        "data": checkpoint.data,
        "input_size": _pair(checkpoint.size),
        "settings": dict(checkpoint.settings),
        "metric": checkpoint.metric,
        "value": checkpoint.value,
        "source": checkpoint.source,
        "url": checkpoint.url,
        "licence": checkpoint.licence,
        "size_bytes": checkpoint.size_bytes,
        "read": checkpoint.read,
    }


def _module(module: ModuleFigures) -> dict[str, object]:
    return {
        "name": module.name,
        "path": module.path,
        "repeats": module.repeats,
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        "map_size": _pair(module.map_size),
        "params": module.params,
        "counted_params": module.counted_params,
        "memory_floats": module.memory_floats,
        "memory_mb": module.memory_mb,
        "effective_receptive_field": [module.effective_receptive_field] * 2,
    }


def _published(compared: Compared) -> dict[str, object]:
    """What is printed, what we count, and how far they are apart: (counted - printed) / printed."""
    row = compared.row
    return {
        "settings": dict(row.settings),
        "source": row.source,
        "metric": row.metric,
        "value": row.value,
        "data": row.data,
        "input_size": _pair(compared.size),
        "printed": {"params": row.params, "macs": row.macs},
        "counted": {"params": compared.params, "macs": compared.macs},
        "difference_pct": {"params": compared.params_difference_pct, "macs": compared.macs_difference_pct},
        "reason": compared.reason or None,
    }


def _parts(breakdown: Breakdown | None, *, layers: bool) -> dict[str, object]:
    if breakdown is None:
        return {"counts": None, "kinds": None, "blocks": None, "layers": None}
    return {
        "counts": breakdown.note,
        "kinds": [asdict(kind) for kind in breakdown.kinds],
        "blocks": [asdict(block) for block in breakdown.blocks],
        "layers": [asdict(layer) for layer in breakdown.layers] if layers else None,
    }


def _pair(size: ImageSize) -> list[int]:
    return [size.width, size.height]
