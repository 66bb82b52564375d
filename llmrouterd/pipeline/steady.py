"""The same prompt again as the same prompt: what changes with every request, and says nothing to a
model, is left out for servers that keep prompts in a cache.

Owns: the lines that clients are known to put before their instructions for their vendor's accounting.
Refuses to know: who keeps a cache (the provider's `strip_nonces` says so), bytes of any format.

Laws:
1. Only whole lines of a known name, at the beginning of an instruction: a user's words are never
   touched.
2. The vendor itself gets them: they are meant for it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from formats.canonical import Text

if TYPE_CHECKING:
    from formats.canonical import Message, Part, Request

# Claude Code's first system block: a version and a hash that is another one in every request.
_NONCE = re.compile(r"\s*x-anthropic-billing-header:[^\n]*(?:\n|\Z)")
_INSTRUCTING = ("system", "developer")
NOTE = "left out for the prompt cache: x-anthropic-billing-header"


def steady(request: Request) -> Request:
    """The request without such lines; the very same object where there are none."""
    if not any(message.role in _INSTRUCTING for message in request.messages):
        return request
    messages = tuple(_steady(message) for message in request.messages)
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request
    kept = tuple(message for message in messages if message.parts)
    return replace(request, messages=kept, raw=None)


def _steady(message: Message) -> Message:
    if message.role not in _INSTRUCTING:
        return message
    parts = [_without(part) for part in message.parts]
    if all(new is old for new, old in zip(parts, message.parts, strict=True)):
        return message
    return replace(message, parts=tuple(part for part in parts if part is not None))


def _without(part: Part) -> Part | None:
    """None: there was nothing else in it."""
    if not isinstance(part, Text):
        return part
    found = _NONCE.match(part.text)
    if found is None:
        return part
    rest = part.text[found.end() :]
    return replace(part, text=rest) if rest.strip() else None
