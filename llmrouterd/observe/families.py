"""The table of all metrics: name, type, words, labels, buckets.

Owns: what stands on the page, in which order.
Refuses to know: who counts (metrics.py), what is asked for at a scrape (ops/scrape.py).

Law: names follow Prometheus' rules: base units as suffix, `_total` on counters only. A name that
was released is never given another meaning.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from llmrouterd.observe.exposition import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

# From a cached answer of a small model to a reasoning model's ten minutes.
_DURATION_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
_FIRST_S = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 60, 120, 300)
# 1,000 tokens a second down to one: the gaps between them.
_GAP_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1)
_QUEUE_S = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_LAG_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_AT = ("provider", "model")
_BY = ("provider",)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, "gauge", text, labels)


def _histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Family:
    return Family(name, "histogram", text, labels, bounds)


_ALL = (
    # --- counted as requests end ---
    _counter(
        "llmrouter_requests_total",
        "Requests that have ended, by end state.",
        *("client_format", "provider", "model", "end", "stream"),
    ),
    _counter(
        "llmrouter_errors_total",
        "Requests that did not end well, those whose client went away left out.",
        *("end", "kind", "provider"),
    ),
    _counter(
        "llmrouter_attempts_failed_total",
        "Tries at a provider that came to nothing; another may have answered after all.",
        *("provider", "kind"),
    ),
    _counter(
        "llmrouter_tokens_total",
        "Tokens as told by providers or estimated. cached and cache_write are part of input, "
        "reasoning is part of output: do not add them up.",
        *(*_AT, "kind"),
    ),
    _counter(
        "llmrouter_usage_estimated_total",
        "Requests whose token counts are an estimate.",
        *_BY,
    ),
    _counter("llmrouter_cost_usd_total", "Cost in US dollars of what has a known price.", *_AT),
    _counter(
        "llmrouter_unpriced_requests_total",
        "Requests with token counts and without a known price: they are not in the cost.",
        *_AT,
    ),
    _counter(
        "llmrouter_cache_total",
        "Requests that the cache plugin looked at, by what came of it: hit, miss or joined.",
        "result",
    ),
    _histogram(
        "llmrouter_request_duration_seconds",
        "From the request's head to the last byte of the answer, of complete answers.",
        _DURATION_S,
        *_AT,
    ),
    _histogram(
        "llmrouter_time_to_first_token_seconds",
        "From the request's head to the first content sent to the client, of streams.",
        _FIRST_S,
        *_AT,
    ),
    _histogram(
        "llmrouter_inter_token_seconds",
        "Mean gap between two tokens of a complete stream whose provider counted its tokens; one "
        "observation a request.",
        _GAP_S,
        *_AT,
    ),
    _histogram(
        "llmrouter_queue_wait_seconds",
        "Time in the queue before a provider, of requests that came to one.",
        _QUEUE_S,
        *_BY,
    ),
    _histogram(
        "llmrouter_overhead_seconds",
        "The router's own time before the first upstream is asked: from the request body read to "
        "the upstream request handed to the connection pool, the queue left out. Parsing, plugins, "
        "classifiers, routing and translation, and what these wait for.",
        _OVERHEAD_S,
    ),
    # --- asked for at a scrape ---
    _gauge("llmrouter_requests_in_flight", "Requests being served now."),
    _gauge("llmrouter_upstream_requests_in_flight", "Requests at a provider now.", *_BY),
    _gauge("llmrouter_requests_queued", "Requests waiting for a provider now.", *_BY),
    _gauge(
        "llmrouter_provider_up",
        "1: the provider may be asked, and answered when it was last asked (or never was asked).",
        *_BY,
    ),
    _gauge(
        "llmrouter_circuit_state",
        "1 for the state of the provider's circuit, 0 for the others.",
        *("provider", "state"),
    ),
    _gauge("llmrouter_cache_entries", "Answers that the cache plugin holds."),
    _gauge("llmrouter_cache_bytes", "What they weigh, with what each of them costs besides."),
    _gauge("llmrouter_connections_open", "Client connections."),
    _gauge("llmrouter_draining", "1: the router takes no new connections."),
    _histogram(
        "llmrouter_event_loop_lag_seconds",
        "How much later than asked for a task was woken, measured once a second.",
        _LAG_S,
    ),
    _gauge("llmrouter_feed_readers", "Readers of the event feed."),
    _counter("llmrouter_feed_events_dropped_total", "Events that a slow reader did not get."),
    _counter("llmrouter_log_lines_written_total", "Lines written to the request log."),
    _counter("llmrouter_log_lines_dropped_total", "Lines of the request log that were lost."),
    _gauge("llmrouter_workers", "Worker processes that answer now; none where there is only one."),
    _gauge("llmrouter_worker_requests_in_flight", "Requests being served now.", "worker"),
    _gauge("llmrouter_worker_resident_memory_bytes", "Resident memory of a worker.", "worker"),
    _counter("llmrouter_worker_cpu_seconds_total", "CPU time used by a worker.", "worker"),
    _counter(
        "llmrouter_telemetry_sent_total",
        "Traces, metric points and log records that an OpenTelemetry collector took.",
        "signal",
    ),
    _counter(
        "llmrouter_telemetry_dropped_total",
        "Those that did not get there: the collector did not keep up, refused them, or was not to "
        "be reached, or they were of requests that must stay here.",
        *("signal", "reason"),
    ),
    _gauge("llmrouter_build_info", "1; the labels say what runs.", "version", "python"),
    _gauge("llmrouter_event_loop_tasks", "Tasks that live in the event loop."),
    _gauge("process_start_time_seconds", "When the process began, in seconds since 1970."),
    _counter("process_cpu_seconds_total", "CPU time used by the process, user and system."),
    _gauge("process_resident_memory_bytes", "Resident memory."),
    _gauge("process_open_fds", "Open file descriptors."),
    _gauge("process_max_fds", "The limit on them."),
)
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ALL})
Circuit = Literal["closed", "open", "half_open"]
CIRCUITS: tuple[Circuit, ...] = ("closed", "open", "half_open")
