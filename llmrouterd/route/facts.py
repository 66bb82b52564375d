"""What routing may know of a request, and what a model can do.

Owns: the step from a canonical request to `Facts`, and the questions "what does this model lack"
and "is it only for embeddings".
Refuses to know: who is asked (rules.py), in which order (decide.py).

Laws:
1. A need is something the request really makes use of: an image, a tool, a sound.
2. What is unknown of a model counts as able: only a known list of capabilities can lack one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats.canonical import Audio, Image, Part, Request, ToolResult
from llmrouterd.model import Facts, ModelInfo, Provider
from llmrouterd.route import estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CHAT = frozenset({"completion", "chat", "tools", "vision", "insert"})


def facts(
    request: Request,
    *,
    tags: Iterable[str],
    client: str = "",
    wish: str | None = None,
    forced: str | None = None,
    session: str = "",
    unknown_tags: frozenset[str] = frozenset(),
) -> Facts:
    """The facts of `request`; tags come from the classifiers, wish and forced from outside."""
    return Facts(
        model=request.model,
        needs=needs(request),
        tags=tuple(tags),
        size_tokens=estimate.tokens(request),
        stream=request.stream,
        client=client,
        forced=forced,
        wish=wish,
        session=session,
        unknown_tags=unknown_tags,
    )


def context_of(provider: Provider, info: ModelInfo | None) -> int:
    """How many tokens a prompt and its answer may have there; 0: nobody knows. What the owner says
    holds; else what the model is loaded with, unless it may grow; else what it can do."""
    if provider.context_length:
        return provider.context_length
    most = info.context_length if info is not None else 0
    if provider.grow_context:
        return most
    loaded = info.loaded_context if info is not None else 0
    configured: object = provider.options.get("num_ctx")
    if isinstance(configured, int) and configured > 0:
        size = max(configured, loaded)
        return min(size, most) if most else size
    return loaded or most


def listed_by_owner(provider: Provider) -> Mapping[str, ModelInfo] | None:
    """Models that need no asking: the configured list; without one an echo has one model."""
    names = provider.models or (("echo",) if provider.format == "echo" else ())
    infos = (ModelInfo(name, context_length=provider.context_length) for name in names)
    return {info.name: info for info in infos} or None


def needs(request: Request) -> frozenset[str]:
    """The capabilities that `request` makes use of."""
    found: set[str] = set()
    if request.tools:
        found.add("tools")
    for message in request.messages:
        _look(message.parts, found)
    return frozenset(found)


def _look(parts: Iterable[Part], found: set[str]) -> None:
    for part in parts:
        if isinstance(part, Image):
            found.add("vision")
        elif isinstance(part, Audio):
            found.add("audio")
        elif isinstance(part, ToolResult):
            _look(part.parts, found)


def lacks(info: ModelInfo | None, wanted: Iterable[str]) -> str | None:
    """The first capability of `wanted`, by name, that the model is known not to have."""
    if info is None or info.capabilities is None:
        return None
    return min((name for name in wanted if name not in info.capabilities), default=None)


def embedding_only(info: ModelInfo) -> bool:
    """True when the model is known to make embeddings and nothing else."""
    able = info.capabilities
    return able is not None and "embedding" in able and not able & _CHAT


def looks_embedding_only(info: ModelInfo) -> bool:
    """The same, guessed from the name where no capabilities are known: for choices of our own."""
    if info.capabilities is not None:
        return embedding_only(info)
    return "embed" in info.name.lower() or "bert" in info.family.lower()


def with_inferred(info: ModelInfo) -> ModelInfo:
    """`info` with "coding" among its known capabilities when its name or family says "code"."""
    able = info.capabilities
    if able is None or "coding" in able or "code" not in f"{info.name} {info.family}".lower():
        return info
    return replace(info, capabilities=able | {"coding"})
