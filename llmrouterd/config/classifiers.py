"""What classifiers that ask a model may be told, checked against the providers of the file.

Owns: whom they may ask.
Refuses to know: what they do with an answer; the types of their keys (keys.py).

Law: a text is private before it is classified. A provider that is not local is asked only where the
file says so in that very table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.config.read import quoted
from llmrouterd.config.rules import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.config.nouns import Config
    from llmrouterd.config.read import Problems
    from llmrouterd.model import Provider
    from llmrouterd.tomlpos import Path

_NEEDED = {"llm": "labels", "semantic": "examples"}
_VECTORS = ("openai", "ollama")
_PRIVATE = (
    "and texts are private before they are classified: allow_remote = true asks it all the same"
)


def check_asking(problems: Problems, config: Config, names: Sequence[str]) -> None:
    """names: of all providers in the file, those without their key among them."""
    for kind, tables in (
        ("classifiers", config.classifiers),
        ("response_classifiers", config.response_classifiers),
    ):
        for name, needed in _NEEDED.items():
            table = tables.get(name)
            if table is not None and table["enabled"]:
                _check(problems, (kind, name), {"needs": needed, **table}, config, names)


def _check(
    problems: Problems,
    path: Path,
    table: Mapping[str, Any],
    config: Config,
    names: Sequence[str],
) -> None:
    for key in ("provider", "model", table["needs"]):
        if not table.get(key):
            problems.add(path, f'the key "{key}" is missing')
    provider = table.get("provider")
    if not isinstance(provider, str) or not provider:
        return
    here: Path = (*path, "provider")
    check_name(problems, here, provider, names)
    chosen = next((each for each in config.providers if each.name == provider), None)
    if chosen is None:
        if provider in names:
            problems.warn(here, f"{quoted(provider)} was skipped, so this classifier will fail")
        return
    why = _unfit(chosen, table)
    if why:
        problems.add(here, f"{quoted(provider)} {why}")


def _unfit(provider: Provider, table: Mapping[str, Any]) -> str:
    if provider.format == "echo":
        return "has no models to ask"
    if provider.credentials == "client":
        return "takes clients' credentials, and this is no client"
    if table["needs"] == "examples" and provider.format not in _VECTORS:
        return f'speaks "{provider.format}", which has no embeddings'
    if not table.get("allow_remote") and not provider.local:
        return f"is remote, {_PRIVATE}"
    model = table.get("model")
    cloud = isinstance(model, str) and model.endswith((":cloud", "-cloud"))
    if not table.get("allow_remote") and provider.format == "ollama" and cloud:
        return f"runs this model elsewhere, {_PRIVATE}"
    return ""
