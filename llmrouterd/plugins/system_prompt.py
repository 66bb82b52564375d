"""The plugin `system-prompt`: the owner's words before, behind or instead of a request's own.

    [plugins.system-prompt]
    enabled = true
    text = "Answer in German."

    [[plugins.system-prompt.prompts]]
    models = ["llama*"]
    text = "Be brief."
    mode = "append"

Owns: which prompts a request gets, and where they stand in it.
Refuses to know: how a format writes system text (formats/).

Laws:
1. The same request gets the same words at the same place, in each turn of its conversation: nothing
   of chance, clock or position is in them, so that prompt caches hold.
2. What the client wrote stays to the character, with its cache marks; `replace` alone takes it out.
3. A request cannot change what the owner has said here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from formats.canonical import Message, Text
from formats.jsontext import parse_body
from llmrouterd.hooks import Plugin
from llmrouterd.plugins import whom

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from formats.canonical import Part, Request
    from llmrouterd.hooks import Context
    from llmrouterd.plugins.whom import Whom

_SYSTEM = ("system", "developer")
_MODES = ("prepend", "append", "replace")
_HOISTED = ("anthropic", "responses", "generate")  # system text has a member of its own there
_KEYS = ("text", "mode", "when_absent", *whom.KEYS)


@dataclass(frozen=True, slots=True)
class Prompt:
    """when_absent: only for a request that has no system text of its own."""

    text: str
    mode: str
    when_absent: bool
    whom: Whom


class SystemPrompt(Plugin):
    id = "system-prompt"
    owned = frozenset({*_KEYS, "prompts"})

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._prompts = tuple(_prompts(settings))

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        """Each prompt that is meant for this request, in the order of the configuration."""
        if request.origin == "completions" or not request.messages:
            return request  # a text to go on with has no such place; an empty one loads a model
        own = has_system(request)
        for prompt in self._prompts:
            if prompt.whom.has(request, ctx) and not (prompt.when_absent and own):
                request = with_prompt(request, prompt.text, prompt.mode)
        return request


def _prompts(settings: Mapping[str, Any]) -> Iterator[Prompt]:
    if any(key in settings for key in _KEYS):
        yield _prompt(settings, "")
    for table, at in whom.tables(settings, "prompts", _KEYS):
        yield _prompt(table, at)


def _prompt(table: Mapping[str, Any], at: str) -> Prompt:
    text = table.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{at}text: expected the words of the prompt")
    mode = whom.choice(table, "mode", _MODES, at)
    return Prompt(text, mode, whom.switch(table, "when_absent", at), whom.whom(table, at))


def has_system(request: Request) -> bool:
    return any(message.role in _SYSTEM for message in request.messages)


# --- the request ----------------------------------------------------------------------------------


def with_prompt(request: Request, text: str, mode: str) -> Request:
    """The request with `text` in place."""
    alone = Message("system", (Text(text),), hoisted=request.origin in _HOISTED)
    messages = _placed(request.messages, alone, mode)
    changed = replace(request, messages=messages, raw=None)
    if request.origin == "generate" and request.raw is not None:
        said = "\n\n".join(
            part.text
            for message in messages
            if message.role in _SYSTEM
            for part in message.parts
            if isinstance(part, Text)
        )
        return replace(changed, raw=parse_body(request.raw.spliced({"system": said})))
    return changed


def _placed(messages: Sequence[Message], alone: Message, mode: str) -> tuple[Message, ...]:
    """Instructions that stand in the middle of a conversation are none of a prompt's places: the next
    turn would have them somewhere else."""
    if mode == "replace":
        rest = [message for message in messages if message.role not in _SYSTEM]
        return (alone, *rest)
    leading = _leading(messages)
    if not leading:
        return (alone, *messages)
    at = 0 if mode == "prepend" else leading - 1
    joined = _joined(messages[at].parts, alone.parts[0], before=mode == "prepend")
    return (*messages[:at], replace(messages[at], parts=joined), *messages[at + 1 :])


def _leading(messages: Sequence[Message]) -> int:
    """How many system messages the conversation begins with."""
    for count, message in enumerate(messages):
        if message.role not in _SYSTEM:
            return count
    return len(messages)


def _joined(parts: tuple[Part, ...], ours: Part, *, before: bool) -> tuple[Part, ...]:
    """In one text with the client's words, since chat templates differ in what they do with two; beside
    them where these carry a mark."""
    near = parts[0] if len(parts) == 1 else None
    if not isinstance(near, Text) or near.cache is not None or near.extra:
        return (ours, *parts) if before else (*parts, ours)
    assert isinstance(ours, Text)
    both = (ours.text, near.text) if before else (near.text, ours.text)
    return (replace(near, text="\n\n".join(both)),)
