"""The format as a whole: transcripts of what upstreams send, judged by the index beside them."""

import json
from pathlib import Path

import pytest

from formats import FORMATS, openai_chat
from formats.canonical import Request, Response, Stamp, Text, Thought, ToolUse, Usage
from formats.errors import Failure
from formats.fold import fold
from formats.ledger import Ledger
from tests.formats.sdk_readers import read_openai

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
ENTRIES = {
    entry["file"]: entry
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]
    if entry["format"] == "openai-chat"
}
STREAMS = [name for name, entry in ENTRIES.items() if entry["stream"]]
STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000)
ASKED = Request("openai", "m", stream=True, include_usage=True)
BIG = 1 << 20


def bytes_of(name):
    return (GOLDEN / name).read_bytes()


def decoded(*pieces):
    decoder = openai_chat.decoder(limit=BIG)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.eof()


def meaning(answer):
    """An answer in the words of the index."""
    if isinstance(answer, Failure):
        return {"error": (answer.type, answer.code, answer.message)}
    calls = [part for part in answer.parts if isinstance(part, ToolUse)]
    refusal = [p.text for p in answer.parts if isinstance(p, Text) and p.refusal]
    return {
        "text": answer.text,
        "reasoning": "".join(p.text for p in answer.parts if isinstance(p, Thought)),
        "tool_calls": [(call.id, call.name, call.input) for call in calls],
        "stop": answer.stop,
        "stop_native": answer.stop_native,
        "refusal": "".join(refusal) or None,
        "usage": answer.usage,
    }


def expected(name):
    canonical = ENTRIES[name]["canonical"]
    error, usage = canonical["error"], canonical["usage"]
    if error:
        return {"error": (error["type"], error["code"], error["message"])}
    out = {key: canonical[key] for key in ("text", "reasoning", "stop", "stop_native", "refusal")}
    calls = [(c["id"], c["name"], c["arguments"]) for c in canonical["tool_calls"]]
    if usage:
        names = ("input_total", "output_total", "cache_read", "cache_write", "reasoning")
        usage = Usage(*(usage[n] for n in names))
    return {**out, "tool_calls": calls, "usage": usage}


def test_the_format_is_registered_under_its_name():
    assert FORMATS[openai_chat.NAME] is openai_chat
    assert openai_chat.STREAM_TYPE == "text/event-stream; charset=utf-8"
    assert openai_chat.COMMENT.startswith(b":")


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_means_what_the_index_says_whole_and_byte_by_byte(name):
    body = bytes_of(name)
    assert meaning(fold(decoded(body))) == expected(name)
    assert decoded(*[body[at : at + 1] for at in range(len(body))]) == decoded(body)


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_every_split_into_two_pieces_gives_the_same_events(name):
    body = bytes_of(name)
    whole = decoded(body)
    for at in range(len(body)):
        assert decoded(body[:at], body[at:]) == whole


def test_a_recorded_whole_answer_means_what_the_index_says():
    name = "openai-chat/plain-nonstream.json"
    assert meaning(openai_chat.parse_response(bytes_of(name))) == expected(name)


@pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if e["http_status"] != 200])
def test_a_recorded_error_is_understood_and_given_back_word_for_word(name):
    status, body = ENTRIES[name]["http_status"], bytes_of(name)
    said = ENTRIES[name]["canonical"]["error"]
    failure = openai_chat.parse_error(status, body)
    assert (failure.type, failure.code, failure.message) == (
        said["type"], said["code"], said["message"],
    )  # fmt: skip
    assert failure.kind == said.get("class", "rate_limit")
    assert openai_chat.write_failure(failure) == (status, body.strip())


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_decoded_and_encoded_again_reads_alike_in_the_official_client(name):
    events = decoded(bytes_of(name))
    encoder = openai_chat.encoder(ASKED, Ledger(), STAMP)
    stream = b"".join(map(encoder.encode, events))
    assert read_openai(stream, stream=True) == read_openai(bytes_of(name), stream=True)


@pytest.mark.parametrize("name", STREAMS)
def test_a_folded_stream_reads_alike_in_the_official_client(name):
    answer = fold(decoded(bytes_of(name)))
    if isinstance(answer, Failure):
        status, body = openai_chat.write_failure(answer)
        got = read_openai(body, stream=False, status=status)
        assert (got["error"]["status"], got["error"]["message"]) == (502, answer.message)
        return
    assert isinstance(answer, Response)
    got = read_openai(openai_chat.write_response(answer, Ledger(), STAMP), stream=False)
    streamed = read_openai(bytes_of(name), stream=True)
    assert {**got, "reasoning": ""} == {**streamed, "reasoning": ""}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_that_passes_through_is_watched_rightly(name, asked):
    body = bytes_of(name)
    watcher = openai_chat.observer(ASKED if asked else Request("openai", "m"), limit=BIG)
    out = b"".join(watcher.feed(body[at : at + 13]) for at in range(0, len(body), 13))
    failure = watcher.eof()
    want = expected(name)
    if "error" in want:
        assert failure is not None
        assert failure.message == want["error"][2]
        assert out == body
    else:
        assert failure is None
        assert watcher.usage == want["usage"]
        events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
        ours = [event for event in events if b'"choices":[]' in event]
        assert out == (body if asked else b"".join(e for e in events if e not in ours))
    assert watcher.content
