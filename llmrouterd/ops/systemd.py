"""What a service manager is told: ready, reloading, stopping, alive.

Owns: the datagrams of sd_notify(3), and the watchdog's beat.
Refuses to know: what they mean for requests.

Laws:
1. Without NOTIFY_SOCKET everything here is silence.
2. A manager that does not listen never holds the daemon up: nothing waits, nothing raises.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BEATS = 3  # within the time after which the manager believes the daemon to hang


class Notifier:
    """One per daemon. `beat_s`: seconds between two signs of life; 0: nobody waits for them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.beat_s = _beat_s(environ) if address else 0.0

    def ready(self, status: str) -> None:
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Until the next `ready`."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        self._tell(f"STATUS={text}")

    def alive(self, status: str) -> None:
        self._tell("WATCHDOG=1", f"STATUS={status}")

    async def beat(self, status: Callable[[], str]) -> None:
        """As long as this runs the event loop does. Ends at once when nobody waits for it."""
        while self.beat_s:
            self.alive(status())
            await trio.sleep(self.beat_s)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        text = "\n".join(" ".join(line.splitlines()) for line in lines)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), self._address)


def _beat_s(environ: Mapping[str, str]) -> float:
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(wanted) / 1e6 / _BEATS
