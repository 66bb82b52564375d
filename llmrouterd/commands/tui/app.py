"""The tasks of the terminal view, and what lies between them: one View.

Owns: who waits for what: keys, signals, the feed, the state of the providers, an answer of the chat,
a second; when the screen is painted.
Refuses to know: what a key does (keys), what is where (frame), curses (screen).

Laws:
1. Nothing polls the terminal: an idle screen costs a question to the router every few seconds.
2. One task paints; all others change the View and ring.
3. The terminal is given back before anything is said of why.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from llmrouterd.commands.following import Following
from llmrouterd.commands.router import BROKEN, Refused, Router, WrongUse, key_of
from llmrouterd.commands.terminal import clean
from llmrouterd.commands.tui import keys
from llmrouterd.commands.tui.asking import ask
from llmrouterd.commands.tui.frame import frame
from llmrouterd.commands.tui.state import View

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from llmrouterd.commands.tui.screen import Screen

JSON = Any
PAINT_S = 0.06  # the least time between two paintings
STATE_S = 2.0
REFUSED_S = 5.0
_SECOND = 1.0
_QUIET_READS = 20  # of a terminal that is readable and has nothing to read: it is gone
_STOPS = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}
_LOST = (*BROKEN, Refused, TimeoutError)


def run(args: argparse.Namespace) -> int:
    """Show until somebody quits. 2: wrong usage, or no terminal for it."""
    try:
        from llmrouterd.commands.tui import screen
    except ImportError:
        return _complain("this Python has no curses; 'llmrouter watch' needs none")
    try:
        router = Router(args.url, key_of(args, os.environ), ca_file=args.ca_file or "")
        screen.check()
    except (WrongUse, screen.NoScreen) as why:
        return _complain(str(why))
    view = View(router.url)
    view.filter_line.put(args.filter)
    view.set_filter(args.filter)
    if view.filter_wrong:
        return _complain(view.filter_wrong)
    return trio.run(App(router, view, screen.Screen()).run)


def _complain(text: str) -> int:
    print(f"llmrouter tui: {text}", file=sys.stderr)
    return 2


class App:
    """A listener of the feed that shows what it hears."""

    def __init__(self, router: Router, view: View, screen: Screen) -> None:
        self._router = router
        self._view = view
        self._screen = screen
        self._bell = trio.Event()
        self._code = 0
        self._answering: trio.CancelScope | None = None

    async def run(self) -> int:
        with (
            contextlib.closing(self._router),
            trio.open_signal_receiver(*_STOPS, signal.SIGWINCH, signal.SIGTSTP) as signals,
            self._screen,
        ):
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._follow)
                nursery.start_soon(self._ask_state)
                nursery.start_soon(self._read_keys)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._paint)
                async for number in signals:
                    self._heed(number)
        return self._code

    def ring(self) -> None:
        """Something has changed."""
        self._bell.set()

    def _quit(self, code: int) -> None:
        self._code = code
        self._nursery.cancel_scope.cancel()

    def _heed(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._screen.resize()
        elif number == signal.SIGTSTP:
            self._screen.rest()
            os.kill(os.getpid(), signal.SIGSTOP)  # goes on here when it is woken
            self._screen.wake()
        else:
            self._quit(_STOPS[signal.Signals(number)])
        self.ring()

    # --- painting ---------------------------------------------------------------------------------

    async def _paint(self) -> None:
        while True:
            view, screen = self._view, self._screen
            view.now_ms = _now_ms() - view.board.skew_ms
            screen.paint(frame(view, *screen.size))
            await trio.sleep(PAINT_S)
            await self._bell.wait()
            self._bell = trio.Event()

    async def _tick(self) -> None:
        """What runs grows older, second by second."""
        while True:
            await trio.sleep(_SECOND)
            if self._view.board.running:
                self.ring()

    # --- keys -------------------------------------------------------------------------------------

    async def _read_keys(self) -> None:
        quiet = 0
        while quiet < _QUIET_READS:
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            pressed = self._screen.keys()
            quiet = 0 if pressed else quiet + 1
            for key in pressed:
                self._press(key)
            self.ring()
            if not pressed and _is_gone():
                await trio.sleep(PAINT_S)
        self._quit(_STOPS[signal.SIGHUP])

    def _press(self, key: str) -> None:
        act = keys.press(self._view, key)
        match act.kind if act is not None else "":
            case "quit":
                self._quit(0)
            case "redraw":
                self._screen.redraw()
            case "stop" if self._answering is not None:
                self._answering.cancel()
            case "send" if act is not None:
                self._nursery.start_soon(self._send, act.text)
            case "open":
                self._nursery.start_soon(self._open)
            case _:
                pass

    # --- the feed ---------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            after = "" if self._view.board.ended else "0"
            try:
                await Following(self._router, self, "v=2&bodies=none", after).run()
            except Refused as why:
                self._view.link, self._view.why = "refused", str(why)
                self.ring()
            await trio.sleep(REFUSED_S)

    def joined(self) -> None:
        self._view.link, self._view.why = "live", ""
        self._nursery.start_soon(self._ask_models)
        self.ring()

    def parted(self, why: str, again_s: float) -> None:
        self._view.link, self._view.why = "away", f"{why}; trying again"
        self.ring()

    def heard(self, event: dict[str, JSON], text: str, number: str) -> None:
        view = self._view
        asked = view.board.apply(event, number, _now_ms())
        if event.get("type") == "provider":
            view.changed(event)
        if asked is not None and asked is view.shown and asked.ended and view.over == "detail":
            self._nursery.start_soon(self._open)
        self.ring()

    # --- questions --------------------------------------------------------------------------------

    async def _ask_state(self) -> None:
        """How the providers do."""
        while True:
            if self._view.link == "live":
                try:
                    told = await self._router.get("/dashboard/api/state")
                except _LOST:
                    told = {}
                providers = told.get("providers")
                if isinstance(providers, list):
                    known: list[Mapping[str, JSON]] = [
                        each for each in providers if isinstance(each, dict)
                    ]
                    self._view.knows(known, _now_ms())
                    self.ring()
            await trio.sleep(STATE_S if self._view.link == "live" else PAINT_S * 4)

    async def _ask_models(self) -> None:
        try:
            told = await self._router.get("/v1/models")
        except _LOST:
            return
        listed = told.get("data")
        names = [each.get("id") for each in listed if isinstance(each, dict)] if listed else []
        self._view.chat.models = [name for name in names if isinstance(name, str)]
        self.ring()

    async def _open(self) -> None:
        """The words of the request that is shown whole."""
        view = self._view
        asked = view.shown
        if asked is None or view.words is not None or not asked.ended:
            return
        try:
            number = quote(asked.number, safe="")
            words = await self._router.get(f"/dashboard/api/event?number={number}")
            missing = ""
        except _LOST as error:
            words, missing = None, clean(str(error))
            if isinstance(error, Refused) and error.status == 404:
                missing = "its words are not held any more"
        if view.shown is asked:
            view.words, view.words_missing = words, missing
            self.ring()

    async def _send(self, text: str) -> None:
        with trio.CancelScope() as self._answering:
            await ask(self._router, self._view.chat, text, self.ring)
        self._answering = None
        self.ring()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_gone() -> bool:
    """Whether nobody is at the terminal any more."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN)
    return bool(poll.poll(0))
