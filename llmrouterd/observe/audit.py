"""A chain of lines on the disk: where it goes on, and how far it went.

Owns: the head file beside the log, finding the last line at start, what a crash has left.
Refuses to know: what is sealed and how (chain.py), how lines are appended (logfile.py). It blocks.

Laws:
1. The chain goes on from the furthest point that anything vouches for: memory, head file, last
   line. So a line that somebody took away is missed for ever, and not written over.
2. A line counts as written only when its block is on the disk; the head file follows it.
3. What a crash has torn is cut off, and the next line says so (`break`); what was lost before it
   could be written is counted in the next line (`lost`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from typing import TYPE_CHECKING

from llmrouterd.observe import chain
from llmrouterd.observe.chain import Link
from llmrouterd.observe.logfile import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOG = logging.getLogger("llmrouter.journal")
_STEP = 1 << 16  # bytes read at once, from the end of a file
_HEAD_BYTES = 4096


class Audit:
    """Seals the lines of one log. For one thread at a time."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key
        self._link: Link | None = None  # the last line that is known to be written
        self._next: Link | None = None  # the last line of the block that is being written
        self._break = ""
        self._told = 0  # of the lines that were lost
        self._lost = 0
        self._headless = False

    def seal(self, texts: Sequence[str], path: Path, state: State, lost: int) -> bytes | None:
        """The block for this file; None when its lines are not of this chain, and a new file has to
        be begun. lost: how many records were lost up to now. Nothing is certain before `written`."""
        if not path.is_file():
            raise OSError(errno.EINVAL, "an audit log must be a file")
        first = state is State.NEW
        if state is not State.SAME or self._link is None:
            found = self._find(path, state)
            if found is None:
                return None
            first = found
        link = self._link
        assert link is not None
        more = self._more(lost)
        lines: list[bytes] = []
        for text in texts:
            line, link = chain.sealed(text, link, self._key, first=first, more=more)
            lines.append(line)
            first, more = False, {}
        self._next, self._lost = link, lost
        return b"\n".join((*lines, b""))

    def _more(self, lost: int) -> dict[str, object]:
        more: dict[str, object] = {}
        if lost > self._told:
            more["lost"] = lost - self._told
        if self._break:
            more["break"] = self._break
        return more

    def written(self, path: Path) -> None:
        """The block is on the disk."""
        assert self._next is not None
        self._link, self._told, self._break = self._next, self._lost, ""
        try:
            _replace(head_of(path), chain.head_text(self._link, self._key), path)
            self._headless = False
        except OSError as error:
            if not self._headless:
                why = error.strerror or str(error)
                LOG.warning("the head of the audit log %s cannot be written: %s", path, why)
            self._headless = True

    # --- where it goes on -------------------------------------------------------------------------

    def _find(self, path: Path, state: State) -> bool | None:
        """Set the link. Returns whether the next line is the first of the file; None: begin one."""
        known = self._furthest(self._link, self._head(path))
        if state is not State.OTHER:
            self._go_on(path, known)
            return state is State.NEW
        self._cut(path)
        first, last = _ends(path)
        if not first:  # there was nothing but half a line
            self._go_on(path, known)
            return True
        tail = self._tail(first, last)
        if tail is None or (known is not None and known.chain != tail.chain):
            self._go_on(path, known)
            return None
        self._go_on(path, self._furthest(known, tail))
        return False

    def _go_on(self, path: Path, link: Link | None) -> None:
        if link is None:
            link = Link(secrets.token_hex(16))
            LOG.info("the audit log %s begins the chain %s", path, link.chain)
        self._link = link

    def _furthest(self, known: Link | None, found: Link | None) -> Link | None:
        if known is None or found is None:
            return known or found
        return found if found.chain == known.chain and found.seq > known.seq else known

    def _head(self, path: Path) -> Link | None:
        place = head_of(path)
        try:
            with place.open("rb") as file:
                text = file.read(_HEAD_BYTES)
        except FileNotFoundError:
            return None
        link = chain.read_head(text, self._key)
        if link is None:
            self._broken(path, "the head file was not written with this key, or was changed")
        return link

    def _tail(self, first: bytes, last: bytes) -> Link | None:
        """The last line as a link, if it is one of a chain of ours."""
        name, seal = chain.name_of(first), chain.seal_of(last, self._key)
        if name is None or seal is None or not seal.right:
            return None
        return Link(name[0], seal.seq, seal.hash)

    def _cut(self, path: Path) -> None:
        """Half a line that a crash has left."""
        with path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            whole = _before(file.fileno(), size, b"\n") + 1
            if whole < size:
                file.truncate(whole)
                self._broken(path, f"{size - whole} bytes of a line without an end were cut off")

    def _broken(self, path: Path, what: str) -> None:
        LOG.warning("the audit log %s: %s", path, what)
        self._break = f"{self._break}; {what}" if self._break else what


def head_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last line of a file that ends with a whole one."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return b"", b""
        file.seek(_before(file.fileno(), size - 1, b"\n") + 1)
        last = file.readline()
        file.seek(0)
        return file.readline().removesuffix(b"\n"), last.removesuffix(b"\n")


def _before(file: int, end: int, mark: bytes) -> int:
    """Where the mark stands last before `end`; -1: nowhere."""
    while end > 0:
        start = max(0, end - _STEP)
        at = os.pread(file, end - start, start).rfind(mark)
        if at >= 0:
            return start + at
        end = start
    return -1


def _replace(place: Path, text: bytes, log: Path) -> None:
    """Whole or not at all, and readable for whoever can read the log."""
    part = place.with_name(f"{place.name}.part")
    mode = log.stat().st_mode & 0o666
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(file, text)
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    finally:
        os.close(file)
    part.replace(place)
