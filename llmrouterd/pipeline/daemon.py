"""What a request sees of the daemon round it.

Owns: `Generation` (one immutable configuration with its plugins, as the pipeline needs it) and
`Daemon` (what outlives requests: connections, counters, observers, the fleet's state).
Refuses to know: where they come from. ops/ builds both and hands them in as arguments.

Laws:
1. A request keeps the Generation it began with.
2. Nothing here awaits, except a generation's `learn`, which asks providers for their models.
"""

from __future__ import annotations

import itertools
import secrets
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llmrouterd.guard.breaker import Breaker
from llmrouterd.guard.contexts import Contexts
from llmrouterd.guard.health import Health
from llmrouterd.guard.keyring import Keyring
from llmrouterd.model import EMPTY, Decision, Fleet, Images, Provider, Routing, Secret, Telling
from llmrouterd.pipeline.admit import Admission
from llmrouterd.pipeline.answers import Shelves
from llmrouterd.pipeline.apart import Apart
from llmrouterd.pipeline.calibrate import Calibration
from llmrouterd.pipeline.lessons import Lessons
from llmrouterd.pipeline.recall import Recall
from llmrouterd.route.prefixes import Prefixes
from llmrouterd.route.seats import Seats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from llmrouterd.edge.pool import Origin, Pool
    from llmrouterd.hooks import Classifier, Plugin, ResponseClassifier, Sink
    from llmrouterd.model import Facts, Verdict
    from llmrouterd.pipeline.tracing import Tracer

T = TypeVar("T")
_DRAWN = 64
PAUSED = "paused by the operator"


@dataclass(frozen=True, slots=True)
class Installed(Generic[T]):
    """An extension with its configured settings. enabled: for every request, unasked. timeout_s: what
    one of its hooks may take; 0: for ever."""

    id: str
    hook: T
    settings: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    enabled: bool = True
    timeout_s: float = 0.0


def _nobody(seed: int) -> Fleet:
    return Fleet({}, seed=seed)


