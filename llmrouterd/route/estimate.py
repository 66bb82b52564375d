"""How many tokens a prompt will cost, about, without any tokenizer.

Owns: the estimate of a canonical request, the size of an image from its first bytes, and whether a
prompt fits a context.
Refuses to know: models, vendors, real counts (those correct the estimate elsewhere).

Laws:
1. Never an error: what cannot be measured gets its usual size.
2. Cheap: ASCII text costs its length, an image a few bytes of its header, the tools the span they
   take in the client's own body. Nothing big is decoded, copied or written out again.
"""

from __future__ import annotations

import math
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Any

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Request,
    Response,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import FormatError
from formats.jsontext import dumps

MARGIN = 1.1  # an estimate must fit with this to spare

_PROSE = 3.8  # ASCII characters a token
_CODE = 3.2
_JSON = 3.4
_LATIN = 2.2
_PER_CJK = 1.1  # tokens a character
_PER_OTHER = 0.9
_PER_MESSAGE = 4
_PER_TOOL = 12
_IMAGE_UNKNOWN = 1600
_IMAGE_LOW = 85
_IMAGE_EDGE = 1568
_PIXELS = 750
_PAGE = 2000
_BYTES_PER_DOCUMENT_TOKEN = 40
_AUDIO_PER_S = 25
_MP3_BYTES_PER_S = 16000

# Characters by class, counted in bytes of their encodings, because that runs at the speed of C:
# the bytes of UTF-8 that are ASCII, and the upper halves of the units of UTF-16.
_ASCII = bytes(range(0x80))
_LATIN_UPPER = bytes([0x00, 0x01, 0x02, 0x1E])
_CJK_UPPER = bytes([*range(0x2E, 0xA0), *range(0xAC, 0xD8), 0xF9, 0xFA, 0xFF])
_SECOND_UPPER = bytes(range(0xDC, 0xE0))  # the second unit of a pair: its first is counted


def tokens(request: Request) -> int:
    """The estimated prompt tokens of `request`: messages, tools and the schema of the answer."""
    total = _tools(request)
    if request.output is not None and request.output.schema is not None:
        total += _json(request.output.schema)
    asked_last = max((i for i, m in enumerate(request.messages) if m.role == "user"), default=-1)
    for index, message in enumerate(request.messages):
        total += _message(message, thoughts_count=index > asked_last)
    return math.ceil(total)


def answer_tokens(response: Response) -> int:
    """The estimated tokens of an answer, thoughts and calls included."""
    return math.ceil(
        sum(
            text_tokens(part.text) if isinstance(part, Text) else _part(part, _PROSE)
            for part in response.parts
        )
    )


def with_margin(estimate: int) -> int:
    """The estimate with the margin that decisions on fitting add."""
    return math.ceil(estimate * MARGIN)


def fits(estimate: int, context: int) -> bool:
    """True when the prompt should fit; a context of 0 is unknown and fits everything."""
    return context <= 0 or with_margin(estimate) <= context


def text_tokens(text: str, per_token: float = _PROSE) -> float:
    """The estimate for one text; `per_token` is how many ASCII characters make a token."""
    if text.isascii():
        return len(text) / per_token
    rest = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)
    wide = rest.decode("utf-8", "surrogatepass")
    upper = wide.encode("utf-16-le", "surrogatepass")[1::2].translate(None, _SECOND_UPPER)
    beyond_latin = upper.translate(None, _LATIN_UPPER)
    other = len(beyond_latin.translate(None, _CJK_UPPER))
    latin, cjk = len(upper) - len(beyond_latin), len(beyond_latin) - other
    narrow = (len(text) - len(wide)) / per_token
    return narrow + latin / _LATIN + cjk * _PER_CJK + other * _PER_OTHER


# --- parts ----------------------------------------------------------------------------------------


def _message(message: Message, *, thoughts_count: bool) -> float:
    """Thoughts of turns before the last question are not sent again by any server."""
    total = float(_PER_MESSAGE)
    for part in message.parts:
        if isinstance(part, Text):
            total += text_tokens(part.text)
        elif thoughts_count or not isinstance(part, Thought):
            total += _part(part, _PROSE)
    return total


