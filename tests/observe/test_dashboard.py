"""The dashboard's page and its events, through the real edge."""

import json
import re
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from llmrouterd.config import Config, Server
from llmrouterd.model import (
    AttemptFailed,
    FirstToken,
    Headers,
    ModelInfo,
    Opened,
    Progress,
    Provider,
    ProviderState,
    Record,
    Secret,
)
from llmrouterd.observe import dashboard as dashboard_module
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.history import History
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


def test_a_cookie_that_came_by_https_stays_there() -> None:
    (_, plain), _ = dashboard_module.cookie_fields("k", "http")
    (_, safe), _ = dashboard_module.cookie_fields("k", "https")
    assert safe == f"{plain}; Secure"


async def test_a_wrong_key_gets_no_cookie() -> None:
    said = await ask(pages_of(KEYED, feed=Feed()).answer, "GET", "/dashboard?api_key=wrong")
    assert (said.status, said.get("set-cookie")) == (401, None)


BROWSER = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")


async def test_a_browser_without_a_key_gets_a_page_that_asks_for_one() -> None:
    """The page itself is the same for everybody: what it shows, it has to ask for."""
    answer = pages_of(KEYED, feed=Feed()).answer
    said = await ask(answer, "GET", "/dashboard", BROWSER)
    assert (said.status, said.get("content-type")) == (401, "text/html; charset=utf-8")
    assert b'id="door"' in said.body
    assert said.get("content-security-policy")
    for path in ("/dashboard/events", "/dashboard/api/state", "/dashboard/api/event", "/ready"):
        said = await ask(answer, "GET", path, BROWSER)
        assert (said.status, said.get("content-type")) == (401, "application/json")
    wrong = await ask(answer, "GET", "/dashboard?api_key=wrong", BROWSER)
    assert (wrong.status, wrong.get("content-type")) == (401, "application/json")
    none = await ask(pages_of(KEYED).answer, "GET", "/dashboard", BROWSER)
    assert (none.status, none.get("content-type")) == (401, "application/json")


async def test_a_key_that_is_typed_in_becomes_a_cookie() -> None:
    answer = pages_of(KEYED, feed=Feed()).answer
    said = await ask(answer, "POST", "/dashboard", body=KEY.encode())
    assert (said.status, said.body) == (204, b"")
    cookie = (said.get("set-cookie") or "").partition(";")[0]
    assert cookie == f"llmrouter_key={QUOTED}"
    assert (await ask(answer, "GET", "/dashboard/api/state", ("cookie", cookie))).status == 200


@pytest.mark.parametrize(
    ("body", "status"), [(b"wrong", 401), (b"\xff", 401), (b"", 413), (b"x" * 5000, 413)]
)
async def test_what_is_not_the_key_gets_no_cookie(body: bytes, status: int) -> None:
    said = await ask(pages_of(KEYED, feed=Feed()).answer, "POST", "/dashboard", body=body)
    assert (said.status, said.get("set-cookie")) == (status, None)
    assert "s3cret" not in said.body.decode()


async def test_a_page_elsewhere_cannot_try_keys() -> None:
    foreign = ("origin", "https://evil.example")
    answer = pages_of(KEYED, feed=Feed()).answer
    assert (await ask(answer, "POST", "/dashboard", foreign, body=KEY.encode())).status == 403


async def test_without_the_dashboard_there_is_no_door() -> None:
    assert (
        await ask(pages_of(KEYED).answer, "POST", "/dashboard", body=KEY.encode())
    ).status == 401
    assert (await ask(pages_of().answer, "POST", "/dashboard", body=b"x")).status == 404


# --- one event ------------------------------------------------------------------------------------


async def test_one_event_with_its_words() -> None:
    feed = Feed()
    answer = pages_of(feed=feed).answer
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}).encode()
    await ask(answer, "POST", "/v1/chat/completions", body=body)
    last = feed.since(0)[-1]
    said = await ask(answer, "GET", f"/dashboard/api/event?number={last.number}")
    assert (said.status, said.get("content-type")) == (200, "application/json")
    assert said.json["messages"][0]["content"][0]["text"] == "hi"
    assert json.loads(said.json["body"])["model"] == "echo"
    assert ["x-router-provider", "echo"] in said.json["headers"]
    assert said.get("cache-control") == "no-store"
    last.shed()
    gone = await ask(answer, "GET", f"/dashboard/api/event?number={last.number}")
    assert (gone.status, gone.json["error"]["message"]) == (404, "its words are not held any more")


@pytest.mark.parametrize(
    "query", ["", "?number=", "?number=0", "?number=99", "?number=-1", "?number=x"]
)
async def test_an_event_that_is_not_there(query: str) -> None:
    feed = Feed()
    feed.tell(opened(1))
    said = await ask(pages_of(feed=feed).answer, "GET", f"/dashboard/api/event{query}")
    assert said.status == 404


