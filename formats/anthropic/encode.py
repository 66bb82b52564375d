"""A client's Anthropic Messages stream, written. The strictest of the formats.

Owns: one open block at a time with indexes that have no gap, whatever order the events come in;
when `message_start` goes out; what stands where a signature must stand.
Refuses to know: which upstream the events come from.

Laws:
1. Nothing is sent before there is something to show: until then another upstream may be tried.
2. A delta always fits the open block. What belongs to another block waits until the open call is
   complete; text and thinking are closed for it at once.
3. A thinking block never ends without a signature that is not empty: clients drop such blocks and
   vendors refuse them. Where no vendor signed, a token of the router stands in.
4. Only Finished ends a stream cleanly. Failed writes the error event: without it a cut stream looks
   like success to this format's clients.
"""

from __future__ import annotations

from json.encoder import encode_basestring, encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final, assert_never

from formats import jsontext
from formats.anthropic.errors import error_object
from formats.anthropic.wire import (
    CITATION_TYPES,
    NAME,
    answer_id,
    native_stop,
    omits_thinking,
    parsed_input,
    shows_thinking,
    write_usage,
)
from formats.canonical import (
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
from formats.errors import Failure, TooLong
from formats.ids import ANTHROPIC, ClientNames, legal_id, minted_id
from formats.losses import note_answer
from formats.sse import write_sse
from formats.token import TOKEN_TEXT_BYTES, write_token

if TYPE_CHECKING:
    from formats.ledger import Ledger

JSON = Any

COMMENT: Final = b": keep-alive\n\n"
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_DELTA: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
)
_END: Final = b"}}\n\n"
_STOP: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
# Bytes of waiting calls: beyond this an upstream is not interleaving but flooding.
_MAX_HELD: Final = 1 << 24


