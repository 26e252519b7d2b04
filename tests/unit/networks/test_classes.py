"""Class sets: lengths, categories and colours agree with the data sets' public definitions."""

from __future__ import annotations

import pytest

from espdeploy.artifacts import ClassSet
from espdeploy.networks.classes import CAMVID, CITYSCAPES, PASCAL, generic


@pytest.mark.parametrize(
    ("classes", "count"), [(CITYSCAPES, 20), (CAMVID, 12), (PASCAL, 21), (generic(21), 21), (generic(300), 300)]
)
def test_every_class_has_a_name_and_a_colour_of_its_own(classes: ClassSet, count: int) -> None:
    assert len(classes.names) == len(classes.palette) == len(set(classes.names)) == len(set(classes.palette)) == count
    assert len(classes.categories) in (0, count)
    assert all(0 <= channel <= 255 for colour in classes.palette for channel in colour)


def test_cityscapes_has_seven_categories_and_void() -> None:
    counted = {c for i, c in enumerate(CITYSCAPES.categories) if i not in CITYSCAPES.ignore}
    assert counted == {"flat", "construction", "object", "nature", "sky", "human", "vehicle"}
    # Cityscapes evaluates 2, 3, 3, 2, 1, 2 and 6 classes of them
    sizes = {name: CITYSCAPES.categories.count(name) for name in sorted(counted)}
    assert sizes == {"construction": 3, "flat": 2, "human": 2, "nature": 2, "object": 3, "sky": 1, "vehicle": 6}
    assert CITYSCAPES.ignore == (19, 255)


def test_camvids_last_class_is_void() -> None:
    assert CAMVID.ignore == (11,)
    assert CAMVID.names[11] == "void"
    assert set(CAMVID.categories) <= set(CITYSCAPES.categories)


def test_generic_colours_are_those_of_pascal_voc() -> None:
    assert generic(21).palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert generic(21).palette[15] == (192, 128, 128)  # person
    assert generic(2).names == ("class_0", "class_1")


def test_pascal_counts_its_background_and_follows_its_colour_rule() -> None:
    assert PASCAL.names[0] == "background"
    assert PASCAL.ignore == (255,)
    assert PASCAL.palette == generic(21).palette
    # the groups of the challenge, with the background apart
    sizes = {name: PASCAL.categories.count(name) for name in sorted(set(PASCAL.categories))}
    assert sizes == {"animal": 6, "background": 1, "indoor": 6, "person": 1, "vehicle": 7}
