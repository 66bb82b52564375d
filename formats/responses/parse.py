"""A Responses client's request, read into the canonical form.

Owns: every member of the request body but its input (`items`) and its tools (`tools`).
Refuses to know: who will answer, and what that upstream can carry.

Laws:
1. The only exception is `Invalid`, and it names the exact place.
2. A member that has no canonical meaning is kept in `extra`. So are those that refer to what some
   server keeps (`previous_response_id`, ...): who can look it up expands them, others refuse.
3. Lenient where clients are known to differ, strict where a wrong type would have to be guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import check
from formats.canonical import (
    EMPTY,
    JSON,
    Message,
    OutputFormat,
    Request,
    Sampling,
    Text,
    Thinking,
)
from formats.errors import Invalid
from formats.jsontext import parse_body
from formats.plugins import plugin_calls
from formats.references import REFERENCES
from formats.responses.items import parse_items
from formats.responses.tools import parse_choice, parse_tools
from formats.responses.wire import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
LOGPROBS = "message.output_text.logprobs"

_TOP = frozenset(
    """model input instructions stream max_output_tokens temperature top_p top_logprobs tools
    tool_choice parallel_tool_calls reasoning text include user metadata prompt_cache_key
    service_tier plugins""".split()  # noqa: SIM905
)


def parse_request(body: bytes, /) -> Request:
    """A client's request. Raises Invalid."""
    raw = parse_body(body)
    obj = raw.value
    model = check.string(obj, "model")
    if not model:
        raise Invalid("model", "the model name is empty")
    extra = check.rest(obj, _TOP)
    return Request(
        origin=NAME,
        model=model,
        messages=_messages(obj),
        tools=parse_tools(obj),
        tool_choice=parse_choice(obj, extra),
        parallel_tool_calls=check.opt_bool(obj, "parallel_tool_calls"),
        max_tokens=check.opt_int(obj, "max_output_tokens"),
        sampling=_sampling(obj, extra),
        thinking=_thinking(obj, extra),
        output=_output(obj, extra),
        stream=check.opt_bool(obj, "stream") or False,
        include_usage=True,
        user=_user(obj),
        metadata=check.opt_object(obj, "metadata"),
        cache_key=check.opt_string(obj, "prompt_cache_key"),
        service_tier=check.opt_string(obj, "service_tier"),
        verbosity=_verbosity(obj),
        plugins=plugin_calls(obj),
        extra=extra or EMPTY,
        raw=raw,
    )


def _messages(obj: Mapping[str, JSON]) -> tuple[Message, ...]:
    messages: list[Message] = []
    instructions = check.opt_string(obj, "instructions")
    if instructions is not None:
        messages.append(Message("system", (Text(instructions),), hoisted=True))
    given = obj.get("input")
    if type(given) is str:
        messages.append(Message("user", (Text(given),)))
    elif type(given) is list:
        messages += parse_items(given)
    elif given is not None:
        why = f"expected a string or a list of items, got {check.named(given)}"
        raise Invalid("input", why)
    if not given and not any(obj.get(name) for name in REFERENCES["responses"]):
        why = "there must be at least one item" if given is not None else "this field is required"
        raise Invalid("input", why)
    return tuple(messages)


def _user(obj: Mapping[str, JSON]) -> str | None:
    """The end user's id. The newer of the two names stays in `extra` as well, so that it comes out
    again under that name."""
    newer = check.opt_string(obj, "safety_identifier")
    older = check.opt_string(obj, "user")
    return newer if older is None else older


def _sampling(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> Sampling:
    include = check.opt_list(obj, "include")
    asked = include is not None and LOGPROBS in include
    if include is not None:
        rest = [each for each in include if each != LOGPROBS]
        if rest or not asked:
            extra["include"] = rest
    return Sampling(
        temperature=check.opt_number(obj, "temperature"),
        top_p=check.opt_number(obj, "top_p"),
        logprobs=True if asked else None,
        top_logprobs=check.opt_int(obj, "top_logprobs"),
    )


def _thinking(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> Thinking | None:
    wanted = check.opt_object(obj, "reasoning")
    if wanted is None:
        return None
    effort = check.opt_string(wanted, "effort", "reasoning")
    display = check.opt_string(wanted, "summary", "reasoning")
    others = check.rest(wanted, frozenset({"effort", "summary"}))
    if effort is not None and effort not in EFFORTS:
        others["effort"] = effort
        effort = None
    if others:
        extra["reasoning"] = others
    if effort is None and display is None:
        return None
    return Thinking(mode="off" if effort == "none" else None, effort=effort, display=display)


def _verbosity(obj: Mapping[str, JSON]) -> str | None:
    text = check.opt_object(obj, "text")
    return None if text is None else check.opt_string(text, "verbosity", "text")


def _output(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> OutputFormat | None:
    text = check.opt_object(obj, "text")
    if text is None:
        return None
    others = check.rest(text, frozenset({"verbosity", "format"}))
    wanted = check.opt_object(text, "format", "text")
    output = None
    if wanted is not None:
        kind = check.string(wanted, "type", "text.format")
        if kind == "json_object":
            output = OutputFormat("json")
        elif kind == "json_schema":
            output = _schema(wanted)
        elif kind != "text":
            others["format"] = wanted
    if others:
        extra["text"] = others
    return output


def _schema(wanted: Mapping[str, JSON]) -> OutputFormat:
    path = "text.format"
    inner = check.opt_object(wanted, "json_schema", path)  # as Chat Completions nests it
    wanted = wanted if inner is None else inner
    return OutputFormat(
        "schema",
        schema=check.opt_object(wanted, "schema", path) or {},
        name=check.opt_string(wanted, "name", path),
        description=check.opt_string(wanted, "description", path),
        strict=check.opt_bool(wanted, "strict", path),
    )
