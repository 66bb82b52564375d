"""A short question to a provider, outside of any chat: its models, what is loaded, one model.

Owns: one GET or POST that is answered by one JSON object, under its own clocks and limits.
Refuses to know: what is asked and what the answer means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats.jsontext import dump, loads
from llmrouterd.edge.deadline import Deadline
from llmrouterd.model import Clocks
from llmrouterd.pipeline import headers

if TYPE_CHECKING:
    from llmrouterd.edge.pool import Origin, Pool
    from llmrouterd.model import Provider

JSON = Any
CLOCKS = Clocks(connect_s=3, first_token_s=10, idle_s=10, total_s=20)
_LIMIT = 8 * 1024 * 1024


class Silent(ValueError):
    """Nothing came within the time."""


class Refused(ValueError):
    """An answer with another status than 200."""

    def __init__(self, path: str, status: int) -> None:
        super().__init__(f"{path} answered {status}")
        self.status = status


async def question(
    pool: Pool,
    provider: Provider,
    at: tuple[Origin, str],
    path: str,
    body: JSON = None,
    clocks: Clocks = CLOCKS,
) -> dict[str, JSON]:
    """The JSON object that a provider answers.

    Args:
        at: where its connections go, and what stands before its paths.
        body: sent as JSON by POST; None: a GET.
    Raises: ValueError when it is anything else (Silent, Refused), DialError, FormatError.
    """
    origin, prefix = at
    sent = b"" if body is None else dump(body)
    method = "GET" if body is None else "POST"
    with Deadline(clocks) as deadline:
        async with pool.exchange(
            origin, method, prefix + path, fields(provider), sent, deadline
        ) as exchange:
            data = await exchange.read_all(_LIMIT)
            if exchange.status != 200:
                raise Refused(path.partition("?")[0], exchange.status)
            return _object(data)
    raise Silent(f"no answer within {deadline.expired_s:g} s")


def fields(provider: Provider) -> list[tuple[str, str]]:
    """What such a request needs besides its body: the credential, and the owner's own headers."""
    fields = [("accept", "application/json"), ("content-type", "application/json")]
    if provider.format == "anthropic":
        fields.append(("anthropic-version", "2023-06-01"))
    if provider.key is not None:
        fields.append(headers.credential(provider))
        if provider.format == "anthropic" and headers.is_oauth(provider):
            fields.append(("anthropic-beta", headers.OAUTH))
    given = {name.lower() for name, _ in provider.headers}
    return [f for f in fields if f[0] not in given] + list(provider.headers)


def _object(data: bytes) -> dict[str, JSON]:
    value = loads(data.decode("utf-8", "replace"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
