"""formats/token.py"""

import pytest
from hypothesis import given

from formats.canonical import Thought
from formats.token import TOKEN_TEXT_BYTES, read_thought, read_token, write_token
from tests import strategies


@given(strategies.short)
def test_a_token_is_read_again(text):
    assert read_token(write_token("openai", text)) == ("openai", text)


def test_a_token_too_long_to_carry_leaves_the_text_out():
    token = write_token("openai", "x" * (TOKEN_TEXT_BYTES + 1))
    assert read_token(token) == ("openai", "")
    assert len(write_token("o", "x" * (TOKEN_TEXT_BYTES - 20))) <= 1 << 16


@pytest.mark.parametrize(
    "signature", ["RXFr==", "llmr1.", "llmr1.!!", "llmr1.e30", "llmr1.W10", "", "llmr1.ü"]
)
def test_what_is_no_token_is_not_read(signature):
    assert read_token(signature) is None


def test_a_vendors_signature_lies_inside_whole():
    token = write_token("anthropic", "hm", "c2ln")
    assert read_thought(token) == Thought("hm", signature="c2ln", origin="anthropic")
    token = write_token("anthropic", "", redacted="cmVk")
    assert read_thought(token) == Thought(redacted="cmVk", origin="anthropic")


def test_a_signature_too_long_to_carry_leaves_the_text():
    token = write_token("anthropic", "hm", "x" * TOKEN_TEXT_BYTES)
    assert read_thought(token) == Thought("hm", origin="anthropic")
    assert len(token) <= 1 << 16


def test_a_signature_is_never_kept_without_its_text():
    token = write_token("anthropic", "x" * TOKEN_TEXT_BYTES, "c2ln")
    assert read_thought(token) == Thought(origin="anthropic")
