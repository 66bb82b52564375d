"""How many tokens a prompt has, asked for before it is sent: /v1/messages/count_tokens.

Owns: asking an upstream that can count, and the estimate where none can.
Refuses to know: how an estimate is made (route/estimate.py), how a chat is served.

Laws:
1. There is always a number: an upstream that cannot count, or does not answer, is replaced by the
   estimate, and the answer's header says which of the two it is.
2. An estimate errs high: a client that trusts it must not run into the limit.
3. Nobody is asked whom the request itself would not be sent to: classifiers, plugins and the rights of
   the client's key count as they do for an answer. On failure nobody else is asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from formats import FORMATS, jsontext, plugins
from formats.errors import Failure, FormatError
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.guard.keyring import Resting
from llmrouterd.model import Clocks
from llmrouterd.pipeline import headers
from llmrouterd.pipeline.binding import label_of
from llmrouterd.pipeline.extend import Extensions
from llmrouterd.pipeline.story import Story
from llmrouterd.route.decide import decide
from llmrouterd.route.estimate import with_margin
from llmrouterd.route.facts import facts
from llmrouterd.route.policies import bounds

if TYPE_CHECKING:
    from formats.canonical import Request
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.guard.egress import Label
    from llmrouterd.model import Candidate, Facts, Headers, Provider
    from llmrouterd.pipeline.daemon import Daemon, Generation

JSON = Any
HEADER = "x-router-token-count"  # "upstream" or "estimate"
_CLOCKS = Clocks(connect_s=2, first_token_s=10, idle_s=5, total_s=15)
_LIMIT = 1 << 16
_CANNOT = frozenset({404, 405, 501})


async def count_tokens(
    request: Request,
    incoming: Incoming,
    gen: Generation,
    daemon: Daemon,
    *,
    tags: tuple[str, ...] = (),
) -> tuple[int, str]:
    """The number, and "upstream" or "estimate". tags: the client's own."""
    aimed = await _aimed(request, incoming, gen, daemon, tags)
    known, place = aimed.known, aimed.place
    if place is not None and incoming.caller.may_ask(request.model):
        label = label_of(bounds(known, gen.routing.policies))
        counted = await _ask(aimed, place, gen, daemon, label)
        if counted is not None:
            return counted, "upstream"
    factor = daemon.calibration.factor(place)
    return with_margin(math.ceil(known.size_tokens * factor)), "estimate"


@dataclass(frozen=True, slots=True)
class _Aimed:
    """The request as it would be sent, what is known of it, to whom it would go, and what would go
    along."""

    request: Request
    known: Facts
    place: Candidate | None
    fields: Headers
    query: str


async def _aimed(
    request: Request,
    incoming: Incoming,
    gen: Generation,
    daemon: Daemon,
    tags: tuple[str, ...],
) -> _Aimed:
    story = Story(daemon, client_format="anthropic", endpoint="count")
    story.unheard()
    story.client, story.given_tags = incoming.caller.name, tags
    ext = Extensions(gen, request, story, asks=False)
    ext.along.fields, ext.along.query = list(incoming.headers), incoming.query
    ready = await ext.before(request)
    refused = isinstance(ready, Failure)
    if not isinstance(ready, Failure):
        request = ready
    known = facts(
        request,
        tags=story.tags,
        client=incoming.caller.name,
        wish=incoming.headers.get("x-router-provider"),
        forced=ext.forced,
        unknown_tags=story.unknown_tags,  # no model is asked about a prompt that is only counted
    )
    place = None
    if not refused and ext.answer is None:  # else no model would see it
        candidates = decide(known, daemon.fleet(gen, 0), gen.routing).candidates
        place = candidates[0] if candidates else None
    return _Aimed(request, known, place, *ext.left_along(incoming.headers, incoming.query))


def _counts(provider: Provider, daemon: Daemon) -> bool:
    """Anthropic's own server does, and so do local servers of OpenAI's format (llama.cpp, vLLM),
    at the very path; those that do not are asked once."""
    if provider.name in daemon.calibration.cannot:
        return False
    return provider.format == "anthropic" or (provider.format == "openai" and provider.local)


def _with_key(provider: Provider, daemon: Daemon) -> Provider | None:
    """The provider with one of its keys; None: all of them rest."""
    ring = daemon.keyring(provider)
    if ring is None:
        return provider
    taken = ring.take(trio.current_time())
    return None if isinstance(taken, Resting) else replace(provider, key=taken.key)


async def _ask(
    aimed: _Aimed,
    place: Candidate,
    gen: Generation,
    daemon: Daemon,
    label: Label,
) -> int | None:
    provider = _with_key(gen.providers[place.provider], daemon)
    raw = aimed.request.raw
    if provider is None or raw is None or not _counts(provider, daemon):
        return None
    same = provider.format == "anthropic"
    origin, prefix = gen.upstreams[provider.name]
    fields = headers.for_upstream(
        provider,
        aimed.fields,
        same_format=same,
        stream=False,
        agent=gen.user_agent,
        refused_betas=daemon.lessons.of(place).refused_betas,
        own_keys=gen.own_keys,
    )
    body = raw.spliced({"model": place.model}, (plugins.MEMBER,))
    target = f"{prefix}/messages/count_tokens"
    if same and aimed.query == "beta=true":
        target += "?beta=true"
    try:
        with Deadline(_CLOCKS) as deadline:
            async with daemon.pool.exchange(
                origin, "POST", target, fields, body, deadline, label=label
            ) as exchange:
                answer = await exchange.read_all(_LIMIT)
                if exchange.status in _CANNOT:
                    daemon.calibration.cannot.add(provider.name)
                return _number(answer) if exchange.status == 200 else None
    except (DialError, FormatError):
        return None
    return None


def _number(body: bytes) -> int | None:
    try:
        value = jsontext.loads(body.decode())
    except ValueError:
        return None
    count = value.get("input_tokens") if isinstance(value, dict) else None
    return count if type(count) is int and count >= 0 else None


def parse(body: bytes) -> Request:
    """A count's body is a Messages request without what only generating needs. Raises Invalid."""
    return FORMATS["anthropic"].parse_request(body)
