"""Streams of Responses, watched on their way from an upstream to a client of this format.

Owns: what a stream that passes tells the router: content, figures, failures, its end.
Refuses to know: how events are translated; nothing is ever taken out.

Laws:
1. Whole events go out, byte for byte as they came; what is no whole event at the end is held back.
2. Once content has been seen, only events that may tell something are parsed, and those that do not
   look like an event: what cannot be read never reaches the client, nor what follows it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from formats.errors import Failure, FormatError
from formats.framing import SSEFramer
from formats.jsontext import loads
from formats.openai_chat.stream import not_a_stream
from formats.responses.decode import TRUNCATED
from formats.responses.errors import answer_failure, event_failure
from formats.responses.wire import usage_of
from formats.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON, Usage

_ENDS = frozenset(
    ["response.completed", "response.incomplete", "response.failed", "response.cancelled"]
)
# Inside JSON strings quotes are escaped, so a model that talks about these words does not match.
_TELLS = re.compile(
    rb'"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"'
    rb"|event: ?(?:error|response\.(?:completed|incomplete|failed|cancelled))"
)


def _are_events(whole: bytes, count: int) -> bool:
    """Whether so many events look like some, as far as can be seen without parsing them."""
    return whole.count(b'"type"') >= count and whole.count(b"}\n\n") >= count


class Observer:
    """A stream that passes through unchanged.

    answer: the answer object of its last event, for who keeps answers.
    """

    def __init__(self, *, limit: int) -> None:
        self.content = False
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.told = False
        self.ended = False
        self.answer: dict[str, JSON] | None = None
        self._framer = SSEFramer(limit=limit)
        self._sse = SSEDecoder(limit=limit)
        self._unreadable = False  # an event came that is none

    def feed(self, data: bytes, /) -> bytes:
        """The whole events in what has come so far. Raises TooLong."""
        events = self._framer.feed(data)
        if not events or self._unreadable:
            return b""
        whole = b"".join(events) if len(events) > 1 else events[0]
        if self._may_pass(whole, len(events)):
            return whole
        out: list[bytes] = []
        for event in events:
            if not self._may_pass(event, 1):
                self._read(event)
            if self._unreadable:
                break
            out.append(event)
        return b"".join(out)

    def _may_pass(self, whole: bytes, count: int) -> bool:
        """Whether nothing would come of parsing so many events."""
        return self.content and _TELLS.search(whole) is None and _are_events(whole, count)

    def eof(self) -> Failure | None:
        """None when the stream ended as it should, else what it was."""
        ended = self.ended  # what was held back did not reach the client: only its error counts
        rest = self._framer.rest()
        if rest:
            self._read(rest, last=True)
        self.ended = ended
        if self.failure is not None:
            return self.failure
        if ended:
            return None
        if self._sse.stray and not self.content:
            return not_a_stream(self._sse.stray)
        return Failure("truncated", TRUNCATED)

    def _read(self, data: bytes, *, last: bool = False) -> None:
        try:
            for name, text in self._sse.feed(data) + (self._sse.eof() if last else []):
                if text.strip() == "[DONE]":
                    continue
                value = loads(text)
                if type(value) is dict:
                    kind = value.get("type")
                    self._look(kind if type(kind) is str else name, value)
        except (ValueError, FormatError):
            self._unreadable = True
            if self.failure is None:
                why = "an event of the upstream's stream cannot be read"
                self.failure = Failure("upstream", why)

    def _look(self, kind: str, value: Mapping[str, JSON]) -> None:
        if kind in _ENDS:
            self._end(kind, value)
        elif kind == "error" or value.get("error"):
            self.failure = self.failure or event_failure(value)
            self.told = True
        elif kind.endswith(".delta") or kind == "response.output_item.done":
            self.content = True
        elif kind == "response.output_item.added":
            item = value.get("item")
            begun = type(item) is dict and item.get("type") != "message"
            self.content = self.content or begun

    def _end(self, kind: str, value: Mapping[str, JSON]) -> None:
        response = value.get("response")
        response = response if type(response) is dict else {}
        self.ended = True
        self.answer = response
        self.usage = usage_of(response.get("usage")) or self.usage
        failure = answer_failure(response)
        if failure is None and kind in ("response.failed", "response.cancelled"):
            failure = event_failure(value)
        if failure is not None:
            self.failure = self.failure or failure
            self.told = True
        elif response.get("output"):
            self.content = True
