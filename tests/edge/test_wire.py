import socket
import ssl

import pytest
import trio
import trio.testing
import trustme

from llmrouterd.edge.wire import Broken, PlainWire, Stalled, StreamWire, as_wire, tls_wire
from tests.edge.peers import connected_pair


async def test_bytes_go_both_ways_and_the_end_is_empty() -> None:
    with connected_pair() as (one, two):
        left, right = PlainWire(one), PlainWire(two)
        await left.send(b"abc")
        assert await right.receive() == b"abc"
        right.send_eof()
        assert await left.receive() == b""
        left.close()
        left.close()
        with pytest.raises(Broken):
            await left.receive()
        with pytest.raises(Broken):
            await left.send(b"x")


async def test_a_large_send_waits_for_its_reader() -> None:
    data = bytes(range(256)) * 40_000
    got = bytearray()
    with connected_pair() as (one, two):
        left, right = PlainWire(one), PlainWire(two)

        async def read() -> None:
            while piece := await right.receive():
                got.extend(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await left.send(data)
            left.close()
    assert got == data


async def test_a_peer_that_takes_nothing_is_stalled_and_the_pipe_closed() -> None:
    with connected_pair() as (one, _):
        wire = PlainWire(one)
        with pytest.raises(Stalled):
            await wire.send(bytes(50_000_000), 0.05)
        assert wire.closed


async def test_a_cancelled_send_closes_the_pipe() -> None:
    with connected_pair() as (one, _):
        wire = PlainWire(one)
        with trio.move_on_after(0.05):
            await wire.send(bytes(50_000_000))
        assert wire.closed


async def test_a_cancelled_receive_loses_nothing() -> None:
    with connected_pair() as (one, two):
        left, right = PlainWire(one), PlainWire(two)
        got = b""
        for i in range(50):
            with trio.move_on_after(0):
                got += await right.receive()
            await left.send(b"%d." % i)
        while not got.endswith(b"49."):
            got += await right.receive()
    assert got == b"".join(b"%d." % i for i in range(50))


async def test_a_reset_is_broken() -> None:
    with connected_pair() as (one, two):
        left, right = PlainWire(one), PlainWire(two)
        right.reset()
        with pytest.raises(Broken):
            await left.receive()


async def test_readable_means_input_or_an_end() -> None:
    with connected_pair() as (one, two):
        wire = PlainWire(one)
        assert not wire.readable()
        two.send(b"x")
        await trio.lowlevel.wait_readable(one)
        assert wire.readable()
        assert await wire.receive() == b"x"
        two.close()
        await trio.lowlevel.wait_readable(one)
        assert wire.readable()


async def test_memory_streams_are_wires_too() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = as_wire(ours)
    await wire.send(b"abc")
    assert await theirs.receive_some(10) == b"abc"
    wire.close()
    assert await theirs.receive_some(10) == b""
    with pytest.raises(Broken):
        await wire.receive()


async def test_a_stalled_stream(autojump_clock) -> None:
    ours, _ = trio.testing.lockstep_stream_pair()
    wire = StreamWire(ours)
    with pytest.raises(Stalled):
        await wire.send(b"abc", 60)
    assert wire.closed


async def test_a_socket_stream_gives_up_its_socket() -> None:
    with connected_pair() as (one, two):
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(one))
        wire = as_wire(stream)
        assert isinstance(wire, PlainWire)
        await wire.send(b"abc")
        await trio.lowlevel.wait_readable(two)
        assert two.recv(10) == b"abc"
        wire.close()


async def test_tls_both_ways_and_cancelled_reads() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with connected_pair() as (one, two):
        wires = {}

        async def shake(name: str, sock: socket.socket, context: ssl.SSLContext) -> None:
            host = "localhost" if name == "client" else None
            wires[name] = await tls_wire(sock, context, server_hostname=host)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, "server", two, server)
            nursery.start_soon(shake, "client", one, client)
        got = b""
        for i in range(200):
            with trio.move_on_after(0):
                got += await wires["client"].receive()
            await wires["server"].send(b"%d." % i)
        while not got.endswith(b"199."):
            got += await wires["client"].receive()
        assert got == b"".join(b"%d." % i for i in range(200))
        wires["server"].close()
        assert await wires["client"].receive() == b""
        wires["client"].close()


async def test_a_failed_handshake_closes_the_socket() -> None:
    with connected_pair() as (one, two):
        two.send(b"this is not TLS at all\r\n\r\n")
        with pytest.raises(Broken):
            await tls_wire(one, ssl.create_default_context(), server_hostname="localhost")
        assert one.fileno() == -1
