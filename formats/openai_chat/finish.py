"""Whole answers of Chat Completions that their server ended without a finish_reason.

Owns: the one member that such an answer gets on its way to a client of this format.
Refuses to know: why a server leaves it out, and streams (`watch`).

Law: outside the edited member the text stays the upstream's, to the character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats.jsontext import parse_body

if TYPE_CHECKING:
    from formats.canonical import JSON


def with_finish(body: bytes, /) -> bytes:
    """The answer with a finish_reason in each choice: there are agents that ask again and again until
    they see one. body: one that was read without complaint."""
    raw = parse_body(body)
    choices = [_finished(choice) for choice in raw.value["choices"]]
    return body if choices == raw.value["choices"] else raw.spliced({"choices": choices})


def _finished(choice: JSON) -> JSON:
    if type(choice) is not dict or choice.get("finish_reason"):
        return choice
    message = choice.get("message")
    message = message if type(message) is dict else {}
    calls = [name for name in ("tool_calls", "function_call") if message.get(name)]
    return {**choice, "finish_reason": calls[0] if calls else "stop"}
