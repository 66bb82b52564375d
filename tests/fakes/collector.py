"""An OpenTelemetry collector that takes what comes, and reads it with the official messages."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

_MESSAGES = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_IDS = ("traceId", "spanId", "parentSpanId")


def read(signal: str, body: bytes) -> Any:
    """The official message, or json_format.ParseError: it knows no member that is not there."""
    return json_format.Parse(json.dumps(_with_base64(json.loads(body))), _MESSAGES[signal]())


def _with_base64(value: Any) -> Any:
    """OTLP's JSON has ids in hex, where protobuf's own mapping would have base64."""
    match value:
        case dict():
            return {
                key: base64.b64encode(bytes.fromhex(each)).decode()
                if key in _IDS
                else _with_base64(each)
                for key, each in value.items()
            }
        case list():
            return [_with_base64(each) for each in value]
        case _:
            return value


def spans(message: ExportTraceServiceRequest) -> list[Any]:
    return [s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans]


def metrics(message: ExportMetricsServiceRequest) -> dict[str, Any]:
    found = [m for r in message.resource_metrics for s in r.scope_metrics for m in s.metrics]
    return {metric.name: metric for metric in found}


def log_records(message: ExportLogsServiceRequest) -> list[Any]:
    return [x for r in message.resource_logs for s in r.scope_logs for x in s.log_records]


def pairs(thing: Any) -> dict[str, Any]:
    """The attributes of a span, a point, a log record or a resource."""
    return {each.key: _plain(each.value) for each in thing.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind)


class FakeCollector(FakeUpstream):
    """`got` is what came, read: (signal, message)."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.got: list[tuple[str, Any]] = []

    def _take(self, turn: Turn) -> None:
        signal = turn.received.target.rpartition("/")[2]
        self.got.append((signal, read(signal, turn.received.body)))
        turn.whole({})

    def of(self, signal: str) -> list[Any]:
        return [message for name, message in list(self.got) if name == signal]

    def spans(self) -> list[Any]:
        return [span for message in self.of("traces") for span in spans(message)]

    def log_records(self) -> list[Any]:
        return [each for message in self.of("logs") for each in log_records(message)]

    def wait_for(self, condition: Any) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.02)
