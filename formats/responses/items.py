"""The input of a Responses request: a flat list of items, read into messages.

Owns: every kind of item and content part, and which items make one turn.
Refuses to know: the rest of a request; whether an item's id or state is known to anybody.

Laws:
1. Items of the assistant that follow each other are one message, results that follow each other
   another. Calls and results find each other by `call_id`, never by `id`.
2. Nothing is skipped: an item or a part of an unknown type is an `Opaque`, which only this format
   can carry.
3. What an item has besides its meaning (id, status, ...) is kept: of an assistant's message with its
   first text, as `item`; of all others in their own `extra`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from formats import check, media
from formats.canonical import (
    EMPTY,
    JSON,
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Role,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.fold import parsed_arguments
from formats.jsontext import dumps
from formats.namespaces import flat_name
from formats.responses.wire import NAME, reasoning_text
from formats.token import is_token, read_thought

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MESSAGE = frozenset({"type", "role", "content"})
_FUNCTION_CALL = frozenset({"type", "call_id", "name", "arguments"})
_CUSTOM_CALL = frozenset({"type", "call_id", "name", "input"})
_OUTPUT = frozenset({"type", "call_id", "output", "name"})
_REASONING = frozenset({"type", "encrypted_content"})
_CACHE = "prompt_cache_breakpoint"


def parse_items(items: list[JSON], path: str = "input") -> list[Message]:
    """Raises Invalid."""
    messages: list[Message] = []
    for at, item in enumerate(items):
        place = f"{path}[{at}]"
        message = _message(item, place)
        last = messages[-1] if messages else None
        if last and message.role == last.role and message.role in ("assistant", "tool"):
            parts = last.parts + _apart(last.parts, message.parts)
            messages[-1] = replace(last, parts=parts)
        else:
            messages.append(message)
    return messages


def _apart(before: tuple[Part, ...], parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Parts that follow others of the same turn: a text that begins a message of its own says so."""
    first = parts[0] if parts else None
    if not (before and isinstance(before[-1], Text) and isinstance(first, Text)):
        return parts
    if "item" in first.extra:
        return parts
    return (replace(first, extra={**first.extra, "item": {}}), *parts[1:])


def _message(item: JSON, path: str) -> Message:
    if type(item) is str:
        return Message("user", (Text(item),))
    obj = check.an_object(item, path)
    kind = check.opt_string(obj, "type", path)
    if kind is None or kind == "message":
        return _said(obj, path)
    reader = _ITEMS.get(kind)
    if reader is not None:
        return reader(obj, path)
    role: Role = "user" if kind.endswith("_output") else "assistant"
    return Message(role, (Opaque(NAME, kind, obj),))


# --- messages -------------------------------------------------------------------------------------


def _said(obj: Mapping[str, JSON], path: str) -> Message:
    if "role" not in obj and "id" in obj and "content" not in obj:
        return Message("assistant", (Opaque(NAME, "item_reference", obj),))
    role = check.string(obj, "role", path)
    if role not in ("system", "developer", "user", "assistant"):
        raise Invalid(f"{path}.role", f"unknown role {role!r}")
    parts = _content(obj.get("content"), f"{path}.content")
    others = check.rest(obj, _MESSAGE)
    if role != "assistant":
        return Message(cast("Role", role), parts, extra=others or EMPTY)
    return Message("assistant", _with_item(parts, others))


def _with_item(parts: tuple[Part, ...], others: dict[str, JSON]) -> tuple[Part, ...]:
    """The parts of an assistant's message, the first of them with the item's other members."""
    if not parts or not isinstance(parts[0], Text):
        parts = (Text(""), *parts)
    if not others:
        return parts
    first = cast("Text", parts[0])
    return (replace(first, extra={**first.extra, "item": others}), *parts[1:])


def _content(value: JSON, path: str) -> tuple[Part, ...]:
    if value is None:
        return ()
    if type(value) is str:
        return (Text(value),)
    if type(value) is not list:
        raise Invalid(path, f"expected a string or a list of parts, got {check.named(value)}")
    return tuple(_part(item, f"{path}[{at}]") for at, item in enumerate(value))


def _part(value: JSON, path: str) -> Part:
    if type(value) is str:
        return Text(value)
    obj = check.an_object(value, path)
    kind = check.string(obj, "type", path)
    reader = _PARTS.get(kind)
    return Opaque(NAME, kind, obj) if reader is None else reader(obj, path)


def _text(obj: Mapping[str, JSON], path: str) -> Part:
    known = frozenset({"type", "text", _CACHE, "annotations"})
    extra = check.rest(obj, known)
    if extra.get("logprobs") in ([], None):
        extra.pop("logprobs", None)
    return Text(
        check.string(obj, "text", path),
        cache=obj.get(_CACHE),
        citations=tuple(check.opt_list(obj, "annotations", path) or ()),
        extra=extra or EMPTY,
    )


def _refusal(obj: Mapping[str, JSON], path: str) -> Part:
    extra = check.rest(obj, frozenset({"type", "refusal"})) or EMPTY
    return Text(check.string(obj, "refusal", path), refusal=True, extra=extra)


