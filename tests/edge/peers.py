"""Real sockets on 127.0.0.1 for the edge's tests: a server under test, scripted peers."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import trio

from llmrouterd.edge.client import Client
from llmrouterd.edge.hangup import Hangups
from llmrouterd.edge.incoming import Incoming, Limits
from llmrouterd.edge.listen import Server, Service, bind_tcp, serve

PATIENCE_S = 20.0  # generous: it only ends tests that would hang


async def echo(incoming: Incoming, client: Client) -> None:
    """Answers what it understood."""
    body = await incoming.body()
    said = f"{incoming.method} {incoming.path} {incoming.query} {len(body)}:".encode() + body[:200]
    await client.respond(200, [("Content-Type", "text/plain")], said)


@dataclass
class Peer:
    """A raw client: bytes out, everything or some of it back."""

    stream: trio.SocketStream
    seen: bytes = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def until(self, mark: bytes, times: int = 1) -> bytes:
        """Receive until `mark` has been seen so many times; returns and forgets all of it."""
        while self.seen.count(mark) < times:
            data = await self.stream.receive_some(65536)
            assert data, f"the end came before {mark!r}: {self.seen!r}"
            self.seen += data
        out, self.seen = self.seen, b""
        return out

    async def all(self) -> bytes:
        """Everything up to the end (a reset is an end, too)."""
        try:
            while data := await self.stream.receive_some(65536):
                self.seen += data
        except trio.BrokenResourceError:
            pass
        out, self.seen = self.seen, b""
        return out

    def close(self) -> None:
        self.stream.socket.close()


@dataclass
class Running:
    """A server under test."""

    server: Server
    hangups: Hangups
    nursery: trio.Nursery
    peers: list[Peer] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.listeners[0].port

    async def connect(self) -> Peer:
        peer = Peer(await trio.open_tcp_stream("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    async def ask(self, data: bytes) -> bytes:
        """One connection: send, then read to its end."""
        peer = await self.connect()
        await peer.send(data)
        return await peer.all()

    async def settled(self) -> None:
        """Until no connection and no watch is left."""
        while self.server.connections.open or self.hangups.watched:  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(0.005)


@asynccontextmanager
async def running(
    answer: Callable[[Incoming, Client], Awaitable[None]] = echo,
    *,
    use_epoll: bool | None = None,
    max_connections: int = 100,
    **limits: object,
) -> AsyncIterator[Running]:
    hangups = Hangups(use_epoll=use_epoll)
    service = Service(
        answer,
        Limits(**limits),  # type: ignore[arg-type]
        hangups,
        max_connections=max_connections,
    )
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(hangups.run)
            server = await nursery.start(serve, bind_tcp("127.0.0.1", 0), service)
            it = Running(server, hangups, nursery)
            try:
                yield it
                for peer in it.peers:
                    peer.close()
                await it.settled()
            finally:
                for peer in it.peers:
                    peer.close()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def scripted(
    *scripts: Callable[[Peer], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server whose nth connection is handled by the nth script (the last one repeats)."""
    listener = bind_tcp("127.0.0.1", 0)[0]
    count = 0

    async def handle(sock: socket.socket, script: Callable[[Peer], Awaitable[None]]) -> None:
        sock.setblocking(False)
        peer = Peer(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
        try:
            await script(peer)
        except trio.BrokenResourceError:
            pass
        finally:
            peer.close()

    async def accept(nursery: trio.Nursery) -> None:
        nonlocal count
        while True:
            await trio.lowlevel.wait_readable(listener.sock)
            sock, _ = listener.sock.accept()
            nursery.start_soon(handle, sock, scripts[min(count, len(scripts) - 1)])
            count += 1

    with listener.sock, trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, nursery)
            try:
                yield listener.port
            finally:
                nursery.cancel_scope.cancel()


@contextmanager
def connected_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection, non-blocking (socketpair() knows no RDHUP like TCP's)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs
