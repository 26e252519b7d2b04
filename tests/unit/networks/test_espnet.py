"""ESPNet against the authors' own outputs and the exact parameter counts of their code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.blocks import ESP, DilatedPyramid, HalfImage, StridedESP
from espdeploy.networks.build import build
from espdeploy.networks.counting import count_layers, count_network, count_params
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize, ModelSpec

#: reference file, network, checkpoint (the reference of espnet-c names the full network's file, but was made with
#: the encoder's own: the full network's encoder gives other values)
REFERENCES = [
    ("espnet_city_p2q8", "espnet", "espnet_p_2_q_8.pth"),
    ("espnet_city_p2q3", "espnet", "espnet_p_2_q_3.pth"),
    ("espnet_camvid_p2q8", "espnet", "espnet_p_2_q_8_camvid.pth"),
    ("espnetc_city_p2q8", "espnet-c", "espnetc_p_2_q_8.pth"),
]


@pytest.mark.data
@pytest.mark.parametrize(("reference", "network", "checkpoint"), REFERENCES)
def test_outputs_are_those_of_the_authors_code(data_dir: Path, reference: str, network: str, checkpoint: str) -> None:
    expected = np.load(data_dir / "reference" / f"{reference}.npz")
    width, height = map(int, expected["size"])
    stride = int(expected["stride"])
    image = np.random.default_rng(int(expected["seed"])).standard_normal((1, 3, height, width)).astype(np.float32)
    spec = ModelSpec(name=network, weights=data_dir / "weights" / "espnet" / checkpoint)
    built = build(spec, size=ImageSize(width=width, height=height))

    logits = built.module(torch.from_numpy(image)).numpy()

    assert logits.shape == tuple(expected["shape"])
    difference = np.abs(logits[:, :, ::stride, ::stride] - expected["logits"]).max()
    assert difference / np.abs(expected["logits"]).max() <= 1e-5
    assert (logits[0].argmax(0) == expected["argmax"]).mean() >= 0.9995


@pytest.mark.parametrize(
    ("name", "settings", "params"),
    [
        ("espnet-a", {"alpha3": 3}, 168_352),
        ("espnet-b", {"alpha3": 3}, 186_512),
        ("espnet-c", {"alpha3": 3}, 187_529),
        ("espnet-c", {"alpha3": 5}, 252_297),
        ("espnet-c", {"alpha3": 8}, 349_449),
        ("espnet", {"alpha3": 3}, 202_649),
        ("espnet", {"alpha3": 5}, 267_417),
        ("espnet", {"alpha3": 8}, 364_569),
        ("espnet", {"alpha3": 8, "decoder": 19}, 365_109),
    ],
)
def test_parameters_are_those_of_the_authors_code(name: str, settings: dict[str, int], params: int) -> None:
    network = registry.entry(name)
    assert count_params(make(network, registry.with_defaults(network, settings))) == params


def test_the_printed_multiply_adds_leave_transposed_convolutions_out() -> None:
    network = registry.entry("espnet")
    counts = count_network(network, network.defaults, size=ImageSize(width=224, height=224))
    plain = sum(layer.macs or 0 for layer in counts.layers if layer.kind == "Conv2d")
    assert round(plain / 1e6) == 424  # ESPNetv2 paper, Figure 7c
    assert counts.macs is not None
    assert counts.macs - plain == 20 * 20 * 4 * (28**2 + 56**2 + 112**2)


@pytest.mark.parametrize("name", sorted(registry.REGISTRY))
def test_committed_counts_are_what_a_fresh_count_gives(name: str) -> None:
    network = registry.entry(name)
    counts = count_network(network, network.defaults, size=network.default_size)
    assert (counts.params, counts.macs) == (network.params, network.macs)


def test_fusion_adds_each_branch_to_those_before_it_but_the_first() -> None:
    pyramid = DilatedPyramid(2, 8, branches=4)
    image = torch.randn(1, 2, 20, 20)
    d1, d2, d4, d8 = (branch(image) for branch in pyramid.children())
    expected = torch.cat([d1, d2, d2 + d4, d2 + d4 + d8], 1)
    torch.testing.assert_close(pyramid(image), expected)


def test_the_first_branch_takes_what_the_division_leaves() -> None:
    widths = [branch.out_channels for branch in DilatedPyramid(12, 64, branches=5).children()]
    assert widths == [16, 12, 12, 12, 12]


def test_the_pyramid_reaches_as_far_as_the_paper_says() -> None:
    # section 3.1: (n - 1) * 2 ** (K - 1) + 1 pixels a side
    pyramid = DilatedPyramid(1, 5, branches=5)
    image = torch.zeros(1, 1, 65, 65, requires_grad=True)
    pyramid(image)[0, :, 32, 32].sum().backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 33


def test_residual_only_where_shapes_agree() -> None:
    same, other = ESP(20, 20, k=5), ESP(40, 20, k=5)
    with torch.no_grad():
        for block in (same, other):
            for weight in (block.reduce.weight, *(branch.weight for branch in block.pyramid.children())):
                weight.zero_()
    positive = torch.rand(1, 40, 6, 6)
    # untrained normalisation is division by sqrt(1 + eps), and PReLU leaves positive values alone
    torch.testing.assert_close(same.eval()(positive[:, :20]), positive[:, :20] / (1 + 1e-3) ** 0.5)
    assert not other.eval()(positive).any()


def test_strided_module_and_half_image_agree_on_odd_sizes() -> None:
    image = torch.randn(1, 3, 45, 31)
    assert StridedESP(3, 10, k=5).eval()(image).shape[2:] == HalfImage()(image).shape[2:] == (23, 16)


def test_half_image_is_the_mean_of_nine_pixels() -> None:
    image = torch.arange(49.0).reshape(1, 1, 7, 7)
    assert HalfImage()(image)[0, 0, 1, 1] == image[0, 0, 1:4, 1:4].mean()


def test_too_few_classes_for_the_decoder_names_both_values() -> None:
    network = registry.entry("espnet")
    with pytest.raises(UsageError, match="classes=3 and k=5"):
        make(network, registry.with_defaults(network, {"classes": 3}))


def test_layers_are_named_as_in_the_module() -> None:
    network = registry.entry("espnet-c")
    module = make(network, network.defaults).eval()
    layers = {layer.name: layer for layer in count_layers(module, (1, 3, 64, 64))}
    assert layers["level1.conv"].macs == 16 * 3 * 9 * 32 * 32
    assert set(layers) <= {name for name, _ in module.named_modules()}
