"""One HTTP request to an upstream: its answer's head, and its body piece by piece.

Owns: sending a request, reading the response head (interim ones skipped, bad ones refused), the
body's pieces, content codings, whether the connection may be used again.
Refuses to know: where the connection came from and goes (pool), what the bytes mean (formats),
retries, seconds (the caller's Deadline; only its phases are moved here).

Laws:
1. `read` gives everything that one read of the socket brought, joined, and b"" only at the body's
   proper end; a cut is Truncated, whatever the framing.
2. The only await in `read` is the socket's receive, so a cancelled read has lost nothing.
3. Unless the response was read to its end and both sides agree to go on, the socket is closed at
   once, synchronously: the upstream must see at once that nobody listens any more.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import h11
import trio

from formats.errors import Garbled, TooLong, Truncated
from llmrouterd.edge import fields, rawhead
from llmrouterd.edge.coding import UnknownCoding, inflater
from llmrouterd.edge.wire import Broken
from llmrouterd.model import Headers

if TYPE_CHECKING:
    from llmrouterd.edge.coding import Inflater
    from llmrouterd.edge.deadline import Deadline
    from llmrouterd.edge.wire import Wire
    from llmrouterd.model import Receipt

# How to await a read that may take long (life signs for whoever waits); its cancellation is safe.
Patiently = Callable[[Callable[[], Awaitable[bytes]]], Awaitable[bytes]]
MAX_HEAD_BYTES = 65536  # of a response head; servers' own limits on requests are 8 to 64 KiB
MAX_INTERIM = 20  # 1xx answers before the real one; 103 comes once or twice
SEND_PIECE_BYTES = 262144  # the "send" clock starts anew with each piece the upstream took
_END = h11.EndOfMessage()
_CODING = (b"content-encoding", b"content-length")


class Disconnected(Truncated):
    """The upstream closed or reset the connection before the first byte of its answer."""


class Channel:
    """A connection to an upstream and h11's view of it: what the pool keeps."""

    __slots__ = ("connect_s", "expires", "h11", "receipt", "uses", "wire")

    def __init__(self, wire: Wire, receipt: Receipt, connect_s: float = 0.0) -> None:
        self.wire = wire
        self.receipt = receipt
        self.h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.expires = math.inf
        self.connect_s = connect_s  # what it took to make it
        self.uses = 0


