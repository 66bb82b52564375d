"""llmrouterd/detect/entropy.py"""

import pytest

from llmrouterd.detect.entropy import bits, is_drawn, is_placeholder


def test_entropy_is_that_of_the_text_itself() -> None:
    assert bits("") == 0
    assert bits("aaaa") == 0
    assert bits("abab") == 1
    assert bits("0123456789abcdef") == 4


@pytest.mark.parametrize(
    "text",
    ["xxxxxxxx", "YOUR_KEY", "changeme", "<token>", "${KEY}", "AKIAIOSFODNN7EXAMPLE", "sk-..."],
)
def test_what_stands_for_a_value_says_so(text: str) -> None:
    assert is_placeholder(text)


def test_chance_has_letters_and_digits_and_no_words() -> None:
    assert is_drawn("9fK2mQ7xLpR4tZ8w")
    assert not is_drawn("correcthorsebattery")
    assert not is_drawn("111111112222222a")
    assert not is_drawn("9fK2mQ7xLpR4example")
