"""What is sent to one candidate: in which codec, with which body, path and header fields.

Owns: the step from the client's request and a provider to the bytes of an upstream request.
Refuses to know: sockets, clocks, what becomes of the answer.

Laws:
1. Same format and nobody edits: the client's own text with single members spliced.
2. What cannot be carried is in the ledger; with `strict` it is a Failure that names it, and another
   candidate may do better.
3. A client's own credential goes to the provider that is configured for it, and only if no other
   provider was tried before.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from formats import FORMATS, speaks
from formats.canonical import Target
from formats.errors import Failure, Invalid
from formats.stops import CuttingDecoder, cut_response, untold
from formats.thinktags import ThinkTags, split_response
from llmrouterd.hooks import PluginFailed
from llmrouterd.pipeline import headers
from llmrouterd.route.estimate import with_margin
from llmrouterd.route.facts import context_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats import Decoder, Format
    from formats.canonical import Request, Response
    from formats.ledger import Ledger
    from llmrouterd.model import Candidate, ModelInfo, Provider
    from llmrouterd.pipeline.work import Work

_PATH = {
    "openai": "/chat/completions",
    "anthropic": "/messages",
    "ollama": "/api/chat",
    "completions": "/completions",
    "generate": "/api/generate",
    "responses": "/responses",
}
_KEY_NAME = re.compile(r"api_key(?:=|\Z)")
_STRICT = frozenset({"dropped", "clamped", "approximated"})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request, ready to be sent. same: the client speaks the codec's format. passes: the answer
    may go to the client as it comes. recalls: what the client will not hand back is remembered.
    stops: sequences that the upstream was not told, so that the answer is ended here."""

    provider: Provider
    model: str
    codec: Format
    target: str
    fields: list[tuple[str, str]]
    body: bytes
    same: bool
    passes: bool
    recalls: bool
    stops: tuple[str, ...] = ()

    @property
    def _splits(self) -> bool:
        return self.provider.dialect.reasoning_field == "think_tags"

    def decoder(self, limit: int) -> Decoder:
        """For the answer as a stream. limit: bytes of one event."""
        decoder = self.codec.decoder(limit=limit)
        if self._splits:
            decoder = ThinkTags(decoder)
        return CuttingDecoder(decoder, self.stops) if self.stops else decoder

    def parse_response(self, body: bytes) -> Response:
        """The whole answer. Raises Garbled."""
        response = self.codec.parse_response(body)
        if self._splits:
            response = split_response(response)
        return cut_response(response, self.stops) if self.stops else response


def outgoing(
    work: Work,
    request: Request,
    candidate: Candidate,
    info: ModelInfo | None,
    ledger: Ledger,
) -> Outgoing | Failure:
    """The request for `candidate`, or why it cannot be made. request: the work's own, or what it
    came to for this provider."""
    provider = provider_of(work, candidate)
    failure = withheld(work, provider)
    if failure is not None:
        return failure
    spoken = speaks(provider.format, request)
    recalls = spoken == "openai" != request.origin and not provider.dialect.vendor
    if recalls:
        filled = work.recall.filled(request, work.reply.request)
        try:
            request = filled if filled is request else work.ext.sent(filled)
        except PluginFailed as error:
            return Failure("plugin", str(error))
    codec = FORMATS[spoken]
    streams = request.stream or streams_anyway(provider, info, request, spoken)
    if streams is not request.stream:
        request = replace(request, stream=streams)
    upstream = target_of(work, provider, candidate, info)
    try:
        body = codec.write_request(request, ledger, upstream)
    except Invalid as error:
        return Failure(error.kind, str(error), param=error.path or None)
    except RecursionError:
        return Failure("bad_request", "the request is nested too deeply")
    failure = too_lossy(work, candidate, ledger)
    if failure is not None:
        return failure
    same = work.request.origin == spoken
    splits = provider.dialect.reasoning_field == "think_tags"
    return Outgoing(
        provider,
        candidate.model,
        codec,
        target(work, provider, _PATH[spoken], same=same),
        fields(work, provider, candidate, same=same, stream=streams),
        body,
        same=same,
        passes=same and not work.ext.edits_events and not splits,
        recalls=recalls,
        stops=untold(request, spoken, upstream),
    )


# What a stream does not bring, or a fold does not keep: several choices, probabilities, sound, and
# what llmrouter does not know the streamed form of.
_WHOLE_ONLY = frozenset({"modalities", "audio", "n_probs", "return_tokens", "return_progress"})
_CHATS = frozenset({"openai", "anthropic", "responses", "ollama"})


def streams_anyway(
    provider: Provider, info: ModelInfo | None, request: Request, spoken: str
) -> bool:
    """Whether a whole answer is asked for as a stream, and folded here.

    llama.cpp hears late, or not before the end, that nobody waits for a whole answer any more; that
    nobody reads a stream it hears with the next token. The other servers that were tried hear both.
    """
    if provider.stream_upstream == "never" or spoken not in _CHATS:
        return False
    sampling = request.sampling
    if (sampling.n or 1) > 1 or sampling.logprobs or not _WHOLE_ONLY.isdisjoint(request.extra):
        return False
    return provider.stream_upstream == "always" or _is_llama(provider, info)


def _is_llama(provider: Provider, info: ModelInfo | None) -> bool:
    """As its owner says, or its own list of models."""
    if provider.dialect.name == "llama.cpp":
        return True
    return info is not None and info.native.get("owned_by") == "llamacpp"


