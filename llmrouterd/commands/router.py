"""A running router, as its clients on the command line see it.

Owns: its address and key, short questions, the errors of both in words.
Refuses to know: what is asked and what the answers mean.

Law: the key goes into one header field and nowhere else; it is taken from a file or from the
environment, never from the command line, where every user of the machine could read it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from formats.errors import FormatError
from llmrouterd.config.sockets import on_socket, wrong_socket
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.pool import DialError, Origin, Pool
from llmrouterd.model import Clocks, Secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from llmrouterd.edge.pool import Lease

JSON = Any
KEY_NAMES = ("LLMROUTER_API_KEY", "ROUTER_API_KEY")
BROKEN = (DialError, FormatError)  # what a lost connection looks like
_CLOCKS = Clocks(connect_s=5, first_token_s=10, idle_s=10, total_s=15)
_LIMIT = 16 * 1024 * 1024
_KEY_BYTES = 4096


class WrongUse(Exception):
    """The address or the key cannot be what is meant; the text says why."""


class Refused(Exception):
    """The router answered, and not with what was asked for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Router:
    """Where it is, and how it is asked. `url` is for people."""

    def __init__(self, url: str, key: Secret | None = None, *, ca_file: str = "") -> None:
        self._origin, self._prefix = place(url, ca_file)
        self._key = key
        self._pool = Pool()
        scheme, where = self._origin.scheme, self._origin.authority
        self.url = url if self._origin.unix else f"{scheme}://{where}{self._prefix}"

    def close(self) -> None:
        self._pool.close()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        fields: tuple[tuple[str, str], ...] = (),
        deadline: Deadline | None = None,
    ) -> Lease:
        """One request, to be entered. Raises there: BROKEN."""
        sent = [*fields]
        if body:
            sent.append(("content-type", "application/json"))
        if self._key is not None:
            sent.append(("authorization", f"Bearer {self._key.reveal()}"))
        target = self._prefix + target
        return self._pool.exchange(self._origin, method, target, sent, body, deadline)

    async def get(self, target: str) -> dict[str, JSON]:
        """The JSON object at a path.

        Raises: Refused, BROKEN, TimeoutError.
        """
        with Deadline(_CLOCKS) as deadline:
            async with self.ask("GET", target, deadline=deadline) as exchange:
                data = await exchange.read_all(_LIMIT)
                if exchange.status != 200:
                    raise Refused(exchange.status, refusal(exchange.status, data))
                return as_object(data)
        raise TimeoutError(f"no answer within {deadline.expired_s:g} s")


def as_object(data: bytes | str) -> dict[str, JSON]:
    """Raises: Refused when it is something else; whatever answers there is no router then."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(200, "what answers there is no router: it sent something else than JSON")
    return value


def refusal(status: int, body: bytes) -> str:
    """An error's own words, and what to do where that is known."""
    if status == 401:
        return f"the router wants a key: set {KEY_NAMES[0]}, or use --key-file"
    if status == 403:
        return "this key may not look on: it takes one with admin = true"
    if status == 404:
        return "there is no event feed: the router has [server] dashboard = false"
    try:
        words = json.loads(body)["error"]
        words = words["message"] if isinstance(words, dict) else words
    except (ValueError, KeyError, TypeError, RecursionError):
        words = ""
    return f"the router answered {status}" + (f": {words}" if words else "")


def place(url: str, ca_file: str = "") -> tuple[Origin, str]:
    """Where connections go, and what stands before all paths.

    Raises: WrongUse.
    """
    socket = on_socket(url)
    if socket is not None:
        if wrong := wrong_socket(url):
            raise WrongUse(f"{url!r} is no address: {wrong}")
        return Origin("http", "localhost", 80, unix=socket[0]), socket[1]
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host or not text.isascii():
        raise WrongUse(f"{url!r} is no address such as http://localhost:8090")
    if parts.username is not None or parts.password is not None:
        raise WrongUse("an address holds no name and no password; the key comes by --key-file")
    if parts.query or parts.fragment:
        raise WrongUse(f"an address ends before its '?' or '#': {parts.scheme}://{parts.netloc}")
    https = parts.scheme == "https"
    port = port if port is not None else 443 if https else 80
    origin = Origin("https" if https else "http", host, port, ca_file)
    return origin, parts.path.rstrip("/")


def key_of(args: argparse.Namespace, environ: Mapping[str, str]) -> Secret | None:
    """The key to show, if there is one.

    Raises: WrongUse.
    """
    if args.key_file is None:
        words = next((environ[name] for name in KEY_NAMES if environ.get(name)), "")
        where = "the key in the environment"
    else:
        words, where = _read(args.key_file), str(args.key_file)
    words = words.strip()
    if any(not "\x20" <= char <= "\xff" or char == "\x7f" for char in words):
        raise WrongUse(f"{where} is no key: a header field cannot carry it")
    if args.key_file is not None and not words:
        raise WrongUse(f"{where}: there is no key in it")
    return Secret(words) if words else None


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_KEY_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "not a text"
        raise WrongUse(f"{path}: {words.lower()}") from None
