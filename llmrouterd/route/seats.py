"""Where a conversation sits: the provider and model that hold its prompt in their cache.

Owns: what tells one conversation from another, and the seats, bounded in number and time.
Refuses to know: rules (rules.py reads the seats), the clock: `now` is an argument.

Law: the same conversation has the same name on every turn; two of them have the same only by chance
that nobody can meet.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from formats.canonical import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Message, Request
    from llmrouterd.model import Headers

Place = tuple[str, str]  # (provider, model)
KEPT_S = 3600.0
MOST = 10_000
# How clients call a conversation by themselves, the surest first.
_FIELDS = ("x-claude-code-session-id", "x-session-affinity", "x-session-id", "session-id")
_HEARD = 20_000  # characters of the beginning: more tells no more


def session_of(request: Request, fields: Mapping[str, str] | Headers, client: str) -> str:
    """A name for the conversation that this request belongs to."""
    beginning = told(request, fields) or _beginning(request)
    return hashlib.sha256(f"{client}\0{beginning}".encode("utf-8", "replace")).hexdigest()[:24]


def told(request: Request, fields: Mapping[str, str] | Headers) -> str | None:
    """What the client itself calls the conversation."""
    named = next((value for name in _FIELDS if (value := fields.get(name))), None)
    return named or request.cache_key or request.user


def _beginning(request: Request) -> str:
    """What stays the same on every turn: the instructions and the first that the user said."""
    texts: list[str] = []
    for message in request.messages:
        texts.append(_text(message))
        if message.role == "user":
            break
    return "\0".join(texts)[:_HEARD]


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


class Seats:
    """Mutable, one per daemon."""

    def __init__(self, *, most: int = MOST, kept_s: float = KEPT_S) -> None:
        self._seats: OrderedDict[str, tuple[Place, float]] = OrderedDict()
        self._most = most
        self._kept_s = kept_s

    def of(self, session: str, now: float) -> Place | None:
        found = self._seats.get(session)
        return found[0] if found is not None and now - found[1] < self._kept_s else None

    def sit(self, session: str, place: Place, now: float) -> None:
        """The conversation was served there. One that has a seat elsewhere keeps it for as long as a
        seat is kept, so that it comes back to its cache when its provider does."""
        known = self._seats.pop(session, None)
        away = known is not None and known[0] != place and now - known[1] < self._kept_s
        self._seats[session] = known if away and known is not None else (place, now)
        if len(self._seats) > self._most:
            self._seats.popitem(last=False)
