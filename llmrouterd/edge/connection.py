"""The server side of one client connection: requests one after another, each in its own nursery.

Owns: the loop over requests, the clocks of a waiting connection, what the edge itself must refuse,
the lingering close, and the one `except Exception` of the program.
Refuses to know: routes, formats, keys; the caller's `answer` and `refuse` bring them.

Laws:
1. A request's bytes and the next one's never mix: what follows a body is kept for the next head,
   and after a body that was not read to its end the connection is closed.
2. A request runs in a nursery from the moment its head is complete; the client's disappearance
   cancels that nursery, and nothing of the request outlives it.
3. Whatever `answer` does, the client gets an answer, a visibly broken one, or a close; a bug is
   logged without anybody's data and costs one request, never the daemon.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
import traceback
from email.utils import formatdate
from typing import TYPE_CHECKING

import h11
import trio

from formats.errors import STATUS, Failure
from llmrouterd.edge import rawhead
from llmrouterd.edge.client import Client, ClientGone
from llmrouterd.edge.hangup import Ear
from llmrouterd.edge.incoming import (
    BodyBudget,
    Incoming,
    Limits,
    Refused,
    RequestBody,
    WholeBody,
)
from llmrouterd.edge.wire import Broken, Wire, as_wire
from llmrouterd.model import Headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmrouterd.edge.hangup import Hangups

    Answer = Callable[[Incoming, Client], Awaitable[None]]
    Refuse = Callable[[str, Failure], tuple[int, list[tuple[str, str]], bytes]]

__all__ = [
    "BodyBudget",
    "Client",
    "ClientGone",
    "Connections",
    "Incoming",
    "Limits",
    "Refused",
    "WholeBody",
    "refuse_plainly",
    "serve_connection",
]

LOG = logging.getLogger("llmrouter.edge")
_JSON = "application/json"
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_NOTHING_YET = (b"", b"\r")
FRESH_S = 1.0  # what a drain leaves a new connection for its first request


class Connections:
    """What the daemon knows of all its client connections: how many, who waits, is it ending.

    drain: stop waiting for requests. A connection that is in the middle of one finishes it and
    then closes (its answer says so).
    """

    __slots__ = ("_date", "_second", "_waiting", "budget", "draining", "open")

    def __init__(self, budget_bytes: int = Limits().body_budget_bytes) -> None:
        self._waiting: dict[trio.CancelScope, bool] = {}  # whether it is for the first request
        self._second = 0
        self._date = ""
        self.budget = BodyBudget(budget_bytes)
        self.draining = False
        self.open = 0

    def came(self) -> None:
        self.open += 1

    def went(self) -> None:
        self.open -= 1

    def full(self, most: int) -> bool:
        """Whether there may be no more than there are."""
        return self.open >= most

    def renew(self, budget_bytes: int) -> None:
        """Another sum for bodies held at once; what is held stays counted."""
        self.budget.limit_bytes = budget_bytes

    def drain(self) -> None:
        """Close the idle connections now and the others after their answer. One that has only just
        come has its first request on the way, and nobody else to answer it."""
        self.draining = True
        until = _from_now(FRESH_S)
        for scope, fresh in list(self._waiting.items()):
            if fresh:
                scope.deadline = min(scope.deadline, until)
            else:
                scope.cancel()

    def waiting(self, scope: trio.CancelScope, *, fresh: bool) -> None:
        self._waiting[scope] = fresh

    def busy(self, scope: trio.CancelScope) -> None:
        self._waiting.pop(scope, None)

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._waiting)

    def date(self) -> str:
        """The Date header's value, made once a second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True)
        return self._date


def refuse_plainly(path: str, failure: Failure) -> tuple[int, list[tuple[str, str]], bytes]:
    """An error in the router's own shape, for paths that belong to no client format."""
    status = failure.status or STATUS[failure.kind][0]
    kind = failure.type or "router_error"
    body = json.dumps({"error": {"type": kind, "message": failure.message}}, ensure_ascii=False)
    headers = [("Content-Type", _JSON), ("X-Router-Error", failure.tag)]
    if failure.retry_after_s is not None:
        headers.append(("Retry-After", str(math.ceil(failure.retry_after_s))))
    return status, headers, body.encode()


async def serve_connection(
    stream: Wire | trio.abc.Stream,
    answer: Answer,
    limits: Limits,
    hangups: Hangups | None = None,
    *,
    connections: Connections | None = None,
    refuse: Refuse = refuse_plainly,
    peer: str = "",
    scheme: str = "http",
) -> None:
    """Serve requests on `stream` until it ends, then close it.

    Args:
        answer: called for each request, inside its nursery (`client.nursery`).
        hangups: who watches for clients that leave; None: nobody (memory streams).
        refuse: how an error of the edge looks to the client of that path.
    Raises: nothing but what its own cancellation raises.
    Cancellation: closes at once.
    """
    wire = as_wire(stream)
    half_close = limits.half_close
    ear = Ear(None, None, half_close) if hangups is None else hangups.listen(wire.sock, half_close)
    connection = _Connection(wire, ear, answer, limits, refuse)
    connection.shared = connections or Connections(limits.body_budget_bytes)
    connection.peer = peer
    connection.scheme = scheme
    try:
        await connection.run()
    finally:
        ear.close()
        wire.close()


