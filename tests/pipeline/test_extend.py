"""Plugins in the course of a request: order, settings, what of them is told."""

import json
from dataclasses import replace

import pytest
import trio
import trio.testing

from formats.canonical import Request
from formats.jsontext import parse_body
from llmrouterd.hooks import Context
from llmrouterd.model import Caller
from llmrouterd.pipeline import extend
from llmrouterd.pipeline.story import Story
from tests.pipeline.plugged import (
    FORMATS,
    PROVIDERS,
    Diary,
    Scripted,
    Tagger,
    Wired,
    answering,
    both,
    installed,
    with_text,
)
from tests.pipeline.stage import (
    REFUSED,
    openai,
    replies,
    request,
    stage,
)

# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_every_hook_comes_to_each_plugin_in_its_turn(
    fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    quiet = {"recall": lambda value, ctx: None}
    plugins = [Wired("one", diary, **quiet), Wired("two", diary, **quiet)]
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=plugins) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    hooks = ["on_arrival", "on_start", "recall", "pre_request", "on_event"]
    hooks += ["post_response", "on_release", "on_end"]
    assert diary.lines == [f"{each}.{hook}" for hook in hooks for each in ("one", "two")]
    kept, end = plugins[0].given["on_release"]
    assert (kept.body, end) == (out.body, "complete")
    assert st.record.plugins == ()


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
    async with stage(PROVIDERS[fmt](), up={"a": replies(500, b"")}, plugins=[plugin]) as st:
        await st.ask(fmt, request(fmt, stream=stream))
    body = st.asked["a"][0].json
    sent = json.dumps(body["input" if fmt == "responses" else "messages"])
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
    provider = PROVIDERS[fmt if same else "openai" if fmt == "ollama" else "ollama"]()
    async with stage(provider, up={"a": replies(500, b"")}, plugins=plugins) as st:
        await st.ask(fmt, request(fmt, plugins=asked))
    assert one.seen[0].settings == {"a": 1, "b": 3, "c": 4}
    assert not two.seen
    assert "plugins" not in st.asked["a"][0].json
    assert st.record.dropped == () or "plugins" not in st.record.dropped


async def test_the_plugins_member_is_never_forwarded_even_without_any_plugin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for fmt, provider in PROVIDERS.items():
        async with stage(provider(), up={"a": replies(500, b"")}) as st:
            await st.ask(fmt, request(fmt, plugins=[{"id": "web"}]))
        assert "plugins" not in st.asked["a"][0].json


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


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("hook", ["on_start", "pre_request", "post_response"])
@both
async def test_what_a_plugin_says_it_changed_is_in_the_record_and_the_head(
    hook: str, fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    plugins = [
        Scripted("one", diary, **{hook: lambda value, ctx: ctx.modified() or value}),
        Scripted("two", diary),
    ]
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=plugins) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert st.record.plugins == ("one",)
    late = stream and hook == "post_response"  # the head has gone out by then
    assert out.headers.get("x-router-plugins") == (None if late else "one")


async def test_what_a_plugin_notes_is_in_the_record_under_its_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    plugins = [
        Scripted("one", diary, on_start=lambda value, ctx: ctx.notes.append("a") or value),
        Scripted("two", diary, pre_request=lambda value, ctx: ctx.notes.append("b") or value),
    ]
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=plugins) as st:
        await st.ask("openai", request("openai"))
    assert st.record.notes == ("one: a", "two: b")
    assert st.record.plugins == ()


async def test_a_plugin_knows_whose_request_it_is(autojump_clock: trio.testing.MockClock) -> None:
    plugin = Scripted("one", Diary())
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        st.callers["k"] = Caller("anna")
        await st.ask("openai", request("openai"), [("x-router-key", "k")])
    assert [ctx.client for ctx in plugin.seen] == ["anna"] * 3


class Owned(Scripted):
    owned = frozenset({"limit"})


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("enabled", [False, True])
@both
async def test_a_request_that_names_a_setting_of_the_owners_is_refused(
    fmt: str, enabled: bool, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    diary = Diary()
    plugin = installed(Owned("one", diary), enabled=enabled, limit=1, taste="salt")
    asked = [{"id": "one", "taste": "sugar", "limit": 2}]
    async with stage(openai(), up={"a": REFUSED}, plugins=[plugin]) as st:
        out = await st.ask(fmt, request(fmt, stream=stream, plugins=asked))
    assert out.status == 400
    assert "the setting 'limit' of plugin 'one'" in out.body.decode()
    assert diary.lines == ["one.on_end"]
    assert (st.record.end, st.record.fault) == ("refused", "client")


async def test_other_settings_of_such_a_plugin_are_the_requests_to_change(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hook = Owned("one", Diary())
    plugin = installed(hook, limit=1, taste="salt")
    asked = [{"id": "one", "taste": "pepper"}, {"id": "one", "taste": "sugar"}]
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", plugins=asked))
    assert out.status == 200
    assert hook.seen[0].settings == {"limit": 1, "taste": "sugar"}


# --- the client's own text ------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
async def test_text_that_a_plugin_has_changed_along_passes_on(
    hook: str, autojump_clock: trio.testing.MockClock
) -> None:
    def respell(request_: Request, ctx: Context) -> Request:
        return replace(request_, raw=parse_body(request_.raw.spliced({"seed": 7})))

    body = b'{"model": "m",   "messages": [{"role": "user", "content": "hi"}], "odd": 1.50}'
    plugin = Scripted("one", Diary(), **{hook: respell})
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=[plugin]) as st:
        await st.ask("openai", body)
    sent = st.asked["a"][0].body
    assert sent == body.replace(b'"m"', b'"a-model"').replace(b"1.50}", b'1.50,"seed":7}')


async def test_text_that_says_something_else_by_now_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One plugin has changed the text along, the next one has not."""

    def respell(request_: Request, ctx: Context) -> Request:
        return replace(request_, raw=parse_body(request_.raw.spliced({"odd": 7})))

    diary = Diary()
    plugins = [
        Scripted("one", diary, on_start=respell),
        Scripted("two", diary, pre_request=with_text("changed")),
    ]
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=plugins) as st:
        await st.ask("openai", request("openai"))
    assert st.asked["a"][0].json["messages"] == [{"role": "user", "content": "changed"}]


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
