"""Errors of servers that speak Anthropic Messages, and errors worded for its clients."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.anthropic.errors import (
    client_status,
    error_object,
    event_failure,
    parse_error,
    stray_failure,
)
from formats.errors import STATUS, Failure
from tests import strategies


def said(status, value):
    return parse_error(status, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("status", "type_", "kind"),
    [
        (400, "invalid_request_error", "refused_by_upstream"),
        (401, "authentication_error", "credential"),
        (402, "billing_error", "quota"),
        (403, "permission_error", "credential"),
        (404, "not_found_error", "model_not_found"),
        (408, "timeout_error", "timeout"),
        (413, "request_too_large", "too_large"),
        (429, "rate_limit_error", "rate_limit"),
        (500, "api_error", "upstream"),
        (503, "api_error", "overloaded"),
        (504, "timeout_error", "timeout"),
        (529, "overloaded_error", "overloaded"),
    ],
)
def test_the_vendors_own_errors_are_classed_by_status_and_type(status, type_, kind):
    failure = said(status, {"type": "error", "error": {"type": type_, "message": "words"}})
    assert (failure.kind, failure.status, failure.type) == (kind, status, type_)
    assert failure.message == "words"


def test_a_spent_limit_is_no_rate_limit():
    error = {
        "type": "rate_limit_error",
        "message": "no",
        "details": {"error_code": "enforced_spend_limit_reached"},
    }
    failure = said(429, {"type": "error", "error": error})
    assert (failure.kind, failure.code) == ("quota", "enforced_spend_limit_reached")


def test_the_openai_shape_of_llama_cpp_is_understood():
    failure = said(
        400,
        {
            "error": {
                "code": 400,
                "message": "request (60019 tokens) exceeds the available context size "
                "(4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 60019,
                "n_ctx": 4096,
            }
        },
    )
    assert (failure.kind, failure.code) == ("context_too_long", 400)
    told = error_object(failure)["error"]["message"]
    assert told.startswith("prompt is too long: 60019 tokens > 4096 maximum")


def test_a_mistake_that_llama_cpp_answers_with_500_is_no_trouble_of_the_server():
    value = {"error": {"code": 500, "message": "'messages' is required", "type": "server_error"}}
    assert said(500, value).kind == "refused_by_upstream"
    value["error"]["message"] = "image input is not supported - hint: ..."
    assert said(500, value).kind == "unsupported"


def test_a_server_that_loads_its_model_is_overloaded():
    value = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    assert said(503, value).kind == "overloaded"


def test_ollamas_errors_are_understood_in_both_of_its_shapes():
    value = {
        "type": "error",
        "error": {"type": "not_found_error", "message": "model 'nope' not found"},
        "request_id": "req_1",
    }
    assert said(404, value).kind == "model_not_found"
    failure = said(404, {"error": "model 'nope' not found"})
    assert (failure.kind, failure.message) == ("model_not_found", "model 'nope' not found")


def test_json_inside_a_string_is_unwrapped():
    inner = json.dumps(
        {"error": {"code": 400, "message": "too much", "type": "exceed_context_size_error"}}
    )
    for value in ({"error": inner}, {"error": {"message": inner, "type": "api_error"}}):
        failure = said(400, value)
        assert (failure.kind, failure.message) == ("context_too_long", "too much")


def test_vllms_errors_are_understood():
    value = {"error": {"message": "1 validation error", "type": "Bad Request", "code": 400}}
    assert said(400, value).kind == "refused_by_upstream"
    assert said(404, {"detail": "Not Found"}).kind == "upstream"


@pytest.mark.parametrize(
    "body", [b"", b"404 page not found", b"<html><h1>Bad Gateway</h1></html>", b"[]", b"\xff"]
)
def test_what_is_no_json_object_is_shown_in_short(body):
    failure = parse_error(502, body)
    assert failure.kind == "upstream"
    assert "502" in failure.message
    assert "<" not in failure.message


def test_credentials_in_an_upstreams_words_are_masked():
    error = {"type": "authentication_error", "message": "invalid x-api-key sk-ant-api03-abcdefgh"}
    assert "abcdefgh" not in said(401, {"type": "error", "error": error}).message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("prompt is too long: 9 tokens > 8 maximum", "prompt is too long: 9 tokens > 8 maximum"),
        (
            "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
            "prompt is too long: 5000 tokens > 4096 maximum (",
        ),
        ("the context window is full", "prompt is too long: the context window is full"),
    ],
)
def test_an_overflow_is_said_as_clients_read_it(words, told):
    status, body = 400, error_object(Failure("context_too_long", words))
    assert client_status(Failure("context_too_long", words, status=413)) == status
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith(told)


def test_an_upstreams_own_error_object_goes_back_whole():
    native = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded", "details": {"a": 1}},
        "request_id": "req_1",
    }
    assert error_object(event_failure(native)) == native


def test_a_client_never_hears_of_the_routers_credential():
    failure = said(
        401, {"type": "error", "error": {"type": "authentication_error", "message": "bad key"}}
    )
    assert client_status(failure) == 500
    assert error_object(failure)["error"]["type"] == "api_error"


def test_an_upstreams_own_4xx_stays():
    assert client_status(Failure("refused_by_upstream", "x", status=422)) == 422
    assert client_status(Failure("quota", "x", status=402)) == 402
    assert error_object(Failure("quota", "x", status=402))["error"]["type"] == "billing_error"
    assert client_status(Failure("upstream", "x", status=404)) == 500


@pytest.mark.parametrize("kind", sorted(STATUS))
def test_every_kind_has_a_status_and_a_type_of_this_format(kind):
    failure = Failure(kind, "words")
    assert client_status(failure) == STATUS[kind][1]
    assert error_object(failure)["error"]["type"].endswith(("_error", "_too_large"))


def test_a_bare_error_where_a_stream_was_due_is_read():
    assert (
        stray_failure(b'{"error":{"message":"busy","type":"overloaded_error"}}').kind
        == "overloaded"
    )
    assert "Bad Gateway" in stray_failure(b"<html><h1>Bad Gateway</h1>").message


@given(st.binary(max_size=60) | strategies.json_values.map(lambda v: json.dumps(v).encode()))
def test_any_body_is_a_failure_with_words(body):
    for status in (400, 404, 429, 500):
        failure = parse_error(status, body)
        assert failure.message
        assert error_object(failure)["error"]["message"]


@pytest.mark.parametrize(
    "words",
    [
        "[json.exception.out_of_range.403] key 'function' not found",
        "Failed to parse tools: no type",
        "Unable to generate parser for this template.",
    ],
)
def test_llamas_500_for_a_mistake_of_the_request(words: str) -> None:
    value = {"error": {"code": 500, "message": words, "type": "server_error"}}
    assert said(500, value).kind == "refused_by_upstream"
