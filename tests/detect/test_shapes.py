"""llmrouterd/detect/shapes.py"""

import pytest

from llmrouterd.detect.shapes import Form, announced, is_whole, numbers

FREE = Form("free", lambda number: number != "0000000", free=("999-9999", "A9999999"))
NAMED = Form("named", lambda number: True, named=("9999999",), words=("id", "nummer"))
ALONE = Form("alone", lambda number: True, free=("9999 9999",), alone=True)


def found(text: str, *forms: Form) -> list[str]:
    return [span.value for span in numbers(text, "number", forms)]


@pytest.mark.parametrize(
    "text", ["123-4567", "x 123-4567.", "(123-4567)", "n=123-4567;", "是123-4567是", "-123-4567"]
)
def test_a_number_is_found_in_its_shape(text: str) -> None:
    assert found(text, FREE) == ["123-4567"]


@pytest.mark.parametrize(
    "text",
    [
        "1123-4567",
        "123-45678",
        "a123-4567",
        "123-4567a",
        "9-123-4567",
        "123-4567-8",
        "1.123-4567",
        "123-4567.8",
        "_123-4567",
        "123-4567_",
        "123-4567-a",
        "1234567",
        "123 4567",
    ],
)
def test_a_part_of_something_longer_is_no_number(text: str) -> None:
    assert found(text, FREE) == []


def test_what_the_check_refuses_is_not_found() -> None:
    assert found("000-0000 and 000-0001", FREE) == ["000-0001"]


def test_letters_beside_the_digits_belong_to_the_shape() -> None:
    assert found("no. X1234567.", FREE) == ["X1234567"]
    assert found("no. x1234567", FREE) == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("id 1234567", True),
        ("ID: 1234567", True),
        ("Kundennummer 1234567", False),
        ("Nummer: 1234567", True),
        ("paid 1234567", False),
        ("idea 1234567", False),
        ("1234567 is the id", False),
        ("id " + "x" * 60 + " 1234567", False),
    ],
)
def test_a_weak_shape_counts_only_near_its_word(text: str, is_found: bool) -> None:
    assert bool(found(text, NAMED)) is is_found


def test_one_that_stands_alone_is_no_end_of_a_row() -> None:
    assert found("1234 5678", ALONE) == ["1234 5678"]
    assert found("1 1234 5678", ALONE) == []
    assert found("1234 5678 9", ALONE) == []


def test_every_number_of_a_long_row_is_looked_at() -> None:
    row = "  ".join(f"{n:03}-{n:04}" for n in range(1, 200))
    assert len(found(row, FREE)) == 199


def test_the_edges_of_a_text_are_edges() -> None:
    assert is_whole("12", 0, 2)
    assert not is_whole("123", 0, 2)
    assert not is_whole("312", 1, 3)


def test_a_word_of_another_script_needs_no_gap_round_it() -> None:
    assert announced("我的手机号码 1", 7, ("手机",))
