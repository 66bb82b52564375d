"""Requests of a log, sent once more.

Owns: a request made of a log line, and its way to a router: one of its own in this process, or one
that runs already.
Refuses to know: how lines are read, how answers are shown.

Laws:
1. What the log has is sent, in the client's own format and nothing else: it has the words, the tools
   and the limits (`asked`), not the rest of a body, so an answer may differ for that alone.
2. The router in this process is the real one, over a socket that only this process has the key to. It
   writes no log: a replay must not be replayed.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from formats import FORMATS
from formats.canonical import (
    Failed,
    Image,
    Message,
    OutputFormat,
    Request,
    Sampling,
    Target,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import FormatError
from formats.jsontext import dump
from formats.ledger import Ledger
from llmrouterd.config import Logging
from llmrouterd.config.server import UNIX
from llmrouterd.config.sockets import on_socket, wrong_socket
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Origin, Pool
from llmrouterd.model import Clocks, ConfigError, Secret
from llmrouterd.ops import app
from llmrouterd.pipeline.cost import cost_usd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from formats.canonical import Part, Role
    from llmrouterd.config import Config
    from llmrouterd.model import Provider
    from llmrouterd.ops.app import Running

JSON = Any
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
}
_ANSWER_BYTES = 64 * 1024 * 1024
# The router has clocks of its own for its providers, and says which ran out.
_CLOCKS = Clocks(connect_s=10.0, first_token_s=3600.0, idle_s=3600.0, total_s=0.0)
_THOUGHT = "[thinking]"  # how the log tells of a thought; it is nothing that was said


class NotToSend(Exception):
    """This line holds no request that could be sent; the text says why."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One request, ready. client: by whose key."""

    format: str
    path: str
    body: bytes
    stream: bool
    client: str = ""
    wish: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came back. status 0: nothing did. error: why it failed, "" if it did not."""

    status: int
    provider: str = ""
    model: str = ""
    ms: int = 0
    usage: Usage | None = None
    cost_usd: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A router. keys: client's name -> its key; "" is that of everybody else. prices: by provider, where
    they are known."""

    origin: Origin
    prefix: str
    keys: Mapping[str, Secret]
    prices: Mapping[str, Provider]


# --- from a line to a request ---------------------------------------------------------------------


