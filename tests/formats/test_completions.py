"""Legacy text completions: asked, passed on, answered; judged by the official client library."""

import json
import re
from contextlib import suppress
from pathlib import Path

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from formats import FORMATS, completions, speaks
from formats.canonical import (
    CitationSeen,
    Failed,
    Finished,
    Message,
    OpaquePart,
    OutputFormat,
    PartEnded,
    PluginCall,
    RefusalDelta,
    Request,
    Response,
    Stamp,
    Started,
    Target,
    Text,
    TextDelta,
    Thinking,
    Thought,
    ThoughtDelta,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, Garbled, Invalid, TooLong
from formats.fold import fold, unfold
from formats.ledger import Ledger
from tests import strategies
from tests.formats.sdk_readers import adapter, failed, has_surrogate, served

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
PLAIN = (GOLDEN / "openai-completions" / "plain.sse").read_bytes()
STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000, model="shown")
ASKED = Request("completions", "m", stream=True, include_usage=True)
UNASKED = Request("completions", "m", stream=True)
DONE = b"data: [DONE]\n\n"
BIG = 1 << 20


def parsed(**members) -> Request:
    body = {"model": "m", "prompt": "hi", **members}
    return completions.parse_request(json.dumps(body).encode())


def event(value) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(text="", finish=None, **more) -> bytes:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return event({"id": "i", "created": 5, "model": "up", "choices": [choice], **more})


