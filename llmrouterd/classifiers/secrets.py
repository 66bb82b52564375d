"""The classifier `secrets`: tags for keys, tokens and passwords in a request.

    [classifiers.secrets]
    enabled = true

Owns: the tags "secrets" and "secrets-KIND", and which messages are read.
Refuses to know: how anything is found (llmrouterd/detect/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.finds import Finds
from llmrouterd.classifiers.settings import ROLES, Settings
from llmrouterd.classifiers.texts import texts
from llmrouterd.detect import SECRETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import Request
    from llmrouterd.hooks import Context


class Secrets:
    id = "secrets"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        read = Settings(settings)
        self._roles = read.some_of("roles", ROLES)
        read.settle()
        self._finds = Finds(self.id, SECRETS, settings)
        self.may_set = self._finds.may_set

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]:
        return await self._finds.tags(texts(request, self._roles), ctx)
