"""A line that is being typed.

Owns: its text, where the cursor is, the lines that were sent before.
Refuses to know: what it is typed for.

Law: its length and its history are bounded.
"""

from __future__ import annotations

from collections import deque

from llmrouterd.commands.terminal import clean, width

LONGEST = 8000
_HISTORY = 100


class Typed:
    def __init__(self, text: str = "") -> None:
        self.text = text
        self.at = len(text)
        self._sent: deque[str] = deque(maxlen=_HISTORY)
        self._back = 0  # how far back in what was sent
        self._draft = ""

    def put(self, text: str) -> None:
        self._back = 0
        self.text = text[:LONGEST]
        self.at = len(self.text)

    def take(self) -> str:
        """The line, which is then empty."""
        text = self.text
        if text.strip() and (not self._sent or self._sent[-1] != text):
            self._sent.append(text)
        self.put("")
        return text

    def key(self, key: str) -> bool:
        """Whether the key was one of typing: a character, or one that moves or deletes."""
        if len(key) == 1 and key.isprintable():
            self._insert(key)
            return True
        act = _KEYS.get(key)
        if act is not None:
            act(self)
        return act is not None

    def shown(self, columns: int) -> tuple[str, int]:
        """The piece of it that fits round the cursor, and the cursor's column in that."""
        before, after = clean(self.text[: self.at], limit=LONGEST + 1), self.text[self.at :]
        while width(before) >= columns and before:
            before = before[max(1, len(before) - columns + 1) if before.isascii() else 1 :]
        return before + clean(after, limit=LONGEST + 1), width(before)

    def _insert(self, char: str) -> None:
        if len(self.text) < LONGEST:
            self.text = self.text[: self.at] + char + self.text[self.at :]
            self.at += 1

    def _left(self) -> None:
        self.at = max(self.at - 1, 0)

    def _right(self) -> None:
        self.at = min(self.at + 1, len(self.text))

    def _home(self) -> None:
        self.at = 0

    def _end(self) -> None:
        self.at = len(self.text)

    def _backspace(self) -> None:
        if self.at:
            self.text = self.text[: self.at - 1] + self.text[self.at :]
            self.at -= 1

    def _delete(self) -> None:
        self.text = self.text[: self.at] + self.text[self.at + 1 :]

    def _delete_word(self) -> None:
        kept = self.text[: self.at].rstrip()
        kept = kept[: kept.rfind(" ") + 1]
        self.text, self.at = kept + self.text[self.at :], len(kept)

    def _delete_to_start(self) -> None:
        self.text, self.at = self.text[self.at :], 0

    def _delete_to_end(self) -> None:
        self.text = self.text[: self.at]

    def _earlier(self) -> None:
        self._recall(self._back + 1)

    def _later(self) -> None:
        self._recall(self._back - 1)

    def _recall(self, back: int) -> None:
        if not 0 <= back <= len(self._sent):
            return
        if self._back == 0:
            self._draft = self.text
        text = self._draft if back == 0 else self._sent[-back]
        self.text, self.at, self._back = text, len(text), back


_KEYS = {
    "LEFT": Typed._left,
    "CTRL-B": Typed._left,
    "RIGHT": Typed._right,
    "CTRL-F": Typed._right,
    "HOME": Typed._home,
    "CTRL-A": Typed._home,
    "END": Typed._end,
    "CTRL-E": Typed._end,
    "BACKSPACE": Typed._backspace,
    "DELETE": Typed._delete,
    "CTRL-D": Typed._delete,
    "CTRL-W": Typed._delete_word,
    "CTRL-U": Typed._delete_to_start,
    "CTRL-K": Typed._delete_to_end,
    "UP": Typed._earlier,
    "DOWN": Typed._later,
}
