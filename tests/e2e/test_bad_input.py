"""Whatever a client or an upstream sends: a clear error in the client's format, a log line that says
who was at fault, and nothing left behind."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bystander import (
    FORMATS,
    PATIENCE_S,
    Answered,
    Journal,
    Listener,
    Rest,
    ask,
    chat,
    error_before,
    error_within,
    heard,
    raw_post,
    rss_bytes,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces, wants_stream, whole
from tests.fakes.upstream import FakeUpstream, Turn
from tests.formats.sdk_readers import READERS

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
PAIRS = [(client, up) for client in FORMATS for up in FORMATS]
SAME = [(fmt, fmt) for fmt in FORMATS]
USER = {"role": "user", "content": "hello"}
BAD_GATEWAY = {"openai": 502, "anthropic": 500, "ollama": 502}
CLOSE = "Connection: close"  # no idle connection stays, so that every descriptor is counted
DEEP = "[" * 100_000 + "]" * 100_000


def config(url: str, *, server: str = "") -> str:
    """A provider of each format, and two of each that have no patience. Each model has one place, so that nobody
    else can answer for it."""
    tables = [f'[server]\nport = 0\n{server}\n[logging]\nenabled = true\npath = "log.jsonl"\n']
    for fmt in FORMATS:
        for name, clocks in (
            (fmt, ""),
            (f"hasty-{fmt}", "first_token_timeout = 0.3\n"),
            (f"weary-{fmt}", "idle_timeout = 0.3\n"),
        ):
            tables.append(
                f'[[providers]]\nname = "{name}"\nformat = "{fmt}"\nbase_url = "{url}"\n'
                f'models = ["{name}"]\nmax_retries = 0\n{clocks}'
                f'[[routers]]\ntype = "model"\nmatch = "{name}"\nprovider = "{name}"\n'
            )
    return "\n".join(tables)


def format_asked(turn: Turn) -> str:
    path = turn.received.target
    return next(fmt for fmt in FORMATS if path.startswith(CHAT_PATH[fmt]))


def answers_well(turn: Turn) -> None:
    fmt = format_asked(turn)
    turn.keep = False
    turn.whole(whole(fmt, Said("fine")), 200, CLOSE)


@dataclass
class House:
    daemon: RunningDaemon
    upstream: FakeUpstream
    journal: Journal
    rest: Rest
    rss_at_start: int

    def ask(self, client: str, body: Any, headers: dict[str, str] | None = None) -> Answered:
        return ask(self.daemon, CHAT_PATH[client], body, headers)

    def told(self, answer: Answered, *, end: str, fault: str) -> dict[str, Any]:
        """The log line of an answer, which must agree with it."""
        line = self.journal.line(answer.id)
        assert (line["end"], line["fault"]) == (end, fault), line
        assert line["status"] == answer.status
        assert (line["error"] is None) == (end == "complete")
        if answer.tag:
            assert line["error_kind"] == answer.tag
        return line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("bad")
    with FakeUpstream(answers_well) as upstream:
        with RunningDaemon(config(upstream.url), folder) as daemon:
            ask(daemon, "/health")
            journal = Journal(folder / "log.jsonl")
            yield House(daemon, upstream, journal, Rest(daemon, upstream), rss_bytes(daemon.pid))


@pytest.fixture
def house(place: House) -> Iterator[House]:
    """The house, which must be at rest again after every test."""
    place.upstream.script = answers_well
    place.upstream.received.clear()
    yield place
    place.rest.holds()
    assert not place.upstream.errors


# --- from clients ---------------------------------------------------------------------------------


def text(body: Any) -> bytes:
    return json.dumps(body).encode()


def messages(fmt: str, *given: Any) -> bytes:
    return text(chat(fmt, fmt, messages=list(given)))


def without(fmt: str, name: str) -> bytes:
    return text({k: v for k, v in chat(fmt, fmt).items() if k != name})


def deep_tools(fmt: str) -> bytes:
    schema = '{"type":"object","properties":{"p":' + DEEP + "}}"
    tool = (
        '{"name":"f","input_schema":' + schema + "}"
        if fmt == "anthropic"
        else '{"type":"function","function":{"name":"f","parameters":' + schema + "}}"
    )
    return text(chat(fmt, fmt)).removesuffix(b"}") + f',"tools":[{tool}]}}'.encode()


BAD_BODIES: dict[str, Callable[[str], bytes]] = {
    "no body": lambda f: b"",
    "broken JSON": lambda f: text(chat(f, f))[:-1],
    "no JSON": lambda f: b"model=m&stream=true",
    "two objects": lambda f: text(chat(f, f)) * 2,
    "a list": lambda f: b"[" + text(chat(f, f)) + b"]",
    "a word": lambda f: b'"hello"',
    "null": lambda f: b"null",
    "not a number": lambda f: text(chat(f, f, temperature=float("nan"))),
    "an infinite number": lambda f: text(chat(f, f)).replace(b"false", b'false,"seed":1e999'),
    "a number of 5000 digits": lambda f: text(chat(f, f)).replace(
        b"false", b'false,"seed":' + b"7" * 5000
    ),
    "a NUL byte": lambda f: text(chat(f, f)).replace(b"hello", b"hel\0lo"),
    "NUL bytes only": lambda f: bytes(64),
    "not UTF-8": lambda f: text(chat(f, f)).replace(b"hello", b"\xff\xfe"),
    "half a character": lambda f: text(chat(f, f)).replace(b"hello", b"\xe2\x82"),
    "UTF-16": lambda f: json.dumps(chat(f, f)).encode("utf-16"),
    "a key that stands twice": lambda f: text(chat(f, f)).replace(b"false", b'false,"model":"x"'),
    "nesting of brackets": lambda f: DEEP.encode(),
    "nesting of open brackets": lambda f: b"[" * 100_000,
    "nesting in the messages": lambda f: text(chat(f, f)).replace(b'"hello"', DEEP.encode()),
    "nesting in an unknown member": lambda f: text(chat(f, f)).replace(
        b"false", b'false,"more":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    ),
    "nesting in a tool's schema": deep_tools,
    "no model": lambda f: without(f, "model"),
    "an empty model": lambda f: text(chat(f, "")),
    "a model that is a number": lambda f: text(chat(f, 5)),
    "a model that is null": lambda f: text(chat(f, None)),
    "messages that are a string": lambda f: text(chat(f, f, messages="hello")),
    "messages that are an object": lambda f: text(chat(f, f, messages=USER)),
    "a message that is a number": lambda f: messages(f, 5),
    "a message that is null": lambda f: messages(f, USER, None),
    "a message without a role": lambda f: messages(f, {"content": "hello"}),
    "a role that nobody has": lambda f: messages(f, {"role": "wizard", "content": "hello"}),
    "a role that is a list": lambda f: messages(f, {"role": ["user"], "content": "hello"}),
    "content that is a number": lambda f: messages(f, {"role": "user", "content": 5}),
    "content that is an object": lambda f: messages(f, {"role": "user", "content": {"text": "x"}}),
    "a content part that is a number": lambda f: messages(f, {"role": "user", "content": [5]}),
    "stream that is a word": lambda f: text(chat(f, f, stream="yes")),
    "tools that are a string": lambda f: text(chat(f, f, tools="all")),
    "a tool that is a number": lambda f: text(chat(f, f, tools=[5])),
    "a model that nobody has": lambda f: text(chat(f, "nobody/has-this")),
}
# Ollama's clients say "load this model" with no messages, and it ignores members it does not know.
STRICT_BODIES: dict[str, Callable[[str], bytes]] = {
    "no messages": lambda f: without(f, "messages"),
    "messages that are null": lambda f: text(chat(f, f, messages=None)),
    "empty messages": lambda f: messages(f),
    "a message without content": lambda f: messages(f, {"role": "user"}),
    "a temperature in words": lambda f: text(chat(f, f, temperature="hot")),
    "max_tokens in words": lambda f: text(chat(f, f, max_tokens="many")),
}


@pytest.mark.parametrize("case", BAD_BODIES)
@pytest.mark.parametrize("client", FORMATS)
def test_a_bad_body_is_refused_in_the_clients_format(house: House, client: str, case: str) -> None:
    answer = house.ask(client, BAD_BODIES[case](client))
    assert answer.status == 400
    error_before(client, answer)
    assert answer.tag == ("no_provider" if case == "a model that nobody has" else "bad_request")
    house.told(answer, end="refused", fault="owner" if answer.tag == "no_provider" else "client")
    assert not house.upstream.received


@pytest.mark.parametrize("case", STRICT_BODIES)
@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_what_is_missing_is_named(house: House, client: str, case: str) -> None:
    answer = house.ask(client, STRICT_BODIES[case](client))
    assert answer.status == 400
    assert error_before(client, answer).startswith(
        ("messages", "temperature", "max_tokens", "messages[0].content")
    )
    house.told(answer, end="refused", fault="client")


@pytest.mark.parametrize("case", ["no messages", "messages that are null", "empty messages"])
def test_an_ollama_client_without_messages_loads_a_model(house: House, case: str) -> None:
    answer = house.ask("ollama", STRICT_BODIES[case]("ollama"))
    assert answer.status == 200
    assert json.loads(answer.body)["done"] is True
    house.told(answer, end="complete", fault="")


@pytest.mark.parametrize("client", FORMATS)
def test_an_unknown_content_part_is_never_lost_in_silence(house: House, client: str) -> None:
    """It is refused where it would have to be translated; the same format may know better."""
    part = {"type": "hologram", "data": "x"}
    for up in FORMATS:
        body = chat(client, up, messages=[{"role": "user", "content": [part]}])
        answer = house.ask(client, body)
        if answer.status == 200:
            assert up == client == "anthropic"
            assert house.upstream.received[-1].json["messages"][0]["content"] == [part]
            house.told(answer, end="complete", fault="")
        else:
            assert (answer.status, answer.tag) in {(400, "bad_request"), (400, "unsupported")}
            message = error_before(client, answer)
            assert "messages[" in message
            assert "hologram" in message or "expected a string" in message
            house.told(answer, end="refused", fault="client")


def broken_history(fmt: str, case: str) -> list[Any]:
    """A tool's result without its call, or two calls with one id."""
    ids = ["a", "a"] if case == "twice" else ["a"]
    if fmt == "anthropic":
        calls = [
            {"type": "tool_use", "id": i, "name": f"f{n}", "input": {}} for n, i in enumerate(ids)
        ]
        results = [
            {"type": "tool_result", "tool_use_id": i, "content": f"r{n}"} for n, i in enumerate(ids)
        ]
        made = [{"role": "assistant", "content": calls}] if case == "twice" else []
        return [USER, *made, {"role": "user", "content": results}]
    arguments: Any = {} if fmt == "ollama" else "{}"
    made = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": i, "type": "function", "function": {"name": f"f{n}", "arguments": arguments}}
                for n, i in enumerate(ids)
            ],
        }
    ]
    results = [{"role": "tool", "tool_call_id": i, "content": f"r{n}"} for n, i in enumerate(ids)]
    return [USER, *(made if case == "twice" else []), *results]


