"""Tool-call ids and tool names that are legal where they go, and the way back.

Owns: which ids and names each format takes, and what an illegal one becomes.
Refuses to know: messages. `history` applies this to a conversation.

Laws:
1. What is legal stays as it is. What is not is mapped by a hash of itself: no state is needed, and
   the same history gives the same bytes on every turn (prompt caches hang on that).
2. Two different names never become one; every name has a way back.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formats.canonical import Request


class IdRule(NamedTuple):
    """pattern must match a whole id; limit is its greatest length."""

    pattern: re.Pattern[str]
    limit: int


OPENAI = IdRule(re.compile(r"[!-~]+"), 40)
RESPONSES = IdRule(re.compile(r"[!-~]+"), 64)
ANTHROPIC = IdRule(re.compile(r"[A-Za-z0-9_-]+"), 64)
OLLAMA = IdRule(re.compile(r".+", re.DOTALL), 1 << 30)


class NameRule(NamedTuple):
    """pattern must match a whole tool name; limit is its greatest length."""

    pattern: re.Pattern[str]
    limit: int


OPENAI_NAMES = NameRule(re.compile(r"[A-Za-z0-9_-]{1,64}"), 64)
ANTHROPIC_NAMES = NameRule(re.compile(r"[A-Za-z0-9_-]{1,128}"), 128)
OLLAMA_NAMES = NameRule(re.compile(r".+", re.DOTALL), 1 << 30)
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")


def digest(text: str, length: int) -> str:
    """The first hex digits of a text's SHA-256; lone surrogates are as good as any character."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def is_legal(id: str, rule: IdRule) -> bool:  # noqa: A002
    return len(id) <= rule.limit and rule.pattern.fullmatch(id) is not None


def legal_id(id: str, rule: IdRule) -> str:  # noqa: A002
    """The id itself where it is legal, else one derived from it, legal everywhere."""
    return id if is_legal(id, rule) else "call_" + digest(id, 24)


def minted_id(seed: str, ordinal: int) -> str:
    """An id for a new answer's call that came without one. seed: the answer's own random id."""
    return "call_" + digest(f"{seed}/{ordinal}", 24)


class NameMap:
    """One request's tool names, mapped to what the target takes, and back."""

    __slots__ = ("_back", "_rule", "_there")

    def __init__(self, rule: NameRule, names: Iterable[str] = ()) -> None:
        self._rule = rule
        self._there: dict[str, str] = {}
        self._back: dict[str, str] = {}
        names = list(names)
        for name in names:  # legal names first: they keep themselves, whatever the others become
            if rule.pattern.fullmatch(name):
                self._add(name, name)
        for name in names:
            self.to_wire(name)

    def to_wire(self, name: str) -> str:
        """The name to send. One that was not announced is mapped on the spot."""
        known = self._there.get(name)
        return known if known is not None else self._add(name, self._mapped(name))

    def from_wire(self, name: str) -> str:
        """The client's name for one that an upstream used; an unknown one stays as it is."""
        return self._back.get(name, name)

    @property
    def changed(self) -> dict[str, str]:
        """Only the names that had to change: theirs -> ours."""
        return {name: wire for name, wire in self._there.items() if name != wire}

    def _add(self, name: str, wire: str) -> str:
        self._there[name] = wire
        self._back[wire] = name
        return wire

    def _mapped(self, name: str) -> str:
        if self._rule.pattern.fullmatch(name) and name not in self._back:
            return name
        clean = _ILLEGAL.sub("_", name)
        if clean and len(clean) <= self._rule.limit and clean not in self._back:
            return clean
        salt = 0
        while True:
            tail = "_" + digest(name if not salt else f"{name}\0{salt}", 6)
            wire = clean[: self._rule.limit - len(tail)] + tail
            if wire not in self._back:
                return wire
            salt += 1


class ClientNames:
    """The way back from a name that an upstream's format had to change to the client's own."""

    __slots__ = ("_known", "_maps")

    def __init__(self, request: Request | None) -> None:
        names = [tool.name for tool in request.tools] if request is not None else []
        self._known = frozenset(names)
        rules = (OPENAI_NAMES, ANTHROPIC_NAMES, OLLAMA_NAMES)
        # Names that are legal everywhere, as most are, need no maps.
        odd = any(not OPENAI_NAMES.pattern.fullmatch(name) for name in names)
        self._maps = tuple(NameMap(rule, names) for rule in rules) if odd else ()

    def client_name(self, name: str) -> str:
        if name not in self._known:
            for names in self._maps:
                if (mine := names.from_wire(name)) != name:
                    return mine
        return name
