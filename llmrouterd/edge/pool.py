"""Connections to upstreams, leased for one exchange each.

Owns: which connection carries a request, how many idle ones are kept and for how long, the one
retry that is safe, what requests to a proxy look like.
Refuses to know: how to connect (dial), how to talk (exchange), which upstream to ask (route).

Laws:
1. Deciding is synchronous; I/O happens outside of it. A lease is an `async with`, so it cannot leak,
   and it is given back synchronously.
2. Nothing is retried but a request on a *reused* connection that failed before any byte of an
   answer came: the upstream had closed it while it lay idle. That once, on a fresh connection.
3. The youngest idle connection is used first; the old ones are then the ones that expire.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import h11
import trio

from llmrouterd.edge import fields
from llmrouterd.edge.dial import DialError, Origin, TLSContexts, dial, proxy_authorization
from llmrouterd.edge.exchange import Channel, Disconnected, Exchange, ask
from llmrouterd.guard.egress import may

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from llmrouterd.edge.deadline import Deadline
    from llmrouterd.edge.exchange import Patiently
    from llmrouterd.edge.wire import Wire
    from llmrouterd.guard.egress import Label
    from llmrouterd.model import Receipt

    Dial = Callable[..., Awaitable[tuple[Wire, Receipt]]]
    Reached = Callable[[Receipt], None]

__all__ = ["DialError", "Disconnected", "Exchange", "Lease", "Origin", "Pool"]

IDLE_S = 60.0  # below the idle time-outs of usual servers and NATs; servers that say less are heard
IDLE_PER_ORIGIN = 32
_KEEP_ALIVE = re.compile(r"(?:^|[,;\s])timeout\s*=\s*(\d{1,6})", re.IGNORECASE)
_MARGIN_S = 1.0  # a server's promise is counted from its side of the wire


class Pool:
    """All idle upstream connections of a daemon."""

    __slots__ = ("_contexts", "_dial", "_idle", "_idle_s", "_per_origin", "_wake", "leased")

    def __init__(
        self,
        *,
        per_origin: int = IDLE_PER_ORIGIN,
        idle_s: float = IDLE_S,
        dialer: Dial = dial,
        contexts: TLSContexts | None = None,
    ) -> None:
        self._contexts = contexts or TLSContexts()
        self._dial = dialer
        self._idle: dict[Origin, list[Channel]] = {}
        self._idle_s = idle_s
        self._per_origin = per_origin
        self._wake: trio.Event | None = None
        self.leased = 0

    def exchange(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes = b"",
        deadline: Deadline | None = None,
        *,
        label: Label | None = None,
        patiently: Patiently | None = None,
        reached: Reached | None = None,
    ) -> Lease:
        """One request; `async with` it for the Exchange. patiently: how to await its head. reached:
        told where the bytes go, before the first of them does.

        Host, Content-Length and the proxy's headers are added here; Host only if not given.

        Raises, on entering: DialError; Disconnected, Truncated, TooLong, Garbled (formats.errors).
        Cancellation: the connection is closed at once.
        """
        head, lines = _request(origin, method, target, headers, len(body))
        return Lease(self, origin, head, lines, body, deadline, label, patiently, reached)

    @property
    def idle(self) -> int:
        """How many connections wait to be used again."""
        return sum(map(len, self._idle.values()))

    def close(self) -> None:
        """Close all idle connections."""
        for channels in self._idle.values():
            for channel in channels:
                channel.wire.close()
        self._idle.clear()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Close idle connections as they expire; sleeps while there are none. At its end, all."""
        task_status.started()
        try:
            while True:
                soonest = self._prune(trio.current_time())
                if soonest is None:
                    self._wake = trio.Event()
                    await self._wake.wait()
                else:
                    await trio.sleep_until(soonest)
        finally:
            self._wake = None
            self.close()

    # --- decisions ------------------------------------------------------------------------------

    def take(self, origin: Origin, label: Label | None = None) -> Channel | None:
        """An idle connection that is alive as far as one can see without waiting; else None.

        Egress is asked about it as about a new one: it may have been opened under another label.
        """
        channels = self._idle.get(origin)
        if channels and label is not None and not _all_may(label, origin, channels):
            return None  # dialling says why
        now = trio.current_time()
        while channels:
            channel = channels.pop()
            if now < channel.expires and not channel.wire.readable():
                return channel
            channel.wire.close()
        return None

    def give(self, origin: Origin, channel: Channel, keep_alive: str | None) -> None:
        """Take a connection back that is fit for another request."""
        idle_s = self._idle_s
        promised = _KEEP_ALIVE.search(keep_alive) if keep_alive else None
        if promised:
            idle_s = min(idle_s, int(promised[1]) - _MARGIN_S)
        channels = self._idle.setdefault(origin, [])
        if idle_s <= 0:
            channel.wire.close()
            return
        if len(channels) >= self._per_origin:
            channels.pop(0).wire.close()
        channel.h11.start_next_cycle()
        channel.expires = trio.current_time() + idle_s
        channels.append(channel)
        if self._wake is not None:
            self._wake.set()

    def _prune(self, now: float) -> float | None:
        """Close what has expired or was closed by its server; when to look again."""
        soonest = None
        for origin, channels in list(self._idle.items()):
            alive = []
            for channel in channels:
                if now >= channel.expires or channel.wire.readable():
                    channel.wire.close()
                else:
                    alive.append(channel)
                    soonest = min(channel.expires, soonest or channel.expires)
            if alive:
                self._idle[origin] = alive
            else:
                del self._idle[origin]
        return soonest

    async def connect(
        self, origin: Origin, deadline: Deadline | None, label: Label | None
    ) -> Channel:
        """A fresh connection."""
        if deadline is not None:
            deadline.enter("connect")
        begun = trio.current_time()
        wire, receipt = await self._dial(origin, contexts=self._contexts, label=label)
        return Channel(wire, receipt, trio.current_time() - begun)


