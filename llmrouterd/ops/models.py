"""The pages that say which models there are: /v1/models, /api/tags, /api/show, /api/ps.

Owns: answering them, and asking the Ollama servers behind the router what only they know.
Refuses to know: what a list looks like (lists.py), how models are discovered (catalog.py).

Law: a provider that does not answer is left out, and costs the client a moment, never the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from formats import FORMATS
from formats.errors import Failure, FormatError
from formats.jsontext import dump, parse_body
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Clocks
from llmrouterd.ops import lists
from llmrouterd.ops.question import question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.edge.client import Client
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.model import Caller, ProviderState
    from llmrouterd.ops.lists import Listed
    from llmrouterd.pipeline.daemon import Daemon, Generation

JSON = Any
MODEL = "/v1/models/"  # what stands before a model's name in the path
_CLOCKS = Clocks(connect_s=1, first_token_s=3, idle_s=3, total_s=5)


class Models:
    """created: UTC seconds, shown as the date of models whose own date nobody tells."""

    def __init__(self, gen: Generation, daemon: Daemon) -> None:
        self._gen = gen
        self._daemon = daemon
        self._created = daemon.wall_ms() // 1000

    def _listed(self, caller: Caller) -> dict[str, Listed]:
        """The models that this client may ask for."""
        found = lists.listed(self._daemon.fleet(self._gen, 0), self._gen.routing.aliases)
        if not caller.models:
            return found
        return {name: each for name, each in found.items() if caller.may_ask(name)}

    # --- OpenAI and Anthropic ---------------------------------------------------------------------

    async def all(self, incoming: Incoming, client: Client) -> None:
        """GET /v1/models, in Anthropic's shape for its clients."""
        models = self._listed(incoming.caller)
        if "anthropic-version" not in incoming.headers:
            return await answer(client, lists.openai_list(models, self._created))
        page = lists.anthropic_page(models, incoming.query)
        if isinstance(page, Failure):
            return await refuse(client, "anthropic", page)
        return await answer(client, page)

    async def one(self, incoming: Incoming, client: Client) -> None:
        """GET /v1/models/NAME; a name may hold slashes and colons, written as they are or not."""
        name = incoming.path[incoming.path.index("/models/") + len("/models/") :]
        anthropic = "anthropic-version" in incoming.headers
        model = lists.find(self._listed(incoming.caller), name)
        if model is None:
            fmt = "anthropic" if anthropic else "openai"
            return await refuse(client, fmt, lists.unknown_model(name))
        shown = lists.anthropic_model(model) if anthropic else None
        return await answer(client, shown or lists.openai_model(model, self._created))

    # --- the dashboard ----------------------------------------------------------------------------

    async def of_providers(self, incoming: Incoming, client: Client) -> None:
        """GET /dashboard/api/models: every provider's models, and the owner's names for some."""
        fleet = self._daemon.fleet(self._gen, 0)
        models = [
            {
                "name": model.name,
                "provider": name,
                "loaded": model.loaded,
                "context": model.context_length or None,
                "capabilities": sorted(model.capabilities or ()),
                "size_bytes": model.size_bytes or None,
            }
            for name, state in fleet.states.items()
            for model in (state.models or {}).values()
        ]
        aliases = {name: list(places) for name, places in self._gen.routing.aliases.items()}
        await answer(client, {"models": models, "aliases": aliases})

    # --- Ollama -----------------------------------------------------------------------------------

    async def tags(self, incoming: Incoming, client: Client) -> None:
        models = [
            lists.ollama_tag(model, self._created)
            for model in self._listed(incoming.caller).values()
        ]
        await answer(client, {"models": models})

    async def show(self, incoming: Incoming, client: Client) -> None:
        """POST /api/show: an Ollama server's own answer where the model is one of its."""
        value = parse_body(await incoming.body()).value
        name = value.get("model") or value.get("name")
        if not isinstance(name, str):
            return await refuse(client, "ollama", Failure("bad_request", "model is required"))
        model = lists.find(self._listed(incoming.caller), name)
        if model is None:
            return await refuse(client, "ollama", lists.unknown_model(name))
        state = lists.state_of(self._daemon.fleet(self._gen, 0), model)
        told = None
        if state is not None and state.provider.format == "ollama":
            asked = {"model": model.name, "verbose": value.get("verbose") is True}
            told = await self._ask(state, "/api/show", asked)
        return await answer(client, told or lists.ollama_show(model, self._created))

    async def loaded(self, incoming: Incoming, client: Client) -> None:
        """GET /api/ps: what lies in the memory of all Ollama servers."""
        found: dict[str, list[JSON]] = {}
        states = [
            state
            for state in self._daemon.fleet(self._gen, 0).states.values()
            if state.provider.format == "ollama" and not state.provider.on_demand
        ]

        async def one(state: ProviderState) -> None:
            told = await self._ask(state, "/api/ps", None)
            models = told.get("models") if told else None
            found[state.provider.name] = models if isinstance(models, list) else []

        async with trio.open_nursery() as nursery:
            for state in states:
                nursery.start_soon(one, state)
        models = [model for state in states for model in found[state.provider.name]]
        await answer(client, {"models": models})

    async def _ask(self, state: ProviderState, path: str, body: JSON) -> Mapping[str, JSON] | None:
        at = self._gen.upstreams[state.provider.name]
        try:
            return await question(self._daemon.pool, state.provider, at, path, body, _CLOCKS)
        except (DialError, FormatError, ValueError):
            return None


async def answer(client: Client, value: JSON, status: int = 200) -> None:
    await client.respond(status, [("content-type", "application/json")], dump(value))


async def refuse(client: Client, fmt: str, failure: Failure) -> None:
    status, body = FORMATS[fmt].write_failure(failure)
    fields = [("content-type", "application/json"), ("x-router-error", failure.tag)]
    await client.respond(status, fields, body)
