"""What another configuration would have done with requests of a log.

Owns: the comparison of one logged decision with the one that is made now, and their sum.
Refuses to know: files, how it is shown, sockets: nobody is asked anything.

Laws:
1. It is the same `decide` as for real requests, over the fleet as it was read then.
2. Where a request would go is its first candidate. Who would have answered is the first that did not
   fail then, so that costs are those of whole walks.
3. What nobody can know is said and never guessed: providers that the log does not know, model lists
   that nobody had, costs without prices or without tokens.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from formats.canonical import Usage
from llmrouterd.model import Verdict
from llmrouterd.pipeline.cost import cost_usd
from llmrouterd.route.decide import decide, lists_wanted, no_candidate
from llmrouterd.route.recorded import Recorded, read, read_lists

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.model import Caller, Candidate, Facts, Fleet, ModelInfo, Provider, Routing

JSON = Any
Place = tuple[str, str]  # (provider, model)
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Side:
    """One decision. first: where the request goes; None: it is refused. order: all places.
    answers: who gives the answer, as far as one can tell. cost_usd None: not known."""

    first: Place | None
    rule: str = ""
    order: tuple[Place, ...] = ()
    answers: Place | None = None
    cost_usd: float | None = None

    @property
    def name(self) -> str:
        return REFUSED if self.first is None else "/".join(self.first)


@dataclass(frozen=True, slots=True)
class Compared:
    """One request under both configurations. reason: why it goes elsewhere now, "" if it does not."""

    ts_ms: int
    request_id: str
    model: str
    then: Side
    now: Side
    reason: str = ""

    @property
    def changed(self) -> bool:
        return self.then.first != self.now.first

    @property
    def reordered(self) -> bool:
        """The same place first, and others behind it."""
        return not self.changed and self.then.order != self.now.order


class NotRouted(Exception):
    """A request that never came to a decision: it was wrong, or a plugin answered it."""


class NoFacts(Exception):
    """A line of a version that did not write down what it decided on."""


class Replay:
    """One configuration, and the requests that were tried under it.

    routing, providers: the configuration's. callers: its clients by name. unsure: providers that
    count only where the log has them (their key is not here to say that they are meant).
    """

    def __init__(
        self,
        routing: Routing,
        providers: Iterable[Provider],
        callers: Mapping[str, Caller],
        unsure: frozenset[str] = frozenset(),
    ) -> None:
        self._routing = routing
        self._providers = tuple(providers)
        self._callers = callers
        self._unsure = unsure
        self._lists: dict[str, Mapping[str, ModelInfo]] = {}
        self._turns: dict[str, int] = {}  # of rules that the log knows nothing of
        self.sum = Sum()

    def learn(self, line: Mapping[str, JSON]) -> None:
        """Keep what later lines refer to. Raises Unreadable."""
        decision = line.get("decision")
        if isinstance(decision, dict) and "lists" in decision:
            read_lists(decision, self._lists)

    def compare(self, line: Mapping[str, JSON]) -> Compared:
        """Decide a logged request again. Raises Unreadable, NotRouted, NoFacts."""
        if "decision" not in line:
            raise NoFacts
        if line["decision"] is None:
            raise NotRouted
        found = read(line["decision"], self._present(line["decision"]), self._lists)
        self._note(found)
        fleet = replace(found.fleet, turns={**self._turns, **found.fleet.turns})
        verdict = self._decided(found.facts, fleet, line)
        self._take_turn(verdict, found)
        usage = _usage(line)
        then = _then(line, found)
        now = self._now(verdict, found, then, usage)
        compared = Compared(
            _whole(line.get("ts_ms")),
            str(line.get("request_id", "")),
            str(line.get("requested_model", found.facts.model)),
            then,
            now,
        )
        if compared.changed:
            reason = self._why(compared, verdict, found.facts, fleet)
            compared = replace(compared, reason=reason)
        self.sum.add(compared, usage)
        return compared

    def _present(self, decision: JSON) -> list[Provider]:
        told = decision.get("fleet") if isinstance(decision, dict) else None
        known = told if isinstance(told, dict) else {}
        return [p for p in self._providers if p.name not in self._unsure or p.name in known]

    def _note(self, found: Recorded) -> None:
        present = set(found.fleet.states)
        self.sum.new |= present - found.known
        self.sum.gone |= found.known - {p.name for p in self._providers}
        self.sum.left_out |= self._unsure - present
        if lists_wanted(found.facts, found.fleet, self._routing):
            self.sum.would_ask += 1

    def _decided(self, facts: Facts, fleet: Fleet, line: Mapping[str, JSON]) -> Verdict:
        caller = self._callers.get(facts.client)
        asked = str(line.get("requested_model", facts.model))
        if caller is not None and not caller.may_ask(asked):
            return Verdict(())
        if facts.client and caller is None:
            self.sum.strangers.add(facts.client)
        return decide(facts, fleet, self._routing)

    def _take_turn(self, verdict: Verdict, found: Recorded) -> None:
        rule = verdict.candidates[0].rule if verdict.candidates else ""
        if rule.endswith(" round_robin") and rule not in found.fleet.turns:
            self._turns[rule] = self._turns.get(rule, 0) + 1

    def _now(self, verdict: Verdict, found: Recorded, then: Side, usage: Usage | None) -> Side:
        order = _places(verdict.candidates)
        failed = {(provider, model) for provider, model, _ in found.failed}
        answers = next((place for place in order if place not in failed), None)
        if answers is None and then.answers in order:
            answers = then.answers  # it was asked a second time
        cost = None
        if answers is not None:
            cost = cost_usd(found.fleet.states[answers[0]].provider, usage)
        elif then.answers is not None:
            cost = 0.0  # nobody answers, nobody is paid
        first = order[0] if order else None
        return Side(first, _rule(verdict.candidates), order, answers, cost)

    def _why(self, compared: Compared, verdict: Verdict, facts: Facts, fleet: Fleet) -> str:
        """Why the request does not go where it went."""
        then, now = compared.then, compared.now
        if now.first is None:
            caller = self._callers.get(facts.client)
            if caller is not None and not caller.may_ask(compared.model):
                return f"client {facts.client!r} may not ask for this model"
            return no_candidate(facts, verdict, fleet).message
        if then.first is None:
            return f"{now.rule} takes it"
        provider, model = then.first
        if provider not in fleet.states:
            return f"{now.rule} takes it: {provider} is not configured"
        for step in verdict.trace:
            if (step.provider, step.model, step.outcome) == (provider, model, "skipped"):
                return f"{step.rule} skips {provider}/{model}: {step.reason}"
        if then.first in now.order:
            return f"{now.rule} comes first"
        return f"{now.rule} takes it, and nothing names {provider}/{model}"


def _then(line: Mapping[str, JSON], found: Recorded) -> Side:
    order = _places(found.candidates)
    provider, model = line.get("provider"), line.get("sent_model")
    answers = None
    if line.get("status") == 200 and isinstance(provider, str) and isinstance(model, str):
        answers = (provider, model)
    cost = line.get("cost_usd")
    known = isinstance(cost, int | float) and not isinstance(cost, bool)
    first = order[0] if order else None
    return Side(first, _rule(found.candidates), order, answers, cost if known else None)


def _places(candidates: Iterable[Candidate]) -> tuple[Place, ...]:
    return tuple((each.provider, each.model) for each in candidates)


def _rule(candidates: tuple[Candidate, ...]) -> str:
    return candidates[0].rule if candidates else ""


def _usage(line: Mapping[str, JSON]) -> Usage | None:
    """The tokens as they were counted then: another model would count somewhat differently."""
    read_, written, cached = (
        line.get(name) for name in ("input_tokens", "output_tokens", "cached_tokens")
    )
    if type(read_) is not int or type(written) is not int:
        return None
    return Usage(read_, written, cache_read=cached if type(cached) is int else None)


def _whole(value: JSON) -> int:
    return value if type(value) is int else 0


# --- the sum --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sum:
    """All comparisons together. pairs: (from, to) -> how often, of those that changed. costs are of the
    `priced` requests, of which both are known. new, gone, left_out: names of providers. would_ask:
    requests for which providers would have been asked for their models first. strangers: clients
    that this configuration does not have."""

    requests: int = 0
    same: int = 0
    reordered: int = 0
    refused_then: int = 0
    refused_now: int = 0
    first_ms: int = 0
    last_ms: int = 0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    priced: int = 0
    unpriced: int = 0
    cost_then: float = 0.0
    cost_now: float = 0.0
    new: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    would_ask: int = 0

    @property
    def changed(self) -> int:
        return self.requests - self.same

    def add(self, each: Compared, usage: Usage | None) -> None:
        self.requests += 1
        self.same += not each.changed
        self.reordered += each.reordered
        self.refused_then += each.then.first is None
        self.refused_now += each.now.first is None
        if each.ts_ms:
            self.first_ms = min(self.first_ms or each.ts_ms, each.ts_ms)
            self.last_ms = max(self.last_ms, each.ts_ms)
        if each.changed:
            self.pairs[each.then.name, each.now.name] += 1
        self._price(each, usage)

    def _price(self, each: Compared, usage: Usage | None) -> None:
        then, now = each.then, each.now
        if then.answers is None and now.answers is None:
            return
        known = then.answers is not None and usage is not None
        if not known or then.cost_usd is None or now.cost_usd is None:
            self.unpriced += 1
            return
        self.priced += 1
        self.cost_then += then.cost_usd
        self.cost_now += now.cost_usd
