"""Streams of Chat Completions, watched on their way from an upstream to a client of this format.

Owns: what a stream that passes tells the router (content, figures, failures, its end), the one chunk
that is taken out of it, and the one that is put in.
Refuses to know: how events are translated; what it takes out is only what the router asked for.

Laws:
1. Whole events go out, byte for byte as they came, unless they number calls wrongly (indices.py);
   what is no whole event at the end is held back.
2. Once content has been seen, only events that may tell something are parsed, and those that do not
   look like a chunk: what cannot be read never reaches the client.
3. An answer that the server ends without a finish_reason gets one: there are agents that ask again
   and again until they see it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from formats.errors import Failure, FormatError
from formats.framing import SSEFramer
from formats.jsontext import dump, loads
from formats.openai_chat.answer import BROKEN_OFF, failure_in, usage_of
from formats.openai_chat.errors import failure_of
from formats.openai_chat.indices import Indices
from formats.openai_chat.parse import reasoning_of
from formats.openai_chat.stream import ERROR_FIELD, TRUNCATED, not_a_stream
from formats.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON, Request, Usage


def observer(request: Request, /, *, limit: int) -> ChatObserver:
    return ChatObserver(request, limit=limit)


_STOPPED = re.compile(rb'finish_reason"\s*:\s*"')
_FIGURES = re.compile(rb'usage"\s*:\s*\{')
_CALLS = re.compile(rb'tool_calls"\s*:\s*\[\s*\{')
_NAMED = ("id", "object", "created", "model", "system_fingerprint")


def _tells(whole: bytes) -> bool:
    """Whether events are worth parsing once content has been seen. Inside JSON strings quotes are
    escaped, so a model that talks about these words does not match. Each test begins with a literal,
    which makes it a plain search of memory."""
    return (
        b'"error"' in whole
        or b"[DONE]" in whole
        or b'"tool_calls"' in whole
        or b'"timings"' in whole
        or b"error:" in whole
        or b"event: error" in whole
        or _STOPPED.search(whole) is not None
        or _FIGURES.search(whole) is not None
    )


def _are_chunks(whole: bytes, count: int) -> bool:
    """Whether so many events look like chunks, as far as can be seen without parsing them. The
    member's name within a text would have its quotes escaped; a text has no raw line end."""
    return whole.count(b'"choices"') >= count and whole.count(b"}\n\n") >= count


def _is_chunk(event: bytes) -> bool:
    """The same of one event; a comment is as good."""
    if event.startswith(b":"):
        return True
    return b'"choices"' in event and event.endswith((b"}\n\n", b"}\r\n\r\n"))


