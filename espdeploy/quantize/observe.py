"""One pass over the calibration images: what each activation of a network ranges over.

What is kept does not grow with the number of images: a sketch per tensor, and the activations of one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from espdeploy.errors import InputFileError, InternalError, UsageError
from espdeploy.protocols import Progress, no_progress
from espdeploy.quantize.sketch import ChannelSketch, Sketch
from espdeploy.quantize.taps import Taps

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

_AnySketch = TypeVar("_AnySketch", Sketch, ChannelSketch)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen of each tensor over so many images: sketches by name, in the graph's order, inputs first.

    ``channels`` has those tensors that were asked for by channel. ``constant`` names tensors that were the same value
    everywhere in every image: they carry nothing, and a range says little of them.
    """

    images: int
    sketches: dict[str, Sketch]
    channels: dict[str, ChannelSketch] = field(default_factory=dict)

    @property
    def constant(self) -> tuple[str, ...]:
        """Tensors that never had but one value."""
        return tuple(name for name, sketch in self.sketches.items() if sketch.constant)


def observe(
    onnx: Path,
    feeds: Iterable[tuple[str, Mapping[str, Tensor]]],
    *,
    tensors: Sequence[str] | None = None,
    per_channel: Sequence[str] = (),
    threads: int,
    total: int | None = None,
    progress: Progress = no_progress,
) -> Observation:
    """Run a network over images in ONNX Runtime and sketch its activations.

    Args:
        onnx: the ONNX file.
        feeds: for each image its name and the input tensors by name. Read once, one at a time.
        tensors: which ones, by name; the graph's own outputs come with them. None: the inputs and every node's outputs.
            What is not float is passed over.
        per_channel: which of them, (N,C,...), are sketched channel by channel too.
        threads: for the operators; counting takes one.
        total: number of images where it is known, for ``progress``.
        progress: called after each image.

    Raises:
        UsageError: there are no images, or no activation of a name that is asked for.
        InputFileError: the file is no ONNX model, or an activation is NaN or infinite; with the tensor and the image.
        ToolFailed: ONNX Runtime does not take the graph or fails on an image.
    """
    wanted = None if tensors is None else [*tensors, *per_channel]
    taps: Taps | None = None
    sketches: dict[str, Sketch] = {}
    channels = {name: ChannelSketch() for name in per_channel}
    images = 0
    for image, feed in feeds:
        taps = taps or Taps(onnx, wanted, like=feed, threads=threads)
        for name, values in taps.read(feed, image):
            sketch = sketches.setdefault(name, Sketch())
            sketch.update(values)
            if sketch.not_finite:
                raise _not_finite(name, values, image, given=name in feed)
            if name in channels:
                channels[name].update(values)
        images += 1
        progress(images, total, "images observed")
    if not images:
        raise UsageError("there are no images to calibrate with", do="give --data a folder of images")
    return Observation(images=images, sketches=sketches, channels=channels)


def merge(first: Observation, second: Observation) -> Observation:
    """What one run over both sets of images would have seen, exactly; both stay as they are.

    Raises:
        InternalError: they are of different tensors.
    """
    for one, other in ((first.sketches, second.sketches), (first.channels, second.channels)):
        if one.keys() != other.keys() and first.images and second.images:
            names = ", ".join(sorted(one.keys() ^ other.keys())[:3])
            raise InternalError(f"observations of different tensors cannot be merged: {names} in one of them alone")
    return Observation(
        images=first.images + second.images,
        sketches=_merged(first.sketches, second.sketches),
        channels=_merged(first.channels, second.channels),
    )


def _merged(first: Mapping[str, _AnySketch], second: Mapping[str, _AnySketch]) -> dict[str, _AnySketch]:
    merged = {name: deepcopy(sketch) for name, sketch in first.items()}
    for name, sketch in second.items():
        if name in merged:
            merged[name].merge(sketch)
        else:
            merged[name] = deepcopy(sketch)
    return merged


def _not_finite(tensor: str, values: Tensor, image: str, *, given: bool) -> InputFileError:
    kind = "NaN" if np.isnan(values).any() else "infinity"
    places = int(np.count_nonzero(~np.isfinite(values)))
    what = "input" if given else "activation"
    return InputFileError(
        f"the {what} {tensor} holds {kind} at {places} of {values.size} places for {image}",
        why="" if given else "it is the first tensor of the network with one",
        do="check the image and the pre-processing" if given else "leave the image out, or check the weights",
    )
