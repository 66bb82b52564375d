"""What a start of the daemon dials, seen from inside while it starts.

Owns: the watch over this process's sockets and look-ups, what it lets through, and the list of who is
asked at a start by the configuration's word.
Refuses to know: how it is shown (commands/offline.py), what the daemon does with its sockets.

Laws:
1. What would go outside is refused and noted, before a packet of it leaves: a proof must not do what it
   looks for. Loopback, this network and what the owner allowed go on.
2. A name that is not one of this network is refused before it is looked up, since looking it up asks a
   stranger.
3. What the watch cannot see into (another program, a foreign library) is noted as such: it does not
   count as nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmrouterd.config.providers import is_local_host
from llmrouterd.edge.dial import bracketed, proxy_address
from llmrouterd.guard import egress
from llmrouterd.ops.collector import origin_of
from llmrouterd.ops.generation import upstream

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from llmrouterd.config import Config
    from llmrouterd.edge.dial import Origin

Where = Literal["this host", "this network", "allowed", "outside", "unseen"]
NAME = "the name "  # stands before what was looked up
Barred = frozenset[tuple[str, int]]
_PROGRAMS = frozenset(
    ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system")
)
_LOOKUPS = frozenset(("socket.getaddrinfo", "socket.gethostbyname"))
_SENDS = frozenset(("socket.connect", "socket.sendto", "socket.sendmsg"))


@dataclass(frozen=True, slots=True)
class Seen:
    """target: host and port, a name that was looked up, a unix socket, or a program."""

    target: str
    where: Where

    @property
    def refused(self) -> bool:
        return self.where in ("outside", "unseen")


class Allowed:
    """What the owner calls inside, besides this host and this network: names, addresses, networks."""

    def __init__(self, given: Sequence[str] = ()) -> None:
        """Raises ValueError for what is none of these."""
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for text in given:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError:
                if "/" in text or not text.isascii() or not text.strip():
                    raise ValueError(f"{text!r} is no name, address or network") from None
                self._names.add(text.lower().rstrip("."))

    def judge(self, host: str) -> Where:
        """Of an address or a name."""
        address = _address(host)
        if address is None:
            return self._judge_name(host.lower().rstrip("."))
        if egress.is_loopback(host):
            return "this host"
        if egress.is_local(host):
            return "this network"
        inside = any(address in network for network in self._networks)
        return "allowed" if inside else "outside"

    def _judge_name(self, name: str) -> Where:
        if name == "localhost" or name.endswith(".localhost"):
            return "this host"
        if name in self._names:
            return "allowed"
        return "this network" if is_local_host(name) else "outside"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


# --- the watch ------------------------------------------------------------------------------------


class Watch:
    """An audit hook of Python: it is called for every socket that any code of this process, in any
    thread, connects or sends by, and for every name it looks up."""

    def __init__(self, allowed: Allowed, barred: Barred = frozenset()) -> None:
        """barred: hosts and ports that are outside whatever they look like."""
        self._allowed = allowed
        self._barred = barred
        self._on = False
        self._seen: dict[Seen, None] = {}

    @property
    def seen(self) -> tuple[Seen, ...]:
        return tuple(self._seen)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A hook cannot be taken out of a process again: afterwards it looks away."""
        sys.addaudithook(self._heard)
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in _SENDS:
            self._sent(args[0], args[1])
        elif event in _LOOKUPS:
            self._looked_up(args[0], args[1] if len(args) > 1 else None)
        elif event in _PROGRAMS:
            self._note(Seen(f"another program ({event})", "unseen"))

    def _sent(self, sock: socket.socket, address: Any) -> None:
        if address is None:  # on a socket that was connected before
            return
        if isinstance(address, str | bytes):  # of a unix socket
            name = address if isinstance(address, str) else address.decode("utf-8", "replace")
            self._note(Seen(f"{egress.UNIX}{name}", "this host"))
            return
        host, port = str(address[0]), address[1]
        self._note(Seen(f"{bracketed(host)}:{port}", self._judge(host, port)))

    def _looked_up(self, host: Any, port: Any) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
        if not name or _address(name) is not None:
            return  # nobody is asked for what is an address already
        where = self._judge(name, port)
        if where != "this host":
            self._note(Seen(f"{NAME}{name}", where))

    def _judge(self, host: str, port: Any) -> Where:
        return "outside" if (host, port) in self._barred else self._allowed.judge(host)

    def _note(self, seen: Seen) -> None:
        self._seen[seen] = None
        if seen.refused:
            raise OSError(errno.EPERM, f"refused by check --offline: {seen.target}")


# --- what the configuration says ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """Somebody whom the configuration has asked. at_start: by itself, without any request."""

    target: str
    where: Where
    why: str
    at_start: bool


def due(config: Config, allowed: Allowed) -> tuple[Due, ...]:
    """Everybody the daemon dials, and why."""
    found: list[Due] = []
    for provider in config.providers:
        if provider.format == "echo":
            continue
        origin, _ = upstream(provider)
        whys = []
        if not provider.models and not provider.on_demand:
            whys.append("its models are asked for")
        if provider.probe_interval_s and not provider.on_demand:
            whys.append("it is probed")
        why = f"{provider.name!r}: {', '.join(whys) or 'only when a request goes there'}"
        found.append(Due(*_target(origin, allowed), why, bool(whys)))
    if config.telemetry.enabled:
        origin = origin_of(config.telemetry)
        found.append(Due(*_target(origin, allowed), "telemetry is sent there", at_start=True))
    return tuple(found)


def barred(config: Config, allowed: Allowed) -> Barred:
    """Proxies, wherever they are, that would dial something outside."""
    origins = [upstream(each)[0] for each in config.providers if each.http_proxy]
    return frozenset(
        proxy_address(origin)
        for origin in origins
        if origin.proxied and allowed.judge(origin.host) == "outside"
    )


def _target(origin: Origin, allowed: Allowed) -> tuple[str, Where]:
    """What is dialled for it, and where that is. Behind a proxy both must be inside."""
    if origin.unix:
        return origin.where, "this host"
    where = allowed.judge(origin.host)
    if not origin.proxied:
        return origin.where, where
    host, port = proxy_address(origin)
    target = f"{bracketed(host)}:{port}, the proxy for {origin.where}"
    return target, where if where == "outside" else allowed.judge(host)
