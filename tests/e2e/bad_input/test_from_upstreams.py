"""Upstreams whose answer is none, before any content."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.bad_input.house import (
    BAD_GATEWAY,
    CLOSE,
    DEEP,
    ERROR_EVENT,
    MIB,
    PAIRS,
    House,
    format_asked,
    half_an_event,
)
from tests.fakes.bystander import (
    chat,
    error_before,
)
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces, wants_stream, whole
from tests.fakes.upstream import Turn
from tests.formats.sdk_readers import READERS

pytestmark = pytest.mark.e2e


def sse_or_lines(fmt: str, value: Any) -> bytes:
    """One event of a stream in this format."""
    data = json.dumps(value).encode()
    return data + b"\n" if fmt == "ollama" else b"data: " + data + b"\n\n"


def plain(body: bytes, *fields: str, kind: str = "application/json") -> Callable[[Turn], None]:
    def script(turn: Turn) -> None:
        turn.keep = False
        turn.whole(body, 200, CLOSE, *fields, kind=kind)

    return script


def raw(*data: bytes) -> Callable[[Turn], None]:
    def script(turn: Turn) -> None:
        turn.keep = False
        for piece in data:
            turn.raw(piece)

    return script


def of_stream_kind(data: bytes) -> Callable[[Turn], None]:
    """Bytes of a chunked body that announces itself as this format's stream, then the close."""

    def script(turn: Turn) -> None:
        turn.keep = False
        turn.begin(CLOSE, kind=STREAM_TYPE[format_asked(turn)])
        turn.raw(data)

    return script


def a_cut_chunk(turn: Turn) -> None:
    turn.keep = False
    turn.begin(CLOSE, kind=STREAM_TYPE[format_asked(turn)])
    half_an_event(turn)


def a_short_length(turn: Turn) -> None:
    turn.keep = False
    body = json.dumps(whole(format_asked(turn), Said("hello there"))).encode()
    turn.head(200, f"Content-Length: {len(body) - 20}")
    turn.raw(body)


def a_long_length(turn: Turn) -> None:
    turn.keep = False
    body = json.dumps(whole(format_asked(turn), Said("hello there"))).encode()
    turn.head(200, f"Content-Length: {len(body) + 20}")
    turn.raw(body)


def a_redirect(turn: Turn) -> None:
    turn.keep = False
    host = turn.received.headers["host"]
    turn.head(307, f"Location: http://{host}/elsewhere", "Content-Length: 0")


def a_reset(turn: Turn) -> None:
    turn.keep = False
    turn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def an_error_in_a_stream(turn: Turn) -> None:
    """The error event of each format, as the first thing of the stream."""
    turn.keep = False
    fmt = format_asked(turn)
    turn.begin(CLOSE, kind=STREAM_TYPE[fmt])
    turn.chunk(ERROR_EVENT[fmt])
    turn.end()


HTML = b"<!DOCTYPE html><html><body><h1>Welcome to nginx</h1></body></html>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

