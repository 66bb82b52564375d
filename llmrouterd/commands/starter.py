"""The text of a first configuration, for a machine as it was found.

Owns: its words, and which rules it begins with.
Refuses to know: how the machine was looked at (ops/local.py), and files.

Laws:
1. Pure: the same sights and variables give the same text. It loads as it is, whatever was found.
2. No key is in it, only the names of variables and files.
3. Each place and each variable that was looked at is named, found or not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmrouterd.config.providers import is_local_host
from llmrouterd.model import ModelInfo, Provider
from llmrouterd.ops.local import CLOUDS
from llmrouterd.route.facts import looks_embedding_only
from llmrouterd.route.policies import runs_elsewhere

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from llmrouterd.ops.local import Place, Sight

# Names that are one vendor's for certain: they go to it even while its list is not known.
_PREFIXES = {"anthropic": "claude-", "openai": "gpt-"}
_SHOWN = 12  # models of one server that are named
HEAD = """\
# llmrouter, a first configuration, written by `llmrouter init` for what it found on this machine.
# It works as it is. What was looked for and is not there stands behind a "#": take that away when
# it is. Every key there is: contrib/llmrouter.toml and docs/configuration.md.
#
#   llmrouter check FILE    what it says, and what is wrong with it
#   llmrouter serve FILE    runs it; `kill -HUP` reads it again"""
SERVER = """\
[server]
host = "127.0.0.1"    # this machine only; any other address needs a key, and is refused without
port = 8090"""
KEY = """\
# Clients must show the key in this file, which lies beside this one. A new key: write it there and
# reload; [[clients]] gives each program a key of its own.
api_key_file = %s"""
NO_KEY = """\
# No key is asked for. `llmrouter init --key` makes one; or write it into a file of mode 0600 and name it:
#api_key_file = "llmrouter.key\""""
LOGGING = """\
# A line of JSON for each request, with the words that were said; bodies = "none" leaves those out.
#[logging]
#enabled = true
#path = "logs/requests.jsonl"
#bodies = "none\""""
MODELS = """\
# Names of your own. A list is tried in order, and may lead from this machine to a remote provider.
[models]"""
CLOUD = """\
# A provider whose key is set is asked for its models at start, and once a minute; one that lists them
# here, models = ["NAME", ...], is called for requests only."""


def text(sights: Sequence[Sight], variables: Collection[str], key_file: str = "") -> str:
    """The configuration. variables: those with a key in them. key_file: of the router's own key."""
    local = [each for each in sights if each.models is not None]
    clouds = [name for name, _, _, variable in CLOUDS if variable in variables]
    parts = [HEAD, "", SERVER, KEY % _quoted(key_file) if key_file else NO_KEY, "", LOGGING, ""]
    parts += [_banner("Providers: this machine")]
    parts += [line for each in sights for line in (*_place(each), "")]
    if not local and not clouds:
        parts += [*_echo(), ""]
    parts += [_banner("Providers: elsewhere"), CLOUD, ""]
    parts += [line for each in CLOUDS for line in (*_cloud(*each, found=each[0] in clouds), "")]
    parts += [_banner("Rules: the first that names somebody decides"), *_rules(local, clouds)]
    parts += [_banner("Models"), *_models(local)]
    return "\n".join(parts) + "\n"


def _banner(words: str) -> str:
    return f"# ==== {words} ".ljust(100, "=") + "\n"


def _quoted(text: str) -> str:
    """A TOML text: JSON's escapes are among TOML's."""
    return json.dumps(text)


# --- providers ------------------------------------------------------------------------------------


def _place(sight: Sight) -> Iterator[str]:
    place = sight.place
    if sight.models is None:
        yield f"# {place.name}: not found: {_one_line(sight.why)}"
        yield from _table(place.name, place.format, place.base_url, off=True)
        return
    names = [_one_line(each.name) for each in sight.models]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    models = f": {', '.join(names[:_SHOWN])}{more}" if names else ""
    yield f"# {place.name}: found, with {_count(len(names))}{models}"
    yield from _table(place.name, place.format, place.base_url)


def _cloud(name: str, kind: str, base_url: str, variable: str, *, found: bool) -> Iterator[str]:
    yield f"# {name}: {variable} is {'set' if found else 'not set'}"
    yield from _table(name, kind, base_url, f"api_key_env = {_quoted(variable)}", off=not found)


def _echo() -> Iterator[str]:
    yield "# Nothing else was found, so that this answers for now: it says what it was told."
    yield from _table("echo", "echo", "")


def _table(name: str, kind: str, base_url: str, *more: str, off: bool = False) -> Iterator[str]:
    lines = ["[[providers]]", f"name = {_quoted(name)}", f"format = {_quoted(kind)}"]
    lines += [f"base_url = {_quoted(base_url)}"] if base_url else []
    yield from (f"#{line}" if off else line for line in (*lines, *more))


def _count(number: int) -> str:
    return f"{number or 'no'} model{'' if number == 1 else 's'}"


def _one_line(words: str) -> str:
    """What a server says may hold anything, and a comment ends with its line."""
    return "".join(each if each.isprintable() else "?" for each in words)[:200]


# --- rules and names ------------------------------------------------------------------------------


def _rules(local: Sequence[Sight], clouds: Sequence[str]) -> Iterator[str]:
    here = [each.place.name for each in local]
    if not here and not clouds:
        yield from ("# Whatever is asked for.", *_rule("fallback", 'providers = ["echo"]'), "")
        return
    if here:
        yield "# Whoever of this machine has the model."
        yield from (*_rule("discover", f"providers = {json.dumps(here)}"), "")
    for name in clouds:
        if name in _PREFIXES:
            yield f"# Names that are {name}'s."
            prefix = f"model_prefix = {_quoted(_PREFIXES[name])}"
            yield from (*_rule("prefix", prefix, f"provider = {_quoted(name)}"), "")
    if clouds:
        yield "# Whoever else has it."
        yield from (*_rule("discover", f"providers = {json.dumps(list(clouds))}"), "")
    best = _best(local)
    if best is not None:
        yield "# A name that nobody has gets this model. Without this rule it gets an error."
        to = f'providers = ["{best[0].name}"]'
        yield from (*_rule("fallback", to, f"rewrite_model = {_quoted(best[1])}"), "")


def _rule(kind: str, *lines: str) -> Iterator[str]:
    yield from ("[[routers]]", f'type = "{kind}"', *lines)


def _models(local: Sequence[Sight]) -> Iterator[str]:
    best = _best(local)
    if best is None:
        yield "\n".join(f"#{line}" if line == "[models]" else line for line in MODELS.splitlines())
        yield '#small = ["ollama/llama3.2:3b", "anthropic/claude-haiku-5-5"]'
        return
    yield MODELS
    yield f"local = [{_quoted(f'{best[0].name}/{best[1]}')}]"


def _best(local: Sequence[Sight]) -> tuple[Place, str] | None:
    """The largest model for chat that runs on this machine, of the first server that has one."""
    for sight in local:
        place = sight.place
        if not is_local_host(urlsplit(place.base_url).hostname or ""):
            continue
        provider = Provider(place.name, place.format, place.base_url)
        chat = [each for each in sight.models or () if _chats(provider, each)]
        if chat:
            return place, max(chat, key=lambda each: each.size_bytes).name
    return None


def _chats(provider: Provider, info: ModelInfo) -> bool:
    clean = info.name.isprintable() and bool(info.name.strip())
    apart = looks_embedding_only(info) or runs_elsewhere(provider, info.name, info)
    return clean and not apart
