"""How well each provider does, from what real requests met there.

Owns: which failure counts against whom and for how long, and the health that routing is shown.
Refuses to know: requests, sockets, the clock: `now` is an argument, monotonic seconds.

Laws:
1. What is the client's mistake never counts, whatever status a server answers it with.
2. A model that a server does not have is that model's affair, not the provider's.
3. A rate limit is a rest, not ill health; a key that is refused is both, and at once.
4. Whoever is let through to an ill provider ends in `answered`, `failed` or `left`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from formats.errors import Failure
from llmrouterd.guard.breaker import THRESHOLD, Breaker
from llmrouterd.guard.measured import Seen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from formats.errors import FailureKind
    from llmrouterd.model import Candidate, ProviderState

Against = Literal["nobody", "model", "provider", "key", "pace", "router"]
_AGAINST: Final[Mapping[FailureKind, Against]] = {
    "upstream": "provider",
    "timeout": "provider",
    "truncated": "provider",
    "overloaded": "provider",
    "credential": "key",
    "model_not_found": "model",
    "rate_limit": "pace",
    "quota": "pace",
    "queue_full": "router",
    "queue_timeout": "router",
    "no_hub": "router",
    "over_budget": "router",
}
KEY_REST_S = 60.0  # the first rest of a provider that refused its key
MODEL_REST_S = 30.0
PACE_REST_S = 1.0  # after a rate limit that names no time
QUOTA_REST_S = 300.0
LONGEST_REST_S = 3600.0
_WHY = 160


@dataclass(frozen=True, slots=True)
class Rest:
    """A provider that asked to be left alone. until: monotonic seconds."""

    until: float
    why: str


class Health:
    """One per daemon. A reload keeps it: what was learned of a provider stays true."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.rests: dict[str, Rest] = {}
        self.seen: dict[str, Seen] = {}

    # --- what happened ----------------------------------------------------------------------------

    def enters(self, candidate: Candidate, now: float) -> tuple[object, ...]:
        """A request goes to the candidate. Returns what to hand to `left` if it comes to no end."""
        keys = (candidate.provider, _model(candidate))
        return tuple(key for key in keys if self.breaker.entered(key, now))

    def left(self, tried: tuple[object, ...]) -> None:
        """The client went away before anybody knew: the next request may try."""
        for key in tried:
            self.breaker.abandoned(key)

    def answered(
        self,
        candidate: Candidate,
        now: float,
        *,
        first_token_ms: float | None = None,
        tokens: int | None = None,
        writing_s: float = 0.0,
    ) -> None:
        """A whole answer came."""
        self.forgive(candidate)
        self._seen(candidate.provider).answered(
            now, first_token_ms=first_token_ms, tokens=tokens, writing_s=writing_s
        )

    def forgive(self, candidate: Candidate) -> None:
        """Whatever was wrong with it is over."""
        self.breaker.succeeded(candidate.provider)
        self.breaker.succeeded(_model(candidate))
        self.rests.pop(candidate.provider, None)

    def failed(
        self,
        candidate: Candidate,
        failure: Failure,
        now: float,
        *,
        jitter: float,
        threshold: int = THRESHOLD,
    ) -> None:
        """An attempt failed. One that had given part of an answer counts like any other. threshold:
        failures in a row that open the provider's circuit; 0: it is never left alone."""
        name, why = candidate.provider, f"{failure.tag}: {failure.message[:_WHY]}"
        whom = against(failure)
        if whom in ("key", "provider"):
            self._seen(name).failed(now)
        if not threshold:
            return
        match whom:
            case "nobody" if failure.status is not None:
                self.breaker.succeeded(name)  # it answered: only this request was wrong
            case "nobody":
                self.breaker.abandoned(name)
            case "router":
                pass  # it was not asked at all
            case "model":
                self.breaker.succeeded(name)
                self.breaker.failed(
                    _model(candidate), now, why, jitter=jitter, at_once=True, rest_s=MODEL_REST_S
                )
            case "key":
                self.breaker.failed(name, now, why, jitter=jitter, at_once=True, rest_s=KEY_REST_S)
            case "pace":
                default = QUOTA_REST_S if failure.kind == "quota" else PACE_REST_S
                self._rest(name, failure.retry_after_s or default, now, why)
                self.breaker.abandoned(name)
            case "provider":
                self.breaker.failed(name, now, why, jitter=jitter, threshold=threshold)
                if failure.retry_after_s:
                    self._rest(name, failure.retry_after_s, now, why)

    def reached(self, provider: str, now: float) -> None:
        """It answered a question that was no request: what was wrong may be over."""
        self.breaker.look_again(provider, now)

    def probe_answered(self, provider: str, now: float) -> None:
        """It is there. That opens the way for a request that tries it; a second time, for all. What
        it does with requests only they can tell, so the next failure closes it at once."""
        if self.breaker.circuit(provider).state(now) == "half_open":
            self.breaker.mended(provider)
        else:
            self.breaker.look_again(provider, now)

    def probe_failed(
        self, provider: str, why: str, now: float, *, jitter: float, threshold: int = THRESHOLD
    ) -> None:
        """It is not there, or not well. It counts like a request that failed, but for the figures."""
        if threshold:
            words = f"probe: {why[:_WHY]}"
            self.breaker.failed(provider, now, words, jitter=jitter, threshold=threshold)

    def renewed(self, providers: Collection[str], now: float) -> None:
        """The owner has changed the configuration: whoever was ill may be tried, whoever is gone is
        forgotten."""
        for key in list(self.breaker.circuits()):
            name = key[0] if isinstance(key, tuple) else key
            if name in providers:
                self.breaker.look_again(key, now)
            else:
                self.breaker.succeeded(key)
        for name in [*self.rests, *self.seen]:
            if name not in providers:
                self.rests.pop(name, None)
                self.seen.pop(name, None)

    def _rest(self, provider: str, rest_s: float, now: float, why: str) -> None:
        until = now + min(rest_s, LONGEST_REST_S)
        known = self.rests.get(provider)
        if known is None or known.until < until:
            self.rests[provider] = Rest(until, why)

    def _seen(self, provider: str) -> Seen:
        return self.seen.setdefault(provider, Seen())

    # --- what routing is shown --------------------------------------------------------------------

    @property
    def spotless(self) -> bool:
        """Nobody is ill and nobody rests: there is nothing to show."""
        return not self.rests and not self.breaker.circuits()

    def shown(self, states: Mapping[str, ProviderState], now: float) -> Mapping[str, ProviderState]:
        """The states with who must be left alone, and why."""
        if self.spotless:
            return states
        out: dict[str, ProviderState] = {}
        models = self._models_out(now)
        for name, state in states.items():
            rest = self._resting(name, now)
            trouble = self._trouble(name, now)
            if trouble is not None:
                state = replace(state, healthy=False, why=trouble[0], back_s=trouble[1])
            elif rest is not None:
                why = f"it asked to be left alone for {rest.until - now:.0f} s more ({rest.why})"
                back = rest.until - now
                state = replace(state, healthy=False, why=why, back_s=back, resting=True)
            if name in models:
                state = replace(state, models_out=models[name])
            out[name] = state
        return out

    def out(self, candidate: Candidate, now: float) -> tuple[str, Failure] | None:
        """Why this place is left alone at the moment, and the code of that in a trace; None: it is not."""
        trouble = self._trouble(candidate.provider, now)
        if trouble is not None:
            words, back_s = f"unhealthy: {trouble[0]}", trouble[1]
            return "health", Failure("overloaded", words, retry_after_s=back_s)
        rest = self._resting(candidate.provider, now)
        if rest is not None:
            words = f"it asked to be left alone ({rest.why})"
            return "rest", Failure("rate_limit", words, retry_after_s=rest.until - now)
        key = _model(candidate)
        if self.breaker.admits(key, now):
            return None
        return "model_out", Failure("model_not_found", self.breaker.circuit(key).why)

    def figures(self, state: ProviderState, now: float) -> dict[str, Any]:
        """The members of a state that say what was seen of it, beside what its owner declared."""
        seen, provider = self.seen.get(state.provider.name), state.provider
        if seen is None:
            return {}
        return {
            "first_token_ms": seen.first_token_ms.beside(provider.latency_ms, now),
            "tokens_per_s": seen.tokens_per_s.beside(provider.throughput_tokens_per_sec, now),
            "failing": seen.failing.value or 0.0,
        }

    def _resting(self, name: str, now: float) -> Rest | None:
        rest = self.rests.get(name)
        if rest is not None and now >= rest.until:
            del self.rests[name]
            return None
        return rest

    def _trouble(self, name: str, now: float) -> tuple[str, float] | None:
        """Why the provider is left alone, and the seconds until it is asked again."""
        if self.breaker.admits(name, now):
            return None
        circuit = self.breaker.circuit(name)
        back = max(0.0, (circuit.until or now) - now)
        times = f"{circuit.failures} failures in a row, the last " if circuit.failures > 1 else ""
        again = "being tried again" if circuit.trying else f"tried again in {back:.0f} s"
        return f"{times}{circuit.why} ({again})", back

    def _models_out(self, now: float) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        for key, circuit in self.breaker.circuits().items():
            if isinstance(key, tuple) and not self.breaker.admits(key, now):
                provider, model = key
                out.setdefault(provider, {})[model] = circuit.why
        return out


def against(failure: Failure) -> Against:
    """Whom a failure speaks against. One without a word of the upstream's own, such as our refusal
    to translate, speaks against nobody."""
    if failure.clock == "request":
        return "nobody"  # the client's time was over, not the provider's
    if failure.kind == "credential" and failure.status is None and failure.retry_after_s is None:
        return "nobody"  # a client's own credential was kept back: nobody was asked
    return _AGAINST.get(failure.kind, "nobody")


def _model(candidate: Candidate) -> tuple[str, str]:
    return candidate.provider, candidate.model
