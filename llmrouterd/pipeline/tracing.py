"""Where a request stands in somebody's trace, and when it did what.

Owns: reading and writing the trace context (W3C Trace Context, level 2), which requests are traced,
and the stamps of one request that become spans.
Refuses to know: how spans are written or sent (observe/), which header goes to whom (headers.py).

Laws:
1. A trace context that is not right to the letter is none: a new trace begins.
2. The caller's word on sampling holds; where it has none, the trace id decides, so that everybody
   who asks the same share keeps the same traces.
3. Without a tracer there are no spans: a request then costs one look for a header.
"""

from __future__ import annotations

import copy
import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass, replace
from logging import Filter
from typing import TYPE_CHECKING

from llmrouterd.pipeline.binding import confined, unclassified
from llmrouterd.spans import Attempted, Exchanged, Traced

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import LogRecord

    from llmrouterd.model import Candidate, Headers, Provider, Routing
    from llmrouterd.pipeline.story import Story

SAMPLED, RANDOM = 1, 2  # flags; of others nobody knows what they mean
# The trace of the request that a task serves, for what it logs.
CURRENT: ContextVar[str] = ContextVar("trace_id", default="")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_STATE = re.compile(r"[ -~]+")
_STATE_LIMIT = 512  # what everybody must pass on; longer ones are dropped whole
_RATIO_BITS = 56  # of a trace id's end, which are random by level 2
_TARGET_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Context:
    """A place in a trace, as it came in a request's head."""

    trace_id: str
    span_id: str
    flags: int
    state: str = ""


