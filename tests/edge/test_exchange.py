"""One exchange over a memory stream: what an upstream may do, and what it may not."""

import gzip

import h11
import pytest
import trio
import trio.testing

from formats.errors import Garbled, TooLong, Truncated
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.exchange import Channel, Disconnected, Exchange, ask
from llmrouterd.edge.pool import Origin, Pool
from llmrouterd.edge.wire import PlainWire, as_wire
from llmrouterd.model import Clocks, Receipt
from tests.edge.peers import connected_pair, scripted

RECEIPT = Receipt("127.0.0.1:1", left_host=False)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TEXT = "data: 你好 🌍\n\n".encode() * 3


def request(method: str = "POST", length: int = 0) -> h11.Request:
    headers = [("Host", "h"), ("Content-Length", str(length))]
    return h11.Request(method=method, target="/", headers=headers)


async def answered(*pieces: bytes, method: str = "POST", end: bool = True) -> Exchange:
    """The exchange with an upstream that sends these pieces, each its own write."""
    ours, theirs = trio.testing.memory_stream_pair()
    channel = Channel(as_wire(ours), RECEIPT)
    for piece in pieces:
        await theirs.send_all(piece)
    if end:
        await theirs.send_stream.aclose()
    return await ask(channel, request(method), b"", None)


async def pieces(ex: Exchange) -> list[bytes]:
    out = []
    while data := await ex.read():
        out.append(data)
    assert await ex.read() == b""
    return out


