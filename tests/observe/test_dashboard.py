"""The dashboard's page and its events, through the real edge."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest
import trio
import trio.testing

from llmrouterd.config import Config, Server
from llmrouterd.model import Headers, Opened, Provider, Record, Secret
from llmrouterd.observe import dashboard as dashboard_module
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import BEHIND, Feed
from tests.ops.stage import HERE, Talk, ask, pages_of, talking

KEY = "s3cret/+ %\u00fc;=\"'"
KEYED = Config(Server(api_key=Secret(KEY)), providers=(Provider("echo", "echo"),))
QUOTED = "s3cret%2F%2B%20%25%C3%BC%3B%3D%22%27"


def opened(number: int) -> Opened:
    return Opened(number, 0, "m", 1)


@asynccontextmanager
async def following(feed: Feed, target: str = "", *headers: tuple[str, str]) -> AsyncIterator[Talk]:
    """A reader of the events, past the first comment."""
    async with talking(pages_of(feed=feed).answer) as talk:
        await talk.send("GET", f"/dashboard/events{target}", [HERE, *headers], b"")
        said = await talk.head()
        assert said.status == 200
        assert said.get("content-type") == "text/event-stream; charset=utf-8"
        assert said.get("cache-control") == "no-cache"
        yield talk


async def next_ids(talk: Talk, *numbers: int) -> None:
    """Exactly these events come next."""
    seen = await talk.until(f"id: {numbers[-1]}\n".encode())
    assert [int(n) for n in re.findall(rb"^id: (\d+)$", seen, re.MULTILINE)] == list(numbers)


# --- the page -------------------------------------------------------------------------------------


async def test_the_page_may_load_nothing_from_anywhere() -> None:
    said = await ask(pages_of(feed=Feed()).answer, "GET", "/dashboard")
    assert said.get("content-type") == "text/html; charset=utf-8"
    policy = dict(
        p.strip().split(" ", 1) for p in (said.get("content-security-policy") or "").split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in said.get("content-security-policy")
    assert said.get("x-content-type-options") == "nosniff"
    assert said.get("referrer-policy") == "no-referrer"
    assert said.get("cache-control") == "no-store"


def test_the_page_asks_for_nothing_outside_of_itself() -> None:
    page = files("llmrouterd.observe").joinpath("dashboard.html").read_text()
    assert not re.search(r"https?://|//[a-z]|@import|<link|<img|src=", page)
    assert "innerHTML" not in page  # what models and clients say is text, never markup
    assert re.findall(r'EventSource\([`"]([^`"?]*)', page) == ["/dashboard/events"]


async def test_without_the_dashboard_there_is_no_page() -> None:
    for path in ("/dashboard", "/dashboard/events"):
        assert (await ask(pages_of().answer, "GET", path)).status == 404


async def test_a_key_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    answer = pages_of(KEYED, feed=Feed()).answer
    said = await ask(answer, "GET", f"/dashboard?api_key={QUOTED}")
    assert (said.status, said.get("location"), said.body) == (303, "/dashboard", b"")
    cookie, *attributes = (said.get("set-cookie") or "").split("; ")
    assert set(attributes) == {"Path=/dashboard", "HttpOnly", "SameSite=Strict"}
    assert re.fullmatch(r"llmrouter_key=[\w.~%-]+", cookie)
    back = await ask(answer, "GET", "/dashboard", ("cookie", cookie))
    assert back.status == 200
    assert "s3cret" not in back.body.decode()


async def test_a_wrong_key_gets_no_cookie() -> None:
    said = await ask(pages_of(KEYED, feed=Feed()).answer, "GET", "/dashboard?api_key=wrong")
    assert (said.status, said.get("set-cookie")) == (401, None)


# --- events ---------------------------------------------------------------------------------------


async def test_a_reader_gets_what_happens_from_now_on() -> None:
    feed = Feed()
    feed.tell(opened(1))
    async with following(feed) as talk:
        assert await talk.until(b"\n\n") == b": llmrouter\n\n"
        feed.tell(opened(2))
        seen = await talk.until(b"\n\n")
        assert seen.startswith(b"id: 2\ndata: ")
        assert json.loads(seen.partition(b"data: ")[2])["id"] == 2


@pytest.mark.parametrize(
    ("target", "headers", "first"),
    [
        ("?after=0", (), 1),
        ("?after=3", (), 4),
        ("", (("last-event-id", "3"),), 4),
        ("?after=0", (("last-event-id", "4"),), 5),  # what the browser says is newer
        ("?after=3", (("last-event-id", ""),), 4),
        ("", (("last-event-id", "900"),), 1),  # of a daemon before this one
    ],
)
async def test_a_reader_that_comes_back_misses_nothing_that_is_held(
    target: str, headers: tuple, first: int
) -> None:
    feed = Feed()
    for n in range(1, 6):
        feed.tell(opened(n))
    async with following(feed, target, *headers) as talk:
        await next_ids(talk, *range(first, 6))
        feed.tell(opened(6))
        await next_ids(talk, 6)


@pytest.mark.parametrize("last", ["-1", "1.5", "x", "\xb2", "9" * 30])
async def test_an_id_that_is_none_starts_now(last: str) -> None:
    feed = Feed()
    feed.tell(opened(1))
    async with following(feed, "", ("last-event-id", last)) as talk:
        await talk.until(b": llmrouter\n\n")
        feed.tell(opened(2))
        await next_ids(talk, 2)


async def test_what_happens_during_the_replay_comes_once_and_in_order() -> None:
    feed = Feed()
    for n in range(1, 4):
        feed.tell(opened(n))
    async with following(feed, "?after=0") as talk:
        for n in range(4, 8):  # the reader has read nothing but the head
            feed.tell(opened(n))
        await next_ids(talk, *range(1, 8))


class Slow:
    """A client that takes nothing until it is let."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.may = trio.Event()

    async def start(self, status: int, headers: list) -> None:
        self.waits = True

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        await self.may.wait()

    async def finish(self) -> None:
        self.sent.append(b"END")


