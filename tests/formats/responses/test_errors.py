"""formats/responses/errors.py"""

import json

import pytest

from formats.errors import Failure
from formats.responses.errors import (
    answer_failure,
    error_members,
    event_failure,
    parse_error,
    write_failure,
)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "try again in 1.5s"}},
        {"type": "error", "code": "rate_limit_exceeded", "message": "try again in 1.5s", "param": None},
    ],
)  # fmt: skip
def test_an_error_event_nested_or_flat(event):
    failure = event_failure(event)
    assert (failure.kind, failure.code) == ("rate_limit", "rate_limit_exceeded")
    assert (failure.message, failure.retry_after_s) == ("try again in 1.5s", 1.5)


def test_an_error_event_without_words():
    assert event_failure({"type": "error"}).kind == "upstream"
    assert event_failure({"type": "error", "error": "it broke"}).message == "it broke"


def test_an_answer_that_failed():
    said = {"code": "server_error", "message": "no"}
    assert answer_failure({"status": "failed", "error": said}).message == "no"
    assert answer_failure({"status": "failed", "error": None}).kind == "upstream"
    assert answer_failure({"status": "cancelled"}).kind == "upstream"
    assert answer_failure({"error": "no"}).message == "no"
    for status in ("completed", "incomplete", "queued", "in_progress"):
        assert answer_failure({"status": status, "error": None}) is None


@pytest.mark.parametrize(
    ("kind", "code", "type_"),
    [
        ("rate_limit", "rate_limit_exceeded", "requests"),
        ("quota", "insufficient_quota", "insufficient_quota"),
        ("context_too_long", "context_length_exceeded", "invalid_request_error"),
        ("bad_request", "invalid_prompt", "invalid_request_error"),
        ("upstream", "server_error", "server_error"),
        ("truncated", "server_error", "server_error"),
        ("timeout", "server_error", "server_error"),
        ("credential", "server_error", "server_error"),
    ],
)
def test_clients_decide_by_the_code(kind, code, type_):
    error = error_members(Failure(kind, "words"))
    assert error == {"type": type_, "code": code, "message": "words", "param": None}


def test_an_upstreams_own_code_stays():
    failure = event_failure(
        {"error": {"code": "vector_store_timeout", "message": "x", "param": "p"}}
    )
    error = error_members(failure)
    assert (error["code"], error["param"]) == ("vector_store_timeout", "p")


def test_no_credential_gets_out():
    assert "sk-abcdefgh" not in error_members(Failure("upstream", "key sk-abcdefgh"))["message"]


def test_before_the_first_byte_it_is_as_in_chat_completions():
    body = b'{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}'
    failure = parse_error(404, body)
    assert failure.kind == "model_not_found"
    status, written = write_failure(failure)
    assert status == 404
    assert json.loads(written)["error"]["code"] == "model_not_found"
