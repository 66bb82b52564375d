"""`[[providers]]`: from tables of the file and the environment to `Provider`s.

Owns: base URLs (the /v1 that is added, what counts as local), keys from variables, headers.
Refuses to know: whether anybody answers there.

Laws:
1. No text that may be a secret gets into a message: no key, no header's value, no user name or
   password of a URL, and no "variable name" that looks like the key itself.
2. A provider without its key is skipped, and everything else about it is checked all the same.
3. A host counts as local only where its name or address cannot mean a machine on the internet.
   guard/egress.py looks at the address that is really dialled, and has the last word.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from llmrouterd.config.credentials import NO_HEADER, NoKeyError, key_from, key_in_file
from llmrouterd.config.dialects import dialect
from llmrouterd.config.keys import PROVIDER
from llmrouterd.config.read import Problems, quoted, read
from llmrouterd.config.server import UNIX
from llmrouterd.config.sockets import on_socket, wrong_socket
from llmrouterd.model import Clocks, Provider, Secret, Slots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.tomlpos import Path

# The same networks as guard/egress.py has; a test holds the two together.
_LOCAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fe80::/10",
        "fc00::/7",
    )
)
# Reserved for this host (RFC 6761), the link (RFC 6762), the home (RFC 8375) and private networks
# (ICANN, 2024): the public DNS answers for none of them.
_LOCAL_SUFFIXES = (".localhost", ".local", ".home.arpa", ".internal")
# Keys by which requests may have to wait, and those that say how: without one of the former the latter
# mean nothing, and the last two nothing without max_loaded_models.
_LIMITS = ("max_concurrency", "model_concurrency", "max_loaded_models")
_WAITING = ("max_queue", "queue_timeout", "batch_wait")
_SWAPPING = ("swap_wait", "min_residency")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_NO_URL = re.compile(r"[\x00-\x20\x7f-\U0010ffff]")
_OURS = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def read_providers(
    problems: Problems, tables: Sequence[Mapping[str, Any]], environ: Mapping[str, str]
) -> tuple[tuple[Provider, ...], tuple[tuple[str, str], ...]]:
    """The usable providers, and (name, reason) of each that is skipped."""
    providers: list[Provider] = []
    skipped: list[tuple[str, str]] = []
    seen: set[str] = set()
    for index, table in enumerate(tables):
        path: Path = ("providers", index)
        values = read(problems, path, table, PROVIDER)
        name = values["name"] or ""
        if name in seen:
            problems.add((*path, "name"), f"there is a provider {quoted(name)} already")
        seen.add(name)
        provider = _provider(problems, path, values)
        _check_waiting(problems, path, table)
        try:
            keys = _keys(problems, path, values, environ)
        except NoKeyError as why:
            skipped.append((name, str(why)))
            problems.warn(path, f"the provider {quoted(name)} is skipped: {why}")
        else:
            provider = replace(provider, keys=keys if len(keys) > 1 else ())
            providers.append(_with_key(problems, path, provider, keys[0] if keys else None))
    return tuple(providers), tuple(skipped)


def _keys(
    problems: Problems, path: Path, values: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Secret, ...]:
    """The provider's keys. Of several those that are missing are left out; NoKeyError when none is
    left of those that are named."""
    given = [name for name in ("api_key_env", "api_key_envs", "api_key_file") if values[name]]
    if len(given) > 1:
        problems.add((*path, given[-1]), f"give one of {' and '.join(given)}, not both")
    if values["api_key_file"]:
        here: Path = (*path, "api_key_file")
        key = key_in_file(problems, here, values["api_key_file"], environ)
        return () if key is None else (key,)
    if not values["api_key_envs"]:
        key = key_from(problems, (*path, "api_key_env"), values["api_key_env"], environ)
        return () if key is None else (key,)
    found: dict[Secret, None] = {}
    missing: list[str] = []
    for index, variable in enumerate(values["api_key_envs"]):
        place: Path = (*path, "api_key_envs", index)
        try:
            key = key_from(problems, place, variable, environ)
        except NoKeyError as why:
            missing.append(str(why))
            problems.warn(place, f"left out: {why}")
        else:
            found |= {} if key is None else {key: None}
    if missing and not found:
        raise NoKeyError("; ".join(missing))
    return tuple(found)


def names_of(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every name that the file configures, whatever else is wrong with the provider."""
    return [table["name"] for table in tables if isinstance(table.get("name"), str)]


