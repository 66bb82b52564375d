"""Traces: what is read of a client's, what goes on to whom, and the spans of a request."""

import itertools
import logging
from typing import ClassVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st_

from llmrouterd.hooks import Plugin
from llmrouterd.model import Candidate, Dialect, Headers, Policy, Provider, Routing
from llmrouterd.observe.otlp_payload import answered_by
from llmrouterd.pipeline.inquiry import Inquiry
from llmrouterd.pipeline.story import Story
from llmrouterd.pipeline.tracing import (
    CURRENT,
    Context,
    Stamp,
    Tracer,
    begin_trace,
    context_of,
    system_of,
)
from llmrouterd.spans import Traced
from tests.pipeline.stage import (
    REFUSED,
    chat_answer,
    chunk,
    openai,
    replies,
    request,
    said,
    sse,
    stage,
    streams,
)
from tests.pipeline.test_aside import NO, among, says
from tests.pipeline.test_hedge import after, hedging

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = chat_answer("x")
CHUNK, LAST = sse(said("x"), done=False), sse(chunk({}, "stop"))
SSE = "text/event-stream"


def head(*fields: tuple[str, str]) -> Headers:
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in fields])


def counted() -> Tracer:
    """Ids in order, so that a test can name them."""
    numbers = itertools.count(1)
    return Tracer(1.0, draw=lambda size: f"{next(numbers):0{2 * size}x}")


# --- a client's trace -----------------------------------------------------------------------------


def test_a_trace_context_is_read() -> None:
    found = context_of(head(("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")))
    assert found == Context(TRACE, SPAN, 1, "a=1,b=2")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (GOOD[:-2] + "00", 0),
        (GOOD[:-2] + "03", 3),
        (GOOD[:-2] + "ff", 3),
        (f"cc-{GOOD[3:]}-what-the-future-will-be-like", 1),
        (f"01-{GOOD[3:]}", 1),
    ],
)
def test_flags_that_nobody_knows_are_not_passed_on(text: str, flags: int) -> None:
    found = context_of(head(("traceparent", text)))
    assert found is not None
    assert found.flags == flags


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{GOOD[3:]}",
        f"{GOOD}-more",
        f"{GOOD}-",
        f"{GOOD}.",
        f"cc-{GOOD[3:]}.what",
        GOOD.upper(),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}\u00e9-{SPAN}-01",
    ],
)
def test_what_is_not_right_to_the_letter_is_ignored(text: str) -> None:
    assert context_of(head(("traceparent", text))) is None


def test_two_of_them_are_none() -> None:
    assert context_of(head(("traceparent", GOOD), ("traceparent", GOOD))) is None


@pytest.mark.parametrize("state", ["a=" + "x" * 600, "a=\u00e9", ""])
def test_a_state_that_is_too_long_or_odd_is_left_out(state: str) -> None:
    found = context_of(head(("traceparent", GOOD), ("tracestate", state)))
    assert found == Context(TRACE, SPAN, 1, "")


@given(st_.text(alphabet=st_.characters(max_codepoint=255), max_size=80))
def test_any_text_is_a_context_or_none(text: str) -> None:
    found = context_of(head(("traceparent", text)))
    assert found is None or len(found.trace_id) == 32


# --- which are kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_caller_decides_on_its_trace(flags: int, ratio: float) -> None:
    spans = Tracer(ratio).begin(Context(TRACE, SPAN, flags))
    ended = spans.sealed(5, "", None)
    assert (ended.trace_id, ended.parent_id, ended.flags) == (TRACE, SPAN, flags)
    assert ended.sampled is bool(flags & 1)


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 0), (0.25, 64), (0.5, 128), (1.0, 256)])
def test_the_trace_id_decides_which_share_is_kept(ratio: float, kept: int) -> None:
    ids = [f"{'ab' * 9}{number:02x}{'00' * 6}" for number in range(256)]
    drawn = (each for pair in zip(ids, ["1" * 16] * 256, strict=True) for each in pair)
    tracer = Tracer(ratio, draw=lambda size: next(drawn))
    sampled = [tracer.begin(None).sealed(0, "", None).sampled for _ in ids]
    assert sum(sampled) == kept
    assert sampled == sorted(sampled)  # the larger ones: whoever keeps less keeps some of these


# --- the spans of a request -----------------------------------------------------------------------


def tree(traced: Traced) -> list[tuple[str, str, list[tuple[int | None, str]]]]:
    """(provider, error, exchanges) of each attempt."""
    return [
        (a.provider, a.error, [(e.status, e.error) for e in a.exchanges]) for a in traced.attempts
    ]


