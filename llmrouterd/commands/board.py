"""What a feed's events come to: each request where it stands, and the figures of those that ended.

Owns: events in, state out; bounds on all that is kept.
Refuses to know: where events come from, how the state is shown, the clock: `now_ms` is an argument.

Laws:
1. Any JSON object is an event that may come: what has another shape than it should counts as absent.
2. Memory is bounded: so many requests that have ended, so many of their words, so many names.
3. Texts are kept as they came; whoever shows them cleans them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from llmrouterd.commands.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

JSON = Any
Phase = Literal["started", "classified", "routed", "queued", "streaming", "ended"]

ENDED_KEPT = 1000
RUNNING_KEPT = 2000  # those whose end never came, of a feed that lost it, must not pile up
WORDY_KEPT = 20  # requests whose words are kept, of feeds that send them unasked
_TRIES_KEPT = 20
_TEXT_KEPT = 2000
_LIST_KEPT = 300
_WORDS = ("system", "messages", "response")
_USAGE = ("input_tokens", "output_tokens")
_STAY_MS = 60_000  # a request without a sign is taken for gone when newer ones need its place


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt that failed."""

    ts_ms: int
    provider: str
    model: str
    kind: str
    error: str
    duration_ms: int


@dataclass(slots=True)
class Asked:
    """One request. number: the id of its last event, by which its words are asked for."""

    id: int
    begun_ms: int
    model: str = ""
    phase: Phase = "started"
    since_ms: int = 0  # of the phase
    tags: tuple[str, ...] = ()
    provider: str = ""
    sent: str = ""
    ttft_ms: int | None = None
    pieces: int = 0
    rate: float | None = None  # pieces a second, as the stream runs
    position: int | None = None  # in a queue
    estimate_ms: int | None = None
    tries: list[Try] = field(default_factory=list)
    number: str = ""
    end: Mapping[str, JSON] = field(default_factory=dict)  # the last event, without the words
    words: Mapping[str, JSON] | None = None

    @property
    def ended(self) -> bool:
        return self.phase == "ended"

    @property
    def failed(self) -> bool:
        """It ended, and not well. A client that left has not failed."""
        return self.ended and self.how not in ("complete", "client_gone")

    @property
    def went_wrong(self) -> bool:
        return self.failed or bool(self.tries) or bool(texts(self.end, "attempts"))

    @property
    def how(self) -> str:
        """Its end state. The original's feed has none: there an error tells."""
        fallback = "upstream_error" if self.end.get("error") else "complete"
        return text(self.end, "end") or fallback

    @property
    def duration_ms(self) -> int | None:
        return whole(self.end, "duration_ms")

    @property
    def input_tokens(self) -> int | None:
        return _tokens(self.end, "input_tokens")

    @property
    def output_tokens(self) -> int | None:
        return _tokens(self.end, "output_tokens")

    @property
    def cost_usd(self) -> float | None:
        return number(self.end, "cost_usd")

    @property
    def tokens_per_s(self) -> float | None:
        """Of the answer as it was written: without the wait for its first token."""
        tokens, took_ms = self.output_tokens, self.duration_ms
        if not tokens or took_ms is None or self.ttft_ms is None or took_ms <= self.ttft_ms:
            return None
        return tokens * 1000 / (took_ms - self.ttft_ms) if self.end.get("stream") else None

    def named(self, name: str) -> Iterable[str]:
        """What a filter may look for."""
        match name:
            case "provider":
                return [each for each in (self.provider, *(t.provider for t in self.tries)) if each]
            case "model":
                return [each for each in (self.model, self.sent) if each]
            case "tag":
                return (*self.tags, *texts(self.end, "response_tags"))
            case "end":
                return (self.how,) if self.ended else ()
            case _:
                return [text(self.end, name)] if self.ended else ()


