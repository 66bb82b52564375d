"""Blocks that only one vendor understands, put into words for everybody else.

Owns: what a server-run tool's call or result says as text.
Refuses to know: which format the text goes to; its writer records the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats.jsontext import dumps

if TYPE_CHECKING:
    from formats.canonical import Opaque

JSON = Any


def opaque_text(part: Opaque) -> str | None:
    """A block of a vendor-run tool as text for others, or None where that would not do."""
    value = part.value
    if part.type in ("server_tool_use", "mcp_tool_use"):
        given = value.get("input")
        query = given.get("query") if isinstance(given, dict) else None
        return f"[{value.get('name', part.type)}: {query or dumps(given)}]"
    if part.type == "search_result":
        lines = [value.get("title"), value.get("source"), *_texts(value.get("content"))]
    elif part.type.endswith("_tool_result"):
        lines = _texts(value.get("content"))
    elif (
        part.type == "tool_reference"
    ):  # a search for deferred tools: all of them are offered anyway
        return f"The tool {value.get('tool_name')} can be called now."
    else:
        return None
    return "\n".join(line for line in lines if isinstance(line, str) and line)


def _texts(content: JSON) -> list[JSON]:
    """The titles, addresses and texts of a result's blocks."""
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else [content]
    found: list[JSON] = []
    for block in blocks:
        if isinstance(block, dict):
            names = ("title", "url", "text", "stdout", "stderr", "error_code")
            found += [block[name] for name in names if name in block]
    return found