def ids_in(fmt: str, body: Any) -> tuple[list[str], list[str]]:
    """The ids of calls and of results in what an upstream was sent."""
    calls: list[str] = []
    results: list[str] = []
    for message in body["messages"]:
        if fmt == "anthropic":
            content = message["content"] if isinstance(message["content"], list) else []
            calls += [part["id"] for part in content if part["type"] == "tool_use"]
            results += [part["tool_use_id"] for part in content if part["type"] == "tool_result"]
        else:
            calls += [call["id"] for call in message.get("tool_calls") or []]
            if message["role"] == "tool":
                results.append(message.get("tool_call_id") or "")
    return calls, results


@pytest.mark.parametrize("case", ["orphan", "twice"])
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_broken_tool_history_is_mended_or_refused_in_words(
    house: House, client: str, up: str, case: str
) -> None:
    """The same format passes as it is: its server's word on it is the best one. What is translated
    is a history that the target takes, nothing of it lost."""
    history = broken_history(client, case)
    answer = house.ask(client, chat(client, up, messages=history))
    assert answer.status == 200
    sent = house.upstream.received[-1].json
    if client == up:
        assert sent["messages"] == history
        return
    calls, results = ids_in(up, sent)
    assert len(set(calls)) == len(calls)
    assert "r0" in json.dumps(sent)
    assert (case == "twice") == ("r1" in json.dumps(sent))
    if case == "orphan":
        assert not results
    elif up != "ollama":
        assert sorted(results) == sorted(calls)
    assert "messages[]" in answer.headers["x-router-dropped"]
    house.told(answer, end="complete", fault="")


