"""What a page of this room needs of a request and of its answer: no more than this.

Owns: two protocols. Refuses to know: sockets; the edge's Incoming and Client fit them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from llmrouterd.model import Headers


class Asking(Protocol):
    scheme: str
    query: str
    headers: Headers


class Answering(Protocol):
    async def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...

    async def start(self, status: int, headers: list[tuple[str, str]]) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def finish(self) -> None: ...
