"""Kept answers in the course of a request: hits, misses, joined requests, policies, other plugins."""

import json
from dataclasses import replace

import pytest
import trio
import trio.testing

from formats.canonical import Response, Text
from llmrouterd.hooks import Plugin
from llmrouterd.model import Allowance, Caller, Policy, Routing, Unread
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.plugins.cache import Cache
from llmrouterd.plugins.model_params import ModelParams
from llmrouterd.plugins.redact import Redact
from llmrouterd.plugins.response_healing import ResponseHealing
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    anthropic,
    chat_answer,
    chat_stream,
    ollama,
    openai,
    replies,
    request,
    responses,
    role_chunk,
    said,
    sse,
    stage,
    streams,
)

SSE = STREAM["openai"]
CLIENTS = ["openai", "anthropic", "ollama", "responses", "generate"]
MAIL = "jan.kowalski@firma.pl"
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def caching(**settings: object) -> Installed:
    return Installed("cache", Cache(settings), settings)


def asked(fmt: str, *, stream: bool = False, **more: object) -> dict:
    """A request without chance in it."""
    if fmt in ("ollama", "generate"):
        return request(fmt, stream=stream, options={"temperature": 0}, **more)
    return request(fmt, stream=stream, temperature=0, **more)


def answering(*, stream: bool, text: str = "from a"):
    return streams(SSE, chat_stream(text)) if stream else replies(200, chat_answer(text))


def store_of(plugin: Installed) -> Cache:
    assert isinstance(plugin.hook, Cache)
    return plugin.hook


