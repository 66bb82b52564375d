"""Requests that are wrong, broken or without end."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bad_input.house import DEEP, MIB, PAIRS, USER, House, text
from tests.fakes.bystander import (
    FORMATS,
    Answered,
    chat,
    error_before,
    heard,
    rss_bytes,
)
from tests.fakes.models import CHAT_PATH

pytestmark = pytest.mark.e2e


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
    shown = "a\N{REPLACEMENT CHARACTER}\0b"  # many readers of the log refuse half a pair
    assert line["messages"][0]["content"] == [{"type": "text", "text": shown}]


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
