"""The parameters of a request, by one name each, whatever the client's format calls them.

Owns: reading a parameter of a request, and the request with another value for it.
Refuses to know: which value is right (model_params.py).

Laws:
1. The client's own text keeps up: where a parameter is one member of it, that member is edited; where
   it stands inside others, the text is let go.
2. Every spelling counts that the formats and the servers spoken to are known to have for a parameter:
   whoever sets or removes one leaves no other.
"""

from __future__ import annotations

from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from formats import completions
from formats.canonical import Sampling, Thinking
from formats.jsontext import RawBody, parse_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Request

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TOP = ("max_tokens", "verbosity", "service_tier", "parallel_tool_calls", "user")
_SAMPLING = tuple(each.name for each in fields(Sampling))
# Those that have more and less.
NUMBERS = (
    *("max_tokens", "thinking_budget"),
    *("temperature", "top_p", "top_k", "min_p", "typical_p"),
    *("repeat_penalty", "frequency_penalty", "presence_penalty", "seed", "n", "top_logprobs"),
)
WHOLE = ("max_tokens", "thinking_budget", "top_k", "seed", "n", "top_logprobs")
ORDERED = (*NUMBERS, "effort")
NAMES = (*_TOP, *_SAMPLING, "thinking", "thinking_budget", "effort")


def value_of(request: Request, name: str) -> Any:
    """None where the request says nothing of it."""
    if name == "max_tokens" and request.max_tokens is None:
        spelled = (request.extra[each] for each in other_spellings(request, name))
        return next((value for value in spelled if type(value) is int and value > 0), None)
    if name in _TOP:
        return getattr(request, name)
    if name == "stop":
        return request.sampling.stop or None
    if name in _SAMPLING:
        return getattr(request.sampling, name)
    thinking = request.thinking or Thinking()
    if name == "thinking":
        return thinking.mode
    return thinking.budget_tokens if name == "thinking_budget" else thinking.effort


def with_values(request: Request, values: Mapping[str, Any]) -> Request:
    """The request with these parameters; None takes one out. A text completion has no others than
    those that its call knows."""
    if request.origin == "completions" and request.raw is not None:
        return _completion(request, values)
    top = {name: value for name, value in values.items() if name in _TOP}
    sampling = {name: _sampling(name, values[name]) for name in values if name in _SAMPLING}
    return replace(
        request,
        **top,
        sampling=replace(request.sampling, **sampling),
        thinking=_thinking(request.thinking, values),
        extra=_without(request.extra, request.origin, values),
        raw=_respelled(request, values),
    )


def _completion(request: Request, values: Mapping[str, Any]) -> Request:
    members = _MEMBER["completions"]
    raw = _respelled(request, {name: values[name] for name in values if name in members})
    return request if raw is None else completions.parse_request(raw.spliced({}))


def _sampling(name: str, value: Any) -> Any:
    return tuple(value or ()) if name == "stop" else value


def _thinking(before: Thinking | None, values: Mapping[str, Any]) -> Thinking | None:
    given = {"thinking": "mode", "thinking_budget": "budget_tokens", "effort": "effort"}
    changes = {given[name]: value for name, value in values.items() if name in given}
    if not changes:
        return before
    after = replace(before or Thinking(), **changes)
    if "effort" in changes and "mode" not in changes:
        after = replace(after, mode="off" if after.effort == "none" else _awake(after.mode))
    return None if after == Thinking() else after


def _awake(mode: Any) -> Any:
    return None if mode == "off" else mode


# --- spellings ------------------------------------------------------------------------------------

