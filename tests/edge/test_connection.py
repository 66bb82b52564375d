"""One client connection, over real sockets, and over memory streams where clocks matter."""

import json
import logging

import pytest
import trio
import trio.testing

from formats.errors import Failure
from llmrouterd.edge.client import Client, ClientGone
from llmrouterd.edge.connection import Connections, Refused, refuse_plainly, serve_connection
from llmrouterd.edge.incoming import Incoming, Limits
from tests.edge.peers import echo, running

GET = b"GET /x?y HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSING = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def post(body: bytes, extra: bytes = b"") -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%b\r\n%b" % (
        len(body),
        extra,
        body,
    )


async def test_keep_alive_and_close() -> None:
    async with running() as it:
        peer = await it.connect()
        for _ in range(3):
            await peer.send(GET)
            said = await peer.until(b"GET /x y 0:")
            assert said.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nDate: " in said
            assert b"onnection:" not in said
        await peer.send(CLOSING)
        assert b"\r\nConnection: close\r\n" in await peer.all()


async def test_pipelined_requests_are_answered_in_order() -> None:
    wanted = [GET, post(b"one"), post(b"2\r\n\r\nx"), GET, CLOSING]
    chunked = (
        b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    async with running() as it:
        said = await it.ask(b"".join([chunked, *wanted]))
    order = [b"POST /c  3:abc", b"GET /x", b"POST /p  3:one", b"POST /p  6:2", b"GET /x", b"/last"]
    at = -1
    for mark in order:
        at = said.index(mark, at + 1)
    assert said.count(b"HTTP/1.1 200 ") == len(order)


async def test_pipelined_requests_in_every_split() -> None:
    raw = post(b"one") + GET + CLOSING
    async with running() as it:
        whole = await it.ask(raw)
        for cut in range(1, len(raw)):
            peer = await it.connect()
            await peer.send(raw[:cut])
            await trio.lowlevel.checkpoint()
            await peer.send(raw[cut:])
            assert len(await peer.all()) == len(whole)


async def test_an_unread_body_never_becomes_a_request() -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        await client.respond(200, [], incoming.path.encode())

    async with running(answer) as it:
        said = await it.ask(post(GET) + GET)
    assert said.count(b"HTTP/1.1 200 ") == 1
    assert b"Connection: close" in said


async def test_a_line_end_between_requests_is_forgiven() -> None:
    async with running() as it:
        said = await it.ask(b"\r\n" + post(b"x") + b"\r\n" + GET + b"\r\n" + CLOSING)
        assert said.count(b"HTTP/1.1 200 ") == 3
        peer = await it.connect()
        await peer.send(post(b"x"))
        await peer.until(b"1:x")
        await peer.send(b"\r\n")
        await peer.send(GET)
        await peer.until(b"GET /x")


async def test_head_and_http_1_0() -> None:
    async with running() as it:
        peer = await it.connect()
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + CLOSING)
        said = await peer.all()
        first, _, rest = said.partition(b"\r\n\r\n")
        assert b"Content-Length: 10" in first
        assert rest.startswith(b"HTTP/1.1 200 ")
        for extra in (b"", b"Connection: keep-alive\r\n"):
            said = await it.ask(b"GET /old HTTP/1.0\r\n" + extra + b"\r\n")
            assert said.endswith(b"GET /old  0:")


async def test_100_continue_and_other_expectations() -> None:
    async with running() as it:
        peer = await it.connect()
        await peer.send(post(b"", b"").replace(b"Length: 0", b"Length: 3\r\nExpect: 100-continue"))
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await peer.send(b"abc" + CLOSING)
        assert b"3:abc" in await peer.all()
        said = await it.ask(post(b"abc", b"Expect: magic\r\n"))
        assert said.startswith(b"HTTP/1.1 417 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (post(b"x", b"Transfer-Encoding: chunked\r\n"), 400),
        (post(b"x", b"Content-Length: 1\r\n"), 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: a\r\n" * 200_000 + b"\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (post(bytes(20_000_000)), 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc", 400),
        (post(b"abc", b"Content-Encoding: br\r\n"), 415),
    ],
)
async def test_what_the_edge_refuses_is_answered_cleanly(request_: bytes, status: int) -> None:
    """Even a client that sends 20 MB before it reads gets its answer: the close lingers."""
    async with running(max_body_bytes=1_000_000) as it:
        said = await it.ask(request_)
    assert said.startswith(b"HTTP/1.1 %d " % status), said[:200]
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Connection: close" in head or status == 415
    error = json.loads(body)["error"]
    assert error["type"] == "router_error"
    assert error["message"]


async def test_the_caller_words_the_refusals() -> None:
    said = []

    def refuse(path: str, failure: Failure):
        said.append((path, failure.kind))
        return 418, [("X-Mine", "1")], b"mine"

    for request in (
        post(b"x", b"Content-Encoding: br\r\n"),
        GET[:-2] + b"X: " + b"a" * 40_000 + b"\r\n\r\n",
        post(b"x", b" folded\r\n"),
        GET.replace(b"\r\n", b"\n"),
        b"nonsense\r\n\r\n",
    ):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda s=ours: serve_connection(s, echo, Limits(), refuse=refuse))
            await theirs.send_all(request)
            assert b"418" in await theirs.receive_some(1000)
            await theirs.aclose()
    assert said == [
        ("/p", "unsupported_media"),
        ("/x", "too_large"),
        ("/p", "bad_request"),
        ("/x", "bad_request"),
        ("", "bad_request"),
    ]


