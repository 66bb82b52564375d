"""A client's Responses stream, written.

Owns: the complete sequence of events, one open item at a time, whatever order the events come in;
ids, indexes and numbers that hold from an item's first event to the last of the stream.
Refuses to know: which upstream the events come from.

Laws:
1. An item has the same id and call id in every event, and nothing is open when the answer ends.
2. Calls may come in pieces that interleave: those of a later one wait until the open one is whole.
3. The answer object at the end holds everything that was streamed, and figures.
4. Only Finished ends a stream well. Failed writes an `error` event and a failed answer: some
   clients read the one and some the other.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final, assert_never

from formats import jsontext
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
from formats.fold import parsed_arguments
from formats.freeform import Unwrapper
from formats.ids import RESPONSES, digest, legal_id, minted_id
from formats.losses import note_answer
from formats.openai_chat.answer import refusal_words
from formats.responses.echo import echoed
from formats.responses.errors import error_members
from formats.responses.wire import (
    NAME,
    ShownNames,
    annotation_of,
    ending,
    usage_object,
)
from formats.token import write_token

if TYPE_CHECKING:
    from formats.ledger import Ledger

JSON = Any
_Object = dict[str, JSON]

COMMENT: Final = b": keep-alive\n\n"
SEALED: Final = "reasoning.encrypted_content"
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")  # some clients take them for ends of lines
# Characters of one answer, which must be kept whole for its last event.
_MAX_KEPT: Final = 1 << 24
_PREFIXES: Final = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
}
# Members of a call that belong to this format and go back to its clients.
_CALL_EXTRAS: Final = ("caller", "async")


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


def _json(value: JSON) -> bytes:
    text = jsontext.dumps(value)
    if not text.isascii() and _LINE_ENDS.search(text):
        return jsontext.dump_ascii(value)
    return text.encode()


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
        self._names = ShownNames(request)
        include = request.extra.get("include")
        self._seals = type(include) is list and SEALED in include
        self._echo = echoed(request)
        self._echo_bytes = _json(self._echo)[1:]
        self._id = f"resp_{stamp.id}"
        self._model = stamp.model or request.model
        self._begun = False  # response.created is out
        self._over = False
        self._number = 0  # of the next event
        self._usage = Usage()
        self._letters = 0  # characters shown: the estimate where nobody counts tokens
        self._spoken = False
        self._output: list[_Object] = []  # items that are whole
        self._item: _Object | None = None  # the open item
        self._head = b""  # item_id and output_index, as its events have them
        self._open_part = -1
        self._kind = ""  # of the open part: "", "text", "refusal", "thinking", "tool", "custom"
        self._place = b""  # the open text's events, between their number and their words
        self._said: list[str] = []  # the open part's text
        self._unwrapper: Unwrapper | None = None  # of a custom tool that is a function upstream
        self._ended = False  # the open call has ended, but its arguments are not whole
        self._signed: ThoughtSigned | None = None
        self._waiting: dict[int, _Held] = {}  # in order of first appearance
        self._held = 0
        self._closed: set[int] = set()  # calls and reasoning that were written to their end
        self._ids: set[str] = set()
        self.answer: _Object = {}  # the answer object, once the stream has ended

    def encode(self, event: Event, /) -> bytes:
        """The bytes for one event. Raises TooLong for an answer that is too long to be kept."""
        if type(event) is TextDelta and event.part == self._open_part and self._kind == "text":
            return self._text_delta(event.text)
        if self._over:
            return b""
        match event:
            case Started(id, model):
                if id.startswith("resp_"):  # of an upstream that may be asked for it again
                    self._id = id
                self._model = model or self._model
                return self._begin()
            case UsageSeen(usage):
                self._usage = self._usage.merged(usage)
                return b""
            case Finished():
                return self._finish(event)
            case Failed(failure):
                return self._fail(failure)
            case _:
                return self._begin() + self._content(event)

    def ping(self) -> bytes:
        """A life sign, legal everywhere."""
        return b"" if self._over else COMMENT

    # --- the answer object and events ---

    def _event(self, kind: str, members: bytes) -> bytes:
        """An event. members: those behind its number, with the brace that ends the object."""
        number = self._number
        self._number += 1
        name = kind.encode()
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b\n\n' % (
            name,
            name,
            number,
            members,
        )

    def _about(self, kind: str, **members: JSON) -> bytes:
        """An event of the open item."""
        return self._event(kind, self._head + _json(members)[1:])

    def _lifecycle(self, kind: str, answer: _Object) -> bytes:
        whole = _json(answer)[:-1] + b"," + self._echo_bytes
        return self._event(f"response.{kind}", b'"response":' + whole + b"}")

    def _answer(
        self, status: str, *, error: JSON = None, details: JSON = None, usage: JSON = None
    ) -> _Object:
        ended = None
        if status == "completed":
            ended = self._stamp.created + self._stamp.elapsed_ns() // 1_000_000_000
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._stamp.created,
            "completed_at": ended,
            "status": status,
            "error": error,
            "incomplete_details": details,
            "model": self._model,
            "output": self._output,
            "usage": usage,
        }

    def _begin(self) -> bytes:
        """The first two events, once."""
        if self._begun:
            return b""
        self._begun = True
        answer = self._answer("in_progress")
        return self._lifecycle("created", answer) + self._lifecycle("in_progress", answer)

    # --- which part ---

    def _content(self, event: Any) -> bytes:
        """An event of a part: written if its part is open or may be opened now, else kept."""
        part = event.part
        if part == self._open_part:
            return self._write(event)
        if part in self._closed:
            return b""
        if part not in self._waiting and type(event) is PartEnded:
            return b""  # text that was closed for another part
        if self._kind in ("tool", "custom") and not self._is_complete():
            return self._hold(part, event)
        if self._waiting:
            self._hold(part, event)
            return self._advance()
        return self._write(event)

    def _hold(self, part: int, event: Any) -> bytes:
        held = self._waiting.setdefault(part, _Held())
        held.events.append(event)
        held.ended = held.ended or type(event) in (PartEnded, OpaquePart)
        self._held += 64 + len(getattr(event, "text", "") or getattr(event, "fragment", ""))
        if self._held > _MAX_KEPT:
            raise TooLong("interleaved calls are longer than may be kept")
        return b""

    def _advance(self, *, last: bool = False) -> bytes:
        """Writes the parts that waited, as far as the open call is whole; the last one stays open,
        if it is not."""
        out: list[bytes] = []
        while self._waiting:
            if self._kind in ("tool", "custom") and not self._is_complete() and not last:
                break
            part = next(iter(self._waiting))
            held = self._waiting.pop(part)
            out += [self._write(event) for event in held.events]
        if not self._waiting:
            self._held = 0
        return b"".join(out)

    def _is_complete(self) -> bool:
        """Whether the open call's arguments are whole: then a later part may begin."""
        if self._ended:
            return True
        if self._kind == "custom":
            return self._unwrapper is not None and self._unwrapper.whole
        last = next((each for each in reversed(self._said) if each.strip()), "")
        if not last.rstrip().endswith("}"):
            return False
        return parsed_arguments("".join(self._said)) is not None

    def _write(self, event: Any) -> bytes:
        match event:
            case TextDelta(part, text):
                return self._opened(part, "text") + self._text_delta(text) if text else b""
            case RefusalDelta(part, text):
                return self._opened(part, "refusal") + self._refusal(text) if text else b""
            case CitationSeen():
                return self._citation(event)
            case ThoughtDelta():
                return self._thought(event)
            case ThoughtSigned():
                return self._signature(event)
            case ToolStarted():
                return self._call(event)
            case ToolDelta():
                return self._arguments(event)
            case OpaquePart():
                return self._opaque(event)
            case PartEnded(part):
                return self._part_ended(part)
            case _:
                assert_never(event)

    def _part_ended(self, part: int) -> bytes:
        if part != self._open_part:
            return b""
        if self._kind in ("text", "refusal"):
            return self._close_part()  # the next text may belong to the same message
        if self._kind == "thinking" or self._is_complete() or not self._is_doubtful():
            return self._close() + (self._advance() if self._waiting else b"")
        self._ended = True
        return self._advance() if self._waiting else b""

    def _is_doubtful(self) -> bool:
        """Whether the open call may have been cut: that is known when the answer ends."""
        if self._kind == "custom":
            return self._unwrapper is not None
        return parsed_arguments("".join(self._said)) is None

    # --- items ---

    def _add(self, item: _Object) -> bytes:
        """Opens an item. Its id is its own, whatever the upstream called it."""
        index = len(self._output)
        seed = digest(f"{self._stamp.id}/{index}", 24)
        self._item = {"id": _PREFIXES[item["type"]] + seed, **item}
        self._head = b'"item_id":"%b","output_index":%d,' % (self._item["id"].encode(), index)
        members = _json({"output_index": index, "item": self._item})[1:]
        return self._event("response.output_item.added", members)

    def _done(self, item: _Object) -> bytes:
        """Closes the open item, which is now known whole."""
        members = _json({"output_index": len(self._output), "item": item})[1:]
        self._output.append(item)
        self._item = None
        return self._event("response.output_item.done", members)

    def _opened(self, part: int, kind: str) -> bytes:
        """Opens a text or a refusal, in the message that is open or in a new one."""
        if part == self._open_part and kind == self._kind:
            return b""
        if self._item is not None and self._item["type"] == "message":
            out = self._close_part()
        else:
            item = {"type": "message", "status": "in_progress", "content": [], "role": "assistant"}
            out = self._close() + self._add(item)
        assert self._item is not None
        index = len(self._item["content"])
        self._open_part, self._kind, self._said = part, kind, []
        block = _block(kind, "")
        self._item["content"].append(block)
        self._place = self._head + b'"content_index":%d,"delta":' % index
        self._spoken = True
        return out + self._about("response.content_part.added", content_index=index, part=block)

    def _close_part(self) -> bytes:
        """Ends the open text, not its message."""
        if self._kind not in ("text", "refusal"):
            return b""
        assert self._item is not None
        content, kind = self._item["content"], self._kind
        index, text = len(content) - 1, "".join(self._said)
        notes = content[index].get("annotations")
        block = content[index] = _block(kind, text)
        if notes:
            block["annotations"] = notes
        self._open_part, self._kind, self._said = -1, "", []
        if kind == "text":
            out = self._about(
                "response.output_text.done", content_index=index, text=text, logprobs=[]
            )
        else:
            out = self._about("response.refusal.done", content_index=index, refusal=text)
        return out + self._about("response.content_part.done", content_index=index, part=block)

    def _close(self, status: str = "completed") -> bytes:
        """Closes the open item, with all that must stand before its end."""
        item = self._item
        if item is None:
            return b""
        if item["type"] == "message":
            return self._close_part() + self._done({**item, "status": status})
        self._closed.add(self._open_part)
        if item["type"] == "reasoning":
            out = self._close_thought(item)
        else:
            out = self._close_call(item, status)
        self._open_part, self._kind, self._said, self._ended = -1, "", [], False
        self._signed = self._unwrapper = None
        return out

    # --- texts ---

    def _keep(self, text: str) -> None:
        self._said.append(text)
        self._letters += len(text)
        if self._letters > _MAX_KEPT:
            raise TooLong("the answer is longer than may be kept")

    def _text_delta(self, text: str) -> bytes:
        if not text:
            return b""
        self._keep(text)
        members = self._place + quoted(text) + b',"logprobs":[]}'
        return self._event("response.output_text.delta", members)

    def _refusal(self, text: str) -> bytes:
        self._keep(text)
        return self._event("response.refusal.delta", self._place + quoted(text) + b"}")

    def _citation(self, event: CitationSeen) -> bytes:
        end = sum(map(len, self._said)) if event.part == self._open_part else 0
        note = annotation_of(event.citation, 0, end)
        if note is None:
            note_answer(self._ledger, NAME, "citations")
            return b""
        out = self._opened(event.part, "text")
        assert self._item is not None
        content = self._item["content"]
        notes = content[-1]["annotations"]
        index, at = len(content) - 1, len(notes)
        notes.append(note)
        return out + self._about(
            "response.output_text.annotation.added",
            content_index=index,
            annotation_index=at,
            annotation=note,
        )

    # --- reasoning ---

    def _thought(self, event: ThoughtDelta) -> bytes:
        if not event.text:
            return b""  # hidden reasoning has begun: if it is sealed, it will be shown then
        out = self._opened_thought(event.part)
        if not self._said:
            part = {"type": "summary_text", "text": ""}
            out += self._about("response.reasoning_summary_part.added", summary_index=0, part=part)
        self._keep(event.text)
        members = self._head + b'"summary_index":0,"delta":' + quoted(event.text) + b"}"
        return out + self._event("response.reasoning_summary_text.delta", members)

    def _opened_thought(self, part: int) -> bytes:
        if self._kind == "thinking" and part == self._open_part:
            return b""
        out = self._close() + self._add({"type": "reasoning", "summary": []})
        self._open_part, self._kind, self._said = part, "thinking", []
        return out

    def _signature(self, event: ThoughtSigned) -> bytes:
        out = b""
        if self._sealed("", event) is not None or self._kind == "thinking":
            out = self._opened_thought(event.part)
        if event.part == self._open_part:
            self._signed = event
        return out

    def _sealed(self, text: str, signed: ThoughtSigned | None) -> str | None:
        """What the client is to give back: the vendor's own, where it spoke this format, else a
        token, for clients that asked for it."""
        if signed is not None and signed.origin == NAME:
            return signed.signature
        if not self._seals:
            return None
        if signed is None:
            return write_token("", text) if text else None
        return write_token(signed.origin, text, signed.signature, signed.redacted)

    def _close_thought(self, item: _Object) -> bytes:
        text, out = "".join(self._said), b""
        whole = dict(item)
        if text:
            part = {"type": "summary_text", "text": text}
            whole["summary"] = [part]
            out = self._about("response.reasoning_summary_text.done", summary_index=0, text=text)
            out += self._about("response.reasoning_summary_part.done", summary_index=0, part=part)
        sealed = self._sealed(text, self._signed)
        if sealed is not None:
            whole["encrypted_content"] = sealed
        return out + self._done(whole)

    # --- calls ---

    def _call(self, event: ToolStarted) -> bytes:
        shown = self._names.shown(event.name, event.kind, event.extra)
        kind = "custom_tool_call" if shown.custom else "function_call"
        item: _Object = {
            "type": kind,
            "status": "in_progress",
            "input" if shown.custom else "arguments": "",
            "call_id": self._call_id(event),
            "name": shown.name,
        }
        if shown.namespace is not None:
            item["namespace"] = shown.namespace
        item |= {name: event.extra[name] for name in _CALL_EXTRAS if name in event.extra}
        out = self._close() + self._add(item)
        self._open_part, self._kind = event.part, "custom" if shown.custom else "tool"
        self._said, self._ended = [], False
        self._unwrapper = Unwrapper() if shown.custom and event.kind != "custom" else None
        return out

    def _call_id(self, event: ToolStarted) -> str:
        given = legal_id(event.id, RESPONSES) if event.id else ""
        if not given or given in self._ids:
            given = minted_id(self._stamp.id, event.part)
        self._ids.add(given)
        return given

    def _arguments(self, event: ToolDelta) -> bytes:
        if event.part != self._open_part:
            return b""
        unwrapper = self._unwrapper
        return self._piece(event.fragment if unwrapper is None else unwrapper.feed(event.fragment))

    def _piece(self, text: str) -> bytes:
        if not text:
            return b""
        self._keep(text)
        custom = self._kind == "custom"
        name = "custom_tool_call_input" if custom else "function_call_arguments"
        members = self._head + b'"delta":' + quoted(text) + b"}"
        return self._event(f"response.{name}.delta", members)

    def _close_call(self, item: _Object, status: str) -> bytes:
        out = b""
        if self._unwrapper is not None:
            out = self._piece(self._unwrapper.end())
        elif self._kind == "tool" and not "".join(self._said).strip():
            out = self._piece("{}")
        text = "".join(self._said)
        if self._kind == "custom":
            whole = {**item, "status": status, "input": text}
            out += self._about("response.custom_tool_call_input.done", input=text)
        else:
            text = text.strip() and text
            whole = {**item, "status": status, "arguments": text}
            out += self._about(
                "response.function_call_arguments.done", arguments=text, name=item["name"]
            )
        return out + self._done(whole)

    # --- the rest ---

    def _opaque(self, event: OpaquePart) -> bytes:
        value = dict(event.value)
        if event.origin != NAME or type(value.get("id")) is not str:
            note_answer(self._ledger, NAME, "block", at=event.type or "output")
            return b""
        out = self._close()
        members = _json({"output_index": len(self._output), "item": value})[1:]
        return out + self._event("response.output_item.added", members) + self._done(value)

    def _finish(self, event: Finished) -> bytes:
        out = self._begin() + self._advance(last=True)
        if event.reason == "refusal" and not self._spoken:
            out += self._opened(-2, "refusal") + self._refusal(refusal_words(event.details))
        status, details = ending(event.reason)
        out += self._close(status)
        usage = usage_object(self._usage, self._stamp.input_estimate, -(-self._letters * 10 // 38))
        return out + self._last(status, details=details, usage=usage)

    def _fail(self, failure: Failure) -> bytes:
        out = self._begin()
        error = error_members(failure)
        flat = {name: error[name] for name in ("code", "message", "param")}
        out += self._event("error", _json({**flat, "error": error})[1:])
        said = {"code": error["code"], "message": error["message"]}
        return out + self._last("failed", error=said)

    def _last(self, status: str, **members: JSON) -> bytes:
        self._over, self._kind = True, ""
        answer = self._answer(status, **members)
        self.answer = {**answer, **self._echo}
        return self._lifecycle(status, answer)


def _block(kind: str, text: str) -> _Object:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
