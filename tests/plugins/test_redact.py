"""llmrouterd/plugins/redact.py"""

import json
import re
from dataclasses import replace

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import (
    Finished,
    Message,
    PartEnded,
    Request,
    Started,
    Text,
    TextDelta,
    ThoughtDelta,
    ToolDelta,
    ToolStarted,
)
from formats.fold import fold
from llmrouterd.hooks import Along, Context, PluginFailed, PluginRefused
from llmrouterd.plugins import redact
from llmrouterd.plugins.redact import Redact
from tests.pipeline.stage import (
    STREAM,
    anthropic,
    chat_stream,
    chunk,
    ollama,
    openai,
    replies,
    request,
    responses,
    sse,
    stage,
    streams,
)

MAIL = "jan.kowalski@firma.pl"
IBAN = "DE89 3704 0044 0532 0130 00"
PROVIDERS = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}


def asked(*texts: str) -> Request:
    return Request("openai", "m", tuple(Message("user", (Text(text),)) for text in texts))


async def covered(request_: Request, plugin: Redact | None = None, **settings):
    ctx = Context("redact", settings)
    return await (plugin or Redact(settings)).pre_request(request_, ctx), ctx


def texts(request_: Request) -> list[str]:
    return [part.text for message in request_.messages for part in message.parts]


async def test_values_are_covered_by_kind_word_and_pattern():
    settings = {"words": ["Nightingale"], "patterns": {"ticket": "TCK-[0-9]+"}}
    out, _ = await covered(asked(f"{MAIL} {IBAN} nightingale TCK-77"), **settings)
    assert texts(out) == ["[EMAIL_1] [IBAN_1] [WORD_1] [TICKET_1]"]


async def test_only_the_kinds_that_were_set_are_covered():
    out, _ = await covered(asked(f"{MAIL} {IBAN}"), kinds=["iban"])
    assert texts(out) == [f"{MAIL} [IBAN_1]"]


async def test_a_request_may_ask_for_more_and_not_for_less():
    plugin = Redact({"kinds": ["email"]})
    out, _ = await covered(asked(f"{MAIL} {IBAN} x"), plugin, kinds=["iban"], words=["x"])
    assert texts(out) == ["[EMAIL_1] [IBAN_1] [WORD_1]"]
    with pytest.raises(PluginFailed, match="kinds"):
        await covered(asked(MAIL), plugin, kinds=["nonsense"])


async def test_every_turn_of_a_conversation_gives_the_same_numbers():
    turns = [f"I am {MAIL}", "and anna@firma.pl?", f"{IBAN} of {MAIL}", "max@firma.pl"]
    before: list[str] = []
    for count in range(1, len(turns) + 1):
        now = texts((await covered(asked(*turns[:count])))[0])
        assert now[:-1] == before
        before = now


async def test_a_value_is_covered_where_it_would_not_have_been_found_by_itself():
    out, _ = await covered(asked("password: hT7#kk29!xQz", "is it hT7#kk29!xQz then?"))
    assert "hT7#kk29!xQz" not in repr(out)


@pytest.mark.parametrize(
    "settings",
    [{"kinds": ["x"]}, {"words": "x"}, {"patterns": {"a": "("}}, {"patterns": {"1": "x"}}],
)
def test_a_wrong_setting_is_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Redact(settings)


SAID = st.lists(
    st.sampled_from(["[EMAIL_1]", "__EMAIL_1__", "[EMAIL_2]", "[EMA", "_", "__", "]", "a", " "]),
    max_size=12,
).map("".join)


async def _table() -> Context:
    return (await covered(asked(MAIL)))[1]


