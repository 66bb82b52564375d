"""JSON that is healed while it flows: what is surely final goes on at once, what may still change waits.

Owns: `Flow`, text in pieces in, healed text in pieces out.
Refuses to know: events, requests; how a text is healed that has to be read to its end first, which
is handed in.

Laws:
1. The result does not depend on where the text was cut.
2. JSON that is whole already comes out as it went in, to the character.
3. An answer is decided on as soon as it shows what it is: one that begins as an object or a list, at once
   or in a Markdown fence, is that, and ends with it. Whatever else it is waits for its end.
4. No more than `most` characters wait; a longer text goes on as it is.
5. Where it turns out to be no JSON after all, the rest goes on as it is: nothing is closed that could
   not be read then.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal

Whole = Callable[[str], str | None]
MOST = 1 << 18
_DEEPEST = 200
# An answer that begins as JSON, after white space or after a fence and what is said before it: a bracket, and
# behind it what no prose has there. Bounded, so that whether a text begins so shows with its first characters.
_OPENS = r"(?P<open>\{\s{0,100}[\"}]|\[\s{0,100}[\[{\"])"
_OPENS_SO_FAR = r"(?:[{\[]\s{0,100})?"
_LEAD = re.compile(r"\s{0,1000}" + _OPENS)
_LEAD_SO_FAR = re.compile(r"\s{0,1000}" + _OPENS_SO_FAR)
_TICKS = "```"
_FENCE = re.compile(r"```[^\n`]{0,100}\n\s{0,100}" + _OPENS)
_FENCE_SO_FAR = re.compile(r"```[^\n`]{0,100}(?:\n\s{0,100}" + _OPENS_SO_FAR + ")?")
_LONGEST_FENCE = 310
_SPACE = " \t\n\r"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_WORDS = ("true", "false", "null")
_LONGEST_SCALAR = 4000
_LONGEST_BLANK = 1 << 14  # behind a comma
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPED = '"\\/bfnrt'
_UNICODE = 4  # digits of \uXXXX
_HEX = "0123456789abcdefABCDEF"
_CLOSES = {"{": "}", "[": "]"}


class Flow:
    """Mutable, one per answer. whole: heals a text that has been read to its end; None: as it is."""

    __slots__ = (
        *("_done", "_fenced", "_held", "_json", "_most", "_plain", "_size", "_stage", "_tail"),
        *("_whole", "changed"),
    )

    def __init__(self, whole: Whole, *, most: int = MOST) -> None:
        self._whole = whole
        self._most = most
        self._held: list[str] = []  # all that has come, while nobody knows what it is
        self._size = 0
        self._stage: Literal["start", "prose", "fence", "whole"] = "start"
        self._tail = ""  # what may become a fence
        self._json: _Json | None = None
        self._fenced = False
        self._plain = False  # the rest goes on as it is
        self._done = False  # the value has ended; what follows it is left out
        self.changed = False

    @property
    def settled(self) -> bool:
        """Nothing waits, and nothing that comes will be held."""
        return self._plain or self._done

    def feed(self, text: str) -> str:
        """What of all that has come may go on now."""
        if self._plain:
            return text
        if self._json is not None:
            return self._go_on(text)
        self._held.append(text)
        self._size += len(text)
        if self._stage == "start":
            text = "".join(self._held)
            lead = _LEAD.match(text)
            if lead is not None:
                at = lead.start("open")
                return text[:at] + self._begin(text[at:])
            if _LEAD_SO_FAR.fullmatch(text):
                return ""
            self._stage = "prose"
        return self._in_prose(text)

    def _in_prose(self, text: str) -> str:
        """Until a fence shows: the first one counts."""
        text = self._tail + text
        if self._stage == "prose":
            found = text.find(_TICKS)
            self._tail = text[-2:]
            if found >= 0:
                soon = self._size - len(text) + found + _LONGEST_FENCE <= self._most
                self._stage = "fence" if soon else "whole"
                text = text[found:]
        if self._stage == "fence":
            fence = _FENCE.match(text)
            if fence is not None:
                self._fenced = self.changed = True
                return self._begin(text[fence.start("open") :])
            self._tail = text
            if not _FENCE_SO_FAR.fullmatch(text):
                self._stage = "whole"
        if self._stage == "whole":
            self._tail = ""
        return self.release() if self._size > self._most else ""

    def _begin(self, text: str) -> str:
        self._held.clear()
        self._json = _Json()
        return self._go_on(text)

    def _go_on(self, text: str) -> str:
        assert self._json is not None
        out, rest = self._json.feed(text)
        self.changed = self.changed or self._json.changed
        if self._json.broken:
            self._plain = True
            return out + rest
        if not self._json.over:
            return out
        return out + self._behind(rest)

    def _behind(self, text: str) -> str:
        """What follows the value: white space belongs to a text that is nothing but JSON."""
        if self._done or self._fenced:
            self._done = True
            return ""
        words = text.lstrip(_SPACE)
        if words:
            self._done = self.changed = True
        return text[: len(text) - len(words)]

    def release(self) -> str:
        """All that waits, as it is: from now on nothing is healed."""
        self._plain = True
        held = "".join(self._held)
        self._held.clear()
        if self._json is not None:
            held += self._json.release()
        return held

    def end(self) -> str:
        """The text is over: the rest of it, healed."""
        if self._plain:
            return ""
        self._plain = True
        if self._json is not None:
            out = self._json.end()
            self.changed = self.changed or self._json.changed
            return out
        healed = self._whole("".join(self._held))
        if healed is None:
            return self.release()
        self.changed = True
        return healed


def _is_number(text: str) -> bool:
    return _NUMBER.match(text) is not None and math.isfinite(float(text))


class _Json:
    """One object or list, read strictly, with trailing commas left out and what is open closed.

    over: it has ended. broken: it is none. changed: what came out is not what went in.
    """

    __slots__ = (
        *("_comma", "_escape", "_expects", "_open", "_scalar", "_string"),
        *("broken", "changed", "over"),
    )

    def __init__(self) -> None:
        self._open: list[str] = []
        self._expects = "value"  # first, value, key, first key, colon, after
        self._comma = ""  # a comma and the white space behind it: a bracket may follow
        self._string = ""  # "key" or "value" inside of one
        self._escape = ""  # the escape that is not complete yet
        self._scalar = ""  # a number or word so far
        self.over = self.broken = self.changed = False

    def feed(self, text: str) -> tuple[str, str]:
        """What goes on, and what is left of the text when the value is over, or is none."""
        out: list[str] = []
        at = 0
        while at < len(text) and not self.over and not self.broken:
            at = self._in_string(text, at, out) if self._string else self._outside(text, at, out)
        return "".join(out), text[at:]

    # --- inside a string --------------------------------------------------------------------------

    def _in_string(self, text: str, at: int, out: list[str]) -> int:
        if self._escape:
            return self._in_escape(text, at, out)
        plain = _PLAIN.match(text, at)
        assert plain is not None
        end = plain.end()
        out.append(text[at:end])
        if end == len(text):
            return end
        if text[end] < " ":
            self.broken = True
            return end
        if text[end] == "\\":
            self._escape = "\\"
            return end + 1
        out.append('"')
        self._expects = "colon" if self._string == "key" else "after"
        self._string = ""
        return end + 1

    def _in_escape(self, text: str, at: int, out: list[str]) -> int:
        """An escape goes on when it is complete: a text that is cut in one ends before it."""
        self._escape += text[at]
        second, rest = self._escape[1], self._escape[2:]
        if second == "u" and not rest.strip(_HEX) and len(rest) < _UNICODE:
            return at + 1
        self.broken = bool(rest.strip(_HEX)) if second == "u" else second not in _ESCAPED
        out.append(self._escape)
        self._escape = ""
        return at + 1

    # --- outside of strings -----------------------------------------------------------------------

    def _outside(self, text: str, at: int, out: list[str]) -> int:
        char = text[at]
        if self._scalar and char not in ',]}:"[{' and char not in _SPACE:
            self._scalar += char
            out.append(char)
            self.broken = len(self._scalar) > _LONGEST_SCALAR
            return at + 1
        if self._scalar and not self._scalar_ends():
            return at
        if char in _SPACE:
            if self._comma:
                self._comma += char
                self.broken = len(self._comma) > _LONGEST_BLANK
            else:
                out.append(char)
            if self.broken:
                out.append(self.release())
            return at + 1
        return self._mark(char, at, out)

    def _scalar_ends(self) -> bool:
        right = self._scalar in _WORDS or _is_number(self._scalar)
        self._scalar = ""
        self._expects = "after"
        self.broken = not right
        return right

    def _mark(self, char: str, at: int, out: list[str]) -> int:
        if char in "]}":
            return self._close(char, at, out)
        if char == "," and self._expects == "after":
            self._comma = ","
            self._expects = "key" if self._open[-1] == "{" else "value"
            return at + 1
        begins = self._expects in ("value", "first") and char not in ",:"
        keyed = self._expects in ("key", "first key") and char == '"'
        if char == ":" and self._expects == "colon":
            self._expects = "value"
        elif not (begins or keyed) or len(self._open) >= _DEEPEST:
            self.broken = True
            out.append(self._comma)
            self._comma = ""
            return at
        elif char == '"':
            self._string = "key" if keyed else "value"
        elif char in "{[":
            self._open.append(char)
            self._expects = "first key" if char == "{" else "first"
        else:
            self._scalar = char
        out.append(self._comma + char)
        self._comma = ""
        return at + 1

    def _close(self, char: str, at: int, out: list[str]) -> int:
        ready = self._expects in ("after", "first", "first key") or self._comma
        if not ready or not self._open or _CLOSES[self._open[-1]] != char:
            self.broken = True
            out.append(self._comma)
            self._comma = ""
            return at
        if self._comma:
            self.changed = True
            out.append(self._comma[1:])
            self._comma = ""
        out.append(char)
        self._open.pop()
        self._expects = "after"
        self.over = not self._open
        return at + 1

    # --- the end ----------------------------------------------------------------------------------

    def release(self) -> str:
        held = self._comma + self._escape
        self._comma = self._escape = ""
        return held

    def end(self) -> str:
        """What closes a value that was cut; as it is where closing it would not make it JSON."""
        if self.over or self.broken:
            return ""
        if self._scalar and not self._scalar_ends():
            return self.release()
        if self._string == "value":
            self._escape = ""
            self._expects = "after"
            closing = '"'
        else:
            closing = ""
        ready = self._expects in ("after", "first", "first key") or self._comma
        if self._string == "key" or not ready:
            return self.release()
        self.changed = True
        return closing + "".join(_CLOSES[each] for each in reversed(self._open))
