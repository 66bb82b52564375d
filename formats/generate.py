"""Ollama's native API, /api/generate, spoken to clients, and to servers where a client's own text
passes on.

Owns: what this call has and /api/chat has not: `prompt` with `system` and `images` for messages,
`response` and `thinking` for a message, and `context`. All else is shared with formats.ollama.
Refuses to know: HTTP, tools (this call has none).

Laws:
1. A prompt with what belongs to it is a conversation, and goes to any upstream as one. What only
   the server that runs the model can use (`suffix`, `template`, `raw`, token ids) binds a request.
2. No prompt and no image is no mistake: it loads the model, or unloads it.
3. A `context` that a server gave passes as it is, and is bound to servers of this format. One of
   our own (formats.context) is read back into the messages that it holds, and is sent to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formats import check, context, jsontext, plugins
from formats.canonical import (
    JSON,
    Event,
    Message,
    Opaque,
    Part,
    RefusalDelta,
    Request,
    Response,
    Stamp,
    Target,
    Text,
    TextDelta,
    Thought,
    ToolUse,
)
from formats.errors import Invalid, Unsupported
from formats.losses import note_answer
from formats.ollama.answer import response_of, whole_answer
from formats.ollama.errors import parse_error, write_failure
from formats.ollama.parse import Reader, model_of, request_of
from formats.ollama.stream import Decoder, Encoder, Observer
from formats.ollama.wire import refusal_words
from formats.ollama.write import passed_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.ledger import Ledger

__all__ = [
    "COMMENT",
    "NAME",
    "STREAM_TYPE",
    "decoder",
    "encoder",
    "observer",
    "parse_error",
    "parse_request",
    "parse_response",
    "write_failure",
    "write_request",
    "write_response",
]

NAME: Final = "generate"
STREAM_TYPE: Final = "application/x-ndjson"
COMMENT: Final = b""
_TOP = frozenset(
    """model prompt system images context suffix template raw stream format options keep_alive think
    logprobs top_logprobs""".split()  # noqa: SIM905
) | {plugins.MEMBER}


# --- requests -------------------------------------------------------------------------------------


def parse_request(body: bytes, /) -> Request:
    """A client's /api/generate request. Raises Invalid."""
    raw = jsontext.parse_body(body)
    value = raw.value
    model = model_of(value)
    reader = Reader()
    asked = _asked(value, reader)
    system = check.opt_string(value, "system")
    numbers = _numbers(value)
    ours = context.is_ours(numbers)
    before = context.unpacked(numbers) if ours else ()
    return request_of(
        NAME,
        raw,
        model,
        _messages(before, system, asked) if asked else (),
        known=_TOP,
        mended=reader.mended or ours,
        bound=_bound(value, token_ids=bool(numbers) and not ours),
    )


def _asked(value: Mapping[str, JSON], reader: Reader) -> tuple[Part, ...]:
    prompt = check.opt_string(value, "prompt")
    parts: list[Part] = [Text(prompt)] if prompt else []
    for index, image in enumerate(check.opt_list(value, "images") or ()):
        parts.append(reader.media(image, f"images[{index}]"))
    return tuple(parts)


def _numbers(value: Mapping[str, JSON]) -> list[int]:
    numbers = check.opt_list(value, "context") or []
    for index, number in enumerate(numbers):
        if type(number) is not int:
            why = f"expected a whole number, got {check.named(number)}"
            raise Invalid(f"context[{index}]", why)
    return numbers


def _messages(
    before: tuple[Message, ...], system: str | None, asked: tuple[Part, ...]
) -> tuple[Message, ...]:
    """A client that sends its instructions with every prompt says them once in a conversation."""
    user = Message("user", asked)
    if not system:
        return (*before, user)
    said = [message.parts for message in before if message.role == "system"]
    if said and said[-1] == (Text(system),):
        return (*before, user)
    return (*before, Message("system", (Text(system),), hoisted=not before), user)


def _bound(value: Mapping[str, JSON], *, token_ids: bool) -> tuple[str, ...]:
    found = {
        "suffix": check.opt_string(value, "suffix"),
        "template": check.opt_string(value, "template"),
        "raw": check.opt_bool(value, "raw"),
        "context": token_ids,
    }
    return tuple(name for name, said in found.items() if said)


