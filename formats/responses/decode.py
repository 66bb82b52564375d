"""An upstream's Responses stream, read.

Owns: which wire event is which canonical event, what ends a stream well, what a broken one is.
Refuses to know: clients; whole answers, but for items that come whole.

Laws:
1. Items and parts are known by their indexes, never by their ids, which some servers change with
   every event.
2. What a `done` event or a finished item says beyond its deltas is given too: deltas may be missing.
3. `response.completed`, `.incomplete` and `.failed` end a stream; one without is truncated.
4. `feed` and `eof` give events, never an exception; after the last event, nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formats import jsontext
from formats.canonical import (
    CitationSeen,
    Event,
    Failed,
    Finished,
    PartEnded,
    RefusalDelta,
    Response,
    Started,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    UsageSeen,
)
from formats.errors import Failure, FormatError
from formats.fold import unfold
from formats.openai_chat.stream import not_a_stream
from formats.responses.answer import call_extra, called, parts_of, response_of, string, thought_of
from formats.responses.errors import answer_failure, event_failure
from formats.responses.wire import native_stop, reasoning_text, stop_reason, usage_of
from formats.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = Any
_Object = dict[str, JSON]
_Delta = type[TextDelta] | type[RefusalDelta] | type[ThoughtDelta]

TRUNCATED = "the upstream's stream ended before the answer was complete"


class _Part:
    """A part that has begun. said: how many characters of it; notes: how many citations."""

    __slots__ = ("ended", "index", "notes", "said")

    def __init__(self, index: int) -> None:
        self.index = index
        self.said = 0
        self.notes = 0
        self.ended = False


class _Item:
    """An output item that has begun. parts: by content index; one-part items have number 0.
    place: where its latest piece of reasoning stood."""

    __slots__ = ("ended", "kind", "parts", "place")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.parts: dict[int, _Part] = {}
        self.place: tuple[str, int] | None = None
        self.ended = False


class Decoder:
    """Bytes of an upstream in, canonical events out."""

    def __init__(self, *, limit: int) -> None:
        self._sse = SSEDecoder(limit=limit)
        self._limit = limit
        self._plain: bytearray | None = None  # a body that is one JSON object instead of a stream
        self._looked = False
        self._started = False
        self._over = False
        self._strange = False
        self._parts = 0
        self._items: dict[int, _Item] = {}
        self._reused = False
        self._called = False
        self._refused = False

    def feed(self, data: bytes, /) -> list[Event]:
        """The events that `data` completes."""
        if self._over or (not self._looked and self._is_plain(data)):
            return []
        if self._plain is not None:
            return self._more_plain(data)
        try:
            return self._read(self._sse.feed(data))
        except FormatError as error:
            return self._fail(_unreadable(error))

    def eof(self) -> list[Event]:
        """The body has ended: whatever is missing is said now."""
        if self._over:
            return []
        if self._plain is not None:
            return self._whole(bytes(self._plain))
        try:
            events = self._read(self._sse.eof())
        except FormatError as error:
            return self._fail(_unreadable(error))
        ended = bool(events) and isinstance(events[-1], Finished | Failed)
        return events if ended else events + self._fail(self._cut())

    # --- bodies that are no stream ---

    def _is_plain(self, data: bytes) -> bool:
        """Whether the body turns out to be one JSON object: no event begins with a brace."""
        start = data.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not start:
            return False
        self._looked = True
        if not start.startswith(b"{"):
            return False
        self._plain = bytearray(start)
        return True

    def _more_plain(self, data: bytes) -> list[Event]:
        assert self._plain is not None
        self._plain += data
        if len(self._plain) > self._limit:
            return self._fail(Failure("upstream", "the upstream's answer is too long"))
        return []

    def _whole(self, body: bytes) -> list[Event]:
        """A server that does not know `stream` gives its whole answer at once."""
        self._over = True
        try:
            obj = jsontext.loads(body.decode())
        except ValueError:
            return [Failed(not_a_stream(body))]
        failure = answer_failure(obj)
        if failure is None and type(obj.get("output")) is list:
            return unfold(response_of(obj))
        return [Failed(failure or not_a_stream(body))]

    def _cut(self) -> Failure:
        if not self._started:
            if self._strange and not self._sse.stray:
                return Failure("upstream", "the upstream's stream has no event of Responses")
            return not_a_stream(self._sse.stray)
        return Failure("truncated", TRUNCATED)

    # --- events ---

    def _read(self, frames: list[ServerSentEvent]) -> list[Event]:
        events: list[Event] = []
        for name, data in frames:
            if data.strip() == "[DONE]":  # of another format, sent by some servers as well
                continue
            try:
                value = jsontext.loads(data)
            except ValueError:
                why = "an event of the upstream's stream is not JSON"
                return events + self._fail(Failure("upstream", why))
            if type(value) is not dict:
                continue
            kind = string(value, "type") or name
            reader = _READERS.get(kind)
            if reader is not None:
                events += reader(self, value)
            elif kind == "error" or value.get("error"):
                events += self._fail(event_failure(value))
            else:
                self._strange = True
            if self._over:
                break
        return events

    def _lifecycle(self, value: _Object) -> list[Event]:
        return self._start(_response(value))

    def _start(self, response: _Object) -> list[Event]:
        if self._started:
            return []
        self._started = True
        created = response.get("created_at")
        created = int(created) if type(created) is float else created
        created = created if type(created) is int else None
        return [Started(string(response, "id"), string(response, "model"), created)]

    # --- items ---

    def _item(self, value: _Object, kind: str) -> _Item:
        """The item that an event is about; one that was never announced begins with it."""
        index = _index(value, "output_index")
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = _Item(kind)
        return item

    def _part(self, item: _Item, index: int) -> _Part:
        part = item.parts.get(index)
        if part is None:
            part = item.parts[index] = _Part(self._parts)
            self._parts += 1
        return part

    def _item_added(self, value: _Object) -> list[Event]:
        given = value.get("item")
        if type(given) is not dict:
            return []
        events = self._start({})
        index = _index(value, "output_index")
        if index in self._items and self._items[index].ended:  # a new item under an old number
            self._reused = True
            del self._items[index]
        item = self._item(value, string(given, "type"))
        if item.kind == "reasoning" and not item.parts:
            events.append(ThoughtDelta(self._part(item, 0).index, ""))
        elif item.kind in _CALLS and not item.parts and string(given, "name"):
            events += self._call(item, given)
        return events

    def _call(self, item: _Item, given: _Object) -> list[Event]:
        self._called = True
        kind = "custom" if item.kind == "custom_tool_call" else "function"
        call_id = string(given, "call_id") or string(given, "id")
        index = self._part(item, 0).index
        return [ToolStarted(index, call_id, called(given), kind, call_extra(given))]  # type: ignore[arg-type]

    def _item_done(self, value: _Object) -> list[Event]:
        given = value.get("item")
        if type(given) is not dict:
            return []
        events = self._start({})
        return events + self._finished_item(self._item(value, string(given, "type")), given)

    def _finished_item(self, item: _Item, given: _Object) -> list[Event]:
        """What a whole item says beyond what was streamed of it."""
        if item.ended:
            return []
        item.ended = True
        if item.kind in _CALLS:
            events = [] if item.parts else self._call(item, given)
            text = given.get("input" if item.kind == "custom_tool_call" else "arguments")
            events += self._rest(item, 0, ToolDelta, text)
        elif item.kind == "reasoning":
            events = self._finished_thought(item, given)
        elif item.kind == "message":
            events = self._finished_message(item, given)
        else:
            events = self._whole_parts(given)
        return events + [
            PartEnded(part.index) for part in item.parts.values() if not self._is_ended(part)
        ]

    def _finished_thought(self, item: _Item, given: _Object) -> list[Event]:
        part = self._part(item, 0)
        whole = thought_of(given)
        events: list[Event] = []
        if not part.said:
            text = reasoning_text(given) or whole.text
            events.append(ThoughtDelta(part.index, text))
        if whole.signature is not None or whole.redacted is not None:
            signed = ThoughtSigned(part.index, whole.signature, whole.redacted, whole.origin)
            events.append(signed)
        return events

    def _finished_message(self, item: _Item, given: _Object) -> list[Event]:
        content = given.get("content")
        events: list[Event] = []
        for index, block in enumerate(content if type(content) is list else ()):
            if type(block) is not dict:
                continue
            if string(block, "type") not in _SAID:
                events += self._whole_parts({"type": "message", "content": [block]})
                continue
            events += self._said(item, index, block)
        return events

    def _said(self, item: _Item, index: int, block: _Object) -> list[Event]:
        """A whole content part."""
        if block.get("type") == "refusal":
            return self._rest(item, index, RefusalDelta, block.get("refusal"))
        events = self._rest(item, index, TextDelta, block.get("text"))
        notes = block.get("annotations")
        part = item.parts.get(index)
        if part is not None and not part.ended and type(notes) is list:
            events += [CitationSeen(part.index, each) for each in notes[part.notes :]]
            part.notes = max(part.notes, len(notes))
        return events

    def _whole_parts(self, given: _Object) -> list[Event]:
        """An item that came at once."""
        whole: list[Any] = unfold(Response("", "", tuple(parts_of(given))))[1:-1]
        events: list[Event] = [replace(each, part=each.part + self._parts) for each in whole]
        self._parts += sum(isinstance(event, PartEnded) for event in events)
        return events

    def _is_ended(self, part: _Part) -> bool:
        """Marks it as ended, too."""
        was, part.ended = part.ended, True
        return was

    # --- texts ---

    def _delta(self, value: _Object, kind: _Delta, *, item_kind: str, index: int) -> list[Event]:
        text = value.get("delta")
        if type(text) is not str or not text:
            return []
        events = self._start({})
        item = self._item(value, item_kind)
        if item.ended or (index in item.parts and item.parts[index].ended):
            return events
        self._refused = self._refused or kind is RefusalDelta
        part = self._part(item, index)
        part.said += len(text)
        return [*events, kind(part.index, text)]

    def _rest(
        self, item: _Item, index: int, kind: _Delta | type[ToolDelta], text: JSON
    ) -> list[Event]:
        """What the whole text has more than its deltas had."""
        if type(text) is not str or not text:
            return []
        self._refused = self._refused or kind is RefusalDelta
        part = self._part(item, index)
        if len(text) <= part.said or part.ended:
            return []
        more = text[part.said :]
        part.said = len(text)
        return [kind(part.index, more)]

    def _text_delta(self, value: _Object) -> list[Event]:
        index = _index(value, "content_index")
        return self._delta(value, TextDelta, item_kind="message", index=index)

    def _refusal_delta(self, value: _Object) -> list[Event]:
        index = _index(value, "content_index")
        return self._delta(value, RefusalDelta, item_kind="message", index=index)

    def _text_done(self, value: _Object) -> list[Event]:
        return self._all_said(value, TextDelta, value.get("text"))

    def _refusal_done(self, value: _Object) -> list[Event]:
        return self._all_said(value, RefusalDelta, value.get("refusal"))

    def _all_said(self, value: _Object, kind: _Delta, text: JSON) -> list[Event]:
        events, item = self._start({}), self._item(value, "message")
        if item.ended:
            return events
        return events + self._rest(item, _index(value, "content_index"), kind, text)

    def _annotation(self, value: _Object) -> list[Event]:
        note = value.get("annotation")
        item = self._item(value, "message")
        if type(note) is not dict or item.ended:
            return []
        part = self._part(item, _index(value, "content_index"))
        if part.ended:
            return []
        part.notes += 1
        return [*self._start({}), CitationSeen(part.index, note)]

    def _content_done(self, value: _Object) -> list[Event]:
        block, item = value.get("part"), self._item(value, "message")
        if type(block) is not dict or string(block, "type") not in _SAID or item.ended:
            return []
        index = _index(value, "content_index")
        events = self._start({}) + self._said(item, index, block)
        part = item.parts.get(index)
        if part is not None and not self._is_ended(part):
            events.append(PartEnded(part.index))
        return events

    # --- reasoning ---

    def _summary_delta(self, value: _Object) -> list[Event]:
        return self._thought(value, ("summary", _index(value, "summary_index")))

    def _reasoning_delta(self, value: _Object) -> list[Event]:
        return self._thought(value, ("content", _index(value, "content_index")))

    def _thought(self, value: _Object, place: tuple[str, int]) -> list[Event]:
        """A piece of reasoning. Of the words and their summary, only what comes first is shown; the
        pieces of either are set apart by a blank line."""
        item = self._item(value, "reasoning")
        if item.place is not None and item.place[0] != place[0]:
            return []
        events = self._delta(value, ThoughtDelta, item_kind="reasoning", index=0)
        if events and item.place is not None and item.place != place:
            events.insert(-1, ThoughtDelta(item.parts[0].index, "\n\n"))
        if events:
            item.place = place
        return events

    # --- calls ---

    def _arguments_delta(self, value: _Object) -> list[Event]:
        text, item = value.get("delta"), self._items.get(_index(value, "output_index"))
        if type(text) is not str or not text or item is None or item.ended or not item.parts:
            return []  # of a call without a name nothing can be shown until it is whole
        part = next(iter(item.parts.values()))
        if part.ended or item.kind not in _CALLS:
            return []
        part.said += len(text)
        return [ToolDelta(part.index, text)]

    def _arguments_done(self, value: _Object) -> list[Event]:
        item = self._items.get(_index(value, "output_index"))
        if item is None or item.ended or not item.parts or item.kind not in _CALLS:
            return []
        custom = item.kind == "custom_tool_call"
        return self._rest(item, 0, ToolDelta, value.get("input" if custom else "arguments"))

    # --- ends ---

    def _end(self, value: _Object) -> list[Event]:
        response = _response(value)
        events = self._start(response)
        failure = answer_failure(response)
        if failure is not None:
            return events + self._fail(failure)
        output = response.get("output")
        for index, given in enumerate(output if type(output) is list else ()):
            if type(given) is dict and not self._reused:
                item = self._items.setdefault(index, _Item(string(given, "type")))
                if item.kind == given.get("type"):
                    events += self._finished_item(item, given)
        for item in self._items.values():
            events += self._left_open(item)
        usage = usage_of(response.get("usage"))
        if usage is not None:
            events.append(UsageSeen(usage))
        self._over = True
        reason = stop_reason(response, has_call=self._called, has_refusal=self._refused)
        return [*events, Finished(reason, native_stop(response))]

    def _left_open(self, item: _Item) -> list[Event]:
        """The ends of an item's parts that were never said."""
        item.ended = True
        return [PartEnded(p.index) for p in item.parts.values() if not self._is_ended(p)]

    def _failed(self, value: _Object) -> list[Event]:
        response = _response(value)
        events = self._start(response)
        failure = answer_failure(response) or event_failure(value)
        return events + self._fail(failure)

    def _fail(self, failure: Failure) -> list[Event]:
        events = self._start({})
        self._over = True
        return [*events, Failed(failure)]