# --- hits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", CLIENTS)
@both
async def test_the_second_one_has_the_very_bytes_of_the_first_and_nobody_is_asked(
    stream: bool, fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": [answering(stream=stream), REFUSED]}
    async with stage(openai(), up=up, plugins=[caching()]) as st:
        first = await st.ask(fmt, asked(fmt, stream=stream))
        second = await st.ask(fmt, asked(fmt, stream=stream))
    assert first.headers.get("x-router-cache") == "miss"
    assert second.headers.get("x-router-cache") == "hit"
    assert second.body == first.body
    assert b"from a" in second.body
    assert second.headers.get("content-type") == first.headers.get("content-type")
    assert second.headers.get("x-router-provider") == "cache"
    assert second.headers.get("x-router-plugins") == "cache"
    assert second.headers.get("x-router-attempts") == "0"
    assert second.headers.get("x-router-request-id") != first.headers.get("x-router-request-id")
    assert len(st.asked["a"]) == 1
    one, two = st.sink.records
    assert (one.cache, two.cache) == ("miss", "hit")
    assert (two.end, two.status, two.provider, two.rule) == ("complete", 200, "cache", "cache")
    assert two.usage == one.usage
    assert two.cost_usd == 0.0
    assert two.notes == ("cache: an answer of a/a-model",)
    assert two.left_host is None
    seen = two.response
    assert isinstance(seen, Unread)
    assert seen.response().text == "from a"


async def test_a_text_completion_is_kept_in_its_own_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    choice = {"index": 0, "text": "from a", "finish_reason": "stop", "logprobs": None}
    whole = {"id": "cmpl-1", "object": "text_completion", "model": "up", "choices": [choice]}
    async with stage(openai(), up={"a": [replies(200, whole), REFUSED]}, plugins=[caching()]) as st:
        first = await st.ask("completions", asked("completions"))
        second = await st.ask("completions", asked("completions"))
    assert second.body == first.body
    assert second.headers.get("x-router-cache") == "hit"
    assert st.sink.records[1].response.response().text == "from a"


@both
async def test_what_passes_through_goes_on_passing_through(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A cache that looks on does not make the router rewrite an answer."""
    odd = sse(role_chunk() | {"odd": 1e2}, said("x") | {"odd": [1.0]}) if stream else None
    up = streams(SSE, odd) if odd else replies(200, b'{"odd": 1.0, ' + _tail("x"))
    body = asked("openai", stream=stream, model="a/up")
    async with stage(openai(), up={"a": [up, REFUSED]}, plugins=[caching()]) as st:
        first = await st.ask("openai", body)
        second = await st.ask("openai", body)
    assert b'"odd": 1.0' in first.body or b'"odd": [1.0]' in first.body
    assert second.body == first.body


def _tail(text: str) -> bytes:
    return json.dumps(chat_answer(text)).encode()[1:]


async def test_whole_answers_and_streams_are_kept_apart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": [answering(stream=False), answering(stream=True)]}
    async with stage(openai(), up=up, plugins=[caching()]) as st:
        await st.ask("openai", asked("openai"))
        out = await st.ask("openai", asked("openai", stream=True))
    assert out.headers.get("x-router-cache") == "miss"
    assert out.body.endswith(b"data: [DONE]\n\n")


async def test_a_hit_costs_its_client_no_tokens_and_no_money(
    autojump_clock: trio.testing.MockClock,
) -> None:
    priced = openai(input_cost_per_1m=1.0, output_cost_per_1m=1.0)
    caller = Caller("anna", allowance=Allowance(tpm=1000, budget_usd_per_day=100.0))
    key = [("x-router-key", "k")]
    up = {"a": [answering(stream=False), REFUSED]}
    async with stage(priced, up=up, plugins=[caching()]) as st:
        st.callers["k"] = caller
        await st.ask("openai", asked("openai"), key)
        limits = st.daemon.admission.limits("anna", caller.allowance)
        left = limits.left(trio.current_time()).tokens
        budget = st.daemon.admission.budget
        await st.ask("openai", asked("openai"), key)
        assert limits.left(trio.current_time()).tokens == left
        assert budget.reserved == 0
    one, two = st.sink.records
    assert one.cost_usd > 0
    assert two.cost_usd == 0


async def test_a_client_of_responses_goes_on_from_an_answer_that_was_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": [answering(stream=False), answering(stream=False, text="second")]}
    async with stage(openai(), up=up, plugins=[caching()]) as st:
        first = await st.ask("responses", asked("responses"))
        name = first.json["id"]
        assert await st.daemon.shelves.drop("", name)
        hit = await st.ask("responses", asked("responses"))
        assert hit.json["id"] == name
        on = await st.ask("responses", request("responses", previous_response_id=name))
    assert on.status == 200
    said_ = [message["content"] for message in st.asked["a"][1].json["messages"]]
    assert said_ == ["hi", "from a", "hi"]


async def test_an_error_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    plugin = caching()
    up = {"a": [replies(500, b""), answering(stream=False)]}
    async with stage(openai(max_retries=0), up=up, plugins=[plugin]) as st:
        first = await st.ask("openai", asked("openai"))
        second = await st.ask("openai", asked("openai"))
    assert first.status >= 500
    assert (second.status, second.headers.get("x-router-cache")) == (200, "miss")
    assert len(store_of(plugin).store) == 1


async def test_a_stream_that_broke_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    plugin = caching()
    broken = streams(SSE, sse(role_chunk(), said("half"), done=False), cut=True)
    async with stage(openai(), up={"a": broken}, plugins=[plugin]) as st:
        await st.ask("openai", asked("openai", stream=True))
    assert len(store_of(plugin).store) == 0
    assert st.record.end == "truncated"


@both
async def test_an_answer_that_is_too_long_is_given_and_not_kept(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = caching(max_answer_bytes=100)
    up = {"a": answering(stream=stream, text="x" * 200)}
    async with stage(openai(), up=up, plugins=[plugin]) as st:
        out = await st.ask("openai", asked("openai", stream=stream))
    assert b"x" * 200 in out.body
    assert len(store_of(plugin).store) == 0
    assert store_of(plugin).in_flight == 0


async def test_what_a_plugin_answered_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    class Early(Plugin):
        id = "early"

        async def pre_request(self, request_, ctx):
            return Response("", "early", (Text("x"),))

    plugin = caching()
    async with stage(openai(), up={"a": REFUSED}, plugins=[plugin, Early()]) as st:
        await st.ask("openai", asked("openai"))
    assert len(store_of(plugin).store) == 0


@pytest.mark.parametrize("field", [("cache-control", "no-cache"), ("cache-control", "no-store")])
async def test_a_client_that_wants_a_new_answer_gets_one(
    field: tuple[str, str], autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": [answering(stream=False), answering(stream=False, text="newer")]}
    async with stage(openai(), up=up, plugins=[caching()]) as st:
        await st.ask("openai", asked("openai"))
        out = await st.ask("openai", asked("openai"), [field])
        third = await st.ask("openai", asked("openai"))
    stores = field[1] == "no-cache"
    assert b"newer" in out.body
    assert out.headers.get("x-router-cache") == ("miss" if stores else None)
    assert (b"newer" in third.body) is stores


async def test_a_request_asks_for_the_cache_itself(autojump_clock: trio.testing.MockClock) -> None:
    plugin = replace(caching(), enabled=False)
    up = {"a": [answering(stream=False)] * 3}
    wishes = [{"id": "cache", "sampled": True}]
    async with stage(openai(), up=up, plugins=[plugin]) as st:
        await st.ask("openai", request("openai"))
        one = await st.ask("openai", request("openai", plugins=wishes))
        two = await st.ask("openai", request("openai", plugins=wishes))
        owned = await st.ask("openai", request("openai", plugins=[{"id": "cache", "shared": True}]))
    assert [out.headers.get("x-router-cache") for out in (one, two)] == ["miss", "hit"]
    assert owned.status == 400


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({"temperature": 1}, "cache: left out, since it leaves room for chance"),
        (
            {"temperature": 0, "tools": [{"type": "function", "function": {"name": "f"}}]},
            "cache: left out, since it has tools",
        ),
    ],
)
async def test_the_log_says_why_a_request_was_left_out(
    more: dict, note: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[caching()]) as st:
        out = await st.ask("openai", request("openai", **more))
    assert "x-router-cache" not in out.headers
    assert st.record.notes == (note,)
    assert st.record.plugins == ()


async def test_settings_that_make_no_sense_are_the_clients_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked_ = request("openai", plugins=[{"id": "cache", "mode": "sometimes"}])
    async with stage(openai(), up={"a": REFUSED}, plugins=[caching()]) as st:
        out = await st.ask("openai", asked_)
    assert out.status == 400
    assert "plugin 'cache': mode: expected one of" in out.json["error"]["message"]
    assert st.record.fault == "client"


# --- whose answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        [("x-router-key", "k2")],
        [("authorization", "Bearer other")],
        [("x-api-key", "other")],
        [("api-key", "other")],
    ],
)
async def test_no_client_and_no_key_gets_anothers_answer_unless_they_are_shared(
    fields: list, shared: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": [answering(stream=False)] * 2}
    async with stage(openai(), up=up, plugins=[caching(shared=shared)]) as st:
        st.callers |= {"k1": Caller("anna"), "k2": Caller("ben")}
        await st.ask("openai", asked("openai"), [("x-router-key", "k1")])
        out = await st.ask("openai", asked("openai"), fields)
    assert out.headers.get("x-router-cache") == ("hit" if shared else "miss")


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ([("x-router-provider", "b")], ""),
        ([("x-router-tags", "private")], ""),
        ([("x-router-strict", "1")], ""),
        ([("openai-beta", "x=1")], ""),
        ([("openai-organization", "o")], ""),
        ([("x-own", "1")], ""),
        ([], "?api-version=2"),
    ],
)
async def test_what_the_head_says_counts_too(
    fields: list, query: str, autojump_clock: trio.testing.MockClock
) -> None:
    provider = openai()
    provider = replace(provider, dialect=replace(provider.dialect, forward=("x-own",)))
    up = {"a": [answering(stream=False)] * 2, "b": [answering(stream=False)] * 2}
    async with stage(provider, openai("b"), up=up, plugins=[caching()]) as st:
        await st.ask("openai", asked("openai"))
        out = await st.ask("openai", asked("openai"), fields, query=query)
        again = await st.ask(
            "openai", asked("openai"), [*fields, ("x-request-id", "7")], query=query
        )
    assert out.headers.get("x-router-cache") == "miss"
    assert again.headers.get("x-router-cache") == "hit"


# --- policies -------------------------------------------------------------------------------------


def policed(*policies: Policy) -> Routing:
    return Routing(aliases={"m": ("far/far-model", "near/near-model")}, policies=policies)


async def ask_twice(policy: Policy, *, shared: bool = True):
    """Anna's answer comes from afar; then ben asks the same, who is under a policy."""
    far, near = openai("far", local=False), openai("near")
    up = {"far": answering(stream=False, text="far"), "near": answering(stream=False, text="near")}
    plugin = caching(shared=shared)
    async with stage(far, near, up=up, plugins=[plugin], routing=policed(policy)) as st:
        st.callers |= {"k1": Caller("anna"), "k2": Caller("ben")}
        await st.ask("openai", asked("openai"), [("x-router-key", "k1")])
        out = await st.ask("openai", asked("openai"), [("x-router-key", "k2")])
    return out, st


@pytest.mark.parametrize(
    "policy",
    [
        Policy("policies[0]", clients=("ben",), local=True),
        Policy("policies[0]", clients=("ben",), deny=("far",)),
        Policy("policies[0]", clients=("ben",), allow=("near",)),
    ],
)
async def test_an_answer_of_a_provider_that_may_not_serve_a_request_is_not_given_to_it(
    policy: Policy, autojump_clock: trio.testing.MockClock
) -> None:
    out, st = await ask_twice(policy)
    assert (out.status, out.headers.get("x-router-cache")) == (200, "miss")
    assert b"near" in out.body
    assert st.sink.records[1].policies == ("policies[0]",)


async def test_a_blocked_request_is_blocked_although_its_answer_was_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    out, _ = await ask_twice(Policy("policies[0]", clients=("ben",), block=True))
    assert out.status == 403


async def test_under_a_policy_with_networks_everything_is_asked_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = Policy("policies[0]", clients=("ben",), local=True, networks=("10.0.0.0/8",))
    near = answering(stream=False)
    routing = Routing(aliases={"m": ("near/near-model",)}, policies=(policy,))
    plugin = caching(shared=True)
    async with stage(openai("near"), up={"near": near}, plugins=[plugin], routing=routing) as st:
        st.callers |= {"k1": Caller("anna"), "k2": Caller("ben")}
        await st.ask("openai", asked("openai"), [("x-router-key", "k1")])
        await st.ask("openai", asked("openai"), [("x-router-key", "k2")])
    assert [record.cache for record in st.sink.records] == ["miss", ""]


async def test_a_policy_that_allows_the_provider_allows_its_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    out, st = await ask_twice(Policy("policies[0]", clients=("ben",), allow=("far",)))
    assert out.headers.get("x-router-cache") == "hit"
    assert st.sink.records[1].policies == ("policies[0]",)


# --- beside other plugins -------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["cache", "redact"])
@both
async def test_values_that_were_covered_stay_with_the_request_that_has_them(
    stream: bool, first: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Two requests that look alike to the upstream are not alike, and each answer has its own values."""
    other = "anna.nowak@firma.pl"
    plugins = [caching(), Installed("redact", Redact({}), {})]
    plugins = plugins if first == "cache" else plugins[::-1]
    up = {"a": [answering(stream=stream, text="write to [EMAIL_1]")] * 2}
    async with stage(openai(), up=up, plugins=plugins) as st:
        outs = [
            await st.ask(
                "openai",
                asked("openai", stream=stream, messages=[{"role": "user", "content": mail}]),
            )
            for mail in (MAIL, other, MAIL, other)
        ]
    sent = [each.body for each in st.asked["a"]]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert [out.headers.get("x-router-cache") for out in outs] == ["miss", "miss", "hit", "hit"]
    for out, mine, theirs in ((outs[2], MAIL, other), (outs[3], other, MAIL)):
        assert mine.encode() in out.body
        assert theirs.encode() not in out.body
        assert b"EMAIL_1" not in out.body


async def test_what_healing_made_of_an_answer_is_kept_and_not_made_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugins = [caching(), ResponseHealing({})]
    up = {"a": [answering(stream=False, text='{"a": 1,}'), REFUSED]}
    async with stage(openai(), up=up, plugins=plugins) as st:
        await st.ask("openai", asked("openai"))
        out = await st.ask("openai", asked("openai"))
    assert out.json["choices"][0]["message"]["content"] == '{"a": 1}'
    assert st.sink.records[1].plugins == ("cache",)


async def test_the_client_s_own_temperature_counts_not_what_became_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugins = [ModelParams({"set": {"temperature": 0}}), caching()]
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=plugins) as st:
        out = await st.ask("openai", request("openai", temperature=1))
    assert "x-router-cache" not in out.headers


async def test_hooks_before_the_answer_are_spared_and_on_end_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[str] = []

    class Noting(Plugin):
        id = "noting"

        async def pre_request(self, request_, ctx):
            seen.append("pre_request")
            return request_

        async def post_response(self, response, ctx):
            seen.append("post_response")
            return response

        async def on_end(self, record):
            seen.append(f"end {record.cache}")

    up = {"a": [answering(stream=False), REFUSED]}
    async with stage(openai(), up=up, plugins=[caching(), Noting()]) as st:
        await st.ask("openai", asked("openai"))
        await st.ask("openai", asked("openai"))
    assert seen == ["pre_request", "post_response", "end miss", "end hit"]


async def test_what_plugins_told_in_the_head_is_told_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Telling(Plugin):
        id = "telling"

        async def pre_request(self, request_, ctx):
            ctx.fields["sources"] = "two"
            return request_

    up = {"a": [answering(stream=False), REFUSED]}
    async with stage(openai(), up=up, plugins=[caching(), Telling()]) as st:
        outs = [await st.ask("openai", asked("openai")) for _ in range(2)]
    assert [out.headers.get("x-router-telling-sources") for out in outs] == ["two", "two"]
    assert outs[1].headers.get("x-router-cache") == "hit"


# --- in flight ------------------------------------------------------------------------------------


class Held:
    """An upstream that answers when it is let go."""

    def __init__(self, *, stream: bool, text: str = "from a") -> None:
        self.go = trio.Event()
        self._then = answering(stream=stream, text=text)

    async def __call__(self, up) -> None:
        if not self.go.is_set():
            with trio.CancelScope() as scope:
                await self.go.wait()
            assert not scope.cancelled_caught
        await self._then(up)


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama", "responses"])
@both
async def test_five_at_once_are_one_request(
    stream: bool, fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    plugin, held = caching(), Held(stream=stream)
    outs = []
    async with stage(openai(), up={"a": [held, REFUSED]}, plugins=[plugin]) as st:

        async def one() -> None:
            outs.append(await st.ask(fmt, asked(fmt, stream=stream)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            held.go.set()
    assert len(st.asked["a"]) == 1
    assert {out.body for out in outs} == {outs[0].body}
    told = sorted(str(out.headers.get("x-router-cache")) for out in outs)
    assert told == ["joined"] * 4 + ["miss"]
    assert sorted(record.cost_usd or 0 for record in st.sink.records) == [0] * 5
    assert store_of(plugin).in_flight == 0


async def test_a_waiting_stream_gets_life_signs(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(stream=True)
    outs = []
    async with stage(openai(), up={"a": [held]}, plugins=[caching()], life_sign_s=5.0) as st:

        async def one() -> None:
            outs.append(await st.ask("openai", asked("openai", stream=True)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)
            await trio.sleep(12)
            held.go.set()
    for out in outs:
        assert out.body.count(b": keep-alive") == 2
        assert b"from a" in out.body


@both
async def test_a_first_client_that_vanishes_takes_nobody_along(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plugin, held = caching(), Held(stream=stream)
    outs = []

    async def never(up) -> None:
        await up.request()
        await up.closed()

    async with stage(openai(), up={"a": [never, held, REFUSED]}, plugins=[plugin]) as st:

        async def one(gone: bool) -> None:
            out = await st.ask("openai", asked("openai", stream=stream))
            if not gone:
                outs.append(out)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, True)
            await trio.testing.wait_all_tasks_blocked()
            leader = st.client
            for _ in range(3):
                nursery.start_soon(one, False)
            await trio.testing.wait_all_tasks_blocked()
            leader.went_away()
            leader.nursery.cancel_scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            held.go.set()
    assert [b"from a" in out.body for out in outs] == [True] * 3
    told = sorted(str(out.headers.get("x-router-cache")) for out in outs)
    assert told == ["joined", "joined", "miss"]
    assert sum(record.end == "client_gone" for record in st.sink.records) == 1
    assert store_of(plugin).in_flight == 0


async def test_a_waiting_client_that_vanishes_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin, held = caching(), Held(stream=False)
    async with stage(openai(), up={"a": [held]}, plugins=[plugin]) as st:

        async def one() -> None:
            await st.ask("openai", asked("openai"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            flight = next(iter(store_of(plugin)._flights.values()))
            assert len(flight._wake) == 1
            st.hang_up()
            await trio.testing.wait_all_tasks_blocked()
            assert flight._wake == []
            held.go.set()
    assert sorted(record.end for record in st.sink.records) == ["client_gone", "complete"]
    assert store_of(plugin).in_flight == 0


async def test_when_the_first_one_fails_the_others_ask_for_themselves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin, go = caching(), trio.Event()

    async def fails(up) -> None:
        await up.request()
        await go.wait()
        await up.reply(400, {"error": {"message": "no", "type": "invalid_request_error"}})

    outs = []
    script = [fails, *[answering(stream=False)] * 2]
    async with stage(openai(), up={"a": script}, plugins=[plugin]) as st:

        async def one() -> None:
            outs.append(await st.ask("openai", asked("openai")))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
    assert sorted(out.status for out in outs) == [200, 200, 400]
    assert len(st.asked["a"]) == 3
    assert store_of(plugin).in_flight == 0


async def test_nobody_waits_longer_than_it_wants_to(autojump_clock: trio.testing.MockClock) -> None:
    plugin = caching(join_timeout=10)

    async def slow(up) -> None:
        await trio.sleep(60)
        await answering(stream=False, text="late")(up)

    up = {"a": [slow, answering(stream=False, text="soon")]}
    outs = []
    async with stage(openai(), up=up, plugins=[plugin]) as st:

        async def one() -> None:
            outs.append(await st.ask("openai", asked("openai")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.sleep(1)
            nursery.start_soon(one)
    assert [b"soon" in out.body for out in outs] == [True, False]
    assert [out.headers.get("x-router-cache") for out in outs] == ["miss", "miss"]
    assert "waited in vain" in " ".join(st.sink.records[0].notes)


async def test_a_clients_own_patience_ends_its_wait(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(stream=False)
    outs = []
    async with stage(openai(), up={"a": [held, REFUSED]}, plugins=[caching()]) as st:

        async def one(*fields: tuple[str, str]) -> None:
            outs.append(await st.ask("openai", asked("openai"), fields))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.sleep(1)
            nursery.start_soon(one, ("x-router-timeout", "5"))
            await trio.sleep(10)
            assert [out.status for out in outs] == [504]
            held.go.set()
    assert outs[1].status == 200


# --- what comes to nothing ------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_arrival", "recall"])
async def test_a_plugin_that_fails_there_fails_the_request_by_name(
    hook: str, autojump_clock: trio.testing.MockClock
) -> None:
    class Broken(Plugin):
        id = "broken"

        def on_arrival(self, arrival, ctx):
            if hook == "on_arrival":
                raise ValueError("oh")
            return 10

        def recall(self, may, ctx):
            raise ValueError("oh")

    async with stage(openai(), up={"a": REFUSED}, plugins=[Broken()]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 500
    assert st.record.error == "plugin 'broken' failed: oh"


async def test_one_that_fails_as_it_is_released_fails_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Plugin):
        id = "broken"

        def on_arrival(self, arrival, ctx):
            return 10

        def on_release(self, kept, end, ctx):
            raise ValueError("oh")

    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[Broken()]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 200
    assert st.record.end == "complete"
    assert "plugin 'broken' failed in on_release: oh" in caplog.text


async def test_whoever_keeps_answers_sees_them_whatever_the_format(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Keeper(Plugin):
        id = "keeper"

        def __init__(self) -> None:
            self.seen: list = []

        def on_arrival(self, arrival, ctx):
            return 1 << 20

        def on_release(self, kept, end, ctx):
            self.seen.append((kept, end))

    keeper = Keeper()
    made = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}
    for fmt in made:
        up = {"a": answering(stream=True)}
        async with stage(openai(), up=up, plugins=[keeper]) as st:
            out = await st.ask(fmt, request(fmt, stream=True))
        kept, end = keeper.seen.pop()
        assert (kept.body, kept.stream, kept.provider, end) == (out.body, True, "a", "complete")
    async with stage(openai(), up={"a": replies(400, b"")}, plugins=[keeper]) as st:
        await st.ask("openai", request("openai"))
    assert keeper.seen == [(None, "refused")]
