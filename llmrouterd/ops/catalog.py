"""Which models there are, where, and what they can do.

Owns: asking providers for their models, at start and again in the background, and the snapshot of
all providers (Fleet) that routing reads.
Refuses to know: requests, rules.

Laws:
1. A provider that does not answer has an unknown list (None), never an empty one.
2. A provider found by a key in the environment (`on_demand`) is asked only when a request needs it.
3. Asking is bounded in time and bytes, and a bad answer is a line in the log, nothing more.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from formats.errors import FormatError
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Fleet, ModelInfo, Provider, ProviderState
from llmrouterd.ops.question import Silent, question
from llmrouterd.route.facts import listed_by_owner, with_inferred

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from llmrouterd.edge.pool import Origin, Pool

LOG = logging.getLogger("llmrouter.catalog")
JSON = Any
_WHY_LIMIT = 300  # of what is told of a failed question: what a server says may be long
_PAGES = 20  # of a paged model list
AGAIN_S = 60.0  # until a list is asked for again
AGAIN_UNKNOWN_S = 10.0  # the same while a provider has not answered
FIRST_ROUND_S = 1.0  # what the start waits for answers; the rest comes later
ON_DEMAND_S = 5.0


def _nobody(provider: str, now: float) -> None:
    pass


class Catalog:
    """The providers of one configuration and what is known of them."""

    def __init__(
        self,
        pool: Pool,
        providers: Iterable[Provider],
        upstreams: Mapping[str, tuple[Origin, str]],
        reached: Callable[[str, float], None] = _nobody,
    ) -> None:
        """reached: told of each provider that answered, and when."""
        self._pool = pool
        self._reached = reached
        self._upstreams = upstreams
        self._states = {p.name: ProviderState(p, listed_by_owner(p)) for p in providers}
        self._shown: dict[str, dict[str, ModelInfo]] = {}  # provider -> model@digest -> /api/show
        self._told: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._asking = trio.CancelScope()

    def inherit(self, older: Catalog) -> None:
        """What is known of providers that are the same as before stays known."""
        for name, state in self._states.items():
            known = older._states.get(name)
            if known is not None and known.provider == state.provider:
                self._states = {**self._states, name: known}
                self._shown[name] = older._shown.get(name, {})

    def fleet(self, seed: int) -> Fleet:
        return Fleet(self._states, trio.current_time(), seed)

    # --- asking -----------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask everybody, once before `started` (for a short while) and then again and again."""
        with self._asking:
            async with trio.open_nursery() as nursery:
                asked = self._begin_asking(nursery)
                with trio.move_on_after(FIRST_ROUND_S):
                    for event in asked:
                        await event.wait()
                task_status.started()

    def stop(self) -> None:
        """Ask nobody any more: another configuration is in force. What is known stays."""
        self._asking.cancel()

    def _begin_asking(self, nursery: trio.Nursery) -> list[trio.Event]:
        """One event for each provider that is asked, set when it was asked once."""
        asked = []
        for name, state in self._states.items():
            if _askable(state.provider) and not state.provider.on_demand:
                asked.append(trio.Event())
                nursery.start_soon(self._keep_asking, name, asked[-1])
        return asked

    async def _keep_asking(self, name: str, asked: trio.Event) -> None:
        while True:
            await self.ask(name)
            asked.set()
            known = self._states[name].models is not None
            await trio.sleep(AGAIN_S if known else AGAIN_UNKNOWN_S)

    async def learn(self, names: Collection[str]) -> None:
        """Ask these providers now, because a request needs to know."""
        now = trio.current_time()
        due = [name for name in names if now >= self._not_before.get(name, now)]
        with trio.move_on_after(ON_DEMAND_S):
            async with trio.open_nursery() as nursery:
                for name in due:
                    nursery.start_soon(self.ask, name)
        for name in due:  # one that does not answer must not hold up every request
            if self._states[name].models is None:
                self._not_before[name] = trio.current_time() + AGAIN_UNKNOWN_S

    async def ask(self, name: str) -> None:
        """Refresh one provider's models; what went wrong is logged once, until it works again."""
        provider = self._states[name].provider
        try:
            models = await self._models(provider)
        except (DialError, FormatError, ValueError) as error:
            if name not in self._told:
                LOG.info("the models of %r are not known: %s", name, error)
            self._told.add(name)
            reached = not isinstance(error, DialError | Silent)
            self._know(name, None, reached=reached, why=str(error)[:_WHY_LIMIT])
            return
        self._told.discard(name)
        self._reached(name, trio.current_time())
        listed = {info.name: with_inferred(info) for info in models}
        self._know(name, listed)

    def _know(
        self,
        name: str,
        models: Mapping[str, ModelInfo] | None,
        *,
        reached: bool = True,
        why: str = "",
    ) -> None:
        """A new dict each time: a Fleet that was handed out does not change."""
        state = replace(self._states[name], models=models, reached=reached, why=why)
        self._states = {**self._states, name: state}

    async def _get(self, provider: Provider, path: str, body: JSON = None) -> dict[str, JSON]:
        at = self._upstreams[provider.name]
        return await question(self._pool, provider, at, path, body)

    async def _models(self, provider: Provider) -> list[ModelInfo]:
        if provider.format == "ollama":
            return await self._ollama(provider)
        listed = await self._listed(provider)
        if provider.dialect.name == "llama.cpp" or any(_is_llama(info) for info in listed):
            return await self._with_slots(provider, listed)
        return listed

    async def _with_slots(self, provider: Provider, listed: list[ModelInfo]) -> list[ModelInfo]:
        """llama.cpp's list tells what a model was trained for; a request gets one slot's share."""
        origin, _ = self._upstreams[provider.name]
        try:
            props = await question(self._pool, provider, (origin, ""), "/props")
        except (DialError, FormatError, ValueError):
            return listed
        settings = props.get("default_generation_settings")
        size = _size(settings.get("n_ctx")) if isinstance(settings, dict) else 0
        return [replace(info, context_length=size or info.context_length) for info in listed]

    async def _ollama(self, provider: Provider) -> list[ModelInfo]:
        tags = await self._get(provider, "/api/tags")
        loaded = await self._loaded(provider)
        listed = tags.get("models", "")
        if listed is not None and not isinstance(listed, list):  # None is Go's empty list
            raise ValueError("the answer of /api/tags has no `models`")
        out = []
        known = self._shown.pop(provider.name, {})  # what is not listed any more is forgotten
        shown = self._shown[provider.name] = {}
        for entry in _objects(listed):
            name = entry.get("name") or entry.get("model")
            if isinstance(name, str):
                key = f"{name}@{entry.get('digest')}"
                info = known.get(key) or await self._show(provider, name)
                if info is not None:
                    shown[key] = info
                info = info or ModelInfo(name)
                size = entry.get("size")
                out.append(
                    replace(
                        info,
                        size_bytes=size if isinstance(size, int) else 0,
                        loaded=name in loaded,
                        loaded_context=loaded.get(name, 0),
                        native=entry,
                    )
                )
        return out

    async def _loaded(self, provider: Provider) -> dict[str, int]:
        """The models in memory, with the size of their contexts."""
        try:
            answer = await self._get(provider, "/api/ps")
        except ValueError:
            return {}  # old servers do not have it
        models = _objects(answer.get("models"))
        return {str(m.get("name")): _size(m.get("context_length")) for m in models}

    async def _show(self, provider: Provider, name: str) -> ModelInfo | None:
        """/api/show of one model; None when the server does not tell."""
        try:
            return _shown(name, await self._get(provider, "/api/show", {"model": name}))
        except ValueError:
            return None

    async def _listed(self, provider: Provider) -> list[ModelInfo]:
        out: list[ModelInfo] = []
        after = ""
        query = "?limit=1000" if provider.format == "anthropic" else ""
        for _ in range(_PAGES):
            answer = await self._get(provider, f"/models{query}{after}")
            entries = answer.get("data")
            if not isinstance(entries, list):
                raise ValueError("the model list has no `data`")
            out += [_from_list(e) for e in _objects(entries) if isinstance(e.get("id"), str)]
            last = answer.get("last_id")
            more = provider.format == "anthropic" and answer.get("has_more") is True
            if not more or not isinstance(last, str):
                break
            after = f"&after_id={quote(last)}"
        return out


