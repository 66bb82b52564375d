"""A stage for the pipeline's tests: real edge and real pipeline over memory streams, no socket.

The client speaks HTTP to `serve_connection`, which calls `handle`; the pool's dialler leads to
scripted upstreams. Time is whatever trio's clock is, so autojump_clock makes waiting free.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import h11
import trio
import trio.testing

from llmrouterd.edge.client import Client
from llmrouterd.edge.connection import serve_connection
from llmrouterd.edge.dial import DialError, Origin
from llmrouterd.edge.incoming import Incoming, Limits
from llmrouterd.edge.pool import Pool
from llmrouterd.edge.wire import StreamWire
from llmrouterd.guard.egress import Label
from llmrouterd.hooks import Plugin
from llmrouterd.model import (
    Caller,
    Fleet,
    Headers,
    ModelInfo,
    Provider,
    ProviderState,
    Receipt,
    Record,
    Routing,
    Telling,
)
from llmrouterd.ops.pages import tags_of
from llmrouterd.pipeline.daemon import Daemon, Generation, Installed
from llmrouterd.pipeline.handle import Call, handle

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
GOLDEN_FORMAT = {
    "openai-chat": "openai",
    "anthropic-messages": "anthropic",
    "ollama-chat": "ollama",
    "openai-responses": "responses",
    "openai-completions": "completions",
    "ollama-generate": "generate",
}
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
    "generate": "/api/generate",
}
EMBEDS = {"/v1/embeddings": "openai", "/api/embed": "ollama", "/api/embeddings": "ollama_old"}
STREAM = {
    "openai": "text/event-stream",
    "anthropic": "text/event-stream",
    "ollama": "application/x-ndjson",
    "responses": "text/event-stream",
    "completions": "text/event-stream",
    "generate": "application/x-ndjson",
}
PATIENCE_S = 3600.0  # on whatever clock the test has: it only ends tests that would hang
REFUSED = "refused"  # in place of a script: nobody listens there


@dataclass
class Asked:
    """One request as an upstream got it."""

    target: str
    headers: Headers
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


class Up:
    """An upstream's side of one connection."""

    def __init__(self, stream: trio.abc.Stream, asked: list[Asked]) -> None:
        self.stream = stream
        self.asked = asked
        self.h11 = h11.Connection(h11.SERVER)

    async def more(self) -> bool:
        """Until a request begins; False when the connection ends instead."""
        data = await self.stream.receive_some(65536)
        self.h11.receive_data(data)
        return bool(data)

    async def request(self) -> Asked:
        head: h11.Request | None = None
        body = b""
        while True:
            event = self.h11.next_event()
            if event is h11.NEED_DATA:
                self.h11.receive_data(await self.stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                target = head.target.decode()
                self.asked.append(Asked(target, Headers(list(head.headers)), body))
                return self.asked[-1]
            else:
                raise AssertionError(event)

    async def reply(
        self,
        status: int,
        body: bytes | dict | list,
        kind: str = "application/json",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = [("content-type", kind), ("content-length", str(len(data))), *headers]
        await self._send(h11.Response(status_code=status, headers=fields))
        if data:
            await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())

    async def head(self, kind: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        await self._send(h11.Response(status_code=200, headers=[("content-type", kind), *headers]))

    async def chunk(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def cut(self) -> None:
        await self.stream.aclose()

    async def closed(self) -> None:
        """Until the router has closed the connection."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _send(self, event: h11.Event) -> None:
        await self.stream.send_all(self.h11.send(event) or b"")


Script = Callable[[Up], Awaitable[None]]


def replies(status: int, body: bytes | dict, kind: str = "application/json", headers=()) -> Script:
    async def script(up: Up) -> None:
        await up.request()
        await up.reply(status, body, kind, headers)

    return script


def streams(kind: str, *chunks: bytes, cut: bool = False, pause_s: float = 0.0) -> Script:
    async def script(up: Up) -> None:
        await up.request()
        await up.head(kind)
        for chunk in chunks:
            await up.chunk(chunk)
            if pause_s:
                await trio.sleep(pause_s)
        await (up.cut() if cut else up.end())

    return script


@dataclass
class Answer:
    """What a client has got. cut: the connection ended before the answer did."""

    status: int = 0
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    trailers: Headers = field(default_factory=Headers)
    cut: bool = False

    @property
    def json(self) -> dict:
        return json.loads(self.body)


class Sink:
    follows = True

    def __init__(self) -> None:
        self.told: list[Telling] = []

    def tell(self, telling: Telling) -> None:
        self.told.append(telling)

    @property
    def records(self) -> list[Record]:
        return [t for t in self.told if isinstance(t, Record)]


class Stage:
    """One daemon, its upstreams by provider name, and what its observer was told."""

    def __init__(self, nursery: trio.Nursery, gen: Generation, states: dict, up: dict) -> None:
        self.nursery = nursery
        self.gen = replace(gen, fleet=self._fleet)
        self.sink = Sink()
        self.scripts: dict[str, list[Script | str]] = up
        self.asked: dict[str, list[Asked]] = {name: [] for name in gen.providers}
        self.dialled: list[str] = []
        self.labels: list[Label | None] = []  # one for each place in dialled
        self.pair = trio.testing.memory_stream_pair  # lockstep_stream_pair: without any buffer
        self.upstream_pair = trio.testing.lockstep_stream_pair  # one send is one read
        self.limits = Limits()
        self.client: Client | None = None
        self.callers: dict[str, Caller] = {}
        self.pool = Pool(dialer=self._dial)
        self.daemon = Daemon(self.pool, sinks=(self.sink,))
        self._states = states

    def _fleet(self, seed: int) -> Fleet:
        return Fleet(self._states, now=trio.current_time(), seed=seed)

    async def _dial(self, origin: Origin, *, contexts, label=None) -> tuple[StreamWire, Receipt]:
        await trio.lowlevel.checkpoint()
        self.dialled.append(origin.host)
        self.labels.append(label)
        if isinstance(self.scripts[origin.host][0], str):
            self._next(origin.host)
            raise DialError("connect", f"{origin.host}: connection refused")
        ours, theirs = self.upstream_pair()
        self.nursery.start_soon(self._upstream, theirs, origin.host)
        remote = not self.gen.providers[origin.host].local
        return StreamWire(ours), Receipt(f"{origin.host}:80", left_host=remote)

    def _next(self, host: str) -> Script | str:
        left = self.scripts[host]
        return left.pop(0) if len(left) > 1 else left[0]

    async def _upstream(self, stream: trio.abc.Stream, host: str) -> None:
        """One script after the other, for as long as the connection is kept."""
        up = Up(stream, self.asked[host])
        try:
            while await up.more() and not isinstance(self.scripts[host][0], str):
                script = self._next(host)
                assert not isinstance(script, str)
                await script(up)
                if up.h11.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                    await up.closed()
                    return
                up.h11.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await stream.aclose()

    # --- clients ----------------------------------------------------------------------------------

    async def _answer(self, incoming: Incoming, client: Client) -> None:
        self.client = client
        name = incoming.headers.get("x-router-key")
        incoming.caller = self.callers.get(name or "", incoming.caller)
        wish = incoming.headers.get("x-router-provider")
        embeds = EMBEDS.get(incoming.path)
        if embeds is None:
            fmt = next(name for name, path in PATHS.items() if path == incoming.path)
        else:
            fmt = "openai" if embeds == "openai" else "ollama"
        call = Call(incoming, fmt, incoming.path, wish, embeds, tags_of(incoming.headers))
        await handle(call, client, self.gen, self.daemon)

    def hang_up(self) -> None:
        """What the hang-up watch does when a client leaves."""
        assert self.client is not None
        assert self.client.nursery is not None
        self.client.went_away()
        self.client.nursery.cancel_scope.cancel()

    async def ask(
        self,
        fmt: str,
        body: dict | bytes,
        headers: Iterable[tuple[str, str]] = (),
        *,
        query: str = "",
        missing: int = 0,
        before_read: Callable[[], Awaitable[None]] | None = None,
        each: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> Answer:
        """Ask as a client, and read the answer to its end. fmt: its format, or a path. missing: bytes
        of the body that are
        promised and never come. before_read: awaited before the first byte is read. each: awaited
        after each piece."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        ours, theirs = self.pair()
        out = Answer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_connection, theirs, self._answer, self.limits)
            h = h11.Connection(h11.CLIENT)
            fields = [("host", "h"), ("content-length", str(len(data) + missing)), *headers]
            target = PATHS.get(fmt, fmt) + query
            sent = h.send(h11.Request(method="POST", target=target, headers=fields)) or b""
            await ours.send_all(sent + (h.send(h11.Data(data=data)) or b""))
            if not missing:
                h.send(h11.EndOfMessage())
            if before_read is not None:
                await before_read()
            try:
                await self._read(h, ours, out, each)
            finally:
                await ours.aclose()
        return out

    async def _read(self, h: h11.Connection, stream, out: Answer, each) -> None:
        while True:
            try:
                event = h.next_event()
            except h11.RemoteProtocolError:
                out.cut = True
                return
            if event is h11.NEED_DATA:
                try:
                    h.receive_data(await stream.receive_some(65536))
                except trio.BrokenResourceError:
                    out.cut = True
                    return
            elif isinstance(event, h11.Response):
                out.status = event.status_code
                out.headers = Headers(list(event.headers))
            elif isinstance(event, h11.Data):
                out.body += event.data
                out.pieces.append(bytes(event.data))
                if each is not None:
                    await each(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                out.trailers = Headers(list(event.headers))
                return
            else:
                out.cut = True
                return

    # --- what must be so at the end ---------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The one record."""
        assert len(self.sink.records) == 1, self.sink.records
        return self.sink.records[0]

    def assert_settled(self) -> None:
        daemon = self.daemon
        assert daemon.in_flight == 0
        assert not any(daemon.in_flight_at.values()), daemon.in_flight_at
        assert self.pool.leased == 0
        assert daemon.admission.idle


@asynccontextmanager
async def stage(
    *providers: Provider,
    up: dict[str, object],
    plugins: Iterable[Plugin | Installed] = (),
    classifiers: Iterable[Installed] = (),
    response_classifiers: Iterable[Installed] = (),
    models: dict[str, dict[str, ModelInfo]] | None = None,
    healthy: bool = True,
    **settings,
) -> AsyncIterator[Stage]:
    """A stage whose model "m" means each provider in turn. up: provider name -> a script, or one
    per request (the last one repeats)."""
    scripts = {name: list(s) if isinstance(s, list) else [s] for name, s in up.items()}
    routing = settings.pop(
        "routing",
        Routing(aliases={"m": tuple(f"{p.name}/{p.name}-model" for p in providers)}),
    )
    installed = [p if isinstance(p, Installed) else Installed(p.id, p) for p in plugins]
    settings.setdefault("life_sign_s", 0.0)
    gen = Generation(
        number=1,
        routing=routing,
        providers={p.name: p for p in providers},
        upstreams={p.name: (Origin("http", p.name, 80), "/v1") for p in providers},
        plugins={p.id: p for p in installed},
        classifiers=tuple(classifiers),
        response_classifiers=tuple(response_classifiers),
        **settings,
    )
    states = {
        p.name: ProviderState(p, models=(models or {}).get(p.name), healthy=healthy)
        for p in providers
    }
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            it = Stage(nursery, gen, states, scripts)
            nursery.start_soon(it.daemon.admission.timer.run)
            yield it
            it.pool.close()
            it.assert_settled()
            nursery.cancel_scope.cancel()


# --- words of the three formats -------------------------------------------------------------------


def request(fmt: str, *, stream: bool = False, model: str = "m", **more: object) -> dict:
    messages = [{"role": "user", "content": "hi"}]
    name = {"responses": "input", "completions": "prompt", "generate": "prompt"}.get(
        fmt, "messages"
    )
    said: object = messages if name == "messages" else "hi"
    body: dict = {"model": model, name: said, "stream": stream}
    if fmt == "anthropic":
        body["max_tokens"] = 100
    if fmt in ("openai", "completions") and stream:
        body["stream_options"] = {"include_usage": True}
    return body | more


def sse(*events: object, done: bool = True) -> bytes:
    out = b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events)
    return out + (b"data: [DONE]\n\n" if done else b"")


def role_chunk() -> dict:
    return chunk({"role": "assistant", "content": ""})


def chunk(delta: dict, finish: str | None = None) -> dict:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up",
        "choices": [choice],
    }


def said(text: str) -> dict:
    return chunk({"content": text})


def usage_chunk() -> dict:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {**chunk({}), "choices": [], "usage": usage}


def chat_stream(*texts: str) -> bytes:
    """A whole stream of the openai format."""
    return sse(role_chunk(), *map(said, texts), chunk({}, "stop"), usage_chunk())


def chat_answer(text: str, **more: object) -> dict:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "up",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **more,
    }


def openai(name: str = "a", **more) -> Provider:
    return Provider(name, "openai", f"http://{name}", **more)


def responses(name: str = "a", **more) -> Provider:
    return Provider(name, "responses", f"http://{name}", **more)


def anthropic(name: str = "a", **more) -> Provider:
    return Provider(name, "anthropic", f"http://{name}", **more)


def ollama(name: str = "a", **more) -> Provider:
    return Provider(name, "ollama", f"http://{name}", **more)
