"""The live feed: bounded in number and bytes, lossy for the slow, replayed for the returning."""

import json
from dataclasses import replace

import pytest
import trio

from formats.canonical import Message, Request, Text, ToolUse
from llmrouterd.model import Classified, Opened, Record
from llmrouterd.observe import feed as feed_module
from llmrouterd.observe.feed import BEHIND, Entry, Feed


def opened(number: int = 1) -> Opened:
    return Opened(number, 0, "m", 1)


def record(number: int = 1, *, text: str = "hi", size: int = 0) -> Record:
    request = Request("openai", "m", (Message("user", (Text(text),)),))
    return Record(
        number, "r", 0, "complete", 200, "openai", "/", "m", request=request, size_bytes=size
    )


def numbers(feed: Feed, after: int = 0) -> list[int]:
    return [entry.number for entry in feed.since(after)]


def data_of(entry: Entry) -> dict:
    (line,) = [x for x in entry.event().decode().split("\n") if x.startswith("data: ")]
    return json.loads(line.removeprefix("data: "))


# --- the ring -------------------------------------------------------------------------------------


def test_tellings_are_numbered_from_one() -> None:
    feed = Feed()
    for n in range(3):
        feed.tell(opened(n))
    assert numbers(feed) == [1, 2, 3]
    assert numbers(feed, after=1) == [2, 3]
    assert numbers(feed, after=3) == []


def test_the_ring_is_bounded_in_number() -> None:
    feed = Feed(events=5)
    for _ in range(12):
        feed.tell(opened())
    assert numbers(feed) == [8, 9, 10, 11, 12]


def test_the_ring_is_bounded_in_bytes() -> None:
    feed = Feed(size=10_000)
    for _ in range(50):
        feed.tell(record(size=1000))  # some 3 kB each
    assert numbers(feed) == [48, 49, 50]
    for _ in range(30):
        feed.tell(opened())  # small ones drive the large ones out only as they need the room
    assert len(numbers(feed)) > 30


def test_the_bound_in_bytes_does_not_wear_out() -> None:
    """What leaves the ring is taken off its weight: else it would shrink to one entry for ever."""
    feed = Feed(size=10_000)
    for _ in range(10):
        feed.tell(record(size=100_000))
    for _ in range(40):
        feed.tell(opened())
    assert len(numbers(feed)) == 40


def test_one_telling_larger_than_the_bound_is_held_alone() -> None:
    feed = Feed(size=1000)
    feed.tell(opened())
    feed.tell(record(size=10**9))
    assert numbers(feed) == [2]


def test_a_reader_of_a_feed_before_this_one_gets_all_that_is_held() -> None:
    """After a restart the numbers begin anew, and a page comes back with an old, higher one."""
    feed = Feed()
    feed.tell(opened())
    feed.tell(opened())
    assert numbers(feed, after=500) == [1, 2]


# --- events ---------------------------------------------------------------------------------------


def test_an_event_is_its_number_and_one_line_of_json() -> None:
    assert Entry(7, Classified(3, 99, ("code",))).event() == (
        b'id: 7\ndata: {"type":"classified","id":3,"ts_ms":99,"tags":["code"]}\n\n'
    )


def test_no_text_can_break_out_of_its_line() -> None:
    text = "a\nb\r\nc\rd\n\ndata: x\u2028\u2029\x85\x00 Grüße 世界 \ud800"
    event = Entry(1, record(text=text)).event()
    assert len(event.decode().splitlines()) == 3  # which knows more ends of lines than SSE does
    assert b"\r" not in event
    assert data_of(Entry(1, record(text=text)))["messages"][0]["content"][0]["text"] == text


def test_json_is_made_once_and_only_when_somebody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = feed_module.as_text
    monkeypatch.setattr(feed_module, "as_text", lambda telling: made.append(1) or real(telling))
    feed = Feed()
    for _ in range(5):
        feed.tell(record())
    assert not made
    (entry,) = feed.since(4)
    assert entry.event() == entry.event()
    assert len(made) == 1


def test_words_that_cannot_be_written_do_not_stop_the_feed() -> None:
    """The number is one that JSON has not; it must cost the words, not the reader."""
    bad = Message("assistant", (ToolUse("c", "f", input={"x": float("inf")}),))
    told = replace(record(), request=Request("openai", "m", (bad,)))
    assert data_of(Entry(1, told))["messages"] == []


# --- readers --------------------------------------------------------------------------------------


async def test_a_reader_gets_what_is_told_from_now_on() -> None:
    feed = Feed()
    feed.tell(opened(1))
    with feed.subscribe() as subscription:
        assert feed.readers == 1
        feed.tell(opened(2))
        feed.tell(opened(3))
        assert [(await subscription.next()).number for _ in range(2)] == [2, 3]
        assert subscription.lost == 0
    assert feed.readers == 0


async def test_a_slow_reader_loses_what_it_cannot_hold_and_holds_nobody_up() -> None:
    feed = Feed()
    with feed.subscribe() as slow, feed.subscribe() as quick:
        for n in range(BEHIND + 10):
            feed.tell(opened(n))
            assert (await quick.next()).number == n + 1
        assert (slow.lost, quick.lost) == (10, 0)
        assert [(await slow.next()).number for _ in range(BEHIND)] == list(range(1, BEHIND + 1))
        feed.tell(opened())
        assert (await slow.next()).number == BEHIND + 11


async def test_a_closed_feed_ends_every_reader_after_what_it_still_has() -> None:
    feed = Feed()
    with feed.subscribe() as subscription:
        feed.tell(opened())
        feed.close()
        feed.tell(opened())
        assert (await subscription.next()).number == 1
        with pytest.raises(trio.EndOfChannel):
            await subscription.next()
    feed.close()


async def test_who_comes_after_the_close_comes_to_the_end_at_once() -> None:
    """Else a request that was on its way at the drain would hold it up to its deadline."""
    feed = Feed()
    feed.close()
    with feed.subscribe() as subscription, trio.fail_after(20):
        with pytest.raises(trio.EndOfChannel):
            await subscription.next()


async def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    feed = Feed()
    with pytest.raises(RuntimeError, match="its own"):
        with feed.subscribe():
            raise RuntimeError("its own")
    feed.tell(opened())
    assert feed.readers == 0
