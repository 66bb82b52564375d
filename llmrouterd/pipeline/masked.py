"""What an upstream says of a failure, without the credentials it was sent.

Owns: which values are credentials, in which spellings they come back, and what stands in their place.
Refuses to know: what an error means.

Laws:
1. There are servers, and proxies before them, that repeat what they did not accept: in an error's
   body, in an answer with status 200, in a stream. Neither a client nor a log is shown it.
2. A client's own credential that went along is no more for the log than the owner's.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formats.errors import Failure
    from llmrouterd.model import Provider
    from llmrouterd.pipeline.headers import Fields

STARS = "***"
# Fields that hold a credential, as far as their names tell.
_SENSITIVE = re.compile("auth|cookie|key|pass|secret|sign|token")
_SHORTEST = 6  # what is shorter is a word, and masking it would spoil the message


class Mask:
    """For one request to `provider`. login: of a proxy before it. sent: all fields of the request."""

    __slots__ = ("_found",)

    def __init__(self, provider: Provider, login: str | None, sent: Fields | None = None) -> None:
        fields = (*provider.headers, *(sent or ()))
        secrets = [value for name, value in fields if _SENSITIVE.search(name.lower())]
        secrets += [key.reveal() for key in (provider.key, *provider.keys) if key is not None]
        secrets += [login] if login is not None else []
        both = {each for text in secrets for each in (text, text.partition(" ")[2])}  # `Basic abc`
        spelt = {each for text in both if len(text) >= _SHORTEST for each in spellings(text)}
        longest = sorted(spelt, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest))) if longest else None

    def __call__(self, body: bytes) -> bytes:
        if self._found is None:
            return body
        text = body.decode("utf-8", "surrogateescape")
        return self._found.sub(STARS, text).encode("utf-8", "surrogateescape")

    def failure(self, failure: Failure) -> Failure:
        """The same failure, its message and what is kept of the upstream's own words."""
        if self._found is None:
            return failure
        return replace(
            failure,
            message=self._found.sub(STARS, failure.message),
            code=self._value(failure.code),
            native=self._value(failure.native),
            body=None if failure.body is None else self(failure.body),
        )

    def _value(self, value: Any) -> Any:
        """A value of JSON, of the same class."""
        assert self._found is not None
        if isinstance(value, str):
            return self._found.sub(STARS, value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return type(value)({name: self._value(each) for name, each in value.items()})
        return value


def spellings(secret: str) -> Iterable[str]:
    """How a secret may stand in a text: as it is, in JSON by one writer or another, in JSON within
    JSON, in a URL, in a page."""
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    in_json |= {each.replace("/", "\\/") for each in in_json}
    twice = {json.dumps(each)[1:-1] for each in in_json}
    return {secret, *in_json, *twice, quote(secret, safe=""), quote(secret), escape(secret)}