def decoded(*pieces, limit=BIG):
    decoder = completions.decoder(limit=limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.eof()


def watched(*pieces, request=ASKED):
    watcher = completions.observer(request, limit=BIG)
    out = b"".join(watcher.feed(piece) for piece in pieces)
    return out, watcher, watcher.eof()


def streamed(events, request=ASKED, ledger=None) -> bytes:
    encoder = completions.encoder(request, ledger or Ledger(), STAMP)
    return b"".join(map(encoder.encode, events))


def read_by_sdk(body, stream, *, status=200, step=16):
    """What a program on the official library sees; every object is checked against its types."""
    kind = "text/event-stream" if stream else "application/json"
    http = served(httpx2, body, status=status, content_type=kind, step=step)
    client = openai.OpenAI(
        api_key="k", base_url="http://upstream.invalid/v1", max_retries=0, http_client=http
    )
    got = {"text": "", "finish": None, "usage": None, "error": None, "id": None, "model": None}
    try:
        answer = client.completions.create(model="m", prompt="hi", stream=stream)
        for piece in answer if stream else [answer]:
            got["id"], got["model"] = piece.id, piece.model
            if not has_surrogate(body):
                given = piece.to_dict(mode="json")
                for choice in given["choices"]:
                    choice["finish_reason"] = choice["finish_reason"] or "stop"  # null in chunks
                adapter(Completion).validate_python(given)
            if piece.usage:
                got["usage"] = (piece.usage.prompt_tokens, piece.usage.completion_tokens)
            for choice in piece.choices:
                got["text"] += choice.text
                got["finish"] = choice.finish_reason or got["finish"]
    except openai.APIStatusError as error:
        got["error"] = failed("before", error, None)
    except openai.APIError as error:
        got["error"] = failed("mid", error, None)
    return got


# --- requests ---


def test_the_call_is_registered_under_its_name():
    assert FORMATS["completions"] is completions
    assert completions.NAME == "completions"
    assert completions.STREAM_TYPE == "text/event-stream; charset=utf-8"
    assert completions.COMMENT.startswith(b":")


def test_what_the_official_library_sends_is_a_message_of_the_users():
    body = b'{"model":"kit-model","prompt":"Say hello in one short sentence."}'
    request = completions.parse_request(body)
    said = (Message("user", (Text("Say hello in one short sentence."),)),)
    assert request == Request("completions", "kit-model", said)
    assert request.raw.text.encode() == body


def test_a_list_of_one_text_is_that_text():
    assert parsed(prompt=["hi"]).messages == parsed(prompt="hi").messages
    assert parsed(prompt=["hi"]).bound == ()


def test_the_other_members_are_those_of_a_chat():
    request = parsed(
        max_tokens=7,
        temperature=0.5,
        stop="END",
        seed=1,
        n=1,
        logit_bias={"5": 1},
        repetition_penalty=1.5,
        stream=True,
        stream_options={"include_usage": True},
        response_format={"type": "json_object"},
        reasoning_effort="low",
        user="u",
        service_tier="flex",
        plugins=[{"id": "p"}],
        min_tokens=3,
    )
    assert (request.max_tokens, request.stream, request.include_usage) == (7, True, True)
    sampling = request.sampling
    assert (sampling.temperature, sampling.stop, sampling.seed) == (0.5, ("END",), 1)
    assert (sampling.n, sampling.repeat_penalty, sampling.logit_bias) == (1, 1.5, {"5": 1})
    assert request.output == OutputFormat("json")
    assert request.thinking == Thinking(effort="low")
    assert (request.user, request.service_tier) == ("u", "flex")
    assert request.plugins == (PluginCall("p"),)
    assert request.extra == {"min_tokens": 3}


@pytest.mark.parametrize(
    ("members", "bound"),
    [
        ({"prompt": ["a", "b"]}, ("prompt",)),
        ({"prompt": [1, 2]}, ("prompt",)),
        ({"prompt": [[1, 2], [3]]}, ("prompt",)),
        ({"prompt": [[1, 2]]}, ("prompt",)),
        ({"prompt": [5, "text", 7]}, ("prompt",)),
        ({"prompt": {"prompt_string": "x"}}, ("prompt",)),
        ({"prompt": None}, ("prompt",)),
        ({"suffix": "s"}, ("suffix",)),
        ({"echo": True}, ("echo",)),
        ({"best_of": 2}, ("best_of",)),
        ({"n": 2}, ("n",)),
        ({"logprobs": 0}, ("logprobs",)),
        ({"logprobs": 5}, ("logprobs",)),
        ({"logprobs": True}, ("logprobs",)),
        ({"suffix": "s", "echo": True, "n": 3}, ("suffix", "echo", "n")),
        ({"suffix": "", "echo": False, "best_of": 1, "n": 1, "logprobs": None}, ()),
        ({"suffix": None, "echo": None, "best_of": None, "n": None, "logprobs": False}, ()),
    ],
)
def test_what_only_this_call_can_say_binds_the_request(members, bound):
    request = parsed(**members)
    assert request.bound == bound
    assert request.extra == {}


def test_of_several_prompts_each_is_a_message_and_of_token_ids_none():
    said = [message.parts for message in parsed(prompt=["a", "b"]).messages]
    assert said == [(Text("a"),), (Text("b"),)]
    assert parsed(prompt=[1, 2]).messages == ()


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": True}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", None]}, "prompt[1]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [1.5]}, "prompt[0]"),
        ({"suffix": 1}, "suffix"),
        ({"echo": "yes"}, "echo"),
        ({"best_of": "2"}, "best_of"),
        ({"n": 1.5}, "n"),
        ({"logprobs": "all"}, "logprobs"),
        ({"stop": [1]}, "stop[0]"),
        ({"max_tokens": "9"}, "max_tokens"),
    ],
)
def test_mistakes_name_their_place(members, path):
    with pytest.raises(Invalid) as caught:
        parsed(**members)
    assert caught.value.path == path


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["model", "prompt", "suffix", "echo", "best_of", "n", "logprobs", "stop"],
            strategies.json_values,
        ),
    )
    | strategies.json_values
)
def test_no_json_makes_reading_fail_in_another_way(value):
    with suppress(Invalid):
        completions.parse_request(json.dumps(value).encode())


# --- requests that pass ---


def passed(body: bytes, target=None, ledger=None) -> bytes:
    request = completions.parse_request(body)
    return completions.write_request(request, ledger or Ledger(), target or Target("m"))