@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_lone_surrogates_and_escaped_nul_reach_every_upstream_as_json(
    house: House, client: str, up: str
) -> None:
    answer = house.ask(
        client, chat(client, up, messages=[{"role": "user", "content": "a\ud800\0b"}])
    )
    assert answer.status == 200
    sent = json.loads(house.upstream.received[-1].body.decode("utf-8"))
    content = sent["messages"][0]["content"]
    assert "a\ud800\0b" in (content if isinstance(content, str) else content[0]["text"])
    line = house.told(answer, end="complete", fault="")
    assert line["messages"][0]["content"] == [{"type": "text", "text": "a\ud800\0b"}]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_content_coding_that_is_not_undone_is_named(
    house: House, client: str, coding: str
) -> None:
    answer = house.ask(client, chat(client, client), {"Content-Encoding": coding})
    assert answer.status == 415
    assert "br" in error_before(client, answer) or "zstd" in error_before(client, answer)
    house.told(answer, end="refused", fault="client")


@pytest.mark.parametrize("client", FORMATS)
def test_a_broken_gzip_body_is_refused(house: House, client: str) -> None:
    whole_body = gzip.compress(text(chat(client, client)))
    for body in (whole_body[:-9], b"\x1f\x8b" + bytes(40), b"not gzip at all"):
        answer = house.ask(client, body, {"Content-Encoding": "gzip"})
        assert answer.status == 400
        error_before(client, answer)
        house.told(answer, end="refused", fault="client")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["declared", "chunked", "gzip"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_body_of_100_mb_is_refused_and_not_kept(house: House, client: str, how: str) -> None:
    """Declared it is not even read; without a length it is given up at the limit. A client that
    goes on sending still reads the answer."""
    pid = house.daemon.pid
    before = rss_bytes(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    answer = send_100_mb(house.daemon.port, CHAT_PATH[client], how)
    assert (answer.status, answer.tag) == (413, "too_large")
    assert "67108864" in error_before(client, answer)
    assert how == "gzip" or answer.headers["connection"] == "close"
    house.told(answer, end="refused", fault="client")
    house.rest.holds()
    peak = rss_bytes(pid, "VmHWM") - before
    assert peak < (4 * MIB if how == "declared" else 80 * MIB)
    assert rss_bytes(pid) - house.rss_at_start < 96 * MIB  # one body's, however many there were


def send_100_mb(port: int, path: str, how: str) -> Answered:
    filler = b'{"model":"m","x":"' + b"a" * (MIB - 18)
    head = {
        "declared": "Content-Length: 104857600",
        "chunked": "Transfer-Encoding: chunked",
        "gzip": "Content-Encoding: gzip",
    }[how]
    if how == "gzip":
        packed = gzip.compress(b'{"model":"m","x":"' + bytes(100 * MIB), 1)
        data, times, head = packed, 1, f"{head}\r\nContent-Length: {len(packed)}"
    elif how == "chunked":
        data, times = b"%x\r\n%b\r\n" % (len(filler), filler), 100
    else:
        data, times = filler, 100
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
        for _ in range(times):
            sock.sendall(data)
        response = http.client.HTTPResponse(sock)
        try:
            response.begin()
            return heard(response)
        finally:
            response.close()


# --- from upstreams, before any content -----------------------------------------------------------


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


ERROR_EVENT = {
    "openai": b'data: {"error":{"message":"the kettle boils","type":"server_error","code":500}}\n\n',
    "anthropic": b"event: error\ndata: "
    b'{"type":"error","error":{"type":"api_error","message":"the kettle boils"}}\n\n',
    "ollama": b'{"error":"the kettle boils"}\n',
}
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


# --- streams that break, never start, never end ---------------------------------------------------


def first_words(fmt: str, request: Any) -> list[bytes]:
    """A stream's pieces up to and with its first content."""
    got = []
    for piece in pieces(fmt, Said("hello there, friend"), request):
        got.append(piece)
        if b"hello" in piece:
            return got
    raise AssertionError(got)


@dataclass
class Begun:
    """A stream that gives its first words and then, when the client has them, does this."""

    then: Callable[[Turn], None]

    def __call__(self, turn: Turn) -> None:
        turn.keep = False
        fmt = format_asked(turn)
        turn.begin(CLOSE, kind=STREAM_TYPE[fmt])
        turn.chunk(b"".join(first_words(fmt, turn.received.json)))
        assert self.heard.wait(PATIENCE_S)
        self.then(turn)

    def __post_init__(self) -> None:
        self.heard = threading.Event()


def after_first_words(
    house: House, client: str, model: str, then: Callable[[Turn], None]
) -> Answered:
    """The answer of a stream in which the upstream does this after the first words."""
    script = house.upstream.script = Begun(then)
    body = text(chat(client, model, stream=True))
    with Listener(house.daemon, raw_post(CHAT_PATH[client], body)) as listener:
        listener.until(b"hello")
        script.heard.set()
        return listener.rest()


def garbage_event(turn: Turn) -> None:
    turn.chunk(b"{garbage}\n" if format_asked(turn) == "ollama" else b"data: {garbage}\n\n")


def not_utf8(turn: Turn) -> None:
    garbled = {
        "openai": b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n',
        "anthropic": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"\xff"}}\n\n',
        "ollama": b'{"model":"m","message":{"role":"assistant","content":"\xff"},"done":false}\n',
    }
    turn.chunk(garbled[format_asked(turn)])
    turn.end()


