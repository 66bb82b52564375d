"""Probes: who is asked, how often, and what an answer says of health."""

import random

import pytest
import trio
import trio.testing

from formats.errors import Failure
from llmrouterd.edge.dial import DialError
from llmrouterd.guard.health import Health
from llmrouterd.model import Candidate, Dialect, Provider
from llmrouterd.ops.probes import Probes
from tests.ops.test_catalog import HANGS, KnowingPool, provider, upstream

HERE = Candidate("p", "m", "r")


def probing(answers, *providers: Provider, health: Health | None = None) -> tuple[Probes, Health]:
    health = health or Health()
    askable = {p.name: upstream(p) for p in providers if p.format != "echo"}
    pool = answers if isinstance(answers, KnowingPool) else KnowingPool(answers)
    return Probes(pool, providers, askable, health, random.Random(1)), health


def fail(health: Health, times: int = 3) -> None:
    for _ in range(times):
        health.failed(HERE, Failure("upstream", "it broke"), trio.current_time(), jitter=0.5)


def state(health: Health) -> str:
    return health.breaker.circuit("p").state(trio.current_time())


@pytest.mark.parametrize(
    ("which", "target"),
    [
        (provider(), "/v1/models"),
        (provider("responses"), "/v1/models"),
        (provider("anthropic"), "/v1/models?limit=1"),
        (provider("ollama"), "/api/version"),
        (provider(dialect=Dialect("llama.cpp")), "/health"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.format,
)
async def test_each_kind_is_asked_what_it_answers_for_nothing(which, target) -> None:
    pool = KnowingPool({})
    probes, _ = probing(pool, which)
    await probes.probe(which)
    assert pool.asked == [("GET", target, b"")]


async def test_only_who_is_to_be_probed_is_asked_and_about_that_often(autojump_clock) -> None:
    pool = KnowingPool(lambda target, body: {"data": []})
    each = [
        provider(name="p", probe_interval_s=30),
        provider(name="off"),
        provider(name="found", probe_interval_s=30, on_demand=True),
        provider("echo", name="echo", probe_interval_s=30),
    ]
    probes, _ = probing(pool, *each)
    with trio.move_on_after(3000):
        await probes.run()
    assert 85 <= len(pool.asked) <= 112


async def test_with_nobody_to_probe_there_is_nothing_to_do(autojump_clock) -> None:
    probes, _ = probing({}, provider())
    await probes.run()


async def test_one_that_is_gone_is_found_so_without_a_request(autojump_clock) -> None:
    gone = provider(probe_interval_s=5)
    probes, health = probing(lambda target, body: DialError("connect", "refused"), gone)
    for _ in range(3):
        assert state(health) == "closed"
        await probes.probe(gone)
    assert state(health) == "open"
    assert "probe: " in health.breaker.circuit("p").why
    assert health.seen == {}  # no figure of a request


@pytest.mark.parametrize(
    "answer",
    [HANGS, (500, {}), (503, {"error": "Loading model"})],
    ids=["silence", "500", "503"],
)
async def test_silence_and_a_servers_own_errors_speak_against_it(answer, autojump_clock) -> None:
    ill = provider()
    probes, health = probing(lambda target, body: answer, ill)
    for _ in range(3):
        await probes.probe(ill)
    assert state(health) == "open"


@pytest.mark.parametrize(
    "answer", [{"data": []}, (404, {}), (405, {}), (501, {}), b"Ollama is running", []], ids=str
)
async def test_any_other_answer_is_a_sign_of_life(answer, autojump_clock) -> None:
    well = provider()
    probes, health = probing(lambda target, body: answer, well)
    fail(health)
    await probes.probe(well)
    assert state(health) == "half_open"  # a request may try it, before its rest is over
    await probes.probe(well)
    assert state(health) == "closed"


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_refused_key_says_nothing_of_health(status: int, autojump_clock) -> None:
    which = provider()
    probes, health = probing(lambda target, body: (status, {}), which)
    for _ in range(5):
        await probes.probe(which)
    assert health.spotless
    fail(health)
    await probes.probe(which)
    assert state(health) == "open"


async def test_what_a_probe_has_mended_one_failed_request_opens_again_for_longer(
    autojump_clock,
) -> None:
    """A server that lists its models and fails each request must not be taken for a well one."""
    which = provider()
    probes, health = probing({"/v1/models": {"data": []}}, which)
    fail(health)
    first = health.breaker.circuit("p").until
    await probes.probe(which)
    await probes.probe(which)
    assert state(health) == "closed"
    fail(health, 1)
    assert state(health) == "open"
    assert health.breaker.circuit("p").until - trio.current_time() > 1.5 * first
    health.breaker.succeeded("p")
    fail(health, 1)
    assert state(health) == "closed"  # a request that was answered makes all good


async def test_a_provider_that_is_never_left_alone_is_not_by_a_probe_either(autojump_clock) -> None:
    which = provider(circuit_failures=0)
    probes, health = probing(lambda target, body: HANGS, which)
    for _ in range(5):
        await probes.probe(which)
    assert health.spotless


async def test_what_changes_is_logged_once(autojump_clock, caplog) -> None:
    caplog.set_level("INFO", "llmrouter.probes")
    answers = iter([HANGS, HANGS, {"data": []}, {"data": []}])
    which = provider()
    probes, _ = probing(lambda target, body: next(answers), which)
    for _ in range(4):
        await probes.probe(which)
    assert [record.getMessage() for record in caplog.records] == [
        "'p' does not answer its probes: no answer within 5 s",
        "'p' answers its probes again",
    ]
