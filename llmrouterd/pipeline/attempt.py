"""One try at one candidate.

Owns: building the upstream request (the client's own text with single members spliced, or a
translation), the exchange under its clocks, and reading what came of it as a whole answer, a
stream, or a Failure.
Refuses to know: which candidate comes next (route/plan.py), what the client sees of a failure.

Laws:
1. What an upstream does wrong is a Failure value, never an exception; what escapes is our bug.
2. A Failure with `reply.content_sent` unset leaves the walk free to go on.
3. Same format and nobody edits: bytes pass; only the members that must change are spliced.
"""

from __future__ import annotations

import email.utils
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import trio

from formats import FORMATS
from formats.canonical import Request, Response, Target
from formats.errors import Failure, FormatError, Garbled, Invalid, Truncated
from formats.fold import Folder, fold, unfold
from formats.jsontext import parse_body
from formats.ledger import Ledger
from formats.ollama import load_answer
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError, proxy_authorization
from llmrouterd.pipeline import echo, headers
from llmrouterd.pipeline.relay import TAIL_S, PassLane, TurnLane, pump

if TYPE_CHECKING:
    from formats import Format
    from llmrouterd.edge.dial import Origin
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.model import Candidate, Headers, ModelInfo, Provider
    from llmrouterd.pipeline.daemon import Daemon, Generation
    from llmrouterd.pipeline.extend import Extensions
    from llmrouterd.pipeline.relay import Lane
    from llmrouterd.pipeline.reply import Reply
    from llmrouterd.pipeline.story import Story

_PATH = {"openai": "/chat/completions", "anthropic": "/messages", "ollama": "/api/chat"}
# An error body is read this far: enough for any message, too little to hurt.
_ERROR_LIMIT = 256 * 1024
_KEY_NAME = re.compile(r"api_key(?:=|\Z)")
# Anything longer is no number of seconds, and must not become one that cannot be counted.
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")


@dataclass(slots=True)
class Work:
    """What all attempts of one request share."""

    request: Request
    incoming: Headers
    query: str
    ext: Extensions
    reply: Reply
    story: Story
    gen: Generation
    daemon: Daemon

    @property
    def keep(self) -> bool:
        """Somebody wants to know what the answer said."""
        return self.ext.wants_response or self.daemon.keep_bodies


async def attempt(work: Work, candidate: Candidate, info: ModelInfo | None) -> Failure | None:
    """Try `candidate`. None: the client has its answer. A Failure: look at `reply.content_sent`."""
    provider = work.gen.providers[candidate.provider]
    work.story.priced_by = provider
    if work.request.origin == "ollama" and provider.format != "ollama":
        loaded = load_answer(work.request)
        if loaded is not None:  # nothing is asked, and elsewhere there is nothing to load
            return await deliver(work, loaded)
    if provider.format == "echo":
        answer = echo.answer(work.request, candidate.model, prompt_tokens=work.story.size_tokens)
        work.story.usage_estimated = True
        return await deliver(work, answer)
    ledger = Ledger()
    work.story.begin(ledger, provider.format)
    try:
        body, passes = _body(work, provider, candidate, info, ledger)
    except Invalid as error:
        return Failure(error.kind, str(error))
    except RecursionError:
        return Failure("bad_request", "the request is nested too deeply")
    with Deadline(provider.clocks) as deadline:
        try:
            return await _exchange(work, provider, body, passes, deadline)
        except DialError as error:
            work.story.unreached = True
            return Failure("upstream", str(error))
        except Truncated as error:
            return Failure("truncated", str(error))
        except FormatError as error:
            return Failure("upstream", str(error))
    if work.reply.client.finished:  # the clock ran out while the upstream ended its body
        return None
    return _ran_out(deadline)


def _ran_out(deadline: Deadline) -> Failure:
    clock = deadline.expired or "total"
    text = f"the upstream's {clock} clock ran out after {deadline.expired_s:g} s"
    return Failure("timeout", text, clock=clock)


# --- the upstream request -------------------------------------------------------------------------


def _body(
    work: Work, provider: Provider, candidate: Candidate, info: ModelInfo | None, ledger: Ledger
) -> tuple[bytes, bool]:
    """The request's body for this provider, and whether the answer may pass through as bytes.

    A codec of the client's own format splices the client's text where it can (`request.raw`).
    """
    request = work.request
    target = Target(
        model=candidate.model,
        vendor=_is_vendor(provider),
        capabilities=info.capabilities if info else None,
        options=provider.options,
    )
    body = FORMATS[provider.format].write_request(request, ledger, target)
    return body, request.origin == provider.format and not work.ext.edits_events


