"""Connections that no client makes: the daemon stays, and serves whoever comes next."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.e2e.safety.house import CLOSE, ECHO, format_asked, providers
from tests.fakes.bystander import FORMATS, PATIENCE_S, Journal, Rest, ask, chat, raw_chat, rss_bytes
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, Said, whole
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e
HOSTILE = [
    b"",
    b"\r\n" * 1000,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    b"Content-Length: 5\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200,
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
    bytes(range(256)) * 40,
]


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(f"[server]\nport = 0\n{ECHO}", tmp_path_factory.mktemp("echo")) as daemon:
        yield daemon


def serves(daemon: RunningDaemon) -> None:
    assert ask(daemon, CHAT_PATH["openai"], chat("openai", "echo")).status == 200
    assert " ERROR " not in daemon.log


@pytest.mark.parametrize("way", ["leaves", "resets", "half-closes"])
@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_whoever_leaves_in_the_middle_leaves_nothing_behind(
    echo: RunningDaemon, data: bytes, way: str
) -> None:
    rest = Rest(echo)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", echo.port), PATIENCE_S) as sock:
            try:
                sock.sendall(data)
                if way == "half-closes":
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
            except OSError:
                pass  # it has been refused
            if way == "resets":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rest.holds()
    serves(echo)


@pytest.mark.slow
def test_a_reset_at_every_place_of_a_request(echo: RunningDaemon) -> None:
    rest = Rest(echo)
    data = raw_chat("openai", model="echo", stream=True)
    for end in range(0, len(data), 3):
        with socket.create_connection(("127.0.0.1", echo.port), PATIENCE_S) as sock:
            sock.sendall(data[:end])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rest.holds()
    serves(echo)


def test_who_sends_requests_and_reads_no_answer_costs_no_memory(echo: RunningDaemon) -> None:
    """The kernel's buffers fill, then nothing more is read."""
    before = rss_bytes(echo.pid)
    asked = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    with socket.create_connection(("127.0.0.1", echo.port), PATIENCE_S) as sock:
        sock.settimeout(1)
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += sock.send(asked)
        except TimeoutError:
            pass
        assert sent < 64 * 1024 * 1024
        assert rss_bytes(echo.pid) - before < 32 * 1024 * 1024
    serves(echo)


def test_names_that_strangers_choose_do_not_pile_up(echo: RunningDaemon) -> None:
    """A megabyte of a name, and thousands of names, conversations and clients."""
    path = CHAT_PATH["openai"]
    assert ask(echo, path, chat("openai", "x" * 1_000_000)).status in (200, 400, 404, 503)
    pages = []
    for number in range(400):
        body = chat("openai", f"name-{number}", user=f"user-{number}")
        ask(echo, path, body, {"X-Session-Id": f"s{number}", "User-Agent": f"agent-{number}"})
        if number % 200 == 199:
            pages.append(len(ask(echo, "/metrics").body))
    assert pages[1] < pages[0] + 2000
    serves(echo)


@pytest.mark.slow
def test_memory_stays_where_it_is_however_much_is_asked(echo: RunningDaemon) -> None:
    """Two hundred megabytes of words, none of them said before, after as many as it may hold."""
    path, mib = CHAT_PATH["openai"], 1024 * 1024

    def say(numbers: range) -> int:
        for number in numbers:
            body = chat("openai", "echo")
            words = f"{number} " * (mib // (len(str(number)) + 1))
            body["messages"] = [{"role": "user", "content": words}]
            assert ask(echo, path, body).status == 200
        return rss_bytes(echo.pid)

    held = say(range(60))
    assert say(range(60, 260)) - held < 48 * mib
    serves(echo)


# --- TLS ------------------------------------------------------------------------------------------


def test_on_a_port_for_tls_nobody_else_gets_anywhere(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("localhost", "127.0.0.1")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    text = (
        f'[server]\nport = 0\napi_key_env = "ROUTER_KEY"\ntls_cert = "{tmp_path / "cert.pem"}"\n'
        f'tls_key = "{tmp_path / "key.pem"}"\n{ECHO}'
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with RunningDaemon(text, tmp_path, env={"ROUTER_KEY": "of-the-router"}) as daemon:
        for data in HOSTILE:
            with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE_S) as sock:
                try:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    said = b"".join(iter(lambda: sock.recv(65536), b""))
                except OSError:
                    said = b""
            assert b"HTTP" not in said
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE_S) as sock:
            with context.wrap_socket(sock, server_hostname="127.0.0.1") as secure:
                secure.sendall(
                    b"GET /dashboard?api_key=of-the-router HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    b"Connection: close\r\n\r\n"
                )
                said = b"".join(iter(lambda: secure.recv(65536), b""))
        assert said.startswith(b"HTTP/1.1 303 ")
        assert b"; Secure\r\n" in said
        assert (tmp_path / "key.pem").read_text().split("\n")[1] not in daemon.log


# --- upstreams ------------------------------------------------------------------------------------


def test_figures_that_cannot_be_break_no_answer(tmp_path: Path) -> None:
    """A count of a thousand digits cannot be multiplied by a price."""
    huge = int("9" * 400)
    counts = {
        "openai": {"usage": {"prompt_tokens": huge, "completion_tokens": -5, "total_tokens": huge}},
        "anthropic": {"usage": {"input_tokens": huge, "output_tokens": -5}},
        "ollama": {"prompt_eval_count": huge, "eval_count": -5, "total_duration": huge},
    }

    def script(turn: Turn) -> None:
        turn.keep = False
        fmt = format_asked(turn.received)
        told = whole(fmt, Said("fine"))
        told = told if isinstance(told, dict) else json.loads(told)
        turn.whole({**told, **counts[fmt]}, 200, CLOSE)

    log = '[logging]\nenabled = true\npath = "log.jsonl"\n'
    with FakeUpstream(script) as upstream:
        priced = providers(upstream.url).replace(
            "max_retries", "cost_per_1m_tokens = 1.5\nmax_retries"
        )
        with RunningDaemon(f"[server]\nport = 0\n{log}{priced}", tmp_path) as daemon:
            journal = Journal(tmp_path / "log.jsonl")
            for client in FORMATS:
                for up in FORMATS:
                    answer = ask(daemon, CHAT_PATH[client], chat(client, up))
                    assert answer.status == 200, answer.body
                    line = journal.line(answer.id)
                    assert line["end"] == "complete"
                    assert 0 <= (line["cost_usd"] or 0) < 1  # of an estimate, if anything


def test_an_answer_that_came_unasked_is_nobodys(tmp_path: Path) -> None:
    """A second one behind the first, on a connection that says it may be used again."""
    asked = 0

    def script(turn: Turn) -> None:
        nonlocal asked
        asked += 1
        body = json.dumps(whole("openai", Said(f"answer {asked}"))).encode()
        evil = json.dumps(whole("openai", Said("evil"))).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        turn.raw(head % len(body) + body + head % len(evil) + evil)

    with FakeUpstream(script) as upstream:
        text = "[server]\nport = 0\n" + providers(upstream.url)
        with RunningDaemon(text, tmp_path) as daemon:
            for number in range(1, 6):
                said = ask(daemon, CHAT_PATH["openai"], chat("openai", "openai")).body
                assert b"answer %d" % number in said
                assert b"evil" not in said
