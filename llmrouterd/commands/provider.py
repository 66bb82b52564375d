"""`llmrouter provider list|pause|resume|drain [NAME]`: who is asked, of a running router.

Owns: the words, and waiting for a provider to be empty.
Refuses to know: what pausing means for a request (pipeline/daemon.py, route/decide.py).
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from llmrouterd.commands.asking import NoAnswerError, WronglyAskedError, ask
from llmrouterd.commands.check import printable, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

JSON = Any
EVERY_S = 0.25


def run(args: argparse.Namespace) -> int:
    """0: done. 1: there is no such provider, no router, or it was not empty in time.
    2: wrong usage."""
    try:
        if args.action == "list":
            for line in _listed(args):
                print(line)
            return 0
        if not args.name:
            raise WronglyAskedError(f"name the provider: llmrouter provider {args.action} NAME")
        asked = {"name": args.name, "paused": args.action != "resume"}
        told = ask(args.url, "/dashboard/api/provider", args.key_env, asked)
        if args.action == "drain":
            return _drained(args, told["in_flight"], told.get("stale_s", 0.0))
        print(f"{args.name}: {'paused' if told['paused'] else 'asked again'}")
    except NoAnswerError as error:
        print(f"llmrouter: {error}", file=sys.stderr)
        return error.code
    return 0


def _providers(args: argparse.Namespace) -> list[dict[str, JSON]]:
    found: list[dict[str, JSON]] = ask(args.url, "/dashboard/api/state", args.key_env)["providers"]
    return found


def _listed(args: argparse.Namespace) -> Iterator[str]:
    rows = [
        (each["name"], _state(each), str(each["in_flight"]), each["why"] or "-")
        for each in _providers(args)
    ]
    yield from table(("PROVIDER", "STATE", "IN FLIGHT", "WHY"), rows)


def _state(each: dict[str, JSON]) -> str:
    if each.get("paused"):
        return "paused"
    return "well" if each["healthy"] else "ill"


def _drained(args: argparse.Namespace, in_flight: int, stale_s: float) -> int:
    """Wait until nothing is in flight there any more: nothing has been for as long as it takes until
    the router knows that of all its processes."""
    until = time.monotonic() + args.timeout
    empty_at = time.monotonic()
    while in_flight or time.monotonic() < empty_at + stale_s:
        if in_flight and time.monotonic() >= until:
            words = f"{args.name}: paused, and {in_flight} requests still run there"
            print(f"llmrouter: {printable(words)}", file=sys.stderr)
            return 1
        time.sleep(EVERY_S)
        found = [each for each in _providers(args) if each["name"] == args.name]
        in_flight = found[0]["in_flight"] if found else 0
        if in_flight:
            empty_at = time.monotonic() + EVERY_S
    print(f"{args.name}: paused, and nothing runs there")
    return 0
