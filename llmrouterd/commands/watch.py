"""`llmrouter watch`: each request of a running router, as it goes on.

Owns: what is printed when, to whom: lines to stdout, the state of the connection to stderr.
Refuses to know: how a feed is followed (following.py), what a line looks like (lines.py).

Laws:
1. Nothing but requests, and providers that change, goes to stdout; with `--json` only the feed's own
   lines, byte for byte JSON.
2. With a filter a request's lines are kept back until it is known to be wanted, and of so many
   requests only.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from llmrouterd.commands import filters
from llmrouterd.commands.board import Asked, Board
from llmrouterd.commands.following import Following
from llmrouterd.commands.lines import WIDE, lines, standing
from llmrouterd.commands.router import Refused, Router, WrongUse, key_of
from llmrouterd.commands.terminal import clean, painted

if TYPE_CHECKING:
    import argparse

JSON = Any
_ENDLESS = 10_000  # a pipe has no edge to cut at
_HELD = 1000  # requests whose lines are kept back


def run(args: argparse.Namespace) -> int:
    """Print until stopped. 1: the router lets nobody look on, 2: wrong usage."""
    import trio

    try:
        wanted = filters.parse(args.filter)
        router = Router(args.url, key_of(args, os.environ), ca_file=args.ca_file or "")
    except (WrongUse, ValueError) as why:
        say(str(why))
        return 2
    watch = Watch(router.url, wanted, json=args.json, brief=args.brief)
    query = "" if args.json else "v=2&bodies=none"
    try:
        trio.run(Following(router, watch, query).run)
    except Refused as why:
        say(clean(str(why)))
        return 1
    return 0


def say(text: str) -> None:
    print(f"llmrouter watch: {text}", file=sys.stderr, flush=True)


class Watch:
    """A listener that prints."""

    def __init__(self, url: str, wanted: filters.Filter, *, json: bool, brief: bool) -> None:
        self._url = url
        self._wanted = wanted
        self._json = json
        self._brief = brief
        self._board = Board()
        self._held: dict[int, list[str]] = {}
        self._why = ""  # the feed is away, as was said
        self._colours = has_colours()

    def joined(self) -> None:
        if self._why:
            say(f"{self._url} is there again")
        self._why = ""

    def parted(self, why: str, again_s: float) -> None:
        why = clean(why)
        if why != self._why:
            say(f"{self._url}: {why}; trying again")
        self._why = why

    def heard(self, event: dict[str, JSON], text: str, number: str) -> None:
        lost = self._board.lost
        asked = self._board.apply(event, number)
        if self._board.lost > lost:
            say(f"this terminal is too slow: {self._board.lost - lost} events were lost")
        if event.get("type") == "provider" and not (
            self._json or self._brief or self._wanted.words
        ):
            print(painted(standing(event, self._columns()), colours=self._colours), flush=True)
        if asked is None:
            return
        told = [text] if self._json else self._lines(str(event.get("type")), asked)
        self._tell(asked, told)

    def _lines(self, kind: str, asked: Asked) -> list[str]:
        made = lines(kind, asked, self._columns(), brief=self._brief)
        return [painted(line, colours=self._colours) for line in made]

    @staticmethod
    def _columns() -> int:
        return shutil.get_terminal_size((WIDE, 24)).columns if sys.stdout.isatty() else _ENDLESS

    def _tell(self, asked: Asked, told: list[str]) -> None:
        """Print, hold back or forget the lines of a request."""
        if self._wanted.may_change(asked):
            if asked.id in self._held or len(self._held) < _HELD:
                self._held.setdefault(asked.id, []).extend(told)
            return
        told = self._held.pop(asked.id, []) + told
        if self._wanted.shows(asked) and told:
            print("\n".join(told), flush=True)


def has_colours() -> bool:
    """On a terminal that has some, for somebody who wants them."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "", "dumb")
    return sys.stdout.isatty() and not plain
