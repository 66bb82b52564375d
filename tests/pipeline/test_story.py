"""What the record says of a request, and who was at fault."""

import pytest

from formats.canonical import Request, Response, Text, Usage
from formats.errors import STATUS, Failure
from formats.jsontext import parse_body
from formats.ledger import Ledger
from llmrouterd.model import (
    Candidate,
    Classified,
    Headers,
    Opened,
    Outcome,
    Progress,
    Provider,
    Receipt,
    Record,
    Routed,
    Unread,
)
from llmrouterd.pipeline.daemon import Daemon
from llmrouterd.pipeline.story import PROGRESS_NS, Story
from llmrouterd.pipeline.weights import UNKNOWN, Weights
from tests.pipeline.stage import Sink

PLACE = Candidate("a", "llama", "routers[0] fallback")


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def story(sink: Sink) -> Story:
    daemon = Daemon(None, sinks=(sink,))  # type: ignore[arg-type]
    daemon.in_flight = 3
    return Story(daemon, client_format="openai", endpoint="/v1/chat/completions")


def test_progress_is_told_as_it_is_made(story: Story, sink: Sink) -> None:
    story.opened(Request("openai", "m"))
    story.classified(("code",))
    story.routed(PLACE)
    opened, classified, routed = sink.told
    assert isinstance(opened, Opened)
    assert (opened.id, opened.model, opened.in_flight) == (story.id, "m", 3)
    assert opened.ts_ms == story.begun_ms
    assert isinstance(classified, Classified)
    assert classified.tags == story.tags == ("code",)
    assert isinstance(routed, Routed)
    assert (routed.provider, routed.model) == ("a", "llama")
    assert story.candidate is PLACE


