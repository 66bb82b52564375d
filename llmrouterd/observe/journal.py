"""The request log: one JSON object a line.

Owns: the bounded queue before the log, what becomes of records that cannot be written, lines.
Refuses to know: what the records mean (shapes.py says how they look), files and their rotation
(logfile.py), chains (audit.py).

Laws:
1. A request never waits for the log. What does not fit into the queue is counted, and the count is
   told in the daemon's own log.
2. A file that cannot be written (disk full, no permission) is reported once and tried again; the
   daemon goes on.
3. Whatever was accepted before the end is written before the daemon ends.
4. Every file can be read without the others: what its lines refer to stands in it, before them.
5. Without bodies a line has no word of a request, an answer or an upstream's error.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import trio

from llmrouterd.model import Record, Telling
from llmrouterd.observe.discreet import discreet
from llmrouterd.observe.logfile import LogFile, State
from llmrouterd.observe.shapes import as_text, asked
from llmrouterd.route.recorded import Lists, write

if TYPE_CHECKING:
    from pathlib import Path

    from llmrouterd.observe.audit import Audit

LOG = logging.getLogger("llmrouter.journal")
QUEUE = 4096  # records waiting for the disk
BATCH = 256  # records written in one go
RETRY_S = 5.0  # after a failed write
LAST_S = 2.0  # for what is left at the end


class Journal:
    """A Sink that writes `complete` objects to a file. `run` is its one writer."""

    follows = False

    def __init__(
        self,
        path: str,
        *,
        bodies: Literal["full", "none"],
        max_bytes: int,
        keep: int,
        rotate: Literal["size", "daily"] = "size",
        compress: bool = False,
        audit: Audit | None = None,
    ) -> None:
        """audit: seals the lines, each with the one before."""
        self._path = path
        self._bodies = bodies == "full"
        self._audit = audit
        self._file = LogFile(
            path, max_bytes=max_bytes, keep=keep, daily=rotate == "daily", compress=compress
        )
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
            then = None if self._audit is None else self._audit.written
            self._file.append(partial(self._block, records), then)
        except OSError:
            self._lists.forget()
            raise

    def _block(self, records: list[Record], path: Path, state: State) -> bytes | None:
        if state is not State.SAME:  # nobody knows which lists stand there
            self._lists.forget()
        lines = list(map(self._line, records))
        if self._audit is not None:
            return self._audit.seal(lines, path, state, self.lost)
        return ("\n".join(lines) + "\n").encode()

    def _line(self, record: Record) -> str:
        """A record that was never routed has no decision, and says so."""
        if not self._bodies:
            record = discreet(record)
        made = record.decision
        decision = None if made is None else write(made, record.tried, self._lists)
        more: dict[str, Any] = {"decision": decision}
        if self._bodies and record.request is not None:
            more["asked"] = asked(record.request)
        return as_text(record, bodies=self._bodies, more=more)
