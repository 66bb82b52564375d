"""What a request refers to instead of saying it: earlier answers, prompts and jobs that one server keeps.

Owns: which members do that, and the refusal where the server that keeps it is not asked.
Refuses to know: who keeps what; a keeper puts the thing itself in the reference's place before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from formats.canonical import Request
    from formats.losses import Losses

# The members of Responses. Items that are references are parts of their own kind.
REFERENCES: Final = ("previous_response_id", "conversation", "prompt", "background")


def refuse_references(request: Request, losses: Losses) -> None:
    """For writers of every format but the client's own. Raises Unsupported."""
    if request.origin != "responses":
        return
    for name in REFERENCES:
        if request.extra.get(name):
            raise losses.refusal("reference", at=name)