def test_the_plain_shape_of_an_error() -> None:
    failure = Failure("overloaded", "full", retry_after_s=1.2)
    status, headers, body = refuse_plainly("/", failure)
    assert status == 503
    assert ("Retry-After", "2") in headers
    assert json.loads(body) == {"error": {"type": "router_error", "message": "full"}}


# --- clocks ---------------------------------------------------------------------------------------


async def served(theirs_script, answer=echo, **limits) -> float:
    """Serve one memory stream; how long it took by the test's clock."""
    ours, theirs = trio.testing.memory_stream_pair()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs_script, theirs)
        await serve_connection(ours, answer, Limits(**limits))
        took = trio.current_time() - start
        nursery.cancel_scope.cancel()
    return took


async def test_a_connection_that_says_nothing_is_closed(autojump_clock) -> None:
    async def silent(stream) -> None:
        assert await stream.receive_some(100) == b""

    assert await served(silent, header_timeout_s=15) == pytest.approx(15)


async def test_a_head_that_drips_is_answered_408(autojump_clock) -> None:
    seen = []

    async def drip(stream) -> None:
        for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 1000:
            await stream.send_all(bytes([byte]))
            with trio.move_on_after(1):
                seen.append(await stream.receive_some(1000))

    assert await served(drip, header_timeout_s=15, linger_s=1) == pytest.approx(16, abs=1.5)
    assert b"".join(seen).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_stops_is_answered_408(autojump_clock) -> None:
    seen = []

    async def stop(stream) -> None:
        await stream.send_all(post(b"abc")[:-1])
        while data := await stream.receive_some(1000):
            seen.append(data)

    assert await served(stop, body_timeout_s=60, linger_s=5) == pytest.approx(65, abs=1)
    assert b"".join(seen).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_without_a_word(autojump_clock) -> None:
    seen = []

    async def idle(stream) -> None:
        await stream.send_all(GET)
        while data := await stream.receive_some(1000):
            seen.append(data)

    assert await served(idle, keepalive_timeout_s=75) == pytest.approx(75)
    assert b"".join(seen).count(b"HTTP/1.1") == 1


async def test_a_drain_closes_the_idle_and_lets_the_busy_finish() -> None:
    release = trio.Event()

    async def answer(incoming: Incoming, client: Client) -> None:
        if incoming.path == "/slow":
            await release.wait()
        await echo(incoming, client)

    shared = Connections()
    async with trio.open_nursery() as nursery:
        pairs = [trio.testing.memory_stream_pair() for _ in range(2)]
        for ours, _ in pairs:
            nursery.start_soon(
                lambda s=ours: serve_connection(s, answer, Limits(), connections=shared)
            )
        idle, busy = pairs[0][1], pairs[1][1]
        await idle.send_all(GET)
        assert await idle.receive_some(1000)
        await busy.send_all(GET.replace(b"/x", b"/slow"))
        await trio.testing.wait_all_tasks_blocked()
        assert shared.idle == 1
        shared.drain()
        assert await idle.receive_some(1000) == b""
        release.set()
        assert b"Connection: close" in await busy.receive_some(1000)
        assert await busy.receive_some(1000) == b""


# --- the firewall ---------------------------------------------------------------------------------


async def test_a_bug_before_the_answer_is_a_500_and_a_log_line_without_data(caplog) -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        raise ValueError("sk-secret")

    with caplog.at_level(logging.ERROR, "llmrouter.edge"):
        async with running(answer) as it:
            peer = await it.connect()
            await peer.send(b"GET /x?api_key=sk-secret HTTP/1.1\r\nHost: h\r\n\r\n")
            said = await peer.until(b"}}")
            assert said.startswith(b"HTTP/1.1 500 ")
            assert b"ValueError" in said
            await peer.send(GET)  # the connection lives on
            await peer.until(b"}}")
    assert "ValueError" in caplog.text
    assert "test_connection.py" in caplog.text
    assert "secret" not in caplog.text + said.decode()


async def test_a_bug_after_the_head_breaks_the_answer_off(caplog) -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        await client.start(200, [])
        await client.send(b"abc")
        raise ValueError

    async with running(answer) as it:
        said = await it.ask(GET)
    assert said.endswith(b"3\r\nabc\r\n")
    assert "ValueError" in caplog.text


@pytest.mark.parametrize("started", [False, True])
async def test_an_answer_left_without_an_end(caplog, started: bool) -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        if started:
            await client.start(200, [])
            await client.send(b"abc")

    async with running(answer) as it:
        said = await it.ask(CLOSING)
    assert said.endswith(b"abc\r\n") if started else said.startswith(b"HTTP/1.1 500 ")