def _provider(problems: Problems, path: Path, values: Mapping[str, Any]) -> Provider:
    echo = values["format"] == "echo"
    url = None if echo else _base_url(problems, path, values["base_url"])
    if echo and values["base_url"]:
        problems.add((*path, "base_url"), 'the format "echo" answers by itself and has no address')
    if values["options"] and values["format"] != "ollama":
        problems.add((*path, "options"), 'only the format "ollama" has options')
    _check_files(problems, path, values, url)
    own = values["api_key_env"] or values["api_key_envs"] or values["api_key_file"]
    if values["credentials"] == "client" and own:
        words = "the client's own key is passed on, so there can be no key of the provider's"
        problems.add((*path, "credentials"), words)
    local = values["local"]
    if local is None:
        local = url is None or url.scheme == "unix" or is_local_host(url.hostname or "")
    return Provider(
        name=values["name"] or "",
        format=values["format"] or "echo",
        base_url="" if url is None else _finished(url, values["format"]),
        local=local,
        dialect=dialect(problems, path, values, (url and url.hostname) or ""),
        credentials=values["credentials"],
        cost_per_1m_tokens=values["cost_per_1m_tokens"],
        input_cost_per_1m=values["input_cost_per_1m"],
        output_cost_per_1m=values["output_cost_per_1m"],
        cached_input_cost_per_1m=values["cached_input_cost_per_1m"],
        quality=values["quality"],
        latency_ms=values["latency_ms"],
        throughput_tokens_per_sec=values["throughput_tokens_per_sec"],
        models=tuple(values["models"]),
        context_length=values["context_length"],
        clocks=Clocks(
            connect_s=values["connect_timeout"],
            first_token_s=values["first_token_timeout"],
            idle_s=values["idle_timeout"],
            total_s=values["total_timeout"],
        ),
        slots=_slots(values),
        max_retries=values["max_retries"],
        circuit_failures=values["circuit_failures"],
        probe_interval_s=values["probe_interval"],
        headers=read_headers(problems, path, values["headers"], url),
        ca_file=values["ca_file"],
        client_cert=values["client_cert"],
        client_key=values["client_key"],
        http_proxy=values["http_proxy"],
        options=values["options"],
        grow_context=values["grow_context"],
        strip_nonces=values["strip_nonces"],
        stream_upstream=values["stream_upstream"] or "auto",
    )


def _slots(values: Mapping[str, Any]) -> Slots | None:
    """None where nothing is limited: then nobody waits."""
    if not any(values[name] for name in _LIMITS):
        return None
    return Slots(
        at_once=values["max_concurrency"],
        per_model=tuple(
            (name.lower().removesuffix(":latest"), n)
            for name, n in values["model_concurrency"].items()
        ),
        max_queue=values["max_queue"],
        timeout_s=values["queue_timeout"],
        max_loaded=values["max_loaded_models"],
        swap_wait_s=values["swap_wait"],
        residency_s=values["min_residency"],
        batch_wait_s=values["batch_wait"],
    )


def _check_waiting(problems: Problems, path: Path, table: Mapping[str, Any]) -> None:
    """Say so where a key has nothing to act on."""
    limited = any(table.get(name) for name in _LIMITS)
    for name in _WAITING:
        if name in table and not limited:
            problems.warn((*path, name), f"nobody waits without one of {', '.join(_LIMITS)}")
    for name in _SWAPPING:
        if name in table and not table.get("max_loaded_models"):
            problems.warn((*path, name), "it means nothing without max_loaded_models")


# ---- addresses -----------------------------------------------------------------------------------


def _base_url(problems: Problems, path: Path, text: str) -> SplitResult | None:
    if not text:
        problems.add(path, 'the key "base_url" is missing')
        return None
    if text.startswith(UNIX):
        wrong = wrong_socket(text)
        if wrong:
            problems.add((*path, "base_url"), wrong)
        return None if wrong else SplitResult("unix", "", text.removeprefix(UNIX), "", "")
    return url_parts(problems, (*path, "base_url"), text, "http://localhost:11434", "http", "https")


