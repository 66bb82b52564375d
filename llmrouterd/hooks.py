"""What may be plugged in: the protocols of plugins, classifiers and observers.

Owns: `Plugin` (a base class whose hooks do nothing), `Classifier`, `ResponseClassifier`, `Sink`,
and `Context`, through which an extension sees its settings, changes the course of a request and asks
others; what a plugin that keeps answers is given and gives back (`Arrival`, `Kept`, `Pending`).
Refuses to know: who calls the hooks and when (llmrouterd/pipeline/extend.py does).

Laws:
1. An extension never opens a socket. What it fetches goes through `ctx.fetch`, what it wants to know
   of a model through `ctx.ask` and `ctx.embed`, and so through the one function that dials, with
   its policies.
2. Streams and whole answers run the same hooks: there is one pipeline.
3. Returning a Request continues with it, returning a Response answers at once without a provider,
   returning Stop ends the chain of hooks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from formats.canonical import Event, Request, Response, Usage
    from formats.errors import Failure
    from llmrouterd.model import EndState, Record, Telling


@dataclass(frozen=True, slots=True)
class Stop:
    """Ends the chain: with `response` that is the answer; without one, in on_start and pre_request,
    the request fails with 500, since nobody has answered it."""

    response: Response | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as its client sent it, before any plugin has changed it.

    endpoint: the path it came to. fields: what besides its body can change its answer (header fields
    that upstreams see, wishes, tags, the query), always in one order. asker: a digest of who asks, by
    name and credentials. cache_control: that header field.
    """

    request: Request
    endpoint: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    asker: bytes = b""
    cache_control: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole answer as its client got it: `body` to the byte, in the client's format.

    provider, model: who gave it. usage, response_tags, dropped: as its record has them. answer: of the
    Responses API, the object that a client may go on from; passed: that is the provider's own. fields:
    what plugins told of themselves in its head.
    """

    body: bytes
    stream: bool
    provider: str
    model: str
    usage: Usage | None = None
    usage_estimated: bool = False
    response_tags: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    answer: bytes = b""
    passed: bool = False
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        return len(self.body) + len(self.answer)


class Pending:
    """Somebody else's request that may bring the answer. wait_s: how long to wait for it at most."""

    __slots__ = ("_wake", "over", "wait_s")

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self.over = False
        self._wake: list[Callable[[], object]] = []

    def wakes(self, wake: Callable[[], object]) -> None:
        """Call `wake` when it is over."""
        self._wake.append(wake)

    def forgets(self, wake: Callable[[], object]) -> None:
        """Whoever waited does not any more."""
        if wake in self._wake:
            self._wake.remove(wake)

    def end(self) -> None:
        self.over = True
        for wake in self._wake:
            wake()
        self._wake.clear()


class PluginFailed(Exception):
    """Raised by a plugin to fail the request with its own words."""


class PluginRefused(PluginFailed):
    """The same, where the request is at fault: its client is told so with 400."""


class AskFailed(Exception):
    """A provider that an extension asked gave no answer; in words."""


class FetchFailed(Exception):
    """What an extension wanted to fetch cannot be had, or must not be asked for; in words."""


class ApartFailed(Exception):
    """Work in a process of its own came to nothing; in words."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whom an attempt asks. format: the provider's. vendor: it is the format's own maker, and no server
    that speaks alike. capabilities: the model's, None where nobody knows them."""

    provider: str
    model: str
    format: str
    vendor: bool = False
    local: bool = True
    capabilities: frozenset[str] | None = None


class Ask(Protocol):
    """A question to a model of a configured provider: what it answers, without its reasoning.

    It is no request of a client: no classifier, plugin or rule sees it. A remote provider, or a
    model that only seems to be local, is not asked unless `allow_remote`. Raises AskFailed, at the
    latest after `timeout_s`.
    """

    async def __call__(
        self,
        provider: str,
        model: str,
        prompt: str,
        *,
        system: str = "",
        max_tokens: int = 16,
        timeout_s: float = 2.0,
        allow_remote: bool = False,
    ) -> str: ...


