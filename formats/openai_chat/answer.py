"""A whole answer of Chat Completions, read from an upstream and written for a client.

Owns: the completion object, its usage figures in every server's dialect, its stop reasons.
Refuses to know: streams (they borrow the figures and reasons from here), requests, errors.

Laws:
1. What is no completion object is `Garbled`; a damaged detail inside one is left out, and never
   ends an answer that has content.
2. The first choice is the answer; other choices and unknown members survive in `extra["openai"]`,
   for clients of this same format only.
3. A stop reason follows from what was really sent, and figures from what was really said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats import check, ids
from formats.canonical import (
    EMPTY,
    JSON,
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Request,
    Response,
    Stamp,
    StopReason,
    Text,
    Thought,
    ToolResult,
    ToolUse,
    Usage,
)
from formats.errors import Failure, FormatError, Garbled, Invalid
from formats.fold import parsed_arguments
from formats.freeform import custom_names, unwrapped
from formats.ids import ClientNames
from formats.jsontext import dump, dumps, loads
from formats.losses import note_answer
from formats.openai_chat.errors import error_object, failure_of
from formats.openai_chat.parse import NAME, is_legacy, reasoning_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from formats.ledger import Ledger

STOPS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}
NATIVE: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "context_window": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "content_filter": "content_filter",
    "pause": "stop",
    "load": "stop",
    "unload": "stop",
}
# Words in the place of a stop reason that say that there was none.
BROKEN_OFF = frozenset({"error", "abort"})
REFUSED = "The model refused to answer."
_NO_FIGURES = Usage()
_LONGEST_MS = 1e9
_TOP = frozenset({"id", "object", "created", "model", "choices", "usage"})
_CHOICE = frozenset({"index", "message", "finish_reason"})
_MESSAGE = frozenset(
    {"role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call"}
)


# --- reading --------------------------------------------------------------------------------------


def parse_response(body: bytes, /) -> Response:
    """An upstream's whole answer (status 200). Raises Garbled when it is not one."""
    return response_of(object_in(body))


def object_in(body: bytes) -> dict[str, JSON]:
    """The object that a whole answer is. Raises Garbled."""
    try:
        obj = loads(body.decode("utf-8"))
    except ValueError:  # of which a UnicodeDecodeError is one
        raise Garbled(_not_one(body)) from None
    if type(obj) is not dict:
        raise Garbled(_not_one(body))
    return obj


def _not_one(body: bytes) -> str:
    start = body[:80].decode("utf-8", "replace")
    return f"the upstream's answer is not a completion: {start!r}" if body else "an empty answer"


def response_of(obj: Mapping[str, JSON]) -> Response:
    """A completion object as a response. Raises Garbled."""
    failure = failure_in(obj)
    if failure is not None:
        raise Garbled(f"the upstream answered with an error: {failure.message}")
    choices = obj.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if type(first) is not dict or type(message) is not dict:
        raise Garbled("the upstream's answer has no choice with a message")
    parts = tuple(_parts(message))
    native = first.get("finish_reason")
    native = native if isinstance(native, str) and native else None
    if native in BROKEN_OFF:
        raise Garbled(f"the upstream broke the answer off ({native})")
    sequence = stop_sequence_of(first)
    stop = stop_reason(
        native,
        has_call=any(isinstance(part, ToolUse) for part in parts),
        has_refusal=any(isinstance(part, Text) and part.refusal for part in parts),
        sequence=sequence,
    )
    created = obj.get("created")
    return Response(
        id=_text_or_empty(obj.get("id")),
        model=_text_or_empty(obj.get("model")),
        parts=parts,
        stop=stop,
        stop_native=native,
        stop_sequence=sequence if stop == "stop_sequence" else None,
        usage=usage_of(obj),
        created=created if type(created) is int else None,
        extra=_kept(obj, first, message),
    )


def failure_in(obj: Mapping[str, JSON], *, status: int | None = None) -> Failure | None:
    """The error that an object of status 200, or an event, turns out to be."""
    if not obj.get("error") and "choices" in obj:
        return None
    error = error_object(obj)
    return None if error is None else failure_of(status, error)


