"""What is known of OpenAI's own models, whichever of its formats they are asked in.

Owns: which models refuse sampling settings, which take cache breakpoints, what effort a budget is.
Refuses to know: requests; models of other vendors, about which nothing is assumed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import JSON, Target

_REASONING = re.compile(r"(?:.*/)?(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*chat)")
_FIRST_GPT5 = re.compile(r"(?:.*/)?gpt-5(?:-|$)")
_VERSION = re.compile(r"(?:.*/)?gpt-(\d+)(?:\.(\d+))?")
_BUDGETS = ((2048, "low"), (8192, "medium"), (24576, "high"))


def is_reasoning(model: str) -> bool:
    """Whether it is one of the reasoning models, which answer sampling settings with 400."""
    return _REASONING.match(model) is not None


def least_effort(target: Target) -> str:
    """The word for no reasoning at all, as far as the model can do without."""
    first = target.vendor and _FIRST_GPT5.match(target.model)
    return "minimal" if first else "none"


def effort_of(budget: int) -> str:
    """The effort nearest to a budget of tokens."""
    return next((word for most, word in _BUDGETS if budget <= most), "xhigh")


def takes_breakpoints(target: Target) -> bool:
    """Explicit cache breakpoints came with gpt-5.6."""
    found = _VERSION.match(target.model) if target.vendor else None
    return found is not None and (int(found[1]), int(found[2] or 0)) >= (5, 6)


def breakpoint_of(cache: JSON) -> dict[str, JSON]:
    """Another format's cache mark as a breakpoint."""
    mark: dict[str, JSON] = {"mode": "explicit"}
    ttl = cache.get("ttl") if isinstance(cache, dict) else None
    if ttl in ("5m", "30m"):
        mark["ttl"] = "30m"
    elif ttl in ("1h", "12h"):
        mark["ttl"] = "12h"
    return mark
