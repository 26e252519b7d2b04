"""Device files: every one that is shipped loads under its names, and mistakes in one are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.errors import InputFileError, UsageError

MINIMAL = (
    'name = "{name}"\ndescription = "d"\nkind = "cpu"\nruntimes = ["onnxruntime"]\nprecisions = ["fp32"]\nopset = 20\n'
)


def test_every_shipped_device_loads_and_is_found_by_name_and_alias() -> None:
    profiles = recipes.device_profiles()
    boards = {"tx1", "tx2", "nano", "xavier-agx", "xavier-nx", "orin-agx", "orin-nx", "orin-nano", "thor"}
    assert {"cpu", "desktop", *boards} <= set(profiles)
    for profile in profiles.values():
        for name in (profile.name, profile.name.upper(), *profile.aliases):
            assert recipes.device_profile(name) == profile


def test_the_families_names_mean_their_largest_board() -> None:
    assert recipes.device_profile("xavier").name == "xavier-agx"
    assert recipes.device_profile("orin").name == "orin-agx"


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        recipes.device_profile("tx3")
    assert "tx2" in caught.value.why


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ('runtime = "x"', "runtimes"),
        ("[gpu]\nname = 'x'\ncompute_capabilty = '6.2'", "compute_capability"),
        ("[[power_modes]]\nid = 0\nname = 'a'\ngpu_max_mzh = 3", "gpu_max_mhz"),
        ("[peak]\nfp32_tflops = 1.5", "fp32_gflops"),
        ("[dla]\ncores = 1\nprecisions = []\n[[dla.tensorrt]]\noldset = '8.2'", "oldest"),
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
        MINIMAL.format(name="board").replace('["fp32"]', "[]"),
        MINIMAL.format(name="board") + "[refused_precisions]\nfp32 = 'no'",
        MINIMAL.format(name="board") + "[tensorrt]\noldest = 'latest'\nnewest = '8.2'\nopset_max = 13",
        MINIMAL.format(name="board") + "[gpu]\nname = 'x'\ncompute_capability = 'sm_62'",
        MINIMAL.format(name="board")
        + "[gpu]\nname = 'x'\ncompute_capability = '6.2'\nfrequencies_mhz = [200.0, 100.0]",
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


def test_a_damaged_file_stands_in_the_way_of_no_other_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "mine.toml").write_text("name = ")
    monkeypatch.chdir(tmp_path)
    assert recipes.device_profile("tx2").name == "tx2"
    with pytest.raises(InputFileError, match=r"mine\.toml"):
        recipes.device_profiles()
