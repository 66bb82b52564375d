"""A request whose head has arrived, and the reading of its body.

Owns: the body's limits (declared, received, decoded), its progress clock, 100-continue, content
codings, and the daemon-wide sum of bodies being held.
Refuses to know: JSON, routes, how a refusal is worded for the client's format.

Laws:
1. What cannot be taken is refused before it is read where the head says so, else as soon as it
   shows: no body is ever held beyond its limit, compressed or not.
2. Every refusal is `Refused`, with the Failure to tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import unquote

import h11
import trio

from formats.errors import Failure, Garbled, Truncated
from llmrouterd.edge.client import ClientGone
from llmrouterd.edge.coding import UnknownCoding, inflater
from llmrouterd.edge.framing import ChunkGuard
from llmrouterd.edge.wire import Broken
from llmrouterd.model import ANYBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.edge.coding import Inflater
    from llmrouterd.edge.rawhead import RequestHead
    from llmrouterd.edge.wire import Wire
    from llmrouterd.model import Headers


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client connection may cost. Seconds of 0 mean no limit."""

    max_head_bytes: int = 32768  # the longest real heads (cookies, agent metadata) are under 8 KiB
    max_body_bytes: int = 67108864  # a coding agent's context with a few images
    header_timeout_s: float = 15
    body_timeout_s: float = 60
    keepalive_timeout_s: float = 75  # nginx's default
    client_stall_s: float = 60
    body_budget_bytes: int = 536870912  # of all bodies held at once: eight of the largest
    linger_s: float = 5  # how long, and how much, a refused client may go on sending
    linger_bytes: int = 134217728
    half_close: Literal["gone", "ignore"] = "gone"


# What stops is refused after `body_timeout_s`; what drips, after so many times that, and a second more
# for each LEAST_BYTES_PER_S that came. A connection is not to be had for a byte a minute.
DRIPPING = 10
LEAST_BYTES_PER_S = 500


