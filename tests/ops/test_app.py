"""The daemon as a whole, in this process: it starts, serves, drains and ends in order."""

import contextlib
import json
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from llmrouterd.config import Config, Logging, Server
from llmrouterd.edge.dial import DialError
from llmrouterd.model import ConfigError, Provider
from llmrouterd.ops import app, catalog, local
from llmrouterd.ops.app import Running
from tests.fakes.upstream import FakeUpstream, Turn

PATIENCE_S = 60
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


def config_of(*providers: Provider, log: Path | None = None, **server: Any) -> Config:
    return Config(
        server=Server(port=0, **server),
        logging=Logging(enabled=log is not None, path=str(log)),
        providers=providers or (Provider("echo", "echo"),),
    )


@dataclass
class Daemon:
    port: int
    running: Running
    ended: trio.Event

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def begin(self, method: str, path: str, body: bytes = b"") -> trio.SocketStream:
        stream = await self.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)
        return stream

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        async with await self.begin(method, path, body) as stream:
            return await until(stream, b"\r\n\r\n")


async def until(stream: trio.SocketStream, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        data = await stream.receive_some()
        assert data, seen
        seen += data
    return seen


async def rest(stream: trio.SocketStream) -> bytes:
    seen = b""
    while data := await stream.receive_some():
        seen += data
    return seen


@asynccontextmanager
async def running(config: Config | None, **more: Any) -> AsyncIterator[Daemon]:
    """The daemon under test; leaving sends SIGTERM if it still runs, and waits for its end."""
    send, receive = trio.open_memory_channel[Running](1)
    ended = trio.Event()

    async def run() -> None:
        options = {"user_agent": "tests", "environ": {}, "ready": send.send_nowait, **more}
        await app.run(config, **options)
        ended.set()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            told = await receive.receive()
            port = int(told.addresses[0].rpartition(":")[2])
            yield Daemon(port, told, ended)
            if not ended.is_set():
                signal.raise_signal(signal.SIGTERM)


def open_sockets() -> int:
    found = 0
    for path in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the directory's own descriptor
            found += str(path.readlink()).startswith("socket:")
    return found


# --- start ----------------------------------------------------------------------------------------


async def test_it_says_where_it_listens_and_answers_there() -> None:
    config = config_of()
    async with running(config) as daemon:
        assert daemon.running.config is config
        assert daemon.running.addresses == (f"127.0.0.1:{daemon.port}",)
        assert (await daemon.ask("GET", "/health")).startswith(b"HTTP/1.1 200")
        assert b'"hi"' in await daemon.ask("POST", "/v1/chat/completions", BODY)


async def test_it_leaves_nothing_open() -> None:
    before = open_sockets()
    async with running(config_of()) as daemon:
        await daemon.ask("GET", "/health")
    assert open_sockets() == before


async def test_the_limits_of_the_configuration_are_the_edges() -> None:
    async with running(config_of(max_body_bytes=10)) as daemon:
        said = await daemon.ask("POST", "/v1/messages", BODY)
        assert said.startswith(b"HTTP/1.1 413")
        assert b'{"type":"error"' in said.replace(b" ", b"")


async def test_an_error_of_the_edge_has_the_shape_of_the_clients_format() -> None:
    async with running(config_of()) as daemon:
        async with await daemon.connect() as stream:
            await stream.send_all(
                b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\nContent-Length: 0\r\n\r\n"
            )
            said = await until(stream, b"}")
        assert said.startswith(b"HTTP/1.1 417")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]


async def test_the_dashboard_can_be_switched_off() -> None:
    async with running(config_of(dashboard=False)) as daemon:
        assert (await daemon.ask("GET", "/dashboard")).startswith(b"HTTP/1.1 404")


async def test_a_port_that_is_taken_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = Config(server=Server(port=port), providers=(Provider("echo", "echo"),))
        with pytest.raises(ConfigError) as wrong:
            await app.run(config, user_agent="t", environ={})
    assert wrong.value.problems == (
        f"cannot listen on 127.0.0.1:{port}: address already in use; "
        "another program listens there (--port takes another one)",
    )


async def test_an_address_that_is_not_ours_is_one_line() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        config = Config(
            server=Server(hosts=(host,), allow_unauthenticated=True),
            providers=(Provider("echo", "echo"),),
        )
        with pytest.raises(ConfigError) as wrong:
            await app.run(config, user_agent="t", environ={})
        (problem,) = wrong.value.problems
        assert problem.startswith(f"cannot listen on {host}:8090: ")
        assert "another program" not in problem
        assert "\n" not in problem