async def test_the_state_of_everything_for_the_page() -> None:
    name = "http://user:pw@10.0.0.7:8080/v1"
    far = Provider("far", "openai", name, local=False)
    states = {
        "echo": ProviderState(Provider("echo", "echo"), {"echo": ModelInfo("echo")}),
        "far": ProviderState(far, reached=False, why="refused"),
    }
    said = await ask(pages_of(states=states, feed=Feed()).answer, "GET", "/dashboard/api/state")
    assert said.status == 200
    common = {"on_demand": False, "in_flight": 0, "healthy": True, "circuit": "closed"}
    common |= {"back_s": None, "models_out": {}, "loaded": [], "failing": 0.0}
    common |= {"first_token_ms": None, "tokens_per_s": None, "paused": False, "queue": None}
    assert said.json == {
        "version": "",
        "ready": True,
        "draining": False,
        "in_flight": 0,
        "stale_s": 0.0,
        "providers": [
            {
                "name": "echo",
                "format": "echo",
                "local": True,
                "address": "",
                "reached": None,
                "models": 1,
                "why": None,
                **common,
            },
            {
                "name": "far",
                "format": "openai",
                "local": False,
                "address": "10.0.0.7:8080",  # without what may be a password
                "reached": False,
                "models": None,
                "why": "refused",
                **common,
            },
        ],
    }
    assert (await ask(pages_of(states=states).answer, "GET", "/dashboard/api/state")).status == 404


async def test_the_state_says_who_is_left_alone_and_what_is_in_memory() -> None:
    loaded = {"a": ModelInfo("a", loaded=True), "b": ModelInfo("b")}
    here = Provider("here", "ollama")
    states = {
        "here": ProviderState(here, loaded),
        "ill": ProviderState(replace(here, name="ill"), healthy=False, why="refused", back_s=9.5),
        "rests": ProviderState(replace(here, name="rests"), healthy=False, resting=True),
    }
    said = await ask(pages_of(states=states, feed=Feed()).answer, "GET", "/dashboard/api/state")
    told = {each["name"]: each for each in said.json["providers"]}
    assert [told[name]["circuit"] for name in states] == ["closed", "open", "resting"]
    assert told["here"]["loaded"] == ["a"]
    assert told["ill"]["back_s"] == 9.5


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
    def __init__(self, query: str = "") -> None:
        self.query = query
        self.headers = Headers()


@pytest.mark.parametrize(
    ("query", "told"),
    [("", b": 7 events lost\n\n"), ("v=2", b'data: {"type": "lost", "count": 7, "number": 1')],
)
async def test_a_slow_reader_is_told_how_much_it_has_lost(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, query: str, told: bytes
) -> None:
    feed, slow = Feed(events=10), Slow()
    nursery.start_soon(Dashboard(feed).events, Plain(query), slow)
    await trio.testing.wait_all_tasks_blocked()
    for n in range(1, 18):
        feed.tell(opened(n))
    slow.may.set()
    await trio.sleep(1)
    feed.tell(opened(18))
    await trio.sleep(1)
    seen = b"".join(slow.sent)
    assert seen.count(b"lost") == seen.count(told) == 1
    assert seen.index(told) < seen.index(b"id: ")
    assert [int(n) for n in re.findall(rb"id: (\d+)", seen)] == list(range(8, 19))


async def test_our_own_types_come_only_when_they_are_asked_for() -> None:
    feed = Feed()
    told = [
        opened(1),
        FirstToken(1, 0, 5),
        AttemptFailed(1, 0, "p", "m", "upstream", "e", 1),
        opened(2),
    ]
    for telling in told:
        feed.tell(telling)
    async with following(feed, "?after=0") as talk:
        await next_ids(talk, 1, 4)
    async with following(feed, "?after=0&v=2") as talk:
        seen = await talk.until(b"id: 4\n")
        assert re.findall(rb"^id: (\d)$", seen, re.MULTILINE) == [b"1", b"2", b"3", b"4"]
        hello = json.loads(seen.partition(b"data: ")[2].partition(b"\n")[0])
        assert hello["type"] == "hello"
        assert hello["feed"] == feed.begun_ms
        assert hello["now_ms"] >= feed.begun_ms
        assert hello["number"] == 4


async def test_a_reader_is_told_what_had_ended_before_it_came() -> None:
    """Of what comes after that number it adds the figures itself."""
    feed, history = Feed(events=3), History()
    for n in range(9):
        for sink in (feed, history):
            sink.tell(replace(ended(n), cost_usd=0.5))
    slow = Slow()
    slow.may.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Dashboard(feed, history).events, Plain("v=2&after=0"), slow)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    hello = json.loads(slow.sent[0].partition(b"data: ")[2].partition(b"\n")[0])
    assert (hello["number"], hello["totals"]["requests"]) == (9, 9)
    assert hello["totals"]["cost_usd"] == 4.5


async def test_a_reader_that_comes_in_the_middle_is_told_what_runs() -> None:
    feed = Feed()
    feed.tell(opened(1))
    feed.tell(FirstToken(1, 0, 5))
    feed.tell(Progress(1, 0, 3, 30, 250))
    async with following(feed, "?v=2") as talk:
        (hello, snapshot) = re.findall(rb"data: (.*)", await talk.until(b"]}\n\n"))
        assert json.loads(hello)["type"] == "hello"
        told = json.loads(snapshot)
        assert told["type"] == "snapshot"
        (events,) = told["requests"]
        assert [event["type"] for event in events] == ["start", "first_token", "progress"]
    async with following(feed) as talk:  # whoever knows four types gets those
        feed.tell(opened(2))
        assert b"snapshot" not in await talk.until(b"id: 3\n")


