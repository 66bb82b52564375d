"""The router's own questions to models, on behalf of an extension: an answer in words, or vectors.

Owns: one call of a configured provider by its name, in its own format and with its key, and the
record of it.
Refuses to know: what is asked and what the answer is good for; rules, classifiers, plugins. It is no
request of a client, so nothing that looks at those sees it, and it cannot go round in circles.

Laws:
1. What has not been classified yet is private: unless the extension may go remote, only a provider
   that is local is asked, for a model that it runs itself, at an address of this network, which is
   looked at as it is dialled. The owner's policies hold as for any text that nobody has looked at.
2. Time is bounded by the caller's figure, whatever the provider's own clocks are.
3. A provider is left alone after failures in a row; until then, whoever asks is told so at once.
4. What leaves all the same goes out as the plugins let a request of that client go out.
5. Every call is one record, with `internal` for its endpoint, and counts as load of its provider.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from formats import FORMATS, embeddings
from formats.canonical import Message, Request, Sampling, Target, Text, Thinking
from formats.errors import Failure, FormatError
from formats.jsontext import dump
from formats.ledger import Ledger
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError, proxy_authorization
from llmrouterd.guard.fairqueue import Waiter
from llmrouterd.guard.keyring import Resting
from llmrouterd.hooks import AskFailed, PluginFailed
from llmrouterd.model import Candidate, Clocks, Headers, Outcome
from llmrouterd.pipeline import admit, headers
from llmrouterd.pipeline.binding import unclassified
from llmrouterd.pipeline.masked import Mask
from llmrouterd.pipeline.refused import not_reached, refused_by
from llmrouterd.pipeline.story import Story
from llmrouterd.pipeline.tracing import join_trace
from llmrouterd.route.estimate import tokens, with_margin
from llmrouterd.route.policies import forbids, runs_elsewhere, strictest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llmrouterd.guard.egress import Label
    from llmrouterd.guard.keyring import Keyring, Taken
    from llmrouterd.model import EndState, ModelInfo, Provider
    from llmrouterd.pipeline.daemon import Generation

T = TypeVar("T")
ENDPOINT = "internal"
_LIMIT = 16 * 1024 * 1024
_ASK_PATHS = {
    "openai": "/chat/completions",
    "responses": "/responses",
    "anthropic": "/messages",
    "ollama": "/api/chat",
}


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Inquiry:
    """What `ctx.ask` and `ctx.embed` of one extension are. parent: of the request it works for.
    leaving: what becomes of a question that goes elsewhere; raises PluginFailed."""

    def __init__(
        self,
        gen: Generation,
        parent: Story,
        by: str,
        leaving: Callable[[Request], Request] | None = None,
    ) -> None:
        self._gen = gen
        self._parent = parent
        self._daemon = parent.daemon
        self._by = by
        self._leaving = leaving

    async def ask(
        self,
        provider: str,
        model: str,
        prompt: str,
        *,
        system: str = "",
        max_tokens: int = 16,
        timeout_s: float = 2.0,
        allow_remote: bool = False,
    ) -> str:
        """The text of the model's answer. Raises AskFailed."""
        chosen, info = self._chosen(provider, model, allow_remote=allow_remote)
        codec = FORMATS[chosen.format]
        request = _question(chosen, model, prompt, system, max_tokens)
        if leaves(chosen, model, info):
            request = self._covered(request)

        def written() -> tuple[str, bytes]:
            target = self._target(chosen, model, info, tokens(request) + max_tokens)
            return _ASK_PATHS[chosen.format], codec.write_request(request, Ledger(), target)

        def read(body: bytes, story: Story) -> str:
            response = codec.parse_response(body)
            story.response, story.usage = response, response.usage
            return response.text

        label = self._label(allow_remote=allow_remote)
        call = _Call(chosen, model, request, written, timeout_s, label)
        return await self._counted(call, read)

    async def embed(
        self,
        provider: str,
        model: str,
        texts: Sequence[str],
        *,
        timeout_s: float = 2.0,
        allow_remote: bool = False,
    ) -> Sequence[Sequence[float]]:
        """A vector for each text. Raises AskFailed."""
        chosen, info = self._chosen(provider, model, allow_remote=allow_remote)
        if chosen.format not in ("openai", "ollama"):
            raise AskFailed(f"{provider} speaks {chosen.format!r}, which has no embeddings")
        kind: embeddings.Call = "ollama" if chosen.format == "ollama" else "openai"
        seen = Request(
            chosen.format, model, tuple(Message("user", (Text(text),)) for text in texts)
        )
        if leaves(chosen, model, info):
            seen = self._covered(seen)
        said = [part.text for m in seen.messages for part in m.parts if isinstance(part, Text)]
        asked = embeddings.parse_request(kind, dump({"model": model, "input": said}))

        def written() -> tuple[str, bytes]:
            target = self._target(chosen, model, info, 0)
            return embeddings.PATHS[kind], embeddings.write_request(asked, kind, Ledger(), target)

        def read(body: bytes, story: Story) -> Sequence[Sequence[float]]:
            vectors = embeddings.parse_answer(kind, body, asked).vectors
            return [vector for vector in vectors if not isinstance(vector, str)]

        label = self._label(allow_remote=allow_remote)
        call = _Call(chosen, model, seen, written, timeout_s, label)
        return await self._counted(call, read)

    def _covered(self, request: Request) -> Request:
        try:
            return self._leaving(request) if self._leaving is not None else request
        except PluginFailed as error:
            raise AskFailed(str(error)) from None

    # --- whom -------------------------------------------------------------------------------------

    def _chosen(
        self, name: str, model: str, *, allow_remote: bool
    ) -> tuple[Provider, ModelInfo | None]:
        provider = self._gen.providers.get(name)
        if provider is None:
            raise AskFailed(f"there is no provider {name!r}, or its key is missing")
        if provider.format not in _ASK_PATHS:
            raise AskFailed(f"provider {name!r} has no models to ask")
        if provider.credentials == "client":
            raise AskFailed(f"provider {name!r} takes clients' credentials, and this is no client")
        info = self._info(provider, model)
        if not allow_remote:
            why = leaves(provider, model, info)
            if why:
                raise AskFailed(f"{why}: allow_remote = true lets it be asked all the same")
        elif leaves(provider, model, info):
            why = forbids(strictest(self._gen.routing.policies), provider, model, info)
            if why:
                raise AskFailed(f"{name}: {why}")
        return provider, info

    def _info(self, provider: Provider, model: str) -> ModelInfo | None:
        state = self._daemon.fleet(self._gen, 0).states.get(provider.name)
        if state is not None and not state.healthy:
            raise AskFailed(f"{provider.name} is left alone: {state.why}")
        return (state.models or {}).get(model) if state is not None else None

    def _label(self, *, allow_remote: bool) -> Label:
        """Of a request that nobody has looked at yet."""
        label = unclassified(self._gen.routing)
        return label if allow_remote else replace(label, local_only=True)

    def _target(
        self, provider: Provider, model: str, info: ModelInfo | None, needed: int
    ) -> Target:
        dialect = provider.dialect
        return Target(
            model=model,
            vendor=dialect.vendor,
            max_output=info.max_output if info else 0,
            max_tokens_field=dialect.max_tokens_field,
            system_role=dialect.system_role,
            include_usage=dialect.include_usage,
            capabilities=info.capabilities if info else None,
            options=self._options(provider, model, info, needed),
        )

    def _options(
        self, provider: Provider, model: str, info: ModelInfo | None, needed: int
    ) -> Mapping[str, Any]:
        """At an Ollama server a model keeps the one size of context that requests gave it: another
        one would load it anew."""
        configured = provider.options.get("num_ctx")
        if provider.format != "ollama":
            return provider.options
        size = self._daemon.contexts.size(
            (provider.name, model),
            configured=configured if type(configured) is int and configured > 0 else 0,
            loaded=info.loaded_context if info is not None else 0,
            asked=0,
            needed=with_margin(needed),
            most=info.context_length if info is not None else 0,
            grow=provider.grow_context,
        )
        return provider.options if size is None else {**provider.options, "num_ctx": size}

    # --- one call ---------------------------------------------------------------------------------

    async def _counted(self, call: _Call, read: Callable[[bytes, Story], T]) -> T:
        """The call, on the books: a record, the provider's load, and the rest after failures."""
        place, now = (call.provider.name, call.model), trio.current_time()
        breaker = self._daemon.inquiries
        if not breaker.admits(place, now):
            why = breaker.circuit(place).why
            raise AskFailed(f"{'/'.join(place)} failed again and again, the last time: {why}")
        trying = breaker.entered(place, now)
        story = self._story(call)
        end: EndState = "internal_error"
        try:
            with _load(self._daemon.in_flight_at, call.provider.name):
                body = await self._keyed(call, story)
            answer = read(body, story)
            story.status, end = 200, "complete"
            breaker.succeeded(place)
            return answer
        except (_Failed, FormatError) as error:
            failure = error.failure if isinstance(error, _Failed) else None
            story.failure = failure or Failure("upstream", str(error))
            end = "stalled" if story.failure.kind == "timeout" else "upstream_error"
            jitter = int(story.stem[:4], 16) / 0xFFFF
            breaker.failed(place, trio.current_time(), story.failure.message, jitter=jitter)
            raise AskFailed(f"{'/'.join(place)}: {story.failure.message}") from None
        except trio.Cancelled:
            end = "client_gone"
            raise
        finally:
            if trying and end in ("client_gone", "internal_error"):
                breaker.abandoned(place)
            self._daemon.tell(story.record(end))

    def _story(self, call: _Call) -> Story:
        story = Story(self._daemon, client_format=call.provider.format, endpoint=ENDPOINT)
        story.unheard()  # progress is of clients' requests; the record tells it all
        story.client = self._parent.client
        story.opened(call.request)
        story.candidate = Candidate(call.provider.name, call.model, f"internal {self._by}")
        story.priced_by = call.provider
        story.notes.append(f"for {self._by} of {self._parent.request_id}")
        join_trace(story, self._parent, self._gen.routing)
        return story

    async def _keyed(self, call: _Call, story: Story) -> bytes:
        ring = self._daemon.keyring(call.provider)
        if ring is None:
            return await self._exchanged(call, call.provider, story)
        taken = ring.take(trio.current_time())
        if isinstance(taken, Resting):
            raise _Failed(Failure(taken.kind or "rate_limit", taken.reason))
        try:
            body = await self._exchanged(call, replace(call.provider, key=taken.key), story)
        except _Failed as error:
            _report(ring, taken, call, error.failure)
            raise
        ring.answered(taken)
        return body

    async def _exchanged(self, call: _Call, provider: Provider, story: Story) -> bytes:
        """In the provider's queue like everybody's, and no longer there than the question may take."""
        until = trio.current_time() + call.timeout_s
        waiter = Waiter(story.client, call.model, float(story.size_tokens), until=until)
        async with admit.place(self._daemon, provider, waiter) as refusal:
            if refusal is not None:
                words = f"{provider.name} has no place for it in time"
                raise _Failed(Failure("queue_timeout", words))
            return await self._sent(call, provider, story)

    async def _sent(self, call: _Call, provider: Provider, story: Story) -> bytes:
        path, body = call.written()
        origin, prefix = self._gen.upstreams[provider.name]
        spans, agent = story.spans, self._gen.user_agent
        trace = None if spans is None else spans.fields()
        fields = headers.for_upstream(
            provider, Headers(), same_format=False, stream=False, agent=agent, trace=trace
        )
        if spans is not None:
            spans.asks(story.elapsed_ns(), prefix + path, provider)
        with Deadline(_clocks(call.timeout_s)) as deadline:
            try:
                async with self._daemon.pool.exchange(
                    *(origin, "POST", prefix + path, fields, body, deadline),
                    label=call.label,
                    reached=self._parent.reached,  # it is that request's text
                ) as exchange:
                    connect_s = exchange.connect_s
                    story.noted(exchange.receipt, exchange.headers, exchange.status, connect_s)
                    if exchange.status != 200:
                        raise _Failed(await refused_by(exchange, provider, provider.format, origin))
                    answer = await exchange.read_all(_LIMIT)
                    return Mask(provider, proxy_authorization(origin), fields)(answer)
            except DialError as error:
                raise _Failed(not_reached(error)) from None
        words = f"no answer within {call.timeout_s:g} s"
        raise _Failed(Failure("timeout", words, clock="total"))


