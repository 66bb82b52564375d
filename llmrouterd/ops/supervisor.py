"""The parent of several workers.

Owns: the listening sockets, one hub and N workers, their restarts, the signals, the words to the
service manager.
Refuses to know: requests, and trio's loop: it forks, so it starts no thread and no loop before.

Laws:
1. It forks, and never touches a request. `run` returns in a child, too: with what that is to be.
2. A child that ends unasked is started again, sooner the first time than the tenth (`pause_s`).
3. What it was told is told on once. A second signal to end ends at once; who does not end in time is
   killed.
4. Nothing is left behind: no child, no socket, no folder. When it is killed itself its children see
   the end of their links; the hub, the last of them, takes the folder away.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouterd.edge.listen import BACKLOG
from llmrouterd.guard.budget import Budget
from llmrouterd.model import ConfigError
from llmrouterd.ops import signals
from llmrouterd.ops.current import with_fixed
from llmrouterd.ops.generation import build
from llmrouterd.ops.listening import handed_down, listeners
from llmrouterd.ops.spendings import Spendings
from llmrouterd.ops.systemd import Notifier
from llmrouterd.ops.tally import Tally
from llmrouterd.ops.worker import BEAT_S, DRAIN, RELOAD, REOPEN, STOP, Child, deafen
from llmrouterd.pipeline.admit import today

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from llmrouterd.config import Config

LOG = logging.getLogger("llmrouter.workers")
HUB = 0
TICK_S = 0.25
PAUSES_S = (0.1, 30.0)  # before a child is started again: the first time, the longest
HUB_PAUSE_S = 2.0  # the longest of the hub: what is limited waits for it
SETTLED_S = 10.0  # who lived so long starts with the first pause again
SILENT_S = 10.0  # without a sign of life: the service manager is told nothing then
GRACE_S = 10.0  # beyond drain_timeout, before a child is killed
_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
_READ = 65536


@dataclass
class Place:
    """Where a child is, or is to be. failures: ends in a row that came too soon."""

    number: int
    pid: int = 0
    link: socket.socket | None = None
    ready: bool = False
    begun: float = 0.0
    beaten: float = 0.0
    status: str = ""
    failures: int = 0
    due: float = 0.0
    text: bytes = field(default=b"")

    @property
    def name(self) -> str:
        return f"worker {self.number}" if self.number else "the hub"


def pause_s(failures: int) -> float:
    return min(PAUSES_S[0] * 2.0 ** min(failures, 20), PAUSES_S[1])


class Supervisor:
    def __init__(
        self,
        config: Config,
        *,
        user_agent: str,
        environ: MutableMapping[str, str],
        load: Callable[[], Config] | None = None,
        watch: bool = False,
        ready: Callable[[Config, tuple[str, ...], bool], None],
        in_force: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Raises ConfigError when the configuration cannot be served; nothing is open then."""
        build(config, 1, user_agent)
        if config.server.state_dir:
            Spendings(config.server.state_dir).load(Budget(), today())
        self.config = config
        self._user_agent = user_agent
        self._load = load
        self._ready, self._in_force = ready, in_force
        self._watched = signals.look(config.path) if watch else None
        self._looked, self._look_at = self._watched, 0.0
        self._watch = watch
        self.listeners = listeners(config, handed_down(environ))
        self.notifier = Notifier(environ)
        environ.pop("NOTIFY_SOCKET", None)  # it is the parent that speaks
        self._folder = Path(tempfile.mkdtemp(prefix="llmrouter-"))  # 0700
        self._hub = str(self._folder / "hub.sock")
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._tally = Tally(config.server.workers)
        self._places = [Place(number) for number in range(config.server.workers + 1)]
        self._generation = 1
        self._lives = 0
        self._announced = False
        self._ending = 0  # how often it was told to
        self._kill_at = 0.0
        self._beat_at = 0.0

    def run(self) -> Child | None:
        """None: all has ended in order. A Child: this is that process now."""
        try:
            self._listening.bind(self._hub)
            self._listening.listen(BACKLOG)
        except OSError as error:
            self._clear()
            raise ConfigError([f"{self._hub}: no socket can be made there: {error}"]) from error
        self._wake, wakes = socket.socketpair()
        for end in (self._wake, wakes):
            end.setblocking(False)
        before = {number: signal.signal(number, _heard) for number in _HEARD}
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        child = self._loop()
        signal.set_wakeup_fd(-1)
        self._wake.close()
        wakes.close()
        if child is None:
            self._clear()
            for number, old in before.items():
                signal.signal(number, old)
        return child

    def _loop(self) -> Child | None:
        while True:
            now = time.monotonic()
            for place in self._places:
                if not place.pid and now >= place.due and self._wanted(place):
                    child = self._start(place, now)
                    if child is not None:
                        return child
            if self._ending and not any(place.pid for place in self._places):
                return None
            self._wait()
            self._reap()
            self._beat()
            self._look()
            self._end_late()

    def _wanted(self, place: Place) -> bool:
        """Workers come when there is a hub; when all is to end, nobody comes any more."""
        return not self._ending and (place.number == HUB or self._places[HUB].ready)

    # --- children ---------------------------------------------------------------------------------

    def _start(self, place: Place, now: float) -> Child | None:
        """Fork. In the child: what it is."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._lives += 1
        life = self._lives
        pid = os.fork()
        if pid == 0:
            ours.close()
            return self._become(place, theirs, life)
        theirs.close()
        place.pid, place.link, place.ready, place.text = pid, ours, False, b""
        place.begun = place.beaten = now
        LOG.debug("%s is process %d", place.name, pid)
        return None

    def _become(self, place: Place, link: socket.socket, life: int) -> Child:
        deafen()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for other in self._places:
            if other.link is not None:
                other.link.close()
        if place.number == HUB:
            for listener in self.listeners:
                listener.sock.close()
            alive = frozenset(other.number for other in self._places[1:] if other.pid)
            return Child(HUB, life, link, self._hub, listening=self._listening, awaited=alive)
        self._listening.close()
        theirs = tuple(replace(listener, made=None) for listener in self.listeners)
        return Child(
            place.number,
            life,
            link,
            self._hub,
            theirs,
            generation=self._generation,
            tally=self._tally,
        )

    def _reap(self) -> None:
        for place in self._places:
            if not place.pid:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                self._ended(place, os.waitstatus_to_exitcode(status))

    def _ended(self, place: Place, code: int) -> None:
        now = time.monotonic()
        lived = now - place.begun
        place.failures = 0 if lived >= SETTLED_S else place.failures + 1
        if place.link is not None:
            place.link.close()
        place.pid, place.link, place.ready = 0, None, False
        self._tally.put(place.number, 0)
        if self._ending:
            if not any(each.pid for each in self._places[1:]):
                self._say(self._places[HUB], DRAIN)
            return
        pause = pause_s(max(0, place.failures - 1))
        place.due = now + (min(pause, HUB_PAUSE_S) if place.number == HUB else pause)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        LOG.error("%s %s; it starts again in %.1f s", place.name, how, place.due - now)

    def _say(self, place: Place, word: str) -> None:
        if place.link is not None:
            with suppress(OSError):
                place.link.send(f"{word}\n".encode())

    def _say_all(self, word: str) -> None:
        for place in self._places[1:]:
            self._say(place, word)

    # --- what comes -------------------------------------------------------------------------------

    def _wait(self) -> None:
        links = {place.link: place for place in self._places if place.link is not None}
        readable, _, _ = select.select([self._wake, *links], [], [], TICK_S)
        for sock in readable:
            if sock is self._wake:
                for number in self._wake.recv(_READ):
                    self._signalled(number)
            else:
                self._told(links[sock])

    def _told(self, place: Place) -> None:
        assert place.link is not None
        try:
            data = place.link.recv(_READ)
        except OSError:
            data = b""
        if not data:
            place.link.close()
            place.link = None
            return
        *lines, place.text = (place.text + data).split(b"\n")
        place.text = place.text[-_READ:]
        for line in lines:
            name, _, value = line.decode("utf-8", "replace").partition("=")
            if name == "READY":
                place.ready = True
            elif name == "WATCHDOG":
                place.beaten = time.monotonic()
            elif name == "STATUS":
                place.status = value
        if not self._announced and all(each.ready for each in self._places):
            self._announce()

    def _announce(self) -> None:
        self._announced = True
        addresses = tuple(listener.address for listener in self.listeners)
        secure = any(listener.tls is not None for listener in self.listeners)
        self._ready(self.config, addresses, secure)
        self.notifier.ready(self._status())

    def _status(self) -> str:
        up = sum(place.ready for place in self._places[1:])
        each = "; ".join(f"{p.number}: {p.status}" for p in self._places[1:] if p.status)
        return f"{up} of {len(self._places) - 1} workers ({each})"

    def _beat(self) -> None:
        """Law of the watchdog: a sign of life is that of all workers."""
        now = time.monotonic()
        if not self.notifier.beat_s or now < self._beat_at or not self._announced:
            return
        self._beat_at = now + self.notifier.beat_s
        if all(now - p.beaten < max(SILENT_S, 3 * BEAT_S) for p in self._places if p.pid):
            self.notifier.alive(self._status())

    # --- signals ----------------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            LOG.info("SIGHUP: reading the configuration again")
            self._reload()
        elif number == signal.SIGUSR1:
            LOG.info("SIGUSR1: opening the request log anew")
            self._say(self._places[HUB], REOPEN)
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._end(signal.Signals(number).name)

    def _end(self, name: str) -> None:
        LOG.info("%s: %s", name, "stopping at once" if self._ending else "draining")
        self.notifier.stopping("draining")
        self._ending += 1
        grace_s = 0.0 if self._ending > 1 else self.config.server.drain_timeout
        self._kill_at = time.monotonic() + grace_s + GRACE_S
        for listener in self.listeners:
            listener.sock.close()  # the file of a unix socket goes at the end
        self._say_all(DRAIN if self._ending == 1 else STOP)
        if not any(place.pid for place in self._places[1:]):
            self._say(self._places[HUB], DRAIN)

    def _end_late(self) -> None:
        if not self._ending or time.monotonic() < self._kill_at:
            return
        self._kill_at = time.monotonic() + GRACE_S
        for place in self._places:
            if place.pid:
                LOG.error("%s does not end: it is killed", place.name)
                os.kill(place.pid, signal.SIGKILL)

    def _reload(self) -> None:
        """Looked at here, so that nobody is told of a file with a mistake."""
        if self._ending or self._load is None:
            return
        self.notifier.reloading()
        try:
            config = with_fixed(self._load(), self.config)
            build(config, self._generation + 1, self._user_agent)
        except ConfigError as error:
            for problem in error.problems:
                LOG.error("not reloaded: %s", problem)
        else:
            self.config = config
            self._generation += 1
            self._in_force(self._generation)
            self._say_all(f"{RELOAD}{self._generation}")
        self.notifier.ready(self._status())

    def _look(self) -> None:
        """The file, as signals.watch looks at it."""
        now = time.monotonic()
        if not self._watch or now < self._look_at:
            return
        self._look_at = now + signals.WATCH_S
        found = signals.look(self.config.path)
        if found is not None and found == self._looked and found != self._watched:
            self._watched = found
            LOG.info("%s has changed: reading it again", self.config.path)
            self._reload()
        self._looked = found

    def _clear(self) -> None:
        for listener in self.listeners:
            listener.close()
        self._listening.close()
        clear(self._hub)


def clear(hub: str) -> None:
    """Take the folder of the hub's socket away."""
    shutil.rmtree(Path(hub).parent, ignore_errors=True)


def _heard(number: int, frame: object) -> None:
    """What there is to do is done in the loop, which was woken."""
