"""What servers that speak one format want differently: presets, and the single keys over them.

Owns: the table of presets, how "auto" chooses one, and the keys' checks.
Refuses to know: what becomes of each difference (formats/ and pipeline/headers.py).

Law: a preset says only what is known of such servers; everything else is left as the format has it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmrouterd.model import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.config.read import Problems
    from llmrouterd.tomlpos import Path

PRESETS: Mapping[str, Dialect] = MappingProxyType(
    {
        "openai": Dialect("openai", vendor=True),
        "anthropic": Dialect("anthropic", vendor=True, betas=("*",)),
        "azure": Dialect("azure", vendor=True, key_header="api-key"),
        "llama.cpp": Dialect("llama.cpp"),
        "vllm": Dialect("vllm", reasoning_echo="reasoning"),
        "lmstudio": Dialect("lmstudio"),
        "ollama-v1": Dialect("ollama-v1", reasoning_echo="reasoning"),
        "openrouter": Dialect("openrouter", reasoning_echo="reasoning"),
        "deepseek": Dialect("deepseek", reasoning_required=True),
        "moonshot": Dialect("moonshot", reasoning_required=True),
        "other": Dialect("other"),
    }
)
# What only some formats have.
FORMATS_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(PRESETS, ("openai", "anthropic", "responses"))
    | dict.fromkeys(("openai", "azure"), ("openai", "responses"))
    | {"anthropic": ("anthropic",), "other": ("openai", "anthropic", "responses", "ollama", "echo")}
)
_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "reasoning_field": ("openai", "anthropic", "responses", "ollama"),
        "reasoning_echo": ("openai",),
        "reasoning_required": ("openai",),
        "include_usage": ("openai",),
        "max_tokens_field": ("openai",),
        "system_role": ("openai", "responses"),
        "betas": ("anthropic",),
    }
)
_HOSTS = (
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
    (".openai.azure.com", "azure"),
    ("api.deepseek.com", "deepseek"),
    ("openrouter.ai", "openrouter"),
    ("api.moonshot.ai", "moonshot"),
    ("api.moonshot.cn", "moonshot"),
)
# A client's credentials, and what the router itself writes.
_NEVER = frozenset(
    """authorization x-api-key api-key x-goog-api-key proxy-authorization cookie host origin referer
    content-length content-type content-encoding transfer-encoding connection keep-alive te trailer
    upgrade expect accept accept-encoding user-agent forwarded via""".split()  # noqa: SIM905
)


def dialect(problems: Problems, path: Path, values: Mapping[str, Any], host: str) -> Dialect:
    """The preset that the file names, or the address tells, with the file's own keys over it."""
    name, fmt = values["dialect"], values["format"]
    chosen = PRESETS[of_host(host, fmt) if name == "auto" else name]
    if name != "auto" and fmt is not None and fmt not in FORMATS_OF[name]:
        problems.add((*path, "dialect"), f'the dialect "{name}" is not one of the format "{fmt}"')
    changes = {key: values[key] for key in _KEYS if values[key] is not None}
    for key in changes:
        if fmt is not None and fmt not in _KEYS[key]:
            problems.add((*path, key), f'the format "{fmt}" has no such difference')
    if "betas" in changes:
        changes["betas"] = tuple(changes["betas"])
    return replace(chosen, **changes, forward=_forwarded(problems, path, values["forward_headers"]))


def of_host(host: str, fmt: str) -> str:
    """The preset for a server's name; "other" where it says nothing."""
    host = host.lower()
    for known, name in _HOSTS:
        fits = host.endswith(known) if known.startswith(".") else host == known
        if fits and fmt in FORMATS_OF[name]:
            return name
    return "other"


def _forwarded(problems: Problems, path: Path, names: list[str]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if name.lower() in _NEVER or name.lower().startswith(("x-router-", "x-forwarded-", "sec-")):
            here: Path = (*path, "forward_headers", index)
            problems.add(here, "this header is never passed on from a client")
    return tuple(name.lower() for name in names)