class Lease:
    """`async with` this: enters with the Exchange, leaves with the connection given back or closed."""

    __slots__ = (
        "_body",
        "_channel",
        "_deadline",
        "_exchange",
        "_head",
        "_label",
        "_lines",
        "_origin",
        "_patiently",
        "_pool",
        "_reached",
    )

    def __init__(
        self,
        pool: Pool,
        origin: Origin,
        head: h11.Request,
        lines: bytes,
        body: bytes,
        deadline: Deadline | None,
        label: Label | None,
        patiently: Patiently | None,
        reached: Reached | None,
    ) -> None:
        self._pool = pool
        self._origin = origin
        self._head = head
        self._lines = lines
        self._body = body
        self._deadline = deadline
        self._label = label
        self._patiently = patiently
        self._reached = reached
        self._channel: Channel | None = None
        self._exchange: Exchange | None = None

    async def __aenter__(self) -> Exchange:
        self._pool.leased += 1
        try:
            self._exchange = await self._ask()
        except BaseException:
            self._let_go()
            raise
        return self._exchange

    async def _ask(self) -> Exchange:
        self._channel = self._pool.take(self._origin, self._label)
        if self._channel is not None:
            try:
                return await self._ask_on(self._channel)
            except Disconnected:
                self._channel.wire.close()  # stale: it was closed while it lay idle
        self._channel = await self._pool.connect(self._origin, self._deadline, self._label)
        return await self._ask_on(self._channel)

    async def _ask_on(self, channel: Channel) -> Exchange:
        if self._reached is not None:
            self._reached(channel.receipt)
        return await ask(
            channel, self._head, self._body, self._deadline, self._patiently, self._lines
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._let_go()

    def _let_go(self) -> None:
        self._pool.leased -= 1
        channel, self._channel = self._channel, None
        if channel is None:
            return
        exchange = self._exchange
        if exchange is not None and exchange.reusable():
            self._pool.give(self._origin, channel, exchange.headers.get("keep-alive"))
        else:
            channel.wire.close()


def _all_may(label: Label, origin: Origin, channels: list[Channel]) -> bool:
    """Whether bytes under `label` may go over every one of these connections."""
    if not label.binds:
        return True
    return not origin.proxied and all(may(label, c.receipt.host) for c in channels)


def _request(
    origin: Origin, method: str, target: str, headers: list[tuple[str, str]], length: int
) -> tuple[h11.Request, bytes]:
    """The request's head as h11's event, and the field lines that go past it.

    Raises:
        h11.LocalProtocolError: a header that HTTP does not allow (a bug of the caller).
    """
    host, plain_coding = origin.authority, False
    lines: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "host":
            host = value.strip()
        elif lower not in _OURS:
            plain_coding = plain_coding or lower == "accept-encoding"
            lines.append(f"{name}: {value.strip()}")
    if not plain_coding:
        lines.append("Accept-Encoding: identity")
    if origin.proxied and origin.scheme == "http":
        target = f"http://{origin.authority}{target}"
        login = proxy_authorization(origin)
        if login is not None:
            lines.append(f"Proxy-Authorization: {login}")
    framing = [(b"Host", host.encode("latin-1"))]
    if length or method in _WITH_BODY:
        framing.append((b"Content-Length", b"%d" % length))
    return h11.Request(method=method, target=target, headers=framing), fields.lines(lines)


_OURS = frozenset(
    {"content-length", "transfer-encoding", "connection", "keep-alive", "te", "upgrade"}
)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
