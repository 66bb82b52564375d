"""The pump between an upstream's stream and a client's.

Owns: the two lanes (bytes that pass through, events that are translated) and the loop that reads,
turns and writes, in one task, with one buffer: the piece that one read brought.
Refuses to know: connecting, retries, statuses.

Laws:
1. Nothing is sent to the client before the first content, so that all that goes wrong until then
   can still be served by somebody else. What is held until then is bounded.
2. While we write, the upstream's clocks rest: a slow client is not a stalled upstream.
3. The end mark of the upstream's own format decides what is complete; the socket does not.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from formats.canonical import (
    Event,
    Failed,
    Finished,
    OpaquePart,
    RefusalDelta,
    Response,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, FormatError, TooLong, Truncated
from formats.figures import counted, figures
from formats.fold import Folder, unfold
from formats.stops import CuttingDecoder
from llmrouterd.model import Unread
from llmrouterd.pipeline.aside import HELD_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from formats import Decoder, Encoder, Format, Observer
    from llmrouterd.edge.deadline import Deadline
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.pipeline.extend import Extensions
    from llmrouterd.pipeline.masked import Mask
    from llmrouterd.pipeline.recall import Listener
    from llmrouterd.pipeline.reply import Reply

    Judge = Callable[[bytes], Awaitable[Failure | None]]

CONTENT = (TextDelta, ThoughtDelta, ThoughtSigned, RefusalDelta, ToolStarted, OpaquePart)
# What may be held back while no content has come: role chunks, comments, progress reports.
HELD_LIMIT = 256 * 1024
# How much of an answer is kept for the log and the feed.
KEPT_LIMIT = 8 * 1024 * 1024
# After the last event an upstream gets this long to end its body, so that its connection can be
# used again.
TAIL_S = 0.25


class Lane(Protocol):
    """One way from upstream bytes to client bytes.

    content: content has come. failure: the stream's own error, once it came. finished: the
    format's end mark has come. usage: figures so far. estimated: some of them are ours. holds:
    nothing may reach the client before the end. told: what `feed` returned holds the failure, in an
    event that the client's readers raise on. cut: the answer was ended here: whatever the upstream
    still says is of no use.
    """

    @property
    def content(self) -> bool: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def finished(self) -> bool: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def estimated(self) -> bool: ...
    @property
    def holds(self) -> bool: ...
    @property
    def told(self) -> bool: ...
    @property
    def cut(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...

    async def eof(self) -> bytes: ...

    def response(self) -> Response | Unread | None: ...

    def note_answer(self, reply: Reply) -> None: ...


class PassLane:
    """Same format on both sides and nobody edits: the upstream's own bytes, whole events only."""

    holds = False
    cut = False
    estimated = False

    def __init__(
        self, fmt: Format, observer: Observer, mask: Mask, *, keep: bool, limit: int
    ) -> None:
        self._format = fmt
        self._mask = mask
        self._observer = observer
        self._limit = limit
        self._kept: list[bytes] | None = [] if keep else None
        self._kept_bytes = 0

    @property
    def content(self) -> bool:
        return self._observer.content

    @property
    def finished(self) -> bool:
        return self._observer.ended

    @property
    def told(self) -> bool:
        return self._observer.told

    @property
    def failure(self) -> Failure | None:
        failure = self._observer.failure
        return None if failure is None else self._mask.failure(failure)

    @property
    def usage(self) -> Usage | None:
        return self._observer.usage

    def feed(self, data: bytes) -> bytes:
        if self._kept is not None:
            self._kept_bytes += len(data)
            if self._kept_bytes <= KEPT_LIMIT:
                self._kept.append(data)
        out = self._observer.feed(data)
        return out if self._observer.failure is None else self._mask(out)

    async def eof(self) -> bytes:
        failure = self._observer.eof()
        if failure is not None and self._observer.failure is None:
            self._observer.failure = failure
        return b""

    def note_answer(self, reply: Reply) -> None:
        reply.note_answer(self._observer, passed=True)

    def response(self) -> Unread | None:
        if self._kept is None:
            return None
        kept, fmt, limit = self._kept, self._format, self._limit
        return Unread(lambda: read_back(kept, fmt, limit))