@pytest.mark.parametrize("prompt", [b'"a\\u00fc"', b"[1, 2]", b'["a",  "b"]', b'{"x":1.0}'])
def test_nothing_but_the_models_name_changes(prompt):
    body = (
        b'{ "model" : "m",\n "prompt": %b, "temperature":1.0, "suffix":"s", "echo": true, '
        b'"seed":123456789012345678901234567890, "new":{"b":1e3} }' % prompt
    )
    assert passed(body) == body
    assert passed(b"\xef\xbb\xbf" + body) == body
    assert passed(body, Target("other")) == body.replace(b'"m"', b'"other"')


def test_the_edits_are_those_of_a_chat():
    ledger = Ledger()
    body = b'{"model":"m","prompt":"a","stream":true,"max_tokens":9,"plugins":[]}'
    out = json.loads(passed(body, Target("m", max_output=5, options={"x": 1}), ledger))
    assert out == {
        "model": "m",
        "prompt": "a",
        "stream": True,
        "max_tokens": 5,
        "stream_options": {"include_usage": True},
        "x": 1,
    }
    assert [(loss.path, loss.what) for loss in ledger.entries] == [("max_tokens", "clamped")]


def test_usage_is_not_asked_of_an_upstream_that_does_not_know_the_question():
    body = b'{"model":"m","prompt":"a","stream":true,"stream_options":{"include_usage":true}}'
    out = passed(body, Target("m", include_usage=False))
    assert json.loads(out) == {"model": "m", "prompt": "a", "stream": True}


@pytest.mark.parametrize(
    ("provider", "origin", "changed", "codec"),
    [
        ("openai", "completions", False, "completions"),
        ("openai", "completions", True, "openai"),
        ("ollama", "completions", False, "ollama"),
        ("anthropic", "completions", False, "anthropic"),
        ("openai", "openai", False, "openai"),
        ("ollama", "generate", False, "generate"),
        ("ollama", "generate", True, "ollama"),
        ("openai", "generate", False, "openai"),
        ("ollama", "ollama", False, "ollama"),
    ],
)
def test_an_upstream_is_asked_by_the_clients_own_call_where_it_has_that(
    provider, origin, changed, codec
):
    raw = None if changed else parsed().raw
    assert speaks(provider, Request(origin, "m", raw=raw)) == codec


# --- an upstream's stream ---


def test_the_transcript_means_what_the_index_says_in_any_split():
    entries = json.loads((GOLDEN / "index.json").read_text())["entries"]
    (meant,) = [e["canonical"] for e in entries if e["file"] == "openai-completions/plain.sse"]
    answer = fold(decoded(PLAIN))
    assert answer.text == meant["text"]
    assert (answer.stop, answer.stop_native) == (meant["stop"], meant["stop_native"])
    assert answer.usage == Usage(5, 5)
    whole = decoded(PLAIN)
    for cut in range(len(PLAIN)):
        assert decoded(PLAIN[:cut], PLAIN[cut:]) == whole
    assert decoded(*[PLAIN[at : at + 1] for at in range(len(PLAIN))]) == whole


