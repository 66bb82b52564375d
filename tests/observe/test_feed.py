"""The live feed: bounded in number and bytes, lossy for the slow, replayed for the returning."""

import json
from dataclasses import replace

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from formats.canonical import Message, Request, Text
from llmrouterd.model import AttemptFailed, Classified, FirstToken, Opened, Progress, Record, Routed
from llmrouterd.observe import feed as feed_module
from llmrouterd.observe.feed import (
    AT_ONCE,
    BEAT_S,
    LONGEST_BEAT_S,
    PIECE_BYTES,
    WAKES,
    Batch,
    Entry,
    Feed,
    Subscription,
)


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


async def taken(subscription: Subscription) -> list[int]:
    return [entry.number for entry in (await subscription.next()).entries]


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
    feed = Feed(size=16_000)
    for _ in range(50):
        feed.tell(record(size=1000))  # some 5 kB each, and 2 kB without its words
    held = feed.since(0)
    assert [entry.number for entry in held] == [42, 43, 44, 45, 46, 47, 48, 49, 50]
    for _ in range(30):
        feed.tell(opened())  # small ones drive the large ones out only as they need the room
    assert len(numbers(feed)) > 33


def test_words_go_before_the_records_they_belong_to() -> None:
    """Long conversations must not cost the list of what has run."""
    feed = Feed(size=100_000)
    for n in range(20):
        feed.tell(opened(n))
        feed.tell(record(n, size=10_000))
    held = feed.since(0)
    assert len(held) == 40
    words = [
        bool(data_of(entry)["messages"]) for entry in held if not isinstance(entry.telling, Opened)
    ]
    assert words == [False] * 18 + [True] * 2
    assert [entry.words for entry in held[1::2]] == words
    assert data_of(held[1])["id"] == 0  # all the rest of it is there


def test_what_was_made_of_the_words_goes_with_them() -> None:
    feed = Feed(size=10_000)
    feed.tell(record(size=1000))
    (first,) = feed.since(0)
    assert data_of(first)["messages"]
    for _ in range(2):
        feed.tell(record(size=10_000))
    assert not data_of(first)["messages"]


def test_a_long_name_weighs_what_it_is_long() -> None:
    """Names are as long as clients make them, and stand in more events than the record."""
    feed = Feed(size=10_000)
    for n in range(30):
        feed.tell(Opened(n, 0, "m" * 2000, 1))
        feed.tell(Routed(n, 0, "p", "m" * 2000))
        feed.tell(AttemptFailed(n, 0, "p", "m" * 1000, "upstream", "e" * 1000, 1))
    assert numbers(feed) == [86, 87, 88, 89, 90]


def test_the_bound_in_bytes_does_not_wear_out() -> None:
    """What leaves the ring is taken off its weight: else it would shrink to one entry for ever."""
    feed = Feed(size=10_000)
    for _ in range(10):
        feed.tell(record(size=100_000))
    for _ in range(45):
        feed.tell(opened())
    assert len(numbers(feed)) == 45


def test_the_newest_is_held_however_large_it_is() -> None:
    """Who looks on as it happens gets all of it; the next one drives its words out."""
    feed = Feed(size=10_000)
    feed.tell(opened())
    feed.tell(record(size=10**9))
    assert [entry.words for entry in feed.since(0)] == [False, True]
    feed.tell(opened())
    assert [entry.words for entry in feed.since(0)] == [False, False, False]


def test_a_reader_of_a_feed_before_this_one_gets_all_that_is_held() -> None:
    """After a restart the numbers begin anew, and a page comes back with an old, higher one."""
    feed = Feed()
    feed.tell(opened())
    feed.tell(opened())
    assert numbers(feed, after=500) == [1, 2]


def test_progress_takes_no_place_in_the_ring() -> None:
    feed = Feed()
    feed.tell(opened(1))
    feed.tell(Progress(1, 0, 5, 50, 250))
    feed.tell(opened(2))
    assert numbers(feed) == [1, 2]


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
    assert data_of(Entry(1, record(text=text)))["messages"][0]["content"][0][
        "text"
    ] == text.replace("\ud800", "\ufffd")


def test_json_is_made_once_and_only_when_somebody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = feed_module.as_text
    monkeypatch.setattr(
        feed_module, "as_text", lambda telling, **how: made.append(how) or real(telling, **how)
    )
    feed = Feed()
    for _ in range(5):
        feed.tell(record())
    assert not made
    (entry,) = feed.since(4)
    assert entry.event() == entry.event()
    assert made == [{}]
    assert entry.event(bodies=False) == entry.event(bodies=False) != entry.event()
    assert made == [{}, {"bodies": False}]


def test_words_that_cannot_be_written_do_not_stop_the_feed() -> None:
    """It must cost the words, not the reader."""
    bad = Message("assistant", (Text(object()),))  # type: ignore[arg-type]
    told = replace(record(), request=Request("openai", "m", (bad,)))
    assert data_of(Entry(1, told))["messages"] == []


