"""The frozen nouns that every room shares.

Owns: what a provider, a candidate, a verdict, a header list, an outcome and a record are.
Refuses to know: where they come from (config), who decides about them (route), who sends them.

Laws:
1. Everything here is a value: frozen, comparable, safe to hand to any task.
2. A `Secret` shows itself only through `.reveal()`; every other way of printing it gives `***`.
3. Times: `_s` is seconds as float, `ts_ms` is UTC milliseconds since 1970, durations come from a
   monotonic clock.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from formats.canonical import Request, Response, Usage
    from formats.errors import Failure
    from llmrouterd.spans import Traced

FormatName = Literal["openai", "anthropic", "ollama", "responses", "echo"]
EndState = Literal[
    "complete",
    "truncated",
    "stalled",
    "client_gone",
    "upstream_error",
    "refused",
    "over_budget",
    "internal_error",
]
Cached = Literal["", "hit", "miss", "joined"]
EMPTY: Mapping[str, Any] = MappingProxyType({})


class Secret:
    """A key or token. Printing, formatting or logging it gives `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself: only where it goes into a header or a comparison."""
        return self._text

    def matches(self, offered: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self._text.encode(), offered.encode("utf-8", "surrogateescape"))

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may use. rpm, tpm: requests and tokens in a minute; 0: no limit."""

    rpm: int = 0
    tpm: int = 0
    at_once: int = 0
    budget_usd_per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from, by its key. name: "" for whoever has the shared key, or anybody where
    no key is asked for: they may do everything. models: globs of the names that may be asked for,
    all if there are none. strict: a loss in translation is refused. admin: model administration and
    the dashboard. allowance: None is no limit at all. batch: others go before it."""

    name: str = ""
    models: tuple[str, ...] = ()
    strict: bool = False
    admin: bool = True
    allowance: Allowance | None = None
    batch: bool = False

    def may_ask(self, model: str) -> bool:
        return not self.models or any(fnmatchcase(model, glob) for glob in self.models)


ANYBODY = Caller()


class Headers:
    """HTTP header fields in order, names lower-case, values as received (latin-1)."""

    __slots__ = ("_first", "raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.raw: Sequence[tuple[bytes, bytes]] = raw if isinstance(raw, list) else list(raw)
        self._first = dict(reversed(self.raw))

    def get(self, name: str) -> str | None:
        """The first value of `name` (lower-case), or None."""
        value = self._first.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def __contains__(self, name: str) -> bool:
        return name.encode("latin-1") in self._first

    def all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for key, value in self.raw:
            yield key.decode("latin-1"), value.decode("latin-1")

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self]})"


class ConfigError(Exception):
    """All that is wrong with a configuration, in one exception: `problems`, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The four clocks of a provider, in seconds; 0 means no limit."""

    connect_s: float = 5.0
    first_token_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server wants differently from others of its format.

    vendor: it is the format's own vendor (OpenAI, Anthropic, Azure), with the vendor's rules.
    key_header: where the key goes, if not where the format has it. reasoning_field: "auto" reads
    what servers call it, "think_tags" also splits `<think>` out of texts. reasoning_echo: the member
    in which earlier reasoning goes back, or "none". reasoning_required: it refuses tool calls in a
    history without their reasoning. betas: names of `anthropic-beta` that it takes from clients,
    "*" for all. forward: further headers of clients that it gets.
    """

    name: str = "other"
    vendor: bool = False
    key_header: str = ""
    reasoning_field: Literal["auto", "think_tags"] = "auto"
    reasoning_echo: Literal["reasoning_content", "reasoning", "none"] = "reasoning_content"
    reasoning_required: bool = False
    include_usage: bool = True
    max_tokens_field: str = ""
    system_role: str = ""
    betas: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Slots:
    """How many requests a provider is given at a time, and how the others wait. 0 is no limit.

    per_model: (glob, most at work) for each model on its own. max_loaded: models that it holds in
    memory at a time; 0: not known. swap_wait_s: how long a request may be put behind others whose
    model is in memory; residency_s: how long a loaded model is kept for others at least;
    batch_wait_s: after so long a batch request counts as interactive.
    """

    at_once: int = 0
    per_model: tuple[tuple[str, int], ...] = ()
    max_queue: int = 100
    timeout_s: float = 120.0
    max_loaded: int = 0
    swap_wait_s: float = 15.0
    residency_s: float = 10.0
    batch_wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Price:
    """What models cost, in USD per million tokens. models: names or globs. max_input_tokens: it holds
    for prompts up to so many; 0: for all. None: such input costs what other input costs."""

    models: tuple[str, ...]
    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    max_input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream server as the owner configured it.

    base_url: as configured, no trailing slash. local: loopback, private, link-local, unix socket,
    or said so. Costs are USD per million tokens; None is "not declared", which is not 0. prices: the
    owner's own, by model. list_prices: of the table that ships, where this is the vendor itself.
    latency_ms and throughput are declared figures; None leaves the provider out of those rules.
    """

    name: str
    format: FormatName
    base_url: str = ""
    key: Secret | None = None
    keys: tuple[Secret, ...] = ()  # all of them, where there are several; `key` is one of these
    local: bool = True
    dialect: Dialect = Dialect()
    credentials: Literal["provider", "client"] = "provider"
    cost_per_1m_tokens: float | None = None
    input_cost_per_1m: float | None = None
    output_cost_per_1m: float | None = None
    cached_input_cost_per_1m: float | None = None
    prices: tuple[Price, ...] = ()
    list_prices: tuple[Price, ...] = ()
    quality: float = 0.0
    latency_ms: float | None = None
    throughput_tokens_per_sec: float | None = None
    models: tuple[str, ...] = ()
    context_length: int = 0
    clocks: Clocks = Clocks()
    max_retries: int = 1
    circuit_failures: int = 3  # so many in a row, and it is left alone for a while; 0: never
    probe_interval_s: float = 0.0  # between two questions whether it is there; 0: it is not asked
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may hold a key
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    http_proxy: str = field(default="", repr=False)  # may hold a password
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    stream_upstream: Literal["auto", "always", "never"] = "auto"  # for whole answers, too
    grow_context: bool = False  # num_ctx may grow with the prompts
    strip_nonces: bool | None = None  # leave out what changes every prompt; None: where it is local
    slots: Slots | None = None  # None: it takes whatever comes
    on_demand: bool = False  # found by a key in the environment: only for models asked for by name

    @property
    def is_priced(self) -> bool:
        """Whether any price is declared. One of 0 is one."""
        prices = (self.cost_per_1m_tokens, self.input_cost_per_1m, self.output_cost_per_1m)
        return bool(self.prices or self.list_prices) or any(price is not None for price in prices)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of one model at one provider. `capabilities` None: unknown, able to do all.
    native: the provider's own list entry, as it stands there."""

    name: str
    capabilities: frozenset[str] | None = None
    context_length: int = 0
    family: str = ""
    size_bytes: int = 0  # of the weights, where the server tells: a rough measure of quality
    loaded: bool = False
    native: Mapping[str, Any] = field(default_factory=lambda: EMPTY, hash=False, repr=False)
    max_output: int = 0  # tokens of one answer, where the server tells
    loaded_context: int = 0  # tokens, of the model as it lies in memory, where the server tells


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A provider as of now. `models` None: its list is not known (not asked, or it has none)."""

    provider: Provider
    models: Mapping[str, ModelInfo] | None = None
    healthy: bool = True
    why: str = ""  # when not healthy or not reached: the reason, for traces, errors and people
    reached: bool | None = None  # whether it answered when it was last asked; None: never asked
    in_flight: int = 0
    first_token_ms: float | None = None  # as seen, beside what was declared
    tokens_per_s: float | None = None
    failing: float = 0.0  # share of the recent requests
    back_s: float | None = None  # when not healthy: seconds until it is asked again
    resting: bool = False  # it asked to be left alone: its pace is the matter, not its health
    models_out: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # left alone, and why


@dataclass(frozen=True, slots=True)
class Fleet:
    """A frozen snapshot of all usable providers, in the order of the configuration.

    now: the monotonic clock. seed: drawn from the request's id, so that "random" is repeatable.
    turns: how often each rule that takes turns was used. seat: where this conversation was served.
    """

    states: Mapping[str, ProviderState]
    now: float = 0.0
    seed: int = 0
    turns: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    seat: tuple[str, str] | None = None


ANY_TAG = "*"


@dataclass(frozen=True, slots=True)
class Facts:
    """What routing may know of a request.

    model: the name the client asked for. needs: capabilities the request makes use of ("vision",
    "tools", ...). size_tokens: estimate of the prompt. forced: a provider that a plugin chose,
    past the rules. wish: the provider the client asked for by header. session: a name for the
    conversation, where some rule keeps those together. unknown_tags: those that a classifier would
    have judged that failed; `ANY_TAG` among them: there is no telling which. asked: what the client
    called the model, where that is another one by now; policies for either name bind.
    """

    model: str
    needs: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    size_tokens: int = 0
    stream: bool = False
    client: str = ""
    forced: str | None = None
    wish: str | None = None
    session: str = ""
    unknown_tags: frozenset[str] = frozenset()
    asked: str = ""

    def may_be(self, tag: str) -> bool:
        """Whether the request has this tag, in any case, or nobody knows: what must hold for a tag
        fails closed."""
        if ANY_TAG in self.unknown_tags:
            return True
        wanted = tag.casefold()
        return any(wanted == each.casefold() for each in (*self.tags, *self.unknown_tags))


@dataclass(frozen=True, slots=True)
class When:
    """What must hold for a rule to be asked at all; of each list one is enough, and an empty one asks
    for nothing. capabilities: what the request makes use of."""

    tags: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    stream: bool | None = None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One `[[routers]]` entry, checked. `where` names it (`routers[2] fallback`). Fields that its
    type does not use keep their defaults. `targets`: (provider, model) pairs as written; `weights`: one
    for each, or none. measured: by what was seen, not only declared. sticky: a conversation stays."""

    type: str
    where: str
    providers: tuple[str, ...] = ()
    model_prefix: str = ""
    match: tuple[str, ...] = ()
    tag: str = ""
    targets: tuple[tuple[str, str], ...] = ()
    rewrite_model: str | None = None
    max_cost_per_1m_tokens: float | None = None
    max_latency_ms: float | None = None
    min_tokens_per_sec: float | None = None
    quality_bias: float = 0.5
    weights: tuple[float, ...] = ()
    when: When | None = None
    measured: bool = False
    sticky: bool = False
    min_tokens: int | None = None
    max_tokens: int | None = None
    hedge_after_ms: int = 0
    retry_on_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One `[[policies]]` entry, checked: a limit that holds whatever the rules say. `where` names it
    (`policies[0]`).

    tags, clients, models (globs): whom it binds; an empty one asks for nothing. allow, deny: names of
    providers. local: it must not leave this network; networks: those it may reach, instead of every
    local one. block: nobody may serve it. message: what the client is told then.
    """

    where: str
    tags: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    local: bool = False
    networks: tuple[str, ...] = ()
    block: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class Routing:
    """All that the owner decided about routing. aliases: name -> `provider/model` texts, in order.
    implicit: there are no rules in the file, so the built-in chain applies. wants_figures: some rule
    goes by what is going on at the providers. is_sticky: some rule keeps conversations together."""

    rules: tuple[RuleSpec, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    failover_to_remote: bool = False
    implicit: bool = False
    policies: tuple[Policy, ...] = ()
    wants_figures: bool = field(init=False)
    is_sticky: bool = field(init=False)

    def __post_init__(self) -> None:
        live = any(rule.measured or rule.type == "least_busy" for rule in self.rules)
        object.__setattr__(self, "wants_figures", live)
        object.__setattr__(self, "is_sticky", any(rule.sticky for rule in self.rules))


@dataclass(frozen=True, slots=True)
class Images:
    """What pictures may be fetched for servers that take bytes only. fetch_hosts: names or patterns
    (`*.example.com`); none: nothing is fetched. timeout: seconds for one."""

    fetch_hosts: tuple[str, ...] = ()
    max_bytes: int = 10 * 1024 * 1024
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One place a request may go. `rule` says who proposed it (`routers[2] fallback`).

    written_out: the owner named this provider in the very list it came from, so going there after
    a local provider failed is the owner's own wish. hedge_after_ms: silent for so long, and the next
    candidate is started beside it; 0: never. retry_on_tags: an answer with one of these is not yet
    the last word.
    """

    provider: str
    model: str
    rule: str
    written_out: bool = False
    hedge_after_ms: int = 0
    retry_on_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a routing trace: a rule that passed, or a candidate taken or skipped, and why.

    reason is for people; code is the same for programs: unknown, on_demand, repeated, policy,
    capability:NAME, embedding, context:TOKENS, remote, health, rest, model_out, unreached.
    """

    rule: str
    outcome: Literal["passed", "candidate", "skipped"]
    reason: str = ""
    provider: str = ""
    model: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every admissible candidate in the order in which to try them, and how that came about."""

    candidates: tuple[Candidate, ...]
    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and on what, as it was read, for whoever writes it down. figures: provider ->
    members of its state that no rule of this configuration asked for, and one of another may."""

    facts: Facts
    fleet: Fleet
    routing: Routing
    verdict: Verdict
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended without an answer.

    at: when, on the monotonic clock (None: just now); a pause before a retry counts from there.
    connected: False when no connection came about at all (refused, no such name, TLS). asked: False
    when it was passed over after all, because somebody else had found it ill."""

    candidate: Candidate
    failure: Failure
    elapsed_s: float = 0.0
    at: float | None = None
    connected: bool = True
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Try:
    """Try this candidate now."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Wait:
    """Sleep, then ask again: the next step will be a retry of `candidate`."""

    seconds: float
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody is left, or trying on would not help: this is what the client is told."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a connection really went: the address dialled (`unix:/path` for a socket), and whether it
    left this network."""

    address: str
    left_host: bool

    @property
    def host(self) -> str:
        """The address without its port; of a unix socket, all of it."""
        if self.address.startswith("unix:"):
            return self.address
        return self.address.rpartition(":")[0].strip("[]")


# --- what observers are told ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A request arrived and was understood. `in_flight` counts it."""

    id: int
    ts_ms: int
    model: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class Classified:
    id: int
    ts_ms: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routed:
    id: int
    ts_ms: int
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits for a place at a provider, or its position there is another one now. position: 1 is
    next, 0 has its place. estimate_ms: until it starts; None while nothing has been measured."""

    id: int
    ts_ms: int
    provider: str
    model: str
    position: int
    estimate_ms: int | None


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The first content went to the client."""

    id: int
    ts_ms: int
    ttft_ms: int


@dataclass(frozen=True, slots=True)
class Progress:
    """More of a stream went to the client. pieces: its events so far, most servers send one a token;
    writing_ms: since the first of them."""

    id: int
    ts_ms: int
    pieces: int
    size_bytes: int
    writing_ms: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """One try ended without an answer. kind: as in X-Router-Error."""

    id: int
    ts_ms: int
    provider: str
    model: str
    kind: str
    error: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A provider is not any more as it was: of no request in particular, so its id is 0. circuit,
    why, back_s: as the state of the fleet has them."""

    ts_ms: int
    provider: str
    healthy: bool
    circuit: Literal["closed", "open", "resting"]
    paused: bool
    reached: bool | None
    why: str = ""
    back_s: float | None = None
    id: int = 0

    @property
    def mark(self) -> tuple[object, ...]:
        """What makes it another one: words and seconds do not."""
        return self.healthy, self.circuit, self.paused, self.reached


class Unread:
    """An answer that passed through as bytes, to be read only if somebody wants to know."""

    __slots__ = ("_read", "_response")

    def __init__(self, read: Callable[[], Response | None]) -> None:
        self._read: Callable[[], Response | None] | None = read
        self._response: Response | None = None

    def response(self) -> Response | None:
        """The answer, decoded at the first call; None when there was nothing to make out."""
        read = self._read  # the log's thread may be here at the same time
        if read is not None:
            self._response = read()
            self._read = None
        return self._response


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known when a request has ended. Observers turn it into log lines and events.

    request, response: canonical, or None where there was none. status: what the client saw (0: it
    had gone before). attempts: one line per try that failed. dropped: names of the client's fields
    that the upstream's format could not carry. fault: who was at fault when end is not `complete`.
    size_bytes: of the bodies both ways, for those who keep records within a bound of memory.
    overhead_ms: from the body read to the first upstream asked, with what was spent in a queue.
    queue_ms: how long it waited for places at providers; None where it needed none.
    limit_fields: header fields of the answer that say what its client may still use.
    decision: where somebody keeps those; tried: what failed of it, as `attempts` says in words.
    worker: the process that served it, 1 and up; 0 where there is only one.
    trace_id: of the caller's trace, or of ours. traced: its times, where somebody wants them.
    confined: None: what is known of it may be sent anywhere; else it stays on this network, within
    these networks where there are any.
    Of the last attempt: asked_ms (when it began) and head_ms (when its answer began, None: it did not)
    count from the request's beginning; connect_ms is what a new connection took, None without one.
    model_digest, quantization: of the weights that were asked, as their server listed them; "": unknown.
    """

    id: int
    request_id: str
    ts_ms: int
    end: EndState
    status: int
    client_format: str
    endpoint: str
    requested_model: str
    sent_model: str = ""
    provider: str = ""
    rule: str = ""
    client: str = ""
    stream: bool = False
    duration_ms: int = 0
    ttft_ms: int | None = None
    tags: tuple[str, ...] = ()
    response_tags: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    cache: Cached = ""  # joined: with a request of the same words that was running already
    request: Request | None = None
    response: Response | Unread | None = None
    usage: Usage | None = None
    usage_estimated: bool = False
    cost_usd: float | None = None
    attempts: tuple[str, ...] = ()
    trace: tuple[Step, ...] = ()
    dropped: tuple[str, ...] = ()
    error: str | None = None
    error_kind: str | None = None
    fault: Literal["", "client", "upstream", "router", "owner"] = ""
    upstream_request_id: str = ""
    address: str = ""
    size_bytes: int = 0
    notes: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    generation: int = 1  # the number of the configuration it ran under
    overhead_ms: float | None = None
    queue_ms: int | None = None
    asked_ms: int | None = None
    connect_ms: int | None = None
    head_ms: int | None = None
    left_host: bool | None = None
    decision: Decision | None = None
    tried: tuple[Outcome, ...] = ()
    worker: int = 0
    trace_id: str | None = None
    traced: Traced | None = None
    confined: tuple[str, ...] | None = None
    model_digest: str = ""
    quantization: str = ""
    limit_fields: tuple[tuple[str, str], ...] = ()


Telling = (
    Opened
    | Classified
    | Routed
    | Queued
    | FirstToken
    | Progress
    | AttemptFailed
    | Standing
    | Record
)
