"""What --freq means: which step is taken, what is refused, and in which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.devices.clocks import ALL, parse_frequencies
from espdeploy.devices.clocks.frequencies import Limit, Table, choose, resolve
from espdeploy.devices.clocks.values import Mode
from espdeploy.errors import MissingCapability, UsageError

STEPS = (114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 854.25, 930.75, 1032.75, 1122.0, 1236.75, 1300.5)
MODES = (Mode(id=0, name="MAXN", gpu_max_mhz=1300.5), Mode(id=1, name="MAXQ", gpu_max_mhz=850.0))
FREE = Table(steps_mhz=STEPS)
#: nvpmodel writes 850 where the step is 854.25
MAXQ = Table(steps_mhz=STEPS, limits=(Limit(mhz=850.0, by="power mode MAXQ (1)"),), modes=MODES[:1])


def test_a_list_is_read_as_it_is_written() -> None:
    assert parse_frequencies("624, 824,1134.5,ALL") == (624.0, 824.0, 1134.5, ALL)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", '"" is not a frequency'),
        ("624,,824", '"" is not a frequency'),
        ("fast", '"fast" is not a frequency'),
        ("nan", '"nan" is not a frequency'),
        ("1e999", "is not a frequency"),
        ("1.3", "is no clock of a GPU"),
        ("-624", "is no clock of a GPU"),
        ("854250000", "is no clock of a GPU"),
        ("624,624.0", "twice"),
        ("all,all", "twice"),
    ],
)
def test_what_is_no_list_of_frequencies(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        parse_frequencies(text)
    assert caught.value.do


def test_the_papers_824_is_the_step_854_25_and_said_so() -> None:
    lock = choose(824.0, FREE)
    assert lock.set_mhz == 854.25
    assert lock.text == "requested 824 -> 854.25 MHz"
    assert choose(854.25, FREE).text == "854.25 MHz"


@given(st.floats(10.0, 1301.0))
def test_no_other_step_is_nearer(requested_mhz: float) -> None:
    lock = choose(requested_mhz, FREE)
    assert lock.set_mhz in STEPS
    assert all(abs(step - requested_mhz) >= abs(lock.set_mhz - requested_mhz) for step in STEPS)


def test_strict_takes_steps_alone() -> None:
    assert choose(1122, FREE, strict=True).set_mhz == 1122.0
    with pytest.raises(UsageError, match="no step of 824 MHz") as caught:
        choose(824, FREE, strict=True)
    assert "726.75 854.25" in caught.value.why
    assert caught.value.do.startswith("--freq 854.25,")


def test_a_power_modes_limit_means_the_step_beside_it() -> None:
    assert choose(854.25, MAXQ).set_mhz == 854.25
    assert MAXQ.allowed_mhz == STEPS[:8]


@pytest.mark.parametrize("requested_mhz", [930.75, 900.0, 1134.0])
def test_above_the_power_modes_limit_is_refused_and_not_lowered(requested_mhz: float) -> None:
    with pytest.raises(UsageError) as caught:
        choose(requested_mhz, MAXQ)
    assert "above 854.25 MHz, the limit of power mode MAXQ (1)" in caught.value.what
    assert "MAXN (0)" in caught.value.why
    assert caught.value.do == "--power-mode MAXN, or --freq 854.25 or lower"


def test_above_the_highest_step_no_mode_helps() -> None:
    for table in (FREE, MAXQ):
        with pytest.raises(UsageError, match=r"above the GPU's highest step, 1300\.5 MHz") as caught:
            choose(1400, table)
        assert "--power-mode" not in caught.value.do
    assert choose(1301, FREE).set_mhz == 1300.5  # the step in whole numbers


def test_all_adds_what_is_left_and_allowed() -> None:
    found = [lock.set_mhz for lock in resolve((624.0, ALL), MAXQ)]
    assert found == [624.75, *(step for step in STEPS[:8] if step != 624.75)]
    assert [lock.set_mhz for lock in resolve((ALL,), FREE)] == list(STEPS)


def test_two_words_for_one_step() -> None:
    with pytest.raises(UsageError, match=r"824 and 860 are the same step of this GPU, 854\.25 MHz"):
        resolve((824.0, 860.0), FREE)


@pytest.mark.parametrize("wanted", [(824.0,), (ALL,)])
def test_without_a_list_of_steps_nothing_is_guessed(wanted: tuple[float | str, ...]) -> None:
    with pytest.raises(MissingCapability, match="does not tell which clocks"):
        resolve(wanted, Table(steps_mhz=()))  # type: ignore[arg-type]
