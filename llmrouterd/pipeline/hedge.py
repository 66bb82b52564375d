"""Two attempts beside each other: when one is silent for too long the next one begins, and the
first token wins.

Owns: when the second one begins, who has won, and the handing over of the request to the winner.
Refuses to know: who comes next (route/plan.py), how an attempt is made and counted (walk.py).

Laws:
1. Until there is a winner, each attempt notes what it meets in a Story and a Reply of its own, and
   only the request's own task writes to the client: life signs, nothing else.
2. The loser has ended, its connection closed and its place given back, before the winner sends its
   first byte. It has not failed: nothing speaks against its provider.
3. Never more than two at once; a place is begun that the walk would try next, or none.
4. No exception that is expected crosses the nursery: a client that has gone is raised behind it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from llmrouterd.edge.client import ClientGone
from llmrouterd.route.plan import walks_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from formats.errors import Failure
    from llmrouterd.model import Candidate
    from llmrouterd.pipeline.work import Work

    Attempt = Callable[[Work, Candidate], Awaitable[Failure | None]]
    Beside = Callable[[Sequence[Candidate]], Candidate | None]


class _Runner:
    """One attempt of the race, with notes of its own."""

    def __init__(self, race: Race, candidate: Candidate) -> None:
        work = race.work
        story = work.story.twin()
        reply = work.reply.twin(story, partial(race.claims, self))
        self.work = replace(work, story=story, reply=reply, key=None)
        self.candidate = candidate
        self.begun = trio.current_time()
        self.scope = trio.CancelScope()
        self.may_go_on = trio.Event()
        self.ended = trio.Event()
        self.failure: Failure | None = None

    @property
    def due(self) -> float:
        """When somebody may be started beside it."""
        after_ms = self.candidate.hedge_after_ms
        return self.begun + after_ms / 1000 if after_ms else math.inf


class Race:
    """The attempts of one request, from one candidate on, until one has won or all have failed.

    attempt: makes one attempt, counts it, and returns its failure. beside: who would be tried next
    while these run.
    """

    def __init__(self, work: Work, attempt: Attempt, beside: Beside) -> None:
        self.work = work
        self._attempt = attempt
        self._beside = beside
        self._running: list[_Runner] = []
        self._bell = trio.Event()
        self._latest: _Runner | None = None
        self._winner: _Runner | None = None
        self._failure: Failure | None = None
        self._gone: ClientGone | None = None

    async def run(self, first: Candidate) -> Failure | None:
        """None: the client has its answer. A Failure: look at `work.reply.content_sent`.

        Raises ClientGone. Cancellation: every attempt ends at once.
        """
        async with trio.open_nursery() as nursery:
            self._begin(nursery, first)
            try:
                await self._watch(nursery)
            except ClientGone as gone:
                self._gone = gone
                nursery.cancel_scope.cancel()
        if self._gone is not None:
            raise self._gone
        return self._failure

    # --- an attempt's own task --------------------------------------------------------------------

    def _begin(self, nursery: trio.Nursery, candidate: Candidate) -> None:
        runner = _Runner(self, candidate)
        self._running.append(runner)
        self._latest = runner
        nursery.start_soon(self._run, runner)

    async def _run(self, runner: _Runner) -> None:
        with runner.scope:
            try:
                runner.failure = await self._attempt(runner.work, runner.candidate)
            except ClientGone as gone:
                self._gone = gone
        if runner is self._winner:
            self._failure = runner.failure
        runner.ended.set()
        self._bell.set()

    async def claims(self, runner: _Runner) -> None:
        """An attempt has its first token. Returns when it alone goes on; a second one never returns."""
        if self._winner is None and not runner.scope.cancel_called:
            self._winner = runner
            self._bell.set()
        await runner.may_go_on.wait()

    # --- the request's task -----------------------------------------------------------------------

    async def _watch(self, nursery: trio.Nursery) -> None:
        while self._winner is None and self._running:
            beside = self._next()
            until = self._running[-1].due if beside is not None else math.inf
            await self.work.reply.patiently(partial(self._bell_until, until))
            if not self._bell.is_set():
                assert beside is not None
                self.work.story.notes.append(self._why(beside))
                self._begin(nursery, beside)
            elif self._winner is None:
                self._bell = trio.Event()
                await self._count_failed()
        if self._winner is not None:
            await self._hand_over(self._winner)

    def _next(self) -> Candidate | None:
        """Who is to be started beside the only one that runs."""
        if len(self._running) > 1 or self._running[0].due == math.inf:
            return None
        return self._beside([runner.candidate for runner in self._running])

    async def _bell_until(self, until: float) -> None:
        with trio.move_on_at(until):
            await self._bell.wait()

    def _why(self, beside: Candidate) -> str:
        slow = self._running[0].candidate
        return (
            f"hedged: {_place(slow)} was silent for {slow.hedge_after_ms} ms, "
            f"{_place(beside)} was started beside it"
        )

    async def _count_failed(self) -> None:
        """Somebody's attempt has failed; the other one goes on, if anybody can cure what it was."""
        for runner in [each for each in self._running if each.ended.is_set()]:
            self._running.remove(runner)
            self.work.story.adopt(runner.work.story)
            self._failure = runner.failure
            if runner.failure is not None and not walks_on(runner.failure):
                await self._stop("the client's mistake ended the walk")

    async def _stop(self, why: str) -> None:
        """End all that run and have not won."""
        losers = [runner for runner in self._running if runner is not self._winner]
        for loser in losers:
            loser.scope.cancel()
        for loser in losers:
            await loser.ended.wait()
            self._running.remove(loser)
            if loser.failure is None:  # else it failed by itself, and that is told already
                spent_s = trio.current_time() - loser.begun
                self.work.story.cancelled(loser.work.story, loser.candidate, why, spent_s)

    async def _hand_over(self, winner: _Runner) -> None:
        """The winner's notes become the request's, and it may write to the client."""
        work = self.work
        await self._stop(f"the first token came from {_place(winner.candidate)}")
        work.story.adopt(winner.work.story)
        if winner is not self._latest:  # who reads along was told of the other one last
            work.story.routed(winner.candidate)
        winner.work.story = winner.work.reply.story = work.story
        work.reply = winner.work.reply
        winner.may_go_on.set()


def _place(candidate: Candidate) -> str:
    return f"{candidate.provider}/{candidate.model}"
