"""The help: every key, on one page.

Owns: the words.
"""

from __future__ import annotations

from llmrouterd.commands.terminal import Line, Span

_KEYS = (
    ("everywhere", ""),
    ("Tab, 1 2 3 4", "the next pane; requests, statistics, providers, chat"),
    ("j k, arrows", "down and up; PgDn PgUp a page, g G the ends"),
    ("z", "this pane on the whole screen, and back"),
    ("?, Ctrl-L", "this page, and back; the screen painted anew"),
    ("Esc", "back, out of whatever it is"),
    ("q, Ctrl-C", "quit; Ctrl-Z puts it to sleep, fg wakes it"),
    ("requests", ""),
    ("Enter", "all of the selected request: the walk, tries, words, cost"),
    ("/", "filter: provider=NAME model='llama*' client=NAME tag=NAME"),
    ("", "end=truncated errors or any word; ! in front turns it round"),
    ("e", "only what went wrong, and back"),
    ("p", "pause: the rows stay as they are, and go on with p"),
    ("chat", ""),
    ("i", "write; Enter sends, Esc leaves, up and down: what was sent"),
    (":model NAME", "the model to ask for; :models lists them"),
    (":system TEXT", "what is said to the model first; :clear forgets all"),
    ("Esc", "stops an answer that is coming in"),
    ("signs", ""),
    ("\u25cf \u2713 \u2717", "in flight, done, failed"),
    ("\u2248", "a number that is estimated, or counted in pieces of a stream"),
)


def lines() -> list[Line]:
    out: list[Line] = []
    for key, text in _KEYS:
        if text:
            out.append((Span(f"  {key:14}", "accent"), Span(text)))
        else:
            out.append((Span(key, "head"),))
    return out
