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

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from formats import FORMATS, check, embeddings
from formats.errors import Failure, Invalid
from formats.jsontext import dump, parse_body
from llmrouterd.edge.client import Client
from llmrouterd.edge.incoming import Incoming
from llmrouterd.observe.dashboard import cookie_fields
from llmrouterd.ops import access
from llmrouterd.ops.admin import PATHS, Admin
from llmrouterd.ops.models import MODEL, Models, answer
from llmrouterd.pipeline import count
from llmrouterd.pipeline.explain import Question, explain
from llmrouterd.pipeline.handle import Call, handle

if TYPE_CHECKING:
    from llmrouterd.config import Config
    from llmrouterd.model import Headers, ProviderState
    from llmrouterd.observe.dashboard import Dashboard
    from llmrouterd.ops.scrape import Scrape
    from llmrouterd.pipeline.daemon import Daemon, Generation

Fields = list[tuple[str, str]]
Page = Callable[[Incoming, Client], Awaitable[None]]
JSON = Any
LOG = logging.getLogger("llmrouter")

RESPONSE = "/v1/responses/"  # what stands before an answer's id in the path
PLAYGROUND = "/dashboard/api/chat"  # stands before a chat's path when the page itself sends it
_TAGS, _TAG_CHARS = 32, 64  # the most that a client may give its own request
_KEY_BYTES = 4096  # the longest body in which a browser may send its key
# What the Ollama surface says it is: clients (Codex) refuse versions below 0.13.4.
OLLAMA_VERSION = "0.14.0"
_CHATS = {
    "/v1/chat/completions": "openai",
    "/v1/messages": "anthropic",
    "/api/chat": "ollama",
    "/v1/completions": "completions",
    "/api/generate": "generate",
    "/v1/responses": "responses",
}
_EMBEDS: Mapping[str, embeddings.Call] = {
    "/v1/embeddings": "openai",
    "/api/embed": "ollama",
    "/api/embeddings": "ollama_old",
}
_LATER_BELOW = ("/api/blobs/",)
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
    if path.startswith("/v1/responses"):
        return "responses"
    if path.startswith("/v1/messages") or headers_name_anthropic:
        return "anthropic"
    return "openai"


def tags_of(fields: Headers) -> tuple[str, ...]:
    """The tags that a client gives its own request, as X-Router-Tags names them."""
    if "x-router-tags" not in fields:
        return ()
    given = (tag.strip() for line in fields.all("x-router-tags") for tag in _words(line).split(","))
    return tuple(tag for tag in given if tag)


def _words(line: str) -> str:
    """A field's value as its sender meant it: most write UTF-8, whatever the standard says."""
    try:
        return line if line.isascii() else line.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return line