class Exchange:
    """A response whose head has arrived. Made by `ask`; owned by the pool's lease."""

    __slots__ = (
        "_channel",
        "_done",
        "_fault",
        "_inflater",
        "_whole_sent",
        "headers",
        "reused",
        "status",
    )

    def __init__(self, channel: Channel, head: h11.Response, *, whole_sent: bool) -> None:
        """
        Raises:
            Garbled: a Content-Encoding that is not undone here.
        """
        self._channel = channel
        self._whole_sent = whole_sent
        self._done = False
        self._fault: h11.RemoteProtocolError | None = None
        self.status = head.status_code
        self.headers = Headers([(n.lower(), v) for n, v in head.headers.raw_items()])
        self.reused = channel.uses > 1
        self._inflater: Inflater | None = None
        coding = self.headers.get("content-encoding")
        if coding is not None:
            self._undo(coding)

    def _undo(self, coding: str) -> None:
        """We ask for identity; some servers and middle boxes compress all the same."""
        try:
            self._inflater = inflater(coding)
        except UnknownCoding as exc:
            raise Garbled(f"the upstream answered in {exc}, though none was asked for") from exc
        if self._inflater is not None:
            self.headers = Headers([p for p in self.headers.raw if p[0] not in _CODING])

    @property
    def receipt(self) -> Receipt:
        """The address that was really dialled."""
        return self._channel.receipt

    @property
    def connect_s(self) -> float | None:
        """How long connecting took; None where a connection was there already."""
        return None if self.reused else self._channel.connect_s

    async def read(self) -> bytes:
        """The next piece of the body; b"" at its proper end.

        Raises:
            Truncated: the connection ended before the body did.
            Garbled: the framing or the content coding is broken.
        Cancellation: loses nothing; call again.
        """
        undo = self._inflater
        if undo is None:
            return await self._read_raw()
        while True:
            piece = undo.take()
            if piece:
                return piece
            raw = await self._read_raw()
            if not raw:
                undo.eof()
                return b""
            undo.feed(raw)

    async def read_all(self, limit: int) -> bytes:
        """The rest of the body.

        Raises:
            TooLong: it is over `limit` bytes. And what `read` raises.
        """
        parts: list[bytes] = []
        total = 0
        while data := await self.read():
            total += len(data)
            if total > limit:
                raise TooLong(f"the upstream's answer is over {limit} bytes")
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_raw(self) -> bytes:
        """Body bytes as they came: first what h11 holds, then what one read brings."""
        try:
            while not self._done:
                data = self._pieces()
                if data:
                    return data
                if self._done:
                    break
                raw = await self._channel.wire.receive()
                self._channel.h11.receive_data(raw)
        except h11.RemoteProtocolError as exc:
            self._channel.wire.close()
            if self._channel.h11.trailing_data[1]:
                raise Truncated(f"the upstream's answer was cut: {exc}") from exc
            raise Garbled(f"the framing of the upstream's answer: {exc}") from exc
        except Broken as exc:
            self._channel.wire.close()
            raise Truncated(f"the upstream's answer was cut: {exc}") from exc
        return b""

    def _pieces(self) -> bytes:
        """All body data that h11 can give without another read, joined."""
        if self._fault is not None:
            raise self._fault
        next_event = self._channel.h11.next_event
        parts: list[bytes] = []
        while True:
            try:
                event = next_event()
            except h11.RemoteProtocolError as exc:
                self._fault = exc
                if parts:  # what came before the fault is still the body's: the next call fails
                    break
                raise
            if type(event) is h11.Data:
                parts.append(event.data)
            elif type(event) is h11.EndOfMessage:
                self._done = True
                break
            else:
                break
        return b"".join(parts)

    def reusable(self) -> bool:
        """Whether the connection may carry another request: all read, nothing behind it."""
        h = self._channel.h11
        return (
            self._whole_sent
            and h.our_state is h11.DONE
            and h.their_state is h11.DONE
            and h.trailing_data == (b"", False)
            and not self._channel.wire.closed
        )

    def __repr__(self) -> str:
        return f"<Exchange {self.status} {self.receipt.address}>"


async def ask(
    channel: Channel,
    head: h11.Request,
    body: bytes,
    deadline: Deadline | None,
    patiently: Patiently | None = None,
    lines: bytes = b"",
) -> Exchange:
    """Send a request and read the head of its answer, which is awaited `patiently` if given.
    lines: more fields for the head (fields.lines).

    An upstream that answers before it has taken the whole body (413, 401) is heard: the rest of
    the body is not sent, and the connection is not used again.

    Raises:
        Disconnected: no byte of an answer came. Truncated: its head was cut. TooLong: its head is
        over the limit. Garbled: it is not a head that can be trusted.
    Cancellation: the channel must be closed.
    """
    h = channel.h11
    channel.uses += 1
    out = [fields.put(h.send(head) or b"", lines)]
    if body:
        out += h.send_with_data_passthrough(h11.Data(data=body)) or []
    out.append(h.send(_END) or b"")
    whole_sent = await _send(channel, b"".join(out), deadline)
    if deadline is not None:
        deadline.enter("first_token")
    return Exchange(channel, await _response_head(channel, patiently), whole_sent=whole_sent)


# --- sending --------------------------------------------------------------------------------------


async def _send(channel: Channel, data: bytes, deadline: Deadline | None) -> bool:
    """Send it all; False when the upstream answered or broke off before it had everything.

    The "send" clock starts only when the kernel does not take everything at once.
    """
    wire = channel.wire
    try:
        sent = wire.send_now(data)
        if sent == len(data):
            return True
        if deadline is not None:
            deadline.enter("send")
        if len(data) <= SEND_PIECE_BYTES and sent == 0:
            await wire.send(data)
            return True
    except Broken:
        return False  # it may have answered before it closed: reading tells
    return await _Upload(channel, memoryview(data)[sent:], deadline).run()


