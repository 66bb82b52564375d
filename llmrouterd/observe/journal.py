"""The request log: one JSON object a line.

Owns: the log file, its rotation by size, and the bounded queue before it.
Refuses to know: what the records mean; shapes.py says how they look.

Laws:
1. A request never waits for the log. What does not fit into the queue is counted, and the count is
   told in the daemon's own log.
2. A file that cannot be written (disk full, no permission) is reported once and tried again; the
   daemon goes on.
3. Whatever was accepted before the end is written before the daemon ends.
4. Every file can be read without the others: what its lines refer to stands in it, before them.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any, Literal

import trio

from llmrouterd.model import Record, Telling
from llmrouterd.observe.shapes import as_text, asked
from llmrouterd.route.recorded import Lists, write

LOG = logging.getLogger("llmrouter.journal")
QUEUE = 4096  # records waiting for the disk
BATCH = 256  # records written in one go
RETRY_S = 5.0  # after a failed write
LAST_S = 2.0  # for what is left at the end


class Journal:
    """A Sink that writes `complete` objects to a file. `run` is its one writer."""

    def __init__(
        self, path: str, *, bodies: Literal["full", "none"], max_bytes: int, keep: int
    ) -> None:
        self._path = Path(path)
        self._bodies = bodies == "full"
        self._max_bytes = max_bytes
        self._keep = keep
        self._send, self._receive = trio.open_memory_channel[Record](QUEUE)
        self._batch: list[Record] = []  # taken from the queue, not written yet
        self._lists = Lists()  # the writing thread's
        self._waking = trio.Event()
        self._failing = False
        self._told = 0
        self.lost = 0
        self.written = 0

    def tell(self, telling: Telling) -> None:
        if not isinstance(telling, Record):
            return
        try:
            self._send.send_nowait(telling)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.lost += 1

    def reopen(self) -> None:
        """After somebody else has moved the file away. It is opened for every batch, so there is
        nothing to do but to try at once where it could not be written."""
        self._waking.set()
        self._waking = trio.Event()

    def close(self) -> None:
        """No more records: `run` writes what it has and returns."""
        self._waking.set()
        self._send.close()

    async def run(self) -> None:
        """Write until closed. Cancelled, it still writes what has been accepted (bounded)."""
        with self._receive:
            try:
                async for record in self._receive:
                    self._batch.append(record)
                    self._fill(BATCH)
                    await self._write()
            finally:
                self._waking.set()
                with trio.move_on_after(LAST_S, shield=True):
                    self._fill(BATCH + QUEUE)
                    await self._write()

    def _fill(self, limit: int) -> None:
        """Take what waits in the queue, without waiting for more."""
        while len(self._batch) < limit:
            try:
                self._batch.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return

    async def _write(self) -> None:
        """Append the batch; on a failure lose it, with a word, and wait a little."""
        if not self._batch:
            return
        try:
            await trio.to_thread.run_sync(self._append, self._batch)
        except OSError as error:
            self.lost += len(self._batch)
            self._batch = []
            if not self._failing:
                why = error.strerror or str(error)
                LOG.error("the request log %s cannot be written: %s", self._path, why)
            self._failing = True
            with trio.move_on_after(RETRY_S):
                await self._waking.wait()
        else:
            self.written += len(self._batch)
            self._batch = []
            self._tell_of_losses()

    def _tell_of_losses(self) -> None:
        lost = self.lost - self._told
        if self._failing or lost:
            again = "is written again" if self._failing else "could not keep up"
            LOG.warning("the request log %s; %d records were lost", again, lost)
        self._failing = False
        self._told = self.lost

    def _append(self, records: list[Record]) -> None:
        """Runs in a thread: serialise, rotate when due, append. No half line is left behind."""
        try:
            self._append_block(records)
        except OSError:
            self._lists.forget()
            raise

    def _append_block(self, records: list[Record]) -> None:
        block = self._block(records)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._max_bytes and self._size() + len(block) > self._max_bytes:
            self._rotate()
            self._lists.forget()
            block = self._block(records)
        elif not self._size():  # somebody took the file away
            self._lists.forget()
            block = self._block(records)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            _write_whole(file, block)
        finally:
            os.close(file)

    def _block(self, records: list[Record]) -> bytes:
        return ("\n".join(map(self._line, records)) + "\n").encode()

    def _line(self, record: Record) -> str:
        """A record that was never routed has no decision, and says so."""
        made = record.decision
        decision = None if made is None else write(made, record.tried, self._lists)
        more: dict[str, Any] = {"decision": decision}
        if self._bodies and record.request is not None:
            more["asked"] = asked(record.request)
        return as_text(record, bodies=self._bodies, more=more)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _rotate(self) -> None:
        """requests.jsonl -> .1 -> .2 ... -> .keep; what is older goes."""
        if not self._path.exists() or self._size() == 0:
            return
        if self._keep <= 0:
            self._path.unlink()
            return
        for number in range(self._keep - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


def _write_whole(file: int, block: bytes) -> None:
    """All of it or nothing. No buffer of Python's between: it would try again when it is closed,
    and put half a line there."""
    at = os.fstat(file).st_size
    left = memoryview(block)
    try:
        while left:
            left = left[os.write(file, left) :]
    except OSError:
        if stat.S_ISREG(os.fstat(file).st_mode):
            os.ftruncate(file, at)
        raise
