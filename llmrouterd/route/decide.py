"""From the facts of a request to all the places where it may go, in order, with every reason.

Owns: who is asked first (a plugin's choice, aliases, the client's wish, the client's
`provider/model`, the rules, the built-in chain), which candidate is admitted, and what the client
is told when there is none.
Refuses to know: how a kind of rule chooses (rules.py), how failures are walked past (plan.py).

Laws:
1. Pure: the same facts, fleet and routing give the same verdict, for ever.
2. Every candidate that a rule named stands in the trace once for each naming, admitted or skipped
   with its reason; the admitted ones never repeat a provider with the same model.
3. What began local stays local: after a local candidate (admitted, or skipped for ill health) a
   remote one is admitted only from the same list, written out by the owner, or when the owner set
   `failover_to_remote`.
4. An `on_demand` provider serves only models that were asked for by name.
5. The owner's policies bind every candidate, whoever named it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats.errors import Failure, FailureKind
from llmrouterd.model import (
    Candidate,
    Facts,
    Fleet,
    ModelInfo,
    ProviderState,
    Routing,
    RuleSpec,
    Step,
    Verdict,
)
from llmrouterd.route.estimate import fits, with_margin
from llmrouterd.route.facts import context_of, embedding_only, lacks, looks_embedding_only
from llmrouterd.route.policies import bounds, forbids, runs_elsewhere
from llmrouterd.route.rules import RULES, claims, find, known_models, seated, unmet, why_passed

if TYPE_CHECKING:
    from collections.abc import Sequence

PLUGIN = "plugin"
WISH = "X-Router-Provider"
NAMED = "provider/model"
DISCOVER = "implicit discover"
PASS_ON = "implicit pass-on"  # noqa: S105
BEST_LOCAL = "implicit best-local"

EMBEDDING = "embedding"
_NO_EMBEDDINGS = frozenset({"anthropic", "echo"})
_SHOWN_SKIPS = 6
_SHOWN_CHARS = 160
# Somebody who may serve it could do so at another time, or a smaller request.
_MAY_PASS = frozenset({"health", "rest", "unreached", "model_out", "context", "capability"})
Refusal = tuple[str, str]  # (code, reason)


def decide(facts: Facts, fleet: Fleet, routing: Routing) -> Verdict:
    """Every admissible candidate for the request, in the order in which to try them."""
    walk = _Walk(facts, fleet, routing)
    if walk.blocked():
        return Verdict((), tuple(walk.trace))
    if facts.forced is not None:
        walk.offer(_at(facts.forced, facts.model, fleet, PLUGIN))
    elif facts.model in routing.aliases:
        _alias(walk, facts, routing)
    else:
        _wish(walk, facts, fleet)
        rest = _named(walk, facts, fleet, routing)
        if rest is not None:
            facts = replace(facts, model=rest)
        for spec in routing.rules:
            _rule(walk, spec, facts, fleet)
        if routing.implicit:
            _implicit(walk, facts, fleet, named=rest is not None)
    return Verdict(tuple(walk.candidates), tuple(walk.trace))


def lists_wanted(facts: Facts, fleet: Fleet, routing: Routing) -> tuple[str, ...]:
    """The on_demand providers whose model list must be asked for before `decide` can know whether
    they have this model; none when somebody has it or the client named a provider itself."""
    chosen = facts.forced or facts.wish or facts.model.partition("/")[0]
    if not routing.implicit or facts.model in routing.aliases or chosen in fleet.states:
        return ()
    states = fleet.states.values()
    unasked = [s.provider.name for s in states if s.provider.on_demand and known_models(s) is None]
    if unasked and any(find(state, facts.model) for state in states):
        return ()
    return tuple(unasked)


# --- who is asked ---------------------------------------------------------------------------------


def _at(provider: str, model: str, fleet: Fleet, rule: str) -> Candidate:
    """The model at a provider that was chosen by name: `provider/` before the model is only that
    choice again, and the model gets the spelling of the provider's own list."""
    model = model.removeprefix(provider + "/") or model
    state = fleet.states.get(provider)
    info = None if state is None else find(state, model)
    return Candidate(provider, model if info is None else info.name, rule)


