"""A record without the words that somebody else has put into it.

Owns: which members of a record may hold words of a request or of an upstream, and what stands in
their place.
Refuses to know: how a record is written.

Laws:
1. An upstream's error may repeat the prompt, word for word; so may our own about a request that
   makes no sense, and every reason that quotes one of them later. Their kind stays, as a word of
   ours (`upstream`, `timeout:first_token`, `context`).
2. Names stay: of models, providers, rules, tags, clients. Who wants those kept back as well
   has no use for a log.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.model import Decision, ProviderState, Record, Step


def discreet(record: Record) -> Record:
    """The record as a log without bodies may hold it. Its values for programs are as they were."""
    return replace(
        record,
        request=None,
        response=None,
        error=None if record.error is None else record.error_kind or "error",
        attempts=tuple(_attempt(text) for text in record.attempts),
        trace=tuple(_step(step) for step in record.trace),
        dropped=tuple(_field(name) for name in record.dropped),
        decision=None if record.decision is None else _decision(record.decision),
    )


def _attempt(text: str) -> str:
    """`provider/model: kind: message` without the message. A model's name may hold colons, but no
    blank after one."""
    return ": ".join(text.split(": ", 2)[:2])


def _step(step: Step) -> Step:
    return replace(step, reason=step.code)


def _field(name: str) -> str:
    """A field's name; one that no format has is the client's own invention."""
    plain = name.isascii() and len(name) <= 64 and not any(c.isspace() for c in name)
    return name if plain else "(a field of the client's own)"


def _decision(decision: Decision) -> Decision:
    states = {name: _state(state) for name, state in decision.fleet.states.items()}
    return replace(decision, fleet=replace(decision.fleet, states=states))


def _state(state: ProviderState) -> ProviderState:
    """Why a provider is left alone is often what it said last."""
    out = dict.fromkeys(state.models_out, "")
    return replace(state, why="", models_out=out)
