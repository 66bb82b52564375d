"""An upstream's Anthropic Messages stream, read; and one that passes through, watched.

Owns: which wire event is which canonical event, what ends a stream well, what a broken one is.
Refuses to know: clients, and how an answer is shown to one.

Laws:
1. Blocks are known by their index and may overlap: real servers leave a text block open while a
   call streams, and close all of them at the end. A delta decides what it belongs to, whatever the
   block was announced as.
2. `message_stop` ends a stream. One that lacks it is whole only if a `message_delta` had said why
   the model stopped: by then nothing but the mark itself was to come. All else is truncated.
3. `feed` and `eof` give events, never an exception; after the last event, nothing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

from formats import jsontext
from formats.anthropic.errors import event_failure, stray_failure
from formats.anthropic.wire import NAME, figures, stop_reason, usage_of
from formats.canonical import (
    CitationSeen,
    Event,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    Started,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, FormatError
from formats.framing import SSEFramer
from formats.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = Any
_Object = dict[str, JSON]
_Kind = Literal["text", "thinking", "redacted", "tool", "opaque"]

_loads = json.loads
# A block of text or thinking that is opened with nothing in it yet.
_EMPTY_BLOCK = re.compile(rb'"content_block"\s*:\s*\{[^{}]*"(?:text|thinking)"\s*:\s*""[^{}]*\}')
_ERROR_NAME = re.compile(rb"^event: ?error\s", re.MULTILINE)
_WHOLE = (b"}\n\n", b"}\r\n\r\n")  # how a delta ends that was not cut
_NOT_JSON = "the upstream sent an event that is not JSON"
_NO_FIGURES = {"input_tokens": 0, "output_tokens": 0}
_CUT = Failure("truncated", "the upstream's stream ended before the answer was complete")
# A repeated thinking text is only looked for up to this many characters: it is a rare mistake, and
# remembering a long text for it would be a cost without a bound.
_REMEMBERED = 1 << 18


class _Block:
    """An upstream's block that has begun. said: the thinking so far; value: of an opaque block."""

    __slots__ = ("fragments", "kind", "part", "said", "signature", "size", "value")

    def __init__(self, kind: _Kind, part: int) -> None:
        self.kind = kind
        self.part = part
        self.said: list[str] = []
        self.size = 0
        self.signature: str | None = None
        self.value: _Object = {}
        self.fragments: list[str] = []


