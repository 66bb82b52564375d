"""Tools that stand in a namespace, for formats that have none.

Owns: the one flat name that such a tool has everywhere else.
Refuses to know: what a namespace is for; how a tool is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formats.canonical import Tool
    from formats.losses import Losses

NAMESPACE: Final = "namespace"  # the `type` of a tool that was taken out of one
_SEPARATOR: Final = "__"


def flat_name(namespace: str, name: str) -> str:
    return f"{namespace}{_SEPARATOR}{name}"


def inner_name(namespace: str, flat: str) -> str:
    return flat.removeprefix(namespace + _SEPARATOR)


def namespace_of(tool: Tool) -> str | None:
    """The namespace that a tool was taken out of."""
    if tool.type != NAMESPACE or tool.kind == "hosted":
        return None
    name: str = tool.native["name"]
    return name


def namespaces_by_name(tools: Iterable[Tool]) -> dict[str, str]:
    """The namespaces of the tools that stand in one, by their flat names."""
    found = ((tool.name, namespace_of(tool)) for tool in tools)
    return {name: space for name, space in found if space is not None}


def note_namespaces(tools: Iterable[Tool], losses: Losses) -> None:
    if any(namespace_of(tool) is not None for tool in tools):
        losses.note("namespace")
