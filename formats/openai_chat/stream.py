"""Streams of Chat Completions: decoded and encoded.

Owns: chunk objects in and out, the order of things in a stream, its end mark, its error event.
Refuses to know: framing (formats.sse, formats.framing), requests, whole answers but for the
figures and stop reasons that both share.

Laws:
1. Any split of the bytes gives the same events; nothing raises: what is wrong is a `Failed`.
2. A stream that ends without a finish_reason and without [DONE] is truncated, however well its
   HTTP ended; [DONE] after an error is no success.
3. The upstream's tool-call indexes are hints: calls are told apart by index, id and arrival.
4. Only encode(Finished) writes [DONE]. Id and name of a call are written once: clients join
   repeats. Indexes count from 0 without gaps.
5. A text delta costs one json.loads to read and no JSON building to write.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import TYPE_CHECKING

from formats.canonical import (
    EMPTY,
    JSON,
    CitationSeen,
    Event,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    Request,
    Stamp,
    Started,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, FormatError, Garbled, TooLong
from formats.fold import unfold
from formats.freeform import Unwrapper, custom_names
from formats.ids import ClientNames
from formats.jsontext import dump, loads
from formats.losses import note_answer
from formats.openai_chat.answer import (
    BROKEN_OFF,
    CALL_MEMBERS,
    STOPS,
    arguments_text,
    citation_of,
    content_pieces,
    failure_in,
    native_stop,
    note_second_call,
    note_signature,
    note_unshown,
    refusal_words,
    response_of,
    shown_id,
    stop_reason,
    stop_sequence_of,
    unrepeated,
    usage_object,
    usage_of,
)
from formats.openai_chat.errors import event_for_client, failure_of, parse_error
from formats.openai_chat.parse import is_legacy, reasoning_of
from formats.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.ledger import Ledger

DONE = b"data: [DONE]\n\n"
PING = b": keep-alive\n\n"
TRUNCATED = "the upstream's stream ended before the answer was complete"
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")  # some clients take them for ends of lines

ERROR_FIELD = re.compile(rb"^error:\s*(\{.*)$", re.MULTILINE)  # so an old llama.cpp says it


def decoder(*, limit: int) -> ChatDecoder:
    """limit: bytes of one event."""
    return ChatDecoder(limit=limit)


def encoder(request: Request, ledger: Ledger, stamp: Stamp, /) -> ChatEncoder:
    return ChatEncoder(request, ledger, stamp)


def not_a_stream(body: bytes) -> Failure:
    """What to say of a body that held no event at all."""
    text = body.strip()
    if not text:
        return Failure("truncated", "the upstream's stream ended before it began")
    field = ERROR_FIELD.search(text)
    if field is not None:
        text = field[1]
    said = parse_error(200, text)
    if said.native is not None:
        return said
    start = said.message[:200]
    return Failure("upstream", f"the upstream answered with something that is no stream: {start}")


# --- decoding -------------------------------------------------------------------------------------


class _Call:
    """A tool call while it arrives. It is shown from its name on; pieces before that wait."""

    __slots__ = ("closed", "extra", "id", "kind", "name", "part", "waiting")

    def __init__(self, call_id: str, extra: Mapping[str, JSON]) -> None:
        self.id = call_id
        self.extra = extra
        self.name = ""
        self.kind = "function"
        self.part = -1
        self.waiting = ""
        self.closed = False  # the last piece ended in a brace: a new object may be a new call


class ChatDecoder:
    """An upstream's stream into events."""

    __slots__ = (
        "_by_id",
        "_by_index",
        "_calls",
        "_choice",
        "_ids",
        "_kind",
        "_last",
        "_limit",
        "_looked",
        "_native",
        "_over",
        "_part",
        "_parts",
        "_plain",
        "_refused",
        "_sequence",
        "_sse",
        "_started",
        "_usage",
    )

    def __init__(self, *, limit: int) -> None:
        self._sse = SSEDecoder(limit=limit)
        self._limit = limit
        self._plain: bytearray | None = None  # a body that is one JSON object instead of a stream
        self._looked = False
        self._started = False
        self._over = False
        self._choice: JSON = None  # index of the choice that is followed
        self._parts = 0
        self._kind: type[TextDelta | ThoughtDelta | RefusalDelta] | None = None
        self._part = -1
        self._refused = False
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._ids: set[str] = set()
        self._last: _Call | None = None
        self._native: str | None = None
        self._sequence: str | None = None
        self._usage: Usage | None = None

    def feed(self, data: bytes, /) -> list[Event]:
        out: list[Event] = []
        if self._over or (not self._looked and self._is_plain(data)):
            return out
        if self._plain is not None:
            return self._more_plain(data)
        try:
            self._events(self._sse.feed(data), out)
        except FormatError as error:
            self._fail(_unreadable(error), out)
        return out

    def eof(self) -> list[Event]:
        """The upstream's body has ended."""
        out: list[Event] = []
        if self._over:
            return out
        if self._plain is not None:
            return self._whole(bytes(self._plain))
        try:
            self._events(self._sse.eof(), out)
        except FormatError as error:
            self._fail(_unreadable(error), out)
        if not self._over:
            if self._native is not None:
                self._finish(out)
            else:
                self._fail(self._cut(), out)
        return out

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
        out: list[Event] = []
        if len(self._plain) > self._limit:
            self._fail(_unreadable(TooLong("it is one object, and too long")), out)
        return out

    def _whole(self, body: bytes) -> list[Event]:
        """A server that does not know `stream` gives its whole answer at once."""
        self._over = True
        try:
            obj = loads(body.decode("utf-8"))
            failure = failure_in(obj)
            return unfold(response_of(obj)) if failure is None else [Failed(failure)]
        except (ValueError, Garbled):
            return [Failed(not_a_stream(body))]

    def _cut(self) -> Failure:
        if self._sse.stray:
            said = not_a_stream(self._sse.stray)
            if not self._started or said.native is not None:
                return said
        return Failure("truncated", TRUNCATED)

    # --- events ---

    def _events(self, events: list[ServerSentEvent], out: list[Event]) -> None:
        for name, data in events:
            if data == "[DONE]" or data.strip() == "[DONE]":
                self._end(out)
            else:
                self._event(name, data, out)
            if self._over:
                return

    def _end(self, out: list[Event]) -> None:
        if self._started:
            self._finish(out)
        else:
            self._fail(Failure("upstream", "the upstream's stream held no answer"), out)

    def _event(self, name: str, data: str, out: list[Event]) -> None:
        try:
            obj = loads(data)
        except ValueError:
            self._fail(Failure("upstream", "an event of the upstream's stream is not JSON"), out)
            return
        if type(obj) is not dict:
            self._fail(Failure("upstream", "an event of the upstream's stream is no object"), out)
            return
        choices = obj.get("choices")
        if not choices or "error" in obj:
            failure = failure_in(obj)
            if failure is None and name == "error":
                failure = failure_of(None, obj)
            if failure is not None:
                self._fail(failure, out)
                return
        if type(choices) is list and choices:
            self._choices(obj, choices, out)
        if "usage" in obj or "timings" in obj or "x_groq" in obj:
            self._figures(obj, out)

    def _start(self, obj: Mapping[str, JSON], out: list[Event]) -> None:
        self._started = True
        call_id, model, created = obj.get("id"), obj.get("model"), obj.get("created")
        out.append(
            Started(
                call_id if type(call_id) is str else "",
                model if type(model) is str else "",
                created if type(created) is int else None,
            )
        )

    def _figures(self, obj: Mapping[str, JSON], out: list[Event]) -> None:
        usage = usage_of(obj)
        if usage is None or usage == self._usage or self._over:
            return
        self._usage = usage
        if not self._started:
            self._start(obj, out)
        out.append(UsageSeen(usage))

    def _choices(self, obj: Mapping[str, JSON], choices: list[JSON], out: list[Event]) -> None:
        if not self._started:
            self._start(obj, out)
        for choice in choices:
            if type(choice) is not dict:
                continue
            index = choice.get("index", 0)
            if self._choice is None:
                self._choice = index
            if index != self._choice:
                continue  # a second answer to the same question: no other format has one
            delta = choice.get("delta")
            if type(delta) is not dict:
                delta = choice.get("message")  # a few servers end with the whole message
                delta = delta if type(delta) is dict and not self._parts else None
            if delta:
                self._delta(delta, out)
            native = choice.get("finish_reason")
            if native and type(native) is str:
                self._stopped(native, choice, out)

    def _stopped(self, native: str, choice: Mapping[str, JSON], out: list[Event]) -> None:
        if native in BROKEN_OFF:
            why = f"the upstream broke the answer off (finish_reason {native!r})"
            self._fail(Failure("upstream", why), out)
        elif self._native is None or STOPS.get(native) in ("max_tokens", "content_filter"):
            self._native = native
            self._sequence = stop_sequence_of(choice)

    def _delta(self, delta: Mapping[str, JSON], out: list[Event]) -> None:
        if "reasoning_content" in delta or "reasoning" in delta:
            thought = reasoning_of(delta)
            if thought:
                out.append(ThoughtDelta(self._flow(ThoughtDelta, out), thought))
        content = delta.get("content")
        if content:
            if type(content) is str:
                out.append(TextDelta(self._flow(TextDelta, out), content))
            else:
                for text, thinking in content_pieces(content):
                    kind = ThoughtDelta if thinking else TextDelta
                    out.append(kind(self._flow(kind, out), text))
        refusal = delta.get("refusal")
        if refusal and type(refusal) is str:
            self._refused = True
            out.append(RefusalDelta(self._flow(RefusalDelta, out), refusal))
        calls = delta.get("tool_calls")
        if calls and type(calls) is list:
            for piece in calls:
                if type(piece) is dict:
                    self._call_piece(piece, out)
        old = delta.get("function_call")
        if type(old) is dict:
            self._call_piece({"index": 0, "function": old}, out)

    def _flow(self, kind: type[TextDelta | ThoughtDelta | RefusalDelta], out: list[Event]) -> int:
        """The part that takes a delta of this kind: text, reasoning and refusals take turns."""
        if self._kind is not kind:
            self._close_flow(out)
            self._kind = kind
            self._part = self._parts
            self._parts += 1
        return self._part

    def _close_flow(self, out: list[Event]) -> None:
        if self._kind is not None:
            out.append(PartEnded(self._part))
            self._kind = None

    # --- calls ---

    def _call_piece(self, piece: Mapping[str, JSON], out: list[Event]) -> None:
        custom = type(piece.get("custom")) is dict
        inner = piece.get("custom" if custom else "function")
        if type(inner) is not dict:
            inner = {}
        name = inner.get("name")
        name = name if type(name) is str else ""
        text = arguments_text(inner.get("input" if custom else "arguments"))
        call = self._call_of(piece, name, text)
        if not call.name and name:
            call.name = name
            call.kind = "custom" if custom else "function"
            self._show(call, out)
        if text:
            call.closed = text.endswith("}")
            if call.part < 0:
                call.waiting += text
            else:
                out.append(ToolDelta(call.part, text))

    def _show(self, call: _Call, out: list[Event]) -> None:
        self._close_flow(out)
        call.part = self._parts
        self._parts += 1
        kind = "custom" if call.kind == "custom" else "function"
        out.append(ToolStarted(call.part, call.id, call.name, kind, call.extra))  # type: ignore[arg-type]
        if call.waiting:
            out.append(ToolDelta(call.part, call.waiting))
            call.waiting = ""

    def _call_of(self, piece: Mapping[str, JSON], name: str, text: str) -> _Call:
        """The call that a piece belongs to. Servers repeat ids, leave out indexes, or give the
        index 0 to all calls: a new id with a name is a new call, whatever its index says."""
        index = piece.get("index")
        index = index if type(index) is int else None
        there = self._last if index is None else self._by_index.get(index)
        given = piece.get("id")
        given = given if type(given) is str else ""
        if given:
            known = self._by_id.get(given)
            if known is not None and (known is there or index is None or not name):
                return known
            if there is not None and not name and (not there.name or not there.id):
                return there
        elif there is not None and not (
            name and there.name and there.closed and text.lstrip().startswith("{")
        ):
            return there
        return self._new_call(piece, given, index)

    def _new_call(self, piece: Mapping[str, JSON], given: str, index: int | None) -> _Call:
        extra = {n: v for n, v in piece.items() if n not in CALL_MEMBERS and v is not None}
        call = _Call(unrepeated(given, self._ids), extra or EMPTY)
        self._calls.append(call)
        self._last = call
        if given:
            self._by_id[given] = call
        if index is not None:
            self._by_index[index] = call
        return call

    # --- ends ---

    def _finish(self, out: list[Event]) -> None:
        if self._sse.stray and ERROR_FIELD.search(self._sse.stray):
            self._fail(not_a_stream(self._sse.stray), out)
            return
        self._close_flow(out)
        shown = [call for call in self._calls if call.part >= 0]
        if any(call.part < 0 and call.waiting for call in self._calls):
            self._fail(Failure("upstream", "the upstream called a tool without naming it"), out)
            return
        out += [PartEnded(call.part) for call in shown]
        reason = stop_reason(
            self._native,
            has_call=bool(shown),
            has_refusal=self._refused,
            sequence=self._sequence,
        )
        sequence = self._sequence if reason == "stop_sequence" else None
        out.append(Finished(reason, self._native, sequence))
        self._over = True

    def _fail(self, failure: Failure, out: list[Event]) -> None:
        out.append(Failed(failure))
        self._over = True


