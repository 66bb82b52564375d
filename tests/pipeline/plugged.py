"""Plugins and classifiers for tests: they note that they were called, and do what they are told."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import trio

from formats.canonical import Event, Message, Request, Response, Text, TextDelta
from formats.errors import Failure
from llmrouterd.hooks import Context, Plugin
from llmrouterd.model import Record
from llmrouterd.pipeline.daemon import Installed
from tests.pipeline.stage import (
    STREAM,
    anthropic,
    chat_answer,
    chat_stream,
    ollama,
    openai,
    replies,
    responses,
    streams,
)

SSE = STREAM["openai"]
PROVIDERS = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}
FORMATS = list(PROVIDERS)
EARLY = Response("", "early-model", (Text("from the plugin"),))
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class Diary:
    """Who was called, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []


class Scripted(Plugin):
    """A plugin that notes its calls and does what each hook's entry says."""

    def __init__(self, id_: str, diary: Diary, **does: object) -> None:
        self.id = id_
        self.diary = diary
        self.does = does
        self.seen: list[Context] = []
        self.given: dict[str, object] = {}
        self.record: Record | None = None
        self.whole_response = bool(does.get("whole"))

    def _do(self, hook: str, value: object, ctx: Context) -> object:
        self.diary.lines.append(f"{self.id}.{hook}")
        self.seen.append(replace(ctx))
        self.given[hook] = value
        deed = self.does.get(hook)
        if isinstance(deed, Exception):
            raise deed
        if callable(deed):
            return deed(value, ctx)
        return value if deed is None else deed

    async def on_start(self, request: Request, ctx: Context):
        return self._do("on_start", request, ctx)

    async def pre_request(self, request: Request, ctx: Context):
        return self._do("pre_request", request, ctx)

    async def post_response(self, response: Response, ctx: Context):
        return self._do("post_response", response, ctx)

    async def on_end(self, record: Record) -> None:
        self.diary.lines.append(f"{self.id}.on_end")
        self.record = record
        if isinstance(deed := self.does.get("on_end"), Exception):
            raise deed


class Wired(Scripted):
    """One with the hooks that a plugin has only if it wants something of them."""

    def on_arrival(self, arrival, ctx: Context) -> int:
        self._do("on_arrival", arrival, ctx)
        return 1 << 20

    def recall(self, may, ctx: Context):
        return self._do("recall", None, ctx)

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        if not isinstance(event, TextDelta):
            return (event,)
        return self._do("on_event", (event,), ctx)

    async def on_error(self, failure: Failure, ctx: Context) -> None:
        self._do("on_error", failure, ctx)

    def on_release(self, kept, end, ctx: Context) -> None:
        self._do("on_release", (kept, end), ctx)


class Slow(Plugin):
    """One whose hook takes a minute; it notes what it came to."""

    id = "slow"

    def __init__(self, hook: str, diary: Diary) -> None:
        self._hook = hook
        self._diary = diary

    async def _take(self, hook: str) -> None:
        if hook == self._hook:
            try:
                await trio.sleep(60)
            finally:
                self._diary.lines.append(f"{hook} over")

    async def on_start(self, request: Request, ctx: Context) -> Request:
        await self._take("on_start")
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        await self._take("pre_request")
        return request

    async def post_response(self, response: Response, ctx: Context) -> Response:
        await self._take("post_response")
        return response

    async def on_error(self, failure: Failure, ctx: Context) -> None:
        await self._take("on_error")

    async def on_end(self, record: Record) -> None:
        await self._take("on_end")


class Tagger:
    """A classifier of requests or, with three arguments, of answers."""

    def __init__(self, id_: str, diary: Diary, *tags: str, error: Exception | None = None) -> None:
        self.id = id_
        self.diary = diary
        self.tags = tags
        self.error = error
        self.seen: list = []

    async def classify(self, *given: object):
        self.diary.lines.append(self.id)
        self.seen.append(given)
        if self.error is not None:
            raise self.error
        return self.tags


def with_text(text: str):
    def change(request_: Request, ctx: Context) -> Request:
        return replace(request_, messages=(Message("user", (Text(text),)),))

    return change


def installed(hook, *, enabled: bool = True, **settings) -> Installed:
    return Installed(hook.id, hook, settings, enabled)


def answering(*, stream: bool):
    return streams(SSE, chat_stream("from a")) if stream else replies(200, chat_answer("from a"))
