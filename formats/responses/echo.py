"""What an answer object of Responses says again of the request that it answers.

Owns: those members, with a value or null for each: clients read them without asking whether they
are there.
Refuses to know: the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats.canonical import Text
from formats.ledger import Ledger
from formats.namespaces import NAMESPACE
from formats.responses.write import written_settings

if TYPE_CHECKING:
    from formats.canonical import Request

JSON = Any


def echoed(request: Request) -> dict[str, JSON]:
    sampling, extra = request.sampling, request.extra
    settings = written_settings(request, Ledger())
    text = {"format": {"type": "text"}, "verbosity": None, **settings.get("text", {})}
    parallel = request.parallel_tool_calls
    return {
        "background": extra.get("background") is True,
        "instructions": _instructions(request),
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": extra.get("max_tool_calls"),
        "metadata": dict(request.metadata or {}),
        "parallel_tool_calls": True if parallel is None else parallel,
        "previous_response_id": extra.get("previous_response_id"),
        "prompt_cache_key": request.cache_key,
        "reasoning": {"effort": None, "summary": None, **settings.get("reasoning", {})},
        "safety_identifier": extra.get("safety_identifier"),
        "service_tier": request.service_tier,
        "store": extra.get("store") is True,
        "temperature": sampling.temperature,
        "text": text,
        "tool_choice": settings.get("tool_choice", "auto"),
        "tools": [_whole(tool) for tool in settings.get("tools", ())],
        "top_logprobs": sampling.top_logprobs or 0,
        "top_p": sampling.top_p,
        "truncation": extra.get("truncation") or "disabled",
        "user": request.user,
    }


def _instructions(request: Request) -> str | None:
    leading = [message for message in request.messages if message.hoisted]
    parts = [part for message in leading for part in message.parts if isinstance(part, Text)]
    return "\n\n".join(part.text for part in parts) if parts else None


def _whole(tool: JSON) -> JSON:
    """A tool with all the members that clients expect of one."""
    inner = tool.get("tools")
    if tool.get("type") == NAMESPACE and isinstance(inner, list):
        return {**tool, "tools": [_function(each) for each in inner]}
    return _function(tool)


def _function(tool: JSON) -> JSON:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"parameters": None, "strict": None, **tool}