# what the upstream does -> the script, and what X-Router-Error says
FAULTS: dict[str, tuple[Callable[[Turn], None], str]] = {
    "an HTML page": (plain(HTML, kind="text/html"), "upstream"),
    "an HTML page that says JSON": (plain(HTML), "upstream"),
    "an empty body": (plain(b""), "upstream"),
    "an empty stream": (of_stream_kind(b"0\r\n\r\n"), "truncated"),
    "JSON of another shape": (plain(b'{"status":"ok","items":[]}'), "upstream"),
    "a JSON list": (plain(b"[1,2,3]"), "upstream"),
    "a JSON word": (plain(b'"ok"'), "upstream"),
    "a JSON null": (plain(b"null"), "upstream"),
    "half a JSON": (plain(b'{"id":"x","choices":[{"mess'), "upstream"),
    "nested JSON": (plain(DEEP.encode()), "upstream"),
    "not UTF-8": (plain(b'{"id":"\xff\xfe","choices":[]}'), "upstream"),
    "a chunk that is cut": (a_cut_chunk, "truncated"),
    "a chunk size that is none": (of_stream_kind(b"zz\r\ndata: {\r\n"), "upstream"),
    "a whole answer that is cut": (a_long_length, "truncated"),
    "a length that is too small": (a_short_length, "upstream"),
    "a length that is none": (raw(HEAD + b"Content-Length: many\r\n\r\n{}"), "upstream"),
    "two framings": (
        raw(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
        "upstream",
    ),
    "a header of 1 MB": (raw(HEAD, b"X-Long: ", b"a" * MIB, b"\r\n\r\n{}"), "upstream"),
    "headers of 1 MB": (raw(HEAD, b"X-Many: aaaaaaaa\r\n" * 60_000, b"\r\n{}"), "upstream"),
    "a redirect": (a_redirect, "upstream"),
    "a garbage status line": (raw(b"HTTP/1.1 OK fine\r\n\r\n"), "upstream"),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "upstream"),
    "binary garbage": (raw(bytes(range(256))), "upstream"),
    "HTTP/2": (raw(b"HTTP/2 200\r\n\r\n{}"), "upstream"),
    "101": (raw(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"), "upstream"),
    "interim answers only": (raw(b"HTTP/1.1 103 Early\r\n\r\n" * 50), "upstream"),
    "204": (raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), "upstream"),
    "a coding that nobody asked for": (
        plain(b"\x0b\x02\x80{}\x03", "Content-Encoding: br"),
        "upstream",
    ),
    "broken gzip": (plain(b"\x1f\x8b" + bytes(60), "Content-Encoding: gzip"), "upstream"),
    "gzip that is cut": (
        plain(gzip.compress(b'{"id":"x"}' * 50)[:-12], "Content-Encoding: gzip"),
        "truncated",
    ),
    "a close": (raw(), "truncated"),
    "a reset": (a_reset, "truncated"),
    "an error in the stream": (an_error_in_a_stream, "upstream"),
    "an event that is no JSON": (of_stream_kind(b"e\r\ndata: {hello\n\n\r\n0\r\n\r\n"), "upstream"),
    "HTML in the stream": (
        of_stream_kind(b"%x\r\n%b\n\n\r\n0\r\n\r\n" % (len(HTML) + 2, HTML)),
        "upstream",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_an_upstream_that_fails_before_its_content_is_a_clear_error(
    house: House, client: str, up: str, stream: bool, case: str
) -> None:
    house.upstream.script, tag = FAULTS[case]
    answer = house.ask(client, chat(client, up, stream=stream))
    assert answer.status == BAD_GATEWAY[client]
    if not (case == "an event that is no JSON" and client == up):  # it passes, and then nothing
        assert answer.tag == tag, answer.body
    message = error_before(client, answer)
    assert answer.whole
    line = house.told(answer, end="upstream_error", fault="upstream")
    assert line["error"] in message or message in line["error"]
    assert line["provider"] == up
    assert [received.target for received in house.upstream.received] == [CHAT_PATH[up]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_gzip_answer_that_nobody_asked_for_is_read_all_the_same(
    house: House, client: str, up: str, stream: bool
) -> None:
    def script(turn: Turn) -> None:
        turn.keep = False
        if wants_stream(up, turn.received):
            body = b"".join(pieces(up, Said("well packed"), turn.received.json))
            turn.whole(
                gzip.compress(body), 200, CLOSE, "Content-Encoding: gzip", kind=STREAM_TYPE[up]
            )
        else:
            body = json.dumps(whole(up, Said("well packed"))).encode()
            turn.whole(gzip.compress(body), 200, CLOSE, "Content-Encoding: gzip")

    house.upstream.script = script
    answer = house.ask(client, chat(client, up, stream=stream))
    assert answer.status == 200
    assert answer.whole
    assert READERS[client](answer.body, stream, step=4096)["text"] == "well packed"
    assert "content-encoding" not in answer.headers
    house.told(answer, end="complete", fault="")
