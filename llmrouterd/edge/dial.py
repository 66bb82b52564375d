"""The only door out: every outgoing connection of the daemon is opened here.

Owns: names to addresses, the question to `guard.egress` for each address before it is dialled, the
race between IPv4 and IPv6, proxies, TLS, the receipt that says where the bytes go.
Refuses to know: HTTP beyond a proxy's CONNECT, pools, time (the caller's scope bounds it).

Laws:
1. The address that egress allowed is the address that is connected to: no name is resolved twice.
2. TLS is verified, host name included, against the system's store or the given ca_file; the
   handshake is done before anybody gets the connection.
3. Whatever fails is a DialError that names host and port and never a secret; on any failure and on
   cancellation every socket is closed.
"""

from __future__ import annotations

import base64
import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import trio

from llmrouterd.edge.wire import Broken, PlainWire, StreamWire, tls_wire
from llmrouterd.guard import egress
from llmrouterd.model import Receipt

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from llmrouterd.edge.wire import Wire

HEAD_START_S = 0.25  # RFC 8305's delay before the next address is tried beside the first
_FULL_S = 0.02  # between two tries at a unix socket whose queue is full
MAX_PROXY_HEAD_BYTES = 16384
DialErrorKind = Literal["refused", "dns", "tls", "unreachable", "denied", "proxy"]
# OpenSSL's numbers for a host or address that is not in the certificate, and for an issuer that is
# not known.
_WRONG_NAME = frozenset({62, 64})
_WRONG_ISSUER = frozenset({2, 18, 19, 20, 21})
# What a server that does not speak TLS makes of our first words.
_NO_TLS = ("eof", "wrong version number", "http request", "econnreset")