async def test_a_plugin_that_cannot_be_is_told_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(*_: object) -> None:
        raise ConfigError(["plugins.x: no"])

    monkeypatch.setattr(app, "build", build)
    monkeypatch.setattr(app, "listeners", lambda *_: pytest.fail("bound"))
    with pytest.raises(ConfigError, match=r"plugins\.x: no"):
        await app.run(config_of(), user_agent="t", environ={})


# --- without a configuration ----------------------------------------------------------------------


@pytest.fixture
def nobody_there(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A machine without servers, and a record of who was called."""
    called = []

    async def refuse(origin: Any, **_: Any) -> Any:
        called.append((origin.host, origin.port))
        raise DialError("refused", "nobody there")

    monkeypatch.setattr(app, "Pool", lambda: Pool(dialer=refuse))
    return called


Pool = app.Pool


async def test_without_a_configuration_there_is_the_echo(nobody_there: list) -> None:
    async with running(None, port=0) as daemon:
        assert [p.name for p in daemon.running.config.providers] == ["echo"]
        assert b'"hi"' in await daemon.ask("POST", "/v1/chat/completions", BODY)
    assert {host for host, _ in nobody_there} == {"127.0.0.1"}


async def test_no_cloud_is_asked_at_the_start(nobody_there: list) -> None:
    environ = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}
    async with running(None, port=0, environ=environ) as daemon:
        assert [p.name for p in daemon.running.config.providers] == ["openai", "anthropic"]
        await daemon.ask("GET", "/v1/models")
        await daemon.ask("GET", "/ready")
        assert {host for host, _ in nobody_there} == {"127.0.0.1"}
        await daemon.ask("POST", "/v1/chat/completions", BODY)  # this one needs to know
        assert {host for host, _ in nobody_there} == {
            "127.0.0.1",
            "api.openai.com",
            "api.anthropic.com",
        }


async def test_the_command_lines_address_is_checked_without_a_configuration_too(
    nobody_there: list,
) -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        await app.run(None, user_agent="t", environ={}, host="0.0.0.0")


async def test_a_start_that_fails_closes_the_connections_of_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "PROBE_S", 30)
    with (
        FakeUpstream(lambda turn: turn.whole({"models": []})) as up,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        place = (local.PLACES[0],)
        monkeypatch.setattr(local, "PLACES", place)
        with pytest.raises(ConfigError, match="cannot listen"):
            await app.run(
                None,
                user_agent="t",
                environ={"OLLAMA_HOST": up.url},
                port=taken.getsockname()[1],
            )
        assert up.received
        assert up.settled()


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_daemon_at_once(number: signal.Signals) -> None:
    async with running(config_of(drain_timeout=3600)) as daemon:
        idle = await daemon.begin("GET", "/health")
        await until(idle, b"ok")
        signal.raise_signal(number)
        await daemon.ended.wait()
        assert await rest(idle) == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await daemon.connect()
        await idle.aclose()


class Gate:
    """An upstream that answers only when it is let."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.closed = trio.Event()

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"data": [{"id": "m"}]})
        self.token.run_sync_soon(self.asked.set)
        turn.begin()
        if turn.wait_closed(PATIENCE_S):
            self.token.run_sync_soon(self.closed.set)
        return None


CHUNK = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"late"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


def gated(latch: "Latch") -> Callable[[Turn], None]:
    def script(turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"data": [{"id": "m"}]})
        latch.asked()
        latch.wait()
        turn.stream([CHUNK])
        return None

    return script


