"""A client's Anthropic Messages request, read.

Owns: which members the format has, what each means canonically, and the errors that name the exact
place of a mistake.
Refuses to know: upstreams. What a target cannot carry is the writer's business.

Laws:
1. Nothing is skipped: a member without canonical meaning goes into the `extra` of what it stands
   in (members inside `thinking`, `metadata`, ... into the request's, under `thinking.name`), a block
   without canonical meaning becomes Opaque with its whole value.
2. Only Invalid is raised, whatever the JSON.
3. Tool results leave their user message and become a group of their own before it: the format asks
   for them first anyway. The writer joins the two again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from formats import check
from formats.anthropic.wire import NAME
from formats.canonical import (
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Request,
    Sampling,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.jsontext import RawBody, dumps, parse_body
from formats.plugins import plugin_calls
from formats.token import is_token, read_thought

JSON = Any
_Object = dict[str, JSON]

_TOP = frozenset(
    [
        "model",
        "max_tokens",
        "messages",
        "system",
        "stream",
        "stop_sequences",
        "tools",
        "tool_choice",
        "thinking",
        "plugins",
        "output_config",
        "metadata",
        "cache_control",
        "service_tier",
        "temperature",
        "top_p",
        "top_k",
    ]
)
_MODES: dict[str, Literal["off", "auto", "on", "between"]] = {
    "adaptive": "auto",
    "enabled": "on",
    "disabled": "off",
    "between_tools": "between",
}


def parse_request(body: bytes) -> Request:
    """The request in `body`. Raises Invalid."""
    raw = parse_body(body)
    return _request(raw, raw.value)


def _request(raw: RawBody, top: _Object) -> Request:
    extra = check.rest(top, _TOP)
    model = check.string(top, "model")
    if not model:
        raise Invalid("model", "this field must not be empty")
    choice, parallel = _tool_choice(top, extra)
    max_tokens = check.opt_int(top, "max_tokens")
    if max_tokens is not None and max_tokens < 0:
        raise Invalid("max_tokens", "must not be negative")
    output, effort = _output_config(top, extra)
    return Request(
        origin=NAME,
        model=model,
        messages=(*_system(top), *_messages(top)),
        tools=_tools(top),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=max_tokens,
        sampling=_sampling(top),
        thinking=_thinking(top, effort, extra),
        output=output,
        stream=check.opt_bool(top, "stream") or False,
        include_usage=True,
        user=_user(top, extra),
        cache=_cache(top, ""),
        service_tier=check.opt_string(top, "service_tier"),
        plugins=plugin_calls(top),
        extra=extra,
        raw=raw,
    )


# --- top-level members ----------------------------------------------------------------------------


def _cache(obj: _Object, path: str) -> JSON:
    return check.opt_object(obj, "cache_control", path)


def _inner(extra: _Object, parent: str, obj: _Object, known: frozenset[str]) -> None:
    """Members of a top-level object that have no canonical place, kept as `parent.name`."""
    for key, value in check.rest(obj, known).items():
        extra[f"{parent}.{key}"] = value


def _user(top: _Object, extra: _Object) -> str | None:
    metadata = check.opt_object(top, "metadata")
    if metadata is None:
        return None
    _inner(extra, "metadata", metadata, frozenset({"user_id"}))
    return check.opt_string(metadata, "user_id", "metadata")


def _sampling(top: _Object) -> Sampling:
    stop = check.opt_list(top, "stop_sequences") or []
    return Sampling(
        temperature=check.opt_number(top, "temperature"),
        top_p=check.opt_number(top, "top_p"),
        top_k=check.opt_int(top, "top_k"),
        stop=tuple(check.a_string(s, f"stop_sequences[{i}]") for i, s in enumerate(stop)),
    )


def _thinking(top: _Object, effort: str | None, extra: _Object) -> Thinking | None:
    value = check.opt_object(top, "thinking")
    if value is None:
        return None if effort is None else Thinking(effort=effort)
    type_ = check.string(value, "type", "thinking")
    mode = _MODES.get(type_)
    known = {"type", "budget_tokens", "display"} if mode else {"budget_tokens", "display"}
    _inner(extra, "thinking", value, frozenset(known))
    return Thinking(
        mode=mode,
        effort=effort,
        budget_tokens=check.opt_int(value, "budget_tokens", "thinking"),
        display=check.opt_string(value, "display", "thinking"),
    )


def _output_config(top: _Object, extra: _Object) -> tuple[OutputFormat | None, str | None]:
    """The answer's form, and the effort, which stands in the same object."""
    config = check.opt_object(top, "output_config")
    if config is None:
        return None, None
    _inner(extra, "output_config", config, frozenset({"effort", "format"}))
    effort = check.opt_string(config, "effort", "output_config")
    form = check.opt_object(config, "format", "output_config")
    if form is None:
        return None, effort
    path = "output_config.format"
    type_ = check.string(form, "type", path)
    if type_ != "json_schema":
        raise Invalid(f"{path}.type", f"unknown output format '{type_}'")
    schema = check.an_object(form.get("schema"), f"{path}.schema")
    _inner(extra, path, form, frozenset({"type", "schema"}))
    return OutputFormat("schema", schema=schema), effort