async def test_progress_comes_at_most_four_times_a_second_and_without_a_number(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = Feed()
    feed.tell(opened(1))
    feed.tell(FirstToken(1, 0, 5))
    async with following(feed, "?v=2") as talk:
        for n in range(40):
            await trio.sleep(0.05)
            feed.tell(Progress(1, 0, n, n, n))
        feed.tell(opened(2))
        seen = await talk.until(b"id: 3\n")
    events = [json.loads(data) for data in re.findall(rb"data: (.*)", seen)][2:]
    pieces = [event["pieces"] for event in events if event["type"] == "progress"]
    assert 6 <= len(pieces) <= 9  # of two seconds
    assert pieces == sorted(set(pieces))
    assert seen.count(b"id: ") == 1


async def test_a_stream_that_hangs_does_not_cost_its_reader_the_life_signs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = Feed()
    feed.tell(opened(1))
    feed.tell(FirstToken(1, 0, 5))
    async with following(feed, "?v=2") as talk:
        began = trio.current_time()
        await talk.until(b": keep-alive\n\n")
        assert trio.current_time() - began == 15


async def test_a_reader_may_do_without_the_words() -> None:
    feed = Feed()
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}).encode()
    await ask(pages_of(feed=feed).answer, "POST", "/v1/chat/completions", body=body)
    async with following(feed, "?after=0&bodies=none") as talk:
        seen = await talk.until(b'"messages"')
    told = json.loads(seen.rpartition(b"data: ")[2].partition(b"\n")[0])
    assert (told["type"], told["messages"], told["response"]) == ("complete", [], None)
    assert told["output_tokens"]


async def test_large_events_are_written_one_after_another(nursery: trio.Nursery) -> None:
    """What is gathered into one write is bounded."""
    feed, slow = Feed(), Slow()
    for n in range(6):
        feed.tell(Opened(n, 0, "m" * 40_000, 1))
    slow.may.set()
    nursery.start_soon(Dashboard(feed).events, Plain("after=0"), slow)
    await trio.testing.wait_all_tasks_blocked()
    assert [data.count(b"id: ") for data in slow.sent] == [0, 1, 1, 1, 1, 1, 1]


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


class Quick(Slow):
    """A client that takes whatever comes, and keeps none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    async def send(self, data: bytes) -> None:
        self.ended += data.count(b'"type":"complete"')
        await trio.lowlevel.checkpoint()


def ended(number: int) -> Record:
    return Record(
        id=number,
        request_id="req",
        ts_ms=0,
        end="complete",
        status=200,
        client_format="openai",
        endpoint="/v1/chat/completions",
        requested_model="m" * 200,
    )


@pytest.mark.slow
async def test_fifty_readers_one_of_them_stuck_hold_nobody_up_and_keep_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    feed, stuck, quick = Feed(events=200), Slow(), [Quick() for _ in range(49)]
    for client in (stuck, *quick):
        nursery.start_soon(Dashboard(feed).events, Plain("v=2&bodies=none"), client)
    await trio.testing.wait_all_tasks_blocked()

    async def requests(first: int, count: int) -> None:
        for number in range(first, first + count):
            feed.tell(opened(number))
            feed.tell(ended(number))
            if number % 20 == 0:
                await trio.sleep(1)
        await trio.sleep(1)

    await requests(0, 400)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await requests(400, 400)
        between, _ = tracemalloc.get_traced_memory()
        await requests(800, 800)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [client.ended for client in quick] == [1600] * 49
    assert after - between < max(between - before, 500_000) / 2  # the ring is full: no more comes
    assert (len(feed.since(0)), feed.readers) == (200, 50)
    stuck.may.set()
    await trio.sleep(1)
    assert b'"type": "lost"' in b"".join(stuck.sent)


async def test_the_history_for_charts() -> None:
    feed = Feed()
    answer = pages_of(feed=feed).answer
    said = await ask(answer, "GET", "/dashboard/api/history?span=3600")
    assert (said.status, said.json["step_ms"], said.json["bins"]) == (200, 60_000, [])
    assert (await ask(answer, "GET", "/dashboard/api/history")).json["span_ms"] == 300_000
    wrong = await ask(answer, "GET", "/dashboard/api/history?span=4")
    assert (wrong.status, wrong.json["error"]["message"]) == (
        400,
        "span is one of 300, 3600, 86400 (seconds)",
    )


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
    told = [json.loads(e.text()) for e in feed.since(0) if e.original]
    assert [event["type"] for event in told] == ["start", "classified", "routed", "complete"]
    assert {event["id"] for event in told} == {told[0]["id"]}
    assert told[-1]["response"]["content"] == "hi"
    assert isinstance(list(feed.since(0))[-1].telling, Record)