class Board:
    """All of it. `changed` counts, so that a painter sees whether there is anything new."""

    def __init__(self) -> None:
        self.running: dict[int, Asked] = {}
        self.ended: deque[Asked] = deque(maxlen=ENDED_KEPT)
        self.figures = Figures()
        self.lost = 0
        self.skew_ms = 0  # what this clock is before the router's
        self.feed: object = None
        self.changed = 0
        self._wordy: deque[Asked] = deque()
        self._kinds: Mapping[str, Callable[[Asked, Mapping[str, JSON]], None]] = {
            "classified": _classified,
            "routed": _routed,
            "queued": _queued,
            "first_token": _first_token,
            "progress": _progress,
            "attempt_failed": _attempt_failed,
        }

    def apply(self, event: Mapping[str, JSON], number: str = "", now_ms: int = 0) -> Asked | None:
        """Take one event in. Returns the request that it tells of."""
        self.changed += 1
        kind = text(event, "type")
        if kind in ("hello", "snapshot", "lost"):
            self._of_the_feed(kind, event, now_ms)
            return None
        id_ = whole(event, "id")
        if id_ is None:
            return None
        if kind == "start":
            return self._started(id_, event)
        if kind == "complete":
            return self._completed(id_, event, number)
        take = self._kinds.get(kind)
        if take is None:
            return None
        asked = self.running.get(id_) or self._started(id_, event)
        take(asked, event)
        return asked

    def _of_the_feed(self, kind: str, event: Mapping[str, JSON], now_ms: int) -> None:
        if kind == "lost":
            self.lost += whole(event, "count") or 0
        elif kind == "hello":
            self.skew_ms = now_ms - (whole(event, "now_ms") or now_ms)
            if event.get("feed") != self.feed:
                self.running.clear()  # another process: its requests are other ones
            self.feed = event.get("feed")
        else:
            self.running.clear()
            for events in _list(event, "requests"):
                for each in events if isinstance(events, list) else ():
                    if isinstance(each, dict) and each.get("type") not in ("snapshot", "complete"):
                        self.apply(each)

    def _started(self, id_: int, event: Mapping[str, JSON]) -> Asked:
        if len(self.running) >= RUNNING_KEPT:
            self._forget_silent(whole(event, "ts_ms") or 0)
        asked = Asked(id_, whole(event, "ts_ms") or 0)
        if event.get("type") == "start":
            asked.model = text(event, "model")
        asked.since_ms = asked.begun_ms
        self.running[id_] = asked
        return asked

    def _forget_silent(self, now_ms: int) -> None:
        for id_, asked in list(self.running.items()):
            if asked.since_ms + _STAY_MS < now_ms:
                del self.running[id_]
        while len(self.running) >= RUNNING_KEPT:
            del self.running[next(iter(self.running))]

    def _completed(self, id_: int, event: Mapping[str, JSON], number: str) -> Asked:
        ended_ms = whole(event, "ts_ms") or 0
        asked = self.running.pop(id_, None)
        if asked is None:
            asked = Asked(id_, ended_ms - (whole(event, "duration_ms") or 0))
        asked.phase, asked.since_ms, asked.number = "ended", ended_ms, number
        asked.model = text(event, "requested_model") or asked.model
        asked.provider = text(event, "provider")
        asked.sent = text(event, "sent_model")
        asked.tags = texts(event, "tags") or asked.tags
        told_ms = whole(event, "ttft_ms")
        asked.ttft_ms = asked.ttft_ms if told_ms is None else told_ms
        asked.end = _kept(event)
        self._keep_words(asked, event)
        if len(self.ended) == ENDED_KEPT:
            self.ended[0].words = None
        self.ended.append(asked)
        self.figures.add(asked)
        return asked

    def _keep_words(self, asked: Asked, event: Mapping[str, JSON]) -> None:
        if not event.get("messages") and not event.get("response"):
            return
        asked.words = {name: event.get(name) for name in _WORDS}
        self._wordy.append(asked)
        if len(self._wordy) > WORDY_KEPT:
            self._wordy.popleft().words = None


# --- one event each -------------------------------------------------------------------------------


def _enters(asked: Asked, phase: Phase, event: Mapping[str, JSON]) -> None:
    asked.phase = phase
    asked.since_ms = whole(event, "ts_ms") or asked.since_ms


def _classified(asked: Asked, event: Mapping[str, JSON]) -> None:
    asked.tags = texts(event, "tags")
    _enters(asked, "classified", event)


def _routed(asked: Asked, event: Mapping[str, JSON]) -> None:
    asked.provider, asked.sent = text(event, "provider"), text(event, "model")
    asked.position = asked.estimate_ms = None
    _enters(asked, "routed", event)


def _queued(asked: Asked, event: Mapping[str, JSON]) -> None:
    asked.provider = text(event, "provider") or asked.provider
    asked.sent = text(event, "model") or asked.sent
    asked.position = whole(event, "position")
    asked.estimate_ms = whole(event, "estimate_ms")
    if asked.phase != "queued":
        _enters(asked, "queued", event)


def _first_token(asked: Asked, event: Mapping[str, JSON]) -> None:
    asked.ttft_ms = whole(event, "ttft_ms")
    _enters(asked, "streaming", event)


def _progress(asked: Asked, event: Mapping[str, JSON]) -> None:
    asked.pieces = whole(event, "pieces") or 0
    took_ms = whole(event, "writing_ms")
    asked.rate = asked.pieces * 1000 / took_ms if took_ms else None
    if asked.phase != "streaming":
        _enters(asked, "streaming", event)


def _attempt_failed(asked: Asked, event: Mapping[str, JSON]) -> None:
    failed = Try(
        whole(event, "ts_ms") or 0,
        text(event, "provider"),
        text(event, "model"),
        text(event, "kind"),
        text(event, "error"),
        whole(event, "duration_ms") or 0,
    )
    if failed not in asked.tries:  # a replay may tell what a snapshot has told
        asked.tries = [*asked.tries[1 - _TRIES_KEPT :], failed]


# --- what may stand in an event -------------------------------------------------------------------


def text(event: Mapping[str, JSON], name: str) -> str:
    value = event.get(name)
    return value[:_TEXT_KEPT] if isinstance(value, str) else ""


def texts(event: Mapping[str, JSON], name: str) -> tuple[str, ...]:
    return tuple(each[:_TEXT_KEPT] for each in _list(event, name) if isinstance(each, str))


def whole(event: Mapping[str, JSON], name: str) -> int | None:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(1 << 53) < value < 1 << 53 else None


def number(event: Mapping[str, JSON], name: str) -> float | None:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -1e15 < value < 1e15 else None


def _list(event: Mapping[str, JSON], name: str) -> list[JSON]:
    value = event.get(name)
    return value[:_LIST_KEPT] if isinstance(value, list) else []


def _tokens(event: Mapping[str, JSON], name: str) -> int | None:
    """Beside the original's members, or in its `response`, which was put here as `usage`."""
    told = whole(event, name)
    usage = event.get("usage")
    if told is None and isinstance(usage, dict):
        return whole(usage, name)
    return told


def _kept(event: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """A `complete` event without its words, and with bounds."""
    kept: dict[str, JSON] = {}
    for name, value in event.items():
        if isinstance(value, str):
            kept[name] = value[:_TEXT_KEPT]
        elif isinstance(value, list) and name not in _WORDS:
            kept[name] = list(texts(event, name))
        elif value is None or isinstance(value, bool | int | float):
            kept[name] = value
    kept.pop("system", None)
    response = event.get("response")
    if isinstance(response, dict) and isinstance(response.get("usage"), dict):
        kept["usage"] = {n: whole(response["usage"], n) for n in _USAGE}
    return kept