def _image(obj: Mapping[str, JSON], path: str) -> Part:
    known = frozenset({"type", "image_url", "file_id", "detail", _CACHE})
    extra = check.rest(obj, known) or EMPTY
    detail, cache = check.opt_string(obj, "detail", path), obj.get(_CACHE)
    value = obj.get("image_url")
    if type(value) is dict:  # as Chat Completions nests it
        detail = detail or check.opt_string(value, "detail", f"{path}.image_url")
        value = check.string(value, "url", f"{path}.image_url")
    if value is None:
        file_id = check.opt_string(obj, "file_id", path)
        if file_id is None:
            raise Invalid(path, "one of image_url and file_id is required")
        return Image(file_id=file_id, detail=detail, cache=cache, extra=extra)
    place = f"{path}.image_url"
    url = check.a_string(value, place)
    found = media.parse_data_url(url, place)
    if found is not None:
        return media.image(found[1], found[0], path=place, detail=detail, cache=cache, extra=extra)
    if url[:8].lower().startswith(("http://", "https://")):
        return Image(url=url, detail=detail, cache=cache, extra=extra)
    raise Invalid(place, "expected an http(s) URL or a data URL")


def _file(obj: Mapping[str, JSON], path: str) -> Part:
    known = frozenset({"type", "file_data", "file_id", "file_url", "filename", _CACHE})
    document = Document(
        name=check.opt_string(obj, "filename", path),
        cache=obj.get(_CACHE),
        extra=check.rest(obj, known) or EMPTY,
    )
    data = check.opt_string(obj, "file_data", path)
    if data is not None:
        return _with_data(document, data, f"{path}.file_data")
    url, file_id = check.opt_string(obj, "file_url", path), check.opt_string(obj, "file_id", path)
    if url is None and file_id is None:
        raise Invalid(path, "one of file_data, file_url and file_id is required")
    return replace(document, url=url, file_id=file_id)


def _with_data(document: Document, data: str, path: str) -> Document:
    found = media.parse_data_url(data, path)
    if found is None:
        mime = media.sniff(data)
        if mime is None:
            raise Invalid(path, "expected a data URL")
        found = mime, media.clean_base64(data, path)
    mime, plain = found[0] or "application/octet-stream", found[1]
    text = media.decoded_text(plain) if mime.startswith("text/") else None
    if text is None:
        return replace(document, data=plain, mime=mime)
    return replace(document, text=text, mime=mime)


def _audio(obj: Mapping[str, JSON], path: str) -> Part:
    inner = check.opt_object(obj, "input_audio", path)
    path = f"{path}.input_audio"
    if inner is None:
        raise Invalid(path, "this field is required")
    return Audio(
        data=check.string(inner, "data", path),
        format=check.string(inner, "format", path),
        extra=check.rest(obj, frozenset({"type", "input_audio"})) or EMPTY,
    )


_PARTS: Mapping[str, Callable[[Mapping[str, JSON], str], Part]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


# --- calls, results, reasoning --------------------------------------------------------------------


def _function_call(obj: Mapping[str, JSON], path: str) -> Message:
    given = obj.get("arguments")
    whole = type(given) is dict
    text = dumps(given) if whole else check.opt_string(obj, "arguments", path) or ""
    use = ToolUse(
        id=check.opt_string(obj, "call_id", path) or "",
        name=_called(obj, path),
        arguments=text,
        input=given if whole else parsed_arguments(text),
        extra=check.rest(obj, _FUNCTION_CALL) or EMPTY,
    )
    return Message("assistant", (use,))


def _custom_call(obj: Mapping[str, JSON], path: str) -> Message:
    use = ToolUse(
        id=check.opt_string(obj, "call_id", path) or "",
        name=_called(obj, path),
        arguments=check.opt_string(obj, "input", path) or "",
        kind="custom",
        extra=check.rest(obj, _CUSTOM_CALL) or EMPTY,
    )
    return Message("assistant", (use,))


def _called(obj: Mapping[str, JSON], path: str) -> str:
    name = check.string(obj, "name", path)
    namespace = check.opt_string(obj, "namespace", path)
    return flat_name(namespace, name) if namespace else name


def _result(obj: Mapping[str, JSON], path: str) -> Message:
    value = obj.get("output")
    if type(value) in (str, list) or value is None:
        parts = _content(value, f"{path}.output")
    else:
        parts = (Text(dumps(value)),)  # some clients leave it an object
    result = ToolResult(
        call_id=check.opt_string(obj, "call_id", path) or "",
        parts=parts,
        name=check.opt_string(obj, "name", path),
        kind="custom" if obj["type"] == "custom_tool_call_output" else "function",
        extra=check.rest(obj, _OUTPUT) or EMPTY,
    )
    return Message("tool", (result,))


def _reasoning(obj: Mapping[str, JSON], path: str) -> Message:
    check.opt_list(obj, "summary", path)
    check.opt_list(obj, "content", path)
    sealed = check.opt_string(obj, "encrypted_content", path)
    extra = check.rest(obj, _REASONING) or EMPTY
    text = reasoning_text(obj)
    thought = None if sealed is None else read_thought(sealed)
    if thought is not None:  # our own: what another format's upstream had thought
        whole = thought.signature is not None or thought.redacted is not None
        thought = replace(
            thought, text=thought.text if whole else thought.text or text, extra=extra
        )
    elif not sealed or is_token(sealed):
        thought = Thought(text, origin=NAME, extra=extra)
    else:
        thought = Thought(text, signature=sealed, origin=NAME, extra=extra)
    return Message("assistant", (thought,))


_ITEMS: Mapping[str, Callable[[Mapping[str, JSON], str], Message]] = {
    "function_call": _function_call,
    "custom_tool_call": _custom_call,
    "function_call_output": _result,
    "custom_tool_call_output": _result,
    "reasoning": _reasoning,
}