def test_a_stream_becomes_lawful_events():
    usage = event({"id": "i", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert decoded(chunk("a") + chunk("b") + chunk("", "length") + usage + DONE) == [
        Started("i", "up", 5),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        UsageSeen(Usage(3, 2)),
        PartEnded(0),
        Finished("max_tokens", "length"),
    ]


def test_the_last_text_may_come_with_the_finish_reason():
    answer = fold(decoded(chunk("a"), chunk(" b", "stop"), DONE))
    assert (answer.text, answer.stop) == ("a b", "end_turn")


def test_figures_of_no_tokens_are_none():
    zero = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    stream = chunk("a", **zero) + chunk("", "stop", **zero) + DONE
    assert fold(decoded(stream)).usage is None
    real = chunk(usage={"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5})
    assert fold(decoded(stream.replace(DONE, real + DONE))).usage == Usage(4, 1)
    _, watcher, failure = watched(stream)
    assert (watcher.usage, failure) == (None, None)


def test_only_the_first_choice_is_followed():
    other = event({"choices": [{"index": 1, "text": "other", "finish_reason": None}]})
    assert fold(decoded(chunk("a"), other, chunk("", "stop"), DONE)).text == "a"


def test_keys_left_out_and_odd_choices_do_no_harm():
    stream = event({"choices": [7, {"index": 0}, {"text": None}, {"text": 9}]})
    stream += event({"choices": [{"text": "a"}]}) + DONE
    assert fold(decoded(stream)).text == "a"


@pytest.mark.parametrize("stream", [b"", b"data: {\n\n", chunk("a"), chunk("a") + b": ping\n\n"])
def test_a_stream_without_an_end_is_a_failure(stream):
    assert isinstance(decoded(stream)[-1], Failed)
    assert watched(stream)[2] is not None


def test_an_error_before_the_end_mark_is_an_error():
    error = event({"error": {"message": "engine died", "type": "server_error", "code": 500}})
    answer = fold(decoded(chunk("a") + error + DONE))
    assert (answer.message, answer.kind) == ("engine died", "upstream")
    out, watcher, failure = watched(chunk("a") + error + DONE)
    assert out == chunk("a") + error + DONE
    assert (failure.message, watcher.told) == ("engine died", True)


def test_a_server_that_does_not_stream_is_understood_all_the_same():
    body = b'{"id":"i","model":"up","choices":[{"text":"a","index":0,"finish_reason":"stop"}]}'
    assert fold(decoded(body[:9], body[9:])).text == "a"
    assert fold(decoded(b'{"error":{"message":"no"}}')).message == "no"
    assert "answered 200" in fold(decoded(b'{"choices":[]}')).message


def test_an_event_beyond_the_limit_is_refused():
    assert isinstance(decoded(chunk("a" * 100), limit=50)[-1], Failed)
    with pytest.raises(TooLong):
        completions.observer(ASKED, limit=50).feed(chunk("a" * 100))


chunks = st.lists(
    strategies.json_values.map(event)
    | st.builds(lambda c, u: event({"choices": c, "usage": u}), strategies.json_values, strategies.json_values)
    | st.builds(lambda c: event({"choices": [{"index": 0, "text": c}]}), strategies.json_values)
    | st.sampled_from([chunk("a"), chunk("", "stop"), DONE, b"data: {", b"\n\n", b"\xff\xfe"]),
    max_size=6,
)  # fmt: skip


@given(chunks, st.integers(1, 9))
def test_any_stream_ends_in_one_last_event_in_any_split(pieces, step):
    body = b"".join(pieces)
    events = decoded(*[body[at : at + step] for at in range(0, len(body), step)])
    assert isinstance(events[-1], Finished | Failed)
    assert not any(isinstance(each, Finished | Failed) for each in events[:-1])
    assert events[-1] == decoded(body)[-1]


# The finish_reason before an end that has none.
ADDED = re.compile(
    rb'data: {[^\n]*"text":"","index":0,"logprobs":null,"finish_reason":"stop"}\]}\n\n'
)


@given(chunks, st.integers(1, 9))
def test_what_passes_is_whole_events_in_any_split(pieces, step):
    body = b"".join(pieces)
    out, _, _ = watched(*[body[at : at + step] for at in range(0, len(body), step)])
    assert out == watched(body)[0]
    assert body.startswith(ADDED.sub(b"", out, count=1))


# --- streams that pass ---


def test_everything_passes_but_the_usage_that_nobody_asked_for():
    out, watcher, failure = watched(PLAIN)
    assert (out, failure, watcher.usage, watcher.content) == (PLAIN, None, Usage(5, 5), True)
    assert watcher.ended
    out, watcher, failure = watched(PLAIN, request=UNASKED)
    (figures,) = [each for each in PLAIN.split(b"\n\n") if b"usage" in each]
    assert out == PLAIN.replace(figures + b"\n\n", b"")
    assert (failure, watcher.usage) == (None, Usage(5, 5))


def test_usage_beside_an_empty_choice_is_taken_out_but_not_beside_a_text():
    figures = {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    empty, last = chunk(**figures), chunk("b", "stop", **figures)
    stream = chunk("a") + last + empty + DONE
    out, watcher, failure = watched(stream, request=UNASKED)
    assert out == chunk("a") + last + DONE
    assert (failure, watcher.usage) == (None, Usage(3, 1))


def test_an_empty_text_is_no_content_yet():
    watcher = completions.observer(ASKED, limit=BIG)
    watcher.feed(chunk(""))
    assert not watcher.content
    watcher.feed(chunk("a"))
    assert watcher.content


# --- whole answers ---

WHOLE = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 5,
    "model": "up",
    "choices": [
        {"text": "a", "index": 0, "logprobs": {"tokens": ["a"]}, "finish_reason": "length"}
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
    "system_fingerprint": "fp",
}


def test_a_whole_answer_is_read_and_given_back_with_all_it_had():
    other = {"text": "b", "index": 1, "logprobs": None, "finish_reason": "stop"}
    body = {**WHOLE, "choices": [*WHOLE["choices"], other]}
    response = completions.parse_response(json.dumps(body).encode())
    assert (response.text, response.stop, response.usage) == ("a", "max_tokens", Usage(2, 1))
    assert (response.id, response.model, response.created) == ("cmpl-1", "up", 5)
    again = json.loads(completions.write_response(response, Ledger(), STAMP))
    assert again == {**body, "id": f"cmpl-{STAMP.id}", "created": STAMP.created}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{"message":{"content":"a"}}]}',
        b'{"choices":[{"text":null}]}',
        b'{"choices":[{"text":"a","finish_reason":"error"}]}',
        b'{"error":{"message":"no"}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_text_completion_is_garbled(body):
    with pytest.raises(Garbled):
        completions.parse_response(body)


@given(st.builds(lambda c: {"choices": c}, strategies.json_values) | strategies.json_values)
def test_any_json_is_an_answer_or_garbled(value):
    try:
        response = completions.parse_response(json.dumps(value).encode())
    except Garbled:
        return
    assert isinstance(response, Response)


# --- for a client ---

MIXED = Response(
    "id",
    "up",
    (
        Thought("hm", signature="S"),
        Text("Hello", citations=({"url": "http://x.example/"},)),
        ToolUse("c", "f", "{}", {}),
        Text(" ü\u2028\ud800"),
    ),
    "tool_use",
    usage=Usage(3, 4),
)


def test_a_whole_answer_for_a_client():
    ledger = Ledger()
    body = completions.write_response(MIXED, ledger, STAMP)
    assert json.loads(body) == {
        "id": "cmpl-0123456789abcdef01234567",
        "object": "text_completion",
        "created": 1_790_000_000,
        "model": "up",
        "choices": [
            {"text": "Hello ü\u2028\ud800", "index": 0, "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    assert ledger.names() == ("reasoning", "citations", "tool_calls")


def test_a_stream_for_a_client_says_the_same():
    ledger = Ledger()
    body = streamed(unfold(MIXED), ledger=ledger)
    assert ledger.names() == ("reasoning", "citations", "tool_calls")
    got = read_by_sdk(body, True)
    assert (got["text"], got["finish"], got["usage"]) == ("Hello ü\u2028\ud800", "stop", (3, 4))
    assert got["id"] == "cmpl-0123456789abcdef01234567"
    assert got["model"] == "up"
    assert body.endswith(DONE)
    assert "\u2028".encode() not in body
    folded = fold(decoded(body))
    assert (folded.text, folded.usage) == (MIXED.text, Usage(3, 4))


def test_no_usage_chunk_for_who_did_not_ask_or_where_nothing_is_known():
    assert b"usage" not in streamed(unfold(MIXED), UNASKED)
    silent = Response("", "m", (Text("a"),))
    assert b'"usage":{' not in streamed(unfold(silent))
    assert b"usage" not in completions.write_response(silent, Ledger(), STAMP)


@pytest.mark.parametrize(
    ("reason", "native", "word"),
    [
        ("end_turn", "end_turn", "stop"),
        ("max_tokens", None, "length"),
        ("context_window", None, "length"),
        ("stop_sequence", None, "stop"),
        ("tool_use", "tool_calls", "stop"),
        ("refusal", None, "content_filter"),
        ("refusal", "stop", "stop"),
        ("content_filter", None, "content_filter"),
        ("pause", None, "stop"),
        ("load", None, "stop"),
    ],
)
def test_reasons(reason, native, word):
    response = Response("", "m", (Text("a"),), reason, native)
    whole = completions.write_response(response, Ledger(), STAMP)
    assert read_by_sdk(whole, False)["finish"] == word
    assert read_by_sdk(streamed(unfold(response)), True)["finish"] == word


def test_a_refusal_is_text_and_one_without_words_gets_some():
    events = [Started("", "m"), RefusalDelta(0, "No."), PartEnded(0), Finished("refusal")]
    assert read_by_sdk(streamed(events), True)["text"] == "No."
    said = Response("", "m", (Text("No.", refusal=True),), "refusal")
    assert read_by_sdk(completions.write_response(said, Ledger(), STAMP), False)["text"] == "No."
    silent = Response("", "m", (), "refusal", stop_details={"explanation": "Not that."})
    assert read_by_sdk(streamed(unfold(silent)), True)["text"] == "Not that."
    whole = completions.write_response(silent, Ledger(), STAMP)
    assert read_by_sdk(whole, False)["text"] == "Not that."


def test_what_has_no_place_in_a_stream_is_noted_and_silent():
    encoder, ledger = completions.encoder(ASKED, ledger := Ledger(), STAMP), ledger
    events = [
        Started("", ""),
        TextDelta(0, ""),
        ThoughtDelta(1, "hm"),
        ToolStarted(2, "c", "f"),
        ToolDelta(2, "{}"),
        PartEnded(2),
        OpaquePart(3, "anthropic", "web_search", {}),
        CitationSeen(0, {}),
    ]
    assert [encoder.encode(each) for each in events] == [b""] * len(events)
    assert ledger.names() == ("reasoning", "tool_calls", "web_search", "citations")


def test_errors_are_told_as_a_chats_are():
    failure = Failure("overloaded", "busy")
    body = streamed([Started("", "m"), TextDelta(0, "a"), Failed(failure), TextDelta(0, "b")])
    got = read_by_sdk(body, True)
    assert (got["text"], got["error"]["message"]) == ("a", "busy")
    assert b"[DONE]" not in body
    status, whole = completions.write_failure(failure)
    assert read_by_sdk(whole, False, status=status)["error"]["message"] == "busy"
    assert completions.parse_error(503, whole).kind == "overloaded"


def test_life_signs_until_the_end():
    encoder = completions.encoder(ASKED, Ledger(), STAMP)
    assert encoder.ping().startswith(b":")
    encoder.encode(Finished("end_turn"))
    assert encoder.ping() == b""
    assert encoder.encode(TextDelta(0, "a")) == b""


@given(strategies.event_streams())
def test_every_lawful_stream_is_read_again_and_by_the_official_library(events):
    body = streamed(events)
    again, answer = fold(decoded(body)), fold(events)
    if isinstance(answer, Failure):
        assert isinstance(again, Failure)
        return
    words = "".join(part.text for part in answer.parts if isinstance(part, Text))
    assert again.text == words or answer.stop == "refusal"
    got = read_by_sdk(body, True, step=4096)
    assert (got["error"], got["text"]) == (None, again.text)


@given(strategies.responses())
def test_every_answer_is_read_again_and_by_the_official_library(response):
    body = completions.write_response(response, Ledger(), STAMP)
    again = completions.parse_response(body)
    words = "".join(part.text for part in response.parts if isinstance(part, Text))
    assert again.text == words or response.stop == "refusal"
    got = read_by_sdk(body, False, step=4096)
    assert (got["error"], got["text"]) == (None, again.text)
