"""Numbers and units: what any locale prints is read back, with Python's own formatting as witness."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.ncu.numbers import Numbers, is_untold
from espdeploy.profilers.ncu.units import base

#: marks of thousands and of decimals, as ncu prints them there
LOCALES = {
    "C": ("", "."),
    "en_US": (",", "."),
    "de_DE": (".", ","),
    "fr_FR": (" ", ","),
    "fr_FR, Windows": ("\u202f", ","),
    "de_CH": ("'", "."),
}
figures = st.one_of(st.integers(-(10**15), 10**15), st.decimals(-(10**9), 10**9, places=2))


def printed(value: object, locale: str) -> str:
    thousands, point = LOCALES[locale]
    return f"{value:,}".replace(",", "\0").replace(".", point).replace("\0", thousands)


@pytest.mark.parametrize("locale", LOCALES)
@given(values=st.lists(figures, min_size=1, max_size=20))
def test_a_page_of_any_locale_is_read_back(locale: str, values: list[object]) -> None:
    numbers = Numbers()
    cells = [printed(value, locale) for value in values]
    for cell in (*cells, printed(1234567, locale)):  # a page of hundreds of counters holds one such number
        numbers.see(cell)
    assert [numbers.value(cell) for cell in cells] == [float(str(value)) for value in values]
    at_once = numbers.values(tuple(cells))
    assert at_once is None or at_once == [numbers.value(cell) for cell in cells]


@given(whole=st.integers(0, 10**12), fraction=st.floats(0, 10**6, allow_nan=False))
def test_a_raw_page_mixes_six_decimals_with_the_locales_marks(whole: int, fraction: float) -> None:
    numbers = Numbers()
    for cell in (printed(whole, "de_DE"), f"{fraction:.6f}", "1.234.567"):
        numbers.see(cell)
    assert numbers.value(printed(whole, "de_DE")) == whole
    assert numbers.value(f"{fraction:.6f}") == float(f"{fraction:.6f}")
    assert numbers.values((printed(whole, "de_DE"), f"{fraction:.6f}")) == [whole, float(f"{fraction:.6f}")]


@pytest.mark.parametrize(
    ("seen", "cell", "value"),
    [
        ((), "117.344", 117344),  # ncu prints two decimals, or six
        (("65,77", "27.595.520"), "117.344", 117344),
        (("1491586",), "117.344", 117.344),  # whole numbers have no marks here: neither has this one
        (("127630.38",), "9,824", 9.824),
        (("1,008,652,280.13",), "9,824", 9824),
        ((), "0.123", 0.123),  # no number with thousands begins with 0
        ((), "1,67,77,216", 16777216),  # as India groups
        ((), "1.2e+05", 120000),
        ((), "-3.50", -3.5),
        ((), "12 (3; 4; 5)", 12),  # --print-metric-instances
        ((), "1\ufffd491\ufffd586,25", 1491586.25),  # 2020.3 writes one byte of a mark's three
    ],
)
def test_what_a_file_has_shown_tells_a_mark_of_thousands_from_a_point(
    seen: tuple[str, ...], cell: str, value: float
) -> None:
    numbers = Numbers()
    for one in seen:
        numbers.see(one)
    assert numbers.value(cell) == value


def test_a_number_that_nothing_settles_is_counted() -> None:
    numbers = Numbers()
    numbers.value("117.344")
    numbers.value("65.77")
    assert numbers.guessed == 1


@pytest.mark.parametrize(
    "cell", ["", "(!) nan", "nan", "inf", "cudaFuncCachePreferNone", "1,2.3,4", "12.34.5", "1e999", "--", "0x10", "1'2"]
)
def test_what_is_no_number_is_none(cell: str) -> None:
    assert Numbers().value(cell) is None


def test_ncu_says_where_it_has_no_figure() -> None:
    assert all(map(is_untold, ("(!) nan", "(!) n/a", "nan", "N/A", "inf")))
    assert not any(map(is_untold, ("", "0", "No-CC", "CachePreferNone")))


@pytest.mark.parametrize(
    ("unit", "name", "factor"),
    [
        ("usecond", "ns", 1e3),
        ("us", "ns", 1e3),
        ("msecond", "ns", 1e6),
        ("second", "ns", 1e9),
        ("Mbyte", "byte", 1e6),
        ("Gbyte/second", "byte/s", 1e9),
        ("byte/s", "byte/s", 1),
        ("cycle/nsecond", "hz", 1e9),
        ("cycle/usecond", "hz", 1e6),
        ("Ghz", "hz", 1e9),
        ("sector/nsecond", "sector/s", 1e9),
        ("Kbyte/block", "byte/block", 1e3),
        ("inst/cycle", "inst/cycle", 1),
        ("SM", "SM", 1),
        ("%", "%", 1),
        ("", "", 1),
    ],
)
def test_old_and_new_spellings_come_to_one_unit(unit: str, name: str, factor: float) -> None:
    found, times = base(unit)
    assert found == name
    assert math.isclose(times, factor)
