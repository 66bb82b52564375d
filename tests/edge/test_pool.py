import ssl

import h11
import pytest
import trio
import trio.testing
import trustme

from formats.errors import Garbled, Truncated
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.pool import DialError, Disconnected, Origin, Pool
from llmrouterd.edge.wire import StreamWire
from llmrouterd.guard.egress import Label
from llmrouterd.model import Clocks, Receipt
from tests.edge.peers import Peer, running, scripted

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok"


def server(*replies: bytes, then_close: bool = False, requests: list | None = None):
    """A script: one reply per request, then silence or a close."""

    async def script(peer: Peer) -> None:
        for reply in replies:
            request = await peer.until(b"\r\n\r\n")
            if requests is not None:
                requests.append(request)
            if not reply:
                return
            await peer.send(reply)
        if not then_close:
            await peer.all()

    return script


async def get(pool: Pool, port: int, **keywords) -> tuple[int, bytes, bool]:
    origin = keywords.pop("origin", None) or Origin("http", "127.0.0.1", port)
    async with pool.exchange(origin, "GET", "/x", [], **keywords) as ex:
        return ex.status, await ex.read_all(1000), ex.reused


async def gone(pool: Pool, origin: Origin) -> None:
    """Until the idle connection shows that its server has closed it."""
    channel = pool._idle[origin][-1]
    while not channel.wire.readable():  # noqa: ASYNC110 - the kernel tells nobody
        await trio.sleep(0.001)


async def test_a_connection_is_used_again_the_youngest_first() -> None:
    async with scripted(server(*[OK % b""] * 5)) as port:
        pool = Pool()
        assert await get(pool, port) == (200, b"ok", False)
        assert (pool.idle, pool.leased) == (1, 0)
        assert await get(pool, port) == (200, b"ok", True)
        origin = Origin("http", "127.0.0.1", port)
        async with pool.exchange(origin, "GET", "/", []), pool.exchange(origin, "GET", "/", []):
            assert pool.leased == 2
            assert pool.idle == 0
        pool.close()


async def test_what_is_sent() -> None:
    requests: list[bytes] = []
    async with scripted(server(OK % b"", OK % b"", requests=requests)) as port:
        pool = Pool()
        origin = Origin("http", "127.0.0.1", port)
        headers = [("X-A", "b"), ("Content-Length", "99"), ("Connection", "close"), ("TE", "x")]
        async with pool.exchange(origin, "POST", "/v1/x?y", headers, b"") as ex:
            await ex.read_all(10)
        async with pool.exchange(
            origin, "GET", "/", [("Host", "mine"), ("Accept-Encoding", "x")]
        ) as ex:
            await ex.read_all(10)
        pool.close()
    assert requests[0] == (
        b"POST /v1/x?y HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 0\r\nX-A: b\r\n"
        b"Accept-Encoding: identity\r\n\r\n" % port
    )
    assert requests[1] == b"GET / HTTP/1.1\r\nHost: mine\r\nAccept-Encoding: x\r\n\r\n"


def test_a_header_that_would_smuggle_a_line_is_refused() -> None:
    with pytest.raises(h11.LocalProtocolError):
        Pool().exchange(Origin("http", "h", 80), "GET", "/", [("X", "a\r\nY: b")])
    with pytest.raises(h11.LocalProtocolError):
        Pool().exchange(Origin("http", "h", 80), "GET", "/ x", [])


@pytest.mark.parametrize(
    "reply",
    [
        OK % b"Connection: close\r\n",
        OK.replace(b"1.1", b"1.0") % b"",
        (OK % b"") + b"unasked",
        OK % b"Keep-Alive: timeout=1, max=100\r\n",
    ],
)
async def test_what_is_not_kept(reply: bytes) -> None:
    async with scripted(server(reply)) as port:
        pool = Pool()
        assert (await get(pool, port))[1] == b"ok"
        assert pool.idle == 0