def check_tags(incoming: Incoming) -> Failure | None:
    """Refuse tags that cannot be taken: one that is left out in silence may be the very one for which
    a policy keeps the request here."""
    tags = tags_of(incoming.headers)
    if len(tags) <= _TAGS and all(len(t) <= _TAG_CHARS and t.isprintable() for t in tags):
        return None
    words = f"X-Router-Tags: at most {_TAGS} tags of at most {_TAG_CHARS} printable characters"
    return Failure("bad_request", words)


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
        self,
        config: Config,
        gen: Generation,
        daemon: Daemon,
        dashboard: Dashboard | None,
        scrape: Scrape | None = None,
    ) -> None:
        self._config = config
        self._gen = gen
        self._daemon = daemon
        self._dashboard = dashboard
        self._scrape = scrape
        self._models = Models(gen, daemon)
        self._table = self._routes()
        self._below = {
            MODEL: Route(("GET", "HEAD"), self._models.one),
            RESPONSE: Route(("GET", "HEAD", "DELETE"), self._kept),
        }
        self._guards = (access.check_host, access.check_origin)

    def _routes(self) -> Mapping[str, Route]:
        get = ("GET", "HEAD")
        models = self._models
        table = {
            "/": Route(get, self._root),
            "/health": Route(get, self._health),
            "/ready": Route(get, self._ready),
            "/v1/models": Route(get, models.all),
            "/v1/messages/count_tokens": Route(("POST",), self._count),
            "/api/tags": Route(get, models.tags),
            "/api/ps": Route(get, models.loaded),
            "/api/show": Route(("POST",), models.show),
            "/api/version": Route(get, self._version),
        }
        admin = Admin(self._gen, self._daemon, allowed=self._config.server.allow_model_admin)
        for path, methods in PATHS.items():
            table[path] = Route(methods, admin.page)
        if self._dashboard is not None:
            table["/dashboard"] = Route((*get, "POST"), self._dashboard.page)
            table["/dashboard/events"] = Route(("GET",), self._dashboard.events)
            table["/dashboard/api/event"] = Route(get, self._dashboard.event)
            table["/dashboard/api/history"] = Route(get, self._dashboard.history)
            table["/dashboard/api/models"] = Route(get, models.of_providers)
            table["/dashboard/api/state"] = Route(get, self._state)
        if self._scrape is not None:
            table["/metrics"] = Route(get, self._scrape.page)
        table["/dashboard/api/explain"] = Route(("POST",), self._explain)
        table["/dashboard/api/provider"] = Route(("POST",), self._pause)
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
            cookie = access.takes_cookie(incoming, path)
            failure = access.check_key(self._config, incoming, cookie=cookie)
            if failure is not None and self._is_browser(path, incoming):
                assert self._dashboard is not None
                return await self._dashboard.door(client)
            failure = failure or access.check_rights(incoming, path) or check_tags(incoming)
            if failure is not None:
                return await self._refuse(incoming, client, failure)
        if path.startswith(PLAYGROUND) and self._dashboard is not None:
            path = canonical_path(path.removeprefix(PLAYGROUND))
            if path not in _CHATS:
                failure = Failure("not_found", "the playground sends chats only")
                return await self._refuse(incoming, client, failure)
        chat = _CHATS.get(path)
        embeds = _EMBEDS.get(path)
        if (chat or embeds) and incoming.method == "POST":
            return await self._chat(chat or format_of(path), path, incoming, client, embeds)
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
        caller = access.caller_of(self._config, [key])
        if caller is None or not caller.admin:
            failure = Failure("unauthorized", "that is not a key for this page")
            return await self._refuse(incoming, client, failure)
        return await client.respond(204, cookie_fields(key, incoming.scheme), b"")

    async def _chat(
        self,
        chat: str,
        path: str,
        incoming: Incoming,
        client: Client,
        embeds: embeddings.Call | None,
    ) -> None:
        wish = incoming.headers.get("x-router-provider")
        client.extra_headers = access.cors(self._config.server, incoming)
        call = Call(incoming, chat, path, wish, embeds, tags_of(incoming.headers))
        await handle(call, client, self._gen, self._daemon)

    async def _other(self, path: str, incoming: Incoming, client: Client) -> None:
        """What is not a chat: pages, and the ways of not being one."""
        if incoming.headers.get("upgrade") and path in _CHATS:
            text = "this server speaks HTTP only; send a POST"
            more = [("upgrade", "HTTP/1.1"), ("connection", "upgrade")]
            return await self._refuse(incoming, client, Failure("upgrade_refused", text), more)
        route = self._route(path)
        allowed = route.methods if route else ("POST",) if path in _CHATS or path in _EMBEDS else ()
        if allowed and incoming.method not in allowed:
            text = f"{path} takes {', '.join(allowed)}"
            failure = Failure("method_not_allowed", text)
            return await self._refuse(incoming, client, failure, [("allow", ", ".join(allowed))])
        if route is not None:
            client.extra_headers = access.cors(self._config.server, incoming)
            try:
                return await route.page(incoming, client)
            except Invalid as error:
                failure = Failure(error.kind, str(error), param=error.path or None)
                return await self._refuse(incoming, client, failure)
        if path.startswith(_LATER_BELOW):
            text = f"{path} is not available in this version"
            return await self._refuse(incoming, client, Failure("not_available", text))
        text = f"there is nothing at {path[:200]}"
        return await self._refuse(incoming, client, Failure("not_found", text))

    def _route(self, path: str) -> Route | None:
        for prefix, route in self._below.items():
            if path.startswith(prefix):
                return route
        return self._table.get(path)

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
            "in_flight": self._daemon.flying_in_all,
            "providers": {n: _state(s) for n, s in self._daemon.fleet(self._gen, 0).states.items()},
        }
        await answer(client, body, 200 if body["ready"] else 503)

    def _is_ready(self) -> bool:
        """One that was never asked may well answer; one that did not answer will not."""
        states = self._daemon.fleet(self._gen, 0).states.values()
        usable = any(state.healthy and state.reached is not False for state in states)
        return usable and not self._daemon.draining and not self._daemon.admission.away

    async def _kept(self, incoming: Incoming, client: Client) -> None:
        """GET and DELETE of an answer that a client may go on from."""
        name = canonical_path(incoming.path).removeprefix(RESPONSE)
        shelves, caller = self._daemon.shelves, incoming.caller.name
        known = await shelves.known(caller, [name])
        if isinstance(known, Failure):
            return await self._refuse(incoming, client, known)
        kept = known.get(name)
        if kept is None:
            failure = Failure("not_found", f"Response with id '{name[:100]}' not found.")
            return await self._refuse(incoming, client, failure)
        if incoming.method != "DELETE":
            return await answer(client, kept.answer)
        await shelves.drop(caller, name)
        return await answer(client, {"id": name, "object": "response.deleted", "deleted": True})

    async def _count(self, incoming: Incoming, client: Client) -> None:
        request = count.parse(await incoming.body())
        tags = tags_of(incoming.headers)
        number, origin = await count.count_tokens(
            request, incoming, self._gen, self._daemon, tags=tags
        )
        fields = [("content-type", "application/json"), (count.HEADER, origin)]
        await client.respond(200, fields, dump({"input_tokens": number}))

    async def _state(self, incoming: Incoming, client: Client) -> None:
        """What the dashboard shows beside the events."""
        daemon = self._daemon
        providers = [
            {
                "name": name,
                "format": state.provider.format,
                "local": state.provider.local,
                "address": _address(state.provider.base_url),
                "on_demand": state.provider.on_demand,
                "in_flight": daemon.flying(name),
                "queue": _queue(daemon, name),
                "paused": name in daemon.paused,
                **_state(state),
                **_figures(state),
            }
            for name, state in daemon.busy(daemon.fleet(self._gen, 0)).states.items()
        ]
        body = {
            "version": self._gen.user_agent.partition("/")[2],
            "ready": self._is_ready(),
            "draining": daemon.draining,
            "in_flight": daemon.flying_in_all,
            "stale_s": daemon.stale_s,
            "providers": providers,
        }
        await answer(client, body)

    async def _pause(self, incoming: Incoming, client: Client) -> None:
        """Leave a provider out, or ask it again."""
        asked = parse_body(await incoming.body()).value
        name, paused = check.string(asked, "name"), asked.get("paused")
        if not isinstance(paused, bool):
            raise Invalid("paused", "expected true or false")
        if name not in self._gen.providers:
            failure = Failure("not_found", f"there is no provider {name[:100]!r}")
            return await self._refuse(incoming, client, failure)
        self._daemon.pause(name, paused)
        LOG.info("provider %s: %s", name, "paused" if paused else "asked again")
        flying = self._daemon.flying(name)
        told = {"name": name, "paused": paused, "in_flight": flying}
        return await answer(client, {**told, "stale_s": self._daemon.stale_s})

    async def _explain(self, incoming: Incoming, client: Client) -> None:
        """Where a request would go, as of now, without sending it."""
        asked = parse_body(await incoming.body()).value
        client_name = check.opt_string(asked, "client") or ""
        question = Question(
            check.string(asked, "format"),
            dump(asked.get("request")),
            tuple(str(tag) for tag in check.opt_list(asked, "tags") or ()),
            check.opt_string(asked, "provider"),
            client_name,
            caller=self._config.caller(client_name),
        )
        await answer(client, await explain(question, self._gen, self._daemon))

    async def _version(self, incoming: Incoming, client: Client) -> None:
        await answer(client, {"version": OLLAMA_VERSION})


