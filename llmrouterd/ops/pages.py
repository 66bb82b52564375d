"""Which path is what: the table of URLs, and the pages that are not chats.

Owns: routing a request by method and path, the shape of errors for each path, the lists of models,
health and readiness, the state that the dashboard shows.
Refuses to know: how a chat is served (pipeline/handle.py), who may come in (access.py).

Laws:
1. An error on a client's path has that client format's shape, whatever went wrong.
2. A path is accepted in the spellings that real clients are known to use: with /v1, without it, and
   with it doubled.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from formats import FORMATS
from formats.errors import Failure
from formats.jsontext import dump
from llmrouterd.edge.client import Client
from llmrouterd.edge.incoming import Incoming
from llmrouterd.observe.dashboard import cookie_fields
from llmrouterd.ops import access
from llmrouterd.pipeline.handle import Call, handle

if TYPE_CHECKING:
    from llmrouterd.config import Config
    from llmrouterd.model import Fleet, ModelInfo, ProviderState
    from llmrouterd.observe.dashboard import Dashboard
    from llmrouterd.pipeline.daemon import Daemon, Generation

Fields = list[tuple[str, str]]
Page = Callable[[Incoming, Client], Awaitable[None]]
JSON = Any

_KEY_BYTES = 4096  # the longest body in which a browser may send its key
# What the Ollama surface says it is: clients (Codex) refuse versions below 0.13.4.
OLLAMA_VERSION = "0.14.0"
_CHATS = {
    "/v1/chat/completions": "openai",
    "/v1/messages": "anthropic",
    "/api/chat": "ollama",
}
_LATER = frozenset(
    {
        "/v1/responses",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages/count_tokens",
        "/api/generate",
        "/api/embed",
        "/api/embeddings",
        "/api/show",
        "/api/ps",
        "/api/pull",
        "/api/push",
        "/api/create",
        "/api/copy",
        "/api/delete",
        "/metrics",
    }
)
_LATER_BELOW = ("/v1/models/", "/api/blobs/")
_WITHOUT_V1 = (
    "/chat/completions",
    "/messages",
    "/models",
    "/responses",
    "/completions",
    "/embeddings",
)


def canonical_path(path: str) -> str:
    """One spelling for the paths that clients spell differently."""
    if path.startswith("/v1/v1/"):
        path = path[3:]
    elif path.startswith(_WITHOUT_V1):
        path = "/v1" + path
    return path.rstrip("/") if len(path) > 1 else path


def format_of(path: str, headers_name_anthropic: bool = False) -> str:
    """The client format whose error shape belongs to a path."""
    path = canonical_path(path)
    if path in _CHATS:
        return _CHATS[path]
    if path.startswith("/api/"):
        return "ollama"
    if path.startswith("/v1/messages") or headers_name_anthropic:
        return "anthropic"
    return "openai"


def refuse(path: str, failure: Failure) -> tuple[int, Fields, bytes]:
    """An error of the edge in the shape of the path's client format."""
    status, body = FORMATS[format_of(path.partition("?")[0])].write_failure(failure)
    fields = [("content-type", "application/json"), ("x-router-error", failure.tag)]
    if failure.kind in ("rate_limit", "overloaded", "draining"):
        fields.append(("retry-after", "1"))
    return status, fields, body


@dataclass(frozen=True, slots=True)
class Route:
    methods: tuple[str, ...]
    page: Page