class Plain:
    query = ""

    def __init__(self) -> None:
        self.headers = Headers()


async def test_a_slow_reader_is_told_how_much_it_has_lost(nursery: trio.Nursery) -> None:
    feed, slow = Feed(), Slow()
    nursery.start_soon(Dashboard(feed).events, Plain(), slow)
    await trio.testing.wait_all_tasks_blocked()
    for n in range(1, BEHIND + 8):
        feed.tell(opened(n))
    slow.may.set()
    await trio.testing.wait_all_tasks_blocked()
    assert b": 7 events lost\n\n" in slow.sent
    assert sum(data.startswith(b"id: ") for data in slow.sent) == BEHIND
    assert sum(b"lost" in data for data in slow.sent) == 1


async def test_a_quiet_stream_is_kept_alive(autojump_clock: trio.testing.MockClock) -> None:
    feed = Feed()
    async with following(feed) as talk:
        began = trio.current_time()
        seen = await talk.until(b": keep-alive\n\n")
        assert trio.current_time() - began == dashboard_module.KEEPALIVE_S == 15
        assert seen == b": llmrouter\n\n: keep-alive\n\n"
        await talk.until(b": keep-alive\n\n")
        feed.tell(opened(1))
        await next_ids(talk, 1)


async def test_the_stream_ends_properly_when_the_feed_is_closed() -> None:
    """The drain closes it: an open page must not hold the daemon up."""
    feed = Feed()
    async with following(feed) as talk:
        feed.tell(opened(1))
        feed.close()
        seen = await talk.rest()
        assert b"id: 1\n" in seen
        assert feed.readers == 0


async def test_a_reader_that_leaves_is_forgotten() -> None:
    feed = Feed()
    async with following(feed) as talk:
        await talk.until(b": llmrouter\n\n")
        assert feed.readers == 1
    await trio.testing.wait_all_tasks_blocked()
    assert feed.readers == 0


async def test_the_events_of_a_request_are_the_four_in_their_order() -> None:
    feed = Feed()
    pages = pages_of(feed=feed)
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}).encode()
    said = await ask(pages.answer, "POST", "/v1/chat/completions", body=body)
    assert said.status == 200
    told = [json.loads(e.event().partition(b"data: ")[2]) for e in feed.since(0)]
    assert [event["type"] for event in told] == ["start", "classified", "routed", "complete"]
    assert {event["id"] for event in told} == {told[0]["id"]}
    assert told[-1]["response"]["content"] == "hi"
    assert isinstance(list(feed.since(0))[-1].telling, Record)
