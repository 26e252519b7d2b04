"""The module study of the ESPNet paper: formulas against the built modules, and what the modules see and compute."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

from espdeploy import export, parity
from espdeploy.errors import UsageError
from espdeploy.networks import checkpoints, registry
from espdeploy.networks.build import build
from espdeploy.networks.counting import count_params
from espdeploy.networks.factories import make
from espdeploy.networks.module_formulas import (
    MODULES,
    ModuleShape,
    effective_receptive_field,
    memory_floats,
    params,
)
from espdeploy.networks.modules import module
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec

SIDE = 40


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def square(channels: int, k: int) -> ModuleShape:
    return ModuleShape(in_channels=channels, out_channels=channels, width=SIDE, height=SIDE, k=k)


def with_statistics(network: nn.Module) -> nn.Module:
    """Normalisations as after training: fresh ones would hide a swapped or forgotten tensor."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                low, high = (-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.3, 1.5)
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network.eval()


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize(("channels", "k"), [(64, 5), (128, 5), (128, 4), (64, 2), (64, 8)])
def test_the_formulas_count_what_is_built(kind: str, channels: int, k: int) -> None:
    built, shape = module(kind, channels, k=k).eval(), square(channels, k)
    assert sum(layer.weight.numel() for layer in convolutions(built)) == params(kind, shape)
    assert all(layer.bias is None for layer in convolutions(built))

    written = []
    for layer in convolutions(built):
        layer.register_forward_hook(lambda _layer, _given, output: written.append(output.numel()))
    with torch.no_grad():
        assert built(torch.zeros(1, channels, SIDE, SIDE)).shape == (1, channels, SIDE, SIDE)
    assert sum(written) == memory_floats(kind, shape)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("k", [2, 4, 5])
def test_an_output_pixel_sees_as_far_as_the_formula_says(kind: str, k: int) -> None:
    built = with_statistics(module(kind, 16, k=k)).double()
    image = torch.randn(1, 16, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    built(image)[0, :, SIDE // 2, SIDE // 2].abs().sum().backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(0)
    extents = {int(index.max() - index.min()) + 1 for index in seen.nonzero().unbind(1)}
    assert extents == {effective_receptive_field(kind, square(16, k))}


def test_the_papers_example_of_an_esp_module() -> None:
    # section 3.1: n = 3, N = M = 128, K = 4: about 3.6 times fewer parameters than n^2 N M, and 17x17 for 3x3
    shape = square(128, 4)
    assert 9 * 128 * 128 / params("esp", shape) == pytest.approx(3.6, abs=0.05)
    assert params("esp", shape) == 128 * 128 // 4 + (3 * 128) ** 2 // 4
    assert effective_receptive_field("esp", shape) == 17


@pytest.mark.parametrize(("k", "side"), [(2, 5), (4, 17), (5, 33), (6, 65), (7, 129), (8, 257)])
def test_receptive_fields_of_table_2e(k: int, side: int) -> None:
    assert effective_receptive_field("esp", square(128, k)) == side


def test_the_comparisons_of_section_3_2_hold() -> None:
    # "learns less parameters, has high memory requirement, and low receptive field than the ESP module", and so on
    shape = ModuleShape(in_channels=100, out_channels=100, width=56, height=56, k=5, groups=2)
    weights = {kind: params(kind, shape) for kind in MODULES}
    memory = {kind: memory_floats(kind, shape) for kind in MODULES}
    assert weights["shufflenet"] < weights["mobilenet"] < weights["esp"] < weights["inception"] < weights["resnext"]
    assert max(weights, key=lambda kind: weights[kind]) == "asp"
    assert min(memory, key=lambda kind: memory[kind]) == "esp"
    assert weights["esp"] == 100 * 100 // 5 + 300**2 // 5


def test_the_study_of_figure_5() -> None:
    network = registry.entry("espnet-c")

    def counted(**settings: str | int) -> int:
        return registry.summary(network, {"alpha3": 3, **settings}).params

    esp = counted()
    assert esp == 187_529
    # section 4.2: ResNet "had to learn 6.5 x more parameters"; MobileNet and ShuffleNet (K = 4) "a similar number"
    assert counted(module="resnet") / esp == pytest.approx(6.5, rel=0.02)
    assert counted(module="shufflenet", k=4) / esp == pytest.approx(1, abs=0.05)
    assert counted(module="mobilenet") / esp == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("kind", MODULES)
def test_the_summary_holds_formula_and_count(kind: str) -> None:
    settings = registry.parse_settings(registry.entry("espnet-c"), {"module": kind, "alpha3": "3"})
    level2, level3 = registry.summary(registry.entry("espnet-c"), settings).modules
    assert (level2.name, level2.repeats, str(level2.map_size)) == (kind, 2, "256x128")
    assert (level3.name, level3.repeats, str(level3.map_size)) == (kind, 3, "128x64")
    assert level2.counted_params == level2.params
    assert level3.counted_params == level3.params


def test_the_committed_counts_are_those_of_the_built_modules() -> None:
    network = registry.entry("espnet-c")
    committed = registry.summary(network).modules
    built = make(network, network.defaults)
    for figures in committed:
        stage = built.get_submodule(figures.path)
        assert sum(layer.weight.numel() for layer in convolutions(stage)) == figures.counted_params == figures.params


def test_without_fusion_the_branches_stand_side_by_side() -> None:
    block = module("esp", 20, k=4, hff=False).eval()
    x = torch.randn(1, 20, 24, 24)
    branches = [branch(block.reduce(x)) for branch in block.pyramid.children()]
    expected = block.act(block.norm(torch.cat(branches, 1) + x))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("kind", ["esp", "shufflenet", "resnext", "resnet"])
def test_residual_off_takes_the_input_out_of_the_sum(kind: str) -> None:
    with_sum, without = module(kind, 16, k=4).eval(), module(kind, 16, k=4, residual=False).eval()
    for block in (with_sum, without):
        for layer in convolutions(block):
            nn.init.zeros_(layer.weight)
    x = torch.rand(1, 16, 8, 8)
    torch.testing.assert_close(with_sum(x), x / (1 + 1e-3) ** 0.5)  # untrained normalisation, positive values
    assert not without(x).any()


def test_switches_change_no_parameter_and_every_output() -> None:
    network = registry.entry("espnet-c")
    image = torch.randn(1, 3, 64, 64)
    outputs = []
    for settings in ({}, {"hff": False}, {"residual": False}):
        torch.manual_seed(0)
        built = make(network, registry.with_defaults(network, {"alpha3": 1, **settings})).eval()
        assert count_params(built) == 122_761
        outputs.append(built(image))
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"module": "resnet", "hff": "false"}, "hff=false"), ({"module": "asp", "residual": "false"}, "residual=false")],
)
def test_a_switch_that_the_module_does_not_have_is_refused(settings: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSpec(name="espnet-c", settings=settings))
    assert named in caught.value.what
    assert settings["module"] in caught.value.what


