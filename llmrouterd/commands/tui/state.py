"""What the screen shows, apart from how.

Owns: the panes, which of them has the keys, what is selected, filtered, scrolled to, shown over all.
Refuses to know: curses, sockets, rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from llmrouterd.commands import filters
from llmrouterd.commands.board import Board, whole
from llmrouterd.commands.tui.chat import Chat
from llmrouterd.commands.tui.typed import Typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.commands.board import Asked
    from llmrouterd.commands.terminal import Line

JSON = Any
_STANDING = ("healthy", "circuit", "paused", "reached", "why", "back_s")
Pane = Literal["feed", "figures", "providers", "chat"]
PANES: tuple[Pane, ...] = ("feed", "figures", "providers", "chat")
Link = Literal["connecting", "live", "away", "refused"]
Over = Literal["", "detail", "guide"]
Mode = Literal["browsing", "chatting", "filtering"]


@dataclass(slots=True)
class View:
    """All of it. scroll: lines from the top (of the chat: from the bottom). selected: None: the first.
    frozen: the rows as they stood when the feed was paused. words: what was said in the request that
    is shown whole; None: not known."""

    url: str
    board: Board = field(default_factory=Board)
    chat: Chat = field(default_factory=Chat)
    pane: Pane = "feed"
    left: Pane = "figures"  # of the two that may share a place, the one that was last looked at
    mode: Mode = "browsing"
    over: Over = ""
    zoomed: bool = False
    link: Link = "connecting"
    why: str = ""
    now_ms: int = 0
    providers: list[Mapping[str, JSON]] = field(default_factory=list)
    providers_ms: int = 0  # when they were as they are here, by the router's clock
    version: str = ""
    line: Typed = field(default_factory=Typed)
    filter_line: Typed = field(default_factory=Typed)
    filter: filters.Filter = field(default_factory=filters.Filter)
    filter_wrong: str = ""
    selected: Asked | None = None
    frozen: list[Asked] | None = None
    scroll: dict[str, int] = field(default_factory=dict)
    shown: Asked | None = None
    words: Mapping[str, JSON] | None = None
    words_missing: str = ""
    detail_key: object = None  # what the lines below were made of
    detail_lines: list[Line] = field(default_factory=list)

    # --- the feed's rows --------------------------------------------------------------------------

    def rows(self) -> list[Asked]:
        """The requests to list: those in flight first, the newest first of each."""
        if self.frozen is not None:
            every = self.frozen
        else:
            every = [*reversed(self.board.running.values()), *reversed(self.board.ended)]
        if not self.filter.words:
            return every
        return [each for each in every if self.filter.shows(each)]

    def place(self, rows: list[Asked]) -> int:
        """Which row is selected."""
        for at, each in enumerate(rows):
            if each is self.selected:
                return at
        return 0

    def select(self, by: int) -> None:
        """Move the selection; at the top it stays there as new rows come."""
        rows = self.rows()
        at = min(max(self.place(rows) + by, 0), len(rows) - 1)
        self.selected = rows[at] if at > 0 else None

    def chosen(self) -> Asked | None:
        rows = self.rows()
        return rows[self.place(rows)] if rows else None

    def pause(self) -> None:
        self.frozen = None if self.frozen is not None else self.rows()

    def set_filter(self, text: str) -> None:
        """Of a filter that is wrong the last right one stays, and what is wrong is said."""
        try:
            self.filter = filters.parse(text)
            self.filter_wrong = ""
        except ValueError as error:
            self.filter_wrong = str(error)

    # --- the providers ----------------------------------------------------------------------------

    def knows(self, providers: list[Mapping[str, JSON]], now_ms: int) -> None:
        self.providers, self.providers_ms = providers, now_ms - self.board.skew_ms

    def changed(self, event: Mapping[str, JSON]) -> None:
        """A provider is not as it was. A replay may tell what was before the last full picture."""
        if (whole(event, "ts_ms") or 0) < self.providers_ms:
            return
        now = {name: event.get(name) for name in _STANDING if name in event}
        self.providers = [
            {**each, **now} if each.get("name") == event.get("provider") else each
            for each in self.providers
        ]

    # --- where one is -----------------------------------------------------------------------------

    def go(self, pane: Pane) -> None:
        self.pane = pane
        if pane in ("figures", "providers"):
            self.left = pane

    def scroll_by(self, name: str, by: int) -> None:
        """The frame keeps it within what there is to see."""
        self.scroll[name] = max(self.scroll.get(name, 0) + by, 0)

    def show(self, asked: Asked) -> None:
        self.over, self.shown = "detail", asked
        self.words, self.words_missing = asked.words, ""
        self.scroll["detail"] = 0
