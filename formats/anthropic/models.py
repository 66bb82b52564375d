"""What each Claude model takes, by its name.

Owns: the one table of differences between models that the writer of a request must respect.
Refuses to know: requests, prices, limits: those come from discovery and configuration.

Laws:
1. A name that is no Claude's is a server that merely speaks the format: it takes everything.
2. A Claude of a generation not known yet is taken for one of the latest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

# claude-opus-4-7, claude-sonnet-4-20250514, anthropic/claude-haiku-4.5, claude-fable-5-1
_NEW = re.compile(
    r"claude-(opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?"
)
# claude-3-5-sonnet-20241022, claude-3-opus
_OLD = re.compile(r"claude-(\d)(?:[-.](\d)(?!\d))?(?:-(opus|sonnet|haiku))?")


@dataclass(frozen=True, slots=True)
class Traits:
    """sampling: takes temperature and the like: "all" of it, "one" of temperature and top_p, "none".
    thinking: "budget" (enabled with budget_tokens), "adaptive" (can be off), "between" (instead of
    off), "always" (cannot be off), "none". output_format: bound answers without a tool. displays:
    sends no thinking text unless asked to.
    """

    claude: bool = True
    sampling: Literal["all", "one", "none"] = "none"
    thinking: Literal["budget", "adaptive", "between", "always", "none"] = "adaptive"
    takes_xhigh: bool = True
    forced_choice: bool = True
    system_inside: bool = True
    prefill: bool = False
    output_format: bool = True
    displays: bool = True


_ANY = Traits(
    claude=False,
    sampling="all",
    thinking="budget",
    system_inside=False,
    prefill=True,
    displays=False,
)


@lru_cache(maxsize=256)
def traits(model: str) -> Traits:
    """What the model of this name takes."""
    name = model.lower()
    if "claude" not in name:
        return _ANY
    if found := _NEW.search(name):
        return _of(found[1], int(found[2]), int(found[3] or 0))
    if found := _OLD.search(name):
        return _of(found[3] or "", int(found[1]), int(found[2] or 0))
    return Traits()


def _of(family: str, major: int, minor: int) -> Traits:
    version = (major, minor)
    later = family in ("fable", "mythos")
    if later or (family == "opus" and version >= (5, 5)):
        return Traits(thinking="always", forced_choice=False)
    if version >= (5, 0):
        # Sonnet 5 was reported to refuse system messages inside the conversation; Haiku 5 unknown.
        inside = family == "opus" or version >= (5, 5)
        between = family == "sonnet" and version >= (5, 5)
        return Traits(
            sampling="one" if family == "haiku" and version < (5, 5) else "none",
            thinking="between" if between else "adaptive",
            system_inside=inside,
        )
    if family == "opus" and version >= (4, 7):
        return Traits(system_inside=version >= (4, 8))
    if version >= (4, 6):
        return Traits(sampling="one", takes_xhigh=False, system_inside=False)
    return Traits(
        sampling="one" if major == 4 else "all",
        thinking="budget" if version >= (3, 7) else "none",
        takes_xhigh=False,
        system_inside=False,
        prefill=True,
        output_format=version >= (4, 5),
        displays=False,
    )
