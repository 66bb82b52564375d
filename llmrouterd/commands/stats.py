"""`llmrouter stats [LOG...]`: what request logs say when they are added up.

Owns: which files, which span of time, and how the totals are shown.
Refuses to know: what a line means and how it is counted (observe/stats.py).

Laws:
1. Files are read line by line, once, whatever their size; so are .gz files and stdin (`-`).
2. A line that is no record is skipped and counted, a file that ends early gives what it has: both
   are said on stderr. Only a file that cannot be opened is a failure.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import sys
import time
import tomllib
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from llmrouterd.commands import locate
from llmrouterd.commands.check import printable, table
from llmrouterd.config.keys import LOGGING
from llmrouterd.model import ConfigError
from llmrouterd.observe.stats import BY, Summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from llmrouterd.observe.stats import Totals

LINE_BYTES = 256 * 1024 * 1024  # longer than any record: what is longer is another file
_SPAN = re.compile(r"(\d{1,6})([smhdw])\Z")
_SPAN_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ROTATED = re.compile(r"\.(\d+)(\.gz)?\Z")
_DEFAULT_BY = ("provider", "model")


class AskedWrongly(Exception):
    """An argument that cannot be understood; the text says why."""


def run(args: argparse.Namespace) -> int:
    """Add up and print. Exit code 0; 1 when a log cannot be read or is none, 2 for wrong usage."""
    try:
        by = _kinds(args.by)
        now_s = time.time()
        since_ms = _moment("--since", args.since, now_s)
        summary = Summary(by, since_ms=since_ms, until_ms=_moment("--until", args.until, now_s))
        logs = [str(log) for log in args.logs] or configured(args.config)
    except AskedWrongly as wrong:
        print(f"llmrouter stats: {wrong}", file=sys.stderr)
        return 2
    except ConfigError as error:
        return locate.complain(error)
    unread = [fault for log in logs if (fault := _read(log, summary))]
    for fault in unread:
        print(f"llmrouter stats: {fault}", file=sys.stderr)
    if summary.broken:
        words = "line is no record" if summary.broken == 1 else "lines are no records"
        print(f"llmrouter stats: {summary.broken} {words}, skipped", file=sys.stderr)
    if len(unread) < len(logs):
        _show(summary, args)
    no_log = summary.broken and not summary.total.requests and not summary.outside
    return 1 if unread or no_log else 0


def _show(summary: Summary, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(as_json(summary), indent=2))
    elif args.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(as_rows(summary))
    else:
        print("\n".join(as_lines(summary)))


# ---- arguments -----------------------------------------------------------------------------------


def _kinds(asked: Sequence[str]) -> list[str]:
    """`--by provider,day --by end`."""
    kinds = [kind for text in asked for kind in text.split(",") if kind]
    for kind in kinds:
        if kind not in BY:
            raise AskedWrongly(f"--by takes {', '.join(BY)}, not {printable(kind)!r}")
    return list(dict.fromkeys(kinds)) or list(_DEFAULT_BY)


def _moment(option: str, text: str | None, now_s: float) -> float | None:
    """Milliseconds since 1970 of `24h` ago, of a date (its beginning in UTC) or of a time."""
    if text is None:
        return None
    span = _SPAN.match(text)
    if span is not None:
        return (now_s - int(span[1]) * _SPAN_S[span[2]]) * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        words = "takes a span such as 90m, 24h or 7d, a date such as 2026-11-01, or a time"
        raise AskedWrongly(f"{option} {words}, not {printable(text)!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


def configured(config: Path | None) -> list[str]:
    """The log that the configuration names, and what was rotated out of it, the oldest first.

    Nothing else of the file is looked at: whoever reads logs need not have the keys.
    """
    place = locate.find(config, os.environ)
    name = str(LOGGING["path"].default)
    if place is not None:
        try:
            logging = tomllib.loads(place.read_text("utf-8-sig")).get("logging", {})
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise AskedWrongly(f"{place}: {words}") from None
        asked = logging.get("path", name) if isinstance(logging, dict) else name
        name = asked if isinstance(asked, str) else name
    path = Path(name)
    siblings = path.parent.glob(f"{path.name}.*") if path.parent.is_dir() else ()
    numbered = [(int(found[1]), each) for each in siblings if (found := _ROTATED.search(each.name))]
    older = [str(each) for _, each in sorted(numbered, reverse=True)]
    return [*older, str(path)]


# ---- files ---------------------------------------------------------------------------------------


def _read(log: str, summary: Summary) -> str:
    """Add a file's lines. Returns what kept it from being read; "" when it was."""
    try:
        with _opened(log) as file:
            for line in _lines(file):
                summary.add(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        print(f"llmrouter stats: {printable(log)} ends early: {error}", file=sys.stderr)
    except OSError as error:
        return f"{printable(log)}: {(error.strerror or str(error)).lower()}"
    return ""


def _opened(log: str) -> BinaryIO:
    if log == "-":
        return sys.stdin.buffer
    path = Path(log)
    # what compressed a log need not have named it so
    file: BinaryIO = path.open("rb")
    if file.read(2) != b"\x1f\x8b":
        file.seek(0)
        return file
    file.close()
    return gzip.open(path, "rb")  # type: ignore[return-value]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines. One without an end is still being written, unless it can be read."""
    while line := file.readline(LINE_BYTES):
        if not line.endswith(b"\n") and not line.rstrip().endswith(b"}"):
            if len(line) < LINE_BYTES:
                return
            while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield line


# ---- what is shown -------------------------------------------------------------------------------


def as_json(summary: Summary) -> dict[str, Any]:
    return {
        "first": _time(summary.first_ms),
        "last": _time(summary.last_ms),
        "broken_lines": summary.broken,
        "outside_the_span": summary.outside,
        **summary.total.figures(),
        "by": {
            kind: [{"name": name, **totals.figures()} for name, totals in summary.sorted(kind)]
            for kind in summary.groups
        },
    }


def as_rows(summary: Summary) -> Iterator[Sequence[Any]]:
    """A table for other programs: `by`, `name` and every figure; the first row is the total."""
    yield ("by", "name", *summary.total.figures())
    yield ("total", "", *summary.total.figures().values())
    for kind in summary.groups:
        for name, totals in summary.sorted(kind):
            yield (kind, name, *totals.figures().values())


def as_lines(summary: Summary) -> Iterator[str]:
    """For people."""
    total = summary.total
    if not total.requests:
        yield "no requests" + (" in this span of time" if summary.outside else "")
        return
    yield f"{total.requests} requests, {_time(summary.first_ms)} to {_time(summary.last_ms)}"
    yield f"errors      {total.errors} ({_share(total.errors, total.requests)}); {total.gone} clients went away"
    yield f"tokens      {total.input} in ({total.cached} from caches), {total.output} out" + (
        f" ({total.reasoning} of reasoning)" if total.reasoning else ""
    )
    unpriced = f", and {total.unpriced} without a known price" if total.unpriced else ""
    yield f"cost        {_money(total)}{unpriced}"
    yield "duration    " + _spread_text(total, "duration_ms", "ms")
    yield "first token " + _spread_text(total, "ttft_ms", "ms")
    yield "speed       " + _spread_text(total, "tokens_per_s", "tokens/s")
    for kind in summary.groups:
        yield ""
        yield from table(_head(kind), [_row(*group) for group in summary.sorted(kind)])


def _head(kind: str) -> Sequence[str]:
    words = "REQUESTS ERRORS INPUT OUTPUT COST P50-MS P95-MS FIRST-P50 FIRST-P95 TOKENS/S"
    return (kind.upper(), *words.split())


def _row(name: str, totals: Totals) -> Sequence[str]:
    figures = (
        totals.duration_ms.at(0.5),
        totals.duration_ms.at(0.95),
        totals.ttft_ms.at(0.5),
        totals.ttft_ms.at(0.95),
        totals.tokens_per_s.at(0.5),
    )
    counts = (totals.requests, totals.errors, totals.input, totals.output)
    cost = _money(totals) + ("+?" if totals.priced and totals.unpriced else "")
    return (name or "-", *map(str, counts), cost, *map(_figure, figures))


def _money(totals: Totals) -> str:
    return f"${totals.cost_usd:.4f}" if totals.priced else "unknown"


def _spread_text(totals: Totals, name: str, unit: str) -> str:
    figures = totals.figures()
    if figures[f"{name}_p50"] is None:
        return "-"
    told = (f"p{share} {_figure(figures[f'{name}_p{share}'])}" for share in (50, 90, 95, 99))
    return ", ".join(told) + f" {unit}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def _time(ts_ms: int | None) -> str | None:
    try:
        return (
            None
            if ts_ms is None
            else datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat("T", "seconds")
        )
    except (ValueError, OverflowError, OSError):
        return None
