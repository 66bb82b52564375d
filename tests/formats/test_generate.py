"""Ollama's /api/generate: asked, passed on, answered; judged by the official client library."""

import json
from contextlib import suppress
from pathlib import Path

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS, context, generate, speaks
from formats.canonical import (
    Audio,
    CitationSeen,
    Failed,
    Finished,
    Image,
    Message,
    OutputFormat,
    PartEnded,
    PluginCall,
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
from formats.ollama import load_answer
from tests import strategies
from tests.formats.sdk_readers import served
from tests.strategies import PNG

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
ENTRIES = {
    entry["file"]: entry["canonical"]
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]
    if entry["format"] == "ollama-generate"
}
PLAIN = (GOLDEN / "ollama-generate" / "plain.ndjson").read_bytes()
WAV = "UklGRiQAAABXQVZFZm10IBAAAAA="
STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000, lambda: 7_000_000, "shown", 11)
USER = Message("user", (Text("hi"),))
ASKED = Request("generate", "m", (USER,), stream=True, include_usage=True)
BIG = 1 << 20


def parsed(**members) -> Request:
    return generate.parse_request(json.dumps({"model": "m", "prompt": "hi", **members}).encode())


def line(response="", *, done=False, **members) -> bytes:
    value = {"model": "up", "created_at": "2026-11-23T10:00:00Z", "response": response}
    return json.dumps({**value, "done": done, **members}).encode() + b"\n"


END = line(done=True, done_reason="stop", context=[1, 2], prompt_eval_count=3, eval_count=2)


