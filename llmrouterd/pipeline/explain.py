"""Where a request would go, and why, without sending it.

Owns: the walk up to the decision, told as an object that commands and pages show.
Refuses to know: how it is shown; sockets: nobody is asked anything.

Law: it is the same code that decides for real requests: plugins' hooks before the answer,
classifiers, facts, the rules and the fleet as of now.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import trio

from formats import FORMATS, embeddings
from formats.errors import Failure, Invalid
from llmrouterd.model import ANYBODY, Headers
from llmrouterd.pipeline import embed as embedded
from llmrouterd.pipeline.extend import Extensions
from llmrouterd.pipeline.handle import not_for
from llmrouterd.pipeline.story import Story
from llmrouterd.route.decide import decide, no_candidate
from llmrouterd.route.facts import facts
from llmrouterd.route.seats import session_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from formats.canonical import Request
    from formats.embeddings import Call, EmbedRequest
    from llmrouterd.model import Caller, Candidate, Facts, Fleet, Slots, Step
    from llmrouterd.pipeline.daemon import Daemon, Generation

JSON = Any
# What asks for vectors, as the last word of its path: whose call it is.
EMBEDS: Mapping[str, Call] = MappingProxyType({"embeddings": "openai", "embed": "ollama"})


@dataclass(frozen=True, slots=True)
class Question:
    """format: the client's; one of EMBEDS, where vectors are asked for. tags: set besides those of the
    classifiers. wish: X-Router-Provider. caller: what the client's key is good for, where it has one.
    """

    format: str
    body: bytes
    tags: tuple[str, ...] = ()
    wish: str | None = None
    client: str = ""
    fields: Headers = field(default_factory=Headers)
    caller: Caller = ANYBODY


async def explain(question: Question, gen: Generation, daemon: Daemon) -> dict[str, JSON]:
    """What a request would meet. A request that is wrong, or that a plugin refuses or answers, is
    told as such."""
    embeds = EMBEDS.get(question.format)
    if embeds is None and question.format not in FORMATS:
        return _told(Failure("bad_request", f"there is no format {question.format!r}"))
    asked: EmbedRequest | None = None
    try:
        if embeds is None:
            request = FORMATS[question.format].parse_request(question.body)
        else:
            asked = embeddings.parse_request(embeds, question.body)
            request, gen = embedded.as_request(asked), embedded.quiet(gen)
    except Invalid as error:
        return _told(Failure(error.kind, str(error)))
    if not question.caller.may_ask(request.model):
        return _told(not_for(question.caller, request.model))
    story = Story(daemon, client_format=question.format, endpoint="explain")
    story.client, story.given_tags = question.client, question.tags
    story.unheard()
    ext = Extensions(gen, request, story, asks=False)
    ready = await ext.before(request)
    if isinstance(ready, Failure):
        return _told(ready)
    known = _facts(question, ready, story, ext, gen)
    if asked is not None:
        known = embedded.facts_of(known, asked)
    told = _asked(question, request.model, known, story)
    if ext.answer is not None:
        return {**told, "answered_by": "a plugin", "steps": [], "candidates": []}
    return told | _decided(known, gen, daemon, story)


def _asked(question: Question, model: str, known: Facts, story: Story) -> dict[str, JSON]:
    """What is known of the request before it is decided on."""
    told: dict[str, JSON] = {
        "model": model,
        "format": question.format,
        "tags": list(known.tags),
        "needs": sorted(known.needs),
        "size_tokens": known.size_tokens,
        "stream": known.stream,
        "plugins": list(story.plugins),
    }
    notes = [note for note in story.notes if note.partition(":")[0] in story.plugins]
    if notes:
        told["notes"] = notes
    if story.unknown_tags:
        told["unknown_tags"] = sorted(story.unknown_tags)
    return told


def _decided(known: Facts, gen: Generation, daemon: Daemon, story: Story) -> dict[str, JSON]:
    seat = daemon.seats.of(known.session, trio.current_time()) if known.session else None
    fleet = replace(daemon.busy(daemon.fleet(gen, int(story.stem, 16))), seat=seat)
    verdict = decide(known, fleet, gen.routing)
    told: dict[str, JSON] = {
        "steps": [_step(step) for step in verdict.trace],
        "candidates": [_candidate(each, fleet, daemon) for each in verdict.candidates],
    }
    if not verdict.candidates:
        told |= _told(no_candidate(known, verdict, fleet))
    return told


def _facts(
    question: Question, request: Request, story: Story, ext: Extensions, gen: Generation
) -> Facts:
    session = ""
    if gen.routing.is_sticky:
        session = session_of(request, question.fields, question.client)
    return facts(
        request,
        tags=(*story.tags, *(tag for tag in question.tags if tag not in story.tags)),
        client=question.client,
        wish=question.wish,
        forced=ext.forced,
        session=session,
        unknown_tags=story.unknown_tags,
    )


def _told(failure: Failure) -> dict[str, JSON]:
    return {"error": {"kind": failure.kind, "message": failure.message}}


def _step(step: Step) -> dict[str, JSON]:
    told = {"rule": step.rule, "outcome": step.outcome}
    if step.provider:
        told |= {"provider": step.provider, "model": step.model}
    return told | ({"reason": step.reason} if step.reason else {})


def _candidate(candidate: Candidate, fleet: Fleet, daemon: Daemon) -> dict[str, JSON]:
    provider = fleet.states[candidate.provider].provider
    told = {
        "provider": candidate.provider,
        "model": candidate.model,
        "rule": candidate.rule,
        "format": provider.format,
        "local": provider.local,
    }
    if provider.slots is not None:
        told["queue"] = _queue(candidate.provider, provider.slots, daemon)
    if candidate.hedge_after_ms:
        told["hedge_after_ms"] = candidate.hedge_after_ms
    if candidate.retry_on_tags:
        told["retry_on_tags"] = list(candidate.retry_on_tags)
    return told


def _queue(name: str, slots: Slots, daemon: Daemon) -> dict[str, JSON]:
    """The limits of a provider, and who is at work there and waits as of now. at_once: 0 where only
    single models are limited."""
    seen = daemon.admission.snapshot(name)
    return {
        "at_once": slots.at_once,
        "running": seen.running if seen else 0,
        "waiting": seen.waiting if seen else 0,
        "max_queue": slots.max_queue,
        "timeout_s": slots.timeout_s,
    }


# --- for people -----------------------------------------------------------------------------------


def lines(told: dict[str, JSON]) -> Iterator[str]:
    """The same in words, one line a step."""
    if "model" in told:
        yield f"model     {told['model']} ({told['format']}{', a stream' if told['stream'] else ''})"
        yield f"tags      {', '.join(told['tags']) or 'none'}"
        if told.get("unknown_tags"):
            yield f"unknown   {', '.join(told['unknown_tags'])} (no model is asked here)"
        yield f"needs     {', '.join(told['needs']) or 'nothing special'}"
        yield f"size      about {told['size_tokens']} tokens"
        if told["plugins"]:
            yield f"plugins   {', '.join(told['plugins'])}"
        for note in told.get("notes", ()):
            yield f"          {note}"
        yield ""
        for step in told["steps"]:
            yield _line(step)
    if told.get("answered_by"):
        yield f"answered by {told['answered_by']}: nobody is asked"
    elif told.get("candidates"):
        yield ""
        yield "would be tried, in this order:"
        for place, each in enumerate(told["candidates"], 1):
            where = "local" if each["local"] else "remote"
            yield (
                f"  {place}. {each['provider']}/{each['model']} ({each['format']}, {where})"
                + _places(each)
                + _walks(each)
            )
    if "error" in told:
        yield f"refused ({told['error']['kind']}): {told['error']['message']}"


def _places(candidate: dict[str, JSON]) -> str:
    """How it stands with the places of a provider that has only so many."""
    queue = candidate.get("queue")
    if queue is None:
        return ""
    most = f" of {queue['at_once']}" if queue["at_once"] else ""
    return f"; {queue['running']}{most} at work, {queue['waiting']} waiting"


def _walks(candidate: dict[str, JSON]) -> str:
    """What sends the walk on from a candidate besides its failure."""
    after_ms, tags = candidate.get("hedge_after_ms"), candidate.get("retry_on_tags")
    hedged = f"; after {after_ms} ms of silence the next one beside it" if after_ms else ""
    return hedged + (f"; on after an answer tagged {' or '.join(tags)}" if tags else "")


def _line(step: dict[str, JSON]) -> str:
    words = {"candidate": "takes", "skipped": "skips", "passed": "passes"}[step["outcome"]]
    place = f" {step['provider']}/{step['model']}" if "provider" in step else ""
    reason = f": {step['reason']}" if "reason" in step else ""
    return f"{step['rule']}: {words}{place}{reason}"
