"""Who may come in: keys, host names, browser origins.

Owns: the checks that stand before every page and every API call.
Refuses to know: what lies behind.

Laws:
1. Everything but /health needs the key when one is set. Keys are compared in constant time.
2. On a loopback address a foreign Host header is refused: it is how a web page somewhere reaches a
   server here (DNS rebinding). Where everybody in the network is let in without a key, browsers must
   still name this server by a name that nobody outside of the network can have.
3. A browser page of another origin is refused unless the owner listed it; no CORS header is ever
   sent to an unlisted one.
4. The dashboard's cookie is a key for the dashboard's own page and nobody else.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from formats.errors import Failure
from llmrouterd.config import KeyHolder
from llmrouterd.config.server import only_here
from llmrouterd.edge.listen import UNIX_PEER
from llmrouterd.model import ANYBODY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.config import Config, Server
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.model import Caller, Headers

COOKIE = "llmrouter_key"
Fields = list[tuple[str, str]]
_ALLOW_HEADERS = (
    "authorization, content-type, x-api-key, x-router-key, anthropic-version, anthropic-beta, "
    "anthropic-dangerous-direct-browser-access, openai-organization, openai-project, "
    "x-router-strict, x-router-timeout, x-router-priority, x-router-provider, x-router-tags"
)


def offered_keys(incoming: Incoming, *, cookie: bool = False) -> list[str]:
    """Every key the request brings, in any of the places where one may stand."""
    headers, keys = incoming.headers, []
    for name in ("x-router-key", "x-api-key", "api-key"):
        keys += headers.all(name)
    for value in headers.all("authorization"):
        scheme, _, key = value.partition(" ")
        keys.append(key.strip() if scheme.lower() == "bearer" else value)
    if "api_key=" in incoming.query:
        keys += parse_qs(incoming.query).get("api_key", [])
    if cookie:
        keys += _cookie(headers)
    return keys


def _cookie(headers: Headers) -> list[str]:
    """Our cookie's values. Other programs' cookies stand beside it (ports do not keep them apart),
    and http.cookies gives up on the whole header when one of them is odd."""
    pairs = [p.strip().partition("=") for text in headers.all("cookie") for p in text.split(";")]
    return [unquote(value) for name, _, value in pairs if name == COOKIE]


def caller_of(config: Config, offered: Iterable[str]) -> Caller | None:
    """Whose keys these are; None: nobody's. Every key is compared with every other, so that the time
    it takes tells nothing."""
    holders = list(config.clients)
    if config.server.api_key is not None:
        holders.insert(0, KeyHolder(config.server.api_key, ANYBODY))
    if not holders:
        return ANYBODY
    found = [holder for key in offered for holder in holders if holder.key.matches(key)]
    return found[0].caller if found else None


def check_key(config: Config, incoming: Incoming, *, cookie: bool = False) -> Failure | None:
    """None when the request may come in; it then says from whom it is."""
    if config.server.api_key is None and not config.clients:
        return None
    caller = caller_of(config, offered_keys(incoming, cookie=cookie))
    if caller is None:
        return Failure("unauthorized", "missing or invalid API key")
    incoming.caller = caller
    return None


def takes_cookie(incoming: Incoming, path: str) -> bool:
    """Whether the dashboard's cookie counts as a key here: for looking on, and for what the page
    itself sends. Browsers name the page that sends a POST, and another port is another page: SameSite
    alone would let it through."""
    if not path.startswith("/dashboard"):
        return False
    origin = incoming.headers.get("origin")
    own = origin is not None and _same_origin(incoming, origin)
    return own or incoming.method in ("GET", "HEAD")


def check_rights(incoming: Incoming, path: str) -> Failure | None:
    """What only the owner and clients with `admin = true` may see: everybody's requests."""
    if incoming.caller.admin or not path.startswith(("/dashboard", "/metrics")):
        return None
    words = f"client {incoming.caller.name!r} may not see this: it takes admin = true"
    return Failure("forbidden", words)