def test_the_bound_in_number_takes_words_along() -> None:
    feed = Feed(events=3)
    for n in range(10):
        feed.tell(record(n))
    assert [entry.words for entry in feed.since(0)] == [True, True, True]
    assert feed.entry(8).words


# --- readers --------------------------------------------------------------------------------------


async def test_a_reader_gets_what_is_told_from_now_on(autojump_clock: MockClock) -> None:
    feed = Feed()
    feed.tell(opened(1))
    with feed.subscribe() as subscription:
        assert feed.readers == 1
        feed.tell(opened(2))
        feed.tell(opened(3))
        assert await taken(subscription) == [2, 3]
        feed.tell(opened(4))
        assert await taken(subscription) == [4]
        assert subscription.lost == 0
    assert feed.readers == 0


async def test_every_reader_that_waits_is_woken(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    feed, seen = Feed(), []

    async def read() -> None:
        with feed.subscribe() as subscription:
            seen.append(await taken(subscription))

    nursery.start_soon(read)
    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    feed.tell(opened())
    await trio.sleep(BEAT_S)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [[1], [1]]


async def test_a_slow_reader_loses_only_what_has_left_the_ring(autojump_clock: MockClock) -> None:
    """Being slow costs the daemon nothing: the reader has no queue of its own."""
    feed = Feed(events=5)
    with feed.subscribe() as slow, feed.subscribe() as quick:
        for n in range(1, 6):
            feed.tell(opened(n))
            assert await taken(quick) == [n]
        assert await taken(slow) == [1, 2, 3, 4, 5]
        for n in range(6, 16):
            feed.tell(opened(n))
            assert await taken(quick) == [n]
        assert await taken(slow) == [11, 12, 13, 14, 15]
        assert (slow.lost, quick.lost) == (5, 0)


async def test_a_reader_takes_a_bounded_number_at_once(autojump_clock: MockClock) -> None:
    feed = Feed()
    for n in range(AT_ONCE + 3):
        feed.tell(opened(n))
    with feed.subscribe(after=0) as subscription:
        assert await taken(subscription) == list(range(1, AT_ONCE + 1))
        assert len(await taken(subscription)) == 3


@pytest.mark.parametrize(
    ("after", "first", "lost"), [(None, 13, 0), (0, 8, 0), (9, 10, 0), (3, 8, 4), (99, 8, 0)]
)
async def test_where_a_reader_begins(
    autojump_clock: MockClock, after: int | None, first: int, lost: int
) -> None:
    """Of what it says it saw last it is told what is gone; all that is held loses nothing."""
    feed = Feed(events=5)
    for n in range(12):
        feed.tell(opened(n))
    with feed.subscribe(after) as subscription:
        feed.tell(opened())
        # what is held now begins one later: the reader had not read yet
        entries = await taken(subscription)
        if entries[-1] < 13:
            entries += await taken(subscription)
        assert entries[-1] == 13
        assert entries[0] == max(first, 9)
        assert subscription.lost == lost + (entries[0] - first if after is not None else 0)


def test_an_entry_is_found_by_its_number_while_it_is_held() -> None:
    feed = Feed(events=3)
    assert feed.entry(0) is None
    for n in range(5):
        feed.tell(opened(n))
    held = {n: feed.entry(n) for n in range(-2, 8)}
    assert {n for n, entry in held.items() if entry} == {3, 4, 5}
    assert all(entry is None or entry.number == n for n, entry in held.items())


async def test_a_closed_feed_ends_every_reader_after_what_it_still_has(
    autojump_clock: MockClock,
) -> None:
    feed = Feed()
    with feed.subscribe() as subscription:
        feed.tell(opened())
        feed.close()
        feed.tell(opened())
        assert await taken(subscription) == [1]
        with pytest.raises(trio.EndOfChannel):
            await subscription.next()
    feed.close()


async def test_a_reader_whose_last_entries_are_gone_comes_to_the_end(
    autojump_clock: MockClock,
) -> None:
    """The daemon drains, and what still runs goes on telling."""
    feed = Feed(events=3)
    with feed.subscribe() as subscription:
        feed.tell(opened())
        feed.close()
        for _ in range(5):
            feed.tell(opened())
        with pytest.raises(trio.EndOfChannel):
            await subscription.next()


async def test_who_comes_after_the_close_comes_to_the_end_at_once(
    autojump_clock: MockClock,
) -> None:
    """Else a request that was on its way at the drain would hold it up to its deadline."""
    feed = Feed()
    feed.close()
    with feed.subscribe() as subscription, trio.fail_after(20):
        with pytest.raises(trio.EndOfChannel):
            await subscription.next()


async def test_a_reader_that_leaves_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    feed = Feed()
    with pytest.raises(RuntimeError, match="its own"):
        with feed.subscribe():
            raise RuntimeError("its own")
    feed.tell(opened())
    assert feed.readers == 0


# --- beats ----------------------------------------------------------------------------------------


async def test_a_reader_is_woken_once_a_beat_however_much_happens(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    feed, batches = Feed(), []

    async def read() -> None:
        with feed.subscribe() as subscription:
            while True:
                batches.append(await taken(subscription))

    for _ in range(3):
        nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    for n in range(40):
        feed.tell(opened(n))
        await trio.sleep(BEAT_S / 20)
    await trio.sleep(BEAT_S)
    nursery.cancel_scope.cancel()
    assert 6 <= len(batches) <= 9
    assert [n for some in batches[::3] for n in some] == list(range(1, 41))


@pytest.mark.parametrize(
    ("readers", "beat_s"),
    [(1, BEAT_S), (25, BEAT_S), (50, 50 / WAKES), (WAKES * 5, LONGEST_BEAT_S)],
)
async def test_many_readers_are_woken_less_often(
    autojump_clock: MockClock, nursery: trio.Nursery, readers: int, beat_s: float
) -> None:
    feed, woken = Feed(), []

    async def read() -> None:
        with feed.subscribe() as subscription:
            await taken(subscription)
            woken.append(trio.current_time())

    for _ in range(readers):
        nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    feed.tell(opened())
    await trio.sleep(2 * LONGEST_BEAT_S)
    assert len(woken) == readers
    assert max(woken) - began == pytest.approx(beat_s)


async def test_readers_in_step_share_what_is_made_for_them(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    feed, batches = Feed(), []

    async def read() -> None:
        with feed.subscribe() as subscription:
            batches.append(await subscription.next())
            batches.append(await subscription.next())

    for _ in range(5):
        nursery.start_soon(read)
    for _ in range(2):
        await trio.testing.wait_all_tasks_blocked()
        feed.tell(opened())
        feed.tell(opened())
        await trio.sleep(2 * BEAT_S)
    assert len(batches) == 10
    assert len({id(batch) for batch in batches}) == 2
    one, other = (list(batches[0].pieces(ours=True, bodies=True)) for _ in range(2))
    assert one[0] is other[0]


async def test_a_reader_that_leaves_as_it_keeps_the_time_leaves_it_to_another(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    feed, seen, scopes = Feed(), [], []

    async def read() -> None:
        with trio.CancelScope() as scope, feed.subscribe() as subscription:
            scopes.append(scope)
            entries = await taken(subscription)
            seen.append((trio.current_time(), entries))

    for _ in range(3):
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    feed.tell(opened())
    await trio.testing.wait_all_tasks_blocked()
    scopes[0].cancel()
    await trio.sleep(BEAT_S / 2)
    feed.tell(opened())
    scopes[1].cancel()
    await trio.sleep(2 * BEAT_S)
    assert seen == [(pytest.approx(began + BEAT_S), [1, 2])]


async def test_what_was_told_as_all_readers_were_at_work_is_read_all_the_same(
    autojump_clock: MockClock,
) -> None:
    feed = Feed()
    with feed.subscribe() as subscription:
        feed.tell(opened())
        assert await taken(subscription) == [1]
        feed.tell(opened())
        feed.tell(opened())
        assert await taken(subscription) == [2, 3]


def test_events_are_gathered_to_be_written() -> None:
    entries = [Entry(n, Opened(n, 0, "m" * 20_000, 1)) for n in range(7)]
    pieces = list(Batch(entries).pieces(ours=True, bodies=True))
    assert [piece.count(b"id: ") for piece in pieces] == [3, 3, 1]
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)
    large = Batch([Entry(1, Opened(1, 0, "m" * 400_000, 1)), entries[0]])
    for _ in range(2):  # too large to be kept
        assert [p.count(b"id: ") for p in large.pieces(ours=True, bodies=True)] == [1, 1]


def test_who_knows_four_types_gets_those() -> None:
    batch = Batch([Entry(1, AttemptFailed(1, 0, "p", "m", "upstream", "e", 1)), Entry(2, opened())])
    assert b"".join(batch.pieces(ours=False, bodies=True)).count(b"id: ") == 1
    assert b"".join(batch.pieces(ours=True, bodies=True)).count(b"id: ") == 2


async def test_a_reader_that_is_stuck_keeps_no_words_alive(autojump_clock: MockClock) -> None:
    feed = Feed(events=3)
    with feed.subscribe() as subscription:
        feed.tell(record())
        (held,) = (await subscription.next()).entries
        assert held.words
        for _ in range(3):
            feed.tell(record())
        assert held.telling.request is None


def test_progress_is_written_once_for_all_who_ask_for_the_same() -> None:
    feed = Feed()
    feed.tell(opened())
    feed.tell(FirstToken(1, 0, 5))
    feed.tell(Progress(1, 0, 5, 50, 250))
    turn, news = feed.progress(0)
    assert json.loads(news.removeprefix(b"data: "))["pieces"] == 5
    assert feed.progress(0)[1] is news
    assert feed.progress(turn) == (turn, b"")
    feed.tell(Progress(1, 0, 9, 90, 500))
    assert json.loads(feed.progress(turn)[1].removeprefix(b"data: "))["pieces"] == 9
