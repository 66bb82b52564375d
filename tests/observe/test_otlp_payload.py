"""Traces and log records, read with OpenTelemetry's own messages."""

import json
import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Message, Request, Response, Sampling, Text, ToolUse, Usage
from formats.errors import Failure
from llmrouterd.model import (
    Candidate,
    Outcome,
    Record,
    Step,
    Unread,
)
from llmrouterd.observe import otlp_payload
from llmrouterd.observe.otlp_payload import Line, Source, attributes, logs, told_of, traces
from llmrouterd.spans import Attempted, Exchanged, Traced
from tests.fakes.collector import log_records, pairs, read, spans

SOURCE = Source("router", "1.2 (abc)", "id-1", "host", 7)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BEGUN = 1_781_573_328_452_000_000
MS = 1_000_000
WORDS = ("the question", "the answer", "the tool", "the error", "the system")


def span_id(number: int) -> str:
    return f"{number:016x}"


FIRST = Attempted(
    span_id(4),
    3 * MS,
    "far",
    "gpt",
    5 * MS,
    "openai",
    "https://api.example/v1",
    "overloaded",
    (Exchanged(span_id(5), 3 * MS, 5 * MS, "/v1/x", 503, "192.0.2.1:443", 4 * MS, 0.25, "503"),),
)
SECOND = Attempted(
    span_id(6),
    6 * MS,
    "near",
    "llama",
    9 * MS,
    "ollama",
    "http://localhost:11434",
    "",
    (
        Exchanged(span_id(7), 6 * MS, 7 * MS, "/api/chat", 400, "[::1]:11434", 7 * MS, None, "400"),
        Exchanged(span_id(8), 7 * MS, 9 * MS, "/api/chat", 200, "[::1]:11434", 8 * MS, None),
    ),
)
TRACED = Traced(
    TRACE,
    span_id(1),
    BEGUN,
    10 * MS,
    flags=3,
    parent_id=PARENT,
    state="a=1",
    classify=(span_id(2), MS, 2 * MS),
    route=(span_id(3), 2 * MS, 3 * MS),
    first_token_ns=8 * MS,
    attempts=(FIRST, SECOND),
)
RECORD = Record(
    7,
    "req_1",
    BEGUN // MS + 10,
    "complete",
    200,
    "openai",
    "/v1/chat/completions",
    "auto",
    sent_model="llama",
    provider="near",
    rule="routers[0] fallback",
    stream=True,
    duration_ms=10,
    ttft_ms=8,
    tags=("code",),
    request=Request(
        "openai",
        "auto",
        (Message("system", (Text("the system"),)), Message("user", (Text("the question"),))),
        max_tokens=9,
        sampling=Sampling(temperature=1, seed=5, stop=("the question",)),
    ),
    response=Response("r", "llama-1", (Text("the answer"), ToolUse("t", "f", "the tool"))),
    usage=Usage(30, 12, 5, None, 4),
    cost_usd=0.5,
    attempts=("far/gpt: overloaded: the error",),
    trace=(Step("routers[0]", "skipped", "reason", "far", "gpt", "health"),),
    error="the error",
    trace_id=TRACE,
    traced=TRACED,
)


def as_spans(record: Record) -> dict[str, object]:
    return {span.span_id.hex(): span for span in spans(read("traces", as_traces(record)))}


def as_traces(*records: Record) -> bytes:
    return traces(SOURCE, [told_of(record) for record in records])


def test_the_resource_says_who_tells() -> None:
    message = read("traces", as_traces(RECORD))
    [each] = message.resource_spans
    assert pairs(each.resource) == {
        "service.name": "router",
        "service.version": "1.2 (abc)",
        "service.instance.id": "id-1",
        "host.name": "host",
        "process.pid": 7,
    }
    assert each.scope_spans[0].scope.name == "llmrouter"


def test_the_spans_are_a_tree() -> None:
    found = as_spans(RECORD)
    shape = {
        each: (span.name, span.kind, span.parent_span_id.hex()) for each, span in found.items()
    }
    assert shape == {
        span_id(1): ("POST /v1/chat/completions", 2, PARENT),
        span_id(2): ("classify", 1, span_id(1)),
        span_id(3): ("route", 1, span_id(1)),
        span_id(4): ("chat gpt", 3, span_id(1)),
        span_id(5): ("POST", 3, span_id(4)),
        span_id(6): ("chat llama", 3, span_id(1)),
        span_id(7): ("POST", 3, span_id(6)),
        span_id(8): ("POST", 3, span_id(6)),
    }
    assert {span.trace_id.hex() for span in found.values()} == {TRACE}
    assert {span.trace_state for span in found.values()} == {"a=1"}
    remote = {each for each, span in found.items() if span.flags & 0x200}
    assert remote == {span_id(1)}
    assert all(span.flags & 0xFF == 3 and span.flags & 0x100 for span in found.values())


