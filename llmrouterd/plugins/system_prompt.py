"""The plugin `system-prompt`: the owner's words before, behind or instead of a request's own.

    [plugins.system-prompt]
    enabled = true
    text = "Answer in German."

    [[plugins.system-prompt.prompts]]
    models = ["llama*"]
    text = "Be brief."
    mode = "append"

Owns: which prompts a request gets.
Refuses to know: where they stand in it (prompted.py).

Laws:
1. The same request gets the same words at the same place, in each turn of its conversation: nothing
   of chance, clock or position is in them, so that prompt caches hold.
2. What the client wrote stays to the character, with its cache marks; `replace` alone takes it out.
3. A request cannot change what the owner has said here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrouterd.hooks import Plugin
from llmrouterd.plugins import whom
from llmrouterd.plugins.prompted import MODES, has_system, with_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from formats.canonical import Request
    from llmrouterd.hooks import Context
    from llmrouterd.plugins.whom import Whom

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
    mode = whom.choice(table, "mode", MODES, at)
    return Prompt(text, mode, whom.switch(table, "when_absent", at), whom.whom(table, at))