def _unreadable(error: FormatError) -> Failure:
    return Failure("upstream", f"the upstream's stream cannot be read: {error}")


# --- encoding -------------------------------------------------------------------------------------


class ChatEncoder:
    """Events into a client's stream."""

    failure: Failure | None = None
    __slots__ = (
        "_calls",
        "_content",
        "_custom",
        "_head",
        "_included",
        "_ledger",
        "_legacy",
        "_length",
        "_names",
        "_over",
        "_spoken",
        "_stamp",
        "_starts",
        "_tail",
        "_text_head",
        "_text_tail",
        "_thought_head",
        "_usage",
    )

    def __init__(self, request: Request, ledger: Ledger, stamp: Stamp) -> None:
        self._ledger = ledger
        self._stamp = stamp
        self._included = request.include_usage
        self._calls: dict[int, _Shown] = {}
        self._usage: Usage | None = None
        self._over = False
        self._spoken = False  # text or a refusal was sent
        self._length = 0
        self._starts: dict[int, int] = {}  # where each text part begins in the text
        self._tail = b',"usage":null}\n\n' if self._included else b"}\n\n"
        self._text_tail = b'},"logprobs":null,"finish_reason":null}]' + self._tail
        self._names = ClientNames(request)
        self._custom = custom_names(request)
        self._legacy = is_legacy(request)
        self._set_model(stamp.model or request.model)

    def _set_model(self, model: str) -> None:
        """Everything that stands before the delta, which is the same in all chunks."""
        fields = {
            "id": f"chatcmpl-{self._stamp.id}",
            "object": "chat.completion.chunk",
            "created": self._stamp.created,
            "model": model,
        }
        self._head = b"data: " + dump(fields)[:-1] + b',"choices":['
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._thought_head = self._head + b'{"index":0,"delta":{"reasoning_content":'

    def ping(self) -> bytes:
        """A life sign, legal everywhere."""
        return b"" if self._over else PING

    def encode(self, event: Event, /) -> bytes:
        if self._over:
            return b""
        match event:
            case TextDelta(part, text):
                if not text:
                    return b""
                if part not in self._starts:
                    self._starts[part] = self._length
                self._length += len(text)
                self._spoken = True
                return self._text_head + quoted(text) + self._text_tail
            case ThoughtDelta(_, text):
                return self._thought_head + quoted(text) + self._text_tail if text else b""
            case ToolDelta(part, fragment):
                return self._tool_delta(part, fragment)
            case RefusalDelta(_, text):
                self._spoken = True
                return self._chunk({"refusal": text}) if text else b""
            case Started(_, model):
                if model:
                    self._set_model(model)
                return self._chunk({"role": "assistant", "content": ""})
            case ToolStarted():
                return self._tool_started(event)
            case PartEnded(part):
                return self._part_ended(part)
            case CitationSeen(part, citation):
                return self._citation(part, citation)
            case UsageSeen(usage):
                self._usage = usage if self._usage is None else self._usage.merged(usage)
                return b""
            case ThoughtSigned(_, signature, redacted):
                note_signature(signature or redacted, self._ledger)
                return b""
            case OpaquePart(_, _, kind):
                note_unshown(kind, self._ledger)
                return b""
            case Finished():
                return self._finished(event)
            case Failed(failure):
                self._over = True
                return b"data: " + dump({"error": event_for_client(failure)}) + b"\n\n"

    def _chunk(self, delta: dict[str, JSON], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head + dump(choice) + b"]" + self._tail

    def _tool_started(self, event: ToolStarted) -> bytes:
        index = len(self._calls)
        if self._legacy:
            return self._function_started(event, index)
        name = self._names.client_name(event.name)
        custom = event.kind == "custom" or name in self._custom
        kind = "custom" if custom else "function"
        member = b'"custom":{"input":' if custom else b'"function":{"arguments":'
        head = b'{"index":0,"delta":{"tool_calls":[{"index":%d,' % index
        shown = _Shown(self._head + head + member, custom)
        if custom and event.kind != "custom":
            shown.unwrapper = Unwrapper()
        self._calls[event.part] = shown
        call: dict[str, JSON] = {
            "index": index,
            "id": shown_id(event.id, index, self._stamp),
            "type": kind,
            kind: {"name": name, "input" if custom else "arguments": ""},
        }
        if "extra_content" in event.extra:
            call["extra_content"] = event.extra["extra_content"]
        return self._chunk({"tool_calls": [call]})

    def _function_started(self, event: ToolStarted, index: int) -> bytes:
        """For clients that know functions, but no tools: one call, without an id."""
        if index:
            note_second_call(self._ledger)
            return b""
        head = self._head + b'{"index":0,"delta":{"function_call":{"arguments":'
        self._calls[event.part] = _Shown(head, False, b"}")
        name = self._names.client_name(event.name)
        return self._chunk({"function_call": {"name": name, "arguments": ""}})

    def _tool_delta(self, part: int, fragment: str) -> bytes:
        call = self._calls.get(part)
        if call is not None and call.unwrapper is not None:
            fragment = call.unwrapper.feed(fragment)
        return self._piece(call, fragment)

    def _piece(self, call: _Shown | None, fragment: str) -> bytes:
        if call is None or not fragment:
            return b""
        call.empty = call.empty and fragment.isspace()
        return call.head + quoted(fragment) + call.tail + self._text_tail

    def _part_ended(self, part: int) -> bytes:
        """A call without arguments gets an empty object: many clients fail on empty text."""
        call = self._calls.get(part)
        if call is not None and call.unwrapper is not None:
            return self._piece(call, call.unwrapper.end())
        if call is None or not call.empty or call.custom:
            return b""
        return self._piece(call, "{}")

    def _citation(self, part: int, citation: JSON) -> bytes:
        note = citation_of(citation, self._starts.get(part, self._length), self._length)
        if note is None:
            note_answer(self._ledger, "openai", "citations")
            return b""
        return self._chunk({"annotations": [note]})

    def _finished(self, event: Finished) -> bytes:
        self._over = True
        out = b""
        if event.reason == "refusal" and not self._spoken:
            out = self._chunk({"refusal": refusal_words(event.details)})
        native = native_stop(event.reason, event.native)
        if self._legacy and native == "tool_calls":
            native = "function_call"
        out += self._chunk({}, native)
        figures = usage_object(self._usage) if self._usage is not None else None
        if self._included and figures is not None:
            out += self._head + b'],"usage":' + dump(figures) + b"}\n\n"
        return out + DONE


class _Shown:
    """A call as the client sees it: what stands before and after each piece of its arguments."""

    __slots__ = ("custom", "empty", "head", "tail", "unwrapper")

    def __init__(self, head: bytes, custom: bool, tail: bytes = b"}}]") -> None:
        self.head = head
        self.tail = tail
        self.custom = custom
        self.empty = True
        self.unwrapper: Unwrapper | None = None  # of a custom tool that is a function upstream


def quoted(text: str) -> bytes:
    """Text as a JSON string in UTF-8; escaped where a reader could stumble over it."""
    if text.isascii():
        return encode_basestring_ascii(text).encode()
    if _LINE_ENDS.search(text) is None:
        try:
            return encode_basestring(text).encode()
        except UnicodeEncodeError:  # a lone surrogate
            pass
    return encode_basestring_ascii(text).encode()
