"""What serves when nobody wrote a configuration.

Owns: finding local model servers at their usual addresses, cloud providers by their usual key
variables, and the embedded echo when there is nothing at all.
Refuses to know: requests.

Laws:
1. Local addresses are asked once, in parallel, within half a second. Nothing outside this machine
   is asked at start, unless OLLAMA_HOST names it.
2. A cloud provider found by its key is `on_demand`: only for models asked for by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from formats.errors import FormatError
from formats.jsontext import loads
from llmrouterd.config import Config
from llmrouterd.config.prices import with_prices
from llmrouterd.config.providers import is_local_host, masked
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Clocks, FormatName, ModelInfo, Provider, Routing, Secret
from llmrouterd.ops.generation import upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


@dataclass(frozen=True, slots=True)
class Sight:
    """What stood at a place. models: what it lists; None: it is not there, and `why`."""

    place: Place
    models: tuple[ModelInfo, ...] | None = None
    why: str = ""


async def found(environ: Mapping[str, str], pool: Pool) -> Config:
    """The configuration of a machine as it is. skipped: what was looked for and is not there."""
    sights = await look(environ, pool)
    local = [_local(each.place) for each in sights if each.models is not None]
    clouds = [
        with_prices(Provider(name, fmt, base, key=Secret(key), local=False, on_demand=True))
        for name, fmt, base, variable in CLOUDS
        if (key := environ.get(variable, "").strip())
    ]
    providers = (*local, *clouds) or (Provider("echo", "echo"),)
    return Config(
        providers=providers,
        routing=Routing(implicit=True),
        skipped=tuple(_not_found(sights, environ)),
    )


def _local(place: Place) -> Provider:
    host = urlsplit(place.base_url).hostname or ""
    return Provider(place.name, place.format, place.base_url, local=is_local_host(host))


def _not_found(sights: tuple[Sight, ...], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for each in sights:
        if each.models is None:
            yield each.place.name, each.why
    unset = [variable for *_, variable in CLOUDS if not environ.get(variable, "").strip()]
    if unset:
        yield "clouds", f"no key in {', '.join(unset)}"


async def look(environ: Mapping[str, str], pool: Pool) -> tuple[Sight, ...]:
    """What stands at the usual places, in their order."""
    seen: dict[str, Sight] = {}

    async def look_at(place: Place) -> None:
        seen[place.name] = await _look_at(place, pool)

    places = [_ollama(environ), *PLACES[1:]]
    with trio.move_on_after(PROBE_S):
        async with trio.open_nursery() as nursery:
            for place in places:
                nursery.start_soon(look_at, place)
    return tuple(seen.get(place.name) or _silent(place) for place in places)


def _silent(place: Place) -> Sight:
    return Sight(place, why=f"no answer from {masked(place.base_url)} within {PROBE_S:g} s")


async def _look_at(place: Place, pool: Pool) -> Sight:
    origin, _ = upstream(Provider(place.name, place.format, place.base_url))
    fields = [("accept", "application/json")]
    other = Sight(place, why=f"what answers at {origin.where} is not {place.name}")
    with Deadline(Clocks(connect_s=PROBE_S, first_token_s=PROBE_S, idle_s=PROBE_S)) as deadline:
        try:
            async with pool.exchange(origin, "GET", place.path, fields, b"", deadline) as exchange:
                if exchange.status != 200:
                    return other
                answer = loads((await exchange.read_all(1 << 23)).decode("utf-8", "replace"))
        except DialError as error:
            return Sight(place, why=str(error))
        except (FormatError, ValueError):
            return other
        listed = answer.get(place.member) if isinstance(answer, dict) else None
        return Sight(place, tuple(_models(listed))) if isinstance(listed, list) else other
    return _silent(place)


def _models(listed: list[Any]) -> Iterator[ModelInfo]:
    """Both kinds of list: Ollama's names and sizes, OpenAI's ids."""
    for entry in listed:
        name = (entry.get("name") or entry.get("id")) if isinstance(entry, dict) else None
        if isinstance(name, str):
            size = entry.get("size")
            yield ModelInfo(name, size_bytes=size if type(size) is int else 0, native=entry)


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
