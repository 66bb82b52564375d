"""What `llmrouter serve` says once it listens: where, under which configuration, and what came of it.

Owns: the lines, for people and for programs.
Refuses to know: how the rest of the daemon's log is written (logs.py).

Laws:
1. One thing is one line, and no secret is in any.
2. People get columns, and what their clients need; the journal and programs get the same facts as events
   of the log, without what is only to be copied.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmrouter import __version__
from llmrouterd.commands.check import printable
from llmrouterd.config.providers import masked
from llmrouterd.config.server import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmrouterd.model import Policy, Provider, ProviderState
    from llmrouterd.ops.app import Running

LOG = logging.getLogger("llmrouter.start")
JSON = Any


@dataclass(frozen=True, slots=True)
class Line:
    """label and text: for people. told: for programs, with `event` besides."""

    label: str
    text: str
    told: Mapping[str, JSON] = field(default_factory=dict)


def announce(shape: str, running: Running) -> None:
    """shape: of the log, one of logs.FORMATS that is not "auto"."""
    if shape != "plain":
        for line in lines(running):
            dashboard = line.told.get("dashboard")
            more = f", dashboard {dashboard}" if dashboard else ""
            words = printable(f"{line.label}: {line.text}{more}")
            LOG.info("%s", words, extra={"told": {"event": line.label, **line.told}})
        return
    for line in lines(running):
        if line.label == "listens":
            _say(f"llmrouter listens on {line.text}")
        else:
            _say(f"  {line.label:<9}  {line.text}")
    for label, text in for_clients(running):
        _say(f"  {label:<9}  {text}")


def _say(line: str) -> None:
    """To stderr: nothing but an answer goes to stdout, and serving is no answer."""
    print(printable(line), file=sys.stderr, flush=True)


def lines(running: Running) -> Iterator[Line]:
    """Everything, in the order in which it is looked for; where it listens comes last."""
    yield Line("version", f"{__version__}, process {os.getpid()}", _version())
    yield _config(running)
    if running.config.server.workers > 1:
        number = running.config.server.workers
        yield Line("workers", f"{number}, and a hub beside them", {"workers": number})
    for name, reason in running.config.skipped:
        yield Line("skipped", f"{name}: {reason}", {"name": name, "why": reason})
    for provider in running.config.providers:
        yield _provider(provider, running)
    yield from _routing(running)
    yield from _extensions(running)
    yield _access(running)
    yield from _written(running)
    yield _listening(running)


def _version() -> dict[str, JSON]:
    python = sys.version.split()[0]
    return {"version": __version__, "pid": os.getpid(), "python": python}


def _config(running: Running) -> Line:
    config = running.config
    told = {"path": config.path or None, "generation": 1, "warnings": len(config.warnings)}
    if not config.path:
        return Line("config", "none: what this machine has is served", told)
    count = len(config.warnings)
    warned = f", with {count} warning{'s'[: count > 1]} (above)" if count else ""
    return Line("config", f"{os.path.abspath(config.path)}, generation 1{warned}", told)  # noqa: PTH100


# --- providers ------------------------------------------------------------------------------------


def _provider(provider: Provider, running: Running) -> Line:
    where = masked(provider.base_url) or "embedded"
    place = "local" if provider.local else "remote"
    count, found = _models(provider, running.states.get(provider.name))
    if count is None and not running.states:
        found = "each worker asks it for its models"
    told = {
        "name": provider.name,
        "format": provider.format,
        "place": place,
        "base_url": masked(provider.base_url) or None,
        "keys": len(provider.keys) or int(provider.key is not None),
        "models": count,
        "found": found,
    }
    text = f"{provider.name} ({provider.format}, {place}) {where}: {found}"
    return Line("provider", text, told)


def _models(provider: Provider, state: ProviderState | None) -> tuple[int | None, str]:
    """How many models are known of it, and what is said of that."""
    if provider.format == "echo":
        return 1, "answers by itself"
    if provider.models:
        return len(provider.models), f"{_count(len(provider.models), 'model')}, as the file says"
    if provider.on_demand:
        return None, "asked when a request names what nobody here has"
    if state is None or (state.models is None and not state.why):
        return None, "has not answered yet; it is asked again"
    if state.models is None:
        return None, f"no models known: {state.why}"
    return len(state.models), _count(len(state.models), "model")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- what decides ---------------------------------------------------------------------------------


def _routing(running: Running) -> Iterator[Line]:
    routing = running.config.routing
    if routing.rules:
        types = [spec.type for spec in routing.rules]
        yield Line("rules", f"{len(types)}: {', '.join(types)}", {"types": types})
    else:
        words = "none: whoever has the model is asked, local providers first"
        yield Line("rules", words, {"types": []})
    if routing.aliases:
        names = sorted(routing.aliases)
        yield Line("aliases", ", ".join(names), {"names": names})
    if routing.policies:
        texts = [_policy(each) for each in routing.policies]
        yield Line("policies", "; ".join(texts), {"policies": texts})


def _policy(policy: Policy) -> str:
    from llmrouterd.commands.check import binds, forbids

    return f"{binds(policy)} must not reach {forbids(policy)}"


def _extensions(running: Running) -> Iterator[Line]:
    config = running.config
    kinds = {
        "classify": config.classifiers,
        "judge": config.response_classifiers,
        "plugins": config.plugins,
    }
    for label, tables in kinds.items():
        names = [name for name, settings in tables.items() if settings.get("enabled")]
        if names:
            yield Line(label, ", ".join(names), {"names": names})


# --- who may come, what is kept, where ------------------------------------------------------------


def _access(running: Running) -> Line:
    server, clients = running.config.server, running.config.clients
    names = [holder.caller.name for holder in clients]
    if server.api_key is not None or names:
        words = "asks for a key" + (f"; clients: {', '.join(names)}" if names else "")
    elif server.allow_unauthenticated:
        words = "open to everybody who can reach it"
    else:
        words = "open to this machine"
    told = {"key": server.api_key is not None or bool(names), "clients": names}
    return Line("access", words, told)


def _written(running: Running) -> Iterator[Line]:
    config = running.config
    logs = config.logging
    if logs.enabled:
        path = os.path.abspath(logs.path)  # noqa: PTH100
        words = f"{path}, {'with' if logs.bodies == 'full' else 'without'} bodies"
        words += ", sealed" if logs.audit else ""
        told = {"path": path, "bodies": logs.bodies, "audit": logs.audit}
        yield Line("log", words, told)
    else:
        yield Line("log", "none: requests are not written down", {"path": None})
    if config.server.state_dir:
        path = os.path.abspath(config.server.state_dir)  # noqa: PTH100
        yield Line("state", path, {"path": path})
    if config.telemetry.enabled:
        where = masked(config.telemetry.endpoint)
        yield Line("telemetry", f"to {where}", {"endpoint": where})


def _listening(running: Running) -> Line:
    urls = _urls(running)
    reachable = _reachable(running)
    dashboard = f"{reachable}/dashboard" if reachable and running.config.server.dashboard else None
    return Line("listens", ", ".join(urls), {"addresses": urls, "dashboard": dashboard})


def _urls(running: Running) -> list[str]:
    scheme = "https" if running.secure else "http"
    return [a if a.startswith(UNIX) else f"{scheme}://{a}" for a in running.addresses]


def _reachable(running: Running) -> str:
    """What a client on this machine connects to: "every address" is not one. "": unix sockets only."""
    for address in running.addresses:
        if not address.startswith(UNIX):
            host, _, port = address.rpartition(":")
            every = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104
            return f"{'https' if running.secure else 'http'}://{every.get(host, host)}:{port}"
    return ""


def for_clients(running: Running) -> Iterator[tuple[str, str]]:
    """The lines to copy."""
    url, server = _reachable(running), running.config.server
    if not url:
        return
    key = "$KEY" if server.api_key or running.config.clients else "none"
    yield "OpenAI", f"export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}"
    yield "Anthropic", f"export ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key}"
    yield "Ollama", f"export OLLAMA_HOST={url}"
    if server.dashboard:
        yield "dashboard", f"{url}/dashboard"
