"""Plugins that fail, or take too long, and requests that fail under them."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from formats.canonical import Request
from llmrouterd.hooks import Context, Plugin, PluginFailed, PluginRefused
from llmrouterd.model import Record
from llmrouterd.pipeline import extend
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.pipeline.story import Story
from tests.pipeline.plugged import (
    FORMATS,
    SSE,
    Diary,
    Scripted,
    Slow,
    Wired,
    answering,
    both,
)
from tests.pipeline.stage import (
    REFUSED,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
)

# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_a_failure_before_the_provider_is_a_500_that_names_the_plugin(
    hook: str, fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Scripted("one", Diary(), **{hook: PluginFailed("no such tier")})
    async with stage(openai(), up={"a": REFUSED}, plugins=[plugin]) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert out.status == 500
    assert st.record.error == "plugin 'one' failed: no such tier"
    assert st.record.error in out.body.decode()
    assert (st.record.end, st.record.error_kind, st.record.fault) == (
        "internal_error",
        "plugin",
        "owner",
    )
    assert st.dialled == []


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
async def test_a_plugin_that_forgot_to_return_is_told_so(
    hook: str, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Scripted("one", Diary(), **{hook: lambda value, ctx: None})
    async with stage(openai(), up={"a": REFUSED}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 500
    assert st.record.error.startswith(f"plugin 'one' failed: {hook} returned NoneType")


@pytest.mark.parametrize("hook", ["post_response", "on_end"])
@both
async def test_a_failure_after_the_provider_is_a_warning(
    hook: str,
    stream: bool,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary = Diary()
    plugins = [Scripted("one", diary, **{hook: ValueError("oh")}), Scripted("two", diary)]
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=plugins) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 200
    assert st.record.end == "complete"
    assert f"two.{hook}" in diary.lines
    assert f"plugin 'one' failed in {hook}: oh" in caplog.text


async def test_a_post_response_that_forgot_to_return_changes_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Scripted("one", Diary(), post_response=lambda value, ctx: None)
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    assert b"from a" in out.body
    assert "post_response returned NoneType" in caplog.text


async def test_on_end_is_bounded_in_time(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(Plugin):
        id = "slow"

        async def on_end(self, record: Record) -> None:
            await trio.sleep(3600)

    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[Slow()]) as st:
        begun = trio.current_time()
        await st.ask("openai", request("openai"))
        with trio.fail_after(60):
            while st.daemon.in_flight or not st.sink.records:  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert trio.current_time() - begun < extend.ON_END_S + 1


async def test_on_end_runs_when_the_client_has_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Last(Plugin):
        id = "last"

        def __init__(self) -> None:
            self.ends: list[str] = []

        async def on_end(self, record: Record) -> None:
            await trio.sleep(1)
            self.ends.append(record.end)

    last = Last()
    async with stage(openai(), up={"a": streams(SSE, pause_s=0)}, plugins=[last]) as st:

        async def leave() -> None:
            await trio.testing.wait_all_tasks_blocked()
            st.hang_up()

        async def never(up) -> None:
            await up.request()
            await up.closed()

        st.scripts["a"] = [never]
        out = await st.ask("openai", request("openai"), before_read=leave)
    assert out.cut
    assert last.ends == ["client_gone"]


# --- on_error, timeouts ---------------------------------------------------------------------------


class Mourner(Plugin):
    """Notes what failed, in order with what ended."""

    id = "mourner"

    def __init__(self) -> None:
        self.told: list[str] = []

    async def on_error(self, failure, ctx: Context) -> None:
        self.told.append(failure.kind)

    async def on_end(self, record: Record) -> None:
        self.told.append("end")


@both
async def test_a_request_that_failed_is_told_to_plugins_before_the_end(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Mourner()
    up = {"a": replies(400, {"error": {"message": "no", "type": "invalid_request_error"}})}
    async with stage(openai(), up=up, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=stream))
    assert plugin.told == ["bad_request", "end"]


@both
async def test_a_request_that_went_well_is_no_error(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Mourner()
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=stream))
    assert plugin.told == ["end"]


@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_on_error_and_on_end_come_to_every_plugin_in_their_order(
    fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    plugins = [Wired("one", diary), Wired("two", diary)]
    up = {"a": replies(400, {"error": {"message": "no", "type": "invalid_request_error"}})}
    async with stage(openai(), up=up, plugins=plugins) as st:
        await st.ask(fmt, request(fmt, stream=stream))
    told = [line for line in diary.lines if "on_e" in line or "release" in line]
    assert told == [
        *("one.on_release", "two.on_release"),
        *("one.on_error", "two.on_error"),
        *("one.on_end", "two.on_end"),
    ]
    assert plugins[0].given["on_error"].kind == "bad_request"
    assert plugins[0].given["on_release"] == (None, "refused")


async def test_a_stream_that_breaks_after_its_first_words_is_an_error_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin = Mourner()
    broken = streams(SSE, sse(role_chunk(), said("half"), done=False), cut=True)
    async with stage(openai(), up={"a": broken}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=True))
    assert plugin.told == ["truncated", "end"]


async def test_an_attempt_that_failed_is_no_error_while_another_one_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin = Mourner()
    up = {"a": REFUSED, "b": answering(stream=False)}
    async with stage(openai(), openai("b"), up=up, plugins=[plugin]) as st:
        await st.ask("openai", request("openai"))
    assert plugin.told == ["end"]


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
async def test_the_failure_of_one_plugin_is_an_error_to_all(
    hook: str, autojump_clock: trio.testing.MockClock
) -> None:
    diary, mourner = Diary(), Mourner()
    plugins = [Scripted("one", diary, **{hook: ValueError("oh")}), Scripted("two", diary), mourner]
    async with stage(openai(), up={"a": REFUSED}, plugins=plugins) as st:
        await st.ask("openai", request("openai"))
    assert f"two.{hook}" not in diary.lines
    assert mourner.told == ["plugin", "end"]
    assert diary.lines[-2:] == ["one.on_end", "two.on_end"]


@pytest.mark.parametrize("hook", ["on_error", "on_end", "on_release"])
async def test_one_that_fails_at_the_end_keeps_nobody_from_hearing_of_it(
    hook: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()
    plugins = [Wired("one", diary, **{hook: ValueError("oh")}), Wired("two", diary)]
    up = {"a": replies(400, {"error": {"message": "no"}})}
    async with stage(openai(), up=up, plugins=plugins) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 400
    assert f"two.{hook}" in diary.lines
    assert diary.lines[-1] == "two.on_end"
    assert f"plugin 'one' failed in {hook}: oh" in caplog.text


# --- a client that leaves -------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
async def test_a_hook_ends_when_the_client_leaves(
    hook: str, autojump_clock: trio.testing.MockClock
) -> None:
    diary, mourner = Diary(), Mourner()
    plugins = [Slow(hook, diary), mourner, Wired("three", diary)]
    async with stage(openai(), up={"a": REFUSED}, plugins=plugins) as st:

        async def leave() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            st.hang_up()

        begun = trio.current_time()
        out = await st.ask("openai", request("openai"), before_read=leave)
        assert trio.current_time() - begun < 1
    assert out.cut
    assert diary.lines[-3:] == [f"{hook} over", "three.on_release", "three.on_end"]
    assert mourner.told == ["end"], "a client that leaves is no failure"
    assert (st.record.end, st.record.error) == ("client_gone", None)


@both
async def test_a_client_that_leaves_in_the_middle_of_an_answer_is_told_as_that(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary, mourner = Diary(), Mourner()
    wired = Wired("wired", diary)

    async def endless(up) -> None:
        await up.request()
        await up.head(SSE if stream else "application/json")
        await up.chunk(sse(role_chunk(), said("word"), done=False) if stream else b"{")
        await up.closed()

    async with stage(openai(), up={"a": endless}, plugins=[wired, mourner]) as st:

        async def leave() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            st.hang_up()

        out = await st.ask("openai", request("openai", stream=stream), before_read=leave)
    assert out.cut
    assert diary.lines[-2:] == ["wired.on_release", "wired.on_end"]
    assert "wired.post_response" not in diary.lines
    assert wired.given["on_release"] == (None, "client_gone")
    assert mourner.told == ["end"]


# --- hooks that take too long ---------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
@both
async def test_a_hook_before_the_answer_that_takes_too_long_fails_the_request(
    hook: str, fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    slow = Installed("slow", Slow(hook, diary), timeout_s=2.0)
    async with stage(openai(), up={"a": REFUSED}, plugins=[slow]) as st:
        begun = trio.current_time()
        out = await st.ask(fmt, request(fmt, stream=stream))
        assert trio.current_time() - begun == pytest.approx(2)
    assert out.status == 500
    assert st.record.error == "plugin 'slow' failed: it took longer than 2 s"
    assert st.record.error in out.body.decode()
    assert diary.lines == [f"{hook} over"]
    assert st.dialled == []


@both
async def test_a_hook_after_the_answer_that_takes_too_long_is_skipped(
    stream: bool, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()
    slow = Installed("slow", Slow("post_response", diary), timeout_s=2.0)
    later = Scripted("later", diary)
    up = {"a": answering(stream=stream)}
    async with stage(openai(), up=up, plugins=[slow, later]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 200
    assert b"from a" in out.body
    assert diary.lines[-3:] == ["post_response over", "later.post_response", "later.on_end"]
    assert "plugin 'slow' failed in post_response: it took longer than 2 s" in caplog.text


@pytest.mark.parametrize("hook", ["on_error", "on_end"])
async def test_one_that_takes_too_long_at_the_end_keeps_nobody_from_hearing_of_it(
    hook: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    diary, mourner = Diary(), Mourner()
    slow = Installed("slow", Slow(hook, diary), timeout_s=2.0)
    up = {"a": replies(400, {"error": {"message": "no"}})}
    async with stage(openai(), up=up, plugins=[slow, mourner]) as st:
        await st.ask("openai", request("openai"))
        await trio.sleep(3)
    assert mourner.told == ["bad_request", "end"]
    assert f"plugin 'slow' failed in {hook}: it took longer than 2 s" in caplog.text


async def test_a_request_cannot_change_how_long_a_hook_may_take(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = Installed("slow", Slow("pre_request", Diary()), timeout_s=2.0)
    asked = request("openai", plugins=[{"id": "slow", "timeout": 600, "enabled": False}])
    async with stage(openai(), up={"a": REFUSED}, plugins=[slow]) as st:
        out = await st.ask("openai", asked)
    assert "longer than 2 s" in out.json["error"]["message"]


async def test_without_a_limit_a_hook_takes_as_long_as_it_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    up = {"a": answering(stream=False)}
    async with stage(openai(), up=up, plugins=[Slow("pre_request", diary)]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 200
    assert diary.lines == ["pre_request over"]


# --- hooks that must not be missed ----------------------------------------------------------------


class Besides(Plugin):
    """One that fails where something leaves beside the request, or is shown of it."""

    id = "besides"

    async def on_start(self, request: Request, ctx: Context) -> Request:
        return replace(request, user="changed")

    def on_send(self, request: Request, ctx: Context) -> Request:
        raise ValueError("oh")

    def shown(self, request: Request, ctx: Context) -> Request:
        raise ValueError("oh")


@both
async def test_what_a_request_is_shown_as_is_worth_no_failure(
    stream: bool, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[Besides()]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 200
    assert "plugin 'besides' failed in shown: oh" in caplog.text


async def test_what_one_would_have_done_to_what_leaves_is_not_missed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(openai(), up={}, plugins=[Besides()]) as st:
        story = Story(st.daemon, client_format="openai", endpoint="/x")
        ext = extend.Extensions(st.gen, Request("openai", "m"), story)
        with pytest.raises(PluginFailed, match="plugin 'besides' failed: oh"):
            ext.sent(Request("openai", "m"))


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
@pytest.mark.parametrize("fmt", FORMATS)
async def test_a_request_that_a_plugin_refuses_is_its_clients_fault(
    hook: str, fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Scripted("one", Diary(), **{hook: PluginRefused("too much of it")})
    async with stage(openai(), up={"a": REFUSED}, plugins=[plugin]) as st:
        out = await st.ask(fmt, request(fmt))
    assert out.status == 400
    assert "plugin 'one': too much of it" in out.body.decode()
    assert (st.record.end, st.record.fault) == ("refused", "client")