def test_times_are_of_the_wall_clock() -> None:
    found = as_spans(RECORD)
    for span in found.values():
        parent = found.get(span.parent_span_id.hex())
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if parent is not None:
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano
    request = found[span_id(1)]
    assert (request.start_time_unix_nano, request.end_time_unix_nano) == (BEGUN, BEGUN + 10 * MS)
    [event] = request.events
    assert (event.name, event.time_unix_nano) == ("llmrouter.first_token", BEGUN + 8 * MS)


def test_attributes_follow_the_conventions() -> None:
    found = as_spans(RECORD)
    request = pairs(found[span_id(1)])
    assert request["http.request.method"] == "POST"
    assert request["http.response.status_code"] == 200
    assert request["llmrouter.provider"] == "near"
    assert request["llmrouter.tags"] == ["code"]
    assert "error.type" not in request
    attempt = pairs(found[span_id(6)])
    assert attempt == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "llama",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.seed": 5,
        "gen_ai.response.id": "r",
        "gen_ai.response.model": "llama-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.002,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 4,
        "server.address": "localhost",
        "server.port": 11434,
        "llmrouter.provider": "near",
        "llmrouter.attempt": 2,
    }
    failed = pairs(found[span_id(4)])
    assert failed["error.type"] == "overloaded"
    assert "gen_ai.usage.input_tokens" not in failed
    assert pairs(found[span_id(5)]) == {
        "http.request.method": "POST",
        "http.response.status_code": 503,
        "url.full": "https://api.example/v1/x",
        "server.address": "api.example",
        "server.port": 443,
        "network.peer.address": "192.0.2.1",
        "network.peer.port": 443,
        "error.type": "503",
        "llmrouter.connect_ms": 250.0,
        "llmrouter.first_byte_ms": 1.0,
    }
    again = pairs(found[span_id(8)])
    assert (again["http.request.resend_count"], again["network.peer.address"]) == (1, "::1")
    assert pairs(found[span_id(3)])["llmrouter.route"] == ["routers[0]: skipped far/gpt: health"]


@pytest.mark.parametrize(
    ("end", "status", "code", "kind"),
    [
        ("complete", 200, 0, None),
        ("refused", 400, 0, "bad_request"),
        ("upstream_error", 502, 2, "upstream"),
        ("truncated", 200, 2, "truncated"),
        ("client_gone", 0, 0, "client_gone"),
        ("internal_error", 500, 2, "internal"),
    ],
)
def test_what_is_the_clients_fault_is_no_error_of_the_span(end, status, code, kind) -> None:
    error_kind = None if kind == end else kind
    span = as_spans(replace(RECORD, end=end, status=status, error_kind=error_kind))[span_id(1)]
    assert span.status.code == code
    assert pairs(span).get("error.type") == kind


@pytest.mark.parametrize(
    ("fmt", "endpoint", "operation"),
    [
        ("anthropic", "/v1/messages", "chat"),
        ("completions", "/v1/completions", "text_completion"),
        ("generate", "/api/generate", "text_completion"),
        ("openai", "/v1/embeddings", "embeddings"),
        ("ollama", "/api/embed", "embeddings"),
    ],
)
def test_an_operation_has_the_name_of_the_conventions(fmt, endpoint, operation) -> None:
    found = as_spans(replace(RECORD, client_format=fmt, endpoint=endpoint))
    assert pairs(found[span_id(6)])["gen_ai.operation.name"] == operation
    assert found[span_id(6)].name == f"{operation} llama"


def test_what_is_not_sampled_is_no_span_and_still_a_log_record() -> None:
    record = replace(RECORD, traced=replace(TRACED, flags=2))
    assert not as_spans(record)
    [log] = log_records(read("logs", logs(SOURCE, [told_of(record)])))
    assert (log.trace_id.hex(), log.flags) == (TRACE, 2)


def test_a_request_without_a_trace_is_a_log_record_alone() -> None:
    record = replace(RECORD, traced=None, trace_id=None)
    assert not as_spans(record)
    [log] = log_records(read("logs", logs(SOURCE, [told_of(record)])))
    assert not log.trace_id


def test_a_trace_that_begins_here_has_no_parent() -> None:
    span = as_spans(replace(RECORD, traced=replace(TRACED, parent_id="", state="")))[span_id(1)]
    assert not span.parent_span_id
    assert not span.flags & 0x200


@pytest.mark.parametrize("response", [RECORD.response, Unread(lambda: RECORD.response)])
def test_no_words_are_in_any_message(response) -> None:
    told = told_of(replace(RECORD, response=response, notes=("the error",)))
    sent = traces(SOURCE, [told]) + logs(SOURCE, [told])
    assert not [words for words in WORDS if words.encode() in sent]
    assert told.record.request is None
    assert told.record.response is None


