"""Answers that a client goes on from by their id."""

import json

import pytest

from formats.errors import Failure
from formats.responses import parse_request
from llmrouterd.model import Candidate, Facts, Provider
from llmrouterd.pipeline.answers import (
    Answers,
    Resumed,
    Shelves,
    at_home,
    object_of,
    resumed,
)
from tests.pipeline.stage import STREAM, chat_answer, chat_stream, replies, stage, streams

HOME = Candidate("vendor", "gpt", "r")


def said(name: str, text: str) -> dict:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": f"msg_{name}", "role": "assistant", "content": content}
    return {"id": name, "object": "response", "output": [{**message, "status": "completed"}]}


def asked(**more):
    return parse_request(json.dumps({"model": "m", "input": "and now?", **more}).encode())


def kept(**more) -> Answers:
    answers = Answers(**more)
    first = {"type": "message", "role": "user", "content": "hi"}
    answers.keep(said("resp_1", "hello"), (first,), 10, None)
    return answers


def texts(found: Resumed | Failure) -> list[str]:
    assert isinstance(found, Resumed)
    return ["".join(part.text for part in m.parts) for m in found.request.messages]


# --- going on -------------------------------------------------------------------------------------


def test_a_request_without_a_reference_is_left_alone() -> None:
    found = resumed(asked(), Answers(), upstream_may_know=False)
    assert texts(found) == ["and now?"]
    assert found.home is None
    assert found.wants
    assert found.request.extra["store"] is True


def test_a_client_that_wants_nothing_kept() -> None:
    found = resumed(asked(store=False), Answers(), upstream_may_know=False)
    assert not found.wants
    assert found.request.extra["store"] is False


def test_the_earlier_turns_stand_before_the_new_one() -> None:
    answers = kept()
    found = resumed(asked(previous_response_id="resp_1"), answers, upstream_may_know=False)
    assert texts(found) == ["hi", "hello", "and now?"]
    assert "previous_response_id" not in found.request.extra
    answers.keep(said("resp_2", "more"), found.before, 10, None)
    again = resumed(asked(previous_response_id="resp_2"), answers, upstream_may_know=False)
    assert texts(again) == ["hi", "hello", "and now?", "more", "and now?"]


def test_an_id_that_nobody_knows_is_refused_in_openai_s_words() -> None:
    found = resumed(asked(previous_response_id="resp_9"), kept(), upstream_may_know=False)
    assert isinstance(found, Failure)
    assert (found.code, found.param) == ("previous_response_not_found", "previous_response_id")
    assert "resp_9" in found.message


def test_an_upstream_of_the_format_may_know_it() -> None:
    found = resumed(asked(previous_response_id="resp_9"), kept(), upstream_may_know=True)
    assert isinstance(found, Resumed)
    assert found.request.extra["previous_response_id"] == "resp_9"
    assert not found.wants  # its earlier turns are not known here


def test_an_answer_of_an_upstream_s_own_goes_back_there_as_it_is() -> None:
    answers = Answers()
    answers.keep(said("resp_up", "hello"), (), 10, HOME)
    found = resumed(asked(previous_response_id="resp_up"), answers, upstream_may_know=True)
    assert isinstance(found, Resumed)
    assert found.home == HOME
    assert found.request.extra["previous_response_id"] == "resp_up"


def test_items_may_be_referred_to_one_by_one() -> None:
    reference = {"type": "item_reference", "id": "msg_resp_1"}
    request = asked(input=[reference, {"role": "user", "content": "and now?"}])
    assert texts(resumed(request, kept(), upstream_may_know=False)) == ["hello", "and now?"]


def test_an_item_that_nobody_knows_is_refused_by_its_name() -> None:
    request = asked(input=[{"role": "user", "content": "x"}, {"id": "msg_9"}])
    found = resumed(request, kept(), upstream_may_know=False)
    assert isinstance(found, Failure)
    assert found.param == "input"
    assert "Item with id 'msg_9' not found" in found.message
    assert isinstance(resumed(request, kept(), upstream_may_know=True), Resumed)


# --- keeping --------------------------------------------------------------------------------------


def test_it_is_bounded_in_number() -> None:
    answers = Answers(most=2)
    for name in "abc":
        answers.keep(said(name, "x"), (), 1, None)
    assert len(answers) == 2
    assert answers.get("a") is None
    assert answers.get("c") is not None


