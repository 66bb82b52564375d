"""A byte pipe to a peer: one small surface over plain sockets, TLS and memory streams.

Owns: reading and writing bytes, the synchronous close, the question "is this pipe stale?".
Refuses to know: HTTP, pools, requests.

Laws:
1. `receive` cancelled has received nothing. `send` cancelled or failed has sent an unknown amount,
   so it closes the pipe: nobody can go on after half a message.
2. `close` is synchronous and immediate; TLS peers are not waited for.
3. Every failure of the pipe is `Broken`; a peer that does not read is `Stalled`.

A plain connection is a stdlib non-blocking socket with trio's wait_readable: of the ways to do I/O
on trio it is the cheapest, and a send that does not block costs no trip through the scheduler.
"""

from __future__ import annotations

import math
import socket
import struct
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    import ssl

RECEIVE_BYTES = (
    65536  # one read: as much as a TCP receive usually holds; the only buffer in a relay
)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST


class Broken(Exception):
    """The pipe is dead: reset, closed, or broken below."""


class Stalled(Broken):
    """The peer did not take a single byte for as long as it was allowed."""


class Wire(Protocol):
    """What the rest of the edge uses. `sock` is the OS socket below, if there is one."""

    sock: socket.socket | None
    closed: bool

    @property
    def can_send_now(self) -> bool: ...

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes, stall_s: float = math.inf) -> None: ...
    def send_now(self, data: bytes | memoryview) -> int: ...
    def send_eof(self) -> None: ...
    def readable(self) -> bool: ...
    def close(self) -> None: ...
    def reset(self) -> None: ...


class PlainWire:
    """A connected, non-blocking stdlib socket."""

    __slots__ = ("_receive", "closed", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket | None = sock
        self.closed = False
        self._receive = sock.recv

    async def receive(self) -> bytes:
        """What the next read brings; b"" when the peer has closed its side."""
        sock = self._open()
        while True:
            try:
                await trio.lowlevel.wait_readable(sock)
                return self._receive(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, trio.ClosedResourceError) as exc:
                raise Broken(str(exc)) from exc

    async def send(self, data: bytes, stall_s: float = math.inf) -> None:
        """Everything, or Broken. `stall_s` bounds each wait in which the peer takes nothing."""
        sent = self.send_now(data)
        if sent < len(data):
            try:
                await self._send_rest(memoryview(data)[sent:], stall_s)
            except BaseException:
                self.close()
                raise

    async def _send_rest(self, rest: memoryview, stall_s: float) -> None:
        sock = self._open()
        while rest:
            with trio.move_on_after(stall_s) as patience:
                try:
                    await trio.lowlevel.wait_writable(sock)
                except trio.ClosedResourceError as exc:
                    raise Broken(str(exc)) from exc
            if patience.cancelled_caught:
                raise Stalled(f"the peer took no byte for {stall_s:g} s")
            rest = rest[self.send_now(rest) :]

    @property
    def can_send_now(self) -> bool:
        """Whether `send_now` means anything here."""
        return True

    def send_now(self, data: bytes | memoryview) -> int:
        """As many bytes as the kernel takes without waiting."""
        try:
            return self._open().send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as exc:
            raise Broken(str(exc)) from exc

    def send_eof(self) -> None:
        """Say that nothing more comes; the other direction stays open."""
        if self.sock is not None and not self.closed:
            _shutdown(self.sock)

    def readable(self) -> bool:
        """Whether bytes, an end or an error are waiting: for an idle connection, all mean stale."""
        return self.closed or self.sock is None or _has_input(self.sock)

    def close(self) -> None:
        if not self.closed and self.sock is not None:
            self.closed = True
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    def reset(self) -> None:
        """Close so that the peer gets an error instead of an end."""
        if not self.closed and self.sock is not None:
            _linger_zero(self.sock)
            self.close()

    def _open(self) -> socket.socket:
        if self.closed or self.sock is None:
            raise Broken("the connection is closed")
        return self.sock


class StreamWire:
    """Any trio stream: TLS over a socket, or a memory stream in tests.

    `sock`: the OS socket at the bottom, so that hang-ups can be seen below TLS.
    """

    __slots__ = ("_stream", "closed", "sock")

    def __init__(self, stream: trio.abc.Stream, sock: socket.socket | None = None) -> None:
        self._stream = stream
        self.sock = sock
        self.closed = False

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise Broken(_reason(exc)) from exc

    async def send(self, data: bytes, stall_s: float = math.inf) -> None:
        try:
            with trio.move_on_after(stall_s) as patience:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self.close()
            raise Broken(_reason(exc)) from exc
        except BaseException:
            self.close()
            raise
        if patience.cancelled_caught:
            self.close()
            raise Stalled(f"the peer did not take {len(data)} bytes within {stall_s:g} s")

    @property
    def can_send_now(self) -> bool:
        return False

    def send_now(self, data: bytes | memoryview) -> int:
        """Streams cannot send without waiting."""
        return 0

    def send_eof(self) -> None:
        if self.closed:
            return
        if self.sock is not None:
            _shutdown(self.sock)
        elif isinstance(self._stream, trio.StapledStream):
            _close_below(self._stream.send_stream)

    def readable(self) -> bool:
        if self.closed or _holds_records(self._stream):
            return True
        return self.sock is not None and _has_input(self.sock)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            _close_below(self._stream)

    def reset(self) -> None:
        if not self.closed and self.sock is not None:
            _linger_zero(self.sock)
        self.close()


def as_wire(stream: Wire | trio.abc.Stream) -> Wire:
    """A Wire as it is; a trio socket stream gives up its socket; other streams are wrapped."""
    if isinstance(stream, trio.SocketStream):
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        return PlainWire(sock)
    if isinstance(stream, trio.abc.Stream):
        return StreamWire(stream)
    return stream


async def tls_wire(
    sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None = None
) -> StreamWire:
    """TLS over a connected socket, handshake done. With no hostname we are the server.

    The handshake is done here, always: only after it is a cancelled TLS read sure to lose nothing.
    HTTPS peers often skip close_notify, hence https_compatible.

    Raises: Broken, the socket being closed then (as it is on cancellation).
    """
    stream = trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)),
        context,
        server_hostname=server_hostname,
        server_side=server_hostname is None,
        https_compatible=True,
    )
    wire = StreamWire(stream, sock)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        wire.close()
        raise Broken(_reason(exc)) from exc
    except BaseException:
        wire.close()
        raise
    return wire


def _close_below(stream: object) -> None:
    """Close the lowest stream at once, without goodbye."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        stream.socket.close()
    elif isinstance(stream, trio.StapledStream):
        _close_below(stream.send_stream)
        _close_below(stream.receive_stream)
    else:
        close = getattr(stream, "close", None)  # memory streams have a synchronous close
        if callable(close):
            close()


def _holds_records(stream: object) -> bool:
    """Whether TLS has taken bytes off the socket that nobody has read yet: one read of the socket may
    bring several records, and one read of the stream gives one of them."""
    return isinstance(stream, trio.SSLStream) and stream._incoming.pending > 0


def _has_input(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True
    return True


def _shutdown(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # it was gone already: that is the end we wanted to announce


def _linger_zero(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        return


def _reason(exc: BaseException) -> str:
    return str(exc.__cause__ or exc) or type(exc).__name__
