"""The daemon's own log on stderr: for people, for journald, for programs.

Owns: the three shapes of a line, and the generation that stands in each.
Refuses to know: what is logged; requests have a log of their own (observe/journal.py).

Laws:
1. One event is one line, whatever it says.
2. Under systemd the journal knows time and unit by itself; it is told the priority instead.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmrouterd.pipeline.tracing import Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS = ("auto", "plain", "journal", "json")
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # sd-daemon(3)


class Generation(logging.Filter):
    """Puts the number of the configuration in force into every record. shape: of the log's lines."""

    number = 1
    shape = "plain"

    def filter(self, record: logging.LogRecord) -> bool:
        record.generation = self.number
        return True


class Plain(logging.Formatter):
    """`2026-01-01 10:00:00,123 INFO llmrouter[1]: words`, and the trace where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s[%(generation)d]: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record)) + _trace(record)


class Journal(logging.Formatter):
    """`<6>llmrouter[1]: words`"""

    def __init__(self) -> None:
        super().__init__("%(name)s[%(generation)d]: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = one_line(super().format(record)) + _trace(record)
        return f"<{_PRIORITY.get(record.levelname, 6)}>{text}"


class Json(logging.Formatter):
    """One object a line, its members named as log collectors know them."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line = {
            "ts": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "generation": getattr(record, "generation", 0),
            "message": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if getattr(record, "trace_id", ""):
            line["trace_id"] = record.trace_id  # type: ignore[attr-defined]
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


_SHAPES: Mapping[str, type[logging.Formatter]] = {"plain": Plain, "journal": Journal, "json": Json}


def _trace(record: logging.LogRecord) -> str:
    trace_id = getattr(record, "trace_id", "")
    return f" trace_id={trace_id}" if trace_id else ""


def one_line(text: str) -> str:
    """A text that a terminal may be shown: what it says may be a stranger's, escape sequences and all."""
    text = "\\n".join(text.splitlines())
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def to_stderr(level: str, shape: str, environ: Mapping[str, str]) -> Generation:
    """Set the log up. shape: one of FORMATS; "auto" is "journal" where stderr goes to the journal."""
    if shape == "auto":
        shape = "journal" if _is_journal(environ.get("JOURNAL_STREAM", "")) else "plain"
    stamp = Generation()
    stamp.shape = shape
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_SHAPES[shape]())
    lines.addFilter(stamp)
    lines.addFilter(Stamp())
    logging.basicConfig(level=level.upper(), handlers=[lines], force=True)
    return stamp


def _is_journal(stream: str) -> bool:
    """Whether stderr is the stream that JOURNAL_STREAM names by device and inode: a program that was
    started from a service may have another one."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