@given(SAID, SAID, SAID, st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_streams_come_back_as_the_whole_answer_would(text, thought, argument, sizes):
    plugin = Redact({})
    ctx = Context("redact", {})
    done = plugin.pre_request(asked(MAIL), ctx)
    with pytest.raises(StopIteration):
        done.send(None)
    arguments = json.dumps({"to": argument})

    def cut(whole: str, made, part: int):
        at, turn = 0, 0
        while at < len(whole):
            size = sizes[turn % len(sizes)]
            yield made(part, whole[at : at + size])
            at, turn = at + size, turn + 1

    pieces = [
        list(cut(thought, ThoughtDelta, 0)),
        list(cut(text, TextDelta, 1)),
        [ToolStarted(2, "c", "mail"), *cut(arguments, ToolDelta, 2)],
    ]
    events = [Started("", "")]
    while any(pieces):  # interleaved, as parallel parts are
        events += [piece.pop(0) for piece in pieces if piece]
    events += [PartEnded(0), PartEnded(1), PartEnded(2), Finished("tool_use")]
    out = fold([each for event in events for each in plugin.on_event(event, ctx)])
    table = ctx.state.table
    by_kind = {type(part).__name__: part for part in out.parts}
    if text:
        assert by_kind["Text"].text == table.restore(text)
    if thought:
        assert by_kind["Thought"].text == table.restore(thought)
    assert by_kind["ToolUse"].input == {"to": table.restore(argument)}


@pytest.mark.parametrize("up", PROVIDERS)
@pytest.mark.parametrize("fmt", [*PROVIDERS, "completions", "generate"])
async def test_no_upstream_sees_a_value(
    fmt: str, up: str, autojump_clock: trio.testing.MockClock
) -> None:
    words = f"I am {MAIL}, IBAN {IBAN}"
    body = request(fmt)
    if "messages" in body:
        body["messages"] = [{"role": "user", "content": words}]
    else:
        body["input" if fmt == "responses" else "prompt"] = words
    schema = {"type": "object", "properties": {"to": {"type": "string", "description": MAIL}}}
    if fmt == "anthropic":
        body |= {"system": words, "tools": [{"name": "t", "input_schema": schema}]}
    elif fmt in ("openai", "ollama"):
        function = {"name": "t", "description": words, "parameters": schema}
        body["tools"] = [{"type": "function", "function": function}]
        body["messages"].insert(0, {"role": "system", "content": words})
    elif fmt == "responses":
        body |= {"instructions": words, "user": MAIL}
    async with stage(PROVIDERS[up](), up={"a": replies(500, b"")}, plugins=[Redact({})]) as st_:
        await st_.ask(fmt, body)
    assert st_.asked["a"], "nobody was asked"
    for each in st_.asked["a"]:
        assert MAIL.encode() not in each.body
        assert IBAN.encode() not in each.body
        assert b"[EMAIL_1]" in each.body


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama", "responses"])
async def test_a_stream_has_the_values_back_at_every_cut(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    body = request(fmt, stream=True)
    body["input" if fmt == "responses" else "messages"] = [{"role": "user", "content": MAIL}]
    up = streams(STREAM["openai"], chat_stream("Write to [EM", "AIL", "_1", "] now"))
    async with stage(openai(), up={"a": up}, plugins=[Redact({})]) as st_:
        out = await st_.ask(fmt, body)
    assert MAIL.encode() in out.body.replace(b'"}}', b"")
    assert b"EMAIL_1" not in out.body
    assert st_.record.response.text == f"Write to {MAIL} now"
    assert st_.record.plugins == ("redact",)


async def test_an_attempt_that_failed_leaves_nothing_in_the_next_ones_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    body = request("openai", stream=True)
    body["messages"] = [{"role": "user", "content": MAIL}]
    broken = streams(STREAM["openai"], sse(chunk({"role": "assistant"}), done=False), cut=True)
    up = {"a": broken, "b": streams(STREAM["openai"], chat_stream("[EMAIL", "_1]"))}
    async with stage(openai("a", max_retries=0), openai("b"), up=up, plugins=[Redact({})]) as st_:
        await st_.ask("openai", body)
    assert st_.record.response.text == MAIL


async def test_an_answer_without_values_to_put_back_is_left_alone():
    plugin = Redact({})
    _, ctx = await covered(asked("hello"), plugin)
    event = TextDelta(0, "[EMAIL_1]")
    assert tuple(plugin.on_event(event, ctx)) == (event,)


# --- where nothing can be put in the place of a value ----------------------------------------------


def holding(fields=(), query: str = "") -> Context:
    return Context("redact", {}, along=Along(list(fields), query))


async def test_what_goes_along_and_holds_a_value_is_left_out() -> None:
    fields = [
        ("user-agent", f"tool ({MAIL})"),
        ("x-note", MAIL.replace("@", "%40")),
        ("authorization", f"Bearer {MAIL}"),  # it is for the server that it goes to
        ("x-request-id", "7"),
    ]
    ctx = holding(fields, f"beta=true&who={MAIL.replace('@', '%40')}&a=b")
    request_ = asked("hello")
    assert await Redact({}).pre_request(request_, ctx) is request_
    assert [name for name, _ in ctx.along.fields] == ["authorization", "x-request-id"]
    assert ctx.along.query == "beta=true&a=b"


async def test_a_value_of_the_words_is_known_in_what_goes_along() -> None:
    ctx = holding([("x-a", "hT7#kk29!xQz")])
    await Redact({}).pre_request(asked("password: hT7#kk29!xQz"), ctx)
    assert ctx.along.fields == []


async def test_token_ids_and_a_name_of_a_model_that_holds_a_value_are_refused() -> None:
    with pytest.raises(PluginRefused, match="token ids"):
        await covered(replace(asked("x"), bound=("input",)))
    with pytest.raises(PluginRefused, match="model"):
        await covered(replace(asked("x"), model=MAIL))


@pytest.mark.parametrize("field", ["service_tier", "verbosity"])
async def test_a_setting_is_covered_but_not_for_the_sake_of_a_word(field: str) -> None:
    request_ = replace(asked("flex"), **{field: "flex"})
    out, _ = await covered(request_, words=["flex"])
    assert (texts(out), getattr(out, field)) == (["[WORD_1]"], "flex")
    out, _ = await covered(replace(request_, **{field: MAIL}))
    assert getattr(out, field) == "__EMAIL_1__"


async def test_a_text_in_percent_encoding_is_read_and_comes_back_as_it_was() -> None:
    url = f"https://a.test/?to={MAIL.replace('@', '%40')}&x=1"
    plugin = Redact({})
    out, ctx = await covered(asked(url), plugin)
    assert texts(out) == ["https://a.test/?to=[EMAIL_1U]&x=1"]
    assert texts(plugin.shown(out, ctx)) == [url]


async def test_a_member_that_no_codec_reads_keeps_the_text_from_passing_on() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    plain = FORMATS["ollama"].parse_request(json.dumps(body).encode())
    assert (await covered(plain))[0] is plain
    tools = [{"type": f"function {MAIL}", "function": {"name": "t", "parameters": {}}}]
    held = FORMATS["ollama"].parse_request(json.dumps({**body, "tools": tools}).encode())
    assert (await covered(held))[0].raw is None


async def test_what_is_sent_beside_the_request_has_its_numbers_or_some_of_its_own() -> None:
    plugin, ctx = Redact({}), Context("redact", {})
    request_ = asked("first@firma.pl", f"and {MAIL}")
    await plugin.on_start(request_, ctx)
    assert texts(plugin.on_send(asked(MAIL), ctx)) == ["[EMAIL_2]"]
    assert ctx.state.table is None  # the request's numbers are not touched
    await plugin.pre_request(request_, ctx)
    assert texts(plugin.on_send(asked(f"{MAIL} third@firma.pl"), ctx)) == ["[EMAIL_2] [EMAIL_3]"]


async def test_too_many_values_are_the_clients_mistake() -> None:
    many = " ".join(f"a{n}@firma.pl" for n in range(4001))
    with pytest.raises(PluginRefused, match="4000"):
        await covered(asked(many))


WORDS = st.text("aAbB\u017f\u0130\u00df\u1e9eskK\u212a", min_size=1, max_size=4)


@given(st.lists(WORDS, min_size=1), st.text("aAbBs\u017f\u0130\u00df\u1e9ekK\u212a ", max_size=30))
def test_words_are_found_as_one_by_one_in_any_case(words, text):
    longest = "|".join(map(re.escape, sorted(set(words), key=len, reverse=True)))
    flat = re.compile(rf"(?<!\w)(?:{longest})(?!\w)", re.IGNORECASE)
    assert redact._any_of(words).sub("#", text) == flat.sub("#", text)


def test_many_words_that_begin_alike_cost_a_long_text_nothing():
    found = redact._any_of(["b", *(f"a{number:05d}" for number in range(9000))])
    assert found.sub("#", " a" * 300_000 + " A00007") == " a" * 300_000 + " #"


async def test_a_request_brings_only_so_many_words_along():
    plugin = Redact({})
    asked = Request("openai", "m", (Message("user", (Text("hi"),)),))
    with pytest.raises(PluginRefused, match="words: more than 65536 characters"):
        await plugin.pre_request(asked, Context("redact", {"words": ["x" * 70_000]}))


@pytest.mark.parametrize("kinds", [[], ["iban"]])
async def test_what_the_owner_turned_on_without_another_word_covers_all_kinds(
    kinds, autojump_clock
):
    body = request("openai", plugins=[{"id": "redact", "kinds": kinds}])
    body["messages"] = [{"role": "user", "content": MAIL}]
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=[Redact({})]) as st_:
        await st_.ask("openai", body)
    assert st_.asked["a"], "nobody was asked"
    assert all(MAIL.encode() not in each.body for each in st_.asked["a"])
