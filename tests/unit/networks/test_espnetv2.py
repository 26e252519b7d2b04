"""ESPNetv2 for classification: the paper's counts, its ablations, and its units against their description."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from espdeploy.errors import UsageError
from espdeploy.networks import checkpoints, registry
from espdeploy.networks.build import build
from espdeploy.networks.counting import count_network
from espdeploy.networks.entry import Published, SettingValue
from espdeploy.networks.espnetv2_blocks import EESP, DepthwisePyramid, StridedEESP, dilations
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize, ModelSpec

ENTRY = registry.entry("espnetv2")
#: scale, parameters and multiply-adds at 224x224, counted with the authors' code
EXACT = [
    (0.5, 1_241_332, 29_399_508),
    (1.0, 1_670_072, 86_744_404),
    (1.25, 1_965_440, 124_423_444),
    (1.5, 2_314_856, 169_628_884),
    (1.75, 3_032_432, 225_426_580),
    (2.0, 3_498_136, 286_086_228),
]
#: our names back into the authors', written by hand from their files' pattern
TO_RELEASED = (
    (r"^encoder\.level1\.", "level1."),
    (r"^encoder\.down(\d)\.", r"level\1_0."),
    (r"^encoder\.stage(\d)\.", r"level\1."),
    (r"^down5\.", "level5_0."),
    (r"^stage5\.", "level5."),
    (r"^depthwise\.", "level5.3."),
    (r"^widen\.", "level5.4."),
    (r"\.reduce\.", ".proj_1x1."),
    (r"\.pyramid\.branches\.(\d)\.", r".spp_dw.\1.conv."),
    (r"\.merge\.", ".br_after_cat."),
    (r"\.expand\.", ".conv_1x1_exp."),
    (r"eesp\.act\.", "eesp.module_act."),
    (r"^(level\d\.[0-2])\.act\.", r"\1.module_act."),
    (r"\.shortcut\.spatial\.", ".inp_reinf.0."),
    (r"\.shortcut\.project\.", ".inp_reinf.1."),
    (r"\.norm\.", ".bn."),
)


def network(**settings: SettingValue) -> nn.Module:
    return make(ENTRY, registry.with_defaults(ENTRY, settings)).eval()


def counted(**settings: SettingValue) -> tuple[int, int | None]:
    counts = count_network(ENTRY, registry.with_defaults(ENTRY, settings), size=ImageSize(width=224, height=224))
    return counts.params, counts.macs


@pytest.mark.parametrize(("scale", "params", "macs"), EXACT)
def test_counts_are_those_of_the_authors_code(scale: float, params: int, macs: int) -> None:
    assert counted(scale=scale) == (params, macs)


@pytest.mark.parametrize("row", ENTRY.published, ids=str)
def test_printed_figures_are_ours_without_the_fully_connected_layer(row: Published) -> None:
    settings = registry.with_defaults(ENTRY, row.settings)
    params, macs = counted(**settings)
    assert row.params is not None
    assert row.macs is not None
    assert macs is not None
    assert params == pytest.approx(row.params, rel=0.01)
    fully_connected = 1000 * (1280 if float(settings["scale"]) > 1.5 else 1024)
    assert abs(macs - fully_connected - row.macs) < 1e6  # they are printed in whole millions, some of them cut


def test_fusion_costs_nothing_and_changes_the_result() -> None:
    assert counted(hff=False) == counted()
    fused, plain = network(scale=0.5), network(scale=0.5, hff=False)
    plain.load_state_dict(fused.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(fused(image), plain(image))


@pytest.mark.parametrize(
    ("pixels", "expected"), [(56, (1, 2, 3, 4)), (28, (1, 2, 3, 4)), (14, (1, 1, 2, 3)), (7, (1, 1, 1, 2))]
)
def test_dilations_keep_the_papers_limit(pixels: int, expected: tuple[int, ...]) -> None:
    limit = 5 + pixels // 7  # section 3.3
    assert dilations(limit) == expected
    assert all(2 * rate + 1 <= limit for rate in expected)


def test_each_level_has_the_dilations_of_its_size() -> None:
    module = network(scale=0.5)
    at = {"encoder.stage3": (1, 2, 3, 4), "encoder.stage4": (1, 1, 2, 3), "stage5": (1, 1, 1, 2)}
    for name, expected in at.items():
        units = [unit for unit in module.get_submodule(name).children() if isinstance(unit, EESP)]
        assert {tuple(branch.dilation[0] for branch in unit.pyramid.branches) for unit in units} == {expected}


def test_fusion_adds_each_branch_to_the_sum_of_those_before_it() -> None:
    pyramid = DepthwisePyramid(3, reach=9, stride=1, hff=True)
    image = torch.randn(1, 3, 12, 10)
    d1, d2, d3, d4 = (branch(image) for branch in pyramid.branches)
    torch.testing.assert_close(pyramid(image), torch.cat([d1, d1 + d2, d1 + d2 + d3, d1 + d2 + d3 + d4], 1))


def test_the_unit_costs_seven_times_less_than_esp() -> None:
    # section 3.2: M = 240, g = K = 4, d = 60; what is compared there are reduction and pyramid
    unit = EESP(240, 240, reach=9)
    ours = unit.reduce.conv.weight.numel() + sum(branch.weight.numel() for branch in unit.pyramid.branches)
    ours += unit.expand.conv.weight.numel()
    esp = 240 * 60 + 9 * 60 * 60 * 4
    assert round(esp / ours) == 7


def test_the_strided_unit_pools_what_it_does_not_make() -> None:
    unit = StridedEESP(8, 24, reach=9, hff=True, grouped=True, shortcut=False).eval()
    positive = torch.rand(1, 8, 9, 6)
    with torch.no_grad():
        output = unit(positive, None)
    assert output.shape == (1, 24, 5, 3)
    torch.testing.assert_close(output[0, :, 1, 1][:8], positive[0, :, 1:4, 1:4].mean((1, 2)))


def test_only_the_parts_that_the_authors_hold_unused_get_no_gradient() -> None:
    module = network(scale=0.5)
    module(torch.randn(2, 3, 64, 64)).sum().backward()
    idle = {name for name, parameter in module.named_parameters() if parameter.grad is None}
    strided = {f"{unit}.eesp.act.weight" for unit in ("encoder.down2", "encoder.down3", "encoder.down4", "down5")}
    shortcut = {f"down5.shortcut.{name}" for name, _ in module.down5.shortcut.named_parameters()}
    assert idle == strided | shortcut


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "settings",
    [
        {"scale": 1.75, "classes": 80},
        {"scale": 0.5, "reduction": "pointwise"},
        {"scale": 1.0, "shortcut": False, "classes": 7},
    ],
    ids=str,
)
def test_checkpoints_tell_their_settings(settings: dict[str, SettingValue], prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    released: dict[str, Tensor] = {}
    for name, tensor in network(**settings).state_dict().items():
        theirs = name
        for pattern, replacement in TO_RELEASED:
            theirs = re.sub(pattern, replacement, theirs)
        released[prefix + theirs] = tensor
    torch.save(released, path)
    found = checkpoints.identify(checkpoints.load(path), path=path)
    assert (found.network, found.settings) == ("espnetv2", registry.with_defaults(ENTRY, settings))


def test_an_unknown_scale_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSpec(name="espnetv2", settings={"scale": "0.75"}))
    assert caught.value.why == "scale takes 0.5 or 1.0 or 1.25 or 1.5 or 1.75 or 2.0"


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(UsageError, match="reduction=plain") as caught:
        build(ModelSpec(name="espnetv2", settings={"reduction": "plain"}))
    assert "group or pointwise" in caught.value.why


def test_what_weights_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    torch.save(network(scale=0.5, hff=False).state_dict(), tmp_path / "x.pth")
    spec = ModelSpec(name="espnetv2", settings={"hff": "false"}, weights=tmp_path / "x.pth")
    built = build(spec, size=ImageSize(width=32, height=32))
    assert (built.card.settings["hff"], built.card.settings["scale"]) == (False, 0.5)
    assert not any(unit.hff for unit in built.module.modules() if isinstance(unit, DepthwisePyramid))
