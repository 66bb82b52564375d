"""Which models there are: what each kind of server is asked, and what becomes of bad answers.

Most tests have a pool that knows the answers, on a clock that jumps; the wire itself is proved
with a real server at the end.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from formats.errors import Garbled
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Origin, Pool
from llmrouterd.guard.health import Health
from llmrouterd.model import Dialect, Provider, Secret
from llmrouterd.ops import catalog, question
from llmrouterd.ops.catalog import Catalog
from llmrouterd.ops.generation import upstream
from llmrouterd.ops.probes import Probes
from tests.fakes.upstream import FakeUpstream, Turn

HANGS = object()
Answer = Any  # a JSON value, (status, JSON), bytes, HANGS, or an exception


class KnowingPool:
    """`exchange` as Pool has it; `answers` is target -> answer, or a function of target and body."""

    def __init__(self, answers: dict[str, Answer] | Callable[[str, bytes], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, bytes]] = []

    @asynccontextmanager
    async def exchange(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: list,
        body: bytes,
        deadline: Deadline,
    ) -> AsyncIterator["Answered"]:
        self.asked.append((method, target, body))
        deadline.enter("first_token")
        await trio.lowlevel.checkpoint()
        known = self.answers
        answer = known.get(target, (404, {})) if isinstance(known, dict) else known(target, body)
        if answer is HANGS:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        yield Answered(status, value if isinstance(value, bytes) else json.dumps(value).encode())

    def targets(self) -> list[str]:
        return [target for _, target, _ in self.asked]


class Answered:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    async def read_all(self, limit: int) -> bytes:
        return self._body


def provider(format: str = "openai", name: str = "p", **more: Any) -> Provider:  # noqa: A002
    prefix = "" if format == "ollama" else "/v1"
    return Provider(name, format, f"http://127.0.0.1:9{prefix}", **more)  # type: ignore[arg-type]


def catalog_of(pool: Any, *providers: Provider) -> Catalog:
    askable = {p.name: upstream(p) for p in providers if p.format != "echo"}
    return Catalog(pool, providers, askable)


async def asked(answers: Any, which: Provider) -> Any:
    """What is known of a provider that gives these answers: name -> ModelInfo, or None."""
    cat = catalog_of(KnowingPool(answers), which)
    await cat.ask(which.name)
    return cat.fleet(0).states[which.name].models


TAGS = {
    "models": [
        {"name": "llama3:8b", "digest": "d1", "size": 4000},
        {"name": "qwen-coder:7b", "digest": "d2", "size": 5000},
    ]
}
SHOW = {
    "llama3:8b": {
        "capabilities": ["completion", "tools", "vision"],
        "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
        "details": {"family": "llama"},
    },
    "qwen-coder:7b": {"capabilities": ["completion"], "details": {"family": "qwen2"}},
}


def ollama(target: str, body: bytes) -> Answer:
    match target:
        case "/api/tags":
            return TAGS
        case "/api/ps":
            return {"models": [{"name": "llama3:8b"}]}
        case "/api/show":
            return SHOW[json.loads(body)["model"]]
    return (404, {})


# --- Ollama ---------------------------------------------------------------------------------------


async def test_ollama_is_asked_for_all_that_routing_wants_to_know() -> None:
    models = await asked(ollama, provider("ollama"))
    llama, qwen = models["llama3:8b"], models["qwen-coder:7b"]
    assert llama.capabilities == {"completion", "tools", "vision"}
    assert (llama.context_length, llama.family, llama.size_bytes) == (8192, "llama", 4000)
    assert (llama.loaded, qwen.loaded) == (True, False)
    assert (qwen.context_length, qwen.family) == (0, "qwen2")


async def test_a_model_named_for_code_can_code() -> None:
    models = await asked(ollama, provider("ollama"))
    assert "coding" in models["qwen-coder:7b"].capabilities
    assert "coding" not in models["llama3:8b"].capabilities


async def test_a_family_named_for_code_can_code() -> None:
    def answers(target: str, body: bytes) -> Answer:
        if target == "/api/show":
            return {"capabilities": ["completion"], "details": {"family": "StarCoder2"}}
        return ollama(target, body)

    models = await asked(answers, provider("ollama"))
    assert all("coding" in info.capabilities for info in models.values())


async def test_show_is_asked_once_for_a_digest_and_again_for_a_new_one() -> None:
    tags = {"models": [{"name": "m", "digest": "d1"}]}
    pool = KnowingPool({"/api/tags": tags, "/api/ps": {}, "/api/show": {"capabilities": []}})
    cat = catalog_of(pool, provider("ollama"))
    for _ in range(3):
        await cat.ask("p")
    assert pool.targets().count("/api/show") == 1
    assert pool.targets().count("/api/tags") == pool.targets().count("/api/ps") == 3
    tags["models"][0]["digest"] = "d2"
    await cat.ask("p")
    assert pool.targets().count("/api/show") == 2
    tags["models"][0]["digest"] = "d1"  # what is not listed any more is not kept for ever
    await cat.ask("p")
    assert pool.targets().count("/api/show") == 3


async def test_a_show_that_failed_is_asked_again() -> None:
    answers: dict[str, Answer] = {
        "/api/tags": {"models": [{"name": "m", "digest": "d"}]},
        "/api/show": (500, {"error": "loading"}),
    }
    pool = KnowingPool(answers)
    cat = catalog_of(pool, provider("ollama"))
    await cat.ask("p")
    assert cat.fleet(0).states["p"].models["m"].capabilities is None
    answers["/api/show"] = {"capabilities": ["completion"]}
    await cat.ask("p")
    assert cat.fleet(0).states["p"].models["m"].capabilities == {"completion"}


async def test_an_old_ollama_without_ps_and_capabilities_is_good_enough() -> None:
    answers = {"/api/tags": {"models": [{"model": "m"}]}, "/api/show": {"details": None}}
    models = await asked(answers, provider("ollama"))
    assert models["m"].capabilities is None  # unknown: able to do everything
    assert not models["m"].loaded


@pytest.mark.parametrize("models", [[], None])
async def test_an_ollama_without_models_is_known_to_have_none(models: list | None) -> None:
    assert await asked({"/api/tags": {"models": models}}, provider("ollama")) == {}


# --- model lists ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"id": "m"}, 0),
        ({"id": "m", "max_model_len": 32768}, 32768),
        ({"id": "m", "meta": {"n_ctx": 4096}}, 4096),
        ({"id": "m", "context_length": 128000}, 128000),
        ({"id": "m", "max_input_tokens": 200000}, 200000),
        ({"id": "m", "max_model_len": None, "meta": {"n_ctx": 512}}, 512),
        ({"id": "m", "max_model_len": "many", "context_length": -1}, 0),
    ],
)
async def test_an_openai_list_tells_context_lengths_under_several_names(
    entry: dict, length: int
) -> None:
    models = await asked({"/v1/models": {"object": "list", "data": [entry]}}, provider())
    assert models["m"].context_length == length
    assert models["m"].capabilities is None


async def test_an_openai_list_is_asked_for_once_whatever_it_says_of_more() -> None:
    pool = KnowingPool({"/v1/models": {"data": [{"id": "m"}], "has_more": True, "last_id": "m"}})
    cat = catalog_of(pool, provider())
    await cat.ask("p")
    assert list(cat.fleet(0).states["p"].models) == ["m"]
    assert pool.targets() == ["/v1/models"]


async def test_anthropics_list_is_read_page_by_page() -> None:
    answers = {
        "/v1/models?limit=1000": {"data": [{"id": "a"}], "has_more": True, "last_id": "a b"},
        "/v1/models?limit=1000&after_id=a%20b": {"data": [{"id": "c"}], "has_more": False},
    }
    assert list(await asked(answers, provider("anthropic"))) == ["a", "c"]


async def test_a_list_that_never_ends_is_ended() -> None:
    pool = KnowingPool(
        lambda target, body: {"data": [{"id": "m"}], "has_more": True, "last_id": "m"}
    )
    cat = catalog_of(pool, provider("anthropic"))
    await cat.ask("p")
    assert len(pool.asked) == 20
    assert list(cat.fleet(0).states["p"].models) == ["m"]


async def test_a_page_that_says_more_without_saying_where_is_the_last() -> None:
    answers = {"/v1/models?limit=1000": {"data": [{"id": "a"}], "has_more": True}}
    assert list(await asked(answers, provider("anthropic"))) == ["a"]


LLAMA = {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 8192}}]}


@pytest.mark.parametrize(
    ("props", "length"),
    [
        ({"default_generation_settings": {"n_ctx": 4096}}, 4096),
        ({"default_generation_settings": {"n_ctx": "many"}}, 8192),
        ({}, 8192),
        ((404, {"error": "no such page"}), 8192),
        ((501, {}), 8192),
        (DialError("connect", "refused"), 8192),
    ],
    ids=["told", "nonsense", "untold", "off", "not built in", "gone in between"],
)
async def test_what_a_slot_of_llama_holds_counts_and_is_no_matter_when_it_is_not_told(
    props: Answer, length: int
) -> None:
    """`--parallel 2` halves the context of each request; `/props` may be switched off."""
    cat = catalog_of(KnowingPool({"/v1/models": LLAMA, "/props": props}), provider())
    await cat.ask("p")
    state = cat.fleet(0).states["p"]
    assert state.models["m"].context_length == length
    assert (state.reached, state.healthy, state.why) == (True, True, "")


# What each kind of server documents; whoever asks for more asks a stranger about his affairs.
DOCUMENTED = {
    "ollama": {"/api/tags", "/api/ps", "/api/show", "/api/version"},
    "openai": {"/v1/models"},
    "responses": {"/v1/models"},
    "anthropic": {"/v1/models"},
    "llama.cpp": {"/v1/models", "/props", "/health"},
}


@pytest.mark.parametrize("kind", DOCUMENTED)
@pytest.mark.parametrize("knows", [True, False], ids=["answers", "404 to all"])
async def test_no_server_is_asked_for_what_its_kind_does_not_document(
    kind: str, knows: bool
) -> None:
    """Its models and whether it is there; and one that has none of it is not ill for that."""

    def answers(target: str, body: bytes) -> Answer:
        found = ollama(target, body) if kind == "ollama" else LLAMA
        return found if knows else (404, {})

    llama = kind == "llama.cpp"
    which = provider("openai" if llama else kind, dialect=Dialect(kind) if llama else Dialect())
    pool, health = KnowingPool(answers), Health()
    if kind in ("openai", "responses", "anthropic"):  # another server than llama.cpp
        pool.answers = {"/v1/models": {"data": [{"id": "m"}]}} if knows else {}
    cat = catalog_of(pool, which)
    for _ in range(3):
        await cat.ask("p")
        await Probes(pool, [which], {"p": upstream(which)}, health).probe(which)
    assert {target.partition("?")[0] for target in pool.targets()} <= DOCUMENTED[kind]
    state = cat.fleet(0).states["p"]
    assert (state.reached, state.healthy, health.spotless) == (True, True, True)


async def test_a_static_list_is_known_without_asking() -> None:
    static = provider(models=("m", "deep-coder"), context_length=4096)
    state = catalog_of(KnowingPool({}), static).fleet(0).states["p"]
    assert state.models is not None
    assert [(i.name, i.context_length) for i in state.models.values()] == [
        ("m", 4096),
        ("deep-coder", 4096),
    ]


async def test_who_needs_no_asking_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    pool = KnowingPool({})
    echo = Provider("echo", "echo")
    cat = catalog_of(pool, provider(models=("m",)), echo)
    await cat.run()
    assert pool.asked == []
    assert list(cat.fleet(0).states["echo"].models or ()) == ["echo"]
    named = catalog_of(pool, Provider("echo", "echo", models=("a", "b")))
    assert list(named.fleet(0).states["echo"].models or ()) == ["a", "b"]


# --- bad answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}),
        (500, {"error": "down"}),
        (401, {"error": {"message": "no key"}}),
        (302, b""),
        b"",
        b"<html>not here</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        [1, 2],
        {},
        {"data": "m", "models": "m"},
        {"error": "the server is starting"},
        DialError("refused", "127.0.0.1:9 refused the connection"),
        Garbled("not HTTP"),
    ],
    ids=lambda answer: repr(answer)[:30],
)
@pytest.mark.parametrize("format_name", ["openai", "anthropic", "ollama"])
async def test_a_bad_answer_is_an_unknown_list_and_one_line_in_the_log(
    answer: Answer, format_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown, never empty: an empty list would say that the provider has nothing."""
    caplog.set_level(logging.INFO)
    cat = catalog_of(KnowingPool(lambda target, body: answer), provider(format_name))
    await cat.ask("p")
    await cat.ask("p")
    assert cat.fleet(0).states["p"].models is None
    assert len(caplog.records) == 1
    assert "'p'" in caplog.text


