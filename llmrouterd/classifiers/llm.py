"""The classifier `llm`, of requests and of answers: a small model says which label fits.

    [classifiers.llm]
    enabled = true
    provider = "ollama"
    model = "llama3.2:3b"
    labels = { code = "writing or reading programs", legal = "contracts and law" }

Owns: which text is judged: what the user said last, or the answer.
Refuses to know: the question and its answer (labels.py), how a model is reached (ctx.ask).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.labels import Labels
from llmrouterd.classifiers.texts import last_said, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import Request, Response
    from llmrouterd.hooks import Context


class LLM:
    id = "llm"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._labels = Labels(settings, "requests to an assistant")
        self.may_set = self._labels.may_set

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        return await self._labels.tags(last_said(request, self._labels.max_chars), ctx)


class ResponseLLM:
    id = "llm"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._labels = Labels(settings, "answers of an assistant")

    async def classify(self, request: Request, response: Response, ctx: Context) -> Sequence[str]:
        return await self._labels.tags(shortened(response.text, self._labels.max_chars), ctx)
