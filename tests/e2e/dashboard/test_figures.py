"""A thousand mixed requests through a real daemon: the page, the log, its statistics and the metrics
give the same figures, also on a page that was opened when all was over; and every query of the
dashboard for Grafana finds what it asks for.
"""

import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.dashboard.house import WHOLE, House, Upstream, chunk, view
from tests.fakes import promql
from tests.fakes.collector import FakeCollector
from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.original import events_of, strict
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REQUESTS = 1000
CASES = (
    *("whole", "uncounted", "flowing", "failover", "broken"),
    *("failing", "queued", "nobody", "garbled"),
)
LEFT = 20  # of clients that do not wait for the answer
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
}


def works(turn: Turn) -> None:
    asked = turn.received.json
    if asked["model"] == "silent":
        turn.wait_closed()
    elif not asked.get("stream"):
        turn.whole({**WHOLE, "usage": None} if asked["model"] == "uncounted" else WHOLE)
    else:
        turn.begin()
        turn.chunk(chunk("One word."))
        if asked["model"] == "broken":
            return turn.cut()
        turn.chunk(chunk(" And another."))
        stop: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        used: dict[str, Any] = {"prompt_tokens": 30, "completion_tokens": 7}
        used |= {"prompt_tokens_details": {"cached_tokens": 20}}
        turn.chunk(f"data: {json.dumps({**stop, 'usage': used})}\n\ndata: [DONE]\n\n".encode())
        turn.end()
    return None


def fails(turn: Turn) -> None:
    turn.whole({"error": {"message": "out of order", "type": "server_error"}}, 500)


def config(works: str, fails: str, collector: str) -> str:
    more = "max_retries = 0\ncircuit_failures = 0\nprobe = false\n"
    prices = "input_cost_per_1m = 3\noutput_cost_per_1m = 15\n"
    known = 'models = ["whole", "uncounted", "flowing", "broken", "silent"]\n'
    return f"""
        [server]
        port = 0
        [logging]
        enabled = true
        path = "requests.jsonl"
        bodies = "none"
        [telemetry]
        enabled = true
        otlp_endpoint = "{collector}"
        interval = 1
        [[providers]]
        name = "works"
        format = "openai"
        base_url = "{works}"
        {known}{prices}{more}
        [[providers]]
        name = "unpriced"
        format = "openai"
        base_url = "{works}"
        models = ["queued"]
        max_concurrency = 1
        {more}
        [[providers]]
        name = "fails"
        format = "openai"
        base_url = "{fails}"
        models = ["failing"]
        {more}
        [models]
        failover = ["fails/failing", "works/whole"]
    """.replace("probe = false\n", "")


def asked(case: str, fmt: str) -> bytes:
    if case == "garbled":
        return b'{"model": '
    model = {"nobody": "nobody/has-it"}.get(case, case)
    body: dict[str, Any] = {"model": model, "stream": case in ("flowing", "broken")}
    words = [{"role": "user", "content": "hi"}]
    body |= {"input": "hi"} if fmt == "responses" else {"messages": words}
    body |= {"max_tokens": 100} if fmt == "anthropic" else {}
    return json.dumps(body).encode()


def run(url: str) -> Counter[int]:
    """All of them, eight at a time; how often which status came."""
    mixed = itertools.islice(itertools.cycle(itertools.product(CASES, PATHS)), REQUESTS - LEFT)
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=url, timeout=PATIENCE_S * 3) as http, ThreadPoolExecutor(8) as pool:

        def one(case: str, fmt: str) -> int:
            try:
                return http.post(PATHS[fmt], content=asked(case, fmt)).status_code
            except httpx.HTTPError:  # a stream that breaks off
                return 0

        def leaves(_: int) -> int:
            silent = {"model": "silent", "messages": [{"role": "user", "content": "hi"}]}
            with pytest.raises(httpx.ReadTimeout):
                http.post(PATHS["openai"], json=silent, timeout=httpx.Timeout(PATIENCE_S, read=0.3))
            return 0

        statuses.update(pool.map(lambda each: one(*each), mixed))
        statuses.update(pool.map(leaves, range(LEFT)))
    return statuses


