"""Errors as llama.cpp, Ollama, LiteLLM and vLLM were seen to answer them."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.quirks.world import both_ways, every_client, failed_over, refusing
from tests.fakes.upstream import Turn

pytestmark = pytest.mark.e2e


TOO_LONG = {
    "code": 400,
    "message": "request (60019 tokens) exceeds the available context size (4096 tokens), "
    "try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 60019,
    "n_ctx": 4096,
}
INSIDE = json.dumps({"error": TOO_LONG})


@dataclass(frozen=True)
class Case:
    """An error as a server was seen to answer it, and what clients are to make of it.

    client: its status for OpenAI and Ollama clients (for Anthropic's where it differs); tag: the
    X-Router-Error; over: another server is asked.
    """

    name: str
    status: int
    body: Any
    client: int
    tag: str
    over: bool
    says: str
    upstream: str = "openai"
    to_anthropic: int = 0
    kind: str = "application/json"


LLAMA = [
    Case(
        "llama_error_on_v1_messages_has_openais_shape",
        500,
        {"error": {"code": 500, "message": "'messages' is required", "type": "server_error"}},
        400,
        "refused_by_upstream",
        False,
        "'messages' is required",
        "anthropic",
    ),
    Case(
        "llama_context_error_has_a_number_for_code",
        400,
        {"error": TOO_LONG},
        400,
        "context_too_long",
        True,
        "60019",
    ),
    Case(
        "llama_bad_tool_is_500_but_the_clients_mistake",
        500,
        {
            "error": {
                "code": 500,
                "message": "[json.exception.out_of_range.403] key 'function' not found",
                "type": "server_error",
            }
        },
        400,
        "refused_by_upstream",
        False,
        "key 'function' not found",
    ),
    Case(
        "llama_image_to_a_text_model_is_500_and_another_model_may_see",
        500,
        {
            "error": {
                "code": 500,
                "message": "image input is not supported - hint: if this is unexpected, you may "
                "need to provide the mmproj",
                "type": "server_error",
            }
        },
        400,
        "unsupported",
        True,
        "image input is not supported",
    ),
    Case(
        "llama_unknown_tool_choice",
        400,
        {
            "error": {
                "code": 400,
                "message": "Invalid tool_choice: whatever",
                "type": "invalid_request_error",
            }
        },
        400,
        "refused_by_upstream",
        False,
        "Invalid tool_choice: whatever",
    ),
    Case(
        "llama_bad_schema",
        400,
        {
            "error": {
                "code": 400,
                "message": "Unable to generate parser for this template. ...",
                "type": "invalid_request_error",
            }
        },
        400,
        "refused_by_upstream",
        False,
        "Unable to generate parser",
    ),
    Case(
        "llama_loading_its_model",
        503,
        {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
        503,
        "overloaded",
        True,
        "Loading model",
        to_anthropic=529,
    ),
    Case(
        "llama_refuses_the_routers_key",
        401,
        {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
        502,
        "credential",
        True,
        "",
        to_anthropic=500,
    ),
    Case(
        "llama_refuses_the_routers_key_on_v1_messages",
        401,
        {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
        502,
        "credential",
        True,
        "",
        "anthropic",
        to_anthropic=500,
    ),
]
OLLAMA = [
    Case(
        "ollama_json_inside_a_string",
        400,
        {"error": INSIDE},
        400,
        "context_too_long",
        True,
        "60019",
        "ollama",
    ),
    Case(
        "ollama_v1_json_inside_the_message",
        400,
        {
            "error": {
                "message": INSIDE,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
        400,
        "context_too_long",
        True,
        "60019",
    ),
    Case(
        "ollama_unknown_model",
        404,
        {"error": "model 'nope' not found"},
        404,
        "model_not_found",
        True,
        "model 'nope' not found",
        "ollama",
    ),
    Case(
        "ollama_v1_unknown_model",
        404,
        {
            "error": {
                "message": "model 'nope' not found",
                "type": "not_found_error",
                "param": None,
                "code": None,
            }
        },
        404,
        "model_not_found",
        True,
        "model 'nope' not found",
    ),
    Case(
        "ollama_messages_unknown_model",
        404,
        {
            "type": "error",
            "error": {"type": "not_found_error", "message": "model 'nope' not found"},
            "request_id": "req_1",
        },
        404,
        "model_not_found",
        True,
        "model 'nope' not found",
        "anthropic",
    ),
    Case(
        "ollama_queue_full",
        503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
        503,
        "overloaded",
        True,
        "server busy",
        "ollama",
        to_anthropic=529,
    ),
    Case(
        "ollama_v1_queue_full",
        503,
        {
            "error": {
                "message": "server busy, please try again.  maximum pending requests exceeded",
                "type": "api_error",
                "param": None,
                "code": None,
            }
        },
        503,
        "overloaded",
        True,
        "server busy",
        to_anthropic=529,
    ),
    Case(
        "ollama_messages_queue_full",
        503,
        {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "server busy, please try again."},
            "request_id": "req_1",
        },
        503,
        "overloaded",
        True,
        "server busy",
        "anthropic",
        to_anthropic=529,
    ),
    Case("ollama_403_without_a_body", 403, b"", 502, "credential", True, "", "ollama", 500),
    Case(
        "ollama_unknown_path_is_plain_text",
        404,
        b"404 page not found",
        502,
        "upstream",
        True,
        "404 page not found",
        "ollama",
        500,
        "text/plain",
    ),
    Case(
        "ollama_messages_unknown_path_is_plain_text",
        404,
        b"404 page not found",
        502,
        "upstream",
        True,
        "404 page not found",
        "anthropic",
        500,
        "text/plain",
    ),
    Case(
        "ollama_wrong_type_of_an_option_is_500",
        500,
        {"error": 'option "num_predict" must be of type integer'},
        400,
        "refused_by_upstream",
        False,
        "must be of type integer",
        "ollama",
    ),
    Case(
        "ollama_invalid_format_is_500",
        500,
        {"error": "invalid format: expected an object"},
        400,
        "refused_by_upstream",
        False,
        "invalid format",
        "ollama",
    ),
    Case(
        "ollama_model_without_chat",
        400,
        {"error": '"tiny-embed" does not support chat'},
        400,
        "unsupported",
        False,
        "does not support chat",
        "ollama",
    ),
    Case(
        "ollama_history_with_a_string_for_arguments",
        400,
        {"error": "Value looks like object, but can't find closing '}' symbol"},
        400,
        "refused_by_upstream",
        False,
        "Value looks like object",
        "ollama",
    ),
]
OTHERS = [
    Case(
        "litellm_code_is_text_and_the_message_wrapped",
        429,
        {
            "error": {
                "message": "litellm.RateLimitError: OpenAIException - slow down",
                "type": "throttling_error",
                "param": None,
                "code": "429",
            }
        },
        429,
        "rate_limit",
        True,
        "slow down",
    ),
    Case(
        "litellm_whose_upstream_is_gone",
        500,
        {
            "error": {
                "message": "litellm.InternalServerError: OpenAIException - Connection error.",
                "type": "internal_server_error",
                "param": None,
                "code": "500",
            }
        },
        502,
        "upstream",
        True,
        "Connection error",
        to_anthropic=500,
    ),
    Case(
        "litellm_wrong_key_without_a_database",
        400,
        {"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}},
        502,
        "credential",
        True,
        "",
        to_anthropic=500,
    ),
    Case(
        "litellm_500_in_plain_text",
        500,
        b"Internal Server Error",
        502,
        "upstream",
        True,
        "Internal Server Error",
        to_anthropic=500,
        kind="text/plain",
    ),
    Case(
        "litellm_unknown_model_is_400",
        400,
        {
            "error": {
                "message": "/chat/completions: Invalid model name passed in model=nope. "
                "Call `/v1/models` to view available models for your key.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "400",
            }
        },
        400,
        "model_not_found",
        True,
        "Invalid model name",
    ),
    Case(
        "litellm_and_vllm_unknown_path",
        404,
        {"detail": "Not Found"},
        502,
        "upstream",
        True,
        "Not Found",
        to_anthropic=500,
    ),
    Case(
        "vllm_unknown_model",
        404,
        {
            "error": {
                "message": "The model `nope` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        },
        404,
        "model_not_found",
        True,
        "does not exist",
    ),
    Case(
        "vllm_validation_error",
        400,
        {
            "error": {
                "message": "1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages')}",
                "type": "Bad Request",
                "param": "body.messages",
                "code": 400,
            }
        },
        400,
        "refused_by_upstream",
        False,
        "1 validation error",
    ),
    Case(
        "vllm_validation_error_on_v1_messages",
        400,
        {
            "error": {
                "message": "1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages')}",
                "type": "Bad Request",
                "param": "body.messages",
                "code": 400,
            }
        },
        400,
        "refused_by_upstream",
        False,
        "1 validation error",
        "anthropic",
    ),
    Case(
        "vllm_cannot_parse_the_body",
        400,
        {"detail": "There was an error parsing the body"},
        400,
        "refused_by_upstream",
        False,
        "error parsing the body",
    ),
    Case("vllm_that_is_dying", 503, b"", 503, "overloaded", True, "", to_anthropic=529),
]


@every_client
@pytest.mark.parametrize("case", [*LLAMA, *OLLAMA, *OTHERS], ids=lambda case: case.name)
def test_an_error_reaches_the_client_in_its_own_shape(world, client, case):
    """Whole or streamed: the server answers with a plain status either way."""
    world.does(refusing(case.status, case.body, kind=case.kind))
    status = case.to_anthropic if client == "anthropic" and case.to_anthropic else case.client
    for stream in (False, True):
        heard = world.ask(client, f"{case.upstream}/m", stream=stream)
        tag = heard.headers["x-router-error"]
        assert (heard.status, tag) == (status, case.tag) or (status, tag) == (400, "bad_request")
        assert heard.headers["content-type"] == "application/json"
        (body,) = heard.events
        if client == "ollama":
            assert isinstance(body["error"], str)
            message = body["error"]
        else:
            message = body["error"]["message"]
            assert isinstance(body["error"]["type"], str)
            assert isinstance(message, str)
        if client == "anthropic":
            assert body["type"] == "error"
        if client == "openai":
            assert body["error"].get("code") is None or isinstance(body["error"]["code"], str | int)
        assert case.says in message
        assert "{" not in message or "validation" in message
        said = world.line(heard)
        assert said["error_kind"] == tag
        assert said["end"] == ("upstream_error" if said["fault"] != "client" else "refused")


@pytest.mark.parametrize("case", [*LLAMA, *OLLAMA, *OTHERS], ids=lambda case: case.name)
@both_ways
def test_only_an_error_that_another_server_could_cure_fails_over(world, case, stream):
    world.does(refusing(case.status, case.body, kind=case.kind))
    heard = world.ask("openai", f"{case.upstream}+", stream=stream)
    assert failed_over(heard) == case.over
    assert len(world.spare.received) == case.over


@pytest.mark.parametrize("case", [c for c in LLAMA if c.status == 500], ids=lambda case: case.name)
def test_a_500_that_is_the_clients_mistake_is_not_tried_again(world, case):
    world.does(refusing(500, case.body))
    assert world.ask("openai", "retries/m").status == 400
    assert len(world.up.received) == 1


@pytest.mark.parametrize("upstream", ["openai", "ollama"])
@every_client
def test_a_plain_400_to_a_stream_may_come_in_chunks(world, client, upstream):
    def script(turn: Turn) -> None:
        turn.head(400, "Transfer-Encoding: chunked")
        body = json.dumps({"error": INSIDE if upstream == "ollama" else TOO_LONG}).encode()
        turn.chunk(body[:20])
        turn.chunk(body[20:])
        turn.end()

    world.does(script)
    heard = world.ask(client, f"{upstream}/m", stream=True)
    assert (heard.status, heard.headers["x-router-error"]) == (400, "context_too_long")
    assert "60019" in json.dumps(heard.events)
    assert failed_over(world.ask(client, f"{upstream}+", stream=True))
