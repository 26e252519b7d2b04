"""Checkpoints: what a file is, and every way in which it can be unusable."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from espdeploy.artifacts import sha256_of
from espdeploy.errors import InputFileError, UsageError
from espdeploy.networks import checkpoints, registry
from espdeploy.networks.factories import make

SETTINGS = {"alpha2": 1, "alpha3": 2, "k": 4, "classes": 9}
#: our names back into the authors', written by hand from the released files
TO_RELEASED = (
    (r"^merge(\d)\.norm", r"b\1.bn"),
    (r"^merge(\d)\.act", r"b\1.act"),
    (r"^level1\.norm", "level1.bn"),
    (r"^down(\d)\.norm", r"level\1_0.bn"),
    (r"^down(\d)", r"level\1_0"),
    (r"^stage(\d)\.(\d+)\.norm", r"level\1.\2.bn.bn"),
    (r"^stage(\d)\.(\d+)\.act", r"level\1.\2.bn.act"),
    (r"^stage(\d)", r"level\1"),
    (r"reduce", "c1.conv"),
    (r"pyramid\.dilation(\d+)", r"d\1.conv"),
    (r"^classifier", "classifier.conv"),
)


def network(name: str, **settings: int) -> nn.Module:
    entry = registry.entry(name)
    return make(entry, registry.with_defaults(entry, {**SETTINGS, **settings}))


def released(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for ours, tensor in tensors.items():
        name = ours
        for pattern, replacement in TO_RELEASED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize("name", ["espnet", "espnet-a", "espnet-b", "espnet-c"])
def test_our_own_state_dicts_are_identified(name: str, tmp_path: Path) -> None:
    extra = {"decoder": 19} if name == "espnet" else {}
    module = network(name, **extra)
    path = tmp_path / "own.pth"
    torch.save(module.state_dict(), path)
    found = checkpoints.identify(checkpoints.load(path), path=path)
    assert (found.network, found.settings) == (name, registry.with_defaults(registry.entry(name), SETTINGS | extra))


def test_released_names_without_batch_counters_are_identified() -> None:
    tensors = released({k: v for k, v in network("espnet-c").state_dict().items() if "num_batches" not in k})
    found = checkpoints.identify(tensors, path=Path("x.pth"), expect="espnet-c")
    assert (found.network, found.settings) == (
        "espnet-c", {**SETTINGS, "module": "esp", "hff": True, "residual": True},
    )  # fmt: skip
    torch.testing.assert_close(found.tensors["stage3.1.pyramid.dilation4.weight"], tensors["level3.1.d4.conv.weight"])


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(registry.REGISTRY))
def test_released_files_have_the_registered_sha256_and_settings(data_dir: Path, name: str) -> None:
    for known in (known for known in registry.entry(name).checkpoints if known.read):
        path = next((data_dir / "weights").rglob(known.name))
        assert sha256_of(path) == known.sha256
        assert path.stat().st_size == known.size_bytes
        found = checkpoints.identify(checkpoints.load(path), path=path)
        assert found.network == name
        assert dict(known.settings).items() <= found.settings.items()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes_are_understood(wrapper: str | None, prefix: str, tmp_path: Path) -> None:
    content: dict[str, object] = {f"{prefix}a.weight": torch.ones(2), f"{prefix}b.weight": torch.zeros(3)}
    if wrapper:
        content = {"epoch": 7, wrapper: content}
    torch.save(content, tmp_path / "x.pth")
    assert sorted(checkpoints.load(tmp_path / "x.pth")) == ["a.weight", "b.weight"]


def test_a_contradiction_names_both_values_and_the_file() -> None:
    with pytest.raises(UsageError) as caught:
        checkpoints.check_agreement({"alpha3": 8, "k": 5}, {"k": 5, "alpha3": 3}, path=Path("run/F.pth"))
    assert "alpha3=3" in caught.value.what
    assert "alpha3=8" in caught.value.what
    assert "run/F.pth" in caught.value.what


def test_the_wrong_network_names_the_one_that_fits() -> None:
    with pytest.raises(InputFileError) as caught:
        checkpoints.identify(network("espnet").state_dict(), path=Path("full.pth"), expect="espnet-c")
    assert "espnet " in caught.value.what
    assert caught.value.do == "--model espnet --weights full.pth"


def test_a_foreign_checkpoint_names_the_nearest_network_and_what_is_in_the_way() -> None:
    tensors = network("espnet-c").state_dict()
    del tensors["merge2.norm.bias"]
    tensors["level1.norm.weight"] = torch.ones(17)
    tensors["aux.weight"] = torch.ones(1)
    with pytest.raises(InputFileError) as caught:
        checkpoints.identify(tensors, path=Path("x.pth"))
    why = caught.value.why
    assert "nearest is espnet-c" in why
    assert "1 missing (merge2.norm.bias)" in why
    assert "1 unknown there (aux.weight)" in why
    assert "level1.norm.weight 17 for 16" in why


def test_unknown_names_fall_back_on_shapes() -> None:
    tensors = {f"t{i}": tensor for i, tensor in enumerate(network("espnet-b").state_dict().values())}
    with pytest.raises(InputFileError, match="fits no network") as caught:
        checkpoints.identify(tensors, path=Path("x.pth"))
    assert "by shapes alone" in caught.value.why


class Attack:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [False, True])
def test_pickled_code_is_refused_and_does_not_run(protocol: int, zipped: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "x.pth", tmp_path / "ran"
    content = {"a.weight": torch.ones(1), "b": Attack(trace)}
    if zipped:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps({"b": Attack(trace)}, protocol=protocol))
    with pytest.raises(InputFileError, match="runs no code"):
        checkpoints.load(path)
    assert not trace.exists()


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(InputFileError) as caught:
        checkpoints.load(tmp_path / "x.pth")
    assert "torch.nn.modules.linear.Linear" in caught.value.why
    assert "state_dict()" in caught.value.do


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_named_as_damaged(legacy: bool, keep: float, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a.weight": torch.ones(1000)}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(InputFileError) as caught:
        checkpoints.load(path)
    assert str(path) in caught.value.what
    assert "damaged" in caught.value.what
    assert caught.value.why
    assert caught.value.do


@pytest.mark.parametrize(
    "content", [{}, [1, 2], torch.ones(3), {"epoch": 3}, {"a": torch.ones(1), "b": "text"}, {3: torch.ones(1)}]
)
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputFileError, match="not a state dict") as caught:
        checkpoints.load(tmp_path / "x.pth")
    assert caught.value.why


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    torch.save({"good": torch.ones(2), "bad": torch.tensor([1.0, float("nan")])}, tmp_path / "x.pth")
    with pytest.raises(InputFileError, match="not finite") as caught:
        checkpoints.load(tmp_path / "x.pth")
    assert "bad" in caught.value.why


@pytest.mark.parametrize(
    "odd",
    [
        torch.eye(3).to_sparse(),
        torch.ones(3, dtype=torch.complex64),
    ],
    ids=["sparse", "complex"],
)
def test_tensors_that_are_not_plain_numbers_are_refused(odd: Tensor, tmp_path: Path) -> None:
    torch.save({"good": torch.ones(2), "odd": odd}, tmp_path / "x.pth")
    with pytest.raises(InputFileError) as caught:
        checkpoints.load(tmp_path / "x.pth")
    assert "x.pth" in caught.value.what
    assert caught.value.do


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="there is no checkpoint"):
        checkpoints.load(tmp_path / "none.pth")
    with pytest.raises(InputFileError, match="is a folder"):
        checkpoints.load(tmp_path)