async def test_an_answer_not_read_to_its_end_closes_at_once() -> None:
    closed = trio.Event()

    async def endless(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await peer.all()
        closed.set()

    async with scripted(endless) as port:
        pool = Pool()
        async with pool.exchange(Origin("http", "127.0.0.1", port), "GET", "/", []) as ex:
            assert await ex.read() == b"a"
        assert pool.idle == 0
        await closed.wait()


@pytest.mark.parametrize("moment", ["head", "body"])
async def test_a_cancelled_exchange_is_closed_at_once(moment: str) -> None:
    begun, closed = trio.Event(), trio.Event()

    async def slow(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        if moment == "body":
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        begun.set()
        await peer.all()
        closed.set()

    async with scripted(slow) as port, trio.open_nursery() as nursery:
        pool = Pool()
        nursery.start_soon(lambda: get(pool, port))
        await begun.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await closed.wait()
    assert (pool.leased, pool.idle) == (0, 0)


async def test_an_error_inside_closes_too() -> None:
    async with scripted(server(OK % b"")) as port:
        pool = Pool()
        with pytest.raises(KeyError):
            async with pool.exchange(Origin("http", "127.0.0.1", port), "GET", "/", []):
                raise KeyError
        assert pool.leased == 0
        pool.close()


# --- stale connections ----------------------------------------------------------------------------


async def test_a_connection_its_server_closed_is_seen_and_not_used() -> None:
    """llama.cpp closes after every stream, and after 5 s of idleness."""
    async with scripted(server(OK % b"", then_close=True)) as port:
        pool = Pool()
        origin = Origin("http", "127.0.0.1", port)
        for _ in range(3):
            assert await get(pool, port) == (200, b"ok", False)
            await gone(pool, origin)
        pool.close()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_reused_connection_that_fails_before_a_byte_is_retried_once(how: str) -> None:
    """The server closes just when the request arrives: nothing could have shown it before."""
    requests: list[bytes] = []

    async def closes_on_second(peer: Peer) -> None:
        await server(OK % b"", requests=requests, then_close=True)(peer)
        requests.append(await peer.until(b"\r\n\r\n"))
        if how == "reset":
            peer.stream.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")

    async with scripted(closes_on_second, server(OK % b"", requests=requests)) as port:
        pool = Pool()
        assert await get(pool, port) == (200, b"ok", False)
        assert await get(pool, port) == (200, b"ok", False)
        assert len(requests) == 3
        pool.close()


async def test_a_fresh_connection_that_fails_is_not_retried() -> None:
    requests: list[bytes] = []
    async with scripted(server(b"", requests=requests)) as port:
        with pytest.raises(Disconnected):
            await get(Pool(), port)
    assert len(requests) == 1


async def test_a_retry_that_fails_is_not_retried() -> None:
    requests: list[bytes] = []
    async with scripted(
        server(OK % b"", b"", requests=requests), server(b"", requests=requests)
    ) as port:
        pool = Pool()
        await get(pool, port)
        with pytest.raises(Disconnected):
            await get(pool, port)
    assert len(requests) == 3


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
async def test_a_reused_connection_that_fails_after_a_byte_is_not_retried(part: bytes) -> None:
    requests: list[bytes] = []
    async with scripted(server(OK % b"", part, then_close=True, requests=requests)) as port:
        pool = Pool()
        await get(pool, port)
        with pytest.raises(Truncated):
            await get(pool, port)
    assert len(requests) == 2


async def test_garbage_is_not_retried() -> None:
    async with scripted(server(OK % b"", b"<html>\r\n\r\n")) as port:
        pool = Pool()
        await get(pool, port)
        with pytest.raises(Garbled):
            await get(pool, port)
        assert (pool.leased, pool.idle) == (0, 0)


# --- ages and numbers -----------------------------------------------------------------------------


class Made:
    """A dialler of memory streams, so that the clock can be the test's."""

    def __init__(self, reply: bytes = OK % b"") -> None:
        self.reply = reply
        self.count = 0
        self.nursery: trio.Nursery | None = None
        self.wires: list[StreamWire] = []

    async def __call__(self, origin, *, contexts, label):
        self.count += 1
        ours, theirs = trio.testing.memory_stream_pair()
        assert self.nursery is not None
        self.nursery.start_soon(self.serve, theirs)
        self.wires.append(StreamWire(ours))
        return self.wires[-1], Receipt("127.0.0.1:80", left_host=False)

    async def serve(self, stream) -> None:
        while await stream.receive_some(65536):
            await stream.send_all(self.reply)


@pytest.mark.parametrize(
    ("extra", "age"),
    [(b"", 60), (b"Keep-Alive: timeout=5, max=100\r\n", 4), (b"Keep-Alive: x\r\n", 60)],
)
async def test_an_idle_connection_is_closed_in_time(
    autojump_clock, extra: bytes, age: float
) -> None:
    made = Made(OK % extra)
    pool = Pool(dialer=made)
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        await nursery.start(pool.run)
        await get(pool, 80)
        await trio.sleep(age - 0.5)
        assert pool.idle == 1
        await trio.sleep(1)
        assert pool.idle == 0
        assert made.wires[0].closed
        await get(pool, 80)
        assert made.count == 2
        nursery.cancel_scope.cancel()
    assert pool.idle == 0
    assert made.wires[1].closed


async def test_an_expired_connection_is_not_used_even_if_nobody_closed_it(autojump_clock) -> None:
    made = Made()
    pool = Pool(dialer=made)
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        await get(pool, 80)
        await trio.sleep(61)
        await get(pool, 80)
        assert made.count == 2
        pool.close()
        nursery.cancel_scope.cancel()


async def test_only_so_many_are_kept(autojump_clock) -> None:
    made = Made()
    pool = Pool(dialer=made, per_origin=2)
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        release = trio.Event()

        async def hold() -> None:
            async with pool.exchange(Origin("http", "h", 80), "GET", "/", []) as ex:
                await ex.read_all(10)
                await release.wait()

        for _ in range(5):
            nursery.start_soon(hold)
        await trio.sleep(1)
        assert pool.leased == 5
        release.set()
        await trio.sleep(1)
        assert pool.idle == 2
        pool.close()
        nursery.cancel_scope.cancel()


async def test_origins_do_not_share_connections() -> None:
    async with scripted(server(*[OK % b""] * 3)) as port:
        pool = Pool()
        await get(pool, port)
        other = Origin("http", "127.0.0.1", port, ca_file="x")
        assert (await get(pool, port, origin=other))[2] is False
        assert pool.idle == 2
        pool.close()


async def test_a_label_is_asked_about_idle_connections_too(autojump_clock) -> None:
    """A connection opened for a request that may leave must not carry one that may not."""
    made = Made()
    asked = []

    async def far(origin, *, contexts, label):
        asked.append(label)
        if label is not None and label.local_only:
            raise DialError("denied", "no")
        wire, _ = await made(origin, contexts=contexts, label=label)
        return wire, Receipt("8.8.8.8:80", left_host=True)

    pool = Pool(dialer=far)
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        await get(pool, 80)
        assert pool.idle == 1
        with pytest.raises(DialError):
            await get(pool, 80, label=Label(local_only=True))
        assert (await get(pool, 80, label=Label()))[2] is True
        assert len(asked) == 2
        pool.close()
        nursery.cancel_scope.cancel()


async def test_an_idle_connection_on_a_unix_socket_may_carry_what_must_stay(autojump_clock) -> None:
    made = Made()

    async def near(origin, *, contexts, label):
        wire, _ = await made(origin, contexts=contexts, label=label)
        return wire, Receipt("unix:/run/a:b.sock", left_host=False)

    pool = Pool(dialer=near)
    origin = Origin("http", "localhost", 80, unix="/run/a:b.sock")
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        await get(pool, 80, origin=origin)
        assert (await get(pool, 80, origin=origin, label=Label(local_only=True)))[2] is True
        pool.close()
        nursery.cancel_scope.cancel()


# --- phases, proxies, TLS -------------------------------------------------------------------------


async def test_the_clocks_of_an_attempt() -> None:
    async def silent(peer: Peer) -> None:
        await peer.all()

    async with scripted(silent) as port:
        with Deadline(Clocks(first_token_s=0.05)) as deadline:
            await get(Pool(), port, deadline=deadline)
        assert deadline.expired == "first_token"


async def test_the_connect_clock(autojump_clock) -> None:
    async def never(origin, *, contexts, label):
        await trio.sleep_forever()

    pool = Pool(dialer=never)
    with Deadline(Clocks(connect_s=5)) as deadline:
        await get(pool, 80, deadline=deadline)
    assert deadline.expired == "connect"
    assert pool.leased == 0


async def test_a_refused_connection() -> None:
    async with running() as it:
        port = it.port
    pool = Pool()
    with pytest.raises(DialError) as caught:
        await get(pool, port)
    assert caught.value.kind == "refused"
    assert pool.leased == 0


async def test_plain_http_through_a_proxy_is_asked_in_absolute_form() -> None:
    requests: list[bytes] = []
    async with scripted(server(OK % b"", requests=requests)) as port:
        pool = Pool()
        origin = Origin("http", "far.example", 8080, proxy=f"http://u:p@127.0.0.1:{port}")
        assert (await get(pool, port, origin=origin))[0] == 200
        pool.close()
    assert requests[0].startswith(
        b"GET http://far.example:8080/x HTTP/1.1\r\nHost: far.example:8080\r\n"
    )
    assert b"Proxy-Authorization: Basic dTpw\r\n" in requests[0]


async def test_https_with_reuse(tmp_path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))

    async def script(peer: Peer) -> None:
        stream = trio.SSLStream(peer.stream, context, server_side=True, https_compatible=True)
        for _ in range(2):
            await stream.receive_some(10_000)
            await stream.send_all(OK % b"")

    async with scripted(script) as port:
        pool = Pool()
        origin = Origin("https", "localhost", port, ca_file=str(path))
        assert await get(pool, port, origin=origin) == (200, b"ok", False)
        assert await get(pool, port, origin=origin) == (200, b"ok", True)
        await gone(pool, origin)
        assert pool.take(origin) is None
        pool.close()


class Together(trio.abc.Stream):
    """A transport that sends what it is given only at `flush`: in one segment."""

    def __init__(self, below: trio.abc.Stream) -> None:
        self._below = below
        self._held = b""
        self.holds = False

    async def send_all(self, data: bytes) -> None:
        self._held += data
        if not self.holds:
            await self.flush()

    async def flush(self) -> None:
        out, self._held = self._held, b""
        await self._below.send_all(out)

    async def wait_send_all_might_not_block(self) -> None:
        await self._below.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._below.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._below.aclose()


async def test_a_second_answer_inside_tls_is_nobodys(tmp_path) -> None:
    """The socket is empty by then: what came behind the answer waits in the TLS layer."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))

    async def script(peer: Peer) -> None:
        transport = Together(peer.stream)
        stream = trio.SSLStream(transport, context, server_side=True, https_compatible=True)
        await stream.receive_some(10_000)
        transport.holds = True
        await stream.send_all(OK % b"")
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await transport.flush()
        await trio.sleep_forever()

    async with scripted(script) as port:
        pool = Pool()
        origin = Origin("https", "localhost", port, ca_file=str(path))
        assert await get(pool, port, origin=origin) == (200, b"ok", False)
        assert await get(pool, port, origin=origin) == (200, b"ok", False)
        pool.close()


async def test_whoever_asks_is_told_where_the_bytes_go_before_they_do() -> None:
    made, told = Made(OK % b""), []
    pool = Pool(dialer=made)
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        origin = Origin("http", "x", 80)
        for count in (1, 2):
            lease = pool.exchange(origin, "GET", "/", [], reached=told.append)
            async with lease as exchange:
                assert [receipt.address for receipt in told] == ["127.0.0.1:80"] * count
                await exchange.read_all(100)
        assert made.count == 1
        pool.close()
        nursery.cancel_scope.cancel()


async def test_through_our_own_server() -> None:
    async with running() as it:
        pool = Pool()
        origin = Origin("http", "127.0.0.1", it.port)
        async with pool.exchange(origin, "POST", "/p?q", [], b"z" * 3_000_000) as ex:
            assert (await ex.read_all(1000)).startswith(b"POST /p q 3000000:zzz")
        assert pool.idle == 1
        pool.close()
