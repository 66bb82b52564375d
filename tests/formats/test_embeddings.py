"""Embeddings in the three calls that ask for them, judged by the official client libraries."""

import json
import struct
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import httpx
import httpx2
import ollama
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Target
from formats.embeddings import (
    PATHS,
    EmbedAnswer,
    EmbedRequest,
    call_of,
    nothing_asked,
    parse_answer,
    parse_request,
    write_answer,
    write_request,
)
from formats.errors import Garbled, Invalid, Unsupported
from formats.ledger import Ledger
from tests import strategies
from tests.formats.sdk_readers import served

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
BASE64 = (GOLDEN / "openai-embeddings" / "two-base64.json").read_bytes()
LISTS = (GOLDEN / "ollama-embed" / "two.json").read_bytes()
VECTORS = [[1.0, 2.0, -3.0], [0.5, -0.5, 0.0]]
CALLS = ("openai", "ollama", "ollama_old")


def asked(call: str, **members) -> EmbedRequest:
    named = {"prompt": "one"} if call == "ollama_old" else {"input": ["one", "two"]}
    return parse_request(call, json.dumps({"model": "m", **named, **members}).encode())


def sent(request: EmbedRequest, upstream: str, target=None, ledger=None):
    body = write_request(request, upstream, ledger or Ledger(), target or Target("up"))
    return json.loads(body)


def floats(*vectors, **more) -> bytes:
    """What a server of OpenAI's format answers."""
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    return json.dumps({"object": "list", "data": data, "model": "up", **more}).encode()


def coded(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def read_by_openai(body: bytes) -> tuple[list[list[float]], int]:
    http = served(httpx2, body, status=200, content_type="application/json", step=64)
    client = openai.OpenAI(
        api_key="k", base_url="http://upstream.invalid/v1", max_retries=0, http_client=http
    )
    answer = client.embeddings.create(model="m", input=["one", "two"])
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    assert {item.object for item in answer.data} <= {"embedding"}
    return [list(item.embedding) for item in answer.data], answer.usage.prompt_tokens


def ollama_client(body: bytes) -> ollama.Client:
    client = ollama.Client(host="http://upstream.invalid", verify=False)
    client._client.close()
    client._client = served(httpx, body, status=200, content_type="application/json", step=64)
    return client


# --- a client's request ---


@pytest.mark.parametrize(
    ("given", "texts", "tokens"),
    [
        ("one", ("one",), ()),
        ("", ("",), ()),
        (["one", "two"], ("one", "two"), ()),
        ([1, 2, 3], (), ((1, 2, 3),)),
        ([[1, 2], [3]], (), ((1, 2), (3,))),
    ],
)
def test_inputs_of_openai_are_texts_or_token_ids(given, texts, tokens):
    request = asked("openai", input=given)
    assert (request.texts, request.tokens) == (texts, tokens)
    assert request.count == len(texts) + len(tokens)
    assert request.bound == (("input",) if tokens else ())


def test_what_the_official_libraries_send_is_read():
    request = parse_request(
        "openai", b'{"model":"kit-model","input":["a","b"],"encoding_format":"base64"}'
    )
    assert (request.model, request.texts, request.encoding) == ("kit-model", ("a", "b"), "base64")
    request = parse_request("ollama", b'{"model":"kit-model","input":["one","two"]}')
    assert (request.texts, request.encoding, request.origin) == (("one", "two"), "float", "ollama")


def test_the_other_members():
    request = asked("openai", dimensions=3, user="u", encoding_format="float", new=1)
    assert (request.dimensions, request.user, request.extra) == (3, "u", {"new": 1})
    request = asked(
        "ollama", dimensions=3, truncate=False, keep_alive="5m", options={"num_ctx": 5}, new=1
    )
    assert (request.dimensions, request.truncate, request.keep_alive) == (3, False, "5m")
    assert (request.options, request.extra) == ({"num_ctx": 5}, {"new": 1})
    request = asked("ollama_old", keep_alive=0, options={"a": 1}, input="other")
    assert (request.texts, request.keep_alive, request.options) == (("one",), 0, {"a": 1})
    assert request.extra == {"input": "other"}
    assert asked("openai", plugins=[]).extra == {}


@pytest.mark.parametrize(
    ("call", "members", "path"),
    [
        ("openai", {"model": ""}, "model"),
        ("openai", {"input": None}, "input"),
        ("openai", {"input": 7}, "input"),
        ("openai", {"input": {}}, "input"),
        ("openai", {"input": []}, "input"),
        ("openai", {"input": ["a", 1]}, "input[1]"),
        ("openai", {"input": [1, "a"]}, "input[1]"),
        ("openai", {"input": [1, True]}, "input[1]"),
        ("openai", {"input": [1.5]}, "input[0]"),
        ("openai", {"input": [[1], ["a"]]}, "input[1][0]"),
        ("openai", {"input": [[1], 2]}, "input[1]"),
        ("openai", {"encoding_format": "int8"}, "encoding_format"),
        ("openai", {"dimensions": "3"}, "dimensions"),
        ("ollama", {"input": 7}, "input"),
        ("ollama", {"input": [7]}, "input[0]"),
        ("ollama", {"truncate": "no"}, "truncate"),
        ("ollama", {"keep_alive": []}, "keep_alive"),
        ("ollama", {"options": []}, "options"),
        ("ollama_old", {"prompt": ["a"]}, "prompt"),
        ("ollama_old", {"model": None}, "model"),
    ],
)
def test_mistakes_name_their_place(call, members, path):
    with pytest.raises(Invalid) as caught:
        asked(call, **members)
    assert caught.value.path == path


MEMBERS = ["model", "input", "prompt", "dimensions", "encoding_format", "options", "keep_alive"]


@given(
    st.sampled_from(CALLS),
    st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, strategies.json_values))
    | strategies.json_values,
)
def test_no_json_makes_reading_fail_in_another_way(call, value):
    with suppress(Invalid):
        parse_request(call, json.dumps(value).encode())


