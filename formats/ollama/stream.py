"""Ollama's /api/chat answers as streams: one JSON object a line.

Owns: the decoder of a server's lines, the encoder for a client, the observer of a stream that
passes through.
Refuses to know: requests (but for the model's name), status codes.

Laws:
1. Calls come and go whole: one that was cut, or whose arguments are no object, is never shown.
2. `done: true` is the only clean end. The server says `stop` when it made calls, so the end is
   derived from what was sent.
3. What is written is ASCII, one line at a time, never a blank one: the official Python client
   breaks on blank lines and on U+0085, U+2028 and U+2029.
4. Nothing a server sends escapes as an exception but TooLong, and that only from the observer.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from formats import jsontext
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
    StopReason,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, FormatError, TooLong
from formats.fold import parsed_arguments
from formats.framing import LineFramer
from formats.ids import ClientNames, minted_id
from formats.losses import note_answer
from formats.ndjson import NDJSONDecoder, write_ndjson
from formats.ollama.wire import (
    BAD_CALL,
    call_text,
    calls_of,
    created_of,
    date_text,
    error_line,
    failure_of,
    message_in,
    metrics,
    native_stop,
    not_a_line,
    refusal_words,
    stop_reason,
    usage_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.ledger import Ledger


# --- the decoder ----------------------------------------------------------------------------------


class Decoder:
    """A server's lines into events. said: the message in a line, None where there is none."""

    said = staticmethod(message_in)

    __slots__ = ("_calls", "_ended", "_ids", "_kind", "_lines", "_part", "_started")

    def __init__(self, *, limit: int) -> None:
        self._lines = NDJSONDecoder(limit=limit)
        self._started = False
        self._ended = False
        self._part = -1  # the latest part's index
        self._kind: type[TextDelta] | type[ThoughtDelta] | None = None  # of the open part
        self._calls = False
        self._ids: set[str] = set()

    def feed(self, data: bytes, /) -> list[Event]:
        if self._ended:
            return []
        try:
            return self._read(self._lines.feed(data))
        except TooLong as error:
            return self._failed(Failure("upstream", f"the upstream's stream: {error}"))

    def eof(self) -> list[Event]:
        if self._ended:
            return []
        try:
            out = self._read(self._lines.eof())
        except TooLong as error:
            return self._failed(Failure("upstream", f"the upstream's stream: {error}"))
        if not self._ended:
            why = "before its last line" if self._started else "before its first line"
            out += self._failed(Failure("truncated", f"the upstream's stream ended {why}"))
        return out

    def _read(self, lines: list[bytes]) -> list[Event]:
        out: list[Event] = []
        for line in lines:
            if self._ended:
                break
            try:
                self._line(line, out)
            except (FormatError, ValueError):
                out += self._failed(Failure("upstream", not_a_line(line)))
        return out

    def _line(self, line: bytes, out: list[Event]) -> None:
        value = jsontext.loads(line.decode())
        message = self.said(value) if type(value) is dict else None
        if type(message) is not dict:
            if type(value) is dict and value.get("error"):
                out += self._failed(failure_of(value))
                return
            if type(value) is not dict or value.get("done") is not True:
                raise ValueError("no line of a chat")
            message = {}
        if not self._started:
            self._started = True
            model = value.get("model")
            out.append(Started("", model if type(model) is str else "", created_of(value)))
        thinking = message.get("thinking")
        if thinking:
            self._text(ThoughtDelta, thinking, out)
        content = message.get("content")
        if content:
            self._text(TextDelta, content, out)
        calls = message.get("tool_calls")
        if calls:
            self._whole_calls(calls, out)
        if value.get("done") is True:
            self._finish(value, out)

    def _text(
        self, kind: type[TextDelta] | type[ThoughtDelta], text: JSON, out: list[Event]
    ) -> None:
        if type(text) is not str:
            raise ValueError("text that is none")
        if self._kind is not kind:
            self._end_part(out)
            self._part += 1
            self._kind = kind
        out.append(kind(self._part, text))

    def _end_part(self, out: list[Event]) -> None:
        if self._kind is not None:
            out.append(PartEnded(self._part))
            self._kind = None

    def _whole_calls(self, calls: JSON, out: list[Event]) -> None:
        for call_id, name, arguments in calls_of(calls, self._ids):
            self._end_part(out)
            self._part += 1
            self._calls = True
            out.append(ToolStarted(self._part, call_id, name))
            if arguments:
                out.append(ToolDelta(self._part, arguments))
            out.append(PartEnded(self._part))

    def _finish(self, value: dict[str, JSON], out: list[Event]) -> None:
        self._end_part(out)
        usage = usage_of(value)
        if usage is not None:
            out.append(UsageSeen(usage))
        native = value.get("done_reason")
        reason = stop_reason(native, self._calls)
        out.append(Finished(reason, native if type(native) is str else None))
        self._ended = True

    def _failed(self, failure: Failure) -> list[Event]:
        self._ended = True
        if self._started:
            return [Failed(failure)]
        return [Started("", ""), Failed(failure)]


