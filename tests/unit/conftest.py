"""The zoo as ``espdeploy export`` writes it: each file once, for all tests and workers of a run."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from torch import nn

    from espdeploy.pipeline.export import Exported

Once = Callable[[str, Callable[[Path], object]], Path]
#: of the device whose own it is
DEVICES = {13: "tx2", 20: "cpu"}
SMALL_ERU = {"seq_len": "4", "layers": "2", "hidden": "80", "classes": "500"}


class Written(NamedTuple):
    """An exported network of the zoo: what the export said of it, and the module that it was made of."""

    exported: Exported
    module: nn.Module

    @property
    def path(self) -> Path:
        return self.exported.artifact.path


def unsettled(network: nn.Module) -> nn.Module:
    """Statistics and scales as training leaves them: an untrained normalisation does next to nothing."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            for tensor, low, high in (
                (norm.weight, 0.6, 1.6),
                (norm.bias, -0.3, 0.3),
                (norm.running_mean, -0.2, 0.2),
                (norm.running_var, 0.3, 1.5),
            ):
                tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return network


@contextmanager
def as_after_training() -> Iterator[None]:
    """The zoo makes its networks with such normalisations; not all have weights that a file could bring."""
    from espdeploy.networks import build

    made = build.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make", lambda network, settings: unsettled(made(network, settings)))
        yield


@pytest.fixture(scope="session")
def written(once: Once) -> Callable[..., Written]:
    """A network of the zoo, exported with normalisations as after training, or with the weights that are given."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from espdeploy.networks.build import build
    from espdeploy.networks.registry import REGISTRY
    from espdeploy.pipeline.export import ExportRequest, export_model
    from espdeploy.protocols import no_progress
    from espdeploy.recipes import device_profile
    from espdeploy.specs import ImageSize, ModelSpec

    @functools.cache
    def make(
        name: str, *, opset: int = 13, size: str = "96x64", batch: int | None = 1, weights: Path | None = None
    ) -> Written:
        takes_images = REGISTRY[name].inputs is None
        spec = ModelSpec(name=name, settings={} if takes_images else SMALL_ERU, weights=weights)
        at = ImageSize.parse(size) if takes_images else None
        stem = f"{weights.stem if weights else name}-{opset}-{size}-{batch or 'dynamic'}"

        def write(path: Path) -> None:
            request = ExportRequest(model=spec, profile=device_profile(DEVICES[opset]), size=at, batch=batch)
            exported = export_model(request, path.with_name(f"{stem}.onnx"), no_progress)
            path.write_bytes(pickle.dumps(exported))

        with as_after_training():
            told = once(f"{stem}.pickle", write)
            return Written(pickle.loads(told.read_bytes()), build(spec, size=at).module)  # noqa: S301 written above

    return make
