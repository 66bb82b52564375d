"""A decision as the log holds it: written so that it can be made again, and read back.

Owns: the JSON shape of facts and fleet (`decision` in a line of the log).
Refuses to know: files, lines, whose log it is; what is done with a decision that was read.

Laws:
1. As far as `decide` can tell, what is read is what was written:
   decide(facts, fleet) == decide(read(write(facts, fleet))), with the same providers.
2. A line is small. Providers stand in the configuration, so a line has only what is of the moment
   (health, rests, figures, models in memory), and of that only what is not the usual.
3. Model lists are long (hundreds of names), seldom change and all matter: a rule of tomorrow's
   file may ask for any of them. So a list stands once in a file, in the first line that needs it,
   under a digest that the other lines name. A digest tells nothing of its place: lines of several
   files may be read in any order, if only the list was seen before it is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmrouterd.model import (
    EMPTY,
    Candidate,
    Decision,
    Facts,
    Fleet,
    ModelInfo,
    Outcome,
    Provider,
    ProviderState,
)
from llmrouterd.route.facts import listed_by_owner
from llmrouterd.route.policies import REMOTE, passed_on

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

JSON = Any
Models = Mapping[str, ModelInfo]
_FIGURES = ("in_flight", "first_token_ms", "tokens_per_s", "failing")
_USUAL = ProviderState(Provider("", "echo"))
_MODELS_OUT = 16  # models that are left alone at one provider, beside those that mattered


class Unreadable(ValueError):
    """This is no decision; the text says why."""


class ListMissing(Unreadable):
    """A model list stands in an earlier line, which was not read."""


# --- writing --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Known:
    """A list as it was written last, with what of it is of the moment."""

    models: Models
    digest: str
    entries: list[JSON]
    loaded: dict[str, int]
    contexts: dict[str, int]


class Lists:
    """The model lists that a log has already. Mutable, one per log file; `forget` when a new one is
    begun, or when nobody knows whether the last lines got there."""

    def __init__(self) -> None:
        self._written: set[str] = set()
        self._known: dict[str, _Known] = {}

    def forget(self) -> None:
        self._written.clear()

    def of(self, provider: str, models: Models) -> _Known:
        """What is to be said of a list. The same mapping is not gone through twice."""
        known = self._known.get(provider)
        if known is None or known.models is not models:
            known = self._known[provider] = _known(models)
        return known

    def new(self, digest: str) -> bool:
        """Whether this list has to be written out."""
        if digest in self._written:
            return False
        self._written.add(digest)
        return True


def _known(models: Models) -> _Known:
    entries = [_entry(name, info) for name, info in models.items()]
    text = json.dumps(entries, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _Known(
        models,
        digest,
        entries,
        {name: info.loaded_context for name, info in models.items() if info.loaded},
        {n: i.loaded_context for n, i in models.items() if i.loaded_context and not i.loaded},
    )


def _entry(name: str, info: ModelInfo) -> JSON:
    """`[name, context, size, family, capabilities, runs elsewhere]` without the unknown ones at its
    end; a name alone is only itself."""
    able = None if info.capabilities is None else sorted(info.capabilities)
    away = passed_on(info)
    entry: list[JSON] = [name, info.context_length, info.size_bytes, info.family, able, away]
    while len(entry) > 1 and not entry[-1] and entry[-1] != []:
        entry.pop()
    return entry if len(entry) > 1 else name


def write(decision: Decision, tried: Sequence[Outcome], lists: Lists) -> dict[str, JSON]:
    """What a line says of a decision. tried: what failed of what had been decided."""
    fleet, new = decision.fleet, {}
    out: dict[str, JSON] = {"facts": _facts(decision.facts), "seed": f"{fleet.seed:x}"}
    matter = {
        (step.provider, step.model) for step in decision.verdict.trace if step.code == "model_out"
    }
    states: dict[str, JSON] = {}
    for name, state in fleet.states.items():
        states[name] = _state(state, decision.figures.get(name, EMPTY), matter)
        if state.models is not None:
            known = lists.of(name, state.models)
            states[name]["models"] = known.digest
            states[name] |= {"loaded": known.loaded} if known.loaded else {}
            states[name] |= {"contexts": known.contexts} if known.contexts else {}
            if lists.new(known.digest):
                new[known.digest] = known.entries
    out["fleet"] = states
    turns = [rule.where for rule in decision.routing.rules if rule.type == "round_robin"]
    if turns:
        out["turns"] = {where: fleet.turns.get(where, 0) for where in turns}
    if fleet.seat is not None:
        out["seat"] = list(fleet.seat)
    out["candidates"] = [[c.provider, c.model, c.rule] for c in decision.verdict.candidates]
    if tried:
        out["failed"] = [_failed(outcome) for outcome in tried]
    return out | ({"lists": new} if new else {})


def _facts(facts: Facts) -> dict[str, JSON]:
    out: dict[str, JSON] = {"model": facts.model, "size_tokens": facts.size_tokens}
    if facts.needs:
        out["needs"] = sorted(facts.needs)
    if facts.tags:
        out["tags"] = list(facts.tags)
    if facts.stream:
        out["stream"] = True
    if facts.unknown_tags:
        out["unknown_tags"] = sorted(facts.unknown_tags)
    for name in ("client", "forced", "wish", "session", "asked"):
        value = getattr(facts, name)
        if value or (name == "forced" and value is not None):  # a plugin's "" is a choice, too
            out[name] = value
    return out


def _state(
    state: ProviderState, figures: Mapping[str, JSON], matter: set[tuple[str, str]]
) -> dict[str, JSON]:
    """Only what is not the usual: most providers are well most of the time."""
    out: dict[str, JSON] = {}
    for name in ("healthy", "why", "reached", "back_s", "resting"):
        value = getattr(state, name)
        if value != getattr(_USUAL, name):
            out[name] = value
    for name in _FIGURES:
        value = figures[name] if name in figures else getattr(state, name)
        if value != getattr(_USUAL, name):
            out[name] = value
    if state.models_out:
        out["models_out"] = _models_out(state, matter)
    return out


def _models_out(state: ProviderState, matter: set[tuple[str, str]]) -> dict[str, str]:
    """Names are the clients' to make up: what the decision met stands here, and some of the rest."""
    name = state.provider.name
    met = {m: why for m, why in state.models_out.items() if (name, m) in matter}
    rest = [pair for pair in state.models_out.items() if pair[0] not in met]
    return met | dict(rest[:_MODELS_OUT])


