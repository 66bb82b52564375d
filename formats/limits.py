"""The most tokens that an answer may have, where a model is known to write no more.

Owns: that one cut, alike for every format.
Refuses to know: what each format calls the limit, and what it means where none was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import Request, Target
    from formats.losses import Losses


def capped_tokens(request: Request, losses: Losses, target: Target) -> int | None:
    """What the client asked for, or what the model can do. None: the client did not say."""
    limit = request.max_tokens
    if limit is None or not target.max_output or limit <= target.max_output:
        return limit
    losses.note("max_tokens: maximum", most=target.max_output)
    return target.max_output
