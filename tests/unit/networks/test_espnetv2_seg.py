"""ESPNetv2 for segmentation against the authors' own outputs and the exact counts of their code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from espdeploy.errors import InputFileError, UsageError
from espdeploy.networks import checkpoints, registry
from espdeploy.networks.build import build
from espdeploy.networks.counting import count_network
from espdeploy.networks.entry import Published, SettingValue
from espdeploy.networks.espnetv2_seg import EfficientPyramidPool, GatedConvolution
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize, ModelSpec

ENTRY = registry.entry("espnetv2-seg")
FOLDER = Path("weights") / "espnetv2-seg"
SMALLEST = "espnetv2_s_0.5_pascal_256x256.pth"
REFERENCES = [
    ("espnetv2seg_city_s1.0_1024x512", 1.0, 20),
    ("espnetv2seg_city_s2.0_512x256", 2.0, 20),
    ("espnetv2seg_pascal_s0.5_256x256", 0.5, 21),
]
#: our names of the paper's network back into those of its own repository
TO_PAPERS = (
    (r"^encoder\.level1\.", "net.level1."),
    (r"^encoder\.down(\d)\.", r"net.level\1_0."),
    (r"^encoder\.stage(\d)\.", r"net.level\1."),
    (r"^decoder\.project4\.", "proj_L4_C."),
    (r"^decoder\.mix3\.", "pspMod.0."),
    (r"^decoder\.pyramid3\.stages\.(\d)\.", r"pspMod.1.stages.\1.conv."),
    (r"^decoder\.pyramid3\.", "pspMod.1."),
    (r"^decoder\.scores3\.", "project_l3.1.conv."),
    (r"^decoder\.act3\.", "act_l3."),
    (r"^decoder\.mix2\.", "project_l2."),
    (r"^decoder\.scores1\.", "project_l1.1.conv."),
    (r"\.reduce\.", ".proj_1x1."),
    (r"\.pyramid\.branches\.(\d)\.", r".spp_dw.\1.conv."),
    (r"\.merge\.", ".br_after_cat."),
    (r"\.expand\.", ".conv_1x1_exp."),
    (r"eesp\.act\.", "eesp.module_act."),
    (r"^((net\.level\d\.\d|pspMod\.0))\.act\.", r"\1.module_act."),
    (r"\.shortcut\.spatial\.", ".inp_reinf.0."),
    (r"\.shortcut\.project\.", ".inp_reinf.1."),
    (r"\.norm\.", ".bn."),
)


def network(**settings: SettingValue) -> nn.Module:
    return make(ENTRY, registry.with_defaults(ENTRY, settings)).eval()


@pytest.mark.data
@pytest.mark.parametrize(("reference", "scale", "classes"), REFERENCES)
def test_outputs_are_those_of_the_authors_code(data_dir: Path, reference: str, scale: float, classes: int) -> None:
    expected = np.load(data_dir / "reference" / f"{reference}.npz")
    width, height = map(int, expected["size"])
    stride = int(expected["stride"])
    image = np.random.default_rng(int(expected["seed"])).standard_normal((1, 3, height, width)).astype(np.float32)
    spec = ModelSpec(name="espnetv2-seg", weights=data_dir / FOLDER / str(expected["weights"]))
    built = build(spec, size=ImageSize(width=width, height=height))

    logits = built.module(torch.from_numpy(image)).numpy()

    assert built.card.settings == {"scale": scale, "head": "edgenets", "classes": classes}
    assert built.released is not None
    assert built.card.classes is not None
    assert len(built.card.classes.names) == classes
    assert logits.shape == tuple(expected["shape"])
    difference = np.abs(logits[:, :, ::stride, ::stride] - expected["logits"]).max()
    assert difference / np.abs(expected["logits"]).max() <= 1e-5
    assert (logits[0].argmax(0) == expected["argmax"]).mean() >= 0.9995


@pytest.mark.parametrize(("scale", "params", "macs"), [(0.5, 99_418, 54_011_284), (1.5, 725_166, 321_679_380)])
def test_the_papers_decoder_has_the_published_counts(scale: float, params: int, macs: int) -> None:
    settings = registry.with_defaults(ENTRY, {"head": "paper", "scale": scale})
    counts = count_network(ENTRY, settings, size=ImageSize(width=224, height=224))
    assert (counts.params, counts.macs) == (params, macs)


@pytest.mark.parametrize("row", [row for row in ENTRY.published if row.settings.get("head") == "edgenets"], ids=str)
def test_the_released_decoder_has_the_counts_of_the_authors_table(row: Published) -> None:
    assert row.params is not None
    size = ImageSize.parse(row.source.rsplit(" ", 1)[1])
    counts = count_network(ENTRY, registry.with_defaults(ENTRY, row.settings), size=size)
    assert abs(counts.params - row.params) < 5_000  # two digits of a million are printed
    assert counts.macs == pytest.approx(row.macs, rel=0.0025)


@pytest.mark.data
def test_parallel_training_prefixes_make_no_difference(data_dir: Path, tmp_path: Path) -> None:
    tensors = checkpoints.load(data_dir / FOLDER / SMALLEST)
    prefixed = tmp_path / "x.pth"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, prefixed)
    found = checkpoints.identify(checkpoints.load(prefixed), path=prefixed)
    assert found.network == "espnetv2-seg"
    assert found.settings == {"scale": 0.5, "head": "edgenets", "classes": 21}


@pytest.mark.data
@pytest.mark.parametrize("setting", ["classes=20", "scale=1.0", "head=paper"])
def test_a_setting_that_contradicts_the_checkpoint_names_both(data_dir: Path, setting: str) -> None:
    name, _, value = setting.partition("=")
    spec = ModelSpec(name="espnetv2-seg", settings={name: value}, weights=data_dir / FOLDER / SMALLEST)
    with pytest.raises(UsageError, match=f"--set {setting} contradicts {name}=") as caught:
        build(spec)
    assert SMALLEST in caught.value.what


@pytest.mark.data
def test_the_classification_network_refuses_segmentation_weights(data_dir: Path) -> None:
    with pytest.raises(InputFileError, match=r"holds weights of espnetv2-seg .*not of espnetv2"):
        build(ModelSpec(name="espnetv2", weights=data_dir / FOLDER / SMALLEST))


@pytest.mark.parametrize("head", ["paper", "edgenets"])
def test_our_own_state_dicts_are_identified(head: str) -> None:
    settings: dict[str, SettingValue] = {"scale": 1.25, "head": head, "classes": 9}
    found = checkpoints.identify(network(**settings).state_dict(), path=Path("x.pth"))
    assert (found.network, found.settings) == ("espnetv2-seg", settings)


def test_names_of_the_papers_repository_are_read() -> None:
    renamed = {}
    for ours, tensor in network(scale=0.5).state_dict().items():
        name = ours
        for pattern, replacement in TO_PAPERS:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    assert not any(name.startswith(("encoder", "decoder")) for name in renamed)
    found = checkpoints.identify(renamed, path=Path("x.pth"))
    assert (found.network, found.settings) == ("espnetv2-seg", {"scale": 0.5, "head": "paper", "classes": 20})


def test_one_class_is_too_few_for_the_released_decoder_alone() -> None:
    with pytest.raises(UsageError, match="head=edgenets and classes=1"):
        network(head="edgenets", classes=1)
    assert network(head="paper", classes=1)(torch.zeros(1, 3, 16, 16)).shape == (1, 1, 16, 16)


def test_a_size_off_the_multiple_offers_those_that_fit() -> None:
    with pytest.raises(UsageError, match="cannot take images of 250x250") as caught:
        build(ModelSpec(name="espnetv2-seg"), size=ImageSize(width=250, height=250))
    assert caught.value.do == "--size 240x240 or 256x256"


def test_the_shuffle_brings_the_maps_of_a_channel_together() -> None:
    pool = EfficientPyramidPool(4, 2, 3, scores=True).eval()
    seen: list[torch.Tensor] = []
    pool.join.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    pool.merge.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        pool(torch.randn(1, 4, 8, 8))
    joined, shuffled = seen
    torch.testing.assert_close(shuffled, nn.ChannelShuffle(5)(joined))


def test_the_gate_weighs_whole_channels() -> None:
    gate = GatedConvolution(4, 6).eval()
    image = torch.randn(2, 4, 5, 7)
    with torch.no_grad():
        ratio = gate(image) / gate.expand(image)
    assert ((ratio > 0) & (ratio < 1)).all()
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