class Refused(Exception):
    """The edge will not take this request. `failure` is what to tell the client."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class BodyBudget:
    """The sum of request bodies held by the whole daemon. Given back when their requests end."""

    __slots__ = ("held", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held = 0

    def take(self, count: int) -> bool:
        if self.held + count > self.limit_bytes:
            return False
        self.held += count
        return True

    def give(self, count: int) -> None:
        self.held -= count


class Source(Protocol):
    """Where a body comes from. `complete`: nothing of it is left on the connection."""

    complete: bool

    async def read(self, coding: str | None) -> bytes: ...


class Incoming:
    """A request's head, and `body()`.

    path: percent-decoded, without the query; target: as sent (origin form). caller: who it is from,
    as far as its key has been looked at.
    """

    __slots__ = (
        "_body",
        "_source",
        "caller",
        "headers",
        "http_version",
        "method",
        "path",
        "peer",
        "query",
        "scheme",
        "target",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers,
        source: Source,
        *,
        http_version: str = "1.1",
        peer: str = "",
        scheme: str = "http",
    ) -> None:
        self.caller = ANYBODY
        self.method = method
        self.target = target
        path, _, self.query = target.partition("?")
        self.path = unquote(path) if "%" in path else path
        self.headers = headers
        self.http_version = http_version
        self.peer = peer
        self.scheme = scheme
        self._source = source
        self._body: bytes | None = None

    async def body(self) -> bytes:
        """The whole body, its Content-Encoding undone. Read once; the same bytes afterwards.

        Raises:
            Refused: too large, too slow, badly framed, in a coding we do not undo.
            ClientGone: it left before it had sent everything.
        Cancellation: the connection cannot be used for another request.
        """
        if self._body is None:
            self._body = await self._source.read(self.headers.get("content-encoding"))
        return self._body

    def __repr__(self) -> str:
        return f"<Incoming {self.method} {self.path!r}>"


class WholeBody:
    """A body that is there already: for tests, and for requests made by the daemon itself."""

    __slots__ = ("_body", "complete")

    def __init__(self, body: bytes = b"") -> None:
        self._body = body
        self.complete = True

    async def read(self, coding: str | None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._body


class RequestBody:
    """A body on its way in over a connection: h11 takes it apart, a guard stands before h11."""

    __slots__ = (
        "_budget",
        "_expects",
        "_guard",
        "_h11",
        "_length",
        "_limits",
        "_received",
        "_wire",
        "complete",
        "held",
        "on_gone",
    )

    def __init__(
        self,
        wire: Wire,
        connection: h11.Connection,
        head: RequestHead,
        limits: Limits,
        budget: BodyBudget | None = None,
    ) -> None:
        """
        Args:
            connection: its Request event has been taken; what it still holds was not looked at.
        """
        self._wire = wire
        self._h11 = connection
        self._limits = limits
        self._budget = budget
        self._length = head.length
        self._expects = connection.they_are_waiting_for_100_continue
        self._guard = ChunkGuard() if head.chunked else None
        self._received = (
            bytearray()
        )  # one buffer: a list of one-byte chunks weighs fifty times as much
        self.held = 0
        self.on_gone: Callable[[], None] | None = None
        self.complete = False
        if not head.chunked and not head.length:
            connection.next_event()  # EndOfMessage: there is no body
            self.complete = True

    async def read(self, coding: str | None) -> bytes:
        """The whole body, decoded. See Incoming.body."""
        try:
            undo = inflater(coding)
        except UnknownCoding as exc:
            raise Refused(
                Failure("unsupported_media", f"{exc} is not supported; use gzip, deflate or none")
            ) from exc
        if self._length is not None and self._length > self._limits.max_body_bytes:
            raise self._too_large()
        try:
            if not self.complete:
                await self._receive_all()
            body = bytes(self._received)
            self._received.clear()
            return body if undo is None else self._decoded(undo, body)
        except (Garbled, Truncated) as exc:
            raise Refused(Failure("bad_request", str(exc))) from exc
        except h11.RemoteProtocolError as exc:
            raise Refused(Failure("bad_request", f"the body's framing: {exc}")) from exc

    async def _receive_all(self) -> None:
        early = self._h11.trailing_data[0]
        if early and self._take(early, fed=True):
            return
        if self._expects and not early:
            await self._say_continue()
        patience_s = self._limits.body_timeout_s
        begun, came = trio.current_time(), 0
        with trio.CancelScope() as clock:
            while not self.complete:
                if patience_s:
                    most = begun + DRIPPING * patience_s + came / LEAST_BYTES_PER_S
                    clock.deadline = min(trio.current_time() + patience_s, most)
                try:
                    data = await self._wire.receive()
                except Broken as exc:
                    raise self._gone() from exc
                if not data and self._limits.half_close == "gone":
                    raise self._gone()
                if not data:
                    raise Truncated("the request ended before its body did")
                came += len(data)
                self._take(data)
        if clock.cancelled_caught:
            why = f"no byte of the body came for {patience_s:g} s"
            if trio.current_time() - begun > DRIPPING * patience_s:
                why = f"only {came} bytes of the body came in {DRIPPING * patience_s:g} s"
            raise Refused(Failure("too_slow", why, clock="body"))

    def _take(self, data: bytes, *, fed: bool = False) -> bool:
        """The body's part of these bytes. Whether the body is complete."""
        if self._guard is not None:
            self._guard.feed(data)
        if not fed:
            self._h11.receive_data(data)
        while True:
            event = self._h11.next_event()
            if type(event) is h11.Data:
                if len(self._received) + len(event.data) > self._limits.max_body_bytes:
                    raise self._too_large()
                self._hold(len(event.data))
                self._received += event.data
            elif type(event) is h11.EndOfMessage:
                self.complete = True
                return True
            else:
                return False

    def _decoded(self, undo: Inflater, body: bytes) -> bytes:
        parts = []
        total = 0
        undo.feed(body)
        while part := undo.take():
            total += len(part)
            if total > self._limits.max_body_bytes:
                raise self._too_large()
            self._hold(len(part))
            parts.append(part)
        undo.eof()
        return b"".join(parts)

    async def _say_continue(self) -> None:
        self._expects = False
        go_on = self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
        try:
            await self._wire.send(go_on or b"", self._limits.client_stall_s or math.inf)
        except Broken as exc:
            raise self._gone() from exc

    def _gone(self) -> ClientGone:
        """The client left in the middle of its body; the hang-up watch may not have said so yet."""
        if self.on_gone is not None:
            self.on_gone()
        return ClientGone("the client left in the middle of its request")

    def _hold(self, count: int) -> None:
        """Count bytes against the daemon's budget."""
        if self._budget is None:
            return
        if not self._budget.take(count):
            why = "too many large requests are being read; try again"
            raise Refused(Failure("overloaded", why, retry_after_s=1))
        self.held += count

    def release(self) -> None:
        """Give the budget back: the request is over. And let go of the client, which knows us."""
        self.on_gone = None
        if self._budget is not None:
            self._budget.give(self.held)
        self.held = 0

    def _too_large(self) -> Refused:
        return Refused(
            Failure("too_large", f"the request body is over {self._limits.max_body_bytes} bytes")
        )