def check_host(server: Server, incoming: Incoming) -> Failure | None:
    """Refuse a Host that is not ours, where we listen on loopback only or open to everybody."""
    host = incoming.headers.get("host")
    if incoming.peer == UNIX_PEER or host is None:  # HTTP/1.0 has none, and no browser speaks it
        return None
    here = _loopback_only(server.hosts)
    if not here and not (_is_open(server) and _from_a_browser(incoming)):
        return None
    name = _name_of(host)
    if _is_loopback(name) or name in (h.lower().rstrip(".") for h in server.trusted_hosts):
        return None
    if not here and _is_of_the_network(name):
        return None
    return Failure(
        "forbidden",
        f"the Host {name[:100]!r} is not this server; add it to [server] trusted_hosts if it is",
    )


def _is_open(server: Server) -> bool:
    return server.allow_unauthenticated and server.api_key is None


def _from_a_browser(incoming: Incoming) -> bool:
    """What a page sends, and the pages of ours that show what others have said."""
    return "origin" in incoming.headers or incoming.path.startswith("/dashboard")


def _is_of_the_network(name: str) -> bool:
    """An address, or a name that no name server outside of this network answers for."""
    if "." not in name or name.endswith((".local", ".internal", ".home.arpa")):
        return bool(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """The name in a Host field: without port, brackets, the root's dot, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        inside, _, port = host[1:].partition("]")
        return inside if not port or port.startswith(":") else host
    name = host.rpartition(":")[0] if host.count(":") == 1 else host
    return name.rstrip(".")


@lru_cache(maxsize=16)
def _loopback_only(hosts: tuple[str, ...]) -> bool:
    """A web page reaches loopback and no unix socket; beyond both there is a key."""
    return any(map(_is_loopback, hosts)) and all(map(only_here, hosts))


@lru_cache(maxsize=16)  # every request asks, nearly always about the same names
def _is_loopback(name: str) -> bool:
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


# --- browsers -------------------------------------------------------------------------------------


def check_origin(server: Server, incoming: Incoming) -> Failure | None:
    """Refuse what a web page of another origin sends."""
    origin = incoming.headers.get("origin")
    if origin is None or allowed_origin(server, origin) or _same_origin(incoming, origin):
        return None
    return Failure(
        "forbidden",
        f"the browser origin {origin[:100]!r} is not listed in [server] cors_origins",
    )


def allowed_origin(server: Server, origin: str) -> bool:
    return "*" in server.cors_origins or origin.lower() in (o.lower() for o in server.cors_origins)


def _same_origin(incoming: Incoming, origin: str) -> bool:
    host = incoming.headers.get("host") or ""
    return urlsplit(origin).netloc.lower() == host.strip().lower()


def cors(server: Server, incoming: Incoming) -> Fields:
    """CORS fields for an answer to a listed origin; none for all others."""
    origin = incoming.headers.get("origin")
    if origin is None or not allowed_origin(server, origin):
        return []
    return [
        ("access-control-allow-origin", origin),
        ("vary", "origin"),
        ("access-control-expose-headers", "*"),
    ]


def preflight(server: Server, incoming: Incoming) -> Fields | None:
    """The answer to a CORS pre-flight, or None when it is not one."""
    wants = incoming.headers.get("access-control-request-method")
    if incoming.method != "OPTIONS" or wants is None:
        return None
    fields = cors(server, incoming)
    if not fields:
        return []
    # The owner trusts the page, so it may send what it wants to: SDKs add a dozen x-stainless-*.
    asked = incoming.headers.get("access-control-request-headers")
    return [
        *fields,
        ("access-control-allow-methods", "GET, POST, HEAD, OPTIONS"),
        ("access-control-allow-headers", asked or _ALLOW_HEADERS),
        ("access-control-max-age", "600"),
    ]
