"""What all attempts of one request share.

Owns: `Work`, the request with everything round it that an attempt needs.
Refuses to know: what an attempt does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrouterd.guard.egress import FREE, Label
from llmrouterd.model import ANYBODY
from llmrouterd.pipeline.patience import ENDLESS, Patience

if TYPE_CHECKING:
    from formats.canonical import Image, Request
    from formats.embeddings import EmbedRequest
    from llmrouterd.model import Caller, Headers, Secret
    from llmrouterd.pipeline.answers import Resumed
    from llmrouterd.pipeline.aside import Kept
    from llmrouterd.pipeline.daemon import Daemon, Generation
    from llmrouterd.pipeline.extend import Extensions
    from llmrouterd.pipeline.recall import Recall
    from llmrouterd.pipeline.reply import Reply
    from llmrouterd.pipeline.story import Story


@dataclass(slots=True)
class Work:
    """strict: a loss in translation is refused, not noted. key: which of a provider's several. embed:
    vectors are asked for, no chat. resumed: what a request of the Responses API went on from. fetched:
    pictures by their URL, None for those that could not be had. caller: whose key it came with. label:
    where its bytes may go, by the owner's policies. patience: how long the client waits for its answer
    to begin. kept: an answer that is given if nobody has a better one. asked_at: when the last attempt
    began to be made, on trio's clock. first_at: when the first content of an answer came that is
    folded."""

    request: Request
    incoming: Headers
    query: str
    ext: Extensions
    reply: Reply
    story: Story
    gen: Generation
    daemon: Daemon
    strict: bool = False
    caller: Caller = ANYBODY
    key: Secret | None = None
    embed: EmbedRequest | None = None
    resumed: Resumed | None = None
    fetched: dict[str, Image | None] = field(default_factory=dict)
    label: Label = FREE
    asked_at: float = 0.0
    first_at: float | None = None
    patience: Patience = ENDLESS
    kept: list[Kept] = field(default_factory=list)

    @property
    def recall(self) -> Recall:
        """What is remembered for this client."""
        return self.daemon.recall(self.story.client)

    @property
    def unwelcome(self) -> tuple[str, ...]:
        """Tags with which an answer of the candidate in hand is not yet the last word."""
        place = self.story.candidate
        if place is None or not place.retry_on_tags or self.embed is not None:
            return ()
        return place.retry_on_tags if self.gen.response_classifiers else ()

    @property
    def keep(self) -> bool:
        """Somebody wants to know what the answer said."""
        return self.ext.wants_response or self.daemon.keep_bodies or bool(self.unwelcome)
