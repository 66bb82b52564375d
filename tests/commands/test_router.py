"""Where a router is, and with which key it is asked."""

import argparse
from contextlib import closing
from pathlib import Path

import pytest

from llmrouterd.commands.router import (
    Refused,
    Router,
    WrongUse,
    as_object,
    key_of,
    place,
    refusal,
)
from llmrouterd.edge.pool import DialError, Origin
from llmrouterd.model import Secret
from tests.fakes.upstream import FakeUpstream, Turn


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("http://localhost:8090", Origin("http", "localhost", 8090), ""),
        ("localhost:8090", Origin("http", "localhost", 8090), ""),
        ("http://localhost:8090/", Origin("http", "localhost", 8090), ""),
        ("https://router.example/llm/", Origin("https", "router.example", 443, "ca.pem"), "/llm"),
        ("http://[::1]:8090", Origin("http", "::1", 8090), ""),
        ("unix:/run/r.sock", Origin("http", "localhost", 80, unix="/run/r.sock"), ""),
        ("unix:/run/r.sock:/llm/", Origin("http", "localhost", 80, unix="/run/r.sock"), "/llm"),
    ],
)
def test_an_address(url: str, origin: Origin, prefix: str) -> None:
    assert place(url, origin.ca_file) == (origin, prefix)


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x", "http://", "http://x:port", "unix:x.sock", "http://u:p@x", "http://x?k=1"],
)
def test_an_address_that_is_none_is_refused_with_words(url: str) -> None:
    with pytest.raises(WrongUse) as why:
        place(url)
    assert "u:p" not in str(why.value)


def args(key_file: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(key_file=key_file)


def test_the_key_comes_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    environ = {"LLMROUTER_API_KEY": "first", "ROUTER_API_KEY": "second"}
    assert key_of(args(file), environ) == Secret("from-file")
    assert key_of(args(), environ) == Secret("first")
    assert key_of(args(), {"ROUTER_API_KEY": "second", "LLMROUTER_API_KEY": ""}) == Secret("second")
    assert key_of(args(), {}) is None


def test_a_key_that_is_none_is_refused_without_showing_it(tmp_path: Path) -> None:
    for text in ("", "two\nlines", "smile \u263a"):
        file = tmp_path / "key"
        file.write_text(text, "utf-8")
        with pytest.raises(WrongUse) as why:
            key_of(args(file), {})
        assert not text or text not in str(why.value)
    with pytest.raises(WrongUse, match="no such file"):
        key_of(args(tmp_path / "absent"), {})


def test_refusals_say_what_to_do() -> None:
    assert "--key-file" in refusal(401, b"")
    assert "admin" in refusal(403, b"")
    assert "dashboard" in refusal(404, b"")
    assert refusal(503, b'{"error": {"message": "busy"}}') == "the router answered 503: busy"
    assert refusal(500, b'{"error": "why"}') == "the router answered 500: why"
    assert refusal(502, b"<html>") == "the router answered 502"


@pytest.mark.parametrize("text", ["", "[]", "hello", "[" * 100_000])
def test_what_is_no_object_is_from_no_router(text: str) -> None:
    with pytest.raises(Refused, match="no router"):
        as_object(text)


async def test_a_question_carries_the_key_and_gets_an_object() -> None:
    def script(turn: Turn) -> None:
        turn.whole({"path": turn.received.target})

    with FakeUpstream(script) as up:
        router = Router(f"{up.url}/sub", Secret("k"))
        assert await router.get("/ready") == {"path": "/sub/ready"}
        assert up.received[0].headers["authorization"] == "Bearer k"
        assert "k" not in router.url.removeprefix(up.url)
        router.close()


async def test_a_refusal_and_a_router_that_is_not_there() -> None:
    with FakeUpstream(lambda turn: turn.whole({}, 401)) as up, closing(Router(up.url)) as router:
        with pytest.raises(Refused) as why:
            await router.get("/ready")
        assert why.value.status == 401
    router = Router(up.url)
    with pytest.raises(DialError):
        await router.get("/ready")
