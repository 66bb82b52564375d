"""A Chat Completions client's request, read into the canonical form.

Owns: every member of the request body, its messages, content parts, tools and old spellings
(`functions`, `function_call`, role `function`, `image_url` as a bare string).
Refuses to know: who will answer, and what that upstream can carry.

Laws:
1. The only exception is `Invalid`, and it names the exact place.
2. A member that has no canonical meaning is kept in the `extra` of the thing it stood in; members
   of an inner object (`function`, `image_url`, ...) under that object's name.
3. Lenient where clients are known to differ (missing ids, objects for argument text, null for an
   absent list), strict where a wrong type would have to be guessed about.
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
    OutputFormat,
    Part,
    Request,
    Role,
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
from formats.fold import parsed_arguments
from formats.jsontext import dumps, parse_body
from formats.plugins import plugin_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "openai"
LEGACY = "functions"  # the `type` of tools that a client of the first generation sent
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
# Parts that some servers of this format know and no other format has a word for.
VENDOR_PARTS = frozenset({"video_url", "audio_url", "input_video", "image_embeds"})

_TOP = frozenset(
    """model messages stream stream_options max_completion_tokens max_tokens temperature top_p top_k
    min_p typical_p repeat_penalty repetition_penalty frequency_penalty presence_penalty seed
    stop n logprobs top_logprobs logit_bias tools tool_choice functions function_call
    parallel_tool_calls response_format reasoning_effort verbosity user metadata
    prompt_cache_key service_tier plugins""".split()  # noqa: SIM905
)
_SAMPLING = frozenset(
    """temperature top_p top_k min_p typical_p repeat_penalty repetition_penalty frequency_penalty
    presence_penalty seed stop n logprobs top_logprobs logit_bias""".split()  # noqa: SIM905
)
_PLAIN = Sampling()
_MESSAGE = frozenset({"role", "content", "name"})
_ASSISTANT = _MESSAGE | {"tool_calls", "function_call", "refusal"}
_RESULT = frozenset({"role", "content", "name", "tool_call_id"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"name", "description", "format"})


def parse_request(body: bytes, /) -> Request:
    """A client's request. Raises Invalid."""
    raw = parse_body(body)
    obj = raw.value
    model = check.string(obj, "model")
    if not model:
        raise Invalid("model", "the model name is empty")
    extra = check.rest(obj, _TOP)
    stream = check.opt_bool(obj, "stream") or False
    return Request(
        origin="openai",
        model=model,
        messages=_messages(obj),
        tools=_tools(obj),
        tool_choice=_tool_choice(obj),
        parallel_tool_calls=check.opt_bool(obj, "parallel_tool_calls"),
        max_tokens=max_tokens(obj),
        sampling=sampling(obj),
        thinking=thinking(obj, extra),
        output=output(obj, extra),
        stream=stream,
        include_usage=include_usage(obj, extra),
        user=check.opt_string(obj, "user"),
        metadata=check.opt_object(obj, "metadata"),
        cache_key=check.opt_string(obj, "prompt_cache_key"),
        service_tier=check.opt_string(obj, "service_tier"),
        verbosity=check.opt_string(obj, "verbosity"),
        plugins=plugin_calls(obj),
        extra=extra or EMPTY,
        raw=raw,
    )


# --- settings -------------------------------------------------------------------------------------


def max_tokens(obj: Mapping[str, JSON]) -> int | None:
    old = check.opt_int(obj, "max_tokens")
    new = check.opt_int(obj, "max_completion_tokens")
    return old if new is None else new


def sampling(obj: Mapping[str, JSON]) -> Sampling:
    if _SAMPLING.isdisjoint(obj):
        return _PLAIN
    repeat = check.opt_number(obj, "repeat_penalty")
    repetition = check.opt_number(obj, "repetition_penalty")
    return Sampling(
        temperature=check.opt_number(obj, "temperature"),
        top_p=check.opt_number(obj, "top_p"),
        top_k=check.opt_int(obj, "top_k"),
        min_p=check.opt_number(obj, "min_p"),
        typical_p=check.opt_number(obj, "typical_p"),
        repeat_penalty=repetition if repeat is None else repeat,
        frequency_penalty=check.opt_number(obj, "frequency_penalty"),
        presence_penalty=check.opt_number(obj, "presence_penalty"),
        seed=check.opt_int(obj, "seed"),
        stop=_stop(obj),
        n=check.opt_int(obj, "n"),
        logprobs=check.opt_bool(obj, "logprobs"),
        top_logprobs=check.opt_int(obj, "top_logprobs"),
        logit_bias=check.opt_object(obj, "logit_bias"),
    )