# --- tools ----------------------------------------------------------------------------------------

_TOOL = frozenset({"name", "description", "input_schema", "type", "strict", "cache_control"})
_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})


def _tools(top: _Object) -> tuple[Tool, ...]:
    listed = check.opt_list(top, "tools") or []
    return tuple(_tool(entry, f"tools[{i}]") for i, entry in enumerate(listed))


def _tool(entry: JSON, path: str) -> Tool:
    obj = check.an_object(entry, path)
    type_ = check.opt_string(obj, "type", path) or ""
    if type_ not in ("", "custom"):
        name = check.opt_string(obj, "name", path) or ""
        return Tool(name, kind="hosted", type=type_, native=obj)
    name = check.string(obj, "name", path)
    if not name:
        raise Invalid(f"{path}.name", "this field must not be empty")
    return Tool(
        name,
        description=check.opt_string(obj, "description", path),
        parameters=check.opt_object(obj, "input_schema", path),
        strict=check.opt_bool(obj, "strict", path),
        type=type_,
        cache=_cache(obj, path),
        extra=check.rest(obj, _TOOL),
    )


def _tool_choice(top: _Object, extra: _Object) -> tuple[ToolChoice | None, bool | None]:
    obj = check.opt_object(top, "tool_choice")
    if obj is None:
        return None, None
    _inner(extra, "tool_choice", obj, _CHOICE)
    alone = check.opt_bool(obj, "disable_parallel_tool_use", "tool_choice")
    parallel = None if alone is None else not alone
    match check.string(obj, "type", "tool_choice"):
        case "auto":
            return ToolChoice("auto"), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "tool":
            name = check.string(obj, "name", "tool_choice")
            hosted = any(t.name == name and t.kind == "hosted" for t in _tools(top))
            kind: Literal["hosted", "function"] = "hosted" if hosted else "function"
            return ToolChoice("named", (name,), kind=kind), parallel
        case other:
            raise Invalid("tool_choice.type", f"unknown tool choice '{other}'")


# --- messages -------------------------------------------------------------------------------------

_MESSAGE = frozenset({"role", "content"})


def _system(top: _Object) -> tuple[Message, ...]:
    value = top.get("system")
    if value is None:
        return ()
    parts = _content(value, "system")
    return (Message("system", parts, hoisted=True),) if parts else ()


def _messages(top: _Object) -> list[Message]:
    listed = check.opt_list(top, "messages")
    if listed is None:
        raise Invalid("messages", "this field is required")
    if not listed:
        raise Invalid("messages", "at least one message is required")
    messages: list[Message] = []
    for i, entry in enumerate(listed):
        messages += _message(entry, f"messages[{i}]")
    return messages


def _message(entry: JSON, path: str) -> list[Message]:
    """One message of the client: two canonical ones where tool results stand beside other parts."""
    obj = check.an_object(entry, path)
    role = check.string(obj, "role", path)
    extra = check.rest(obj, _MESSAGE)
    parts: tuple[Part, ...] = ()
    if obj.get("content") is not None:
        parts = _content(obj["content"], f"{path}.content")
    elif role != "system" or not obj.get("output_config"):  # which may say only how to go on
        raise Invalid(f"{path}.content", "this field is required")
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    match role:
        case "assistant" | "system":
            if results:
                raise Invalid(f"{path}.content", "a tool_result belongs into a user message")
            return [Message(role, parts, extra=extra)]
        case "user":
            if not results:
                return [Message(role, parts, extra=extra)]
            rest = tuple(part for part in parts if not isinstance(part, ToolResult))
            group = Message("tool", results, extra=extra)
            return [group, Message(role, rest)] if rest else [group]
        case _:
            raise Invalid(f"{path}.role", f"unknown role '{role}': user, assistant or system")


def _content(value: JSON, path: str, *, inner: bool = False) -> tuple[Part, ...]:
    """A string or a list of blocks. inner: of a tool result, which holds no calls and no results."""
    if type(value) is str:
        return (Text(value),)
    if type(value) is not list:
        raise Invalid(path, f"expected a string or a list, got {check.named(value)}")
    readers = _INNER_READERS if inner else _READERS
    parts: list[Part] = []
    for i, entry in enumerate(value):
        place = f"{path}[{i}]"
        block = check.an_object(entry, place)
        type_ = check.string(block, "type", place)
        reader = readers.get(type_, _opaque)
        parts.append(reader(block, place))
    return tuple(parts)


# --- blocks ---------------------------------------------------------------------------------------

_TEXT = frozenset({"type", "text", "cache_control", "citations"})
_IMAGE = frozenset({"type", "source", "cache_control"})
_DOCUMENT = frozenset({"type", "source", "title", "context", "citations", "cache_control"})
_THINKING = frozenset({"type", "thinking", "signature"})
_REDACTED = frozenset({"type", "data"})
_TOOL_USE = frozenset({"type", "id", "name", "input", "cache_control"})
_TOOL_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})


def _opaque(block: _Object, path: str) -> Opaque:
    del path  # whatever it holds is legal
    return Opaque(NAME, block["type"], block)