def decoded(*pieces, limit=BIG):
    decoder = generate.decoder(limit=limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.eof()


def watched(*pieces, model="up"):
    watcher = generate.observer(Request("generate", model), limit=BIG)
    out = b"".join(watcher.feed(piece) for piece in pieces)
    return out, watcher, watcher.eof()


def streamed(events, request=ASKED, ledger=None) -> bytes:
    encoder = generate.encoder(request, ledger or Ledger(), STAMP)
    return b"".join(map(encoder.encode, events))


def read_by_sdk(body, stream, *, status=200, step=16):
    """What a program on the official library sees."""
    kind = "application/x-ndjson" if stream else "application/json"
    client = ollama.Client(host="http://upstream.invalid", verify=False)
    client._client.close()
    client._client = served(httpx, body, status=status, content_type=kind, step=step)
    got = {"text": "", "thinking": "", "native": None, "usage": None, "context": None}
    got["error"] = None
    try:
        answer = client.generate(model="m", prompt="hi", stream=stream)
        for piece in answer if stream else [answer]:
            assert piece.model
            assert piece.created_at
            got["text"] += piece.response
            got["thinking"] += piece.thinking or ""
            if piece.done:
                got["native"], got["context"] = piece.done_reason, piece.context
                got["usage"] = (piece.prompt_eval_count, piece.eval_count)
    except ollama.ResponseError as error:
        got["error"] = error.error
    return got


# --- requests ---


def test_the_call_is_registered_under_its_name():
    assert FORMATS["generate"] is generate
    assert (generate.NAME, generate.STREAM_TYPE) == ("generate", "application/x-ndjson")
    assert generate.COMMENT == b""


def test_what_the_official_library_sends_is_a_conversation():
    body = b'{"model":"m","stream":false,"prompt":"Say hello.","system":"Be short."}'
    request = generate.parse_request(body)
    assert request.messages == (
        Message("system", (Text("Be short."),), hoisted=True),
        Message("user", (Text("Say hello."),)),
    )
    assert (request.origin, request.model, request.stream) == ("generate", "m", False)
    assert request.raw.text.encode() == body


def test_the_other_members_are_those_of_a_chat():
    request = parsed(
        options={"temperature": 0.5, "num_predict": 7, "stop": ["END"], "num_ctx": 4096},
        think="high",
        format={"type": "object"},
        keep_alive="5m",
        truncate=False,
        logprobs=True,
        top_logprobs=2,
        plugins=[{"id": "p"}],
        width=512,
    )
    assert (request.stream, request.include_usage, request.max_tokens) == (True, True, 7)
    sampling = request.sampling
    assert (sampling.temperature, sampling.stop) == (0.5, ("END",))
    assert (sampling.logprobs, sampling.top_logprobs) == (True, 2)
    assert request.thinking == Thinking(effort="high")
    assert request.output == OutputFormat("schema", schema={"type": "object"})
    assert (request.keep_alive, request.plugins) == ("5m", (PluginCall("p"),))
    assert request.extra == {"options.num_ctx": 4096, "truncate": False, "width": 512}


def test_images_and_sounds_stand_beside_the_prompt():
    (user,) = parsed(images=[PNG, WAV]).messages
    assert user.parts == (Text("hi"), Image(data=PNG, mime="image/png"), Audio(WAV, "wav"))
    (user,) = parsed(prompt="", images=[PNG]).messages
    assert user.parts == (Image(data=PNG, mime="image/png"),)


def test_an_image_that_the_server_would_refuse_is_mended_and_the_text_not_passed_on():
    request = parsed(images=[f"data:image/png;base64,{PNG}"])
    assert request.messages[0].parts[1].data == PNG
    assert request.raw is None


@pytest.mark.parametrize(
    "members", [{"prompt": ""}, {"prompt": None}, {"prompt": "", "suffix": "s"}]
)
def test_no_prompt_loads_the_model_and_binds_nothing(members):
    request = parsed(**members, system="s", context=[1, 2])
    assert (request.messages, request.stream, request.bound) == ((), False, ())
    assert load_answer(request).stop == "load"
    assert load_answer(parsed(prompt="", keep_alive=0)).stop == "unload"


@pytest.mark.parametrize(
    ("members", "bound"),
    [
        ({"suffix": "s"}, ("suffix",)),
        ({"template": "{{ .Prompt }}"}, ("template",)),
        ({"raw": True}, ("raw",)),
        ({"context": [151644, 872, 198]}, ("context",)),
        ({"suffix": "", "template": "", "raw": False, "context": []}, ()),
        ({"suffix": None, "template": None, "raw": None, "context": None}, ()),
    ],
)
def test_what_only_the_models_own_server_can_use_binds_the_request(members, bound):
    request = parsed(**members)
    assert request.bound == bound
    assert request.extra == {}
    assert request.raw is not None


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": ""}, "model"),
        ({"prompt": 7}, "prompt"),
        ({"system": []}, "system"),
        ({"images": "x"}, "images"),
        ({"images": [PNG, 7]}, "images[1]"),
        ({"images": ["http://x.example/a.png"]}, "images[0]"),
        ({"context": "x"}, "context"),
        ({"context": [1, "2"]}, "context[1]"),
        ({"context": [True]}, "context[0]"),
        ({"suffix": 1}, "suffix"),
        ({"raw": "yes"}, "raw"),
        ({"stream": "no"}, "stream"),
        ({"think": "very"}, "think"),
        ({"options": {"top_k": "x"}}, "options.top_k"),
    ],
)
def test_mistakes_name_their_place(members, path):
    with pytest.raises(Invalid) as caught:
        parsed(**members)
    assert caught.value.path == path


NAMES = ["model", "prompt", "system", "images", "context", "raw", "suffix", "options", "format"]


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, strategies.json_values))
    | strategies.json_values
)
def test_no_json_makes_reading_fail_in_another_way(value):
    with suppress(Invalid):
        generate.parse_request(json.dumps(value).encode())


# --- requests that pass ---


def passed(body: bytes, target=None, ledger=None) -> bytes:
    request = generate.parse_request(body)
    return generate.write_request(request, ledger or Ledger(), target or Target("m"))


