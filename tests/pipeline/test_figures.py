"""Metrics, log, statistics and feed give the same figures after a mixed run.

The whole pipeline serves it: answers and streams, estimated counts, failovers, broken streams,
failures, refusals, clients that leave. Nothing of what is compared is computed here.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from llmrouterd.config import Config
from llmrouterd.model import Price, Provider, Routing
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.journal import Journal
from llmrouterd.observe.metrics import Metrics
from llmrouterd.observe.stats import Summary
from llmrouterd.ops.pages import Pages
from llmrouterd.ops.scrape import Scrape
from tests.ops.stage import ask
from tests.pipeline.stage import (
    REFUSED,
    Stage,
    Up,
    chat_answer,
    chat_stream,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
)

SSE = "text/event-stream"
USED = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "prompt_tokens_details": {"cached_tokens": 600},
    "completion_tokens_details": {"reasoning_tokens": 40},
}
PRICED = (Price(("*",), 3.0, 15.0, cached_input=0.3),)
CASES = ("whole", "flowing", "echo", "failover", "broken", "failing", "gone", "nobody", "garbled")
FORMATS = ("openai", "anthropic", "ollama", "responses")


async def silent(up: Up) -> None:
    await up.request()
    await up.closed()


def provider(name: str, **more: object) -> Provider:
    return openai(name, max_retries=0, circuit_failures=0, **more)


PROVIDERS = (
    provider("whole", prices=PRICED),
    provider("flowing", prices=PRICED),
    provider("broken"),
    provider("failing"),
    provider("silent"),
    provider("closed"),
    Provider("echo", "echo"),
)
SCRIPTS = {
    "whole": replies(200, chat_answer("ok", usage=USED)),
    "flowing": streams(SSE, chat_stream("one ", "two ", "three")),
    "broken": streams(SSE, sse(role_chunk(), said("Hel"), done=False), cut=True),
    "failing": replies(500, {"error": {"message": "out of order"}}),
    "silent": silent,
    "closed": REFUSED,
}
ALIASES = {
    "whole": ("whole/w",),
    "flowing": ("flowing/f",),
    "echo": ("echo/e",),
    "failover": ("closed/c", "failing/x", "whole/w"),
    "broken": ("broken/b",),
    "failing": ("failing/x",),
    "gone": ("silent/s",),
}


async def one(st: Stage, case: str, fmt: str) -> None:
    if case == "garbled":
        await st.ask(fmt, b'{"model": ')
        return

    async def leave() -> None:
        await trio.testing.wait_all_tasks_blocked()
        st.hang_up()

    body = request(fmt, stream=case in ("flowing", "broken"), model=case)
    await st.ask(fmt, body, before_read=leave if case == "gone" else None)


def of_scrape(text: bytes) -> dict[str, Counter[tuple[str, ...]]]:
    """name -> values of labels -> value, without the buckets."""
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            found.setdefault(sample.name, Counter())[labels] += sample.value
    return found


def summed(samples: Mapping[tuple[str, ...], float], place: int) -> Counter[str]:
    """By one of the labels."""
    out: Counter[str] = Counter()
    for labels, value in samples.items():
        out[labels[place]] += value
    return out


def completes(feed: Feed) -> Iterator[dict]:
    for entry in feed.since(0):
        event = json.loads(entry.text(bodies=False))
        if event["type"] == "complete":
            yield event


@pytest.mark.slow
async def test_metrics_log_statistics_and_feed_agree_after_a_thousand_requests(
    tmp_path: Path,
) -> None:
    metrics, feed = Metrics(), Feed(events=20_000, size=1 << 30)
    path = tmp_path / "requests.jsonl"
    journal = Journal(str(path), bodies="full", max_bytes=0, keep=1)
    async with stage(*PROVIDERS, up=SCRIPTS, routing=Routing(aliases=ALIASES)) as st:
        st.daemon.sinks = (feed, journal, metrics)
        mixed = itertools.cycle(itertools.product(CASES, FORMATS))
        for case, fmt in itertools.islice(mixed, 1000):
            await one(st, case, fmt)
        scrape = Scrape(metrics, st.daemon, "1", feed, journal, fleet=lambda: st.gen.fleet(0))
        pages = Pages(Config(providers=PROVIDERS), st.gen, st.daemon, Dashboard(feed), scrape)
        state = (await ask(pages.answer, "GET", "/dashboard/api/state")).json
        page = (await ask(pages.answer, "GET", "/metrics")).body
        journal.close()
        await journal.run()
    told, events = of_scrape(page), list(completes(feed))
    summary = Summary(("end", "provider", "model", "format"))
    for line in path.read_bytes().splitlines():
        summary.add(line)
    total = summary.total

    requests = told["llmrouter_requests_total"]
    assert sum(requests.values()) == total.requests == len(events) == 1000
    assert summary.broken == 0
    ends = Counter(event["end"] for event in events)
    assert ends == {
        "complete": 448,
        "truncated": 112,
        "upstream_error": 112,
        "client_gone": 112,
        "refused": 216,
    }
    for place, (kind, member) in enumerate(
        [("format", "client_format"), ("provider", "provider"), ("model", ""), ("end", "end")]
    ):
        by_metrics = summed(requests, place)
        by_stats = {name or "none": group.requests for name, group in summary.sorted(kind)}
        if kind == "model":  # a name that nobody answered for is not told apart there
            known = {name for name in by_metrics if name not in ("other", "none")}
            assert known == {"w", "f", "e"}
            assert all(by_metrics[name] == by_stats[name] for name in known)
        else:
            assert by_metrics == by_stats
            assert by_metrics == Counter(event[member] or "none" for event in events)
    assert sum(told["llmrouter_errors_total"].values()) == total.errors == 440
    assert total.gone == ends["client_gone"]

    tokens = summed(told["llmrouter_tokens_total"], 2)
    for kind, member, of_stats in (
        ("input", "input_tokens", total.input),
        ("output", "output_tokens", total.output),
        ("cached", "cached_tokens", total.cached),
        ("cache_write", "cache_write_tokens", total.cache_write),
        ("reasoning", "reasoning_tokens", total.reasoning),
    ):
        of_feed = sum(event[member] or 0 for event in events)
        assert tokens[kind] == of_stats == of_feed
        assert kind == "cache_write" or of_feed > 0
    estimated = sum(told["llmrouter_usage_estimated_total"].values())
    assert estimated == total.estimated == sum(event["usage_estimated"] for event in events)
    assert estimated == 112 + ends["truncated"]  # echo counts by itself, and so do broken answers

    cost = sum(told["llmrouter_cost_usd_total"].values())
    assert cost == pytest.approx(total.cost_usd)
    assert cost == pytest.approx(sum(event["cost_usd"] or 0 for event in events))
    assert cost > 0
    unpriced = sum(told["llmrouter_unpriced_requests_total"].values())
    assert unpriced == total.unpriced == 112 + ends["truncated"]

    durations = told["llmrouter_request_duration_seconds_count"]
    assert sum(durations.values()) == total.duration_ms.count == ends["complete"]
    took_s = sum(told["llmrouter_request_duration_seconds_sum"].values())
    assert took_s == pytest.approx(total.duration_ms.total / 1000)
    first = told["llmrouter_time_to_first_token_seconds_count"]
    assert sum(first.values()) == total.ttft_ms.count == 224
    assert sum(told["llmrouter_overhead_seconds_count"].values()) == sum(
        event["overhead_ms"] is not None for event in events
    )
    failed = sum(len(event["attempts"]) for event in events)
    assert sum(told["llmrouter_attempts_failed_total"].values()) == failed

    assert state["in_flight"] == 0
    assert told["llmrouter_requests_in_flight"] == {(): 0}
    flying = {each["name"]: each["in_flight"] for each in state["providers"]}
    assert flying == {name: 0 for (name,) in told["llmrouter_upstream_requests_in_flight"]}
    assert told["llmrouter_log_lines_dropped_total"] == {(): 0}
    assert told["llmrouter_feed_events_dropped_total"] == {(): 0}