def _response(value: _Object) -> _Object:
    response = value.get("response")
    return response if type(response) is dict else {}


def _index(value: _Object, name: str) -> int:
    index = value.get(name)
    return index if type(index) is int else 0


def _unreadable(error: FormatError) -> Failure:
    return Failure("upstream", f"the upstream's stream cannot be read: {error}")


_CALLS = frozenset({"function_call", "custom_tool_call"})
_SAID = frozenset({"output_text", "text", "refusal"})
_READERS: dict[str, Callable[[Decoder, _Object], list[Event]]] = {
    "response.output_text.delta": Decoder._text_delta,
    "response.function_call_arguments.delta": Decoder._arguments_delta,
    "response.custom_tool_call_input.delta": Decoder._arguments_delta,
    "response.reasoning_summary_text.delta": Decoder._summary_delta,
    "response.reasoning_text.delta": Decoder._reasoning_delta,
    "response.refusal.delta": Decoder._refusal_delta,
    "response.output_item.added": Decoder._item_added,
    "response.output_item.done": Decoder._item_done,
    "response.output_text.done": Decoder._text_done,
    "response.output_text.annotation.added": Decoder._annotation,
    "response.refusal.done": Decoder._refusal_done,
    "response.content_part.done": Decoder._content_done,
    "response.function_call_arguments.done": Decoder._arguments_done,
    "response.custom_tool_call_input.done": Decoder._arguments_done,
    "response.created": Decoder._lifecycle,
    "response.queued": Decoder._lifecycle,
    "response.in_progress": Decoder._lifecycle,
    "response.completed": Decoder._end,
    "response.incomplete": Decoder._end,
    "response.failed": Decoder._failed,
    "response.cancelled": Decoder._failed,
}
