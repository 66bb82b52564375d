"""formats/ollama/wire.py"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Stamp, Usage
from formats.errors import Failure
from formats.ollama.wire import (
    call_text,
    created_at,
    created_of,
    error_line,
    failure_of,
    metrics,
    usage_of,
)
from tests import strategies


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-11-23T10:00:00Z", 1795428000),
        ("2026-11-23T10:00:00.123456789Z", 1795428000),
        ("2026-11-23T11:00:00.5+01:00", 1795428000),
        ("2026-11-23T10:00:00", None),
        ("...", None),
        (7, None),
        (None, None),
    ],
)
def test_the_time_of_an_answer(value, seconds):
    assert created_of({"created_at": value}) == seconds


def test_now_is_written_with_nanoseconds():
    stamp = Stamp("", 1795428000, lambda: 61_000_000_007)
    assert created_at(stamp) == "2026-11-23T10:01:01.000000007Z"


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({}, None),
        ({"prompt_eval_count": "3"}, None),
        ({"eval_count": 4}, Usage(None, 4)),
        ({"prompt_eval_count": 3, "eval_count": 4, "eval_duration": 5}, Usage(3, 4)),
        (
            {"eval_count": 4, "load_duration": 9_000_000, "prompt_eval_duration": 1_999_999},
            Usage(None, 4, load_ms=9, prefill_ms=1),
        ),
        ({"eval_count": 4, "load_duration": -1, "prompt_eval_duration": "1"}, Usage(None, 4)),
    ],
)
def test_figures_that_are_left_out_are_unknown(value, usage):
    assert usage_of(value) == usage


def test_without_any_text_all_the_time_went_into_the_prompt():
    got = metrics(None, Stamp("", 0, lambda: 5), None, 0)
    assert (got["prompt_eval_duration"], got["eval_duration"], got["eval_count"]) == (5, 0, 0)


def test_a_call_without_an_object_has_no_text():
    assert call_text("x", 0, "f", None) is None
    assert call_text("x", 0, "f", {"n": float("inf")}) is None
    assert json.loads(call_text("x", 0, "ü", {})) == {
        "id": "x",
        "function": {"index": 0, "name": "ü", "arguments": {}},
    }


WRAPPED = {
    "error": {
        "code": 400,
        "message": "request (60019 tokens) exceeds the available context size (4096 tokens)",
        "type": "exceed_context_size_error",
    }
}


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (404, "model 'nope' not found", "model_not_found"),
        (404, 'model "nope" not found, try pulling it first', "model_not_found"),
        (404, "404 page not found", "upstream"),
        (400, "model is required", "refused_by_upstream"),
        (400, "unexpected EOF", "refused_by_upstream"),
        (400, 'time: invalid duration "soon"', "refused_by_upstream"),
        (400, '"tiny-chat" does not support thinking', "unsupported"),
        (400, "registry.ollama.ai/library/x does not support tools", "unsupported"),
        (400, '"tiny-embed" does not support chat', "unsupported"),
        (
            400,
            "the prompt is longer than the context length currently available",
            "context_too_long",
        ),
        (400, json.dumps(WRAPPED), "context_too_long"),
        (500, json.dumps(WRAPPED), "context_too_long"),
        (500, "image input is not supported - hint: ...", "unsupported"),
        (500, 'option "num_predict" must be of type integer', "refused_by_upstream"),
        (500, 'invalid format: "yaml"', "refused_by_upstream"),
        (500, "error parsing tool call: raw='{'", "upstream"),
        (500, "llama runner process has terminated", "upstream"),
        (500, "server busy, please try again", "overloaded"),
        (503, "server busy, please try again.  maximum pending requests exceeded", "overloaded"),
        (401, "unauthorized", "credential"),
        (403, "", "credential"),
        (429, "too many requests", "rate_limit"),
        (429, "you have reached your weekly usage limit", "quota"),
        (413, "too large", "too_large"),
        (408, "slow", "timeout"),
        (504, "slow", "timeout"),
        (502, "bad gateway", "upstream"),
        (301, "moved", "upstream"),
        (None, "an error was encountered while running the model: unexpected EOF", "upstream"),
        (None, "model 'nope' not found", "model_not_found"),
        (None, json.dumps(WRAPPED), "context_too_long"),
    ],
)
def test_an_error_is_told_apart_by_its_status_and_its_words(status, error, kind):
    told = failure_of({"error": error}, status)
    assert (told.kind, told.status) == (kind, status)
    assert told.native == {"error": error}


@pytest.mark.parametrize(
    ("value", "kind", "code", "message"),
    [
        ({"error": "plain"}, None, None, "plain"),
        ({"error": {"message": "m", "type": "t", "code": "c"}}, "t", "c", "m"),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, "t", None, "m"),
        ({"error": '{"error":{"message":"m","type":"t","code":4}}'}, "t", 4, "m"),
        ({"error": '{"error":"inner"}'}, None, None, "inner"),
        ({"error": "{no json"}, None, None, "{no json"),
        ({"detail": "Not Found"}, None, None, "Not Found"),
        ({"message": "m"}, None, None, "m"),
        ({"error": {"code": [1]}}, None, None, "the upstream reported an error without a word"),
        ({}, None, None, "the upstream reported an error without a word"),
    ],
)
def test_an_error_is_found_however_it_is_wrapped(value, kind, code, message):
    told = failure_of(value, 500)
    assert (told.type, told.code, told.message) == (kind, code, message)


@given(
    st.dictionaries(st.sampled_from(["error", "message", "type", "code"]), strategies.json_values)
)
def test_any_object_is_an_error_with_words(value):
    assert failure_of(value, 400).message


def test_what_else_the_server_said_beside_its_text_stays():
    native = {"error": "x", "hint": "pull it"}
    assert error_line(Failure("upstream", "y", native=native)) == {"error": "y", "hint": "pull it"}
    assert error_line(Failure("upstream", "y", native={"error": {}})) == {"error": "y"}


def test_where_the_owner_signs_in_is_not_for_the_client():
    native = {"error": "unauthorized", "signin_url": "https://x"}
    assert error_line(Failure("credential", "y", native=native)) == {"error": "y"}
