"""Where a request would go, told without sending it."""

import json
from dataclasses import replace

import pytest

from llmrouterd.classifiers.llm import LLM
from llmrouterd.guard.fairqueue import Waiter
from llmrouterd.model import Caller, Routing, RuleSpec, Slots, When
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.pipeline.explain import Question, explain, lines
from llmrouterd.plugins.model_params import ModelParams
from tests.pipeline.stage import chat_answer, ollama, openai, replies, request, stage

RULES = Routing(
    rules=(
        RuleSpec("tag", "routers[0] tag", ("a",), tag="code"),
        RuleSpec("fallback", "routers[1] fallback", ("a", "b"), when=When(stream=False)),
    )
)


def asked(fmt="openai", *, tags=(), wish=None, **more):
    return Question(fmt, json.dumps(request(fmt, **more)).encode(), tags, wish)


async def told(question, routing=RULES):
    async with stage(openai("a"), ollama("b"), up={}, routing=routing) as st:
        answer = await explain(question, st.gen, st.daemon)
        assert not any(st.asked.values())
        assert st.sink.told == []
        return answer


async def test_every_rule_and_candidate_with_its_reason(autojump_clock) -> None:
    answer = await told(asked())
    assert (answer["model"], answer["format"], answer["stream"]) == ("m", "openai", False)
    assert answer["steps"][0] == {
        "rule": "routers[0] tag",
        "outcome": "passed",
        "reason": "no classifier set the tag 'code'",
    }
    assert [each["provider"] for each in answer["candidates"]] == ["a", "b"]
    assert answer["size_tokens"] > 0


async def test_what_else_sends_the_walk_on_is_told(autojump_clock) -> None:
    rule = RuleSpec("fallback", "r", ("a", "b"), hedge_after_ms=700, retry_on_tags=("refusal",))
    answer = await told(asked(), Routing(rules=(rule,)))
    assert answer["candidates"][0]["hedge_after_ms"] == 700
    assert answer["candidates"][0]["retry_on_tags"] == ["refusal"]
    line = next(line for line in lines(answer) if "1. a/m" in line)
    assert "after 700 ms of silence the next one beside it" in line
    assert "on after an answer tagged refusal" in line


async def test_tags_and_wishes_count_as_they_would(autojump_clock) -> None:
    tagged = await told(asked(tags=("code",)))
    assert tagged["tags"] == ["code"]
    assert tagged["candidates"][0]["rule"] == "routers[0] tag"
    wished = await told(asked(wish="b"))
    assert wished["candidates"][0]["provider"] == "b"


async def test_a_request_that_nobody_may_serve_is_refused_in_words(autojump_clock) -> None:
    answer = await told(asked(stream=True))
    assert answer["candidates"] == []
    assert answer["error"]["kind"] == "no_provider"
    assert any("refused (no_provider)" in line for line in lines(answer))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question("openai", b"{}"), "model: this field is required"),
        (Question("smoke", b"{}"), "there is no format 'smoke'"),
    ],
)
async def test_a_wrong_question_is_told_as_one(autojump_clock, question, said: str) -> None:
    answer = await told(question)
    assert answer["error"] == {"kind": "bad_request", "message": said}
    assert list(lines(answer)) == [f"refused (bad_request): {said}"]


async def test_a_client_that_may_not_ask_for_the_model_is_told_so(autojump_clock) -> None:
    answer = await told(replace(asked(), caller=Caller("ann", ("other-*",))))
    assert answer["error"]["kind"] == "forbidden"
    assert "client 'ann' may not ask for the model 'm'" in answer["error"]["message"]
    allowed = await told(replace(asked(), caller=Caller("ann", ("m*",))))
    assert allowed["candidates"]


async def test_a_walk_in_words(autojump_clock) -> None:
    said = list(lines(await told(asked())))
    assert said[0] == "model     m (openai)"
    assert "routers[0] tag: passes: no classifier set the tag 'code'" in said
    assert "routers[1] fallback: takes a/m" in said
    assert said[-2:] == ["  1. a/m (openai, local)", "  2. b/m (ollama, local)"]


async def test_the_very_same_decision_as_for_a_request(autojump_clock) -> None:
    up = {"a": replies(200, chat_answer("hello"))}
    async with stage(openai("a"), ollama("b"), up=up, routing=RULES) as st:
        answer = await explain(asked(), st.gen, st.daemon)
        await st.ask("openai", request("openai"))
    real = [(step.rule, step.outcome, step.provider) for step in st.record.trace]
    assert [(s["rule"], s["outcome"], s.get("provider", "")) for s in answer["steps"]] == real


async def test_no_model_is_asked_and_what_it_would_have_said_is_unknown(autojump_clock) -> None:
    settings = {"provider": "b", "model": "small", "labels": {"legal": "", "code": ""}}
    llm = Installed("llm", LLM(settings), settings)
    async with stage(openai("a"), ollama("b"), up={}, routing=RULES, classifiers=[llm]) as st:
        answer = await explain(asked(), st.gen, st.daemon)
        assert st.dialled == []
    assert answer["unknown_tags"] == ["code", "legal"]
    assert "unknown   code, legal (no model is asked here)" in lines(answer)


async def test_vectors_go_where_the_model_is_and_plugins_do_not_see_them(autojump_clock) -> None:
    for fmt in ("embeddings", "embed"):
        body = json.dumps({"model": "m", "input": ["one", "and two"]}).encode()
        answer = await told(Question(fmt, body))
        assert answer["needs"] == ["embedding"]
        assert answer["plugins"] == []
        assert [each["provider"] for each in answer["candidates"]] == ["a", "b"]
    wrong = await told(Question("embeddings", b'{"model": "m"}'))
    assert wrong["error"]["kind"] == "bad_request"


async def test_the_places_of_a_provider_that_has_only_so_many(autojump_clock) -> None:
    limited = replace(openai("a"), slots=Slots(at_once=2, max_queue=7))
    async with stage(limited, ollama("b"), up={}, routing=RULES) as st:
        empty = await explain(asked(), st.gen, st.daemon)
        queue = st.daemon.admission.gate(limited).queue
        waiters = [Waiter("anna", "m", 10.0) for _ in range(3)]
        for each in waiters:
            queue.offer(each, 0.0)
        full = await explain(asked(), st.gen, st.daemon)
        for each in waiters:
            queue.leave(each, 0.0)
    assert [each.get("queue", {}).get("running") for each in empty["candidates"]] == [0, None]
    assert full["candidates"][0]["queue"] == {
        "at_once": 2,
        "running": 2,
        "waiting": 1,
        "max_queue": 7,
        "timeout_s": limited.slots.timeout_s,
    }
    assert next(each for each in lines(full) if "1. a/m" in each).endswith(
        "2 of 2 at work, 1 waiting"
    )


async def test_what_a_plugin_would_change_is_told_for_this_client_and_these_tags(
    autojump_clock,
) -> None:
    rules = [{"clients": ["anna"], "tags": ["code"], "max": {"max_tokens": 5}}]
    plugin = ModelParams({"rules": rules})
    async with stage(openai("a"), up={}, plugins=[plugin]) as st:
        question = replace(asked(tags=("code",)), client="anna")
        answer = await explain(question, st.gen, st.daemon)
        assert answer["plugins"] == ["model-params"]
        assert answer["notes"] == ["model-params: max_tokens none -> 5"]
        assert "          model-params: max_tokens none -> 5" in list(lines(answer))
        other = await explain(replace(question, client="ben"), st.gen, st.daemon)
        assert other["plugins"] == []
        assert "notes" not in other