def test_nothing_but_the_models_name_changes():
    body = (
        b'{ "model" : "m",\n "prompt": "\\u00fc", "raw":true, "template" :"x", "context": [1, 2],'
        b' "stream":true, "options":{"temperature":1.0}, "new":{"b":1e3} }'
    )
    assert passed(body) == body
    assert passed(body, Target("other")) == body.replace(b'"m"', b'"other"')


def test_the_edits_are_those_of_a_chat():
    body = b'{"model":"m","prompt":"a","think":true,"options":{"num_ctx":1,"seed":5},"plugins":[]}'
    target = Target("m", capabilities=frozenset(), options={"num_ctx": 8192, "top_k": 3})
    ledger = Ledger()
    assert json.loads(passed(body, target, ledger)) == {
        "model": "m",
        "prompt": "a",
        "options": {"num_ctx": 8192, "top_k": 3, "seed": 5},
        "stream": True,
    }
    assert set(ledger.names()) == {"options.num_ctx", "think"}


def test_a_request_to_load_passes_as_one():
    assert json.loads(passed(b'{"model":"m"}')) == {"model": "m", "stream": False}


# --- the same prompt elsewhere ---


def test_a_changed_request_goes_to_the_servers_chat_with_all_it_had():
    request = generate.parse_request(
        b'{"model":"m","prompt":"hi","system":"s","truncate":true,"options":{"num_ctx":5,"seed":1},'
        b'"keep_alive":"1m","think":false}'
    )
    ledger = Ledger()
    assert json.loads(FORMATS["ollama"].write_request(request, ledger, Target("m"))) == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
        "stream": True,
        "options": {"num_ctx": 5, "seed": 1},
        "think": False,
        "keep_alive": "1m",
        "truncate": True,
    }
    assert ledger.entries == []


def test_what_another_format_has_not_is_noted_by_the_clients_own_names():
    request = parsed(options={"min_p": 0.5, "num_ctx": 9}, truncate=True, keep_alive=5, width=7)
    ledger = Ledger()
    FORMATS["anthropic"].write_request(request, ledger, Target("claude-x", max_output=100))
    assert {"options.min_p", "options.num_ctx", "truncate", "keep_alive", "width"} <= set(
        ledger.names()
    )
    with pytest.raises(Invalid) as caught:
        FORMATS["anthropic"].write_request(parsed(images=[WAV]), ledger, Target("m"))
    assert caught.value.path == "images"


# --- going on with a conversation ---


def answered(request: Request, answer: Response) -> list[int]:
    whole = read_by_sdk(generate.write_response(answer, Ledger(), STAMP, request), False)
    stream = read_by_sdk(streamed(unfold(answer), request), True)
    assert whole["context"] == stream["context"]
    return whole["context"]


def test_a_conversation_goes_on_at_any_upstream():
    first = parsed(prompt="What is 2+2?", system="Be short.", images=[PNG])
    numbers = answered(first, Response("", "up", (Thought("hm"), Text("Fo"), Text("ur."))))
    second = parsed(prompt="Sure?", context=numbers)
    assert second.bound == ()
    assert second.raw is None  # nobody else can read these numbers
    assert speaks("ollama", second) == "ollama"
    said = json.loads(FORMATS["ollama"].write_request(second, Ledger(), Target("m")))["messages"]
    assert said == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is 2+2?", "images": [PNG]},
        {"role": "assistant", "content": "Four."},
        {"role": "user", "content": "Sure?"},
    ]
    third = parsed(prompt="?", context=answered(second, Response("", "up", (Text("Yes."),))))
    assert [message.role for message in third.messages] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]


@pytest.mark.parametrize(("system", "roles"), [("s", "suau"), ("new", "suasu"), ("", "suau")])
def test_instructions_are_repeated_only_when_they_are_new(system, roles):
    numbers = answered(parsed(system="s"), Response("", "up", (Text("a"),)))
    request = parsed(prompt="more", system=system, context=numbers)
    assert "".join(message.role[0] for message in request.messages) == roles


