"""What the daemon does when it is sent a signal, or its configuration changes.

Owns: SIGTERM and SIGINT (drain, then stop at once), SIGHUP (reload), SIGUSR1 (open the log anew),
and watching the configuration's file.
Refuses to know: how any of that is done.

Laws:
1. The first signal to end drains, the second ends at once.
2. A signal is heeded while another is: reloading has a task of its own.
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOG = logging.getLogger("llmrouter")
WATCH_S = 1.0  # between two looks at the file; the same twice after a change, and it is read
Look = tuple[int, int, int]
_ENDS = (signal.SIGTERM, signal.SIGINT)


async def heed(
    *,
    end: Callable[[bool], None],
    reload: Callable[[], Awaitable[None]],
    reopen: Callable[[], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """end: told whether it is to be at once. Runs until cancelled."""
    hup, usr1 = signal.SIGHUP, signal.SIGUSR1
    with trio.open_signal_receiver(*_ENDS, hup, usr1) as signals:
        async with trio.open_nursery() as nursery:
            task_status.started()
            ending = False
            async for number in signals:
                name = signal.Signals(number).name
                if number == hup:
                    LOG.info("%s: reading the configuration again", name)
                    nursery.start_soon(reload)
                elif number == usr1:
                    LOG.info("%s: opening the request log anew", name)
                    reopen()
                else:
                    LOG.info("%s: %s", name, "stopping at once" if ending else "draining")
                    end(ending)
                    ending = True


async def watch(path: str, known: Look, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` whenever the file is another than `known`, and then again. Editors write in
    several steps, so a change counts when it has stood still for one look."""
    seen: Look | None = known
    while True:
        await trio.sleep(WATCH_S)
        now = look(path)
        if now is not None and now == seen and now != known:
            known = now
            LOG.info("%s has changed: reading it again", path)
            await changed()
        seen = now


def look(path: str) -> Look | None:
    """What tells one state of a file from another; None while there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
