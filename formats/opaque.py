"""Blocks that only one vendor understands, put into words for everybody else.

Owns: what a server-run tool's call or result says as text.
Refuses to know: which format the text goes to; its writer records the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats.jsontext import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Opaque

JSON = Any


def opaque_text(part: Opaque) -> str | None:
    """A block of a vendor-run tool as text for others, or None where that would not do."""
    value = part.value
    if part.type in ("server_tool_use", "mcp_tool_use"):
        given = value.get("input")
        query = given.get("query") if isinstance(given, dict) else None
        return f"[{value.get('name', part.type)}: {query or dumps(given)}]"
    if part.origin == "responses":
        return _item_text(part.type, value)
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


def _item_text(kind: str, value: Mapping[str, JSON]) -> str | None:
    """An item of Responses that is a run of one of its vendor's tools."""
    name = kind.removesuffix("_call")
    if kind == "web_search_call":
        action = value.get("action")
        action = action if isinstance(action, dict) else {}
        said: JSON = action.get("query") or action.get("url") or action.get("pattern")
    elif kind == "file_search_call":
        said = value.get("queries")
    elif kind == "code_interpreter_call":
        said = value.get("code")
    elif kind == "image_generation_call":
        said = value.get("revised_prompt")
    elif kind == "tool_search_call":
        said = value.get("arguments")
    elif kind == "tool_search_output":
        return "Tools were searched for."
    elif kind == "mcp_call":
        called = f"[{value.get('name')}: {value.get('arguments')}]"
        return "\n".join(t for t in (called, value.get("output")) if isinstance(t, str) and t)
    else:
        return None
    words = said if isinstance(said, str) else dumps(said)
    return f"[{name}]" if said is None else f"[{name}: {words}]"


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