# --- an upstream's request ---


@pytest.mark.parametrize(
    ("origin", "upstream", "call", "path"),
    [
        ("openai", "openai", "openai", "/embeddings"),
        ("openai", "ollama", "ollama", "/api/embed"),
        ("ollama", "ollama", "ollama", "/api/embed"),
        ("ollama", "openai", "openai", "/embeddings"),
        ("ollama_old", "ollama", "ollama_old", "/api/embeddings"),
        ("ollama_old", "openai", "openai", "/embeddings"),
    ],
)
def test_the_call_that_an_upstream_is_asked_by(origin, upstream, call, path):
    assert call_of(asked(origin), upstream) == call
    assert PATHS[call] == path


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("openai", b'{ "model":"m", "input":[[1, 2]],  "encoding_format":"base64","x":1.0 }'),
        ("ollama", b'{ "model":"m", "input":"\\u00fc", "options":{"num_ctx":5.0} }'),
        ("ollama_old", b'{ "model":"m", "prompt":"a", "x":1e3 }'),
    ],
)
def test_the_same_call_passes_with_nothing_changed_but_the_models_name(call, body):
    request = parse_request(call, body)
    upstream = "openai" if call == "openai" else "ollama"
    assert write_request(request, upstream, Ledger(), Target("m")) == body
    renamed = body.replace(b'"m"', b'"up"')
    assert write_request(request, upstream, Ledger(), Target("up")) == renamed
    marked = parse_request(call, b"\xef\xbb\xbf" + body)
    assert write_request(marked, upstream, Ledger(), Target("m")) == body


def test_configured_options_are_merged_for_ollama():
    target, ledger = Target("m", options={"num_ctx": 8192, "num_gpu": 1}), Ledger()
    request = asked("ollama", options={"num_ctx": 5, "seed": 1}, plugins=[])
    assert sent(request, "ollama", target, ledger) == {
        "model": "m",
        "input": ["one", "two"],
        "options": {"num_ctx": 8192, "num_gpu": 1, "seed": 1},
    }
    assert ledger.names() == ("options.num_ctx",)
    assert sent(asked("openai"), "ollama", target)["options"] == target.options
    assert "options" not in sent(asked("openai"), "openai", target)


def test_openai_to_ollama():
    ledger = Ledger()
    request = asked("openai", dimensions=3, user="u", encoding_format="base64", new=1)
    assert sent(request, "ollama", ledger=ledger) == {
        "model": "up",
        "input": ["one", "two"],
        "dimensions": 3,
        "truncate": False,
    }
    assert [(loss.path, loss.harmless) for loss in ledger.entries] == [
        ("user", True),
        ("new", False),
    ]


