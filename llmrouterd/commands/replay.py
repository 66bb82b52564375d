"""`llmrouter replay LOG... --config NEW`: what would the new file have done with this log?

Owns: the arguments, the log's lines (plain, compressed, from stdin), and how the answer is shown.
Refuses to know: how it is decided and compared (pipeline/replay.py), how requests are sent
(ops/resend.py).

Laws:
1. Nobody is asked anything without `--send`, and so no key is needed: a provider whose variable is
   not set here counts wherever the log has it.
2. A line that cannot be read is counted and the first of them shown; it never ends the replay.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from llmrouterd.commands import locate
from llmrouterd.commands.check import find_and_load, printable, table
from llmrouterd.commands.loglines import BadLog, Line, UnreadLog, ordered, read_lines
from llmrouterd.model import ConfigError
from llmrouterd.pipeline.replay import NoFacts, NotRouted, Replay
from llmrouterd.route.recorded import ListMissing, Unreadable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from llmrouterd.config import Config
    from llmrouterd.pipeline.replay import Compared

JSON = Any
SHOWN = 20  # changes that are shown without --all
PAIRS = 50
_NO_KEY = "no key for a replay:"
_SINCE = re.compile(r"(\d{1,9})\s*([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class _AskedWrongly(Exception):
    """What was asked for cannot be done; the text says why."""


class _AnyKey(dict[str, str]):
    """The environment, in which every key is set: routing does not look into them."""

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name)
        return found if found is not None and found.strip() else f"{_NO_KEY}{name}"


def run(args: argparse.Namespace) -> int:
    """Print the comparison. Exit code 0; 1 when there was nothing to replay (or, with --send, when a
    request failed), 2 for wrong usage."""
    try:
        since_ms = _since_ms(args.since, datetime.now(UTC))
        if args.send:
            from llmrouterd.commands.resend import run as send

            return send(args, since_ms)
        environ = _AnyKey(os.environ)
        config = find_and_load(args, environ)
        seen = _replayed(args, config, since_ms)
    except (_AskedWrongly, BadLog) as why:
        print(f"llmrouter replay: {why}", file=sys.stderr)
        return 1 if isinstance(why, UnreadLog) else 2
    except ConfigError as error:
        return locate.complain(error)
    if args.json:
        print(json.dumps(as_json(seen), indent=2))
    else:
        print("\n".join(printable(line) for line in lines(seen)))
    return 0 if seen.replay.sum.requests else 1


# --- the log --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """All that came of a replay. changes: the first of them, or all. broken: lines that could not be
    read; first_broken: where the first is, and why."""

    config: Config
    files: list[str]
    replay: Replay
    changes: list[Compared] = field(default_factory=list)
    broken: int = 0
    first_broken: str = ""
    missing: int = 0
    no_facts: int = 0
    not_routed: int = 0
    older: int = 0

    def is_broken(self, line: Line, why: object) -> None:
        self.broken += 1
        self.first_broken = self.first_broken or f"{line.place}: {why}"


def _replayed(args: argparse.Namespace, config: Config, since_ms: int) -> Seen:
    files = ordered(args.log)
    seen = Seen(config, [str(file) for file in files], _replay_of(config))
    chosen: deque[Line] | None = deque(maxlen=args.limit) if args.limit else None
    for line in read_lines(files):
        try:
            if line.why:
                raise Unreadable(line.why)
            seen.replay.learn(line.value)  # what later lines refer to, be this one too old or not
        except Unreadable as why:
            seen.is_broken(line, why)
            continue
        if since_ms and _ts_ms(line) < since_ms:
            seen.older += 1
        elif chosen is not None:
            chosen.append(line)
        else:
            _one(seen, line, everything=args.all)
    for line in chosen or ():
        _one(seen, line, everything=args.all)
    return seen


def _replay_of(config: Config) -> Replay:
    keyless = {
        p.name for p in config.providers if p.key is not None and p.key.reveal().startswith(_NO_KEY)
    }
    callers = {holder.caller.name: holder.caller for holder in config.clients}
    return Replay(config.routing, config.providers, callers, frozenset(keyless))


def _one(seen: Seen, line: Line, *, everything: bool) -> None:
    try:
        compared = seen.replay.compare(line.value)
    except ListMissing as why:
        seen.missing += 1
        seen.first_broken = seen.first_broken or f"{line.place}: {why}"
    except Unreadable as why:
        seen.is_broken(line, why)
    except NoFacts:
        seen.no_facts += 1
    except NotRouted:
        seen.not_routed += 1
    else:
        if compared.changed and (everything or len(seen.changes) < SHOWN):
            seen.changes.append(compared)


def _ts_ms(line: Line) -> int:
    value = line.value.get("ts_ms")
    return value if type(value) is int else 0


def _since_ms(text: str | None, now: datetime) -> int:
    """`24h`, `90m`, `7d`, or a date; as milliseconds since 1970. 0: from the beginning."""
    if not text:
        return 0
    found = _SINCE.match(text.strip())
    try:
        if found:
            when = now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        else:
            when = datetime.fromisoformat(text.strip())
        return int(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise _AskedWrongly(f"--since takes 24h, 90m, 7d or a date, not {text!r}") from None


# --- for people -----------------------------------------------------------------------------------


def lines(seen: Seen) -> Iterator[str]:
    """The sum, the pairs, the changes, and what is not known."""
    total = seen.replay.sum
    if total.requests:
        span = f", {_time(total.first_ms)} to {_time(total.last_ms)}" if total.first_ms else ""
        yield f"{seen.config.path}: {_count(total.requests, 'request')}{span}"
        yield ""
        behind = f" ({total.reordered} of them with others behind it)" if total.reordered else ""
        yield f"same      {total.same}{behind}"
        yield f"changed   {total.changed}"
        yield f"refused   {total.refused_then} then, {total.refused_now} now"
        yield f"cost      {_cost(seen)}"
        yield from _changes(seen)
    else:
        yield "there is no request to replay"
    notes = list(_notes(seen))
    if notes:
        yield ""
        yield from notes


def _cost(seen: Seen) -> str:
    total = seen.replay.sum
    unknown = f"; unknown for {total.unpriced}" if total.unpriced else ""
    if not total.priced:
        return f"unknown for {total.unpriced}" if total.unpriced else "none"
    difference = total.cost_now - total.cost_then
    figures = f"{total.cost_then:.6f} USD then, {total.cost_now:.6f} now ({difference:+.6f})"
    return f"{figures} for {_count(total.priced, 'request')}{unknown}"


def _changes(seen: Seen) -> Iterator[str]:
    pairs = seen.replay.sum.pairs
    if not pairs:
        return
    yield ""
    rows = [(*pair, str(count)) for pair, count in pairs.most_common(PAIRS)]
    yield from table(("FROM", "TO", "REQUESTS"), rows)
    if len(pairs) > PAIRS:
        yield f"(and {len(pairs) - PAIRS} more)"
    yield ""
    yield from table(
        ("TIME", "MODEL", "FROM", "TO", "REASON"),
        [(_time(c.ts_ms), c.model, c.then.name, c.now.name, c.reason) for c in seen.changes],
    )
    changed = seen.replay.sum.changed
    if len(seen.changes) < changed:
        yield f"({len(seen.changes)} of {changed} shown; --all shows all of them)"


def _notes(seen: Seen) -> Iterator[str]:
    """What a reader must know to judge the figures."""
    total = seen.replay.sum
    for name in sorted(total.new):
        yield f"note: the log knows nothing of {name}: taken to be well, its models as configured or unknown"
    for name in sorted(total.gone):
        yield f"note: {name} is in the log and not in this file: nothing goes there"
    for name in sorted(total.left_out):
        yield f"note: {name} has no key here: it counts only where the log knows it"
    for name in sorted(total.strangers):
        yield f"note: client {name} is not in this file: taken to be allowed to ask for everything"
    if any(rule.sticky for rule in seen.config.routing.rules):
        yield "note: sticky rules: conversations sit where they sat then"
    if total.would_ask:
        yield f"note: for {_count(total.would_ask, 'request')} providers would have been asked for their models first"
    if seen.not_routed:
        yield f"{_count(seen.not_routed, 'request')} never came to a decision (wrong, or answered by a plugin)"
    if seen.no_facts:
        yield f"{_count(seen.no_facts, 'line')} without a decision, of a version that did not write any"
    if seen.missing:
        yield f"{_count(seen.missing, 'line')} without the model lists that stand earlier in the log"
        yield "  (give the whole file: --limit and --since choose from it)"
    if seen.broken:
        yield f"{_count(seen.broken, 'line')} could not be read"
    if seen.first_broken:
        yield f"  the first: {seen.first_broken}"


def _time(ts_ms: int) -> str:
    try:
        return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "-"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- for programs ---------------------------------------------------------------------------------


def as_json(seen: Seen) -> dict[str, JSON]:
    """The same as one object."""
    total = seen.replay.sum
    return {
        "config": seen.config.path,
        "files": seen.files,
        "requests": total.requests,
        "same": total.same,
        "changed": total.changed,
        "reordered": total.reordered,
        "refused": {"then": total.refused_then, "now": total.refused_now},
        "first_ms": total.first_ms or None,
        "last_ms": total.last_ms or None,
        "cost_usd": {
            "then": total.cost_then,
            "now": total.cost_now,
            "difference": total.cost_now - total.cost_then,
            "requests": total.priced,
            "unknown": total.unpriced,
        },
        "pairs": [
            {"from": old, "to": new, "requests": n} for (old, new), n in total.pairs.most_common()
        ],
        "changes": [_change(each) for each in seen.changes],
        "providers": {
            "new": sorted(total.new),
            "gone": sorted(total.gone),
            "without_key": sorted(total.left_out),
        },
        "unknown_clients": sorted(total.strangers),
        "would_ask_for_models": total.would_ask,
        "lines": {
            "not_routed": seen.not_routed,
            "without_decision": seen.no_facts,
            "without_lists": seen.missing,
            "unreadable": seen.broken,
            "first_unreadable": seen.first_broken or None,
            "older": seen.older,
        },
    }


def _change(each: Compared) -> Mapping[str, JSON]:
    return {
        "ts_ms": each.ts_ms,
        "request_id": each.request_id,
        "model": each.model,
        "from": None
        if each.then.first is None
        else dict(zip(_PLACE, each.then.first, strict=True)),
        "to": None if each.now.first is None else dict(zip(_PLACE, each.now.first, strict=True)),
        "rule_then": each.then.rule,
        "rule_now": each.now.rule,
        "cost_then_usd": each.then.cost_usd,
        "cost_now_usd": each.now.cost_usd,
        "reason": each.reason,
    }


_PLACE = ("provider", "model")
