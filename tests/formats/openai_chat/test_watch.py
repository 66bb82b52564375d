"""Streams that pass from an upstream to a client of the same format, and what is seen of them."""

import json

import pytest

from formats.canonical import Request, Usage
from formats.errors import TooLong
from formats.openai_chat.watch import observer

ASKED = Request("openai", "asked", stream=True, include_usage=True)
UNASKED = Request("openai", "asked", stream=True)
DONE = b"data: [DONE]\n\n"
BIG = 1 << 20


def event(value):
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({"id": "i", "created": 5, "model": "m", "choices": [choice], **more})


def text(words):
    return chunk({"content": words})


def watched(*pieces, request=ASKED):
    watcher = observer(request, limit=BIG)
    out = b"".join(watcher.feed(each) for each in pieces)
    return out, watcher, watcher.eof()


USAGE = event({"id": "i", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})


def test_everything_passes_but_the_usage_that_nobody_asked_for():
    stream = text("a") + chunk({}, "stop") + USAGE + DONE
    out, watcher, failure = watched(stream)
    assert (out, failure, watcher.usage, watcher.content) == (stream, None, Usage(3, 1), True)
    out, watcher, failure = watched(stream, request=UNASKED)
    assert out == stream.replace(USAGE, b"")
    assert (failure, watcher.usage) == (None, Usage(3, 1))


CALL = chunk(
    {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
)


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        (text("a"), "stop"),
        (text("a") + chunk({}, ""), "stop"),
        (text('say "tool_calls":[{'), "stop"),
        (text("a") + CALL, "tool_calls"),
        (chunk({"role": "assistant"}), "stop"),
    ],
)
@pytest.mark.parametrize("step", [1, 4096])
def test_an_end_without_a_finish_reason_gets_one(said, finish, step):
    stream = said + USAGE + DONE
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    out, _, failure = watched(*pieces)
    assert out.startswith(said + USAGE)
    assert out.endswith(DONE)
    added = json.loads(out[len(said + USAGE) : -len(DONE)].removeprefix(b"data: "))
    assert added["choices"] == [{"index": 0, "delta": {}, "finish_reason": finish}]
    assert (added["id"], added["model"], failure) == ("i", "m", None)


@pytest.mark.parametrize("stream", [DONE, text("a") + event({"error": {"message": "no"}}) + DONE])
def test_what_is_no_answer_gets_no_finish_reason(stream):
    assert watched(stream)[0] == stream


def test_usage_beside_an_empty_choice_is_taken_out_too_but_not_what_says_something():
    empty = event({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 3}})
    ending = chunk({}, "stop", usage={"prompt_tokens": 3})
    filtered = event({"choices": [], "prompt_filter_results": []})
    stream = filtered + text("a") + ending + empty + DONE
    assert watched(stream, request=UNASKED)[0] == filtered + text("a") + ending + DONE


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_partial_events_are_held_back(step):
    stream = text("世") + chunk({}, "stop") + USAGE + DONE + b"data: {"
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    out, _, failure = watched(*pieces, request=UNASKED)
    assert out == text("世") + chunk({}, "stop") + DONE
    assert failure is None


@pytest.mark.parametrize(
    ("delta", "content"),
    [
        ({"role": "assistant", "content": ""}, False),
        ({"content": None}, False),
        ({"tool_calls": []}, False),
        ({"content": "a"}, True),
        ({"reasoning": "a"}, True),
        ({"reasoning_content": "a"}, True),
        ({"refusal": "a"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"function_call": {"name": "f"}}, True),
    ],
)
def test_what_counts_as_content(delta, content):
    assert watched(chunk(delta))[1].content is content


@pytest.mark.parametrize(
    "said",
    [
        event({"error": {"message": "m", "code": 500}}),
        b'data:{"error" : {"message":"m"}}\r\n\r\n',
        b'event: error\ndata: {"message":"m"}\n\n',
        b'error: {"message":"m","code":500}\n\n',
        event({"object": "error", "message": "m"}),
    ],
)
def test_an_error_on_the_way_is_seen_and_passed(said):
    for before in (b"", text("a")):
        out, watcher, failure = watched(before + said + DONE)
        assert out == before + said + DONE
        if b'"object"' in said:
            continue
        assert failure is watcher.failure
        assert failure.message == "m"


def test_ends_that_are_none():
    assert watched(text("a"))[2].kind == "truncated"
    assert watched(text("a") + chunk({}, "stop")[:-1])[2].kind == "truncated"
    assert watched(b"<html><title>Bad</title></html>")[2].kind == "upstream"
    assert watched(b"")[2].kind == "truncated"
    assert watched(text("a") + chunk({}, "stop"))[2] is None
    assert watched(text("a") + DONE)[2] is None
    assert watched(text("a"), b'data: {"error":{"message":"m"}}')[2].message == "m"


def test_a_model_that_talks_of_usage_and_errors_is_not_misread():
    talk = text('"usage":{"prompt_tokens":9} "error":{"message":"x"} "finish_reason":"stop"')
    out, watcher, failure = watched(text("a") + talk, request=UNASKED)
    assert out == text("a") + talk
    assert (watcher.usage, watcher.failure) == (None, None)
    assert failure.kind == "truncated"


def test_an_event_without_end_is_refused():
    watcher = observer(ASKED, limit=100)
    with pytest.raises(TooLong):
        watcher.feed(b"data: " + b"a" * 200)


GARBAGE = [
    b"data: {garbage\n\n",
    b'data: {"choices":[{"delta":{"content":"cut in its mid\n\n',
    b"data: {}}\n\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("before", [b"", text("a")])
def test_an_event_that_cannot_be_read_does_not_pass_nor_what_follows_it(before, garbage):
    """The client's library would break on it, and an end mark behind it would say that all is well."""
    out, watcher, failure = watched(before + garbage + text("b") + DONE)
    assert out == before
    assert failure is watcher.failure
    assert (failure.kind, watcher.told, watcher.ended) == ("upstream", False, False)


def test_comments_and_events_of_other_servers_pass_between_the_chunks():
    odd = b": wait\n\n" + event({"prompt_progress": {"total": 5}}) + b"\n\n"
    stream = text("a") + odd + text("b") + chunk({}, "stop") + DONE
    assert watched(stream)[::2] == (stream, None)
    windows = stream.replace(b"\n", b"\r\n")
    assert watched(windows)[::2] == (windows, None)


def piece(index, **more):
    return chunk({"tool_calls": [{"index": index, **more}]})


def test_calls_that_all_have_the_number_0_reach_the_client_apart():
    calls = [piece(0, id="a"), piece(0, function={"arguments": "{}"}), piece(0, id="b"), piece(0)]
    out, _, failure = watched(text("x"), *calls, chunk({}, "tool_calls"), DONE)
    chunks = [json.loads(line[6:]) for line in out.splitlines() if line[6:7] == b"{"]
    found = [c["choices"][0]["delta"].get("tool_calls") for c in chunks]
    assert [calls[0]["index"] for calls in found if calls] == [0, 0, 1, 1]
    assert failure is None


def test_calls_that_are_numbered_well_pass_byte_for_byte():
    stream = piece(0, id="a") + piece(0) + piece(1, id="b") + piece(1) + chunk({}, "tool_calls")
    assert watched(stream + DONE)[0] == stream + DONE
