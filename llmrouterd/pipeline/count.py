"""How many tokens a prompt has, asked for before it is sent: /v1/messages/count_tokens.

Owns: asking an upstream that can count, and the estimate where none can.
Refuses to know: how an estimate is made (route/estimate.py), how a chat is served.

Laws:
1. There is always a number: an upstream that cannot count, or does not answer, is replaced by the
   estimate, and the answer's header says which of the two it is.
2. An estimate errs high: a client that trusts it must not run into the limit.
3. Nobody is asked whom the request itself could not be sent to; on failure nobody else is asked.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formats import FORMATS, jsontext
from formats.errors import FormatError
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Clocks
from llmrouterd.pipeline import headers
from llmrouterd.pipeline.binding import label_of
from llmrouterd.route.decide import decide
from llmrouterd.route.estimate import with_margin
from llmrouterd.route.facts import facts
from llmrouterd.route.policies import bounds

if TYPE_CHECKING:
    from formats.canonical import Request
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.guard.egress import Label
    from llmrouterd.model import Candidate, Provider
    from llmrouterd.pipeline.daemon import Daemon, Generation

JSON = Any
HEADER = "x-router-token-count"  # "upstream" or "estimate"
_CLOCKS = Clocks(connect_s=2, first_token_s=10, idle_s=5, total_s=15)
_LIMIT = 1 << 16
_CANNOT = frozenset({404, 405, 501})


async def count_tokens(
    request: Request, incoming: Incoming, gen: Generation, daemon: Daemon
) -> tuple[int, str]:
    """The number, and "upstream" or "estimate"."""
    known = facts(request, tags=(), client=incoming.caller.name)
    if gen.routing.policies:  # nobody classifies it: whatever policy may bind it does
        known = replace(known, unclassified=("count",))
    verdict = decide(known, daemon.fleet(gen, 0), gen.routing)
    place = verdict.candidates[0] if verdict.candidates else None
    if place is not None:
        label = label_of(bounds(known, gen.routing.policies))
        counted = await _ask(request, incoming, place, gen, daemon, label)
        if counted is not None:
            return counted, "upstream"
    factor = daemon.calibration.factor(place)
    return with_margin(math.ceil(known.size_tokens * factor)), "estimate"


def _counts(provider: Provider, daemon: Daemon) -> bool:
    """Anthropic's own server does, and so do local servers of OpenAI's format (llama.cpp, vLLM),
    at the very path; those that do not are asked once."""
    if provider.name in daemon.calibration.cannot:
        return False
    return provider.format == "anthropic" or (provider.format == "openai" and provider.local)


async def _ask(
    request: Request,
    incoming: Incoming,
    place: Candidate,
    gen: Generation,
    daemon: Daemon,
    label: Label,
) -> int | None:
    provider = gen.providers[place.provider]
    if request.raw is None or not _counts(provider, daemon):
        return None
    same = provider.format == "anthropic"
    origin, prefix = gen.upstreams[provider.name]
    fields = headers.for_upstream(
        provider,
        incoming.headers,
        same_format=same,
        stream=False,
        agent=gen.user_agent,
        own_keys=gen.own_keys,
    )
    body = request.raw.spliced({"model": place.model})
    target = f"{prefix}/messages/count_tokens"
    if same and incoming.query == "beta=true":
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
