"""From a file to a `Config`, or to all of its problems at once.

Owns: `load` and `parse`, the tables that have no file of their own, and what can
only be said of the whole: somebody to send to, and the rule for listening beyond this machine.
Refuses to know: which file it is (commands/locate.py), and what is done with the answer.

Laws:
1. What comes out is right: nobody after this checks a value of the configuration again.
2. Nothing is taken from the environment but the variables that the file names.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from llmrouterd import tomlpos
from llmrouterd.config import keys
from llmrouterd.config.classifiers import check_asking
from llmrouterd.config.clients import check_budgets, read_clients
from llmrouterd.config.logs import read_logging
from llmrouterd.config.nouns import Config
from llmrouterd.config.own import read_own
from llmrouterd.config.pdf import check_pdf
from llmrouterd.config.policies import read_policies
from llmrouterd.config.prices import read_prices, with_prices
from llmrouterd.config.providers import names_of, read_providers
from llmrouterd.config.read import Problems, nearest, quoted, read
from llmrouterd.config.rules import check_name, read_aliases, read_rules
from llmrouterd.config.server import is_host, read_server
from llmrouterd.config.telemetry import read_telemetry
from llmrouterd.config.web import with_key
from llmrouterd.model import ConfigError, Images, Routing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path as FilePath

    from llmrouterd.tomlpos import Path

MAX_BYTES = 16 * 1024 * 1024  # a configuration is written by hand; more than this is another file
NO_PROVIDERS = (
    "no [[providers]]: name at least one place to send requests to, such as "
    '{ name = "ollama", format = "ollama", base_url = "http://localhost:11434" }'
)
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")


def load(path: FilePath, environ: Mapping[str, str]) -> Config:
    """Read and check a configuration file. Raises ConfigError with everything that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([f"{path}: too large for a configuration"])
        text = data.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError([f"{path}: {(exc.strerror or 'cannot be read').lower()}"]) from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text"]) from exc
    return parse(text, str(path), environ)


def parse(text: str, path: str, environ: Mapping[str, str]) -> Config:
    """Check the text of a configuration. `path` names it in messages."""
    document = _toml(text, path)
    problems = Problems(path, tomlpos.lines(text))
    top = read(problems, (), document, keys.TOP)
    named = bool(top["clients"])
    server, failover = read_server(problems, top["server"] or {}, environ, has_clients=named)
    clients = read_clients(problems, top["clients"], environ, server.api_key)
    names = names_of(top["providers"])
    providers, skipped = read_providers(problems, top["providers"], environ)
    if "providers" not in document or document["providers"] == []:
        problems.add((), NO_PROVIDERS)
    prices = read_prices(problems, top["prices"], names)
    providers = tuple(with_prices(provider, prices) for provider in providers)
    check_budgets(problems, top["clients"], providers)
    routing = Routing(
        rules=read_rules(problems, top["routers"], names),
        aliases=read_aliases(problems, top["models"] or {}, names),
        failover_to_remote=failover,
        implicit=not top["routers"],
        policies=read_policies(problems, top["policies"], names),
    )
    config = Config(
        server=server,
        logging=read_logging(problems, top["logging"] or {}, environ),
        telemetry=read_telemetry(problems, top["telemetry"] or {}, environ),
        images=_images(problems, top["images"] or {}),
        clients=clients,
        providers=providers,
        routing=routing,
        classifiers=_extensions(problems, "classifiers", top),
        response_classifiers=_extensions(problems, "response_classifiers", top),
        plugins=with_key(problems, _extensions(problems, "plugins", top), environ),
        skipped=skipped,
        path=path,
    )
    _check_tiers(problems, config, names)
    check_asking(problems, config, names)
    check_pdf(problems, config, names)
    _check_tags(problems, config)
    _check_unheld(problems, config)
    _check_idle(problems, config)
    if skipped and not providers:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        problems.add((), f"every provider was skipped: {why}")
    problems.settle()
    return replace(config, warnings=problems.warnings())


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as exc:
        raise ConfigError([f"{path}: nested too deeply"]) from exc
    except ValueError as exc:  # TOMLDecodeError is one; a number of 5000 digits is another
        message = str(exc)
        at = _AT.search(message)
        line, column = at.groups() if at else (None, None)
        place = f"{path}:{line}" if line else path
        if at and not line:
            place = f"{path}:{text.count(chr(10)) + 1}"
        where = f", column {column}" if column else ""
        what = message[: at.start()] if at else message
        raise ConfigError([f"{place}: not TOML{where}: {what}"]) from exc


