"""formats/ollama/errors.py"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import ollama
from formats.errors import STATUS, Failure
from tests.formats.sdk_readers import read_ollama

GOLDEN = Path(__file__).parents[2] / "transcripts" / "golden"
ENTRIES = {
    entry["file"]: entry
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]
    if entry["format"] == "ollama-chat" and entry["file"].endswith(".json")
}


def test_the_transcript_of_an_error():
    name = "ollama-chat/error-before-404.json"
    meant = ENTRIES[name]["canonical"]["error"]
    raw = (GOLDEN / name).read_bytes()
    told = ollama.parse_error(meant["status"], raw)
    assert (told.kind, told.message) == (meant["class"], meant["message"])
    status, again = ollama.write_failure(told)
    assert (status, json.loads(again)) == (404, json.loads(raw))
    got = read_ollama(again, stream=False, status=status)
    assert got["error"]["message"] == meant["message"]


@pytest.mark.parametrize(
    ("status", "raw", "kind", "message"),
    [
        (404, b"404 page not found\n", "upstream", "404 page not found"),
        (405, b"405 method not allowed", "refused_by_upstream", "405 method not allowed"),
        (403, b"", "credential", "the upstream answered 403 without a body"),
        (502, b"<html>nginx</html>", "upstream", "the upstream answered 502 with HTML"),
        (500, b"[1]", "upstream", "[1]"),
        (500, b"\xff", "upstream", "\ufffd"),
        (503, b'{"error":{"message":"busy"}}', "overloaded", "busy"),
        (500, b'{"status":"sad"}', "upstream", '{"status":"sad"}'),
    ],
)
def test_an_error_answer_of_any_shape(status, raw, kind, message):
    told = ollama.parse_error(status, raw)
    assert (told.kind, told.status, told.message) == (kind, status, message)


def test_an_error_with_status_200_is_judged_by_its_words():
    told = ollama.parse_error(200, b'{"error":"model \'x\' not found"}')
    assert (told.kind, told.status) == ("model_not_found", None)
    assert told.native is not None
    assert ollama.parse_error(200, b'{"status":"success"}').native is None


def test_a_long_text_is_cut():
    assert len(ollama.parse_error(500, b"x" * 10_000).message) == 500


@pytest.mark.parametrize("kind", STATUS)
def test_every_failure_has_its_status_and_its_text(kind):
    status, raw = ollama.write_failure(Failure(kind, "w\u2028\ud800"))
    assert status == STATUS[kind][0]
    assert json.loads(raw) == {"error": "w\u2028\ud800"}


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("refused_by_upstream", "x", status=422), 422),
        (Failure("unsupported", "x", status=500), 400),
        (Failure("credential", "x", status=401), 502),
        (Failure("upstream", "x", status=404), 502),
        (Failure("timeout", "x", status=408), 504),
        (Failure("rate_limit", "x", status=429), 429),
        (Failure("overloaded", "x", status=529), 503),
    ],
)
def test_an_upstream_s_own_4xx_stays_unless_it_speaks_of_the_router(failure, status):
    assert ollama.write_failure(failure)[0] == status


@given(st.sampled_from([200, 301, 400, 404, 429, 500, 503]), st.binary(max_size=50))
def test_any_bytes_are_an_error_with_words(status, raw):
    assert ollama.parse_error(status, raw).message