class _Connection:
    __slots__ = (
        "answer",
        "ear",
        "fresh",
        "h11",
        "limits",
        "peer",
        "refuse",
        "scheme",
        "shared",
        "wire",
    )

    shared: Connections
    peer: str
    scheme: str

    def __init__(
        self, wire: Wire, ear: Ear, answer: Answer, limits: Limits, refuse: Refuse
    ) -> None:
        self.wire = wire
        self.answer = answer
        self.limits = limits
        self.ear = ear
        self.refuse = refuse
        self.fresh = True  # no request has come yet
        self.h11 = self._new_h11()

    def _new_h11(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.max_head_bytes)

    async def run(self) -> None:
        wait_s = self.limits.header_timeout_s  # a new connection has a request to send
        try:
            while (raw := await self._next_head(wait_s)) is not None:
                head = rawhead.check_request(raw)
                event = self.h11.next_event()
                assert isinstance(event, h11.Request)
                if not await self._one_request(head, event):
                    return
                self.h11.start_next_cycle()
                self.fresh = False
                wait_s = self.limits.keepalive_timeout_s
        except rawhead.BadHead as exc:
            await self._refuse_head(_bad_head_failure(exc))
        except h11.RemoteProtocolError as exc:
            await self._refuse_head(Failure("bad_request", f"refused: {exc}"))
        except Broken:
            return

    # --- heads ----------------------------------------------------------------------------------

    async def _next_head(self, wait_s: float) -> bytes | None:
        """The next request's head, in h11's buffer but not parsed. None: there will be none.

        Raises:
            BadHead: refused (malformed, too large, too slow).
            Broken: the connection died.
        """
        held = self.h11.trailing_data[0]
        buffer = _begun(held)
        if buffer in _NOTHING_YET:
            buffer = await self._first_bytes(wait_s, buffer)
            if not buffer:
                return None
        if buffer != held:
            self.h11 = self._new_h11()
            self.h11.receive_data(buffer)
        end = rawhead.find_end(buffer)
        if end < 0:
            buffer = await self._rest_of_head(buffer)
            if not buffer:
                return None
            end = rawhead.find_end(buffer)
        if end > self.limits.max_head_bytes:
            raise _head_too_large(self.limits)
        return buffer[:end]

    async def _first_bytes(self, wait_s: float, begun: bytes) -> bytes:
        """Idle until a request begins; b"" when none will: closed, too long idle, or draining.
        begun: nothing, or half of an empty line."""
        fresh = self.fresh
        if self.shared.draining:
            if not fresh and not self.wire.readable():
                return b""
            wait_s = FRESH_S
        with trio.CancelScope(deadline=_from_now(wait_s)) as clock:
            self.shared.waiting(clock, fresh=fresh)
            try:
                while begun in _NOTHING_YET and (more := await self.wire.receive()):
                    begun = _begun(begun + more)
            finally:
                self.shared.busy(clock)
        if begun in _NOTHING_YET and self.shared.draining and self.wire.readable():
            begun = _begun(begun + await self.wire.receive())  # it came as the drain began
        return b"" if begun in _NOTHING_YET else begun

    async def _rest_of_head(self, buffer: bytes) -> bytes:
        """Read until the head is whole; b"" when the client left in the middle of it."""
        with trio.CancelScope(deadline=_from_now(self.limits.header_timeout_s)) as clock:
            searched = 0
            while rawhead.find_end(buffer, searched) < 0:
                if len(buffer) > self.limits.max_head_bytes:
                    raise _head_too_large(self.limits)
                rawhead.check_unfinished(buffer)
                searched = len(buffer)
                data = await self.wire.receive()
                if not data:
                    return b""
                self.h11.receive_data(data)
                buffer += data
        if clock.cancelled_caught:
            why = f"the request's head did not come within {self.limits.header_timeout_s:g} s"
            raise rawhead.BadHead(why, 408)
        return buffer

    async def _refuse_head(self, failure: Failure) -> None:
        """Answer what cannot be understood as a request, and close."""
        client = Client(self.wire, stall_s=self.limits.client_stall_s)
        path = rawhead.likely_path(self.h11.trailing_data[0])
        try:
            await client.respond(*self.refuse(path, failure))
            await self._linger()
        except (ClientGone, Broken):
            return

    # --- requests -------------------------------------------------------------------------------

    async def _one_request(self, head: rawhead.RequestHead, event: h11.Request) -> bool:
        """Have one request answered. Whether another may follow on this connection."""
        headers = Headers([(n.lower(), v) for n, v in event.headers.raw_items()])
        body = RequestBody(self.wire, self.h11, head, self.limits, self.shared.budget)
        incoming = Incoming(
            head.method,
            head.target,
            headers,
            body,
            http_version=head.http_version,
            peer=self.peer,
            scheme=self.scheme,
        )
        client = Client(
            self.wire,
            self.h11,
            head_only=head.method == "HEAD",
            takes_trailers="trailers" in (headers.get("te") or "").lower(),
            stall_s=self.limits.client_stall_s,
            may_keep=lambda: body.complete and not self.shared.draining,
            date=self.shared.date,
        )
        body.on_gone = client.went_away
        try:
            expect = headers.get("expect") if head.http_version == "1.1" else None
            if expect is not None and expect.lower() != "100-continue":
                await self._settle(incoming, client, _refused_expectation(expect))
            else:
                await self._settle(incoming, client, await self._run(incoming, client))
        finally:
            body.release()
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            return not self.wire.closed
        if client.finished and not self.wire.closed and (not body.complete or self.wire.readable()):
            await self._linger()
        return False

    async def _run(self, incoming: Incoming, client: Client) -> Exception | None:
        """`answer` in its nursery. What it raised, if anything; None too when the client left."""

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                client.nursery = nursery
                with self.ear.watching(nursery.cancel_scope, client) as watch:
                    client.on_end(watch.stop)
                    await self.answer(incoming, client)

        return await _caught(work)

    async def _settle(self, incoming: Incoming, client: Client, exc: Exception | None) -> None:
        """Bring the answer to an end, whatever became of it."""
        if exc is None and not (client.finished or client.gone or self.wire.closed):
            exc = RuntimeError("the request was left without an end to its answer")
        if exc is None or isinstance(exc, ClientGone):
            return
        if isinstance(exc, Refused):
            failure = exc.failure
        else:
            _log_bug(incoming, exc)
            failure = Failure("internal", f"internal error ({type(exc).__name__})")
        if client.finished or client.gone or self.wire.closed:
            return
        if client.headers_sent:
            client.abort()
            return

        async def refuse() -> None:
            await client.respond(*self.refuse(incoming.path, failure))

        worse = await _caught(refuse)
        if worse is not None and not isinstance(worse, ClientGone):
            _log_bug(incoming, worse)
            client.abort()

    async def _linger(self) -> None:
        """Let a client that is still sending read its answer: a close now would reset it away."""
        self.wire.send_eof()
        taken = 0
        with trio.move_on_after(self.limits.linger_s):
            try:
                while taken < self.limits.linger_bytes and (data := await self.wire.receive()):
                    taken += len(data)
            except Broken:
                return