def nothing_more(turn: Turn) -> None:
    pass


def waits(turn: Turn) -> None:
    assert turn.wait_closed(), "the router did not let go of a silent upstream"


def half_an_event(turn: Turn) -> None:
    turn.raw(b"400\r\n" + (b'{"model":"' if format_asked(turn) == "ollama" else b"data: {"))


def an_error(turn: Turn) -> None:
    turn.chunk(ERROR_EVENT[format_asked(turn)])


def an_error_and_the_end(turn: Turn) -> None:
    an_error(turn)
    turn.end()


def bad_chunk(turn: Turn) -> None:
    turn.raw(b"zz\r\n")


# what the upstream does after its first words -> the script, and the log's end and error_kind
AFTER: dict[str, tuple[Callable[[Turn], None], str, str]] = {
    "a cut": (nothing_more, "truncated", "truncated"),
    "an end without its mark": (Turn.end, "truncated", "truncated"),
    "half an event": (half_an_event, "truncated", "truncated"),
    "an error": (an_error, "upstream_error", "upstream"),
    "an error and the end": (an_error_and_the_end, "upstream_error", "upstream"),
    "a chunk size that is none": (bad_chunk, "upstream_error", "upstream"),
    "an event that is no JSON": (garbage_event, "upstream_error", "upstream"),
}


