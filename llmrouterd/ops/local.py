"""What serves when nobody wrote a configuration.

Owns: finding local model servers at their usual addresses, cloud providers by their usual key
variables, and the embedded echo when there is nothing at all.
Refuses to know: requests.

Laws:
1. Local addresses are asked once, in parallel, within half a second. Nothing outside this machine
   is asked at start.
2. A cloud provider found by its key is `on_demand`: only for models asked for by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from formats.errors import FormatError
from formats.jsontext import loads
from llmrouterd.config import Config
from llmrouterd.config.prices import with_prices
from llmrouterd.config.providers import is_local_host
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Clocks, FormatName, Provider, Routing, Secret
from llmrouterd.ops.generation import upstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.edge.pool import Pool

PROBE_S = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a local server usually is. path: a URL that only such a server answers with JSON that
    has the member `member`."""

    name: str
    format: FormatName
    base_url: str
    path: str
    member: str


PLACES = (
    Place("ollama", "ollama", "http://127.0.0.1:11434", "/api/tags", "models"),
    Place("llama-server", "openai", "http://127.0.0.1:8080/v1", "/v1/models", "data"),
    Place("lmstudio", "openai", "http://127.0.0.1:1234/v1", "/v1/models", "data"),
    Place("vllm", "openai", "http://127.0.0.1:8000/v1", "/v1/models", "data"),
)
CLOUDS: tuple[tuple[str, FormatName, str, str], ...] = (
    ("openai", "openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    ("anthropic", "anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    ("openrouter", "openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    ("mistral", "openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    ("deepseek", "openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    ("groq", "openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    ("xai", "openai", "https://api.x.ai/v1", "XAI_API_KEY"),
)


async def found(environ: Mapping[str, str], pool: Pool) -> Config:
    """The configuration of a machine as it is."""
    local = await _local(environ, pool)
    clouds = [
        with_prices(Provider(name, fmt, base, key=Secret(key), local=False, on_demand=True))
        for name, fmt, base, variable in CLOUDS
        if (key := environ.get(variable, "").strip())
    ]
    providers = (*local, *clouds) or (Provider("echo", "echo"),)
    return Config(providers=providers, routing=Routing(implicit=True))


async def _local(environ: Mapping[str, str], pool: Pool) -> list[Provider]:
    there: set[str] = set()

    async def look(place: Place) -> None:
        if await _answers(place, pool):
            there.add(place.name)

    places = [_ollama(environ), *PLACES[1:]]
    with trio.move_on_after(PROBE_S):
        async with trio.open_nursery() as nursery:
            for place in places:
                nursery.start_soon(look, place)
    return [
        Provider(
            p.name, p.format, p.base_url, local=is_local_host(urlsplit(p.base_url).hostname or "")
        )
        for p in places
        if p.name in there
    ]


async def _answers(place: Place, pool: Pool) -> bool:
    origin, _ = upstream(Provider(place.name, place.format, place.base_url))
    fields = [("accept", "application/json")]
    with Deadline(Clocks(connect_s=PROBE_S, first_token_s=PROBE_S, idle_s=PROBE_S)) as deadline:
        try:
            async with pool.exchange(origin, "GET", place.path, fields, b"", deadline) as exchange:
                if exchange.status != 200:
                    return False
                answer = loads((await exchange.read_all(1 << 23)).decode("utf-8", "replace"))
                return isinstance(answer, dict) and isinstance(answer.get(place.member), list)
        except (DialError, FormatError, ValueError):
            return False
    return False


def _ollama(environ: Mapping[str, str]) -> Place:
    """Ollama's own rule for OLLAMA_HOST: scheme, host and port may each be missing, a port that is
    none is the usual one; a server's `0.0.0.0` means this machine to a client."""
    usual = PLACES[0]
    scheme, _, rest = environ.get("OLLAMA_HOST", "").strip(" \t\r\n\"'").rpartition("://")
    authority, _, path = rest.partition("/")
    usual_port = {"https": "443", "http": "80"}.get(scheme.lower(), "11434")
    name, port = _split(authority, usual_port)
    if name in ("", "0.0.0.0", "[::]"):  # noqa: S104
        name = "127.0.0.1"
    base = f"{scheme.lower() or 'http'}://{name}:{port}" + (f"/{path}" if path else "")
    place = Place(usual.name, usual.format, base.rstrip("/"), usual.path, usual.member)
    return place if _is_url(place.base_url) else usual


def _split(authority: str, usual_port: str) -> tuple[str, str]:
    """Host and port; an IPv6 address may come without its brackets when it has no port."""
    name, colon, port = authority.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")) or authority.endswith("]"):
        name, port = authority, usual_port
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    right = port.isascii() and port.isdigit() and 0 < int(port) <= 65535
    return name, port if right else usual_port


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname and url.port)
    except ValueError:
        return False