def _text(block: _Object, path: str) -> Text:
    return Text(
        check.string(block, "text", path),
        cache=_cache(block, path),
        citations=tuple(check.opt_list(block, "citations", path) or ()),
        extra=check.rest(block, _TEXT),
    )


def _source(block: _Object, path: str, known: frozenset[str]) -> tuple[_Object, _Object]:
    """The source object of an image or a document, and the extras of block and source."""
    source = check.an_object(block.get("source"), f"{path}.source")
    check.string(source, "type", f"{path}.source")
    return source, check.rest(block, known)


def _with_source_rest(extra: _Object, source: _Object, *known: str) -> _Object:
    rest = check.rest(source, frozenset({"type", *known}))
    return {**extra, "source": rest} if rest else extra


def _image(block: _Object, path: str) -> Image | Opaque:
    source, extra = _source(block, path, _IMAGE)
    cache, at = _cache(block, path), f"{path}.source"
    match source["type"]:
        case "base64":
            return Image(
                data=check.string(source, "data", at),
                mime=check.opt_string(source, "media_type", at) or "",
                cache=cache,
                extra=_with_source_rest(extra, source, "data", "media_type"),
            )
        case "url":
            url = check.string(source, "url", at)
            return Image(url=url, cache=cache, extra=_with_source_rest(extra, source, "url"))
        case "file":
            file = check.string(source, "file_id", at)
            return Image(
                file_id=file, cache=cache, extra=_with_source_rest(extra, source, "file_id")
            )
        case _:
            return _opaque(block, path)


def _document(block: _Object, path: str) -> Document | Opaque:
    source, extra = _source(block, path, _DOCUMENT)
    cache, at = _cache(block, path), f"{path}.source"
    name = check.opt_string(block, "title", path)
    context = check.opt_string(block, "context", path)
    cited, extra = _cited(block, path, extra)
    match source["type"]:
        case "base64" | "text" as type_:
            data = check.string(source, "data", at)
            mime = check.opt_string(source, "media_type", at) or ""
            return Document(
                data=data if type_ == "base64" else None,
                text=data if type_ == "text" else None,
                mime=mime,
                name=name,
                context=context,
                citations=cited,
                cache=cache,
                extra=_with_source_rest(extra, source, "data", "media_type"),
            )
        case "url" | "file" as type_:
            member = "url" if type_ == "url" else "file_id"
            place = check.string(source, member, at)
            return Document(
                url=place if type_ == "url" else None,
                file_id=place if type_ == "file" else None,
                name=name,
                context=context,
                citations=cited,
                cache=cache,
                extra=_with_source_rest(extra, source, member),
            )
        case "content" if type(source.get("content")) is str:
            rest = check.rest(source, frozenset({"content"}))
            return Document(
                text=source["content"],
                name=name,
                context=context,
                citations=cited,
                cache=cache,
                extra={**extra, "source": rest},
            )
        case _:
            # a list of texts and images, and what may come: no one string holds it
            return _opaque(block, path)


def _cited(block: _Object, path: str, extra: _Object) -> tuple[bool, _Object]:
    settings = check.opt_object(block, "citations", path)
    if settings is None:
        return False, extra
    enabled = check.opt_bool(settings, "enabled", f"{path}.citations") or False
    rest = check.rest(settings, frozenset({"enabled"}))
    return enabled, {**extra, "citations": rest} if rest else extra


def _thinking_block(block: _Object, path: str) -> Thought:
    text = check.opt_string(block, "thinking", path) or ""
    signature = check.opt_string(block, "signature", path) or None
    extra = check.rest(block, _THINKING)
    if signature is not None and is_token(signature):
        thought = read_thought(signature) or Thought()
        return replace(thought, text=thought.text or text, extra=extra)
    return Thought(text, signature=signature, origin=NAME, extra=extra)


def _redacted(block: _Object, path: str) -> Thought:
    data = check.string(block, "data", path)
    return Thought(redacted=data, origin=NAME, extra=check.rest(block, _REDACTED))


def _tool_use(block: _Object, path: str) -> ToolUse:
    value = check.opt_object(block, "input", path) or {}
    return ToolUse(
        check.opt_string(block, "id", path) or "",
        check.string(block, "name", path),
        arguments=dumps(value),
        input=value,
        cache=_cache(block, path),
        extra=check.rest(block, _TOOL_USE),
    )


def _tool_result(block: _Object, path: str) -> ToolResult:
    content = block.get("content")
    parts = () if content is None else _content(content, f"{path}.content", inner=True)
    return ToolResult(
        check.opt_string(block, "tool_use_id", path) or "",
        parts,
        is_error=check.opt_bool(block, "is_error", path) or False,
        cache=_cache(block, path),
        extra=check.rest(block, _TOOL_RESULT),
    )


_Reader = Callable[[_Object, str], Part]
_INNER_READERS: dict[str, _Reader] = {"text": _text, "image": _image, "document": _document}
_READERS: dict[str, _Reader] = {
    **_INNER_READERS,
    "thinking": _thinking_block,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}
