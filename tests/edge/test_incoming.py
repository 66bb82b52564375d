import gzip
import tracemalloc
import zlib

import h11
import pytest
import trio
import trio.testing

from llmrouterd.edge.client import ClientGone
from llmrouterd.edge.incoming import BodyBudget, Incoming, Limits, Refused, RequestBody, WholeBody
from llmrouterd.edge.rawhead import check_request
from llmrouterd.edge.wire import as_wire
from llmrouterd.model import Headers

HEAD = b"POST /a%%20b?x=%%31 HTTP/1.1\r\nHost: h\r\n%b\r\n"


class Told:
    """A request whose head has come, over a memory stream."""

    def __init__(self, fields: bytes, early: bytes = b"", budget=None, **limits) -> None:
        ours, self.theirs = trio.testing.memory_stream_pair()
        head = HEAD % fields
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head + early)
        event = connection.next_event()
        facts = check_request(head)
        self.h11 = connection
        self.body = RequestBody(as_wire(ours), connection, facts, Limits(**limits), budget)
        self.incoming = Incoming("POST", facts.target, Headers(list(event.headers)), self.body)

    async def refusal(self):
        with pytest.raises(Refused) as caught:
            await self.incoming.body()
        failure = caught.value.failure
        return failure.kind, failure.status


LENGTH = b"Content-Length: %d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


async def test_path_and_query_are_taken_apart() -> None:
    incoming = Told(b"").incoming
    assert (incoming.path, incoming.query) == ("/a b", "x=%31")
    assert incoming.target == "/a%20b?x=%31"
    assert "secret" not in repr(incoming)


async def test_a_body_that_came_with_the_head() -> None:
    told = Told(LENGTH % 3, b"abcGET /next")
    assert not told.body.complete
    assert await told.incoming.body() == b"abc"
    assert await told.incoming.body() == b"abc"
    assert told.body.complete
    assert told.h11.trailing_data[0] == b"GET /next"


async def test_no_body_is_complete_at_once() -> None:
    assert Told(b"").body.complete
    assert Told(LENGTH % 0).body.complete
    assert await Told(b"").incoming.body() == b""


@pytest.mark.parametrize("fields", [LENGTH % 11, CHUNKED])
async def test_a_body_in_every_split(fields: bytes) -> None:
    raw = (
        b"hello world"
        if fields == LENGTH % 11
        else b"5\r\nhello\r\n6\r\n world\r\n0\r\nA: b\r\n\r\n"
    )
    for cut in range(len(raw) + 1):
        told = Told(fields, raw[:cut])

        async def rest(told=told, cut=cut) -> None:
            await told.theirs.send_all(raw[cut:] + b"next")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rest)
            assert await told.incoming.body() == b"hello world"


async def test_a_declared_length_over_the_limit_is_refused_before_it_is_read() -> None:
    assert await Told(LENGTH % 101, max_body_bytes=100).refusal() == ("too_large", None)


async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large() -> None:
    told = Told(CHUNKED, b"40\r\n" + bytes(64) + b"\r\n40\r\n" + bytes(64), max_body_bytes=100)
    assert await told.refusal() == ("too_large", None)
    assert not told.body.complete


@pytest.mark.parametrize(
    "chunk", [b"3\nabc", b"+3\r\nabc", b"0x3\r\n", b"3 \r\n", b"3\r\nabcd\r\n"]
)
async def test_sloppy_chunks_are_refused(chunk: bytes) -> None:
    assert await Told(CHUNKED, chunk).refusal() == ("bad_request", None)


async def test_a_body_in_crumbs_weighs_no_more_than_its_bytes() -> None:
    raw = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    told = Told(CHUNKED)

    async def drip() -> None:
        for at in range(0, len(raw), 4096):
            await told.theirs.send_all(raw[at : at + 4096])

    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            assert await told.incoming.body() == b"x" * 10_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 400_000


async def test_a_cut_body_is_a_client_gone_or_a_mistake() -> None:
    for fields, part in ((LENGTH % 10, b"abc"), (CHUNKED, b"3\r\nabc\r\n")):
        told = Told(fields, part)
        await told.theirs.aclose()
        with pytest.raises(ClientGone):
            await told.incoming.body()
        told = Told(fields, part, half_close="ignore")
        await told.theirs.send_stream.aclose()
        assert await told.refusal() == ("bad_request", None)


async def test_a_body_that_makes_no_progress_is_refused(autojump_clock) -> None:
    told = Told(LENGTH % 10, b"abc", body_timeout_s=60)
    start = trio.current_time()
    assert await told.refusal() == ("too_slow", None)
    assert trio.current_time() - start == pytest.approx(60)


