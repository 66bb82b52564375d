"""Whole answers, read from servers of all kinds and written for clients."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Message,
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
from formats.openai_chat.answer import parse_response, stop_reason, usage_of, write_response
from tests import strategies
from tests.formats.sdk_readers import read_openai

STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000, model="asked")


def read(message, **choice):
    choice = {"index": 0, "message": message, "finish_reason": "stop", **choice}
    body = {"id": "i", "created": 5, "model": "m", "choices": [choice]}
    return parse_response(json.dumps(body).encode())


def written(response, request=None, ledger=None):
    return json.loads(write_response(response, ledger or Ledger(), STAMP, request))


# --- reading ---


def test_an_answer_with_everything_in_it():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {"content": "t", "reasoning": "r", "refusal": None, "tool_calls": [call]}
    response = read(message, finish_reason="tool_calls")
    assert (response.id, response.model, response.created) == ("i", "m", 5)
    assert response.parts == (Thought("r"), Text("t"), ToolUse("c", "f", '{"a":1}', {"a": 1}))
    assert (response.stop, response.stop_native) == ("tool_use", "tool_calls")


def test_content_as_a_list_of_parts_is_read():
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
        {"type": "text", "text": "t"},
        {"type": "reference", "reference_ids": [1]},
    ]
    assert read({"content": content}).parts == (Thought("r"), Text("t"))


def test_damaged_calls_never_end_an_answer():
    calls = [
        None, {"function": {}}, {"function": {"name": "f", "arguments": {"a": 1}}},
        {"id": "x", "function": {"name": "g", "arguments": '"{{ Hello'}},
        {"id": "x", "function": {"name": "h", "arguments": None}, "extra_content": {"s": 1}},
        {"id": "y", "custom": {"name": "i", "input": "raw"}},
    ]  # fmt: skip
    assert read({"content": None, "tool_calls": calls}).parts == (
        ToolUse("", "f", '{"a":1}', {"a": 1}),
        ToolUse("x", "g", '"{{ Hello', None),
        ToolUse("x_2", "h", "", {}, extra={"extra_content": {"s": 1}}),
        ToolUse("y", "i", "raw", None, "custom"),
    )


def test_a_function_call_of_old_servers_is_a_call():
    response = read(
        {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        finish_reason="function_call",
    )
    assert response.parts == (ToolUse("", "f", "{}", {}),)
    assert response.stop == "tool_use"


@pytest.mark.parametrize(
    ("native", "has_call", "has_refusal", "sequence", "reason"),
    [
        ("stop", False, False, None, "end_turn"),
        (None, False, False, None, "end_turn"),
        ("eos", False, False, None, "end_turn"),
        ("length", True, False, None, "max_tokens"),
        ("content_filter", False, True, None, "content_filter"),
        ("stop", True, False, None, "tool_use"),
        ("tool_calls", False, False, None, "end_turn"),
        ("stop", False, True, None, "refusal"),
        ("stop", False, False, "END", "stop_sequence"),
        ("stop", True, False, "END", "tool_use"),
    ],
)
def test_why_it_stopped_follows_from_what_was_sent(native, has_call, has_refusal, sequence, reason):
    got = stop_reason(native, has_call=has_call, has_refusal=has_refusal, sequence=sequence)
    assert got == reason


def test_a_server_that_tells_the_stop_sequence_is_believed():
    response = read({"content": "t"}, stop_reason="END")
    assert (response.stop, response.stop_sequence) == ("stop_sequence", "END")
    assert read({"content": "t"}, stop_reason=42).stop == "end_turn"


@pytest.mark.parametrize(
    ("obj", "usage"),
    [
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}, Usage(5, 2)),
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}}},
            Usage(9, 2, 3, 4, 1),
        ),
        # xAI: only the total counts the reasoning
        (
            {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35, "completion_tokens_details": {"reasoning_tokens": 20}}},
            Usage(10, 25, None, None, 20),
        ),
        # DeepSeek
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}}, Usage(9, 2, 8)),
        # llama.cpp
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2}, "timings": {"cache_n": 4}}, Usage(9, 2, 4)),
        ({"timings": {"cache_n": 20, "prompt_n": 1, "predicted_n": 4}}, Usage(21, 4, 20)),
        # Groq
        ({"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}}, Usage(1, 2)),
        ({"usage": None}, None),
        ({"usage": {}}, None),
        ({"usage": {"prompt_tokens": "9", "completion_tokens": True}}, None),
        ({"usage": {"prompt_tokens": 3.0, "completion_tokens": -1}}, Usage(3)),
    ],
)  # fmt: skip
def test_figures_of_all_dialects(obj, usage):
    assert usage_of(obj) == usage


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b"\xff", b"{}", b'{"choices":[]}', b'{"choices":[{}]}',
        b'{"choices":5}', b'{"error":{"message":"m"}}', b'{"detail":"Not Found"}',
        b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_answer_is_garbled(body):
    with pytest.raises(Garbled):
        parse_response(body)


def test_an_error_with_status_200_says_what_the_upstream_said():
    with pytest.raises(Garbled, match="out of memory"):
        parse_response(b'{"error":{"message":"out of memory"}}')


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "stop", "\ud800"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "message",
                        "content",
                        "tool_calls",
                        "function",
                        "name",
                        "arguments",
                        "usage",
                        "id",
                        "custom",
                        "finish_reason",
                        "prompt_tokens",
                        "function_call",
                        "refusal",
                        "reasoning",
                        "type",
                        "text",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_any_json_is_an_answer_or_garbled(value):
    for body in (value, {"choices": [{"message": value}]}, {"choices": [value]}):
        try:
            response = parse_response(json.dumps(body).encode())
        except Garbled:
            continue
        written(response)


# --- writing ---


def test_the_same_format_gets_everything_back():
    body = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "t", "refusal": None, "annotations": []},
                "logprobs": {"content": []}, "finish_reason": "stop", "z": 1,
            },
            {"index": 1, "message": {"role": "assistant", "content": "u"}, "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
        "system_fingerprint": "fp",
    }  # fmt: skip
    out = written(parse_response(json.dumps(body).encode()))
    assert out == {**body, "id": f"chatcmpl-{STAMP.id}", "created": STAMP.created}


def test_members_of_other_formats_are_not_shown():
    response = Response("i", "m", (Text("t"),), extra={"total_duration": 5})
    assert "total_duration" not in written(response)


def test_calls_get_legal_ids_and_arguments_that_are_never_empty():
    calls = (ToolUse("", "f"), ToolUse("a\nb", "g", '{"x":'), ToolUse("c", "h", "", {"p": 1}))
    message = written(Response("i", "m", calls, "tool_use"))["choices"][0]["message"]
    assert message["content"] is None
    ids = [call["id"] for call in message["tool_calls"]]
    assert len(set(ids)) == 3
    assert ids[2] == "c"
    assert all(each.isprintable() and len(each) <= 40 for each in ids)
    arguments = [call["function"]["arguments"] for call in message["tool_calls"]]
    assert arguments == ["{}", '{"x":', '{"p":1}']


def test_names_are_the_clients_own_again():
    request = Request("openai", "m", (Message("user", (Text("x"),)),), (Tool("mcp.read"),))
    out = written(Response("i", "m", (ToolUse("c", "mcp_read", "{}"),), "tool_use"), request)
    assert out["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "mcp.read"


def test_a_client_of_functions_gets_a_function_call():
    request = Request("openai", "m", tools=(Tool("f", type="functions"),))
    ledger = Ledger()
    calls = (ToolUse("c", "f", "{}"), ToolUse("d", "f", "{}"))
    choice = written(Response("i", "m", calls, "tool_use"), request, ledger)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"
    assert ledger.names() == ("function_call",)


def test_a_refusal_without_words_gets_some():
    refused = Response("i", "m", (), "refusal", stop_details={"explanation": "Because."})
    choice = written(refused)["choices"][0]
    assert choice["message"]["refusal"] == "Because."
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "content_filter"


def test_web_citations_become_annotations_with_places_in_the_text():
    cited = {"type": "web_search_result_location", "url": "https://x", "title": "T"}
    ledger = Ledger()
    response = Response(
        "i", "m", (Text("one "), Text("two", citations=(cited, {"type": "char_location"})))
    )
    message = written(response, ledger=ledger)["choices"][0]["message"]
    where = {"start_index": 4, "end_index": 7, "url": "https://x", "title": "T"}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": where}]
    assert ledger.names() == ("citations",)


def test_unknown_usage_is_left_out_and_unknown_details_too():
    assert "usage" not in written(Response("i", "m", usage=Usage()))
    assert written(Response("i", "m", usage=Usage(3, 4, cache_read=2)))["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip


def test_the_sdk_reads_it():
    parts = (Thought("r"), Text("t"), ToolUse("", "f", "", {}), Opaque("anthropic", "x"))
    body = write_response(Response("i", "", parts, "tool_use", usage=Usage(1, 2)), Ledger(), STAMP)
    got = read_openai(body, stream=False)
    assert (got["text"], got["stop"], got["error"]) == ("t", "tool_use", None)
    assert got["calls"][0][1:] == ("f", {})


@given(strategies.responses())
def test_every_answer_is_written_and_read_alike(response):
    out = write_response(response, Ledger(), STAMP)
    again = parse_response(out)
    assert again.text == response.text
    sent = [part for part in response.parts if isinstance(part, ToolUse) and part.name]
    assert len([part for part in again.parts if isinstance(part, ToolUse)]) == len(sent)
    if all(part.kind == "function" for part in sent):  # the reader knows no others
        assert read_openai(out, stream=False, strict=False)["error"] is None


@pytest.mark.parametrize(
    ("told", "prefill_ms"),
    [(137.9, 137), (0, 0), (-1, None), ("9", None), (True, None), (1e300, None), (None, None)],
)
def test_how_long_the_prompt_took_where_the_server_tells(told, prefill_ms):
    timings = {"cache_n": 2, "prompt_n": 1, "predicted_n": 4, "prompt_ms": told}
    counted = {"prompt_tokens": 3, "completion_tokens": 4}
    for obj in ({"timings": timings}, {"timings": timings, "usage": counted}):
        assert usage_of(obj) == Usage(3, 4, 2, prefill_ms=prefill_ms)
