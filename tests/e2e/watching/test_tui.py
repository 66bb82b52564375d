"""The terminal view on a real terminal, in front of a real router."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.watching.house import LLMROUTER, House, Upstream, config
from tests.fakes.daemon import RunningDaemon
from tests.fakes.terminal import Terminal
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.e2e
ESC = "\x1b"


@contextmanager
def tui(
    url: str,
    *args: str,
    rows: int = 24,
    columns: int = 80,
    env: dict[str, str] | None = None,
) -> Iterator[Terminal]:
    command = [*LLMROUTER, "tui", url, *args]
    with Terminal(command, rows=rows, columns=columns, env=env) as terminal:
        yield terminal


def test_a_request_goes_through_its_states_and_opens_whole(router: House) -> None:
    with tui(router.url, columns=120, rows=40) as terminal:
        terminal.shows("live", "Requests", "Statistics", "Providers", "Chat")
        with router.asking("small", "some python"):
            terminal.shows("streams/small", "waiting", "1 in flight")
            router.upstream.go.set()
            terminal.shows("streaming")
        terminal.shows("1234\u219256", "$0.0018", "code", "0 in flight")
        terminal.shows("by provider", "well  openai")
        router.ask("ill")
        terminal.shows("echo/ill", "done")
        terminal.type("\r")
        text = terminal.shows("the walk", "failed tries", "answer of")
        assert "routers[0] prefix: candidate streams/ill" in text
        assert "upstream: out of \ufffd[2Jmemory" in text
        assert "\u202e" not in terminal.raw.decode("utf-8", "replace")
        assert "\x1b[2Jmemory" not in terminal.raw.decode("utf-8", "replace")
        terminal.type(ESC)
        terminal.shows("Statistics")
        assert {"green", "brown", "cyan"} <= terminal.colours
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.is_as_before()


def test_a_chat_streams_and_can_be_stopped(router: House) -> None:
    with tui(router.url) as terminal:
        terminal.shows("live", "Chat")
        router.upstream.hold()
        terminal.type("i:model small\rhello there\r")
        terminal.shows("the model is now small", "\u25b8 hello there")
        router.upstream.go.set()
        terminal.shows("Words like", "come.")
        router.upstream.free()
        terminal.shows("streams/small", "56 tok")
        router.upstream.hold()
        terminal.type("again\r")
        router.upstream.go.set()
        terminal.until(lambda text: text.count("come.") == 2, "second answer")
        terminal.type(ESC)
        terminal.shows("Esc stop")
        terminal.type(ESC)
        terminal.shows("stopped", "client left")
        router.upstream.free()
        terminal.type("i:model nobody-has-it\rto the echo\r")
        terminal.shows("echo/nobody-has-it")
        terminal.type("\x03")
        assert terminal.ended() == 0
        assert terminal.is_as_before()


def test_filter_help_and_pause(router: House) -> None:
    with tui(router.url) as terminal:
        router.ask("for-the-echo")
        router.ask("small", stream=True)
        terminal.shows("echo/for-the-echo", "streams/small")
        terminal.type("/provider=streams")
        terminal.shows("filter: provider=streams")
        terminal.hides("echo/for-the-echo")
        terminal.type(f"\r{ESC}")
        terminal.shows("echo/for-the-echo")
        terminal.type("?")
        terminal.shows("Keys", ":model NAME")
        terminal.type("?p")
        terminal.shows("paused")
        router.ask("while-paused")
        terminal.type("p")
        terminal.shows("while-paused", "live ")
        terminal.type("\t")
        terminal.type("\t")
        terminal.shows("Providers", "streams", "in flight")


def test_it_goes_along_with_the_size_of_its_window(router: House) -> None:
    router.ask("for-the-echo")
    with tui(router.url) as terminal:
        terminal.shows("Statistics", "Chat", "echo/for-the-echo")
        terminal.resize(12, 40)
        terminal.hides("Statistics")
        terminal.shows("Requests", "echo/for-the-echo")
        terminal.type("z")
        terminal.resize(40, 130)
        terminal.until(lambda text: len(text.splitlines()) == 40, "forty lines")
        terminal.type("z")
        terminal.shows("Statistics", "Providers", "Chat", router.url)
        terminal.resize(3, 10)
        terminal.until(lambda text: len(text.splitlines()) <= 3, "three lines")
        terminal.resize(24, 80)
        terminal.shows("Statistics", "Chat")
        terminal.type("q")
        assert terminal.ended() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)]
)
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    router: House, number: signal.Signals, code: int
) -> None:
    with tui(router.url) as terminal:
        terminal.shows("live")
        assert terminal.modes != terminal.before
        terminal.process.send_signal(number)
        assert terminal.ended() == code
        assert terminal.is_as_before()


def test_a_crash_leaves_the_terminal_as_it_was_and_then_says_why(
    router: House, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import llmrouterd.commands.tui.detail as d\n"
        "def broken(*args): raise ZeroDivisionError('on purpose')\n"
        "d.lines = broken\n"
    )
    router.ask("for-the-echo")
    path = f"{tmp_path}{os.pathsep}{Path(LLMROUTER[1]).parent}"
    with tui(router.url, env={"PYTHONPATH": path}) as terminal:
        terminal.shows("echo/for-the-echo")
        terminal.type("\r")
        assert terminal.ended() == 1
        assert terminal.is_as_before()
        after = terminal.raw.rpartition(b"\x1b[?1049l")[2].decode()
        assert "internal error: ZeroDivisionError: on purpose" in after
        assert "Traceback" not in after


def test_it_sleeps_and_wakes_again(router: House) -> None:
    with tui(router.url) as terminal:
        terminal.shows("live")
        terminal.process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        time.sleep(0.05)
        assert terminal.is_as_before()
        seen = len(terminal.raw)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until(lambda text: b"Requests" in terminal.raw[seen:], "new painting")
        assert terminal.modes != terminal.before
        terminal.type("?")
        terminal.shows("Keys")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.is_as_before()


@pytest.mark.parametrize("env", [{"TERM": "vt100"}, {"NO_COLOR": "1"}])
def test_without_colours(router: House, env: dict[str, str]) -> None:
    router.ask("for-the-echo")
    with tui(router.url, env=env) as terminal:
        terminal.shows("Requests", "Statistics", "echo/for-the-echo")
        assert terminal.colours == set()
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.modes == terminal.before


@pytest.mark.parametrize(
    ("env", "words"),
    [({"TERM": "dumb"}, "cannot move its cursor"), ({"TERM": "nothing-like-it"}, "set TERM")],
)
def test_a_terminal_that_cannot_do_it_is_told_so(
    router: House, env: dict[str, str], words: str
) -> None:
    with tui(router.url, columns=200, env=env) as terminal:
        assert terminal.ended() == 2
        assert words in terminal.text
        assert "Traceback" not in terminal.text


def test_it_comes_back_when_its_router_does_and_shows_its_key_to_it(tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.free()
    secret = {"THE_ROUTERS_API_KEY": "right"}
    with FakeUpstream(upstream) as up:
        with RunningDaemon(config(up.url, key=True), tmp_path, env=secret) as daemon:
            url, port = daemon.url, daemon.port
            with tui(url, env={"LLMROUTER_API_KEY": "wrong"}) as terminal:
                terminal.shows("refused", "wants a key")
                terminal.type("q")
                assert terminal.ended() == 0
        with tui(url, env={"LLMROUTER_API_KEY": "right"}) as terminal:
            terminal.shows("away", "trying again")
            for name in ("first", "second"):
                text = config(up.url, key=True, port=port)
                with RunningDaemon(text, tmp_path, env=secret):
                    terminal.shows("live")
                    body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
                    fields = {"x-router-key": "right"}
                    httpx.post(f"{url}/v1/chat/completions", json=body, headers=fields, timeout=60)
                    terminal.shows(f"echo/{name}")
                terminal.shows("away")
            assert "right" not in terminal.text
            terminal.type("q")
            assert terminal.ended() == 0
