"""Token figures of an answer that its server did not count: estimates in their place.

Owns: what the figures of an answer come to where some of them are missing.
Refuses to know: how the prompt's estimate is made, who is told that these are estimates.

Law: a figure that a server gave is never replaced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats.canonical import Text, Thought, ToolUse, Usage

if TYPE_CHECKING:
    from formats.canonical import Response


def tokens(letters: int) -> int:
    """How many tokens so many characters of an answer are, about."""
    return -(-letters * 10 // 38)


def counted(usage: Usage | None) -> bool:
    """Whether a server said what clients are to be told."""
    return usage is not None and usage.input is not None and usage.output is not None


def figures(usage: Usage | None, prompt: int, letters: int) -> Usage:
    """The server's figures, and estimates for those it did not give."""
    return Usage(prompt, tokens(letters)).merged(usage or Usage())


def with_figures(response: Response, prompt: int) -> Response:
    """A whole answer with all its figures."""
    return replace(response, usage=figures(response.usage, prompt, letters_of(response)))


def letters_of(response: Response) -> int:
    letters = 0
    for part in response.parts:
        if isinstance(part, Text | Thought):
            letters += len(part.text)
        elif isinstance(part, ToolUse):
            letters += len(part.name) + len(part.arguments)
    return letters