def _alias(walk: _Walk, facts: Facts, routing: Routing) -> None:
    rule = f"models.{facts.model}"
    pairs = [text.partition("/") for text in routing.aliases[facts.model]]
    if facts.wish:
        pairs.sort(key=lambda pair: pair[0] != facts.wish)
    for provider, _, model in pairs:
        walk.offer(Candidate(provider, model, rule, written_out=True))


def _wish(walk: _Walk, facts: Facts, fleet: Fleet) -> None:
    if facts.wish:
        walk.offer(_at(facts.wish, facts.model, fleet, WISH))


def _named(walk: _Walk, facts: Facts, fleet: Fleet, routing: Routing) -> str | None:
    """`provider/model` from the client: that provider first, then whoever has a model that is
    called so as a whole. Returns the model's part, or None when the client named no provider, or
    when a rule of the owner's claims such names for itself."""
    provider, slash, model = facts.model.partition("/")
    if not slash or not model or provider not in fleet.states:
        return None
    if any(claims(spec, facts.model) for spec in routing.rules):
        return None
    walk.offer(_at(provider, model, fleet, NAMED))
    for state in _local_first(fleet):
        info = find(state, facts.model)
        if info is not None:
            walk.offer(Candidate(state.provider.name, info.name, NAMED))
    return model


def _rule(walk: _Walk, spec: RuleSpec, facts: Facts, fleet: Fleet) -> None:
    why = unmet(spec.when, facts) if spec.when is not None else ""
    if why:
        return walk.passed(spec.where, why)
    rule = RULES.get(spec.type)
    found = rule(spec, facts, fleet) if rule is not None else ()
    if spec.sticky:
        found = seated(found, fleet.seat)
    for candidate in _carrying(spec, found):
        walk.offer(candidate, by_name=candidate.written_out or spec.type == "discover")
    if not found:
        walk.passed(spec.where, why_passed(spec, facts))
        if spec.type == "discover":
            walk.unreached(spec, facts.model)
    return None


def _carrying(spec: RuleSpec, found: Sequence[Candidate]) -> Sequence[Candidate]:
    """The candidates with what their rule says of the walk from them on."""
    after_ms, tags = spec.hedge_after_ms, spec.retry_on_tags
    if not (after_ms or tags):
        return found
    return [replace(each, hedge_after_ms=after_ms, retry_on_tags=tags) for each in found]


def _implicit(walk: _Walk, facts: Facts, fleet: Fleet, *, named: bool) -> None:
    """The chain that stands in for rules. A client that named a provider gets that model or
    nothing: another one in its place would be a surprise."""
    states = _local_first(fleet)
    holders = [(state, info) for state in states if (info := find(state, facts.model)) is not None]
    for state, info in holders:
        walk.offer(Candidate(state.provider.name, info.name, DISCOVER))
    if not holders:
        walk.passed(DISCOVER, "no provider is known to have the model")
    if named:
        return
    for state in states:
        provider = state.provider
        if known_models(state) is None and provider.format != "echo" and not provider.on_demand:
            walk.offer(Candidate(provider.name, facts.model, PASS_ON))
    if not holders and EMBEDDING not in facts.needs:  # another model's vectors mean other things
        _best_local(walk, facts, states)


def _best_local(walk: _Walk, facts: Facts, states: list[ProviderState]) -> None:
    """For a name that nobody is known to have: the best model of each local provider, best first."""
    best: list[tuple[_Rank, Candidate]] = []
    for state in states:
        provider = state.provider
        if not provider.local or provider.on_demand:
            continue
        models = known_models(state)
        if provider.format == "echo":
            models = models or {facts.model: ModelInfo(facts.model)}
        ranked = [
            (_rank(state, info, unfit=walk.unfit(state, info) is not None), info.name)
            for info in (models or {}).values()
            if not looks_embedding_only(info) and not runs_elsewhere(provider, info.name, info)
        ]
        if ranked:
            rank, model = min(ranked)
            best.append((rank, Candidate(provider.name, model, BEST_LOCAL)))
    for _, candidate in sorted(best, key=lambda pair: pair[0]):
        walk.offer(candidate)
    if not best:
        walk.passed(BEST_LOCAL, "no local provider is known to have a model for chat")