def in_order(traced: Traced) -> bool:
    """Children lie within their parents, and nothing ends before it began."""
    assert traced.classify is not None
    assert traced.route is not None
    stamps = [0, *traced.classify[1:], *traced.route[1:]]
    for attempt in traced.attempts:
        stamps.append(attempt.begun_ns)
        stamps += [stamp for e in attempt.exchanges for stamp in (e.begun_ns, e.ended_ns)]
        stamps.append(attempt.ended_ns)
    return [*stamps, traced.ended_ns] == sorted([*stamps, traced.ended_ns])


def traced_of(st) -> Traced:
    traced = st.sink.records[-1].traced
    assert traced is not None
    return traced


P, Q = Provider("p", "openai", "http://p/v1"), Provider("q", "openai", "http://q/v1")


async def test_one_answer_is_one_attempt_with_one_exchange() -> None:
    async with stage(P, up={"p": [replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", CHAT, [("traceparent", GOOD), ("tracestate", "a=1")])
        traced = traced_of(st)
        assert tree(traced) == [("p", "", [(200, "")])]
        assert in_order(traced)
        assert (traced.trace_id, traced.parent_id, traced.state) == (TRACE, SPAN, "a=1")
        assert st.sink.records[-1].trace_id == TRACE
        exchange = traced.attempts[0].exchanges[0]
        assert exchange.target == "/v1/chat/completions"
        assert exchange.connect_s is not None
        [asked] = st.asked["p"]
        assert asked.headers.get("traceparent") == f"00-{TRACE}-{exchange.span_id}-01"
        assert asked.headers.get("tracestate") == "a=1"
        await st.ask("openai", CHAT)
        again = traced_of(st)
        assert again.attempts[0].exchanges[0].connect_s is None  # the connection was there
        assert again.trace_id != TRACE
        ids = [a.span_id for a in again.attempts] + [again.span_id, again.parent_id]
        assert len(set(ids)) == len(ids)


async def test_retries_and_failover_are_attempts_of_their_own(autojump_clock) -> None:
    async with stage(P, Q, up={"p": [replies(500, {})], "q": [replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        answer = await st.ask("openai", CHAT)
        assert answer.status == 200
        traced = traced_of(st)
        assert tree(traced)[-1] == ("q", "", [(200, "")])
        assert tree(traced)[0] == ("p", "upstream", [(500, "500")])
        assert in_order(traced)
        sent = [a.headers.get("traceparent") for name in ("p", "q") for a in st.asked[name]]
        spans = [e.span_id for a in traced.attempts for e in a.exchanges]
        assert sent == [f"00-{traced.trace_id}-{span}-03" for span in spans]


async def test_a_retry_at_the_same_provider_is_an_attempt_of_its_own(autojump_clock) -> None:
    async with stage(P, up={"p": [replies(503, {}), replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        assert (await st.ask("openai", CHAT)).status == 200
        traced = traced_of(st)
        assert tree(traced) == [("p", "overloaded", [(503, "503")]), ("p", "", [(200, "")])]
        assert in_order(traced)


def test_a_second_request_of_the_same_attempt_is_its_own_exchange() -> None:
    spans = counted().begin(None)
    spans.attempt(Candidate("p", "m", "r"), 1)
    spans.asks(2, "/v1/x?beta=true", P)
    spans.answered(3, 400, "127.0.0.1:80", 0.5)
    spans.asks(4, "/v1/x", P)
    spans.answered(5, 200, "127.0.0.1:80", None)
    [attempt] = spans.sealed(6, "", None).attempts
    first, second = attempt.exchanges
    assert (first.status, first.error, first.ended_ns, first.target) == (400, "400", 4, "/v1/x")
    assert (second.status, second.error, second.ended_ns) == (200, "", 6)
    assert (attempt.error, attempt.system) == ("", "openai")


async def test_nobody_there_is_an_exchange_without_an_answer(autojump_clock) -> None:
    async with stage(P, Q, up={"p": [REFUSED], "q": [replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", CHAT)
        assert tree(traced_of(st))[0] == ("p", "upstream", [(None, "upstream")])


async def test_a_stream_has_its_first_token_and_a_cut_one_its_error() -> None:
    async with stage(P, up={"p": [streams(SSE, CHUNK, LAST), streams(SSE, CHUNK, cut=True)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", CHAT | {"stream": True})
        whole = traced_of(st)
        assert tree(whole) == [("p", "", [(200, "")])]
        assert whole.first_token_ns is not None
        attempt = whole.attempts[0]
        assert attempt.begun_ns <= whole.first_token_ns <= attempt.ended_ns
        await st.ask("openai", CHAT | {"stream": True})
        assert tree(traced_of(st)) == [("p", "truncated", [(200, "truncated")])]


async def test_a_client_that_leaves_ends_the_attempt_that_runs(autojump_clock) -> None:
    async def waits(up) -> None:
        await up.request()
        await trio.sleep(1)
        st.hang_up()
        await up.closed()

    async with stage(P, up={"p": [waits]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", CHAT)
        assert st.sink.records[-1].end == "client_gone"
        assert tree(traced_of(st)) == [("p", "client_gone", [(None, "client_gone")])]


async def test_an_embedding_is_traced_the_same_way() -> None:
    vectors = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m"}
    async with stage(P, up={"p": [replies(200, vectors)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("/v1/embeddings", {"model": "m", "input": "hi"})
        traced = traced_of(st)
        assert tree(traced) == [("p", "", [(200, "")])]
        span = traced.attempts[0].exchanges[0].span_id
        assert st.asked["p"][0].headers.get("traceparent") == f"00-{traced.trace_id}-{span}-03"


async def test_a_body_that_is_no_request_has_a_trace_without_attempts() -> None:
    async with stage(P, up={"p": [replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", b"{", [("traceparent", GOOD)])
        traced = traced_of(st)
        assert (traced.trace_id, traced.classify, traced.attempts) == (TRACE, None, ())


# --- who is told of the trace ---------------------------------------------------------------------


@pytest.mark.parametrize("forward", [(), ("traceparent", "tracestate")])
async def test_a_remote_provider_is_told_where_the_owner_says_so(forward) -> None:
    far = Provider("p", "openai", "http://p/v1", local=False, dialect=Dialect(forward=forward))
    async with stage(far, up={"p": [replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", CHAT, [("traceparent", GOOD), ("tracestate", "a=1")])
        got = st.asked["p"][0].headers
        assert ("traceparent" in got, "tracestate" in got) == (bool(forward), bool(forward))
        assert got.get("traceparent") != GOOD


async def test_without_telemetry_the_fields_go_through_and_the_log_has_the_id() -> None:
    async with stage(P, up={"p": [replies(200, ANSWER)]}) as st:
        await st.ask("openai", CHAT, [("traceparent", GOOD), ("baggage", "k=v")])
        got = st.asked["p"][0].headers
        assert (got.get("traceparent"), got.get("baggage")) == (GOOD, "k=v")
        record = st.sink.records[-1]
        assert (record.trace_id, record.traced) == (TRACE, None)
        await st.ask("openai", CHAT, [("traceparent", "nonsense")])
        assert st.sink.records[-1].trace_id is None
        await st.ask("openai", CHAT)
        assert st.sink.records[-1].trace_id is None


async def test_the_baggage_stays_the_clients() -> None:
    async with stage(P, up={"p": [replies(200, ANSWER)]}) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", CHAT, [("baggage", "k=v"), ("tracestate", "stray=1")])
        got = st.asked["p"][0].headers
        assert got.get("baggage") == "k=v"
        assert "tracestate" not in got  # without a traceparent it belongs to nobody


# --- what must stay here --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "asked", "confined"),
    [
        (Policy("policies[0]", models=("m",), local=True), CHAT, ()),
        (
            Policy("policies[0]", models=("m",), local=True, networks=("10.0.0.0/8",)),
            CHAT,
            ("10.0.0.0/8",),
        ),
        (Policy("policies[0]", models=("other",), local=True), CHAT, None),
        (Policy("policies[0]", models=("other",), local=True), b"{", ()),  # nobody knows
    ],
)
async def test_the_record_says_what_must_stay_here(policy, asked, confined) -> None:
    routing = Routing(aliases={"m": ("p/p-model",)}, policies=(policy,))
    async with stage(P, up={"p": [replies(200, ANSWER)]}, routing=routing) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", asked)
        assert st.sink.records[-1].confined == confined


async def test_what_a_request_logs_is_of_its_trace() -> None:
    class Looks(Plugin):
        id = "looks"
        seen: ClassVar[list[str]] = []

        async def on_start(self, request, ctx):
            self.seen.append(CURRENT.get())
            return request

    async with stage(P, up={"p": [replies(200, ANSWER)]}, plugins=[Looks()]) as st:
        await st.ask("openai", CHAT, [("traceparent", GOOD)])
        await st.ask("openai", CHAT)
    assert Looks.seen == [TRACE, ""]


# --- the daemon's own log, and names --------------------------------------------------------------


def test_a_log_line_names_the_trace_that_is_being_served() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "words", None, None)
    token = CURRENT.set(TRACE)
    try:
        assert Stamp().filter(record)
    finally:
        CURRENT.reset(token)
    assert record.__dict__["trace_id"] == TRACE


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (Provider("a", "anthropic", "https://api.anthropic.com/v1"), "anthropic"),
        (Provider("a", "openai", "https://api.openai.com/v1"), "openai"),
        (Provider("a", "responses", "https://eu.api.openai.com/v1"), "openai"),
        (Provider("a", "openai", "https://api.groq.com/openai/v1"), "groq"),
        (Provider("a", "openai", "https://api.x.ai/v1"), "x_ai"),
        (Provider("a", "openai", "https://notx.ai/v1"), "openai"),
        (
            Provider("a", "openai", "https://r.example/v1", dialect=Dialect("azure")),
            "azure.ai.openai",
        ),
        (
            Provider("a", "openai", "http://localhost:8080/v1", dialect=Dialect("llama.cpp")),
            "llama.cpp",
        ),
        (Provider("a", "ollama", "http://localhost:11434"), "ollama"),
        (Provider("a", "responses", "http://localhost:1/v1"), "openai"),
    ],
)
def test_a_provider_is_known_by_whose_api_it_is(provider: Provider, name: str) -> None:
    assert system_of(provider) == name


# --- places and the router's own questions --------------------------------------------------------


def test_the_wait_for_a_place_is_no_time_of_the_provider() -> None:
    spans = counted().begin(None)
    spans.admitted(0)  # of no attempt: nothing
    spans.attempt(Candidate("p", "m", "r"), 1)
    spans.admitted(5)
    [attempt] = spans.sealed(9, "", None).attempts
    assert attempt.queue is not None
    assert attempt.queue[1:] == (1, 5)
    assert attempt.asked_ns == 5


async def test_the_routers_own_question_is_part_of_the_trace_and_of_the_strictest_bounds() -> None:
    policy = Policy("policies[0]", models=("other",), local=True)
    routing = Routing(aliases={"m": ("p/p-model",)}, policies=(policy,))
    async with stage(P, up={"p": [replies(200, ANSWER)]}, routing=routing) as st:
        st.daemon.tracer = counted()
        parent = Story(st.daemon, client_format="openai", endpoint="/x")
        begin_trace(parent, head(("traceparent", GOOD)), routing)
        await Inquiry(st.gen, parent, "llm").ask("p", "p-model", "is it code?")
        record = st.sink.records[-1]
        assert (record.endpoint, record.trace_id, record.confined) == ("internal", TRACE, ())
        traced = traced_of(st)
        assert parent.spans is not None
        assert traced.parent_id == parent.spans.span_id
        assert tree(traced) == [("p", "", [(200, "")])]
        span = traced.attempts[0].exchanges[0].span_id
        assert st.asked["p"][0].headers.get("traceparent") == f"00-{TRACE}-{span}-01"


async def test_a_question_without_telemetry_has_the_id_alone() -> None:
    async with stage(P, up={"p": [replies(200, ANSWER)]}) as st:
        parent = Story(st.daemon, client_format="openai", endpoint="/x")
        begin_trace(parent, head(("traceparent", GOOD)), st.gen.routing)
        await Inquiry(st.gen, parent, "llm").ask("p", "p-model", "is it code?")
        record = st.sink.records[-1]
        assert (record.trace_id, record.traced) == (TRACE, None)
        assert "traceparent" not in st.asked["p"][0].headers


# --- attempts beside each other, answers set aside ------------------------------------------------


@pytest.mark.parametrize("seconds", [0.2, 2.0], ids=["the second wins", "the first wins"])
async def test_two_attempts_beside_each_other_are_two_spans(autojump_clock, seconds) -> None:
    """The other one has had its own exchange, and no fault."""
    up = {"a": after(1.0, "from a"), "b": after(seconds, "from b")}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", request("openai", stream=True))
        won, lost = ("b", "a") if seconds < 1 else ("a", "b")
        traced = traced_of(st)
        assert tree(traced) == [(lost, "hedged", [(None, "hedged")]), (won, "", [(200, "")])]
        ids = {a.span_id for a in traced.attempts} | {
            e.span_id for a in traced.attempts for e in a.exchanges
        }
        assert len(ids) == 4
        for attempt in traced.attempts:
            sent = st.asked[attempt.provider][0].headers.get("traceparent")
            assert sent == f"00-{traced.trace_id}-{attempt.exchanges[0].span_id}-03"


async def test_a_client_that_leaves_ends_both_attempts(autojump_clock) -> None:
    async def leaves(up) -> None:
        await up.request()
        await trio.sleep(1)
        st.hang_up()
        await up.closed()

    up = {"a": after(60, "from a"), "b": leaves}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        st.daemon.tracer = counted()
        await st.ask("openai", request("openai"))
        gone = [(None, "client_gone")]
        assert sorted(tree(traced_of(st))) == [
            ("a", "client_gone", gone),
            ("b", "client_gone", gone),
        ]


async def test_an_answer_that_is_given_after_all_is_its_attempts(autojump_clock) -> None:
    up = {"a": says(NO, stream=False), "b": replies(500, {})}
    async with among(openai("a"), openai("b"), up=up) as st:
        st.daemon.tracer = counted()
        out = await st.ask("openai", request("openai"))
        assert b"sorry" in out.body
        record = st.sink.records[-1]
        first, *_ = traced_of(st).attempts
        assert (first.provider, first.error) == ("a", "tagged")
        assert answered_by(record) is first
