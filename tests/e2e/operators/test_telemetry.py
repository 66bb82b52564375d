"""The real daemon and a collector: what arrives, and that no collector is in anybody's way."""

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.fakes.collector import FakeCollector, log_records, metrics, pairs
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = {"model": "m", "messages": [{"role": "user", "content": "the question"}]}
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "the answer"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
POLICY = '[[policies]]\nmodel = "secret"\nrequire = "local"\n'


def broken(turn: Turn) -> None:
    turn.whole({"error": {"message": "the error"}}, status=500)


def works(turn: Turn) -> None:
    turn.whole(ANSWER)


def config(endpoint: str, *upstreams: FakeUpstream, more: str = "", **telemetry: object) -> str:
    names = [f"p{number}" for number in range(len(upstreams))]
    text = "[server]\nport = 0\n[logging]\nenabled = true\n"
    text += f'[telemetry]\nenabled = true\notlp_endpoint = "{endpoint}"\n'
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in telemetry.items())
    for name, up in zip(names, upstreams, strict=True):
        text += f'[[providers]]\nname = "{name}"\nformat = "openai"\nbase_url = "{up.url}"\n'
        text += 'models = ["m", "secret"]\n'
    return f'{text}[[routers]]\ntype = "fallback"\nproviders = {json.dumps(names)}\n{more}'


def ask(daemon: RunningDaemon, body: dict | None = None, **headers: str) -> httpx.Response:
    url = f"{daemon.url}/v1/chat/completions"
    return httpx.post(url, json=body or BODY, headers=headers, timeout=60)


def figures(daemon: RunningDaemon) -> dict[str, float]:
    lines = httpx.get(f"{daemon.url}/metrics", timeout=60).text.splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith("llmrouter_telemetry"))
    return {name: float(value) for name, value in found}


def test_a_trace_goes_through_the_router_and_all_of_it_arrives_at_the_end(tmp_path: Path) -> None:
    """The interval is an hour: what arrives is the last flush."""
    with FakeUpstream(broken) as bad, FakeUpstream(works) as good, FakeCollector() as collector:
        text = config(collector.url, bad, good, interval=3600, headers_env="OTLP")
        with RunningDaemon(text, tmp_path, env={"OTLP": "authorization=Bearer%20sesame"}) as daemon:
            answer = ask(daemon, traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="a=1")
            assert answer.status_code == 200
            assert ask(daemon).status_code == 200
        assert "sesame" not in daemon.log
    assert not collector.errors, collector.errors
    assert {got.headers["authorization"] for got in collector.received} == {"Bearer sesame"}
    found = [span for span in collector.spans() if span.trace_id.hex() == TRACE]
    by_id = {span.span_id.hex(): span for span in found}
    tree = [(s.name, getattr(by_id.get(s.parent_span_id.hex()), "name", None)) for s in found]
    request = "POST /v1/chat/completions"
    tries = [("chat m", request), ("POST", "chat m")]
    assert tree == [(request, None), ("classify", request), ("route", request), *tries, *tries]
    assert found[0].parent_span_id.hex() == SPAN
    assert [pairs(s).get("error.type") for s in found if s.name == "chat m"] == ["upstream", None]
    sent_on = good.received[0].headers
    assert sent_on["traceparent"] == f"00-{TRACE}-{found[-1].span_id.hex()}-01"
    assert sent_on["tracestate"] == "a=1"
    counted = metrics(collector.of("metrics")[-1])["router.requests"].sum.data_points
    assert sum(point.as_int for point in counted) == 2
    logs = [x for x in collector.log_records() if x.event_name == "llmrouter.request"]
    assert logs[0].trace_id.hex() == TRACE
    lines = (tmp_path / "logs" / "requests.jsonl").read_text().splitlines()
    assert [json.loads(line)["trace_id"] for line in lines] == [x.trace_id.hex() for x in logs]
    words = b"".join(got.body for got in collector.received)
    assert not [w for w in (b"the question", b"the answer", b"the error") if w in words]


def hangs(turn: Turn) -> None:
    turn.wait_closed(60)


def talks_nonsense(turn: Turn) -> None:
    turn.raw(b"\x00\x01\x02 nonsense\r\n\r\n")
    turn.cut()


def too_many(turn: Turn) -> None:
    turn.whole({}, 429, "Retry-After: 60")


@pytest.mark.parametrize("trouble", [hangs, talks_nonsense, too_many])
def test_a_collector_in_trouble_is_in_nobodys_way(tmp_path: Path, trouble) -> None:
    with FakeUpstream(works) as up, FakeUpstream(trouble) as collector:
        with RunningDaemon(config(collector.url, up, interval=0.1), tmp_path) as daemon:
            for _ in range(50):
                assert ask(daemon).status_code == 200
            before = time.monotonic()
        assert time.monotonic() - before < 45  # the last try is bounded: nobody waits a minute
        assert collector.received
    assert "llmrouter.telemetry" not in daemon.log.replace("[telemetry]", "")
    told = [line for line in daemon.log.splitlines() if "traces" in line]
    assert 1 <= len(told) <= 3, daemon.log


def test_what_must_stay_here_does_not_go_to_a_collector_elsewhere(tmp_path: Path) -> None:
    """192.0.2.1 is nobody's address; what is bound is not even dialled."""
    with FakeUpstream(works) as up:
        text = config("http://192.0.2.1:4318", up, more=POLICY, interval=0.1, timeout=0.5)
        with RunningDaemon(text, tmp_path) as daemon:
            assert ask(daemon, BODY | {"model": "secret"}).status_code == 200
            end = time.monotonic() + 30
            name = 'llmrouter_telemetry_dropped_total{signal="traces",reason="denied"}'
            while not figures(daemon).get(name):
                assert time.monotonic() < end
                time.sleep(0.05)
            found = figures(daemon)
    assert found[name] == 1
    assert not any(value for each, value in found.items() if "_sent_" in each)
    assert "must stay here" in daemon.log


def test_the_daemons_own_lines_arrive(tmp_path: Path) -> None:
    with FakeUpstream(works) as up, FakeCollector() as collector:
        with RunningDaemon(config(collector.url, up, interval=3600), tmp_path):
            pass
    texts = [x.body.string_value for m in collector.of("logs") for x in log_records(m)]
    assert any("SIGTERM" in text for text in texts), texts
