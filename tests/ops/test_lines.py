"""Lines of JSON between workers and hub."""

import math

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.ops import lines
from llmrouterd.ops.frames import Malformed
from llmrouterd.ops.lines import LIMIT, MARK, Lines, Outbox, heard, line

WORDS = st.lists(st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False))


@given(st.lists(WORDS, min_size=1), st.integers(1, 7))
def test_what_was_said_is_heard_however_it_is_cut(said, size: int) -> None:
    text = b"".join(line("kind", *words) for words in said)
    assert text.startswith(MARK)
    reader, found = Lines(), []
    for at in range(0, len(text), size):
        found += reader.feed(text[at : at + size])
    assert found == [["kind", *words] for words in said]


def test_without_an_end_is_said_as_such() -> None:
    [[_, much]] = Lines().feed(line("left", math.inf))
    assert much == math.inf


@pytest.mark.parametrize("text", [b"{}\n", b"[]\n", b"[1]\n", b"x\n", b"[" * 5000 + b"\n", b"\n"])
def test_what_is_no_line_of_ours_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        Lines().feed(text)


def test_a_line_has_an_end() -> None:
    reader = Lines()
    with pytest.raises(Malformed):
        for _ in range(LIMIT // 65536 + 2):
            reader.feed(b"x" * 65536)


def test_words_that_nobody_knows_are_malformed() -> None:
    found = []
    heard({"one": found.append}, ["one", 1])
    assert found == [1]
    with pytest.raises(Malformed, match="'two'"):
        heard({"one": found.append}, ["two", 1])


async def test_who_does_not_read_is_cut_off_and_nobody_waited(monkeypatch) -> None:
    monkeypatch.setattr(lines, "WAITING", 1000)
    ours, _ = trio.testing.lockstep_stream_pair()
    outbox = Outbox()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, ours)
            outbox.say("first")
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(200):
                outbox.say("more", "x" * 20)
    # `run` has returned: the nursery ended without being cancelled