def test_it_is_bounded_in_bytes() -> None:
    answers = Answers(most_bytes=100)
    answers.keep(said("a", "x"), (), 60, None)
    answers.keep(said("b", "x"), (), 60, None)
    assert (answers.get("a"), len(answers)) == (None, 1)
    answers.keep(said("huge", "x"), (), 101, None)
    assert answers.get("huge") is None
    answers.keep(said("b", "again"), (), 30, None)
    answers.keep(said("c", "x"), (), 60, None)
    assert len(answers) == 2


def test_it_forgets() -> None:
    now = 0.0
    answers = kept(kept_s=10, clock=lambda: now)
    now = 9.9
    assert answers.get("resp_1") is not None
    now = 10.0
    assert answers.get("resp_1") is None
    assert len(answers) == 0


def test_it_drops_what_it_is_told_to() -> None:
    answers = kept()
    assert answers.drop("resp_1")
    assert not answers.drop("resp_1")
    assert answers.get("resp_1") is None


@pytest.mark.parametrize("answer", [{}, {"id": ""}, {"id": 7}])
def test_what_has_no_id_is_not_kept(answer: dict) -> None:
    answers = Answers()
    answers.keep(answer, (), 1, None)
    assert len(answers) == 0


def test_an_answer_may_still_be_text() -> None:
    assert object_of(b'{"id": "x"}') == {"id": "x"}
    assert object_of(b"[") is None
    assert object_of(b"[]") is None
    assert object_of(None) is None


# --- on the walk ----------------------------------------------------------------------------------


def body(**more) -> dict:
    return {"model": "m", "input": "hi", **more}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_over_an_upstream_that_keeps_nothing(stream: bool) -> None:
    script = (
        streams(STREAM["openai"], chat_stream("hello"))
        if stream
        else replies(200, chat_answer("hello"))
    )
    provider = Provider("a", "openai", "http://a/v1")
    async with stage(provider, up={"a": script}) as st:
        out = await st.ask("responses", body(stream=stream))
        assert out.status == 200
        if stream:
            events = out.body.split(b"\n\n")
            last = next(x for x in events if b'"response.completed"' in x)
            answer = json.loads(last.split(b"data: ", 1)[1])["response"]
        else:
            answer = out.json
        assert answer["store"] is True
        await st.ask("responses", body(input="more", previous_response_id=answer["id"]))
        sent = st.asked["a"][1].json["messages"]
    assert [(m["role"], m["content"]) for m in sent] == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "more"),
    ]


async def test_what_is_gone_is_a_clear_400() -> None:
    provider = Provider("a", "openai", "http://a/v1")
    async with stage(provider, up={"a": replies(200, chat_answer("x"))}) as st:
        out = await st.ask("responses", body(previous_response_id="resp_gone"))
        assert st.asked["a"] == []
    assert (out.status, out.json["error"]["code"]) == (400, "previous_response_not_found")
    assert (st.record.end, st.record.fault) == ("refused", "client")


async def test_an_upstream_s_own_answer_sticks_to_it() -> None:
    up = {"b": replies(200, {**said("resp_b", "hello"), "status": "completed", "model": "up"})}
    up["a"] = replies(500, {"error": {"message": "down"}})
    providers = [Provider(n, "responses", f"http://{n}/v1", max_retries=0) for n in "ab"]
    async with stage(*providers, up=up) as st:
        first = await st.ask("responses", body())
        assert (first.status, first.headers.get("x-router-provider")) == (200, "b")
        again = await st.ask("responses", body(previous_response_id="resp_b"))
        assert again.headers.get("x-router-provider") == "b"
        assert len(st.asked["a"]) == 1, "nobody else knows that answer"
        assert st.asked["b"][1].json["previous_response_id"] == "resp_b"
        assert st.asked["b"][1].json["model"] == "b-model"


async def test_a_follow_up_is_asked_for_by_all_the_names_in_it(nursery) -> None:
    """Whoever keeps answers elsewhere is asked once."""
    asked: list = []

    class Elsewhere(Shelves):
        async def known(self, client, names):
            asked.append((client, names))
            return Failure("no_hub", "not there")

    provider = Provider("a", "openai", "http://a/v1")
    async with stage(provider, up={"a": replies(200, chat_answer("x"))}) as st:
        st.daemon.shelves = Elsewhere()
        items = [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "hi"}]
        out = await st.ask("responses", body(input=items, previous_response_id="resp_1"))
        assert (out.status, out.headers.get("x-router-error")) == (503, "no_hub")
        assert st.asked["a"] == []
    assert asked == [("", ["resp_1", "msg_1"])]


def test_policies_for_the_name_that_was_asked_for_go_along_to_the_home_of_an_answer() -> None:
    known = at_home(Facts("finance"), HOME)
    assert (known.model, known.asked, known.forced) == (HOME.model, "finance", HOME.provider)