def _text_or_empty(value: JSON) -> str:
    return value if type(value) is str else ""


def _parts(message: Mapping[str, JSON]) -> Iterable[Part]:
    thought = reasoning_of(message)
    if thought:
        yield Thought(thought)
    for text, thinking in content_pieces(message.get("content")):
        yield Thought(text) if thinking else Text(text)
    refusal = message.get("refusal")
    if type(refusal) is str and refusal:
        yield Text(refusal, refusal=True)
    calls = message.get("tool_calls")
    seen: set[str] = set()
    for item in calls if isinstance(calls, list) else ():
        call = _call(item, seen)
        if call is not None:
            yield call
    old = message.get("function_call")
    if isinstance(old, dict):
        call = _call({"function": old}, seen)
        if call is not None:
            yield call


def content_pieces(content: JSON) -> list[tuple[str, bool]]:
    """(text, whether it is reasoning) of a content, which a few servers send as a list of parts."""
    if type(content) is str:
        return [(content, False)] if content else []
    pieces: list[tuple[str, bool]] = []
    for item in content if isinstance(content, list) else ():
        if not isinstance(item, dict):
            continue
        thinking = item.get("type") == "thinking"
        value = item.get("thinking" if thinking else "text")
        if isinstance(value, list):
            value = "".join(text for text, _ in content_pieces(value))
        if type(value) is str and value:
            pieces.append((value, thinking))
    return pieces


def _call(item: JSON, seen: set[str]) -> ToolUse | None:
    """A call of an answer, however odd its arguments; None when it does not even have a name."""
    if not isinstance(item, dict):
        return None
    custom = isinstance(item.get("custom"), dict)
    kind = "custom" if custom else "function"
    inner = item.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or type(name) is not str or not name:
        return None
    text = arguments_text(inner.get("input" if custom else "arguments"))
    extra = {n: v for n, v in item.items() if n not in CALL_MEMBERS and v is not None}
    return ToolUse(
        id=unrepeated(_text_or_empty(item.get("id")), seen),
        name=name,
        arguments=text,
        input=None if custom else parsed_arguments(text),
        kind="custom" if custom else "function",
        extra=extra or EMPTY,
    )


# Members of a call that its server wants back with it in the next turn, whoever the client is.
CARRIED = ("extra_content", "thought_signature")
CALL_MEMBERS = frozenset({"id", "type", "index", "function", "custom"})


def arguments_text(value: JSON) -> str:
    """Arguments as text: some servers send the object itself."""
    if type(value) is str:
        return value
    return "" if value is None else dumps(value)


def unrepeated(call_id: str, seen: set[str]) -> str:
    """The id, or one like it where it has been given to another call of the same answer."""
    unique, count = call_id, 1
    while unique and unique in seen:
        count += 1
        unique = f"{call_id}_{count}"
    seen.add(unique)
    return unique


def _kept(
    obj: Mapping[str, JSON], first: Mapping[str, JSON], message: Mapping[str, JSON]
) -> Mapping[str, JSON]:
    kept = check.rest(obj, _TOP)
    choice = check.rest(first, _CHOICE)
    members = check.rest(message, _MESSAGE)
    if members:
        choice["message"] = members
    others = obj["choices"][1:]
    if choice or others:
        kept["choices"] = [choice, *others]
    return {NAME: kept} if kept else EMPTY


# --- figures and reasons --------------------------------------------------------------------------


def usage_of(obj: Mapping[str, JSON]) -> Usage | None:
    """The figures of an answer or an event, in whichever place this server has them."""
    usage = obj.get("usage")
    if type(usage) is not dict:
        groq = obj.get("x_groq")
        usage = groq.get("usage") if isinstance(groq, dict) else None
    timings = obj.get("timings")
    timings = timings if type(timings) is dict else None
    if type(usage) is dict:
        return _usage(usage, timings or {})
    return None if timings is None else _timed(timings)


