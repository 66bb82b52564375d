"""What clients do not hand back: the reasoning and the extras of earlier tool calls, by call.

Owns: remembering them, within bounds, from answers of Chat Completions servers; putting them back
into the history of a client whose own format has no place for them.
Refuses to know: which server insists on them.

Laws:
1. Bounded in number and bytes; the oldest goes first. It lives in memory: what is forgotten is as
   if it had never been.
2. What a client does hand back is never changed or added to.
3. A call is known by its id and its arguments together: some servers give the same ids in every
   conversation, and one's reasoning is nothing for another.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from formats import ids, jsontext
from formats.canonical import (
    EMPTY,
    Message,
    Thought,
    ThoughtDelta,
    ToolDelta,
    ToolStarted,
    ToolUse,
)
from formats.jsontext import dump
from formats.openai_chat.answer import CARRIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from formats.canonical import Event, Request, Response

    Call = tuple[str, Mapping[str, "JSON"]]  # its name (`call_name`), its extras

JSON = Any
MOST = 4096  # calls
MOST_BYTES = 16 * 1024 * 1024
_LONGEST = 256 * 1024  # characters of one turn's reasoning
_RULES = (ids.ANTHROPIC, ids.OPENAI, ids.RESPONSES)


def call_name(call_id: str, arguments: str) -> str:
    """The id, and a print of the arguments where there are any, however they are spelled."""
    try:
        value = jsontext.loads(arguments) if arguments.strip() else {}
    except ValueError:
        value = arguments
    if not call_id or value == {}:
        return call_id
    return f"{call_id}\0{ids.digest(json.dumps(value, sort_keys=True), 16)}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """Of one call. thought: the reasoning of its turn. extra: what its server wants back. size: about
    how many bytes it holds: a server may want a megabyte back."""

    thought: str = ""
    extra: Mapping[str, JSON] = EMPTY
    size: int = 64


class Recall:
    """Of one client. tell: told the calls that an answer had, and the reasoning before them."""

    def __init__(
        self,
        *,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        tell: Callable[[list[Call], str], None] | None = None,
    ) -> None:
        self._tell = tell
        self._calls: OrderedDict[str, Remembered] = OrderedDict()
        self._bytes = 0
        self._most = most
        self._most_bytes = most_bytes

    def __len__(self) -> int:
        return len(self._calls)

    def remember(self, calls: Iterable[Call], thought: str) -> None:
        """The calls of one answer, and the reasoning before them."""
        kept = self.hear(calls, thought)
        if kept and self._tell is not None:
            self._tell(kept, thought)

    def hear(self, calls: Iterable[Call], thought: str) -> list[Call]:
        """The same, of an answer that another process had. Returns what there was to remember."""
        found: list[Call] = []
        for name, extra in calls:
            kept = {key: extra[key] for key in CARRIED if key in extra}
            call_id, *arguments = name.split("\0")
            if call_id and (thought or kept) and len(thought) <= _LONGEST:
                what = Remembered(thought, kept, len(thought) + len(dump(kept)) + 64)
                for legal in {call_id, *(ids.legal_id(call_id, rule) for rule in _RULES)}:
                    self._put("\0".join((legal, *arguments)), what)
                found.append((name, kept))
        return found

    def _put(self, name: str, what: Remembered) -> None:
        old = self._calls.pop(name, None)
        self._bytes += what.size - (old.size if old else 0)
        self._calls[name] = what
        while len(self._calls) > self._most or self._bytes > self._most_bytes:
            _, gone = self._calls.popitem(last=False)
            self._bytes -= gone.size

    def filled(self, request: Request, shown: Request | None = None) -> Request:
        """The request with what its earlier calls lack, as far as it is known. shown: the request as
        its client knows it, where plugins have changed the arguments of calls."""
        if not self._calls:
            return request
        names: dict[str, list[str]] = {}
        for message in (shown or request).messages:
            for part in message.parts:
                if isinstance(part, ToolUse):
                    names.setdefault(part.id, []).append(call_name(part.id, part.arguments))
        messages = tuple(self._message(message, names) for message in request.messages)
        return request if messages == request.messages else replace(request, messages=messages)

    def _message(self, message: Message, names: Mapping[str, list[str]]) -> Message:
        if message.role != "assistant":
            return message
        found = {
            part.id: self._calls[name]
            for part in message.parts
            if isinstance(part, ToolUse)
            for name in names.get(part.id, ())
            if name in self._calls
        }
        if not found:
            return message
        parts = [
            replace(part, extra=found[part.id].extra)
            if isinstance(part, ToolUse) and part.id in found and not part.extra
            else part
            for part in message.parts
        ]
        thought = next(iter(found.values())).thought
        if thought and not any(isinstance(part, Thought) and part.text for part in parts):
            parts.insert(0, Thought(thought))
        return replace(message, parts=tuple(parts))


class Listener:
    """Hears what there is to remember in one answer."""

    def __init__(self, recall: Recall) -> None:
        self._recall = recall
        self._calls: dict[int, tuple[ToolStarted, list[str]]] = {}
        self._thought: list[str] = []
        self._length = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, ThoughtDelta):
            self._length += len(event.text)
            if self._length <= _LONGEST:
                self._thought.append(event.text)
        elif isinstance(event, ToolStarted):
            self._calls[event.part] = (event, [])
        elif isinstance(event, ToolDelta):
            self._length += len(event.fragment)
            if self._length <= _LONGEST and event.part in self._calls:
                self._calls[event.part][1].append(event.fragment)

    def end(self) -> None:
        """The answer is complete."""
        if self._length <= _LONGEST:
            calls = [
                (call_name(begun.id, "".join(arguments)), begun.extra)
                for begun, arguments in self._calls.values()
            ]
            self._recall.remember(calls, "".join(self._thought))


def hear_whole(recall: Recall, response: Response) -> None:
    """The same, of a whole answer."""
    calls = [
        (call_name(part.id, part.arguments), part.extra)
        for part in response.parts
        if isinstance(part, ToolUse)
    ]
    if calls:
        thoughts = (part.text for part in response.parts if isinstance(part, Thought))
        recall.remember(calls, "".join(thoughts))