# ---- [images] -------------------------------------------------------------------------------------


def _images(problems: Problems, table: Mapping[str, Any]) -> Images:
    values = read(problems, ("images",), table, keys.IMAGES)
    for index, host in enumerate(values["fetch_hosts"]):
        if not is_host(host.replace("*", "x")) or host.strip("*.") == "":
            here: Path = ("images", "fetch_hosts", index)
            problems.add(here, f'expected a host\'s name, or "*.example.com", got {quoted(host)}')
    return Images(**{**values, "fetch_hosts": tuple(values["fetch_hosts"])})


# ---- classifiers and plugins ---------------------------------------------------------------------

_KNOWN: Mapping[str, Mapping[str, keys.Keys]] = {
    "classifiers": keys.CLASSIFIERS,
    "response_classifiers": keys.RESPONSE_CLASSIFIERS,
    "plugins": keys.PLUGINS,
}


def _extensions(
    problems: Problems, kind: str, top: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """id -> what the file says of it, `enabled` always there, for the ids that there are."""
    known = _KNOWN[kind]
    settings: dict[str, Mapping[str, Any]] = {}
    for name, table in (top[kind] or {}).items():
        path: Path = (kind, name)
        if not isinstance(table, dict):
            problems.add(path, f"expected a table, written [{kind}.{name}]")
        elif "path" in table:
            own = read_own(problems, path, table, known)
            settings |= {} if own is None else {name: own}
        elif name in known:
            values = read(problems, path, table, known[name])
            settings[name] = {key: values[key] for key in values if key in table} | {
                "enabled": values["enabled"]
            }
        else:
            hint = nearest(name, list(known)) or "; your own has a path"
            problems.warn(path, "ignored, there is none of this name" + hint)
    return settings


def _check_tags(problems: Problems, config: Config) -> None:
    """`retry_on_tags` waits for tags that somebody has to set."""
    if any(table["enabled"] for table in config.response_classifiers.values()):
        return
    for index, rule in enumerate(config.routing.rules):
        if rule.retry_on_tags:
            path: Path = ("routers", index, "retry_on_tags")
            problems.warn(path, "does nothing: no response classifier is enabled")


def _check_unheld(problems: Problems, config: Config) -> None:
    """A rule chooses, and does not forbid: what a local provider cannot serve goes on elsewhere."""
    local = {provider.name: provider.local for provider in config.providers}
    if all(local.values()):
        return
    for index, rule in enumerate(config.routing.rules):
        if rule.type != "tag" or not all(local.get(name, False) for name in rule.providers):
            continue
        held = (tag for policy in config.routing.policies for tag in policy.tags)
        if not any(fnmatchcase(rule.tag.lower(), tag.lower()) for tag in held):
            words = (
                f"requests tagged {quoted(rule.tag)} that this provider cannot serve (images, "
                "embeddings, a prompt too long) go on to the next rule, which may be remote; to hold "
                f'them here add [[policies]] with tag = {quoted(rule.tag)} and require = "local"'
            )
            problems.warn(("routers", index, "tag"), words)


_SAYS = {
    "system-prompt": ("text", "prompts"),
    "model-params": ("defaults", "set", "min", "max", "remove", "rules"),
}


def _check_idle(problems: Problems, config: Config) -> None:
    """A plugin that was switched on and told nothing."""
    for name, keys_of in _SAYS.items():
        table = config.plugins.get(name, {})
        if table.get("enabled") and not any(table.get(key) for key in keys_of):
            problems.warn(("plugins", name), f"does nothing: give {' or '.join(keys_of)}")


def _check_tiers(problems: Problems, config: Config, names: Sequence[str]) -> None:
    """The tiers of pareto-router name providers, just as rules do."""
    tiers = config.plugins.get("pareto-router", {}).get("tiers") or {}
    for tier, providers in tiers.items():
        for index, name in enumerate(providers):
            check_name(problems, ("plugins", "pareto-router", "tiers", tier, index), name, names)