class Decoder:
    """Bytes of an upstream in, canonical events out."""

    def __init__(self, *, limit: int) -> None:
        self._sse = SSEDecoder(limit=limit)
        self._room = limit  # for what opaque blocks hold until they are whole
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self._calls = False  # a call was finished
        self._started = False
        self._ended = False
        self._strange = False  # an event of no known type came
        self._figures: dict[str, int] = {}
        self._native: str | None = None
        self._sequence: str | None = None
        self._details: JSON = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        if self._ended:
            return []
        try:
            frames = self._sse.feed(data)
        except FormatError as error:
            return self._failed(Failure("upstream", f"the upstream's stream is broken: {error}"))
        return self._read(frames)

    def eof(self) -> list[Event]:
        """The body has ended: whatever is missing is said now."""
        if self._ended:
            return []
        try:
            events = self._read(self._sse.eof())
        except FormatError as error:
            events = self._failed(Failure("upstream", f"the upstream's stream is broken: {error}"))
        if self._ended:
            return events
        if self._native is not None:  # law 2
            return events + self._finished()
        if not self._started and self._sse.stray:
            return events + self._failed(stray_failure(self._sse.stray))
        if not self._started and self._strange:
            why = "the upstream's stream has no event of the Anthropic format"
            return events + self._failed(Failure("upstream", why))
        return events + self._failed(_CUT)

    def _read(self, frames: list[Any]) -> list[Event]:
        events: list[Event] = []
        for name, data in frames:
            try:
                value = _loads(data)
            except (ValueError, RecursionError):
                if data == "[DONE]":  # of another format, sent by some gateways as well
                    continue
                events += self._failed(Failure("upstream", _NOT_JSON))
                break
            if type(value) is not dict:
                continue
            reader = _READERS.get(_str(value, "type") or name)
            if reader is not None:
                events += reader(self, value)
            elif value.get("error") is not None:
                events += self._failed(event_failure(value))
            else:
                self._strange = True
            if self._ended:
                break
        return events

    # --- the message ---

    def _message_start(self, value: _Object) -> list[Event]:
        message = value.get("message")
        message = message if type(message) is dict else {}
        if self._parts:
            why = "the upstream began its answer anew after a part of it had been sent"
            return self._failed(Failure("upstream", why))
        self._figures = {}
        events = self._start(message)
        return events + self._usage(message.get("usage"))

    def _start(self, message: _Object) -> list[Event]:
        if self._started:
            return []
        self._started = True
        id_, model = message.get("id"), message.get("model")
        return [Started(id_ if type(id_) is str else "", model if type(model) is str else "")]

    def _usage(self, value: JSON) -> list[Event]:
        self._figures |= figures(value)
        usage = usage_of(self._figures)
        return [] if usage is None or not figures(value) else [UsageSeen(usage)]

    def _message_delta(self, value: _Object) -> list[Event]:
        events = self._start({}) + self._usage(value.get("usage"))
        delta = value.get("delta")
        if type(delta) is dict:
            if type(reason := delta.get("stop_reason")) is str:
                self._native = reason
            if type(sequence := delta.get("stop_sequence")) is str:
                self._sequence = sequence
            if delta.get("stop_details") is not None:
                self._details = delta["stop_details"]
        return events

    def _message_stop(self, value: _Object) -> list[Event]:
        del value
        return self._start({}) + self._finished()

    def _error(self, value: _Object) -> list[Event]:
        return self._failed(event_failure(value))

    def _nothing(self, value: _Object) -> list[Event]:
        del value
        return []

    def _finished(self) -> list[Event]:
        events: list[Event] = []
        for index in list(self._blocks):
            events += self._end(index)
        self._ended = True
        reason = stop_reason(self._native, self._sequence, calls=self._calls)
        return [*events, Finished(reason, self._native, self._sequence, self._details)]

    def _failed(self, failure: Failure) -> list[Event]:
        events = self._start({})
        self._ended = True
        return [*events, Failed(failure)]

    # --- blocks ---

    def _block_start(self, value: _Object) -> list[Event]:
        index, block = value.get("index"), value.get("content_block")
        if type(index) is not int or type(block) is not dict:
            return []
        events = self._start({})
        if index in self._blocks:  # announced twice: a new block under an old number
            events += self._end(index)
        kind = _KINDS.get(_str(block, "type"), "opaque")
        state = self._open(index, kind)
        match kind:
            case "text":
                if text := _str(block, "text"):
                    events.append(TextDelta(state.part, text))
                citations = block.get("citations")
                events += [
                    CitationSeen(state.part, each)
                    for each in (citations if type(citations) is list else ())
                ]
            case "thinking":
                text = _str(block, "thinking")
                state.said.append(text)
                state.size = len(text)
                state.signature = _str(block, "signature") or None
                events.append(ThoughtDelta(state.part, text))
            case "redacted":
                data = _str(block, "data")
                events.append(ThoughtSigned(state.part, redacted=data, origin=NAME))
            case "tool":
                events.append(_tool_started(state.part, block))
                if type(block.get("input")) is dict and block["input"]:
                    state.value = block["input"]
            case "opaque":
                state.value = dict(block)
        return events

    def _open(self, index: int, kind: _Kind) -> _Block:
        state = self._blocks[index] = _Block(kind, self._parts)
        self._parts += 1
        return state

    def _block_delta(self, value: _Object) -> list[Event]:
        try:
            state, delta = self._blocks.get(value["index"]), value["delta"]
            type_ = delta["type"]
        except (KeyError, TypeError):
            return []
        if type_ == "text_delta":
            if state is not None and state.kind == "text":
                text = delta.get("text")
                return [TextDelta(state.part, text)] if text and type(text) is str else []
            return self._fitting(value, "text")
        if type_ == "input_json_delta" and state is not None and state.kind == "tool":
            fragment = _str(delta, "partial_json")
            if not fragment:
                return []
            state.fragments = [""]  # it has arguments of its own
            return [ToolDelta(state.part, fragment)]
        if type_ in ("thinking_delta", "signature_delta"):
            if state is None or state.kind != "thinking":
                return self._fitting(value, "thinking")
            return self._thinking_delta(state, delta)
        if type_ == "citations_delta" and state is not None and state.kind == "text":
            citation = delta.get("citation")
            return [] if citation is None else [CitationSeen(state.part, citation)]
        if state is not None and state.kind == "opaque":
            return self._opaque_delta(state, delta)
        return []

    def _fitting(self, value: _Object, kind: Literal["text", "thinking"]) -> list[Event]:
        """A delta that does not fit its block, or whose block was never announced: its own type
        says what it is, so it begins a part of that kind."""
        index, events = value["index"], self._start({})
        if type(index) is not int:
            return events
        if index in self._blocks:
            events += self._end(index)
        self._open(index, kind)
        return events + self._block_delta(value)

    def _thinking_delta(self, state: _Block, delta: _Object) -> list[Event]:
        if type(signature := delta.get("signature")) is str and signature:
            state.signature = signature
        text = _str(delta, "thinking")
        if not text:
            return []
        if signature and state.size == len(text) and text == "".join(state.said):
            return []  # some gateways repeat the whole text beside its signature
        if state.size <= _REMEMBERED:
            state.said.append(text)
        state.size += len(text)
        return [ThoughtDelta(state.part, text)]

    def _opaque_delta(self, state: _Block, delta: _Object) -> list[Event]:
        self._room -= len(str(delta))
        if self._room < 0:
            return self._failed(
                Failure("upstream", "a block of the upstream's is too long to keep")
            )
        if delta.get("type") == "input_json_delta":
            state.fragments.append(_str(delta, "partial_json"))
            return []
        for name, each in delta.items():
            if name == "type":
                continue
            old = state.value.get(name)
            both = type(old) is str and type(each) is str
            state.value[name] = old + each if both else each
        return []

    def _block_stop(self, value: _Object) -> list[Event]:
        index = value.get("index")
        return self._end(index) if type(index) is int and index in self._blocks else []

    def _end(self, index: int) -> list[Event]:
        state = self._blocks.pop(index)
        events: list[Event] = []
        match state.kind:
            case "thinking":
                if state.signature is not None:
                    events.append(ThoughtSigned(state.part, state.signature, origin=NAME))
            case "tool":
                self._calls = True
                if state.value and not state.fragments:  # the whole input stood in the start
                    events.append(ToolDelta(state.part, jsontext.dumps(state.value)))
            case "opaque":
                events.append(_opaque_part(state))
            case "text" | "redacted":
                pass
        return [*events, PartEnded(state.part)]