def write_request(request: Request, ledger: Ledger, target: Target, /) -> bytes:
    """The client's own text for a server of this format. Whatever else is asked is a conversation,
    and a server is asked that by /api/chat. Raises Unsupported."""
    if request.origin != NAME or request.raw is None:
        raise Unsupported("messages", "a conversation cannot be asked by /api/generate")
    return passed_request(request, request.raw, ledger, target)


# --- whole answers --------------------------------------------------------------------------------


def _said(value: Mapping[str, JSON]) -> JSON:
    """What a line or a whole answer says, in the shape of a chat's message."""
    if "response" not in value and "thinking" not in value:
        return None
    named = {"content": "response", "thinking": "thinking", "tool_calls": "tool_calls"}
    return {name: value.get(ours) for name, ours in named.items()}


def parse_response(body: bytes, /) -> Response:
    """A server's whole answer. Raises Garbled."""
    return response_of(body, _said, ("logprobs", "context"))


def write_response(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None = None, /
) -> bytes:
    """The whole answer for a client. request: what the conversation was, to go on from."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in response.parts:
        if isinstance(part, Text):
            texts.append(part.text)
            if part.citations:
                note_answer(ledger, NAME, "citations")
        elif isinstance(part, Thought):
            thoughts.append(part.text)
        elif isinstance(part, ToolUse):
            _note_call(ledger)
        else:
            what = part.type if isinstance(part, Opaque) else type(part).__name__.lower()
            note_answer(ledger, NAME, "block", at=what)
    if response.stop == "refusal" and not any(texts):
        texts.append(refusal_words(response.stop_details))
    said = {"response": "".join(texts)}
    if any(thoughts):
        said["thinking"] = "".join(thoughts)
    size = sum(map(len, said.values()))
    numbers = response.extra.get("context")
    if type(numbers) is list:
        more: Mapping[str, JSON] = {"context": numbers}
    else:
        more = _context(request, said["response"], ledger)
    return whole_answer(response, said, size, ledger, stamp, more)


def _note_call(ledger: Ledger) -> None:
    note_answer(ledger, NAME, "call")


def _context(request: Request | None, answer: str | None, ledger: Ledger) -> Mapping[str, JSON]:
    """What the client can send with its next prompt. answer: None for one that is too long."""
    if request is None or not request.messages:
        return {}
    numbers = None
    if answer is not None and not request.bound:
        said = Message("assistant", (Text(answer),))
        numbers = context.packed((*request.messages, said))
    if numbers is None:
        note_answer(ledger, NAME, "context")
        return {}
    return {"context": numbers}


# --- streams --------------------------------------------------------------------------------------


class GenerateDecoder(Decoder):
    """A server's lines into events."""

    said = staticmethod(_said)
    __slots__ = ()


class GenerateObserver(Observer):
    """Watches lines that pass through."""

    said = staticmethod(_said)
    __slots__ = ()


class GenerateEncoder(Encoder):
    """Events into lines for a client. Its words are kept, as far as a `context` can hold them."""

    text = ('Z","response":', ',"done":false}\n')
    thought = ('Z","response":"","thinking":', text[1])
    end = 'Z","response":"",'
    __slots__ = ("_request", "_room", "_words")

    def __init__(self, request: Request, ledger: Ledger, stamp: Stamp) -> None:
        super().__init__(request, ledger, stamp)
        self._request = request
        self._words: list[str] = []
        self._room = context.LIMIT

    def encode(self, event: Event, /) -> bytes:
        if isinstance(event, TextDelta | RefusalDelta):
            self._room -= len(event.text)
            if self._room >= 0:
                self._words.append(event.text)
        return super().encode(event)

    def _call(self, call: object) -> bytes:
        if call is not None:
            _note_call(self._ledger)
        return b""

    def at_end(self) -> Mapping[str, JSON]:
        answer = "".join(self._words) if self._room >= 0 else None
        return _context(self._request, answer, self._ledger)


def decoder(*, limit: int) -> GenerateDecoder:
    return GenerateDecoder(limit=limit)


def encoder(request: Request, ledger: Ledger, stamp: Stamp, /) -> GenerateEncoder:
    return GenerateEncoder(request, ledger, stamp)


def observer(request: Request, /, *, limit: int) -> GenerateObserver:
    return GenerateObserver(request, limit=limit)