def test_a_servers_own_context_is_given_as_it_is():
    whole = generate.parse_response(line("a", done=True, context=[1, 2, 3], logprobs=[{"x": 1}]))
    body = json.loads(generate.write_response(whole, Ledger(), STAMP, ASKED))
    assert (body["context"], body["logprobs"]) == ([1, 2, 3], [{"x": 1}])


@pytest.mark.parametrize("bound", ["context", "raw", "template"])
def test_a_bound_request_gets_no_context_of_ours(bound):
    request = Request("generate", "m", (USER,), bound=(bound,))
    ledger = Ledger()
    answer = Response("", "up", (Text("a"),))
    assert b"context" not in generate.write_response(answer, ledger, STAMP, request)
    assert ledger.names() == ("context",)
    assert b"context" not in streamed(unfold(answer), request)


def test_a_conversation_that_is_too_long_has_no_context_and_that_is_noted():
    answer = Response("", "up", (Text("a"), Text("x" * context.LIMIT), Text("b")))
    for body in (
        generate.write_response(answer, whole := Ledger(), STAMP, ASKED),
        streamed(unfold(answer), ledger=(stream := Ledger())),
    ):
        assert b'"context"' not in body
    assert whole.names() == stream.names() == ("context",)


def test_no_more_of_an_answer_is_kept_than_a_context_can_hold():
    encoder = generate.encoder(ASKED, Ledger(), STAMP)
    for _ in range(20):
        encoder.encode(TextDelta(0, "x" * 10_000))
    assert sum(map(len, encoder._words)) <= context.LIMIT


def test_a_broken_context_of_ours_is_the_clients_mistake():
    numbers = context.packed((USER,))
    with pytest.raises(Invalid) as caught:
        parsed(context=[*numbers[:-1], numbers[-1] ^ 0xFFFF])
    assert caught.value.path == "context"


def test_an_empty_conversation_of_ours_is_still_sent_to_nobody():
    request = parsed(context=context.packed(()))
    assert (request.messages, request.raw, request.bound) == ((USER,), None, ())


# --- a server's stream ---


@pytest.mark.parametrize("name", ENTRIES)
def test_a_transcript_means_what_its_index_says_in_any_split(name):
    body, meant = (GOLDEN / name).read_bytes(), ENTRIES[name]
    got = fold(decoded(body))
    assert got.text == meant["text"]
    assert "".join(p.text for p in got.parts if isinstance(p, Thought)) == meant["reasoning"]
    assert (got.stop, got.stop_native) == (meant["stop"], meant["stop_native"])
    usage = meant["usage"]
    seen = got.usage
    assert (seen.input, seen.output) == (usage["input_total"], usage["output_total"])
    assert None not in (seen.load_ms, seen.prefill_ms)
    whole = decoded(body)
    for cut in range(len(body)):
        assert decoded(body[:cut], body[cut:]) == whole
    assert decoded(*[body[at : at + 1] for at in range(len(body))]) == whole


def test_a_stream_becomes_lawful_events():
    lines = line(thinking="hm") + line("a") + line("b") + END
    assert decoded(lines) == [
        Started("", "up", 1795428000),
        ThoughtDelta(0, "hm"),
        PartEnded(0),
        TextDelta(1, "a"),
        TextDelta(1, "b"),
        PartEnded(1),
        UsageSeen(Usage(3, 2)),
        Finished("end_turn", "stop"),
    ]


def test_a_call_of_the_server_is_one():
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    answer = fold(decoded(line(tool_calls=[call]) + END))
    assert answer.stop == "tool_use"
    assert [part.name for part in answer.parts] == ["f"]


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        line("a"),
        b"<html>\n",
        b'{"message":{"content":"a"},"done":false}\n',
        line(7),
        line("a") + b"[1]\n",
        b"\xff\n",
    ],
)
def test_what_is_no_whole_stream_is_a_failure(lines):
    assert isinstance(decoded(lines)[-1], Failed)
    assert watched(lines)[2] is not None


