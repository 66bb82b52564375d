"""Classifiers that fail, and what nobody knows then."""

import pytest
import trio
import trio.testing

from llmrouterd.pipeline import handle
from llmrouterd.pipeline.daemon import Installed
from tests.pipeline.plugged import (
    Diary,
    Tagger,
    answering,
    both,
    installed,
)
from tests.pipeline.stage import (
    chat_answer,
    openai,
    replies,
    request,
    stage,
)


@both
async def test_failing_classifiers_are_skipped(
    stream: bool, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()
    async with stage(
        openai(),
        up={"a": answering(stream=stream)},
        classifiers=[
            installed(Tagger("bad", diary, error=KeyError("x"))),
            installed(Tagger("good", diary, "t")),
        ],
        response_classifiers=[
            installed(Tagger("late bad", diary, error=RuntimeError())),
            installed(Tagger("late good", diary, "r")),
        ],
    ) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 200
    assert st.record.tags == ("t",)
    assert st.record.response_tags == ("r",)
    assert "classifier 'bad' failed" in caplog.text
    assert "response classifier 'late bad' failed: RuntimeError" in caplog.text


# --- what a failed classifier leaves unknown ------------------------------------------------------


async def known_facts(monkeypatch, *classifiers):
    """The facts on which the request of these classifiers was routed."""
    seen = []
    decide = handle.decide

    def looking(known, fleet, routing):
        seen.append(known)
        return decide(known, fleet, routing)

    monkeypatch.setattr(handle, "decide", looking)
    up = {"a": answering(stream=False)}
    async with stage(openai(), up=up, classifiers=map(installed, classifiers)) as st:
        out = await st.ask("openai", request("openai"))
        assert out.status == 200
    return seen[0], st.record


class Judge(Tagger):
    """A classifier that says which tags it may set."""

    def __init__(self, id_: str, may_set: tuple[str, ...], *tags: str, fails: bool = False) -> None:
        super().__init__(id_, Diary(), *tags, error=OSError("away") if fails else None)
        self.may_set = may_set


async def test_the_tags_of_a_failed_classifier_are_unknown(monkeypatch, autojump_clock) -> None:
    known, record = await known_facts(
        monkeypatch,
        Judge("one", ("pii", "code"), "code"),
        Judge("two", ("private", "legal"), fails=True),
    )
    assert known.tags == ("code",)
    assert known.unknown_tags == {"private", "legal"}
    assert [known.may_be(tag) for tag in ("code", "private", "pii")] == [True, True, False]
    assert record.notes == ("classifier two failed",)


@pytest.mark.parametrize("found", ["pii", [1], 5, None])
async def test_what_is_no_list_of_tags_is_a_classifiers_failure(
    found: object, monkeypatch, autojump_clock
) -> None:
    judge = Judge("one", ("pii",))
    judge.tags = found
    known, record = await known_facts(monkeypatch, judge)
    assert (known.tags, known.unknown_tags) == ((), {"pii"})
    assert record.notes == ("classifier one failed",)


async def test_a_classifier_with_a_time_of_its_own_is_skipped_after_it(autojump_clock) -> None:
    class Slow(Judge):
        async def classify(self, *given: object):
            await trio.sleep(1000)

    slow = Installed("slow", Slow("slow", ("pii",)), timeout_s=2.0)
    answers = Installed("late", Slow("late", ("pii",)), timeout_s=2.0)
    begun = trio.current_time()
    async with stage(
        openai(),
        up={"a": replies(200, chat_answer("x"))},
        classifiers=[slow],
        response_classifiers=[answers],
    ) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 200
    assert st.record.notes == ("classifier slow failed",)
    assert trio.current_time() - begun == pytest.approx(4.0)


async def test_what_another_classifier_knows_is_known(monkeypatch, autojump_clock) -> None:
    known, _ = await known_facts(
        monkeypatch, Judge("one", ("pii",), fails=True), Judge("two", ("pii",), "pii")
    )
    assert (known.tags, known.unknown_tags) == (("pii",), frozenset())


async def test_one_that_does_not_say_what_it_may_set_might_set_anything(
    monkeypatch, autojump_clock
) -> None:
    known, _ = await known_facts(monkeypatch, Tagger("one", Diary(), error=OSError("away")))
    assert known.may_be("whatever")


async def test_without_a_failure_nothing_is_unknown(monkeypatch, autojump_clock) -> None:
    known, record = await known_facts(monkeypatch, Judge("one", ("pii",)))
    assert not known.may_be("pii")
    assert known.unknown_tags == frozenset()
    assert record.notes == ()
