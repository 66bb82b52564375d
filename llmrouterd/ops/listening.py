"""From a configuration to listening sockets: its own, or those that systemd holds.

Owns: which listeners there are, TLS on them, and the words for what cannot be bound.
Refuses to know: what is served on them.

Laws:
1. All or nothing: on an error nothing stays bound.
2. Sockets that were handed down are used in place of the configuration's, and the same rule holds
   for them: what other machines can reach asks for a key.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from llmrouterd.config.server import OPEN, UNIX, is_loopback
from llmrouterd.edge.listen import Listener, bind_tcp, bind_unix
from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import MutableMapping, Sequence

    from llmrouterd.config import Config, Server

_FIRST = 3  # the first descriptor that is handed down, as sd_listen_fds(3) has it


class NotListeningError(ConfigError):
    """The address is not to be had as things are: nothing need be wrong with the configuration."""


def listeners(config: Config, given: Sequence[socket.socket] = ()) -> list[Listener]:
    """The configuration's listeners, or `given` in their place. Raises ConfigError, of which
    NotListeningError is one."""
    tls = server_context(config.server)
    if given:
        return _given(config, given, tls)
    found: list[Listener] = []
    try:
        for host in config.server.hosts:
            found += _bound(config.server, host, _port(config.server, found), tls)
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def _port(server: Server, found: Sequence[Listener]) -> int:
    """Port 0 is any free one, the same for all addresses."""
    ports = [listener.port for listener in found if listener.port]
    return server.port or (ports[0] if ports else 0)


def _bound(server: Server, host: str, port: int, tls: ssl.SSLContext | None) -> list[Listener]:
    try:
        if host.startswith(UNIX):
            return [bind_unix(host.removeprefix(UNIX), server.unix_mode)]
        return bind_tcp(host, port, tls=tls)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        where = host if host.startswith(UNIX) else f"{host}:{port}"
        other = "; another program listens there"
        hint = "" if host.startswith(UNIX) else " (--port takes another one)"
        in_use = error.errno == errno.EADDRINUSE
        text = f"cannot listen on {where}: {why}"
        raise NotListeningError([text + (other + hint if in_use else "")]) from error


# --- handed down ----------------------------------------------------------------------------------


def handed_down(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd, or whoever speaks its language, has opened for this process. Its
    variables are taken out of the environment: children have no such sockets."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for number in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(number, False)
        found.append(socket.socket(fileno=number))
    return found


def _given(
    config: Config, given: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> list[Listener]:
    out = []
    for sock in given:
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            raise ConfigError([f"descriptor {sock.fileno()}, handed down, is no listening socket"])
        sock.setblocking(False)
        unix = sock.family == socket.AF_UNIX
        out.append(Listener(sock, None if unix else tls))
        _check_open(config, out[-1], unix=unix)
    return out


def _check_open(config: Config, listener: Listener, *, unix: bool) -> None:
    server = config.server
    if unix or server.api_key or server.allow_unauthenticated or config.clients:
        return
    if not is_loopback(str(listener.sock.getsockname()[0])):
        raise ConfigError([f"{listener.address}, handed down by systemd, {OPEN}"])


# --- TLS ------------------------------------------------------------------------------------------


def server_context(server: Server) -> ssl.SSLContext | None:
    """What HTTPS is served with; None: plain HTTP. Raises ConfigError."""
    if not server.tls_cert:
        return None
    import ssl  # a daemon without TLS never loads it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key, password=_no_password)
    except (OSError, ValueError) as error:
        words = f"{server.tls_cert} and {server.tls_key} are no certificate with its key"
        raise ConfigError([f"server.tls_cert: {words}: {error}"]) from error
    if server.tls_client_ca:
        try:
            context.load_verify_locations(server.tls_client_ca)
        except (OSError, ValueError) as error:
            words = f"{server.tls_client_ca} holds no certificates: {error}"
            raise ConfigError([f"server.tls_client_ca: {words}"]) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    """OpenSSL would ask a terminal that a daemon has not."""
    raise ValueError("the key is encrypted, and a daemon cannot ask for its password")
