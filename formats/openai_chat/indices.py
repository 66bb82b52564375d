"""Calls whose server gives them all the same place, put apart on their way to a client.

Owns: which index a piece of a tool call has for the client of a stream that passes.
Refuses to know: bytes, arguments, other parts of a chunk.

Ollama's /v1 has numbered every call 0, and others leave the number out. The official libraries join
what has one index, so that two calls become one with arguments that nobody can read.

Laws:
1. Where the upstream's numbers are right, nothing is changed.
2. A piece with another id than the one before it at the same place begins a call of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import JSON


class Indices:
    """Of one stream; kept for each choice by its own index."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[object, _Choice] = {}

    def repaired(self, chunk: dict[str, JSON]) -> bool:
        """Put the calls of a chunk in their places. True: something in it was changed."""
        changed = False
        choices = chunk.get("choices")
        for choice in choices if type(choices) is list else ():
            delta = choice.get("delta") if type(choice) is dict else None
            calls = delta.get("tool_calls") if type(delta) is dict else None
            if type(calls) is not list:
                continue
            known = self._choices.setdefault(_key(choice.get("index")), _Choice())
            for call in calls:
                if type(call) is dict:
                    changed = known.put(call) or changed
        return changed


class _Choice:
    """at: the upstream's index -> the client's; ids: the client's index -> the call's id."""

    __slots__ = ("at", "ids")

    def __init__(self) -> None:
        self.at: dict[object, int] = {}
        self.ids: dict[int, str] = {}

    def put(self, call: dict[str, JSON]) -> bool:
        said, call_id = call.get("index"), call.get("id")
        place = self.at.get(_key(said))
        known = self.ids.get(place, call_id) if place is not None else None
        if place is None or (call_id and known != call_id):
            place = self._free(said)
            self.at[_key(said)] = place
        if isinstance(call_id, str) and call_id:
            self.ids[place] = call_id
        if said == place and type(said) is int:
            return False
        call["index"] = place
        return True

    def _free(self, said: JSON) -> int:
        """The place that was asked for, or the next one if that is taken or none."""
        taken = self.at.values()
        if type(said) is int and said >= 0 and said not in taken and said not in self.ids:
            return said
        return max((*taken, *self.ids), default=-1) + 1


def _key(said: JSON) -> object:
    """What cannot be a key counts as not said."""
    return said if isinstance(said, int | str) else None
