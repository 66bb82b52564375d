"""The lines that watch prints."""

from typing import Any

from llmrouterd.commands.board import Board
from llmrouterd.commands.lines import WIDE, lines, standing
from llmrouterd.commands.terminal import line_width, painted

START = {"type": "start", "id": 12, "ts_ms": 1_000_000, "model": "gpt-4o", "in_flight": 1}
CLASSIFIED = {"type": "classified", "id": 12, "ts_ms": 1_000_001, "tags": ["code", "de"]}
ROUTED = {"type": "routed", "id": 12, "ts_ms": 1_000_002, "provider": "ollama", "model": "llama"}
QUEUED = ROUTED | {"type": "queued", "position": 2, "estimate_ms": 4000}
FAILED = ROUTED | {
    "type": "attempt_failed",
    "kind": "upstream",
    "error": "no\x1b",
    "duration_ms": 9,
}
FIRST = {"type": "first_token", "id": 12, "ts_ms": 1_000_700, "ttft_ms": 700}
COMPLETE = {
    "type": "complete",
    "id": 12,
    "ts_ms": 1_005_000,
    "provider": "ollama",
    "requested_model": "gpt-4o",
    "sent_model": "llama",
    "duration_ms": 5000,
    "ttft_ms": 700,
    "status": 200,
    "end": "complete",
    "tags": ["code", "de"],
    "response_tags": ["refusal"],
    "input_tokens": 120,
    "output_tokens": 43,
    "stream": True,
    "cost_usd": 0.0012,
}


def printed(*events: dict[str, Any], columns: int = WIDE, brief: bool = False) -> list[str]:
    board = Board()
    out: list[str] = []
    for event in events:
        asked = board.apply(event)
        assert asked is not None
        made = list(lines(event["type"], asked, columns, brief=brief))
        assert all(line_width(line) <= columns for line in made)
        out += [painted(line, colours=False)[9:] for line in made]  # without the time of day
    return out


def test_each_stage_is_a_line_and_the_end_has_the_figures() -> None:
    events = (START, CLASSIFIED, ROUTED, QUEUED, FAILED, ROUTED, FIRST, COMPLETE)
    assert printed(*events, columns=140) == [
        "   #12  start      gpt-4o",
        "   #12  classified code, de",
        "   #12  routed     ollama/llama",
        "   #12  queued     ollama/llama, number 2, about 4.0s",
        "   #12  try failed ollama/llama  upstream: no\ufffd  9ms",
        "   #12  routed     ollama/llama",
        "   #12  streaming  first token after 700ms",
        "   #12  done       200  gpt-4o \u2192 ollama/llama            120\u219243 tok"
        "   ttft 700ms   10.0 tok/s     5.0s    $0.0012  code,de,refusal",
    ]


def test_on_a_narrow_terminal_the_figures_have_a_line_of_their_own() -> None:
    assert printed(START, COMPLETE, columns=80)[1:] == [
        "   #12  done       200  gpt-4o \u2192 ollama/llama  code,de,refusal",
        "        120\u219243 tok \u00b7 ttft 700ms \u00b7 10.0 tok/s \u00b7 5.0s \u00b7 $0.0012",
    ]


def test_in_brief_there_is_only_the_end_and_what_failed_before() -> None:
    out = printed(START, CLASSIFIED, ROUTED, FAILED, ROUTED, FIRST, COMPLETE, brief=True)
    assert [line[8:18].strip() for line in out] == ["try failed", "done"]


def test_a_failure_says_why_and_whose_fault_it_was() -> None:
    error = {"error": "it\nburns", "error_kind": "upstream", "fault": "upstream"}
    out = printed(COMPLETE | {"end": "upstream_error", "status": 502} | error)
    assert out[0].startswith("   #12  failed     502")
    assert out[1].strip() == "upstream: it burns (fault of the provider)"


def test_an_end_as_the_original_tells_it() -> None:
    told = {"type": "complete", "id": 3, "ts_ms": 5, "provider": "a", "sent_model": "m"}
    told |= {"requested_model": "m", "duration_ms": 5, "error": None}
    (line,) = printed(told)
    assert line.startswith("    #3  done            a/m")


def test_a_provider_that_changed() -> None:
    event = {"type": "provider", "ts_ms": 1_000_000, "provider": "cloud", "healthy": False}
    event |= {"circuit": "open", "back_s": 9.0, "why": "3 failures in a row\x1b[31m"}
    line = painted(standing(event, 100), colours=False)
    assert line.split()[1:6] == ["provider", "cloud", "circuit", "open,", "back"]
    assert "3 failures" in line
    assert "\x1b" not in line
    assert line_width(standing(event, 60)) <= 60
    for reached in (True, None):  # it was never asked
        well = {**event, "healthy": True, "reached": reached}
        assert painted(standing(well, 60), colours=False).endswith("cloud  well")
    paused = {**event, "paused": True, "why": "paused by the operator"}
    assert painted(standing(paused, 60), colours=False).endswith("cloud  paused")
