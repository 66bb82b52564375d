"""Streams of Responses, watched on their way from an upstream to a client of this format.

Owns: what a stream that passes tells the router: content, figures, failures, its end.
Refuses to know: how events are translated; nothing is ever taken out.

Laws:
1. Whole events go out, byte for byte as they came; what is no whole event at the end is held back.
2. Once content has been seen, only events that may tell something are parsed.
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

    def feed(self, data: bytes, /) -> bytes:
        """The whole events in what has come so far. Raises TooLong."""
        events = self._framer.feed(data)
        if not events:
            return b""
        whole = b"".join(events) if len(events) > 1 else events[0]
        if not self.content or _TELLS.search(whole) is not None:
            self._read(whole)
        return whole

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