async def test_a_slow_body_that_makes_progress_is_not(autojump_clock) -> None:
    told = Told(LENGTH % 10, body_timeout_s=60)

    async def drip() -> None:
        for _ in range(10):
            await trio.sleep(50)
            await told.theirs.send_all(b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert await told.incoming.body() == b"x" * 10


async def test_a_body_that_drips_for_ever_is_refused(autojump_clock) -> None:
    told = Told(LENGTH % 1000, body_timeout_s=60)

    async def drip() -> None:
        while True:
            await trio.sleep(59)
            await told.theirs.send_all(b"x")

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert await told.refusal() == ("too_slow", None)
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == pytest.approx(600, abs=1)


async def test_a_large_body_over_a_slow_line_has_its_time(autojump_clock) -> None:
    told = Told(LENGTH % 1_000_000, body_timeout_s=60, max_body_bytes=2_000_000)

    async def crawl() -> None:
        for _ in range(1000):
            await trio.sleep(1.9)
            await told.theirs.send_all(b"x" * 1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crawl)
        assert len(await told.incoming.body()) == 1_000_000


async def test_100_continue_is_sent_when_it_is_waited_for() -> None:
    told = Told(LENGTH % 3 + b"Expect: 100-continue\r\n")

    async def client() -> None:
        said = await told.theirs.receive_some(1000)
        assert said.startswith(b"HTTP/1.1 100 ")
        assert said.endswith(b"\r\n\r\n")
        await told.theirs.send_all(b"abc")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        assert await told.incoming.body() == b"abc"


async def test_100_continue_is_not_sent_for_a_body_that_will_be_refused() -> None:
    told = Told(LENGTH % 101 + b"Expect: 100-continue\r\n", max_body_bytes=100)
    assert await told.refusal() == ("too_large", None)
    with trio.move_on_after(0.01) as nothing:
        await told.theirs.receive_some(10)
    assert nothing.cancelled_caught


@pytest.mark.parametrize(
    ("coding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
)
async def test_compressed_bodies(coding: bytes, pack) -> None:
    raw = pack(b"hello" * 100)
    told = Told(LENGTH % len(raw) + b"Content-Encoding: %b\r\n" % coding, raw)
    assert await told.incoming.body() == b"hello" * 100


async def test_a_gzip_bomb_is_refused() -> None:
    raw = gzip.compress(bytes(30_000_000))
    fields = LENGTH % len(raw) + b"Content-Encoding: gzip\r\n"
    assert await Told(fields, raw, max_body_bytes=1_000_000).refusal() == ("too_large", None)


async def test_what_is_too_large_by_itself_is_not_told_to_come_again() -> None:
    """Clients repeat what was answered with 503, and it would be too large every time."""
    bomb = gzip.compress(bytes(1_000_000))
    fields = LENGTH % len(bomb) + b"Content-Encoding: gzip\r\n"
    told = Told(fields, bomb, BodyBudget(8 * len(bomb)), max_body_bytes=len(bomb))
    assert await told.refusal() == ("too_large", None)
    told = Told(CHUNKED, b"c8\r\n" + bytes(200), BodyBudget(150), max_body_bytes=100)
    assert await told.refusal() == ("too_large", None)


@pytest.mark.parametrize("coding", [b"zstd", b"br"])
async def test_other_codings_are_refused_by_name(coding: bytes) -> None:
    told = Told(LENGTH % 3 + b"Content-Encoding: %b\r\n" % coding, b"abc")
    with pytest.raises(Refused, match=coding.decode()) as caught:
        await told.incoming.body()
    assert caught.value.failure.kind == "unsupported_media"


async def test_damaged_gzip_is_the_clients_mistake() -> None:
    told = Told(LENGTH % 3 + b"Content-Encoding: gzip\r\n", b"abc")
    assert await told.refusal() == ("bad_request", None)


async def test_the_daemon_holds_only_so_much() -> None:
    budget = BodyBudget(100)
    first = Told(LENGTH % 60, bytes(60), budget)
    await first.incoming.body()
    assert budget.held == 60
    second = Told(LENGTH % 60, bytes(60), budget)
    assert await second.refusal() == ("overloaded", None)
    second.body.release()
    first.body.release()
    assert budget.held == 0


async def test_a_whole_body_for_tests() -> None:
    incoming = Incoming("POST", "/", Headers(), WholeBody(b"abc"))
    assert await incoming.body() == b"abc"