def _failed(outcome: Outcome) -> dict[str, JSON]:
    place = outcome.candidate
    return {
        "provider": place.provider,
        "model": place.model,
        "kind": outcome.failure.tag,
        "ms": int(outcome.elapsed_s * 1000),
    }


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as it was read. candidates: what came of it. failed: the places among them that
    failed, in order. turns: of the rules that had turns. known: providers that the line tells of."""

    facts: Facts
    fleet: Fleet
    candidates: tuple[Candidate, ...] = ()
    failed: tuple[tuple[str, str, str], ...] = ()
    known: frozenset[str] = field(default_factory=frozenset)


def read_lists(value: JSON, lists: MutableMapping[str, Models]) -> None:
    """Keep the lists that a line brings along. Raises Unreadable."""
    try:
        for digest, entries in (value.get("lists") or {}).items():
            if digest not in lists:
                infos = [_info(entry) for entry in entries]
                lists[digest] = {info.name: info for info in infos}
    except _WRONG as error:
        raise Unreadable(f"a model list is not one: {error}") from None


def read(
    value: JSON, providers: Iterable[Provider], lists: MutableMapping[str, Models]
) -> Recorded:
    """A decision as `write` wrote it, over these providers. One that the line does not know is well,
    and nothing is known of it. What the owner lists of a provider's models is taken from him.

    Raises: Unreadable, ListMissing.
    """
    if not isinstance(value, dict):
        raise Unreadable("the decision is no object")
    read_lists(value, lists)
    try:
        told = value["fleet"]
        states = {p.name: _read_state(p, told.get(p.name), lists) for p in providers}
        seat = value.get("seat")
        fleet = Fleet(
            states,
            seed=int(value["seed"], 16),
            turns={str(where): int(n) for where, n in value.get("turns", {}).items()},
            seat=None if seat is None else (str(seat[0]), str(seat[1])),
        )
        return Recorded(
            _read_facts(value["facts"]),
            fleet,
            tuple(Candidate(str(p), str(m), str(r)) for p, m, r in value.get("candidates", ())),
            tuple(
                (str(f["provider"]), str(f["model"]), str(f["kind"]))
                for f in value.get("failed", ())
            ),
            frozenset(told),
        )
    except Unreadable:
        raise
    except KeyError as error:
        raise Unreadable(f"the decision has no {error}") from None
    except _WRONG as error:
        raise Unreadable(f"the decision is damaged: {error}") from None


_WRONG = (TypeError, ValueError, KeyError, IndexError, AttributeError)
_NUMBER = (int, float)
_MEMBERS: Mapping[str, type | tuple[type, ...]] = MappingProxyType(
    {
        "healthy": bool,
        "why": str,
        "reached": bool,
        "back_s": _NUMBER,
        "resting": bool,
        "models_out": dict,
        "in_flight": int,
        "first_token_ms": _NUMBER,
        "tokens_per_s": _NUMBER,
        "failing": _NUMBER,
    }
)


def _a(value: JSON, kind: type | tuple[type, ...]) -> JSON:
    """A value of that kind. Anybody can write into a file."""
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:80]!r} is not what stands there")
    return value


def _info(entry: JSON) -> ModelInfo:
    if isinstance(entry, str):
        return ModelInfo(entry)
    members: list[JSON] = [*_a(entry, list), *[None] * (6 - len(entry))]
    name, context, size, family, able, away = members
    capabilities = None if able is None else frozenset(_a(each, str) for each in _a(able, list))
    return ModelInfo(
        _a(name, str),
        capabilities,
        _a(context or 0, int),
        _a(family or "", str),
        _a(size or 0, int),
        native=REMOTE if away else EMPTY,
    )


def _read_state(provider: Provider, told: JSON, lists: Mapping[str, Models]) -> ProviderState:
    if told is None:
        return ProviderState(provider, listed_by_owner(provider))
    models: Models | None = None
    if "models" in _a(told, dict):
        if told["models"] not in lists:
            raise ListMissing(f"its model list {told['models']} stands in an earlier line")
        owned = listed_by_owner(provider)
        models = owned if owned is not None else _of_now(lists[told["models"]], told)
    members = {name: _a(told[name], kind) for name, kind in _MEMBERS.items() if name in told}
    return ProviderState(provider, models, **members)


def _of_now(models: Models, told: Mapping[str, JSON]) -> Models:
    """A list with what lay in memory then."""
    loaded, contexts = told.get("loaded", EMPTY), told.get("contexts", EMPTY)
    if not loaded and not contexts:
        return models
    out = dict(models)
    for name, size in loaded.items():
        out[name] = replace(models[name], loaded=True, loaded_context=_a(size, int))
    for name, size in contexts.items():
        out[name] = replace(models[name], loaded_context=_a(size, int))
    return out


def _read_facts(told: Mapping[str, JSON]) -> Facts:
    forced, wish = told.get("forced"), told.get("wish")
    return Facts(
        model=_a(told["model"], str),
        needs=frozenset(_a(each, str) for each in told.get("needs", ())),
        tags=tuple(_a(each, str) for each in told.get("tags", ())),
        size_tokens=_a(told["size_tokens"], int),
        stream=_a(told.get("stream", False), bool),
        client=_a(told.get("client", ""), str),
        forced=None if forced is None else _a(forced, str),
        wish=None if wish is None else _a(wish, str),
        session=_a(told.get("session", ""), str),
        unknown_tags=frozenset(_a(each, str) for each in told.get("unknown_tags", ())),
        asked=_a(told.get("asked", ""), str),
    )