def test_an_error_line_is_the_servers_own_words():
    lines = line("a") + b'{"error":"server busy"}\n'
    assert fold(decoded(lines)).message == "server busy"
    out, watcher, failure = watched(lines)
    assert (out, watcher.told, failure.message) == (lines, True, "server busy")


def test_a_line_beyond_the_limit_is_refused():
    assert isinstance(decoded(line("a" * 200), limit=100)[-1], Failed)
    with pytest.raises(TooLong):
        generate.observer(ASKED, limit=100).feed(line("a" * 200))


lines_of = st.lists(
    strategies.json_values.map(lambda v: json.dumps(v).encode() + b"\n")
    | st.builds(lambda r, t: line(r, thinking=t), strategies.json_values, strategies.json_values)
    | st.sampled_from([line("a"), END, b"\n", b"{", b"\xff\xfe\n", b'{"error":"x"}\n']),
    max_size=6,
)


@given(lines_of, st.integers(1, 9))
def test_any_lines_end_in_one_last_event_in_any_split(pieces, step):
    body = b"".join(pieces)
    split = [body[at : at + step] for at in range(0, len(body), step)]
    events = decoded(*split)
    assert isinstance(events[-1], Finished | Failed)
    assert not any(isinstance(each, Finished | Failed) for each in events[:-1])
    assert events == decoded(body)
    out, watcher, failure = watched(*split)
    assert (failure is None) == watcher.ended
    assert b"\n\n" not in out


# --- lines that pass ---


def test_lines_pass_with_the_name_that_the_client_asked_for():
    out, watcher, failure = watched(PLAIN, model="asked")
    assert out == PLAIN.replace(b'"model":"qwen3:8b"', b'"model":"asked"')
    assert (failure, watcher.content, watcher.ended) == (None, True, True)
    assert watcher.usage == Usage(5, 5, load_ms=52, prefill_ms=123)
    assert read_by_sdk(out, True)["context"] == [151644, 872, 198]


def test_thinking_is_content_and_an_empty_line_is_none():
    watcher = generate.observer(ASKED, limit=BIG)
    watcher.feed(line(""))
    assert not watcher.content
    watcher.feed(line(thinking="hm"))
    assert watcher.content


# --- whole answers ---


def test_a_whole_answer_is_read():
    body = line("a", thinking="hm", done=True, done_reason="length", eval_count=2, context=[1])
    response = generate.parse_response(body)
    assert response.parts == (Thought("hm"), Text("a"))
    assert (response.stop, response.usage, response.model) == ("max_tokens", Usage(None, 2), "up")
    assert response.extra == {"context": [1]}


def test_a_loaded_model_is_an_answer():
    body = b'{"model":"m","created_at":"x","response":"","done":true,"done_reason":"load"}'
    assert generate.parse_response(body).stop == "load"
    answer = load_answer(parsed(prompt=""))
    written = json.loads(generate.write_response(answer, Ledger(), STAMP, parsed(prompt="")))
    assert written == {
        "model": "shown",
        "created_at": "2026-09-21T14:13:20.007000000Z",
        "response": "",
        "done": True,
        "done_reason": "load",
    }


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"response":7}', b'{"error":"x"}']
)
def test_what_is_no_answer_is_garbled(body):
    with pytest.raises(Garbled):
        generate.parse_response(body)


@given(strategies.json_values | st.builds(lambda r: {"response": r}, strategies.json_values))
def test_any_json_is_an_answer_or_garbled(value):
    with suppress(Garbled):
        assert isinstance(generate.parse_response(json.dumps(value).encode()), Response)


# --- for a client ---

MIXED = Response(
    "id",
    "up",
    (Thought("hm"), Text("Hello", citations=({},)), ToolUse("c", "f", "{}", {}), Text(" ü\u2028")),
    "tool_use",
    usage=Usage(3, 4),
)


