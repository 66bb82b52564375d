"""llmrouterd/plugins/model_params.py"""

import json

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import Message, Request, Sampling, Text, Thinking
from llmrouterd.hooks import Context
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.plugins.model_params import ModelParams
from llmrouterd.plugins.parameters import value_of
from tests.pipeline.stage import (
    anthropic,
    ollama,
    openai,
    replies,
    request,
    responses,
    stage,
)

PROVIDERS = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}
HI = (Message("user", (Text("hi"),)),)


async def shaped(asked: Request, settings: dict, **of: object) -> tuple[Request, list[str]]:
    ctx = Context("model-params", settings, **of)
    return await ModelParams(settings).pre_request(asked, ctx), ctx.notes


def sampled(**values: object) -> Request:
    return Request("openai", "m", HI, sampling=Sampling(**values))


@pytest.mark.parametrize(
    ("settings", "given_", "comes_to"),
    [
        ({"defaults": {"temperature": 0.2}}, None, 0.2),
        ({"defaults": {"temperature": 0.2}}, 0.9, 0.9),
        ({"set": {"temperature": 0.2}}, 0.9, 0.2),
        ({"max": {"temperature": 1}}, 1.5, 1),
        ({"max": {"temperature": 1}}, 0.5, 0.5),
        ({"max": {"temperature": 1}}, None, None),
        ({"min": {"temperature": 0.5}}, 0.1, 0.5),
        ({"defaults": {"temperature": 2}, "max": {"temperature": 1}}, None, 1),
        ({"set": {"temperature": 2}, "max": {"temperature": 1}}, None, 1),
        ({"remove": ["temperature"]}, 0.7, None),
        ({"remove": ["temperature"], "defaults": {"temperature": 0.3}}, 0.7, 0.3),
    ],
)
async def test_what_a_parameter_comes_to(settings, given_, comes_to):
    asked = sampled(temperature=given_)
    out, notes = await shaped(asked, settings)
    assert out.sampling.temperature == comes_to
    if given_ == comes_to:
        assert out is asked
        assert notes == []
    else:
        text = ["none" if value is None else str(value) for value in (given_, comes_to)]
        assert notes == [f"temperature {text[0]} -> {text[1]}"]


@given(
    st.none() | st.floats(0, 2),
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 2)), min_size=1, max_size=4),
)
async def test_the_tightest_of_all_clamps_holds(given_, bounds):
    rules = [{"min": {"temperature": low}, "max": {"temperature": high}} for low, high in bounds]
    out, _ = await shaped(sampled(temperature=given_), {"rules": rules})
    value = out.sampling.temperature
    if given_ is None:
        assert value is None
    else:
        assert max(low for low, _ in bounds) <= value <= min(high for _, high in bounds)


async def test_a_limit_holds_for_a_request_that_says_nothing():
    out, notes = await shaped(Request("openai", "m", HI), {"max": {"max_tokens": 50, "n": 3}})
    assert (out.max_tokens, out.sampling.n) == (50, None)
    assert notes == ["max_tokens none -> 50"]
    out, _ = await shaped(sampled(n=5), {"max": {"n": 1}})
    assert out.sampling.n == 1


async def test_a_request_that_only_loads_a_model_is_left_alone():
    asked = Request("ollama", "m")
    assert (await shaped(asked, {"max": {"max_tokens": 5}}))[0] is asked


async def test_effort_has_an_order():
    settings = {"max": {"effort": "medium"}, "min": {"effort": "low"}}
    for said, comes_to in (("xhigh", "medium"), ("minimal", "low"), ("low", "low")):
        asked = Request("openai", "m", HI, thinking=Thinking(effort=said))
        out, _ = await shaped(asked, settings)
        assert out.thinking.effort == comes_to


async def test_rules_are_for_models_clients_and_tags_and_the_first_default_counts():
    settings = {
        "defaults": {"temperature": 0.1, "top_p": 0.5},
        "rules": [
            {"models": ["qwen*"], "defaults": {"temperature": 0.6}, "set": {"thinking": "off"}},
            {"clients": ["guest"], "max": {"max_tokens": 100}},
            {"tags": ["code"], "remove": ["seed"]},
        ],
    }
    qwen = Request("openai", "qwen3", HI, sampling=Sampling(seed=5))
    out, _ = await shaped(qwen, settings, client="anna", tags=("code",))
    assert out.sampling == Sampling(temperature=0.6, top_p=0.5)
    assert (out.thinking, out.max_tokens) == (Thinking("off"), None)
    llama = Request("openai", "llama", HI, sampling=Sampling(seed=5))
    out, _ = await shaped(llama, settings, client="guest")
    assert out.sampling == Sampling(temperature=0.1, top_p=0.5, seed=5)
    assert (out.thinking, out.max_tokens) == (None, 100)


