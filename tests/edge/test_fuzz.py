"""Requests and answers that nobody sane would send, against the real edge over memory streams.

Each request carries a number, and so does each answer: an answer that belongs to another request,
an answer too many, or anything that is done after a refusal would show.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from formats.errors import FormatError
from llmrouterd.edge.client import Client
from llmrouterd.edge.connection import serve_connection
from llmrouterd.edge.incoming import Incoming, Limits
from llmrouterd.edge.pool import Origin, Pool
from llmrouterd.edge.wire import Wire, as_wire
from llmrouterd.model import Receipt

LIMITS = Limits(max_head_bytes=4096, max_body_bytes=4096, header_timeout_s=15, body_timeout_s=60)
LONGEST_S = 1000.0  # of pretended time: more than all clocks of a connection with a dozen requests
_BEGIN = re.compile(rb"HTTP/1\.1 (?=\d\d\d )")
_DONE = re.compile(rb"X-Done: (\w+)\r\n")


@dataclass
class Seen:
    """What came of a connection. done: a mark of each request that was carried out, in order."""

    done: list[str] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)
    said: bytes = b""
    lasted_s: float = 0.0


def mark(incoming: Incoming, body: bytes) -> str:
    """A mark of a request: nothing in it can be taken for HTTP."""
    said = f"{incoming.method} {incoming.target} ".encode() + body
    return hashlib.sha256(said).hexdigest()[:16]


def served(data: bytes, cuts: list[int], *, stays: bool = False) -> Seen:
    """Everything that the edge makes of these bytes, cut at those places. stays: the client keeps its
    side open and waits."""
    seen = Seen()

    async def answer(incoming: Incoming, client: Client) -> None:
        done = mark(incoming, await incoming.body())
        seen.done.append(done)
        await client.respond(200, [("X-Done", done)], done.encode())

    async def send(stream: trio.abc.HalfCloseableStream) -> None:
        places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
        try:
            for start, end in pairwise(places):
                await stream.send_all(data[start:end])
                await trio.testing.wait_all_tasks_blocked()
            if not stays:
                await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has been refused

    async def listen(stream: trio.abc.ReceiveStream) -> None:
        try:
            while piece := await stream.receive_some(65536):
                seen.said += piece
        except trio.BrokenResourceError:
            return

    async def main() -> None:
        theirs, ours = trio.testing.memory_stream_pair()
        begun = trio.current_time()
        with trio.fail_after(LONGEST_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, theirs)
                nursery.start_soon(listen, theirs)
                await serve_connection(ours, answer, LIMITS)
        seen.lasted_s = trio.current_time() - begun

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    nothing, *answers = _BEGIN.split(seen.said)  # no answer of this edge has that in its body
    assert not nothing
    seen.answers = [(int(each[:3]), b"".join(_DONE.findall(each)).decode()) for each in answers]
    return seen


def holds(seen: Seen) -> None:
    """What must be true of any connection: one answer to each request that was carried out, its own,
    in order; then at most one refusal; then nothing."""
    well = [done for status, done in seen.answers if status == 200]
    refused = [status for status, _ in seen.answers if status not in (100, 200)]
    assert well == seen.done
    assert len(refused) <= 1
    if refused:
        assert seen.answers[-1][0] == refused[0]
        assert refused[0] in (400, 408, 413, 414, 415, 417, 431, 501, 505)
        assert b"onnection: close" in _BEGIN.split(seen.said)[-1]


# --- what clients send ----------------------------------------------------------------------------

bodies = st.binary(max_size=60)
fields = st.sampled_from(
    [b"", b"X-A: b\r\n", b"Accept: */*\r\nTE: trailers\r\n", b"Connection: keep-alive\r\n"]
)


def chunked(pieces: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    cut = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces if p)
    return cut + b"0\r\n" + trailer + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One that is right. A number in its path tells it from others."""
    path = b"/%d" % draw(st.integers(0, 10**9))
    more = draw(fields)
    match draw(st.sampled_from(["get", "head", "length", "chunked", "absolute"])):
        case "get":
            return b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (path, more)
        case "head":
            return b"HEAD %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (path, more)
        case "absolute":
            return b"GET http://h%b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (path, more)
        case "length":
            body = draw(bodies)
            head = b"POST %b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n"
            return head % (path, more, len(body)) + body
        case _:
            body = chunked(
                draw(st.lists(bodies, max_size=4)),
                draw(st.sampled_from([b"", b";a=b", b';n="v"'])),
                draw(st.sampled_from([b"", b"X-T: 1\r\n"])),
            )
            head = b"POST %b HTTP/1.1\r\nHost: h\r\n%bTransfer-Encoding: chunked\r\n\r\n"
            return head % (path, more) + body