def test_a_whole_answer_for_a_client():
    ledger = Ledger()
    body = generate.write_response(MIXED, ledger, STAMP)
    assert body.isascii()
    assert json.loads(body) == {
        "model": "shown",
        "created_at": "2026-09-21T14:13:20.007000000Z",
        "response": "Hello ü\u2028",
        "thinking": "hm",
        "done": True,
        "done_reason": "stop",
        "total_duration": 7_000_000,
        "load_duration": 0,
        "prompt_eval_count": 3,
        "prompt_eval_duration": 7_000_000,
        "eval_count": 4,
        "eval_duration": 0,
    }
    assert ledger.names() == ("citations", "tool_calls")


def test_a_stream_for_a_client_says_the_same():
    ledger = Ledger()
    body = streamed(unfold(MIXED), ledger=ledger)
    assert body.isascii()
    assert b"\n\n" not in body
    assert ledger.names() == ("citations", "tool_calls")
    got = read_by_sdk(body, True)
    assert (got["text"], got["thinking"], got["native"]) == ("Hello ü\u2028", "hm", "stop")
    assert (got["usage"], got["error"]) == ((3, 4), None)
    lines = [json.loads(each) for each in body.splitlines()]
    assert [each.get("response") for each in lines] == ["", "Hello", " ü\u2028", ""]
    assert list(lines[-1])[:6] == [
        *("model", "created_at", "response", "done", "done_reason", "context")
    ]


def test_a_line_goes_out_at_once():
    encoder = generate.encoder(ASKED, Ledger(), STAMP)
    assert encoder.encode(Started("", "up")) == b""
    assert encoder.encode(ThoughtDelta(0, "h")) == (
        b'{"model":"shown","created_at":"2026-09-21T14:13:20.007000000Z",'
        b'"response":"","thinking":"h","done":false}\n'
    )
    assert encoder.encode(TextDelta(1, '"')) == (
        b'{"model":"shown","created_at":"2026-09-21T14:13:20.007000000Z",'
        b'"response":"\\"","done":false}\n'
    )
    assert encoder.ping() == b""


def test_a_broken_call_ends_nothing():
    events = [ToolStarted(0, "c", "f"), ToolDelta(0, "{"), PartEnded(0), Finished("tool_use")]
    ledger = Ledger()
    got = read_by_sdk(streamed(events, ledger=ledger), True)
    assert (got["error"], got["native"]) == (None, "stop")
    assert ledger.names() == ("tool_calls",)
    broken = Response("", "m", (ToolUse("c", "f", "{"),), "tool_use")
    assert json.loads(generate.write_response(broken, Ledger(), STAMP))["response"] == ""


def test_errors_are_told_as_a_chats_are():
    failure = Failure("overloaded", "busy")
    got = read_by_sdk(streamed([Started("", "m"), TextDelta(0, "a"), Failed(failure)]), True)
    assert (got["text"], got["error"]) == ("a", "busy")
    status, body = generate.write_failure(failure)
    assert (status, read_by_sdk(body, False, status=status)["error"]) == (503, "busy")
    assert generate.parse_error(404, b'{"error":"model \'x\' not found"}').kind == "model_not_found"


def test_a_refusal_without_words_says_its_reason():
    silent = Response("", "m", (), "refusal", stop_details={"explanation": "Not that."})
    assert read_by_sdk(streamed(unfold(silent)), True)["text"] == "Not that."
    whole = generate.write_response(silent, Ledger(), STAMP)
    assert read_by_sdk(whole, False)["text"] == "Not that."


def test_what_has_no_place_in_a_stream_is_silent():
    encoder = generate.encoder(ASKED, Ledger(), STAMP)
    assert encoder.encode(CitationSeen(0, {})) == b""
    assert encoder.encode(TextDelta(0, "")) == b""


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
    body = generate.write_response(response, Ledger(), STAMP, ASKED)
    again = generate.parse_response(body)
    words = "".join(part.text for part in response.parts if isinstance(part, Text))
    assert again.text == words or response.stop == "refusal"
    got = read_by_sdk(body, False, step=4096)
    assert (got["error"], got["text"]) == (None, again.text)