class Pages:
    """Answers every request of the daemon. `answer` is what the edge calls."""

    def __init__(
        self, config: Config, gen: Generation, daemon: Daemon, dashboard: Dashboard | None
    ) -> None:
        self._config = config
        self._gen = gen
        self._daemon = daemon
        self._dashboard = dashboard
        self._table = self._routes()
        self._guards = (access.check_host, access.check_origin)

    def _routes(self) -> Mapping[str, Route]:
        get = ("GET", "HEAD")
        table = {
            "/": Route(get, self._root),
            "/health": Route(get, self._health),
            "/ready": Route(get, self._ready),
            "/v1/models": Route(get, self._models),
            "/api/tags": Route(get, self._tags),
            "/api/version": Route(get, self._version),
        }
        if self._dashboard is not None:
            table["/dashboard"] = Route((*get, "POST"), self._dashboard.page)
            table["/dashboard/events"] = Route(("GET",), self._dashboard.events)
            table["/dashboard/api/event"] = Route(get, self._dashboard.event)
            table["/dashboard/api/state"] = Route(get, self._state)
        return table

    # --- the way in -------------------------------------------------------------------------------

    async def answer(self, incoming: Incoming, client: Client) -> None:
        server = self._config.server
        path = canonical_path(incoming.path)
        for guard in self._guards:
            failure = guard(server, incoming)
            if failure is not None:
                return await self._refuse(incoming, client, failure)
        if incoming.method == "OPTIONS":
            return await self._preflight(incoming, client)
        if path == "/dashboard" and incoming.method == "POST" and self._dashboard is not None:
            return await self._sign_in(incoming, client)
        if path != "/health":
            cookie = path.startswith("/dashboard") and incoming.method in ("GET", "HEAD")
            failure = access.check_key(server, incoming, cookie=cookie)
            if failure is not None and self._is_browser(path, incoming):
                assert self._dashboard is not None
                return await self._dashboard.door(client)
            if failure is not None:
                return await self._refuse(incoming, client, failure)
        chat = _CHATS.get(path)
        if chat is not None and incoming.method == "POST":
            return await self._chat(chat, path, incoming, client)
        return await self._other(path, incoming, client)

    def _is_browser(self, path: str, incoming: Incoming) -> bool:
        """Somebody who came to look at the dashboard, and could type in a key."""
        if self._dashboard is None or path != "/dashboard" or "api_key=" in incoming.query:
            return False
        return "text/html" in (incoming.headers.get("accept") or "")

    async def _sign_in(self, incoming: Incoming, client: Client) -> None:
        """A key, typed into the dashboard's page, for a cookie."""
        length = incoming.headers.get("content-length") or ""
        if not (length.isascii() and length.isdigit()) or int(length) > _KEY_BYTES:
            text = f"a key comes in a body with its length, at most {_KEY_BYTES} bytes"
            return await self._refuse(incoming, client, Failure("too_large", text))
        key = (await incoming.body()).decode("utf-8", "replace")
        wanted = self._config.server.api_key
        if wanted is not None and not wanted.matches(key):
            failure = Failure("unauthorized", "that is not this router's key")
            return await self._refuse(incoming, client, failure)
        return await client.respond(204, cookie_fields(key), b"")

    async def _chat(self, chat: str, path: str, incoming: Incoming, client: Client) -> None:
        wish = incoming.headers.get("x-router-provider")
        client.extra_headers = access.cors(self._config.server, incoming)
        await handle(Call(incoming, chat, path, wish), client, self._gen, self._daemon)

    async def _other(self, path: str, incoming: Incoming, client: Client) -> None:
        """What is not a chat: pages, and the ways of not being one."""
        if incoming.headers.get("upgrade") and path in ("/v1/responses", *_CHATS):
            text = "this server speaks HTTP only; send a POST"
            more = [("upgrade", "HTTP/1.1"), ("connection", "upgrade")]
            return await self._refuse(incoming, client, Failure("upgrade_refused", text), more)
        route = self._table.get(path)
        allowed = route.methods if route else ("POST",) if path in _CHATS else ()
        if allowed and incoming.method not in allowed:
            text = f"{path} takes {', '.join(allowed)}"
            failure = Failure("method_not_allowed", text)
            return await self._refuse(incoming, client, failure, [("allow", ", ".join(allowed))])
        if route is not None:
            client.extra_headers = access.cors(self._config.server, incoming)
            return await route.page(incoming, client)
        if path in _LATER or path.startswith(_LATER_BELOW):
            text = f"{path} is not available in this version"
            return await self._refuse(incoming, client, Failure("not_available", text))
        text = f"there is nothing at {path[:200]}"
        return await self._refuse(incoming, client, Failure("not_found", text))

    async def _refuse(
        self, incoming: Incoming, client: Client, failure: Failure, more: Fields | None = None
    ) -> None:
        anthropic = "anthropic-version" in incoming.headers
        fmt = FORMATS[format_of(incoming.path, anthropic)]
        status, body = fmt.write_failure(failure)
        fields = [("content-type", "application/json"), ("x-router-error", failure.tag)]
        fields += access.cors(self._config.server, incoming)
        await client.respond(status, fields + (more or []), body)

    async def _preflight(self, incoming: Incoming, client: Client) -> None:
        fields = access.preflight(self._config.server, incoming)
        if fields is None:
            fields = [("allow", "GET, HEAD, POST, OPTIONS")]
        await client.respond(204, fields, b"")

    # --- pages ------------------------------------------------------------------------------------

    async def _root(self, incoming: Incoming, client: Client) -> None:
        """Ollama clients look here for this very sentence."""
        await client.respond(200, [("content-type", "text/plain")], b"Ollama is running")

    async def _health(self, incoming: Incoming, client: Client) -> None:
        await client.respond(200, [("content-type", "text/plain")], b"ok")

    async def _ready(self, incoming: Incoming, client: Client) -> None:
        """Ready when some provider could be asked: that is what serving needs."""
        body = {
            "ready": self._is_ready(),
            "draining": self._daemon.draining,
            "in_flight": self._daemon.in_flight,
            "providers": {n: _state(s) for n, s in self._daemon.fleet(0).states.items()},
        }
        await _json(client, body, 200 if body["ready"] else 503)

    def _is_ready(self) -> bool:
        """One that was never asked may well answer; one that did not answer will not."""
        states = self._daemon.fleet(0).states.values()
        usable = any(state.healthy and state.reached is not False for state in states)
        return usable and not self._daemon.draining

    async def _state(self, incoming: Incoming, client: Client) -> None:
        """What the dashboard shows beside the events."""
        daemon = self._daemon
        providers = [
            {
                "name": name,
                "format": state.provider.format,
                "local": state.provider.local,
                "address": urlsplit(state.provider.base_url).netloc.rpartition("@")[2],
                "on_demand": state.provider.on_demand,
                "in_flight": daemon.in_flight_at.get(name, 0),
                **_state(state),
            }
            for name, state in daemon.fleet(0).states.items()
        ]
        body = {
            "version": self._gen.user_agent.partition("/")[2],
            "ready": self._is_ready(),
            "draining": daemon.draining,
            "in_flight": daemon.in_flight,
            "providers": providers,
        }
        await _json(client, body)

    async def _version(self, incoming: Incoming, client: Client) -> None:
        await _json(client, {"version": OLLAMA_VERSION})

    async def _models(self, incoming: Incoming, client: Client) -> None:
        names = self._names()
        if "anthropic-version" in incoming.headers:
            data = [_anthropic_model(name) for name in names]
            ids = list(names)
            ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
            return await _json(client, {"data": data, "has_more": False, **ends})
        created = int(time.time())
        data = [
            {"id": name, "object": "model", "created": created, "owned_by": owner}
            for name, owner in names.items()
        ]
        return await _json(client, {"object": "list", "data": data})

    async def _tags(self, incoming: Incoming, client: Client) -> None:
        fleet = self._daemon.fleet(0)
        await _json(client, {"models": [_tag(n, fleet, o) for n, o in self._names().items()]})

    def _names(self) -> dict[str, str]:
        """Every model that can be asked for by name: aliases first, then what providers have."""
        names = dict.fromkeys(self._gen.routing.aliases, "llmrouter")
        for name, state in self._daemon.fleet(0).states.items():
            for model in state.models or ():
                names.setdefault(model, name)
        return names


def _state(state: ProviderState) -> JSON:
    models = None if state.models is None else len(state.models)
    return {
        "healthy": state.healthy,
        "reached": state.reached,
        "models": models,
        "why": state.why or None,
    }


async def _json(client: Client, value: JSON, status: int = 200) -> None:
    await client.respond(status, [("content-type", "application/json")], dump(value))


def _anthropic_model(name: str) -> JSON:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def _tag(name: str, fleet: Fleet, owner: str) -> JSON:
    state = fleet.states.get(owner)
    info: ModelInfo | None = state.models.get(name) if state and state.models else None
    return {
        "name": name,
        "model": name,
        "modified_at": "1970-01-01T00:00:00Z",
        "size": info.size_bytes if info else 0,
        # Clients take two names with one digest for one model, so each name has its own.
        "digest": sha256(name.encode("utf-8", "surrogatepass")).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "",
            "family": info.family if info else "",
            "families": [info.family] if info and info.family else [],
            "parameter_size": "",
            "quantization_level": "",
        },
        "capabilities": sorted(info.capabilities) if info and info.capabilities else ["completion"],
    }
