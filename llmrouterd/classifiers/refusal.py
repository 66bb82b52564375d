"""The response classifier `refusal`: the tag "refusal" for an answer that declines to answer.

    [response_classifiers.refusal]
    enabled = true
    phrases = ["i must decline"]

Owns: the phrases that give a refusal away.
Refuses to know: what is done about one.

Law: a model that says by its stop reason, or in words that its format keeps apart, that it
refused is believed without any phrase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from formats.canonical import Text

if TYPE_CHECKING:
    from formats.canonical import Request, Response
    from llmrouterd.hooks import Context

PHRASES = (
    "i can't help with",
    "i cannot help with",
    "i can't assist",
    "i cannot assist",
    "i'm not able to help",
    "i am unable to",
    "i'm sorry, but i can't",
    "i must decline",
)
# Models write the typographic apostrophe as often as the plain one.
_PLAIN = str.maketrans({"\u2019": "'", "\u02bc": "'"})


class Refusal:
    id = "refusal"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        phrases = settings.get("phrases", ())
        if not isinstance(phrases, Sequence) or isinstance(phrases, str):
            raise ValueError("phrases: expected a list of texts")
        for index, phrase in enumerate(phrases):
            if not isinstance(phrase, str) or not phrase:
                raise ValueError(f"phrases[{index}]: expected a text")
        self._phrases = tuple(phrase.lower().translate(_PLAIN) for phrase in phrases) or PHRASES

    async def classify(self, request: Request, response: Response, ctx: Context) -> Sequence[str]:
        """["refusal"], or nothing."""
        refused = response.stop == "refusal" or any(
            isinstance(part, Text) and part.refusal for part in response.parts
        )
        text = response.text.lower().translate(_PLAIN)
        return [self.id] if refused or any(phrase in text for phrase in self._phrases) else []