def _part(part: Part, per_token: float) -> float:
    if isinstance(part, Text):
        return text_tokens(part.text, per_token)
    if isinstance(part, ToolResult):
        return sum(_part(inner, _CODE) for inner in part.parts)
    if isinstance(part, ToolUse):
        return text_tokens(part.arguments, _CODE) + text_tokens(part.name)
    if isinstance(part, Thought):
        return text_tokens(part.text)
    if isinstance(part, Image):
        return image_tokens(part)
    if isinstance(part, Document):
        return _document(part)
    if isinstance(part, Audio):
        return _audio(part)
    return _json(part.value)


def _tools(request: Request) -> float:
    if not request.tools:
        return 0.0
    total = float(_PER_TOOL * len(request.tools))
    raw = request.raw
    if raw is not None and "tools" in raw.members:
        _, start, end = raw.members["tools"]
        return total + (end - start) / _JSON
    for tool in request.tools:
        total += text_tokens(tool.description or "", _JSON) + len(tool.name) / _JSON
        total += _json(tool.native or tool.parameters)
    return total


def _json(value: Any) -> float:
    if not value:
        return 0.0
    try:
        return text_tokens(dumps(dict(value)), _JSON)
    except (FormatError, TypeError, ValueError):
        return float(_PER_TOOL)


def _document(document: Document) -> float:
    if document.text is not None:
        return text_tokens(document.text)
    if document.data is not None:
        return len(document.data) * 3 / 4 / _BYTES_PER_DOCUMENT_TOKEN
    return float(_PAGE)


def _audio(audio: Audio) -> float:
    size, rate = len(audio.data) * 3 / 4, 0
    if audio.format.lower() == "wav":
        rate = _little(_bytes_at(audio.data, 28, 4))
    return _AUDIO_PER_S * size / (rate or _MP3_BYTES_PER_S)


# --- images ---------------------------------------------------------------------------------------


def image_tokens(image: Image) -> float:
    """The estimate for one image: by its pixels where its header tells them."""
    if image.detail == "low":
        return float(_IMAGE_LOW)
    size = image_size(image.data) if image.data is not None else None
    if size is None:
        return float(_IMAGE_UNKNOWN)
    width, height = size
    scale = min(1.0, _IMAGE_EDGE / max(width, height))
    return float(math.ceil(width * scale * height * scale / _PIXELS))


def image_size(data: str) -> tuple[int, int] | None:
    """(width, height) of a PNG, JPEG, GIF or WEBP in base64; None when its header does not say."""
    head = _bytes_at(data, 0, 30)
    width = height = 0
    if head.startswith(b"\x89PNG") and head[12:16] == b"IHDR":
        width, height = _big(head[16:20]), _big(head[20:24])
    elif head.startswith((b"GIF87a", b"GIF89a")):
        width, height = _little(head[6:8]), _little(head[8:10])
    elif head.startswith(b"\xff\xd8"):
        width, height = _jpeg_size(data)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) == 30:
        width, height = _webp_size(head)
    return (width, height) if width > 0 and height > 0 else None


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8 ":
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    if kind == b"VP8L":
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    return 0, 0


def _jpeg_size(data: str) -> tuple[int, int]:
    """From segment to segment by their lengths, up to the frame header."""
    at = 2
    for _ in range(256):
        segment = _bytes_at(data, at, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            break
        marker = segment[1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(segment[7:9]), _big(segment[5:7])
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # no length follows
            at += 2
        else:
            at += 2 + max(2, _big(segment[2:4]))
    return 0, 0


def _bytes_at(data: str, start: int, count: int) -> bytes:
    """Bytes of base64 text, decoding only the groups that hold them; short at the end or when the
    text is not plain base64."""
    first, last = start // 3, (start + count + 2) // 3
    chunk = data[first * 4 : last * 4]
    try:
        decoded = a2b_base64(chunk)
    except (Base64Error, ValueError):
        return b""
    return decoded[start - first * 3 :][:count]


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