async def _learn_nothing(providers: Collection[str]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Generation:
    """One configuration in force. Sizes in bytes, times in seconds.

    upstreams: provider name -> where its connections go, and the path that stands before all of
    its paths. plugins: in the order of the configuration. own_keys: what clients show to
    come in, and no upstream ever sees. strict: as if every client had sent X-Router-Strict. fleet:
    its providers and what they have, as of now, with a seed for chance. learn: asks providers for
    their models, because a request needs to know.
    """

    number: int
    routing: Routing
    providers: Mapping[str, Provider]
    upstreams: Mapping[str, tuple[Origin, str]]
    plugins: Mapping[str, Installed[Plugin]] = field(default_factory=lambda: EMPTY)
    classifiers: tuple[Installed[Classifier], ...] = ()
    response_classifiers: tuple[Installed[ResponseClassifier], ...] = ()
    life_sign_s: float = 15.0
    event_limit_bytes: int = 16 * 1024 * 1024
    response_limit_bytes: int = 64 * 1024 * 1024
    user_agent: str = "llmrouter"
    own_keys: tuple[Secret, ...] = ()
    strict: bool = False
    images: Images = field(default_factory=Images)
    fleet: Callable[[int], Fleet] = _nobody
    learn: Callable[[Collection[str]], Awaitable[None]] = _learn_nothing


def _told_nobody(provider: str, paused: bool) -> None:
    pass


def _told_no_seat(session: str, place: tuple[str, str]) -> None:
    pass


def _told_no_calls(client: str, calls: object, thought: str) -> None:
    pass


class Daemon:
    """Mutable, one per process, owned by ops/app.py."""

    def __init__(
        self,
        pool: Pool,
        *,
        sinks: tuple[Sink, ...] = (),
        keep_bodies: bool = True,
        keep_decisions: bool = False,
        health: Health | None = None,
        tracer: Tracer | None = None,
        admission: Admission | None = None,
        shelves: Shelves | None = None,
        first_id: int = 1,
    ) -> None:
        self.pool = pool
        self.health = health or Health()
        self.sinks = sinks
        self.followers = tuple(sink for sink in sinks if sink.follows)
        self.tracer = tracer  # where spans are wanted
        self.keep_bodies = keep_bodies
        self.keep_decisions = keep_decisions
        self.calibration = Calibration()
        self.contexts = Contexts()
        self.lessons = Lessons()
        self.shelves = shelves or Shelves()
        self._recalls: dict[str, Recall] = {}
        self.told_calls: Callable[..., None] = _told_no_calls  # of a client: those remembered
        self.told_seat: Callable[[str, tuple[str, str]], None] = _told_no_seat
        self._keyrings: dict[str, Keyring] = {}
        self.turns: Mapping[str, int] = {}
        self.seats = Seats()
        self.prefixes = Prefixes()
        self.inquiries = Breaker()  # of the router's own questions to models
        self.admission = admission or Admission()
        self.apart = Apart()
        self.in_flight = 0
        self.draining = False  # no new work, please: /ready says so
        self.in_flight_at: dict[str, int] = {}
        self.elsewhere: Mapping[str, int] = {}  # the same of other workers, a second ago
        self.in_flight_elsewhere = 0
        self.stale_s = 0.0  # how old what is known of other workers may be
        self.told_pause: Callable[[str, bool], None] = _told_nobody
        self.paused: frozenset[str] = frozenset()  # providers that the operator left out for now
        self._ids = itertools.count(first_id)
        self._chances: list[str] = []

    def fleet(self, gen: Generation, seed: int) -> Fleet:
        """All providers of a generation as of now: what they have, and how well they do."""
        fleet = gen.fleet(seed)
        if self.turns:
            fleet = replace(fleet, turns=self.turns)
        if not self.health.spotless:
            fleet = replace(fleet, states=self.health.shown(fleet.states, fleet.now))
        return self._without_paused(fleet) if self.paused else fleet

    def _without_paused(self, fleet: Fleet) -> Fleet:
        states = {
            name: replace(state, healthy=False, why=PAUSED) if name in self.paused else state
            for name, state in fleet.states.items()
        }
        return replace(fleet, states=states)

    def pause(self, provider: str, paused: bool) -> None:
        """Leave a provider out, or ask it again. What runs there goes on. A reload keeps it so, a
        restart does not."""
        self.paused = self.paused | {provider} if paused else self.paused - {provider}
        self.told_pause(provider, paused)

    @property
    def flying_in_all(self) -> int:
        """Requests being served now, those of all workers."""
        return self.in_flight + self.in_flight_elsewhere

    def flying(self, provider: str) -> int:
        """Requests at a provider now, those of all workers."""
        return self.in_flight_at.get(provider, 0) + self.elsewhere.get(provider, 0)

    def busy(self, fleet: Fleet) -> Fleet:
        """The same with the figures that some rules go by."""
        now = fleet.now
        queued = self.admission.waiting
        states = {
            name: replace(
                state,
                in_flight=self.flying(name) + queued(name),
                **self.health.figures(state, now),
            )
            for name, state in fleet.states.items()
        }
        return replace(fleet, states=states)

    def decided(self, facts: Facts, fleet: Fleet, routing: Routing, verdict: Verdict) -> Decision:
        """A decision for the record: references, and the figures that no rule has read."""
        if routing.wants_figures:
            return Decision(facts, fleet, routing, verdict)
        now = fleet.now
        figures = {
            name: {"in_flight": self.flying(name), **self.health.figures(state, now)}
            for name, state in fleet.states.items()
        }
        return Decision(facts, fleet, routing, verdict, figures)

    def took_turn(self, rule: str) -> None:
        """A new dict each time: a Fleet that was handed out does not change."""
        self.turns = {**self.turns, rule: self.turns.get(rule, 0) + 1}

    def sat(self, session: str, place: tuple[str, str], now: float) -> None:
        """A conversation was served there."""
        if self.seats.of(session, now) != place:
            self.told_seat(session, place)
        self.seats.sit(session, place, now)

    def keyring(self, provider: Provider) -> Keyring | None:
        """The keys of a provider that has several."""
        if not provider.keys:
            return None
        ring = self._keyrings.get(provider.name)
        if ring is None or not ring.holds(provider.keys):
            ring = self._keyrings[provider.name] = Keyring(provider.keys)
        return ring

    def recall(self, client: str) -> Recall:
        """What is remembered for a client, by the name of its key: nobody gets at another's."""
        found = self._recalls.get(client)
        if found is None:
            tell = partial(self.told_calls, client)
            found = self._recalls[client] = Recall(tell=tell)
        return found

    def renewed(self, gen: Generation, now: float) -> None:
        """Another configuration is in force: what was refused for a key may be right by now, and
        what belongs to providers that are gone goes."""
        for name in list(self._keyrings):
            if name in gen.providers:
                self._keyrings[name].forgive()
            else:
                del self._keyrings[name]
        self.paused &= gen.providers.keys()
        self.health.renewed(gen.providers, now)
        self.inquiries = Breaker()
        self.admission.renewed(gen.providers)

    def next_id(self) -> int:
        """A whole number, rising: the id that events and the log use."""
        return next(self._ids)

    def chance(self) -> str:
        """24 hex digits nobody can guess: the stem of request and answer ids."""
        if not self._chances:  # the system is asked for many at a time
            drawn = secrets.token_hex(12 * _DRAWN)
            self._chances = [drawn[at : at + 24] for at in range(0, len(drawn), 24)]
        return self._chances.pop()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def tell(self, telling: Telling) -> None:
        """A record, or an attempt that failed."""
        for sink in self.sinks:
            sink.tell(telling)

    def tell_step(self, telling: Telling) -> None:
        """What happened to a request on its way."""
        for sink in self.followers:
            sink.tell(telling)
