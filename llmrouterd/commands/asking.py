"""Asking a running daemon for a JSON object, from a command.

Owns: the address, the key's variable, and the words for what does not answer.
Refuses to know: what is asked.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

JSON = Any
TIMEOUT_S = 30.0


class NoAnswerError(Exception):
    """The daemon cannot be asked, or refused. The text says why and what to do."""


def ask(url: str, path: str, key_env: str, body: JSON = None) -> dict[str, JSON]:
    """GET, or POST with a body as JSON. Raises NoAnswerError."""
    if not url.startswith(("http://", "https://")):
        raise NoAnswerError(f"--url takes an address such as http://127.0.0.1:8090, not {url}")
    fields = {"content-type": "application/json"}
    if key := os.environ.get(key_env, ""):
        fields["x-router-key"] = key
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url.rstrip("/") + path, sent, fields)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            told: dict[str, JSON] = json.load(answer)
            return told
    except urllib.error.HTTPError as error:
        raise NoAnswerError(_refusal(url, error, key_env)) from None
    except (OSError, ValueError) as error:
        raise NoAnswerError(f"no router answers at {url}: {error}") from None


def _refusal(url: str, error: urllib.error.HTTPError, key_env: str) -> str:
    if error.code == 401:
        return f"{url} answered 401: set {key_env} to its key"
    try:
        said = json.load(error)["error"]["message"]
    except (OSError, ValueError, LookupError, TypeError):
        said = error.reason
    return f"{url} answered {error.code}: {str(said)[:500]}"
