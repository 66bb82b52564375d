"""`llmrouter check [CONFIG]`: is the configuration right, and what does it say?

Owns: the tables and the JSON that show a configuration.
Refuses to know: the network. Nobody is asked anything, but by --online (online.py) and --offline
(offline.py).

Laws:
1. No secret in any output: of a key it says that there is one, of headers their names.
2. stdout holds the answer, stderr the problems, all of them at once. With --json they are the
   answer, too.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmrouterd.commands import locate
from llmrouterd.config import load
from llmrouterd.config.prices import list_date
from llmrouterd.config.server import UNIX
from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from llmrouterd.config import Config, Server
    from llmrouterd.model import Policy, Provider, RuleSpec

IMPLICIT = "none given: whoever has the model is asked, local providers first"


def run(args: argparse.Namespace) -> int:
    """Check the configuration and print what it says. Exit code 0, 2 when it is wrong; 1 when what
    --online or --offline asks for is not so."""
    try:
        if args.offline:
            return _offline(args)
        if args.allow or args.seconds is not None:
            raise ConfigError(["--allow and --seconds: each goes with --offline"])
        config = find_and_load(args)
        made(config)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"problems": error.problems}, indent=2))
        return locate.complain(error)
    if args.online:
        return _online(config, as_json=args.json)
    print(json.dumps(as_json(config), indent=2) if args.json else as_text(config))
    return 0


def _online(config: Config, *, as_json: bool) -> int:
    from llmrouterd.commands import online

    answers = online.ask(config)
    if as_json:
        told = {"path": config.path, "problems": [], **online.as_json(answers)}
        print(json.dumps(told, indent=2))
    else:
        print(online.as_text(answers))
    return 0 if answers.well else 1


def _offline(args: argparse.Namespace) -> int:
    """Without a file, too: what `serve` does then is a start like any other."""
    from llmrouterd.commands import offline
    from llmrouterd.ops.offline import Allowed

    path = locate.find(args.config, os.environ)
    config = None if path is None else load(path, os.environ)
    try:
        allowed = Allowed(args.allow)
    except ValueError as error:
        raise ConfigError([f"--allow: {error}"]) from None
    seconds = offline.WATCHED_S if args.seconds is None else args.seconds
    proof = offline.prove(config, allowed, seconds, os.environ)
    if args.json:
        told = {"path": config.path if config else None, "problems": [], **offline.as_json(proof)}
        print(json.dumps(told, indent=2))
    else:
        print(offline.as_text(proof))
    return 0 if proof.well else 1


def made(config: Config) -> None:
    """Make what the configuration speaks of, as `serve` does: a pattern, say, may turn out to be
    none. Raises ConfigError."""
    from llmrouterd.ops.generation import build

    try:
        build(config, 1, "llmrouter")
    except ConfigError as error:
        raise ConfigError([f"{config.path}: {problem}" for problem in error.problems]) from None


def find_and_load(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Config:
    """environ: where the keys are."""
    path = locate.find(args.config, os.environ)
    if path is None:
        looked = ", ".join(str(place) for place in locate.places(os.environ))
        raise ConfigError([f"no configuration found (looked for {looked}): name one"])
    return load(path, environ)


# ---- for people ----------------------------------------------------------------------------------


def as_text(config: Config) -> str:
    """Aligned tables, and a first line that says whether all is well."""
    return "\n".join(_lines(config))


def _lines(config: Config) -> Iterator[str]:
    warned = f", with {_count(len(config.warnings), 'warning')}" if config.warnings else ""
    yield f"{config.path}: right{warned}"
    server = config.server
    yield f"listens on {', '.join(_urls(server))}, {_access(config)}"
    yield f"logs requests to {config.logging.path}" if config.logging.enabled else "logs nothing"
    yield ""
    yield from table(
        ("PROVIDER", "FORMAT", "ADDRESS", "PLACE", "KEY", "COST", "QUALITY"),
        [_provider_row(provider) for provider in config.providers],
    )
    yield ""
    prices = list(_price_rows(config))
    if prices:
        head = ("PRICE OF", "AT", "INPUT", "OUTPUT", "CACHED", "CACHE WRITE", "UP TO")
        yield from table(head, prices)
        yield ""
    rules = [_rule_row(spec) for spec in config.routing.rules]
    if rules:
        yield from table(("RULE", "TYPE", "WHEN", "TO", "AS MODEL"), rules)
    else:
        yield f"rules    {IMPLICIT}"
    if config.routing.policies:
        yield ""
        policies = [_policy_row(policy) for policy in config.routing.policies]
        yield from table(("POLICY", "BINDS", "FORBIDS"), policies)
    if config.routing.aliases:
        yield ""
        aliases = sorted(config.routing.aliases.items())
        yield from table(("ALIAS", "TO"), [(name, ", ".join(to)) for name, to in aliases])
    extensions = list(_extension_rows(config))
    if extensions:
        yield ""
        yield from table(("EXTENSION", "KIND", "ENABLED"), extensions)
    if config.warnings:
        yield ""
        yield from (f"warning: {warning}" for warning in config.warnings)


def _urls(server: Server) -> Iterator[str]:
    """Where it listens, as far as the file tells: systemd may hand down others."""
    scheme = "https" if server.tls_cert else "http"
    for host in server.hosts:
        if host.startswith(UNIX):
            yield host
        else:
            yield f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest entry, nothing behind the last."""
    cells = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(text: str) -> str:
    """Names come from a file, and a terminal obeys what it is sent."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _access(config: Config) -> str:
    if config.server.api_key is not None or config.clients:
        named = ", ".join(printable(holder.caller.name) for holder in config.clients)
        return "asks for a key" + (f", clients: {named}" if named else "")
    return "open to everybody" if config.server.allow_unauthenticated else "open to this machine"


def _provider_row(provider: Provider) -> tuple[str, ...]:
    return (
        provider.name,
        provider.format,
        provider.base_url or "-",
        "local" if provider.local else "remote",
        "yes" if provider.key is not None else "-",
        _cost(provider),
        _figure(provider.quality),
    )


def _cost(provider: Provider) -> str:
    """What goes for the whole provider: one figure, input/output, or the list that ships."""
    read, written = provider.input_cost_per_1m, provider.output_cost_per_1m
    if read is not None or written is not None:
        return f"{read or 0:g}/{written or 0:g}"
    if provider.cost_per_1m_tokens is None and provider.list_prices:
        return f"list of {list_date()}"
    return _figure(provider.cost_per_1m_tokens)


def _price_rows(config: Config) -> Iterator[tuple[str, ...]]:
    """The owner's prices, each provider's in the order in which they are asked."""
    for provider in config.providers:
        for price in provider.prices:
            most = price.max_input_tokens
            yield (
                ", ".join(price.models),
                provider.name,
                f"{price.input:g}",
                f"{price.output:g}",
                _figure(price.cached_input),
                _figure(price.cache_write),
                str(most) if most else "-",
            )


def _rule_row(spec: RuleSpec) -> tuple[str, ...]:
    targets = ", ".join(f"{provider}/{model}".rstrip("/") for provider, model in spec.targets)
    return (
        spec.where.partition(" ")[0],
        spec.type,
        _condition(spec),
        targets or ", ".join(spec.providers) or "all providers",
        spec.rewrite_model or "-",
    )


def _condition(spec: RuleSpec) -> str:
    match spec.type:
        case "prefix":
            return f"the model begins with {spec.model_prefix}"
        case "model":
            return "the model is " + " or ".join(spec.match)
        case "tag":
            return f"tagged {spec.tag}"
        case "discover":
            return "who has the model"
        case "price":
            return "cheapest first" + _bound(", at most", spec.max_cost_per_1m_tokens)
        case "latency":
            return "fastest first" + _bound(", ms at most", spec.max_latency_ms)
        case "throughput":
            return "most tokens/s first" + _bound(", at least", spec.min_tokens_per_sec)
        case "fallback":
            return f"best first, quality bias {spec.quality_bias:g}"
        case _:
            return "always"


def _policy_row(policy: Policy) -> tuple[str, ...]:
    return policy.where, binds(policy), forbids(policy)


def binds(policy: Policy) -> str:
    """Which requests a policy is about."""
    named = (("tag", policy.tags), ("client", policy.clients), ("model", policy.models))
    words = [f"{what} {' or '.join(those)}" for what, those in named if those]
    return ", ".join(words) or "every request"


def forbids(policy: Policy) -> str:
    """What they may not do."""
    words = ["any provider"] if policy.block else []
    words += [f"any but {', '.join(policy.allow)}"] if policy.allow else []
    words += [", ".join(policy.deny)] if policy.deny else []
    words += ["what is not local"] if policy.local else []
    words += [f"networks but {', '.join(policy.networks)}"] if policy.networks else []
    return "; ".join(words)


def _bound(text: str, figure: float | None) -> str:
    return "" if figure is None else f"{text} {figure:g}"


def _extension_rows(config: Config) -> Iterator[tuple[str, ...]]:
    for kind, entries in _extensions(config).items():
        for name, settings in entries.items():
            yield name, kind.removesuffix("s").replace("_", " "), _yes(settings["enabled"])


def _extensions(config: Config) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    return {
        "classifiers": config.classifiers,
        "response_classifiers": config.response_classifiers,
        "plugins": config.plugins,
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# ---- for programs --------------------------------------------------------------------------------


def as_json(config: Config) -> dict[str, Any]:
    """The same as a JSON object."""
    server = config.server
    return {
        "path": config.path,
        "server": {
            "host": server.hosts[0],
            "hosts": list(server.hosts),
            "port": server.port,
            "key": server.api_key is not None or bool(config.clients),
            "clients": [holder.caller.name for holder in config.clients],
            "dashboard": server.dashboard,
        },
        "logging": {"enabled": config.logging.enabled, "path": config.logging.path},
        "providers": [_provider_json(provider) for provider in config.providers],
        "skipped": [{"name": name, "reason": reason} for name, reason in config.skipped],
        "routers": [_rule_json(spec) for spec in config.routing.rules],
        "policies": [
            {"where": each.where, "binds": binds(each), "forbids": forbids(each)}
            for each in config.routing.policies
        ],
        "models": {name: list(targets) for name, targets in config.routing.aliases.items()},
        **{
            kind: {name: {"enabled": settings["enabled"]} for name, settings in entries.items()}
            for kind, entries in _extensions(config).items()
        },
        "problems": [],
        "warnings": list(config.warnings),
    }


def _provider_json(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "format": provider.format,
        "base_url": provider.base_url,
        "local": provider.local,
        "key": provider.key is not None,
        "cost_per_1m_tokens": provider.cost_per_1m_tokens,
        "input_cost_per_1m": provider.input_cost_per_1m,
        "output_cost_per_1m": provider.output_cost_per_1m,
        "cached_input_cost_per_1m": provider.cached_input_cost_per_1m,
        "prices": [asdict(price) for price in provider.prices],
        "list_prices": list_date() if provider.list_prices else None,
        "quality": provider.quality,
        "latency_ms": provider.latency_ms,
        "throughput_tokens_per_sec": provider.throughput_tokens_per_sec,
        "models": list(provider.models),
        "headers": [name for name, _ in provider.headers],
    }


def _rule_json(spec: RuleSpec) -> dict[str, Any]:
    return {
        "where": spec.where,
        "type": spec.type,
        "when": _condition(spec),
        "providers": list(spec.providers),
        "targets": [{"provider": provider, "model": model} for provider, model in spec.targets],
        "rewrite_model": spec.rewrite_model,
    }
