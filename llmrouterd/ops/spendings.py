"""What clients with a budget have spent, kept over a restart.

Owns: one file of lines, read at the start and appended to, and the task that writes.
Refuses to know: prices, limits (guard/budget.py).

Laws:
1. A request never waits for the disk. What was spent is written within a second, and at the end; a
   crash loses that second at most.
2. The file is only appended to, and written anew at the start with no more than today's spending.
3. A line that cannot be read is left out, and said so; a file that cannot be written is reported once
   and tried again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    from llmrouterd.guard.budget import Budget

LOG = logging.getLogger("llmrouter.spendings")
NAME = "spendings.jsonl"
GATHER_S = 1.0
LAST_S = 2.0  # for what is left at the end


class Spendings:
    """`spent` notes, `run` writes."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / NAME
        self._pending: dict[tuple[int, str], float] = {}
        self._noted = trio.Event()
        self._failing = False

    def load(self, budget: Budget, day: int) -> None:
        """Tell the budget what the file knows of this day. Raises ConfigError where the folder is of
        no use: a budget that forgets is none."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = self._path.read_bytes().splitlines() if self._path.exists() else []
            today = [entry for line in lines if (entry := _read(line)) and entry[0] == day]
            totals: dict[tuple[int, str], float] = {}
            for _, client, usd in today:
                totals[day, client] = totals.get((day, client), 0.0) + usd
            _write_anew(self._path, _lines(totals))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigError([f"state_dir: {self._path} cannot be used: {why}"]) from error
        if lines and sum(1 for line in lines if _read(line) is None):
            LOG.warning("%s: lines that are none were left out", self._path)
        for (_, client), usd in totals.items():
            budget.add(client, usd, day)

    def spent(self, client: str, day: int, usd: float) -> None:
        if usd > 0:
            self._pending[day, client] = self._pending.get((day, client), 0.0) + usd
            self._noted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; then write what is left (bounded)."""
        task_status.started()
        try:
            while True:
                await self._noted.wait()
                await trio.sleep(GATHER_S)
                self._noted = trio.Event()
                await self._write()
        finally:
            with trio.move_on_after(LAST_S, shield=True):
                await self._write()

    async def _write(self) -> None:
        if not self._pending:
            return
        taken = dict(self._pending)
        try:
            await trio.to_thread.run_sync(_append, self._path, _lines(taken))
        except OSError as error:
            self._noted.set()
            if not self._failing:
                LOG.error("%s cannot be written: %s", self._path, error.strerror or error)
            self._failing = True
        else:
            self._failing = False
            for key, usd in taken.items():  # more may have come meanwhile
                self._pending[key] -= usd
                if self._pending[key] <= 0:
                    del self._pending[key]


def _read(line: bytes) -> tuple[int, str, float] | None:
    try:
        value = json.loads(line)
        day, client, usd = value["day"], value["client"], value["usd"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    right = isinstance(day, int) and isinstance(client, str) and isinstance(usd, int | float)
    return (day, client, float(usd)) if right and math.isfinite(usd) and usd >= 0 else None


def _lines(totals: dict[tuple[int, str], float]) -> bytes:
    rows = ({"day": day, "client": client, "usd": usd} for (day, client), usd in totals.items())
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _append(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.write(file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _write_anew(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    _append(new, data)
    new.replace(path)
