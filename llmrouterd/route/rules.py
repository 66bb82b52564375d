"""One function per kind of rule: which candidates it names, best first.

Owns: the table RULES, the search for a model in a provider's list, and the words for "not mine".
Refuses to know: whether a candidate is admissible (decide.py), what happens when it fails (plan.py).

Laws:
1. A rule is pure: the same spec, facts and fleet give the same candidates. Chance is `fleet.seed`.
2. No candidates means "not mine, ask the next".
3. An empty list of providers means all of them; then nobody was written out. A provider that the
   owner wrote but that is not there is named all the same, last, so that the trace can say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from random import Random
from types import MappingProxyType

from llmrouterd.model import Candidate, Facts, Fleet, ModelInfo, ProviderState, RuleSpec, When
from llmrouterd.route.rank import by_latency, by_load, by_price, by_quality, by_throughput

Rule = Callable[[RuleSpec, Facts, Fleet], Sequence[Candidate]]


# --- who has a model ------------------------------------------------------------------------------


def known_models(state: ProviderState) -> Mapping[str, ModelInfo] | None:
    """The provider's models: as discovered, else as the owner listed them, else None: not known."""
    if state.models is not None:
        return state.models
    if state.provider.models:
        return {name: ModelInfo(name) for name in state.provider.models}
    return None


def find(state: ProviderState, name: str) -> ModelInfo | None:
    """The model that `name` means at this provider: to the letter, else in any case, else (at an
    Ollama server) with or without `:latest`."""
    models = known_models(state)
    if not models:
        return None
    exact = models.get(name)
    if exact is not None:
        return exact
    wanted = [name.lower()]
    if state.provider.format == "ollama":
        if wanted[0].endswith(":latest"):
            wanted.append(wanted[0].removesuffix(":latest"))
        elif ":" not in wanted[0].rpartition("/")[2]:
            wanted.append(wanted[0] + ":latest")
    lowered: dict[str, ModelInfo] = {}
    for key, info in models.items():
        lowered.setdefault(key.lower(), info)
    return next((lowered[text] for text in wanted if text in lowered), None)


# --- the rules ------------------------------------------------------------------------------------


