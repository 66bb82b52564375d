"""All sixteen pairs of client and upstream format, judged by the official client libraries."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import (
    Failed,
    Finished,
    Message,
    PartEnded,
    Request,
    Response,
    Stamp,
    Started,
    Target,
    Text,
    Thinking,
    ToolStarted,
    ToolUse,
)
from formats.errors import Failure, FormatError, Invalid
from formats.fields import field
from formats.fold import fold, unfold
from formats.ledger import Ledger
from tests import strategies
from tests.formats.sdk_readers import READERS

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["entries"]
OF_FORMAT = {
    "openai-chat": "openai",
    "anthropic-messages": "anthropic",
    "ollama-chat": "ollama",
    "openai-responses": "responses",
}
OURS = [entry for entry in INDEX if entry["format"] in OF_FORMAT]
ANSWERS = [entry for entry in OURS if entry["http_status"] == 200]
REFUSED = [entry for entry in OURS if entry["http_status"] != 200]
NAMES = tuple(READERS)  # the formats of conversations, which any upstream can be asked in
STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000, lambda: 5_000_000, "shown-model", 11)
BIG = 1 << 24


def client_request(name, **more):
    """One that asks to see everything an answer can hold."""
    display = "auto" if name == "responses" else "summarized"
    return Request(
        name,
        "shown-model",
        (Message("user", (Text("hello"),)),),
        thinking=Thinking("on", display=display),
        include_usage=True,
        version="2023-06-01",
        **more,
    )


def events_of(entry):
    codec = FORMATS[OF_FORMAT[entry["format"]]]
    body = (GOLDEN / entry["file"]).read_bytes()
    if not entry["stream"]:
        return unfold(codec.parse_response(body))
    decoder = codec.decoder(limit=BIG)
    return [*decoder.feed(body), *decoder.eof()]


def streamed(name, events):
    encoder = FORMATS[name].encoder(client_request(name, stream=True), Ledger(), STAMP)
    return b"".join(map(encoder.encode, events))


def ident(entry):
    return entry["file"]


# --- golden answers, rendered and read by the SDKs ---

# What a reason becomes in a format that does not have it.
STOPS = {
    "openai": {
        "stop_sequence": {"end_turn"},
        "context_window": {"max_tokens"},
        "refusal": {"refusal", "content_filter"},
        "pause": {"end_turn"},
        "load": {"end_turn"},
        "unload": {"end_turn"},
    },
    "anthropic": {"content_filter": {"refusal"}, "load": {"end_turn"}, "unload": {"end_turn"}},
    "ollama": {
        "stop_sequence": {"end_turn"},
        "context_window": {"max_tokens"},
        "refusal": {"end_turn"},
        "content_filter": {"end_turn"},
        "pause": {"end_turn"},
    },
    "responses": {
        "stop_sequence": {"end_turn"},
        "context_window": {"max_tokens"},
        "pause": {"end_turn"},
        "load": {"end_turn"},
        "unload": {"end_turn"},
    },
}


def check_meaning(name, got, wanted):
    error = wanted["error"]
    if error:
        assert got["error"] is not None
        assert error["message"] in got["error"]["message"]
        assert got["text"] == wanted["text"]
        return
    assert got["error"] is None
    refusal = wanted["refusal"] or ""
    assert got["text"] == wanted["text"] or got["text"] == wanted["text"] + refusal
    if refusal:
        assert refusal in (got["text"] + (got["refusal"] or ""))
    assert got["reasoning"] == wanted["reasoning"]
    assert got["stop"] in STOPS[name].get(wanted["stop"], {wanted["stop"]})
    check_calls(name, got["calls"], wanted["tool_calls"])
    check_usage(name, got["usage"], wanted["usage"])


def given_to(name, call):
    """What a call's arguments are to a client: plain text is an object where tools are functions."""
    if call.get("kind") != "custom":
        return call["arguments"]
    text = call["input_text"]
    return {"input": text} if name in ("anthropic", "ollama") else text


def check_calls(name, got, wanted):
    assert [call[1:] for call in got] == [(c["name"], given_to(name, c)) for c in wanted]
    for (id_, _, _), call in zip(got, wanted, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9_-]+", id_)
        if call["id"]:
            assert id_ == call["id"]
    assert len({call[0] for call in got}) == len(got)


def check_usage(name, got, wanted):
    if wanted is None:
        assert name != "openai" or got is None
        return
    assert (got["input"], got["output"]) == (wanted["input_total"], wanted["output_total"])
    if name == "ollama":
        return
    for figure in ("cache_read", "cache_write"):
        if wanted.get(figure) is not None:
            assert got[figure] == wanted[figure]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("entry", ANSWERS, ids=ident)
