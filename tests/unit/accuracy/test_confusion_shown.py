"""The confusion matrix as text and as pictures that other programs read."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy import drawing
from espdeploy.accuracy.confusion_picture import picture
from espdeploy.accuracy.confusion_text import matrix_lines, row_shares_pct, taken_for
from espdeploy.errors import UsageError

NAMES = ("cat", "dog", "tree", "void")
#: tree is not in the labels, void neither there nor predicted
COUNTS = np.array([[600, 399, 1, 0], [0, 1000, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
SVG = "{http://www.w3.org/2000/svg}"


def test_shares_are_of_the_true_class() -> None:
    shares = row_shares_pct(COUNTS)
    assert shares[0].tolist() == [60.0, 39.9, 0.1, 0.0]
    assert np.isnan(shares[2]).all()


def test_the_matrix_as_text() -> None:
    assert matrix_lines(COUNTS, NAMES, width=80) == [
        "         0  1  2",
        " 0 cat  60 40 .",
        " 1 dog  . 100 .",
    ]


def test_columns_that_do_not_fit_follow_below() -> None:
    count = 30
    counts = np.arange(count * count).reshape(count, count)
    lines = matrix_lines(counts, [f"class {index}" for index in range(count)], width=80)
    assert max(map(len, lines)) <= 80
    heads = [line for line in lines if line.startswith("     ")]
    assert " ".join(heads).split() == [str(index) for index in range(count)]
    assert len(lines) == len(heads) * (count + 1) + len(heads) - 1


def test_cityscapes_fits_a_terminal_of_80_columns_in_one_block() -> None:
    from espdeploy.networks.classes import CITYSCAPES

    lines = matrix_lines(np.full((20, 20), 5), CITYSCAPES.names, width=80)
    assert len(lines) == 21
    assert max(map(len, lines)) <= 80


def test_no_pixel_leaves_no_table() -> None:
    assert matrix_lines(np.zeros((2, 2), int), ["a", "b"], width=80) == []


def test_numbers_above_99_do_not_run_into_each_other() -> None:
    counts = np.eye(120, dtype=int)
    head = matrix_lines(counts, ["x"] * 120, width=1000)[0]
    assert head.split() == [str(index) for index in range(120)]


def test_what_a_class_is_taken_for() -> None:
    assert taken_for(COUNTS, NAMES, 0) == "dog 39.9 %"
    assert taken_for(COUNTS, NAMES, 1) == ""
    assert taken_for(COUNTS, NAMES, 2) == ""
    both = np.array([[1, 2, 3], [0, 0, 0], [0, 0, 0]])
    assert taken_for(both, NAMES[:3], 0) == "tree 50.0 %, dog 33.3 %"


def parsed(svg: bytes) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own file


def drawn(names: tuple[str, ...] = NAMES) -> drawing.Drawing:
    return picture(COUNTS, names, title="A title", subtitle="and more")


def test_the_picture_holds_names_shares_and_counts() -> None:
    root = parsed(drawing.svg(drawn()))
    told = [title.text for title in root.iter(f"{SVG}title")]
    assert "true cat, taken for dog: 39.90 %, 399 pixels" in told
    assert "true dog, taken for dog: 100.00 %, 1,000 pixels" in told
    texts = [item.text for item in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in NAMES] == ["cat", "cat", "dog", "dog", "tree", "tree"]
    assert {"60", "40", "100", "50.0 %", "none"} <= set(texts)


def test_odd_names_are_text_and_nothing_else() -> None:
    odd = ('<script>alert("1")</script>', "a&b", "tab\t\x00\x1b[31m\n", "\ud800 lone 木")
    root = parsed(drawing.svg(drawn(odd)))
    assert not list(root.iter(f"{SVG}script"))
    texts = [item.text or "" for item in root.iter(f"{SVG}text")]
    assert "a&b" in texts
    assert odd[0] in texts
    with Image.open(io.BytesIO(drawing.png(drawn(odd)))) as image:
        image.load()


def test_right_is_blue_and_wrong_is_orange_and_more_is_darker() -> None:
    counts = np.array([[90, 10], [40, 60]])
    with Image.open(io.BytesIO(drawing.png(picture(counts, ("a", "b"), title="t", subtitle="s")))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    root = parsed(drawing.svg(picture(counts, ("a", "b"), title="t", subtitle="s")))
    fills = {
        (box.find(f"{SVG}title").text or "").split(":")[0]: box  # type: ignore[union-attr]
        for box in root.iter(f"{SVG}rect")
        if box.find(f"{SVG}title") is not None
    }

    def colour(true: str, taken: str) -> np.ndarray:
        """Of the PNG, at the cell's corner in the SVG: both show the same."""
        box = fills[f"true {true}, taken for {taken}"]
        x, y = (round(2 * float(box.attrib[key])) + 4 for key in "xy")
        rgb = pixels[y, x]
        assert "#{:02x}{:02x}{:02x}".format(*rgb) == box.attrib["fill"]
        return rgb

    right, less_right, wrong, more_wrong = colour("a", "a"), colour("b", "b"), colour("a", "b"), colour("b", "a")
    assert right[2] > right[0]
    assert wrong[0] > wrong[2]
    assert right.sum() < less_right.sum()
    assert more_wrong.sum() < wrong.sum()


def test_letters_on_cells_are_readable() -> None:
    """About 4.5 to 1 between letters and ground, WCAG's figure for text, at any share."""
    for share in range(1, 100):
        counts = np.array([[share, 100 - share], [100 - share, share]])
        root = parsed(drawing.svg(picture(counts, ("a", "b"), title="t", subtitle="s")))
        parts = list(root)
        for place, part in enumerate(parts):
            if part.tag == f"{SVG}text" and re.fullmatch(r"\d+", part.text or ""):
                assert contrast(part.attrib["fill"], parts[place - 1].attrib["fill"]) >= 4.4, share


def contrast(one: str, two: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_many_classes_make_small_cells_without_numbers() -> None:
    count = 60
    root = parsed(drawing.svg(picture(np.eye(count, dtype=int), ["x"] * count, title="t", subtitle="s")))
    assert not [item for item in root.iter(f"{SVG}text") if item.text == "100"]
    assert float(root.attrib["width"]) < 1000


@pytest.mark.parametrize("name", ["m.svg", "m.PNG"])
def test_the_suffix_decides_the_kind(name: str, tmp_path: Path) -> None:
    drawing.write(tmp_path / name, drawn())
    assert (tmp_path / name).read_bytes()[:4] in (b"<svg", b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"m\.jpg"):
        drawing.write(tmp_path / "m.jpg", drawn())
