"""The answering side of a request, in the client's own format.

Owns: when the head goes out, life signs while a stream waits, errors before and after the first
content, trailers.
Refuses to know: where the answer comes from.

Laws:
1. Two marks: `headers_sent` (status and fields are fixed: content, or a life sign that was due) and
   `content_sent` (the first real content). Only the second ends failover.
2. An error after the head is the format's own error event, and the body is ended only where the
   format's readers then raise; a clean end comes from a Finished event alone.
3. A life sign before the first content is a comment, never an event of our own making; a format
   without comments (NDJSON) gets none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from formats.canonical import Failed, Stamp
from formats.ledger import Ledger
from llmrouterd.pipeline import headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from formats import Encoder, Format, Observer
    from formats.canonical import JSON, Request
    from formats.errors import Failure
    from llmrouterd.edge.client import Client
    from llmrouterd.pipeline.story import Story

T = TypeVar("T")


class Tape:
    """What of an answer went to its client, as long as that is no more than `limit` bytes."""

    __slots__ = ("_left", "_pieces")

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def whole(self) -> bytes | None:
        """None: it was too long, or there was nothing."""
        return b"".join(self._pieces) or None


class Reply:
    """One client's answer. `request` is set once it is understood; error_told: the client has had
    the upstream's own error event already."""

    def __init__(self, client: Client, fmt: Format, story: Story, *, life_sign_s: float) -> None:
        self.client = client
        self.format = fmt
        self.story = story
        self.request: Request | None = None
        self.encoder: Encoder | None = None
        self.content_sent = False
        self.begun_at: float | None = None  # when the first content went out, on trio's clock
        self.error_told = False
        self.answer: Mapping[str, JSON] | bytes | None = None  # of the Responses API, to be kept
        self.passed = False  # the upstream's own bytes were the answer
        self.tape: Tape | None = None  # where somebody keeps answers
        self.gate: Callable[[], Awaitable[None]] | None = None  # what to pass before the first byte
        self._life_sign_s = life_sign_s

    def twin(self, story: Story, gate: Callable[[], Awaitable[None]]) -> Reply:
        """For an attempt that runs beside another: silent until `gate` lets it pass."""
        out = Reply(self.client, self.format, story, life_sign_s=self._life_sign_s)
        out.request, out.gate, out.tape = self.request, gate, self.tape
        return out

    @property
    def streaming(self) -> bool:
        return self.request is not None and self.request.stream

    @property
    def quiet_s(self) -> float:
        """Seconds of silence after which this client is due a life sign; 0: never."""
        due = self.streaming and self.format.COMMENT and self.gate is None
        return self._life_sign_s if due else 0.0

    def stamp(self) -> Stamp:
        """Chance and clock for what names and dates an answer."""
        story, request = self.story, self.request
        assert request is not None
        return Stamp(
            id=story.stem,
            created=story.begun_ms // 1000,
            elapsed_ns=story.elapsed_ns,
            model=request.model,
            input_estimate=story.size_tokens,
        )

    # --- a stream ---------------------------------------------------------------------------------

    def new_encoder(self, ledger: Ledger) -> Encoder:
        """A fresh encoder: every attempt starts its stream from the beginning."""
        assert self.request is not None
        self.encoder = self.format.encoder(self.request, ledger, self.stamp())
        return self.encoder

    def note_answer(self, source: Encoder | Observer, *, passed: bool) -> None:
        """A stream is over; what it came to, where its format has one object for that."""
        self.answer = getattr(source, "answer", None)
        self.passed = passed

    async def claim(self) -> None:
        """The first token is here. Of attempts beside each other only the first one returns."""
        if self.gate is not None:
            await self.gate()
            self.gate = None

    async def send(self, data: bytes) -> None:
        """Content for a streaming client; the head goes with the first of it."""
        if self.gate is not None:
            await self.claim()
        self._begins()
        await self._head()
        if self.tape is not None:
            self.tape.add(data)
        await self.client.send(data)
        self.story.sent(data.count(b"data:" if self.format.COMMENT else b"\n"), len(data))

    def _begins(self) -> None:
        """The first content, or more of it."""
        if not self.content_sent:
            self.content_sent, self.begun_at = True, trio.current_time()
        self.story.saw_content()

    async def _head(self) -> None:
        if not self.client.headers_sent:
            fields = [("content-type", self.format.STREAM_TYPE), ("cache-control", "no-cache")]
            fields.append(("x-accel-buffering", "no"))
            self.story.status = 200
            await self.client.start(200, fields + headers.for_client(self.story, stream=True))

    async def life_sign(self) -> None:
        """Tell a waiting client that the request lives, if its format has a way to say so."""
        started = self.content_sent and self.encoder is not None
        sign = self.encoder.ping() if started and self.encoder else self.format.COMMENT
        if sign:
            await self._head()
            await self.client.send(sign)

    async def patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """Await `read()`, with life signs while it takes long. `read` must be one whose
        cancellation loses nothing (a socket read, a sleep until a point in time)."""
        quiet_s = self.quiet_s
        if not quiet_s:
            return await read()
        while True:
            with trio.move_on_after(quiet_s):
                return await read()
            await self.life_sign()

    async def sleep(self, seconds: float) -> None:
        """Wait before a retry, with life signs."""
        until = trio.current_time() + seconds
        await self.patiently(partial(trio.sleep_until, until))

    async def finish(self) -> None:
        """The proper end of a stream whose last event has been sent."""
        await self.client.finish(headers.known_at_end(self.story))

    # --- whole answers ----------------------------------------------------------------------------

    async def whole(self, body: bytes, *, passed: bool = False) -> None:
        """A whole answer with status 200. passed: it is the upstream's own."""
        if self.gate is not None:
            await self.claim()
        self.answer, self.passed = body, passed
        self._begins()
        if self.tape is not None:
            self.tape.add(body)
        self.story.status = 200
        fields = [("content-type", "application/json")]
        await self.client.respond(200, fields + headers.for_client(self.story, stream=False), body)

    async def fail(self, failure: Failure) -> None:
        """Tell the client of an error: with a status while that is possible, else in the stream."""
        self.story.failure = failure
        if self.client.headers_sent:
            await self._break_off(failure)
            return
        status, body = self.format.write_failure(failure)
        if failure.body is not None and self.story.upstream_format == self.story.client_format:
            body = failure.body
        self.story.status = status
        fields = [("content-type", "application/json")]
        await self.client.respond(status, fields + headers.for_failure(self.story, failure), body)

    async def _break_off(self, failure: Failure) -> None:
        if not self.streaming:
            self.client.abort()
            return
        encoder = self.encoder or self.new_encoder(Ledger())
        event = b"" if self.error_told else encoder.encode(Failed(failure))
        if event:
            await self.client.send(event)
        elif not self.error_told:  # nothing would tell a broken answer from a whole one
            self.client.abort()
            return
        await self.client.finish(headers.known_at_end(self.story))