def read_back(kept: list[bytes], fmt: Format, limit: int) -> Response | None:
    """What a stream that passed through said, decoded after the fact."""
    folder = Folder(limit=KEPT_LIMIT)
    decoder = fmt.decoder(limit=limit)
    try:
        for event in decoder.feed(
            b"".join(kept)
        ):  # at once: a call for each piece costs a fifth more
            folder.add(event)
        for event in decoder.eof():
            folder.add(event)
        return folder.response()
    except FormatError:
        return None


class TurnLane:
    """Different formats, or somebody edits: decode, let extensions see, encode. prompt_tokens: the
    estimate, for servers that do not count.

    With a plugin that wants the whole response, events are held until the end and unfolded again
    from what the plugin made of them.
    """

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        ext: Extensions,
        mask: Mask,
        *,
        keep: bool,
        prompt_tokens: int,
        finish: Callable[[Response], Awaitable[Response]],
        listener: Listener | None = None,
    ) -> None:
        self._decoder = decoder
        self._mask = mask
        self._listener = listener
        self._encoder = encoder
        self._on_events = ext.editing() if ext.edits_events else None
        self.holds = ext.whole_response
        self._finish = finish
        self._changed: Response | None = None
        self._folder = Folder(limit=KEPT_LIMIT) if keep or self.holds else None
        self.content = False
        self.finished = False
        self.failure: Failure | None = None
        self.told = False
        self.usage: Usage | None = None
        self.estimated = False
        self._prompt_tokens = prompt_tokens
        self._letters = 0

    @property
    def cut(self) -> bool:
        return isinstance(self._decoder, CuttingDecoder) and self._decoder.cut

    def feed(self, data: bytes) -> bytes:
        return self._turn(self._decoder.feed(data))

    def _turn(self, events: list[Event]) -> bytes:
        for event in events:
            self._watch(event)
        if self.finished and not counted(self.usage):
            events = self._figured(events)
        if self._on_events is not None:
            events = self._on_events(events)
        if self._listener is not None:
            self._hear(self._listener, events)
        if self._folder is not None:
            self._keep(events)
        if self.holds:
            return b""
        if self.failure is not None:
            events = [e for e in events if not isinstance(e, Failed)]
        return self._write(events)

    def _figured(self, events: list[Event]) -> list[Event]:
        """The last events with the figures that the server did not give."""
        self.usage = figures(self.usage, self._prompt_tokens, self._letters)
        self.estimated = True
        at = next(i for i, event in enumerate(events) if isinstance(event, Finished))
        return [*events[:at], UsageSeen(self.usage), *events[at:]]

    def _write(self, events: Iterable[Event]) -> bytes:
        out = b"".join(map(self._encoder.encode, events))
        if self._encoder.failure is not None:
            self.failure, self.told = self._encoder.failure, True
        return out

    def _keep(self, events: list[Event]) -> None:
        """Fold along. What is only kept for the record is let go when it grows too long."""
        assert self._folder is not None
        try:
            for event in events:
                self._folder.add(event)
        except TooLong:
            if self.holds:
                raise
            self._folder = None

    def _watch(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self.content = True
            self._letters += len(event.text)
        elif isinstance(event, ToolDelta):
            self._letters += len(event.fragment)
        elif isinstance(event, ThoughtDelta):
            self.content = True
            self._letters += len(event.text)
        elif isinstance(event, ToolStarted):
            self.content = True
            self._letters += len(event.name)
        elif isinstance(event, UsageSeen):
            self.usage = self.usage.merged(event.usage) if self.usage else event.usage
        elif isinstance(event, Finished):
            self.finished = True
        elif isinstance(event, Failed):
            self.failure = self._mask.failure(event.failure)
        elif isinstance(event, CONTENT):
            self.content = True

    @staticmethod
    def _hear(listener: Listener, events: Iterable[Event]) -> None:
        """As the client knows it: what plugins put in its place is another thing next time."""
        for event in events:
            listener.hear(event)
            if isinstance(event, Finished):
                listener.end()

    async def eof(self) -> bytes:
        if not self.finished and self.failure is None:
            rest = self._turn(self._decoder.eof())
        else:
            rest = b""
        if not self.holds or self.failure is not None:
            return rest
        assert self._folder is not None
        self._changed = await self._finish(self._folder.response())
        return self._write(unfold(self._changed))

    def note_answer(self, reply: Reply) -> None:
        reply.note_answer(self._encoder, passed=False)

    def response(self) -> Response | None:
        if self._changed is not None or self._folder is None:
            return self._changed
        try:
            return self._folder.response()
        except FormatError:
            return None


async def pump(
    exchange: Exchange,
    deadline: Deadline,
    lane: Lane,
    reply: Reply,
    judge: Judge | None = None,
) -> Failure | None:
    """Relay one stream to its end. Returns None when it was complete, else what broke it.

    A Failure with `reply.content_sent` unset means the client has seen nothing of this upstream.
    judge: holds the answer back (up to a size) and is shown all of it before anything is sent; what
    it returns is the stream's failure.
    """
    held: list[bytes] = []
    held_bytes = 0
    while not lane.finished:
        try:
            data = await reply.patiently(exchange.read)
            out = lane.feed(data) if data else b""
        except Truncated as error:
            broken = Failure("truncated", str(error))
            return await _cut(lane, reply, held, deadline, judge, broken)
        except FormatError as error:
            return Failure("upstream", str(error))
        if not data:
            break
        if lane.failure is not None:
            await _told(lane, reply, out, lane.failure)
            if reply.error_told:
                reply.story.failure = lane.failure  # the client may go now
                await _rest(exchange, lane, reply)
            return lane.failure
        if lane.content and reply.gate is not None:
            deadline.off()
            await reply.claim()
        if reply.content_sent or (lane.content and not lane.holds and judge is None):
            deadline.begun()
            await reply.send(b"".join([*held, out]) if held else out)
            held.clear()
        elif out:
            held.append(out)
            held_bytes += len(out)
            if held_bytes > HELD_LIMIT and not lane.content:
                return Failure("upstream", f"no content in the first {held_bytes} bytes of stream")
            if held_bytes > HELD_BYTES:
                judge = None  # the next piece takes all of it along
        if lane.content:
            deadline.enter("idle")
    return await _ended(lane, reply, held, deadline, judge)


async def _told(lane: Lane, reply: Reply, out: bytes, failure: Failure) -> Failure:
    """The stream carried its own error. Once content is out, what came with it goes out too."""
    if reply.content_sent and out:
        await reply.send(out)
        reply.error_told = lane.told
    return failure


async def _rest(exchange: Exchange, lane: Lane, reply: Reply) -> None:
    """What an upstream of the client's own format says after its error: a failed answer, an end."""
    until = trio.current_time() + TAIL_S
    while True:
        data = b""
        with trio.move_on_at(until), suppress(FormatError):
            data = await exchange.read()
        if not data:
            return
        with suppress(FormatError):
            out = lane.feed(data)
            if out:
                await reply.send(out)


async def _ended(
    lane: Lane, reply: Reply, held: list[bytes], deadline: Deadline, judge: Judge | None
) -> Failure | None:
    """The upstream's stream is over: is it whole? What follows is our time and the client's."""
    deadline.begun()
    if lane.finished:
        await reply.claim()
    out = await lane.eof()
    if lane.failure is not None:
        return await _told(lane, reply, out, lane.failure)
    await reply.claim()
    out = b"".join([*held, out])
    held.clear()
    if judge is not None and not reply.content_sent:
        failure = await judge(out)
        if failure is not None:
            return failure
    if out or not reply.content_sent:
        await reply.send(out)
    return None


async def _cut(
    lane: Lane,
    reply: Reply,
    held: list[bytes],
    deadline: Deadline,
    judge: Judge | None,
    failure: Failure,
) -> Failure | None:
    """The connection broke. If the format's end mark had come before, nothing is missing."""
    ended = await _ended(lane, reply, held, deadline, judge)
    if ended is None or ended.kind != "truncated":
        return ended
    return failure
