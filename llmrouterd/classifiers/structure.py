"""The classifier `structure`: tags for what a request is made of, whatever it says.

    [classifiers.structure]
    enabled = true
    only = ["vision", "long", "lang"]
    long_chars = 32000

Owns: the tags "vision", "audio", "documents", "tools", "json", "long", "code", "script-..." and
"lang-..." (two letters, a guess).
Refuses to know: what any of it means for routing.

Law: script and code are judged by what the user wrote; the words of programs round it are English
and full of code whatever the user wants.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from formats.canonical import Audio, Document, Image, ToolResult
from llmrouterd.classifiers.script import LANGUAGES, SCRIPTS, language_of, script_of
from llmrouterd.classifiers.settings import Settings
from llmrouterd.classifiers.texts import last_said, spoken, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from formats.canonical import Part, Request
    from llmrouterd.hooks import Context

GROUPS = ("vision", "audio", "documents", "tools", "json", "long", "code", "script", "lang")
LONG_CHARS = 32000  # about 8000 tokens: what small local models still read well
_FENCE = re.compile(r"(?m)^ {0,3}(?:```|~~~)")
_PARTS = ((Image, "vision"), (Audio, "audio"), (Document, "documents"))


class Structure:
    id = "structure"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        read = Settings(settings)
        only = read.some_of("only", GROUPS)
        self._long = int(read.number("long_chars", LONG_CHARS, 1))
        self._prefix = read.text("prefix")
        read.settle()
        self._groups = frozenset(only or GROUPS)
        self.may_set = tuple(self._prefix + tag for tag in _all_tags(self._groups))

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        return [self._prefix + tag for tag in self._found(request) if self._wants(tag)]

    def _wants(self, tag: str) -> bool:
        return tag.partition("-")[0] in self._groups

    def _found(self, request: Request) -> Iterator[str]:
        yield from sorted(_kinds(part for message in request.messages for part in message.parts))
        if request.tools:
            yield "tools"
        if request.output is not None:
            yield "json"
        if sum(map(len, texts(request))) >= self._long:
            yield "long"
        if any(_FENCE.search(text) for text in _of_user(request)):
            yield "code"
        asked = last_said(request, 4000)
        script = script_of(asked)
        if script is not None:
            yield "script-" + script
        language = language_of(asked)
        if language is not None:
            yield "lang-" + language


def _kinds(parts: Iterable[Part]) -> set[str]:
    found: set[str] = set()
    for part in parts:
        found.update(tag for kind, tag in _PARTS if isinstance(part, kind))
        if isinstance(part, ToolResult):
            found |= _kinds(part.parts)
    return found


def _of_user(request: Request) -> Iterator[str]:
    for message in request.messages:
        if message.role == "user":
            yield from spoken(message.parts)


def _all_tags(groups: frozenset[str]) -> Iterator[str]:
    for group in GROUPS:
        if group in groups:
            match group:
                case "script":
                    yield from (f"script-{script}" for script in SCRIPTS)
                case "lang":
                    yield from (f"lang-{language}" for language in LANGUAGES)
                case _:
                    yield group