def url_parts(
    problems: Problems, path: Path, text: str, example: str, *schemes: str
) -> SplitResult | None:
    """The parts of a URL of these schemes. What is wrong is said without the text (law 1)."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        problems.add(path, f"not a URL with a host and a port, like {example}")
        return None
    wrong = ""
    if _NO_URL.search(text):
        wrong = "holds a blank, or a letter that must be written as %XX or punycode"
    elif parts.scheme not in schemes:
        wrong = f"must begin with {' or '.join(f'{s}://' for s in schemes)}, like {example}"
    elif not parts.hostname or port == 0:
        wrong = f"names no host or port, expected one like {example}"
    elif parts.query or parts.fragment:
        wrong = "must end with the path: no ? and no #"
    if wrong:
        problems.add(path, wrong)
    return None if wrong else parts


def _finished(url: SplitResult, format_name: str) -> str:
    """The URL that request paths are appended to: without user name, slash at the end, with /v1."""
    place = on_socket(url.geturl())
    path = url.path.rstrip("/") if place is None else place[1]
    if not path and format_name in ("openai", "anthropic", "responses"):
        path = "/v1"
    if place is not None:
        return f"{UNIX}{place[0]}" + (f":{path}" if path else "")
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{path}"


def is_local_host(host: str) -> bool:
    """Whether this name or address means a machine of one's own network for certain."""
    name = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        # Without a dot it is a container's or a neighbour's name, such as http://ollama:11434;
        # digits alone are an address in a form that resolvers read, and we do not.
        bare = "." not in name and not name[:1].isdigit()
        return bool(name) and (bare or name.endswith(_LOCAL_SUFFIXES))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_unspecified or any(address in network for network in _LOCAL)


def masked(url: str) -> str:
    """The URL as it may be printed: a user name and password in it are left out."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def unreadable(file: str) -> str:
    """Why a file cannot be read; "" when it can."""
    try:
        FilePath(file).open("rb").close()
    except (OSError, ValueError) as exc:
        return str(getattr(exc, "strerror", None) or exc).lower()
    return ""


def _on_this_host(host: str) -> bool:
    """Whether a proxy could only send what is meant for this address to itself."""
    name = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _check_files(
    problems: Problems, path: Path, values: Mapping[str, Any], url: SplitResult | None
) -> None:
    ca_file = values["ca_file"]
    if ca_file and (wrong := unreadable(ca_file)):
        problems.add((*path, "ca_file"), f"{quoted(ca_file)} cannot be read: {wrong}")
    for name in ("client_cert", "client_key"):
        if values[name] and (wrong := unreadable(values[name])):
            problems.add((*path, name), f"{quoted(values[name])} cannot be read: {wrong}")
    if bool(values["client_cert"]) != bool(values["client_key"]):
        missing = "client_key" if values["client_cert"] else "client_cert"
        problems.add((*path, missing), "client_cert and client_key go together")
    if values["http_proxy"]:
        here: Path = (*path, "http_proxy")
        # the way to the proxy; the request that goes through it may well be https
        url_parts(problems, here, values["http_proxy"], "http://proxy.example:3128", "http")
        if url is not None and (url.scheme == "unix" or _on_this_host(url.hostname or "")):
            problems.warn(here, "not used: the provider is on this machine")


# ---- keys and headers ----------------------------------------------------------------------------


def _with_key(problems: Problems, path: Path, provider: Provider, key: Secret | None) -> Provider:
    if key is not None and any(name == "authorization" for name, _ in provider.headers):
        problems.add(path, "there is a key, and another in the URL or the headers: keep one")
    return replace(provider, key=key)


def read_headers(
    problems: Problems, path: Path, table: Mapping[str, str], url: SplitResult | None
) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    for name, value in table.items():
        here: Path = (*path, "headers", name)
        if not _TOKEN.match(name):
            problems.add(here, "not a header's name")
        elif name.lower() in _OURS:
            problems.add(here, "this header is the router's own business")
        elif NO_HEADER.search(value):
            problems.add(here, "the value holds characters that no header may have")
        headers.append((name.lower(), value))
    if url is not None and url.username is not None:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers.append(("authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
    names = [name for name, _ in headers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add((*path, "headers"), f'"{name}" is given twice')
    return tuple(headers)
