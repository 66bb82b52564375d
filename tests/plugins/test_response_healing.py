"""llmrouterd/plugins/response_healing.py"""

import json

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import (
    Event,
    Failed,
    Finished,
    PartEnded,
    Response,
    Started,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolStarted,
    ToolUse,
)
from formats.errors import Failure
from formats.fold import fold, unfold
from llmrouterd.hooks import Context
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.plugins.response_healing import ResponseHealing, healed
from tests.pipeline.stage import (
    STREAM,
    chat_answer,
    chat_stream,
    chunk,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
    usage_chunk,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("```\n[1, 2]\n```", [1, 2]),
        ('Here you are:\n```json\n{"a": [1]}\n```\nAnything else?', {"a": [1]}),
        ('```json\n{"a": 1', {"a": 1}),
        ('Sure! {"a": 1} Hope that helps.', {"a": 1}),
        ('{"a": 1,}', {"a": 1}),
        ("[1, 2, ]", [1, 2]),
        ('{"a": [1, {"b": 2,},],}', {"a": [1, {"b": 2}]}),
        ('{"a": "cut of', {"a": "cut of"}),
        ('{"a": "cut in an escape \\', {"a": "cut in an escape "}),
        ('{"a": "a quote \\"', {"a": 'a quote "'}),
        ('{"a": "cut in a number \\u00', {"a": "cut in a number "}),
        ('{"a": "no number \\\\u00', {"a": "no number \\u00"}),
        ('{"a": {"b": [1, 2', {"a": {"b": [1, 2]}}),
        ('{"a": [1,', {"a": [1]}),
        ('{"a": 1,', {"a": 1}),
        ('[1] is short, {"a": "long"} is it', {"a": "long"}),
        ('Use {x} and then {"a": 1}', {"a": 1}),
        ('{"a": "[not, a, list,]",}', {"a": "[not, a, list,]"}),
        ('{"a": "```"} is it', {"a": "```"}),
    ],
)
def test_what_was_meant_as_json_becomes_json(text, meant):
    assert json.loads(healed(text)) == meant


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', " [1] ", "7", '"text"', "null", "", "Hello.", "{", "}{", "[1}", '{"a"', '{"a":'],
)
def test_what_is_json_already_or_cannot_be_made_so_is_left_alone(text):
    result = healed(text)
    assert result is None or json.loads(result) in ({}, [1])


def test_json_that_is_whole_is_not_touched_to_the_character():
    assert healed('{ "a" : 1 }') is None


def test_a_key_without_a_value_gets_none_made_up():
    assert healed('{"a": 1, "b":') is None
    assert healed('{"a": 1, "b"') is None


@given(VALUES.filter(lambda value: isinstance(value, dict | list)))
def test_any_value_in_a_fence_is_found(value):
    assert json.loads(healed(f"Here:\n```json\n{json.dumps(value)}\n```\n")) == value


@given(st.text(alphabet='{}[]",\\: a1`\n'))
def test_any_text_gives_json_or_nothing(text):
    result = healed(text)
    if result is not None:
        assert isinstance(json.loads(result), dict | list)


def test_an_answer_full_of_brackets_is_read_a_few_times_only():
    assert healed("[" * 200_000) is None
    assert healed("[1 2]" * 50_000) is None


async def heal(*parts, stop="end_turn"):
    response = Response("id", "m", parts, stop)
    return response, await ResponseHealing({}).post_response(
        response, Context("response-healing", {})
    )


async def test_the_answer_waits_until_it_is_whole():
    assert ResponseHealing.whole_response


async def test_the_healed_text_takes_the_place_of_all_texts():
    _, after = await heal(Thought("hm"), Text("Sure: "), Text('{"a": 1,}'))
    assert after.parts == (Thought("hm"), Text('{"a": 1}'))


async def test_an_answer_that_needs_nothing_is_the_same_object():
    before, after = await heal(Text('{"a": 1}'))
    assert after is before


async def test_an_answer_with_a_call_is_left_alone():
    before, after = await heal(Text("I look at [1]"), ToolUse("c", "look", "{}"))
    assert after is before


async def test_words_of_a_refusal_stay():
    before, after = await heal(Text("no {", refusal=True))
    assert after is before


# --- as it flows ----------------------------------------------------------------------------------

FLOWING = {"stream": True}


def flowing(*events: Event, **settings: object) -> tuple[list[Event], bool]:
    plugin, ctx = ResponseHealing({}), Context("response-healing", FLOWING | settings)
    out = [each for event in events for each in plugin.on_event(event, ctx)]
    return out, ctx.changed


def stream_of(*texts: str) -> list[Event]:
    deltas = [TextDelta(0, text) for text in texts]
    return [Started("", ""), *deltas, PartEnded(0), Finished("end_turn")]


@given(
    st.text(alphabet='{}[]",\\: a1`\n', max_size=30)
    | st.lists(st.integers(), max_size=5).map(lambda value: f"```json\n{value},\n```"),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_stream_says_what_the_whole_answer_would(text, sizes, two_parts):
    """Wherever it is cut, and in however many parts."""
    at, turn, deltas = 0, 0, []
    while at < len(text):
        size = sizes[turn % len(sizes)]
        part = 2 if two_parts and at > len(text) // 2 else 0
        deltas.append(TextDelta(part, text[at : at + size]))
        at, turn = at + size, turn + 1
    parts = sorted({delta.part for delta in deltas})
    thought = [ThoughtDelta(1, "hm"), PartEnded(1)]
    events = [Started("", ""), *thought, *deltas, *map(PartEnded, parts), Finished("end_turn")]
    whole = fold(flowing(*unfold(Response("", "", (Text(text),))))[0])
    cut = fold(flowing(*events)[0])
    assert cut.text == whole.text
    assert [part for part in cut.parts if isinstance(part, Thought)] == [Thought("hm")]


def test_every_part_that_began_ends_once_and_before_the_end():
    out, changed = flowing(*stream_of('{"a": ', "1,", "}", " there"))
    assert out == [
        Started("", ""),
        TextDelta(0, '{"a": '),
        TextDelta(0, "1"),
        TextDelta(0, "}"),
        TextDelta(0, " "),
        PartEnded(0),
        Finished("end_turn"),
    ]
    assert changed


def test_what_only_waited_was_not_changed():
    out, changed = flowing(*stream_of("Well", ", no."))
    assert fold(out).text == "Well, no."
    assert not changed


def test_from_the_first_call_on_everything_goes_on_as_it_is():
    call = ToolStarted(1, "c", "f")
    events = [TextDelta(0, '{"a": 1,'), PartEnded(0), call, PartEnded(1), TextDelta(2, "]")]
    out, changed = flowing(*events)
    assert out == [
        TextDelta(0, '{"a": 1'),
        TextDelta(0, ","),
        PartEnded(0),
        call,
        PartEnded(1),
        TextDelta(2, "]"),
    ]
    assert not changed


def test_a_stream_that_fails_gives_out_what_waited():
    failed = Failed(Failure("truncated", "x"))
    out, _ = flowing(TextDelta(0, "Sure: "), failed)
    assert out == [TextDelta(0, "Sure: "), PartEnded(0), failed]


def test_without_text_there_is_nothing_to_say():
    events = [Started("", ""), Finished("end_turn")]
    assert flowing(*events)[0] == events
    assert flowing(*stream_of("", ""))[0] == events
    call = ToolStarted(1, "c", "f")
    assert flowing(TextDelta(0, ""), call)[0] == [call]


def test_without_the_setting_events_pass_and_the_answer_waits():
    events = stream_of('{"a": 1,}')
    assert flowing(*events, stream=False) == (events, False)
    assert ResponseHealing({}).waits(Context("response-healing", {}))
    assert not ResponseHealing({}).waits(Context("response-healing", FLOWING))


async def test_a_whole_answer_is_not_healed_twice():
    answer = Response("", "", (Text('{"a": 1,}'),))
    ctx = Context("response-healing", FLOWING)
    assert await ResponseHealing({}).post_response(answer, ctx) is answer


def test_a_wrong_setting_is_named():
    with pytest.raises(ValueError, match="stream"):
        ResponseHealing({"stream": 1})


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama", "responses"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_every_client_gets_json_as_it_flows(
    client: str, streamed: bool, autojump_clock: trio.testing.MockClock
) -> None:
    words = ["Sure:\n``", '`json\n{"a"', ": 1", ',\n "b": [1, 2,', "]", "}\n```\nBye."]
    whole = replies(200, chat_answer("".join(words)))
    pieces = [sse(role_chunk(), done=False), *(sse(said(word), done=False) for word in words)]
    up = streams(STREAM["openai"], *pieces, sse(chunk({}, "stop"), usage_chunk()))
    asked = request(client, stream=streamed, plugins=[{"id": "response-healing", **FLOWING}])
    seen: list[bytes] = []

    async def each(data: bytes) -> None:
        seen.append(data)

    plugin = Installed("response-healing", ResponseHealing({}), {}, enabled=False)
    async with stage(openai(), up={"a": up if streamed else whole}, plugins=[plugin]) as st_:
        out = await st_.ask(client, asked, each=each)
    assert out.status == 200
    if streamed:
        decoder = FORMATS[client].decoder(limit=1 << 20)
        answer = fold([*decoder.feed(out.body), *decoder.eof()])
        early = next(at for at, data in enumerate(seen) if b'\\"a\\"' in data)
        assert early < len(seen) - 1, "it waited for the end"
    else:
        answer = FORMATS[client].parse_response(out.body)
    assert json.loads(answer.text) == {"a": 1, "b": [1, 2]}
    assert st_.record.plugins == ("response-healing",)
    assert st_.record.response.text == answer.text


async def test_an_answer_that_needs_no_healing_is_not_said_to_be_healed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked = request("openai", stream=True, plugins=[{"id": "response-healing", **FLOWING}])
    up = streams(STREAM["openai"], chat_stream('{"a"', ": [1", ", 2]}"))
    plugin = Installed("response-healing", ResponseHealing({}), {}, enabled=False)
    async with stage(openai(), up={"a": up}, plugins=[plugin]) as st_:
        await st_.ask("openai", asked)
    assert st_.record.response.text == '{"a": [1, 2]}'
    assert st_.record.plugins == ()
