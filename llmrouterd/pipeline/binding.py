"""The owner's policies on their way to the door: from bounds to the label that dialling obeys.

Owns: which label a request's bytes carry, before and after it was classified.
Refuses to know: who is bound by what (route/policies.py), which address is local (guard/egress.py).

Law: nothing of a request is sent anywhere without the label of its bounds. What is sent before
anybody knows which policies bind carries the strictest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.guard.egress import FREE, Label
from llmrouterd.route.policies import bounds, strictest

if TYPE_CHECKING:
    from llmrouterd.model import Facts, Routing
    from llmrouterd.pipeline.work import Work
    from llmrouterd.route.policies import Bounds


def label_of(bound: Bounds) -> Label:
    """Where bytes under these bounds may go."""
    return Label(local_only=True, networks=bound.networks) if bound.local else FREE


def unclassified(routing: Routing) -> Label:
    """For what is sent on behalf of a request that nobody has looked at yet."""
    return label_of(strictest(routing.policies))


def confined(label: Label) -> tuple[str, ...] | None:
    """The same for a record, which outlives the request."""
    return label.networks if label.local_only else None


def bind(work: Work, known: Facts) -> None:
    """From here on the request is under its policies, and its record says which."""
    bound = bounds(known, work.gen.routing.policies)
    if bound.policies:
        work.label = label_of(bound)
        work.story.policies = tuple(policy.where for policy in bound.policies)
    work.story.confined = confined(work.label)
