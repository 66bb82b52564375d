"""The client of the self-test: asks the router in one of the formats, and says what came.

Owns: the request, reading the answer, and telling the upstream that its first words have come.
Refuses to know: what should have come.

An error after the first words counts only when an event says so: a connection that is merely cut
tells a client's library nothing that it could show.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from formats import FORMATS
from formats.canonical import (
    Failed,
    Finished,
    Response,
    TextDelta,
    ThoughtDelta,
    ToolStarted,
    ToolUse,
)
from formats.errors import FormatError
from llmrouterd.edge.dial import DialError
from llmrouterd.selftest.judge import Seen
from llmrouterd.selftest.upstream import prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from formats.canonical import Event
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.edge.pool import Origin, Pool

PATHS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "ollama": "/api/chat",
        "responses": "/v1/responses",
    }
)
_LIMIT = 4 * 1024 * 1024
_CONTENT = (TextDelta, ThoughtDelta, ToolStarted)


def body(client: str, model: str, case: str, *, stream: bool) -> bytes:
    """The request for a case."""
    said = [{"role": "user", "content": prompt(case)}]
    asked: dict[str, object] = {"model": model, "stream": stream}
    asked["input" if client == "responses" else "messages"] = said
    if client == "anthropic":
        asked["max_tokens"] = 4000
    return json.dumps(asked).encode()


async def ask(
    pool: Pool,
    origin: Origin,
    client: str,
    model: str,
    case: str,
    *,
    stream: bool,
    heard: Callable[[str], None],
) -> tuple[str, Seen]:
    """Ask, and read to the end. Returns the router's name for the request, and what was seen."""
    fields = [("content-type", "application/json")]
    if client == "anthropic":
        fields.append(("anthropic-version", "2023-06-01"))
    data = body(client, model, case, stream=stream)
    try:
        async with pool.exchange(origin, "POST", PATHS[client], fields, data) as exchange:
            seen = await _read(exchange, client, case, stream=stream, heard=heard)
            return exchange.headers.get("x-router-request-id") or "", _fields(exchange, seen)
    except (DialError, FormatError) as error:
        return "", Seen(trouble=f"the router's answer cannot be read: {error}")


def _fields(exchange: Exchange, seen: Seen) -> Seen:
    said = exchange.headers.get
    return replace(
        seen,
        status=exchange.status,
        provider=said("x-router-provider") or "",
        attempts=said("x-router-attempts") or "",
        tag=said("x-router-error") or "",
        retry_after=said("retry-after") or "",
    )


async def _read(
    exchange: Exchange, client: str, case: str, *, stream: bool, heard: Callable[[str], None]
) -> Seen:
    fmt = FORMATS[client]
    if exchange.status != 200:
        failure = fmt.parse_error(exchange.status, await exchange.read_all(_LIMIT))
        told = failure.native is not None
        return Seen(failed=failure.message) if told else Seen(trouble="the error has no shape")
    if not stream:
        return _of_whole(fmt.parse_response(await exchange.read_all(_LIMIT)))
    reading = _Reading(client)
    try:
        while data := await exchange.read():
            reading.take(data)
            if reading.content:
                heard(case)
    except FormatError as error:
        reading.trouble = f"the stream cannot be read: {error}"
    return reading.seen()


def _of_whole(response: Response) -> Seen:
    calls = tuple(part.name for part in response.parts if isinstance(part, ToolUse))
    return Seen(text=response.text, calls=calls, stopped=True)


class _Reading:
    """What a stream has said so far."""

    def __init__(self, client: str) -> None:
        self._decoder = FORMATS[client].decoder(limit=_LIMIT)
        self._words: list[str] = []
        self._calls: list[str] = []
        self._failed: str | None = None
        self._stopped = False
        self.content = False
        self.trouble = ""

    def take(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            self._hear(event)

    def _hear(self, event: Event) -> None:
        self.content = self.content or isinstance(event, _CONTENT)
        match event:
            case TextDelta():
                self._words.append(event.text)
            case ToolStarted():
                self._calls.append(event.name)
            case Failed():
                self._failed = event.failure.message
            case Finished():
                self._stopped = True
            case _:
                pass

    def seen(self) -> Seen:
        if not self._stopped and self._failed is None:
            for event in self._decoder.eof():
                if not isinstance(event, Failed):
                    self._hear(event)
        return Seen(
            text="".join(self._words),
            calls=tuple(self._calls),
            failed=self._failed,
            stopped=self._stopped,
            trouble=self.trouble,
        )
