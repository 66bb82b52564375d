"""Notice that a client has gone, while nobody reads from it.

Owns: one task for the whole daemon that watches the sockets of running requests and cancels the
scope of the one whose client hung up.
Refuses to know: HTTP, what the scope was doing, what it costs.

Laws:
1. Nothing is read from a watched socket: pipelined bytes stay where they are.
2. A watch ends before its socket is closed (its `with` block lies inside the connection's), so a
   file descriptor that is used again can never hit an old watch.
3. One `epoll` for all: 4 us a request, where a child task per request costs 80 (measured). Without
   epoll (macOS) a child peeks instead; it sees the hang-up only when no unread byte is before it.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Literal, Protocol

import trio

if TYPE_CHECKING:
    from types import TracebackType

HalfClose = Literal["gone", "ignore"]
_PEEK_AGAIN_S = 0.25  # without epoll, how often to look past unread bytes


class Watched(Protocol):
    """Who is told: edge.client.Client."""

    def went_away(self) -> None: ...


class Watch:
    """One running request. `with` it; `stop` ends the watch early."""

    __slots__ = ("_hangups", "client", "fd", "half_close", "scope", "sock")

    def __init__(
        self,
        hangups: Hangups | None,
        sock: socket.socket | None,
        scope: trio.CancelScope,
        client: Watched,
        half_close: HalfClose,
    ) -> None:
        self._hangups = hangups
        self.sock = sock
        self.fd = -1
        self.scope = scope
        self.client = client
        self.half_close = half_close

    def __enter__(self) -> Watch:
        if self.sock is not None and self._hangups is not None:
            self._hangups.begin(self, self.sock)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Watch no longer. May be called twice."""
        hangups, self._hangups = self._hangups, None
        if hangups is not None and self.sock is not None:
            hangups.end(self)

    def fire(self) -> None:
        """The client has gone."""
        self.client.went_away()
        self.scope.cancel()


class Hangups:
    """All watches of a daemon. `run` must be running for them to be noticed."""

    __slots__ = ("_epoll", "_nursery", "_peekers", "_watches")

    def __init__(self, *, use_epoll: bool | None = None) -> None:
        """
        Args:
            use_epoll: None: where the system has it.
        """
        if use_epoll is None:
            use_epoll = hasattr(select, "epoll")
        self._epoll: select.epoll | None = select.epoll() if use_epoll else None
        self._watches: dict[int, Watch] = {}
        self._peekers: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    def watching(
        self,
        sock: socket.socket | None,
        scope: trio.CancelScope,
        client: Watched,
        half_close: HalfClose = "gone",
    ) -> Watch:
        """A context manager: while it is open, the client's hang-up cancels `scope`.

        A client that was gone already is noticed just the same. `sock` None: nothing is watched.
        """
        return Watch(self, sock, scope, client, half_close)

    @property
    def watched(self) -> int:
        """How many requests are watched now."""
        return len(self._watches)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Notice hang-ups until cancelled. Closes what it owns at its end."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for watch in self._watches.values():  # those that began before us
                    if self._epoll is None and watch.sock is not None:
                        self._begin_peeking(watch, watch.sock)
                task_status.started()
                if self._epoll is None:
                    await trio.sleep_forever()
                else:
                    await self._poll(self._epoll)
        finally:
            self._nursery = None
            if self._epoll is not None:
                self._epoll.close()

    async def _poll(self, epoll: select.epoll) -> None:
        while True:
            await trio.lowlevel.wait_readable(epoll.fileno())
            for fd, _ in epoll.poll(0):
                watch = self._watches.get(fd)
                if watch is not None:
                    watch.fire()

    # --- called by Watch ------------------------------------------------------------------------

    def begin(self, watch: Watch, sock: socket.socket) -> None:
        fd = sock.fileno()
        if fd < 0:
            watch.fire()
            return
        watch.fd = fd
        self._watches[fd] = watch
        if self._epoll is None:
            if self._nursery is not None:
                self._begin_peeking(watch, sock)
        elif not self._epoll.closed:
            # EPOLLHUP and EPOLLERR are always reported: a reset counts under either setting.
            mask = select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT
            if watch.half_close == "gone":
                mask |= select.EPOLLRDHUP
            self._epoll.register(fd, mask)

    def end(self, watch: Watch) -> None:
        fd = watch.fd
        if self._watches.get(fd) is not watch:
            return
        del self._watches[fd]
        if self._epoll is None:
            peeker = self._peekers.pop(fd, None)
            if peeker is not None:
                peeker.cancel()
        elif not self._epoll.closed:
            try:
                self._epoll.unregister(fd)
            except OSError:
                return  # the socket was closed below us, which took it out

    # --- without epoll --------------------------------------------------------------------------

    def _begin_peeking(self, watch: Watch, sock: socket.socket) -> None:
        assert self._nursery is not None
        scope = trio.CancelScope()
        self._peekers[sock.fileno()] = scope
        # A second descriptor, so that this wait never meets the connection's own reads.
        self._nursery.start_soon(self._peek, watch, sock.dup(), scope)

    async def _peek(self, watch: Watch, twin: socket.socket, scope: trio.CancelScope) -> None:
        with twin, scope:
            while True:
                await trio.lowlevel.wait_readable(twin)
                try:
                    ahead = twin.recv(1, socket.MSG_PEEK)
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError:
                    watch.fire()
                    return
                if not ahead:
                    if watch.half_close == "gone":
                        watch.fire()
                    return
                await trio.sleep(_PEEK_AGAIN_S)  # unread bytes hide the end behind them
