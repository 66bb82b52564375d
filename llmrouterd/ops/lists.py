"""The models that can be asked for, as each client format lists and describes them.

Owns: which names there are and whose they are, paging, and what is said of a model.
Refuses to know: how the lists were learned (catalog.py), who asks.

Laws:
1. Pure: a fleet and the aliases in, JSON values out.
2. What a provider's own list says of a model is shown as it says it to clients of the same format;
   to others only what is known is said, and nothing is made up but what a format demands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from formats.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.model import Fleet, ModelInfo, ProviderState

JSON = Any
ROUTER = "llmrouter"  # who owns an alias
_EPOCH = "1970-01-01T00:00:00Z"
_PAGE = 20  # of Anthropic's list, where the client does not say
_MOST = 1000
# What is said of a model whose capabilities nobody tells: without "completion" some clients do not
# offer it at all, and one that cannot call tools says so when it is asked.
_USUAL = ("completion", "tools")


@dataclass(frozen=True, slots=True)
class Listed:
    """One name. owner: the provider, or "llmrouter" for an alias. info: of the model itself, or of
    the first model that an alias stands for; None: only the name is known."""

    name: str
    owner: str
    format: str = ""
    info: ModelInfo | None = None

    @property
    def native(self) -> Mapping[str, JSON]:
        """The entry of the owner's own list; empty for aliases."""
        return self.info.native if self.info is not None and self.owner != ROUTER else {}


def listed(fleet: Fleet, aliases: Mapping[str, tuple[str, ...]]) -> dict[str, Listed]:
    """Every model that can be asked for by name: aliases first, then what providers have. A name
    that two have belongs to the first, as in routing."""
    found = {name: _alias(name, targets, fleet) for name, targets in aliases.items()}
    for owner, state in fleet.states.items():
        for name, info in (state.models or {}).items():
            if name not in found:
                found[name] = Listed(name, owner, state.provider.format, info)
    return found


def _alias(name: str, targets: tuple[str, ...], fleet: Fleet) -> Listed:
    for target in targets:
        provider, _, model = target.partition("/")
        state = fleet.states.get(provider)
        info = state.models.get(model) if state and state.models else None
        if info is not None:
            return Listed(name, ROUTER, "", info)
    return Listed(name, ROUTER)


def find(models: Mapping[str, Listed], name: str) -> Listed | None:
    """The model of this name, spelled as Ollama lets one spell it: any case, `:latest` or none."""
    if name in models:
        return models[name]
    wanted = _plain(name)
    return next((each for key, each in models.items() if _plain(key) == wanted), None)


def _plain(name: str) -> str:
    return name.lower().removesuffix(":latest")


# --- OpenAI ---------------------------------------------------------------------------------------


def openai_model(model: Listed, created: int) -> JSON:
    """created: seconds, for a model of which nobody tells when it was made."""
    own: dict[str, JSON] = dict(model.native) if model.format in ("openai", "responses") else {}
    entry = {"id": model.name, "object": "model", "created": created, "owned_by": model.owner}
    if model.info is not None and model.info.context_length:
        entry["context_length"] = model.info.context_length
    return {**entry, **own, "id": model.name, "object": "model", "owned_by": model.owner}


def openai_list(models: Mapping[str, Listed], created: int) -> JSON:
    return {"object": "list", "data": [openai_model(each, created) for each in models.values()]}


# --- Anthropic ------------------------------------------------------------------------------------


def anthropic_model(model: Listed) -> JSON:
    own: dict[str, JSON] = dict(model.native) if model.format == "anthropic" else {}
    entry: dict[str, JSON] = {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _EPOCH,
        "lifecycle": "active",
    }
    if model.info is not None and model.info.context_length:
        entry["max_input_tokens"] = model.info.context_length
    return {**entry, **own, "id": model.name}


def anthropic_page(models: Mapping[str, Listed], query: str) -> JSON | Failure:
    """One page of the list: `limit`, `after_id`, `before_id` as the query says."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    limit = asked.get("limit", str(_PAGE))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= _MOST):
        return Failure("bad_request", f"limit: a whole number from 1 to {_MOST} is expected")
    names = list(models)
    for cursor in ("after_id", "before_id"):
        if cursor in asked and asked[cursor] not in models:
            return Failure("bad_request", f"{cursor}: there is no such model")
    count = int(limit)
    if "before_id" in asked:
        before = names[: names.index(asked["before_id"])]
        page, more = before[-count:], len(before) > count
    else:
        after = names[names.index(asked["after_id"]) + 1 :] if "after_id" in asked else names
        page, more = after[:count], len(after) > count
    return {
        "data": [anthropic_model(models[name]) for name in page],
        "has_more": more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


# --- Ollama ---------------------------------------------------------------------------------------


def ollama_tag(model: Listed, created: int) -> JSON:
    """An entry of /api/tags. created: seconds, for a model of which nobody tells when it was made."""
    if model.format == "ollama" and model.native:
        return {**model.native, "name": model.name, "model": model.name}
    info = model.info
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": _when(created),
        "size": info.size_bytes if info else 0,
        # Clients take two names with one digest for one model, so each name has its own.
        "digest": sha256(model.name.encode("utf-8", "surrogatepass")).hexdigest(),
        "details": _details(info),
        "capabilities": capabilities(model),
    }


def _details(info: ModelInfo | None) -> JSON:
    family = info.family if info else ""
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "",
        "quantization_level": "",
    }


def capabilities(model: Listed) -> list[str]:
    """In Ollama's words; what is not known counts as what most models can."""
    able = model.info.capabilities if model.info is not None else None
    return sorted(_USUAL if able is None else able)


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def ollama_show(model: Listed, created: int) -> JSON:
    """The answer of /api/show for a model that no Ollama server can be asked about."""
    info = model.info
    family = (info.family if info else "") or "unknown"
    facts: dict[str, JSON] = {"general.architecture": family, "general.basename": model.name}
    if info is not None and info.context_length:
        facts[f"{family}.context_length"] = info.context_length
    # Nobody knows these here, and `ollama show` of some versions panics without them.
    facts |= {"general.parameter_count": 0, f"{family}.embedding_length": 0}
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(info),
        "model_info": facts,
        "capabilities": capabilities(model),
        "modified_at": _when(created),
    }


def unknown_model(name: str) -> Failure:
    """In the words that clients of each format look for."""
    return Failure("model_not_found", f"model '{name[:200]}' not found")


def state_of(fleet: Fleet, model: Listed) -> ProviderState | None:
    return fleet.states.get(model.owner)
