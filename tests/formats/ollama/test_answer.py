"""formats/ollama/answer.py"""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS, ollama
from formats.canonical import (
    Opaque,
    Request,
    Response,
    Stamp,
    Text,
    Thought,
    ToolUse,
    Usage,
)
from formats.errors import Garbled
from formats.fold import fold, unfold
from formats.ledger import Ledger
from tests import strategies
from tests.formats.ollama.test_stream import check_meaning
from tests.formats.sdk_readers import read_ollama

GOLDEN = Path(__file__).parents[2] / "transcripts" / "golden"
ENTRIES = {
    entry["file"]: entry
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]
    if entry["format"] == "ollama-chat" and entry["file"].endswith(".json")
}
WHOLE = [name for name, entry in ENTRIES.items() if entry["http_status"] == 200]
STAMP = Stamp("a" * 24, 1795428000, lambda: 1_000, "shown", 7)


def body(done=True, **members) -> bytes:
    message = {"role": "assistant", "content": "a"} | members.pop("message", {})
    return json.dumps({"model": "m", "message": message, "done": done, **members}).encode()


def shown(response: Response, ledger=None) -> dict:
    raw = ollama.write_response(response, ledger or Ledger(), STAMP)
    assert raw.isascii()
    return json.loads(raw)


def test_the_table_of_formats_has_it():
    assert FORMATS["ollama"] is ollama
    assert ollama.NAME == "ollama"
    assert ollama.STREAM_TYPE == "application/x-ndjson"
    assert ollama.COMMENT == b""


# --- whole answers, read ---


@pytest.mark.parametrize("name", WHOLE)
def test_a_transcript_means_what_its_index_says(name):
    response = ollama.parse_response((GOLDEN / name).read_bytes())
    check_meaning(response, ENTRIES[name]["canonical"])


def test_an_answer_with_all_that_it_may_hold():
    calls = [
        {"id": "x", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"function": {"name": "g", "arguments": None}},
    ]
    got = ollama.parse_response(
        body(
            message={"thinking": "hm", "tool_calls": calls},
            created_at="2026-11-23T10:00:00Z",
            done_reason="stop",
            prompt_eval_count=3,
            eval_count=4,
            logprobs=[{"token": "a"}],
        )
    )
    assert got == Response(
        "",
        "m",
        (
            Thought("hm"),
            Text("a"),
            ToolUse("x", "f", '{"a":1}', {"a": 1}),
            ToolUse("", "g", "", {}),
        ),
        "tool_use",
        "stop",
        usage=Usage(3, 4),
        created=1795428000,
        extra={"logprobs": [{"token": "a"}]},
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" \n",
        b"<html></html>",
        b"[]",
        b"7",
        b"{",
        b"{}",
        b'{"status":"success"}',
        b'{"message":{"content":7}}',
        b'{"message":{"thinking":7},"done":true}',
        b'{"message":{"tool_calls":[{}]}}',
        b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"n":1e999}}}]}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_garbled(raw):
    with pytest.raises(Garbled):
        ollama.parse_response(raw)


def test_an_error_with_status_200_is_told_in_its_own_words():
    with pytest.raises(Garbled, match="runner died"):
        ollama.parse_response(b'{"error":"runner died"}')


@given(st.binary(max_size=50))
def test_any_bytes_are_an_answer_or_garbled(raw):
    with suppress(Garbled):
        assert isinstance(ollama.parse_response(raw), Response)


# --- whole answers, written ---


@pytest.mark.parametrize("name", WHOLE)
def test_a_transcript_shown_to_a_client_is_what_its_sdk_reads(name):
    response = ollama.parse_response((GOLDEN / name).read_bytes())
    got = read_ollama(ollama.write_response(response, Ledger(), STAMP), stream=False)
    meant = ENTRIES[name]["canonical"]
    assert (got["text"], got["native"]) == (meant["text"], meant["stop_native"])
    assert (got["usage"] is None) == (meant["usage"] is None)


