"""Reasoning of one format handed to a client of another, to come back with its next request.

Owns: the router's own token, which stands where a format has a place for a vendor's signature or
encrypted reasoning and the answer came from somebody else.
Refuses to know: the formats that carry it.

Laws:
1. It is read again by this router alone; it is never sent to a vendor. A vendor's own signature is
   never changed: it lies inside, whole.
2. It is never empty and never longer than 64 KiB: what is too long is left out.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from formats import jsontext
from formats.canonical import Thought

JSON = Any

TOKEN_PREFIX: Final = "llmr1."  # noqa: S105
# A whole token stays under 64 KiB: base64 takes 4 bytes for 3.
TOKEN_TEXT_BYTES: Final = 48_000


def write_token(
    origin: str, text: str, signature: str | None = None, redacted: str | None = None
) -> str:
    """A token for reasoning. signature, redacted: what its vendor, who spoke the format `origin`,
    gave with it; neither is good without the whole text, so they go when the text must."""
    value: dict[str, JSON] = {"o": origin, "t": text}
    if signature:
        value["s"] = signature
    if redacted is not None:
        value["r"] = redacted
    body = jsontext.dump(value)
    for less in ({"o": origin, "t": text}, {"o": origin, "t": ""}):
        if len(body) > TOKEN_TEXT_BYTES:
            body = jsontext.dump(less)
    return TOKEN_PREFIX + base64.urlsafe_b64encode(body).decode().rstrip("=")


def read_token(token: str) -> tuple[str, str] | None:
    """(origin, text) of one of our own tokens. None: a vendor's, or a damaged one."""
    thought = read_thought(token)
    return None if thought is None else (thought.origin, thought.text)


def read_thought(token: str) -> Thought | None:
    """The reasoning in one of our own tokens. None: a vendor's, or a damaged one."""
    if not is_token(token):
        return None
    body = token[len(TOKEN_PREFIX) :]
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        value = jsontext.loads(raw.decode())
    except (ValueError, binascii.Error):
        return None
    if type(value) is not dict or type(value.get("t")) is not str:
        return None
    return Thought(
        value["t"],
        signature=_string(value.get("s")),
        redacted=_string(value.get("r")),
        origin=_string(value.get("o")) or "",
    )


def is_token(signature: str) -> bool:
    return signature.startswith(TOKEN_PREFIX)


def _string(value: JSON) -> str | None:
    return value if type(value) is str else None
