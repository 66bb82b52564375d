"""Mixed traffic for tests of what is written down of decisions: real pipeline, fakes of every mood.

Two configurations: one in which each kind of rule has clients of its own, and one without rules, for
the built-in chain. `served` gives the log's lines, as text, of so many requests under one of them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import trio

from llmrouterd.config import Config, parse
from llmrouterd.model import Caller, ModelInfo
from llmrouterd.observe.journal import Journal
from llmrouterd.ops.generation import build
from llmrouterd.route.facts import listed_by_owner
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    Script,
    Stage,
    Up,
    chat_answer,
    chat_stream,
    request,
    stage,
)

PROVIDERS = """
[[providers]]
name = "a"
format = "openai"
base_url = "http://a"
local = true
quality = 50
latency_ms = 400
throughput_tokens_per_sec = 40
cost_per_1m_tokens = 0.1
max_retries = 0
[[providers]]
name = "b"
format = "openai"
base_url = "http://b"
local = true
quality = 70
latency_ms = 200
cost_per_1m_tokens = 0.4
[[providers]]
name = "c"
format = "openai"
base_url = "http://c"
local = false
quality = 90
throughput_tokens_per_sec = 90
input_cost_per_1m = 3.0
output_cost_per_1m = 9.0
max_retries = 0
[[providers]]
name = "d"
format = "openai"
base_url = "http://d"
local = false
models = ["d-small", "big"]
context_length = 4000
[[providers]]
name = "dead"
format = "openai"
base_url = "http://dead"
local = true
"""
ON_ITS_OWN = """
[[providers]]
name = "asked"
format = "openai"
base_url = "http://asked"
local = false
"""
KINDS = {
    "price": "max_cost_per_1m_tokens = 5.0",
    "latency": "",
    "latency-m": 'providers = ["a", "b", "c"]\nmeasured = true',
    "throughput": "min_tokens_per_sec = 10",
    "throughput-m": "measured = true",
    "random": 'providers = ["a", "b", "c"]',
    "random-w": 'candidates = [{ provider = "a", model = "x", weight = 3 }, { provider = "b", model = "m", weight = 1 }]',
    "round_robin": 'providers = ["a", "b", "c"]',
    "round_robin-s": 'providers = ["b", "a"]\nsticky = true',
    "least_busy": 'providers = ["a", "b", "dead"]',
    "warm": "",
    "discover": 'providers = ["a", "b", "d"]',
}
RULES = (
    '[models]\nfast = ["a/m", "c/y", "b/big"]\n'
    '[classifiers.keyword]\nenabled = true\n[classifiers.keyword.tags]\ncode = ["python"]\n'
    '[[routers]]\ntype = "prefix"\nmodel_prefix = "pre-"\nprovider = "a"\nrewrite_model = "m"\n'
    '[[routers]]\ntype = "model"\nmatch = "w-*"\ntargets = [{ provider = "a", model = "m", weight = 2 },'
    ' { provider = "c", model = "y", weight = 5 }]\nsticky = true\n'
    '[[routers]]\ntype = "tag"\ntag = "code"\nprovider = "b"\nwhen = { stream = true }\n'
    '[[routers]]\ntype = "context"\nmin_tokens = 600\nprovider = "d"\nrewrite_model = "big"\n'
    + "".join(
        f'[[routers]]\ntype = "{name.partition("-")[0]}"\n{keys}\nwhen = {{ client = "{name}" }}\n'
        for name, keys in KINDS.items()
    )
    + '[[routers]]\ntype = "fallback"\nproviders = ["a", "b", "c"]\nquality_bias = 0.8\n'
    + 'when = { client = "fallback" }\n'
    + '[[policies]]\ntag = "code"\nclient = ["price", "random"]\nrequire = "local"\n'
    + '[[policies]]\nclient = "fallback"\ndeny = ["b"]\n'
    + '[[policies]]\nmodel = "x"\nclient = ["nobody", "price"]\naction = "block"\n'
)
RULED = PROVIDERS + RULES
IMPLICIT = PROVIDERS + ON_ITS_OWN + '[models]\nfast = ["a/m", "c/y"]\n'
BLIND = frozenset({"completion"})
LISTS: dict[str, dict[str, ModelInfo] | None] = {
    "a": {
        "m": ModelInfo("m", frozenset({"completion", "tools"}), 400, loaded=True),
        "x": ModelInfo("x", BLIND, size_bytes=7, loaded=True),
    },
    "b": {
        "M": ModelInfo("M", BLIND, 8192),
        "big": ModelInfo("big", None, 0, "llama", 9 * 10**9, loaded=True),
    },
    "c": None,
    "dead": None,
    "asked": None,
}
MODELS = (
    "m",
    "m",
    "m",
    "x",
    "big",
    "fast",
    "pre-x",
    "w-1",
    "a/m",
    "c/z",
    "a/none",
    "nobody-has-it",
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def config_of(text: str) -> Config:
    return parse(text, "traffic.toml", {})


def moody(chance: Random, *, bad: float) -> Script:
    """An upstream that answers late, and sometimes not at all."""

    async def script(up: Up) -> None:
        asked = await up.request()
        await trio.sleep(chance.random())
        mood = chance.random()
        if mood > bad:
            if asked.json.get("stream"):
                await up.head(STREAM["openai"])
                await up.chunk(chat_stream("hel", "lo"))
                await up.end()
            else:
                await up.reply(200, chat_answer("hello"))
        elif mood > bad * 0.6:
            await up.reply(500, {"error": {"message": "it broke", "type": "server_error"}})
        elif mood > bad * 0.3:
            error = {"message": "slow down", "code": "rate_limit_exceeded"}
            await up.reply(429, {"error": error}, headers=[("retry-after", "3")])
        elif mood > bad * 0.25:
            error = {"message": "no such model", "code": "model_not_found"}
            await up.reply(404, {"error": error})
        else:
            await up.cut()

    return script


@dataclass
class Asking:
    """What one request is made of."""

    client: str
    body: dict[str, Any]
    wish: str | None


def asking(chance: Random, clients: Sequence[str]) -> Asking:
    words = chance.choice(("hi", "hi", "some python", "word " * 900, f"talk {chance.randrange(9)}"))
    more: dict[str, Any] = {"messages": [{"role": "user", "content": words}]}
    if chance.random() < 0.15:
        more["tools"] = [TOOL]
    if chance.random() < 0.1:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        more["messages"] = [{"role": "user", "content": [image]}]
    body = request("openai", model=chance.choice(MODELS), stream=chance.random() < 0.3, **more)
    wish = chance.choice(("a", "c", "gone")) if chance.random() < 0.1 else None
    return Asking(chance.choice(clients), body, wish)


async def served(text: str, count: int, folder: Path, *, seed: int = 1) -> list[str]:
    """So many requests under this configuration; the lines of the log, without words."""
    chance = Random(seed)
    config = config_of(text)
    names = [provider.name for provider in config.providers]
    up = {
        name: moody(chance, bad=bad)
        for name, bad in zip(names, (0.2, 0.1, 0.3, 0.05, 0.0, 0.0), strict=False)
    }
    async with stage(*config.providers, up=up | {"dead": REFUSED}, strict=False) as st:
        st.gen = replace(build(config, 1, "t"), upstreams=st.gen.upstreams, life_sign_s=0.0)
        _prepare(st, config)
        _tell_clients_apart(st)
        clients = [*KINDS, "warm", "fallback", "nobody"]
        for _ in range(count // 10):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(_one, st, asking(chance, clients))
            await trio.sleep(chance.choice((0.0, 0.0, 5.0)))
        records = st.sink.records
    path = folder / "requests.jsonl"
    journal = Journal(str(path), bodies="none", max_bytes=0, keep=0)
    for start in range(0, len(records), 100):
        journal._append(records[start : start + 100])
    return path.read_text().splitlines()


def _prepare(st: Stage, config: Config) -> None:
    """The lists as a daemon would have them; `asked` is found by its key alone, and asked when it is
    needed."""
    on_demand = {p.name for p in config.providers if p.name == "asked"}
    for name, state in st._states.items():
        owned = listed_by_owner(state.provider)
        provider = replace(state.provider, on_demand=name in on_demand)
        listed = owned if owned is not None else LISTS.get(name)
        reached = None if name in on_demand else listed is not None
        st._states[name] = replace(
            state,
            provider=provider,
            models=listed,
            reached=reached,
            why="" if listed else "no answer",
        )
    st.gen = replace(st.gen, providers={n: s.provider for n, s in st._states.items()})

    async def learn(wanted) -> None:
        await trio.lowlevel.checkpoint()
        for name in wanted:
            found = {"nobody-has-it": ModelInfo("nobody-has-it", BLIND)}
            st._states = {**st._states, name: replace(st._states[name], models=found, reached=True)}

    st.gen = replace(st.gen, fleet=st._fleet, learn=learn)
    st.daemon.keep_decisions = True


def _tell_clients_apart(st: Stage) -> None:
    plain = st._answer

    async def answer(incoming, client) -> None:
        incoming.caller = Caller(incoming.headers.get("x-test-client") or "")
        await plain(incoming, client)

    st._answer = answer  # type: ignore[method-assign]


async def _one(st: Stage, what: Asking) -> None:
    headers = [("x-test-client", what.client)]
    headers += [("x-router-provider", what.wish)] if what.wish else []
    await st.ask("openai", json.dumps(what.body).encode(), headers)
