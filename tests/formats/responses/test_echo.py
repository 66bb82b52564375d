"""formats/responses/echo.py"""

import json

import openai
import pytest
from pydantic import TypeAdapter

from formats.responses import parse_request
from formats.responses.echo import echoed
from tests.formats.responses.test_parse import FIXTURES, fixture

ANSWER = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "m",
    "output": [],
    "usage": None,
}


def test_everything_has_a_value_or_null():
    assert echoed(parse_request(b'{"model":"m","input":"x"}')) == {
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": None,
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}, "verbosity": None},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }


def test_what_was_asked_is_said_again():
    asked = {
        "instructions": "be brief",
        "max_output_tokens": 9,
        "reasoning": {"effort": "low", "summary": "auto", "mode": "pro"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "f", "namespace": "n"},
        "parallel_tool_calls": False,
        "truncation": "auto",
        "temperature": 0.5,
    }
    inner = [{"type": "function", "name": "f", "parameters": None, "strict": None}]
    tools = [{"type": "namespace", "name": "n", "description": "d", "tools": inner}]
    body = {"model": "m", "input": "x", "tools": tools, **asked}
    echo = echoed(parse_request(json.dumps(body).encode()))
    assert {name: echo[name] for name in asked} == asked
    assert echo["tools"] == tools


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_the_official_client_reads_what_is_said_of_a_real_request(path):
    body = fixture(path)
    body["tools"] = [t for t in body.get("tools", []) if t["type"] in ("function", "custom")]
    echo = echoed(parse_request(json.dumps(body).encode()))
    TypeAdapter(openai.types.responses.Response).validate_json(json.dumps({**ANSWER, **echo}))


def test_tools_that_are_no_tools_do_no_harm():
    odd = [{"type": "namespace", "name": "n", "tools": [[], {"type": "namespace", "tools": "x"}]}]
    body = {"model": "m", "input": "x", "tools": odd}
    assert echoed(parse_request(json.dumps(body).encode()))["tools"] == odd
