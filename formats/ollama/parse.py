"""An Ollama client's /api/chat request, read into the canonical form.

Owns: the members of that request and of its messages, tools and options; what /api/generate has
alike is read by the same functions.
Refuses to know: who will answer; what only /api/generate has.

Laws:
1. The only exception is `Invalid`, and it names the exact place.
2. Options and members without a canonical meaning wait in `extra`, those of an inner object under
   dotted names (`options.num_ctx`), which are also their names in a ledger.
3. Lenient where clients are known to differ (arguments as text, data URLs, one stop as a string):
   what the server itself would refuse is mended, and the client's own text then not passed on.
4. No messages is no mistake: it loads the model, or unloads it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats import check, jsontext, plugins
from formats.canonical import (
    JSON,
    Audio,
    Message,
    OutputFormat,
    Part,
    Request,
    Sampling,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.fold import parsed_arguments
from formats.media import image, parse_data_url
from formats.ollama.wire import LEVELS, NUMBERS, TOO_LARGE, WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Origin
    from formats.jsontext import RawBody

_TOP = frozenset(
    {
        "model",
        "messages",
        "stream",
        "format",
        "options",
        "keep_alive",
        "tools",
        "think",
        "logprobs",
        "top_logprobs",
        plugins.MEMBER,
    }
)
_MESSAGE = frozenset({"role", "content", "thinking", "images", "tool_calls"})
_RESULT = frozenset({"role", "content", "images", "tool_name", "tool_call_id"})
_SOUNDS = {"audio/mpeg": "mp3", "audio/wav": "wav", "audio/ogg": "ogg", "audio/flac": "flac"}
_ROLES = frozenset({"system", "developer", "user", "assistant"})


def parse_request(body: bytes, /) -> Request:
    """A client's /api/chat request. No messages at all is legal: load (or unload) the model."""
    raw = jsontext.parse_body(body)
    value = raw.value
    model = model_of(value)
    reader = Reader()
    messages = reader.messages(check.opt_list(value, "messages") or [])
    tools = _tools(check.opt_list(value, "tools") or [])
    request = request_of("ollama", raw, model, messages, known=_TOP, mended=reader.mended)
    return replace(request, tools=tools) if tools else request


def model_of(value: Mapping[str, JSON]) -> str:
    model = check.string(value, "model")
    if not model:
        raise Invalid("model", "this field is required")
    return model


def request_of(
    origin: Origin,
    raw: RawBody,
    model: str,
    messages: tuple[Message, ...],
    *,
    known: frozenset[str],
    mended: bool,
    bound: tuple[str, ...] = (),
) -> Request:
    """The members that /api/chat and /api/generate have alike. known: all that this call has a
    meaning for; the others wait in `extra`. mended: the client's own text is of no use."""
    value = raw.value
    stream = check.opt_bool(value, "stream")
    given = check.opt_object(value, "options") or {}
    sampling, max_tokens, options = _options(given, value)
    mended = mended or type(given.get("stop")) is str
    return Request(
        origin=origin,
        model=model,
        messages=messages,
        max_tokens=max_tokens,
        sampling=sampling,
        thinking=_think(value.get("think")),
        output=_output(value.get("format")),
        # absent means a stream; a load request is answered by one object whatever it says
        stream=stream is not False and bool(messages),
        include_usage=True,
        keep_alive=keep_alive_of(value),
        plugins=plugins.plugin_calls(value),
        bound=bound if messages else (),  # anybody can be asked to load nothing
        extra={**options, **check.rest(value, known)},
        raw=None if mended else raw,
    )


