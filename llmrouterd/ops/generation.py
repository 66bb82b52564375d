"""One configuration, made ready to serve.

Owns: turning a Config into the Generation that requests run under: upstream origins, plugins and
classifiers with their settings.
Refuses to know: sockets, requests.

Law: whole or not at all. Whatever is wrong is a ConfigError with every problem, before anything of
the new generation is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from llmrouterd import classifiers, plugins
from llmrouterd.config.sockets import on_socket
from llmrouterd.edge.pool import Origin
from llmrouterd.model import ConfigError, Provider, Secret
from llmrouterd.pipeline.daemon import Generation, Installed
from llmrouterd.plugins.cache import Cache
from llmrouterd.plugins.own import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.config import Config
    from llmrouterd.hooks import Plugin
    from llmrouterd.plugins.own import Kind

T = TypeVar("T")


def build(config: Config, number: int, user_agent: str) -> Generation:
    """The Generation for `config`. Raises ConfigError."""
    problems: list[str] = []
    generation = Generation(
        number=number,
        routing=config.routing,
        providers={p.name: p for p in config.providers},
        upstreams={p.name: upstream(p) for p in config.providers if p.format != "echo"},
        plugins=_plugins(config, problems),
        classifiers=_enabled("classifiers", classifiers.BUILTIN, config.classifiers, problems),
        response_classifiers=_enabled(
            "response_classifiers",
            classifiers.RESPONSE_BUILTIN,
            config.response_classifiers,
            problems,
        ),
        life_sign_s=config.server.life_sign,
        user_agent=user_agent,
        own_keys=own_keys(config),
        images=config.images,
        strict=config.server.strict,
    )
    if problems:
        raise ConfigError(problems)
    return generation


def own_keys(config: Config) -> tuple[Secret, ...]:
    """What clients show to come in here, and what is nobody else's business."""
    shared = config.server.api_key
    named = tuple(holder.key for holder in config.clients)
    return named if shared is None else (shared, *named)


def upstream(provider: Provider) -> tuple[Origin, str]:
    """Where connections to `provider` go, and the path before all of its paths."""
    place = on_socket(provider.base_url)
    if place is not None:
        return Origin("http", "localhost", 80, unix=place[0]), place[1]
    url = urlsplit(provider.base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    origin = Origin(
        scheme="https" if url.scheme == "https" else "http",
        host=url.hostname or "",
        port=port,
        ca_file=provider.ca_file,
        client_cert=provider.client_cert,
        client_key=provider.client_key,
        proxy=provider.http_proxy,
    )
    return origin, url.path.rstrip("/")


def kept_answers(generation: Generation) -> Mapping[str, int]:
    """What the cache holds, by the metric's name; nothing where there is none."""
    installed = generation.plugins.get(Cache.id)
    if installed is None or not isinstance(installed.hook, Cache):
        return {}
    store = installed.hook.store
    return {"llmrouter_cache_entries": len(store), "llmrouter_cache_bytes": store.size}


def _plugins(config: Config, problems: list[str]) -> Mapping[str, Installed[Plugin]]:
    """Configured plugins first, in their order; the others can still be asked for by a request."""
    installed: dict[str, Installed[Plugin]] = {}
    for name, table in config.plugins.items():
        settings = _settings(table)
        factory = _factory("plugins", name, table, plugins.BUILTIN)
        hook = _make(factory, settings, f"plugins.{name}", problems)
        if hook is not None:
            enabled, timeout_s = bool(table.get("enabled")), float(table.get("timeout", 0))
            installed[name] = Installed(name, hook, settings, enabled, timeout_s)
    for name, factory in plugins.BUILTIN.items():
        if name not in config.plugins:
            hook = _make(factory, {}, f"plugins.{name}", problems)
            if hook is not None:
                installed[name] = Installed(name, hook, {}, enabled=False)
    return installed


def _enabled(
    kind: Kind,
    builtin: Mapping[str, Callable[[Mapping[str, Any]], T]],
    tables: Mapping[str, Mapping[str, Any]],
    problems: list[str],
) -> tuple[Installed[T], ...]:
    out: list[Installed[T]] = []
    for name, table in tables.items():
        if table.get("enabled"):
            settings = _settings(table) if "path" in table else _without(table, "enabled")
            factory = _factory(kind, name, table, builtin)
            hook = _make(factory, settings, f"{kind}.{name}", problems)
            if hook is not None:
                timeout_s = float(table.get("timeout", 0)) if "path" in table else 0.0
                out.append(Installed(name, hook, settings, timeout_s=timeout_s))
    return tuple(out)


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """What is for the extension itself; the rest is for whoever calls it."""
    return _without(table, "enabled", "timeout", "path")


def _without(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def _factory(
    kind: Kind,
    name: str,
    table: Mapping[str, Any],
    builtin: Mapping[str, Callable[[Mapping[str, Any]], T]],
) -> Callable[[Mapping[str, Any]], T]:
    """The built-in one's, or that of the owner's file: read anew for each generation."""
    if "path" not in table:
        return builtin[name]
    return lambda settings: load(table["path"], name, kind)(settings)


def _make(
    factory: Callable[[Mapping[str, Any]], T],
    settings: Mapping[str, Any],
    where: str,
    problems: list[str],
) -> T | None:
    try:
        return factory(settings)
    except ValueError as error:
        problems.extend(f"{where}: {line}" for line in str(error).splitlines())
        return None