@dataclass(frozen=True, slots=True)
class _Call:
    """One question. request: what the record shows of it. written: its path and body."""

    provider: Provider
    model: str
    request: Request
    written: Callable[[], tuple[str, bytes]]
    timeout_s: float
    label: Label


def leaves(provider: Provider, model: str, info: ModelInfo | None = None) -> str:
    """Why a question to this model would leave this network, or ""."""
    if not provider.local:
        return f"provider {provider.name!r} is remote"
    if runs_elsewhere(provider, model, info):
        return f"{model!r} does not run where its server is"
    return ""


def _question(provider: Provider, model: str, prompt: str, system: str, max_tokens: int) -> Request:
    """The same question gives the same answer, and at once: no chance, no reasoning."""
    said = [Message("user", (Text(prompt),))]
    if system:
        said.insert(0, Message("system", (Text(system),), hoisted=True))
    origin = "openai" if provider.format == "echo" else provider.format
    return Request(
        origin,
        model,
        tuple(said),
        max_tokens=max_tokens,
        sampling=Sampling(temperature=0.0),
        thinking=Thinking(mode="off"),
    )


def _clocks(timeout_s: float) -> Clocks:
    return Clocks(connect_s=0, first_token_s=0, idle_s=0, total_s=timeout_s)


@contextmanager
def _load(at: dict[str, int], provider: str) -> Iterator[None]:
    at[provider] = at.get(provider, 0) + 1
    try:
        yield
    finally:
        at[provider] -= 1


def _report(ring: Keyring, taken: Taken, call: _Call, failure: Failure) -> None:
    now = trio.current_time()
    candidate = Candidate(call.provider.name, call.model, "internal")
    ring.failed(taken, Outcome(candidate, failure, 0.0, now), now)