@pytest.mark.parametrize("case", AFTER)
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_stream_that_breaks_after_its_first_words_ends_in_an_error_event(
    house: House, client: str, up: str, case: str
) -> None:
    then, end, kind = AFTER[case]
    answer = after_first_words(house, client, up, then)
    assert answer.status == 200
    line = house.journal.line(answer.id)
    if client == up and case == "an event that is no JSON":
        # it passes as it came, which is an error to any reader; nothing says that all was well
        assert line["end"] in ("truncated", "upstream_error")
        assert b"[DONE]" not in answer.body
        assert b"message_stop" not in answer.body
        assert b'"done":true' not in answer.body
    else:
        assert (line["end"], line["error_kind"]) == (end, kind)
        assert "hello" in error_within(client, answer)["text"]
    assert line["fault"] == "upstream"
    if case.startswith("an error"):
        assert answer.body.count(b"the kettle boils") == 1
        assert line["error"] == "the kettle boils"


@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_whole_answer_is_never_made_of_half_a_stream(house: House, client: str, up: str) -> None:
    """An upstream that streams though nobody asked for it, and breaks off."""
    for case in ("a cut", "an end without its mark", "an error"):
        then, _, kind = AFTER[case]
        house.upstream.script = script = Begun(then)
        script.heard.set()
        answer = house.ask(client, chat(client, up))
        assert (answer.status, answer.tag) == (BAD_GATEWAY[client], kind)
        error_before(client, answer)
        house.told(answer, end="upstream_error", fault="upstream")


@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_byte_that_is_not_utf8_in_a_stream_never_goes_unnoticed_into_a_translation(
    house: House, client: str, up: str
) -> None:
    answer = after_first_words(house, client, up, not_utf8)
    assert answer.status == 200
    line = house.journal.line(answer.id)
    assert line["fault"] == "upstream"
    assert line["end"] in ("upstream_error", "truncated")
    if client != up:
        error_within(client, answer)


def half_a_head(turn: Turn) -> None:
    turn.raw(b"HTTP/1.1 200 OK\r\nX-")
    waits(turn)


def a_head_and_nothing(turn: Turn) -> None:
    turn.begin(CLOSE, kind=STREAM_TYPE[format_asked(turn)])
    waits(turn)


def a_head_and_comments(turn: Turn) -> None:
    """Signs of life and nothing else, for as long as somebody listens."""
    fmt = format_asked(turn)
    turn.begin(CLOSE, kind=STREAM_TYPE[fmt])
    while not turn.wait_closed(0.05):
        turn.chunk(b"\n" if fmt == "ollama" else b": still here\n\n")


