"""Calibration recipes: every shipped one loads, mistakes in one are found, and a user's own is as good."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.errors import InputFileError, UsageError
from espdeploy.networks.registry import REGISTRY

MINIMAL = 'name = "{name}"\ndescription = "d"\nfolder = "{{split}}"\n'
PREPROCESSING = (
    '[preprocessing]\nchannel_order = "RGB"\ndivisor = 255.0\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n'
)


def written(path: Path, extra: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MINIMAL.format(name=path.stem) + extra)
    return path


def test_every_shipped_recipe_loads_and_takes_the_training_part() -> None:
    names = recipes.calibration_recipe_names()
    assert set(names) >= {"camvid", "cityscapes", "folder"}
    for name in names:
        recipe = recipes.calibration_recipe(name)
        assert recipe == recipes.calibration_recipe(name.upper())
        assert recipe.split == "train"
        assert {"val", "test"} <= set(recipe.other_splits)
        assert recipe.source.endswith(f"{name}.toml")


@pytest.mark.parametrize("data_set", ["camvid", "cityscapes"])
def test_the_pre_processing_is_what_the_released_checkpoints_were_trained_with(data_set: str) -> None:
    """The zoo's facts of ESPNet are checked against the authors' own outputs elsewhere."""
    facts = recipes.calibration_recipe(data_set).preprocessing
    variant = next(variant for variant in REGISTRY["espnet"].data if variant.name == data_set)
    assert facts is not None
    assert variant.preprocessing is not None
    assert dataclasses.asdict(facts) == dataclasses.asdict(variant.preprocessing)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        recipes.calibration_recipe("citiscapes")
    assert "cityscapes" in caught.value.why
    with pytest.raises(UsageError, match=r"there is no recipe mine\.toml"):
        recipes.calibration_recipe("mine.toml")


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("cuont = 3", "count"),
        ("[pre_processing]\ndivisor = 1.0", "preprocessing"),
        (PREPROCESSING + "post_divider = 255.0", "post_divisor"),
    ],
)
def test_a_misspelt_key_is_an_error_that_names_the_right_one(extra: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError) as caught:
        recipes.read_calibration(written(tmp_path / "mine.toml", extra))
    assert told in caught.value.why
    assert "mine.toml" in caught.value.what


@pytest.mark.parametrize(
    "extra",
    [
        'count = "many"',
        "count = 0",
        "seed = 1.5",
        PREPROCESSING.replace("[0.0, 0.0, 0.0]", "[0.0, 0.0]"),
        PREPROCESSING.replace('channel_order = "RGB"\n', ""),
        "count = ",
        "\xff\xfe\x00binary",
    ],
)
def test_a_damaged_recipe_is_named(extra: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes((MINIMAL.format(name="mine") + extra).encode("latin-1"))
    with pytest.raises(InputFileError, match=r"mine\.toml"):
        recipes.read_calibration(path)


@pytest.mark.parametrize("folder", ["/etc", "../elsewhere", "train/../../x"])
def test_a_folder_outside_the_data_is_refused(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\ndescription = "d"\nfolder = "{folder}"\n')
    with pytest.raises(InputFileError, match="not below"):
        recipes.read_calibration(path)


def test_a_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL.format(name="other"))
    with pytest.raises(InputFileError, match='name = "other"'):
        recipes.read_calibration(path)


def test_a_recipe_of_the_users_own_is_found_first_and_others_there_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "calibration/camvid.toml", "count = 3")
    (tmp_path / "calibration/camera.toml").write_text("focal_length_mm = 4.2")  # calibration means other things too
    monkeypatch.chdir(tmp_path)
    assert recipes.calibration_recipe("camvid").count == 3
    assert recipes.calibration_recipe("cityscapes").count == 100  # the shipped ones stay
    assert "camera" in recipes.calibration_recipe_names()
    with pytest.raises(InputFileError, match=r"camera\.toml"):
        recipes.calibration_recipe("camera")


def test_a_recipe_is_named_by_its_path_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "mine.toml", 'method = "mse"')
    assert recipes.calibration_recipe(str(path)).method == "mse"
    monkeypatch.chdir(tmp_path)
    assert recipes.calibration_recipe("mine.toml").source == "mine.toml"
