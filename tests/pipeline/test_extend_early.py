"""Plugins that answer a request, or stop it: before the provider and after it."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from formats.canonical import ToolUse
from llmrouterd.hooks import Stop
from tests.pipeline.plugged import (
    EARLY,
    FORMATS,
    Diary,
    Scripted,
    Tagger,
    answering,
    both,
    installed,
)
from tests.pipeline.stage import (
    REFUSED,
    openai,
    request,
    stage,
)

# --- answers before the provider ------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@both
@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
@pytest.mark.parametrize("how", ["answer", "stop"])
async def test_an_early_answer_skips_the_provider_and_still_has_post_response(
    how: str, hook: str, stream: bool, fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    deed = EARLY if how == "answer" else Stop(EARLY)
    one = Scripted("one", diary, **{hook: deed})
    two = Scripted("two", diary)
    async with stage(
        openai(),
        up={"a": REFUSED},
        plugins=[one, two],
        classifiers=[installed(Tagger("classifier", diary, "t"))],
        response_classifiers=[installed(Tagger("late", diary, "r"))],
    ) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert st.dialled == []
    assert out.status == 200
    assert b"from the plugin" in out.body
    assert out.headers.get("x-router-provider") == "plugin"
    assert out.headers.get("x-router-model") == "early-model"
    assert st.record.provider == "plugin"
    assert st.record.plugins == ("one",)
    assert st.record.end == "complete"
    rest = ["one.post_response", "two.post_response", "late", "one.on_end", "two.on_end"]
    all_of_them = ["one.on_start", "two.on_start", "classifier"]
    all_of_them += ["one.pre_request", "two.pre_request"]
    before = {
        ("on_start", "answer"): all_of_them,
        ("on_start", "stop"): ["one.on_start"],
        ("pre_request", "answer"): all_of_them,
        ("pre_request", "stop"): all_of_them[:-1],
    }
    assert diary.lines == before[hook, how] + rest


async def test_a_stop_after_an_answer_of_another_plugin_keeps_that_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    plugins = [Scripted("one", diary, on_start=EARLY), Scripted("two", diary, on_start=Stop())]
    async with stage(openai(), up={"a": REFUSED}, plugins=plugins) as st:
        out = await st.ask("openai", request("openai"))
    assert b"from the plugin" in out.body
    assert st.record.plugins == ("one", "two")


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_a_stop_without_an_answer_is_a_500(
    hook: str, fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    async with stage(
        openai(), up={"a": REFUSED}, plugins=[Scripted("one", diary, **{hook: Stop()})]
    ) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert out.status == 500
    assert out.headers.get("x-router-error") == "plugin"
    assert out.headers.get("x-should-retry") == "false"
    assert "without answering" in st.record.error
    assert st.record.end == "internal_error"
    assert st.record.fault == "owner"
    assert st.record.plugins == ("one",)
    assert st.dialled == []
    assert diary.lines[-1] == "one.on_end"


async def test_an_early_answer_that_the_format_cannot_show_is_an_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    broken = replace(EARLY, parts=(ToolUse("1", "f", "not json"),), stop="tool_use")
    async with stage(
        openai(), up={"a": REFUSED}, plugins=[Scripted("one", Diary(), on_start=broken)]
    ) as st:
        out = await st.ask("ollama", request("ollama"))
    assert out.status >= 500
    assert out.json["error"]
    assert st.record.end == "internal_error"


@both
async def test_a_stop_in_post_response_skips_response_classifiers_and_on_end(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    plugins = [Scripted("one", diary, post_response=Stop()), Scripted("two", diary)]
    async with stage(
        openai(),
        up={"a": answering(stream=stream)},
        plugins=plugins,
        response_classifiers=[installed(Tagger("late", diary, "r"))],
    ) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert b"from a" in out.body
    assert diary.lines[-1] == "one.post_response"
    assert st.record.plugins == ("one",)
    assert st.record.response_tags == ()


async def test_a_stop_in_post_response_may_bring_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin = Scripted("one", Diary(), post_response=Stop(EARLY))
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    assert b"from the plugin" in out.body
    assert st.record.response == EARLY