def _usage(usage: Mapping[str, JSON], timings: Mapping[str, JSON]) -> Usage | None:
    given = _count(usage, "prompt_tokens")
    made = _count(usage, "completion_tokens")
    total = _count(usage, "total_tokens")
    prompt = usage.get("prompt_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = usage.get("completion_tokens_details")
    completion = completion if isinstance(completion, dict) else {}
    read = _count(prompt, "cached_tokens")
    if read is None:
        read = _count(usage, "prompt_cache_hit_tokens")
    if read is None:
        read = _count(timings, "cache_n")
    reasoning = _count(completion, "reasoning_tokens")
    if given is not None and made is not None and total is not None:
        # xAI counts reasoning in the total only
        made += reasoning if reasoning and total - given - made == reasoning else 0
    figures = Usage(given, made, read, _count(prompt, "cache_write_tokens"), reasoning)
    if figures == _NO_FIGURES:
        return None
    spent = _ms(timings, "prompt_ms")
    return figures if spent is None else replace(figures, prefill_ms=spent)


def _timed(timings: Mapping[str, JSON]) -> Usage | None:
    """llama.cpp's timings: all there is when no usage was asked for."""
    read, fresh = _count(timings, "cache_n"), _count(timings, "prompt_n")
    made = _count(timings, "predicted_n")
    if fresh is None or made is None:
        return None
    return Usage(fresh + (read or 0), made, read, prefill_ms=_ms(timings, "prompt_ms"))


def _ms(timings: Mapping[str, JSON], name: str) -> int | None:
    value = timings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < _LONGEST_MS else None


def _count(obj: Mapping[str, JSON], name: str) -> int | None:
    value = obj.get(name)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def stop_sequence_of(choice: Mapping[str, JSON]) -> str | None:
    """vLLM says which stop sequence was hit."""
    value = choice.get("stop_reason")
    return value if type(value) is str and value else None


def stop_reason(
    native: str | None, *, has_call: bool, has_refusal: bool, sequence: str | None = None
) -> StopReason:
    """Why the answer ended, by what it holds: servers say `stop` for calls, and the reverse."""
    reason = STOPS.get(native or "", "end_turn")
    if reason in ("max_tokens", "content_filter"):
        return reason
    if has_call:
        return "tool_use"
    if has_refusal:
        return "refusal"
    return "stop_sequence" if sequence is not None and native == "stop" else "end_turn"


# --- writing --------------------------------------------------------------------------------------


def write_response(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None = None, /
) -> bytes:
    """The body for a client of this format. request: what it asked, which says what it calls its
    tools, and whether it knows tools at all or only functions."""
    own = response.extra.get(NAME)
    own = own if isinstance(own, dict) else {}
    kept = own.get("choices") or [{}]
    message = _message(response, ledger, stamp, request)
    choice: dict[str, JSON] = {"index": 0, "message": message, "logprobs": None}
    choice["finish_reason"] = native_stop(response.stop, response.stop_native)
    if response.stop == "tool_use" and "function_call" in message:
        choice["finish_reason"] = "function_call"
    for name, value in kept[0].items():
        if name == "message":
            message.update({n: v for n, v in value.items() if n not in message})
        else:
            choice[name] = value
    out: dict[str, JSON] = {
        "id": f"chatcmpl-{stamp.id}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": response.model or stamp.model,
        "choices": [choice, *kept[1:]],
    }
    if response.usage is not None:
        figures = usage_object(response.usage)
        if figures is not None:
            out["usage"] = figures
    out.update({name: value for name, value in own.items() if name not in out})
    return dump(out)


def native_stop(reason: StopReason, native: str | None) -> str:
    """This format's word for a reason. Its own servers refuse with `stop`, and stay so."""
    return "stop" if reason == "refusal" and native == "stop" else NATIVE[reason]


def usage_object(usage: Usage) -> dict[str, JSON] | None:
    """The figures as this format writes them; None when nothing is known."""
    if usage.input is None and usage.output is None:
        return None
    given, made = usage.input or 0, usage.output or 0
    out: dict[str, JSON] = {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
    }
    prompt = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write}
    prompt = {name: count for name, count in prompt.items() if count is not None}
    if prompt:
        out["prompt_tokens_details"] = prompt
    if usage.reasoning is not None:
        out["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return out


def refusal_words(details: JSON) -> str:
    """What to say for a refusal that came without a word."""
    words = details.get("explanation") if isinstance(details, dict) else None
    return words if type(words) is str and words else REFUSED


def citation_of(citation: JSON, start: int, end: int) -> dict[str, JSON] | None:
    """A citation of a web page as an annotation; None for those that have no counterpart."""
    if not isinstance(citation, dict):
        return None
    if citation.get("type") == "url_citation":
        if "url_citation" in citation:
            return dict(citation)
        inner = {name: value for name, value in citation.items() if name != "type"}
        return {"type": "url_citation", "url_citation": inner}  # Responses does not nest it
    url = citation.get("url")
    if type(url) is not str or not url:
        return None
    where = {"start_index": start, "end_index": end, "url": url}
    return {
        "type": "url_citation",
        "url_citation": {**where, "title": _text_or_empty(citation.get("title"))},
    }


def _message(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None
) -> dict[str, JSON]:
    names, customs = ClientNames(request), custom_names(request)
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[JSON] = []
    notes: list[JSON] = []
    at = 0
    for part in response.parts:
        match part:
            case Text(text, refusal=True):
                refusals.append(text)
            case Text(text):
                texts.append(text)
                notes += _annotations(part, at, ledger)
                at += len(text)
            case Thought(text):
                thoughts.append(text)
                note_signature(part.signature or part.redacted, ledger)
            case ToolUse():
                calls.append(_written_call(part, len(calls), stamp, names, customs))
            case Opaque() | Image() | Document() | Audio() | ToolResult():
                note_unshown(part.type if isinstance(part, Opaque) else "", ledger)
    if response.stop == "refusal" and not texts and not refusals:
        refusals.append(refusal_words(response.stop_details))
    content = "".join(texts) if texts or not (calls or refusals) else None
    message: dict[str, JSON] = {"role": "assistant", "content": content}
    message["refusal"] = "".join(refusals) if refusals else None
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls and is_legacy(request):
        message["function_call"] = calls[0].get("function")
        if len(calls) > 1:
            note_second_call(ledger)
    elif calls:
        message["tool_calls"] = calls
    if notes:
        message["annotations"] = notes
    return message


def _annotations(part: Text, at: int, ledger: Ledger) -> list[JSON]:
    made = [citation_of(citation, at, at + len(part.text)) for citation in part.citations]
    if any(note is None for note in made):
        note_answer(ledger, NAME, "citations")
    return [note for note in made if note is not None]


def note_signature(signature: str | None, ledger: Ledger) -> None:
    if signature:
        note_answer(ledger, NAME, "signature")


def note_unshown(name: str, ledger: Ledger) -> None:
    note_answer(ledger, NAME, "block", at=name or "content")


def note_second_call(ledger: Ledger) -> None:
    note_answer(ledger, NAME, "second call")


def shown_id(call_id: str, ordinal: int, stamp: Stamp) -> str:
    """The id a client is given for a call."""
    if not call_id:
        return ids.minted_id(stamp.id, ordinal)
    return ids.legal_id(call_id, ids.OPENAI)


def _written_call(
    call: ToolUse, ordinal: int, stamp: Stamp, names: ClientNames, customs: Container[str]
) -> dict[str, JSON]:
    """customs: the names of the client's custom tools, which other formats call as functions."""
    text, name = call.arguments, names.client_name(call.name)
    inner: dict[str, JSON] = {"name": name}
    kind = "custom" if name in customs else call.kind
    if kind == "custom":
        inner["input"] = text if call.kind == "custom" else _custom_input(call)
    else:
        if not text.strip():
            text = safe_dumps(call.input or {})
        inner["arguments"] = text
    out: dict[str, JSON] = {"id": shown_id(call.id, ordinal, stamp), "type": kind, kind: inner}
    if "extra_content" in call.extra:  # Gemini's signatures: they must come back with the call
        out["extra_content"] = call.extra["extra_content"]
    return out


def _custom_input(call: ToolUse) -> str:
    return unwrapped(call.arguments or safe_dumps(call.input or {}))


def safe_dumps(value: Mapping[str, JSON]) -> str:
    try:
        return dumps(dict(value))
    except (Invalid, FormatError):
        return "{}"
