"""Conversations as lists of numbers, given out and taken back."""

import json
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Audio, Document, Image, Message, Text, ToolUse
from formats.context import LIMIT, is_ours, packed, unpacked
from formats.errors import Invalid
from tests.strategies import PNG

WAV = "UklGRiQAAABXQVZFZm10IBAAAAA="
TALK = (
    Message("system", (Text("Be short."),)),
    Message("user", (Text("What is this?"), Image(data=PNG, mime="image/png"))),
    Message("assistant", (Text("A dot \ud800\u2028ü."),)),
    Message("user", (Audio(WAV, "wav"),)),
)
texts = st.text(st.characters(codec=None), min_size=1, max_size=40)
talks = st.lists(
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant"]),
        st.builds(lambda text: (Text(text),), texts),
    ),
    max_size=5,
)


def numbers_of(text: bytes, size=None) -> list[int]:
    """What a stranger could send: any bytes under our own first numbers."""
    data = zlib.compress(text)
    return framed(data, size)


def framed(data: bytes, size=None) -> list[int]:
    filled = data + bytes(-len(data) % 3)
    body = [int.from_bytes(filled[at : at + 3], "big") for at in range(0, len(filled), 3)]
    return [*packed(())[:3], len(data) if size is None else size, *body]


def test_a_conversation_comes_back_as_it_was():
    numbers = packed(TALK)
    assert is_ours(numbers)
    assert unpacked(numbers) == TALK


@given(talks)
def test_any_conversation_comes_back_as_it_was(talk):
    numbers = packed(talk)
    assert unpacked(json.loads(json.dumps(numbers))) == tuple(talk)


@given(talks)
def test_every_number_fits_into_24_bits(talk):
    assert all(0 <= number < 1 << 24 for number in packed(talk))


def test_several_texts_are_one_and_an_empty_message_is_none():
    talk = (Message("user", (Text("a"), Text("b"))), Message("assistant", (Text(""),)))
    assert unpacked(packed(talk)) == (Message("user", (Text("a\nb"),)),)


@pytest.mark.parametrize(
    "message",
    [
        Message("user", (Text("x" * LIMIT),)),
        Message("tool", ()),
        Message("assistant", (ToolUse("i", "f"),)),
        Message("user", (Document(text="x"),)),
        Message("user", (Image(url="http://x.example/"),)),
    ],
)
def test_what_does_not_fit_is_not_packed(message):
    assert packed((Message("user", (Text("a"),)), message)) is None


def test_the_limit_is_that_of_the_json():
    head = len(b'[["u",""]]')
    assert packed((Message("user", (Text("x" * (LIMIT - head)),)),)) is not None
    assert packed((Message("user", (Text("x" * (LIMIT - head + 1)),)),)) is None


@pytest.mark.parametrize("numbers", [[], [1], [151644, 872, 198], packed(())[:1]])
def test_token_ids_are_not_ours(numbers):
    assert not is_ours(numbers)


GOOD = packed(TALK)


@pytest.mark.parametrize(
    "numbers",
    [
        GOOD[:2],
        GOOD[:3],
        GOOD[:4],
        GOOD[:-1],
        [*GOOD, 0],
        [*GOOD[:2], 2, *GOOD[3:]],
        [*GOOD[:3], -1, *GOOD[4:]],
        [*GOOD[:3], GOOD[3] - 3, *GOOD[4:]],
        [*GOOD[:4], 1 << 24, *GOOD[5:]],
        [*GOOD[:4], -1, *GOOD[5:]],
        [*GOOD[:4], GOOD[4] ^ 1, *GOOD[5:]],
        numbers_of(b" " * (LIMIT - 1) + b"[]"),
        framed(zlib.compress(b"[]")[:-1]),
        framed(zlib.compress(b"[]") + b"more"),
        numbers_of(b"\xff"),
        numbers_of(b"no json"),
        numbers_of(b"{}"),
        numbers_of(b'"ux"'),
        numbers_of(b'["ux"]'),
        numbers_of(b'[{"u":1,"x":2}]'),
        numbers_of(b'[["u"]]'),
        numbers_of(b'[["u",1]]'),
        numbers_of(b'[["x","a"]]'),
        numbers_of(b'[[["u"],"a"]]'),
        numbers_of(b'[["u","a",[],1]]'),
        numbers_of(b'[["u","a","AAAA"]]'),
        numbers_of(b'[["u","a",["http://127.0.0.1/"]]]'),
        numbers_of(b'[["u","a",[7]]]'),
        numbers_of(b"[" * 50_000),
    ],
)
def test_what_was_not_given_out_is_a_mistake_of_the_client(numbers):
    with pytest.raises(Invalid) as caught:
        unpacked(numbers)
    assert caught.value.path == "context"


def test_a_bomb_is_not_unpacked():
    bomb = numbers_of(b'[["u","' + b"x" * 5_000_000 + b'"]]')
    assert len(bomb) < LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(Invalid):
            unpacked(bomb)
        assert tracemalloc.get_traced_memory()[1] < 10 * LIMIT
    finally:
        tracemalloc.stop()


@given(st.lists(st.integers(-1, 1 << 24), max_size=30))
def test_any_numbers_behind_our_first_ones_are_read_or_refused(numbers):
    with suppress(Invalid):
        unpacked([*GOOD[:2], *numbers])