class DialError(Exception):
    """No connection. `kind` says at which step it failed."""

    def __init__(self, kind: DialErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: DialErrorKind = kind


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests of one kind go; connections to equal origins are interchangeable.

    ca_file: a PEM file to trust instead of the system's store. client_cert, client_key: PEM files of
    what we show when we are asked who we are. proxy: `http://[user:pass@]host:port`
    or "". proxy_loopback: also use it for targets on this host. unix: the path of a socket to
    connect to in place of host and port, which then only stand in the Host header.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    proxy: str = ""
    proxy_loopback: bool = False
    unix: str = ""

    def __repr__(self) -> str:  # the proxy's userinfo is a secret
        return f"<Origin {self.scheme}://{self.where}>"

    @property
    def where(self) -> str:
        """host:port, as it stands in messages."""
        if self.unix:
            return f"{egress.UNIX}{self.unix}"
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        usual = 443 if self.scheme == "https" else 80
        return bracketed(self.host) if self.port == usual else self.where

    @property
    def proxied(self) -> bool:
        """Whether the proxy is really used for this target."""
        return bool(self.proxy and not self.unix) and (
            self.proxy_loopback or not _on_this_host(self.host)
        )


class TLSContexts:
    """The daemon's client contexts, one for each set of files, made when first needed and again when
    one of the files has changed.

    `ssl` is imported then, too: a daemon with plain local servers never loads it.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[_Files, tuple[_Stamp, ssl.SSLContext]] = {}

    def get(self, ca_file: str, client_cert: str = "", client_key: str = "") -> ssl.SSLContext:
        """
        Raises:
            DialError: a file cannot be used.
        """
        files = (ca_file, client_cert, client_key)
        stamp = _stamp(files)
        made = self._made.get(files)
        if made is None or made[0] != stamp:
            made = self._made[files] = (stamp, _context(*files))
        return made[1]


_Files = tuple[str, str, str]
_Stamp = tuple[float, ...]


def _stamp(files: _Files) -> _Stamp:
    """Changes when a file does. A file that is missing is found out when it is read."""
    return tuple(_changed_at(name) for name in files if name)


def _changed_at(name: str) -> float:
    try:
        return Path(name).stat().st_mtime
    except OSError:
        return 0.0


def _context(ca_file: str, client_cert: str, client_key: str) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as exc:  # ssl.SSLError is one
        raise DialError("tls", f"ca_file {ca_file} cannot be used: {exc}") from exc
    if client_cert:
        try:
            context.load_cert_chain(client_cert, client_key, password=_no_password)
        except (OSError, ValueError) as exc:
            raise DialError("tls", f"client_cert {client_cert} cannot be used: {exc}") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """OpenSSL would ask a terminal that a daemon has not."""
    raise ValueError("its key is encrypted")


async def dial(
    origin: Origin, *, contexts: TLSContexts, label: egress.Label | None = None
) -> tuple[Wire, Receipt]:
    """Connect to `origin`, through its proxy if it has one that applies.

    Returns: the connection, its TLS handshake done, and the receipt.
    Raises: DialError.
    Cancellation: nothing stays open.
    """
    label = label or egress.Label()
    context = None
    if origin.scheme == "https":
        context = contexts.get(origin.ca_file, origin.client_cert, origin.client_key)
    if origin.proxied:
        return await _through_proxy(origin, context, label)
    if origin.unix:
        return await _on_socket(origin.where, origin.unix, label)
    sock, address = await _connect(origin.host, origin.port, label)
    receipt = Receipt(
        address=f"{bracketed(address)}:{origin.port}", left_host=not egress.is_loopback(address)
    )
    if context is None:
        return PlainWire(sock), receipt
    return await _tls(sock, origin, context), receipt


async def _on_socket(where: str, path: str, label: egress.Label) -> tuple[Wire, Receipt]:
    if not egress.may(label, where):
        raise DialError("denied", f"{where} is on this machine, and the request may not reach it")
    try:
        sock = await _connected(socket.AF_UNIX, socket.SOCK_STREAM, 0, path)
    except OSError as exc:
        raise _no_socket(where, exc) from exc
    return PlainWire(sock), Receipt(address=where, left_host=False)


def _no_socket(where: str, exc: OSError) -> DialError:
    if exc.errno == errno.ECONNREFUSED:
        return DialError("refused", f"{where} refused the connection: nothing listens there")
    if exc.errno == errno.ENOENT:
        return DialError("refused", f"{where} is not there: the server has not made it")
    if exc.errno == errno.EACCES:
        return DialError("unreachable", f"{where} may not be opened by this user")
    return DialError("unreachable", f"{where} cannot be reached ({_words(exc)})")


def proxy_authorization(origin: Origin) -> str | None:
    """The Proxy-Authorization value for this origin's proxy, when its URL holds userinfo."""
    parts = urlsplit(origin.proxy)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def bracketed(host: str) -> str:
    """An IPv6 address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


# --- addresses ------------------------------------------------------------------------------------


async def _connect(host: str, port: int, label: egress.Label) -> tuple[socket.socket, str]:
    """A connected socket and the address it is connected to."""
    where = f"{bracketed(host)}:{port}"
    if label.nowhere:  # to look a name up tells somebody of it, too
        raise DialError("denied", f"{where} is not on this network, and the request must stay here")
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:  # gaierror is an OSError; UnicodeError: not a host name
        raise DialError("dns", f"{where}: the name cannot be resolved ({_words(exc)})") from exc
    allowed = [info for info in found if egress.may(label, str(info[4][0]))]
    if not allowed:
        raise DialError("denied", f"{where} is not on this network, and the request must stay here")
    race = _Race(_interleaved(allowed))
    sock, address = await race.run()
    if sock is not None:
        return sock, address
    raise _as_dial_error(where, race.errors)


def _interleaved(
    infos: Sequence[tuple[int, int, int, str, tuple[str | int | bytes, ...]]],
) -> list[tuple[int, int, int, str, tuple[str | int | bytes, ...]]]:
    """In the resolver's order, but the families in turn: a dead IPv6 costs one head start."""
    first = [info for info in infos if info[0] == infos[0][0]]
    other = [info for info in infos if info[0] != infos[0][0]]
    out = []
    while first or other:
        if first:
            out.append(first.pop(0))
        first, other = (other, first) if other else (first, other)
    return out


class _Race:
    """Happy eyeballs: attempts start one after another, the first connected socket wins."""

    def __init__(
        self, infos: list[tuple[int, int, int, str, tuple[str | int | bytes, ...]]]
    ) -> None:
        self._infos = infos
        self._won: tuple[socket.socket, str] | None = None
        self.errors: list[OSError] = []

    async def run(self) -> tuple[socket.socket | None, str]:
        if len(self._infos) == 1:
            await self._attempt(self._infos[0])
            return self._won or (None, "")
        try:
            async with trio.open_nursery() as nursery:
                for info in self._infos:
                    failed = trio.Event()
                    nursery.start_soon(self._contender, info, failed, nursery.cancel_scope)
                    with trio.move_on_after(HEAD_START_S):
                        await failed.wait()
        except BaseException:
            if self._won is not None:
                self._won[0].close()
            raise
        return self._won or (None, "")

    async def _contender(
        self,
        info: tuple[int, int, int, str, tuple[str | int | bytes, ...]],
        failed: trio.Event,
        race: trio.CancelScope,
    ) -> None:
        await self._attempt(info)
        if self._won is not None:
            race.cancel()
        failed.set()

    async def _attempt(
        self, info: tuple[int, int, int, str, tuple[str | int | bytes, ...]]
    ) -> None:
        family, kind, proto, _, address = info
        try:
            sock = await _connected(family, kind, proto, address)
        except OSError as exc:
            self.errors.append(exc)
            return
        if self._won is None:
            self._won = sock, str(address[0])
        else:
            sock.close()


async def _connected(
    family: int, kind: int, proto: int, address: tuple[str | int | bytes, ...] | str
) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)
        while family == socket.AF_UNIX and code == errno.EAGAIN:
            await trio.sleep(
                _FULL_S
            )  # its queue is full, and the kernel does not say when it is not
            code = sock.connect_ex(address)
        if code in (errno.EINPROGRESS, errno.EAGAIN):
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, str(code)))
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise
    return sock


