"""The story of a call, top to bottom: what comes in, who is asked, how it ends.

Owns: the order of a request's stations and its end state.
Refuses to know: bytes of any format, sockets, how a rule decides.

Laws:
1. Everything happens in the request's own task, but for attempts beside each other, which have a
   nursery within it (hedge.py). Cancellation is the only clean-up signal, and what must be given
   back is given back synchronously in `finally`.
2. Every request ends in exactly one record for whoever wants one, whatever happened: one whose
   client left in the middle of its body, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from formats import FORMATS, embeddings
from formats.embeddings import EmbedRequest
from formats.errors import Failure, Invalid
from llmrouterd.edge.client import Client, ClientGone
from llmrouterd.edge.incoming import Incoming, Refused
from llmrouterd.model import Candidate, EndState, Fleet
from llmrouterd.pipeline import admit
from llmrouterd.pipeline import embed as embedded
from llmrouterd.pipeline.answers import Resumed, at_home, names_in, resumed
from llmrouterd.pipeline.attempt import deliver
from llmrouterd.pipeline.binding import bind
from llmrouterd.pipeline.cached import kept_of, recall_for
from llmrouterd.pipeline.extend import Extensions
from llmrouterd.pipeline.patience import patience
from llmrouterd.pipeline.reply import Reply, Tape
from llmrouterd.pipeline.story import Story
from llmrouterd.pipeline.tracing import begin_trace
from llmrouterd.pipeline.walk import end_state, walk
from llmrouterd.pipeline.work import Work
from llmrouterd.route.decide import decide, lists_wanted, no_candidate
from llmrouterd.route.facts import facts
from llmrouterd.route.seats import session_of

if TYPE_CHECKING:
    from formats.canonical import Request
    from llmrouterd.model import Caller, Facts, Headers
    from llmrouterd.pipeline.daemon import Daemon, Generation


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a model as the edge hands it over. format: the client's; wish:
    X-Router-Provider; tags: X-Router-Tags; embeds: the call, where vectors are asked for."""

    incoming: Incoming
    format: str
    endpoint: str
    wish: str | None = None
    embeds: embeddings.Call | None = None
    tags: tuple[str, ...] = ()


async def handle(call: Call, client: Client, gen: Generation, daemon: Daemon) -> EndState:
    """Serve one chat request. Returns how it ended; raises only on our own bugs."""
    story = Story(daemon, client_format=call.format, endpoint=call.endpoint)
    story.client = call.incoming.caller.name
    story.given_tags = call.tags
    story.generation = gen.number
    begin_trace(story, call.incoming.headers, gen.routing)
    reply = Reply(client, FORMATS[call.format], story, life_sign_s=gen.life_sign_s)
    end: EndState = "internal_error"
    ext: Extensions | None = None
    work: Work | None = None
    daemon.in_flight += 1
    begun = trio.current_time()
    try:
        asked = await _understood(call, reply)
        if asked is None:
            end = "refused"
            return end
        request = embedded.as_request(asked) if isinstance(asked, EmbedRequest) else asked
        if not call.incoming.caller.may_ask(request.model):
            await reply.fail(not_for(call.incoming.caller, request.model))
            end = "refused"
            return end
        reply.request = request
        story.opened(request)
        ext = Extensions(embedded.quiet(gen) if call.embeds else gen, request, story)
        fields, caller = call.incoming.headers, call.incoming.caller
        if ext.active:
            ext.along.fields, ext.along.query = list(fields), call.incoming.query
        strict = gen.strict or caller.strict or _is_strict(fields)
        work = Work(
            request, fields, call.incoming.query, ext, reply, story, gen, daemon, strict, caller
        )
        found = patience(fields, begun, signs=bool(reply.quiet_s))
        if isinstance(found, Failure):
            await reply.fail(found)
            end = "refused"
            return end
        work.patience = found
        work.embed = asked if isinstance(asked, EmbedRequest) else None
        end = await _admitted(call, work)
        return end
    except ClientGone:
        end = _left(reply)
        return end
    except (trio.Cancelled, BaseExceptionGroup) as error:
        if not _is_cancelled(error):
            raise
        end = _left(reply) if client.gone else "refused"
        if not client.gone:
            story.failure = story.failure or Failure("draining", "the router was stopped")
        raise
    finally:
        daemon.in_flight -= 1
        _close(story, end, client)
        if reply.content_sent and end != "complete":
            story.broke_off()
        if work is not None and work.ext.keeps:
            work.ext.release(kept_of(work, end), end)
        awaited = ext is not None and ext.wants_end()
        if awaited or daemon.sinks:
            record = story.record(end)
            daemon.tell(record)
            if ext is not None and awaited:
                await ext.end(record, story.failure)  # noqa: ASYNC102 - shielded and bounded in there


def _left(reply: Reply) -> EndState:
    """The client has gone. One that was told, or was just being told, that its answer had failed may
    go: then that is how it ended."""
    failure = reply.story.failure
    return "client_gone" if failure is None else end_state(failure, broken=reply.content_sent)


