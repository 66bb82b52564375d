"""A stage for the pages' tests: the real edge and the real pages over memory streams, no socket."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import h11
import trio
import trio.testing

from llmrouterd.config import Config
from llmrouterd.edge.client import Client
from llmrouterd.edge.connection import serve_connection
from llmrouterd.edge.incoming import Incoming, Limits
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Fleet, ModelInfo, Provider, ProviderState
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import Feed
from llmrouterd.ops.generation import build
from llmrouterd.ops.pages import Pages, refuse
from llmrouterd.pipeline.daemon import Daemon

PATIENCE_S = 3600.0  # on whatever clock the test has: it only ends tests that would hang
HERE = ("Host", "127.0.0.1:8090")


@dataclass
class Said:
    """An answer as the client got it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Talk:
    """A client's end of one connection."""

    stream: trio.abc.Stream
    wire: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def send(self, method: str, target: str, headers: list, body: bytes) -> None:
        if body:
            headers = [*headers, ("Content-Length", str(len(body)))]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        request = h11.Request(method=method, target=target, headers=raw)
        out = self.wire.send(request) or b""
        if body:
            out += self.wire.send(h11.Data(body)) or b""
        out += self.wire.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(out)

    async def event(self) -> h11.Event:
        while (event := self.wire.next_event()) is h11.NEED_DATA:
            self.wire.receive_data(await self.stream.receive_some())
        return event

    async def head(self) -> Said:
        event = await self.event()
        assert isinstance(event, h11.Response), event
        fields = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
        return Said(event.status_code, fields, b"")

    async def until(self, mark: bytes) -> bytes:
        """Body bytes until `mark` has come."""
        seen = b""
        while mark not in seen:
            event = await self.event()
            assert isinstance(event, h11.Data), (event, seen)
            seen += event.data
        return seen

    async def rest(self) -> bytes:
        seen = b""
        while isinstance(event := await self.event(), h11.Data):
            seen += event.data
        assert isinstance(event, h11.EndOfMessage), event
        return seen


Answer = Callable[[Incoming, Client], Awaitable[None]]


@asynccontextmanager
async def talking(answer: Answer) -> AsyncIterator[Talk]:
    """A connection to `answer` behind the real edge. Leaving hangs up, and waits for the end."""
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve_connection(theirs, answer, Limits(), refuse=refuse))
            yield Talk(ours)
            await ours.aclose()
            nursery.cancel_scope.cancel()  # no hang-up watch on memory streams


async def ask(
    answer: Answer,
    method: str,
    target: str,
    *headers: tuple[str, str],
    body: bytes = b"",
    host: bool = True,
) -> Said:
    """One request and its whole answer."""
    async with talking(answer) as talk:
        await talk.send(method, target, [*([HERE] if host else []), *headers], body)
        said = await talk.head()
        said.body = await talk.rest()
        return said


def states_of(models: Mapping[str, tuple[ModelInfo, ...] | None]) -> dict[str, ProviderState]:
    """A fleet's states: provider name -> its models, None when they are not known."""
    return {
        name: ProviderState(
            Provider(name, "openai", "http://127.0.0.1:9/v1"),
            None if infos is None else {info.name: info for info in infos},
        )
        for name, infos in models.items()
    }


def pages_of(
    config: Config | None = None,
    states: Mapping[str, ProviderState] | None = None,
    feed: Feed | None = None,
) -> Pages:
    """The pages of a daemon that answers with an echo."""
    config = config or Config(providers=(Provider("echo", "echo"),))
    if states is None:
        states = {p.name: ProviderState(p, {"echo": ModelInfo("echo")}) for p in config.providers}
    fleet = Fleet(states)
    sinks = () if feed is None else (feed,)
    daemon = Daemon(Pool(), sinks=sinks)
    gen = replace(build(config, 1, "tests"), fleet=lambda seed: fleet)
    dashboard = None if feed is None else Dashboard(feed)
    return Pages(config, gen, daemon, dashboard)


async def ask_pages(
    pages: Pages, method: str, target: str, *headers: tuple[str, str], body: bytes = b""
) -> Said:
    """One request to pages with real servers behind them; leaves no connection open."""
    try:
        return await ask(pages.answer, method, target, *headers, body=body)
    finally:
        pages._daemon.pool.close()
