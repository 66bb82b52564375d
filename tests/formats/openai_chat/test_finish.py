"""Whole answers without a finish_reason."""

import json

import pytest

from formats.openai_chat.finish import with_finish


def answer(*choices) -> bytes:
    return json.dumps({"id": "x", "n": 1e3, "choices": choices, "usage": None}).encode()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": "hi"}, "stop"),
        ({"content": None, "tool_calls": [{"id": "c"}]}, "tool_calls"),
        ({"content": "hi", "tool_calls": []}, "stop"),
        ({"content": None, "function_call": {"name": "f"}}, "function_call"),
    ],
)
@pytest.mark.parametrize("left_out", [{}, {"finish_reason": None}, {"finish_reason": ""}])
def test_a_choice_gets_the_reason_that_its_message_tells(message, reason, left_out):
    told = json.loads(with_finish(answer({"index": 0, "message": message, **left_out})))
    assert told["choices"] == [{"index": 0, "message": message, "finish_reason": reason}]


def test_what_is_there_stays_and_so_does_the_text_around():
    choice = {"message": {"content": "hi"}, "finish_reason": "length"}
    whole = b'{"n": 1e3,\n"choices":[' + json.dumps(choice).encode() + b"]}"
    assert with_finish(whole) == whole
    bare = b'{"n": 1e3,\n"choices":[{"message":{"content":"hi"}}]}'
    assert with_finish(bare).startswith(b'{"n": 1e3,\n"choices":')
    assert with_finish(answer(None, choice)) == answer(None, choice)