class Latch:
    """Between this task and the upstream's thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._go = threading.Event()
        self.asked = self._asked.set
        self.go = self._go.set

    def wait(self) -> None:
        assert self._go.wait(PATIENCE_S)

    async def was_asked(self) -> None:
        while not self._asked.is_set():  # noqa: ASYNC110 - it is set in another thread
            await trio.sleep(0.002)


STREAM = json.dumps(
    {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
).encode()


async def test_a_request_that_runs_is_finished_and_its_record_written(tmp_path: Path) -> None:
    log = tmp_path / "x.jsonl"
    latch = Latch()
    with FakeUpstream(gated(latch)) as up:
        config = config_of(Provider("p", "openai", up.url + "/v1"), log=log, drain_timeout=3600)
        async with running(config) as daemon:
            stream = await daemon.begin("POST", "/v1/chat/completions", STREAM)
            await latch.was_asked()
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(OSError, match="all attempts to connect"):
                while True:  # until the listener is closed
                    await (await daemon.connect()).aclose()
            assert not daemon.ended.is_set()
            latch.go()
            said = await rest(stream)
            assert b"late" in said
            assert said.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            await daemon.ended.wait()
            await stream.aclose()
        (line,) = log.read_text().splitlines()
        assert (json.loads(line)["end"], json.loads(line)["provider"]) == ("complete", "p")


@pytest.mark.parametrize("how", ["the deadline", "a second signal"])
async def test_a_request_that_does_not_end_is_cut_and_its_record_written(
    tmp_path: Path, how: str
) -> None:
    log = tmp_path / "x.jsonl"
    gate = Gate()
    with FakeUpstream(gate) as up:
        provider = Provider("p", "openai", up.url + "/v1")
        drain_s = 0.05 if how == "the deadline" else 3600
        async with running(config_of(provider, log=log, drain_timeout=drain_s)) as daemon:
            stream = await daemon.begin("POST", "/v1/chat/completions", STREAM)
            await gate.asked.wait()
            signal.raise_signal(signal.SIGTERM)
            if how == "a second signal":
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert not daemon.ended.is_set()
                signal.raise_signal(signal.SIGTERM)
            await daemon.ended.wait()
            await gate.closed.wait()  # the upstream was let go
            said = await rest(stream)
            assert b"[DONE]" not in said  # what was cut does not look whole
            await stream.aclose()
        (line,) = log.read_text().splitlines()
        assert json.loads(line)["end"] != "complete"


async def test_an_open_dashboard_does_not_hold_the_end_up() -> None:
    async with running(config_of(drain_timeout=3600)) as daemon:
        stream = await daemon.begin("GET", "/dashboard/events")
        await until(stream, b": llmrouter\n\n")
        signal.raise_signal(signal.SIGTERM)
        assert (await rest(stream)).endswith(b"0\r\n\r\n")
        await daemon.ended.wait()
        await stream.aclose()


async def test_who_asks_while_it_drains_hears_that_it_is_not_ready() -> None:
    """One whose question was half said at the signal still gets its answer."""
    async with running(config_of(drain_timeout=3600)) as daemon:
        stream = await daemon.connect()
        await stream.send_all(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        other = await daemon.begin("GET", "/health")
        await until(other, b"ok")  # so the first one was read, too
        await other.aclose()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(OSError, match="all attempts to connect"):
            while True:  # until the listener is closed
                await (await daemon.connect()).aclose()
        await stream.send_all(b"\r\n")
        said = await rest(stream)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b'"draining":true' in said
        await daemon.ended.wait()
        await stream.aclose()


async def test_a_signal_before_it_serves_ends_it_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it still asks its providers for their models."""
    monkeypatch.setattr(catalog, "FIRST_ROUND_S", 0.05)
    latch = Latch()

    def hang(turn: Turn) -> None:
        latch.asked()
        turn.wait_closed()

    with FakeUpstream(hang) as up, trio.fail_after(PATIENCE_S):
        config = config_of(Provider("p", "openai", up.url + "/v1"))
        ready: list[Running] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: app.run(config, user_agent="t", environ={}, ready=ready.append)
            )
            await latch.was_asked()
            signal.raise_signal(signal.SIGTERM)
        assert up.settled()
        assert ready == []  # it never listened


async def test_signals_are_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(config_of()):
        pass
    assert "SIGTERM: draining" in caplog.text


# --- figures --------------------------------------------------------------------------------------


async def test_figures_are_served_with_what_the_daemon_alone_knows() -> None:
    async with running(config_of()) as daemon:
        async with await daemon.begin("POST", "/v1/chat/completions", BODY) as stream:
            await until(stream, b"finish_reason")
            async with await daemon.begin("GET", "/metrics") as scraper:
                page = (await until(scraper, b"process_max_fds ")).decode()
    assert 'llmrouter_requests_total{client_format="openai",provider="echo"' in page
    assert "llmrouter_connections_open 2\n" in page
    assert "llmrouter_feed_readers 0\n" in page
    assert 'llmrouter_build_info{version="' in page


async def test_without_metrics_nobody_counts() -> None:
    async with running(config_of(metrics=False)) as daemon:
        assert b" 404 " in await daemon.ask("GET", "/metrics")