def _prefix(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    return _written(spec, facts) if facts.model.startswith(spec.model_prefix) else ()


def _model(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    if not any(facts.model == text or fnmatchcase(facts.model, text) for text in spec.match):
        return ()
    if not spec.targets:
        return _written(spec, facts)
    targets = _targets(spec, facts)
    return _drawn(targets, spec.weights, fleet.seed) if spec.weights else targets


def _tag(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    return _written(spec, facts) if spec.tag in facts.tags else ()


def _price(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    most, model = spec.max_cost_per_1m_tokens, _sent(spec, facts)
    return _ranked(spec, facts, fleet, lambda s: by_price(s, most, model=model))


def _latency(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    return _ranked(
        spec, facts, fleet, lambda s: by_latency(s, spec.max_latency_ms, measured=spec.measured)
    )


def _throughput(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    return _ranked(
        spec,
        facts,
        fleet,
        lambda s: by_throughput(s, spec.min_tokens_per_sec, measured=spec.measured),
    )


def _fallback(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    model = _sent(spec, facts)
    return _ranked(spec, facts, fleet, lambda s: by_quality(s, spec.quality_bias, model=model))


def _discover(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    written = bool(spec.providers)
    asked = [(state, find(state, facts.model)) for state in _states(spec, fleet)]
    found = [
        Candidate(state.provider.name, info.name, spec.where, written)
        for state, info in asked
        if info is not None
    ]
    return [*found, *_absent(spec, facts, fleet)]


def _random(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    drawn = _all(spec, facts, fleet)
    if spec.weights:
        return _drawn(drawn, spec.weights, fleet.seed)
    Random(fleet.seed).shuffle(drawn)
    return drawn


def _round_robin(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    everybody = _all(spec, facts, fleet)
    first = fleet.turns.get(spec.where, 0) % len(everybody) if everybody else 0
    return [*everybody[first:], *everybody[:first]]


def _least_busy(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    if not spec.targets:
        return _ranked(spec, facts, fleet, by_load)
    everybody = _all(spec, facts, fleet)
    names = dict.fromkeys(each.provider for each in everybody)
    ranked = by_load(fleet.states[name] for name in names if name in fleet.states)
    order = {state.provider.name: place for place, state in enumerate(ranked)}
    return sorted(everybody, key=lambda each: order.get(each.provider, len(order)))


def _warm(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    written = bool(spec.providers)
    asked = [(state, find(state, _sent(spec, facts))) for state in _states(spec, fleet)]
    return [
        Candidate(state.provider.name, info.name, spec.where, written)
        for state, info in asked
        if info is not None and info.loaded
    ]


def _context(spec: RuleSpec, facts: Facts, fleet: Fleet) -> Sequence[Candidate]:
    size = facts.size_tokens
    if size < (spec.min_tokens or 0) or (spec.max_tokens is not None and size > spec.max_tokens):
        return ()
    return _written(spec, facts)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "prefix": _prefix,
        "model": _model,
        "tag": _tag,
        "price": _price,
        "latency": _latency,
        "throughput": _throughput,
        "discover": _discover,
        "random": _random,
        "round_robin": _round_robin,
        "least_busy": _least_busy,
        "warm": _warm,
        "context": _context,
        "fallback": _fallback,
    }
)


def claims(spec: RuleSpec, model: str) -> bool:
    """True when the owner wrote this rule for names with a slash in them and `model` is one."""
    if "/" in spec.model_prefix and model.startswith(spec.model_prefix):
        return True
    return any("/" in text and fnmatchcase(model, text) for text in spec.match)


def why_passed(spec: RuleSpec, facts: Facts) -> str:
    """Why a rule of this kind had nothing to say."""
    match spec.type:
        case "prefix":
            return f"the model does not start with '{spec.model_prefix}'"
        case "model":
            return "the model matches none of: " + ", ".join(spec.match)
        case "tag":
            return f"no classifier set the tag '{spec.tag}'"
        case "price" if spec.max_cost_per_1m_tokens is not None:
            return f"no provider costs at most {spec.max_cost_per_1m_tokens:g}"
        case "latency":
            limit = spec.max_latency_ms
            most = "" if limit is None else f" of at most {limit:g} ms"
            word = "is known to have" if spec.measured else "declares"
            return f"no provider {word} a latency" + most
        case "throughput":
            limit = spec.min_tokens_per_sec
            least = "" if limit is None else f" of at least {limit:g}"
            word = "is known to have" if spec.measured else "declares"
            return f"no provider {word} a throughput" + least
        case "warm":
            return "nobody asked has the model in memory"
        case "context":
            most = "" if spec.max_tokens is None else f" to {spec.max_tokens}"
            size = facts.size_tokens
            return f"the prompt (about {size} tokens) is not of {spec.min_tokens or 0}{most}"
        case "discover":
            return "no provider asked is known to have the model"
        case _ if spec.type not in RULES:
            return f"rules of type '{spec.type}' are not known here"
        case _:
            return "there is no provider to take"


def unmet(when: When, facts: Facts) -> str:
    """Why a rule with this condition is not asked, or ""."""
    if when.tags and not set(when.tags) & set(facts.tags):
        return f"only for requests with a tag of: {', '.join(when.tags)}"
    if when.clients and facts.client not in when.clients:
        return f"only for requests of: {', '.join(when.clients)}"
    if when.stream is not None and when.stream is not facts.stream:
        return "only for streams" if when.stream else "only for whole answers"
    if when.capabilities and not set(when.capabilities) & facts.needs:
        return f"only for requests that make use of: {', '.join(when.capabilities)}"
    return ""


def seated(candidates: Sequence[Candidate], seat: tuple[str, str] | None) -> Sequence[Candidate]:
    """The candidates with the one first that holds the conversation."""
    return sorted(candidates, key=lambda each: (each.provider, each.model) != seat)


# --- shared steps ---------------------------------------------------------------------------------


def _sent(spec: RuleSpec, facts: Facts) -> str:
    return spec.rewrite_model or facts.model


def _written(spec: RuleSpec, facts: Facts) -> list[Candidate]:
    return [Candidate(name, _sent(spec, facts), spec.where, True) for name in spec.providers]


def _targets(spec: RuleSpec, facts: Facts) -> list[Candidate]:
    return [Candidate(p, m or _sent(spec, facts), spec.where, True) for p, m in spec.targets]


def _states(spec: RuleSpec, fleet: Fleet) -> Iterator[ProviderState]:
    """The providers that the rule is about and that are there, each once."""
    names: Iterable[str] = dict.fromkeys(spec.providers) or fleet.states
    return (fleet.states[name] for name in names if name in fleet.states)


def _absent(spec: RuleSpec, facts: Facts, fleet: Fleet) -> list[Candidate]:
    return [c for c in _written(spec, facts) if c.provider not in fleet.states]


def _all(spec: RuleSpec, facts: Facts, fleet: Fleet) -> list[Candidate]:
    """The rule's candidates, or the model at each of its providers."""
    if spec.targets:
        return [Candidate(p, m or facts.model, spec.where, True) for p, m in spec.targets]
    written = bool(spec.providers)
    names: Iterable[str] = spec.providers or fleet.states
    return [Candidate(name, _sent(spec, facts), spec.where, written) for name in names]


def _drawn(candidates: Sequence[Candidate], weights: Sequence[float], seed: int) -> list[Candidate]:
    """All of them in an order by lot, in which twice the weight is first twice as often. Those of no
    weight come last: they are for when nobody else is left."""
    chance = Random(seed)
    lots = [(chance.random() ** (1.0 / weight) if weight else -1.0) for weight in weights]
    order = sorted(range(len(candidates)), key=lambda at: -lots[at])
    return [candidates[at] for at in order]


def _ranked(
    spec: RuleSpec,
    facts: Facts,
    fleet: Fleet,
    order: Callable[[Iterable[ProviderState]], list[ProviderState]],
) -> list[Candidate]:
    written, model = bool(spec.providers), _sent(spec, facts)
    ranked = order(_states(spec, fleet))
    found = [Candidate(state.provider.name, model, spec.where, written) for state in ranked]
    return [*found, *_absent(spec, facts, fleet)]
