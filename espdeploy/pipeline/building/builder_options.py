"""What a builder of engines for NVIDIA GPUs is told beyond the precision, checked against the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from espdeploy.backends.tensorrt.checks import check_ranges
from espdeploy.errors import UsageError
from espdeploy.pipeline.building.onnx_head import OPEN
from espdeploy.specs import Shape, ShapeRange, shape_text

_MOST_BATCHES = 3


@dataclass(frozen=True, kw_only=True)
class BuilderOptions:
    """None, or nothing: left to espdeploy.

    ``shapes`` are the ranges of inputs with open extents; ``batch`` (as :func:`batches_from` reads it) says them for
    networks of which only the batch is open, and is gone once :func:`resolved`. ``workspace_mb`` is in 10^6 bytes.
    """

    shapes: tuple[ShapeRange, ...] = ()
    batch: tuple[int, ...] = ()
    dla_core: int | None = None
    timing_cache: Path | None = None
    workspace_mb: float | None = None
    optimization_level: int | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """Those that were given, as the command line calls them."""
        flags = {
            "--shapes": self.shapes or None,
            "--batch": self.batch or None,
            "--dla": self.dla_core,
            "--timing-cache": self.timing_cache,
            "--workspace-mb": self.workspace_mb,
            "--optimization-level": self.optimization_level,
        }
        return tuple(flag for flag, value in flags.items() if value is not None)

    @property
    def key(self) -> list[object]:
        """What decides the engine, for the cache; ranges from ``--batch`` and from ``--shapes`` are the same."""
        timing = None if self.timing_cache is None else str(self.timing_cache.resolve())
        shapes = sorted(str(item) for item in self.shapes)
        return [shapes, self.dla_core, timing, self.workspace_mb, self.optimization_level]

    @property
    def flags(self) -> tuple[str, ...]:
        """As a passport tells them; the workspace and the timing cache are the builder's to tell."""
        told = [f"shapes {item}" for item in self.shapes]
        if self.dla_core is not None:
            told.append(f"DLA core {self.dla_core}, what it lacks on the GPU")
        if self.optimization_level is not None:
            told.append(f"optimization level {self.optimization_level}")
        return tuple(told)


def batches_from(text: str) -> tuple[int, ...]:
    """``1,4,8`` as smallest, usual and largest batch; of two the larger one is the usual one too, one is all three.

    Raises:
        UsageError: it is not that, or does not ascend.
    """
    parts = text.split(",")
    batches = tuple(int(part) for part in parts if part.strip().isdecimal())
    if len(batches) != len(parts) or len(parts) > _MOST_BATCHES or list(batches) != sorted(batches) or batches[0] < 1:
        raise UsageError(
            f'--batch "{text}" is no range of batches',
            why="a range is SMALLEST,USUAL,LARGEST or SMALLEST,LARGEST, or one batch",
            do="for example --batch 1,4,8",
        )
    return batches[0], batches[-1] if len(batches) < _MOST_BATCHES else batches[1], batches[-1]


def resolved(options: BuilderOptions, onnx: Path, inputs: Mapping[str, Shape]) -> BuilderOptions:
    """The options with a range for each input that has open extents.

    Args:
        options: as they were given.
        onnx: the network, for the errors.
        inputs: its inputs; -1 for an open extent.

    Raises:
        UsageError: open extents without a range, ranges for what is fixed, ranges that do not fit, or both options.
    """
    if options.batch and options.shapes:
        raise UsageError("--batch and --shapes both say what the batch is", do="give --shapes alone")
    names = [item.name for item in options.shapes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f'--shapes gives the input "{twice}" two ranges', do="give one range for each input")
    ranges = tuple(_by_batch(options.batch, onnx, inputs)) if options.batch else options.shapes
    check_ranges(onnx, inputs, ranges)
    return replace(options, shapes=ranges, batch=())


def _by_batch(batch: tuple[int, ...], onnx: Path, inputs: Mapping[str, Shape]) -> list[ShapeRange]:
    open_inputs = {name: shape for name, shape in inputs.items() if OPEN in shape}
    if not open_inputs:
        shapes = ", ".join(f"{name} {shape_text(shape)}" for name, shape in inputs.items())
        raise UsageError(
            f"--batch {','.join(map(str, batch))} cannot change {onnx}, whose inputs are fixed ({shapes})",
            do="leave it away, or export the network with --batch dynamic",
        )
    if any(OPEN in shape[1:] for shape in open_inputs.values()):
        check_ranges(onnx, inputs, ())  # says which shapes are needed
    smallest, usual, largest = batch
    return [
        ShapeRange(name=name, smallest=(smallest, *shape[1:]), usual=(usual, *shape[1:]), largest=(largest, *shape[1:]))
        for name, shape in open_inputs.items()
    ]
