"""/metrics: what is asked for at a scrape, the two formats, who may see it."""

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from formats.errors import Failure
from llmrouterd.config import Config, KeyHolder, Server
from llmrouterd.edge.connection import Connections
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Caller, Candidate, Fleet, Provider, ProviderState, Secret
from llmrouterd.observe.families import FAMILIES
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.journal import Journal
from llmrouterd.observe.metrics import Metrics
from llmrouterd.observe.otlp import Export, Reply
from llmrouterd.observe.otlp_payload import Source
from llmrouterd.ops.generation import build
from llmrouterd.ops.pages import Pages
from llmrouterd.ops.scrape import Scrape
from llmrouterd.pipeline.daemon import Daemon
from tests.observe.test_metrics import DONE, FAILED
from tests.ops.stage import ask, ask_pages, pages_of

PROVIDERS = (Provider("p", "openai", "http://127.0.0.1:9/v1"), Provider("q", "echo"))


def fleet_of(**reached: bool | None) -> Fleet:
    return Fleet({p.name: ProviderState(p, reached=reached.get(p.name)) for p in PROVIDERS})


def scrape_of(*more: Any, daemon: Daemon | None = None, fleet: Fleet | None = None, **named: Any):
    shown = fleet or fleet_of()
    metrics = more[0] if more else Metrics()
    it = daemon or Daemon(Pool())
    return Scrape(metrics, it, "1.2 (abc)", *more[1:], fleet=lambda: shown, **named)


def read(text: bytes) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}


async def test_what_is_going_on_is_asked_for_at_the_scrape() -> None:
    daemon = Daemon(Pool())
    daemon.in_flight, daemon.draining = 3, True
    daemon.in_flight_at["p"] = 2
    connections = Connections()
    connections.open = 7
    waiting: Mapping[str, int] = {"p": 4}
    scrape = scrape_of(
        daemon=daemon,
        fleet=fleet_of(p=True, q=False),
        connections=connections,
        queued=lambda: waiting,
        kept=lambda: {"llmrouter_cache_entries": 5},
    )
    found = read(scrape.text())
    assert found["llmrouter_requests_in_flight",] == 3
    assert found["llmrouter_draining",] == 1
    assert found["llmrouter_cache_entries",] == 5
    assert found["llmrouter_upstream_requests_in_flight", "p"] == 2
    assert found["llmrouter_requests_queued", "p"] == 4
    assert found["llmrouter_connections_open",] == 7
    assert (found["llmrouter_provider_up", "p"], found["llmrouter_provider_up", "q"]) == (1, 0)
    [info] = [key for key in found if key[0] == "llmrouter_build_info"]
    assert "1.2 (abc)" in info


async def test_one_that_was_never_asked_counts_as_up() -> None:
    found = read(scrape_of().text())
    assert found["llmrouter_provider_up", "p"] == 1


async def test_an_open_circuit_is_shown() -> None:
    daemon = Daemon(Pool())
    failure = Failure("credential", "no", 401)
    daemon.health.failed(Candidate("p", "m", ""), failure, Fleet({}).now + 1e9, jitter=0.5)
    found = read(scrape_of(daemon=daemon).text())
    shown = [
        found["llmrouter_circuit_state", "p", each] for each in ("closed", "open", "half_open")
    ]
    assert shown == [0, 1, 0]
    assert found["llmrouter_circuit_state", "q", "closed"] == 1


async def test_losses_of_log_and_feed_are_shown() -> None:
    feed = Feed(events=2)
    with feed.subscribe() as reader:
        for _ in range(5):
            feed.tell(DONE)
        await reader.next()
        journal = Journal("nowhere", bodies="none", max_bytes=0, keep=1)
        journal.lost, journal.written = 3, 8
        found = read(scrape_of(Metrics(), feed, journal).text())
        journal.close()
    assert found["llmrouter_feed_readers",] == 1
    assert found["llmrouter_feed_events_dropped_total",] == 3
    assert found["llmrouter_log_lines_dropped_total",] == 3
    assert found["llmrouter_log_lines_written_total",] == 8


async def test_both_parsers_read_the_whole_page_and_every_family_is_on_it() -> None:
    metrics = Metrics()
    for record in (DONE, FAILED):
        metrics.tell(record)
    scrape = scrape_of(metrics, Feed(), fleet=fleet_of(p=True))
    names = {f.name for f in text_string_to_metric_families(scrape.text().decode())}
    assert names == {name.removesuffix("_total") for name in FAMILIES}
    text = scrape.text(openmetrics=True).decode()
    families = list(openmetrics_parser.text_string_to_metric_families(text))
    assert {f.name for f in families} == names
    assert all(f.documentation for f in families)


def pages(*, clients: tuple[KeyHolder, ...] = ()) -> Pages:
    config = Config(server=Server(), clients=clients, providers=PROVIDERS)
    daemon = Daemon(Pool())
    return Pages(config, build(config, 1, "t"), daemon, None, scrape_of(daemon=daemon))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/plain", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
    ],
)
async def test_the_page_comes_in_the_format_that_was_asked_for(accept: str, kind: str) -> None:
    said = await ask_pages(pages(), "GET", "/metrics", ("Accept", accept))
    assert said.status == 200
    assert (said.get("content-type") or "").startswith(kind)
    assert said.body.startswith(b"# HELP llmrouter_requests")


async def test_figures_of_all_are_for_whoever_may_see_all() -> None:
    holders = tuple(
        KeyHolder(Secret(f"key-{name}"), Caller(name, admin=admin))
        for name, admin in (("ann", True), ("bob", False))
    )
    guarded = pages(clients=holders)
    statuses = [
        (await ask(guarded.answer, "GET", "/metrics", *key)).status
        for key in ((), [("X-Api-Key", "key-bob")], [("Authorization", "Bearer key-ann")])
    ]
    assert statuses == [401, 403, 200]


async def test_switched_off_there_is_no_such_page() -> None:
    assert (await ask_pages(pages_of(), "GET", "/metrics")).status == 404


async def test_what_was_sent_to_a_collector_and_lost_is_counted() -> None:
    async def nobody(path: str, body: bytes, confined: object) -> Reply:
        return Reply()

    export = Export(Source("s", "1", "i", "h"), nobody, interval_s=10.0)
    traces, *_ = export.signals
    traces.sent = 5
    traces.lose("overflow", 2, "words")
    found = read(scrape_of(telemetry=export).text())
    assert found["llmrouter_telemetry_sent_total", "traces"] == 5
    assert found["llmrouter_telemetry_dropped_total", "traces", "overflow"] == 2