class Reader:
    """Messages. `mended`: something was taken that the server itself would refuse, so that the
    client's own text is of no use to it."""

    __slots__ = ("mended",)

    def __init__(self) -> None:
        self.mended = False

    def messages(self, values: list[JSON]) -> tuple[Message, ...]:
        out: list[Message] = []
        results: list[Part] = []
        for index, value in enumerate(values):
            path = f"messages[{index}]"
            obj = check.an_object(value, path)
            role = check.string(obj, "role", path).lower()
            if role == "tool":
                results.append(self._result(obj, path))
                continue
            if results:
                out.append(Message("tool", tuple(results)))
                results = []
            out.append(self._message(role, obj, path))
        if results:
            out.append(Message("tool", tuple(results)))
        return tuple(out)

    def _message(self, role: str, obj: dict[str, JSON], path: str) -> Message:
        if role not in _ROLES:
            raise Invalid(f"{path}.role", f"unknown role {role!r}")
        parts: list[Part] = []
        thinking = check.opt_string(obj, "thinking", path)
        if thinking:
            parts.append(Thought(thinking))
        parts += self._content(obj, path)
        for index, value in enumerate(check.opt_list(obj, "tool_calls", path) or []):
            parts.append(self._call(value, f"{path}.tool_calls[{index}]"))
        return Message(role, tuple(parts), extra=check.rest(obj, _MESSAGE))  # type: ignore[arg-type]

    def _content(self, obj: dict[str, JSON], path: str) -> list[Part]:
        parts: list[Part] = []
        text = check.opt_string(obj, "content", path)
        if text:
            parts.append(Text(text))
        for index, value in enumerate(check.opt_list(obj, "images", path) or []):
            parts.append(self.media(value, f"{path}.images[{index}]"))
        return parts

    def media(self, value: JSON, path: str) -> Part:
        """A picture or, for models that listen, a sound: only the bytes themselves tell which."""
        data = check.a_string(value, path)
        if data[:8].lower().startswith(("http://", "https://")):
            raise Invalid(path, "expected base64 data, got a URL, which Ollama does not fetch")
        declared, bare = parse_data_url(data, path) or ("", data)
        found = image(bare, declared, path=path)
        self.mended |= found.data != data
        sound = _SOUNDS.get(found.mime)
        return Audio(found.data or "", sound) if sound else found

    def _result(self, obj: dict[str, JSON], path: str) -> ToolResult:
        """Clients name the call by its id, by the tool's name (older ones in `name`), or not at all."""
        name = check.opt_string(obj, "tool_name", path)
        known = _RESULT
        if name is None:
            name = check.opt_string(obj, "name", path)
            known = _RESULT | {"name"}
        return ToolResult(
            call_id=check.opt_string(obj, "tool_call_id", path) or "",
            parts=tuple(self._content(obj, path)),
            name=name or None,
            extra=check.rest(obj, known),
        )

    def _call(self, value: JSON, path: str) -> ToolUse:
        obj = check.an_object(value, path)
        place = f"{path}.function"
        function = check.an_object(obj.get("function"), place)
        text, parsed = self._arguments(function.get("arguments"), f"{place}.arguments")
        extra = check.rest(obj, frozenset({"id", "type", "function"}))
        # the index is the place in the list, which needs no keeping
        for key, member in check.rest(function, frozenset({"index", "name", "arguments"})).items():
            extra[f"function.{key}"] = member
        return ToolUse(
            id=check.opt_string(obj, "id", path) or "",
            name=check.string(function, "name", place),
            arguments=text,
            input=parsed,
            extra=extra,
        )

    def _arguments(self, value: JSON, path: str) -> tuple[str, Mapping[str, JSON] | None]:
        """The text and the object. Ollama wants an object; some clients send its text."""
        if value is None:
            return "", {}
        if type(value) is dict:
            try:
                return jsontext.dumps(value), value
            except ValueError:
                raise Invalid(path, TOO_LARGE) from None
        self.mended = True
        text = check.a_string(value, path)
        return text, parsed_arguments(text)


def _tools(values: list[JSON]) -> tuple[Tool, ...]:
    return tuple(_tool(value, f"tools[{index}]") for index, value in enumerate(values))


def _tool(value: JSON, path: str) -> Tool:
    obj = check.an_object(value, path)
    place = f"{path}.function"
    function = check.an_object(obj.get("function"), place)
    extra = check.rest(obj, frozenset({"type", "function"}))
    known = frozenset({"name", "description", "parameters"})
    for key, member in check.rest(function, known).items():
        extra[f"function.{key}"] = member
    return Tool(
        name=check.string(function, "name", place),
        description=check.opt_string(function, "description", place),
        parameters=check.opt_object(function, "parameters", place),
        extra=extra,
    )


def _options(
    given: dict[str, JSON], value: dict[str, JSON]
) -> tuple[Sampling, int | None, dict[str, JSON]]:
    """Sampling, the limit of the answer, and all other options under their dotted names.

    -1 and -2 for `num_predict` are no limit, and a negative `seed` is chance: to other formats
    that is the same as not saying it, so these stay among the others.
    """
    kept = dict(given)
    found: dict[str, JSON] = {}
    for name in NUMBERS:
        found[name] = check.opt_number(given, name, "options")
    for name in WHOLE:
        found[name] = check.opt_int(given, name, "options")
    limit = check.opt_int(given, "num_predict", "options")
    if limit is not None and limit <= 0:
        limit = None
    else:
        kept.pop("num_predict", None)
    if found["seed"] is not None and found["seed"] < 0:
        found["seed"] = None
    else:
        kept.pop("seed", None)
    for name in (*NUMBERS, "top_k", "stop"):
        kept.pop(name, None)
    sampling = Sampling(
        **found,
        stop=_stop(given.get("stop")),
        logprobs=check.opt_bool(value, "logprobs"),
        top_logprobs=check.opt_int(value, "top_logprobs"),
    )
    return sampling, limit, {f"options.{name}": member for name, member in kept.items()}


def _stop(value: JSON) -> tuple[str, ...]:
    if value is None:
        return ()
    if type(value) is str:
        return (value,)
    texts = check.a_list(value, "options.stop")
    return tuple(check.a_string(text, f"options.stop[{i}]") for i, text in enumerate(texts))


def _think(value: JSON) -> Thinking | None:
    if value is None:
        return None
    if type(value) is bool:
        return Thinking(mode="on" if value else "off")
    if type(value) is str and value in LEVELS:
        return Thinking(effort=value)
    raise Invalid("think", 'expected true, false, "low", "medium", "high" or "max"')


def _output(value: JSON) -> OutputFormat | None:
    if value is None or value == "":
        return None
    if value == "json":
        return OutputFormat("json")
    if type(value) is dict:
        return OutputFormat("schema", schema=value)
    raise Invalid("format", 'expected "json" or a JSON schema')


def keep_alive_of(obj: Mapping[str, JSON]) -> JSON:
    value = obj.get("keep_alive")
    if value is None or type(value) in (str, int, float):
        return value
    raise Invalid("keep_alive", f'expected a duration such as "5m", got {check.named(value)}')