def _begun(data: bytes) -> bytes:
    """What a request begins with: RFC 9112 2.2 forgives empty lines before it."""
    empty = _EMPTY_LINES.match(data)
    return data[empty.end() :] if empty else data


def _from_now(seconds: float) -> float:
    return trio.current_time() + seconds if seconds else math.inf


def _head_too_large(limits: Limits) -> rawhead.BadHead:
    return rawhead.BadHead(f"a request head over {limits.max_head_bytes} bytes", 431)


def _refused_expectation(expect: str) -> Refused:
    return Refused(Failure("bad_request", f"cannot meet Expect: {expect[:40]}", status=417))


def _bad_head_failure(exc: rawhead.BadHead) -> Failure:
    match exc.status:
        case 408:
            return Failure("too_slow", exc.why, clock="header")
        case 414 | 431:
            return Failure("too_large", exc.why, status=exc.status)
        case 501:
            return Failure("not_available", exc.why)
        case 505:
            return Failure("http_version", exc.why)
        case _:
            return Failure("bad_request", f"refused: {exc.why}", status=exc.status)


async def _caught(work: Callable[[], Awaitable[None]]) -> Exception | None:
    """The firewall: a bug in a request becomes a value here and goes no further."""
    try:
        await work()
    except Exception as exc:  # noqa: BLE001
        return _alone(exc)
    return None


def _alone(exc: Exception) -> Exception:
    """The one exception in a nursery's group, if it is one."""
    while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def _log_bug(incoming: Incoming, exc: Exception) -> None:
    """Where it happened, and what kind it was. Not its message: that may quote a body or a key."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = " < ".join(f"{f.filename}:{f.lineno} {f.name}" for f in reversed(frames[-6:]))
    LOG.error("%s %r failed: %s at %s", incoming.method, incoming.path, type(exc).__name__, where)
