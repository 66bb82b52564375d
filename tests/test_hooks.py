"""The protocols of what may be plugged in."""

import pytest

from formats.canonical import Request, Response, Text, TextDelta
from llmrouterd.hooks import Classifier, Context, FetchFailed, Plugin, ResponseClassifier, Stop
from llmrouterd.model import Record

REQUEST = Request("openai", "m")
RESPONSE = Response("", "m", (Text("x"),))
RECORD = Record(1, "req_1", 0, "complete", 200, "openai", "/x", "m")


async def test_the_base_of_all_plugins_does_nothing() -> None:
    plugin, ctx = Plugin(), Context("p", {})
    assert await plugin.on_start(REQUEST, ctx) is REQUEST
    assert await plugin.pre_request(REQUEST, ctx) is REQUEST
    assert await plugin.post_response(RESPONSE, ctx) is RESPONSE
    event = TextDelta(0, "x")
    assert list(plugin.on_event(event, ctx)) == [event]
    await plugin.on_end(RECORD)
    assert (ctx.forced, ctx.changed, ctx.notes) == (None, False, [])
    assert not plugin.whole_response
    assert not plugin.edits_events


def test_a_context_belongs_to_one_plugin_and_one_request() -> None:
    one, two = Context("a", {"x": 1}), Context("b", {})
    one.force("cloud")
    one.modified()
    one.notes.append("n")
    assert (one.forced, one.changed, one.notes) == ("cloud", True, ["n"])
    assert (two.forced, two.changed, two.notes) == (None, False, [])


async def test_without_a_fetcher_fetching_fails_in_words() -> None:
    with pytest.raises(FetchFailed, match="not possible here"):
        await Context("a", {}).fetch("GET", "http://x")


def test_a_stop_may_carry_an_answer() -> None:
    assert Stop().response is None
    assert Stop(RESPONSE).response is RESPONSE


async def test_classifiers_need_no_base_class() -> None:
    class Words:
        id = "words"

        async def classify(self, request: Request, ctx: Context) -> list[str]:
            return ["t"]

    class Late:
        id = "late"

        async def classify(self, request: Request, response: Response, ctx: Context) -> list[str]:
            return [response.text]

    early: Classifier = Words()
    late: ResponseClassifier = Late()
    assert await early.classify(REQUEST, Context("words", {})) == ["t"]
    assert await late.classify(REQUEST, RESPONSE, Context("late", {})) == ["x"]
