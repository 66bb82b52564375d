"""A request that came as a bare prompt, before it is written as a conversation.

Owns: what must be said of such a request in every format of conversations: refused where it is
bound to its own format, noted where a prompt is not quite a message.
Refuses to know: how prompts are read, and what a conversation looks like in any format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import Request
    from formats.losses import Losses


def as_conversation(request: Request, losses: Losses) -> None:
    """Every writer asks this first of a request that came in another format than its own."""
    if request.bound:
        raise losses.refusal("bound", at=request.bound[0])
    if request.origin == "completions":
        losses.note("prompt")
