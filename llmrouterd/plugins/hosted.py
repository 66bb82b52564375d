"""Search tools that vendors run themselves, as clients ask for them.

Owns: finding one in a request of any format, which domains it wants, and the request without it.
Refuses to know: who searches instead.

Laws:
1. A request is left as it is but for the tool: other tools, hosted ones too, stay.
2. A choice that names the tool is none any more: its results are there before the model begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from formats.canonical import JSON, Request, Tool

_OPTIONS = "web_search_options"  # of Chat Completions, which has no tool for it
_TYPE = "web_search"  # web_search_20250305, web_search_preview, ...


@dataclass(frozen=True, slots=True)
class Hosted:
    """What the client wants of a search. Domains without www; one stands for those below it, too."""

    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()

    def takes(self, link: str) -> bool:
        """Whether a result may come from there."""
        host = (urlsplit(link).hostname or "").removeprefix("www.")
        if any(_within(host, domain) for domain in self.blocked):
            return False
        return not self.allowed or any(_within(host, domain) for domain in self.allowed)


def hosted(request: Request) -> Hosted | None:
    """The search that this request leaves to a vendor, if it does."""
    for tool in request.tools:
        if _is_search(tool):
            filters = tool.native.get("filters")
            inner = filters if isinstance(filters, Mapping) else {}
            return Hosted(
                _domains(tool.native.get("allowed_domains") or inner.get("allowed_domains")),
                _domains(tool.native.get("blocked_domains") or inner.get("blocked_domains")),
            )
    return Hosted() if request.extra.get(_OPTIONS) is not None else None


def without(request: Request) -> Request:
    """The request that no vendor has to search for."""
    names = {name for tool in request.tools if _is_search(tool) for name in (tool.name, tool.type)}
    tools = tuple(tool for tool in request.tools if not _is_search(tool))
    choice = request.tool_choice
    if choice is not None and (not tools or names & set(choice.names)):
        choice = None
    extra = {name: value for name, value in request.extra.items() if name != _OPTIONS}
    return replace(
        request,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=request.parallel_tool_calls if tools else None,
        extra=extra,
        raw=None,
    )


def _is_search(tool: Tool) -> bool:
    return tool.kind == "hosted" and tool.type.startswith(_TYPE)


def _domains(listed: JSON) -> tuple[str, ...]:
    if not isinstance(listed, list):
        return ()
    texts = (each.lower().partition("/")[0] for each in listed if isinstance(each, str))
    return tuple(each.removeprefix("www.") for each in texts if each)


def _within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