def test_progress_of_a_stream_is_told_at_most_four_times_a_second(
    story: Story, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed_ns = 5_000_000_000
    monkeypatch.setattr(Story, "elapsed_ns", lambda self: elapsed_ns)
    story.saw_content()
    for _ in range(10):
        story.sent(1, 20)
    elapsed_ns += PROGRESS_NS
    for _ in range(10):
        story.sent(2, 20)
    elapsed_ns += PROGRESS_NS
    story.sent(1, 20)
    told = [each for each in sink.told if isinstance(each, Progress)]
    assert [(p.pieces, p.size_bytes, p.writing_ms) for p in told] == [
        (12, 220, 250),
        (31, 420, 500),
    ]


def test_stories_have_their_own_ids(story: Story) -> None:
    other = Story(story.daemon, client_format="ollama", endpoint="/api/chat")
    assert other.id == story.id + 1
    assert other.stem != story.stem
    assert story.request_id == f"req_{story.stem}"
    assert len(story.stem) == 24
    int(story.stem, 16)


def test_the_record_of_a_story_hardly_begun(story: Story) -> None:
    record = story.record("refused")
    assert (record.provider, record.sent_model, record.rule) == ("", "", "")
    assert (record.request, record.response, record.usage, record.ttft_ms) == (None,) * 4
    assert record.stream is False
    assert record.duration_ms >= 0
    assert record.endpoint == "/v1/chat/completions"


def test_the_record_of_a_whole_story(story: Story) -> None:
    body = parse_body(b'{"model":"m","messages":[]}')
    story.opened(Request("openai", "m", stream=True, raw=body))
    story.routed(PLACE)
    story.begin(Ledger(), "openai")
    assert story.ledger is not None
    story.ledger.note("seed", "dropped", "why")
    story.saw_content()
    first = story.first_token_ns
    story.saw_content()
    assert story.first_token_ns == first
    story.usage = Usage(1, 2)
    story.priced_by = Provider("a", "openai", cost_per_1m_tokens=1.0)
    story.plugins += ["p", "q", "p"]
    record = story.record("complete")
    assert isinstance(record, Record)
    assert record.stream
    assert record.request is not None
    assert record.request.raw is None, "the client's own bytes are not kept with the record"
    assert record.plugins == ("p", "q")
    assert record.dropped == ("seed",)
    assert record.ttft_ms is not None
    assert record.cost_usd == pytest.approx(3e-6)
    assert record.fault == ""


def test_an_answer_without_figures_gets_estimates_that_are_marked(story: Story) -> None:
    story.size_tokens = 20
    story.response = Response("i", "m", (Text("eight words that nobody has counted for us"),))
    story.estimate()
    assert story.usage is not None
    assert story.usage.input == 20
    assert 8 <= (story.usage.output or 0) <= 16
    assert story.usage_estimated


def test_the_figures_that_there_are_stay(story: Story) -> None:
    story.size_tokens = 20
    story.response = Unread(lambda: Response("i", "m", (Text("words"),)))
    story.usage = Usage(input=7)
    story.estimate()
    assert story.usage == Usage(7, 2)
    assert story.usage_estimated
    story.usage, story.usage_estimated = Usage(7, 9), False
    story.estimate()
    assert (story.usage, story.usage_estimated) == (Usage(7, 9), False)


@pytest.mark.parametrize("answer", [None, Response("i", "m")])
def test_an_answer_of_which_no_words_are_known_is_not_guessed_at(
    story: Story, answer: Response | None
) -> None:
    story.response = answer
    story.estimate()
    assert (story.usage, story.usage_estimated) == (None, False)


@pytest.mark.parametrize(
    ("known", "counted"),
    [
        (None, Usage(11, 3)),
        (Usage(90, 1, cache_read=80), Usage(90, 3, cache_read=80)),
        (Usage(90, 40), Usage(90, 40)),
    ],
    ids=["nothing was told", "only the prompt was", "both were, on the way"],
)
def test_an_answer_that_broke_off_counts_as_far_as_it_came(
    story: Story, known: Usage | None, counted: Usage
) -> None:
    story.size_tokens, story.usage = 11, known
    story.response = Unread(lambda: Response("r", "m", (Text("ten letters"),)))
    story.broke_off()
    assert (story.usage, story.usage_estimated) == (counted, known != counted)


def test_an_answer_that_broke_off_before_any_word_of_it_is_known_stays_unknown(
    story: Story,
) -> None:
    story.response = Unread(lambda: None)
    story.broke_off()
    assert (story.usage, story.usage_estimated) == (None, False)


def test_an_attempt_begins_with_a_clean_slate(story: Story) -> None:
    story.usage = Usage(1, 2)
    story.address = story.upstream_request_id = "of the last one"
    story.unreached = True
    story.left_host = True
    ledger = Ledger()
    story.begin(ledger, "ollama")
    assert story.ledger is ledger
    assert (story.usage, story.address, story.upstream_request_id) == (None, "", "")
    assert not story.unreached
    assert story.left_host, "what has left does not come back"


def test_attempts_in_words(story: Story) -> None:
    failure = Failure("timeout", "too slow", clock="idle")
    story.failed(Outcome(PLACE, failure))
    assert story.attempts() == ("a/llama: timeout:idle: too slow",)


FAULTS = {
    "no_provider": "owner",
    "plugin": "owner",
    "credential": "owner",
    "quota": "owner",
    "queue_full": "router",
    "queue_timeout": "router",
    "draining": "router",
    "no_hub": "router",
    "internal": "router",
    "model_not_found": "upstream",
    "rate_limit": "upstream",
    "overloaded": "upstream",
    "upstream": "upstream",
    "timeout": "upstream",
    "truncated": "upstream",
}


@pytest.mark.parametrize("kind", STATUS)
def test_whose_fault_a_failure_is(story: Story, kind: str) -> None:
    story.request = Request(origin="openai", model="m", messages=())
    story.failure = Failure(kind, "x")  # type: ignore[arg-type]
    assert story.fault("refused") == FAULTS.get(kind, "client")
    assert story.fault("upstream_error") == FAULTS.get(kind, "client")
    assert story.fault("complete") == ""
    assert story.fault("client_gone") == "client"


@pytest.mark.parametrize(
    ("kind", "fault"), [("overloaded", "router"), ("too_slow", "client"), ("too_large", "client")]
)
def test_no_upstream_is_at_fault_before_one_was_asked(story: Story, kind: str, fault: str) -> None:
    story.failure = Failure(kind, "x")  # type: ignore[arg-type]
    assert story.fault("refused") == fault


def test_without_a_failure_it_was_ours(story: Story) -> None:
    assert story.fault("internal_error") == "router"
    assert story.record("internal_error").error is None


# --- attempts beside each other -------------------------------------------------------------------

DEAR = Provider("a", "openai", input_cost_per_1m=1e6, output_cost_per_1m=2e6)


def test_a_twins_notes_of_its_attempt_are_its_own_until_they_are_adopted(story: Story) -> None:
    twin = story.twin()
    twin.routed(PLACE)
    twin.asks(PLACE)
    twin.begin(Ledger(), "anthropic")
    twin.usage, twin.priced_by = Usage(3, 4), DEAR
    twin.weights = Weights("365c", "Q4_K_M")
    twin.notes.append("a note")
    assert (story.candidate, story.usage, story.ledger) == (None, None, None)
    assert story.weights == UNKNOWN
    assert story.asked == [PLACE]  # who was asked is the request's affair
    assert story.notes == ["a note"]
    story.adopt(twin)
    assert (story.candidate, story.usage, story.upstream_format) == (
        PLACE,
        Usage(3, 4),
        "anthropic",
    )
    assert story.weights == Weights("365c", "Q4_K_M")
    assert story.cost_usd == pytest.approx(11)


def test_a_cancelled_attempt_is_counted_told_and_paid_for(story: Story, sink: Sink) -> None:
    story.size_tokens = 5
    twin = story.twin()
    twin.asks(PLACE)
    twin.priced_by, twin.left_host = DEAR, True
    story.cancelled(twin, PLACE, "the first token came from b/m", 1.5)
    story.usage, story.priced_by = Usage(1, 1), DEAR
    record = story.record("complete")
    assert record.attempts == ("a/llama: hedged: cancelled: the first token came from b/m",)
    assert record.cost_usd == pytest.approx(5 + 3)  # its prompt, and the answer
    assert (story.tries, story.left_host) == (2, True)
    assert sink.told[-1].kind == "hedged"


def test_what_a_cancelled_attempt_had_read_and_written_is_better_known_than_an_estimate(
    story: Story,
) -> None:
    story.size_tokens = 5
    twin = story.twin()
    twin.priced_by, twin.usage = DEAR, Usage(7, 1)
    story.cancelled(twin, PLACE, "why", 0.0)
    assert story.cost_usd == pytest.approx(9)


def test_an_answer_set_aside_is_paid_for_once_also_when_it_is_given_after_all(story: Story) -> None:
    story.asks(PLACE)
    story.usage, story.priced_by = Usage(1, 1), DEAR
    story.set_aside()
    kept = story.twin()
    story.failed(Outcome(PLACE, Failure("tagged", "its answer was tagged refusal")))
    story.usage = None
    assert story.cost_usd == pytest.approx(3)
    story.has_last_word(kept)
    assert story.cost_usd == pytest.approx(3)
    assert story.tries == 1


def test_the_record_says_when_the_last_attempt_did_what(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_ms = 0
    monkeypatch.setattr(Story, "elapsed_ns", lambda self: at_ms * 1_000_000)
    record = story.record("refused")
    assert (record.asked_ms, record.connect_ms, record.head_ms) == (None, None, None)
    at_ms = 10
    story.begin(Ledger(), "openai")
    at_ms = 30
    story.noted(Receipt("127.0.0.1:1", False), Headers())
    story.connect_s = 0.012
    record = story.record("complete")
    assert (record.asked_ms, record.connect_ms, record.head_ms) == (10, 12, 30)
    assert record.left_host is False
    at_ms = 50
    story.begin(Ledger(), "openai")  # another one: nothing of the first is left
    record = story.record("upstream_error")
    assert (record.asked_ms, record.connect_ms, record.head_ms) == (50, None, None)