def _askable(provider: Provider) -> bool:
    return provider.format != "echo" and not provider.models


def _shown(name: str, answer: Mapping[str, JSON]) -> ModelInfo:
    """/api/show -> what routing wants to know. No `capabilities` member: an old server, unknown."""
    capabilities = answer.get("capabilities")
    facts = answer.get("model_info")
    facts = facts if isinstance(facts, dict) else {}
    lengths = [v for k, v in facts.items() if k.endswith(".context_length") and isinstance(v, int)]
    details = answer.get("details")
    family = details.get("family") if isinstance(details, dict) else None
    return ModelInfo(
        name,
        frozenset(str(c) for c in capabilities) if isinstance(capabilities, list) else None,
        lengths[0] if lengths else 0,
        str(family or ""),
    )


def _from_list(entry: Mapping[str, JSON]) -> ModelInfo:
    """An entry of a /models list. Context lengths stand under several names (vLLM, Anthropic)."""
    meta = entry.get("meta")
    for length in (
        entry.get("max_model_len"),
        entry.get("max_input_tokens"),
        entry.get("context_length"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
    ):
        if isinstance(length, int) and length > 0:
            break
    else:
        length = 0
    most = entry.get("max_tokens")  # Anthropic's word for what its model writes at most
    return ModelInfo(
        str(entry["id"]),
        context_length=length,
        max_output=most if type(most) is int and most > 0 else 0,
        native=entry,
    )


def _is_llama(info: ModelInfo) -> bool:
    return info.native.get("owned_by") == "llamacpp"


def _size(value: JSON) -> int:
    return value if type(value) is int and value > 0 else 0


def _objects(value: JSON) -> list[dict[str, JSON]]:
    return [e for e in value if isinstance(e, dict)] if isinstance(value, list) else []
