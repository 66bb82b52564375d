"""llmrouterd/detect/digits.py"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.detect import digits

WHOLE = [
    (digits.luhn, "4111111111111111"),
    (digits.luhn, "79927398713"),
    (digits.verhoeff, "234123412346"),
    (digits.verhoeff, "2363"),
    (digits.mod_11_10, "86095742719"),
    (digits.mod_11_10, "94577403194"),
    (digits.mod_97, "370400440532013000DE89"),
    (digits.ean_13, "4006381333931"),
    (digits.ean_13, "7569217076985"),
]


@pytest.mark.parametrize(("proves", "number"), WHOLE)
def test_a_right_number_proves_itself_and_no_other_last_digit_does(proves, number) -> None:
    assert proves(number)
    others = [number[:-1] + str(n) for n in range(10) if str(n) != number[-1]]
    assert not any(proves(each) for each in others)


@given(st.integers(0, 10**12 - 1), st.integers(0, 11), st.integers(1, 9))
def test_a_sum_finds_every_single_wrong_digit(body: int, place: int, by: int) -> None:
    for proves in (digits.luhn, digits.verhoeff, digits.mod_11_10):
        right = next(t for n in range(10) if proves(t := f"{body:012}{n}"))
        wrong = right[:place] + str((int(right[place]) + by) % 10) + right[place + 1 :]
        assert not proves(wrong)


def test_weights_go_as_far_as_there_are_any() -> None:
    assert digits.weighted("123", 10, 1) == 12
    assert digits.weighted("12", 1, 1, 9) == 3


@pytest.mark.parametrize(
    ("day", "month", "is_one"),
    [
        ("29", "02", True),
        ("30", "02", False),
        ("31", "04", False),
        ("31", "12", True),
        ("00", "01", False),
        ("01", "00", False),
        ("01", "13", False),
    ],
)
def test_a_day_is_one_that_some_year_has(day: str, month: str, is_one: bool) -> None:
    assert digits.is_day(day, month) is is_one


def test_a_full_date_is_of_somebody_who_may_live() -> None:
    assert digits.is_full_date("19491231")
    assert not digits.is_full_date("17491231")
    assert not digits.is_full_date("19491331")
