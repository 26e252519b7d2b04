from __future__ import annotations

import onnx
import pytest
import torch
from onnx import parser
from torch import nn

from espdeploy import export
from espdeploy.passes import apply, name_nodes, pipeline_for


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.PReLU(3))
        self.spread = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=d, dilation=d, bias=False) for d in (1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x + self.spread[0](x) + self.spread[1](x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Sequential(Block(), Block())
        self.norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 2, 2, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.norm(torch.cat([x, self.level(x)], 1)))


EXPECTED = [
    "level.0.conv.0/Conv",
    "level.0.conv.2/PRelu",
    "level.0.spread.0/Conv",
    "level.0/Add",
    "level.0.spread.1/Conv",
    "level.0/Add_2",
    "level.1.conv.0/Conv",
    "level.1.conv.2/PRelu",
    "level.1.spread.0/Conv",
    "level.1/Add",
    "level.1.spread.1/Conv",
    "level.1/Add_2",
    "Concat",
    "norm/BatchNormalization",
    "up/ConvTranspose",
]


@pytest.mark.parametrize("opset", [13, 20])
def test_both_exporters_give_the_modules_names(opset: int) -> None:
    torch.manual_seed(0)
    network = Net()
    for name, tensor in network.state_dict().items():
        if tensor.dim() == 1:  # apart from each other: exporters store equal tensors once, under one name
            tensor.copy_(torch.rand(tensor.shape) + 0.5 + len(name))
    model = export.trace(network, input_shape=(1, 3, 8, 8), opset=opset, dynamic_batch=False)
    named = apply(model, pipeline_for(simplify=True)).model
    assert sorted(node.name for node in named.graph.node) == sorted(EXPECTED)
    tensors = {tensor.name for tensor in named.graph.initializer}
    state = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert tensors == {name for name in state if not name.startswith(("level.0.conv.1", "level.1.conv.1"))}
    assert [value.name for value in named.graph.input] + [value.name for value in named.graph.output] == [
        "input",
        "output",
    ]


def parse(body: str) -> onnx.ModelProto:
    return parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[n] input) => (float[n] output) <float[1] val_3 = {{2.0}}, bool yes = {{1}}> {{ {body} }}"""
    )


def test_unnamed_nodes_get_unique_names_and_so_do_their_tensors() -> None:
    named = name_nodes.run(parse("a = Relu(input) b = Relu(a) output = Mul(b, val_3)")).model
    assert [node.name for node in named.graph.node] == ["Relu", "Relu_2", "Mul"]
    assert [list(node.output) for node in named.graph.node] == [["Relu_output_0"], ["Relu_2_output_0"], ["output"]]
    assert list(named.graph.node[2].input) == ["Relu_2_output_0", "Mul_input_1"]
    onnx.checker.check_model(named)


def test_names_that_say_something_stay() -> None:
    model = parse("a = Relu(input) output = Relu(a)")
    model.graph.node[0].name = "backbone/stage1/activation"
    model.graph.node[1].name = "head"
    named = name_nodes.run(model).model
    assert [node.name for node in named.graph.node] == ["backbone/stage1/activation", "head"]


def test_branches_follow_the_new_names() -> None:
    body = """a = Relu(input)
    output = If (yes) <
      then_branch = t () => (float[n] x) { x = Mul(a, val_3) },
      else_branch = e () => (float[n] y) { y = Neg(a) }
    >"""
    named = name_nodes.run(parse(body)).model
    onnx.checker.check_model(named)
    assert named.graph.node[0].output[0] == "Relu_output_0"
    assert not name_nodes.run(named).modified
