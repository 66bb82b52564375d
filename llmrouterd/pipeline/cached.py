"""Answers that a plugin keeps: looked for under the owner's policies, waited for, given, and handed over.

Owns: what such a plugin is told of a request (`Arrival`), the wait for another request of the same
words, how a kept answer goes out, and what of an answer may be kept.
Refuses to know: which requests are the same, how long anything is kept (plugins/cache.py).

Laws:
1. The owner's policies hold for a kept answer as for a new one: one from a provider that may not serve
   this request is not given to it, and what nobody may serve is refused as ever.
2. Only what went out whole, with status 200, from a provider, is handed over to be kept.
3. Whoever waits for another's request has its own patience, and goes on alone when that is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

import trio

from formats import FORMATS
from formats.errors import FormatError
from formats.jsontext import dump
from formats.ledger import Ledger
from llmrouterd.hooks import Arrival, Kept, Pending
from llmrouterd.model import Candidate, Facts, Unread
from llmrouterd.pipeline import headers
from llmrouterd.pipeline.answers import object_of
from llmrouterd.pipeline.binding import bind
from llmrouterd.pipeline.relay import read_back
from llmrouterd.route.policies import bounds, forbids

if TYPE_CHECKING:
    from collections.abc import Callable

    from formats.canonical import Response
    from llmrouterd.hooks import Context, Plugin
    from llmrouterd.model import EndState
    from llmrouterd.pipeline.work import Work

PROVIDER = "cache"  # in place of a provider's name, where a kept answer was given
_NOBODYS = frozenset({PROVIDER, "plugin"})


@dataclass(slots=True)
class Recall:
    """Looking for a kept answer to one request."""

    work: Work
    arrival: Arrival

    async def answer(self, plugin: Plugin, ctx: Context) -> Kept | None:
        """What the plugin has, or will have when another request of the same words has its answer."""
        may, story = self._may(), self.work.story
        if may is None:
            return None
        joined = False
        found = plugin.recall(may, ctx)
        while isinstance(found, Pending):
            joined = True
            if not await self._over(found):
                story.notes.append(f"{ctx.id}: waited in vain for another request's answer")
                found = None
                break
            found = plugin.recall(may, ctx)
        story.cache = "miss" if found is None else "joined" if joined else "hit"
        return found

    def _may(self) -> Callable[[Kept], bool] | None:
        """Whether an answer may be given; None: none may."""
        work = self.work
        bound = bounds(self._known(), work.gen.routing.policies)
        if (
            bound.blocked or bound.networks
        ):  # where an answer came from, by its address, is not kept
            return None
        if not bound.policies:
            return lambda kept: kept.provider in work.gen.providers
        states = work.daemon.fleet(work.gen, 0).states

        def may(kept: Kept) -> bool:
            state = states.get(kept.provider)
            if state is None:
                return False
            info = (state.models or {}).get(kept.model)
            return not forbids(bound, state.provider, kept.model, info)

        return may

    def _known(self) -> Facts:
        story = self.work.story
        return Facts(
            self.work.request.model,
            tags=story.tags,
            client=story.client,
            unknown_tags=story.unknown_tags,
        )

    async def _over(self, pending: Pending) -> bool:
        """Whether it was over before anybody's patience was."""
        event = trio.Event()
        pending.wakes(event.set)
        try:
            until = min(self.work.patience.until, trio.current_time() + pending.wait_s)
            with trio.move_on_at(until):
                await self.work.reply.patiently(event.wait)
        finally:
            pending.forgets(event.set)
        return pending.over

    async def give(self, kept: Kept) -> None:
        """The answer goes out as it was given before."""
        work, story, reply = self.work, self.work.story, self.work.reply
        bind(work, self._known())
        story.candidate = Candidate(PROVIDER, kept.model, PROVIDER)
        story.begin_here()
        story.notes.append(f"{PROVIDER}: an answer of {kept.provider}/{kept.model}")
        story.usage, story.usage_estimated = kept.usage, kept.usage_estimated
        story.response_tags = kept.response_tags
        story.ledger = _ledger(kept)
        story.plugin_fields |= dict(kept.fields)
        story.response = Unread(partial(_read, work.request.origin, kept))
        if kept.stream:
            await reply.send(kept.body)
            await reply.finish()
        else:
            await reply.whole(kept.body)
        self._go_on_from(kept)

    def _go_on_from(self, kept: Kept) -> None:
        """A client of the Responses API may go on from this answer as from the first one."""
        went_on = self.work.resumed
        answer = object_of(kept.answer or None)
        if went_on is not None and went_on.wants and answer is not None:
            home = Candidate(kept.provider, kept.model, PROVIDER) if kept.passed else None
            client = self.work.story.client
            self.work.daemon.shelves.keep(client, answer, went_on, kept.size, home)


def _ledger(kept: Kept) -> Ledger:
    ledger = Ledger()
    for name in kept.dropped:
        ledger.note(name, "dropped", "when the answer was first given")
    return ledger


def _read(origin: str, kept: Kept) -> Response | None:
    """What a kept answer says, for the log."""
    fmt, size = FORMATS[origin], len(kept.body) + 1
    if kept.stream:
        return read_back([kept.body], fmt, size)
    try:
        return fmt.parse_response(kept.body)
    except FormatError:
        return None


# --- what a plugin is told ------------------------------------------------------------------------


def recall_for(work: Work, wish: str | None) -> Recall:
    """wish: X-Router-Provider."""
    story, incoming = work.story, work.incoming
    told = [("wish", wish or ""), ("tags", ",".join(story.given_tags))]
    told.append(("strict", str(work.strict)))
    told += [("query", part) for part in work.query.split("&") if part and not _is_key(part)]
    forwarded = {name for each in work.gen.providers.values() for name in each.dialect.forward}
    told += headers.telling(incoming, forwarded)
    return Recall(
        work,
        Arrival(
            work.request,
            story.endpoint,
            tuple(told),
            _asker(work),
            incoming.get("cache-control") or "",
        ),
    )


def _is_key(part: str) -> bool:
    return unquote(part).partition("=")[0] == "api_key"


def _asker(work: Work) -> bytes:
    """Whoever shows another key is somebody else, also where keys are not the router's business."""
    digest = sha256(work.story.client.encode())
    for name, value in headers.credentials(work.incoming):
        digest.update(b"\0" + name.encode() + b"\0" + value.encode("latin-1", "replace"))
    for part in work.query.split("&"):
        digest.update(b"\0" + part.encode() if _is_key(part) else b"")
    return digest.digest()


def kept_of(work: Work, end: EndState) -> Kept | None:
    """The answer that went out, if it may be kept."""
    story, reply = work.story, work.reply
    body = reply.tape.whole() if reply.tape is not None else None
    place = story.candidate
    if end != "complete" or story.status != 200 or body is None or place is None:
        return None
    if place.provider in _NOBODYS:
        return None
    answer = reply.answer if work.request.origin == "responses" else None
    return Kept(
        body,
        reply.streaming,
        place.provider,
        place.model,
        story.usage,
        story.usage_estimated,
        story.response_tags,
        story.ledger.names() if story.ledger is not None else (),
        answer if isinstance(answer, bytes) else dump(answer) if answer else b"",
        reply.passed,
        tuple(story.plugin_fields.items()),
    )