def test_an_answer_that_passed_through_is_not_read() -> None:
    def read_it() -> Response:
        raise AssertionError

    found = as_spans(replace(RECORD, response=Unread(read_it)))
    assert "gen_ai.response.id" not in pairs(found[span_id(6)])


@pytest.mark.parametrize(
    ("end", "fault", "severity"),
    [
        ("complete", "", 9),
        ("client_gone", "client", 9),
        ("upstream_error", "upstream", 13),
        ("internal_error", "router", 17),
    ],
)
def test_a_request_is_one_log_record(end, fault, severity) -> None:
    told = told_of(replace(RECORD, end=end, fault=fault))
    [log] = log_records(read("logs", logs(SOURCE, [told])))
    assert log.severity_number == severity
    assert log.event_name == "llmrouter.request"
    assert log.body.string_value == f"{end} 200 near/llama 10 ms"
    assert (log.trace_id.hex(), log.span_id.hex()) == (TRACE, span_id(1))
    assert pairs(log)["llmrouter.request_id"] == "req_1"


@pytest.mark.parametrize(
    ("level", "severity"),
    [(logging.DEBUG, 5), (logging.INFO, 9), (logging.WARNING, 13), (logging.CRITICAL, 17)],
)
def test_a_line_of_the_daemons_log_is_one(level: int, severity: int) -> None:
    line = Line(BEGUN, level, "llmrouter.edge", "words", TRACE)
    [log] = log_records(read("logs", logs(SOURCE, [line])))
    assert (log.severity_number, log.body.string_value) == (severity, "words")
    assert log.trace_id.hex() == TRACE
    assert pairs(log) == {"logger": "llmrouter.edge"}


def test_names_that_clients_choose_are_cut() -> None:
    long = replace(RECORD, requested_model="x" * 5000, tags=("t" * 900,) * 900)
    request = pairs(as_spans(long)[span_id(1)])
    assert len(request["gen_ai.request.model"]) == 256
    assert len(request["llmrouter.tags"]) == 32
    assert len(as_traces(long)) < 40_000


@given(
    st.text(st.characters()),
    st.floats(),
    st.integers(),
    st.lists(st.text(st.characters(exclude_categories=()))),
)
def test_any_values_are_a_message(text, number, whole, texts) -> None:
    """Half surrogate pairs, what is no number, what is beyond 64 bits: a collector reads it all."""
    record = replace(RECORD, requested_model=text, cost_usd=number, tags=tuple(texts))
    record = replace(record, usage=Usage(whole), sent_model="\ud800" + text)
    read("traces", as_traces(record))
    read("logs", logs(SOURCE, [told_of(record)]))


def test_a_wait_for_a_place_is_a_span_of_its_attempt() -> None:
    waited = replace(SECOND, queue=(span_id(9), 6 * MS, 7 * MS))
    found = as_spans(replace(RECORD, traced=replace(TRACED, attempts=(FIRST, waited))))
    queue = found[span_id(9)]
    assert (queue.name, queue.parent_span_id.hex()) == ("queue", span_id(6))
    assert pairs(found[span_id(6)])["gen_ai.response.time_to_first_chunk"] == 0.001


def test_a_question_of_the_routers_own_is_a_child_of_the_request() -> None:
    own = replace(TRACED, classify=None, route=None, attempts=(SECOND,), first_token_ns=None)
    record = replace(RECORD, endpoint="internal", traced=own)
    found = as_spans(record)
    assert set(found) == {span_id(6), span_id(7), span_id(8)}
    assert found[span_id(6)].parent_span_id.hex() == PARENT
    [log] = log_records(read("logs", logs(SOURCE, [told_of(record)])))
    assert not [name for name in pairs(log) if name.startswith("http.")]


def test_what_others_keep_of_a_record_does_not_wait_in_memory() -> None:
    failed = Outcome(Candidate("p", "m", "r"), Failure("upstream", "the error"))
    told = told_of(replace(RECORD, tried=(failed,)))
    assert (told.record.tried, told.record.decision) == ((), None)


def test_a_log_record_has_the_trace_of_a_request_without_spans() -> None:
    told = told_of(replace(RECORD, traced=None))
    [log] = log_records(read("logs", logs(SOURCE, [told])))
    assert log.trace_id.hex() == TRACE


def test_what_is_unknown_or_empty_is_left_out() -> None:
    found = attributes((("a", None), ("b", ""), ("c", ()), ("d", 0), ("e", False)))
    assert json.dumps(found) == json.dumps(
        [{"key": "d", "value": {"intValue": "0"}}, {"key": "e", "value": {"boolValue": False}}]
    )


def test_a_peer_behind_a_unix_socket() -> None:
    assert otlp_payload._peer("unix:/run/a:b.sock") == ("unix", "/run/a:b.sock", None)
    assert otlp_payload._peer("[::1]:80") == (None, "::1", 80)
