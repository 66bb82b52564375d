"""JSON text in and out, exactly.

Owns: reading a JSON object with the places of its top-level members, changing single members of
the original text, and writing JSON that any UTF-8 reader accepts.
Refuses to know: what the members mean.

Laws:
1. Never RecursionError, UnicodeError or ValueError: a bad text is `Invalid`, with its reason.
2. A spliced text equals the original outside the edited members, to the character: number text,
   key order, escapes and white space survive (prompt caches and signatures depend on it).
3. What is written is strict JSON: no NaN, and lone surrogates are escaped, never sent raw.
"""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from formats.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

JSON = Any
_SPACE = re.compile(r"[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"' + _COLON.pattern)
_TOO_DEEP = "the JSON is nested too deeply"


def _no_constant(text: str) -> JSON:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    """1e999 is legal JSON and infinity to Python, which then could not be written again."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ASCII = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> JSON:
    """Parse JSON text. Raises ValueError on anything wrong, too deep nesting included."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def dumps(value: JSON) -> str:
    """Compact JSON text; non-ASCII as it is unless it could not be encoded as UTF-8."""
    try:
        text = _COMPACT.encode(value)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return _ASCII.encode(value)
    except RecursionError:
        raise Invalid("", _TOO_DEEP) from None
    return text


def dump(value: JSON) -> bytes:
    """Compact JSON as UTF-8 bytes."""
    try:
        return _COMPACT.encode(value).encode()
    except UnicodeEncodeError:
        return _ASCII.encode(value).encode()
    except RecursionError:
        raise Invalid("", _TOO_DEEP) from None


def dump_ascii(value: JSON) -> bytes:
    """Compact JSON in ASCII only: for readers that split lines at U+2028, U+2029 or U+0085."""
    try:
        return _ASCII.encode(value).encode()
    except RecursionError:
        raise Invalid("", _TOO_DEEP) from None


class RawBody:
    """A JSON object as it was sent: its text, its value, and where each top-level member stands.

    members: name -> (start of the key, start of the value, end of the value), offsets into `text`.
    """

    __slots__ = ("members", "text", "value")

    def __init__(
        self, text: str, value: dict[str, JSON], members: dict[str, tuple[int, int, int]]
    ) -> None:
        self.text = text
        self.value = value
        self.members = members

    def spliced(self, edits: Mapping[str, JSON], remove: Collection[str] = ()) -> bytes:
        """The original text with `edits` (name -> new value; a new name is appended) applied and
        the members in `remove` taken out. Members that are neither stay to the character; the
        white space between members stays too, unless one is taken out."""
        if any(name in self.members for name in remove):
            return self._rebuilt(edits, remove)
        text, at, out = self.text, 0, []
        spans = [(*self.members[n][1:], v) for n, v in edits.items() if n in self.members]
        for start, end, value in sorted(spans, key=itemgetter(0)):
            out += [text[at:start], dumps(value)]
            at = end
        rest = text[at:]
        added = [f"{dumps(n)}:{dumps(v)}" for n, v in edits.items() if n not in self.members]
        if added:
            close = rest.rindex("}")
            comma = "," if self.members else ""
            rest = rest[:close] + comma + ",".join(added) + rest[close:]
        return "".join([*out, rest]).encode()

    def _rebuilt(self, edits: Mapping[str, JSON], remove: Collection[str]) -> bytes:
        out = []
        for name, (key, start, end) in self.members.items():
            if name in edits:
                out.append(self.text[key:start] + dumps(edits[name]))
            elif name not in remove:
                out.append(self.text[key:end])
        out += [f"{dumps(n)}:{dumps(v)}" for n, v in edits.items() if n not in self.members]
        return ("{" + ",".join(out) + "}").encode()


def parse_body(body: bytes) -> RawBody:
    """Parse a request body that must be one JSON object.

    One pass in C per member; a key that stands twice is refused, because two readers of the same
    text would disagree on what it says.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid("", f"the body is not UTF-8 (byte {error.start})") from None
    try:
        return _scan_object(text)
    except RecursionError:
        raise Invalid("", _TOO_DEEP) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise Invalid("", f"the body is not valid JSON: {error.msg} at {place}") from None
    except ValueError as error:
        raise Invalid("", f"the body is not valid JSON: {error}") from None


def _scan_object(text: str) -> RawBody:
    skip = _SPACE.match
    at = skip(text, 1 if text.startswith("\ufeff") else 0).end()  # type: ignore[union-attr]
    if text[at : at + 1] != "{":
        if not text[at:]:
            raise Invalid("", "the body is empty; a JSON object was expected")
        _DECODER.decode(text[at:])  # broken JSON says so first; whole JSON is of the wrong shape
        raise Invalid("", "the body must be a JSON object")
    value: dict[str, JSON] = {}
    members: dict[str, tuple[int, int, int]] = {}
    at = skip(text, at + 1).end()  # type: ignore[union-attr]
    while text[at : at + 1] != "}":
        key_at = at
        plain = _PLAIN_KEY.match(text, at)
        key, start = (plain[1], plain.end()) if plain else _odd_key(text, at)
        member, end = _DECODER.raw_decode(text, start)
        if key in value:
            raise Invalid(key, "this member stands twice in the body")
        value[key] = member
        members[key] = (key_at, start, end)
        at = skip(text, end).end()  # type: ignore[union-attr]
        if text[at : at + 1] == ",":
            at = skip(text, at + 1).end()  # type: ignore[union-attr]
            if text[at : at + 1] == "}":
                raise json.JSONDecodeError("Trailing comma", text, at)
        elif text[at : at + 1] != "}":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    if skip(text, at + 1).end() != len(text):  # type: ignore[union-attr]
        raise json.JSONDecodeError("Extra data", text, at + 1)
    return RawBody(text, value, members)


def _odd_key(text: str, at: int) -> tuple[str, int]:
    """A key with escapes in it, or what is none: the key, and where its value starts."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name in double quotes", text, at)
    key, at = _DECODER.raw_decode(text, at)
    colon = _COLON.match(text, at)
    if colon is None:
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return key, colon.end()