def test_ollama_to_openai():
    ledger = Ledger()
    request = asked(
        "ollama", dimensions=3, truncate=True, keep_alive=5, options={"num_ctx": 5}, new=1
    )
    assert sent(request, "openai", ledger=ledger) == {
        "model": "up",
        "input": ["one", "two"],
        "dimensions": 3,
    }
    assert [(loss.path, loss.harmless) for loss in ledger.entries] == [
        ("truncate", True),
        ("keep_alive", True),
        ("options.num_ctx", True),
        ("new", False),
    ]
    assert sent(asked("ollama_old"), "openai") == {"model": "up", "input": "one"}


def test_token_ids_go_to_no_other_format():
    with pytest.raises(Unsupported) as caught:
        sent(asked("openai", input=[1, 2]), "ollama")
    assert caught.value.path == "input"
    assert sent(asked("openai", input=[1, 2]), "openai")["input"] == [1, 2]


@pytest.mark.parametrize("call", ["ollama", "ollama_old"])
def test_nothing_to_embed_loads_the_model(call):
    request = asked(call, input=None, prompt=None)
    assert request.count == 0
    assert sent(request, "ollama")["model"] == "up"
    with pytest.raises(Unsupported):
        sent(request, "openai")
    answer = nothing_asked(request)
    written = json.loads(write_answer(answer, request))
    assert written == ({"model": "m", "embeddings": []} if call == "ollama" else {"embedding": []})
    native = json.dumps(written).encode()
    assert json.loads(write_answer(parse_answer("ollama", native, request), request)) == written
    assert nothing_asked(asked(call)) is None


# --- answers ---


def test_the_transcripts_mean_what_their_index_says():
    request = asked("ollama")
    assert parse_answer("openai", BASE64, request) == EmbedAnswer("embed-small", tuple(VECTORS), 4)
    assert parse_answer("ollama", LISTS, request) == EmbedAnswer(
        "nomic-embed-text", tuple(VECTORS), 4
    )


@pytest.mark.parametrize("upstream", ["openai", "ollama"])
@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_the_official_libraries_read_the_same_vectors_whoever_made_them(upstream, encoding):
    body = BASE64 if upstream == "openai" else LISTS
    request = asked("openai", encoding_format=encoding)
    written = write_answer(parse_answer(upstream, body, request), request)
    assert read_by_openai(written) == (VECTORS, 4)
    items = json.loads(written)["data"]
    assert {type(item["embedding"]) for item in items} == {str if encoding == "base64" else list}

    request = asked("ollama")
    written = write_answer(parse_answer(upstream, body, request), request)
    answer = ollama_client(written).embed("m", ["one", "two"])
    assert [list(vector) for vector in answer.embeddings] == VECTORS
    assert (answer.model, answer.prompt_eval_count) == ("m", 4)


def test_the_older_call_has_one_vector():
    request = asked("ollama_old")
    for upstream, body in (("ollama", b'{"embedding":[1,2.5]}'), ("openai", floats([1, 2.5]))):
        written = write_answer(parse_answer(upstream, body, request), request)
        assert list(ollama_client(written).embeddings("m", "one").embedding) == [1, 2.5]
        assert written.replace(b" ", b"") == b'{"embedding":[1,2.5]}'


def test_what_is_asked_for_passes_to_the_byte():
    body = b'{ "data":[{"index":0,"embedding":[1.0, 2.50, -0, 1e-9]}],"x":[], "model":"up" }'
    request = asked("openai", input="one")
    answer = parse_answer("openai", body, request)
    assert answer.vectors == ([1.0, 2.5, 0, 1e-9],)
    assert write_answer(answer, request) == body
    request = asked("openai", encoding_format="base64")
    assert write_answer(parse_answer("openai", BASE64, request), request) == BASE64
    assert parse_answer("openai", BASE64, request).vectors == (
        "AACAPwAAAEAAAEDA",
        "AAAAPwAAAL8AAAAA",
    )


def test_ollamas_answer_passes_with_the_name_that_the_client_asked_for():
    request = asked("ollama")
    written = write_answer(parse_answer("ollama", LISTS, request), request)
    assert written == LISTS.replace(b'"nomic-embed-text"', b'"m"')


def test_lists_in_place_of_base64_become_base64_and_the_reverse():
    request = asked("openai", encoding_format="base64")
    written = write_answer(parse_answer("openai", floats(*VECTORS), request), request)
    assert [each["embedding"] for each in json.loads(written)["data"]] == [
        coded(*vector) for vector in VECTORS
    ]
    mixed = floats(VECTORS[0], coded(*VECTORS[1]))
    for encoding in ("base64", "float"):
        request = asked("openai", encoding_format=encoding)
        written = write_answer(parse_answer("openai", mixed, request), request)
        assert read_by_openai(written)[0] == VECTORS