def metrics(url: str) -> dict[str, Counter[tuple[tuple[str, str], ...]]]:
    """A scrape, when nothing is in flight any more: name -> labels -> value."""
    until = time.monotonic() + PATIENCE_S * 3
    while True:
        text = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text
        told: dict[str, Counter[tuple[tuple[str, str], ...]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                by = told.setdefault(sample.name, Counter())
                by[tuple(sorted(sample.labels.items()))] += sample.value
        ended = sum(told["llmrouter_requests_total"].values())
        written = sum(told["llmrouter_log_lines_written_total"].values())
        sent = told.get("llmrouter_telemetry_sent_total", {})
        if ended == written == REQUESTS and all(sent.get((("signal", s),)) for s in SIGNALS):
            return told
        assert time.monotonic() < until, (ended, written, sent)
        time.sleep(0.1)


SIGNALS = ("logs", "metrics", "traces")


def plainly_heard(url: str) -> Counter[str]:
    """How many events of which type come to a reader that knows the original's four, until all
    requests have ended. One that it cannot read is an error."""
    seen: Counter[str] = Counter()
    rest, until = b"", time.monotonic() + PATIENCE_S * 6
    with httpx.stream("GET", f"{url}/dashboard/events?after=0", timeout=PATIENCE_S * 3) as answer:
        for data in answer.iter_raw():
            rest += data
            blocks, _, rest = rest.rpartition(b"\n\n")
            seen.update(
                strict(event) for _, event in events_of(blocks + b"\n\n" if blocks else b"")
            )
            if seen["complete"] == REQUESTS or time.monotonic() > until:
                break
    return seen


def summed(samples: Counter[tuple[tuple[str, str], ...]], label: str) -> Counter[str]:
    out: Counter[str] = Counter()
    for labels, value in samples.items():
        out[dict(labels)[label]] += int(value)
    return out


def all_told(page: Page) -> None:
    """The last of them have come to the page."""
    expect(page.locator("#figures")).to_contain_text(re.compile(f"in flight0.*client left{LEFT}"))


def shown(page: Page) -> dict[str, str]:
    """The figures on top of the page, to the last digit."""
    found: dict[str, str] = page.evaluate("""Object.fromEntries(
        [...document.querySelectorAll('#figures div')].map((box) => {
            const figure = box.querySelector('dd');
            return [box.querySelector('dt').textContent, figure.title || figure.textContent];
        }))""")
    found.pop("since the start at")
    return found


def statistics(log: Path) -> Any:
    command = [
        sys.executable,
        str(ROOT / "llmrouter.py"),
        "stats",
        str(log),
        "--json",
        "--by",
        "end",
    ]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.fixture(scope="module")
def after(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What everybody says when all requests have ended."""
    folder, said = tmp_path_factory.mktemp("daemon"), {}
    with (
        FakeUpstream(works) as good,
        FakeUpstream(fails) as bad,
        FakeCollector() as collector,
        RunningDaemon(config(good.url, bad.url, collector.url), folder) as daemon,
    ):
        house = House(daemon.url, Upstream(), browser)
        with house.page() as early, ThreadPoolExecutor(1) as pool:
            heard = pool.submit(plainly_heard, daemon.url)
            said["statuses"] = run(daemon.url)
            said["metrics"] = metrics(daemon.url)
            said["heard"] = heard.result(PATIENCE_S * 3)
            all_told(early)
            said["early"] = shown(early)
            with house.page() as late:
                expect(late.locator("#n-feed")).not_to_be_empty()
                all_told(late)
                said["late"] = shown(late)
                view(late, "charts")
                late.locator("#span button", has_text="24 h").click()
                headline = late.locator("#plot-requests .headline")
                expect(headline).to_contain_text("in all")
                said["charts"] = headline.inner_text()
        history = httpx.get(f"{daemon.url}/dashboard/api/history?span=86400", timeout=PATIENCE_S)
        said["history"] = history.json()["bins"]
        said["lines"] = [
            json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()
        ]
        said["stats"] = statistics(folder / "requests.jsonl")
    assert not good.errors
    return said


def test_page_log_statistics_and_metrics_agree(after: dict[str, Any]) -> None:
    lines, told = after["lines"], after["metrics"]
    ends = Counter(line["end"] for line in lines)
    assert len(lines) == sum(ends.values()) == REQUESTS
    assert ends["client_gone"] == LEFT
    assert {"complete", "truncated", "upstream_error", "refused"} <= set(ends)
    assert summed(told["llmrouter_requests_total"], "end") == ends
    tokens = {
        kind: sum(line[f"{kind}_tokens"] or 0 for line in lines) for kind in ("input", "output")
    }
    assert all(tokens.values())
    counted = summed(told["llmrouter_tokens_total"], "kind")
    assert {kind: counted[kind] for kind in tokens} == tokens
    cost = sum(line["cost_usd"] or 0 for line in lines)
    assert sum(told["llmrouter_cost_usd_total"].values()) == pytest.approx(cost)

    failed = REQUESTS - ends["complete"] - LEFT
    page = {
        "in flight": "0",
        "done": f"{ends['complete']:,}",
        "failed": f"{failed:,}",
        "client left": str(LEFT),
        "tokens in / out": f"{tokens['input']:,} / {tokens['output']:,}",
        "cost": f"${cost:.6f}",
    }
    assert after["early"] == page
    assert after["late"] == page  # although the feed holds no more than 2,000 events
    assert after["charts"] == "1K in all"
    bins = after["history"]
    assert sum(each["requests"] for each in bins) == REQUESTS
    assert sum(each["errors"] for each in bins) == failed
    assert sum(each["input_tokens"] for each in bins) == tokens["input"]

    total = after["stats"]
    assert (total["requests"], total["errors"]) == (REQUESTS, failed)
    assert (total["input_tokens"], total["output_tokens"]) == (tokens["input"], tokens["output"])
    assert total["cost_usd"] == pytest.approx(cost)


def test_a_reader_of_the_originals_feed_has_read_all_of_it(after: dict[str, Any]) -> None:
    heard, ends = after["heard"], Counter(line["error_kind"] for line in after["lines"])
    assert heard["complete"] == REQUESTS
    assert heard["start"] == REQUESTS - ends["bad_request"]  # what was no request never began
    assert set(heard) == {"start", "classified", "routed", "complete"}


def test_every_query_for_grafana_finds_what_it_asks_for(after: dict[str, Any]) -> None:
    """Metric, labels, and values that are written out; what can only be seen when things go wrong
    is left out by name."""
    told = after["metrics"]
    panels = json.loads((ROOT / "contrib" / "grafana.json").read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 30
    elsewhere = ("llmrouter_cache_", "llmrouter_worker")  # no kept answers here, and one process
    for query in map(promql.read, queries):
        for selector in query.selectors:
            if selector.metric.startswith(elsewhere) or "telemetry_dropped" in selector.metric:
                continue
            series = told[selector.metric]
            assert series, selector.metric
            here = [dict(labels) for labels in series]
            own = query.labels - {"job", "instance"}
            named = {m[0] for m in selector.matchers} - {"job", "instance"}
            assert all(own | named <= labels.keys() for labels in here), selector
            for label, operator, value in selector.matchers:
                if operator == "=":
                    assert any(labels[label] == value for labels in here), selector
