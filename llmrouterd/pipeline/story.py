"""The story of one request while it is being told: what the Record will say.

Owns: the mutable notes of one request and the events that tell of its progress.
Refuses to know: how anything is decided or sent; it is told.

Laws:
1. Everything here is synchronous, so that a cancelled request still has its record.
2. What one attempt notes of itself is `_OF_ATTEMPT`, nothing else: an attempt that runs beside
   another has a twin of the story, and the request adopts the twin of the one that counts.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from formats.canonical import Usage
from llmrouterd.model import (
    AttemptFailed,
    Candidate,
    Classified,
    FirstToken,
    Opened,
    Outcome,
    Progress,
    Record,
    Routed,
    Step,
    Unread,
)
from llmrouterd.pipeline.cost import cost_usd
from llmrouterd.pipeline.weights import UNKNOWN
from llmrouterd.route.estimate import answer_tokens

if TYPE_CHECKING:
    from formats.canonical import Request, Response
    from formats.errors import Failure
    from formats.ledger import Ledger
    from llmrouterd.model import (
        Cached,
        Decision,
        EndState,
        Headers,
        Provider,
        Queued,
        Receipt,
    )
    from llmrouterd.pipeline.daemon import Daemon
    from llmrouterd.pipeline.tracing import Spans
    from llmrouterd.spans import Traced

PROGRESS_NS = 250_000_000  # the least time between two tellings of a stream's progress

Fault = Literal["", "client", "upstream", "router", "owner"]

_FAULT: dict[str, Fault] = {
    "no_provider": "owner",
    "not_available": "client",
    "client_limit": "client",
    "over_budget": "client",
    "queue_full": "router",
    "queue_timeout": "router",
    "no_hub": "router",
    "plugin": "owner",
    "draining": "router",
    "internal": "router",
    "model_not_found": "upstream",
    "credential": "owner",
    "rate_limit": "upstream",
    "quota": "owner",
    "overloaded": "upstream",
    "upstream": "upstream",
    "timeout": "upstream",
    "truncated": "upstream",
}


_OF_ATTEMPT = (
    "candidate",
    "ledger",
    "response",
    "usage",
    "usage_estimated",
    "priced_by",
    "weights",
    "upstream_request_id",
    "upstream_format",
    "upstream_fields",
    "address",
    "unreached",
    "queued_s",
    "admitted_ns",
    "spans",
)


class Story:
    """Notes on one request. Times in nanoseconds of the monotonic clock until the record."""

    def __init__(self, daemon: Daemon, *, client_format: str, endpoint: str) -> None:
        self.daemon = daemon
        self._heard = bool(daemon.followers)  # step by step
        self.id = daemon.next_id()
        self.stem = daemon.chance()
        self.request_id = f"req_{self.stem}"
        self.client = ""  # by the name of its key
        self.session = ""  # of the conversation, where some rule keeps those together
        self.client_format = client_format
        self.endpoint = endpoint
        self.begun_ms = daemon.wall_ms()
        self.begun_ns = time.perf_counter_ns()
        self.first_token_ns: int | None = None
        self.read_ns: int | None = None  # the request's body was there
        self.asked_ns: int | None = None  # the first upstream was about to be asked
        self.attempt_ns: int | None = None  # the last attempt began
        self.head_ns: int | None = None  # and its upstream to answer
        self.connect_s: float | None = None  # what a new connection to it took
        self._told_ns = 0  # when progress was last told
        self._pieces = 0
        self._sent_bytes = 0
        self.request: Request | None = None
        self.requested_model = ""
        self.tags: tuple[str, ...] = ()
        self.unknown_tags: frozenset[str] = frozenset()  # their classifiers failed
        self.given_tags: tuple[str, ...] = ()  # by the client itself
        self.policies: tuple[str, ...] = ()  # that bind it
        self.generation = 1  # the configuration it runs under
        self.response_tags: tuple[str, ...] = ()
        self.plugins: list[str] = []
        self.cache: Cached = ""  # what became of looking for a kept answer
        self.plugin_fields: dict[str, str] = {}  # header fields that they want in the answer
        self.candidate: Candidate | None = None
        self.asked: list[Candidate] = []  # everybody that an attempt was begun at
        self.tried: list[Outcome] = []
        self._tries: list[str] = []  # those that gave no answer to send, in words
        self._last_word = False  # an answer that had been set aside is given after all
        self.aside_usd: float | None = None  # for answers that nobody got
        self.trace: tuple[Step, ...] = ()
        self.decision: Decision | None = None
        self.ledger: Ledger | None = None
        self.response: Response | Unread | None = None
        self.usage: Usage | None = None
        self.usage_estimated = False
        self.priced_by: Provider | None = None
        self.weights = UNKNOWN
        self.failure: Failure | None = None
        self.status = 0
        self.upstream_request_id = ""
        self.upstream_format = ""
        self.upstream_fields: list[tuple[str, str]] = []  # its own, for clients of its format
        self.address = ""
        self.unreached = False  # the last attempt found nobody to talk to
        self.left_host: bool | None = None
        self.size_bytes = 0
        self.size_tokens = 0  # estimate of the prompt
        self.notes: list[str] = []
        self.trace_id = ""
        self.spans: Spans | None = None  # where somebody wants to know when what was done
        self.confined: tuple[str, ...] | None = None  # as the record says it
        self.queued_s = 0.0  # how long it waited for places
        self.admitted_ns = 0  # when it had the last one
        self.limit_fields: list[tuple[str, str]] = []  # what its client may still use

    def unheard(self) -> None:
        """Nobody is told: no real request is made."""
        self._heard = False

    # --- progress ---------------------------------------------------------------------------------

    def body_read(self) -> None:
        """What comes now until an upstream is asked is the router's own time."""
        self.read_ns = self.elapsed_ns()

    def opened(self, request: Request) -> None:
        self.request = request
        self.requested_model = request.model
        if self.spans is not None:
            self.spans.opened(self.elapsed_ns())
        if self._heard:
            in_flight = self.daemon.in_flight
            self.daemon.tell_step(Opened(self.id, self.begun_ms, request.model, in_flight))

    def classified(self, tags: tuple[str, ...]) -> None:
        if self.given_tags:
            tags = tuple(sorted({*tags, *self.given_tags}))
        self.tags = tags
        if self.spans is not None:
            self.spans.classified(self.elapsed_ns())
        if self._heard:
            self.daemon.tell_step(Classified(self.id, self.daemon.wall_ms(), tags))

    def routing(self) -> None:
        """From here until `decided` a place is looked for."""
        if self.spans is not None:
            self.spans.routing(self.elapsed_ns())

    def decided(self, trace: tuple[Step, ...]) -> None:
        self.trace = trace
        if self.spans is not None:
            self.spans.decided(self.elapsed_ns())

    def asks(self, candidate: Candidate) -> None:
        """An attempt begins: there is a place for it."""
        self.asked.append(candidate)

    def routed(self, candidate: Candidate) -> None:
        self.candidate = candidate
        if self.spans is not None:
            self.spans.attempt(candidate, self.elapsed_ns())
        if self._heard:
            now_ms = self.daemon.wall_ms()
            self.daemon.tell_step(Routed(self.id, now_ms, candidate.provider, candidate.model))

    def queued(self, telling: Queued) -> None:
        if self._heard:
            self.daemon.tell_step(telling)

    def admitted(self, waited_s: float) -> None:
        """It has a place, or need not wait for one any more."""
        self.queued_s += waited_s
        self.admitted_ns = self.elapsed_ns()
        if self.spans is not None:
            self.spans.admitted(self.admitted_ns)

    def begin(self, ledger: Ledger, upstream_format: str, target: str = "") -> None:
        """An attempt at an upstream: what is noted of it must not be the last one's."""
        self.attempt_ns = self.elapsed_ns()
        self.head_ns = self.connect_s = None
        if self.asked_ns is None:
            self.asked_ns = self.attempt_ns
        if self.spans is not None:
            self.spans.asks(self.attempt_ns, target, self.priced_by)
        self.ledger = ledger
        self._begin(upstream_format)

    def begin_here(self) -> None:
        """An attempt that needs no upstream: nothing of what another one said is of this answer."""
        self.ledger = None
        self._begin("")

    def _begin(self, upstream_format: str) -> None:
        self.upstream_format = upstream_format
        self.unreached = False
        self.address = self.upstream_request_id = ""
        self.upstream_fields = []
        self.usage = self.response = None
        self.usage_estimated = False

    def noted(
        self, receipt: Receipt, fields: Headers, status: int = 200, connect_s: float | None = None
    ) -> None:
        """An upstream has begun to answer: where it is, and what it calls this request."""
        self.address = receipt.address
        self.head_ns, self.connect_s = self.elapsed_ns(), connect_s
        if self.spans is not None:
            self.spans.answered(self.head_ns, status, receipt.address, connect_s)
        self.reached(receipt)
        self.upstream_request_id = fields.get("request-id") or fields.get("x-request-id") or ""

    def reached(self, receipt: Receipt) -> None:
        """Somebody is about to be sent something of this request. What has left this host does not
        come back when somebody nearer answers after all, or that one never does."""
        self.left_host = self.left_host or receipt.left_host

    def elapsed_ns(self) -> int:
        return time.perf_counter_ns() - self.begun_ns

    def saw_content(self) -> None:
        if self.first_token_ns is None:
            self.first_token_ns = took_ns = self.elapsed_ns()
            if self._heard:
                self.daemon.tell_step(
                    FirstToken(self.id, self.daemon.wall_ms(), took_ns // 1_000_000)
                )

    def sent(self, pieces: int, size_bytes: int) -> None:
        """So much more of a stream went to the client."""
        if not self._heard:
            return
        self._pieces += pieces
        self._sent_bytes += size_bytes
        now_ns, first_ns = self.elapsed_ns(), self.first_token_ns or 0
        if now_ns - max(self._told_ns, first_ns) < PROGRESS_NS:
            return
        self._told_ns = now_ns
        writing_ms = (now_ns - first_ns) // 1_000_000
        now_ms = self.daemon.wall_ms()
        self.daemon.tell_step(Progress(self.id, now_ms, self._pieces, self._sent_bytes, writing_ms))

    def failed(self, outcome: Outcome) -> None:
        """A try came to nothing; there may be another."""
        self.tried.append(outcome)
        if self.spans is not None:
            self.spans.failed(self.elapsed_ns(), outcome.failure.tag)
        failure = outcome.failure
        self._in_vain(outcome.candidate, failure.tag, failure.message, outcome.elapsed_s)

    def skipped(self, outcome: Outcome, step: Step) -> None:
        """A candidate that was admitted is passed over after all; there was no try."""
        self.tried.append(outcome)
        self.trace = (*self.trace, step)

    def _in_vain(self, place: Candidate, kind: str, words: str, spent_s: float) -> None:
        self._tries.append(f"{place.provider}/{place.model}: {kind}: {words}")
        now_ms, took_ms = self.daemon.wall_ms(), int(spent_s * 1000)
        self.daemon.tell(
            AttemptFailed(self.id, now_ms, place.provider, place.model, kind, words, took_ms)
        )

    def estimate(self) -> None:
        """A whole answer without figures gets estimated ones, as far as its words are at hand."""
        known = self.usage
        if known is not None and known.input is not None and known.output is not None:
            return
        said = self._said_tokens()
        if said:
            self.usage = Usage(self.size_tokens, said).merged(known or Usage())
            self.usage_estimated = True

    def broke_off(self) -> None:
        """An answer ended in its middle, and its last figures never came: it counts as far as its
        words did, for they are billed all the same."""
        known, said = self.usage or Usage(), self._said_tokens()
        if said > (known.output or 0):
            self.usage = replace(Usage(self.size_tokens).merged(known), output=said)
            self.usage_estimated = True

    def _said_tokens(self) -> int:
        answer = self.response
        answer = answer.response() if isinstance(answer, Unread) else answer
        return answer_tokens(answer) if answer is not None else 0

    # --- attempts beside each other, answers set aside --------------------------------------------

    def twin(self) -> Story:
        """The same story with an attempt's own notes apart: they count once they are adopted."""
        twin = copy.copy(self)
        if self.spans is not None:
            twin.spans = self.spans.twin()
        return twin

    def adopt(self, twin: Story) -> None:
        """That attempt is the one that counts."""
        for name in _OF_ATTEMPT:
            setattr(self, name, getattr(twin, name))
        self._share(twin)

    def _share(self, twin: Story) -> None:
        """What is true of the request as soon as it is of one of its attempts."""
        self.left_host = self.left_host or twin.left_host
        begun = [ns for ns in (self.asked_ns, twin.asked_ns) if ns is not None]
        self.asked_ns = min(begun, default=None)

    def cancelled(self, twin: Story, place: Candidate, why: str, spent_s: float) -> None:
        """An attempt was ended because another one had the first token. What it had read by then may
        be billed all the same."""
        self._share(twin)
        if twin.spans is not None:
            twin.spans.failed(self.elapsed_ns(), "hedged")
        self._in_vain(place, "hedged", f"cancelled: {why}", spent_s)
        usage = twin.usage or Usage(None, None)
        read = usage.input if usage.input is not None else self.size_tokens
        seen = replace(usage, input=read, output=usage.output or 0)
        self._set_aside(cost_usd(twin.priced_by, seen, place.model) if twin.priced_by else None)

    def set_aside(self) -> None:
        """The answer of the last attempt came whole and goes to nobody, for now."""
        self._set_aside(self._own_cost_usd)

    def _set_aside(self, usd: float | None) -> None:
        if usd is not None:
            self.aside_usd = (self.aside_usd or 0.0) + usd

    def has_last_word(self, twin: Story) -> None:
        """An answer that had been set aside is given after all."""
        self.adopt(twin)
        self._last_word = True
        if self.aside_usd is not None:
            self.aside_usd -= self._own_cost_usd or 0.0

    @property
    def tries(self) -> int:
        """How many attempts there were, the one that is running included."""
        return len(self._tries) + (self.failure is None and not self._last_word)

    @property
    def from_cache(self) -> bool:
        """Nobody is asked: the answer was kept."""
        return self.cache in ("hit", "joined")

    @property
    def _own_cost_usd(self) -> float | None:
        if self.from_cache:
            return 0.0
        if self.priced_by is None:
            return None
        return cost_usd(self.priced_by, self.usage, self.candidate.model if self.candidate else "")

    @property
    def cost_usd(self) -> float | None:
        """What the answer cost, as far as its provider's prices tell, and those that nobody got."""
        own = self._own_cost_usd
        return own if self.aside_usd is None else (own or 0.0) + self.aside_usd

    def attempts(self) -> tuple[str, ...]:
        """One text per try that gave no answer to send: `provider/model: kind: message`."""
        return tuple(self._tries)

    @property
    def overhead_ms(self) -> float | None:
        if self.read_ns is None or self.asked_ns is None:
            return None
        return (self.asked_ns - self.read_ns) / 1e6

    # --- the end ----------------------------------------------------------------------------------

    def fault(self, end: EndState) -> Fault:
        """Who was at fault, for the log line."""
        if end == "complete":
            return ""
        if end == "client_gone":
            return "client"
        fault = _FAULT.get(self.failure.kind, "client") if self.failure else "router"
        if fault == "upstream" and self.request is None:  # nobody has been asked yet
            return "router"
        return fault

    def record(self, end: EndState) -> Record:
        request, place = self.request, self.candidate
        return Record(
            id=self.id,
            request_id=self.request_id,
            ts_ms=self.daemon.wall_ms(),
            end=end,
            status=self.status,
            client=self.client,
            client_format=self.client_format,
            endpoint=self.endpoint,
            requested_model=self.requested_model,
            sent_model=place.model if place else "",
            provider=place.provider if place else "",
            rule=place.rule if place else "",
            stream=request.stream if request else False,
            duration_ms=self.elapsed_ns() // 1_000_000,
            ttft_ms=None if self.first_token_ns is None else self.first_token_ns // 1_000_000,
            tags=self.tags,
            response_tags=self.response_tags,
            plugins=tuple(dict.fromkeys(self.plugins)),
            cache=self.cache,
            request=self._kept_request(),
            response=self.response,
            usage=self.usage,
            usage_estimated=self.usage_estimated,
            cost_usd=self.cost_usd,
            attempts=self.attempts(),
            trace=self.trace,
            dropped=self.ledger.names() if self.ledger else (),
            error=self.failure.message if self.failure else None,
            error_kind=self.failure.tag if self.failure else None,
            fault=self.fault(end),
            upstream_request_id=self.upstream_request_id,
            address=self.address,
            size_bytes=self.size_bytes,
            notes=tuple(self.notes),
            queue_ms=int(self.queued_s * 1000) if self.admitted_ns else None,
            policies=self.policies,
            generation=self.generation,
            overhead_ms=self.overhead_ms,
            trace_id=self.trace_id or None,
            traced=None if self.spans is None else self._traced(end),
            confined=self.confined,
            asked_ms=_ms(self.attempt_ns),
            connect_ms=None if self.connect_s is None else round(self.connect_s * 1000),
            head_ms=_ms(self.head_ns),
            left_host=self.left_host,
            model_digest=self.weights.digest,
            quantization=self.weights.quantization,
            decision=self.decision,
            tried=tuple(self.tried) if self.decision is not None else (),
            limit_fields=tuple(self.limit_fields),
        )

    def _traced(self, end: EndState) -> Traced:
        assert self.spans is not None
        return self.spans.sealed(
            self.elapsed_ns(),
            "" if end == "complete" else self.failure.tag if self.failure else end,
            self.first_token_ns,
        )

    def _kept_request(self) -> Request | None:
        """The request without its text, where somebody keeps it: its values are there already."""
        if self.request is None or not self.daemon.keep_bodies:
            return self.request
        return replace(self.request, raw=None)


def _ms(elapsed_ns: int | None) -> int | None:
    return None if elapsed_ns is None else elapsed_ns // 1_000_000
