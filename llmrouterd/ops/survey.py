"""Every provider of a configuration asked once, now: is it there, does it take the key, what has it?

Owns: the questions, the clock over all of them, and the word for each way of not working.
Refuses to know: how it is shown (commands/online.py), what routing makes of it.

Laws:
1. Asking is parallel and bounded as a whole: who has not answered by then is "silent".
2. Only what a server of its kind documents, costs nothing and works no model is asked; that it has no
   such page is not ill health.
3. Every key of a provider is tried. No key is in what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import trio

from formats.errors import FormatError
from llmrouterd.edge.dial import DialError
from llmrouterd.ops.generation import upstream
from llmrouterd.ops.question import Refused, Silent, question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.edge.pool import Pool
    from llmrouterd.model import Provider

JSON = Any
State = Literal[
    "ok",
    "no_list",  # it answers, and has no list of models
    "client_key",  # it takes only what clients bring, so that it cannot be tried from here
    "refused",  # it does not take the key
    "no_key",  # it wants one, and has none
    "dns",
    "tls",
    "proxy",
    "unreachable",
    "silent",
    "odd",  # an answer that such a server does not give
]
AT_ONCE = 16
_WRONG_KEY = frozenset({401, 403})
_NO_SUCH_PAGE = frozenset({404, 405, 501})
_DIALLED: Mapping[str, State] = {"dns": "dns", "tls": "tls", "proxy": "proxy"}
_LISTS = {"ollama": "/api/tags", "anthropic": "/models?limit=1000"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one provider answered. ms: until the answer was whole, connecting included. models: the
    names that it lists; None: it told none, or not all of them. keys: how many it has here;
    wrong_keys: the places of those that it refused, counted from 1."""

    provider: Provider
    state: State
    why: str = ""
    ms: float | None = None
    models: tuple[str, ...] | None = None
    keys: int = 0
    wrong_keys: tuple[int, ...] = ()

    @property
    def works(self) -> bool:
        return self.state in ("ok", "no_list", "client_key") and not self.wrong_keys


async def survey(pool: Pool, providers: Sequence[Provider], within_s: float) -> tuple[Finding, ...]:
    """One Finding for each provider, in their order."""
    found: dict[str, Finding] = {}
    places = trio.CapacityLimiter(AT_ONCE)

    async def ask(provider: Provider) -> None:
        async with places:
            found[provider.name] = await _asked(pool, provider)

    with trio.move_on_after(within_s):
        async with trio.open_nursery() as nursery:
            for provider in providers:
                nursery.start_soon(ask, provider)
    why = f"no answer within {within_s:g} s"
    return tuple(found.get(p.name) or Finding(p, "silent", why, keys=_count(p)) for p in providers)


async def _asked(pool: Pool, provider: Provider) -> Finding:
    if provider.format == "echo":
        return Finding(provider, "ok", "embedded", models=provider.models or ("echo",))
    began, keys = trio.current_time(), _count(provider)
    try:
        answer = await _get(pool, provider, _LISTS.get(provider.format, "/models"))
        models = _names(provider, answer)
    except (DialError, FormatError, ValueError) as error:
        state, why = _judged(provider, error)
        ms = None if isinstance(error, DialError | Silent) else _ms(began)
        refused = (1,) if state == "refused" else ()
        return Finding(provider, state, why, ms, None, keys, refused)
    ms = _ms(began)
    wrong = await _wrong_keys(pool, provider)
    state = "refused" if wrong and len(wrong) == keys else "ok"
    return Finding(provider, state, _of_keys(wrong, keys), ms, models, keys, wrong)


async def _get(pool: Pool, provider: Provider, path: str) -> dict[str, JSON]:
    return await question(pool, provider, upstream(provider), path)


def _ms(began: float) -> float:
    return round((trio.current_time() - began) * 1000, 1)


def _names(provider: Provider, answer: Mapping[str, JSON]) -> tuple[str, ...] | None:
    """Of both kinds of list, Ollama's and OpenAI's. Raises ValueError where it is neither."""
    ollama = provider.format == "ollama"
    listed = answer.get("models" if ollama else "data", "")
    if listed is None:  # Go's empty list
        listed = []
    if not isinstance(listed, list):
        raise ValueError(f"its list has no `{'models' if ollama else 'data'}`")
    entries = [each for each in listed if isinstance(each, dict)]
    names = [each.get("name") or each.get("model") or each.get("id") for each in entries]
    if answer.get("has_more") is True:
        return None
    return tuple(name for name in names if isinstance(name, str))


# --- keys -----------------------------------------------------------------------------------------


def _count(provider: Provider) -> int:
    return len(provider.keys) or int(provider.key is not None)


async def _wrong_keys(pool: Pool, provider: Provider) -> tuple[int, ...]:
    """The first has just been taken, unless this server's list is open to everybody."""
    keys = provider.keys or ((provider.key,) if provider.key is not None else ())
    public = provider.dialect.name == "openrouter"
    path = "/key" if public else _LISTS.get(provider.format, "/models")
    wrong = []
    for place, key in enumerate(keys, 1):
        if place == 1 and not public:
            continue
        try:
            await _get(pool, replace(provider, key=key, keys=()), path)
        except Refused as error:
            if error.status in _WRONG_KEY:
                wrong.append(place)
        except (DialError, FormatError, ValueError):
            continue  # what cannot be told is not held against the key
    return tuple(wrong)


def _of_keys(wrong: tuple[int, ...], keys: int) -> str:
    if not wrong:
        return ""
    if keys == 1:
        return "it refuses the key"
    return f"of its {keys} keys it refuses number {', '.join(map(str, wrong))}"


# --- words for what does not work -----------------------------------------------------------------


def _judged(provider: Provider, error: Exception) -> tuple[State, str]:
    if isinstance(error, DialError):
        return _DIALLED.get(error.kind, "unreachable"), str(error)
    if isinstance(error, Silent):
        return "silent", str(error)
    if isinstance(error, Refused):
        return _refusal(provider, error)
    return "odd", f"it answers, but not as a server of the format {provider.format!r}: {error}"


def _refusal(provider: Provider, error: Refused) -> tuple[State, str]:
    if error.status in _WRONG_KEY:
        if provider.credentials == "client":
            return "client_key", "it answers, and takes the keys that clients bring"
        if provider.key is None:
            return "no_key", f"{error}: it wants a key, name one with api_key_env or api_key_file"
        return "refused", f"{error}: it refuses the key"
    if error.status in _NO_SUCH_PAGE and provider.models:
        return "no_list", "it answers, and lists no models; the file does"
    if error.status in _NO_SUCH_PAGE:
        return "odd", f"{error}: is base_url right? If it has no list, write models = [...]"
    return "odd", str(error)