@pytest.mark.parametrize(
    ("answer", "reached", "why"),
    [
        ({"data": [{"id": "m"}]}, True, ""),
        ((404, {}), True, "/models answered 404"),
        (Garbled("not HTTP"), True, "not HTTP"),
        (
            DialError("refused", "127.0.0.1:9 refused the connection"),
            False,
            "refused the connection",
        ),
        (HANGS, False, "no answer within 10 s"),
    ],
    ids=["answers", "has no list", "talks nonsense", "is not there", "is silent"],
)
async def test_whether_a_provider_was_reached_is_known_apart_from_its_models(
    answer: Answer, reached: bool, why: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A server that has no list of models can serve all the same; one that is not there cannot."""
    cat = catalog_of(KnowingPool(lambda target, body: answer), provider())
    assert cat.fleet(0).states["p"].reached is None
    await cat.ask("p")
    state = cat.fleet(0).states["p"]
    assert (state.reached, state.healthy) == (reached, True)
    assert why in state.why
    assert bool(why) == bool(state.why)


async def test_what_a_provider_says_of_itself_is_cut_to_a_line() -> None:
    cat = catalog_of(KnowingPool(lambda target, body: Garbled("x" * 10_000)), provider())
    await cat.ask("p")
    assert len(cat.fleet(0).states["p"].why) == 300


async def test_entries_that_make_no_sense_are_left_out() -> None:
    data = [{"id": "m"}, {"id": 7}, {}, "n", None, [{"id": "x"}]]
    assert list(await asked({"/v1/models": {"data": data}}, provider())) == ["m"]
    tags = {"models": [{"name": "m", "size": "big"}, {"name": None}, "n", None]}
    show = {"capabilities": "all", "model_info": [1], "details": "?"}
    models = await asked({"/api/tags": tags, "/api/show": show, "/api/ps": []}, provider("ollama"))
    assert list(models) == ["m"]
    assert (models["m"].size_bytes, models["m"].capabilities) == (0, None)


async def test_a_provider_that_is_well_again_is_known_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    answers: dict[str, Answer] = {"/v1/models": {"data": [{"id": "m"}]}}
    cat = catalog_of(KnowingPool(answers), provider())
    await cat.ask("p")
    good = answers["/v1/models"]
    for answer, known in [((500, {}), None), (good, ["m"]), ((500, {}), None)]:
        answers["/v1/models"] = answer
        await cat.ask("p")
        models = cat.fleet(0).states["p"].models
        assert (None if models is None else list(models)) == known
    assert len(caplog.records) == 2  # once for each time it fell ill


async def test_no_key_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keyed = provider(key=Secret("sk-hush"), headers=(("x-extra", "murmur"),))
    await asked({"/v1/models": (401, {"error": "bad key sk-hush"})}, keyed)
    assert caplog.text
    assert "sk-hush" not in caplog.text
    assert "murmur" not in caplog.text


# --- when ---------------------------------------------------------------------------------------


async def run_until_started(cat: Catalog, nursery: trio.Nursery) -> float:
    began = trio.current_time()
    await nursery.start(cat.run)
    return trio.current_time() - began


async def test_a_hanging_server_holds_the_start_up_only_so_long(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    def answers(target: str, body: bytes) -> Answer:
        return HANGS if target == "/api/tags" else {"data": [{"id": "m"}]}

    pool = KnowingPool(answers)
    cat = catalog_of(pool, provider("ollama", "slow"), provider("openai", "quick"))
    assert await run_until_started(cat, nursery) == catalog.FIRST_ROUND_S
    states = cat.fleet(0).states
    assert states["slow"].models is None
    assert list(states["quick"].models or ()) == ["m"]


async def test_answers_that_are_there_end_the_wait(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    pool = KnowingPool({"/v1/models": {"data": []}})
    assert await run_until_started(catalog_of(pool, provider()), nursery) == 0
    refused = KnowingPool(lambda target, body: DialError("refused", "nobody there"))
    assert await run_until_started(catalog_of(refused, provider()), nursery) == 0


async def test_a_hanging_server_is_given_up_and_asked_again(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    pool = KnowingPool({"/v1/models": HANGS})
    cat = catalog_of(pool, provider())
    await run_until_started(cat, nursery)
    await trio.sleep(60)
    assert len(pool.asked) >= 3
    pool.answers = {"/v1/models": {"data": [{"id": "m"}]}}
    await trio.sleep(60)
    assert list(cat.fleet(0).states["p"].models or ()) == ["m"]


async def test_lists_are_refreshed_sooner_while_they_are_unknown(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    answers: dict[str, Answer] = {"/v1/models": (500, {})}
    pool = KnowingPool(answers)
    cat = catalog_of(pool, provider())
    await run_until_started(cat, nursery)
    await trio.sleep(catalog.AGAIN_UNKNOWN_S + 1)
    assert len(pool.asked) == 2
    answers["/v1/models"] = {"data": [{"id": "new"}]}
    await trio.sleep(catalog.AGAIN_UNKNOWN_S)
    assert list(cat.fleet(0).states["p"].models or ()) == ["new"]
    count = len(pool.asked)
    await trio.sleep(catalog.AGAIN_S - 2)
    assert len(pool.asked) == count
    await trio.sleep(3)
    assert len(pool.asked) == count + 1


CLOUD = provider("openai", "cloud", local=False, on_demand=True)


async def test_an_on_demand_provider_is_asked_only_when_a_request_needs_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    pool = KnowingPool({"/v1/models": {"data": [{"id": "gpt-x"}]}})
    cat = catalog_of(pool, CLOUD)
    await run_until_started(cat, nursery)
    await trio.sleep(3600)
    assert pool.asked == []
    assert cat.fleet(0).states["cloud"].models is None
    await cat.learn(["cloud"])
    assert list(cat.fleet(0).states["cloud"].models or ()) == ["gpt-x"]


async def test_learning_is_bounded_in_time(autojump_clock: trio.testing.MockClock) -> None:
    cat = catalog_of(KnowingPool({"/v1/models": HANGS}), CLOUD)
    began = trio.current_time()
    await cat.learn(["cloud"])
    assert trio.current_time() - began == catalog.ON_DEMAND_S


async def test_a_provider_that_does_not_answer_holds_up_one_request_and_not_the_next_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KnowingPool({"/v1/models": HANGS})
    cat = catalog_of(pool, CLOUD)
    await cat.learn(["cloud"])
    began = trio.current_time()
    for _ in range(5):
        await cat.learn(["cloud"])
    assert trio.current_time() == began
    assert len(pool.asked) == 1
    pool.answers = {"/v1/models": {"data": [{"id": "gpt-x"}]}}
    await trio.sleep(catalog.AGAIN_UNKNOWN_S)
    await cat.learn(["cloud"])
    assert list(cat.fleet(0).states["cloud"].models or ()) == ["gpt-x"]


async def test_two_requests_that_need_the_list_at_once_both_get_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cat = catalog_of(KnowingPool({"/v1/models": {"data": [{"id": "gpt-x"}]}}), CLOUD)
    found = []

    async def request() -> None:
        await cat.learn(["cloud"])
        found.append(cat.fleet(0).states["cloud"].models)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
        nursery.start_soon(request)
    assert [list(models or ()) for models in found] == [["gpt-x"], ["gpt-x"]]


async def test_a_fleet_is_a_snapshot_in_the_order_of_the_configuration() -> None:
    pool = KnowingPool({"/v1/models": {"data": [{"id": "m"}]}})
    cat = catalog_of(pool, provider(name="b"), provider(name="a"), CLOUD)
    fleet = cat.fleet(7)
    await cat.ask("a")
    assert fleet.states["a"].models is None
    assert cat.fleet(7).states["a"].models is not None
    assert list(cat.fleet(7).states) == ["b", "a", "cloud"]
    assert fleet.seed == 7


# --- the wire -------------------------------------------------------------------------------------


async def wire(script: Callable[[Turn], None], which: str, **more: Any) -> tuple[Any, list]:
    with FakeUpstream(script) as up:
        prefix = "" if which == "ollama" else "/v1"
        p = Provider("p", which, up.url + prefix, **more)  # type: ignore[arg-type]
        pool = Pool()
        cat = catalog_of(pool, p)
        with trio.fail_after(30):
            await cat.ask("p")
        pool.close()
        assert pool.leased == 0
        assert not up.errors
        return cat.fleet(0).states["p"].models, up.received


async def test_what_an_ollama_server_gets() -> None:
    def script(turn: Turn) -> None:
        turn.whole(ollama(turn.received.target, turn.received.body))

    models, received = await wire(script, "ollama")
    assert list(models) == ["llama3:8b", "qwen-coder:7b"]
    assert [(r.method, r.target) for r in received] == [
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("POST", "/api/show"),
        ("POST", "/api/show"),
    ]
    assert received[2].json == {"model": "llama3:8b"}
    assert received[2].headers["content-type"] == "application/json"
    assert "authorization" not in received[0].headers


@pytest.mark.parametrize(
    ("which", "field", "value"),
    [("openai", "authorization", "Bearer sk-1"), ("anthropic", "x-api-key", "sk-1")],
)
async def test_the_key_goes_where_the_format_wants_it(which: str, field: str, value: str) -> None:
    def script(turn: Turn) -> None:
        turn.whole({"data": [{"id": "m"}]})

    extra = (("x-extra", "1"),)
    models, received = await wire(script, which, key=Secret("sk-1"), headers=extra)
    assert list(models) == ["m"]
    sent = received[0].headers
    assert (sent[field], sent["x-extra"]) == (value, "1")
    assert ("anthropic-version" in sent) == (which == "anthropic")
    assert len({"authorization", "x-api-key"} & set(sent)) == 1


async def test_a_header_of_the_configuration_takes_the_place_of_ours() -> None:
    def script(turn: Turn) -> None:
        turn.whole({"data": []})

    own = (("anthropic-version", "2099-01-01"),)
    _, received = await wire(script, "anthropic", headers=own)
    assert received[0].headers["anthropic-version"] == "2099-01-01"


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "_LIMIT", 10_000)

    def script(turn: Turn) -> None:
        turn.begin(kind="application/json")
        turn.chunk(b'{"data":[')
        while not turn.wait_closed(0.001):
            turn.chunk(b'{"id":"m"},' * 1000)

    models, _ = await wire(script, "openai")
    assert models is None