def _has_template(provider: Provider, info: ModelInfo | None) -> bool:
    """A server that hands a request's own words to the model's chat template, thinking among them:
    most of these overlook an effort of none."""
    owner = info.native.get("owned_by") if info is not None else None
    return provider.dialect.name in ("llama.cpp", "vllm") or owner in ("llamacpp", "vllm", "sglang")


def provider_of(work: Work, candidate: Candidate) -> Provider:
    """The provider, with the one of its keys that this try is made with."""
    provider = work.gen.providers[candidate.provider]
    return replace(provider, key=work.key) if provider.keys else provider


def target_of(
    work: Work, provider: Provider, candidate: Candidate, info: ModelInfo | None
) -> Target:
    """What a codec has to know of the upstream."""
    dialect = provider.dialect
    learned = work.daemon.lessons.of(candidate)
    return Target(
        model=candidate.model,
        vendor=dialect.vendor,
        max_output=info.max_output if info else 0,
        room=_room(work, provider, candidate, info),
        template_thinking=_has_template(provider, info),
        max_tokens_field=dialect.max_tokens_field,
        system_role="user" if learned.no_late_system else dialect.system_role,
        reasoning_echo=dialect.reasoning_echo,
        reasoning_required=dialect.reasoning_required or learned.reasoning_required,
        include_usage=dialect.include_usage,
        capabilities=info.capabilities if info else None,
        options=_options(work, provider, candidate, info),
    )


_LEAST_ROOM = 1024  # with less, the server's refusal tells more than an answer cut short


def _room(work: Work, provider: Provider, candidate: Candidate, info: ModelInfo | None) -> int:
    """Tokens that the context leaves for an answer, at servers that refuse to be asked for more
    (vLLM does; llama.cpp and Ollama end the answer there)."""
    if provider.format == "ollama" or provider.dialect.vendor or _is_llama(provider, info):
        return 0
    estimate = work.story.size_tokens * work.daemon.calibration.factor(candidate)
    room = context_of(provider, info) - with_margin(math.ceil(estimate))
    return room if room >= _LEAST_ROOM else 0


def _options(
    work: Work, provider: Provider, candidate: Candidate, info: ModelInfo | None
) -> Mapping[str, Any]:
    """The owner's options, and at an Ollama server the one size of context that the model has."""
    if provider.format != "ollama":
        return provider.options
    size = work.daemon.contexts.size(
        (candidate.provider, candidate.model),
        configured=_whole(provider.options.get("num_ctx")),
        loaded=info.loaded_context if info is not None else 0,
        asked=_whole(work.request.extra.get("options.num_ctx")),
        needed=with_margin(work.story.size_tokens) + (work.request.max_tokens or 0),
        most=info.context_length if info is not None else 0,
        grow=provider.grow_context,
    )
    return provider.options if size is None else {**provider.options, "num_ctx": size}


def _whole(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def withheld(work: Work, provider: Provider) -> Failure | None:
    """Why this provider must not be asked now: a client's credential is for one provider."""
    if provider.credentials != "client":
        return None
    if all(asked.provider == provider.name for asked in work.story.asked):
        return None
    words = "it takes the client's own credential, which goes nowhere after another provider failed"
    return Failure("credential", words)


def too_lossy(work: Work, candidate: Candidate, ledger: Ledger) -> Failure | None:
    """With `strict`: the fields whose loss may change the answer, as a failure."""
    lost = [each.path for each in ledger.entries if each.what in _STRICT and not each.harmless]
    if not lost or not work.strict:
        return None
    words = f"{candidate.provider}/{candidate.model} cannot carry {', '.join(dict.fromkeys(lost))}"
    return Failure("unsupported", f"{words}, and X-Router-Strict asks for all or nothing")


def target(work: Work, provider: Provider, path: str, *, same: bool) -> str:
    """The request target: what stands before the provider's paths, the path, the client's query."""
    path = work.gen.upstreams[provider.name][1] + path
    parts = work.query.split("&") if same else []
    kept = "&".join(part for part in parts if part and not _KEY_NAME.match(unquote(part)))
    return f"{path}?{kept}" if kept else path


def fields(
    work: Work, provider: Provider, candidate: Candidate, *, same: bool, stream: bool = False
) -> list[tuple[str, str]]:
    """The header fields for this provider."""
    return headers.for_upstream(
        provider,
        work.incoming,
        same_format=same,
        stream=stream,
        agent=work.gen.user_agent,
        beta=_beta(work, provider),
        refused_betas=work.daemon.lessons.of(candidate).refused_betas,
        idempotency=_idempotency(work, provider),
        own_keys=work.gen.own_keys,
        trace=None if work.story.spans is None else work.story.spans.fields(),
    )


def _beta(work: Work, provider: Provider) -> str:
    request = work.request
    if provider.format != "anthropic" or request.origin != "anthropic":
        return ""
    budget = request.extra.get("output_config.task_budget")
    return headers.TASK_BUDGETS if budget is not None else ""


def _idempotency(work: Work, provider: Provider) -> str | None:
    """The client's key is for the first provider; each other one gets its own, for all retries."""
    asked = work.story.asked
    if not asked or asked[0].provider == provider.name:
        return work.incoming.get("idempotency-key")
    return f"{work.story.stem}-{headers.clean(provider.name)}"
