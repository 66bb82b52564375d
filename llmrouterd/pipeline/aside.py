"""Answers that a rule does not want to be the last word: set aside, and given if nobody does better.

Owns: whether an answer's tags send the walk on (`retry_on_tags`), and the one answer that is kept
meanwhile.
Refuses to know: which tags there are, who is asked next.

Laws:
1. Of several such answers the first is kept: the order of the candidates is the owner's order of
   preference. So at most one answer is held besides the one that comes in.
2. What is held is bounded: an answer over HELD_BYTES goes out as it is, unjudged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from formats.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from formats.canonical import Response
    from llmrouterd.pipeline.story import Story
    from llmrouterd.pipeline.work import Work

    Give = Callable[[Work], Awaitable[Failure | None]]

# No refusal is that long, and an answer that is has been worth its wait.
HELD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that may be given yet. story: its attempt's notes."""

    story: Story
    give: Give


async def sends_on(work: Work, response: Response, give: Give) -> Failure | None:
    """None: the answer may go out. A Failure: it is set aside, and the walk goes on."""
    unwelcome = work.unwelcome
    if not unwelcome:
        return None
    tags = await work.ext.tags_of(work.request, response)
    found = [tag for tag in tags if tag in unwelcome]
    if not found:
        return None
    story = work.story
    story.set_aside()
    if not work.kept:
        work.kept.append(Kept(story.twin(), give))
    return Failure("tagged", f"its answer was tagged {', '.join(found)}")


async def last_word(work: Work) -> Failure | None:
    """Give the answer that was set aside; there is one."""
    kept = work.kept.pop()
    work.story.has_last_word(kept.story)
    return await kept.give(work)
