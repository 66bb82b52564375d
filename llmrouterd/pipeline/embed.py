"""Embeddings: vectors for texts, on the same walk as chats.

Owns: one try at one candidate for a request for vectors, and what routing and the record see of it.
Refuses to know: what the calls look like (formats/embeddings.py), the walk (handle.py).

Laws:
1. The model that was asked for, or none: vectors of another model mean something else. Routing
   knows this (route/decide.py).
2. Classifiers see the texts as they see those of a chat; of plugins, which change chats, only those
   that say so (`vectors`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from formats import embeddings
from formats.canonical import Message, Request, Text, Usage
from formats.errors import Failure, FormatError, Garbled, Invalid, Truncated
from formats.ledger import Ledger
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError, proxy_authorization
from llmrouterd.model import EMPTY
from llmrouterd.pipeline import outgoing
from llmrouterd.pipeline.masked import Mask
from llmrouterd.pipeline.patience import ENDLESS
from llmrouterd.pipeline.refused import not_reached, refused_by
from llmrouterd.route.decide import EMBEDDING
from llmrouterd.route.estimate import text_tokens

if TYPE_CHECKING:
    from formats.embeddings import EmbedRequest
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.model import Candidate, Facts, ModelInfo, Provider
    from llmrouterd.pipeline.daemon import Generation
    from llmrouterd.pipeline.work import Work

_EXTRA, _OPTIONS = "extra", "options"


def as_request(asked: EmbedRequest) -> Request:
    """What classifiers, the log and the feed see: the texts, said by the user."""
    messages = tuple(Message("user", (Text(text),)) for text in asked.texts)
    origin = asked.origin if asked.origin == "openai" else "ollama"
    more = {_EXTRA: dict(asked.extra), _OPTIONS: dict(asked.options)}
    extra = {name: members for name, members in more.items() if members}
    return Request(
        origin,
        asked.model,
        messages,
        user=asked.user,
        plugins=asked.plugins,
        bound=asked.bound,
        extra=extra or EMPTY,
    )


def with_texts(asked: EmbedRequest, changed: Request) -> EmbedRequest:
    """The request as a plugin changed what `as_request` made of it."""
    said = [part.text for m in changed.messages for part in m.parts if isinstance(part, Text)]
    return embeddings.replaced(
        asked,
        tuple(said),
        user=changed.user,
        extra=changed.extra.get(_EXTRA, EMPTY),
        options=changed.extra.get(_OPTIONS, EMPTY),
    )


def quiet(gen: Generation) -> Generation:
    """The generation without what changes or looks at chats."""
    plugins = {name: each for name, each in gen.plugins.items() if each.hook.vectors}
    return replace(gen, plugins=plugins, response_classifiers=())


def facts_of(known: Facts, asked: EmbedRequest) -> Facts:
    """Each text stands alone before the model: the longest one has to fit."""
    sizes = [*(int(text_tokens(text)) for text in asked.texts), *map(len, asked.tokens)]
    return replace(known, needs=frozenset({EMBEDDING}), size_tokens=max(sizes, default=0))


@dataclass(frozen=True, slots=True)
class _Sent:
    """spoken: the format in which the provider is asked, "openai" or "ollama"."""

    provider: Provider
    spoken: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes


async def embed(
    work: Work, asked: EmbedRequest, candidate: Candidate, info: ModelInfo | None
) -> Failure | None:
    """Try `candidate`. None: the client has its vectors."""
    nothing = embeddings.nothing_asked(asked)
    if nothing is not None and work.gen.providers[candidate.provider].format != "ollama":
        return await _deliver(work, asked, nothing)  # it only loads a model: no way to do that here
    sent = _written(work, asked, candidate, info)
    if isinstance(sent, Failure):
        return sent
    limit = work.patience if work.patience.kept else ENDLESS
    with Deadline(sent.provider.clocks, limit.until, limit.seconds) as deadline:
        try:
            failure = await _exchange(work, asked, sent, deadline)
            return None if failure is None else _masked(work, sent, failure)
        except DialError as error:
            work.story.unreached = True
            return not_reached(error)
        except Truncated as error:
            return Failure("truncated", str(error))
        except FormatError as error:
            return Failure("upstream", str(error))
    clock = deadline.expired or "total"
    words = f"the upstream's {clock} clock ran out after {deadline.expired_s:g} s"
    return Failure("timeout", words, clock=clock)


def _masked(work: Work, sent: _Sent, failure: Failure) -> Failure:
    origin, _ = work.gen.upstreams[sent.provider.name]
    return Mask(sent.provider, proxy_authorization(origin), sent.fields).failure(failure)


def _written(
    work: Work, asked: EmbedRequest, candidate: Candidate, info: ModelInfo | None
) -> _Sent | Failure:
    provider = outgoing.provider_of(work, candidate)
    failure = outgoing.withheld(work, provider)
    if failure is not None:
        return failure
    spoken = "ollama" if provider.format == "ollama" else "openai"
    ledger = Ledger()
    target = outgoing.target_of(work, provider, candidate, info)
    try:
        body = embeddings.write_request(asked, spoken, ledger, target)
    except Invalid as error:
        return Failure(error.kind, str(error))
    failure = outgoing.too_lossy(work, candidate, ledger)
    if failure is not None:
        return failure
    call = embeddings.call_of(asked, spoken)
    same = call == asked.origin
    path = outgoing.target(work, provider, embeddings.PATHS[call], same=same)
    fields = outgoing.fields(work, provider, candidate, same=same)
    work.story.begin(ledger, provider.format, path)
    return _Sent(provider, spoken, path, fields, body)


async def _exchange(
    work: Work, asked: EmbedRequest, sent: _Sent, deadline: Deadline
) -> Failure | None:
    origin, _ = work.gen.upstreams[sent.provider.name]
    async with work.daemon.pool.exchange(
        *(origin, "POST", sent.target, sent.fields, sent.body, deadline),
        label=work.label,
        reached=work.story.reached,
    ) as exchange:
        connect_s = exchange.connect_s
        work.story.noted(exchange.receipt, exchange.headers, exchange.status, connect_s)
        if exchange.status != 200:
            return await refused_by(exchange, sent.provider, sent.spoken, origin, sent.fields)
        return await _answered(work, asked, exchange, sent, deadline)


async def _answered(
    work: Work, asked: EmbedRequest, exchange: Exchange, sent: _Sent, deadline: Deadline
) -> Failure | None:
    body = await exchange.read_all(work.gen.response_limit_bytes)
    deadline.begun()
    try:
        answer = embeddings.parse_answer(sent.spoken, body, asked)
        return await _deliver(work, asked, answer)
    except Garbled as error:
        return Failure("upstream", str(error))


async def _deliver(
    work: Work, asked: EmbedRequest, answer: embeddings.EmbedAnswer
) -> Failure | None:
    written = embeddings.write_answer(answer, asked)
    await work.reply.claim()
    if answer.input_tokens is not None:
        work.story.usage = Usage(answer.input_tokens, 0)
    await work.reply.whole(written)
    return None