def _is_vendor(provider: Provider) -> bool:
    host = provider.base_url.partition("//")[2].partition("/")[0]
    return host.endswith(("api.openai.com", "api.anthropic.com"))


def _target(provider: Provider, prefix: str, query: str, *, same: bool) -> str:
    path = prefix + _PATH[provider.format]
    kept = (
        "&".join(q for q in query.split("&") if q and not _KEY_NAME.match(unquote(q)))
        if same
        else ""
    )
    return f"{path}?{kept}" if kept else path


def _beta(work: Work, provider: Provider) -> str:
    request = work.request
    if provider.format != "anthropic" or request.origin != "anthropic":
        return ""
    budget = request.extra.get("output_config.task_budget")
    return headers.TASK_BUDGETS if budget is not None else ""


def _idempotency(work: Work, provider: Provider) -> str | None:
    """The client's key is for the first provider; each other one gets its own, for all retries."""
    tried = work.story.tried
    if not tried or tried[0].candidate.provider == provider.name:
        return work.incoming.get("idempotency-key")
    return f"{work.story.stem}-{headers.clean(provider.name)}"


# --- the exchange ---------------------------------------------------------------------------------


async def _exchange(
    work: Work, provider: Provider, body: bytes, passes: bool, deadline: Deadline
) -> Failure | None:
    request, reply = work.request, work.reply
    same = request.origin == provider.format
    origin, prefix = work.gen.upstreams[provider.name]
    fields = headers.for_upstream(
        provider,
        work.incoming,
        same_format=same,
        stream=request.stream,
        agent=work.gen.user_agent,
        beta=_beta(work, provider),
        idempotency=_idempotency(work, provider),
    )
    target = _target(provider, prefix, work.query, same=same)
    async with work.daemon.pool.exchange(
        origin,
        "POST",
        target,
        fields,
        body,
        deadline,
        patiently=reply.patiently if reply.quiet_s else None,
    ) as exchange:
        _note(work.story, exchange)
        if exchange.status != 200:
            return await _refused(exchange, provider, origin)
        return await _answered(work, provider, exchange, deadline, passes)


def _note(story: Story, exchange: Exchange) -> None:
    story.address = exchange.receipt.address
    # what has left this host does not come back when somebody nearer answers after all
    story.left_host = story.left_host or exchange.receipt.left_host
    fields = exchange.headers
    story.upstream_request_id = fields.get("request-id") or fields.get("x-request-id") or ""


async def _refused(exchange: Exchange, provider: Provider, origin: Origin) -> Failure:
    """An answer that is not 200: what it says, as a Failure."""
    status = exchange.status
    if 300 <= status < 400:
        words = f"the upstream answered with a redirect ({status}), which is not followed"
        return Failure("upstream", f"{words}: is base_url right?")
    try:
        body = await exchange.read_all(_ERROR_LIMIT)
    except FormatError:  # too long, cut, garbled: the status says enough
        body = b""
    if status < 400:
        return Failure("upstream", f"the upstream answered with status {status}")
    body = headers.without_credentials(body, provider, proxy_authorization(origin))
    failure = FORMATS[provider.format].parse_error(status, body)
    wait_s = retry_after(exchange.headers, time.time())
    return replace(failure, retry_after_s=wait_s) if wait_s is not None else failure


def retry_after(fields: Headers, now: float) -> float | None:
    """Seconds an upstream asks us to wait: `retry-after-ms`, seconds, or an HTTP date."""
    text = (fields.get("retry-after-ms") or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text) / 1000
    text = (fields.get("retry-after") or "").strip()
    return float(text) if _SECONDS.fullmatch(text) else _until(text, now)