BODIES = {
    "length": OK + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT,
    "chunked": CHUNKED
    + b"".join(
        b"%x\r\n%b\r\n" % (len(TEXT[i : i + 7]), TEXT[i : i + 7]) for i in range(0, len(TEXT), 7)
    )
    + b"0\r\n\r\n",
    "until close": OK + b"\r\n" + TEXT,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + TEXT,
    "after hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    + OK
    + b"Content-Length: %d\r\n\r\n" % len(TEXT)
    + TEXT,
    "trailers": CHUNKED + b"%x\r\n" % len(TEXT) + TEXT + b"\r\n0\r\nX-T: 1\r\n\r\n",
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_in_every_split_and_byte_by_byte(case: str) -> None:
    raw = BODIES[case]
    for cut in range(1, len(raw)):
        ours, theirs = trio.testing.lockstep_stream_pair()

        async def send(theirs=theirs, cut=cut) -> None:
            await theirs.receive_some(10_000)
            await theirs.send_all(raw[:cut])
            await theirs.send_all(raw[cut:])
            await theirs.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            ex = await ask(Channel(as_wire(ours), RECEIPT), request(), b"", None)
            assert ex.status == 200
            assert b"".join(await pieces(ex)) == TEXT
            nursery.cancel_scope.cancel()
    ex = await answered(*[raw[i : i + 1] for i in range(len(raw))])
    assert b"".join(await pieces(ex)) == TEXT


async def test_all_chunks_of_one_read_come_as_one_piece() -> None:
    ex = await answered(CHUNKED + b"1\r\na\r\n" * 100 + b"0\r\n\r\n")
    assert await pieces(ex) == [b"a" * 100]


@pytest.mark.parametrize(("status", "method"), [(204, "POST"), (304, "GET"), (200, "HEAD")])
async def test_answers_without_a_body(status: int, method: str) -> None:
    head = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status
    ex = await answered(head, method=method, end=False)
    assert ex.status == status
    assert await ex.read() == b""
    assert ex.reusable()


async def test_headers_as_received() -> None:
    ex = await answered(OK + b"Access-Control-Allow-Origin: \r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert ex.headers.get("access-control-allow-origin") == ""
    assert ex.headers.all("x-a") == ["1", "2"]
    assert ex.receipt is RECEIPT
    assert not ex.reused


async def test_a_redirect_is_only_a_status() -> None:
    ex = await answered(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n")
    assert (ex.status, ex.headers.get("location")) == (302, "http://x/")


# --- cuts and damage ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["length", "chunked"])
async def test_a_cut_at_every_place_is_truncated(case: str) -> None:
    raw = BODIES[case]
    body_at = raw.index(b"\r\n\r\n") + 4
    for cut in range(body_at, len(raw)):
        ex = await answered(raw[:cut])
        with pytest.raises(Truncated):
            await pieces(ex)
        with pytest.raises(Truncated):
            await ex.read()
        assert not ex.reusable()


async def test_what_came_before_the_cut_is_given_first() -> None:
    ex = await answered(CHUNKED + b"3\r\nabc\r\n5\r\nde")
    assert await ex.read() == b"abcde"
    with pytest.raises(Truncated):
        await ex.read()


async def test_what_came_before_broken_framing_is_given_first() -> None:
    ex = await answered(CHUNKED + b"3\r\nabc\r\nXYZ\r\n", end=False)
    assert await ex.read() == b"abc"
    for _ in range(2):
        with pytest.raises(Garbled):
            await ex.read()


async def test_no_answer_and_half_an_answer() -> None:
    with pytest.raises(Disconnected):
        await answered()
    for part in (b"H", b"HTTP/1.1 200 OK\r\nA", OK):
        with pytest.raises(Truncated) as caught:
            await answered(part)
        assert not isinstance(caught.value, Disconnected)


@pytest.mark.parametrize(
    "head",
    [
        b"<html>not http</html>",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
        OK + b"A: b\r\n c\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30,
        b"HTTP/1.1 103 Early\nHints: x\r\n\r\n",
    ],
)
async def test_a_head_that_cannot_be_trusted_is_garbled(head: bytes) -> None:
    with pytest.raises(Garbled):
        await answered(head, end=False)


async def test_an_endless_head_is_refused() -> None:
    with pytest.raises(TooLong):
        await answered(OK + b"X: y\r\n" * 20_000, end=False)


async def test_a_body_over_the_limit_is_too_long() -> None:
    ex = await answered(OK + b"\r\n", bytes(1000), bytes(1000))
    with pytest.raises(TooLong):
        await ex.read_all(1500)
    ex = await answered(BODIES["chunked"])
    assert await ex.read_all(len(TEXT)) == TEXT


async def test_an_empty_body_read_whole() -> None:
    assert await (await answered(OK + b"Content-Length: 0\r\n\r\n")).read_all(0) == b""


# --- codings --------------------------------------------------------------------------------------


async def test_a_compressed_answer_is_undone_and_its_headers_with_it() -> None:
    packed = gzip.compress(TEXT)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    for chunks in ([head + packed], [head, *[packed[i : i + 1] for i in range(len(packed))]]):
        ex = await answered(*chunks)
        assert b"".join(await pieces(ex)) == TEXT
        assert ex.headers.get("content-encoding") is None
        assert ex.headers.get("content-length") is None


async def test_a_bomb_comes_in_bounded_pieces() -> None:
    ex = await answered(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(20_000_000)))
    with pytest.raises(TooLong):
        await ex.read_all(1_000_000)


async def test_a_compressed_answer_cut_inside_is_truncated() -> None:
    ex = await answered(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(TEXT)[:-9])
    with pytest.raises(Truncated):
        await pieces(ex)


async def test_a_coding_we_did_not_ask_for_and_do_not_know() -> None:
    with pytest.raises(Garbled, match="zstd"):
        await answered(OK + b"Content-Encoding: zstd\r\n\r\n")


# --- cancellation ---------------------------------------------------------------------------------


async def test_a_cancelled_read_loses_nothing() -> None:
    """Life signs: a read is given up every now and then, and taken up again."""
    with connected_pair() as (one, two):
        channel = Channel(PlainWire(one), RECEIPT)
        upstream = PlainWire(two)
        await upstream.send(CHUNKED)
        ex = await ask(channel, request(), b"", None)
        got = b""
        for i in range(200):
            with trio.move_on_after(0):
                got += await ex.read()
            piece = b"%d." % i
            await upstream.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await upstream.send(b"0\r\n\r\n")
        while data := await ex.read():
            got += data
        assert got == b"".join(b"%d." % i for i in range(200))
        assert ex.reusable()


# --- large uploads --------------------------------------------------------------------------------


async def upload(script, size: int = 30_000_000, clocks: Clocks | None = None):
    with connected_pair() as (one, two):
        channel = Channel(PlainWire(one), RECEIPT)
        out = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script, PlainWire(two))
            with Deadline(clocks or Clocks()) as deadline:
                ex = await ask(channel, request(length=size), bytes(size), deadline)
                out = ex.status, await ex.read_all(1000), ex.reusable()
            nursery.cancel_scope.cancel()
        return out, deadline.expired


async def test_a_large_body_arrives_whole() -> None:
    total = 0

    async def take(wire: PlainWire) -> None:
        nonlocal total
        data = b""
        while b"\r\n\r\n" not in data:
            data += await wire.receive()
        total += len(data.partition(b"\r\n\r\n")[2])
        while total < 30_000_000:
            total += len(await wire.receive())
        await wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok")

    assert await upload(take) == ((200, b"ok", True), None)
    assert total == 30_000_000


ANSWER = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"


@pytest.mark.parametrize("then", ["stays open", "closes"])
async def test_an_answer_before_the_body_was_taken_is_heard(then: str) -> None:
    async def refuse(wire: PlainWire) -> None:
        await wire.receive()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.send(ANSWER)
        if then == "closes":
            wire.send_eof()
        await trio.sleep_forever()

    assert await upload(refuse) == ((413, b"big", False), None)


async def test_an_upstream_that_takes_nothing_runs_into_the_send_clock() -> None:
    async def ignore(wire: PlainWire) -> None:
        await trio.sleep_forever()

    assert await upload(ignore, clocks=Clocks(idle_s=0.1)) == (None, "send")


async def test_an_upstream_that_breaks_off_during_the_upload() -> None:
    async def leave(wire: PlainWire) -> None:
        await wire.receive()
        wire.reset()

    with pytest.RaisesGroup(Disconnected):
        await upload(leave)


async def test_an_early_answer_through_the_pool() -> None:
    async def refuse(peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(ANSWER)
        await peer.stream.send_eof()
        await peer.all()

    async with scripted(refuse) as port:
        pool = Pool()
        async with pool.exchange(
            Origin("http", "127.0.0.1", port), "POST", "/", [], bytes(20_000_000)
        ) as ex:
            assert ex.status == 413
            assert await ex.read_all(10) == b"big"
        assert pool.idle == 0
