"""Listening sockets, and the nurseries of the connections that come in through them.

Owns: binding (several addresses, IPv4 and IPv6, unix sockets), accepting, TLS on the server side, the limit on
connections, the drain.
Refuses to know: HTTP beyond the canned 503, configuration, signals.

Laws:
1. Accepting is a nursery inside the connections' nursery: a drain ends the inner one, and the outer
   one gets a deadline.
2. Binding is synchronous, so that a parent can bind before it forks.
3. An accept that fails for want of descriptors waits a moment and goes on; it never ends the loop.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from llmrouterd.edge.connection import (
    Connections,
    Limits,
    refuse_plainly,
    serve_connection,
)
from llmrouterd.edge.wire import Broken, PlainWire, Wire, tls_wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from llmrouterd.edge.connection import Answer, Refuse
    from llmrouterd.edge.hangup import Hangups

BACKLOG = 1024
ACCEPTS_AT_ONCE = 64  # then the others have their turn
UNIX_PEER = "unix:"  # who comes in through a unix socket has no address
_NO_MORE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_MORE_WAIT_S = 0.1
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: 71\r\n\r\n"
    b'{"error":{"type":"router_error","message":"too many connections open"}}'
)


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening, non-blocking socket. tls: serve HTTPS on it. path, made: of a unix socket's
    file, if it is ours."""

    sock: socket.socket
    tls: ssl.SSLContext | None = None
    path: str = ""
    made: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:8090`, `[::1]:8090`, `unix:/run/x.sock`: what was really bound."""
        name = self.sock.getsockname()
        if self.sock.family == socket.AF_UNIX:
            return f"unix:{name}"
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def port(self) -> int:
        """0 where there is none."""
        return 0 if self.sock.family == socket.AF_UNIX else int(self.sock.getsockname()[1])

    def close(self) -> None:
        """A unix socket that we made goes from the file system, too."""
        self.sock.close()
        if self.made is not None and _identity(self.path) == self.made:
            Path(self.path).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Service:
    """All that is needed to serve what comes in."""

    answer: Answer
    limits: Limits
    hangups: Hangups | None = None
    connections: Connections | None = None
    refuse: Refuse = refuse_plainly
    max_connections: int = 2048


def bind_tcp(
    host: str, port: int, *, tls: ssl.SSLContext | None = None, reuse_port: bool = False
) -> list[Listener]:
    """Listen on every address `host` stands for (`localhost` is two). Port 0: any, the same for all.

    Raises:
        OSError: it could not be bound; nothing stays open then. gaierror: no such host.
    """
    listeners: list[Listener] = []
    seen = set()
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if address in seen:
                continue
            seen.add(address)
            if listeners and port == 0:  # the port the first one got
                address = (address[0], listeners[0].port, *address[2:])
            try:
                sock = _bound(family, kind, proto, address, reuse_port=reuse_port)
            except OSError as exc:
                # a name may stand for ::1 on a machine without IPv6; one address must work
                if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(seen) > 1:
                    continue
                raise
            listeners.append(Listener(sock, tls))
    except BaseException:
        for listener in listeners:
            listener.sock.close()
        raise
    return listeners


def _bound(
    family: int, kind: int, proto: int, address: tuple[object, ...], *, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix(path: str, mode: int) -> Listener:
    """Listen on a unix socket. One that nobody listens on any more is replaced.

    Raises:
        OSError: it cannot be made there, or somebody listens on it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(0o777)  # nobody gets in between bind and chmod
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        Path(path).chmod(mode)
        sock.setblocking(False)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, path=path, made=_identity(path))


def _clear(path: str) -> None:
    """Remove a socket that a daemon left behind. One that answers stays, and so does any other
    file: binding then says what is wrong."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            return


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Server:
    """The listeners of a daemon, being served."""

    __slots__ = ("_accepting", "_running", "_tls", "connections", "listeners", "service")

    def __init__(self, listeners: Sequence[Listener], service: Service) -> None:
        self.listeners = tuple(listeners)
        self.service = service
        self.connections = service.connections or Connections(service.limits.body_budget_bytes)
        self._accepting = trio.CancelScope()
        self._running = trio.CancelScope()
        self._tls = next((each.tls for each in self.listeners if each.tls is not None), None)

    @property
    def secure(self) -> bool:
        """Whether HTTPS is served."""
        return self._tls is not None

    def renew(self, service: Service) -> None:
        """What connections that come from now on are served with."""
        self.service = service
        self.connections.renew(service.limits.body_budget_bytes)

    def secure_with(self, tls: ssl.SSLContext | None) -> None:
        """Another certificate for handshakes from now on, where there is one now."""
        if self._tls is not None and tls is not None:
            self._tls = tls

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained: returns when the last connection is closed.

        Cancellation: the axe; every connection is closed at once.
        """
        try:
            with self._running:
                async with trio.open_nursery() as running:
                    with self._accepting:
                        async with trio.open_nursery() as accepting:
                            for listener in self.listeners:
                                accepting.start_soon(self._accept, listener, running)
                            task_status.started()
                    self.close()
        finally:
            self.close()

    def drain(self, timeout_s: float = math.inf) -> None:
        """Accept no more, close idle connections, let running requests end within `timeout_s`."""
        self._accepting.cancel()
        self.close()
        self.connections.drain()
        self._running.deadline = trio.current_time() + timeout_s

    def close(self) -> None:
        """Close the listening sockets."""
        for listener in self.listeners:
            if listener.sock.fileno() >= 0:
                trio.lowlevel.notify_closing(listener.sock)
                listener.close()

    async def _accept(self, listener: Listener, running: trio.Nursery) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(listener.sock)
            except (trio.ClosedResourceError, ValueError):
                return
            for _ in range(ACCEPTS_AT_ONCE):
                try:
                    sock, address = listener.sock.accept()
                except BlockingIOError:
                    break
                except OSError as exc:
                    if listener.sock.fileno() < 0:
                        return
                    if exc.errno in _NO_MORE:
                        await trio.sleep(_NO_MORE_WAIT_S)
                    break
                if self.connections.full(self.service.max_connections):
                    _turn_away(sock)
                    continue
                # counted at once, not when its task first runs: a burst must not slip through
                self.connections.came()
                tls = None if listener.tls is None else self._tls
                unix = listener.sock.family == socket.AF_UNIX
                peer = UNIX_PEER if unix else str(address[0])
                running.start_soon(self._serve, sock, peer, tls)

    async def _serve(self, sock: socket.socket, peer: str, tls: ssl.SSLContext | None) -> None:
        """One connection, from its socket to its close."""
        try:
            wire = await self._prepared(sock, tls)
            if wire is not None:
                await self._talk(wire, peer, "http" if tls is None else "https")
        finally:
            self.connections.went()
            sock.close()

    async def _prepared(self, sock: socket.socket, tls: ssl.SSLContext | None) -> Wire | None:
        """The connection ready to be read; None when it did not get so far."""
        try:
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is None:
                return PlainWire(sock)
            with trio.move_on_after(self.service.limits.header_timeout_s or math.inf):
                return await tls_wire(sock, tls)
        except (OSError, Broken):
            pass  # it was gone before it came, or it does not speak TLS
        return None

    async def _talk(self, wire: Wire, peer: str, scheme: str) -> None:
        service = self.service
        await serve_connection(
            wire,
            service.answer,
            service.limits,
            service.hangups,
            connections=self.connections,
            refuse=service.refuse,
            peer=peer,
            scheme=scheme,
        )


async def serve(
    listeners: Sequence[Listener],
    service: Service,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve; `nursery.start` gives the Server, whose `drain` ends this call."""
    server = Server(listeners, service)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        task_status.started(server)


def _turn_away(sock: socket.socket) -> None:
    """Too many connections: say so if it can be said without waiting, and close."""
    try:
        sock.setblocking(False)
        sock.send(_FULL)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it could not even take that
    finally:
        sock.close()
