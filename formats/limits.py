"""The most tokens that an answer may have, where more is known to be impossible or refused.

Owns: that one cut, alike for every format.
Refuses to know: what each format calls the limit, and what it means where none was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import Request, Target
    from formats.losses import Losses


def capped_tokens(request: Request, losses: Losses, target: Target) -> int | None:
    """What the client asked for, or what can be had. None: the client did not say."""
    limit = request.max_tokens
    known = [(target.max_output, "max_tokens: maximum"), (target.room, "max_tokens: room")]
    most, case = min((each for each in known if each[0]), default=(0, ""))
    if limit is None or not most or limit <= most:
        return limit
    losses.note(case, most=most)
    return most
