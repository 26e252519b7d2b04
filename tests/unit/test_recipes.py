"""Device facts: every file that is shipped loads, agrees with real boards, and mistakes in one are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.errors import InputFileError, UsageError

MINIMAL = (
    'name = "{name}"\ndescription = "d"\nkind = "cpu"\nruntimes = ["onnxruntime"]\nprecisions = ["fp32"]\nopset = 20\n'
)


def test_every_shipped_device_loads_and_is_found_by_name_and_alias() -> None:
    profiles = recipes.device_profiles()
    assert {"cpu", "desktop", "tx2"} <= set(profiles)
    for profile in profiles.values():
        for name in (profile.name, profile.name.upper(), *profile.aliases):
            assert recipes.device_profile(name) == profile


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        recipes.device_profile("tx3")
    assert "tx2" in caught.value.why


@pytest.mark.data
def test_the_tx2_steps_and_power_modes_are_those_of_real_boards(data_dir: Path) -> None:
    """Against files that boards printed: available_frequencies in Hz, and nvpmodel's table."""
    tx2 = recipes.device_profile("tx2")
    assert tx2.gpu is not None
    listed = (data_dir / "logs/jetsoncfg/available_frequencies_gpu.txt").read_text()
    board_hz = [int(word) for word in listed.partition("# TX2")[2].splitlines()[1].split()]
    ours_hz = [round(mhz * 1e6) for mhz in tx2.gpu.frequencies_mhz]
    assert ours_hz[-len(board_hz) :] == board_hz  # the capture lacks the lowest steps
    conf = (data_dir / "logs/jetsoncfg/tx2_l4t27_nvpmodel_first_format.conf").read_text()
    table = re.findall(r"< POWER_MODEL ID=(\d) NAME=(\w+) >.*?gp10b/max_freq (\d+)", conf, re.DOTALL)
    assert [(str(m.id), m.name, str(round((m.gpu_max_mhz or 0) * 1e6))) for m in tx2.power_modes] == table


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ('runtime = "x"', "runtimes"),
        ("[gpu]\nname = 'x'\ncompute_capabilty = '6.2'", "compute_capability"),
        ("[[power_modes]]\nid = 0\nname = 'a'\ngpu_max_mzh = 3", "gpu_max_mhz"),
    ],
)
def test_a_misspelt_key_is_an_error_that_names_the_right_one(extra: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(MINIMAL.format(name="board") + extra)
    with pytest.raises(InputFileError) as caught:
        recipes.read_device(path)
    assert told in caught.value.why
    assert "board.toml" in caught.value.what


@pytest.mark.parametrize(
    "content",
    [
        MINIMAL.format(name="other"),  # not named after its file
        MINIMAL.format(name="board").replace("20", '"twenty"'),
        MINIMAL.format(name="board").replace("opset = 20", ""),
        "name = ",
        "\xff\xfe\x00binary",
    ],
)
def test_a_damaged_device_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputFileError, match=r"board\.toml"):
        recipes.read_device(path)


def test_a_device_file_of_the_users_own_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "mine.toml").write_text(MINIMAL.format(name="mine"))
    (tmp_path / "engines" / "cpu.toml").write_text(MINIMAL.format(name="cpu").replace('"d"', '"my own"'))
    monkeypatch.chdir(tmp_path)
    profiles = recipes.device_profiles()
    assert profiles["mine"].source == str(tmp_path / "engines" / "mine.toml")
    assert profiles["cpu"].description == "my own"
    assert "tx2" in profiles  # the shipped ones stay
