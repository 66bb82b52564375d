import socket
import ssl

import pytest
import trio
import trustme

from llmrouterd.edge.client import Client
from llmrouterd.edge.incoming import Incoming, Limits
from llmrouterd.edge.listen import Server, Service, bind_tcp, serve
from tests.edge.peers import PATIENCE_S, echo, running

GET = b"GET /x?y HTTP/1.1\r\nHost: h\r\n\r\n"


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_binding_tells_what_was_bound() -> None:
    (listener,) = bind_tcp("127.0.0.1", 0)
    assert listener.address == f"127.0.0.1:{listener.port}"
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert not listener.sock.getblocking()
    listener.sock.close()


def test_a_port_in_use_is_an_error_and_nothing_stays_open() -> None:
    (listener,) = bind_tcp("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        bind_tcp("127.0.0.1", listener.port)
    listener.sock.close()


def test_localhost_shares_one_port() -> None:
    listeners = bind_tcp("localhost", 0)
    assert len({listener.port for listener in listeners}) == 1
    for listener in listeners:
        listener.sock.close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_ipv6() -> None:
    (listener,) = bind_tcp("::1", 0)
    assert listener.address == f"[::1]:{listener.port}"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, [listener], Service(echo, Limits()))
        stream = await trio.open_tcp_stream("::1", listener.port)
        await stream.send_all(GET)
        assert b"GET /x" in await stream.receive_some(1000)
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_several_listeners_one_server_and_the_peers_address() -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        await client.respond(200, [], f"{incoming.peer} {incoming.scheme}".encode())

    listeners = [*bind_tcp("127.0.0.1", 0), *bind_tcp("127.0.0.1", 0)]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, listeners, Service(answer, Limits()))
        for listener in listeners:
            stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
            await stream.send_all(GET)
            assert b"127.0.0.1 http" in await stream.receive_some(1000)
            await stream.aclose()
        nursery.cancel_scope.cancel()
    assert all(listener.sock.fileno() == -1 for listener in listeners)


async def test_tls() -> None:
    async def answer(incoming: Incoming, client: Client) -> None:
        await client.respond(200, [], incoming.scheme.encode())

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    listeners = bind_tcp("127.0.0.1", 0, tls=context)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(serve, listeners, Service(answer, Limits()))
            plain = await trio.open_tcp_stream("127.0.0.1", listeners[0].port)
            await plain.send_all(GET)  # not TLS: closed, and the server lives on
            with pytest.raises((trio.BrokenResourceError, EOFError)):
                while True:
                    if not await plain.receive_some(1000):
                        raise EOFError
            await plain.aclose()
            tcp = await trio.open_tcp_stream("127.0.0.1", listeners[0].port)
            stream = trio.SSLStream(tcp, trusting, server_hostname="localhost")
            await stream.send_all(GET)
            assert (await stream.receive_some(1000)).endswith(b"https")
            await tcp.aclose()
            while server.connections.open:  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()


async def test_beyond_the_limit_a_connection_is_turned_away() -> None:
    async with running(max_connections=2) as it:
        for _ in range(2):
            peer = await it.connect()
            await peer.send(GET)
            await peer.until(b"GET /x")
        third = await it.connect()
        said = await third.all()
        assert said.startswith(b"HTTP/1.1 503 ") or not said
        it.peers[0].close()
        while it.server.connections.open > 1:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.005)
        fourth = await it.connect()
        await fourth.send(GET)
        await fourth.until(b"GET /x")


async def test_a_drain_ends_the_server_when_the_last_answer_is_given() -> None:
    release = trio.Event()
    begun = trio.Event()

    async def answer(incoming: Incoming, client: Client) -> None:
        begun.set()
        await release.wait()
        await echo(incoming, client)

    async with running(answer) as it:
        idle = await it.connect()
        busy = await it.connect()
        await busy.send(GET)
        await begun.wait()
        port = it.port
        it.server.drain(60)
        assert await idle.all() == b""
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        release.set()
        said = await busy.all()
        assert b"GET /x" in said
        assert b"Connection: close" in said


async def test_a_drain_cancels_what_takes_too_long() -> None:
    cancelled = trio.Event()

    async def answer(incoming: Incoming, client: Client) -> None:
        it.server.drain(0.01)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with running(answer) as it:
        assert await it.ask(GET) == b""
        await cancelled.wait()


async def test_a_drain_while_nothing_runs() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, bind_tcp("127.0.0.1", 0), Service(echo, Limits()))
        server.drain()
