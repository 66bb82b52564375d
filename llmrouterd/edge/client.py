"""The answering side of one request: a whole answer, or head, pieces, end.

Owns: when the head leaves and with what, keep-alive, HEAD, trailers, the clock of a client that
does not read. h11 writes the bytes and chooses the framing.
Refuses to know: what is said, formats, routing, why an answer is late.

Laws:
1. Framing headers are ours: Content-Length, Transfer-Encoding, Keep-Alive, Date in the caller's
   list are left out, and of Connection only `close` and `upgrade` are heard.
2. One `send` is one write to the socket, and returns when the kernel has all of it: a client that
   does not read holds its sender up, and after `stall_s` without a byte taken it is gone.
3. A broken answer never looks whole: `abort` closes without the final chunk.
4. Until bytes have really been written (`headers_sent`), a started answer can be replaced by
   another `start` or `respond`.
5. h11 writes the status line and the fields that frame the message; the others go past it.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

import h11

from llmrouterd.edge import fields
from llmrouterd.edge.wire import Broken, Stalled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from llmrouterd.edge.wire import Wire

_OURS = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "date"})
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_END = h11.EndOfMessage()
GoneHow = Literal["", "hangup", "broken", "stalled"]


class ClientGone(Exception):
    """The client cannot be answered any more: it hung up, its socket died, or it stopped reading."""


class Client:
    """Where the answer to one request goes. Used by one task."""

    __slots__ = (
        "_date",
        "_fields",
        "_h11",
        "_held",
        "_may_keep",
        "_no_body",
        "_on_end",
        "_stall_s",
        "_started",
        "_takes_trailers",
        "_wants_keep",
        "_wire",
        "bytes_sent",
        "extra_headers",
        "finished",
        "gone",
        "gone_how",
        "head_only",
        "headers_sent",
        "nursery",
        "status",
    )

    def __init__(
        self,
        wire: Wire,
        connection: h11.Connection | None = None,
        *,
        head_only: bool = False,
        takes_trailers: bool = False,
        stall_s: float = math.inf,
        may_keep: Callable[[], bool] | None = None,
        date: Callable[[], str] | None = None,
    ) -> None:
        """
        Args:
            connection: h11's, in the state after the request; None: no request was understood.
            head_only: the request was HEAD.
            takes_trailers: the client sent `TE: trailers`.
            may_keep: asked when the head is written: is the request's body all read, is the
                daemon not draining? None: the connection is closed after this answer.
        """
        self._wire = wire
        self._h11 = connection or h11.Connection(h11.SERVER)
        self.head_only = head_only
        self._takes_trailers = takes_trailers
        self._stall_s = stall_s or math.inf
        self._may_keep = may_keep
        self._date = date
        self._held: h11.Response | None = None
        self._fields = b""
        self._started = False
        self._no_body = False
        self._on_end: Callable[[], None] | None = None
        self.nursery: trio.Nursery | None = None  # the request's; set by the connection
        self.extra_headers: list[tuple[str, str]] = []  # for whatever answer will be given
        self.headers_sent = False
        self.finished = False
        self.gone = False
        self.gone_how: GoneHow = ""
        self.status = 0
        self.bytes_sent = 0

    # --- answering -----------------------------------------------------------------------------

    async def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """The whole answer, in one write.

        Raises:
            ClientGone: it could not be delivered.
        """
        self._check_not_sent()
        bodiless = status in (204, 304)
        head = self._response(status, headers, None if bodiless else len(body))
        self._held = None
        self._started = True
        out = self._written(head)
        if body and not bodiless and not self.head_only:
            out += self._h11.send_with_data_passthrough(h11.Data(data=body)) or []
        out.append(self._h11.send(_END) or b"")
        await self._write(b"".join(out))
        self._end()

    async def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of a streamed answer. It leaves together with the first `send`."""
        self._check_not_sent()
        self._no_body = self.head_only or status in (204, 304)
        self._held = self._response(status, headers, None)
        self._started = True

    async def send(self, data: bytes) -> None:
        """One piece, in one write. With b"" only a head that was still held back is sent.

        Raises:
            ClientGone: it could not be delivered.
        Cancellation: an unknown part was sent, so the connection is closed.
        """
        if not self._started or self.finished:
            raise RuntimeError("send() outside of a started answer")
        out = self._release_head()
        if data and not self._no_body:
            out += self._h11.send_with_data_passthrough(h11.Data(data=data)) or []
        if out:
            await self._write(b"".join(out))

    async def finish(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """The proper end. Trailers go to clients that said they take them.

        Raises:
            ClientGone: it could not be delivered.
        """
        if not self._started or self.finished:
            raise RuntimeError("finish() outside of a started answer")
        out = self._release_head()
        chunked = not self._no_body and self._h11.their_http_version != b"1.0"
        tail = _encoded(trailers) if chunked and self._takes_trailers else []
        out.append(self._h11.send(h11.EndOfMessage(headers=tail) if tail else _END) or b"")
        await self._write(b"".join(out))
        self._end()

    def abort(self) -> None:
        """Close so that the client notices: no final chunk; a reset where only the close is the end."""
        self._ended()
        if self._h11.their_http_version == b"1.0" and self.headers_sent and not self.finished:
            self._wire.reset()
        else:
            self._wire.close()

    # --- for the connection and the hang-up watch ------------------------------------------------

    @property
    def takes_trailers(self) -> bool:
        """Whether trailers given to `finish` will be sent."""
        return self._takes_trailers

    def went_away(self, how: GoneHow = "hangup") -> None:
        """Note that the client is gone (the first reason stays)."""
        if not self.gone:
            self.gone = True
            self.gone_how = how

    def on_end(self, call: Callable[[], None] | None) -> None:
        """What to do when the answer is over: the client may leave then."""
        self._on_end = call

    # --- the pieces -----------------------------------------------------------------------------

    def _check_not_sent(self) -> None:
        if self.headers_sent or self.finished:
            raise RuntimeError("the answer's head has been sent already")

    def _response(
        self, status: int, headers: list[tuple[str, str]], length: int | None
    ) -> h11.Response:
        """The head as h11's event. Made anew for each try: h11 itself cannot take one back."""
        out: list[tuple[bytes, bytes]] = []
        connection: list[bytes] = []
        keep = not self.gone and self._may_keep is not None and self._may_keep()
        lines: list[str] = []
        for name, value in [*headers, *self.extra_headers] if self.extra_headers else headers:
            lower = name.lower()
            if lower not in _OURS:
                lines.append(f"{name}: {value.strip()}")
            elif lower == "connection":
                tokens = value.lower().replace(",", " ").split()
                keep = keep and "close" not in tokens
                if "upgrade" in tokens:
                    connection.append(b"upgrade")
        if self._date is not None:
            lines.append(f"Date: {self._date()}")
        self._fields = fields.lines(lines)
        if length is not None:
            out.append((b"Content-Length", b"%d" % length))
        if not keep:
            connection.append(b"close")
        if connection:
            out.append((b"Connection", b", ".join(connection)))
        self.status = status
        return h11.Response(status_code=status, headers=out, reason=_REASONS.get(status, b""))

    def _release_head(self) -> list[bytes]:
        head, self._held = self._held, None
        return [] if head is None else self._written(head)

    def _written(self, head: h11.Response) -> list[bytes]:
        return [fields.put(self._h11.send(head) or b"", self._fields)]

    async def _write(self, data: bytes) -> None:
        if self.gone:
            raise ClientGone(f"the client has gone ({self.gone_how})")
        self.headers_sent = True
        try:
            await self._wire.send(data, self._stall_s)
        except Stalled as exc:
            self.went_away("stalled")
            raise ClientGone(str(exc)) from exc
        except Broken as exc:
            self.went_away("broken")
            raise ClientGone(str(exc)) from exc
        self.bytes_sent += len(data)

    def _end(self) -> None:
        self.finished = True
        self._ended()

    def _ended(self) -> None:
        call, self._on_end = self._on_end, None
        if call is not None:
            call()


def _encoded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers]