def _as_dial_error(where: str, errors: list[OSError]) -> DialError:
    """One word for why none of the addresses took us: the first address counts most."""
    if any(exc.errno == errno.ECONNREFUSED for exc in errors):
        return DialError("refused", f"{where} refused the connection: nothing listens there")
    exc = errors[0]
    return DialError("unreachable", f"{where} cannot be reached ({_words(exc)})")


def _words(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.errno and not isinstance(exc, socket.gaierror):
        return errno.errorcode.get(exc.errno, str(exc.errno))
    return str(exc.args[-1]) if exc.args else type(exc).__name__


def _on_this_host(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost") or egress.is_loopback(host)


# --- TLS and proxies ------------------------------------------------------------------------------


async def _tls(sock: socket.socket, origin: Origin, context: ssl.SSLContext) -> StreamWire:
    try:
        return await tls_wire(sock, context, server_hostname=origin.host)
    except Broken as exc:
        cause = exc.__cause__ and exc.__cause__.__cause__
        words = _tls_words(cause or exc, origin)
        raise DialError("tls", f"TLS with {origin.where} failed: {words}") from exc


def _tls_words(cause: BaseException, origin: Origin) -> str:
    """What was wrong in a handshake, and what the owner can do about it."""
    import ssl

    if not isinstance(cause, ssl.SSLCertVerificationError):
        words = str(getattr(cause, "reason", None) or _words(cause)).replace("_", " ").lower()
        doubtful = any(sign in words for sign in _NO_TLS)
        return f"{words} (does it speak https at this port?)" if doubtful else words
    words = cause.verify_message.rstrip(".").lower()
    if cause.verify_code in _WRONG_NAME:
        return f"{words} (base_url must use a name that the certificate holds)"
    if cause.verify_code not in _WRONG_ISSUER:
        return words
    if origin.ca_file:
        return f"{words} (the CA of this server is not in {origin.ca_file})"
    return f"{words} (if the CA is your own, name its file in ca_file)"


async def _through_proxy(
    origin: Origin, context: ssl.SSLContext | None, label: egress.Label
) -> tuple[Wire, Receipt]:
    """Plain HTTP is asked of the proxy in absolute form (by the pool); TLS goes through CONNECT."""
    if label.binds:  # what the proxy really dials cannot be seen from here
        raise DialError(
            "denied", f"{origin.where} is behind a proxy, and the request must stay here"
        )
    host, port = proxy_address(origin)
    try:
        sock, address = await _connect(host, port, label)
    except DialError as exc:
        raise DialError("proxy", f"the proxy for {origin.where}: {exc}") from exc
    receipt = Receipt(address=f"{bracketed(address)}:{port}", left_host=True)
    wire = PlainWire(sock)
    if context is None:
        return wire, receipt
    try:
        await _open_tunnel(wire, origin, f"{bracketed(host)}:{port}")
    except Broken as exc:
        wire.close()
        raise DialError("proxy", f"the proxy broke off the way to {origin.where}: {exc}") from exc
    except BaseException:
        wire.close()
        raise
    return await _tls(sock, origin, context), receipt


def proxy_address(origin: Origin) -> tuple[str, int]:
    """Host and port of its proxy. Raises DialError."""
    parts = urlsplit(origin.proxy)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise DialError("proxy", f"the proxy for {origin.where} must be http://host:port")
    return parts.hostname, port


async def _open_tunnel(wire: PlainWire, origin: Origin, proxy: str) -> None:
    ask = f"CONNECT {origin.where} HTTP/1.1\r\nHost: {origin.where}\r\n"
    login = proxy_authorization(origin)
    if login is not None:
        ask += f"Proxy-Authorization: {login}\r\n"
    await wire.send(f"{ask}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > MAX_PROXY_HEAD_BYTES:
            raise DialError("proxy", f"the proxy {proxy} answered with an endless head")
        data = await wire.receive()
        if not data:
            raise DialError("proxy", f"the proxy {proxy} hung up on CONNECT {origin.where}")
        head += data
    status = head.split(b"\r\n", 1)[0].split(b" ", 2)[1:2]
    if not status or not status[0].startswith(b"2"):
        said = b"".join(status)[:3].decode("latin-1")
        raise DialError("proxy", f"the proxy {proxy} answered {said} to CONNECT {origin.where}")
    if not head.endswith(b"\r\n\r\n"):
        raise DialError("proxy", f"the proxy {proxy} sent bytes into the tunnel to {origin.where}")
