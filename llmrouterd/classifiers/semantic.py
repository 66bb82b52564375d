"""The classifier `semantic`: the label whose example sentences a request is most like.

    [classifiers.semantic]
    enabled = true
    provider = "ollama"
    model = "nomic-embed-text"
    threshold = 0.6
    examples = { cooking = ["How long do I boil an egg?", "A recipe for bread"] }

Owns: the comparison of vectors, and the memory of what was compared.
Refuses to know: how vectors are made (ctx.embed).

Laws:
1. Near means by angle. The nearest example counts, and only if it is near enough.
2. The examples are turned into vectors once, at the first request; what was compared before is not
   compared again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.known import Known, digest
from llmrouterd.classifiers.settings import Settings
from llmrouterd.classifiers.texts import last_said
from llmrouterd.hooks import AskFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import Request
    from llmrouterd.hooks import Context

THRESHOLD = 0.6
MOST_CHARS = 2000
MOST_EXAMPLES = 512
Vector = tuple[float, ...]  # of length 1


class Semantic:
    id = "semantic"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        read = Settings(settings)
        self._provider = read.text("provider")
        self._model = read.text("model")
        examples = read.lists("examples", "sentence", '{ cooking = ["How do I boil an egg?"] }')
        self._threshold = read.number("threshold", THRESHOLD, -1, 1)
        self._timeout_s = read.number("timeout", 2.0, 0.01, 600)
        self._max_chars = int(read.number("max_chars", MOST_CHARS, 16))
        self._remote = read.switch("allow_remote")
        prefix = read.text("prefix")
        cache = int(read.number("cache", 1024, 0, 1e6))
        self._examples = [(label, text) for label, texts in examples.items() for text in texts]
        if len(self._examples) > MOST_EXAMPLES:
            read.wrong(f"examples: at most {MOST_EXAMPLES} sentences")
        read.settle()
        self._tags = {label: prefix + label for label in examples}
        self._known: Known[tuple[str, ...]] = Known(cache)
        self._vectors: list[tuple[str, Vector]] = []
        self.may_set = tuple(self._tags.values())

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        text = last_said(request, self._max_chars)
        if not text or not self._examples:
            return []
        key = digest(text)
        tags = self._known.get(key)
        if tags is None:
            tags = await self._compared(text, ctx)
            self._known.put(key, tags)
        return tags

    async def _compared(self, text: str, ctx: Context) -> tuple[str, ...]:
        known = [] if self._vectors else [sentence for _, sentence in self._examples]
        given = await ctx.embed(
            self._provider,
            self._model,
            [text, *known],
            timeout_s=self._timeout_s,
            allow_remote=self._remote,
        )
        vectors = [unit(each) for each in given]
        if known:
            labels = [label for label, _ in self._examples]
            self._vectors = list(zip(labels, vectors[1:], strict=True))
        likeness, label = max((dot(vectors[0], of), label) for label, of in self._vectors)
        return (self._tags[label],) if likeness >= self._threshold else ()


def unit(vector: Sequence[float]) -> Vector:
    """The vector with a length of 1. Raises AskFailed for one that has no direction."""
    length = math.sqrt(math.fsum(x * x for x in vector))
    if not length or not math.isfinite(length):
        raise AskFailed("the model gave a vector without a direction")
    return tuple(x / length for x in vector)


def dot(one: Vector, two: Vector) -> float:
    """Raises AskFailed where the model has changed its mind about how long vectors are."""
    if len(one) != len(two):
        raise AskFailed("the model gave vectors of different lengths")
    return sum(map(float.__mul__, one, two))
