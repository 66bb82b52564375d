"""From a file to a `Config`, or to all of its problems at once.

Owns: `load`, `parse` and `overridden`, the tables that have no file of their own, and what can
only be said of the whole: somebody to send to, and the rule for listening beyond this machine.
Refuses to know: which file it is (commands/locate.py), and what is done with the answer.

Laws:
1. What comes out is right: nobody after this checks a value of the configuration again.
2. Nothing is taken from the environment but the variables that the file names.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmrouterd import tomlpos
from llmrouterd.config import keys
from llmrouterd.config.clients import read_clients
from llmrouterd.config.nouns import Config, Logging, Server
from llmrouterd.config.policies import read_policies
from llmrouterd.config.providers import NoKeyError, key_from, names_of, read_providers
from llmrouterd.config.read import NOT_YET, Problems, nearest, quoted, read
from llmrouterd.config.rules import check_name, read_aliases, read_rules
from llmrouterd.model import ConfigError, Images, Routing, Secret

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
    server, failover = _server(problems, top["server"] or {}, environ, has_clients=named)
    clients = read_clients(problems, top["clients"], environ, server.api_key)
    read(problems, ("telemetry",), top["telemetry"] or {}, keys.TELEMETRY)
    names = names_of(top["providers"])
    providers, skipped = read_providers(problems, top["providers"], environ)
    if "providers" not in document or document["providers"] == []:
        problems.add((), NO_PROVIDERS)
    routing = Routing(
        rules=read_rules(problems, top["routers"], names),
        aliases=read_aliases(problems, top["models"] or {}, names),
        failover_to_remote=failover,
        implicit=not top["routers"],
        policies=read_policies(problems, top["policies"], names),
    )
    config = Config(
        server=server,
        logging=Logging(**read(problems, ("logging",), top["logging"] or {}, keys.LOGGING)),
        images=_images(problems, top["images"] or {}),
        clients=clients,
        providers=providers,
        routing=routing,
        classifiers=_extensions(problems, "classifiers", top),
        response_classifiers=_extensions(problems, "response_classifiers", top),
        plugins=_extensions(problems, "plugins", top),
        skipped=skipped,
        path=path,
    )
    _check_tiers(problems, config, names)
    _check_tags(problems, config)
    if skipped and not providers:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        problems.add((), f"every provider was skipped: {why}")
    problems.settle()
    return replace(config, warnings=problems.warnings())


def overridden(config: Config, host: str | None = None, port: int | None = None) -> Config:
    """The configuration with the command line's --host and --port, checked as the file's are."""
    changes = {"host": host, "port": port}
    given = {name: value for name, value in changes.items() if value is not None}
    problems = Problems("command line", {})
    values = read(problems, (), given, {name: keys.SERVER[name] for name in changes})
    new_host = _bare_host(problems, ("host",), values["host"])
    server = replace(
        config.server,
        host=config.server.host if host is None else new_host,
        port=config.server.port if port is None else values["port"],
    )
    if not config.clients:
        _check_listening(problems, ("host",), server)
    problems.settle()
    return replace(config, server=server)


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


# ---- [server] ------------------------------------------------------------------------------------


def _server(
    problems: Problems, table: Mapping[str, Any], environ: Mapping[str, str], *, has_clients: bool
) -> tuple[Server, bool]:
    values = read(problems, ("server",), table, keys.SERVER)
    for name, key in keys.SERVER.items():
        if key.later:
            del values[name]
    failover = values.pop("failover_to_remote")
    values["api_key"] = _own_key(problems, values.pop("api_key_env"), environ)
    values["host"] = _bare_host(problems, ("server", "host"), values["host"])
    for index, origin in enumerate(values["cors_origins"]):
        _check_origin(problems, ("server", "cors_origins", index), origin)
    for index, host in enumerate(values["trusted_hosts"]):
        if not _is_host(host):
            problems.add(
                ("server", "trusted_hosts", index),
                f"expected a host's name without scheme and port, got {quoted(host)}",
            )
    values["cors_origins"] = tuple(values["cors_origins"])
    values["trusted_hosts"] = tuple(_unbracketed(host) for host in values["trusted_hosts"])
    server = Server(**values)
    if (
        not table.get("api_key_env") and not has_clients
    ):  # a key that is missing has been complained about already
        _check_listening(problems, ("server", "host"), server)
    return server, failover


def _own_key(problems: Problems, variable: str, environ: Mapping[str, str]) -> Secret | None:
    path: Path = ("server", "api_key_env")
    try:
        return key_from(problems, path, variable, environ)
    except NoKeyError as why:
        problems.add(path, f"{why}: set it, or remove this key to serve without one")
        return None


def _bare_host(problems: Problems, path: Path, host: str) -> str:
    """The address to listen on, an IPv6 one without its brackets. A wrong one is complained about
    once, and the default goes on."""
    if host.startswith("unix:"):
        problems.add(path, f"listening on a unix socket is {NOT_YET}")
    elif not _is_host(host):
        problems.add(path, f"expected an address or a host's name, got {quoted(host)}")
    else:
        return _unbracketed(host)
    return str(keys.SERVER["host"].default)


def _is_host(text: str) -> bool:
    """A name, or an address; no port, no scheme."""
    try:
        ipaddress.ip_address(_unbracketed(text))
    except ValueError:
        return _NAME.match(text) is not None
    return True


def _unbracketed(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _check_listening(problems: Problems, path: Path, server: Server) -> None:
    if server.api_key or server.allow_unauthenticated or is_loopback(server.host):
        return
    problems.add(
        path,
        f"{quoted(server.host)} lets other machines in, and there is no key. Either listen on "
        'host = "127.0.0.1", or ask for a key with api_key_env = "ROUTER_API_KEY", or open it to '
        "everybody with allow_unauthenticated = true (all in [server])",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener there."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _check_origin(problems: Problems, path: Path, origin: str) -> None:
    """`*`, or what a browser sends as Origin: scheme, host, port, and nothing after it."""
    try:
        parts = urlsplit(origin)
        right = bool(parts.scheme and parts.netloc) and "@" not in parts.netloc
        right = right and f"{parts.scheme}://{parts.netloc}" == origin and "*" not in origin
    except ValueError:
        right = False
    if origin != "*" and not right:
        wanted = 'expected "*" or an origin like "https://app.example"'
        problems.add(path, f"{wanted} without a path, got {quoted(origin)}")


def _images(problems: Problems, table: Mapping[str, Any]) -> Images:
    values = read(problems, ("images",), table, keys.IMAGES)
    for index, host in enumerate(values["fetch_hosts"]):
        if not _is_host(host.replace("*", "x")) or host.strip("*.") == "":
            here: Path = ("images", "fetch_hosts", index)
            problems.add(here, f'expected a host\'s name, or "*.example.com", got {quoted(host)}')
    return Images(**{**values, "fetch_hosts": tuple(values["fetch_hosts"])})


# ---- classifiers and plugins ---------------------------------------------------------------------

_KNOWN: Mapping[str, tuple[Mapping[str, keys.Keys], Sequence[str]]] = {
    "classifiers": (keys.CLASSIFIERS, keys.CLASSIFIERS_LATER),
    "response_classifiers": (keys.RESPONSE_CLASSIFIERS, keys.RESPONSE_CLASSIFIERS_LATER),
    "plugins": (keys.PLUGINS, keys.PLUGINS_LATER),
}


def _extensions(
    problems: Problems, kind: str, top: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """id -> what the file says of it, `enabled` always there, for the ids of this version."""
    known, of_later = _KNOWN[kind]
    settings: dict[str, Mapping[str, Any]] = {}
    for name, table in (top[kind] or {}).items():
        path: Path = (kind, name)
        if not isinstance(table, dict):
            problems.add(path, f"expected a table, written [{kind}.{name}]")
        elif name in known:
            values = read(problems, path, table, known[name])
            settings[name] = {key: values[key] for key in values if key in table} | {
                "enabled": values["enabled"]
            }
        elif name in of_later:
            if table.get("enabled", False) is not False:
                problems.add(path, NOT_YET)
        else:
            problems.warn(path, "ignored, there is none of this name" + nearest(name, list(known)))
    return settings


def _check_tags(problems: Problems, config: Config) -> None:
    """`retry_on_tags` waits for tags that somebody has to set."""
    if any(table["enabled"] for table in config.response_classifiers.values()):
        return
    for index, rule in enumerate(config.routing.rules):
        if rule.retry_on_tags:
            path: Path = ("routers", index, "retry_on_tags")
            problems.warn(path, "does nothing: no response classifier is enabled")


def _check_tiers(problems: Problems, config: Config, names: Sequence[str]) -> None:
    """The tiers of pareto-router name providers, just as rules do."""
    tiers = config.plugins.get("pareto-router", {}).get("tiers") or {}
    for tier, providers in tiers.items():
        for index, name in enumerate(providers):
            check_name(problems, ("plugins", "pareto-router", "tiers", tier, index), name, names)
