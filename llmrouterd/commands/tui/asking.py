"""An answer of the chat, from the router, as it comes in.

Owns: the request, the stream's events, what is said of the answer at its end.
Refuses to know: the conversation (chat), the screen.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import trio

from formats import FORMATS
from formats.canonical import Failed, RefusalDelta, TextDelta, ThoughtDelta, ToolStarted, UsageSeen
from formats.errors import FormatError
from llmrouterd.commands import words
from llmrouterd.commands.router import BROKEN, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from formats.canonical import Event
    from llmrouterd.commands.router import Router
    from llmrouterd.commands.tui.chat import Chat
    from llmrouterd.edge.pool import Exchange

PATH = "/v1/chat/completions"
_EVENT_BYTES = 16 * 1024 * 1024
_REFUSAL_BYTES = 256 * 1024


class _Answer:
    """What is known of an answer as it comes in."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._begun = time.monotonic()
        self._first: float | None = None
        self._tokens: int | None = None
        self._who = ""
        self.error = ""

    def begins(self, exchange: Exchange) -> None:
        fields = exchange.headers
        self._who = words.place(
            fields.get("x-router-provider") or "", fields.get("x-router-model") or ""
        )

    def take(self, event: Event) -> None:
        match event:
            case TextDelta() | RefusalDelta():
                self._heard(event.text)
            case ThoughtDelta():
                self._heard(event.text, thought=True)
            case ToolStarted():
                self._heard(f"[calls {event.name}]")
            case UsageSeen():
                self._tokens = event.usage.output
            case Failed():
                self.error = event.failure.message
            case _:
                pass

    def _heard(self, text: str, *, thought: bool = False) -> None:
        if self._first is None:
            self._first = time.monotonic()
        self._chat.heard(text, thought=thought)

    def about(self) -> str:
        """Who answered, how fast."""
        now = time.monotonic()
        told = [self._who] if self._who not in ("", words.NONE) else []
        if self._first is not None:
            told.append(f"ttft {words.duration((self._first - self._begun) * 1000)}")
        if self._tokens is not None:
            told.append(f"{self._tokens} tok")
            if self._first is not None and now > self._first:
                told.append(words.rate(self._tokens / (now - self._first)))
        return " \u00b7 ".join(told)


async def ask(router: Router, chat: Chat, text: str, ring: Callable[[], None]) -> None:
    """Say something and take the answer in. Cancellation: what has come stays, and is marked."""
    body = json.dumps(chat.ask(text)).encode()
    answer = _Answer(chat)
    ring()
    try:
        async with router.ask("POST", PATH, body) as exchange:
            answer.begins(exchange)
            if exchange.status == 200:
                await _take(exchange, answer, ring)
            else:
                answer.error = refusal(exchange.status, await exchange.read_all(_REFUSAL_BYTES))
    except BROKEN as error:
        answer.error = str(error)
    except trio.Cancelled:
        chat.ended(answer.about(), "stopped")
        raise
    chat.ended(answer.about(), answer.error)


async def _take(exchange: Exchange, answer: _Answer, ring: Callable[[], None]) -> None:
    decoder = FORMATS["openai"].decoder(limit=_EVENT_BYTES)
    try:
        while data := await exchange.read():
            for event in decoder.feed(data):
                answer.take(event)
            ring()
        for event in decoder.eof():
            answer.take(event)
    except FormatError as error:
        answer.error = answer.error or str(error)
