"""Where a prompt stopped being the same: from there on a server's prompt cache is of no use.

Owns: the prints of the prompts that each model got last in each conversation, and the first place in
which a new one differs from them.
Refuses to know: who keeps a cache, what a difference costs, the clock: `now` is an argument.

Laws:
1. No word is kept: a print is a number, and means nothing outside of this process.
2. Bounded in conversations, prompts of each, messages of each, and time.
3. A prompt that goes on, or whose last turn was said differently, has not changed: that is what
   conversations do. Two prompts that have nothing in common from the first difference on are two
   conversations.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING

from formats.canonical import Audio, Document, Image, Text, Thought, ToolResult, ToolUse
from llmrouterd.route.seats import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Message, Part, Request
    from llmrouterd.model import Headers

KEPT_S = 3600.0
MOST = 500  # conversations
_PROMPTS = 3  # of one: agents ask on the side, in other words
_MESSAGES = 400
_HEARD = 20_000  # characters of the first question

Prints = array  # one of the tools, then one of each message


def conversation_of(
    request: Request, fields: Mapping[str, str] | Headers, client: str
) -> tuple[str, int]:
    """A name for the conversation that holds when its instructions change, other than a seat's."""
    return client, hash(told(request, fields) or _question(request)[:_HEARD])


def _question(request: Request) -> str:
    users = (m for m in request.messages if m.role == "user")
    first = next(users, None)
    parts = first.parts if first is not None else ()
    return "".join(part.text for part in parts if isinstance(part, Text))


def prints_of(request: Request) -> Prints[int]:
    """Of tools their names and descriptions count, in their order; of messages the words, and not
    the marks that clients move along, nor earlier reasoning, which templates leave out."""
    tools = hash(tuple((tool.name, tool.description) for tool in request.tools))
    return array("q", [tools, *map(_print, request.messages[:_MESSAGES])])


def _print(message: Message) -> int:
    return hash((message.role, *map(_said, message.parts)))


def _said(part: Part) -> object:
    match part:
        case Text():
            return part.text
        case ToolUse():
            return (part.name, part.arguments)
        case ToolResult():
            return tuple(map(_said, part.parts))
        case Image():
            return part.data or part.url or part.file_id
        case Document():
            return part.data or part.text or part.url or part.file_id
        case Audio():
            return part.data
        case Thought():
            return None
        case _:
            return part.type


def place_of(request: Request, at: int) -> str:
    """What stands there, in words."""
    return f"message {at} ({request.messages[at - 1].role})" if at else "its tools"


def differs(old: Prints[int], new: Prints[int]) -> int | None:
    """The first place in which two prompts of one conversation differ; None: they do not, or are not."""
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    if at is None or set(old[at:]).isdisjoint(new[at:]):
        return None
    return at


class Prefixes:
    """Mutable, one per daemon."""

    def __init__(self, *, most: int = MOST, kept_s: float = KEPT_S) -> None:
        self._seen: OrderedDict[object, tuple[float, list[Prints[int]]]] = OrderedDict()
        self._most = most
        self._kept_s = kept_s

    def compared(self, conversation: object, new: Prints[int], now: float) -> int | None:
        """Where the prompt differs from the nearest that went before it; None: it goes on from one,
        or belongs to none. It is the next one's forerunner."""
        since, before = self._seen.pop(conversation, (now, []))
        if now - since >= self._kept_s:
            before = []
        went_on = next((old for old in before if _goes_on(old, new)), None)
        others = [old for old in before if old is not went_on]
        self._seen[conversation] = (now, [new, *others][:_PROMPTS])
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        if went_on is not None:
            return None
        return max((at for old in before if (at := differs(old, new)) is not None), default=None)


def _goes_on(old: Prints[int], new: Prints[int]) -> bool:
    return new[: len(old)] == old or old[: len(new)] == new
