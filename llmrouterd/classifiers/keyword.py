"""The classifier `keyword`: a tag for each list of words, or of patterns, of which one occurs.

    [classifiers.keyword]
    enabled = true
    tags = { code = ["python", "rust"], legal = ["contract"] }
    patterns = { ticket = ["\\b[A-Z]{2,5}-[0-9]+\\b"] }
    whole_words = true
    roles = ["user"]
    tag_roles = { legal = ["user", "system"] }

Owns: those settings, and what counts as the text of a request.
Refuses to know: what a tag is good for.

Laws:
1. Unless `whole_words` says otherwise, words are looked for anywhere in the text, inside other words
   too. Case never counts for words; for patterns it does, unless they begin with `(?i)`.
2. Patterns are looked for line by line, and in long lines piece by piece. One that repeats a
   repetition is refused: a text can be made for it on which it does not end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.patterns import compiled, occurs
from llmrouterd.classifiers.settings import ROLES, Settings
from llmrouterd.classifiers.texts import spoken

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from formats.canonical import Request
    from llmrouterd.hooks import Context


class Keyword:
    id = "keyword"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        read = Settings(settings)
        words = read.lists("tags")
        patterns = read.lists("patterns", "pattern")
        self._whole = read.switch("whole_words")
        self._roles = read.some_of("roles", ROLES)
        self._tag_roles = read.lists("tag_roles", "role")
        self.may_set = tuple(sorted({*words, *patterns}))
        self._words = {tag: tuple(word.lower() for word in words[tag]) for tag in words}
        self._patterns = {tag: _compiled(read, tag, patterns[tag]) for tag in patterns}
        for tag, roles in self._tag_roles.items():
            if tag not in self.may_set:
                read.wrong(f"tag_roles.{tag}: there is no such tag in tags or patterns")
            for index, role in enumerate(roles):
                if role not in ROLES:
                    read.wrong(f"tag_roles.{tag}[{index}]: expected one of {', '.join(ROLES)}")
        read.settle()

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        """The tags of the words and patterns that occur, in alphabetical order."""
        read: dict[tuple[str, ...], tuple[str, str]] = {}
        found = []
        for tag in self.may_set:
            roles = self._tag_roles.get(tag, self._roles)
            if roles not in read:
                text = _text(request, roles)
                read[roles] = text, text.lower()
            text, low = read[roles]
            if self._has(tag, low) or any(occurs(p, text) for p in self._patterns.get(tag, ())):
                found.append(tag)
            await ctx.breathe()
        return found

    def _has(self, tag: str, low: str) -> bool:
        words = self._words.get(tag, ())
        if not self._whole:
            return any(word in low for word in words)
        return any(_stands_alone(low, word) for word in words)


def _text(request: Request, roles: Sequence[str]) -> str:
    return "\n".join(
        text
        for message in request.messages
        if not roles or message.role in roles
        for text in spoken(message.parts)
    )


def _stands_alone(text: str, word: str) -> bool:
    """The word, with no letter, digit or `_` on either side that goes on with it."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if not (_joins(text[at - 1 : at], word[0]) or _joins(text[end : end + 1], word[-1])):
            return True
        at = text.find(word, at + 1)
    return False


def _joins(beside: str, edge: str) -> bool:
    return _is_of_a_word(beside) and _is_of_a_word(edge)


def _is_of_a_word(each: str) -> bool:
    return each.isalnum() or each == "_"


def _compiled(read: Settings, tag: str, patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    out = []
    for index, pattern in enumerate(patterns):
        try:
            out.append(compiled(pattern))
        except ValueError as error:
            read.wrong(f"patterns.{tag}[{index}]: {error}")
    return tuple(out)