def test_an_unknown_module_names_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        registry.parse_settings(registry.entry("espnet-c"), {"module": "resnest"})
    assert all(kind in caught.value.why for kind in MODULES)


@pytest.mark.parametrize("kind", MODULES)
def test_a_state_dict_tells_its_module(kind: str) -> None:
    network = registry.entry("espnet-c")
    settings = registry.with_defaults(network, {"alpha3": 1, "module": kind, "classes": 7})
    found = checkpoints.identify(make(network, settings).state_dict(), path=Path("x.pth"), expect="espnet-c")
    assert found.settings == settings


@pytest.mark.data
def test_a_switch_that_no_checkpoint_tells_may_be_set_beside_it(data_dir: Path) -> None:
    weights = data_dir / "weights" / "espnet" / "espnetc_p_2_q_8.pth"
    size = ImageSize(width=64, height=64)
    built = build(ModelSpec(name="espnet-c", settings={"hff": "false"}, weights=weights), size=size)
    assert built.card.settings["hff"] is False
    image = torch.randn(1, 3, 64, 64)
    plain = build(ModelSpec(name="espnet-c", weights=weights), size=size)
    assert not torch.allclose(built.module(image), plain.module(image))
    with pytest.raises(UsageError, match="module=resnet contradicts module=esp"):
        build(ModelSpec(name="espnet-c", settings={"module": "resnet"}, weights=weights), size=size)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("kind", MODULES)
def test_exported_modules_compute_the_same(kind: str, opset: int) -> None:
    network = registry.entry("espnet-c")
    settings = registry.with_defaults(network, {"alpha2": 1, "alpha3": 1, "module": kind, "k": 4})
    built = with_statistics(make(network, settings)).requires_grad_(False)
    shape = (1, 3, 32, 64)
    model = export.trace(built, input_shape=shape, opset=opset, dynamic_batch=False)
    model = apply(model, pipeline_for(simplify=True)).model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = parity.real_looking_inputs(shape, 1, 0, network.preprocessing)
    found = parity.compare(
        lambda image: built(torch.from_numpy(image)).numpy(),
        lambda image: session.run(None, {"input": image})[0],
        inputs,
    )
    assert found.max_rel_err <= 1e-4
