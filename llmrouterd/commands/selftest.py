"""`llmrouter selftest [CONFIG]`: what this router does under each fault, on this machine.

Owns: the pass table, its JSON, the exit code.
Refuses to know: what the faults are and how they are tried (llmrouterd/selftest/).

Laws:
1. stdout holds the table; a case that went wrong is named in it with all that differed.
2. Colours only on a terminal, and not with NO_COLOR.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmrouterd.commands import locate
from llmrouterd.commands.check import printable, table
from llmrouterd.config import load
from llmrouterd.model import ConfigError
from llmrouterd.selftest.faults import FAULTS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from llmrouterd.config import Config
    from llmrouterd.selftest.faults import Fault
    from llmrouterd.selftest.run import Report, Result

_SHOWN = 6  # cases of one fault that are named
_PASS, _FAIL = "pass", "FAIL"
_COLOURS = {_PASS: "\x1b[32m", _FAIL: "\x1b[31m"}
_OFF = "\x1b[0m"


def run(args: argparse.Namespace) -> int:
    """Try everything. Exit code 0; 1 when anything differed, 2 when the configuration is wrong."""
    import trio

    from llmrouter import __version__
    from llmrouterd.selftest import run as selftest

    agent = f"llmrouter/{__version__}"
    try:
        config = _config(args)
        with _quiet():
            report = trio.run(lambda: selftest.run(config, user_agent=agent))
    except ConfigError as error:
        return locate.complain(error)
    except trio.TooSlowError:
        limit = f"{selftest.LIMIT_S:g} s"
        print(f"llmrouter: the self-test was not over after {limit}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        print("\n".join(lines(report, colours=wants_colours(os.environ))))
    return 0 if report.ok else 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the daemon's own log: faults are what is wanted here."""
    log = logging.getLogger("llmrouter")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _config(args: argparse.Namespace) -> Config | None:
    path = args.config and locate.find(args.config, os.environ)
    return load(path, os.environ) if path else None


def wants_colours(environ: Mapping[str, str]) -> bool:
    return sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


# ---- for people ----------------------------------------------------------------------------------


def lines(report: Report, *, colours: bool) -> Iterator[str]:
    """One row a fault, what went wrong below it, and the sum."""
    faults = _by_fault(report.results)
    rows = [_row(fault, results) for fault, results in faults]
    head = ("", "FAULT", "STREAM: LOG SAYS", "WHOLE: LOG SAYS", "CASES", "MS")
    shown = table(head, rows)
    yield next(shown)
    for line, (_, results) in zip(shown, faults, strict=True):
        yield _coloured(line) if colours else line
        yield from (f"      {printable(each)}" for each in _wrong(results))
    yield ""
    yield from (f"note: {printable(note)}" for note in report.notes)
    wrong = sum(bool(result.wrong) for result in report.results)
    cases = f"{len(report.results)} cases in {report.duration_s:.1f} s"
    yield f"{cases}: {'all as they must be' if not wrong else f'{wrong} went wrong'}"


def _by_fault(results: Sequence[Result]) -> list[tuple[Fault, list[Result]]]:
    found: dict[str, tuple[Fault, list[Result]]] = {}
    for result in results:
        fault = result.case.fault
        found.setdefault(fault.name, (fault, []))[1].append(result)
    return [found[fault.name] for fault in FAULTS if fault.name in found]


def _row(fault: Fault, results: Sequence[Result]) -> tuple[str, ...]:
    right = sum(not result.wrong for result in results)
    times = [result.duration_ms for result in results]
    return (
        _PASS if right == len(results) else _FAIL,
        fault.what,
        _ends(results, stream=True),
        _ends(results, stream=False),
        f"{right}/{len(results)}",
        f"{min(times)}-{max(times)}",
    )


def _ends(results: Sequence[Result], *, stream: bool) -> str:
    """What the log said of a request that nobody else could answer, and of one with another left."""
    mine = [result for result in results if result.case.stream is stream]
    ends = {
        alone: sorted({_end(result) for result in mine if result.case.alone is alone})
        for alone in (True, False)
    }
    told = ["/".join(ends[alone]) for alone in (True, False) if ends[alone]]
    return ", then ".join(dict.fromkeys(told)) or "-"


def _end(result: Result) -> str:
    seen = result.seen
    if seen.tried and seen.end == "complete":
        return "failed over"
    return seen.end or "nothing"


def _wrong(results: Sequence[Result]) -> Iterator[str]:
    wrong = [result for result in results if result.wrong]
    for result in wrong[:_SHOWN]:
        yield f"{_way(result)}: {'; '.join(result.wrong)}"
    if len(wrong) > _SHOWN:
        yield f"and {len(wrong) - _SHOWN} more (--json has them all)"


def _way(result: Result) -> str:
    case = result.case
    way = "stream" if case.stream else "whole"
    left = "alone" if case.alone else "with another one"
    return f"{case.client} -> {case.subject.name}, {way}, {left}"


def _coloured(line: str) -> str:
    verdict = line.split(" ", 1)[0]
    colour = _COLOURS.get(verdict)
    return f"{colour}{verdict}{_OFF}{line[len(verdict) :]}" if colour else line


# ---- for programs --------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "duration_s": round(report.duration_s, 3),
        "notes": list(report.notes),
        "cases": [_case_json(result) for result in report.results],
    }


def _case_json(result: Result) -> dict[str, Any]:
    case, seen = result.case, result.seen
    return {
        "fault": case.fault.name,
        "what": case.fault.what,
        "client": case.client,
        "provider": case.subject.name,
        "upstream_format": case.subject.format,
        "stream": case.stream,
        "alone": case.alone,
        "must": case.expected.outcome,
        "ok": not result.wrong,
        "wrong": list(result.wrong),
        "second_try": result.again,
        "status": seen.status,
        "end": seen.end,
        "fault_of": seen.fault,
        "error_kind": seen.error_kind,
        "error": seen.failed,
        "attempts": list(seen.tried),
        "ms": result.duration_ms,
    }
