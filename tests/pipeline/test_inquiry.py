"""The router's own questions to models: whom they may reach, how long they take, what is left of them."""

import json
from dataclasses import replace

import pytest
import trio

from formats.canonical import Message, Request, Text
from llmrouterd.classifiers.llm import LLM
from llmrouterd.guard.egress import Label
from llmrouterd.hooks import AskFailed, PluginFailed
from llmrouterd.model import ModelInfo, Policy, Routing, Secret, Slots
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.pipeline.inquiry import Inquiry, leaves
from llmrouterd.pipeline.story import Story
from tests.pipeline.stage import (
    REFUSED,
    Stage,
    anthropic,
    chat_answer,
    ollama,
    openai,
    replies,
    request,
    responses,
    stage,
)

SAID = {
    "openai": chat_answer("code"),
    "anthropic": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "u",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "code"}],
        "usage": {"input_tokens": 7, "output_tokens": 1},
    },
    "ollama": {
        "model": "u",
        "created_at": "2026-01-01T00:00:00Z",
        "done": True,
        "done_reason": "stop",
        "message": {"role": "assistant", "content": "code"},
        "prompt_eval_count": 7,
        "eval_count": 1,
    },
    "responses": {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "u",
        "output": [
            {
                "type": "message",
                "id": "m",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "code", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8},
    },
}
MAKERS = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}


def inquiry(st: Stage, by: str = "llm") -> Inquiry:
    return Inquiry(st.gen, Story(st.daemon, client_format="openai", endpoint="/x"), by)


def silent(up):
    async def script(it) -> None:
        await it.request()
        await it.closed()

    return script


@pytest.mark.parametrize("fmt", MAKERS)
async def test_a_provider_is_asked_in_its_own_format_and_with_its_key(
    fmt: str, autojump_clock
) -> None:
    provider = MAKERS[fmt](key=Secret("k-1"))
    async with stage(provider, up={"a": replies(200, SAID[fmt])}) as st:
        answer = await inquiry(st).ask("a", "small", "which?", system="one word", max_tokens=9)
        (asked,) = st.asked["a"]
    assert answer == "code"
    assert asked.json["model"] == "small"
    assert "which?" in asked.body.decode()
    assert "one word" in asked.body.decode()
    assert not asked.json.get("stream")
    assert "k-1" in (asked.headers.get("authorization") or asked.headers.get("x-api-key"))
    assert 9 in (*asked.json.values(), asked.json.get("options", {}).get("num_predict"))