def quoted(text: str) -> bytes:
    """A JSON string. Lone surrogates, which UTF-8 has no bytes for, are escaped."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text).encode()


class _Held:
    """A part that waits for its turn: its events so far."""

    __slots__ = ("ended", "events")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended = False


class Encoder:
    """Canonical events in, a client's bytes out."""

    failure: Failure | None = None

    def __init__(self, request: Request, ledger: Ledger, stamp: Stamp) -> None:
        self._ledger = ledger
        self._stamp = stamp
        self._version = request.version
        self._names = ClientNames(request)
        self._shows_thinking = shows_thinking(request)
        self._omits_text = omits_thinking(request)
        self._started: Started | None = None
        self._begun = False  # message_start is out
        self._over = False
        self._usage = Usage()
        self._letters = 0  # characters shown: the estimate where nobody counts tokens
        self._index = -1  # of the newest block
        self._open_part = -1
        self._open_kind = ""  # "", "text", "thinking", "tool", "custom"
        self._prefix = b""  # of a delta of the open block, up to its string
        self._said: list[str] = []  # the open thinking's text or the open call's arguments
        self._said_size = 0
        self._signed = ""  # the open thinking's own signature
        self._foreign = ThoughtSigned(-1)  # of another format's vendor
        self._waiting: dict[int, _Held] = {}  # in order of first appearance
        self._held = 0
        self._closed: set[int] = set()  # calls that were written to their end
        self._tokened: set[int] = set()  # thinking that was closed with a token
        self._hidden: dict[int, list[Event]] = {}  # thinking that nobody asked for
        self._ids: set[str] = set()

    def encode(self, event: Event) -> bytes:
        """The bytes for one event. Raises TooLong when calls wait for ever."""
        if type(event) is TextDelta and event.part == self._open_part and self._open_kind == "text":
            text = event.text
            self._letters += len(text)
            try:
                return self._prefix + encode_basestring(text).encode() + _END
            except UnicodeEncodeError:
                return self._prefix + encode_basestring_ascii(text).encode() + _END
        if self._over:
            return b""
        match event:
            case Started():
                self._started = event
                return b""
            case UsageSeen(usage):
                self._usage = self._usage.merged(usage)
                return b""
            case Finished():
                return self._finish(event)
            case Failed(failure):
                self._over, self._open_kind = True, ""
                return write_sse(jsontext.dump(error_object(failure)), "error")
            case ThoughtDelta(part) | ThoughtSigned(part) if not self._shows_thinking:
                return self._unasked(event)
            case PartEnded(part) if part in self._hidden:
                del self._hidden[part]  # nobody asked for it, and nobody signed it
                return b""
            case _:
                return self._content(event)

    def ping(self) -> bytes:
        """A life sign that is legal right now."""
        if self._over:
            return b""
        return _PING if self._begun else COMMENT

    # --- which block ---

    def _content(self, event: Any) -> bytes:
        """An event of a part: written if its block is open or may be opened now, else kept."""
        part = event.part
        if part == self._open_part:
            return self._write(event)
        if part in self._closed:
            return b""  # a complete call, after which nothing but blanks can come
        if type(event) is ThoughtSigned and part in self._tokened:
            return b""  # too late: its text stands there, closed
        if part not in self._waiting and type(event) is PartEnded:
            return b""  # text that was closed for another block
        if self._open_kind in ("tool", "custom") and not self._is_complete():
            return self._hold(part, event)
        if part in self._waiting or self._waiting:
            self._hold(part, event)
            return self._advance()
        return self._close() + self._write(event)

    def _hold(self, part: int, event: Any) -> bytes:
        held = self._waiting.setdefault(part, _Held())
        held.events.append(event)
        held.ended = held.ended or type(event) in (PartEnded, OpaquePart)
        self._held += 64 + len(getattr(event, "text", "") or getattr(event, "fragment", ""))
        if self._held > _MAX_HELD:
            raise TooLong("interleaved calls are longer than may be kept")
        return b""

    def _advance(self, *, last: bool = False) -> bytes:
        """Closes the open block and writes the parts that waited, as far as they are complete;
        the last one stays open, if it is not."""
        out = [self._close()]
        while self._waiting:
            part = next(iter(self._waiting))
            held = self._waiting.pop(part)
            out += [self._replayed(event) for event in held.events]
            stays = not held.ended and self._open_kind in ("tool", "custom")
            if self._waiting and stays and not last and not self._is_complete():
                break
            if self._waiting:
                out.append(self._close())
        if not self._waiting:
            self._held = 0
        return b"".join(out)

    def _replayed(self, event: Event) -> bytes:
        return self._close() if type(event) is PartEnded else self._write(event)

    def _is_complete(self) -> bool:
        """Whether the open call's arguments are whole: then a later block may begin."""
        last = next((each for each in reversed(self._said) if each.strip()), "")
        if not last.rstrip().endswith("}"):
            return False
        return parsed_input("".join(self._said)) is not None

    # --- writing ---

    def _write(self, event: Any) -> bytes:
        match event:
            case TextDelta() | RefusalDelta():
                return self._text(event)
            case CitationSeen():
                return self._citation(event)
            case ThoughtDelta():
                return self._thought(event)
            case ThoughtSigned():
                return self._signature(event)
            case ToolStarted():
                return self._tool(event)
            case ToolDelta():
                return self._arguments(event)
            case OpaquePart():
                return self._opaque(event)
            case PartEnded(part):
                if part != self._open_part:
                    return b""
                out = self._close()
                return out + self._advance() if self._waiting else out
            case _:
                assert_never(event)

    def _begin(self) -> bytes:
        """`message_start`, once."""
        if self._begun:
            return b""
        self._begun = True
        started = self._started
        message: dict[str, JSON] = {
            "id": answer_id(started.id if started else "", self._stamp.id),
            "type": "message",
            "role": "assistant",
            "model": (started.model if started else "") or self._stamp.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage, self._stamp.input_estimate, 1),
        }
        return _event("message_start", message=message)

    def _start(self, part: int, kind: str, block: dict[str, JSON], delta: bytes) -> bytes:
        """Opens a block. delta: the beginning of its deltas, up to their string."""
        self._index += 1
        self._open_part, self._open_kind = part, kind
        self._prefix = _DELTA % self._index + delta
        self._said, self._said_size, self._signed = [], 0, ""
        self._foreign = ThoughtSigned(-1)
        begin = self._begin()
        return begin + _event("content_block_start", index=self._index, content_block=block)

    def _close(self) -> bytes:
        """Closes the open block, with all that must stand before its end."""
        kind, part = self._open_kind, self._open_part
        if not kind:
            return b""
        out = b""
        if kind == "thinking":
            signature = self._signed or self._token()
            out = _DELTA % self._index + b'{"type":"signature_delta","signature":'
            out += quoted(signature) + _END
        elif kind == "custom":
            value = jsontext.dumps({"input": "".join(self._said)})
            out = self._prefix + quoted(value) + _END
        elif kind == "tool":
            out = self._last_arguments()
        if kind in ("tool", "custom"):
            self._closed.add(part)
        elif kind == "thinking" and not self._signed:
            self._tokened.add(part)
        self._open_kind, self._open_part, self._said = "", -1, []
        return out + _STOP % self._index

    def _text(self, event: TextDelta | RefusalDelta) -> bytes:
        if not event.text:
            return b""
        out = self._opened_text(event.part)
        self._letters += len(event.text)
        return out + self._prefix + quoted(event.text) + _END

    def _opened_text(self, part: int) -> bytes:
        if self._open_kind == "text" and self._open_part == part:
            return b""
        block = {"type": "text", "text": ""}
        return self._close() + self._start(part, "text", block, b'{"type":"text_delta","text":')

    def _citation(self, event: CitationSeen) -> bytes:
        citation = event.citation
        if type(citation) is not dict or citation.get("type") not in CITATION_TYPES:
            note_answer(self._ledger, NAME, "citations")
            return b""
        delta = {"type": "citations_delta", "citation": citation}
        out = self._opened_text(event.part)
        return out + _event("content_block_delta", index=self._index, delta=delta)

    # --- thinking ---

    def _unasked(self, event: ThoughtDelta | ThoughtSigned) -> bytes:
        """Thinking for a client that did not ask for it: not shown, unless its vendor signed it and
        wants it back with the next turn."""
        held = self._hidden.setdefault(event.part, [])
        if type(event) is ThoughtDelta:
            self._held += 64 + len(event.text)
            if self._held > _MAX_HELD:
                held.clear()
            held.append(event)
            return b""
        assert isinstance(event, ThoughtSigned)
        if event.origin != NAME:
            return b""
        del self._hidden[event.part]
        return b"".join(self._content(each) for each in (*held, event))

    def _thought(self, event: ThoughtDelta) -> bytes:
        if not event.text:
            return b""  # hidden thinking has begun; its signature will open the block
        out = self._opened_thought(event.part)
        self._letters += len(event.text)
        if self._said_size <= TOKEN_TEXT_BYTES:
            self._said.append(event.text)
            self._said_size += len(event.text)
        if self._omits_text:
            return out
        return out + self._prefix + quoted(event.text) + _END

    def _opened_thought(self, part: int) -> bytes:
        if self._open_kind == "thinking" and self._open_part == part:
            return b""
        block = {"type": "thinking", "thinking": "", "signature": ""}
        delta = b'{"type":"thinking_delta","thinking":'
        return self._close() + self._start(part, "thinking", block, delta)

    def _signature(self, event: ThoughtSigned) -> bytes:
        if event.origin != NAME:
            # What another vendor signed goes into the token, and comes back to it with that.
            opens = event.signature and self._open_part != event.part
            out = self._opened_thought(event.part) if opens else b""
            self._foreign = event
            return out
        if event.redacted is not None:
            out = self._close()
            block = {"type": "redacted_thinking", "data": event.redacted}
            out += self._start(event.part, "redacted", block, b"")
            return out + self._close()
        out = self._opened_thought(event.part)
        self._signed = event.signature or ""
        return out

    def _token(self) -> str:
        other = self._foreign
        return write_token(other.origin, "".join(self._said), other.signature, other.redacted)

    # --- calls ---

    def _tool(self, event: ToolStarted) -> bytes:
        block: dict[str, JSON] = {
            "type": "tool_use",
            "id": self._call_id(event),
            "name": self._names.client_name(event.name),
            "input": {},
        }
        if isinstance(caller := event.extra.get("caller"), dict):
            block["caller"] = caller
        kind = "custom" if event.kind == "custom" else "tool"
        delta = b'{"type":"input_json_delta","partial_json":'
        return self._close() + self._start(event.part, kind, block, delta)

    def _call_id(self, event: ToolStarted) -> str:
        given = legal_id(event.id, ANTHROPIC) if event.id else ""
        if not given or given in self._ids:
            given = minted_id(self._stamp.id, event.part)
        self._ids.add(given)
        return given

    def _arguments(self, event: ToolDelta) -> bytes:
        fragment = event.fragment
        self._letters += len(fragment)
        self._said.append(fragment)
        if self._open_kind == "custom":
            return b""
        if not self._said_size:
            if not fragment.strip():
                return b""
            if not fragment.lstrip().startswith("{"):
                # No object can come of this, and clients parse along: kept for the call's end.
                self._said_size = -1
        if self._said_size < 0:
            return b""
        self._said_size += len(fragment)
        return self._prefix + quoted(fragment) + _END

    def _last_arguments(self) -> bytes:
        """What a call still lacks at its end: clients want an object, even an empty one."""
        if self._said_size > 0:
            return b""
        text = "".join(self._said)
        if not text.strip():
            return self._prefix + b'"{}"' + _END
        note_answer(self._ledger, NAME, "arguments")
        value = jsontext.dumps({"_raw_arguments": text})
        return self._prefix + quoted(value) + _END

    # --- the rest ---

    def _opaque(self, event: OpaquePart) -> bytes:
        if event.origin != NAME:
            note_answer(self._ledger, NAME, "block", at=f"content[].{event.type}")
            return b""
        value = dict(event.value) or {"type": event.type}
        given = value.get("input")
        delta = b'{"type":"input_json_delta","partial_json":'
        if isinstance(given, dict):
            value["input"] = {}
        out = self._close() + self._start(event.part, "opaque", value, delta)
        if isinstance(given, dict):
            out += self._prefix + quoted(jsontext.dumps(given)) + _END
        return out + self._close()

    def _finish(self, event: Finished) -> bytes:
        out = self._advance(last=True) + self._close() + self._begin()
        self._over = True
        delta: dict[str, JSON] = {
            "stop_reason": native_stop(event.reason, event.native, self._version),
            "stop_sequence": event.sequence,
        }
        if isinstance(event.details, dict):
            delta["stop_details"] = event.details
        usage = write_usage(self._usage, self._stamp.input_estimate, -(-self._letters * 10 // 38))
        out += _event("message_delta", delta=delta, usage=usage)
        return out + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _event(name: str, **members: JSON) -> bytes:
    return write_sse(jsontext.dump({"type": name, **members}), name)
