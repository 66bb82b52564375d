"""Stop reasons, usage, tokens and names of Anthropic Messages."""

import pytest

from formats.anthropic.wire import (
    figures,
    native_stop,
    stop_reason,
    usage_of,
    write_usage,
)
from formats.canonical import Request, Tool, Usage
from formats.ids import OPENAI_NAMES, ClientNames, NameMap


@pytest.mark.parametrize(
    ("native", "sequence", "calls", "reason"),
    [
        ("end_turn", None, False, "end_turn"),
        ("end_turn", None, True, "tool_use"),
        ("tool_use", None, False, "end_turn"),
        ("end_turn", " old", False, "stop_sequence"),
        ("stop_sequence", "X", False, "stop_sequence"),
        ("max_tokens", None, True, "max_tokens"),
        ("refusal", None, True, "refusal"),
        ("pause_turn", None, False, "pause"),
        ("compaction", None, False, "pause"),
        ("model_context_window_exceeded", None, False, "context_window"),
        ("something_new", None, False, "end_turn"),
        (None, None, True, "tool_use"),
    ],
)
def test_what_was_sent_decides_why_it_stopped(native, sequence, calls, reason):
    assert stop_reason(native, sequence, calls=calls) == reason


def test_a_client_reads_the_upstreams_own_word_where_it_is_of_this_format():
    assert native_stop("pause", "compaction", "") == "compaction"
    assert native_stop("pause", None, "") == "pause_turn"
    assert native_stop("content_filter", "content_filter", "") == "refusal"
    assert native_stop("tool_use", "end_turn", "") == "tool_use"
    assert native_stop("context_window", None, "2023-06-01") == "max_tokens"
    assert native_stop("context_window", None, "2026-10-21") == "model_context_window_exceeded"


def test_input_is_the_whole_prompt_and_goes_back_as_its_parts():
    wire = {"input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 900}
    usage = usage_of(figures(wire | {"output_tokens": 4}))
    assert usage == Usage(1012, 4, 900, 100)
    assert write_usage(usage, 0, 0) == wire | {"output_tokens": 4}


def test_strange_figures_are_passed_over():
    assert figures({"input_tokens": True, "output_tokens": "4", "service_tier": "x"}) == {}
    assert figures(None) == {}
    assert usage_of({}) is None


def test_written_input_is_never_negative_and_unknown_figures_are_estimates():
    assert write_usage(Usage(5, None, 9), 0, 0)["input_tokens"] == 0
    assert write_usage(Usage(), 33, 7)["input_tokens"] == 33
    assert write_usage(Usage(), 33, 7)["output_tokens"] == 7


def test_a_name_that_another_format_had_to_change_comes_back():
    names = ["mcp.read:file", "plain"]
    wire = NameMap(OPENAI_NAMES, names).to_wire("mcp.read:file")
    back = ClientNames(Request("anthropic", "m", tools=tuple(map(Tool, names))))
    assert wire != "mcp.read:file"
    assert back.client_name(wire) == "mcp.read:file"
    assert back.client_name("plain") == "plain"
    assert back.client_name("unheard_of") == "unheard_of"
