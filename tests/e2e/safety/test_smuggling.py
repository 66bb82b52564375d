"""Requests that two readers could read differently are refused."""

from __future__ import annotations

import re
import socket

import pytest

from tests.e2e.safety.house import House
from tests.fakes.bystander import (
    PATIENCE_S,
    raw_chat,
)
from tests.fakes.daemon import RunningDaemon

pytestmark = pytest.mark.e2e


INNER = raw_chat("openai", model="openai")
SMUGGLING: dict[str, bytes] = {
    "length beside chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked beside length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two equal lengths": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 0\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "an underscored length": b"Content-Length: 1_0\r\n\r\n",
    "an empty length": b"Content-Length:\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a list of codings": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a tail": b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a bare LF": b"X-A: b\nContent-Length: 0\r\n\r\n",
    "bare LFs only": b"Content-Length: 0\n\n",
    "a bare CR": b"X-A: b\rContent-Length: 5\r\n\r\n",
    "a NUL": b"X-A: b\0\r\nContent-Length: 0\r\n\r\n",
    "a name with a blank": b"X A: b\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": b"Content-Length\r\n\r\n",
    "no name": b": b\r\nContent-Length: 0\r\n\r\n",
    "two hosts": b"Host: other\r\nContent-Length: 0\r\n\r\n",
}


def all_of(daemon: RunningDaemon, data: bytes) -> bytes:
    """Everything that is answered to these bytes until the router closes."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S) as sock:
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("case", SMUGGLING)
def test_a_request_that_two_readers_could_read_differently_is_refused(
    house: House, case: str
) -> None:
    """And nothing that came behind it is ever looked at."""
    outer = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + SMUGGLING[case]
    answer = all_of(house.daemon, outer + INNER)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()
    assert b"x-router-error" in answer.lower()
    assert not house.upstream.received


CHUNKS: dict[str, bytes] = {
    "a size in the negative": b"-1\r\n\r\n",
    "a size that is too long": b"f" * 20 + b"\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "too much data": b"5\r\nhello, world\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhello0\r\n\r\n",
    "an endless extension": b"5;" + b"a" * 100_000,
    "a framing field in the trailer": b"0\r\nContent-Length : 5\r\n\r\n",
}


@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_that_two_readers_could_read_differently_are_refused(
    house: House, case: str
) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = all_of(house.daemon, head + CHUNKS[case] + INNER)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not house.upstream.received


LINES: dict[str, tuple[bytes, bytes]] = {
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", b"400"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n", b"505"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n", b"400"),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", b"501"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
    "another host": (b"GET http://evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    "a blank too many": (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "a long target": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
    "a long head": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000, b"431"),
    "chunked in HTTP/1.0": (
        b"POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"400",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_what_is_not_a_request_of_ours_is_refused_by_its_status(house: House, case: str) -> None:
    data, status = LINES[case]
    answer = all_of(house.daemon, data)
    assert answer.startswith(b"HTTP/1.1 " + status + b" ")
    assert b'"error"' in answer
    assert not house.upstream.received


def test_pipelined_requests_are_answered_in_their_order(house: House) -> None:
    """The safe sort of a second request: it has its own answer."""
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = all_of(house.daemon, INNER + raw_chat("ollama", model="nobody/has-it") + last)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"400", b"200"]
    assert answer.endswith(b"ok")