# --- the encoder ----------------------------------------------------------------------------------


class _Call:
    """A call while its arguments come in."""

    __slots__ = ("custom", "id", "name", "pieces")

    def __init__(self, start: ToolStarted) -> None:
        self.id = start.id
        self.name = start.name
        self.custom = start.kind == "custom"
        self.pieces: list[str] = []

    def arguments(self) -> Mapping[str, JSON] | None:
        text = "".join(self.pieces)
        return {"input": text} if self.custom else parsed_arguments(text)


class Encoder:
    """Events into lines for a client. Texts pass at once, a call when it is whole.

    text, thought: what stands before and behind the words of a line; end: what stands in the last.
    """

    text = ('Z","message":{"role":"assistant","content":', '},"done":false}\n')
    thought = ('Z","message":{"role":"assistant","content":"","thinking":', text[1])
    end = 'Z","message":{"role":"assistant","content":""},'

    __slots__ = (
        "_bad_call",
        "_calls",
        "_clock",
        "_ended",
        "_first_ns",
        "_head",
        "_ledger",
        "_names",
        "_second",
        "_second_text",
        "_shown",
        "_size",
        "_stamp",
        "_usage",
        "failure",
    )

    def __init__(self, request: Request, ledger: Ledger, stamp: Stamp) -> None:
        self.failure: Failure | None = None
        self._ledger = ledger
        self._names = ClientNames(request)
        self._stamp = stamp
        self._clock = stamp.elapsed_ns
        model = encode_basestring_ascii(stamp.model or request.model)
        self._head = f'{{"model":{model},"created_at":"'
        self._second = -1
        self._second_text = ""
        self._first_ns: int | None = None
        self._calls: dict[int, _Call] = {}
        self._shown = 0
        self._bad_call = False
        self._size = 0
        self._usage: Usage | None = None
        self._ended = False

    def encode(self, event: Event, /) -> bytes:
        if self._ended:
            return b""
        match event:
            case TextDelta(_, text) | RefusalDelta(_, text):
                return self._delta(self.text, text)
            case ThoughtDelta(_, text):
                return self._delta(self.thought, text)
            case ToolStarted(part):
                self._calls[part] = _Call(event)
            case ToolDelta(part, fragment):
                if part in self._calls:
                    self._calls[part].pieces.append(fragment)
            case PartEnded(part):
                return self._call(self._calls.pop(part, None))
            case UsageSeen(usage):
                self._usage = usage if self._usage is None else self._usage.merged(usage)
            case Finished(reason, _, _, details):
                return self._refused(reason, details) + self._finish(reason)
            case Failed(failure):
                self._ended = True
                return write_ndjson(error_line(failure))
            case CitationSeen():
                note_answer(self._ledger, "ollama", "citations")
            case OpaquePart(_, _, type):
                note_answer(self._ledger, "ollama", "block", at=type)
            case Started() | ThoughtSigned():
                pass
        return b""

    def ping(self) -> bytes:
        """Lines know no life sign: a blank one breaks the official client."""
        return b""

    def _now(self) -> str:
        """The head of a line up to the fraction of a second, and that."""
        elapsed = self._clock()
        if self._first_ns is None:
            self._first_ns = elapsed
        second, nanos = divmod(elapsed, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = f"{self._head}{date_text(self._stamp.created + second)}."
        return f"{self._second_text}{nanos:09d}"

    def _delta(self, around: tuple[str, str], text: str) -> bytes:
        if not text:
            return b""
        self._size += len(text)
        line = f"{self._now()}{around[0]}{encode_basestring_ascii(text)}{around[1]}"
        return line.encode("ascii")

    def _call(self, call: _Call | None) -> bytes:
        """The line of a call that is complete; a broken one is told when the stream's end says
        whether the model was cut off in the middle of it."""
        if call is None:
            return b""
        call_id = call.id or minted_id(self._stamp.id, self._shown)
        name = self._names.client_name(call.name)
        body = call_text(call_id, self._shown, name, call.arguments())
        if body is None:
            self._bad_call = True
            return b""
        self._size += sum(map(len, call.pieces))
        self._shown += 1
        start = 'Z","message":{"role":"assistant","content":"","tool_calls":['
        return f'{self._now()}{start}{body}]}},"done":false}}\n'.encode("ascii")

    def _refused(self, reason: StopReason, details: JSON) -> bytes:
        """A refusal that came without a word of its own says its reason."""
        words = refusal_words(details) if reason == "refusal" and not self._size else ""
        return self._delta(self.text, words)

    def _finish(self, reason: StopReason) -> bytes:
        out = b"".join([self._call(call) for call in self._calls.values()])
        self._ended = True
        if self._bad_call and reason not in ("max_tokens", "context_window"):
            self.failure = Failure("upstream", BAD_CALL)
            return out + write_ndjson({"error": BAD_CALL})
        first = self._first_ns
        end: dict[str, JSON] = {"done": True, "done_reason": native_stop(reason, self._ledger)}
        end |= self.at_end()
        if reason not in ("load", "unload"):
            end |= metrics(self._usage, self._stamp, first, self._size)
        tail = jsontext.dump_ascii(end).decode("ascii").removeprefix("{")
        return out + f"{self._now()}{self.end}{tail}\n".encode("ascii")

    def at_end(self) -> Mapping[str, JSON]:
        """What else the last line has."""
        return EMPTY


# --- the observer ---------------------------------------------------------------------------------

_MODEL = re.compile(rb'\{\s*"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_DONE = re.compile(rb'"done"\s*:\s*true')


class Observer:
    """Watches lines that pass through. Until content was seen each is parsed, later only those
    that may be an end or an error. The model's name becomes the one the client asked for: clients
    list names and compare. said: the message in a line, None where there is none."""

    said = staticmethod(message_in)
    __slots__ = (
        "_done",
        "_framer",
        "_model",
        "_new_head",
        "_old_head",
        "content",
        "failure",
        "told",
        "usage",
    )

    def __init__(self, request: Request, *, limit: int) -> None:
        self._framer = LineFramer(limit=limit)
        self._model = request.model
        self._old_head: bytes | None = None
        self._new_head = b""
        self._done = False
        self.content = False
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.told = False

    @property
    def ended(self) -> bool:
        return self._done

    def feed(self, data: bytes, /) -> bytes:
        if self._over():
            return b""
        out = []
        for line in self._framer.feed(data):
            if line.isspace():  # the official client breaks on blank lines
                continue
            if self._look(line):
                out.append(self._named(line))
            if self._over():
                return b"".join(out)
        if data[-1:] == b"}":
            out.append(self._unended_line())
        return b"".join(out)

    def eof(self) -> Failure | None:
        if self._done:
            return None
        why = "the upstream's stream ended before its last line"
        return self.failure or Failure("truncated", why)

    def _over(self) -> bool:
        return self._done or self.failure is not None

    def _look(self, line: bytes) -> bool:
        """Whether the line may pass: what is none of this format would break the client."""
        # a line's last member is the line's own: nothing that it holds can stand there
        going_on = line.endswith(b'"done":false}\n') or _DONE.search(line) is None
        whole = line.startswith(b"{") and b'"done"' in line and line.rstrip().endswith(b"}")
        if self.content and going_on and whole and b'"error"' not in line:
            return True
        try:
            value = jsontext.loads(line.decode())
        except ValueError:
            value = None
        if type(value) is not dict:
            self.failure = Failure("upstream", not_a_line(line))
            return False
        message = self.said(value)
        if type(message) is dict:
            if not self.content:
                self.content = any(map(message.get, ("content", "thinking", "tool_calls")))
        elif value.get("error"):
            self.failure, self.told = failure_of(value), True
        if value.get("done") is True:
            self._done = True
            self.usage = usage_of(value)
        return True

    def _unended_line(self) -> bytes:
        """A last line that lacks its LF is whole all the same when it parses as the end."""
        rest = self._framer.rest()
        if _DONE.search(rest) is None:
            return b""
        try:
            value = jsontext.loads(rest.decode())
        except ValueError:
            return b""
        if type(value) is not dict or value.get("done") is not True:
            return b""
        self._look(rest)
        return self._named(rest) + b"\n"

    def _named(self, line: bytes) -> bytes:
        """The line with the name that the client asked for, wherever it begins as the first did."""
        old = self._old_head
        if old is None:
            old = self._old_head = self._foreign_head(line)
        return self._new_head + line[len(old) :] if old and line.startswith(old) else line

    def _foreign_head(self, line: bytes) -> bytes:
        """How a line begins that has another name than the client's; b"" when it needs none."""
        found = _MODEL.match(line)
        try:
            if found is None or jsontext.loads(found[1].decode()) == self._model:
                return b""
        except ValueError:
            return b""
        wanted = encode_basestring_ascii(self._model).encode("ascii")
        self._new_head = line[: found.start(1)] + wanted
        return found[0]
