import h11
import pytest
import trio
import trio.testing

from llmrouterd.edge.client import Client, ClientGone
from llmrouterd.edge.wire import PlainWire, as_wire
from tests.edge.peers import connected_pair


def after(request: bytes) -> h11.Connection:
    """h11's server side, the request read."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(request)
    connection.next_event()
    connection.next_event()
    return connection


GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"


class Told:
    """A client over a memory stream, and what reached the other end."""

    def __init__(self, request: bytes = GET, **keywords) -> None:
        ours, self.theirs = trio.testing.memory_stream_pair()
        self.wire = as_wire(ours)
        keywords.setdefault("may_keep", lambda: True)
        self.connection = after(request)
        self.client = Client(self.wire, self.connection, **keywords)

    async def all(self) -> bytes:
        self.wire.close()
        out = b""
        while data := await self.theirs.receive_some(65536):
            out += data
        return out


async def test_a_whole_answer() -> None:
    told = Told()
    await told.client.respond(200, [("Content-Type", "text/plain")], b"hello")
    assert told.client.finished
    assert told.client.headers_sent
    assert (
        await told.all()
        == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
    )


async def test_framing_headers_of_the_caller_are_left_out() -> None:
    told = Told()
    headers = [("Content-Length", "99"), ("transfer-encoding", "gzip"), ("X-A", "b")]
    await told.client.respond(404, headers, b"no")
    assert await told.all() == b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-A: b\r\n\r\nno"


@pytest.mark.parametrize("value", ["a\r\nY: b", "a\nb", "a\0b"])
async def test_a_header_that_would_smuggle_a_line_is_never_written(value: str) -> None:
    told = Told()
    with pytest.raises(h11.LocalProtocolError):
        await told.client.respond(200, [("X-A", value)], b"")
    assert not told.client.headers_sent


async def test_a_stream() -> None:
    told = Told()
    await told.client.start(200, [])
    assert not told.client.headers_sent
    await told.client.send(b"abc")
    assert told.client.headers_sent
    await told.client.send(b"0123456789ab")
    await told.client.finish()
    assert await told.all() == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\nc\r\n0123456789ab\r\n0\r\n\r\n"
    )


async def test_head_and_first_piece_are_one_write_and_each_piece_is_one(monkeypatch) -> None:
    told = Told()
    writes = []

    async def send(data: bytes, stall_s: float) -> None:
        writes.append(data)

    monkeypatch.setattr(type(told.wire), "send", lambda self, data, stall_s: send(data, stall_s))
    await told.client.start(200, [])
    await told.client.send(b"abc")
    await told.client.send(b"def")
    assert len(writes) == 2
    assert writes[1] == b"3\r\ndef\r\n"
    assert told.client.bytes_sent == sum(map(len, writes))


async def test_an_answer_not_sent_yet_can_be_replaced() -> None:
    told = Told()
    await told.client.start(200, [("X-First", "1")])
    await told.client.start(200, [("X-Second", "1")])
    await told.client.respond(502, [], b"sorry")
    out = await told.all()
    assert out.startswith(b"HTTP/1.1 502 ")
    assert b"X-" not in out


async def test_an_answer_that_was_sent_cannot() -> None:
    told = Told()
    await told.client.start(200, [])
    await told.client.send(b"")
    assert told.client.headers_sent
    with pytest.raises(RuntimeError):
        await told.client.respond(500, [], b"")
    with pytest.raises(RuntimeError):
        await told.client.start(200, [])


async def test_pieces_need_a_start_and_stop_at_the_end() -> None:
    told = Told()
    with pytest.raises(RuntimeError):
        await told.client.send(b"x")
    with pytest.raises(RuntimeError):
        await told.client.finish()
    await told.client.respond(200, [], b"")
    with pytest.raises(RuntimeError):
        await told.client.finish()


@pytest.mark.parametrize("stream", [False, True])
async def test_head_has_headers_only(stream: bool) -> None:
    told = Told(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", head_only=True)
    if stream:
        await told.client.start(200, [])
        await told.client.send(b"abc")
        await told.client.finish()
        framing = b"Transfer-Encoding: chunked"
    else:
        await told.client.respond(200, [], b"abc")
        framing = b"Content-Length: 3"
    assert await told.all() == b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
    assert told.connection.our_state is h11.DONE


async def test_204_has_no_body_and_no_length() -> None:
    told = Told()
    await told.client.respond(204, [("X-A", "b")], b"")
    assert await told.all() == b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"


async def test_http_1_0_gets_no_chunks_and_a_close() -> None:
    told = Told(OLD)
    await told.client.start(200, [])
    await told.client.send(b"abc")
    await told.client.send(b"def")
    await told.client.finish()
    out = await told.all()
    assert out == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef"
    assert told.connection.our_state is not h11.DONE


async def test_close_is_said_when_nothing_more_is_taken() -> None:
    told = Told(may_keep=lambda: False)
    await told.client.respond(200, [], b"")
    assert b"\r\nConnection: close\r\n" in await told.all()


async def test_the_caller_may_wish_a_close_or_name_an_upgrade() -> None:
    told = Told()
    headers = [("Connection", "Upgrade, close"), ("Upgrade", "websocket")]
    await told.client.respond(426, headers, b"")
    out = await told.all()
    assert b"Connection: upgrade, close\r\n" in out
    assert b"Upgrade: websocket\r\n" in out


@pytest.mark.parametrize("takes", [False, True])
async def test_trailers_only_for_those_who_take_them(takes: bool) -> None:
    told = Told(takes_trailers=takes)
    await told.client.start(200, [])
    await told.client.send(b"a")
    await told.client.finish([("X-Tokens", "5")])
    end = b"0\r\nX-Tokens: 5\r\n\r\n" if takes else b"0\r\n\r\n"
    assert (await told.all()).endswith(b"1\r\na\r\n" + end)


@pytest.mark.parametrize("bad", [("X-A", "b\r\nX-B: c"), ("X A", "b"), ("X", "a\nb"), ("X", "\0")])
async def test_a_header_that_would_smuggle_a_line_is_refused_and_nothing_sent(bad) -> None:
    told = Told()
    with pytest.raises(h11.LocalProtocolError):
        await told.client.respond(200, [bad], b"x")
    assert not told.client.headers_sent
    await told.client.respond(500, [], b"x")
    assert (await told.all()).startswith(b"HTTP/1.1 500 ")


async def test_an_abort_never_looks_whole() -> None:
    told = Told()
    await told.client.start(200, [])
    await told.client.send(b"abc")
    told.client.abort()
    assert (await told.all()).endswith(b"\r\n3\r\nabc\r\n")


async def test_an_aborted_http_1_0_answer_is_reset() -> None:
    """There the close is the end of the body, so a close would look whole."""
    with connected_pair() as (ours, theirs):
        client = Client(PlainWire(ours), after(OLD))
        await client.start(200, [])
        await client.send(b"abc")
        client.abort()
        peer = PlainWire(theirs)
        with pytest.raises(Exception, match="reset"):
            while await peer.receive():
                pass


async def test_a_dead_socket_is_a_client_gone() -> None:
    told = Told()
    await told.client.start(200, [])
    await told.theirs.aclose()
    with pytest.raises(ClientGone):
        await told.client.send(b"abc")
    assert told.client.gone
    assert told.client.gone_how == "broken"
    with pytest.raises(ClientGone):
        await told.client.send(b"abc")


async def test_a_client_that_does_not_read_is_gone_after_its_time(autojump_clock) -> None:
    ours, _ = trio.testing.lockstep_stream_pair()
    client = Client(as_wire(ours), after(GET), stall_s=60)
    start = trio.current_time()
    await client.start(200, [])
    with pytest.raises(ClientGone):
        await client.send(b"abc")
    assert trio.current_time() - start == pytest.approx(60)
    assert client.gone_how == "stalled"


async def test_the_end_is_told_once() -> None:
    told = Told()
    ends = []
    told.client.on_end(lambda: ends.append(1))
    await told.client.respond(200, [], b"")
    told.client.abort()
    assert ends == [1]