def _str(obj: _Object, key: str) -> str:
    value = obj.get(key)
    return value if type(value) is str else ""


def _tool_started(part: int, block: _Object) -> ToolStarted:
    known = ("type", "id", "name", "input")
    extra = {name: value for name, value in block.items() if name not in known}
    return ToolStarted(part, _str(block, "id"), _str(block, "name"), extra=extra)


def _opaque_part(state: _Block) -> OpaquePart:
    value = state.value
    if text := "".join(state.fragments):
        try:
            value["input"] = jsontext.loads(text)
        except ValueError:
            value["input"] = {"_raw_arguments": text}
    return OpaquePart(state.part, NAME, _str(value, "type"), value)


_KINDS: dict[str, _Kind] = {
    "text": "text",
    "thinking": "thinking",
    "redacted_thinking": "redacted",
    "tool_use": "tool",
}
_READERS: dict[str, Callable[[Decoder, _Object], list[Event]]] = {
    "content_block_delta": Decoder._block_delta,
    "content_block_start": Decoder._block_start,
    "content_block_stop": Decoder._block_stop,
    "message_start": Decoder._message_start,
    "message_delta": Decoder._message_delta,
    "message_stop": Decoder._message_stop,
    "error": Decoder._error,
    "ping": Decoder._nothing,
}


