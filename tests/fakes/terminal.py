"""A terminal with a program in it: a pseudo-terminal, and pyte to make a screen of what comes out.

Every wait has a deadline, and leaving the `with` block ends the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

PATIENCE_S = 60.0


class _Screen(pyte.Screen):
    """With what curses uses of an xterm and pyte does not have: scrolling by several lines."""

    def scroll_up(self, count: int = 1, **_: object) -> None:
        self._scroll(count or 1, self.index, bottom=True)

    def scroll_down(self, count: int = 1, **_: object) -> None:
        self._scroll(count or 1, self.reverse_index, bottom=False)

    def _scroll(self, count: int, step: Callable[[], None], *, bottom: bool) -> None:
        top, last = self.margins or (0, self.lines - 1)
        row, self.cursor.y = self.cursor.y, last if bottom else top
        for _ in range(count):
            step()
        self.cursor.y = row


class _Stream(pyte.ByteStream):
    csi = pyte.ByteStream.csi | {"S": "scroll_up", "T": "scroll_down"}
    events = pyte.ByteStream.events | {"scroll_up", "scroll_down"}


class Terminal:
    """`with Terminal(command) as terminal:`; `text` is what stands on its screen."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        rows: int = 24,
        columns: int = 80,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._command = command
        self._env = env
        self._cwd = cwd
        self.raw = b""
        self._lock = threading.Lock()
        self._screen = _Screen(columns, rows)
        self._stream = _Stream(self._screen)
        self._size = (rows, columns)

    def __enter__(self) -> Terminal:
        self._ours, self._theirs = pty.openpty()
        self._set_size(*self._size)
        self.before = termios.tcgetattr(self._theirs)
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        env |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            self._command,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=env | (self._env or {}),
            cwd=self._cwd,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
        self.process.wait(PATIENCE_S)
        os.close(self._theirs)  # the last of that side: our reading ends
        self._reader.join(PATIENCE_S)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    # --- what stands there ------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return list(self._screen.display)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)

    @property
    def colours(self) -> set[str]:
        with self._lock:
            cells = [cell for row in self._screen.buffer.values() for cell in row.values()]
            return {cell.fg for cell in cells} - {"default"}

    @property
    def modes(self) -> list[object]:
        """Of the line discipline."""
        return termios.tcgetattr(self._theirs)

    def until(self, holds: Callable[[str], bool], what: str) -> str:
        """Wait for a screen of which that is true."""
        end = time.monotonic() + PATIENCE_S
        while not holds(text := self.text):
            assert time.monotonic() < end, f"no {what} on the screen:\n{text}"
            time.sleep(0.02)
        return text

    def shows(self, *words: str) -> str:
        """Wait until all of it stands on the screen at once."""
        return self.until(lambda text: all(word in text for word in words), repr(words))

    def hides(self, word: str) -> str:
        return self.until(lambda text: word not in text, f"screen without {word!r}")

    # --- what is done to it -----------------------------------------------------------------------

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """As a window that is drawn larger: the program is told by SIGWINCH."""
        with self._lock:
            self._screen.resize(rows, columns)
        self._set_size(rows, columns)

    def _set_size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self) -> int:
        """Wait for the program's end. Returns its exit code."""
        code = self.process.wait(PATIENCE_S)
        time.sleep(0.05)  # what it wrote last is on its way to the screen
        return code

    def is_as_before(self) -> bool:
        """Modes as they were, out of the whole screen, the cursor to be seen."""
        raw = self.raw
        left = raw.rfind(b"\x1b[?1049l") > raw.rfind(b"\x1b[?1049h")
        hidden, seen = (
            raw.rfind(b"\x1b[?25l"),
            max(raw.rfind(b"\x1b[?25h"), raw.rfind(b"\x1b[?12l")),
        )
        return left and seen >= hidden and self.modes == self.before


def _take_terminal() -> None:
    """The session's terminal is this one, so that its keys make signals."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
