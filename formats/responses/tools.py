"""The tools of a Responses request, and which of them it wants called.

Owns: function, custom and namespace tools, tools that a vendor runs, every shape of `tool_choice`.
Refuses to know: what becomes of a tool that the upstream does not have.

Laws:
1. A namespace is taken apart: each tool in it gets the flat name under which all formats know it,
   and keeps the namespace in `native`, for the way back.
2. A choice that is more than names is kept whole in `extra`, for this format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from formats import check
from formats.canonical import EMPTY, JSON, Tool, ToolChoice
from formats.errors import Invalid
from formats.namespaces import NAMESPACE, flat_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"type", "name", "description", "format"})
_OWN = ("function", "custom")


def parse_tools(obj: Mapping[str, JSON]) -> tuple[Tool, ...]:
    """Raises Invalid."""
    tools: list[Tool] = []
    for at, item in enumerate(check.opt_list(obj, "tools") or ()):
        path = f"tools[{at}]"
        tool = check.an_object(item, path)
        kind = check.opt_string(tool, "type", path) or "function"
        if kind in _OWN:
            tools.append(_tool(tool, kind, path))
        elif kind == NAMESPACE and _has_own_tools_only(tool, path):
            tools += _namespace(tool, path)
        else:
            name = tool.get("name")
            name = name if type(name) is str and name else kind
            tools.append(Tool(name=name, kind="hosted", type=kind, native=tool))
    return tuple(tools)


def _has_own_tools_only(space: Mapping[str, JSON], path: str) -> bool:
    inner = check.opt_list(space, "tools", path) or []
    return bool(inner) and all(
        type(each) is dict and each.get("type", "function") in _OWN for each in inner
    )


def _namespace(space: Mapping[str, JSON], path: str) -> list[Tool]:
    name = _name(space, path)
    native = check.rest(space, frozenset({"tools"}))
    tools = []
    for at, item in enumerate(space["tools"]):
        place = f"{path}.tools[{at}]"
        kind = check.opt_string(item, "type", place) or "function"
        tools.append(_tool(item, kind, place, namespace=name, native=native))
    return tools


def _tool(
    obj: Mapping[str, JSON],
    kind: str,
    path: str,
    *,
    namespace: str = "",
    native: Mapping[str, JSON] = EMPTY,
) -> Tool:
    name = _name(obj, path)
    custom = kind == "custom"
    return Tool(
        name=flat_name(namespace, name) if namespace else name,
        description=check.opt_string(obj, "description", path),
        parameters=None if custom else check.opt_object(obj, "parameters", path),
        kind="custom" if custom else "function",
        strict=None if custom else check.opt_bool(obj, "strict", path),
        format=obj.get("format") if custom else None,
        type=NAMESPACE if namespace else "",
        native=native,
        extra=check.rest(obj, _CUSTOM if custom else _FUNCTION) or EMPTY,
    )


def _name(obj: Mapping[str, JSON], path: str) -> str:
    name = check.string(obj, "name", path)
    if not name:
        raise Invalid(f"{path}.name", "the name is empty")
    return name


# --- the choice -----------------------------------------------------------------------------------

_CHOICES: Mapping[str, ToolChoice] = {
    "auto": ToolChoice("auto"),
    "none": ToolChoice("none"),
    "required": ToolChoice("required"),
    "any": ToolChoice("required"),
}


def parse_choice(obj: Mapping[str, JSON], extra: dict[str, JSON]) -> ToolChoice | None:
    """Raises Invalid."""
    value = obj.get("tool_choice")
    if value is None:
        return None
    if type(value) is str:
        return _plain(value)
    path = "tool_choice"
    choice = check.an_object(value, path)
    kind = check.string(choice, "type", path)
    if kind in _OWN:
        named: Literal["function", "custom"] = "custom" if kind == "custom" else "function"
        return ToolChoice("named", (_chosen(choice, path),), kind=named)
    if kind == "allowed_tools":
        return _allowed(choice, path, extra)
    if kind in _CHOICES:
        return _CHOICES[kind]
    if set(choice) != {"type"}:
        extra["tool_choice"] = choice
    return ToolChoice("named", (kind,), kind="hosted")


def _plain(value: str) -> ToolChoice:
    choice = _CHOICES.get(value)
    if choice is None:
        raise Invalid("tool_choice", f"unknown tool choice {value!r}")
    return choice


def _chosen(obj: Mapping[str, JSON], path: str) -> str:
    """The flat name of a tool that is meant."""
    kind = check.opt_string(obj, "type", path) or "function"
    inner = check.opt_object(obj, kind, path)  # as Chat Completions nests it
    name = check.string(obj if inner is None else inner, "name", path)
    namespace = check.opt_string(obj, "namespace", path)
    return flat_name(namespace, name) if namespace else name


def _allowed(obj: Mapping[str, JSON], path: str, extra: dict[str, JSON]) -> ToolChoice:
    names: list[str] = []
    for at, item in enumerate(check.opt_list(obj, "tools", path) or ()):
        place = f"{path}.tools[{at}]"
        entry = check.an_object(item, place)
        kind = check.opt_string(entry, "type", place) or "function"
        if kind in _OWN:
            names.append(_chosen(entry, place))
        else:
            names.append(check.opt_string(entry, "name", place) or kind)
            extra["tool_choice"] = obj
    must = (check.opt_string(obj, "mode", path) or "auto") == "required"
    return ToolChoice("allowed", tuple(names), must=must)
