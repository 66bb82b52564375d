"""Following a feed: over breaks, restarts and silence."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import trio

from llmrouterd.commands import following as module
from llmrouterd.commands.following import Following
from llmrouterd.commands.router import Refused, Router
from tests.fakes.upstream import FakeUpstream, Turn

JSON = Any
PATIENCE_S = 20


class Heard:
    """A listener that notes, and stops the follower when it has heard enough."""

    def __init__(self, enough: Callable[["Heard"], bool]) -> None:
        self.events: list[tuple[JSON, str]] = []
        self.joins = 0
        self.parts: list[tuple[str, float]] = []
        self._enough = enough
        self.scope = trio.CancelScope()

    def heard(self, event: JSON, text: str, number: str) -> None:
        assert json.loads(text) == event
        self.events.append((event, number))
        self._look()

    def joined(self) -> None:
        self.joins += 1

    def parted(self, why: str, again_s: float) -> None:
        self.parts.append((why, again_s))
        self._look()

    def _look(self) -> None:
        if self._enough(self):
            self.scope.cancel()


async def follow(url: str, listener: Heard, after: str = "") -> None:
    router = Router(url)
    with closing(router), trio.fail_after(PATIENCE_S), listener.scope:
        await Following(router, listener, "v=2", after).run()


def event(number: int, **members: JSON) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (number, json.dumps({"type": "x", **members}).encode())


def hello(feed: int) -> bytes:
    return b'data: {"type": "hello", "feed": %d}\n\n' % feed


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)


def asked_after(up: FakeUpstream) -> list[str | None]:
    return [each.headers.get("last-event-id") for each in up.received]


async def test_it_comes_back_with_the_last_id_it_saw() -> None:
    def script(turn: Turn) -> None:
        assert turn.received.target == "/dashboard/events?v=2"
        first = 5 if "last-event-id" not in turn.received.headers else 8
        turn.stream([b": hi\n\n", event(first) + event(first + 1), b'data: {"type": "y"}\n\n'])

    with FakeUpstream(script) as up:
        listener = Heard(lambda heard: len(heard.events) == 6)
        await follow(up.url, listener)
        assert [number for _, number in listener.events] == ["5", "6", "", "8", "9", ""]
        assert asked_after(up) == [None, "6"]
        assert listener.joins == 2
        assert listener.parts[0][0] == "the router ended the feed"
        assert not up.errors


async def test_a_feed_that_is_another_one_is_read_from_its_beginning() -> None:
    """After a restart the old number would skip what the new process has told."""

    def script(turn: Turn) -> None:
        number = len(up.received)
        if number == 1:
            turn.stream([hello(1), event(5)])
        elif number == 2:
            turn.begin()
            turn.chunk(hello(2) + event(6))  # what the new feed has after number 5
            turn.wait_closed()
        else:
            turn.stream([hello(2), event(1), event(2)])

    with FakeUpstream(script) as up:
        listener = Heard(lambda heard: any(number == "2" for _, number in heard.events))
        await follow(up.url, listener)
        assert asked_after(up) == [None, "5", "0"]
        assert [number for _, number in listener.events] == ["", "5", "", "1", "2"]


async def test_pauses_grow_while_nobody_answers() -> None:
    with FakeUpstream(lambda turn: None) as up:
        pass
    listener = Heard(lambda heard: len(heard.parts) == 4)
    await follow(up.url, listener)
    pauses = [pause for _, pause in listener.parts]
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    assert "refused" in listener.parts[0][0]


async def test_a_router_that_refuses_is_not_asked_again() -> None:
    with FakeUpstream(lambda turn: turn.whole({"error": {"message": "no"}}, 401)) as up:
        with pytest.raises(Refused, match="wants a key"):
            await follow(up.url, Heard(lambda heard: False))
        assert len(up.received) == 1


async def test_silence_is_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE_S", 0.05)

    def script(turn: Turn) -> None:
        turn.begin()
        turn.chunk(event(1))
        turn.wait_closed()

    with FakeUpstream(script) as up:
        listener = Heard(lambda heard: bool(heard.parts))
        await follow(up.url, listener)
        assert "nothing came" in listener.parts[0][0]


async def test_something_that_is_no_router_is_told_from_one() -> None:
    with FakeUpstream(lambda turn: turn.stream([b"data: [1]\n\n"])) as up:
        with pytest.raises(Refused, match="no router"):
            await follow(up.url, Heard(lambda heard: False))
