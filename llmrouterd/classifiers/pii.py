"""The classifier `pii`, of requests and of answers: tags for what is about a person.

    [classifiers.pii]
    enabled = true
    kinds = ["email", "card"]
    allow = ["*@our-company.example"]

Owns: the tags "pii" and "pii-KIND", and which messages are read.
Refuses to know: how anything is found (llmrouterd/detect/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.finds import Finds
from llmrouterd.classifiers.settings import ROLES, Settings
from llmrouterd.classifiers.texts import answered, texts
from llmrouterd.detect import PII

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import Request, Response
    from llmrouterd.hooks import Context


class Pii:
    id = "pii"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        read = Settings(settings)
        self._roles = read.some_of("roles", ROLES)
        read.settle()
        self._finds = Finds(self.id, PII, settings)
        self.may_set = self._finds.may_set

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        return await self._finds.tags(texts(request, self._roles), ctx)


class ResponsePii:
    id = "pii"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._finds = Finds(self.id, PII, settings)

    async def classify(self, request: Request, response: Response, ctx: Context) -> Sequence[str]:
        return await self._finds.tags(answered(response), ctx)
