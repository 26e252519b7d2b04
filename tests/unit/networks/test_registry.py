"""The registry: typed settings, sizes, summaries, and that listing the zoo needs no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from espdeploy.errors import UsageError
from espdeploy.networks import registry
from espdeploy.networks.entry import Setting
from espdeploy.specs import ImageSize

ESPNET = registry.entry("espnet")


def test_the_zoo_is_listed_without_torch_and_numpy() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None\n"
        "from espdeploy.networks import registry\n"
        "print(*(registry.summary(entry).params for entry in registry.REGISTRY.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "364569" in done.stdout.split()


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        registry.entry("espnetc")
    assert 'did you mean "espnet-c"?' in caught.value.why


def test_settings_are_typed() -> None:
    parsed = registry.parse_settings(ESPNET, {"alpha3": "3", "decoder": "19"})
    assert parsed == {"alpha3": 3, "decoder": 19}
    assert registry.with_defaults(ESPNET, parsed) == {
        "alpha2": 2, "alpha3": 3, "k": 5, "classes": 20, "decoder": 19,
    }  # fmt: skip


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        registry.parse_settings(ESPNET, {"alpha_3": "3"})
    assert "alpha_3" in caught.value.what
    assert 'did you mean "alpha3"?' in caught.value.why


@pytest.mark.parametrize(
    ("name", "text", "range_"),
    [
        ("alpha3", "0", "a whole number from 1 to 100"),
        ("alpha3", "-1", "a whole number from 1 to 100"),
        ("alpha3", "2.5", "a whole number from 1 to 100"),
        ("alpha3", "", "a whole number from 1 to 100"),
        ("k", "9", "a whole number from 2 to 8"),
        ("decoder", "17", "16 or 19"),
    ],
)
def test_a_value_out_of_range_says_the_range(name: str, text: str, range_: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.parse_settings(ESPNET, {name: text})
    assert f"{name}={text}" in caught.value.what
    assert range_ in caught.value.why


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.1])
def test_numbers_that_are_no_scale_are_refused(value: float) -> None:
    scale = Setting(name="scale", kind="float", default=1.0, minimum=0.25, maximum=4.0)
    assert not registry.allowed(scale, value)
    assert registry.allowed(scale, 1.25)


@pytest.mark.parametrize(
    ("size", "offered"),
    [
        ("1000x500", "1000x496 or 1000x504"),
        ("1001x513", "1000x512 or 1008x520"),
        ("3x3", "8x8"),
        ("1024x7", "1024x8"),
    ],
)
def test_a_size_that_does_not_fit_names_those_that_do(size: str, offered: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.check_size(ESPNET, ImageSize.parse(size))
    assert size in caught.value.what
    assert caught.value.do == f"--size {offered}"


def test_a_summary_with_other_settings_is_counted_anew() -> None:
    small = registry.summary(ESPNET, registry.parse_settings(ESPNET, {"alpha3": "3"}))
    assert small.params == 202_649
    assert small.macs < registry.summary(ESPNET).macs
    assert small.size_mb == pytest.approx(0.810596)
    assert small.settings["alpha3"] == 3


def test_twelve_classes_bring_camvids_size() -> None:
    assert str(registry.summary(ESPNET, {"classes": 12}).input_size) == "480x360"
    assert str(registry.summary(ESPNET).input_size) == "1024x512"


@pytest.mark.parametrize("name", sorted(registry.REGISTRY))
def test_entries_are_consistent(name: str) -> None:
    network = registry.entry(name)
    assert network.name == name
    module, _, function = network.factory.partition(":")
    assert callable(getattr(import_module(module), function))
    for setting in network.settings:
        assert registry.allowed(setting, setting.default), setting.name
    for variant in network.data:
        registry.check_size(network, variant.size)
    for checkpoint in network.checkpoints:
        assert checkpoint.sha256 is None or len(checkpoint.sha256) == 64
        assert network.variant(checkpoint.data) is not None
        registry.check_size(network, checkpoint.size)
    known = {setting.name for setting in network.settings}
    for row in (*network.published, *network.checkpoints):
        assert set(row.settings) <= known
    registry.check_size(network, network.min_size)
