"""A request that came as a bare prompt, before it is written as a conversation.

Owns: what must be said of such a request in every format of conversations: refused where it is
bound to its own format, noted where a prompt is not quite a message.
Refuses to know: how prompts are read, and what a conversation looks like in any format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats.errors import Unsupported

if TYPE_CHECKING:
    from formats.canonical import Request
    from formats.ledger import Ledger


def as_conversation(request: Request, ledger: Ledger) -> None:
    """Every writer asks this first of a request that came in another format than its own."""
    if request.bound:
        raise Unsupported(request.bound[0], "only an upstream of the client's own format has this")
    if request.origin == "completions":
        why = "a bare prompt is sent as a message of the user's"
        ledger.note("prompt", "approximated", why)