class _Upload:
    """A large body on its way, and an ear for the answer that comes before its end."""

    def __init__(self, channel: Channel, rest: memoryview, deadline: Deadline | None) -> None:
        self._channel = channel
        self._rest = rest
        self._deadline = deadline
        self._answered = False
        self._broken = False

    async def run(self) -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            try:
                while self._rest:
                    piece = bytes(self._rest[:SEND_PIECE_BYTES])
                    await self._piece(piece)
                    self._rest = self._rest[len(piece) :]
                    if self._deadline is not None:
                        self._deadline.enter("send")
            except Broken:
                self._broken = True
            nursery.cancel_scope.cancel()
        return not self._rest and not self._broken

    async def _piece(self, piece: bytes) -> None:
        """One piece. Unlike Wire.send, giving up in the middle leaves the connection readable."""
        wire = self._channel.wire
        view = memoryview(piece)
        sock = wire.sock
        while view:
            sent = wire.send_now(view)
            if sent:
                view = view[sent:]
            elif sock is None or not wire.can_send_now:
                await wire.send(bytes(view))
                return
            else:
                await trio.lowlevel.wait_writable(sock)

    async def _listen(self, upload: trio.CancelScope) -> None:
        """Until something comes that is not an interim answer; then the upload is over."""
        heard = b""
        while True:
            try:
                data = await self._channel.wire.receive()
            except Broken:
                return  # the sender will find out
            self._channel.h11.receive_data(data)
            heard += data
            while heard.startswith(b"HTTP/1.1 1") and (end := rawhead.find_end(heard)) > 0:
                heard = heard[end:]
            if not data or (len(heard) >= 12 and not heard.startswith(b"HTTP/1.1 1")):
                upload.cancel()
                return
            if len(heard) > MAX_HEAD_BYTES:
                upload.cancel()
                return


# --- the response head ----------------------------------------------------------------------------


async def _response_head(channel: Channel, patiently: Patiently | None) -> h11.Response:
    for _ in range(MAX_INTERIM):
        await _whole_head(channel, patiently)
        try:
            event = channel.h11.next_event()
        except h11.RemoteProtocolError as exc:
            raise Garbled(f"the head of the upstream's answer: {exc}") from exc
        if isinstance(event, h11.Response):
            return event
    raise Garbled(f"over {MAX_INTERIM} interim answers")


async def _whole_head(channel: Channel, patiently: Patiently | None) -> None:
    """Read until h11 holds a whole head, and judge it before h11 parses it."""
    h = channel.h11
    searched = 0
    while True:
        buffer, ended = h.trailing_data
        end = rawhead.find_end(buffer, searched)
        try:
            if end >= 0:
                rawhead.check_response(buffer[:end])
                return
            if buffer:
                _check_begun(buffer)
        except rawhead.BadHead as exc:
            raise Garbled(f"the head of the upstream's answer: {exc.why}") from exc
        if len(buffer) > MAX_HEAD_BYTES:
            raise TooLong(f"the head of the upstream's answer is over {MAX_HEAD_BYTES} bytes")
        if ended:
            raise _cut(buffer, "closed")
        searched = len(buffer)
        try:
            receive = channel.wire.receive
            h.receive_data(await (patiently(receive) if patiently else receive()))
        except Broken as exc:
            raise _cut(buffer, str(exc)) from exc


def _check_begun(buffer: bytes) -> None:
    if not buffer.startswith(b"HTTP/"[: len(buffer)]):
        raise rawhead.BadHead(f"not HTTP: {buffer[:40]!r}")
    rawhead.check_unfinished(buffer)


def _cut(buffer: bytes, how: str) -> Truncated:
    if buffer:
        return Truncated(f"the upstream's answer was cut in its head ({how})")
    return Disconnected(f"the upstream closed the connection without an answer ({how})")
