"""Small conversions that reading and writing OpenAI Responses share.

Owns: stop reasons, usage figures, the text of a reasoning item, citations, and the names of tools
that stand in a namespace.
Refuses to know: requests, streams, errors.

Laws:
1. The format has no stop reason for calls: what was sent decides.
2. A tool in a namespace has one flat name everywhere else; the way back is by the request's tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from formats.canonical import StopReason, Usage
from formats.ids import ClientNames
from formats.namespaces import inner_name, namespaces_by_name

if TYPE_CHECKING:
    from formats.canonical import Request

JSON = Any
NAME: Final = "responses"

# --- stop reasons ---------------------------------------------------------------------------------

_CUT: Mapping[str, StopReason] = {
    "max_output_tokens": "max_tokens",
    "content_filter": "content_filter",
}
_INCOMPLETE: Mapping[StopReason, str] = {
    "max_tokens": "max_output_tokens",
    "context_window": "max_output_tokens",
    "content_filter": "content_filter",
}


def incomplete_reason(response: Mapping[str, JSON]) -> str:
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return reason if type(reason) is str else ""


def stop_reason(response: Mapping[str, JSON], *, has_call: bool, has_refusal: bool) -> StopReason:
    """Why an answer ended, by its status and by what it holds."""
    if response.get("status") == "incomplete":
        return _CUT.get(incomplete_reason(response), "pause")
    if has_call:
        return "tool_use"
    return "refusal" if has_refusal else "end_turn"


def native_stop(response: Mapping[str, JSON]) -> str | None:
    """What the wire said, in one word."""
    status, reason = response.get("status"), incomplete_reason(response)
    if type(status) is not str:
        return None
    return f"{status}:{reason}" if reason else status


def ending(reason: StopReason) -> tuple[str, JSON]:
    """(status, incomplete_details) of an answer that ended for a reason."""
    word = _INCOMPLETE.get(reason)
    return ("completed", None) if word is None else ("incomplete", {"reason": word})


# --- usage ----------------------------------------------------------------------------------------


def usage_of(value: JSON) -> Usage | None:
    if type(value) is not dict:
        return None
    given, made = value.get("input_tokens_details"), value.get("output_tokens_details")
    given = given if type(given) is dict else {}
    made = made if type(made) is dict else {}
    usage = Usage(
        _count(value, "input_tokens"),
        _count(value, "output_tokens"),
        _count(given, "cached_tokens"),
        _count(given, "cache_write_tokens"),
        _count(made, "reasoning_tokens"),
    )
    return None if usage == Usage() else usage


def _count(obj: Mapping[str, JSON], name: str) -> int | None:
    value = obj.get(name)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def usage_object(usage: Usage, estimate: int, output: int) -> dict[str, JSON]:
    """A usage object with all the numbers that clients need: estimates where nothing is known."""
    given = estimate if usage.input is None else usage.input
    made = output if usage.output is None else usage.output
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": given + made,
    }


# --- reasoning and citations ----------------------------------------------------------------------


def texts_of(value: JSON) -> list[str]:
    """The texts in a list of summary or reasoning parts."""
    if type(value) is not list:
        return []
    texts = [part.get("text") for part in value if type(part) is dict]
    return [text for text in texts if type(text) is str]


def reasoning_text(item: Mapping[str, JSON]) -> str:
    """What a reasoning item shows: its own words where it has them, else their summary."""
    own = texts_of(item.get("content"))
    return "\n\n".join(own if any(own) else texts_of(item.get("summary")))


_CITATIONS: Final = frozenset(
    {"url_citation", "file_citation", "container_file_citation", "file_path"}
)


def annotation_of(citation: JSON, start: int, end: int) -> dict[str, JSON] | None:
    """A citation as an annotation of this format; None for one that has no counterpart."""
    if not isinstance(citation, Mapping):
        return None
    inner = citation.get("url_citation")
    if isinstance(inner, Mapping):  # as Chat Completions nests it
        citation = {"type": "url_citation", **inner}
    kind = citation.get("type")
    if type(kind) is str and kind in _CITATIONS:
        return dict(citation)
    url, title = citation.get("url"), citation.get("title")
    if type(url) is not str or not url:
        return None
    title = title if type(title) is str else ""
    return {
        "type": "url_citation",
        "start_index": start,
        "end_index": end,
        "url": url,
        "title": title,
    }


# --- names of tools -------------------------------------------------------------------------------


class ShownName(NamedTuple):
    """A call as the client knows it. custom: its tool takes plain text."""

    name: str
    namespace: str | None
    custom: bool


class ShownNames:
    """The way back from the names that an upstream uses to the client's own."""

    __slots__ = ("_custom", "_names", "_namespaces")

    def __init__(self, request: Request | None) -> None:
        self._names = ClientNames(request)
        tools = request.tools if request is not None else ()
        self._custom = frozenset(tool.name for tool in tools if tool.kind == "custom")
        self._namespaces = namespaces_by_name(tools)

    def shown(self, name: str, kind: str, extra: Mapping[str, JSON]) -> ShownName:
        flat = self._names.client_name(name)
        custom = kind == "custom" or flat in self._custom
        namespace = self._namespaces.get(flat)
        if namespace is None:
            given = extra.get("namespace")
            namespace = given if type(given) is str and given else None
        return ShownName(
            flat if namespace is None else inner_name(namespace, flat), namespace, custom
        )