def sending(line: Mapping[str, JSON]) -> Sending:
    """The request of a log line. Raises NotToSend."""
    if "embed" in str(line.get("endpoint", "")):
        raise NotToSend("the texts of embeddings are not in the log")
    if line.get("decision", line) is None and line.get("status") != 200:
        raise NotToSend("it was wrong, or refused before it was routed")
    if not line.get("messages") and not line.get("system"):
        raise NotToSend('the log has no words: it was written with bodies = "none"')
    name = str(line.get("client_format", ""))
    name = name if name in PATHS else "openai"
    try:
        request = _request(line)
        body = FORMATS[name].write_request(request, Ledger(), Target(request.model))
    except FormatError as error:
        raise NotToSend(f"it cannot be written again: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotToSend(f"the line is damaged: {type(error).__name__} {error}") from None
    facts = (line.get("decision") or {}).get("facts") or {}
    return Sending(
        name, PATHS[name], body, request.stream, str(line.get("client", "")), facts.get("wish", "")
    )


def _request(line: Mapping[str, JSON]) -> Request:
    asked = line.get("asked") or {}
    system = line.get("system")
    messages = [Message("system", (Text(system),))] if system else []
    messages += [m for each in line["messages"] for m in _messages(each)]
    tools = tuple(
        Tool(t["name"], t.get("description"), t.get("parameters")) for t in asked.get("tools", ())
    )
    choice, output, thinking = (asked.get(n) for n in ("tool_choice", "output", "thinking"))
    sampling = {n: asked[n] for n in ("temperature", "top_p", "top_k", "seed") if n in asked}
    return Request(
        "openai",
        str(line["requested_model"]),
        tuple(messages),
        tools=tools or _named(messages),
        tool_choice=ToolChoice(choice["mode"], tuple(choice.get("names", ()))) if choice else None,
        max_tokens=asked.get("max_tokens"),
        sampling=Sampling(**sampling, stop=tuple(asked.get("stop", ()))),
        thinking=Thinking(**thinking) if thinking else None,
        output=OutputFormat(**output) if output else None,
        stream=line.get("stream") is True,
        include_usage=True,
    )


def _messages(told: Mapping[str, JSON]) -> list[Message]:
    """A message of the log. Results of tools stand for themselves, before what else was said."""
    parts = [part for each in told["content"] if (part := _part(each)) is not None]
    results = [Message("tool", (p,)) for p in parts if isinstance(p, ToolResult)]
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    role: Role = "assistant" if told["role"] == "assistant" else "user"
    return [*results, *([Message(role, others)] if others else [])]


def _part(told: Mapping[str, JSON]) -> Part | None:
    match told["type"]:
        case "text":
            return None if told["text"].startswith(_THOUGHT) else Text(told["text"])
        case "image":
            return Image(data=told["data"], mime=told["media_type"])
        case "tool_use":
            text = dump(told["input"]).decode()
            return ToolUse(told["id"], told["name"], text, told["input"])
        case "tool_result":
            return ToolResult(told["tool_use_id"], (Text(told["content"]),))
        case _:
            return None


def _named(messages: Sequence[Message]) -> tuple[Tool, ...]:
    """Servers refuse calls of tools that nobody declares."""
    uses = (part for message in messages for part in message.parts if isinstance(part, ToolUse))
    anything = {"type": "object"}
    return tuple(Tool(name, None, anything) for name in dict.fromkeys(use.name for use in uses))


# --- sending --------------------------------------------------------------------------------------


async def send_all(
    place: Place,
    requests: Iterable[Sending],
    *,
    at_once: int,
    tell: Callable[[int, Sent], None],
) -> None:
    """Send them, so many at once. tell: what came of each, by its number, as it comes."""
    left = enumerate(requests)
    pool = Pool()

    async def one_after_another() -> None:
        for number, request in left:
            tell(number, await send(pool, place, request))

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(one_after_another)
    finally:
        pool.close()


async def send(pool: Pool, place: Place, request: Sending) -> Sent:
    """Send one, and read the answer to its end."""
    key = place.keys.get(request.client) or place.keys.get("")
    fields = [("content-type", "application/json"), ("accept", "*/*")]
    fields += [("x-router-key", key.reveal())] if key is not None else []
    fields += [("x-router-provider", request.wish)] if request.wish else []
    fields += [("anthropic-version", "2023-06-01")] if request.format == "anthropic" else []
    begun = time.perf_counter()
    sent = Sent(0, error="no answer in time")
    with Deadline(_CLOCKS) as deadline:
        try:
            async with pool.exchange(
                place.origin, "POST", place.prefix + request.path, fields, request.body, deadline
            ) as exchange:
                sent = Sent(
                    exchange.status,
                    exchange.headers.get("x-router-provider") or "",
                    exchange.headers.get("x-router-model") or "",
                )
                body = await exchange.read_all(_ANSWER_BYTES)
                cost = exchange.headers.get("x-router-cost-usd")
                sent = _read(sent, request, body, place, cost)
        except (DialError, FormatError) as error:
            sent = replace(sent, error=str(error))
    return replace(sent, ms=int((time.perf_counter() - begun) * 1000))


def _read(sent: Sent, request: Sending, body: bytes, place: Place, cost: str | None) -> Sent:
    format_ = FORMATS[request.format]
    if sent.status != 200:
        return replace(sent, error=format_.parse_error(sent.status, body).message)
    usage: Usage | None = None
    if request.stream:
        decoder = format_.decoder(limit=_ANSWER_BYTES)
        for event in (*decoder.feed(body), *decoder.eof()):
            if isinstance(event, UsageSeen):
                usage = event.usage if usage is None else usage.merged(event.usage)
            elif isinstance(event, Failed):
                sent = replace(sent, error=event.failure.message)
    else:
        usage = format_.parse_response(body).usage
    return replace(sent, usage=usage, cost_usd=_cost(cost, place.prices.get(sent.provider), usage))


def _cost(told: str | None, provider: Provider | None, usage: Usage | None) -> float | None:
    """As the router tells; of a stream it tells too late, so by the prices of the file."""
    if told is not None:
        return float(told)
    return None if provider is None else cost_usd(provider, usage)


# --- where to -------------------------------------------------------------------------------------


def place_at(url: str, key: str, config: Config | None) -> Place:
    """A router that runs already. Raises ValueError when that is no address."""
    keys = {"": Secret(key)} if key else {}
    if url.startswith(UNIX) and not wrong_socket(url):
        path, prefix = on_socket(url) or ("", "")
        origin = Origin("http", "localhost", 80, unix=path)
        return Place(origin, prefix.removesuffix("/v1"), keys, _prices(config))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--url takes an address such as http://127.0.0.1:8090, not {url}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = Origin("https" if parts.scheme == "https" else "http", parts.hostname, port)
    return Place(origin, parts.path.rstrip("/").removesuffix("/v1"), keys, _prices(config))


async def with_own_router(
    config: Config,
    user_agent: str,
    use: Callable[[Place], Awaitable[None]],
) -> None:
    """Run a router of this configuration for as long as `use` does. Raises ConfigError."""
    key = config.server.api_key or Secret(secrets.token_hex(24))
    plain = replace(config.server, tls_cert="", tls_key="", tls_client_ca="")
    server = replace(plain, hosts=("127.0.0.1",), port=0, dashboard=False, api_key=key)
    own = replace(config, server=server, logging=Logging())
    keys = {holder.caller.name: holder.key for holder in config.clients} | {"": key}
    running: list[Running] = []
    wrong: list[ConfigError] = []
    listening = trio.Event()

    def ready(told: Running) -> None:
        running.append(told)
        listening.set()

    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            try:
                await app.run(own, user_agent=user_agent, environ={}, ready=ready)
            except ConfigError as error:  # it would leave the nursery in a group
                wrong.append(error)
            nursery.cancel_scope.cancel()  # a signal said so

        nursery.start_soon(serve)
        await listening.wait()
        host, _, port = running[0].addresses[0].rpartition(":")
        await use(Place(Origin("http", host, int(port)), "", keys, _prices(config)))
        nursery.cancel_scope.cancel()
    if wrong:
        raise wrong[0]


def _prices(config: Config | None) -> Mapping[str, Provider]:
    return {} if config is None else {p.name: p for p in config.providers}
