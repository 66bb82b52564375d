"""Before each attempt: what plugins make of a request for the one provider that is asked next."""

from formats.canonical import Request
from llmrouterd.hooks import Context, Place, Plugin, PluginFailed, PluginRefused
from llmrouterd.model import ModelInfo
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.plugins.redact import Redact
from tests.pipeline.plugged import Diary, Scripted, answering, both, with_text
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    chat_answer,
    chat_stream,
    openai,
    replies,
    request,
    stage,
    streams,
)

SSE = STREAM["openai"]

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
