"""The door to a collector: what goes along, under which label, and what comes of trouble."""

import logging
import socket
import threading

import pytest
import trio
import trustme

from llmrouterd.config import Telemetry
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Secret
from llmrouterd.observe.otlp import Export, Reply
from llmrouterd.ops.collector import Collector, export
from tests.fakes.collector import FakeCollector, pairs
from tests.fakes.upstream import FakeUpstream, Turn
from tests.observe.test_otlp_payload import RECORD

ELSEWHERE = "http://192.0.2.1:4318"  # for documentation: nobody is there, and nobody is asked
PATIENCE_S = 30


def settings(url: str, **more) -> Telemetry:
    return Telemetry(enabled=True, endpoint=url, **more)


async def post(url: str, confined=None, path: str = "/v1/traces", **more) -> Reply:
    pool = Pool()
    with trio.fail_after(PATIENCE_S):
        try:
            send = Collector(pool, settings(url, **more), "llmrouter/1.2")
            return await send(path, b"{}", confined)
        finally:
            pool.close()
            assert pool.leased == 0


async def test_a_message_goes_to_the_path_of_its_signal_with_the_owners_headers() -> None:
    with FakeUpstream(lambda turn: turn.whole(b'{"x":1}')) as up:
        key = ("x-key", Secret("sesame"))
        reply = await post(up.url + "/otlp", path="/v1/logs", headers=(key,))
    assert (reply.status, reply.body) == (200, b'{"x":1}')
    [got] = up.received
    assert (got.method, got.target, got.body) == ("POST", "/otlp/v1/logs", b"{}")
    assert got.headers["x-key"] == "sesame"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == "llmrouter/1.2"


async def test_what_must_stay_here_never_reaches_a_collector_elsewhere() -> None:
    for confined in ((), ("10.0.0.0/8",)):
        reply = await post(ELSEWHERE, confined)
        assert reply.denied
        assert "192.0.2.1" in reply.why


@pytest.mark.parametrize("confined", [(), ("10.0.0.0/8",)])
async def test_this_host_is_always_here(confined: tuple[str, ...]) -> None:
    with FakeUpstream(lambda turn: turn.whole({})) as up:
        assert (await post(up.url, confined)).status == 200


async def test_a_connection_that_others_use_is_asked_about_again() -> None:
    """One that free messages keep open must not carry what is bound."""
    with FakeUpstream(lambda turn: turn.whole({})) as up:
        pool = Pool()
        send = Collector(pool, settings(up.url), "a/1")
        with trio.fail_after(PATIENCE_S):
            await send("/v1/logs", b"{}", None)
            assert (await send("/v1/logs", b"{}", ("10.0.0.0/8",))).status == 200
            assert (await send("/v1/logs", b"{}", ())).status == 200
        pool.close()


@pytest.mark.parametrize(
    ("field", "wait_s"), [("Retry-After: 7", 7.0), ("Retry-After: nonsense", None)]
)
async def test_the_pause_that_is_asked_for_is_read(field: str, wait_s: float | None) -> None:
    with FakeUpstream(lambda turn: turn.whole({}, 429, field)) as up:
        assert await post(up.url) == Reply(429, b"{}", wait_s)


def _hangs(turn: Turn) -> None:
    turn.wait_closed()


def _garbage(turn: Turn) -> None:
    turn.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
    turn.cut()


def _cut(turn: Turn) -> None:
    turn.head(200, "Content-Length: 100")
    turn.raw(b"{")
    turn.cut()


def _endless(turn: Turn) -> None:
    turn.whole(b"x" * 100_000)
    turn.cut()


@pytest.mark.parametrize("script", [_hangs, _garbage, _cut, _endless])
async def test_whatever_fails_is_a_reply_without_a_status(script) -> None:
    with FakeUpstream(script) as up:
        reply = await post(up.url, timeout=0.5 if script is _hangs else 20.0)
    assert reply.status == 0
    assert reply.why
    assert not reply.denied


async def test_nobody_there_is_no_denial() -> None:
    with FakeUpstream(lambda turn: turn.whole({})) as up:
        url = up.url
    reply = await post(url)
    assert (reply.status, reply.denied) == (0, False)
    assert "refused" in reply.why


async def test_a_server_that_speaks_no_tls_is_told(tmp_path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speaks_no_tls() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                sock.recv(65536)

        server = threading.Thread(target=speaks_no_tls)
        server.start()
        port = listener.getsockname()[1]
        reply = await post(f"https://127.0.0.1:{port}", ca_file=str(ca))
        server.join()
    assert reply.status == 0
    assert "TLS" in reply.why


async def run(made: Export) -> None:
    made.tell(RECORD)
    made.close()
    with trio.fail_after(PATIENCE_S):
        await made.run()


async def test_an_export_tells_who_it_is_of() -> None:
    pool = Pool()
    with FakeCollector() as collector:
        made = export(
            pool, settings(collector.url, service_name="mine"), "llmrouter/9", lambda: None
        )
        await run(made)
        other = export(pool, settings(collector.url), "llmrouter/9", lambda: None)
        await run(other)
    pool.close()
    first, second = (m.resource_spans[0].resource for m in collector.of("traces"))
    assert pairs(first)["service.name"] == "mine"
    assert pairs(first)["service.version"] == "9"
    assert pairs(first)["host.name"]
    assert pairs(first)["service.instance.id"] != pairs(second)["service.instance.id"]


async def test_no_key_is_in_what_is_told_of_trouble(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pool = Pool()
    with FakeUpstream(lambda turn: turn.whole({}, 401)) as up:
        headers = (("authorization", Secret("Bearer sesame")),)
        await run(export(pool, settings(up.url, headers=headers), "a/1", lambda: None))
    pool.close()
    assert "401" in caplog.text
    assert "sesame" not in caplog.text
