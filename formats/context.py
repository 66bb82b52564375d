"""A conversation as a list of numbers: a `context` of our own for /api/generate.

Owns: packing the conversation so far into whole numbers, and reading it back when a client sends
them with its next prompt: a router without state goes on with it at any upstream.
Refuses to know: token ids, which is what a real server's numbers are; requests and answers.

Laws:
1. The first two numbers tell ours from token ids: no model has as many tokens. All fit into 24
   bits, which every client's integers hold.
2. What comes back is a stranger's word: nothing is unpacked beyond LIMIT, and what `packed` would
   not have written is Invalid.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from formats.canonical import JSON, Audio, Image, Message, Role, Text
from formats.check import a_list
from formats.errors import FormatError, Invalid
from formats.history import joined_text
from formats.jsontext import dump, loads
from formats.ollama.parse import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIMIT: Final = 64 * 1024  # bytes of JSON
_MAGIC: Final = [0x6C6C6D, 0x72746E]
_VERSION: Final = 1
_WIDTH: Final = 3  # bytes in a number
_HEAD: Final = 4  # the magic, the version, the number of bytes
_LETTERS: Final[Mapping[Role, str]] = {"system": "s", "user": "u", "assistant": "a"}
_ROLES: Final[Mapping[str, Role]] = {letter: role for role, letter in _LETTERS.items()}


def packed(messages: Sequence[Message]) -> list[int] | None:
    """The numbers of a conversation; None for one that is too long, or holds more than texts,
    images and sounds."""
    entries = [_entry(message) for message in messages]
    if None in entries:
        return None
    text = dump([entry for entry in entries if entry != []])
    if len(text) > LIMIT:
        return None
    data = zlib.compress(text)
    padded = data + bytes(-len(data) % _WIDTH)
    numbers = [
        int.from_bytes(padded[at : at + _WIDTH], "big") for at in range(0, len(padded), _WIDTH)
    ]
    return [*_MAGIC, _VERSION, len(data), *numbers]


def _entry(message: Message) -> list[JSON] | None:
    """A message as [letter, text] or [letter, text, media]; [] when it says nothing."""
    letter = _LETTERS.get(message.role)
    media: list[str] = []
    for part in message.parts:
        if isinstance(part, Image | Audio) and part.data is not None:
            media.append(part.data)
        elif not isinstance(part, Text):
            return None
    if letter is None:
        return None
    text = joined_text(message.parts, role=message.role)
    if media:
        return [letter, text, media]
    return [letter, text] if text else []


def is_ours(numbers: Sequence[int]) -> bool:
    return list(numbers[:2]) == _MAGIC


def unpacked(numbers: Sequence[int]) -> tuple[Message, ...]:
    """The conversation that ours hold. Raises Invalid."""
    if len(numbers) < _HEAD or numbers[2] != _VERSION:
        raise _broken()
    size, body = numbers[3], numbers[_HEAD:]
    if not 0 < size <= len(body) * _WIDTH < size + _WIDTH:
        raise _broken()
    try:
        data = b"".join([number.to_bytes(_WIDTH, "big") for number in body])[:size]
        entries = a_list(loads(_inflated(data).decode()), "context")
        return tuple([_message(a_list(entry, "context")) for entry in entries])
    except (ValueError, TypeError, KeyError, OverflowError, zlib.error, FormatError):
        raise _broken() from None


def _broken() -> Invalid:
    return Invalid("context", "this is neither token ids nor a conversation that was given out")


def _inflated(data: bytes) -> bytes:
    reader = zlib.decompressobj()
    text = reader.decompress(data, LIMIT + 1)
    if not reader.eof or reader.unused_data or len(text) > LIMIT:
        raise ValueError("not what was packed")
    return text


def _message(entry: list[JSON]) -> Message:
    letter, text, *more = entry
    if type(text) is not str or len(more) > 1:
        raise TypeError("not what was packed")
    reader = Reader()
    images = a_list(more[0], "context") if more else []
    media = [reader.media(image, "context") for image in images]
    return Message(_ROLES[letter], (Text(text), *media) if text else tuple(media))
