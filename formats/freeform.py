"""Custom tools, which take plain text, where a format knows functions only.

Owns: the two shapes in which a grammar is written, a custom tool and its calls as those of a
function, and the way back from the function's argument `{"input": "..."}` to the text that it stands
for, whole or piece by piece.
Refuses to know: how a format writes a function.

Laws:
1. What is given piece by piece is a prefix of what is meant: no half escape, no half surrogate pair.
2. Arguments that are not of that shape are given as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from formats import jsontext

if TYPE_CHECKING:
    from formats.canonical import Request, Tool
    from formats.losses import Losses

JSON = Any
_START = re.compile(r'\s*\{\s*"input"\s*:\s*"')
# What an unfinished start can look like: every piece of it is optional behind the one before.
_START_SO_FAR = re.compile(r'\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?')
_PLAIN = re.compile(r'[^"\\]+')
_HIGH = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_LOW = re.compile(r"\\u[dD][c-fC-F]")


def flat_format(format: JSON) -> JSON:  # noqa: A002
    """A custom tool's format as Responses writes it: the grammar's members beside its type."""
    inner = format.get("grammar") if isinstance(format, Mapping) else None
    if not isinstance(inner, Mapping):
        return format
    return {**{n: v for n, v in format.items() if n != "grammar"}, **inner}


def nested_format(format: JSON) -> JSON:  # noqa: A002
    """A custom tool's format as Chat Completions writes it: the grammar an object of its own."""
    if not isinstance(format, Mapping) or format.get("type") != "grammar" or "grammar" in format:
        return format
    return {"type": "grammar", "grammar": {n: v for n, v in format.items() if n != "type"}}


def as_function(tool: Tool, losses: Losses) -> tuple[str, dict[str, JSON]]:
    """The description and the parameters of the function that a custom tool is offered as. What
    says how its text must be formed can only be described."""
    texts = [tool.description or "", 'Put the whole input text in "input".']
    form = flat_format(tool.format)
    if isinstance(form, Mapping) and form.get("type") not in (None, "text"):
        grammar = form.get("definition")
        shown = grammar if type(grammar) is str else jsontext.dumps(dict(form))
        syntax = form.get("syntax")
        kind = f" ({syntax})" if type(syntax) is str else ""
        texts.append(f"It must follow this grammar{kind}:\n{shown}")
        losses.note("custom tool: format")
    return " ".join(text for text in texts if text), {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }


def custom_names(request: Request | None) -> frozenset[str]:
    """The names of a client's custom tools."""
    tools = request.tools if request is not None else ()
    return frozenset(tool.name for tool in tools if tool.kind == "custom")


def wrapped(text: str) -> str:
    """A custom tool's input as the arguments of that function."""
    return jsontext.dumps({"input": text})


def unwrapped(arguments: str) -> str:
    """The text that a function's whole arguments stand for."""
    try:
        value = jsontext.loads(arguments)
    except ValueError:
        return arguments
    text = value.get("input") if type(value) is dict else None
    return text if type(text) is str else arguments


class Unwrapper:
    """The text of a call's input, while its arguments arrive."""

    __slots__ = ("_begun", "_held", "_over", "_said", "_strange", "_whole")

    def __init__(self) -> None:
        self._held = ""  # what could not be read yet
        self._whole: list[str] = []  # all of it, as long as nothing of it was given out
        self._begun = False  # the string has begun
        self._over = False  # and ended
        self._strange = False  # it is no such object
        self._said = False

    @property
    def whole(self) -> bool:
        """The text has come to its end."""
        return self._over

    def feed(self, fragment: str) -> str:
        """The text that `fragment` adds."""
        if self._over:
            return ""
        if not self._said:
            self._whole.append(fragment)
        if self._strange:
            return ""
        self._held += fragment
        if not self._begun:
            found = _START.match(self._held)
            if found is None:
                self._strange = _START_SO_FAR.fullmatch(self._held) is None
                return ""
            self._begun = True
            self._held = self._held[found.end() :]
        return self._string()

    def end(self) -> str:
        """What is left when the arguments have ended: all of them, where they are no such object."""
        if self._over or self._said:
            return ""
        whole = "".join(self._whole)
        return unwrapped(whole) if whole.strip() else ""

    def _string(self) -> str:
        text, at, out = self._held, 0, []
        while at < len(text):
            if plain := _PLAIN.match(text, at):
                out.append(plain[0])
                at = plain.end()
            elif text[at] == '"':
                self._over = True
                break
            else:
                end = _escape_end(text, at)
                if end < 0:
                    break
                out.append(_unescaped(text[at:end]))
                at = end
        self._held = "" if self._over else text[at:]
        if out:
            self._said = True
            self._whole.clear()
        return "".join(out)


def _escape_end(text: str, at: int) -> int:
    """Where the escape that begins at `at` ends, with its other half; -1: not all is here yet."""
    if text[at + 1 : at + 2] != "u":
        return at + 2 if len(text) > at + 1 else -1
    if len(text) < at + 6:
        return -1
    if _HIGH.match(text, at) is None:
        return at + 6
    rest = text[at + 6 : at + 12]
    if len(rest) == 6:
        return at + 12 if _LOW.match(rest) else at + 6
    return -1 if rest in ("", "\\") or rest.startswith("\\u") else at + 6


def _unescaped(escape: str) -> str:
    try:
        value = jsontext.loads(f'"{escape}"')
    except ValueError:  # an escape that JSON does not have
        return escape
    return value if type(value) is str else escape