def test_a_number_of_tokens_is_shown_even_where_nobody_counted():
    request = asked("openai")
    written = write_answer(parse_answer("ollama", b'{"embeddings":[[1],[2]]}', request), request)
    assert json.loads(written)["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    tokens = EmbedAnswer("", ([1.0],))
    written = json.loads(write_answer(tokens, asked("openai", input=[1, 2, 3])))
    assert (written["usage"]["prompt_tokens"], written["model"]) == (3, "m")
    written = write_answer(
        parse_answer("openai", floats([1], [2]), asked("ollama")), asked("ollama")
    )
    assert "prompt_eval_count" not in json.loads(written)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"data":{}}',
        b'{"data":[7,7]}',
        floats([1.0]),
        floats([1.0], [1.0], [1.0]),
        floats([1.0], [1.0, 2.0]),
        floats([], []),
        floats(None, None),
        floats([1.0], [True]),
        floats([1.0], ["1"]),
        floats([1.0], [[1.0]]),
        floats([1.0], [10**400]),
        floats([1.0], [1.0]).replace(b"1.0", b"NaN"),
        floats([1.0], [1.0]).replace(b"1.0", b"1e999"),
        floats([1.0], coded(float("nan"))),
        floats(coded(1.0), coded(float("inf"))),
        floats([1.0], "AAA="),
        floats([1.0], "not base64!"),
        floats([1.0], "AACA*Pw=="),
        floats([1.0], ""),
        floats([1.0], "\u00fc"),
        floats([1.0], [1.0]).replace(b'"index": 1', b'"index": 0'),
        floats([1.0], [1.0]).replace(b'"index": 1', b'"index": "1"'),
        floats([1.0], [1.0]).replace(b'"index": 1', b'"index": true'),
    ],
)
@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_what_is_no_answer_is_garbled(body, encoding):
    with pytest.raises(Garbled):
        parse_answer("openai", body, asked("openai", encoding_format=encoding))


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"embeddings":null}', b'{"embeddings":7}', b'{"embeddings":[[1]]}',
     b'{"embedding":[1]}', b'{"embeddings":[[1],null]}', b'{"embeddings":[[1],[2,3]]}'],
)  # fmt: skip
def test_what_is_no_answer_of_ollama_is_garbled(body):
    with pytest.raises(Garbled):
        parse_answer("ollama", body, asked("ollama"))
    with pytest.raises(Garbled):
        parse_answer("ollama", b'{"embedding":{"a":1}}', asked("ollama_old"))


def test_an_error_in_place_of_an_answer_is_told_in_the_upstreams_words():
    with pytest.raises(Garbled, match="no such thing"):
        parse_answer("openai", b'{"error":{"message":"no such thing"}}', asked("openai"))
    with pytest.raises(Garbled, match="no such thing"):
        parse_answer("ollama", b'{"error":"no such thing"}', asked("ollama"))


def test_a_missing_index_is_the_place_in_the_list():
    body = b'{"data":[{"embedding":[1]},{"embedding":[2]}]}'
    assert parse_answer("openai", body, asked("openai")).vectors == ([1], [2])


def test_numbers_beyond_32_bits_cannot_become_base64():
    request = asked("openai", encoding_format="base64", input="one")
    answer = parse_answer("openai", floats([1e300]), request)
    with pytest.raises(Garbled):
        write_answer(answer, request)
    request = asked("openai", input="one")
    assert b"1e+300" in write_answer(parse_answer("openai", floats([1e300]), request), request)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_32_bit_numbers_survive_every_conversion(vector):
    wants = asked("openai", encoding_format="base64", input="one")
    body = json.dumps({"embeddings": [vector]}).encode()
    first = write_answer(parse_answer("ollama", body, wants), wants)
    back = asked("ollama", input="one")
    assert parse_answer("openai", first, back).vectors == (vector,)


@given(st.sampled_from(["openai", "ollama"]), st.sampled_from(CALLS), strategies.json_values)
def test_any_json_is_an_answer_or_garbled(upstream, call, value):
    request = asked(call)
    for body in (value, {"data": value}, {"embeddings": value}, {"embedding": value}):
        with suppress(Garbled):
            write_answer(parse_answer(upstream, json.dumps(body).encode(), request), request)
