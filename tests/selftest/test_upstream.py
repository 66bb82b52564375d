"""The upstream alone, over real sockets of this machine."""

import json
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmrouterd.edge.listen import bind_tcp
from llmrouterd.selftest.faults import FIRST, REST
from llmrouterd.selftest.upstream import Upstream, prompt

PATIENCE_S = 20


class Connections:
    """Opens them, and closes all at the end."""

    def __init__(self, port):
        self._port = port
        self.open = []

    async def __call__(self):
        self.open.append(await trio.open_tcp_stream("127.0.0.1", self._port))
        return self.open[-1]


@asynccontextmanager
async def running():
    (listener,) = bind_tcp("127.0.0.1", 0)
    upstream = Upstream(listener)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(upstream.run)
            connections = Connections(listener.port)
            try:
                yield upstream, connections
            finally:
                for stream in connections.open:
                    stream.socket.close()
            nursery.cancel_scope.cancel()
    assert listener.sock.fileno() < 0


def request(model, *, stream=False, case="1", path="/v1/chat/completions"):
    said = [{"role": "user", "content": prompt(case)}]
    body = json.dumps({"model": model, "stream": stream, "messages": said}).encode()
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def becomes(true):
    while not true():
        await wait_all_tasks_blocked(0.01)


async def until(stream, mark):
    got = b""
    while mark not in got:
        piece = await stream.receive_some()
        if not piece:
            break
        got += piece
    return got


async def test_it_does_what_the_name_of_the_model_says():
    async with running() as (_, connect):
        stream = await connect()
        await stream.send_all(request("healthy"))
        assert b"200" in await until(stream, b"usage")
        await stream.send_all(request("503"))  # on the same connection
        assert b" 503 " in await until(stream, b"Loading model")


@pytest.mark.parametrize(("path", "model"), [("/v1/models", "healthy"), ("/api/chat", "nonsense")])
async def test_what_it_does_not_have_is_a_404(path, model):
    async with running() as (_, connect):
        stream = await connect()
        await stream.send_all(request(model, path=path))
        assert b" 404 " in await until(stream, b"error")


async def test_a_fault_after_the_first_words_waits_until_they_were_heard():
    async with running() as (upstream, connect):
        stream = await connect()
        await stream.send_all(request("no-end-mark", stream=True, case="mine"))
        assert FIRST.encode() in await until(stream, FIRST.encode())
        upstream.heard("another")
        with trio.move_on_after(0.05):
            raise AssertionError(await stream.receive_some())
        upstream.heard("mine")
        assert REST.encode() in await until(stream, b"0\r\n\r\n")


async def test_where_nobody_can_hear_it_does_not_wait():
    async with running() as (upstream, connect):
        upstream.waits = False
        stream = await connect()
        await stream.send_all(request("no-end-mark", stream=True))
        assert REST.encode() in await until(stream, b"0\r\n\r\n")


async def test_a_reset_is_one_and_a_close_is_not():
    async with running() as (_, connect):
        stream = await connect()
        await stream.send_all(request("closed"))
        assert await stream.receive_some() == b""
        stream = await connect()
        await stream.send_all(request("reset"))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_silence_and_dripping_end_when_the_other_side_hangs_up():
    async with running() as (upstream, connect):
        for model in ("slow-head", "endless"):
            stream = await connect()
            await stream.send_all(request(model, stream=True, case=model))
            await becomes(lambda model=model: model in upstream._waiting)
            await stream.aclose()
            await becomes(lambda model=model: model not in upstream._waiting)


async def test_a_request_without_end_is_hung_up_on():
    async with running() as (_, connect):
        stream = await connect()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 65536)
