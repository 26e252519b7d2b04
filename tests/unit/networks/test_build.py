"""Building: zoo and user factories, weights, the card, seeds, and what the user's code may do wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from espdeploy.artifacts import ModelCard
from espdeploy.errors import InputFileError, UsageError
from espdeploy.networks.build import build
from espdeploy.networks.factories import literal
from espdeploy.specs import ImageSize, ModelSpec

SMALL = ImageSize(width=64, height=32)

USER_CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, bias=True, mode="plain"):
        super().__init__()
        self.settings = (width, bias, mode)
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=bias)

    def forward(self, x):
        return self.conv(x)

def not_a_module():
    return 3

def fails():
    raise ValueError("first line\\nsecond line")

def leaves():
    raise SystemExit(4)

def square_only():
    class Square(Net):
        def forward(self, x):
            assert x.shape[2] == x.shape[3], "want a square"
            return x
    return Square()
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"usernet_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USER_CODE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_network_is_ready_for_inference() -> None:
    built = build(ModelSpec(name="espnet-c", settings={"alpha3": "3"}), size=SMALL)
    assert not built.module.training
    assert not any(parameter.requires_grad for parameter in built.module.parameters())
    assert built.module(torch.zeros(1, 3, 32, 64)).shape == (1, 20, 4, 8)
    card = built.card
    assert (card.name, card.task, card.params) == ("espnet-c", "segmentation", 187_529)
    study = {"module": "esp", "hff": True, "residual": True}
    assert card.settings == {"alpha2": 2, "alpha3": 3, "k": 5, "classes": 20, **study}
    assert card.weights == "random initialisation, seed 0"
    assert card.classes is not None
    assert card.classes.name == "cityscapes"
    assert ModelCard.from_metadata(card.to_metadata()) == card


def test_seeds_repeat_and_leave_the_callers_generator_alone() -> None:
    torch.manual_seed(77)
    expected = torch.rand(3)
    torch.manual_seed(77)
    spec = ModelSpec(name="espnet-a")
    one, same, other = (build(spec, size=SMALL, seed=seed).module.state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["level1.conv.weight"], other["level1.conv.weight"])


def test_classes_without_a_data_set_are_numbered_and_said_so() -> None:
    built = build(ModelSpec(name="espnet", settings={"classes": "8"}), size=SMALL)
    assert built.card.classes is not None
    assert built.card.classes.names[7] == "class_7"
    assert "8 classes" in built.notes[0]


def test_settings_come_from_the_weights(tmp_path: Path) -> None:
    first = build(ModelSpec(name="espnet", settings={"alpha3": "1", "classes": "12", "decoder": "19"}), size=SMALL)
    path = tmp_path / "trained.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in first.module.state_dict().items()}}, path)

    again = build(ModelSpec(name="espnet", weights=path), size=None)

    assert again.card.settings == first.card.settings
    assert again.card.weights == "trained.pth"
    assert again.card.classes is not None
    assert again.card.classes.name == "camvid"
    assert str(again.size) == "480x360"
    image = torch.randn(1, 3, 32, 64)
    assert torch.equal(first.module(image), again.module(image))
    with pytest.raises(UsageError, match=r"alpha3=2 contradicts alpha3=1"):
        build(ModelSpec(name="espnet", weights=path, settings={"alpha3": "2"}), size=SMALL)


def test_a_file_that_only_bears_a_released_name_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "espnetc_p_2_q_8.pth"
    torch.save(build(ModelSpec(name="espnet-c"), size=SMALL).module.state_dict(), path)
    built = build(ModelSpec(name="espnet-c", weights=path), size=SMALL)
    assert built.released is None
    assert "SHA-256" in built.notes[0]


@pytest.mark.data
def test_the_released_camvid_file_is_recognised(data_dir: Path) -> None:
    path = data_dir / "weights" / "espnet" / "espnet_p_2_q_8_camvid.pth"
    built = build(ModelSpec(name="espnet", weights=path))
    assert built.released is not None
    assert built.released.data == "camvid"
    assert built.card.settings["decoder"] == 19
    assert built.card.preprocessing is not None
    assert built.card.preprocessing.mean == (109.4046, 107.4245, 105.0918)
    assert str(built.size) == "480x360"


@pytest.mark.data
@pytest.mark.parametrize(
    ("asked", "file", "fits"),
    [("espnet-c", "espnet_p_2_q_8.pth", "espnet"), ("espnet", "espnetc_p_2_q_8.pth", "espnet-c")],
)
def test_the_other_networks_file_names_the_network_that_fits(data_dir: Path, asked: str, file: str, fits: str) -> None:
    with pytest.raises(InputFileError) as caught:
        build(ModelSpec(name=asked, weights=data_dir / "weights" / "espnet" / file))
    assert f"--model {fits} " in caught.value.do


def test_a_size_that_does_not_fit_is_refused_before_anything_is_built() -> None:
    with pytest.raises(UsageError, match="100x100"):
        build(ModelSpec(name="espnet"), size=ImageSize(width=100, height=100))


def test_a_user_factory_gets_typed_settings(user_module: str) -> None:
    settings = {"width": "6", "bias": "false", "mode": "fancy"}
    built = build(ModelSpec(name=f"{user_module}:Net", settings=settings))
    assert built.module.settings == (6, False, "fancy")
    assert built.card.params == 6 * 27
    assert built.card.macs == 6 * 27 * 224 * 224
    assert str(built.size) == "224x224"
    assert built.card.classes is None
    assert str(Path.cwd()) not in sys.path


def test_user_weights_load_strictly(user_module: str, tmp_path: Path) -> None:
    first = build(ModelSpec(name=f"{user_module}:Net"), size=SMALL, seed=1)
    path = tmp_path / "w.pth"
    torch.save(first.module.state_dict(), path)
    again = build(ModelSpec(name=f"{user_module}:Net", weights=path), size=SMALL, seed=2)
    assert torch.equal(again.module.conv.weight, first.module.conv.weight)
    with pytest.raises(InputFileError, match="does not fit Net") as caught:
        build(ModelSpec(name=f"{user_module}:Net", settings={"width": "5"}, weights=path), size=SMALL)
    assert "size mismatch for conv.weight" in caught.value.why


@pytest.mark.parametrize(
    ("factory", "what", "why"),
    [
        ("not_a_module", "returned int", ""),
        ("fails", "failed", "ValueError: first line"),
        ("leaves", "failed", "SystemExit: 4"),
        ("Nett", "has no Nett", 'did you mean "Net"?'),
        ("square_only", "does not run on an input of shape 1x3x32x64", "want a square"),
    ],
)
def test_faults_of_user_code_are_usage_errors(user_module: str, factory: str, what: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSpec(name=f"{user_module}:{factory}"), size=SMALL)
    assert what in caught.value.what
    assert why in caught.value.why


def test_a_module_that_is_not_there_or_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "brokennet.py").write_text("def f(:\n")
    with pytest.raises(UsageError, match="cannot import brokennet") as caught:
        build(ModelSpec(name="brokennet:f"))
    assert "SyntaxError" in caught.value.why
    with pytest.raises(UsageError, match="cannot import nothing_here"):
        build(ModelSpec(name="nothing_here:f"))
    with pytest.raises(UsageError, match="names no factory"):
        build(ModelSpec(name="nothing_here:"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-2", -2), ("1e-3", 1e-3), ("0.5", 0.5), ("true", True), ("False", False), ("none", "none"),
        ("a-b", "a-b"), ("'3'", "3"), ("[1]", "[1]"), ("", ""), ("None", "None"), ("nan", "nan"), ("1_000", 1000),
    ],
)  # fmt: skip
def test_literals(text: str, value: object) -> None:
    assert literal(text) == value
    assert type(literal(text)) is type(value)