def context_of(fields: Headers) -> Context | None:
    """What the request's head says of its trace; None where it says nothing that can be trusted."""
    text = fields.get("traceparent")
    if text is None or len(fields.all("traceparent")) > 1:
        return None
    found = _PARENT.fullmatch(text.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if found[2] == _NO_TRACE or found[3] == _NO_SPAN:
        return None
    flags = int(found[4], 16) & (SAMPLED | RANDOM)
    return Context(found[2], found[3], flags, _state_of(fields))


def _state_of(fields: Headers) -> str:
    state = ",".join(each.strip() for each in fields.all("tracestate") if each.strip())
    return state if len(state) <= _STATE_LIMIT and _STATE.fullmatch(state) else ""


def begin_trace(story: Story, fields: Headers, routing: Routing) -> None:
    """The request goes on with the trace it came with, or begins one where spans are wanted."""
    tracer = story.daemon.tracer
    if tracer is None:
        context = context_of(fields) if "traceparent" in fields else None
        story.trace_id = context.trace_id if context is not None else ""
    else:
        story.spans = tracer.begin(context_of(fields))
        story.trace_id = story.spans.trace_id
        story.confined = confined(unclassified(routing))
    if story.trace_id or CURRENT.get():
        CURRENT.set(story.trace_id)


def join_trace(story: Story, parent: Story, routing: Routing) -> None:
    """A question of the router's own is part of the request for which it is asked, and of what nobody
    has looked at yet. Its story has its candidate by now."""
    story.trace_id = parent.trace_id
    story.confined = confined(unclassified(routing))
    if parent.spans is not None and story.candidate is not None:
        story.spans = parent.spans.child()
        story.spans.attempt(story.candidate, story.elapsed_ns())


class Stamp(Filter):
    """Puts the trace of the request that is being served into log records, as `trace_id`."""

    def filter(self, record: LogRecord) -> bool:
        record.trace_id = CURRENT.get()
        return True


class Tracer:
    """Makes the spans of requests. sample_ratio: which share of traces that begin here is kept.
    draw: so many random bytes in hex."""

    def __init__(
        self, sample_ratio: float, *, draw: Callable[[int], str] = secrets.token_hex
    ) -> None:
        self._threshold = round((1 - sample_ratio) * (1 << _RATIO_BITS))
        self._draw = draw

    def begin(self, parent: Context | None) -> Spans:
        if parent is not None:
            return Spans(parent.trace_id, parent.flags, self._draw, parent)
        trace_id = self._draw(16)
        kept = int(trace_id[-_RATIO_BITS // 4 :], 16) >= self._threshold
        return Spans(trace_id, RANDOM | (SAMPLED if kept else 0), self._draw)


class Spans:
    """The stamps of one request. Times in nanoseconds on its story's clock."""

    __slots__ = (
        "_attempts",
        "_classify",
        "_draw",
        "_exchange",
        "_flags",
        "_next_id",
        "_opened_ns",
        "_parent",
        "_route",
        "_try",
        "_twins",
        "begun_unix_ns",
        "span_id",
        "trace_id",
    )

    def __init__(
        self, trace_id: str, flags: int, draw: Callable[[int], str], parent: Context | None = None
    ) -> None:
        self.trace_id = trace_id
        self.span_id = draw(8)
        self.begun_unix_ns = time.time_ns()
        self._flags = flags
        self._draw = draw
        self._parent = parent
        self._opened_ns: int | None = None
        self._classify: tuple[str, int, int] | None = None
        self._route: tuple[str, int, int] | None = None
        self._attempts: list[Attempted] = []  # that have ended, all twins' among them
        self._twins: list[Spans] = []
        self._try: Attempted | None = None  # the attempt that runs
        self._exchange: Exchanged | None = None  # its exchange that runs
        self._next_id = ""  # of the exchange whose head is being written

    def child(self) -> Spans:
        """Of what is done for this request and has a record of its own."""
        state = self._parent.state if self._parent is not None else ""
        parent = Context(self.trace_id, self.span_id, self._flags, state)
        return Spans(self.trace_id, self._flags, self._draw, parent)

    def twin(self) -> Spans:
        """The same request with the attempt that runs apart."""
        twin = copy.copy(self)
        twin._try = twin._exchange = None
        twin._next_id = ""
        self._twins.append(twin)
        return twin

    def fields(self) -> list[tuple[str, str]]:
        """The trace context for the upstream that is asked next: its parent is that exchange."""
        self._next_id = self._draw(8)
        parent = f"00-{self.trace_id}-{self._next_id}-{self._flags:02x}"
        state = self._parent.state if self._parent is not None else ""
        return [("traceparent", parent), *([("tracestate", state)] if state else [])]

    # --- what happens -----------------------------------------------------------------------------

    def opened(self, now_ns: int) -> None:
        self._opened_ns = now_ns

    def classified(self, now_ns: int) -> None:
        begun = self._opened_ns if self._opened_ns is not None else now_ns
        self._classify = (self._draw(8), begun, now_ns)

    def routing(self, now_ns: int) -> None:
        self._route = (self._draw(8), now_ns, now_ns)

    def decided(self, now_ns: int) -> None:
        if self._route is not None:
            self._route = (*self._route[:2], now_ns)

    def attempt(self, candidate: Candidate, now_ns: int) -> None:
        runs = self._try
        if runs is not None and (runs.provider, runs.model) == (
            candidate.provider,
            candidate.model,
        ):
            return  # it was told of again
        self._close(now_ns, "")
        self._try = Attempted(self._draw(8), now_ns, candidate.provider, candidate.model)

    def admitted(self, now_ns: int) -> None:
        """The attempt has its place."""
        if self._try is not None:
            queue = (self._draw(8), self._try.begun_ns, now_ns)
            self._try = replace(self._try, queue=queue)

    def asks(self, now_ns: int, target: str, provider: Provider | None) -> None:
        """A request is on its way; the attempt may have made one before."""
        if self._try is None:
            return
        self._close_exchange(now_ns, "")
        if provider is not None and not self._try.system:
            system = system_of(provider)
            self._try = replace(self._try, system=system, base_url=provider.base_url)
        path = target.partition("?")[0][:_TARGET_LIMIT]
        self._exchange = Exchanged(self._next_id or self._draw(8), now_ns, target=path)
        self._next_id = ""

    def answered(self, now_ns: int, status: int, address: str, connect_s: float | None) -> None:
        if self._exchange is not None:
            self._exchange = replace(
                self._exchange,
                status=status,
                address=address,
                answered_ns=now_ns,
                connect_s=connect_s,
            )

    def failed(self, now_ns: int, error: str) -> None:
        """The attempt came to nothing."""
        self._close(now_ns, error)

    def sealed(self, now_ns: int, error: str, first_token_ns: int | None) -> Traced:
        """All of it, when the request has ended. error: why the attempt that ran was left."""
        for twin in (*self._twins, self):
            twin._close(now_ns, error)
        self._twins.clear()
        parent = self._parent
        return Traced(
            self.trace_id,
            self.span_id,
            self.begun_unix_ns,
            now_ns,
            flags=self._flags,
            parent_id="" if parent is None else parent.span_id,
            state="" if parent is None else parent.state,
            classify=self._classify,
            route=self._route,
            first_token_ns=first_token_ns,
            attempts=tuple(self._attempts),
        )

    def _close(self, now_ns: int, error: str) -> None:
        self._close_exchange(now_ns, error)
        if self._try is not None:
            self._attempts.append(replace(self._try, ended_ns=now_ns, error=error))
            self._try = None

    def _close_exchange(self, now_ns: int, error: str) -> None:
        ended, self._exchange = self._exchange, None
        if ended is None or self._try is None:
            return
        if ended.status is not None and ended.status >= 400:
            error = str(ended.status)
        ended = replace(ended, ended_ns=now_ns, error=error)
        self._try = replace(self._try, exchanges=(*self._try.exchanges, ended))


# Names that OpenTelemetry has for vendors: by dialect, and by where they are.
_DIALECTS = {
    "azure": "azure.ai.openai",
    "deepseek": "deepseek",
    "moonshot": "moonshot_ai",
    "llama.cpp": "llama.cpp",
    "vllm": "vllm",
    "lmstudio": "lmstudio",
    "ollama-v1": "ollama",
    "openrouter": "openrouter",
}
_HOSTS = (
    ("anthropic.com", "anthropic"),
    ("openai.com", "openai"),
    ("mistral.ai", "mistral_ai"),
    ("groq.com", "groq"),
    ("x.ai", "x_ai"),
    ("perplexity.ai", "perplexity"),
    ("cohere.com", "cohere"),
    ("cohere.ai", "cohere"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
)


def system_of(provider: Provider) -> str:
    """`gen_ai.provider.name`: whose API it is as far as known, else the format it speaks."""
    known = _DIALECTS.get(provider.dialect.name)
    if known is not None:
        return known
    host = provider.base_url.partition("://")[2].partition("/")[0].partition(":")[0].lower()
    for suffix, name in _HOSTS:
        if host == suffix or host.endswith(f".{suffix}"):
            return name
    return "openai" if provider.format == "responses" else provider.format
