"""formats/responses/answer.py"""

import json

import pytest

from formats import FORMATS, responses
from formats.canonical import (
    Opaque,
    Request,
    Response,
    Stamp,
    Text,
    Thought,
    Tool,
    ToolUse,
    Usage,
)
from formats.errors import Garbled
from formats.ledger import Ledger
from formats.responses import parse_error, parse_response, write_response
from tests.formats.responses.wires import golden, message

STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000)


def parsed(*items, **members):
    body = {"id": "resp_1", "model": "m", "status": "completed", "output": list(items), **members}
    return parse_response(json.dumps(body).encode())


def told(*parts, request=None, **members):
    ledger = Ledger()
    return json.loads(write_response(Response("", "up", parts, **members), ledger, STAMP, request))


def test_the_format_is_registered():
    assert FORMATS["responses"] is responses
    assert responses.NAME == "responses"


def test_the_golden_whole_answer():
    answer = parse_response(golden("openai-responses/plain-nonstream.json"))
    assert answer.parts == (Text("Hello, world!"),)
    assert answer.usage == Usage(2048, 4, 1920, 128, 0)
    assert (answer.id, answer.model, answer.created) == ("resp_kit0002", "gpt-6.1-sol", 1795464000)
    assert (answer.stop, answer.stop_native) == ("end_turn", "completed")


def test_the_golden_error():
    failure = parse_error(401, golden("openai-responses/error-before-401.json"))
    assert (failure.kind, failure.code) == ("credential", "invalid_api_key")


def test_every_kind_of_item():
    refusal = {"type": "refusal", "refusal": "no"}
    search = {"type": "web_search_call", "id": "ws_1"}
    answer = parsed(
        {"type": "reasoning", "id": "rs_1", "summary": [{"text": "hm"}], "encrypted_content": "g"},
        message("a", "b"),
        message(content=[refusal, 1, {"type": "strange"}]),
        {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "call_id": "d", "name": "p", "input": "raw", "namespace": "n"},
        search,
        "junk",
    )
    assert answer.parts == (
        Thought("hm", signature="g", origin="responses"),
        Text("a"),
        Text("b"),
        Text("no", refusal=True),
        Opaque("responses", "strange", {"type": "strange"}),
        ToolUse("c", "f", '{"a":1}', {"a": 1}),
        ToolUse("d", "n__p", "raw", kind="custom", extra={"namespace": "n"}),
        Opaque("responses", "web_search_call", search),
    )
    assert answer.stop == "tool_use"


def test_an_answer_that_is_still_being_made_is_one():
    answer = parsed(status="queued", background=True)
    assert (answer.parts, answer.stop_native) == ((), "queued")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"<html>", "not a response"),
        (b"[]", "not a response"),
        (b"\xff", "not a response"),
        (b"{}", "no output"),
        (b'{"error":{"message":"no"}}', "no"),
        (b'{"status":"failed","output":[]}', "failed"),
        (b'{"choices":[]}', "no output"),
    ],
)
def test_what_is_no_answer_is_garbled(body, words):
    with pytest.raises(Garbled, match=words):
        parse_response(body)


def test_a_whole_answer_says_what_its_stream_does():
    parts = (Thought("hm"), Text("a"), ToolUse("c", "f", "{}", {}))
    answer = told(*parts, stop="tool_use", usage=Usage(3, 2))
    assert [item["type"] for item in answer["output"]] == ["reasoning", "message", "function_call"]
    assert (answer["status"], answer["object"], answer["model"]) == ("completed", "response", "up")
    assert answer["usage"]["total_tokens"] == 5
    assert answer["id"] == "resp_0123456789abcdef01234567"


def test_a_cut_answer_is_incomplete():
    answer = told(Text("a"), stop="max_tokens")
    assert answer["status"] == answer["output"][0]["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}


def test_what_was_asked_is_told_again_and_names_are_the_clients():
    request = Request("responses", "m", tools=(Tool("a.b"),), max_tokens=9)
    answer = told(ToolUse("c", "a_b", "{}", {}), request=request)
    assert answer["max_output_tokens"] == 9
    assert answer["output"][0]["name"] == "a.b"


def test_how_an_answer_was_made_goes_back_to_clients_of_this_format_only():
    answer = parsed(message("a"), service_tier="flex", metadata={"x": "y"})
    assert json.loads(write_response(answer, Ledger(), STAMP))["service_tier"] == "flex"
    chat = FORMATS["openai"].write_response(answer, Ledger(), STAMP)
    assert "service_tier" not in json.loads(chat)
