"""The ERU language model: its unit against ESPNetv2's, its cell against PyTorch's LSTM, its export step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from espdeploy import export, parity
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import ModuleSource
from espdeploy.errors import UsageError
from espdeploy.networks import checkpoints, registry
from espdeploy.networks.build import BuiltNetwork, build
from espdeploy.networks.counting import count_network
from espdeploy.networks.eru import ERU, POSITIONS, InputTransform
from espdeploy.networks.espnetv2_blocks import EESP
from espdeploy.networks.factories import make
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec, RunSpec

NETWORK = registry.entry("eru")
SMALL = {"hidden": "40", "layers": "2", "classes": "60"}
STEPS = 6


def with_statistics(network: nn.Module) -> nn.Module:
    """Normalisations as after training: fresh ones would hide a swapped or forgotten tensor."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                low, high = (-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.3, 1.5)
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network.eval().requires_grad_(False)


def small(steps: int) -> BuiltNetwork:
    built = build(ModelSpec(name="eru", settings={**SMALL, "seq_len": str(steps)}))
    with_statistics(built.module)
    return built


def text(steps: int, *, batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, and a state as in the middle of a text."""
    feed = parity.real_looking_texts(small(steps).inputs, words=60, count=2, seed=3, batch=batch)[1]
    tokens, h, c = (torch.from_numpy(array) for array in feed.values())
    return tokens, h, c


Run = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]


def exported(steps: int, *, opset: int, batch: int | None = 1) -> Run:
    """The simplified graph for so many tokens, in ONNX Runtime."""
    built = small(steps)
    model = export.trace_named(built.module, inputs=built.inputs, outputs=built.outputs, batch=batch, opset=opset)
    model = apply(model, pipeline_for(simplify=True)).model
    assert "LSTM" not in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        feed = {item.name: tensor.numpy() for item, tensor in zip(built.inputs, given, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(["logits", "h_next", "c_next"], feed))

    return run


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("hidden", "params", "printed"), [(480, 7_100_160, 7_000_000), (920, 14_992_440, 15_000_000)])
def test_two_configurations_have_the_printed_sizes(hidden: int, params: int, printed: int) -> None:
    settings = registry.with_defaults(NETWORK, {"hidden": hidden})
    counts = count_network(NETWORK, settings, size=registry.size_for(NETWORK, settings))
    assert counts.params == params == by_hand(hidden)
    assert counts.params == pytest.approx(printed, rel=0.02)
    assert any(row.settings == {"hidden": hidden} and row.params == printed for row in NETWORK.published)


def by_hand(hidden: int) -> int:
    """From the description: tied table, biases, recurrence, EESP units of 5 positions in 4 groups, projection."""
    total = 10_000 * 400 + 10_000 + hidden * 400 + 400
    for features in (400, hidden, hidden):
        inner, wide = features // 5, 4 * hidden // 5
        narrow = wide // 4
        unit = inner * narrow // 4 + 3 * narrow + 4 * 3 * narrow + 3 * wide + wide * wide // 4 + 2 * wide
        total += unit + 4 * hidden * hidden + 4 * hidden
    return total


def test_multiply_adds_follow_the_length_of_the_text() -> None:
    def macs(steps: int) -> int:
        return registry.summary(NETWORK, {"seq_len": steps}).macs

    assert macs(70) == 2 * NETWORK.macs
    assert macs(1) == NETWORK.macs // 35
    assert str(registry.summary(NETWORK, {"seq_len": 70}).input_size) == "70x1"


def test_the_input_transform_is_the_eesp_unit_with_1d_convolutions() -> None:
    mine = with_statistics(InputTransform(400, 40))
    theirs = EESP(80, 32, reach=5).eval()
    tensors = mine.state_dict()
    with torch.no_grad():
        for own, other in (
            ("reduce.weight", "reduce.conv.weight"),
            ("reduced.norm", "reduce.norm"),
            ("reduced.act.weight", "reduce.act.weight"),
            ("merge.norm", "merge.norm"),
            ("merge.act.weight", "merge.act.weight"),
            ("expand.weight", "expand.conv.weight"),
            ("norm", "expand.norm"),
        ):
            if own.endswith("weight"):
                theirs.get_parameter(other).copy_(tensors[own].reshape(theirs.get_parameter(other).shape))
            else:
                theirs.get_submodule(other).load_state_dict(mine.get_submodule(own).state_dict())
        for index, branch in enumerate(theirs.pyramid.branches):
            assert branch.dilation[1] == mine.branches[index].dilation[0]
            branch.weight.zero_()
            branch.weight[:, :, 1] = mine.branches[index].weight  # along the row alone
        theirs.act.weight.fill_(1)  # the gates are the last activation
    x = torch.randn(3, 400)
    by_group = theirs(x.reshape(3, 80, 1, POSITIONS)).detach().reshape(3, 4, 4, 10)
    expected = torch.stack([by_group[:, :, gate] for gate in range(4)], 1).reshape(3, 160)
    assert_equal(mine(x), expected)


def test_every_gate_sees_every_branch() -> None:
    transform = with_statistics(InputTransform(400, 40)).requires_grad_(True)
    for gate in range(4):
        transform.zero_grad()
        transform(torch.randn(2, 400))[:, 40 * gate : 40 * (gate + 1)].abs().sum().backward()
        assert all(branch.weight.grad.abs().sum() > 0 for branch in transform.branches)


def test_the_cell_is_an_lstm_after_the_transform() -> None:
    layer = with_statistics(ERU(400, 40))
    cell = nn.LSTMCell(160, 40)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.eye(160))
        cell.bias_ih.zero_()
        cell.weight_hh.copy_(layer.recur.weight)
        cell.bias_hh.copy_(layer.recur.bias)
    x, h, c = torch.randn(2, STEPS, 400), torch.randn(2, 40), torch.randn(2, 40)
    outputs, last_h, last_c = layer(x, h, c)
    with torch.no_grad():
        for step in range(STEPS):
            h, c = cell(layer.transform(x[:, step]), (h, c))
            assert_equal(outputs[:, step], h)
    assert_equal(last_h, h)
    assert_equal(last_c, c)


def test_one_run_over_a_text_is_its_steps_one_by_one() -> None:
    built = small(STEPS)
    tokens, h, c = text(STEPS, batch=2)
    logits, last_h, last_c = built.module(tokens, h, c)
    assert logits.shape == (2, STEPS, 60)
    for step in range(STEPS):
        one, h, c = built.module(tokens[:, step : step + 1], h, c)
        assert_equal(one[:, 0], logits[:, step])
    assert_equal(h, last_h)
    assert_equal(c, last_c)


@pytest.mark.parametrize("opset", [13, 20])
def test_the_exported_step_carried_on_is_pytorchs_run(opset: int) -> None:
    tokens, h, c = text(STEPS)
    expected, last_h, last_c = small(STEPS).module(tokens, h, c)
    step = exported(1, opset=opset)
    for index in range(STEPS):
        logits, h, c = step(tokens[:, index : index + 1], h, c)
        assert_equal(logits[:, 0], expected[:, index])
    assert_equal(h, last_h)
    assert_equal(c, last_c)


@pytest.mark.parametrize("opset", [13, 20])
def test_the_unrolled_graph_is_pytorchs_run_for_any_batch(opset: int) -> None:
    run = exported(STEPS, opset=opset, batch=None)
    for batch in (1, 3):
        given = text(STEPS, batch=batch)
        for actual, expected in zip(run(*given), small(STEPS).module(*given), strict=True):
            assert_equal(actual, expected)


@pytest.mark.parametrize("opset", [13, 20])
def test_the_shared_weights_stand_in_the_file_once(opset: int) -> None:
    built = small(2)
    model = export.trace_named(built.module, inputs=built.inputs, outputs=built.outputs, batch=1, opset=opset)
    simplified = apply(model, pipeline_for(simplify=True)).model
    tables = [t for t in simplified.graph.initializer if sorted(t.dims) == [60, 400]]
    assert len(tables) == 1
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tables[0]), built.module.embedding.weight.numpy())


def test_texts_of_a_batch_do_not_touch_each_other() -> None:
    built = small(STEPS)
    tokens, h, c = text(STEPS, batch=2)
    both = built.module(tokens, h, c)[0]
    assert_equal(both[1:], built.module(tokens[1:], h[:, 1:], c[:, 1:])[0])


def test_no_word_sees_those_after_it() -> None:
    built = small(STEPS)
    tokens, h, c = text(STEPS)
    changed = tokens.clone()
    changed[0, 3] = (tokens[0, 3] + 1) % 60
    before, after = (built.module(given, h, c)[0] for given in (tokens, changed))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_the_torch_runtime_takes_the_named_inputs() -> None:
    built = small(STEPS)
    given = text(STEPS)
    source = ModuleSource(module=built.module, inputs=built.inputs, card=built.card)
    with open_runner(source, RunSpec(runtime="torch", threads=1)) as runner:
        assert [item.name for item in runner.inputs] == ["tokens", "h", "c"]
        assert [item.shape for item in runner.outputs] == [(1, STEPS, 60), (2, 1, 40), (2, 1, 40)]
        feed = {item.name: tensor.numpy() for item, tensor in zip(built.inputs, given, strict=True)}
        logits, *_ = runner.infer(feed).values()
    assert_equal(torch.from_numpy(logits), built.module(*given)[0])


def test_a_state_dict_is_identified_and_the_length_stays_free(tmp_path: Path) -> None:
    path = tmp_path / "eru.pth"
    settings = registry.with_defaults(NETWORK, {"hidden": 40, "layers": 2, "classes": 60})
    torch.save(make(NETWORK, settings).state_dict(), path)
    assert checkpoints.identify(checkpoints.load(path), path=path).settings == settings
    built = build(ModelSpec(name="eru", settings={"seq_len": "3"}, weights=path))
    assert (built.card.settings["seq_len"], str(built.size)) == (3, "3x1")
    assert built.module.output.weight is built.module.embedding.weight
    with pytest.raises(UsageError, match="hidden=80 contradicts hidden=40"):
        build(ModelSpec(name="eru", settings={"hidden": "80"}, weights=path))


def test_a_width_that_cannot_be_divided_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSpec(name="eru", settings={"hidden": "470"}))
    assert "hidden=470" in caught.value.what
    assert caught.value.do == "--set hidden=480"


def test_an_image_size_is_refused_with_the_setting_that_is_meant() -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSpec(name="eru"), size=ImageSize(width=64, height=64))
    assert "seq_len=35" in caught.value.why
    assert "--set seq_len=64" in caught.value.do


def test_names_that_do_not_fit_the_outputs_are_refused() -> None:
    built = small(2)
    with pytest.raises(UsageError, match="returns 3 tensors"):
        export.trace_named(built.module, inputs=built.inputs, outputs=("logits",), batch=1, opset=13)


def test_a_network_that_does_not_run_on_its_inputs_names_them() -> None:
    built = small(2)
    swapped = (built.inputs[1], built.inputs[0], built.inputs[2])
    with pytest.raises(UsageError, match="h 2x1x40, tokens 1x2, c 2x1x40"):
        export.trace_named(built.module, inputs=swapped, batch=1, opset=13)
