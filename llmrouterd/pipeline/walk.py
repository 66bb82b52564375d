"""The walk: candidates are tried until one has answered, or nobody is left.

Owns: the order of the attempts of a request, and what everybody learns from each of them (health,
seats, calibration, stored answers).
Refuses to know: how a request came in, how a rule decides, how one attempt speaks.

Laws:
1. What an attempt has taken (its place, a circuit's trial) is given back in `finally`.
2. After the first content nobody else is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from llmrouterd.guard.contexts import seems_cut
from llmrouterd.model import GiveUp, Outcome, Step, Wait
from llmrouterd.pipeline import admit
from llmrouterd.pipeline.answers import object_of
from llmrouterd.pipeline.aside import last_word
from llmrouterd.pipeline.attempt import attempt
from llmrouterd.pipeline.hedge import Race
from llmrouterd.route.facts import context_of
from llmrouterd.route.plan import next_beside, next_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from formats.errors import Failure
    from llmrouterd.model import Candidate, EndState, Fleet, Verdict
    from llmrouterd.pipeline.work import Work


async def walk(work: Work, verdict: Verdict, fleet: Fleet) -> EndState:
    """Try candidates until one has answered, or nobody is left."""
    return await _Walk(work, verdict, fleet).run()


class _Walk:
    """One request on its way from candidate to candidate."""

    def __init__(self, work: Work, verdict: Verdict, fleet: Fleet) -> None:
        self._work = work
        self._verdict = verdict
        self._fleet = fleet
        self._retries = {name: p.max_retries for name, p in work.gen.providers.items()}
        self._jitter = (fleet.seed % 1000) / 1000

    async def run(self) -> EndState:
        work = self._work
        while True:
            step = next_step(
                self._verdict,
                work.story.tried,
                now=trio.current_time(),
                deadline=work.patience.until,
                retries=self._retries,
                jitter=self._jitter,
            )
            if isinstance(step, GiveUp):
                failure = await last_word(work) if work.kept else step.failure
                if failure is None:
                    _keep(work)
                    return "complete"
                await work.reply.fail(failure)
                return end_state(failure)
            if isinstance(step, Wait):
                await work.reply.sleep(step.seconds)
            failure = await self._asked(step.candidate)
            if failure is None:
                return "complete"
            if work.reply.content_sent:
                await work.reply.fail(failure)
                return end_state(failure, broken=True)

    def _out(self, candidate: Candidate) -> Failure | None:
        """Why it is left alone since this walk began, noted as skipped: another request found it ill,
        or is the one that tries it."""
        health, now = self._work.daemon.health, trio.current_time()
        if health.spotless or self._has_tried(candidate):
            return None
        found = health.out(candidate, now)
        if found is None:
            return None
        code, failure = found
        place = (candidate.provider, candidate.model)
        step = Step(candidate.rule, "skipped", failure.message, *place, code)
        self._work.story.skipped(
            Outcome(candidate, failure, 0.0, now, connected=False, asked=False), step
        )
        return failure

    def _has_tried(self, candidate: Candidate) -> bool:
        place = (candidate.provider, candidate.model)
        tried = (outcome.candidate for outcome in self._work.story.tried)
        return any((each.provider, each.model) == place for each in tried)

    async def _asked(self, candidate: Candidate) -> Failure | None:
        """One attempt, or two beside each other."""
        if not candidate.hedge_after_ms or self._beside([candidate]) is None:
            return await self._attempt(self._work, candidate)
        return await Race(self._work, self._attempt, self._beside).run(candidate)

    def _beside(self, running: Sequence[Candidate]) -> Candidate | None:
        """Who would be asked next, if it may be asked."""
        while True:
            found = next_beside(self._verdict, self._work.story.tried, running)
            if found is None or self._out(found) is None:
                return found

    async def _attempt(self, work: Work, candidate: Candidate) -> Failure | None:
        """An attempt, and what everybody learns from it. work: the request's, or that of an attempt
        beside another."""
        out = self._out(candidate)
        if out is not None:
            return out
        begun = trio.current_time()
        failure, asked = await self._one(work, candidate)
        if not asked:
            return failure
        if failure is None or failure.kind == "tagged":
            _note_health(work, candidate)
        if failure is None:
            _served(work, candidate, self._fleet)
            return None
        now, health = trio.current_time(), work.daemon.health
        threshold = work.gen.providers[candidate.provider].circuit_failures
        health.failed(candidate, failure, now, jitter=self._jitter, threshold=threshold)
        connected = failure.clock != "connect" and not work.story.unreached
        work.story.failed(Outcome(candidate, failure, now - begun, now, connected))
        return failure

    async def _one(self, work: Work, candidate: Candidate) -> tuple[Failure | None, bool]:
        """Try the candidate, once there is a place for it. False: it was found ill by then, and left
        alone."""
        work.story.routed(candidate)
        if work.gen.providers[candidate.provider].slots is None and work.caller.allowance is None:
            return await _asked(work, candidate, self._fleet), True
        async with admit.slot(work, candidate) as failure:
            if failure is not None:
                return failure, True
            out = self._out(candidate)  # it may have waited long
            if out is not None:
                return out, False
            return await _asked(work, candidate, self._fleet), True


def _served(work: Work, candidate: Candidate, fleet: Fleet) -> None:
    story = work.story
    if story.session:
        place = (candidate.provider, candidate.model)
        work.daemon.sat(story.session, place, trio.current_time())
    _keep(work)
    if not story.usage_estimated and work.embed is None:
        _compare(work, candidate, fleet)
        story.estimate()


def _keep(work: Work) -> None:
    """The client may go on from this answer."""
    story, went_on = work.story, work.resumed
    answer = object_of(work.reply.answer) if went_on is not None and went_on.wants else None
    if answer is not None and went_on is not None:
        home = story.candidate if work.reply.passed else None
        size = story.size_bytes + work.reply.client.bytes_sent
        work.daemon.shelves.keep(story.client, answer, went_on, size, home)


async def _asked(work: Work, candidate: Candidate, fleet: Fleet) -> Failure | None:
    work.story.asks(candidate)
    work.asked_at, work.first_at = trio.current_time(), None
    at, health = work.daemon.in_flight_at, work.daemon.health
    at[candidate.provider] = at.get(candidate.provider, 0) + 1
    tried = () if health.spotless else health.enters(candidate, trio.current_time())
    ended = False
    try:
        state = fleet.states[candidate.provider]
        info = state.models.get(candidate.model) if state.models else None
        failure = await attempt(work, candidate, info)
        ended = True
        return failure
    finally:
        at[candidate.provider] -= 1
        if tried and not ended:
            health.left(tried)


CUT = "truncated-by-upstream: suspected"


def _compare(work: Work, candidate: Candidate, fleet: Fleet) -> None:
    """What a server says it read beside what it was sent: it may have cut the prompt in silence; if
    not, the next estimate will be better."""
    story, calibration = work.story, work.daemon.calibration
    provider = work.gen.providers[candidate.provider]
    counted = story.usage.input if story.usage is not None else None
    if provider.local and counted is not None:
        state = fleet.states[candidate.provider]
        info = state.models.get(candidate.model) if state.models else None
        estimate = int(story.size_tokens * calibration.factor(candidate))
        if seems_cut(estimate, counted, context_of(provider, info)):
            story.notes.append(CUT)
            return
    calibration.learn(candidate, story.size_tokens, story.usage)


def _note_health(work: Work, candidate: Candidate) -> None:
    """A whole answer came."""
    story, now = work.story, trio.current_time()
    begun = work.asked_at
    first = work.reply.begun_at if work.request.stream else work.first_at
    usage = None if story.usage_estimated else story.usage
    work.daemon.health.answered(
        candidate,
        now,
        first_token_ms=None if first is None else max(0.0, first - begun) * 1000,
        tokens=usage.output if usage is not None and first is not None else None,
        writing_s=0.0 if first is None else now - first,
    )


_BROKEN: dict[str, EndState] = {"timeout": "stalled", "truncated": "truncated"}
_REFUSALS = frozenset(
    {
        "bad_request",
        "unsupported",
        "context_too_long",
        "no_provider",
        "forbidden",
        "too_large",
        "refused_by_upstream",
        "queue_full",
        "queue_timeout",
        "no_hub",
    }
)


def end_state(failure: Failure, *, broken: bool = False) -> EndState:
    """The one true state for a request that failed with `failure`."""
    if broken:  # an answer had begun: whatever its error says, it is not the client's fault
        if failure.clock == "total":
            return "truncated"  # it was still speaking, and was cut off
        return _BROKEN.get(failure.kind, "upstream_error")
    if failure.kind == "over_budget":
        return "over_budget"
    return "refused" if failure.kind in _REFUSALS else "upstream_error"