def test_a_whole_answer():
    response = Response(
        "id",
        "upstream",
        (Thought("h"), Thought("m"), Text("a\u2028"), Text("b"), ToolUse("", "f", '{"a": 1}')),
        "tool_use",
        usage=Usage(3, 4, cache_read=2),
    )
    got = shown(response)
    assert got["message"].pop("tool_calls") == [
        {
            "id": got_id(got, response),
            "function": {"index": 0, "name": "f", "arguments": {"a": 1}},
        }
    ]
    assert got == {
        "model": "shown",
        "created_at": "2026-11-23T10:00:00.000001000Z",
        "message": {"role": "assistant", "content": "a\u2028b", "thinking": "hm"},
        "done": True,
        "done_reason": "stop",
        "total_duration": 1000,
        "load_duration": 0,
        "prompt_eval_count": 3,
        "prompt_eval_duration": 1000,
        "eval_count": 4,
        "eval_duration": 0,
    }


def got_id(got: dict, response: Response) -> str:
    again = shown(response)["message"]["tool_calls"][0]["id"]
    assert again.startswith("call_")
    return again


def test_a_stream_and_a_whole_answer_say_the_same():
    response = Response("", "shown", (Text("a"), ToolUse("x", "f", "{}", {})), "tool_use", "stop")
    encoder = ollama.encoder(Request("ollama", "m"), Ledger(), STAMP)
    decoder = ollama.decoder(limit=1 << 20)
    streamed = fold(decoder.feed(b"".join(map(encoder.encode, unfold(response)))))
    assert streamed == ollama.parse_response(ollama.write_response(response, Ledger(), STAMP))


def test_a_call_that_was_cut_off_is_left_out():
    parts = (Text("a"), ToolUse("x", "f", '{"a":'))
    got = shown(Response("", "m", parts, "max_tokens"))
    assert got["done_reason"] == "length"
    assert "tool_calls" not in got["message"]


@pytest.mark.parametrize("text", ['{"a":', "[1]", '{"a":1e999}'])
def test_a_call_that_is_no_object_is_garbled(text):
    with pytest.raises(Garbled, match="not valid JSON"):
        shown(Response("", "m", (ToolUse("x", "f", text),), "tool_use"))


def test_what_cannot_be_shown_is_noted():
    ledger = Ledger()
    parts = (Text("a", citations=({},)), Opaque("anthropic", "server_tool_use", {}))
    shown(Response("", "m", parts, "content_filter"), ledger)
    assert ledger.names() == ("citations", "server_tool_use", "done_reason")


def test_logprobs_of_the_same_shape_stay():
    assert shown(Response("", "m", extra={"logprobs": [1]}))["logprobs"] == [1]
    assert "logprobs" not in shown(Response("", "m", extra={"logprobs": {"content": []}}))


@given(strategies.responses())
def test_any_answer_is_shown_or_garbled(response):
    with suppress(Garbled):
        raw = ollama.write_response(response, Ledger(), STAMP)
        words = "".join(part.text for part in response.parts if isinstance(part, Text))
        assert ollama.parse_response(raw).text == words


# --- loading ---


@pytest.mark.parametrize(
    ("keep_alive", "stop"),
    [
        (None, "load"),
        ("5m", "load"),
        (-1, "load"),
        (60, "load"),
        ("10s", "load"),
        ("", "load"),
        (0, "unload"),
        (0.0, "unload"),
        ("0", "unload"),
        ("0s", "unload"),
        ("0m0s", "unload"),
    ],
)
def test_a_request_without_messages_loads_or_unloads(keep_alive, stop):
    request = Request("ollama", "m", keep_alive=keep_alive)
    answer = ollama.load_answer(request)
    got = shown(answer)
    assert got["done_reason"] == stop
    assert got["message"] == {"role": "assistant", "content": ""}
    assert "eval_count" not in got


def test_a_request_with_messages_loads_nothing():
    request = ollama.parse_request(b'{"model":"m","messages":[{"role":"user","content":"a"}]}')
    assert ollama.load_answer(request) is None


# --- errors ---
