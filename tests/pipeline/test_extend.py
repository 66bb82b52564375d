"""Plugins and classifiers in the course of a request: order, results, failures, opt-in."""

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
import trio
import trio.testing

from formats import FORMATS as MODULES
from formats.canonical import Event, Message, Request, Response, Text, TextDelta, ToolUse
from formats.fold import fold
from llmrouterd.hooks import Context, Place, Plugin, PluginFailed, PluginRefused, Stop
from llmrouterd.model import ModelInfo, Record
from llmrouterd.pipeline import extend, handle
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.pipeline.story import Story
from llmrouterd.plugins.redact import Redact
from llmrouterd.plugins.response_healing import ResponseHealing
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    anthropic,
    chat_answer,
    chat_stream,
    ollama,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
)

SSE = STREAM["openai"]
FORMATS = ["openai", "anthropic", "ollama"]
EARLY = Response("", "early-model", (Text("from the plugin"),))


class Diary:
    """Who was called, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []


class Scripted(Plugin):
    """A plugin that notes its calls and does what each hook's entry says."""

    def __init__(self, id_: str, diary: Diary, **does: object) -> None:
        self.id = id_
        self.diary = diary
        self.does = does
        self.seen: list[Context] = []
        self.record: Record | None = None
        self.whole_response = bool(does.get("whole"))

    def _do(self, hook: str, value: object, ctx: Context) -> object:
        self.diary.lines.append(f"{self.id}.{hook}")
        self.seen.append(replace(ctx))
        deed = self.does.get(hook)
        if isinstance(deed, Exception):
            raise deed
        if callable(deed):
            return deed(value, ctx)
        return value if deed is None else deed

    async def on_start(self, request: Request, ctx: Context):
        return self._do("on_start", request, ctx)

    async def pre_request(self, request: Request, ctx: Context):
        return self._do("pre_request", request, ctx)

    async def post_response(self, response: Response, ctx: Context):
        return self._do("post_response", response, ctx)

    async def on_end(self, record: Record) -> None:
        self.diary.lines.append(f"{self.id}.on_end")
        self.record = record
        if isinstance(deed := self.does.get("on_end"), Exception):
            raise deed


class Tagger:
    """A classifier of requests or, with three arguments, of answers."""

    def __init__(self, id_: str, diary: Diary, *tags: str, error: Exception | None = None) -> None:
        self.id = id_
        self.diary = diary
        self.tags = tags
        self.error = error
        self.seen: list = []

    async def classify(self, *given: object):
        self.diary.lines.append(self.id)
        self.seen.append(given)
        if self.error is not None:
            raise self.error
        return self.tags


def with_text(text: str):
    def change(request_: Request, ctx: Context) -> Request:
        return replace(request_, messages=(Message("user", (Text(text),)),))

    return change


def installed(hook, *, enabled: bool = True, **settings) -> Installed:
    return Installed(hook.id, hook, settings, enabled)


def answering(*, stream: bool):
    return streams(SSE, chat_stream("from a")) if stream else replies(200, chat_answer("from a"))


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


# --- order ----------------------------------------------------------------------------------------


