"""A client that goes away, at any moment and in any manner: its upstream call is cut, and nothing of
it stays. A client that is merely slow slows its upstream down."""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from llmrouterd.config import Config, Server
from llmrouterd.model import Clocks, Provider
from llmrouterd.ops import app
from tests.fakes.bystander import (
    FORMATS,
    PATIENCE_S,
    Journal,
    Listener,
    Rest,
    ask,
    chat,
    raw_post,
    rss_bytes,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces, whole
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
# Same format, and each format as client and as upstream of another.
PAIRS = [*((fmt, fmt) for fmt in FORMATS), *zip(FORMATS, (*FORMATS[1:], FORMATS[0]), strict=True)]
LEAVING = ["close", "half-close", "reset"]
CLOSE = "Connection: close"


def config(url: str, *, server: str = "", retries: int = 0) -> str:
    """A provider and a model of each format, and an alias that goes to two of them in turn."""
    tables = [f'[server]\nport = 0\n{server}\n[logging]\nenabled = true\npath = "log.jsonl"\n']
    tables += [
        f'[[providers]]\nname = "{fmt}"\nformat = "{fmt}"\nbase_url = "{url}"\ncircuit_failures = 0\n'
        f'models = ["{fmt}"]\nmax_retries = {retries}\n'
        f'[[routers]]\ntype = "model"\nmatch = "{fmt}"\nprovider = "{fmt}"\n'
        for fmt in FORMATS
    ]
    tables.append('[models]\nboth = ["openai/openai", "anthropic/anthropic"]\n')
    return "\n".join(tables)


def format_asked(turn: Turn) -> str:
    return next(fmt for fmt in FORMATS if turn.received.target.startswith(CHAT_PATH[fmt]))


@dataclass
class Watched:
    """A script that says when it was reached, and then waits until the router lets go."""

    before: Callable[[Turn], None] = lambda turn: None
    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    calls: int = 0

    def __call__(self, turn: Turn) -> None:
        turn.keep = False
        self.calls += 1
        self.before(turn)
        self.reached.set()
        if turn.wait_closed():
            self.let_go.set()


def begin_stream(turn: Turn) -> None:
    turn.begin(kind=STREAM_TYPE[format_asked(turn)])


def first_words(turn: Turn) -> None:
    begin_stream(turn)
    fmt = format_asked(turn)
    for piece in pieces(fmt, Said("hello there, friend"), turn.received.json):
        turn.chunk(piece)
        if b"hello" in piece:
            return


def half_a_body(turn: Turn) -> None:
    body = json.dumps(whole(format_asked(turn), Said("hello"))).encode()
    turn.head(200, f"Content-Length: {len(body)}")
    turn.raw(body[:-9])


def leave(listener: Listener, how: str) -> None:
    if how == "half-close":
        listener.sock.shutdown(socket.SHUT_WR)
    elif how == "reset":
        listener.reset()
    else:
        listener.leave()


@dataclass
class House:
    daemon: RunningDaemon
    upstream: FakeUpstream
    journal: Journal
    rest: Rest

    def begin(self, client: str, model: str, **more: Any) -> Listener:
        body = json.dumps(chat(client, model, **more)).encode()
        return Listener(self.daemon, raw_post(CHAT_PATH[client], body))

    def gone(self, lines_before: int) -> dict[str, Any]:
        """The one line of the client that left."""
        (line,) = self.journal.after(lines_before)
        assert (line["end"], line["fault"]) == ("client_gone", "client"), line
        assert line["duration_ms"] < PATIENCE_S * 1000
        return line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("gone")
    with FakeUpstream(Watched()) as upstream:
        with RunningDaemon(config(upstream.url, retries=1), folder) as daemon:
            ask(daemon, "/health")
            yield House(daemon, upstream, Journal(folder / "log.jsonl"), Rest(daemon, upstream))


@pytest.fixture
def house(place: House) -> Iterator[House]:
    place.upstream.received.clear()
    yield place
    place.rest.holds()
    assert not place.upstream.errors


# --- before the upstream is asked -----------------------------------------------------------------


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("part", [b"", b"PO", b"POST /v1/messages HTTP/1.1\r\nHost: lo", b"\r\n"])
def test_a_client_that_leaves_in_its_head_leaves_nothing(
    house: House, part: bytes, how: str
) -> None:
    before = house.journal.count()
    with Listener(house.daemon, part) as listener:
        leave(listener, how)
        house.rest.holds()
    assert house.journal.count() == before  # it had not asked for anything yet


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("framing", ["declared", "chunked"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_client_that_leaves_in_its_body_is_told_of_in_the_log(
    house: House, client: str, framing: str, how: str
) -> None:
    before = house.journal.count()
    body = json.dumps(chat(client, client)).encode()
    request = raw_post(CHAT_PATH[client], body)[:-10]
    if framing == "chunked":
        head, _, rest = request.partition(b"\r\n\r\n")
        head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
        request = head + b"\r\n\r\n%x\r\n%b" % (len(body), rest)
    with Listener(house.daemon, request) as listener:
        leave(listener, how)
        line = house.gone(before)
    assert line["status"] == 0
    assert line["endpoint"] == CHAT_PATH[client]
    assert not house.upstream.received


# --- while the upstream works ---------------------------------------------------------------------


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_client_that_leaves_during_prefill_cuts_the_upstream(
    house: House, client: str, up: str, stream: bool, how: str
) -> None:
    script = house.upstream.script = Watched()
    before = house.journal.count()
    with house.begin(client, up, stream=stream) as listener:
        assert script.reached.wait(PATIENCE_S)
        leave(listener, how)
        assert script.let_go.wait(PATIENCE_S)
        line = house.gone(before)
    assert (line["status"], line["provider"], line["stream"]) == (0, up, stream)
    assert script.calls == 1  # nobody else was asked for a client that is not there


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_client_that_leaves_before_the_first_words_cuts_the_upstream(
    house: House, client: str, up: str, how: str
) -> None:
    script = house.upstream.script = Watched(begin_stream)
    before = house.journal.count()
    with house.begin(client, up, stream=True) as listener:
        assert script.reached.wait(PATIENCE_S)
        leave(listener, how)
        assert script.let_go.wait(PATIENCE_S)
        assert house.gone(before)["status"] == 0


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_client_that_leaves_a_whole_answer_in_the_making_cuts_the_upstream(
    house: House, client: str, up: str, how: str
) -> None:
    script = house.upstream.script = Watched(half_a_body)
    before = house.journal.count()
    with house.begin(client, up) as listener:
        assert script.reached.wait(PATIENCE_S)
        leave(listener, how)
        assert script.let_go.wait(PATIENCE_S)
        assert house.gone(before)["status"] == 0


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_client_that_leaves_in_the_middle_of_a_stream_cuts_the_upstream(
    house: House, client: str, up: str, how: str
) -> None:
    script = house.upstream.script = Watched(first_words)
    before = house.journal.count()
    with house.begin(client, up, stream=True) as listener:
        listener.until(b"hello")
        leave(listener, how)
        assert script.let_go.wait(PATIENCE_S)
        line = house.gone(before)
    assert line["status"] == 200
    assert line["ttft_ms"] is not None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_pipelined_next_request_does_not_hide_that_the_client_left(
    house: House, client: str, stream: bool
) -> None:
    """The bytes of the next request lie unread before the end of the connection."""
    script = house.upstream.script = Watched()
    before = house.journal.count()
    with house.begin(client, client, stream=stream) as listener:
        assert script.reached.wait(PATIENCE_S)
        listener.sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listener.leave()
        assert script.let_go.wait(PATIENCE_S)
        house.gone(before)


# --- between attempts -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_client_that_leaves_while_a_retry_waits_ends_the_waiting(
    house: House, client: str, stream: bool, how: str
) -> None:
    """The upstream asks for seconds; the router has let go of the connection when it waits."""

    def busy(turn: Turn) -> None:
        turn.whole({"error": "busy"}, 503, "Retry-After: 8", CLOSE)

    script = house.upstream.script = Watched(busy)
    before = house.journal.count()
    with house.begin(client, client, stream=stream) as listener:
        assert script.let_go.wait(PATIENCE_S)
        leave(listener, how)
        line = house.gone(before)
    assert line["duration_ms"] < 8000
    assert len(line["attempts"]) == 1
    assert script.calls == 1


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_client_that_leaves_during_a_failover_cuts_the_second_upstream(
    house: House, client: str, stream: bool, how: str
) -> None:
    second = Watched()

    def script(turn: Turn) -> None:
        if format_asked(turn) == "openai":
            turn.keep = False
            turn.whole({"error": {"message": "broken"}}, 500, CLOSE)
        else:
            second(turn)

    house.upstream.script = script
    before = house.journal.count()
    with house.begin(client, "both", stream=stream) as listener:
        assert second.reached.wait(PATIENCE_S)
        leave(listener, how)
        assert second.let_go.wait(PATIENCE_S)
        line = house.gone(before)
    assert line["provider"] == "anthropic"
    assert len(line["attempts"]) == 1


@pytest.mark.parametrize("client", FORMATS)
def test_the_connection_of_a_client_that_left_is_never_used_again(
    house: House, client: str
) -> None:
    """A half-read answer must not become the beginning of somebody else's."""
    script = house.upstream.script = Watched(first_words)
    with house.begin(client, client, stream=True) as listener:
        listener.until(b"hello")
        listener.leave()
        assert script.let_go.wait(PATIENCE_S)

    def well(turn: Turn) -> None:
        turn.keep = False
        turn.whole(whole(client, Said("another answer")), 200, CLOSE)

    house.upstream.script = well
    answer = ask(house.daemon, CHAT_PATH[client], chat(client, client))
    assert answer.status == 200
    assert b"another answer" in answer.body


# --- half-closed, by configuration ------------------------------------------------------------------


def test_where_half_closed_clients_are_served_only_a_reset_is_leaving(tmp_path: Path) -> None:
    release = threading.Event()

    def patient(turn: Turn) -> None:
        turn.keep = False
        assert release.wait(PATIENCE_S)
        turn.whole(whole(format_asked(turn), Said("at last")), 200, CLOSE)

    with FakeUpstream(patient) as upstream:
        text = config(upstream.url, server='half_close = "ignore"')
        with RunningDaemon(text, tmp_path) as daemon:
            ask(daemon, "/health")
            rest = Rest(daemon, upstream)
            journal = Journal(tmp_path / "log.jsonl")
            listeners = []
            for client in FORMATS:
                body = json.dumps(chat(client, client)).encode()
                listeners.append(Listener(daemon, raw_post(CHAT_PATH[client], body)))
                listeners[-1].sock.shutdown(socket.SHUT_WR)
            release.set()
            for listener in listeners:
                with listener:
                    answer = listener.rest()
                assert answer.status == 200
                assert b"at last" in answer.body
            assert [line["end"] for line in journal.after(0, 3)] == ["complete"] * 3
            script = upstream.script = Watched()
            with Listener(daemon, raw_post(CHAT_PATH["openai"], body)) as listener:
                listener.sock.shutdown(socket.SHUT_WR)
                assert script.reached.wait(PATIENCE_S)
                listener.reset()
                assert script.let_go.wait(PATIENCE_S)
            assert journal.after(3)[0]["end"] == "client_gone"
            rest.holds()


# --- slow clients ---------------------------------------------------------------------------------


@dataclass
class Pump:
    """An upstream that gives all it can: after its first words one long word after another, until
    the router has taken nothing for a while, or `limit` is reached; then, when told, the end."""

    limit: int
    stuck: threading.Event = field(default_factory=threading.Event)
    end: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    let_go: bool = False

    def __call__(self, turn: Turn) -> None:
        turn.keep = False
        fmt = format_asked(turn)
        first_words(turn)
        piece = self._piece(fmt)
        turn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        turn.sock.setblocking(False)
        left = b""
        try:
            while self.sent < self.limit:
                left = left or piece
                _, ready, _ = select.select([], [turn.sock], [], 0.7)
                if not ready:
                    break
                count = turn.sock.send(left)
                left = left[count:]
                self.sent += count
            self.stuck.set()
            turn.sock.setblocking(True)
            if not self._is_closed(turn):
                turn.raw(left)
                turn.chunk(self._last(fmt, turn))
                turn.end()
        except OSError:
            self.let_go = True
        finally:
            self.stuck.set()

    def _is_closed(self, turn: Turn) -> bool:
        """Wait for the word to end, or for the router to hang up."""
        while not self.end.wait(0.05):
            if turn.wait_closed(0.05):
                self.let_go = True
                return True
        return False

    @staticmethod
    def _piece(fmt: str) -> bytes:
        word = "w" * 16000
        event = {
            "openai": {"choices": [{"index": 0, "delta": {"content": word}}]},
            "anthropic": {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            },
            "ollama": {"model": "m", "message": {"role": "assistant", "content": word}},
        }[fmt]
        data = json.dumps(event).encode()
        name = b"event: content_block_delta\n" if fmt == "anthropic" else b""
        data = data + b"\n" if fmt == "ollama" else name + b"data: " + data + b"\n\n"
        return b"%x\r\n%b\r\n" % (len(data), data)

    @staticmethod
    def _last(fmt: str, turn: Turn) -> bytes:
        found = list(pieces(fmt, Said("hello there, friend"), turn.received.json))
        return b"".join(found[next(n for n, piece in enumerate(found) if b"hello" in piece) + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_a_slow_client_slows_its_upstream_down_and_loses_nothing(
    house: House, client: str, up: str
) -> None:
    """What is under way is what two sockets hold, never what the upstream could give."""
    pump = house.upstream.script = Pump(64 * MIB)
    before = rss_bytes(house.daemon.pid)
    lines = house.journal.count()
    body = json.dumps(chat(client, up, stream=True)).encode()
    with Listener(house.daemon, raw_post(CHAT_PATH[client], body), buffer=16384) as listener:
        listener.until(b"hello")
        assert pump.stuck.wait(PATIENCE_S)
        taken = pump.sent
        assert taken < 8 * MIB
        assert rss_bytes(house.daemon.pid) - before < 32 * MIB
        pump.end.set()
        answer = listener.rest()
    assert answer.whole
    assert answer.body.count(b"w" * 16000) == taken // len(Pump._piece(up)) + 1
    (line,) = house.journal.after(lines)
    assert line["end"] == "complete"


@pytest.mark.slow
def test_a_client_that_stops_reading_is_let_go(tmp_path: Path) -> None:
    with FakeUpstream(Watched()) as upstream:
        text = config(upstream.url, server="client_stall = 0.5")
        with RunningDaemon(text, tmp_path) as daemon:
            ask(daemon, "/health")
            rest = Rest(daemon, upstream)
            journal = Journal(tmp_path / "log.jsonl")
            for number, (client, up) in enumerate(PAIRS[:4]):
                pump = upstream.script = Pump(64 * MIB)
                body = json.dumps(chat(client, up, stream=True)).encode()
                request = raw_post(CHAT_PATH[client], body)
                with Listener(daemon, request, buffer=16384) as listener:
                    listener.until(b"hello")
                    (line,) = journal.after(number)
                    assert (line["end"], line["fault"]) == ("client_gone", "client")
                    rest.holds()
                    assert pump.let_go
            big = whole("openai", Said("w" * 24 * MIB))

            def much(turn: Turn) -> None:
                turn.keep = False
                turn.whole(big, 200, CLOSE)

            upstream.script = much
            for number, client in enumerate(FORMATS, 4):
                request = raw_post(CHAT_PATH[client], json.dumps(chat(client, "openai")).encode())
                with Listener(daemon, request, buffer=16384):
                    (line,) = journal.after(number)
                    assert (line["end"], line["fault"]) == ("client_gone", "client")
                    rest.holds()


# --- many -----------------------------------------------------------------------------------------


def any_manner(turn: Turn) -> None:
    """As the request's last word says: silent, streaming for as long as somebody reads, or done."""
    turn.keep = False
    fmt = format_asked(turn)
    said = turn.received.body
    if b"silent" in said:
        turn.wait_closed()
    elif b"talking" in said:
        first_words(turn)
        event = Pump._piece(fmt)
        while not turn.wait_closed(0.01):
            turn.raw(event)
    elif b"broken" in said:
        turn.head(503, "Content-Length: 0", "Retry-After: 3", CLOSE)
    else:
        turn.whole(whole(fmt, Said("done")), 200, CLOSE)


MANNERS = ["silent", "talking", "broken", "well"]


def vanishing(port: int, count: int, seed: int) -> int:
    """So many clients at once, each leaving at some moment of its own. Returns how many had sent
    a whole request."""
    chance = random.Random(seed)
    socks: list[socket.socket] = []
    complete = 0
    for _ in range(count):
        client, up, manner = chance.choice(FORMATS), chance.choice(FORMATS), chance.choice(MANNERS)
        body = chat(client, up, stream=chance.random() < 0.5)
        body["messages"][0]["content"] = manner
        request = raw_post(CHAT_PATH[client], json.dumps(body).encode())
        cut = len(request) if chance.random() < 0.75 else chance.randrange(len(request))
        complete += cut == len(request)
        sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.sendall(request[:cut])
        socks.append(sock)
        if len(socks) > 100 or chance.random() < 0.1:
            _leave_somehow(socks.pop(chance.randrange(len(socks))), chance)
    chance.shuffle(socks)
    for sock in socks:
        _leave_somehow(sock, chance)
    return complete


def _leave_somehow(sock: socket.socket, chance: random.Random) -> None:
    with sock:
        if chance.random() < 0.3 and select.select([sock], [], [], 0.005)[0]:
            try:
                sock.recv(4096)
            except OSError:
                return
        if chance.random() < 0.3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif chance.random() < 0.3:
            sock.shutdown(socket.SHUT_WR)
            select.select([sock], [], [], 0.005)


@pytest.mark.slow
def test_300_clients_that_vanish_at_random_leave_nothing(house: House) -> None:
    house.upstream.script = any_manner
    before = house.journal.count()
    complete = vanishing(house.daemon.port, 300, seed=2026)
    house.rest.holds()
    ends = [line["end"] for line in house.journal.lines()[before:]]
    assert set(ends) <= {"client_gone", "complete", "upstream_error"}
    assert ends.count("client_gone") > complete // 4


@pytest.mark.slow
async def test_300_clients_that_vanish_leave_no_task_lease_slot_or_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same from inside, where everything that could be left can be counted."""
    made: dict[str, Any] = {}

    def kept(name: str, kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **more: Any) -> Any:
            made[name] = kind(*args, **more)
            return made[name]

        return make

    for name in ("Pool", "Hangups", "Daemon", "Server"):
        monkeypatch.setattr(app, name, kept(name, getattr(app, name)))
    with FakeUpstream(any_manner) as upstream:
        providers = tuple(
            Provider(
                fmt,
                fmt,
                base_url=upstream.url + ("" if fmt == "ollama" else "/v1"),
                models=(fmt,),
                clocks=Clocks(first_token_s=300),
            )
            for fmt in FORMATS
        )
        send, receive = trio.open_memory_channel[app.Running](1)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await app.run(
                    Config(server=Server(port=0), providers=providers),
                    user_agent="test",
                    environ={},
                    ready=send.send_nowait,
                )

            nursery.start_soon(serve)
            running = await receive.receive()
            port = int(running.addresses[0].rpartition(":")[2])
            await trio.testing.wait_all_tasks_blocked(0.05)
            tasks = trio.lowlevel.current_statistics().tasks_living
            for seed in (1, 2):
                await trio.to_thread.run_sync(vanishing, port, 300, seed)
                with trio.fail_after(PATIENCE_S):
                    while _held(made):  # noqa: ASYNC110 gauges cannot be awaited
                        await trio.sleep(0.02)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert trio.lowlevel.current_statistics().tasks_living == tasks
            nursery.cancel_scope.cancel()
    assert not upstream.errors


def _held(made: dict[str, Any]) -> dict[str, int]:
    """Every gauge that is not at rest."""
    daemon, connections = made["Daemon"], made["Server"].connections
    gauges = {
        "in_flight": daemon.in_flight,
        **{f"in_flight_at {name}": count for name, count in daemon.in_flight_at.items()},
        "leased": made["Pool"].leased,
        "watched": made["Hangups"].watched,
        "connections": connections.open,
        "waiting": connections.idle,
        "body bytes": connections.budget.held,
    }
    return {name: value for name, value in gauges.items() if value}
