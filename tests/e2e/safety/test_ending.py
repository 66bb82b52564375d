"""How the daemon ends: what runs may finish, for a time."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.safety.house import CLOSE, format_asked, providers, watch
from tests.fakes.bystander import (
    FORMATS,
    PATIENCE_S,
    Journal,
    Listener,
    chat,
    error_within,
    raw_post,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e


def refuses(port: int) -> bool:
    """Wait until nobody listens there any more."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
        except OSError:
            return True
        time.sleep(0.01)
    return False


class Paused:
    """A stream that says its first words, and the rest when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, turn: Turn) -> None:
        turn.keep = False
        fmt = format_asked(turn.received)
        parts = list(pieces(fmt, Said("hello there, friend"), turn.received.json))
        cut = next(n for n, part in enumerate(parts) if b"hello" in part) + 1
        turn.begin(CLOSE, kind=STREAM_TYPE[fmt])
        turn.chunk(b"".join(parts[:cut]))
        while not self.go_on.wait(0.05):
            if turn.wait_closed(0.05):
                self.let_go.set()
                return
        turn.chunk(b"".join(parts[cut:]))
        turn.end()


def log_config(url: str, server: str = "") -> str:
    head = f'[server]\nport = 0\n{server}\n[logging]\nenabled = true\npath = "log.jsonl"\n'
    return head + providers(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish_and_refuses_what_is_new(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = Paused()
    with FakeUpstream(script) as upstream:
        with RunningDaemon(log_config(upstream.url), tmp_path) as daemon:
            listeners = []
            for client in FORMATS:
                body = json.dumps(chat(client, client, stream=True)).encode()
                listeners.append(Listener(daemon, raw_post(CHAT_PATH[client], body)))
                listeners[-1].until(b"hello")
            idle = Listener(daemon, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            idle.until(b"ok")
            with watch(daemon) as reader, idle:
                daemon.process.send_signal(number)
                assert refuses(daemon.port)
                assert idle.sock.recv(1) == b""  # an idle connection has nothing to finish
                assert reader.rest().whole  # nor has a reader of the feed
            script.go_on.set()
            for client, listener in zip(FORMATS, listeners, strict=True):
                with listener:
                    answer = listener.rest()
                assert answer.whole
                assert b"friend" in answer.body or b"nd" in answer.body
                assert daemon.process.wait(PATIENCE_S) == 0 or client
        lines = Journal(tmp_path / "log.jsonl").lines()
    assert [line["end"] for line in lines] == ["complete"] * 3


def test_two_signals_end_everything_at_once(tmp_path: Path) -> None:
    script = Paused()
    with FakeUpstream(script) as upstream:
        text = log_config(upstream.url, "drain_timeout = 600")
        with RunningDaemon(text, tmp_path) as daemon:
            body = json.dumps(chat("openai", "openai", stream=True)).encode()
            with Listener(daemon, raw_post(CHAT_PATH["openai"], body)) as listener:
                listener.until(b"hello")
                daemon.process.send_signal(signal.SIGINT)
                assert refuses(daemon.port)
                daemon.process.send_signal(signal.SIGINT)
                assert daemon.process.wait(PATIENCE_S) == 0
                answer = listener.rest()
                assert not answer.whole or error_within("openai", answer)
            assert script.let_go.wait(PATIENCE_S)
        (line,) = Journal(tmp_path / "log.jsonl").lines()
    assert line["end"] != "complete"
    assert line["fault"] == "router"
    assert line["error_kind"] == "draining"


def test_the_drain_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    script = Paused()
    with FakeUpstream(script) as upstream:
        with RunningDaemon(log_config(upstream.url, "drain_timeout = 0.3"), tmp_path) as daemon:
            for client in FORMATS:
                body = json.dumps(chat(client, client, stream=True)).encode()
                listener = Listener(daemon, raw_post(CHAT_PATH[client], body))
                listener.until(b"hello")
                with listener:
                    if client == FORMATS[-1]:
                        daemon.process.send_signal(signal.SIGTERM)
                        assert daemon.process.wait(PATIENCE_S) == 0
        assert upstream.settled(0)
