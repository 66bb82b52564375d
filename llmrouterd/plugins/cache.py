"""The plugin `cache`: who asks the very same again gets the very same answer, and nobody is asked.

    [plugins.cache]
    enabled = true
    ttl = 3600

Owns: which requests are the same, which may be answered from memory, and what is kept for how long;
the requests in flight that others of the same words wait for.
Refuses to know: how an answer goes out, what policies say (pipeline/cached.py).

Laws:
1. The same is: the client's own body, member by member to the character, at the same path, with the same
   header fields, wish, tags and plugins' settings. It is told from what came in, before any plugin has
   changed it, and only a digest of it is kept.
2. No client gets another's answer, and no key another key's, unless `shared`.
3. Bounded in number, in bytes and in time; the least used goes first. A reload and a restart forget.
4. A request that others wait for owes them nothing: when its client has gone, one of them takes its
   place; when it fails, each goes on by itself.
5. What is in flight is forgotten when its request is over, whatever came of it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from formats.canonical import ToolResult, ToolUse
from formats.jsontext import dump
from llmrouterd.hooks import Pending, Plugin, PluginRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from formats.canonical import Request
    from llmrouterd.hooks import Arrival, Context, Kept
    from llmrouterd.model import EndState

_MODES = ("use", "refresh", "off")
_OVERHEAD = 1024  # bytes that an entry costs besides its answer, generously
_SWEEP_S = 1.0


class Flight(Pending):
    """A request on its way that others wait for. abandoned: its client has gone."""

    __slots__ = ("abandoned", "kept")

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.kept: Kept | None = None
        self.abandoned = False


@dataclass(slots=True)
class _Asked:
    """Of one request. reads: it may have an answer that was kept. leads: others wait for it; joined:
    it waits for another."""

    key: bytes
    ttl_s: float
    reads: bool
    leads: Flight | None = None
    joined: Flight | None = None


class Cache(Plugin):
    """Mutable, one per configuration. clock: seconds, monotonic."""

    id = "cache"
    owned = frozenset({"max_entries", "max_bytes", "max_answer_bytes", "join_timeout", "shared"})

    def __init__(
        self, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        _wishes(settings, settings)
        self._settings = settings
        self._shared = bool(settings.get("shared", False))
        self._longest = int(settings.get("max_answer_bytes", 1024 * 1024))
        self._wait_s = float(settings.get("join_timeout", 120))
        self._clock = clock
        self._flights: dict[bytes, Flight] = {}
        self.store = Store(
            int(settings.get("max_entries", 1000)),
            int(settings.get("max_bytes", 64 * 1024 * 1024)),
            _ttl_s(settings),
        )

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    def on_arrival(self, arrival: Arrival, ctx: Context) -> int:
        try:
            mode, ttl_s, tools, sampled = _wishes(self._settings, ctx.settings)
        except ValueError as error:  # the request's own settings may be anything
            raise PluginRefused(str(error)) from None
        told = _directives(arrival.cache_control)
        if mode == "off" or "no-store" in told or not arrival.request.messages:
            return 0  # without messages it loads a model, or unloads it
        why = _why_not(arrival.request, tools, sampled)
        if why:
            ctx.notes.append(why)
            return 0
        fresh = mode == "refresh" or "no-cache" in told or "max-age=0" in told
        ctx.state = _Asked(key_of(arrival, shared=self._shared), ttl_s, reads=not fresh)
        return self._longest

    def recall(self, may: Callable[[Kept], bool], ctx: Context) -> Kept | Pending | None:
        asked: _Asked = ctx.state
        if not asked.reads:
            return None
        joined, asked.joined = asked.joined, None
        if joined is not None and not joined.abandoned:
            return joined.kept if joined.kept is not None and may(joined.kept) else None
        found = self.store.get(asked.key, asked.ttl_s, self._clock())
        if found is not None:
            return found if may(found) else None
        flight = self._flights.get(asked.key)
        if flight is None:
            asked.leads = self._flights[asked.key] = Flight(self._wait_s)
        else:
            asked.joined = flight
        return flight

    def on_release(self, kept: Kept | None, end: EndState, ctx: Context) -> None:
        asked: _Asked = ctx.state
        if kept is not None:
            self.store.put(asked.key, kept, self._clock())
        flight = asked.leads
        if flight is not None:
            del self._flights[asked.key]
            flight.kept, flight.abandoned = kept, end == "client_gone"
            flight.end()


class Store:
    """Answers by the digest of their requests. Times are on whatever clock `now` is of."""

    def __init__(self, most: int, most_bytes: int, ttl_s: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._ttl_s = ttl_s
        self._kept: OrderedDict[bytes, tuple[Kept, float]] = OrderedDict()
        self._swept = 0.0
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, ttl_s: float, now: float) -> Kept | None:
        """The answer, if it is younger than `ttl_s`."""
        found = self._kept.get(key)
        if found is None or now - found[1] >= ttl_s:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, kept: Kept, now: float) -> None:
        self._drop(key)
        self._kept[key] = kept, now
        self.size += kept.size + _OVERHEAD
        self._sweep(now)
        while self._kept and (len(self._kept) > self._most or self.size > self._most_bytes):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.size -= found[0].size + _OVERHEAD

    def _sweep(self, now: float) -> None:
        """What is too old goes, now and then, wherever it stands."""
        if now - self._swept < _SWEEP_S:
            return
        self._swept = now
        old = [key for key, (_, since) in self._kept.items() if now - since >= self._ttl_s]
        for key in old:
            self._drop(key)


# --- which are the same ---------------------------------------------------------------------------


def key_of(arrival: Arrival, *, shared: bool) -> bytes:
    """The digest of all that an answer depends on."""
    digest = sha256(b"" if shared else arrival.asker)
    for part in _parts(arrival):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def _parts(arrival: Arrival) -> Iterator[str]:
    request = arrival.request
    yield request.origin
    yield arrival.endpoint
    for name, value in arrival.fields:
        yield f"field {name}"
        yield value
    for call in request.plugins:
        if call.id != Cache.id:
            yield f"plugin {call.id}"
            yield dump(dict(call.settings)).decode()
    if request.raw is None:
        yield repr(replace(request, plugins=()))
        return
    text, members = request.raw.text, request.raw.members
    for name in sorted(members):
        if name != "plugins":
            _, start, end = members[name]
            yield f"member {name}"
            yield text[start:end]


def _why_not(request: Request, tools: bool, sampled: bool) -> str:
    """Tools do things, and chance gives another answer each time: both are kept only when asked for."""
    if not tools and has_tools(request):
        return "left out, since it has tools"
    if not sampled and not is_repeatable(request):
        return "left out, since it leaves room for chance"
    return ""


def has_tools(request: Request) -> bool:
    return bool(request.tools) or any(
        isinstance(part, ToolUse | ToolResult)
        for message in request.messages
        for part in message.parts
    )


def is_repeatable(request: Request) -> bool:
    """The client has asked for no chance, or for the same chance each time."""
    sampling = request.sampling
    return sampling.temperature == 0 or sampling.top_k == 1 or sampling.seed is not None


def _directives(cache_control: str) -> set[str]:
    return {each.strip().lower().replace(" ", "") for each in cache_control.split(",")}


# --- settings -------------------------------------------------------------------------------------


def _wishes(owner: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, float, bool, bool]:
    """mode, ttl, tools, sampled. Nothing is kept for longer than the owner says."""
    mode = given.get("mode", "use")
    if mode not in _MODES:
        raise ValueError(f"mode: expected one of {', '.join(_MODES)}")
    for name in ("tools", "sampled"):
        if not isinstance(given.get(name, False), bool):
            raise ValueError(f"{name}: expected true or false")
    ttl_s = min(_ttl_s(owner), _ttl_s(given))
    return mode, ttl_s, given.get("tools", False), given.get("sampled", False)


def _ttl_s(settings: Mapping[str, Any]) -> float:
    ttl = settings.get("ttl", 3600)
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not ttl > 0:
        raise ValueError("ttl: expected a number of seconds")
    return float(ttl)
