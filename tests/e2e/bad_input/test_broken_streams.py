"""Streams that break, never start or never end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bad_input.house import (
    BAD_GATEWAY,
    CLOSE,
    ERROR_EVENT,
    MIB,
    PAIRS,
    SAME,
    House,
    config,
    format_asked,
    half_an_event,
    text,
    waits,
)
from tests.fakes.bystander import (
    FORMATS,
    PATIENCE_S,
    Answered,
    Journal,
    Listener,
    ask,
    chat,
    error_before,
    error_within,
    raw_post,
    rss_bytes,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e


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
