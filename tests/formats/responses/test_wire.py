"""formats/responses/wire.py"""

import pytest

from formats.canonical import Request, Tool, Usage
from formats.responses.wire import (
    ShownName,
    ShownNames,
    annotation_of,
    ending,
    native_stop,
    reasoning_text,
    stop_reason,
    texts_of,
    usage_object,
    usage_of,
)


@pytest.mark.parametrize(
    ("status", "reason", "held", "wanted", "native"),
    [
        ("completed", None, {}, "end_turn", "completed"),
        ("completed", None, {"has_call": True}, "tool_use", "completed"),
        ("completed", None, {"has_refusal": True}, "refusal", "completed"),
        ("incomplete", "max_output_tokens", {"has_call": True}, "max_tokens",
         "incomplete:max_output_tokens"),
        ("incomplete", "content_filter", {}, "content_filter", "incomplete:content_filter"),
        ("incomplete", "steered", {}, "pause", "incomplete:steered"),
        ("incomplete", None, {}, "pause", "incomplete"),
        (None, None, {}, "end_turn", None),
    ],
)  # fmt: skip
def test_why_an_answer_ended(status, reason, held, wanted, native):
    details = None if reason is None else {"reason": reason}
    response = {"status": status, "incomplete_details": details}
    held = {"has_call": False, "has_refusal": False, **held}
    assert stop_reason(response, **held) == wanted
    assert native_stop(response) == native


def test_how_an_answer_ends():
    cut = {"reason": "max_output_tokens"}
    assert ending("max_tokens") == ending("context_window") == ("incomplete", cut)
    assert ending("content_filter") == ("incomplete", {"reason": "content_filter"})
    assert ending("tool_use") == ending("refusal") == ending("pause") == ("completed", None)


def test_figures_are_read_and_written():
    usage = Usage(100, 20, 60, 10, 5)
    whole = usage_object(usage, 0, 0)
    assert whole["total_tokens"] == 120
    assert usage_of(whole) == usage
    assert usage_of({"input_tokens": 3.0, "output_tokens": True}) == Usage(3)
    assert usage_of({}) is usage_of(None) is usage_of([]) is None


def test_unknown_figures_are_estimates():
    assert usage_object(Usage(), 33, 7) == {
        "input_tokens": 33,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 40,
    }


def test_the_words_of_a_reasoning():
    assert texts_of([{"text": "a"}, {"text": 1}, "x"]) == ["a"]
    assert texts_of(None) == []
    empty = [{"type": "reasoning_text", "text": ""}]
    assert reasoning_text({"content": empty, "summary": [{"text": "s"}]}) == "s"


def test_citations_become_annotations():
    flat = {"type": "url_citation", "url": "https://x", "title": "t"}
    assert annotation_of(flat, 0, 1) == flat
    nested = {"type": "url_citation", "url_citation": {"url": "https://x", "title": "t"}}
    assert annotation_of(nested, 0, 1) == flat
    found = {"type": "web_search_result_location", "url": "https://x"}
    where = {"start_index": 2, "end_index": 5}
    assert annotation_of(found, 2, 5) == {**flat, **where, "title": ""}
    assert annotation_of({"type": "char_location"}, 0, 1) is None
    assert annotation_of("x", 0, 1) is None


def test_names_find_their_way_back():
    space = {"type": "namespace", "name": "n"}
    tools = (
        Tool("n__f", type="namespace", native=space),
        Tool("patch", kind="custom"),
        Tool("a.b"),
    )
    names = ShownNames(Request("responses", "m", tools=tools))
    assert names.shown("n__f", "function", {}) == ShownName("f", "n", False)
    assert names.shown("patch", "function", {}) == ShownName("patch", None, True)
    assert names.shown("a_b", "function", {}) == ShownName("a.b", None, False)
    assert names.shown("o__g", "custom", {"namespace": "o"}) == ShownName("g", "o", True)
    assert ShownNames(None).shown("x", "function", {}) == ShownName("x", None, False)
