"""Errors of all kinds of servers of this format, and what clients are told of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import STATUS, Failure, scrubbed
from formats.openai_chat.errors import (
    event_for_client,
    failure_of,
    parse_error,
    write_failure,
)

CONTEXT = (
    "request (60019 tokens) exceeds the available context size (4096 tokens), try increasing it"
)
LLAMA = {"code": 400, "message": CONTEXT, "type": "exceed_context_size_error", "n_ctx": 4096}


def read(status, value):
    return parse_error(status, value if isinstance(value, bytes) else json.dumps(value).encode())


def error(message, type=None, code=None, **more):  # noqa: A002
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        # OpenAI
        (400, error("Too long.", "invalid_request_error", "context_length_exceeded"), "context_too_long", "Too long."),
        (404, error("The model `x` does not exist", "invalid_request_error", "model_not_found"), "model_not_found", "The model `x` does not exist"),
        (400, error("Unsupported parameter", "invalid_request_error", "unsupported_parameter"), "bad_request", "Unsupported parameter"),
        (429, error("Slow down", "requests", "rate_limit_exceeded"), "rate_limit", "Slow down"),
        (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "quota", "You exceeded your current quota"),
        (401, error("Incorrect API key", "invalid_request_error", "invalid_api_key"), "credential", "Incorrect API key"),
        (403, b"", "credential", "the upstream answered 403 without a body"),
        (500, error("The server had an error", "server_error"), "upstream", "The server had an error"),
        (503, error("The engine is currently overloaded", "server_error"), "overloaded", "The engine is currently overloaded"),
        # llama.cpp
        (400, {"error": LLAMA}, "context_too_long", CONTEXT),
        (500, error("image input is not supported - hint: x", "server_error", 500), "unsupported", "image input is not supported - hint: x"),
        (500, error("Failed to parse tools: Missing tool function", "server_error", 500), "bad_request", "Failed to parse tools: Missing tool function"),
        (500, error("[json.exception.out_of_range.403] key 'function' not found", "server_error", 500), "bad_request", "[json.exception.out_of_range.403] key 'function' not found"),
        (500, error("'messages' is required", "server_error", 500), "bad_request", "'messages' is required"),
        (503, error("Loading model", "unavailable_error", 503), "overloaded", "Loading model"),
        (401, error("Invalid API Key", "authentication_error", 401), "credential", "Invalid API Key"),
        (501, error("no embeddings", "not_supported_error", 501), "upstream", "no embeddings"),
        # Ollama's /v1, and its JSON inside a string
        (404, error("model 'nope' not found", "not_found_error"), "model_not_found", "model 'nope' not found"),
        (400, error(json.dumps({"error": LLAMA}), "api_error"), "context_too_long", CONTEXT),
        (400, {"error": json.dumps({"error": LLAMA})}, "context_too_long", CONTEXT),
        (503, error("server busy, please try again.  maximum pending requests exceeded", "api_error"), "overloaded", "server busy, please try again.  maximum pending requests exceeded"),
        (500, error('option "num_predict" must be of type integer'), "bad_request", 'option "num_predict" must be of type integer'),
        (404, b"404 page not found", "upstream", "404 page not found"),
        # vLLM
        (400, error("1 validation error:\n  {'type': 'missing'}", "Bad Request", 400), "bad_request", "1 validation error:\n  {'type': 'missing'}"),
        (404, error("The model `x` does not exist.", "NotFoundError", 404), "model_not_found", "The model `x` does not exist."),
        (400, {"object": "error", "message": "flat", "type": "BadRequestError", "code": 400}, "bad_request", "flat"),
        (400, error("This model's maximum context length is 32 tokens.", "BadRequestError", 400), "context_too_long", "This model's maximum context length is 32 tokens."),
        # FastAPI
        (404, {"detail": "Not Found"}, "upstream", "Not Found"),
        (422, {"detail": [{"loc": ["body", "model"], "msg": "field required"}]}, "bad_request", "body.model: field required"),
        # LiteLLM
        (429, error("litellm.RateLimitError: x", None, "429"), "rate_limit", "litellm.RateLimitError: x"),
        (400, error("No connected db.", "no_db_connection", "400"), "credential", "No connected db."),
        (400, error("Invalid model name passed in model=x", "None", "400"), "model_not_found", "Invalid model name passed in model=x"),
        (500, b"Internal Server Error", "upstream", "Internal Server Error"),
        # others
        (402, error("Insufficient Balance", "unknown_error", "invalid_request_error"), "quota", "Insufficient Balance"),
        (502, b"<html><head><title>502 Bad\n Gateway</title></head>", "upstream", "the upstream answered 502 with a page of HTML: 502 Bad Gateway"),
        (400, [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}], "bad_request", "bad"),
        (400, error("filtered", None, "content_filter"), "refused_by_upstream", "filtered"),
        (413, b"", "too_large", "the upstream answered 413 without a body"),
        (504, b"", "timeout", "the upstream answered 504 without a body"),
        (307, b"", "upstream", "the upstream answered 307 without a body"),
        (451, b"no", "refused_by_upstream", "no"),
        (500, b"{}", "upstream", "the upstream answered 500: {}"),
        (500, {"error": {}}, "upstream", 'the upstream answered 500: {"error": {}}'),
        (500, {"error": {"x": 1}}, "upstream", "the upstream reported an error without a message"),
        (500, b"\xff\xfe", "upstream", "\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_what_each_server_says_is_understood(status, body, kind, message):
    failure = read(status, body)
    assert (failure.kind, failure.message, failure.status) == (kind, message, status)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(500, "upstream"), ("429", "rate_limit"), (401, "credential"), (None, "upstream"), (400, "bad_request")],
)  # fmt: skip
def test_inside_a_stream_the_status_is_told_by_the_code(code, kind):
    assert failure_of(None, {"message": "x", "code": code}).kind == kind
    assert failure_of(None, {"message": "x", "code": code}).status is None


def test_how_long_to_wait_is_read_from_the_words():
    assert read(429, error("Please try again in 20s.", "requests")).retry_after_s == 20
    assert read(429, error("try again in 250ms", "requests")).retry_after_s == 0.25
    assert read(400, error("try again in 20s")).retry_after_s is None


def test_the_same_format_gets_its_words_back():
    body = error("m", "requests", "rate_limit_exceeded", x=1)
    status, out = write_failure(read(429, body))
    assert (status, json.loads(out)) == (429, body)
    assert write_failure(read(400, {"error": LLAMA})) == (
        400,
        json.dumps(
            {"error": {"message": CONTEXT, "type": LLAMA["type"], "param": None, "code": 400, "n_ctx": 4096}},
            separators=(",", ":"),
        ).encode(),
    )  # fmt: skip


def test_a_client_never_hears_of_the_routers_own_key():
    status, out = write_failure(
        read(401, error("Incorrect API key provided: sk-abcDEF1234567890.", "x", "invalid_api_key"))
    )
    said = json.loads(out)["error"]
    assert status == 502
    assert (said["type"], said["code"]) == ("api_error", None)
    assert said["message"] == "Incorrect API key provided: ***."


def test_keys_are_masked_wherever_they_stand():
    status, out = write_failure(read(400, error("m", metadata={"raw": "Bearer abcdefghij123 x"})))
    assert status == 400
    assert json.loads(out)["error"]["metadata"]["raw"] == "*** x"
    assert scrubbed("the task-list key-value risk-free sky-blue") == (
        "the task-list key-value risk-free sky-blue"
    )


@pytest.mark.parametrize(
    ("failure", "status", "kind", "code"),
    [
        (Failure("bad_request", "m", param="messages"), 400, "invalid_request_error", None),
        (Failure("context_too_long", "m"), 400, "invalid_request_error", "context_length_exceeded"),
        (Failure("unauthorized", "m"), 401, "invalid_request_error", "invalid_api_key"),
        (Failure("forbidden", "m"), 403, "permission_error", None),
        (Failure("model_not_found", "m"), 404, "invalid_request_error", "model_not_found"),
        (Failure("rate_limit", "m", 429), 429, "requests", "rate_limit_exceeded"),
        (Failure("quota", "m"), 429, "insufficient_quota", "insufficient_quota"),
        (Failure("overloaded", "m", 529), 503, "server_error", None),
        (Failure("upstream", "m", 500), 502, "server_error", None),
        (Failure("upstream", "m", 404), 502, "server_error", None),
        (Failure("timeout", "m", clock="idle"), 504, "server_error", None),
        (Failure("bad_request", "m", 422), 422, "invalid_request_error", None),
        (Failure("bad_request", "m", 500), 400, "invalid_request_error", None),
    ],
)
def test_every_failure_has_its_status_and_words(failure, status, kind, code):
    got, out = write_failure(failure)
    assert got == status
    assert json.loads(out)["error"] == {
        "message": "m", "type": kind, "param": failure.param, "code": code,
    }  # fmt: skip


@pytest.mark.parametrize("kind", sorted(STATUS))
def test_there_are_words_for_every_kind(kind):
    status, out = write_failure(Failure(kind, "\ud800 m"))
    assert status == STATUS[kind][0]
    assert json.loads(out)["error"]["type"]


def test_in_a_stream_what_may_be_better_next_time_says_so():
    native = failure_of(None, {"message": "m", "type": "invalid_request_error", "code": 502})
    assert native.kind == "upstream"
    assert event_for_client(native)["type"] == "server_error"
    assert event_for_client(Failure("context_too_long", "m"))["type"] == "invalid_request_error"


@given(
    st.integers(300, 599), st.binary(max_size=60) | st.sampled_from([b'{"error":', b"[[]]", b'"x"'])
)
def test_any_bytes_make_a_failure_with_a_message(status, body):
    failure = parse_error(status, body)
    assert failure.message
    assert write_failure(failure)[0] >= 400


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "message", "detail", "code", "type", "object", "msg", "loc"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_any_json_makes_a_failure_with_a_message(value):
    failure = parse_error(500, json.dumps(value).encode())
    assert failure.message
    json.loads(write_failure(failure)[1])