def _until(date: str, now: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


async def _answered(
    work: Work, provider: Provider, exchange: Exchange, deadline: Deadline, passes: bool
) -> Failure | None:
    kind = (exchange.headers.get("content-type") or "").partition(";")[0].strip().lower()
    streamed = kind in ("text/event-stream", "application/x-ndjson", "application/stream+json")
    if kind == "text/html":
        words = "the upstream answered with a page of HTML instead of JSON"
        return Failure("upstream", f"{words}: is base_url right?")
    if work.request.stream and (streamed or kind != "application/json"):
        return await _stream(work, provider, exchange, deadline, passes)
    fmt = FORMATS[provider.format]
    if streamed:
        return await _folded(work, fmt, exchange, deadline)
    return await _whole(work, fmt, exchange, deadline, passes=passes and not work.request.stream)


# --- streams --------------------------------------------------------------------------------------


async def _stream(
    work: Work, provider: Provider, exchange: Exchange, deadline: Deadline, passes: bool
) -> Failure | None:
    lane = _lane(work, FORMATS[provider.format], passes)
    story = work.story
    try:
        failure = await pump(exchange, deadline, lane, work.reply)
    finally:  # of a stream that was cut short, the record has what came
        story.usage = lane.usage
        story.response = lane.response()
    if failure is not None:
        return failure
    deadline.off()
    if work.ext.wants_response and not lane.holds:
        await _look(work, lane)
    await work.reply.finish()
    await _drain(exchange)
    return None


async def _drain(exchange: Exchange) -> None:
    """Read what ends the body, so that the connection can be used again. All was said before."""
    with trio.move_on_after(TAIL_S), suppress(FormatError):
        while await exchange.read():
            pass


def _lane(work: Work, fmt: Format, passes: bool) -> Lane:
    limit = work.gen.event_limit_bytes
    assert work.story.ledger is not None
    encoder = work.reply.new_encoder(work.story.ledger)
    if passes:
        return PassLane(fmt, fmt.observer(work.request, limit=limit), keep=work.keep, limit=limit)

    async def finish(response: Response) -> Response:
        return await work.ext.after(work.request, response)

    return TurnLane(fmt.decoder(limit=limit), encoder, work.ext, keep=work.keep, finish=finish)


async def _look(work: Work, lane: Lane) -> None:
    """Hooks that look at an answer which has gone out already."""
    seen = lane.response()
    response = seen if isinstance(seen, Response) or seen is None else seen.response()
    if response is not None:
        work.story.response = response
        await work.ext.after(work.request, response)


# --- whole answers --------------------------------------------------------------------------------


async def _whole(
    work: Work, fmt: Format, exchange: Exchange, deadline: Deadline, *, passes: bool
) -> Failure | None:
    body = await exchange.read_all(work.gen.response_limit_bytes)
    deadline.off()
    try:
        response = fmt.parse_response(body)
    except Garbled as error:
        failure = fmt.parse_error(200, body)  # some servers answer 200 with an error inside
        return failure if failure.native is not None else Failure("upstream", str(error))
    if passes and fmt.NAME == "ollama" and response.model != work.request.model:
        # Its clients know a model by the name they asked for.
        body = parse_body(body).spliced({"model": work.request.model})
    return await deliver(work, response, body if passes else None)


async def _folded(
    work: Work, fmt: Format, exchange: Exchange, deadline: Deadline
) -> Failure | None:
    """The upstream streams although a whole answer was asked for: fold it."""
    folder = Folder(limit=work.gen.response_limit_bytes)
    decoder = fmt.decoder(limit=work.gen.event_limit_bytes)
    while not folder.finished and (data := await exchange.read()):
        deadline.enter("idle")
        for event in decoder.feed(data):
            folder.add(event)
    if not folder.finished:
        for event in decoder.eof():
            folder.add(event)
    if folder.failure is not None:
        return folder.failure
    deadline.off()
    failure = await deliver(work, folder.response())
    await _drain(exchange)
    return failure


async def deliver(work: Work, response: Response, body: bytes | None = None) -> Failure | None:
    """Hand a whole answer to the client, as a stream where one was asked for.

    body: the upstream's own bytes, good as they are if nobody changes the answer.
    """
    ext, reply, story = work.ext, work.reply, work.story
    answer = response
    if ext.edits_events:
        folded = fold(ext.on_events(unfold(answer)))
        if isinstance(folded, Failure):
            return folded
        answer = folded
    if ext.wants_response:
        answer = await ext.after(work.request, answer)
    story.response, story.usage = answer, answer.usage
    ledger = story.ledger or Ledger()
    story.ledger = ledger
    if reply.streaming:
        encoder = reply.new_encoder(ledger)
        out = b"".join(map(encoder.encode, unfold(answer)))
        if encoder.failure is not None:
            return encoder.failure
        await reply.send(out)
        await reply.finish()
    elif body is not None and answer is response:
        await reply.whole(body)
    else:
        try:
            written = reply.format.write_response(answer, ledger, reply.stamp(), work.request)
        except Garbled as error:
            return Failure("upstream", str(error))
        await reply.whole(written)
    return None
