"""The request log: one JSON object a line.

Owns: the log file, its rotation by size, and the bounded queue before it.
Refuses to know: what the records mean; shapes.py says how they look.

Laws:
1. A request never waits for the log. What does not fit into the queue is counted, and the count is
   told in the daemon's own log.
2. A file that cannot be written (disk full, no permission) is reported once and tried again; the
   daemon goes on.
3. Whatever was accepted before the end is written before the daemon ends.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

import trio

from formats.jsontext import dumps
from llmrouterd.model import Record, Telling
from llmrouterd.observe.shapes import complete

LOG = logging.getLogger("llmrouter.journal")
QUEUE = 4096  # records waiting for the disk
BATCH = 256  # records written in one go
RETRY_S = 5.0  # after a failed write


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
        self._failing = False
        self.lost = 0
        self.written = 0

    def tell(self, telling: Telling) -> None:
        if not isinstance(telling, Record):
            return
        try:
            self._send.send_nowait(telling)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.lost += 1

    def close(self) -> None:
        """No more records: `run` writes what it has and returns."""
        self._send.close()

    async def run(self) -> None:
        """Write until closed. Cancelled, it still writes what has been accepted (bounded)."""
        try:
            async with self._receive:
                async for record in self._receive:
                    await self._write(self._batch(record))
        finally:
            with trio.move_on_after(2, shield=True):
                rest = self._rest()
                if rest:
                    await self._write(rest)

    def _batch(self, first: Record) -> list[Record]:
        return [first, *self._rest(BATCH - 1)]

    def _rest(self, limit: int = QUEUE) -> list[Record]:
        records: list[Record] = []
        while len(records) < limit:
            try:
                records.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
        return records

    async def _write(self, records: list[Record]) -> None:
        """Append records; on a failure wait a little and lose them, with a word."""
        try:
            await trio.to_thread.run_sync(self._append, records)
        except OSError as error:
            self.lost += len(records)
            if not self._failing:
                LOG.error("the request log %s cannot be written: %s", self._path, error.strerror)
            self._failing = True
            await trio.sleep(RETRY_S)
        else:
            if self._failing:
                LOG.warning("the request log is written again; %d records were lost", self.lost)
            self._failing = False
            self.written += len(records)

    def _append(self, records: list[Record]) -> None:
        """Runs in a thread: serialise, rotate when due, append. No half line is left behind."""
        lines = [dumps(complete(record, bodies=self._bodies)) for record in records]
        block = ("\n".join(lines) + "\n").encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._max_bytes and self._size() + len(block) > self._max_bytes:
            self._rotate()
        with os.fdopen(
            os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab"
        ) as f:
            at = f.tell()
            try:
                f.write(block)
                f.flush()
            except OSError:
                f.truncate(at)
                raise

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
