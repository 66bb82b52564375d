"""Policies at the door: the label that goes along with every byte of a request."""

import pytest

from llmrouterd.classifiers.keyword import Keyword
from llmrouterd.guard.egress import FREE, Label
from llmrouterd.model import ModelInfo, Policy, Routing
from llmrouterd.pipeline.binding import label_of, unclassified
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.route.policies import Bounds
from tests.pipeline.stage import chat_answer, ollama, openai, replies, request, stage

ORDER = {"m": ("a/a-model", "b/b-model")}
LOCAL = Policy("policies[0]", tags=("pii",), local=True, message="it stays here")


def routing(*policies: Policy, **more) -> Routing:
    return Routing(aliases=ORDER, policies=policies, failover_to_remote=True, **more)


def test_the_label_of_bounds() -> None:
    assert label_of(Bounds()) is FREE
    assert label_of(Bounds(local="policies[0]")) == Label(local_only=True)
    both = Bounds(local="policies[0]", networks=("10.0.0.0/8",))
    assert label_of(both) == Label(local_only=True, networks=("10.0.0.0/8",))


def test_before_classification_the_strictest_holds() -> None:
    assert unclassified(routing()) is FREE
    assert unclassified(routing(LOCAL)) == Label(local_only=True)


async def test_a_bound_request_is_not_sent_to_a_remote_provider(autojump_clock) -> None:
    up = {"a": replies(500, {"error": {"message": "ill"}}), "b": replies(200, chat_answer("far"))}
    providers = (openai("a", max_retries=0), openai("b", local=False))
    async with stage(*providers, up=up, routing=routing(LOCAL)) as it:
        answer = await it.ask("openai", request("openai"), [("x-router-tags", "pii")])
        assert it.dialled == ["a"]
        assert it.labels == [Label(local_only=True)]
        assert answer.status == 502
        assert it.record.policies == ("policies[0]",)
        assert it.record.tags == ("pii",)


async def test_without_the_tag_the_same_request_goes_on(autojump_clock) -> None:
    up = {"a": replies(500, {"error": {"message": "ill"}}), "b": replies(200, chat_answer("far"))}
    providers = (openai("a", max_retries=0), openai("b", local=False))
    async with stage(*providers, up=up, routing=routing(LOCAL)) as it:
        assert (await it.ask("openai", request("openai"))).status == 200
        assert it.labels == [FREE, FREE]
        assert it.record.policies == ()


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama", "responses"])
async def test_when_nobody_may_serve_it_the_client_is_told_in_its_own_words(fmt: str) -> None:
    up = {"b": replies(200, chat_answer("far"))}
    by = Routing(aliases={"m": ("b/x",)}, policies=(LOCAL,))
    async with stage(openai("b", local=False), up=up, routing=by) as it:
        answer = await it.ask(fmt, request(fmt), [("x-router-tags", "pii")])
        assert answer.status == 403
        assert answer.headers.get("x-router-error") == "forbidden"
        assert b"it stays here" in answer.body
        assert it.dialled == []
        assert (it.record.end, it.record.fault) == ("refused", "client")


async def test_a_block_is_told_and_nobody_is_asked() -> None:
    block = Policy("policies[0]", tags=("secret",), block=True, message="no keys here")
    keyword = Installed("keyword", Keyword({"tags": {"secret": ["hi"]}}))
    up = {"a": replies(200, chat_answer("x"))}
    by = Routing(aliases={"m": ("a/x",)}, policies=(block,))
    async with stage(openai("a"), up=up, routing=by, classifiers=[keyword]) as it:
        answer = await it.ask("openai", request("openai"))
        assert answer.status == 403
        assert answer.json["error"]["message"] == "no keys here"
        assert it.dialled == []


async def test_a_cloud_model_of_a_local_server_is_refused_under_the_label() -> None:
    up = {"a": replies(200, {})}
    by = Routing(aliases={"m": ("a/big:cloud",)}, policies=(LOCAL,))
    models = {"a": {"big:cloud": ModelInfo("big:cloud")}}
    async with stage(ollama("a"), up=up, routing=by, models=models) as it:
        answer = await it.ask("ollama", request("ollama"), [("x-router-tags", "pii")])
        assert answer.status == 403
        assert it.dialled == []


async def test_embeddings_are_bound_too() -> None:
    up = {"b": replies(200, {})}
    by = Routing(aliases={"m": ("b/x",)}, policies=(Policy("policies[0]", local=True),))
    async with stage(openai("b", local=False), up=up, routing=by) as it:
        answer = await it.ask("/v1/embeddings", {"model": "m", "input": "words"})
        assert answer.status == 403
        assert it.dialled == []


async def test_a_client_s_wish_and_a_client_s_own_choice_are_bound() -> None:
    up = {"b": replies(200, chat_answer("far"))}
    by = Routing(policies=(Policy("policies[0]", clients=("",), local=True),), implicit=True)
    async with stage(openai("b", local=False), up=up, routing=by) as it:
        wish = await it.ask("openai", request("openai"), [("x-router-provider", "b")])
        named = await it.ask("openai", request("openai", model="b/x"))
        assert (wish.status, named.status) == (403, 403)
        assert it.dialled == []