# --- watching -------------------------------------------------------------------------------------


class Observer:
    """A stream that passes through unchanged. Looks for a few quoted words, which inside a JSON
    string would be escaped, and parses whatever is not a delta: what cannot be read does not pass."""

    def __init__(self, *, limit: int) -> None:
        self._framer = SSEFramer(limit=limit)
        self._figures: dict[str, int] = {}
        self.ended = False  # message_stop
        self._reason = False  # why the model stopped
        self._stray = b""
        self._unreadable = False  # an event came that is none: it does not pass, nor what follows
        self.content = False
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.told = False

    def feed(self, data: bytes) -> bytes:
        """The whole events in what has come so far. Raises TooLong."""
        out: list[bytes] = []
        for raw in self._framer.feed(data):
            passing = None if self._unreadable else self._look(raw)
            if passing is None:
                self._unreadable = True
                break
            out.append(passing)
        return b"".join(out)

    def eof(self) -> Failure | None:
        """None when the stream ended well."""
        failure = self.failure
        if (rest := self._framer.rest()) and self._look(rest) is None:
            self.failure = failure  # it was cut in its middle
        if self.failure is not None:
            return self.failure
        if self.ended or self._reason:
            return None
        if self._stray and not self.content:
            return stray_failure(self._stray)
        return _CUT

    def _look(self, raw: bytes) -> bytes | None:
        """The event as it passes; None: it cannot be read, and would break the client."""
        if b"content_block_delta" in raw and b'"error"' not in raw and raw.endswith(_WHOLE):
            self.content = True
            return raw
        if b"data:" not in raw:
            if not self.content and len(self._stray) < 2048:
                self._stray += raw[:2048]
            return raw
        value = _data_of(raw)
        if value is None:
            self.failure = self.failure or Failure("upstream", _NOT_JSON)
            return None
        self._note(value)
        if b"content_block_delta" in raw or (
            b"content_block_start" in raw and _EMPTY_BLOCK.search(raw) is None
        ):
            self.content = True
        # readers of this format go by the event's name
        self.told = self.failure is not None and _ERROR_NAME.search(raw) is not None
        return _with_figures(raw, value)

    def _note(self, value: _Object) -> None:
        match value.get("type"):
            case "message_start":
                message = value.get("message")
                self._merge(message.get("usage") if type(message) is dict else None)
            case "message_delta":
                self._merge(value.get("usage"))
                delta = value.get("delta")
                if type(delta) is dict and type(delta.get("stop_reason")) is str:
                    self._reason = True
            case "message_stop":
                self.ended = True
            case "error":
                self.failure = self.failure or event_failure(value)
            case None if value.get("error") is not None:
                self.failure = self.failure or event_failure(value)
            case _:
                pass

    def _merge(self, usage: JSON) -> None:
        self._figures |= figures(usage)
        self.usage = usage_of(self._figures)


def _data_of(raw: bytes) -> _Object | None:
    """What an event says; empty when that is nothing for a reader of this format, None when it cannot
    be read."""
    data = b"\n".join(line[5:] for line in raw.splitlines() if line.startswith(b"data:"))
    try:
        value = _loads(data)
    except (ValueError, RecursionError):
        return {} if data.strip() in (b"", b"[DONE]") else None
    return value if type(value) is dict else {}


def _with_figures(raw: bytes, value: _Object) -> bytes:
    """The event with figures of nothing where it must have some and has none: the official libraries
    take them for granted."""
    kind = value.get("type")
    holder = value.get("message") if kind == "message_start" else value
    if kind not in ("message_start", "message_delta") or type(holder) is not dict:
        return raw
    if type(holder.get("usage")) is dict:
        return raw
    holder["usage"] = dict(_NO_FIGURES)
    return f"event: {kind}\ndata: ".encode() + jsontext.dump(value) + b"\n\n"