def cuts() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 2000), max_size=8)


HEAD = b"POST /bad HTTP/1.1\r\nHost: h\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# Each must be refused, and whatever stands behind it never be looked at.
MALFORMED = [
    HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chun\xffked\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: 1, 1\r\n\r\nx",
    HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 1 1\r\n\r\nx",
    HEAD + b"Content-Length: \xb2\r\n\r\nxx",
    HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    HEAD + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000,
    HEAD + b"X-A: b\r\n folded: c\r\n\r\n",
    HEAD + b"X-A: b\nX-B: c\r\n\r\n",
    HEAD + b"X-A: b\rX-B: c\r\n\r\n",
    HEAD + b"X-A: \0\r\n\r\n",
    HEAD + b"X-A : b\r\n\r\n",
    HEAD + b"no colon\r\n\r\n",
    HEAD + b": nothing\r\n\r\n",
    HEAD + b"Host: other\r\n\r\n",
    HEAD + b"X: y\r\n" * 1000 + b"\r\n",
    HEAD + b"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\nx",
    b"POST /bad HTTP/1.1\r\n\r\n",
    b"GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET bad HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET  /bad HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /b ad HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /bad HTTP/1.1 \r\nHost: h\r\n\r\n",
    b"GET /bad\r\nHost: h\r\n\r\n",
    b"GET /bad HTTP/9.9\r\nHost: h\r\n\r\n",
    b"GET /bad http/1.1\r\nHost: h\r\n\r\n",
    b"GET /bad HTTP/1.10\r\nHost: h\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + b"\r\n\r\n",
    b"\x80\x2e\x01\x00\x02\r\n\r\n",
    b"POST /bad HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n",
    CHUNKED + b"ffffffffffffffff\r\n" + b"x" * 5000,
    CHUNKED + b"+1\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    CHUNKED + b" 1\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"1 \r\nx\r\n0\r\n\r\n",
    CHUNKED + b"1_0\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"1;\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"1;" + b"a" * 400 + b"\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"1;\0\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"1\nx\n0\n\n",
    CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    CHUNKED + b"1\r\nx0\r\n\r\n",
    CHUNKED + b"\r\n0\r\n\r\n",
    CHUNKED + b"0\r\nContent-Length : 5\r\n\r\n",
    CHUNKED + b"0\r\nX: y\n\r\n\r\n",
    CHUNKED + b"0\r\n X: y\r\n\r\n",
    CHUNKED + b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
]


@given(st.lists(requests(), min_size=1, max_size=6), cuts(), st.booleans())
def test_every_request_gets_its_own_answer(
    each: list[bytes], where: list[int], stays: bool
) -> None:
    seen = served(b"".join(each), where, stays=stays)
    holds(seen)
    assert len(seen.done) == len(each)
    assert {status for status, _ in seen.answers} == {200}


@pytest.mark.parametrize("bad", MALFORMED, ids=range(len(MALFORMED)))
@given(before=st.lists(requests(), max_size=2), after=requests(), where=cuts(), stays=st.booleans())
def test_nothing_behind_a_refusal_is_carried_out(
    bad: bytes, before: list[bytes], after: bytes, where: list[int], stays: bool
) -> None:
    seen = served(b"".join([*before, bad, after, after]), where, stays=stays)
    holds(seen)
    assert len(seen.done) == len(before)
    assert seen.answers[-1][0] >= 400


