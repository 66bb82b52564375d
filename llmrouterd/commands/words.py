"""Figures of requests in few characters, for lines and panes.

Owns: how times, durations, tokens, rates, costs, end states and the health of providers are written.
Refuses to know: where they stand.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmrouterd.commands.board import number, text
from llmrouterd.commands.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.commands.board import Asked

JSON = Any

HOW = {
    "complete": "done",
    "truncated": "cut short",
    "stalled": "stalled",
    "client_gone": "client left",
    "upstream_error": "failed",
    "refused": "refused",
    "over_budget": "over budget",
    "internal_error": "router error",
}
FAULT = {
    "client": "the client",
    "upstream": "the provider",
    "owner": "the configuration",
    "router": "the router",
}
NONE = "-"


def clock(ts_ms: int) -> str:
    """The time of day here."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(ts_ms / 1000))
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


def duration(ms: float | None) -> str:
    if ms is None:
        return NONE
    ms = max(ms, 0)
    if ms < 999.5:
        return f"{ms:.0f}ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f}s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes}m{seconds:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def count(value: float | None) -> str:
    """1234 as 1234, 12345 as 12.3k."""
    if value is None:
        return NONE
    if value < 10_000:
        return f"{value:.0f}"
    for unit in "kMG":
        value /= 1000
        if value < 999.5:
            return f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"
    return f"{value:.0f}G"


def tokens(asked: Asked) -> str:
    if asked.input_tokens is None and asked.output_tokens is None:
        return NONE
    about = "\u2248" if asked.end.get("usage_estimated") else ""
    return f"{about}{count(asked.input_tokens)}\u2192{count(asked.output_tokens)}"


def rate(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.1f}/s" if value < 99.95 else f"{count(value)}/s"


def cost(value: float | None) -> str:
    """Unknown is not nothing."""
    if value is None:
        return NONE
    if value == 0:
        return "$0"
    if 0 < value < 0.00005:
        return "<$0.0001"
    return f"${value:.4f}" if value < 0.995 else f"${value:.2f}"


def standing(state: Mapping[str, JSON]) -> tuple[str, str]:
    """How a provider does, and the style of that."""
    if state.get("paused") is True:
        return "paused", "warn"
    if not state.get("healthy", True):
        back_s = number(state, "back_s")
        word = "rests" if text(state, "circuit") == "resting" else "circuit open"
        return word + (f", back in {back_s:.0f}s" if back_s else ""), "bad"
    if state.get("reached") is False:
        return "does not answer", "bad"
    if state.get("reached") is None and text(state, "format") not in ("echo", ""):
        return "not asked yet", "dim"
    return "well", "good"


def place(provider: str, model: str) -> str:
    return clean(f"{provider}/{model}" if provider and model else provider or model) or NONE


def how(asked: Asked) -> str:
    return HOW.get(asked.how) or clean(asked.how, limit=20)


def style(asked: Asked) -> str:
    """The colour of how it stands."""
    if not asked.ended:
        return {"streaming": "good", "queued": "warn"}.get(asked.phase, "accent")
    return "bad" if asked.failed else "warn" if asked.how == "client_gone" else "good"


def reason(asked: Asked) -> str:
    """Why it ended as it did, where that was not well; "" where it was."""
    words = clean(asked.end.get("error") or "")
    kind = clean(asked.end.get("error_kind") or "", limit=60)
    fault = FAULT.get(str(asked.end.get("fault")))
    text = f"{kind}: {words}" if kind and words else kind or words
    return f"{text} (fault of {fault})" if text and fault and asked.failed else text