async def test_a_default_leaves_a_limit_in_a_servers_own_spelling_alone():
    asked = FORMATS["openai"].parse_request(
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"n_predict":9}'
    )
    out, _ = await shaped(asked, {"defaults": {"max_tokens": 50}})
    assert out is asked
    out, notes = await shaped(asked, {"max": {"max_tokens": 50}})
    assert value_of(out, "max_tokens") == 9
    assert notes == ["max_tokens 9 -> 9 (instead of n_predict)"]


@pytest.mark.parametrize("up", PROVIDERS)
@pytest.mark.parametrize("fmt", PROVIDERS)
async def test_every_upstream_gets_the_clamped_values_of_every_client(
    fmt: str, up: str, autojump_clock: trio.testing.MockClock
) -> None:
    settings = {"max": {"max_tokens": 50, "temperature": 0.5}, "remove": ["top_p"]}
    asked = request(fmt)
    if fmt == "ollama":
        asked["options"] = {"temperature": 1.5, "num_predict": 900, "top_p": 0.9}
    else:
        name = "max_output_tokens" if fmt == "responses" else "max_tokens"
        asked |= {"temperature": 1.5, name: 900, "top_p": 0.9}
    plugin = Installed("model-params", ModelParams(settings), settings)
    async with stage(PROVIDERS[up](), up={"a": replies(500, b"")}, plugins=[plugin]) as st_:
        out = await st_.ask(fmt, asked)
    got = FORMATS[up].parse_request(st_.asked["a"][0].body)
    assert got.max_tokens == 50
    assert got.sampling.temperature == 0.5
    assert got.sampling.top_p is None
    assert st_.record.plugins == ("model-params",)
    assert out.headers.get("x-router-plugins") == "model-params"
    assert [note for note in st_.record.notes if note.startswith("model-params")] == [
        "model-params: max_tokens 900 -> 50",
        "model-params: temperature 1.5 -> 0.5",
        "model-params: top_p 0.9 -> none",
    ]


async def test_the_same_format_keeps_the_clients_text_but_for_the_parameter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    body = (
        '{"model": "a/a-model",  "messages": [{"role":"user","content":"hi"}], "temperature": 2.0}'
    )
    plugin = ModelParams({"max": {"temperature": 1}})
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=[plugin]) as st_:
        await st_.ask("openai", body.encode())
    sent = st_.asked["a"][0].body.decode()
    assert sent == body.replace("2.0", "1").replace("a/a-model", "a-model")


async def test_what_only_a_completion_can_say_still_goes_to_its_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin = ModelParams({"max": {"max_tokens": 5}})
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=[plugin]) as st_:
        await st_.ask("completions", request("completions", suffix="}", max_tokens=99))
    assert st_.asked["a"][0].json["suffix"] == "}"
    assert st_.asked["a"][0].json["max_tokens"] == 5


@pytest.mark.parametrize("name", ["max", "min", "set", "defaults", "remove", "rules", "models"])
async def test_a_request_may_not_change_a_clamp(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    asked = request("openai", plugins=[{"id": "model-params", name: {}}])
    plugin = ModelParams({"max": {"temperature": 1}})
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=[plugin]) as st_:
        out = await st_.ask("openai", asked)
    assert out.status == 400
    assert json.loads(out.body)["error"]["param"] == "plugins"
    assert st_.dialled == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max": {"temprature": 1}}, "max: there is no parameter 'temprature'"),
        ({"max": {"stop": 1}}, "max: there is no parameter 'stop'"),
        ({"max": {"temperature": "1"}}, "max.temperature: expected a number"),
        ({"set": {"max_tokens": 0}}, "set.max_tokens: expected a whole number of at least 1"),
        ({"set": {"effort": "lots"}}, "set.effort: expected one of none"),
        ({"defaults": {"stop": "x"}}, "defaults.stop: expected a list of texts"),
        ({"defaults": {"logprobs": 1}}, "defaults.logprobs: expected true or false"),
        ({"defaults": {"user": ""}}, "defaults.user: expected a text"),
        ({"defaults": 1}, "defaults: expected a table"),
        ({"remove": ["x"]}, "remove: there is no parameter"),
        ({"min": {"top_p": 0.9}, "max": {"top_p": 0.5}}, "min.top_p: is more than max.top_p"),
        ({"rules": [{"max": {"n": True}}]}, r"rules\[0\].max.n"),
        ({"rules": [{"clamp": {}}]}, r"rules\[0\].clamp: unknown key"),
    ],
)
def test_a_wrong_setting_is_named(settings, named):
    with pytest.raises(ValueError, match=named):
        ModelParams(settings)


@pytest.mark.parametrize("name", ["user", "stop", "service_tier", "logit_bias"])
async def test_a_text_of_the_clients_is_in_no_note(name: str) -> None:
    words = "jan.kowalski@firma.pl"
    value = {"stop": (words,), "logit_bias": {words: 1}}.get(name, words)
    top = {name: value} if name in ("user", "service_tier") else {}
    sampling = Sampling() if top else Sampling(**{name: value})
    asked = Request("openai", "m", HI, sampling=sampling, **top)
    out, notes = await shaped(asked, {"remove": [name]})
    assert not value_of(out, name)
    assert notes == [f"{name} (a value) -> none"]
