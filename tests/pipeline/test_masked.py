"""llmrouterd/pipeline/masked.py"""

import html
import json
from dataclasses import replace
from urllib.parse import quote

import pytest
import trio.testing

from formats.errors import Failure
from llmrouterd.model import Provider, Secret
from llmrouterd.pipeline.masked import Mask
from llmrouterd.selftest.voices import VOICES
from tests.pipeline.stage import (
    STREAM,
    anthropic,
    ollama,
    openai,
    replies,
    request,
    responses,
    stage,
    streams,
)

# Keys that JSON, URLs and pages write in other ways.
ODD = 'k"ey\\with/every+thing<é>&'
PROVIDERS = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}

# What servers, and proxies before them, repeat of what they did not accept.
ECHOED = [
    (openai(key=Secret("sk-very-secret")), None, b"bad key sk-very-secret!", b"bad key ***!"),
    (openai(headers=(("X-Api-Token", "tok-12345"),)), None, b"tok-12345?", b"***?"),
    (openai(headers=(("Cookie", "session abc123"),)), None, b"session abc123 abc123", b"*** ***"),
    (openai(headers=(("X-Team", "research"),)), None, b"research", b"research"),
    (openai(headers=(("X-Auth", "on"),)), None, b"turned on", b"turned on"),
    (openai(), "Basic dTpw", b"no: Basic dTpw", b"no: ***"),
    (openai(), "Basic dTpwYXNz", b"no: dTpwYXNz", b"no: ***"),
    (openai(key=Secret("k-1")), None, b"k-1 is short", b"k-1 is short"),
]


@pytest.mark.parametrize(("provider", "login", "said", "told"), ECHOED)
def test_an_error_does_not_repeat_the_credentials_it_was_sent(
    provider: Provider, login: str | None, said: bytes, told: bytes
) -> None:
    assert Mask(provider, login)(said) == told


def test_an_error_does_not_repeat_a_clients_own_credential() -> None:
    """Not because the client may not see it: the error stands in the log, too."""
    sent = [("authorization", "Bearer sk-of-a-client"), ("accept", "application/json")]
    said = b"sk-of-a-client may not have application/json"
    told = b"*** may not have application/json"
    assert Mask(openai(credentials="client"), None, sent)(said) == told


WRITERS = {
    "plain": str,
    "json": json.dumps,
    "letters": lambda text: json.dumps(text, ensure_ascii=False),
    "php": lambda text: json.dumps(text).replace("/", "\\/"),
    "twice": lambda text: json.dumps(json.dumps({"detail": text})),
    "url": lambda text: quote(text, safe=""),
    "path": quote,
    "page": html.escape,
}


@pytest.mark.parametrize("written", WRITERS)
def test_a_key_is_masked_however_it_is_written(written: str) -> None:
    said = f"no such key: {WRITERS[written](ODD)}, sorry"
    out = Mask(openai(key=Secret(ODD)), None)(said.encode()).decode()
    assert "***" in out
    assert "ey" not in out.removeprefix("no such key")
    assert out.endswith("sorry") or written in ("json", "letters", "php", "twice")


def test_a_failure_keeps_all_but_the_key() -> None:
    native = {"message": f"bad {ODD}", "inner": [ODD, 7, None]}
    failure = Failure("credential", f"bad {ODD}", status=401, code=ODD, native=native, body=b"x")
    out = Mask(openai(key=Secret(ODD)), None).failure(failure)
    assert out == replace(
        failure,
        message="bad ***",
        code="***",
        native={"message": "bad ***", "inner": ["***", 7, None]},
    )


def test_bytes_that_are_no_text_stay() -> None:
    assert Mask(openai(key=Secret("sk-secret")), None)(b"\xff sk-secret \xfe") == b"\xff *** \xfe"


def echoing(fmt: str) -> dict:
    return VOICES[fmt].error("server_error", f"I got the key {ODD} from you")


def held(data: bytes) -> bool:
    text = data.decode()
    return any(piece in text for piece in ('k\\"ey', 'k"ey', "thing<", "%22ey"))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("how", ["refused", "in a 200", "first", "later"])
@pytest.mark.parametrize("up", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
async def test_neither_client_nor_record_learn_a_key_that_an_upstream_repeats(
    up: str, how: str, stream: bool, same: bool, autojump_clock: trio.testing.MockClock
) -> None:
    voice = VOICES[up]
    said = f"I got the key {ODD} from you"
    begun = [voice.opening(), voice.text("Hel", first=True)]
    script = {
        "refused": replies(401, echoing(up)),
        "in a 200": replies(200, echoing(up)),
        "first": streams(STREAM[up], voice.error_event(said)),
        "later": streams(STREAM[up], *begun, voice.error_event(said)),
    }[how]
    client = up if same else next(name for name in PROVIDERS if name != up)
    provider = PROVIDERS[up]("a", key=Secret(ODD), max_retries=0)
    async with stage(provider, up={"a": script}) as st:
        out = await st.ask(client, request(client, stream=stream))
    assert not held(out.body), out.body
    assert "from you" in st.record.error  # it is told, and without the key
    assert not held(repr((st.record.error, st.record.attempts)).encode())
