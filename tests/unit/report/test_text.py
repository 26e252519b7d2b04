"""Numbers and times as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.report import text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (0.0, "0"),
        (12.0, "12.0"),
        (0.1234, "0.123"),
        (0.99999, "1.00"),
        (9.996, "10.0"),
        (123.4, "123"),
        (1234.5, "1,230"),
        (0.0000123, "0.0000123"),
        (-2.5, "-2.50"),
        (5e-324, "4.94e-324"),
        (1e300, "1.00e+300"),
    ],
)
def test_three_significant_digits(value: float | None, expected: str) -> None:
    assert text.number(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_a_number_is_within_half_a_percent_of_what_is_written(value: float) -> None:
    written = float(text.number(value).replace(",", ""))
    assert written == pytest.approx(value, rel=0.005) or abs(value) < 1e-320 or abs(value) > 1.79e308


@pytest.mark.parametrize(
    ("iso", "expected"),
    [
        ("2026-02-03T09:14:05+00:00", "2026-02-03 09:14 UTC"),
        ("2026-02-03T09:14:05Z", "2026-02-03 09:14 UTC"),
        ("2026-02-03T11:14:05+02:00", "2026-02-03 09:14 UTC"),
        ("2026-02-03T09:14:05", "2026-02-03 09:14 UTC"),
        ("yesterday", "yesterday"),
    ],
)
def test_moments_are_utc(iso: str, expected: str) -> None:
    assert text.moment(iso) == expected


def test_sizes_are_width_by_height() -> None:
    assert text.frame_size((1, 3, 512, 1024)) == "1024×512"
    assert text.frame_size((8,)) == "8"
    assert text.frame_size(()) == "–"


def test_lists_read_as_sentences() -> None:
    assert text.listed(["a", "b", "c"]) == "a, b and c"
    assert text.listed(["a"]) == "a"
    assert text.listed([]) == ""