class Embed(Protocol):
    """Vectors for texts, one each and in their order, on the same terms as `Ask`."""

    async def __call__(
        self,
        provider: str,
        model: str,
        texts: Sequence[str],
        *,
        timeout_s: float = 2.0,
        allow_remote: bool = False,
    ) -> Sequence[Sequence[float]]: ...


class Fetch(Protocol):
    """One HTTP request to anybody: its status and its body. Redirects are answers like others, and
    nothing of the client's (credentials, cookies, its address) goes along.

    What a policy keeps on this network is kept there by fetching, too; before the classifiers have
    looked, every policy that might come to bind counts. public_only: for a URL that is not the
    owner's word but a client's: no address of this network. passes_on: whoever is asked hands it on to
    others, as a search engine does, so that nothing is asked which must stay here. ca_file: a PEM file
    to trust instead of the system's store. Raises FetchFailed, at the latest after `timeout_s`.
    """

    async def __call__(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 10.0,
        max_bytes: int = 1 << 20,
        public_only: bool = False,
        passes_on: bool = False,
        ca_file: str = "",
    ) -> tuple[int, bytes]: ...


class Apart(Protocol):
    """A function `module:name` of an installed package, called with (data, settings) in a process of its
    own, and the bytes that it returned. For work on a stranger's data, which may be made to take all
    time and memory: the process is bounded, and can be killed. Raises ApartFailed, at the latest
    after `timeout_s`.
    """

    async def __call__(
        self,
        function: str,
        data: bytes,
        settings: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 30.0,
        memory_bytes: int = 512 * 1024 * 1024,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> bytes: ...


async def _no_ask(*args: Any, **kwargs: Any) -> Any:
    raise AskFailed("asking a provider is not possible here")


async def _no_fetch(*args: Any, **kwargs: Any) -> Any:
    raise FetchFailed("fetching is not possible here")


async def _no_apart(*args: Any, **kwargs: Any) -> Any:
    raise ApartFailed("no process can be started here")


async def _no_breath() -> None:
    pass


def _as_it_is(text: str) -> str:
    return text


@dataclass(slots=True)
class Along:
    """What came with a request's body and may go along to an upstream: the client's header fields
    and its query. One for all plugins of a request, which may take things out."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    query: str = ""


@dataclass(slots=True)
class Context:
    """One extension's view of one request. Mutable, and private to that pair.

    settings: configured ones, overridden by those of the request's `plugins` entry. enabled: the owner
    has turned it on for all, so that no request has asked for it alone. tags: the request's tags so far
    (final from recall on). client: the name of its key, "" without one. fetch,
    ask, embed, apart: see their protocols. leaving: a text of the client's as it may be told to others
    by `fetch`, after every plugin's on_send; raises PluginFailed. breathe: awaited now and then by
    whoever computes for long, so that other requests go on meanwhile. state: the plugin's own, of this
    request; stream: the same of one stream of its answer, since another attempt begins another stream.
    dry: the request is only explained or counted, and nobody may be asked. notes: what the record
    should say of this request, in the plugin's words. along: what may go along with the request.
    fields: header fields of the answer, as long as it has not begun; `x` is X-Router-ID-X, with the
    plugin's id. forced, changed: what `force` and `modified` said.
    """

    id: str
    settings: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    client: str = ""
    enabled: bool = False
    fetch: Fetch = _no_fetch
    ask: Ask = _no_ask
    embed: Embed = _no_ask
    apart: Apart = _no_apart
    leaving: Callable[[str], str] = _as_it_is
    breathe: Callable[[], Awaitable[None]] = _no_breath
    forced: str | None = None
    changed: bool = False
    state: Any = None
    stream: Any = None
    dry: bool = False
    notes: list[str] = field(default_factory=list)
    along: Along = field(default_factory=Along)
    fields: dict[str, str] = field(default_factory=dict)

    def force(self, provider: str) -> None:
        """Send this request to `provider`, past the rules (policies still hold)."""
        self.forced = provider

    def modified(self) -> None:
        """Say that something was changed: the plugin's id then stands in the log entry."""
        self.changed = True


class Plugin:
    """Base of all plugins: every hook does nothing. A plugin overrides what it needs.

    whole_response: True makes the answer wait until it is complete (bounded), so that
    post_response may change it; otherwise streams pass through and post_response only looks.
    edits_events: True when on_event may change anything (pass-through of bytes is off then).
    delays: True when on_event holds events back, so that what comes out says nothing of what was
    changed: a change is told with ctx.modified().
    vectors: True: on_start and pre_request also see requests for vectors, each text a message of the
    user's; what they make of the texts is sent.
    owned: settings that are the owner's: a request that names one of them is refused.
    """

    id: str = ""
    whole_response: bool = False
    edits_events: bool = False
    delays: bool = False
    vectors: bool = False
    owned: Collection[str] = frozenset()

    def waits(self, ctx: Context) -> bool:
        """Whether the answer to this request waits until it is complete."""
        return self.whole_response

    def on_arrival(self, arrival: Arrival, ctx: Context) -> int:
        """The client's own request, before any plugin's on_start; sync. Returns how many bytes of its
        answer `on_release` is to be given; 0: none."""
        return 0

    def asked_for(self, request: Request) -> bool:
        """Whether a request asks for this plugin in another way than by its id."""
        return False

    async def on_start(self, request: Request, ctx: Context) -> Request | Response | Stop:
        """Before the classifiers."""
        return request

    def recall(self, may: Callable[[Kept], bool], ctx: Context) -> Kept | Pending | None:
        """After the classifiers, before pre_request; sync: an answer that was kept, which then goes out
        as it is, without any further hook but on_release and on_end. Pending: wait, and ask me again.
        may: whether the owner's policies let this request have that answer."""
        return None

    async def pre_request(self, request: Request, ctx: Context) -> Request | Response | Stop:
        """After the classifiers, before routing."""
        return request

    async def on_attempt(self, request: Request, place: Place, ctx: Context) -> Request:
        """Before each attempt at a provider: the request for this one. PluginFailed: not for this one,
        and the next candidate is tried."""
        return request

    def on_send(self, request: Request, ctx: Context) -> Request:
        """What leaves beside the request itself: one to which the router or on_attempt added something, or
        an extension's question to somebody else. Sync; may come more than once, and before pre_request."""
        return request

    def shown(self, request: Request, ctx: Context) -> Request:
        """The request as its client knows it, for formats whose answers repeat parts of it."""
        return request

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        """Each event of an answer as it passes; sync, so that streams keep their pace."""
        return (event,)

    async def post_response(self, response: Response, ctx: Context) -> Response | Stop:
        """The whole answer, when it has ended."""
        return response

    def on_release(self, kept: Kept | None, end: EndState, ctx: Context) -> None:
        """The request is over, whatever came of it: also when its client has gone, and at once; sync.
        kept: its answer, if it is whole and no longer than was asked for."""

    async def on_error(self, failure: Failure, ctx: Context) -> None:
        """The request has failed, and the client was told so: before on_end."""

    async def on_end(self, record: Record) -> None:
        """When everything is over."""


class Classifier(Protocol):
    """Looks at a request and names its tags.

    may_set: every tag that it could name. When it fails, nobody knows whether the request has them,
    and what depends on one of them must take it as set. One without `may_set` could name any.
    """

    id: str

    @property
    def may_set(self) -> Collection[str]: ...

    async def classify(self, request: Request, ctx: Context) -> Sequence[str]: ...


class ResponseClassifier(Protocol):
    """Looks at an answer and names its tags."""

    id: str

    async def classify(
        self, request: Request, response: Response, ctx: Context
    ) -> Sequence[str]: ...


class Sink(Protocol):
    """An observer. `tell` is sync, never blocks, never raises; what it cannot keep it counts.

    follows: it wants every step of a request on its way; the others are told of attempts that failed
    and of the record.
    """

    follows: bool

    def tell(self, telling: Telling) -> None: ...