@pytest.mark.parametrize("fmt", ["openai", "ollama"])
async def test_vectors_come_one_for_each_text(fmt: str, autojump_clock) -> None:
    vectors = [[1.0, 2.0], [3.0, 4.0]]
    said = {"model": "e", "embeddings": vectors}
    if fmt == "openai":
        said = {"model": "e", "data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)]}
    async with stage(MAKERS[fmt](), up={"a": replies(200, said)}) as st:
        assert await inquiry(st).embed("a", "e", ["x", "y"]) == vectors
        assert st.asked["a"][0].json["input"] == ["x", "y"]


async def test_every_question_is_one_record_of_its_own(autojump_clock) -> None:
    async with stage(ollama(), up={"a": replies(200, SAID["ollama"])}) as st:
        await inquiry(st).ask("a", "small", "which?")
    record = st.record
    assert (record.end, record.status, record.endpoint) == ("complete", 200, "internal")
    assert (record.provider, record.sent_model, record.rule) == ("a", "small", "internal llm")
    assert (record.usage.input, record.usage.output) == (7, 1)
    assert record.notes[0].startswith("for llm of req_")
    assert len(st.sink.told) == 1  # its progress is nobody's


async def test_it_counts_as_load_while_it_runs(autojump_clock) -> None:
    seen = []

    async def script(up) -> None:
        await up.request()
        seen.append(st.daemon.in_flight_at["a"])
        await up.reply(200, SAID["openai"])

    async with stage(openai(), up={"a": script}) as st:
        await inquiry(st).ask("a", "small", "which?")
    assert seen == [1]


@pytest.mark.parametrize(
    ("provider", "model", "words"),
    [
        (openai(local=False), "m", "provider 'a' is remote"),
        (ollama(), "big:cloud", "'big:cloud' does not run where its server is"),
        (ollama(), "big:120b-cloud", "does not run"),
        (openai(credentials="client"), "m", "clients' credentials"),
        (openai("b"), "m", "there is no provider 'a'"),
    ],
)
async def test_whom_a_private_text_must_not_reach_is_not_asked(
    provider, model: str, words: str, autojump_clock
) -> None:
    async with stage(provider, up={provider.name: REFUSED}) as st:
        with pytest.raises(AskFailed, match=words):
            await inquiry(st).ask("a", model, "which?")
        with pytest.raises(AskFailed, match=words):
            await inquiry(st).embed("a", model, ["x"])
        assert st.dialled == []


async def test_the_owner_may_let_it_leave(autojump_clock) -> None:
    async with stage(openai(local=False), up={"a": replies(200, SAID["openai"])}) as st:
        assert await inquiry(st).ask("a", "m", "which?", allow_remote=True) == "code"


NEAR = Policy("policies[0]", tags=("pii",), local=True, networks=("10.1.0.0/16",))


@pytest.mark.parametrize(
    ("allow", "policies", "label"),
    [
        (False, (), Label(local_only=True)),
        (True, (), Label()),
        (False, (NEAR,), Label(local_only=True, networks=("10.1.0.0/16",))),
        (True, (NEAR,), Label(local_only=True, networks=("10.1.0.0/16",))),
    ],
)
async def test_the_door_itself_is_told_that_it_must_stay(
    allow, policies, label, autojump_clock
) -> None:
    up, by = {"a": replies(200, SAID["openai"])}, Routing(policies=policies)
    async with stage(openai(), up=up, routing=by) as st:
        await inquiry(st).ask("a", "m", "which?", allow_remote=allow)
        assert st.labels == [label]


async def test_a_policy_that_may_bind_the_text_holds_for_the_question_about_it(
    autojump_clock,
) -> None:
    by = Routing(policies=(Policy("policies[0]", tags=("pii",), deny=("a",)),))
    async with stage(openai(local=False), up={"a": REFUSED}, routing=by) as st:
        with pytest.raises(AskFailed, match=r"a: policies\[0\] denies it"):
            await inquiry(st).ask("a", "m", "which?", allow_remote=True)
        assert st.dialled == []


async def test_anthropic_has_no_vectors(autojump_clock) -> None:
    async with stage(anthropic(), up={"a": REFUSED}) as st:
        with pytest.raises(AskFailed, match="no embeddings"):
            await inquiry(st).embed("a", "m", ["x"])


async def test_no_answer_in_time_is_the_end_of_it(autojump_clock) -> None:
    async with stage(openai(), up={"a": silent(None)}) as st:
        begun = trio.current_time()
        with pytest.raises(AskFailed, match=r"a/m: no answer within 2\.5 s"):
            await inquiry(st).ask("a", "m", "which?", timeout_s=2.5)
        assert trio.current_time() - begun == pytest.approx(2.5)
    assert (st.record.end, st.record.error_kind) == ("stalled", "timeout:total")


@pytest.mark.parametrize(
    ("up", "words"),
    [
        (replies(500, {"error": {"message": "out of memory"}}), "out of memory"),
        (replies(404, {"error": {"message": "no such model"}}), "no such model"),
        (replies(200, b"<html>", "text/html"), "a/m: "),
        (replies(302, b"", headers=[("location", "http://b/")]), "redirect"),
        (REFUSED, "connection refused"),
    ],
)
async def test_a_failure_is_said_in_words_and_recorded(up, words: str, autojump_clock) -> None:
    async with stage(openai(), up={"a": up}) as st:
        with pytest.raises(AskFailed, match=words):
            await inquiry(st).ask("a", "m", "which?")
    assert st.record.end == "upstream_error"


async def test_after_failures_in_a_row_nobody_waits_for_a_while(autojump_clock) -> None:
    async with stage(openai(), up={"a": [silent(None)] * 3 + [replies(200, SAID["openai"])]}) as st:
        for _ in range(3):
            with pytest.raises(AskFailed, match="no answer"):
                await inquiry(st).ask("a", "m", "which?", timeout_s=1)
        begun = trio.current_time()
        with pytest.raises(AskFailed, match="failed again and again, the last time: no answer"):
            await inquiry(st).ask("a", "m", "which?", timeout_s=1)
        assert trio.current_time() == begun
        await trio.sleep(5)
        assert await inquiry(st).ask("a", "m", "which?") == "code"
        assert not st.daemon.inquiries.circuits()


async def test_a_provider_that_is_left_alone_is_left_alone_by_this_too(autojump_clock) -> None:
    async with stage(openai(), up={"a": REFUSED}, healthy=False) as st:
        with pytest.raises(AskFailed, match="a is left alone"):
            await inquiry(st).ask("a", "m", "which?")
        assert st.dialled == []


async def test_one_of_several_keys_is_taken_and_rests_when_it_is_refused(autojump_clock) -> None:
    keys = (Secret("k-1"), Secret("k-2"))
    no = replies(429, {"error": {"message": "slow down"}}, headers=[("retry-after", "60")])
    up = {"a": [no, replies(200, SAID["openai"])]}
    async with stage(openai(keys=keys, key=keys[0]), up=up) as st:
        with pytest.raises(AskFailed, match="slow down"):
            await inquiry(st).ask("a", "m", "which?")
        assert await inquiry(st).ask("a", "m", "which?") == "code"
        used = [asked.headers.get("authorization") for asked in st.asked["a"]]
    assert used == ["Bearer k-1", "Bearer k-2"]


async def test_a_model_keeps_its_one_size_of_context(autojump_clock) -> None:
    """Another one would load it anew."""
    loaded = {"a": {"small": ModelInfo("small", loaded=True, loaded_context=16384)}}
    async with stage(ollama(), up={"a": replies(200, SAID["ollama"])}, models=loaded) as st:
        await inquiry(st).ask("a", "small", "which?")
        assert st.asked["a"][0].json["options"]["num_ctx"] == 16384


async def test_a_client_that_leaves_takes_the_question_along(autojump_clock) -> None:
    async with stage(openai(), up={"a": silent(None)}) as st:
        with trio.move_on_after(1):
            await inquiry(st).ask("a", "m", "which?", timeout_s=60)
    assert st.record.end == "client_gone"


def test_what_stays_here_and_what_does_not() -> None:
    assert leaves(ollama(), "llama3.2:3b") == ""
    assert leaves(ollama(), "x:cloud")
    assert leaves(ollama(), "x", ModelInfo("x", native={"remote_host": "https://ollama.com"}))
    assert leaves(openai(local=False), "x")


# --- in the course of a request -------------------------------------------------------------------

LABELS = {"provider": "a", "model": "small", "labels": {"code": "", "legal": ""}}


async def test_a_classifier_asks_and_no_classifier_sees_the_question(autojump_clock) -> None:
    up = {"a": [replies(200, SAID["openai"]), replies(200, chat_answer("hello"))]}
    llm = Installed("llm", LLM(LABELS), LABELS)
    async with stage(openai(), up=up, classifiers=[llm]) as st:
        out = await st.ask("openai", request("openai"))
        assert len(st.asked["a"]) == 2
    assert out.headers.get("x-router-request-tags") == "code"
    asked, served = st.sink.records
    assert (asked.endpoint, asked.tags) == ("internal", ())
    assert (served.endpoint, served.tags) == ("/v1/chat/completions", ("code",))
    assert json.loads(out.body)["choices"][0]["message"]["content"] == "hello"


async def test_a_classifier_that_gets_no_answer_leaves_its_tags_unknown(autojump_clock) -> None:
    up = {"a": [silent(None), replies(200, chat_answer("hello"))]}
    settings = {**LABELS, "timeout": 0.5}
    llm = Installed("llm", LLM(settings), settings)
    async with stage(openai(), up=up, classifiers=[llm]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 200
    record = st.sink.records[-1]
    assert record.tags == ()
    assert "classifier llm failed" in record.notes


async def test_a_policy_for_a_tag_that_nobody_could_judge_binds(autojump_clock) -> None:
    """The classifier's model hangs: what might be legal stays here, and what is only code may go."""
    settings = {**LABELS, "timeout": 0.5}
    llm = Installed("llm", LLM(settings), settings)
    statuses = []
    for tag in ("legal", "weather"):
        by = Routing(
            aliases={"m": ("far/x",)}, policies=(Policy("policies[0]", tags=(tag,), local=True),)
        )
        up = {"a": silent(None), "far": replies(200, chat_answer("hello"))}
        providers = openai(), openai("far", local=False)
        async with stage(*providers, up=up, routing=by, classifiers=[llm]) as st:
            out = await st.ask("openai", request("openai"))
            assert st.dialled == (["a"] if tag == "legal" else ["a", "far"])
        statuses.append(out.status)
    assert statuses == [403, 200]


async def test_a_question_waits_for_a_place_like_everybody_and_not_for_ever(autojump_clock) -> None:
    """The one place is taken by a request that takes an hour."""

    async def slow(up) -> None:
        await up.request()
        await trio.sleep(3600)
        await up.reply(200, SAID["openai"])

    async with stage(openai("a", slots=Slots(at_once=1)), up={"a": slow}) as st:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(1)
            begun = trio.current_time()
            with pytest.raises(AskFailed, match="no place for it in time"):
                await inquiry(st).ask("a", "m", "which?", timeout_s=5.0)
            assert trio.current_time() - begun == pytest.approx(5.0, abs=0.1)
        gate = st.daemon.admission.gates["a"]
        assert gate.queue.idle


@pytest.mark.parametrize(("local", "said"), [(False, "[covered]"), (True, "my words")])
async def test_what_leaves_is_covered_and_what_stays_is_not(local: bool, said: str) -> None:
    def leaving(asked: Request) -> Request:
        return replace(asked, messages=(Message("user", (Text("[covered]"),)),))

    up = [replies(200, SAID["openai"]), replies(200, {"data": [{"embedding": [1.0]}]})]
    async with stage(openai("a", local=local), up={"a": up}) as st:
        story = Story(st.daemon, client_format="openai", endpoint="/x")
        asking = Inquiry(st.gen, story, "llm", leaving)
        await asking.ask("a", "m", "my words", allow_remote=True)
        await asking.embed("a", "m", ["my words"], allow_remote=True)
        first, second = (asked.json for asked in st.asked["a"])
    assert first["messages"][-1]["content"] == said
    assert second["input"] == [said]


async def test_what_cannot_be_covered_is_not_asked() -> None:
    def leaving(asked: Request) -> Request:
        raise PluginFailed("too much")

    async with stage(openai("a", local=False), up={"a": REFUSED}) as st:
        story = Story(st.daemon, client_format="openai", endpoint="/x")
        asking = Inquiry(st.gen, story, "llm", leaving)
        with pytest.raises(AskFailed, match="too much"):
            await asking.ask("a", "m", "my words", allow_remote=True)
        assert st.dialled == []