def test_a_golden_answer_streamed_to_any_client_says_the_same(entry, name):
    got = READERS[name](streamed(name, events_of(entry)), True)
    check_meaning(name, got, entry["canonical"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("entry", ANSWERS, ids=ident)
def test_a_golden_answer_given_whole_to_any_client_says_the_same(entry, name):
    answer = fold(events_of(entry))
    if isinstance(answer, Failure):
        status, body = FORMATS[name].write_failure(answer)
        got = READERS[name](body, False, status=status)
        assert got["error"]["status"] == status >= 400
        assert entry["canonical"]["error"]["message"] in got["error"]["message"]
        return
    codec = FORMATS[name]
    body = codec.write_response(answer, Ledger(), STAMP)
    check_meaning(name, READERS[name](body, False), entry["canonical"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("entry", REFUSED, ids=ident)
def test_a_golden_error_reaches_any_client_in_the_upstreams_own_words(entry, name):
    codec = FORMATS[OF_FORMAT[entry["format"]]]
    failure = codec.parse_error(entry["http_status"], (GOLDEN / entry["file"]).read_bytes())
    status, body = FORMATS[name].write_failure(failure)
    got = READERS[name](body, False, status=status)
    assert got["error"]["phase"] == "before"
    refused_key = entry["http_status"] == 401  # the router's, which is not the client's mistake
    assert status // 100 == (5 if refused_key else entry["http_status"] // 100)
    wanted = entry["canonical"]["error"]["message"]
    said = got["error"]["message"]
    assert wanted in said or said.startswith("prompt is too long")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("entry", [e for e in ANSWERS if e["stream"]], ids=ident)
def test_a_golden_stream_that_is_cut_anywhere_is_an_error_to_any_client(entry, name):
    """Never a clean end, whatever piece of the stream was lost."""
    codec = FORMATS[OF_FORMAT[entry["format"]]]
    body = (GOLDEN / entry["file"]).read_bytes()
    for cut in range(0, len(body) * 3 // 4, max(1, len(body) // 8)):
        decoder = codec.decoder(limit=BIG)
        events = [*decoder.feed(body[:cut]), *decoder.eof()]
        if not isinstance(events[-1], Failed):
            continue  # the piece holds the end already
        got = READERS[name](streamed(name, events), True)
        assert got["error"] is not None
        whole = entry["canonical"]["text"] + (entry["canonical"]["refusal"] or "")
        assert whole.startswith(got["text"])


# --- requests ---


def written(request, name, target):
    """(body, ledger), or None when the target cannot carry it and says so."""
    ledger = Ledger()
    try:
        return FORMATS[name].write_request(request, ledger, target), ledger
    except Invalid:
        return None


@pytest.mark.slow
@given(strategies.requests(min_messages=1), st.sampled_from(NAMES), strategies.targets)
@settings(max_examples=150)
def test_any_request_becomes_one_that_its_target_reads_or_a_clear_refusal(request_, name, target):
    out = written(request_, name, target)
    if out is None:
        return
    body, _ = out
    codec = FORMATS[name]
    again = codec.parse_request(body)
    assert again.model == target.model
    assert again.plugins == ()
    assert "plugins" not in json.loads(body)


def plain(name, **more):
    said = (Message("user", (Text("hello"),)),)
    return Request(name, "model-1", said, max_tokens=100, **more)


MEMBERS = {  # what the clients of each format can say, besides what all can
    "openai": {
        "parallel_tool_calls": False,
        "user": "somebody",
        "metadata": {"team": "blue"},
        "cache_key": "key-1",
        "service_tier": "flex",
        "verbosity": "low",
    },
    "anthropic": {
        "parallel_tool_calls": False,
        "user": "somebody",
        "service_tier": "standard_only",
        "cache": {"type": "ephemeral"},
    },
    "ollama": {"keep_alive": "7m"},
    "responses": {
        "parallel_tool_calls": False,
        "user": "somebody",
        "metadata": {"team": "blue"},
        "cache_key": "key-1",
        "service_tier": "flex",
        "verbosity": "low",
    },
}
SAMPLING = {
    "openai": (
        "temperature top_p top_k min_p repeat_penalty frequency_penalty presence_penalty seed stop "
        "logprobs top_logprobs logit_bias"
    ),
    "anthropic": "temperature top_p top_k stop",
    "ollama": (
        "temperature top_p top_k min_p typical_p repeat_penalty frequency_penalty presence_penalty "
        "seed stop logprobs top_logprobs"
    ),
    "responses": "temperature top_p logprobs top_logprobs",
}
SAMPLED = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 41,
    "min_p": 0.05,
    "typical_p": 0.8,
    "repeat_penalty": 1.1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.25,
    "seed": 42,
    "stop": ("END",),
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
}
EFFORTS = {
    "openai": "none minimal low medium high xhigh max",
    "anthropic": "low medium high xhigh max",
    "ollama": "low medium high max",
    "responses": "none minimal low medium high xhigh max",
}
NEAREST = {  # where a format has no such level, the one that stands for it
    "openai": {},
    "anthropic": {"minimal": "low"},
    "ollama": {"minimal": "low", "xhigh": "max"},
    "responses": {},
}


def each(table):
    """(client, what it says) for all clients."""
    return [
        (client, what)
        for client, names in table.items()
        for what in (names.split() if isinstance(names, str) else names)
    ]


def arrives(request, name, get, concept):
    """Whether what `get` reads arrived; if not, the ledger must name the client's own field."""
    out = written(request, name, Target("upstream-model"))
    assert out is not None
    body, ledger = out
    if get(FORMATS[name].parse_request(body)) == get(request):
        return True
    wanted = field(request.origin, concept).rpartition(".")[2]
    assert any(wanted in path for path in ledger.names()), (concept, ledger.names())
    return False


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_what_every_format_has_arrives(client, name):
    request = plain(client, stream=True)
    assert arrives(request, name, lambda r: r.max_tokens, "max_tokens")
    assert arrives(request, name, lambda r: r.stream, "stream")
    assert arrives(request, name, lambda r: [m.parts for m in r.messages], "messages")


@pytest.mark.parametrize(("client", "what"), each(MEMBERS))
@pytest.mark.parametrize("name", NAMES)
def test_a_member_arrives_or_stands_in_the_ledger(client, what, name):
    tools = (strategies.Tool("f", parameters={"type": "object", "properties": {}}),)
    request = plain(client, tools=tools, **{what: MEMBERS[client][what]})
    came = arrives(request, name, lambda r: getattr(r, what), what)
    assert came or client != name


@pytest.mark.parametrize(("client", "what"), each(SAMPLING))
@pytest.mark.parametrize("name", NAMES)
def test_a_sampling_member_arrives_or_stands_in_the_ledger(client, what, name):
    sampling = replace(strategies.Sampling(), **{what: SAMPLED[what]})
    if what == "top_logprobs":
        sampling = replace(sampling, logprobs=True)
    request = plain(client, sampling=sampling)
    came = arrives(request, name, lambda r: getattr(r.sampling, what), what)
    assert came or client != name


@pytest.mark.parametrize(("client", "effort"), each(EFFORTS))
@pytest.mark.parametrize("name", NAMES)
def test_an_effort_arrives_as_the_nearest_level_of_the_target(client, effort, name):
    request = plain(client, thinking=Thinking("off" if effort == "none" else None, effort))
    body, _ = written(request, name, Target("claude-opus-5" if name == "anthropic" else "gpt-6"))
    thinking = FORMATS[name].parse_request(body).thinking
    if effort == "none":
        assert thinking.mode == "off"
    else:
        assert thinking.effort == NEAREST[name].get(effort, effort)


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_member_arrives_in_its_own_format_and_else_stands_in_the_ledger(client, name):
    request = plain(client, extra={"foo_unknown": {"a": 1}})
    body, ledger = written(request, name, Target("m"))
    if client == name:
        assert json.loads(body)["foo_unknown"] == {"a": 1}
    else:
        assert "foo_unknown" in ledger.names()
        assert b"foo_unknown" not in body


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_plugins_of_the_router_go_to_nobody(client, name):
    request = plain(client, plugins=(strategies.PluginCall("web-secret", {"k": "v"}),))
    body, _ = written(request, name, Target("m"))
    assert b"web-secret" not in body


@pytest.mark.slow
@given(strategies.requests(min_messages=1), st.sampled_from(NAMES), strategies.targets)
@settings(max_examples=100)
def test_every_word_of_a_conversation_arrives_or_the_ledger_says_what_became_of_it(
    request_, name, target
):
    out = written(request_, name, target)
    if out is None:
        return
    body, ledger = out
    there = "\n".join(strings(json.loads(body)))
    lost = [text for text in said_by(request_) if text.strip() and text not in there]
    if lost:
        assert [path for path in ledger.names() if path.startswith(("messages", "input", "system"))]


def strings(value):
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return []


def said_by(request):
    for message in request.messages:
        for part in message.parts:
            inner = part.parts if isinstance(part, strategies.ToolResult) else (part,)
            yield from (each.text for each in inner if isinstance(each, Text))


@pytest.mark.slow
@given(st.sampled_from(NAMES), st.data())
@settings(max_examples=100)
def test_a_request_of_the_same_format_comes_back_as_it_was(name, data):
    """What a client of the format could have sent, read, written and read again."""
    first = written(
        data.draw(strategies.requests((name,), min_messages=1)), name, Target("model-1")
    )
    if first is None:
        return
    codec = FORMATS[name]
    sent = codec.parse_request(first[0])
    body, ledger = written(replace(sent, raw=None), name, Target("model-1"))
    again = codec.parse_request(body)
    for member in fields(Request):
        if member.name not in ("raw", "include_usage"):
            assert getattr(again, member.name) == getattr(sent, member.name), member.name
    assert [loss for loss in ledger.entries if loss.what != "emulated"] == []


# --- answers ---


def lawful(events):
    assert isinstance(events[0], Started) or isinstance(events[-1], Failed)
    assert isinstance(events[-1], Finished | Failed)
    assert not any(isinstance(event, Finished | Failed) for event in events[:-1])
    if isinstance(events[-1], Finished):
        begun = {e.part for e in events if hasattr(e, "part")}
        assert begun == {e.part for e in events if isinstance(e, PartEnded)}


def own_reading(name, body):
    decoder = FORMATS[name].decoder(limit=BIG)
    return [*decoder.feed(body), *decoder.eof()]


def visible(response):
    return response.text.strip()


def whole_calls(response):
    uses = [part for part in response.parts if isinstance(part, ToolUse)]
    return [(use.name, use.input) for use in uses if use.kind == "function"]


@pytest.mark.slow
@given(strategies.event_streams(), st.sampled_from(NAMES))
@settings(max_examples=100)
def test_any_lawful_stream_is_written_and_read_again_lawfully(events, name):
    again = own_reading(name, streamed(name, events))
    lawful(again)
    answer = fold(events)
    if isinstance(answer, Failure):
        assert isinstance(again[-1], Failed)
        return
    broken = any(given is None for _, given in whole_calls(answer))
    if isinstance(again[-1], Failed):
        assert broken  # a call that is no JSON cannot be told to some clients
        return
    read = fold(again)
    refused = any(isinstance(p, Text) and p.refusal for p in answer.parts)
    assert visible(read) == visible(answer) or refused
    if not broken:  # interleaved calls may come in the order in which they ended
        assert sorted(whole_calls(read), key=repr) == sorted(whole_calls(answer), key=repr)


@pytest.mark.slow
@given(strategies.responses(), st.sampled_from(NAMES))
@settings(max_examples=100)
def test_any_answer_is_written_and_read_again(response, name):
    codec = FORMATS[name]
    broken = any(given is None for _, given in whole_calls(response))
    try:
        body = codec.write_response(response, Ledger(), STAMP)
    except FormatError:
        assert broken
        return
    read = codec.parse_response(body)
    assert isinstance(read, Response)
    refused = any(isinstance(p, Text) and p.refusal for p in response.parts)
    assert visible(read) == visible(response) or refused or broken


@pytest.mark.slow
@given(strategies.event_streams(), st.sampled_from(NAMES))
@settings(max_examples=40)
def test_any_lawful_stream_is_read_by_the_official_sdk(events, name):
    got = READERS[name](streamed(name, events), True, step=4096)
    assert (got["error"] is not None) or got["stop"]
    answer = fold(events)
    if isinstance(answer, Failure):
        assert got["error"] is not None


@pytest.mark.slow
@given(strategies.responses(), st.sampled_from(NAMES))
@settings(max_examples=40)
def test_any_answer_is_read_by_the_official_sdk(response, name):
    try:
        body = FORMATS[name].write_response(response, Ledger(), STAMP)
    except FormatError:
        return
    got = READERS[name](body, False, step=4096)
    assert got["error"] is None
    assert got["stop"]


@pytest.mark.parametrize("name", NAMES)
def test_two_calls_without_an_id_get_two_ids_that_the_client_sees(name):
    events = unfold(
        Response("", "m", (ToolUse("", "f", "{}", {}), ToolUse("", "f", "{}", {})), "tool_use")
    )
    assert [e.id for e in events if isinstance(e, ToolStarted)] == ["", ""]
    got = READERS[name](streamed(name, events), True)
    assert len({call[0] for call in got["calls"]}) == 2
    assert all(call[0] for call in got["calls"])