@both
async def test_the_hooks_run_in_their_order(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    one, two = Scripted("one", diary), Scripted("two", diary)
    up = answering(stream=stream)

    async def noting(it) -> None:
        diary.lines.append("provider")
        await up(it)

    async with stage(
        openai(),
        up={"a": noting},
        plugins=[one, two],
        classifiers=[installed(Tagger("classifier", diary, "b", "a", "b"))],
        response_classifiers=[installed(Tagger("response classifier", diary, "refusal"))],
    ) as st:
        out = await st.ask("openai", request("openai", stream=stream), [("te", "trailers")])
    assert diary.lines == [
        "one.on_start",
        "two.on_start",
        "classifier",
        "one.pre_request",
        "two.pre_request",
        "provider",
        "one.post_response",
        "two.post_response",
        "response classifier",
        "one.on_end",
        "two.on_end",
    ]
    assert out.headers.get("x-router-request-tags") == "a,b"
    late = out.trailers if stream else out.headers
    assert late.get("x-router-response-tags") == "refusal"
    assert st.record.tags == ("a", "b")
    assert st.record.response_tags == ("refusal",)
    assert st.record.plugins == ()
    assert one.seen[0].tags == ()
    assert one.seen[1].tags == ("a", "b")
    assert one.record is st.record


async def test_plugins_are_of_the_configurations_order_not_of_the_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    plugins = [installed(Scripted(n, diary), enabled=False) for n in ("one", "two")]
    asked = [{"id": "two"}, {"id": "one"}]
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=plugins) as st:
        await st.ask("openai", request("openai", plugins=asked))
    assert diary.lines[:2] == ["one.on_start", "two.on_start"]


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_a_changed_request_is_what_the_provider_gets(
    hook: str, fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """The client's own text must not be passed on then, though the format is the same."""
    diary = Diary()
    plugin = Scripted("one", diary, **{hook: with_text("changed")})
    provider = {"openai": openai, "anthropic": anthropic, "ollama": ollama}[fmt]()
    async with stage(provider, up={"a": replies(500, b"")}, plugins=[plugin]) as st:
        await st.ask(fmt, request(fmt, stream=stream))
    sent = json.dumps(st.asked["a"][0].json["messages"])
    assert "changed" in sent
    assert '"hi"' not in sent
    assert st.record.plugins == ("one",)


async def test_the_next_plugin_and_the_classifiers_see_the_changed_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    tagger = Tagger("c", diary, "t")
    seen: list[str] = []

    def look(request_: Request, ctx: Context) -> Request:
        seen.append(request_.messages[0].parts[0].text)
        return request_

    async with stage(
        openai(),
        up={"a": answering(stream=False)},
        plugins=[
            Scripted("one", diary, on_start=with_text("changed")),
            Scripted("two", diary, on_start=look),
        ],
        classifiers=[installed(tagger)],
    ) as st:
        await st.ask("openai", request("openai"))
    assert seen == ["changed"]
    assert tagger.seen[0][0].messages[0].parts[0].text == "changed"
    assert st.record.plugins == ("one",)


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


# --- per request ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("same", [True, False])
async def test_a_request_turns_plugins_on_with_settings_over_the_configured_ones(
    fmt: str, same: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    one, two = Scripted("one", diary), Scripted("two", diary)
    plugins = [installed(one, enabled=False, a=1, b=2), installed(two, enabled=False)]
    asked = [{"id": "one", "b": 3, "c": 4}, {"id": "nobody", "x": 1}]
    provider = {"openai": openai, "anthropic": anthropic, "ollama": ollama}[
        fmt if same else "openai" if fmt == "ollama" else "ollama"
    ]()
    async with stage(provider, up={"a": replies(500, b"")}, plugins=plugins) as st:
        await st.ask(fmt, request(fmt, plugins=asked))
    assert one.seen[0].settings == {"a": 1, "b": 3, "c": 4}
    assert not two.seen
    assert "plugins" not in st.asked["a"][0].json
    assert st.record.dropped == () or "plugins" not in st.record.dropped


async def test_the_plugins_member_is_never_forwarded_even_without_any_plugin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for fmt, provider in (("openai", openai), ("anthropic", anthropic), ("ollama", ollama)):
        async with stage(provider(), up={"a": replies(500, b"")}) as st:
            await st.ask(fmt, request(fmt, plugins=[{"id": "web"}]))
        assert "plugins" not in st.asked["a"][0].json


@pytest.mark.parametrize("fmt", FORMATS)
async def test_a_plugin_of_a_later_version_is_missed_and_not_ignored(fmt: str) -> None:
    async with stage(openai(), up={"a": REFUSED}, plugins_later=frozenset({"web"})) as st:
        answer = await st.ask(fmt, request(fmt, plugins=[{"id": "web"}]))
    assert answer.status == 501
    assert "plugin 'web' is not available in this version" in answer.body.decode()
    assert (st.record.end, st.record.fault) == ("refused", "client")


async def test_a_plugin_forces_a_provider_past_the_rules(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    plugins = [
        Scripted("one", diary, pre_request=lambda r, ctx: ctx.force("a") or r),
        Scripted("two", diary, pre_request=lambda r, ctx: (ctx.force("b"), ctx.modified(), r)[2]),
    ]
    up = {"a": REFUSED, "b": answering(stream=False)}
    async with stage(openai("a"), openai("b"), up=up, plugins=plugins) as st:
        out = await st.ask("openai", request("openai"))
    assert st.dialled == ["b"]
    assert out.headers.get("x-router-provider") == "b"
    assert st.asked["b"][0].json["model"] == "m"
    assert st.record.plugins == ("two",)


@both
async def test_a_forced_provider_that_does_not_exist_is_a_400(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Scripted("one", Diary(), pre_request=lambda r, ctx: ctx.force("gone") or r)
    async with stage(openai(), up={"a": REFUSED}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 400
    assert out.headers.get("x-router-error") == "no_provider"
    assert "no provider configured for model 'm'" in out.json["error"]["message"]
    assert st.record.end == "refused"


@pytest.mark.parametrize("hook", ["on_start", "post_response"])
async def test_what_a_plugin_says_it_changed_is_in_the_record(
    hook: str, autojump_clock: trio.testing.MockClock
) -> None:
    plugin = Scripted("one", Diary(), **{hook: lambda value, ctx: ctx.modified() or value})
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai"))
    assert st.record.plugins == ("one",)


# --- events ---------------------------------------------------------------------------------------


class Bleep(Plugin):
    """Changes events as they pass; fails on one word, drops another."""

    id = "bleep"

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        if isinstance(event, TextDelta):
            if event.text == "boom":
                raise ValueError("bang")
            if event.text == "drop":
                return ()
            return (replace(event, text=event.text.replace("damn", "****")),)
        return (event,)


@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_a_plugin_edits_events_of_streams_and_whole_answers_alike(
    fmt: str,
    stream: bool,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["damn ", "drop", "boom", " end"] if stream else ["damn "]
    up = streams(SSE, *(sse(role_chunk(), *map(said, words), done=False), chat_stream()))
    up = up if stream else replies(200, chat_answer("damn "))
    async with stage(openai(), up={"a": up}, plugins=[Bleep()]) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert b"****" in out.body
    assert b"damn" not in out.body
    assert b"drop" not in out.body
    assert st.record.plugins == ("bleep",)
    assert st.record.response.text == ("**** boom end" if stream else "**** ")
    if stream:
        assert b"boom" in out.body
        assert "plugin 'bleep' failed in on_event: bang" in caplog.text


async def test_streams_keep_their_pace_when_a_plugin_only_looks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    plugin = Scripted("one", diary)
    script = streams(SSE, *(sse(said(f"{i}"), done=False) for i in range(3)), chat_stream())
    seen: list[str] = []

    async def each(data: bytes) -> None:
        seen.append("piece" if "one.post_response" not in diary.lines else "late")

    async with stage(openai(), up={"a": script}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=True), each=each)
    assert seen[:3] == ["piece"] * 3


@pytest.mark.parametrize("client", FORMATS)
async def test_a_stream_is_healed_and_unfolded_in_the_clients_format(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    parts = ["Sure:\n```json\n", '{"a": 1,', ' "b": [1, 2,]', "}\n```\n"]
    script = streams(SSE, sse(role_chunk(), *map(said, parts), done=False), chat_stream())
    plugin = installed(ResponseHealing({}), enabled=client == "ollama")
    asked = {} if client == "ollama" else {"plugins": [{"id": "response-healing"}]}
    async with stage(openai(), up={"a": script}, plugins=[plugin]) as st:
        out = await st.ask(client, request(client, stream=True, **asked))
    assert (out.headers.get("content-type") or "").startswith(STREAM[client])
    decoder = MODULES[client].decoder(limit=1 << 20)
    answer = fold([*decoder.feed(out.body), *decoder.eof()])
    assert isinstance(answer, Response)
    assert json.loads(answer.text) == {"a": 1, "b": [1, 2]}
    assert st.record.plugins == ("response-healing",)
    assert st.record.response.text == answer.text


@pytest.mark.parametrize("client", FORMATS)
async def test_without_te_trailers_there_are_none(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(
        openai(),
        up={"a": answering(stream=True)},
        response_classifiers=[installed(Tagger("late", Diary(), "r"))],
    ) as st:
        asked = await st.ask(client, request(client, stream=True), [("te", "trailers")])
        plain = await st.ask(client, request(client, stream=True))
    assert asked.trailers.get("x-router-response-tags") == "r"
    assert asked.trailers.get("x-router-input-tokens") == "7"
    assert asked.trailers.get("x-router-output-tokens") == "3"
    assert list(plain.trailers) == []
    assert [r.response_tags for r in st.sink.records] == [("r",), ("r",)]


# --- alone ----------------------------------------------------------------------------------------


async def test_a_request_without_extensions_has_nothing_to_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(openai(), up={"a": answering(stream=False)}) as st:
        story = Story(st.daemon, client_format="openai", endpoint="/x")
        ext = extend.Extensions(st.gen, Request("openai", "m"), story)
    assert not ext.active
    assert not ext.edits_events
    assert not ext.wants_response
    assert not ext.wants_end()
    assert ext.forced is None


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


class Sleeper(Plugin):
    id = "sleeper"

    def __init__(self, hook: str) -> None:
        self._hook = hook

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        if self._hook == "pre_request":
            await trio.sleep(60)
        return request

    async def post_response(self, response: Response, ctx: Context) -> Response:
        if self._hook == "post_response":
            await trio.sleep(60)
        return response


@both
async def test_a_hook_before_the_answer_that_takes_too_long_fails_the_request(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    slow = Installed("sleeper", Sleeper("pre_request"), timeout_s=2.0)
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[slow]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 500
    assert "longer than 2 s" in out.json["error"]["message"]


@both
async def test_a_hook_after_the_answer_that_takes_too_long_is_skipped(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    slow = Installed("sleeper", Sleeper("post_response"), timeout_s=2.0)
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[slow]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 200
    assert b"from a" in out.body


# --- what plugins tell, and how they may be asked for ---------------------------------------------


class Telling(Plugin):
    """Says something in a hook; whoever says `please` has asked for it."""

    id = "telling"

    def __init__(self, hook: str = "pre_request", **fields: str) -> None:
        self.hook = hook
        self.fields = fields

    def asked_for(self, request: Request) -> bool:
        if request.user == "broken":
            raise ValueError("ill")
        return request.user == "please"

    def _tell(self, hook: str, ctx: Context) -> None:
        if hook == self.hook:
            ctx.notes.append("a note")
            ctx.fields.update(self.fields)

    async def on_start(self, request: Request, ctx: Context) -> Request:
        self._tell("on_start", ctx)
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        self._tell("pre_request", ctx)
        return request

    async def post_response(self, response: Response, ctx: Context) -> Response:
        self._tell("post_response", ctx)
        return response


@both
@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
async def test_what_a_plugin_tells_is_in_the_answers_head_and_in_the_record(
    hook: str, stream: bool, autojump_clock
) -> None:
    plugin = Telling(hook, Sources="https://x/ä\r\nevil: 1", **{"b ad": "x"})
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.headers.get("x-router-telling-sources") == "https://x/???evil: 1"
    assert out.headers.get("evil") is None
    assert not [name for name, _ in out.headers.raw if b"ad" in name and b"telling" in name]
    assert st.record.notes == ("telling: a note",)


async def test_what_is_told_after_the_answer_is_in_the_record(autojump_clock) -> None:
    plugin = Telling("post_response")
    async with stage(openai(), up={"a": answering(stream=True)}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=True))
    assert st.record.notes == ("telling: a note",)


async def test_what_a_plugin_tells_of_itself_is_bounded(autojump_clock) -> None:
    plugin = Telling(**{f"n{number}": "x" * 5000 for number in range(50)})
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    told = [value for name, value in out.headers.raw if name.startswith(b"x-router-telling-")]
    assert [len(value) for value in told] == [1024] * 8


@pytest.mark.parametrize(("user", "runs"), [("please", True), ("no", False), ("broken", False)])
async def test_a_plugin_may_know_by_the_request_that_it_is_asked_for(
    user: str, runs: bool, autojump_clock
) -> None:
    plugin = installed(Telling(), enabled=False)
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", user=user))
    assert out.status == 200
    assert st.record.notes == (("telling: a note",) if runs else ())


# --- before each attempt --------------------------------------------------------------------------


class Fits(Plugin):
    """Makes the request fit the provider, or says why it cannot be."""

    id = "fits"

    def __init__(self, **does: object) -> None:
        self.does = does
        self.places: list[Place] = []

    async def on_attempt(self, request: Request, place: Place, ctx: Context) -> Request:
        self.places.append(place)
        deed = self.does.get(place.provider)
        if isinstance(deed, Exception):
            raise deed
        ctx.notes.append(f"for {place.provider}")
        return request if deed is None else with_text(str(deed))(request, ctx)


@both
async def test_each_attempt_has_a_request_of_its_own(stream: bool, autojump_clock) -> None:
    plugin = Fits(a="for a", b="for b")
    up = {"a": replies(500, {"error": {"message": "x"}}), "b": answering(stream=stream)}
    b = openai("b", local=False)
    models = {"b": {"b-model": ModelInfo("b-model", capabilities=frozenset({"completion"}))}}
    async with stage(openai("a"), b, up=up, plugins=[plugin], models=models) as st:
        out = await st.ask("openai", request("openai", stream=stream))
        sent = [st.asked[name][0].json["messages"][0]["content"] for name in ("a", "b")]
    assert out.status == 200
    assert sent == ["for a", "for b"]
    assert plugin.places == [
        Place("a", "a-model", "openai"),
        Place("b", "b-model", "openai", local=False, capabilities=frozenset({"completion"})),
    ]
    assert st.record.plugins == ("fits",)
    assert st.record.notes == ("fits: for a", "fits: for b")


async def test_one_that_cannot_be_made_to_fit_is_passed_over(autojump_clock) -> None:
    plugin = Fits(a=PluginFailed("a has no room for it"))
    up = {"a": answering(stream=False), "b": answering(stream=False)}
    async with stage(openai("a"), openai("b"), up=up, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
        assert st.asked["a"] == []
    assert out.headers.get("x-router-provider") == "b"


async def test_when_it_fits_nobody_the_client_is_told_why(autojump_clock) -> None:
    plugin = Fits(a=PluginFailed("a has no room for it"))
    async with stage(openai("a"), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
        assert st.asked["a"] == []
    assert out.status == 400
    assert out.json["error"]["message"].endswith("plugin 'fits': a has no room for it")


async def test_a_bug_before_an_attempt_is_a_500_that_names_the_plugin(autojump_clock) -> None:
    plugin = Fits(a=ZeroDivisionError("ill"))
    async with stage(openai("a"), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 500
    assert "plugin 'fits' failed: ill" in out.json["error"]["message"]


async def test_the_clients_mistake_is_a_400(autojump_clock) -> None:
    plugin = Scripted("strict", Diary(), pre_request=PluginRefused("this cannot be read"))
    async with stage(openai("a"), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 400
    assert "plugin 'strict': this cannot be read" in out.json["error"]["message"]


@both
async def test_what_is_added_for_an_attempt_is_covered_like_the_rest_and_comes_back(
    stream: bool, autojump_clock
) -> None:
    redact = Installed("redact", Redact({"kinds": ["email"]}))
    adds = Fits(a="from the document: ann@bergwerk.de")
    up = (
        streams(SSE, chat_stream("to [EMA", "IL_1]"))
        if stream
        else replies(200, chat_answer("to [EMAIL_1]"))
    )
    async with stage(openai("a"), up={"a": up}, plugins=[redact, adds]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
        sent = st.asked["a"][0].body.decode()
    assert "ann@bergwerk.de" not in sent
    assert "from the document: [EMAIL_1]" in sent
    assert "ann@bergwerk.de" in out.body.decode().replace('"}', "")  # in one piece or in the next


async def test_when_what_was_added_cannot_be_covered_nothing_is_sent(autojump_clock) -> None:
    class Ill(Plugin):
        id = "ill"

        def on_send(self, request: Request, ctx: Context) -> Request:
            raise ValueError("no")

    async with stage(openai("a"), up={"a": REFUSED}, plugins=[Ill(), Fits(a="x")]) as st:
        out = await st.ask("openai", request("openai"))
        assert st.dialled == []
    assert out.status == 500
    assert "plugin 'ill' failed: no" in out.json["error"]["message"]


async def test_a_text_that_leaves_by_itself_is_covered(autojump_clock) -> None:
    said: list[str] = []

    def asks(request_: Request, ctx: Context) -> Request:
        said.append(ctx.leaving("who is ann@bergwerk.de?"))
        return request_

    redact = Installed("redact", Redact({"kinds": ["email"]}))
    plugins = [Scripted("asks", Diary(), pre_request=asks), redact]
    async with stage(openai("a"), up={"a": answering(stream=False)}, plugins=plugins) as st:
        await st.ask("openai", request("openai"))
    assert said == ["who is [EMAIL_1]?"]
