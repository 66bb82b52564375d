"""One try at one candidate.

Owns: the exchange under its clocks, and reading what came of it as a whole answer, a stream, or a
Failure.
Refuses to know: what is sent (outgoing.py), which candidate comes next (route/plan.py), what the
client sees of a failure.

Laws:
1. What an upstream does wrong is a Failure value, never an exception; what escapes is our bug.
2. A Failure with `reply.content_sent` unset leaves the walk free to go on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from formats.canonical import Response
from formats.errors import Failure, FormatError, Garbled, Truncated
from formats.fields import field
from formats.figures import counted, with_figures
from formats.fold import Folder, fold, unfold
from formats.history import unsigned
from formats.jsontext import parse_body
from formats.ledger import Ledger
from formats.ollama import load_answer
from formats.openai_chat.finish import with_finish
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError, proxy_authorization
from llmrouterd.guard.keyring import Resting
from llmrouterd.model import Outcome
from llmrouterd.pipeline import echo, headers
from llmrouterd.pipeline.aside import sends_on
from llmrouterd.pipeline.embed import embed
from llmrouterd.pipeline.fetch import with_images
from llmrouterd.pipeline.lessons import seal_refused
from llmrouterd.pipeline.masked import Mask
from llmrouterd.pipeline.outgoing import Outgoing, outgoing
from llmrouterd.pipeline.patience import ENDLESS
from llmrouterd.pipeline.recall import Listener, hear_whole
from llmrouterd.pipeline.refused import not_reached, refused
from llmrouterd.pipeline.relay import CONTENT, TAIL_S, PassLane, TurnLane, pump
from llmrouterd.pipeline.steady import NOTE, steady
from llmrouterd.pipeline.weights import weights_of
from llmrouterd.route.estimate import tokens
from llmrouterd.route.prefixes import conversation_of, place_of, prints_of

if TYPE_CHECKING:
    from formats.canonical import Request
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.guard.keyring import Keyring
    from llmrouterd.model import Candidate, ModelInfo
    from llmrouterd.pipeline.relay import Lane
    from llmrouterd.pipeline.work import Work


async def attempt(work: Work, candidate: Candidate, info: ModelInfo | None) -> Failure | None:
    """Try `candidate`. None: the client has its answer. A Failure: look at `reply.content_sent`."""
    provider = work.gen.providers[candidate.provider]
    work.story.priced_by, work.story.weights = provider, weights_of(info)
    chat = work.embed is None
    if chat and work.request.origin in ("ollama", "generate") and provider.format != "ollama":
        loaded = load_answer(work.request)
        if loaded is not None:  # nothing is asked, and elsewhere there is nothing to load
            work.story.begin_here()
            return await deliver(work, loaded)
    if provider.format == "echo" and chat:
        if work.request.bound:
            words = f"only an upstream of the client's own format knows {work.request.bound[0]}"
            return Failure("unsupported", words)
        work.story.begin_here()
        answer = echo.answer(work.request, candidate.model, prompt_tokens=work.story.size_tokens)
        work.story.usage_estimated = True
        return await deliver(work, answer)
    ring = work.daemon.keyring(provider)
    if ring is not None:
        return await _with_keys(work, candidate, info, ring)
    return await _learning(work, candidate, info)


async def _with_keys(
    work: Work, candidate: Candidate, info: ModelInfo | None, ring: Keyring
) -> Failure | None:
    """One key after the other, as long as it is only the key that an upstream objects to."""
    while True:
        taken = ring.take(trio.current_time())
        if isinstance(taken, Resting):
            wait_s = taken.until - trio.current_time()
            return Failure(taken.kind or "rate_limit", taken.reason, retry_after_s=wait_s)
        work.key = taken.key
        failure = await _learning(work, candidate, info)
        if failure is None:
            ring.answered(taken)
            return None
        now = trio.current_time()
        outcome = Outcome(candidate, failure, 0.0, now)
        about_key = not work.reply.content_sent and ring.failed(taken, outcome, now)
        if not about_key:
            return failure
        work.story.notes.append(f"{taken.name} of {candidate.provider}: {failure.tag}")
        resting = ring.resting(now)
        if resting is not None:
            return replace(failure, retry_after_s=resting.until - now)


async def _learning(work: Work, candidate: Candidate, info: ModelInfo | None) -> Failure | None:
    """A try, and a second one when the first one taught how this server wants to be asked."""
    if work.embed is not None:
        return await embed(work, work.embed, candidate, info)
    failure = await _once(work, candidate, info)
    if failure is None or work.reply.content_sent:
        return failure
    sealed = seal_refused(failure)
    if not sealed and not work.daemon.lessons.learn(candidate, failure, own_text=_is_own(work)):
        return failure
    return await _once(
        work, candidate, info, sealed=not sealed
    )  # said differently, it may be taken


def _is_own(work: Work) -> bool:
    """A client of Anthropic's format sent its own text: agents read such a refusal themselves, and
    ask again in their own way."""
    request = work.request
    return request.origin == "anthropic" == work.story.upstream_format and request.raw is not None


def _steady(work: Work, request: Request) -> Request:
    lean = steady(request)
    if lean is not request and NOTE not in work.story.notes:
        work.story.notes.append(NOTE)
    return lean


def _compare(work: Work, request: Request, candidate: Candidate) -> None:
    """Note where the prompt differs from the last one of its conversation there: its server cannot
    use again what it has read."""
    conversation = conversation_of(request, work.incoming, work.story.client)
    key = (conversation, candidate.provider, candidate.model)
    at = work.daemon.prefixes.compared(key, prints_of(request), trio.current_time())
    if at is None:
        return
    words = f"prompt differs from the last one at {place_of(request, at)}"
    if words not in work.story.notes:  # of two that are asked beside each other one is enough
        work.story.notes.append(words)


async def _once(
    work: Work, candidate: Candidate, info: ModelInfo | None, *, sealed: bool = True
) -> Failure | None:
    """sealed: hand back what a vendor sealed; it may be another than this one."""
    ledger = Ledger()
    provider = work.gen.providers[candidate.provider]
    request = await with_images(work, provider)
    made = await work.ext.for_attempt(request, provider, candidate, info)
    if isinstance(made, Failure):
        return made
    if made is not request:
        request = made
        work.story.size_tokens = max(work.story.size_tokens, tokens(request))
    if provider.local if provider.strip_nonces is None else provider.strip_nonces:
        request = _steady(work, request)
    if not sealed:
        path = field(request.origin, "reasoning")
        bare = unsigned(request.messages, ledger, path)
        request = replace(request, messages=bare, raw=None)
    sent = outgoing(work, request, candidate, info, ledger)
    if isinstance(sent, Failure):
        return sent
    if work.daemon.sinks:
        _compare(work, request, candidate)
    work.story.begin(ledger, sent.codec.NAME, sent.target)
    limit = work.patience if work.patience.kept else ENDLESS
    with Deadline(sent.provider.clocks, limit.until, limit.seconds) as deadline:
        try:
            failure = await _exchange(work, sent, deadline)
            return None if failure is None else mask_of(work, sent).failure(failure)
        except DialError as error:
            work.story.unreached = True
            return not_reached(error)
        except Truncated as error:
            return Failure("truncated", str(error))
        except FormatError as error:
            return Failure("upstream", str(error))
    if work.reply.client.finished:  # the clock ran out while the upstream ended its body
        return None
    return ran_out(deadline)


def mask_of(work: Work, sent: Outgoing) -> Mask:
    origin, _ = work.gen.upstreams[sent.provider.name]
    return Mask(sent.provider, proxy_authorization(origin), sent.fields)


def ran_out(deadline: Deadline) -> Failure:
    """Which clock it was, and what it was set to."""
    clock = deadline.expired or "total"
    if clock == "request":
        words = f"the client's {deadline.expired_s:g} s were over before an answer had begun"
        return Failure("timeout", words, clock=clock)
    text = f"the upstream's {clock} clock ran out after {deadline.expired_s:g} s"
    return Failure("timeout", text, clock=clock)


# --- the exchange ---------------------------------------------------------------------------------


async def _exchange(work: Work, sent: Outgoing, deadline: Deadline) -> Failure | None:
    reply = work.reply
    origin, _ = work.gen.upstreams[sent.provider.name]
    async with work.daemon.pool.exchange(
        origin,
        "POST",
        sent.target,
        sent.fields,
        sent.body,
        deadline,
        label=work.label,
        patiently=reply.patiently if reply.quiet_s else None,
        reached=work.story.reached,
    ) as exchange:
        connect_s = exchange.connect_s
        work.story.noted(exchange.receipt, exchange.headers, exchange.status, connect_s)
        if sent.same:
            work.story.upstream_fields = headers.of_account(sent.provider, exchange.headers)
        if exchange.status != 200:
            if sent.same:
                work.story.upstream_fields = headers.of_failure(sent.provider, exchange.headers)
            return await refused(exchange, sent, origin)
        return await _answered(work, sent, exchange, deadline)


async def _answered(
    work: Work, sent: Outgoing, exchange: Exchange, deadline: Deadline
) -> Failure | None:
    kind = (exchange.headers.get("content-type") or "").partition(";")[0].strip().lower()
    streamed = kind in ("text/event-stream", "application/x-ndjson", "application/stream+json")
    if kind == "text/html":
        words = "the upstream answered with a page of HTML instead of JSON"
        return Failure("upstream", f"{words}: is base_url right?")
    if work.request.stream and (streamed or kind != "application/json"):
        return await _stream(work, sent, exchange, deadline)
    if streamed:
        return await _folded(work, sent, exchange, deadline)
    return await _whole(work, sent, exchange, deadline)


# --- streams --------------------------------------------------------------------------------------


async def _stream(
    work: Work, sent: Outgoing, exchange: Exchange, deadline: Deadline
) -> Failure | None:
    lane = _lane(work, sent)
    judge = partial(_judge, work, lane) if work.unwelcome else None
    try:
        failure = await pump(exchange, deadline, lane, work.reply, judge)
    finally:  # of a stream that was cut short, the record has what came
        _note(work, lane)
    if failure is not None:
        return failure
    deadline.off()
    await _end(lane, work)
    if not lane.cut:
        await _drain(exchange)
    return None


def _note(work: Work, lane: Lane) -> None:
    work.story.usage, work.story.usage_estimated = lane.usage, lane.estimated
    work.story.response = lane.response()


async def _end(lane: Lane, work: Work) -> None:
    """All has been sent: what is left is to look at it, and the proper end."""
    lane.note_answer(work.reply)
    if work.ext.wants_response and not lane.holds:
        await _look(work, lane)
    await work.reply.finish()


async def _judge(work: Work, lane: Lane, out: bytes) -> Failure | None:
    """Whether a stream that was held back may go out."""
    response = _read(lane)
    if response is None:
        return None
    _note(work, lane)

    async def give(work: Work) -> None:
        await work.reply.send(out)
        await _end(lane, work)

    return await sends_on(work, response, give)


async def _drain(exchange: Exchange) -> None:
    """Read what ends the body, so that the connection can be used again. All was said before."""
    with trio.move_on_after(TAIL_S), suppress(FormatError):
        while await exchange.read():
            pass


def _lane(work: Work, sent: Outgoing) -> Lane:
    fmt, limit = sent.codec, work.gen.event_limit_bytes
    assert work.story.ledger is not None
    encoder = work.reply.new_encoder(work.story.ledger)
    if sent.passes:
        observer = fmt.observer(work.request, limit=limit)
        return PassLane(fmt, observer, mask_of(work, sent), keep=work.keep, limit=limit)

    async def finish(response: Response) -> Response:
        return await work.ext.after(work.request, response)

    listener = Listener(work.recall) if sent.recalls else None
    decoder = sent.decoder(limit)
    return TurnLane(
        decoder,
        encoder,
        work.ext,
        mask_of(work, sent),
        keep=work.keep,
        prompt_tokens=work.story.size_tokens,
        finish=finish,
        listener=listener,
    )


async def _look(work: Work, lane: Lane) -> None:
    """Hooks that look at an answer which has gone out already."""
    response = _read(lane)
    if response is not None:
        work.story.response = response
        await work.ext.after(work.request, response)


def _read(lane: Lane) -> Response | None:
    seen = lane.response()
    return seen if isinstance(seen, Response) or seen is None else seen.response()


# --- whole answers --------------------------------------------------------------------------------


async def _whole(
    work: Work, sent: Outgoing, exchange: Exchange, deadline: Deadline
) -> Failure | None:
    fmt, passes = sent.codec, sent.passes and not work.request.stream
    body = await exchange.read_all(work.gen.response_limit_bytes)
    deadline.begun()
    try:
        response = sent.parse_response(body)
    except Garbled as error:
        failure = fmt.parse_error(200, body)  # some servers answer 200 with an error inside
        return failure if failure.native is not None else Failure("upstream", str(error))
    await work.reply.claim()
    if passes and fmt.NAME in ("ollama", "generate") and response.model != work.request.model:
        # Its clients know a model by the name they asked for.
        body = parse_body(body).spliced({"model": work.request.model})
    if passes and fmt.NAME == "openai" and response.stop_native is None:
        body = with_finish(body)
    if fmt.NAME == "anthropic" and response.usage is None:
        passes = False  # its clients take for granted that there are figures
    if passes:
        return await deliver(work, response, body)
    return await _figured(work, response, hears=sent.recalls)


async def _folded(
    work: Work, sent: Outgoing, exchange: Exchange, deadline: Deadline
) -> Failure | None:
    """The upstream streams although a whole answer is due: fold it."""
    folder = Folder(limit=work.gen.response_limit_bytes)
    decoder = sent.decoder(work.gen.event_limit_bytes)
    content = False
    while not folder.finished and (data := await exchange.read()):
        for event in decoder.feed(data):
            folder.add(event)
            content = content or isinstance(event, CONTENT)
        if content:
            work.first_at = work.first_at or trio.current_time()
            deadline.off()
            await work.reply.claim()
            deadline.enter("idle")
    if not folder.finished:
        for event in decoder.eof():
            folder.add(event)
    if folder.failure is not None:
        return folder.failure
    deadline.begun()
    response = folder.response()
    response = response if response.model else replace(response, model=sent.model)
    await work.reply.claim()
    failure = await _figured(work, response, hears=sent.recalls)
    await _drain(exchange)
    return failure


async def _figured(work: Work, response: Response, *, hears: bool) -> Failure | None:
    """Deliver an answer that is written anew, with the figures that its server did not give."""
    if not counted(response.usage):
        response = with_figures(response, work.story.size_tokens)
        work.story.usage_estimated = True
    return await deliver(work, response, hears=hears)


async def deliver(
    work: Work, response: Response, body: bytes | None = None, *, hears: bool = False
) -> Failure | None:
    """Hand a whole answer to the client, as a stream where one was asked for.

    body: the upstream's own bytes, good as they are if nobody changes the answer. hears: what the client
    will not hand back is remembered.
    """
    await work.reply.claim()
    work.story.response, work.story.usage = response, response.usage

    async def give(work: Work) -> Failure | None:
        return await _give(work, response, body, hears=hears)

    return await sends_on(work, response, give) or await give(work)


async def _give(
    work: Work, response: Response, body: bytes | None, *, hears: bool
) -> Failure | None:
    ext, reply, story = work.ext, work.reply, work.story
    answer = response
    if ext.edits_events:
        folded = fold(ext.editing()(unfold(answer)))
        if isinstance(folded, Failure):
            return folded
        answer = folded
    if hears:
        hear_whole(work.recall, answer)
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
        reply.note_answer(encoder, passed=False)
        await reply.send(out)
        await reply.finish()
    elif body is not None and answer is response:
        await reply.whole(body, passed=True)
    else:
        try:
            written = reply.format.write_response(answer, ledger, reply.stamp(), reply.request)
        except Garbled as error:
            return Failure("upstream", str(error))
        await reply.whole(written)
    return None
