"""Asking a running daemon for a JSON object, from a command.

Owns: the key's variable, and the words for what does not answer.
Refuses to know: what is asked; addresses and connections (router.py).
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrouterd.commands.router import Router
    from llmrouterd.model import Secret

JSON = Any
TIMEOUT_S = 30.0
_LIMIT = 16 * 1024 * 1024


class NoAnswerError(Exception):
    """The daemon cannot be asked, or refused. The text says why and what to do. code: what the
    command ends with."""

    code = 1


class WronglyAskedError(NoAnswerError):
    """Nobody was asked: the command line, or the key's variable, is wrong."""

    code = 2


def ask(url: str, path: str, key_env: str, body: JSON = None) -> dict[str, JSON]:
    """GET, or POST with a body as JSON. Raises NoAnswerError."""
    import trio

    from llmrouterd.commands.router import Router, WrongUse

    key = os.environ.get(key_env, "").strip()
    if "://" not in url and not url.startswith("unix:"):
        raise WronglyAskedError(f"--url takes an address such as http://127.0.0.1:8090, not {url}")
    try:
        router = Router(url, _secret(key, key_env))
    except WrongUse as why:
        raise WronglyAskedError(f"--url: {why}") from None
    status, data = trio.run(_asked, router, path, body)
    if status != 200:
        raise NoAnswerError(_refusal(url, status, data, key_env))
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise NoAnswerError(f"no router answers at {url}: what answers there sends no JSON object")
    return told


def _secret(key: str, key_env: str) -> Secret | None:
    from llmrouterd.model import Secret

    if any(not "\x20" <= char <= "\xff" or char == "\x7f" for char in key):
        raise WronglyAskedError(f"what is in {key_env} is no key: a header field cannot carry it")
    return Secret(key) if key else None


async def _asked(router: Router, path: str, body: JSON) -> tuple[int, bytes]:
    """The answer's status and body."""
    from llmrouterd.commands.router import BROKEN
    from llmrouterd.edge.deadline import Deadline
    from llmrouterd.model import Clocks

    sent = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    clocks = Clocks(connect_s=5, first_token_s=TIMEOUT_S, idle_s=TIMEOUT_S, total_s=TIMEOUT_S)
    try:
        with Deadline(clocks) as deadline:
            async with router.ask(method, path, sent, deadline=deadline) as exchange:
                return exchange.status, await exchange.read_all(_LIMIT)
    except BROKEN as error:
        raise NoAnswerError(f"no router answers at {router.url}: {error}") from None
    finally:
        router.close()
    raise NoAnswerError(f"no answer from {router.url} within {deadline.expired_s:g} s")


def _refusal(url: str, status: int, data: bytes, key_env: str) -> str:
    if status == 401:
        return f"{url} answered 401: set {key_env} to its key"
    try:
        said = str(json.loads(data)["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        said = ""
    return f"{url} answered {status}" + (f": {said[:500]}" if said else ": is that the router?")
