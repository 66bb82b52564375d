"""What clients do not hand back: the reasoning and the extras of earlier tool calls, by call id.

Owns: remembering them, within bounds, from answers of Chat Completions servers; putting them back
into the history of a client whose own format has no place for them.
Refuses to know: which server insists on them.

Laws:
1. Bounded in number and bytes; the oldest goes first. It lives in memory: what is forgotten is as
   if it had never been.
2. What a client does hand back is never changed or added to.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from formats import ids
from formats.canonical import EMPTY, Message, Thought, ThoughtDelta, ToolStarted, ToolUse
from formats.jsontext import dump
from formats.openai_chat.answer import CARRIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from formats.canonical import Event, Request, Response

    Call = tuple[str, Mapping[str, "JSON"]]  # its id, its extras

JSON = Any
MOST = 4096  # calls
MOST_BYTES = 16 * 1024 * 1024
_LONGEST = 256 * 1024  # characters of one turn's reasoning
_RULES = (ids.ANTHROPIC, ids.OPENAI, ids.RESPONSES)


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
        for call_id, extra in calls:
            kept = {name: extra[name] for name in CARRIED if name in extra}
            if call_id and (thought or kept) and len(thought) <= _LONGEST:
                what = Remembered(thought, kept, len(thought) + len(dump(kept)) + 64)
                for name in {call_id, *(ids.legal_id(call_id, rule) for rule in _RULES)}:
                    self._put(name, what)
                found.append((call_id, kept))
        return found

    def _put(self, name: str, what: Remembered) -> None:
        old = self._calls.pop(name, None)
        self._bytes += what.size - (old.size if old else 0)
        self._calls[name] = what
        while len(self._calls) > self._most or self._bytes > self._most_bytes:
            _, gone = self._calls.popitem(last=False)
            self._bytes -= gone.size

    def filled(self, request: Request) -> Request:
        """The request with what its earlier calls lack, as far as it is known."""
        if not self._calls:
            return request
        messages = tuple(self._message(message) for message in request.messages)
        return request if messages == request.messages else replace(request, messages=messages)

    def _message(self, message: Message) -> Message:
        if message.role != "assistant":
            return message
        found = {
            part.id: known
            for part in message.parts
            if isinstance(part, ToolUse) and (known := self._calls.get(part.id)) is not None
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
        self._calls: list[tuple[str, Mapping[str, JSON]]] = []
        self._thought: list[str] = []
        self._length = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, ThoughtDelta):
            self._length += len(event.text)
            if self._length <= _LONGEST:
                self._thought.append(event.text)
        elif isinstance(event, ToolStarted):
            self._calls.append((event.id, event.extra))

    def end(self) -> None:
        """The answer is complete."""
        if self._length <= _LONGEST:
            self._recall.remember(self._calls, "".join(self._thought))


def hear_whole(recall: Recall, response: Response) -> None:
    """The same, of a whole answer."""
    calls = [(part.id, part.extra) for part in response.parts if isinstance(part, ToolUse)]
    if calls:
        thoughts = (part.text for part in response.parts if isinstance(part, Thought))
        recall.remember(calls, "".join(thoughts))
