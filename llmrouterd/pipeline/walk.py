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
from llmrouterd.model import GiveUp, Outcome, Try, Wait
from llmrouterd.pipeline import admit
from llmrouterd.pipeline.answers import object_of
from llmrouterd.pipeline.attempt import attempt
from llmrouterd.route.facts import context_of
from llmrouterd.route.plan import next_step

if TYPE_CHECKING:
    from formats.errors import Failure
    from llmrouterd.model import Candidate, EndState, Fleet, Verdict
    from llmrouterd.pipeline.work import Work


async def walk(work: Work, verdict: Verdict, fleet: Fleet) -> EndState:
    """Try candidates until one has answered, or nobody is left."""
    story, reply, daemon = work.story, work.reply, work.daemon
    retries = {name: p.max_retries for name, p in work.gen.providers.items()}
    jitter = (fleet.seed % 1000) / 1000
    while True:
        step = next_step(
            verdict,
            story.tried,
            now=trio.current_time(),
            deadline=None,
            retries=retries,
            jitter=jitter,
        )
        if isinstance(step, GiveUp):
            await reply.fail(step.failure)
            return _end_state(step.failure)
        if isinstance(step, Wait):
            await reply.sleep(step.seconds)
            step = Try(step.candidate)
        begun, begun_ns = trio.current_time(), story.elapsed_ns()
        failure = await _one(work, step.candidate, fleet)
        if failure is None:
            _note_health(work, step.candidate, begun_ns)
            if story.session:
                place = (step.candidate.provider, step.candidate.model)
                daemon.seats.sit(story.session, place, trio.current_time())
            _keep(work)
            if not story.usage_estimated and work.embed is None:
                _compare(work, step.candidate, fleet)
            return "complete"
        now = trio.current_time()
        threshold = work.gen.providers[step.candidate.provider].circuit_failures
        daemon.health.failed(step.candidate, failure, now, jitter=jitter, threshold=threshold)
        connected = failure.clock != "connect" and not story.unreached
        story.failed(Outcome(step.candidate, failure, now - begun, now, connected))
        if reply.content_sent:
            await reply.fail(failure)
            return _end_state(failure, broken=True)


def _keep(work: Work) -> None:
    """The client may go on from this answer."""
    story, went_on = work.story, work.resumed
    answer = object_of(work.reply.answer) if went_on is not None and went_on.wants else None
    if answer is not None and went_on is not None:
        home = story.candidate if work.reply.passed else None
        size = story.size_bytes + work.reply.client.bytes_sent
        work.memory.answers.keep(answer, went_on.before, size, home)


async def _one(work: Work, candidate: Candidate, fleet: Fleet) -> Failure | None:
    """Try the candidate, once there is a place for it."""
    work.story.routed(candidate)
    if work.gen.providers[candidate.provider].slots is None and work.caller.allowance is None:
        return await _asked(work, candidate, fleet)
    async with admit.slot(work, candidate) as failure:
        return failure or await _asked(work, candidate, fleet)


async def _asked(work: Work, candidate: Candidate, fleet: Fleet) -> Failure | None:
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


def _note_health(work: Work, candidate: Candidate, begun_ns: int) -> None:
    """A whole answer came. begun_ns: when its attempt began, on the story's clock."""
    story = work.story
    begun_ns = max(begun_ns, story.admitted_ns)
    first_ns = story.first_token_ns if work.request.stream else None
    usage = None if story.usage_estimated else story.usage
    work.daemon.health.answered(
        candidate,
        trio.current_time(),
        first_token_ms=None if first_ns is None else max(0, first_ns - begun_ns) / 1e6,
        tokens=usage.output if usage is not None and first_ns is not None else None,
        writing_s=0.0 if first_ns is None else (story.elapsed_ns() - first_ns) / 1e9,
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
    }
)


def _end_state(failure: Failure, *, broken: bool = False) -> EndState:
    """The one true state for a request that failed with `failure`."""
    if broken:  # an answer had begun: whatever its error says, it is not the client's fault
        return _BROKEN.get(failure.kind, "upstream_error")
    if failure.kind == "over_budget":
        return "over_budget"
    return "refused" if failure.kind in _REFUSALS else "upstream_error"
