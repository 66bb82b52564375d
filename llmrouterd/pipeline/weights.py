"""Which weights answered: the same name is not the same model everywhere.

Owns: what a server's own list says of a model's weights: their digest and how they are quantised.
Refuses to know: who asked for the list (ops/catalog.py), what anybody concludes from it.

Law: what a server does not tell is "", never a guess from the model's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmrouterd.model import ModelInfo

_LONGEST = 128  # a digest with its algorithm's name; what is longer is none


class Weights(NamedTuple):
    """quantization: in the server's own word (`Q4_K_M`, `F16`, ...)."""

    digest: str = ""
    quantization: str = ""


UNKNOWN = Weights()


def weights_of(info: ModelInfo | None) -> Weights:
    """As the model was listed last: Ollama tells both, llama.cpp the quantisation."""
    entry = info.native if info is not None else None
    if not entry:
        return UNKNOWN
    details, meta = entry.get("details"), entry.get("meta")
    told = _text(details, "quantization_level") or _text(meta, "ftype")
    return Weights(_text(entry, "digest"), told or _text(entry, "quantization"))


def _text(value: object, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) and len(found) <= _LONGEST else ""