def _queue(daemon: Daemon, provider: str) -> JSON:
    """Who is at work there and who waits; null where nothing is limited, or nobody came yet."""
    seen = daemon.admission.snapshot(provider)
    if seen is None:
        return None
    return {
        "running": seen.running,
        "waiting": seen.waiting,
        "clients": {
            name: {"running": running, "waiting": waiting}
            for name, (running, waiting) in seen.clients.items()
        },
        "models": seen.models,
        "loaded": list(seen.loaded),
    }


def _state(state: ProviderState) -> JSON:
    models = None if state.models is None else len(state.models)
    return {
        "healthy": state.healthy,
        "reached": state.reached,
        "models": models,
        "why": state.why or None,
    }


def _address(base_url: str) -> str:
    """For people: host and port, or the unix socket."""
    return urlsplit(base_url).netloc.rpartition("@")[2] or base_url


def _figures(state: ProviderState) -> JSON:
    """How a provider does, for people who look on."""
    loaded = sorted(model.name for model in (state.models or {}).values() if model.loaded)
    return {
        "circuit": "closed" if state.healthy else "resting" if state.resting else "open",
        "back_s": state.back_s,
        "models_out": dict(state.models_out),
        "loaded": loaded,
        "first_token_ms": state.first_token_ms,
        "tokens_per_s": state.tokens_per_s,
        "failing": state.failing,
    }
