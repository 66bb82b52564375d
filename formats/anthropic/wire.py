"""Small conversions that reading and writing Anthropic Messages share.

Owns: stop reasons, usage figures, when thinking is shown, and a call's input.
Refuses to know: requests, streams, errors.

Law: `input_tokens` on this wire is the uncached part only; canonical input is the whole prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from formats import jsontext
from formats.canonical import CUT_SHORT, Part, Request, Response, StopReason, ToolUse, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

JSON = Any
NAME: Final = "anthropic"

# --- stop reasons ---------------------------------------------------------------------------------

_STOP_FROM: dict[str, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "context_window",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",  # as with a pause, the turn goes on when it is sent back
}
_STOP_TO: dict[StopReason, str] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "context_window": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
    "pause": "pause_turn",
    "load": "end_turn",
    "unload": "end_turn",
}


def stop_reason(native: str | None, sequence: str | None, *, calls: bool) -> StopReason:
    """What an answer's stop means, given whether it holds a finished call.

    Servers say `end_turn` where a call was made or a stop sequence hit: what was sent decides.
    """
    reason = _STOP_FROM.get(native or "", "end_turn")
    if reason in CUT_SHORT:
        return reason
    if calls:
        return "tool_use"
    if sequence is not None:
        return "stop_sequence"
    return "end_turn" if reason == "tool_use" else reason


def native_stop(reason: StopReason, native: str | None, version: str) -> str:
    """The word for a client. The upstream's own word, where it was this format's, is best."""
    if native is not None and _STOP_FROM.get(native) == reason:
        return native
    if reason == "context_window" and version >= "2026-10-21":
        return "model_context_window_exceeded"
    return _STOP_TO[reason]


# --- usage ----------------------------------------------------------------------------------------


def figures(usage: JSON) -> dict[str, int]:
    """The numbers of a usage object that mean something to us; anything else is passed over."""
    if type(usage) is not dict:
        return {}
    found = {name: usage[name] for name in _FIGURES if type(usage.get(name)) is int}
    details = usage.get("output_tokens_details")
    if type(details) is dict and type(details.get("thinking_tokens")) is int:
        found["thinking_tokens"] = details["thinking_tokens"]
    return found


_FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def usage_of(found: Mapping[str, int]) -> Usage | None:
    """Canonical usage of merged figures (a stream's later ones replace its earlier ones)."""
    if not found:
        return None
    read, write = found.get("cache_read_input_tokens"), found.get("cache_creation_input_tokens")
    uncached = found.get("input_tokens")
    return Usage(
        None if uncached is None else uncached + (read or 0) + (write or 0),
        found.get("output_tokens"),
        read,
        write,
        found.get("thinking_tokens"),
    )


def write_usage(usage: Usage, estimate: int, output: int) -> dict[str, JSON]:
    """A usage object with a number wherever clients need one: estimates where nothing is known."""
    read, write = usage.cache_read or 0, usage.cache_write or 0
    total = estimate if usage.input is None else usage.input
    value: dict[str, JSON] = {
        "input_tokens": max(0, total - read - write),
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "output_tokens": output if usage.output is None else usage.output,
    }
    if usage.reasoning is not None:
        value["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return value


# --- thinking -------------------------------------------------------------------------------------


def shows_thinking(request: Request | None) -> bool:
    """Whether the client asked for thinking. One that did not may not know such blocks."""
    if request is None:
        return True
    thinking = request.thinking
    return thinking is not None and thinking.mode not in (None, "off")


def omits_thinking(request: Request | None) -> bool:
    """The client wants thinking blocks with their signature, but not their text."""
    thinking = None if request is None else request.thinking
    return thinking is not None and thinking.display == "omitted"


# --- calls ----------------------------------------------------------------------------------------


def call_input(call: ToolUse) -> Mapping[str, JSON] | None:
    """The object to send as a call's `input`. None: its arguments are not one."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if call.input is not None:
        return call.input
    return {} if not call.arguments.strip() else parsed_input(call.arguments)


def parsed_input(arguments: str) -> dict[str, JSON] | None:
    """The object that a call's argument text stands for, if it is one."""
    if not arguments.strip():
        return {}
    try:
        value = jsontext.loads(arguments)
    except ValueError:
        return None
    return value if type(value) is dict else None


def has_call(parts: Iterable[Part]) -> bool:
    return any(isinstance(part, ToolUse) for part in parts)


# --- whole answers --------------------------------------------------------------------------------

# Members of an answer that have no canonical place and go back to a client of this same format.
ANSWER_EXTRAS: Final = ("container", "diagnostics", "context_management", "input_transformations")
CITATION_TYPES: Final = frozenset(
    {
        "char_location",
        "page_location",
        "content_block_location",
        "web_search_result_location",
        "search_result_location",
    }
)


def answer_id(id: str, seed: str) -> str:  # noqa: A002
    """An Anthropic upstream's id stays; any other kind would look odd to this format's clients."""
    return id if id.startswith("msg_") else "msg_" + seed


def estimated_output(response: Response) -> int:
    """Tokens of an answer whose server did not count: about 3.8 characters each."""
    size = sum(
        len(p.arguments if isinstance(p, ToolUse) else getattr(p, "text", ""))
        for p in response.parts
    )
    return -(-size * 10 // 38)