SILENT: dict[str, Callable[[Turn], None]] = {
    "no answer": waits,
    "half a head": half_a_head,
    "a head and nothing": a_head_and_nothing,
    "a head and comments": a_head_and_comments,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SILENT)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "up"), SAME)
def test_a_stream_that_never_starts_ends_with_the_first_token_clock(
    house: House, client: str, up: str, stream: bool, case: str
) -> None:
    if case == "a head and comments" and not stream:
        pytest.skip("a whole answer has no comments")
    house.upstream.script = SILENT[case]
    answer = house.ask(client, chat(client, f"hasty-{up}", stream=stream))
    assert answer.status == 504
    assert answer.tag == "timeout:first_token"
    assert "first_token" in error_before(client, answer)
    house.told(answer, end="upstream_error", fault="upstream")


@pytest.mark.slow
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_stream_that_stalls_ends_with_the_idle_clock(house: House, client: str, up: str) -> None:
    answer = after_first_words(house, client, f"weary-{up}", waits)
    assert answer.status == 200
    assert "hello" in error_within(client, answer)["text"]
    line = house.told(answer, end="stalled", fault="upstream")
    assert line["error_kind"] == "timeout:idle"


def endless(turn: Turn, piece: bytes) -> None:
    """Bytes without end, until the router hangs up; `sent` says how many it took."""
    while turn.sent < 512 * MIB:
        turn.chunk(piece)
    raise AssertionError("the router took 512 MiB")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("client", "up"), [*SAME, ("openai", "anthropic"), ("ollama", "openai")])
def test_an_endless_line_is_given_up_at_its_limit(
    house: House, client: str, up: str, when: str
) -> None:
    turns: list[Turn] = []

    def script(turn: Turn) -> None:
        turns.append(turn)
        turn.keep = False
        start = b'{"model":"' if up == "ollama" else b'data: {"id":"'
        turn.begin(CLOSE, kind=STREAM_TYPE[up])
        if when == "after":
            turn.chunk(b"".join(first_words(up, turn.received.json)))
        turn.chunk(start)
        endless(turn, b"a" * 65536)

    house.upstream.script = script
    before = rss_bytes(house.daemon.pid)
    Path(f"/proc/{house.daemon.pid}/clear_refs").write_text("5")
    answer = house.ask(client, chat(client, up, stream=True))
    if when == "before":
        assert (answer.status, answer.tag) == (BAD_GATEWAY[client], "upstream")
        error_before(client, answer)
    else:
        assert "hello" in error_within(client, answer)["text"]
    line = house.told(answer, end="upstream_error", fault="upstream")
    assert "bytes" in line["error"]
    house.rest.holds()
    assert turns[0].sent < 32 * MIB
    assert rss_bytes(house.daemon.pid, "VmHWM") - before < 80 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("client", FORMATS)
def test_a_whole_answer_without_an_end_is_given_up_at_its_limit(house: House, client: str) -> None:
    turns: list[Turn] = []

    def script(turn: Turn) -> None:
        turns.append(turn)
        turn.keep = False
        turn.begin(CLOSE, kind="application/json")
        turn.chunk(b'{"id":"')
        endless(turn, b"a" * 65536)

    house.upstream.script = script
    answer = house.ask(client, chat(client, client))
    assert (answer.status, answer.tag) == (BAD_GATEWAY[client], "upstream")
    assert "67108864" in error_before(client, answer)
    house.told(answer, end="upstream_error", fault="upstream")
    assert turns[0].sent < 80 * MIB


# --- after a life sign ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failure_after_a_life_sign_is_the_streams_own_error_event(
    tmp_path: Path,
) -> None:
    """The life sign has fixed status 200; Ollama's streams have none, so there the status is left."""
    with FakeUpstream(waits) as upstream:
        with RunningDaemon(config(upstream.url, server="life_sign = 0.1"), tmp_path) as daemon:
            journal = Journal(tmp_path / "log.jsonl")
            for client in FORMATS:
                body = chat(client, "hasty-openai", stream=True)
                answer = ask(daemon, CHAT_PATH[client], body)
                line = journal.line(answer.id)
                assert (line["end"], line["fault"]) == ("upstream_error", "upstream")
                assert line["error_kind"] == "timeout:first_token"
                assert line["status"] == answer.status
                if client == "ollama":
                    assert answer.status == 504
                    error_before(client, answer)
                else:
                    assert answer.status == 200
                    assert answer.body.startswith(b":")
                    error_within(client, answer)