_OPTIONS = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "repeat_penalty"),
    *("frequency_penalty", "presence_penalty", "seed", "stop"),
)
_CHAT = {
    **{name: name for name in (*_SAMPLING, *_TOP)},
    "effort": "reasoning_effort",
}
_OLLAMA = {
    **{name: f"options.{name}" for name in _OPTIONS},
    "max_tokens": "options.num_predict",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
}
_COMPLETIONS = (
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p", "repeat_penalty"),
    *("frequency_penalty", "presence_penalty", "seed", "stop", "n", "logit_bias", "user"),
    *("effort", "verbosity", "service_tier"),
)
# The one member of a format's text that a parameter is; `options.` stands in that object.
_MEMBER: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "openai": _CHAT,
        "completions": {name: _CHAT[name] for name in _COMPLETIONS},
        "anthropic": {
            **{name: name for name in ("max_tokens", "temperature", "top_p", "top_k")},
            "stop": "stop_sequences",
            "service_tier": "service_tier",
        },
        "responses": {
            **{name: name for name in ("temperature", "top_p", "top_logprobs", "service_tier")},
            "max_tokens": "max_output_tokens",
            "parallel_tool_calls": "parallel_tool_calls",
            "user": "user",
        },
        "ollama": _OLLAMA,
        "generate": _OLLAMA,
    }
)
_CHAT_ALSO = {
    "max_tokens": ("max_completion_tokens", "n_predict"),
    "repeat_penalty": ("repetition_penalty",),
    "n": ("best_of",),
    "effort": ("reasoning_effort", "reasoning"),
    "thinking": ("thinking", "enable_thinking", "reasoning"),
    "thinking_budget": ("thinking_budget", "thinking_token_budget", "reasoning"),
    "user": ("safety_identifier",),
}
_OLLAMA_ALSO = {"max_tokens": ("options.num_predict",), "seed": ("options.seed",)}
# Other spellings, of the formats' own and of servers that speak them.
_ALSO: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "openai": _CHAT_ALSO,
        "completions": _CHAT_ALSO,
        "responses": {"user": ("safety_identifier",)},
        "ollama": _OLLAMA_ALSO,
        "generate": _OLLAMA_ALSO,
    }
)


_UNREAD = ("best_of", "n_predict")  # not even in `extra`: these bind a completion to its server


def other_spellings(request: Request, name: str) -> tuple[str, ...]:
    """Those that this request uses and the canonical form has no place for."""
    also = _ALSO.get(request.origin, {}).get(name, ())
    unread = request.raw.members if request.origin == "completions" and request.raw else ()
    return tuple(
        each for each in also if each in request.extra or (each in _UNREAD and each in unread)
    )


def _without(extra: Mapping[str, Any], origin: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    also = _ALSO.get(origin, {})
    gone = {each for name in values for each in also.get(name, ())}
    if gone.isdisjoint(extra):
        return extra
    return {name: value for name, value in extra.items() if name not in gone}


def _respelled(request: Request, values: Mapping[str, Any]) -> RawBody | None:
    """The client's text with these values; None where it cannot have them as single members."""
    raw, members = request.raw, _MEMBER.get(request.origin, {})
    if raw is None or not all(name in members for name in values):
        return None
    edits: dict[str, Any] = {}
    remove: set[str] = set()
    options = dict(raw.value.get("options") or {}) if request.origin in _NESTED else {}
    for name, value in values.items():
        also = _ALSO.get(request.origin, {}).get(name, ())
        member = _present(raw, members[name], also)
        inner = member.removeprefix("options.")
        others = {members[name], *also} - {member}
        remove.update(each for each in others if each in raw.members)
        if inner != member:
            options.pop(inner, None)
            options |= {} if value is None else {inner: _json(value)}
            edits["options"] = options
        elif value is None:
            remove.add(member)
        else:
            edits[member] = _json(value)
    return parse_body(raw.spliced(edits, remove))


_NESTED = ("ollama", "generate")
_NEWER = ("max_completion_tokens", "repetition_penalty", "safety_identifier")


def _present(raw: RawBody, member: str, also: tuple[str, ...]) -> str:
    """The spelling that the client chose, of those that mean the same to everybody."""
    return next((each for each in also if each in _NEWER and each in raw.members), member)


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