def _is_cancelled(error: BaseException) -> bool:
    """A nursery on the way wraps the cancellations of its tasks in a group."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


def not_for(caller: Caller, model: str) -> Failure:
    words = f"client {caller.name!r} may not ask for the model {model[:200]!r}"
    return Failure("forbidden", words, param="model")


def _is_strict(fields: Headers) -> bool:
    return (fields.get("x-router-strict") or "").strip().lower() in ("1", "true", "yes", "on")


def _close(story: Story, end: EndState, client: Client) -> None:
    """What the record says of the client's side: what it saw, and how much of it."""
    if end == "internal_error" and story.failure is None:
        story.failure = Failure("internal", "internal error")
        story.status = 200 if client.headers_sent else 500  # the edge tells the client
    elif not client.headers_sent:
        story.status = 0
    story.size_bytes += client.bytes_sent


async def _understood(call: Call, reply: Reply) -> Request | EmbedRequest | None:
    """Read and parse the body; None when the client has been told what is wrong with it."""
    try:
        body = await call.incoming.body()
        reply.story.body_read()
        reply.story.size_bytes = len(body)
        if call.embeds is not None:
            return embeddings.parse_request(call.embeds, body)
        request = reply.format.parse_request(body)
    except Refused as error:
        await reply.fail(error.failure)
        return None
    except Invalid as error:
        await reply.fail(Failure(error.kind, str(error), param=error.path or None))
        return None
    except RecursionError:
        await reply.fail(Failure("bad_request", "the body is nested too deeply"))
        return None
    version = call.incoming.headers.get("anthropic-version")
    if version and call.format == "anthropic":
        request = replace(request, version=version)
    return request


async def _admitted(call: Call, work: Work) -> EndState:
    """As long as its client may use that much."""
    if work.caller.allowance is None:
        return await _resume(work) or await _serve(call, work)
    async with admit.client(work) as failure:
        if failure is None:
            return await _resume(work) or await _serve(call, work)
        await work.reply.fail(failure)
        return "refused"


async def _resume(work: Work) -> EndState | None:
    """Put what a request of the Responses API goes on from in its place; "refused" when that is
    gone."""
    if work.request.origin != "responses":
        return None
    mine = any(p.format == "responses" for p in work.gen.providers.values())
    try:
        known = await work.daemon.shelves.known(work.story.client, names_in(work.request))
        if isinstance(known, Failure):
            found: Resumed | Failure = known
        else:
            found = resumed(work.request, known, upstream_may_know=mine)
    except Invalid as error:
        found = Failure(error.kind, str(error), param=error.path or None)
    if isinstance(found, Failure):
        await work.reply.fail(found)
        return "refused"
    work.resumed = found
    work.request = work.reply.request = work.story.request = found.request
    return None


async def _serve(call: Call, work: Work) -> EndState:
    recall = recall_for(work, call.wish) if work.ext.recalls else None
    request = await work.ext.before(work.request, recall)
    if isinstance(request, Failure):
        await work.reply.fail(request)
        return "internal_error" if request.kind == "plugin" else "refused"
    work.incoming, work.query = work.ext.left_along(work.incoming, work.query)
    if request is not work.request:
        if work.embed is not None:
            work.embed = embedded.with_texts(work.embed, request)
        work.request = request
        work.reply.request = work.ext.shown(request)
    if recall is not None and work.ext.kept is not None:
        await recall.give(work.ext.kept)
        return "complete"
    if work.ext.keeps:
        work.reply.tape = Tape(work.ext.keeps)
    if work.ext.answer is not None:
        work.story.candidate = Candidate("plugin", work.ext.answer.model or request.model, "plugin")
        failure = await deliver(work, work.ext.answer)
        if failure is None:
            return "complete"
        await work.reply.fail(failure)
        return "internal_error"
    return await _routed(call, work)


async def _routed(call: Call, work: Work) -> EndState:
    story, gen, daemon = work.story, work.gen, work.daemon
    story.routing()
    known = facts(
        work.request,
        tags=story.tags,
        client=story.client,
        wish=call.wish,
        forced=work.ext.forced,
        session=_session(work),
        unknown_tags=story.unknown_tags,
    )
    if work.embed is not None:
        known = embedded.facts_of(known, work.embed)
    if work.resumed is not None and work.resumed.home is not None:
        known = at_home(known, work.resumed.home)
    story.size_tokens = known.size_tokens
    seed = int(story.stem, 16)
    fleet = _fleet(work, known, seed)
    unknown = lists_wanted(known, fleet, gen.routing)
    if unknown:
        await gen.learn(unknown)
        fleet = _fleet(work, known, seed)
    bind(work, known)
    verdict = decide(known, fleet, gen.routing)
    if verdict.candidates and verdict.candidates[0].rule.endswith(" round_robin"):
        daemon.took_turn(verdict.candidates[0].rule)
    story.decided(verdict.trace)
    if daemon.keep_decisions:
        story.decision = daemon.decided(known, fleet, gen.routing, verdict)
    if not verdict.candidates:
        await work.reply.fail(no_candidate(known, verdict, fleet))
        return "refused"
    return await walk(work, verdict, fleet)


def _session(work: Work) -> str:
    """A name for the conversation, where some rule keeps those together."""
    if not work.gen.routing.is_sticky:
        return ""
    return session_of(work.request, work.incoming, work.story.client)


def _fleet(work: Work, known: Facts, seed: int) -> Fleet:
    """The snapshot that the decision reads, with as much in it as its rules ask for."""
    daemon, routing = work.daemon, work.gen.routing
    fleet = daemon.fleet(work.gen, seed)
    if routing.wants_figures:
        fleet = daemon.busy(fleet)
    if known.session:
        work.story.session = known.session
        fleet = replace(fleet, seat=daemon.seats.of(known.session, fleet.now))
    return fleet