async def test_a_bug_in_a_child_and_in_the_wording_of_errors(caplog) -> None:
    async def child() -> None:
        raise ValueError

    async def answer(incoming: Incoming, client: Client) -> None:
        client.nursery.start_soon(child)
        await trio.sleep_forever()

    def refuse(path: str, failure: Failure):
        raise KeyError

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_connection(ours, answer, Limits(), refuse=refuse))
        await theirs.send_all(GET)
        assert await theirs.receive_some(1000) == b""
    assert "ValueError" in caplog.text
    assert "KeyError" in caplog.text


async def test_refused_by_the_answer_itself() -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        raise Refused(Failure("unauthorized", "no"))

    async with running(answer) as it:
        assert (await it.ask(CLOSING)).startswith(b"HTTP/1.1 401 ")


# --- the client goes away -------------------------------------------------------------------------


class Ends:
    """An answer that records how it ended."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.reached = trio.Event()
        self.ended = trio.Event()
        self.client: Client | None = None
        self.cancelled = False

    async def __call__(self, incoming: Incoming, client: Client) -> None:
        self.client = client
        try:
            await self.walk(incoming, client)
        except trio.Cancelled:
            self.cancelled = True
            raise
        finally:
            self.ended.set()

    async def walk(self, incoming: Incoming, client: Client) -> None:
        if self.stage == "before the body":
            await self.stand()
        if self.stage == "in the body":
            self.reached.set()
        await incoming.body()
        if self.stage == "waiting":
            await self.stand()
        await client.start(200, [])
        await client.send(b"abc")
        if self.stage == "streaming":
            await self.stand()
        if self.stage == "slow":
            self.reached.set()
            while True:
                await client.send(bytes(1_000_000))

    async def stand(self) -> None:
        self.reached.set()
        await trio.sleep_forever()


@pytest.mark.parametrize("use_epoll", [None, False])
@pytest.mark.parametrize(
    "stage", ["before the body", "in the body", "waiting", "streaming", "slow"]
)
async def test_a_client_that_leaves_cancels_its_request(stage: str, use_epoll) -> None:
    ends = Ends(stage)
    async with running(ends, use_epoll=use_epoll) as it:
        peer = await it.connect()
        whole = post(b"abc")
        await peer.send(whole[:-1] if "body" in stage else whole)
        await ends.reached.wait()
        peer.close()
        await ends.ended.wait()
        await it.settled()
        assert ends.client is not None
        assert ends.client.gone
        assert ends.cancelled or stage in ("in the body", "slow")  # there, reading or writing tells
        assert it.hangups.watched == 0
        assert it.server.connections.budget.held == 0


async def test_a_half_closed_client_can_be_waited_for() -> None:
    async with running(half_close="ignore") as it:
        peer = await it.connect()
        await peer.send(GET)
        await peer.stream.send_eof()
        assert b"GET /x" in await peer.all()


async def test_a_client_that_leaves_after_its_answer_does_not_cancel_the_rest() -> None:
    done = trio.Event()
    answered = trio.Event()

    async def answer(incoming: Incoming, client: Client) -> None:
        await echo(incoming, client)
        await answered.wait()
        await trio.sleep(0.02)
        done.set()

    async with running(answer) as it:
        peer = await it.connect()
        await peer.send(GET)
        await peer.until(b"GET /x")
        peer.close()
        answered.set()
        await done.wait()


@pytest.mark.slow
async def test_a_slow_reader_holds_its_producer_up() -> None:
    """No buffer of ours grows: the kernel's are all that a producer can fill."""
    sent = 0

    async def answer(incoming: Incoming, client: Client) -> None:
        nonlocal sent
        await client.start(200, [])
        try:
            while True:
                await client.send(bytes(65536))
                sent += 65536
        except ClientGone:
            assert client.gone_how == "stalled"
            raise

    async with running(answer, client_stall_s=0.3) as it:
        peer = await it.connect()
        await peer.send(GET)
        while it.server.connections.open:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.01)
    assert 0 < sent < 16_000_000


async def test_trailers_reach_a_client_that_takes_them() -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        await client.start(200, [("Trailer", "X-Tokens")])
        await client.send(b"abc")
        await client.finish([("X-Tokens", "7")])

    async with running(answer) as it:
        said = await it.ask(CLOSING.replace(b"close\r\n", b"close, TE\r\nTE: trailers\r\n"))
    assert said.endswith(b"0\r\nX-Tokens: 7\r\n\r\n")


async def test_cancelled_from_above_everything_closes() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    ends = Ends("streaming")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, ours, ends, Limits())
        await theirs.send_all(post(b"abc"))
        await ends.reached.wait()
        nursery.cancel_scope.cancel()
    out = await theirs.receive_some(65536)
    assert out.endswith(b"abc\r\n")
    assert await theirs.receive_some(10) == b""
