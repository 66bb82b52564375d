"""Ollama's whole answers, read from a server and written for a client.

Owns: the one object that a whole answer is, and the answer to a request that only loads a model.
Refuses to know: streams, requests, HTTP.

Laws:
1. No messages is no mistake: it loads the model, or unloads it, and is answered by one object.
2. A call whose arguments are no JSON object is never shown as a call.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from formats import jsontext
from formats.canonical import (
    EMPTY,
    JSON,
    Opaque,
    Part,
    Request,
    Response,
    Stamp,
    StopReason,
    Text,
    Thought,
    ToolUse,
)
from formats.errors import Garbled
from formats.fold import parsed_arguments
from formats.ids import ClientNames, minted_id
from formats.losses import note_answer
from formats.ollama.wire import (
    BAD_CALL,
    call_text,
    calls_of,
    created_at,
    created_of,
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
    from collections.abc import Callable, Mapping

    from formats.ledger import Ledger


def parse_response(body: bytes, /) -> Response:
    """A server's whole answer."""
    return response_of(body, message_in)


def response_of(
    body: bytes, said: Callable[[dict[str, JSON]], JSON], kept: tuple[str, ...] = ("logprobs",)
) -> Response:
    """A whole answer of /api/chat or /api/generate. said: the message in the object, in the shape
    of a chat's, None where there is none. kept: members that wait in `extra`."""
    try:
        value = jsontext.loads(body.decode("utf-8-sig"))
    except ValueError:
        raise Garbled(not_a_line(body.strip()) if body.strip() else "the answer is empty") from None
    if type(value) is not dict:
        raise Garbled(not_a_line(body))
    message = said(value)
    if type(message) is not dict:
        if value.get("error"):
            raise Garbled(f"the upstream reported: {failure_of(value).message}")
        if value.get("done") is not True:
            raise Garbled(not_a_line(body))
        message = {}
    parts = _parts(message, body)
    calls = any(isinstance(part, ToolUse) for part in parts)
    native = value.get("done_reason")
    model = value.get("model")
    return Response(
        id="",
        model=model if type(model) is str else "",
        parts=parts,
        stop=stop_reason(native, calls),
        stop_native=native if type(native) is str else None,
        usage=usage_of(value),
        created=created_of(value),
        extra={name: value[name] for name in kept if value.get(name) is not None},
    )


def _parts(message: dict[str, JSON], body: bytes) -> tuple[Part, ...]:
    parts: list[Part] = []
    thinking, content = message.get("thinking") or "", message.get("content") or ""
    if type(thinking) is not str or type(content) is not str:
        raise Garbled(not_a_line(body))
    if thinking:
        parts.append(Thought(thinking))
    if content:
        parts.append(Text(content))
    try:
        calls = calls_of(message.get("tool_calls") or [], set())
    except ValueError:
        raise Garbled(not_a_line(body)) from None
    for call_id, name, arguments in calls:
        parts.append(ToolUse(call_id, name, arguments, parsed_arguments(arguments)))
    return tuple(parts)


def write_response(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None = None, /
) -> bytes:
    """The whole answer for a client. Raises Garbled when it holds a call that cannot be shown and
    the model was not merely cut off in it."""
    message: dict[str, JSON] = {"role": "assistant", "content": ""}
    thoughts: list[str] = []
    texts: list[str] = []
    calls: list[JSON] = []
    names = ClientNames(request)
    size = 0
    for part in response.parts:
        if isinstance(part, Text):
            texts.append(part.text)
            if part.citations:
                note_answer(ledger, "ollama", "citations")
        elif isinstance(part, Thought):
            thoughts.append(part.text)
        elif isinstance(part, ToolUse):
            size += len(part.arguments)
            call = _call(part, len(calls), stamp, names)
            if call is not None:
                calls.append(call)
            elif response.stop not in ("max_tokens", "context_window"):
                raise Garbled(BAD_CALL)
        else:
            what = part.type if isinstance(part, Opaque) else type(part).__name__.lower()
            note_answer(ledger, "ollama", "block", at=what)
    if response.stop == "refusal" and not any(texts):
        texts.append(refusal_words(response.stop_details))
    message["content"] = "".join(texts)
    if any(thoughts):
        message["thinking"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    size += len(message["content"]) + sum(map(len, thoughts))
    return whole_answer(response, {"message": message}, size, ledger, stamp)


def whole_answer(
    response: Response,
    said: Mapping[str, JSON],
    size: int,
    ledger: Ledger,
    stamp: Stamp,
    more: Mapping[str, JSON] = EMPTY,
) -> bytes:
    """The one object that a whole answer is. said: what the model said, as this call names it;
    size: its characters. more: what else the call has."""
    value: dict[str, JSON] = {
        "model": stamp.model or response.model,
        "created_at": created_at(stamp),
        **said,
        "done": True,
        "done_reason": native_stop(response.stop, ledger),
        **more,
    }
    logprobs = response.extra.get("logprobs")
    if type(logprobs) is list:
        value["logprobs"] = logprobs
    if response.stop not in ("load", "unload"):
        value |= metrics(response.usage, stamp, None, size)
    return jsontext.dump_ascii(value)


def load_answer(request: Request) -> Response | None:
    """What a request without messages is answered, where the upstream has no way to load a model:
    None when it has messages, and so is no such request."""
    if request.messages:
        return None
    kept = request.keep_alive
    none = type(kept) is str and "0" in kept and not re.search("[1-9]", kept)  # "0", "0s", "0m0s"
    stop: StopReason = "unload" if kept == 0 or none else "load"
    return Response(id="", model=request.model, stop=stop, stop_native=stop)


def _call(part: ToolUse, index: int, stamp: Stamp, names: ClientNames) -> JSON:
    arguments = part.input
    if part.kind == "custom":
        arguments = {"input": part.arguments}
    elif arguments is None:
        arguments = parsed_arguments(part.arguments)
    call_id = part.id or minted_id(stamp.id, index)
    name = names.client_name(part.name)
    text = call_text(call_id, index, name, None if arguments is None else dict(arguments))
    return None if text is None else jsontext.loads(text)
