"""What there is to read in a request or an answer, for those who look at texts.

Owns: which parts hold text, in what order, and cutting a long one into pieces.
Refuses to know: what is looked for.

Laws:
1. Everything that people and tools wrote is read: messages, reasoning, calls with their arguments,
   results, text documents. Pictures, sounds and PDF are not, nor what tools there are.
2. Arguments are read as the values they are, not as the JSON in which they travel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from formats.canonical import Document, Opaque, Part, Text, Thought, ToolResult, ToolUse

if TYPE_CHECKING:
    from collections.abc import Collection

    from formats.canonical import Message, Request, Response

PIECE = 16384  # characters read in one go
_OVERLAP = 512  # what stands on a cut is seen in both pieces
_BACK = 4096  # how far before its end a piece may end, for the sake of a line's end


def texts(request: Request, roles: Collection[str] = ()) -> Iterator[str]:
    """All texts of the conversation; of these roles, or of all."""
    for message in request.messages:
        if not roles or message.role in roles:
            yield from texts_of(message.parts)


def texts_of(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        match part:
            case Text() | Thought():
                yield part.text
            case Document():
                yield from (each for each in (part.name, part.context, part.text) if each)
            case ToolUse():
                yield from [part.arguments] if part.input is None else _strings(part.input)
            case ToolResult():
                yield from texts_of(part.parts)
            case Opaque():
                yield from _strings(part.value)
            case _:
                pass


def spoken(parts: Iterable[Part]) -> Iterator[str]:
    """Only what was said: the texts of messages."""
    return (part.text for part in parts if isinstance(part, Text))


def last_said(request: Request, most: int) -> str:
    """What the user said last, with the documents beside it; of a long one the beginning and the
    end."""
    for message in reversed(request.messages):
        if message.role == "user":
            text = "\n".join(each for each in _said_or_shown(message) if each.strip())
            if text:
                return shortened(text, most)
    return ""


def _said_or_shown(message: Message) -> Iterator[str]:
    for part in message.parts:
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, Document):
            yield part.text or part.name or ""


def answered(response: Response) -> Iterator[str]:
    return texts_of(response.parts)


def shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n...\n{text[-half:]}"


def pieces(text: str) -> Iterator[str]:
    """A text in pieces that are read in no time: cut at the end of a line where there is one."""
    start = 0
    while len(text) - start > PIECE:
        line = text.rfind("\n", start + PIECE - _BACK, start + PIECE)
        yield text[start : line + 1 or start + PIECE]
        start = line + 1 or start + PIECE - _OVERLAP
    yield text[start:] if start else text


def _strings(value: Any) -> Iterator[str]:
    """Every text in a value of JSON."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            todo += reversed(list(each.values()))
        elif isinstance(each, list | tuple):
            todo += reversed(each)
