"""How late the event loop is: the one figure that tells a busy process from a waiting one.

Owns: a task that asks to be woken once a second, and tells by how much it was woken later.
Refuses to know: who keeps the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 1.0


async def watch_lag(tell: Callable[[float], None]) -> None:
    """Tell the seconds of delay, once a second, until cancelled."""
    while True:
        due = trio.current_time() + EVERY_S
        await trio.sleep_until(due)
        tell(max(0.0, trio.current_time() - due))
