"""`llmrouter replay --send`: the requests of a log for real, beside what came of them then.

Owns: which lines are sent, and how the answers are shown as they come.
Refuses to know: how a request is made of a line and where it goes (ops/resend.py).

Law: before the first request is sent it is said how many there are and where they go.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.commands import locate
from llmrouterd.commands.check import find_and_load, printable
from llmrouterd.commands.loglines import BadLog, ordered, read_lines
from llmrouterd.model import ConfigError
from llmrouterd.ops.resend import NotToSend, place_at, send_all, sending, with_own_router

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from llmrouterd.config import Config
    from llmrouterd.ops.resend import Place, Sending, Sent

JSON = Any


@dataclass(frozen=True, slots=True)
class Due:
    """A request that will be sent, and what the log says came of it."""

    request: Sending
    line: Mapping[str, JSON]


def run(args: argparse.Namespace, since_ms: int) -> int:
    """Send, and print each answer. Exit code 0; 1 when one failed or there was none to send."""
    due, left_out, why = _chosen(args, since_ms)
    for reason, count in why.items():
        _say(f"{count} not sent: {reason}")
    if not due:
        _say("there is no request to send")
        return 1
    report = Report(due, as_json=args.json)
    try:
        _send(args, due, report)
    except ConfigError as error:
        return locate.complain(error)
    report.finish(left_out)
    return 1 if report.failed or report.answered < len(due) else 0


def _chosen(args: argparse.Namespace, since_ms: int) -> tuple[list[Due], int, dict[str, int]]:
    """The newest lines that can be sent; the number of the others, and why."""
    chosen: deque[Due] = deque(maxlen=args.limit)
    why: dict[str, int] = {}
    for line in read_lines(ordered(args.log)):
        ts_ms = line.value.get("ts_ms")
        if since_ms and not line.why and (type(ts_ms) is not int or ts_ms < since_ms):
            continue
        try:
            if line.why:
                raise NotToSend("the line cannot be read")
            chosen.append(Due(sending(line.value), line.value))
        except NotToSend as reason:
            why[str(reason)] = why.get(str(reason), 0) + 1
    return list(chosen), sum(why.values()), why


def _send(args: argparse.Namespace, due: list[Due], report: Report) -> None:
    config = _config(args)

    async def use(place: Place) -> None:
        where = args.url or f"a router of {config.path if config else '-'} in this process"
        _say(f"sending {len(due)} to {where}, {args.concurrency} at once")
        requests = (each.request for each in due)
        await send_all(place, requests, at_once=args.concurrency, tell=report.tell)

    if args.url:
        try:
            place = place_at(args.url, os.environ.get(args.key_env, ""), config)
        except ValueError as error:
            raise BadLog(str(error)) from None
        trio.run(use, place)
        return
    from llmrouter import __version__

    assert config is not None
    trio.run(with_own_router, config, f"llmrouter/{__version__}", use)


def _config(args: argparse.Namespace) -> Config | None:
    """With --url the file only tells prices, and need not be there."""
    return None if args.url and args.config is None else find_and_load(args)


class Report:
    """The answers as they come: a line each, or with as_json all at the end."""

    def __init__(self, due: list[Due], *, as_json: bool) -> None:
        self._due = due
        self._as_json = as_json
        self._told: dict[int, JSON] = {}
        self.failed = 0

    @property
    def answered(self) -> int:
        return len(self._told)

    def tell(self, number: int, sent: Sent) -> None:
        line = self._due[number].line
        self.failed += sent.status != 200 or bool(sent.error)
        now = {
            "status": sent.status,
            "provider": sent.provider,
            "model": sent.model,
            "ms": sent.ms,
            "input_tokens": sent.usage.input if sent.usage else None,
            "output_tokens": sent.usage.output if sent.usage else None,
            "cost_usd": sent.cost_usd,
            "error": sent.error or None,
        }
        then = {name: line.get(name) for name in ("status", "provider", "cost_usd")}
        then |= {name: line.get(name) for name in ("input_tokens", "output_tokens", "error")}
        then |= {"model": line.get("sent_model"), "ms": line.get("duration_ms")}
        model = str(line.get("requested_model"))
        self._told[number] = {"model": model, "id": line.get("request_id")} | {
            "then": then,
            "now": now,
        }
        if not self._as_json:
            for text in _lines(len(self._told), model, then, now):
                print(printable(text), flush=True)

    def finish(self, left_out: int) -> None:
        if self._as_json:
            told = [self._told[number] for number in sorted(self._told)]
            print(json.dumps({"sent": told, "failed": self.failed, "not_sent": left_out}, indent=2))
        else:
            print(f"{self.answered} sent, {self.failed} failed")


def _lines(
    number: int, model: str, then: Mapping[str, JSON], now: Mapping[str, JSON]
) -> Iterator[str]:
    yield f"{number}. {model}"
    yield f"   then  {_side(then)}"
    yield f"   now   {_side(now)}"


def _side(side: Mapping[str, JSON]) -> str:
    place = f"{side['provider']}/{side['model']}" if side["provider"] else "-"
    tokens = f"{_or_not(side['input_tokens'])}+{_or_not(side['output_tokens'])} tokens"
    cost = "cost unknown" if side["cost_usd"] is None else f"{side['cost_usd']:.6f} USD"
    error = f"  {side['error']}" if side["error"] else ""
    return f"{side['status']}  {place}  {_or_not(side['ms'])} ms  {tokens}  {cost}{error}"


def _or_not(value: JSON) -> str:
    return "?" if value is None else str(value)


def _say(text: str) -> None:
    """To stderr: it is no answer."""
    print(f"llmrouter replay: {printable(text)}", file=sys.stderr, flush=True)
