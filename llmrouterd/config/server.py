"""`[server]`: where it listens, whom it lets in, what one client may cost.

Owns: reading and checking that table, and the command line's words over it.
Refuses to know: sockets; ops/listening.py opens them.

Law: what other machines can reach asks for a key, or the owner has said in so many words that it
need not.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmrouterd.config import keys
from llmrouterd.config.credentials import own_key
from llmrouterd.config.nouns import Server
from llmrouterd.config.read import Problems, quoted, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.config.nouns import Config
    from llmrouterd.tomlpos import Path

UNIX = "unix:"
SHORTEST_KEY = 16  # characters
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")
_MODE = re.compile(r"0?[0-7]{3}\Z")
_FILES = ("tls_cert", "tls_key", "tls_client_ca")
OPEN = (
    "lets other machines in, and there is no key. Either listen on "
    'host = "127.0.0.1", or ask for a key with api_key_env = "ROUTER_API_KEY", or open it to '
    "everybody with allow_unauthenticated = true (all in [server])"
)


def read_server(
    problems: Problems, table: Mapping[str, Any], environ: Mapping[str, str], *, has_clients: bool
) -> tuple[Server, bool]:
    """The table as a noun, and `failover_to_remote`, which is routing's."""
    values = read(problems, ("server",), table, keys.SERVER)
    failover = values.pop("failover_to_remote")
    names = ("api_key_env", "api_key_file")
    otherwise = "remove this key to serve without one"
    values["api_key"] = own_key(problems, ("server",), values, names, environ, otherwise)
    for name in names:
        del values[name]
    values["hosts"] = _hosts(problems, ("server", "host"), values.pop("host"))
    values["unix_mode"] = _mode(problems, values["unix_mode"])
    _check_tls(problems, values)
    for index, origin in enumerate(values["cors_origins"]):
        _check_origin(problems, ("server", "cors_origins", index), origin)
    for index, host in enumerate(values["trusted_hosts"]):
        if not is_host(host):
            problems.add(
                ("server", "trusted_hosts", index),
                f"expected a host's name without scheme and port, got {quoted(host)}",
            )
    values["cors_origins"] = tuple(values["cors_origins"])
    values["trusted_hosts"] = tuple(_unbracketed(host) for host in values["trusted_hosts"])
    server = Server(**values)
    asks = table.get("api_key_env") or table.get("api_key_file")
    if not asks and not has_clients:  # a key that is missing has been complained about already
        _check_listening(problems, ("server", "host"), server)
    _warn_of_short_key(problems, server)
    return server, failover


def overridden(
    config: Config, host: str | None = None, port: int | None = None, workers: int | None = None
) -> Config:
    """The configuration with the command line's --host, --port and --workers, checked as the file's are."""
    changes = {"host": host, "port": port, "workers": workers}
    given = {name: value for name, value in changes.items() if value is not None}
    problems = Problems("command line", {})
    values = read(problems, (), given, {name: keys.SERVER[name] for name in changes})
    hosts = _hosts(problems, ("host",), values["host"])
    server = replace(
        config.server,
        hosts=config.server.hosts if host is None else hosts,
        port=config.server.port if port is None else values["port"],
        workers=config.server.workers if workers is None else values["workers"],
    )
    if not config.clients:
        _check_listening(problems, ("host",), server)
    problems.settle()
    return replace(config, server=server)


# --- whom it lets in ------------------------------------------------------------------------------


def _check_listening(problems: Problems, path: Path, server: Server) -> None:
    if server.api_key or server.allow_unauthenticated:
        return
    open_hosts = [host for host in server.hosts if not only_here(host)]
    if open_hosts:
        problems.add(path, f"{quoted(open_hosts[0])} {OPEN}")


def _warn_of_short_key(problems: Problems, server: Server) -> None:
    """Nobody counts wrong keys: what other machines may try must be too long to be guessed."""
    if server.api_key is None or all(map(only_here, server.hosts)):
        return
    if len(server.api_key.reveal()) < SHORTEST_KEY:
        words = "other machines can try keys, and this one is short: openssl rand -hex 32"
        problems.warn(("server", "api_key_env"), words)


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


# --- where it listens -----------------------------------------------------------------------------


def _hosts(problems: Problems, path: Path, given: str | list[str] | None) -> tuple[str, ...]:
    """The addresses to listen on, IPv6 ones without their brackets."""
    if given is None:
        return ()
    if isinstance(given, str):
        return (_bare_host(problems, path, given),)
    bare = [_bare_host(problems, (*path, index), each) for index, each in enumerate(given)]
    if len(set(bare)) < len(given):
        problems.add(path, "names the same address twice")
    return tuple(bare)


def _bare_host(problems: Problems, path: Path, host: str) -> str:
    """A wrong one is complained about once, and the default goes on."""
    if host.startswith(UNIX):
        if FilePath(host.removeprefix(UNIX)).is_absolute():
            return host
        problems.add(path, f'expected "unix:/absolute/path.sock", got {quoted(host)}')
    elif not is_host(host):
        problems.add(path, f"expected an address or a host's name, got {quoted(host)}")
    else:
        return _unbracketed(host)
    return str(keys.SERVER["host"].default)


def is_host(text: str) -> bool:
    """A name, or an address; no port, no scheme."""
    try:
        ipaddress.ip_address(_unbracketed(text))
    except ValueError:
        return _NAME.match(text) is not None
    return True


def _unbracketed(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def only_here(host: str) -> bool:
    """Whether only this machine can reach a listener there."""
    return host.startswith(UNIX) or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether this is an address of this machine that no other machine can reach."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _mode(problems: Problems, text: str) -> int:
    if not _MODE.match(text):
        problems.add(("server", "unix_mode"), f'expected a mode like "0660", got {quoted(text)}')
        return 0o600
    return int(text, 8)


def _check_tls(problems: Problems, values: Mapping[str, Any]) -> None:
    """Files that can be read; what is in them is looked at when the sockets are opened."""
    cert, key, client_ca = (values[name] for name in _FILES)
    if bool(cert) != bool(key):
        missing = "tls_key" if cert else "tls_cert"
        problems.add(("server", missing), "tls_cert and tls_key go together")
    if client_ca and not cert:
        problems.add(("server", "tls_client_ca"), "goes with tls_cert and tls_key")
    for name in _FILES:
        try:
            if values[name]:
                FilePath(values[name]).open("rb").close()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            problems.add(("server", name), f"{quoted(values[name])} cannot be read: {why}")
