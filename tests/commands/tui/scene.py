"""A View with something in it, for the tests of its panes."""

from typing import Any

from llmrouterd.commands.board import Asked
from llmrouterd.commands.terminal import Line, line_width
from llmrouterd.commands.tui.frame import frame
from llmrouterd.commands.tui.state import View

JSON = Any
NOW_MS = 1_000_000_000


def ended(id_: int = 1, **members: JSON) -> dict[str, JSON]:
    usual = {
        "type": "complete",
        "id": id_,
        "ts_ms": NOW_MS - 1000,
        "provider": "ollama",
        "requested_model": "gpt-4o",
        "sent_model": "llama3.1:8b",
        "duration_ms": 5000,
        "ttft_ms": 700,
        "status": 200,
        "end": "complete",
        "stream": True,
        "tags": ["code"],
        "input_tokens": 120,
        "output_tokens": 43,
        "cost_usd": 0.0012,
    }
    return usual | members


def running(id_: int, model: str = "slow") -> list[dict[str, JSON]]:
    about = {"id": id_, "ts_ms": NOW_MS - 3000}
    return [
        {"type": "start", **about, "model": model},
        {"type": "routed", **about, "provider": "cloud", "model": model},
        {"type": "first_token", **about, "ttft_ms": 500},
        {"type": "progress", **about, "pieces": 40, "writing_ms": 2000},
    ]


def scene(*events: dict[str, JSON]) -> View:
    """Live, with what these events came to."""
    view = View("http://router:8090", link="live", now_ms=NOW_MS)
    for number, event in enumerate(events, 1):
        view.board.apply(event, str(number))
    return view


def busy() -> View:
    """One that streams, one that was answered, one that failed after a try elsewhere."""
    failed = {"type": "attempt_failed", "id": 2, "ts_ms": NOW_MS - 2000, "provider": "cloud"}
    failed |= {"model": "m", "kind": "timeout:connect", "error": "no", "duration_ms": 10}
    error = {"end": "upstream_error", "error": "it burns", "error_kind": "upstream", "status": 502}
    view = scene(ended(1), failed, ended(2, **error, cost_usd=None, tags=[]), *running(3))
    view.providers = [
        {"name": "ollama", "format": "ollama", "local": True, "reached": True, "healthy": True},
        {"name": "cloud", "format": "openai", "healthy": False, "why": "refused", "back_s": 12.0},
    ]
    return view


def text_of(lines: list[Line]) -> str:
    return "\n".join("".join(span.text for span in line).rstrip() for line in lines)


def shown(view: View, rows: int = 24, columns: int = 80) -> str:
    """The whole screen as text; every line as wide as it must be."""
    made = frame(view, rows, columns)
    assert len(made.lines) == max(rows, 3)
    assert {line_width(line) for line in made.lines} == {max(columns, 10)}
    if made.cursor is not None:
        assert 0 <= made.cursor[0] < rows
        assert 0 <= made.cursor[1] < columns
    return text_of(made.lines)


def first(view: View) -> Asked:
    chosen = view.chosen()
    assert chosen is not None
    return chosen