class ChatObserver:
    """Watches an upstream's stream on its way to a client of the same format."""

    __slots__ = (
        "_calls",
        "_done",
        "_framer",
        "_head",
        "_included",
        "_indices",
        "_seen",
        "_sse",
        "_stopped",
        "_unreadable",
        "content",
        "ended",
        "failure",
        "told",
        "usage",
    )

    def __init__(self, request: Request, *, limit: int) -> None:
        self.content = False
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.told = False
        self.ended = False
        self._included = request.include_usage
        self._indices = Indices()
        self._framer = SSEFramer(limit=limit)
        self._sse = SSEDecoder(limit=limit)
        self._seen = False  # a chunk has passed
        self._done = False  # a finish_reason or the end mark has passed
        self._unreadable = False  # an event came that is none: it does not pass, nor what follows
        self._stopped = False  # a finish_reason has passed
        self._calls = False  # a tool call has passed
        self._head: dict[str, JSON] = {}  # what all chunks of the stream have

    def feed(self, data: bytes, /) -> bytes:
        """The whole events in what has come so far. Raises TooLong."""
        events = self._framer.feed(data)
        if not events or self._unreadable:
            return b""
        whole = b"".join(events) if len(events) > 1 else events[0]
        if not self._calls:
            self._calls = _CALLS.search(whole) is not None
        if self.content and not _tells(whole) and _are_chunks(whole, len(events)):
            return whole
        out: list[bytes] = []
        for event in events:
            passing = self._passing(event)
            if passing:
                out += (self._finish(), passing)
            if self._unreadable:
                break  # nor does what follows it pass
        return b"".join(out)

    def _finish(self) -> bytes:
        """Before the end mark: the chunk that the server left out."""
        if not self.ended or self._stopped or not self._seen or self.failure is not None:
            return b""
        self._stopped = True
        choice = self._last("tool_calls" if self._calls else "stop")
        return b"data: " + dump({**self._head, "choices": [choice]}) + b"\n\n"

    def _last(self, reason: str) -> dict[str, JSON]:
        return {"index": 0, "delta": {}, "finish_reason": reason}

    def eof(self) -> Failure | None:
        """None when the stream ended as it should, else what it was."""
        done = self._done  # what was held back did not reach the client: only its error counts
        rest = self._framer.rest()
        if rest:
            self._read(rest, last=True)
        self._done = done
        if self.failure is not None:
            return self.failure
        if self._done and self._seen:
            return None
        if not self._seen:
            return not_a_stream(self._sse.stray)
        return Failure("truncated", TRUNCATED)

    def _passing(self, event: bytes) -> bytes:
        """Reads an event, if it may tell something. Returns what goes on of it: nothing of what cannot
        be read, or is the usage chunk that only the router asked for."""
        if self.content and not _tells(event) and _is_chunk(event):
            return event
        ours = changed = False
        objects = self._read(event)
        for obj in objects:
            ours = self._look(obj) or ours
            changed = self._indices.repaired(obj) or changed
        if ours or self._unreadable:
            return b""
        return b"".join(b"data: %b\n\n" % dump(obj) for obj in objects) if changed else event

    def _read(self, event: bytes, *, last: bool = False) -> list[dict[str, JSON]]:
        found: list[dict[str, JSON]] = []
        try:
            for name, data in self._sse.feed(event) + (self._sse.eof() if last else []):
                if data.strip() == "[DONE]":
                    self._done = self.ended = True
                    continue
                obj = loads(data)
                if type(obj) is dict:
                    self._note_failure(name, obj)
                    found.append(obj)
        except (ValueError, FormatError):
            self._unreadable = True
            if self.failure is None:
                why = "an event of the upstream's stream cannot be read"
                self.failure = Failure("upstream", why)
        if self._sse.stray and self.failure is None and ERROR_FIELD.search(self._sse.stray):
            self.failure = not_a_stream(self._sse.stray)
        return found

    def _note_failure(self, name: str, obj: Mapping[str, JSON]) -> None:
        if self.failure is None:
            self.failure = failure_in(obj)
            self.told = self.failure is not None and bool(obj.get("error"))
        if self.failure is None and name == "error":
            self.failure = failure_of(None, obj)

    def _look(self, obj: Mapping[str, JSON]) -> bool:
        usage = usage_of(obj)
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage.merged(usage)
        choices = obj.get("choices")
        if type(choices) is not list:
            return False
        self._seen = self._seen or bool(choices)
        if not self._head:
            self._head = {name: obj[name] for name in _NAMED if name in obj}
        empty = True
        for choice in choices:
            if type(choice) is dict:
                empty = self._choice(choice) and empty
        return empty and usage is not None and "usage" in obj and not self._included

    def _choice(self, choice: Mapping[str, JSON]) -> bool:
        """Whether a choice says nothing at all."""
        native = choice.get("finish_reason")
        if native:
            self._done = self._stopped = True
            if native in BROKEN_OFF and self.failure is None:
                why = f"the upstream broke the answer off (finish_reason {native!r})"
                self.failure = Failure("upstream", why)
        delta = choice.get("delta")
        if type(delta) is not dict or not delta:
            return not native
        if not self.content:
            members = ("content", "refusal", "tool_calls", "function_call")
            self.content = any(delta.get(n) for n in members) or bool(reasoning_of(delta))
        return False