def _stop(obj: Mapping[str, JSON]) -> tuple[str, ...]:
    value = obj.get("stop")
    if value is None:
        return ()
    if type(value) is str:
        return (value,)
    items = check.a_list(value, "stop")
    return tuple(check.a_string(item, f"stop[{at}]") for at, item in enumerate(items))


def thinking(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> Thinking | None:
    effort = check.opt_string(obj, "reasoning_effort")
    if effort is None:
        return None
    if effort not in EFFORTS:
        extra["reasoning_effort"] = effort
        return None
    return Thinking(mode="off" if effort == "none" else None, effort=effort)


def output(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> OutputFormat | None:
    wanted = check.opt_object(obj, "response_format")
    if wanted is None:
        return None
    kind = check.string(wanted, "type", "response_format")
    if kind == "text":
        return None
    if kind == "json_schema":
        return _schema_output(wanted)
    if kind == "json_object":
        schema = check.opt_object(wanted, "schema", "response_format")
        return OutputFormat("json" if schema is None else "schema", schema=schema)
    extra["response_format"] = wanted
    return None


def _schema_output(wanted: Mapping[str, JSON]) -> OutputFormat:
    path = "response_format.json_schema"
    inner = check.opt_object(wanted, "json_schema", "response_format")
    if inner is None:
        raise Invalid(path, "this field is required")
    return OutputFormat(
        "schema",
        schema=check.opt_object(inner, "schema", path) or {},
        name=check.opt_string(inner, "name", path),
        description=check.opt_string(inner, "description", path),
        strict=check.opt_bool(inner, "strict", path),
    )


def include_usage(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> bool:
    options = check.opt_object(obj, "stream_options")
    if options is None:
        return False
    others = check.rest(options, frozenset({"include_usage"}))
    if others:
        extra["stream_options"] = others
    return check.opt_bool(options, "include_usage", "stream_options") or False


# --- messages -------------------------------------------------------------------------------------


def _messages(obj: Mapping[str, JSON]) -> tuple[Message, ...]:
    items = check.opt_list(obj, "messages")
    if items is None:
        raise Invalid("messages", "this field is required")
    if not items:
        raise Invalid("messages", "there must be at least one message")
    messages: list[Message] = []
    for at, item in enumerate(items):
        path = f"messages[{at}]"
        message = _message(check.an_object(item, path), path)
        if message.role == "tool" and messages and messages[-1].role == "tool":
            messages[-1] = Message("tool", messages[-1].parts + message.parts)
        else:
            messages.append(message)
    return tuple(messages)


def _message(obj: Mapping[str, JSON], path: str) -> Message:
    role = check.string(obj, "role", path)
    if role in ("tool", "function"):
        return _result_message(obj, role, path)
    if role == "assistant":
        return _assistant_message(obj, path)
    if role not in ("system", "developer", "user"):
        raise Invalid(f"{path}.role", f"unknown role {role!r}")
    if obj.get("content") is None:
        raise Invalid(f"{path}.content", "this field is required")
    return Message(
        role=cast("Role", role),
        parts=_content(obj, path),
        name=check.opt_string(obj, "name", path),
        extra=check.rest(obj, _MESSAGE) or EMPTY,
    )


def _assistant_message(obj: Mapping[str, JSON], path: str) -> Message:
    extra = check.rest(obj, _ASSISTANT)
    parts: list[Part] = []
    thought = reasoning_of(obj)
    if thought:
        parts.append(Thought(thought, origin=NAME))
        extra = check.rest(extra, frozenset({"reasoning_content", "reasoning"}))
    parts += _content(obj, path)
    refusal = check.opt_string(obj, "refusal", path)
    if refusal:
        parts.append(Text(refusal, refusal=True))
    for at, item in enumerate(check.opt_list(obj, "tool_calls", path) or ()):
        place = f"{path}.tool_calls[{at}]"
        parts.append(parse_call(check.an_object(item, place), place))
    old = check.opt_object(obj, "function_call", path)
    if old is not None:
        parts.append(_function_use("", old, f"{path}.function_call", EMPTY))
    name = check.opt_string(obj, "name", path)
    return Message("assistant", tuple(parts), name=name, extra=extra or EMPTY)


def reasoning_of(obj: Mapping[str, JSON]) -> str:
    """The visible reasoning of a message or a delta: two names are in use, never both at once."""
    for key in ("reasoning_content", "reasoning"):
        value = obj.get(key)
        if type(value) is str and value:
            return value
    return ""


def parse_call(obj: Mapping[str, JSON], path: str) -> ToolUse:
    """One entry of `tool_calls`, of a history or of an answer. A missing id is an empty one."""
    kind = check.opt_string(obj, "type", path) or ("custom" if "custom" in obj else "function")
    if kind not in ("function", "custom"):
        raise Invalid(f"{path}.type", f"unknown kind of tool call {kind!r}")
    inner = check.opt_object(obj, kind, path)
    if inner is None:
        raise Invalid(f"{path}.{kind}", "this field is required")
    call_id = check.opt_string(obj, "id", path) or ""
    extra = check.rest(obj, frozenset({"id", "type", kind}))
    if kind == "function":
        return _function_use(call_id, inner, f"{path}.function", extra)
    others = check.rest(inner, frozenset({"name", "input"}))
    return ToolUse(
        id=call_id,
        name=check.string(inner, "name", f"{path}.custom"),
        arguments=check.opt_string(inner, "input", f"{path}.custom") or "",
        kind="custom",
        extra=_with_inner(extra, "custom", others),
    )


def is_legacy(request: Request | None) -> bool:
    """Whether a client knows functions, but no tools: it must be answered in the same words."""
    return request is not None and any(tool.type == LEGACY for tool in request.tools)


def _function_use(
    call_id: str, inner: Mapping[str, JSON], path: str, extra: Mapping[str, JSON]
) -> ToolUse:
    arguments = inner.get("arguments")
    if type(arguments) is dict:
        text = dumps(arguments)
    else:
        text = check.opt_string(inner, "arguments", path) or ""
    return ToolUse(
        id=call_id,
        name=check.string(inner, "name", path),
        arguments=text,
        input=arguments if type(arguments) is dict else parsed_arguments(text),
        extra=_with_inner(extra, "function", check.rest(inner, frozenset({"name", "arguments"}))),
    )


def _with_inner(
    extra: Mapping[str, JSON], name: str, inner: Mapping[str, JSON]
) -> Mapping[str, JSON]:
    if inner:
        return {**extra, name: inner}
    return extra or EMPTY


def _result_message(obj: Mapping[str, JSON], role: str, path: str) -> Message:
    name = check.opt_string(obj, "name", path)
    if role == "function" and not name:
        raise Invalid(f"{path}.name", "this field is required")
    result = ToolResult(
        call_id=check.opt_string(obj, "tool_call_id", path) or "",
        parts=_content(obj, path),
        name=name,
        extra=check.rest(obj, _RESULT) or EMPTY,
    )
    return Message("tool", (result,))


# --- content --------------------------------------------------------------------------------------


def _content(obj: Mapping[str, JSON], path: str) -> tuple[Part, ...]:
    value = obj.get("content")
    if value is None:
        return ()
    if type(value) is str:
        return (Text(value),)
    path = f"{path}.content"
    if type(value) is not list:
        raise Invalid(path, f"expected a string or a list of parts, got {check.named(value)}")
    return tuple(_part(item, f"{path}[{at}]") for at, item in enumerate(value))


def _part(value: JSON, path: str) -> Part:
    if type(value) is str:
        return Text(value)
    obj = check.an_object(value, path)
    kind = check.string(obj, "type", path)
    reader = _PARTS.get(kind)
    if reader is not None:
        return reader(obj, path)
    if kind in VENDOR_PARTS:
        return Opaque(NAME, kind, obj)
    raise Invalid(f"{path}.type", f"unknown content part {kind!r}")


def _text(obj: Mapping[str, JSON], path: str) -> Part:
    return Text(
        check.string(obj, "text", path),
        cache=obj.get("prompt_cache_breakpoint"),
        extra=check.rest(obj, frozenset({"type", "text", "prompt_cache_breakpoint"})) or EMPTY,
    )


def _refusal(obj: Mapping[str, JSON], path: str) -> Part:
    extra = check.rest(obj, frozenset({"type", "refusal"})) or EMPTY
    return Text(check.string(obj, "refusal", path), refusal=True, extra=extra)


def _image(obj: Mapping[str, JSON], path: str) -> Part:
    value = obj.get("image_url")
    path = f"{path}.image_url"
    if type(value) is str:
        value = {"url": value}
    if value is None:
        raise Invalid(path, "this field is required")
    inner = check.an_object(value, path)
    url = check.string(inner, "url", path)
    extra = check.rest(obj, frozenset({"type", "image_url", "prompt_cache_breakpoint"}))
    detail = check.opt_string(inner, "detail", path)
    extra = dict(_with_inner(extra, "image_url", check.rest(inner, frozenset({"url", "detail"}))))
    cache = obj.get("prompt_cache_breakpoint")
    found = media.parse_data_url(url, f"{path}.url")
    if found is not None:
        return media.image(
            found[1], found[0], path=path, detail=detail, cache=cache, extra=extra or EMPTY
        )
    if url[:8].lower().startswith(("http://", "https://")):
        return Image(url=url, detail=detail, cache=cache, extra=extra or EMPTY)
    raise Invalid(f"{path}.url", "expected an http(s) URL or a data URL")


def _audio(obj: Mapping[str, JSON], path: str) -> Part:
    inner = check.opt_object(obj, "input_audio", path)
    path = f"{path}.input_audio"
    if inner is None:
        raise Invalid(path, "this field is required")
    extra = check.rest(obj, frozenset({"type", "input_audio"}))
    others = check.rest(inner, frozenset({"data", "format"}))
    return Audio(
        data=check.string(inner, "data", path),
        format=check.string(inner, "format", path),
        extra=_with_inner(extra, "input_audio", others),
    )


def _file(obj: Mapping[str, JSON], path: str) -> Part:
    inner = check.opt_object(obj, "file", path)
    path = f"{path}.file"
    if inner is None:
        raise Invalid(path, "this field is required")
    others = check.rest(inner, frozenset({"file_data", "file_id", "filename"}))
    extra = check.rest(obj, frozenset({"type", "file", "prompt_cache_breakpoint"}))
    extra = dict(_with_inner(extra, "file", others))
    name = check.opt_string(inner, "filename", path)
    cache = obj.get("prompt_cache_breakpoint")
    file_id = check.opt_string(inner, "file_id", path)
    data = check.opt_string(inner, "file_data", path)
    if data is None:
        if file_id is None:
            raise Invalid(path, "one of file_data and file_id is required")
        return Document(file_id=file_id, name=name, cache=cache, extra=extra or EMPTY)
    mime, plain = _file_data(data, f"{path}.file_data")
    text = media.decoded_text(plain) if mime.startswith("text/") else None
    return Document(
        data=plain if text is None else None,
        text=text,
        mime=mime,
        name=name,
        cache=cache,
        extra=extra or EMPTY,
    )


def _file_data(data: str, path: str) -> tuple[str, str]:
    """(mime, base64) of a data URL, or of bare base64 whose first bytes say what it is."""
    found = media.parse_data_url(data, path)
    if found is not None:
        return found[0] or "application/octet-stream", found[1]
    mime = media.sniff(data)
    if mime is None:
        raise Invalid(path, "expected a data URL")
    return mime, media.clean_base64(data, path)


_PARTS: Mapping[str, Callable[[Mapping[str, JSON], str], Part]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}


# --- tools ----------------------------------------------------------------------------------------


def _tools(obj: Mapping[str, JSON]) -> tuple[Tool, ...]:
    tools = []
    for at, item in enumerate(check.opt_list(obj, "tools") or ()):
        path = f"tools[{at}]"
        tools.append(_tool(check.an_object(item, path), path))
    for at, item in enumerate(check.opt_list(obj, "functions") or ()):
        path = f"functions[{at}]"
        tools.append(replace(_function(check.an_object(item, path), path, EMPTY), type=LEGACY))
    return tuple(tools)


def _tool(obj: Mapping[str, JSON], path: str) -> Tool:
    kind = check.opt_string(obj, "type", path) or ("function" if "function" in obj else "")
    if not kind:
        raise Invalid(f"{path}.type", "this field is required")
    if kind not in ("function", "custom"):
        name = obj.get("name")
        name = name if type(name) is str and name else kind
        return Tool(name=name, kind="hosted", type=kind, native=obj)
    inner = check.opt_object(obj, kind, path)
    if inner is None:
        raise Invalid(f"{path}.{kind}", "this field is required")
    extra = check.rest(obj, frozenset({"type", kind}))
    if kind == "function":
        return _function(inner, f"{path}.function", extra)
    return Tool(
        name=_tool_name(inner, f"{path}.custom"),
        description=check.opt_string(inner, "description", f"{path}.custom"),
        kind="custom",
        format=inner.get("format"),
        extra=_with_inner(extra, "custom", check.rest(inner, _CUSTOM)),
    )


def _function(inner: Mapping[str, JSON], path: str, extra: Mapping[str, JSON]) -> Tool:
    return Tool(
        name=_tool_name(inner, path),
        description=check.opt_string(inner, "description", path),
        parameters=check.opt_object(inner, "parameters", path),
        strict=check.opt_bool(inner, "strict", path),
        extra=_with_inner(extra, "function", check.rest(inner, _FUNCTION)),
    )


def _tool_name(inner: Mapping[str, JSON], path: str) -> str:
    name = check.string(inner, "name", path)
    if not name:
        raise Invalid(f"{path}.name", "the name is empty")
    return name


def _tool_choice(obj: Mapping[str, JSON]) -> ToolChoice | None:
    value = obj.get("tool_choice")
    if value is not None:
        return _choice(value, "tool_choice")
    old = obj.get("function_call")
    if type(old) is dict:
        return ToolChoice("named", (check.string(old, "name", "function_call"),))
    return None if old is None else _choice(old, "function_call")


def _choice(value: JSON, path: str) -> ToolChoice:
    if type(value) is str:
        return _plain_choice(value, path)
    obj = check.an_object(value, path)
    kind = check.string(obj, "type", path)
    if kind in ("function", "custom"):
        inner = check.opt_object(obj, kind, path)
        at = f"{path}.{kind}" if inner is not None else path
        name = check.string(obj if inner is None else inner, "name", at)
        return ToolChoice("named", (name,), kind="custom" if kind == "custom" else "function")
    if kind == "allowed_tools":
        return _allowed(obj, path)
    if kind in ("auto", "none", "required", "any"):
        return _plain_choice(kind, path)
    return ToolChoice("named", (kind,), kind="hosted")


def _plain_choice(value: str, path: str) -> ToolChoice:
    choice = _CHOICES.get(value)
    if choice is None:
        raise Invalid(path, f"unknown tool choice {value!r}")
    return choice


_CHOICES: Mapping[str, ToolChoice] = {
    "auto": ToolChoice("auto"),
    "none": ToolChoice("none"),
    "required": ToolChoice("required"),
    "any": ToolChoice("required"),  # Mistral's word
}


def _allowed(obj: Mapping[str, JSON], path: str) -> ToolChoice:
    inner = check.opt_object(obj, "allowed_tools", path)
    if inner is None:
        raise Invalid(f"{path}.allowed_tools", "this field is required")
    path = f"{path}.allowed_tools"
    names = []
    for at, item in enumerate(check.opt_list(inner, "tools", path) or ()):
        place = f"{path}.tools[{at}]"
        entry = check.an_object(item, place)
        kind = check.opt_string(entry, "type", place) or "function"
        named = check.opt_object(entry, kind, place) or entry
        names.append(check.opt_string(named, "name", place) or kind)
    must = (check.opt_string(inner, "mode", path) or "auto") == "required"
    return ToolChoice("allowed", tuple(names), must=must)
