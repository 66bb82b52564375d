"""The classifier `keyword`: a tag for each list of words of which one occurs.

    [classifiers.keyword]
    enabled = true
    tags = { code = ["python", "rust"], legal = ["contract"] }

Owns: that setting, and what counts as the text of a request.
Refuses to know: what a tag is good for.

Law: words are looked for anywhere in the text, inside other words too, and case does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from formats.canonical import Text

if TYPE_CHECKING:
    from formats.canonical import Request
    from llmrouterd.hooks import Context


class Keyword:
    id = "keyword"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        listed = settings.get("tags", {})
        if not isinstance(listed, Mapping):
            raise ValueError('tags: expected a table of lists, such as { code = ["python"] }')
        self._tags = tuple((tag, _words(listed[tag], f"tags.{tag}")) for tag in sorted(listed))

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        """The tags of the words that occur, in alphabetical order."""
        text = "\n".join(
            part.text
            for message in request.messages
            for part in message.parts
            if isinstance(part, Text)
        ).lower()
        return [tag for tag, words in self._tags if any(word in text for word in words)]


def _words(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{key}: expected a list of words")
    for index, word in enumerate(value):
        if not isinstance(word, str) or not word:
            raise ValueError(f"{key}[{index}]: expected a word")
    return tuple(word.lower() for word in value)
