"""What a process that the supervisor forked knows of its parent.

Owns: the words on the link between the two, read as signals are, and the signs of life.
Refuses to know: what the supervisor makes of them (supervisor.py), what a reload is.

Laws:
1. Signals mean nothing to a child: a terminal and a service manager send them to the whole group,
   and the parent says once what is to be done.
2. A link that has ended says that the parent is gone: the child drains and ends.
"""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from llmrouterd.ops.systemd import Notifier

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from llmrouterd.edge.listen import Listener
    from llmrouterd.ops.tally import Tally

LOG = logging.getLogger("llmrouter")
BEAT_S = 1.0
IDS = 1_000_000_000  # requests' ids for each process: the next one begins beyond
DRAIN, STOP, RELOAD, REOPEN = "drain", "stop", "reload=", "reopen"
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_WORD = 4096


@dataclass(frozen=True, slots=True)
class Child:
    """number: 1 to N of a worker, 0 of the hub. life: the how-manieth process it is of all. hub: where
    its socket is; listening: that socket itself, for the hub, and awaited: which workers there are
    before it. generation: of the configuration. tally: of all workers' connections."""

    number: int
    life: int
    link: socket.socket
    hub: str
    listeners: tuple[Listener, ...] = ()
    listening: socket.socket | None = None
    generation: int = 1
    awaited: frozenset[int] = frozenset()
    tally: Tally | None = None

    @property
    def first_id(self) -> int:
        return (self.life - 1) * IDS + 1


def deafen() -> None:
    """Law 1."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


class Link(Notifier):
    """The child's end. What a service manager would be told goes to the parent."""

    def __init__(self, link: socket.socket) -> None:
        super().__init__({})
        self.beat_s = BEAT_S
        self.orphaned = False
        self._sock = link
        link.setblocking(False)

    def _tell(self, *lines: str) -> None:
        text = "".join(" ".join(line.splitlines()) + "\n" for line in lines)
        with suppress(OSError):  # a parent that does not read, or is gone
            self._sock.send(text.encode())

    async def heed(
        self,
        *,
        end: Callable[[bool], None],
        reload: Callable[[int], Awaitable[None]],
        reopen: Callable[[], None],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """As signals.heed. reload: told the number of the configuration. Runs until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while words := await self._words():
                for word in words:
                    if word in (DRAIN, STOP):
                        end(word == STOP)
                    elif word.startswith(RELOAD):
                        nursery.start_soon(reload, int(word.removeprefix(RELOAD)))
                    elif word == REOPEN:
                        reopen()
            self.orphaned = True
            LOG.warning("the supervisor is gone: draining")
            end(False)
            await trio.sleep_forever()

    async def _words(self) -> list[str]:
        """What the parent says next; nothing when it is gone."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(_WORD).decode().split()
            except BlockingIOError:
                continue
            except OSError:
                return []