_PARTS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"0", b";", b"/", b"\xff"),
    *(
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: h\r\n",
        b"GET / HTTP/1.1",
    ),
    *(b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"HTTP/1.0"),
    *(b"Connection: close\r\n", b"Content-Encoding: gzip\r\n", b"0\r\n\r\n", b"HEAD", b"CONNECT"),
]
_PARTS_AT = st.tuples(st.integers(0, 2000), st.integers(0, 12), st.sampled_from(_PARTS))


def mutated(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Some bytes taken out, others put in their place."""
    for at, gone, put in changes:
        at %= len(data) + 1
        data = data[:at] + put + data[at + gone :]
    return data


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(_PARTS_AT, max_size=4), cuts())
@example([b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"], [(0, 0, b"\r\n")], [1])
@example([b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"] * 2, [(28, 0, b"\r\n")], [29])
def test_whatever_comes_is_read_in_one_way(
    each: list[bytes], changes: list[tuple[int, int, bytes]], where: list[int]
) -> None:
    """However the network cuts it, the same is carried out and the same is answered."""
    data = mutated(b"".join(each), changes)
    whole, cut = served(data, []), served(data, where)
    holds(whole)
    holds(cut)
    assert cut.done == whole.done
    assert [s for s, _ in cut.answers if s != 100] == [s for s, _ in whole.answers if s != 100]
    holds(served(data, where, stays=True))


@given(st.binary(max_size=300), cuts(), st.booleans())
def test_noise_is_refused_or_waited_for(data: bytes, where: list[int], stays: bool) -> None:
    seen = served(data, where, stays=stays)
    holds(seen)
    assert not seen.done


# --- what upstreams answer ------------------------------------------------------------------------


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    status = draw(
        st.sampled_from([b"200 OK", b"204 No Content", b"404 Not Found", b"100 Continue"])
    )
    body = draw(bodies)
    match draw(st.sampled_from(["length", "chunked", "until the end", "103"])):
        case "length":
            return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        case "chunked":
            body = chunked([body], b"", b"")
            return b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (status, body)
        case "103":
            return b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * draw(st.integers(1, 30))
        case _:
            return b"HTTP/1.1 %b\r\nConnection: close\r\n\r\n%b" % (status, body)


def heard(data: bytes, where: list[int]) -> str:
    """What an exchange makes of an upstream that says these bytes and leaves: a status and a body,
    or the failure's name."""

    async def main() -> str:
        ours, theirs = trio.testing.memory_stream_pair()

        async def dialer(*_: object, **__: object) -> tuple[Wire, Receipt]:
            return as_wire(ours), Receipt("127.0.0.1:1", left_host=False)

        async def say() -> None:
            places = [0, *sorted({cut % (len(data) + 1) for cut in where}), len(data)]
            try:
                await theirs.receive_some(65536)
                for start, end in pairwise(places):
                    await theirs.send_all(data[start:end])
                    await trio.testing.wait_all_tasks_blocked()
                await theirs.aclose()
            except trio.BrokenResourceError:
                return

        pool = Pool(dialer=dialer)
        with trio.fail_after(LONGEST_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(say)
                try:
                    async with pool.exchange(Origin("http", "h", 1), "POST", "/", []) as exchange:
                        body = await exchange.read_all(4096)
                    said = f"{exchange.status} {body!r}"
                except FormatError as error:
                    said = type(error).__name__
                nursery.cancel_scope.cancel()
        assert pool.leased == 0
        pool.close()
        return said

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(st.lists(replies(), min_size=1, max_size=3), st.lists(_PARTS_AT, max_size=3), cuts())
def test_an_upstreams_answer_is_read_in_one_way_or_not_at_all(
    each: list[bytes], changes: list[tuple[int, int, bytes]], where: list[int]
) -> None:
    data = mutated(b"".join(each), changes)
    assert heard(data, where) == heard(data, [])
