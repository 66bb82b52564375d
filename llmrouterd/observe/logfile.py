"""The file of a log: whole lines, one writer at a time, rotation.

Owns: opening, locking, appending, rotation by size and by day, compression, permissions.
Refuses to know: what the lines say, who waits for them. It blocks: its caller is a thread.

Laws:
1. A block of lines is there whole, or not at all.
2. The file is opened for every block and locked (flock) while it is written: what logrotate moved
   away is not written for long, and two daemons with one log wait for each other.
3. Nothing is removed before what takes its place is on the disk.
4. A symbolic link is followed: the file that it names is written, and rotated where it lies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import logging
import os
import re
import select
import shutil
import stat
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger("llmrouter.journal")
LOCK_S = 5.0  # for another process that writes the same file; it may be compressing it
PIPE_S = 5.0  # for a reader of a pipe that does not read
MOST = 10000  # numbers of rotated files: what is beyond is a date
_DAY_S = 86400
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class State(Enum):
    """How the file was found: as it was left, with lines that somebody else wrote or took, empty."""

    SAME = "same"
    OTHER = "other"
    NEW = "new"


class LogFile:
    """One log. Not for several threads at once."""

    def __init__(
        self,
        path: str,
        *,
        max_bytes: int,
        keep: int,
        daily: bool = False,
        compress: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._keep = keep
        self._daily = daily
        self._compress = compress
        self._now = now
        self._left: tuple[int, int, int] | None = None

    def append(
        self,
        compose: Callable[[Path, State], bytes | None],
        then: Callable[[Path], None] | None = None,
    ) -> None:
        """Append what `compose` makes of the file and the state that it is in. It is asked again when
        the file is rotated first, and asks for that with None. then: called before another process
        may write, when the block is on the disk for good.

        Raises OSError: nothing was appended.
        """
        path = self._target()
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _opened(path)
        try:
            found = os.fstat(file)
            regular = stat.S_ISREG(found.st_mode)
            block = self._ask(compose, path, found)
            if regular and (block is None or self._is_due(found, len(block))):
                self._rotate(path)
                os.close(file)
                file = _opened(path, found)
                block = compose(path, State.NEW)
            write_whole(file, block or b"")
            if then is not None:
                os.fsync(file)
                then(path)
            self._left = _mark(os.fstat(file))
        except OSError:
            self._left = None
            raise
        finally:
            os.close(file)

    def _ask(
        self, compose: Callable[[Path, State], bytes | None], path: Path, found: os.stat_result
    ) -> bytes | None:
        if _mark(found) == self._left:
            return compose(path, State.SAME)
        return compose(path, State.OTHER if found.st_size else State.NEW)

    def _target(self) -> Path:
        """What is written: not the link, but what it names. What is no file (/dev/stdout) has a name
        in /proc that cannot be opened, so that is left as it is."""
        try:
            regular = stat.S_ISREG(self._path.stat().st_mode)
        except FileNotFoundError:
            regular = True
        return Path(os.path.realpath(self._path)) if regular else self._path

    # --- rotation ---------------------------------------------------------------------------------

    def _is_due(self, found: os.stat_result, more: int) -> bool:
        """Days are UTC's. What was written last tells the day of all: it held then, too."""
        if not found.st_size:
            return False
        if self._daily and int(found.st_mtime // _DAY_S) < int(self._now() // _DAY_S):
            return True
        return bool(self._max_bytes) and found.st_size + more > self._max_bytes

    def _rotate(self, path: Path) -> None:
        """requests.jsonl -> .1 -> .2 ... -> .keep; what is older goes. Some may be compressed."""
        if self._keep <= 0:
            path.unlink()
            return
        packed = self._packed(path) if self._compress else None
        numbered = rotated(path)
        for number, each in numbered:  # the oldest first
            if number >= self._keep:
                each.unlink(missing_ok=True)
            else:
                each.replace(_numbered(path, number + 1, each.suffix == ".gz"))
        if packed is None:
            path.replace(_numbered(path, 1, packed=False))
        else:
            packed.replace(_numbered(path, 1, packed=True))
            path.unlink()

    def _packed(self, path: Path) -> Path | None:
        """The file compressed, beside it; None when there is no room: then it is kept as it is."""
        packed = path.with_name(f"{path.name}.part")
        try:
            with path.open("rb") as plain, packed.open("wb") as out:
                was = os.fstat(plain.fileno())
                _same_rights(out.fileno(), was)
                with gzip.GzipFile(path.name, "wb", 6, out, was.st_mtime) as zipped:
                    shutil.copyfileobj(plain, zipped, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
            os.utime(packed, ns=(was.st_atime_ns, was.st_mtime_ns))
        except OSError as error:
            why = error.strerror or str(error)
            LOG.warning("the request log %s is kept uncompressed: %s", path, why)
            with contextlib.suppress(OSError):
                packed.unlink()
            return None
        return packed


def rotated(path: Path) -> list[tuple[int, Path]]:
    """The log's older files with their numbers, the oldest first."""
    pattern = re.compile(rf"{re.escape(path.name)}\.([1-9][0-9]{{0,4}})(\.gz)?")
    try:
        found = [(pattern.fullmatch(each.name), each) for each in path.parent.iterdir()]
    except OSError:
        return []
    numbered = [(int(match[1]), each) for match, each in found if match]
    return sorted((pair for pair in numbered if pair[0] <= MOST), reverse=True)


def _numbered(path: Path, number: int, packed: bool) -> Path:
    return path.with_name(f"{path.name}.{number}" + (".gz" if packed else ""))


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return (found.st_dev, found.st_ino, found.st_size)


# --- one file -------------------------------------------------------------------------------------


def _opened(path: Path, like: os.stat_result | None = None) -> int:
    """Open for appending, and lock. A file that was moved away while we waited is not the log any
    more. like: the file that it follows."""
    until = time.monotonic() + LOCK_S
    while True:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or _locked(file, path, until):
                if like is not None and not found.st_size:
                    _same_rights(file, like)
                return file
        except OSError:
            os.close(file)
            raise
        os.close(file)


def _locked(file: int, path: Path, until: float) -> bool:
    """Whether the lock was had, and on the file that bears the name."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise OSError(errno.EAGAIN, "another process holds its lock") from None
            time.sleep(0.01)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            break
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == _mark(os.fstat(file))[:2]


def _same_rights(file: int, like: os.stat_result) -> None:
    """Whoever could read the file before can read this one: a shipper's group, by the owner's will."""
    with contextlib.suppress(OSError):
        os.fchown(file, -1, like.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(file, stat.S_IMODE(like.st_mode) & 0o666)


def write_whole(file: int, block: bytes) -> None:
    """All of it or nothing. No buffer of Python's between: it would try again when it is closed,
    and put half a line there."""
    found = os.fstat(file)
    left = memoryview(block)
    try:
        while left:
            left = left[_written(file, left) :]
    except OSError:
        if stat.S_ISREG(found.st_mode):
            os.ftruncate(file, found.st_size)
        raise


def _written(file: int, block: memoryview) -> int:
    """A pipe whose reader sleeps is waited for, but not for ever: the daemon must be able to end."""
    try:
        return os.write(file, block)
    except BlockingIOError:
        waiting = select.poll()
        waiting.register(file, select.POLLOUT)
        if not waiting.poll(PIPE_S * 1000):
            raise OSError(errno.EAGAIN, "nobody reads it") from None
        return os.write(file, block)
