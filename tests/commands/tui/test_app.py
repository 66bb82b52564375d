"""The tasks of the terminal view, with a screen that is none."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from llmrouterd.commands.router import Router
from llmrouterd.commands.tui import app as module
from llmrouterd.commands.tui.app import App, run
from llmrouterd.commands.tui.frame import Frame
from llmrouterd.commands.tui.state import View
from tests.commands.tui.scene import ended, text_of
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn


class Screen:
    """Keys come from a pipe, one a line; what is painted is kept."""

    size = (30, 100)

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self.painted = ""
        self.inside = False
        self.resized = 0

    def __enter__(self) -> "Screen":
        self.inside = True
        return self

    def __exit__(self, *_: object) -> None:
        self.inside = False

    def keys(self) -> list[str]:
        return os.read(self._keys, 1000).decode().split()

    def paint(self, frame: Frame) -> None:
        self.painted = text_of(frame.lines)

    def resize(self) -> None:
        self.resized += 1

    def redraw(self) -> None:
        self.painted = ""


class Stage:
    """An App before a router of the test's making."""

    def __init__(self, url: str) -> None:
        reading, self._writing = os.pipe()
        self.stdin = os.fdopen(reading)
        self.screen = Screen(reading)
        self.view = View(url)
        self.app = App(Router(url), self.view, self.screen)  # type: ignore[arg-type]

    def press(self, *keys: str) -> None:
        os.write(self._writing, "".join(f"{key}\n" for key in keys).encode())

    def hang_up(self) -> None:
        os.close(self._writing)
        self._writing = -1

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110 - what it waits for tells nobody
            await trio.sleep(0.01)

    async def shows(self, word: str) -> None:
        await self.until(lambda: word in self.screen.painted)

    def close(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
        self.stdin.close()


class Fake:
    """As much of a router as the view asks for. Its feed tells one request, then stays open."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, turn: Turn) -> None:
        target = turn.received.target
        if target.startswith("/dashboard/events"):
            turn.begin()
            event = json.dumps(ended(1)).encode()
            hello = b'data: {"type": "hello", "feed": 5, "now_ms": 1}\n\n'
            turn.chunk(hello + b"id: 12\ndata: %b\n\n" % event)
            return turn.wait_closed()
        if target == "/dashboard/api/state":
            return turn.whole({"providers": [{"name": "ollama", "format": "ollama"}, 3]})
        if target == "/v1/models":
            return turn.whole({"data": [{"id": "llama"}, {"id": 3}]})
        if target == "/dashboard/api/event?number=12":
            return turn.whole({"system": "the words", "messages": [], "response": None})
        return turn.whole({"error": {"message": "nobody is there"}}, 503)


@pytest.fixture
def up() -> Iterator[FakeUpstream]:
    with FakeUpstream(Fake()) as it:
        yield it


@pytest.fixture
def stage(up: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    it = Stage(up.url)
    monkeypatch.setattr(sys, "stdin", it.stdin)
    yield it
    it.close()


async def played(stage: Stage, play: Callable[[], Any]) -> int:
    """Run the app beside a test's doings. Returns its code."""
    codes: list[int] = []

    async def app() -> None:
        codes.append(await stage.app.run())

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app)
            await play()
    assert not stage.screen.inside
    return codes[0]


async def test_it_follows_asks_and_opens(stage: Stage) -> None:
    async def play() -> None:
        await stage.shows("ollama/llama3.1:8b")
        await stage.until(lambda: bool(stage.view.providers and stage.view.chat.models))
        stage.press("ENTER")
        await stage.shows("the words")
        stage.press("ESC", "i", "h", "i", "ENTER")
        await stage.shows("nobody is there")
        stage.press("ESC", "CTRL-L", "q")

    assert await played(stage, play) == 0
    assert stage.view.chat.models == ["llama"]
    assert [each["name"] for each in stage.view.providers] == ["ollama"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0), (signal.SIGHUP, 129)]
)
async def test_signals_end_it(stage: Stage, number: int, code: int) -> None:
    async def play() -> None:
        await stage.shows("ollama")
        os.kill(os.getpid(), number)

    assert await played(stage, play) == code


async def test_another_size_is_another_painting(stage: Stage) -> None:
    async def play() -> None:
        await stage.shows("ollama")
        stage.screen.size = (12, 40)
        os.kill(os.getpid(), signal.SIGWINCH)
        await stage.until(lambda: len(stage.screen.painted.splitlines()) == 12)
        stage.press("q")

    assert await played(stage, play) == 0
    assert stage.screen.resized == 1


async def test_a_terminal_that_is_gone_ends_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAINT_S", 0.001)

    async def play() -> None:
        await stage.shows("ollama")
        stage.hang_up()

    assert await played(stage, play) == 129


async def test_a_refusal_is_shown_and_tried_again(
    stage: Stage, up: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_S", 0.01)
    answers, up.script = up.script, lambda turn: turn.whole({}, 401)

    async def play() -> None:
        await stage.shows("wants a key")
        up.script = answers
        await stage.shows("ollama")
        stage.press("q")

    assert await played(stage, play) == 0


def args(**members: Any) -> argparse.Namespace:
    usual = {"url": "http://localhost:1", "key_file": None, "ca_file": None, "filter": ""}
    return argparse.Namespace(**(usual | members))


@pytest.mark.parametrize("members", [{}, {"url": "ftp://x"}, {"key_file": Path("/absent/key")}])
def test_what_cannot_be_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], members: dict[str, Any]
) -> None:
    """Without anything else it is the terminal that is missing here."""
    assert run(args(**members)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
