"""`llmrouter tui`: a running router on the whole screen.

state, typed, chat , keys     what is shown and what a key does to it; pure
feed, figures, providers, talk, detail, guide   one pane each: state in, styled lines out; pure
frame                         the panes on a screen of so many rows and columns; pure
screen                        curses, and nothing but curses
app                           the tasks: keys, signals, feed, providers, chat, painting
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    from llmrouterd.commands.tui import app

    return app.run(args)