_Rank = tuple[bool, bool, float, bool, int, int, str]


def _rank(state: ProviderState, info: ModelInfo, *, unfit: bool) -> _Rank:
    """Smallest is best."""
    return (
        unfit,
        state.provider.format == "echo",
        -state.provider.quality,
        not info.loaded,
        -info.size_bytes,
        -info.context_length,
        info.name,
    )


def _local_first(fleet: Fleet) -> list[ProviderState]:
    return sorted(fleet.states.values(), key=lambda state: not state.provider.local)


# --- who is admitted ------------------------------------------------------------------------------


class _Walk:
    """One decision in the making."""

    __slots__ = (
        "_began_local",
        "_bounds",
        "_facts",
        "_fleet",
        "_routing",
        "_taken",
        "candidates",
        "trace",
    )

    def __init__(self, facts: Facts, fleet: Fleet, routing: Routing) -> None:
        self.candidates: list[Candidate] = []
        self.trace: list[Step] = []
        self._facts = facts
        self._fleet = fleet
        self._routing = routing
        self._bounds = bounds(facts, routing.policies)
        self._taken: set[tuple[str, str]] = set()
        self._began_local: str | None = None  # the rule of the first local candidate

    def blocked(self) -> bool:
        """Whether a policy leaves nobody at all."""
        bound = self._bounds
        if bound.blocked:
            self.trace.append(Step(bound.blocker, "skipped", bound.blocked, code="policy"))
        return bool(bound.blocked)

    def passed(self, rule: str, reason: str) -> None:
        self.trace.append(Step(rule, "passed", reason))

    def unreached(self, spec: RuleSpec, model: str) -> None:
        """Who was asked for its models and cannot be reached may have this one all the same."""
        for state in (
            self._fleet.states.get(name) for name in spec.providers or self._fleet.states
        ):
            if state is not None and state.reached is False and known_models(state) is None:
                reason = f"its models are not known: {state.why}"
                name = state.provider.name
                self.trace.append(Step(spec.where, "skipped", reason, name, model, "unreached"))

    def offer(self, candidate: Candidate, *, by_name: bool = True) -> None:
        """Admit the candidate or skip it; the trace says which and why."""
        rule, provider, model = candidate.rule, candidate.provider, candidate.model
        refusal = self._refusal(candidate, by_name=by_name)
        if refusal is None:
            self._taken.add((provider, model))
            self.candidates.append(candidate)
            self.trace.append(Step(rule, "candidate", "", provider, model))
        else:
            code, reason = refusal
            self.trace.append(Step(rule, "skipped", reason, provider, model, code))

    def _refusal(self, candidate: Candidate, *, by_name: bool) -> Refusal | None:
        """Ill health comes last: what would not serve in good health did not begin the walk."""
        state = self._fleet.states.get(candidate.provider)
        if state is None:
            return "unknown", "not configured or without its key"
        if not candidate.model:
            return "unknown", "no model is named"
        provider = state.provider
        if provider.on_demand and not by_name:
            return "on_demand", "serves only models asked for by name"
        if (candidate.provider, candidate.model) in self._taken:
            return "repeated", "already listed before"
        info = find(state, candidate.model)
        forbidden = forbids(self._bounds, provider, candidate.model, info)
        if forbidden:
            return "policy", forbidden
        refusal = self.unfit(state, info, candidate.model)
        if refusal is not None:
            return refusal
        if provider.local and not runs_elsewhere(provider, candidate.model, info):
            self._began_local = self._began_local or candidate.rule
        elif not self._may_leave(candidate):
            return "remote", f"remote, and the walk began local in {self._began_local}"
        if not state.healthy:
            code = "rest" if state.resting else "health"
            return code, f"unhealthy: {state.why}" if state.why else "unhealthy"
        if candidate.model in state.models_out:
            return "model_out", state.models_out[candidate.model]
        return None

    def _may_leave(self, candidate: Candidate) -> bool:
        if self._began_local is None or self._routing.failover_to_remote:
            return True
        return candidate.written_out and candidate.rule == self._began_local

    def unfit(self, state: ProviderState, info: ModelInfo | None, name: str = "") -> Refusal | None:
        """Why this model cannot serve this request, or None."""
        facts = self._facts
        embeds = EMBEDDING in facts.needs
        if embeds and state.provider.format in _NO_EMBEDDINGS:
            return f"capability:{EMBEDDING}", f"'{state.provider.format}' makes no embeddings"
        if facts.needs:
            lacking = lacks(info or self._namesake(name), facts.needs)
            if lacking is not None:
                return f"capability:{lacking}", f"the model lacks '{lacking}'"
        if info is not None and embedding_only(info) and not embeds:
            return "embedding", "the model only makes embeddings"
        context = context_of(state.provider, info)
        if not fits(facts.size_tokens, context):
            size = with_margin(facts.size_tokens)
            return (
                f"context:{context}",
                f"the prompt (about {size} tokens) does not fit the context of {context}",
            )
        return None

    def _namesake(self, name: str) -> ModelInfo | None:
        """What another provider tells of a model of exactly this name."""
        for state in self._fleet.states.values():
            info = (state.models or {}).get(name)
            if info is not None and info.capabilities is not None:
                return info
        return None


# --- when nobody is left --------------------------------------------------------------------------


def no_candidate(facts: Facts, verdict: Verdict, fleet: Fleet) -> Failure:
    """What the client is told when the verdict holds no candidate."""
    skips = {
        (step.provider, step.model): step
        for step in verdict.trace
        if step.outcome == "skipped" and step.code not in ("repeated", "on_demand")
    }
    kinds = {step.code.partition(":")[0] for step in skips.values()}
    model = _short(facts.model)
    listed = _listed(list(skips.values()))
    if "policy" in kinds and not kinds & _MAY_PASS:
        return _forbidden(model, list(skips.values()))
    kinds.discard("policy")
    if kinds == {"capability"}:
        missing = sorted({step.code.partition(":")[2] for step in skips.values()})
        named = ", ".join(f"'{name}'" for name in missing)
        return Failure("unsupported", f"no provider for model '{model}' has {named}{listed}")
    if kinds == {"context"}:
        most = max(int(step.code.partition(":")[2]) for step in skips.values())
        size = with_margin(facts.size_tokens)
        words = f"prompt is too long: {size} tokens > {most} maximum"
        return Failure("context_too_long", f"{words} (estimated){listed}")
    if kinds == {"model_out"}:
        return Failure("model_not_found", f"model '{model}' is not found{listed}")
    if kinds & {"health", "rest", "unreached"}:
        words = f"no provider is available for model '{model}'{listed}"
        away = [fleet.states[name] for name, _ in skips if name in fleet.states]
        backs = [state.back_s for state in away if state.back_s is not None]
        kind: FailureKind = "rate_limit" if kinds == {"rest"} else "overloaded"
        return Failure(kind, words, retry_after_s=min(backs, default=None))
    return Failure("no_provider", f"no provider configured for model '{model}'{listed}")


def _forbidden(model: str, skips: list[Step]) -> Failure:
    """Nobody may serve it, and no other time would change that."""
    blocked = next((step.reason for step in skips if not step.provider), "")
    words = blocked or f"the policies of this router let nobody serve this request for '{model}'"
    listed = _listed([step for step in skips if step.provider])
    return Failure("forbidden", f"{words}{listed}")


def _listed(skips: list[Step]) -> str:
    if not skips:
        return ""
    shown = [f"{_short(s.provider)}/{_short(s.model)}: {s.reason}" for s in skips[:_SHOWN_SKIPS]]
    if len(skips) > _SHOWN_SKIPS:
        shown.append(f"and {len(skips) - _SHOWN_SKIPS} more")
    return ": " + "; ".join(shown)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def explain_lines(verdict: Verdict) -> list[str]:
    """The trace, one line a step."""
    lines = []
    for step in verdict.trace:
        place = f" {step.provider}/{step.model}" if step.provider else ""
        reason = f": {step.reason}" if step.reason else ""
        lines.append(f"{step.rule}: {step.outcome}{place}{reason}")
    return lines
