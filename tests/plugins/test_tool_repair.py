"""llmrouterd/plugins/tool_repair.py"""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Failed,
    Finished,
    Message,
    PartEnded,
    Request,
    Started,
    Text,
    TextDelta,
    ThoughtDelta,
    Tool,
    ToolChoice,
    ToolDelta,
    ToolStarted,
    ToolUse,
)
from formats.errors import Failure
from formats.fold import fold
from llmrouterd.hooks import Context
from llmrouterd.plugins.tool_repair import ToolRepair
from tests.pipeline.stage import STREAM, chat_answer, chat_stream, openai, replies, request, stage
from tests.pipeline.stage import streams as streams_of

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
TEXTS = (
    CALL,
    "Let me look.\n" + CALL,
    CALL + CALL,
    '{"name": "weather", "arguments": {"city": "Ulm"}}',
    '```json\n{"name": "weather", "arguments": {"city": "Ulm"}}\n```',
    "a < b, <tool, <function and [TOOL_ are words",
    "<tool_call> is how a call begins",
    '{"city": "Ulm"}',
    "```python\nprint()\n```",
    "   ",
    "<function=weather><parameter=city>Ulm</parameter></function>",
)


async def started(**more) -> Context:
    ctx = Context("tool-repair", {})
    tools = (Tool("weather", parameters=SCHEMA),)
    asked = Request("openai", "m", (Message("user", (Text("?"),)),), tools=tools, **more)
    assert await ToolRepair({}).pre_request(asked, ctx) is asked
    return ctx


def told(ctx, *events):
    plugin, ctx.stream = ToolRepair({}), None
    return [out for event in events for out in plugin.on_event(event, ctx)]


def stream(*pieces, thought="", end=None):
    events = [Started("a", "m")]
    events += [ThoughtDelta(0, thought), PartEnded(0)] if thought else []
    part = 1 if thought else 0
    events += [TextDelta(part, piece) for piece in pieces]
    return [*events, PartEnded(part), end or Finished("end_turn", "stop")]


def folded(events):
    answer = fold(events)
    return [p for p in answer.parts if p != Text("")], answer.stop


async def test_a_call_written_as_text_becomes_one():
    ctx = await started()
    parts, stop = folded(told(ctx, *stream("I look. ", CALL, thought="hm")))
    assert [type(p).__name__ for p in parts] == ["Thought", "Text", "ToolUse"]
    assert (parts[2].name, parts[2].input, stop) == ("weather", {"city": "Ulm"}, "tool_use")
    assert ctx.changed
    assert ctx.notes == ["a tool call was written as text"]


async def test_an_answer_that_is_nothing_but_a_call_has_no_empty_text():
    events = told(await started(), *stream(CALL))
    assert [type(e) for e in events] == [Started, ToolStarted, ToolDelta, PartEnded, Finished]


SPLIT = st.sampled_from(TEXTS).flatmap(
    lambda text: st.tuples(st.just(text), st.sets(st.integers(1, max(1, len(text) - 1))))
)


@given(SPLIT)
async def test_for_all_splits_the_stream_is_the_whole_answer(case):
    text, cuts = case
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    whole = folded(told(await started(), *stream(text)))
    assert folded(told(await started(), *stream(*pieces))) == whole
    said = "".join(p.text for p in whole[0] if isinstance(p, Text))
    if not any(isinstance(p, ToolUse) for p in whole[0]):
        assert said == text


async def test_text_that_is_no_call_flows_on_at_once():
    ctx = await started()
    plugin = ToolRepair({})
    for word in ("Hel", "lo ", "a <", "tool", "s"):
        list(plugin.on_event(TextDelta(0, word), ctx))
    assert ctx.stream.pending == {}
    assert ctx.stream.held == {}


@pytest.mark.parametrize(
    "end", [Finished("max_tokens", "length"), Failed(Failure("truncated", "cut"))]
)
async def test_an_answer_that_was_cut_is_left_as_it_is(end):
    events = told(await started(), *stream("x ", CALL[:10], CALL[10:], end=end))
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "x " + CALL
    assert events[-1] == end
    assert not any(isinstance(e, ToolStarted) for e in events)


async def test_what_is_held_back_is_bounded():
    ctx = await started()
    plugin, out = ToolRepair({}), []
    out += plugin.on_event(TextDelta(0, "<tool_call>"), ctx)
    for _ in range(300):
        out += plugin.on_event(TextDelta(0, "x" * 1000), ctx)
    assert sum(len(e.text) for e in out) == 11 + 300_000
    out = list(plugin.on_event(Finished("end_turn"), ctx))
    assert out == [Finished("end_turn")]


async def test_what_follows_a_call_keeps_its_number():
    real = [ToolStarted(1, "c1", "weather"), ToolDelta(1, '{"city": "Bonn"}'), PartEnded(1)]
    head, end = stream(CALL)[:-1], Finished("tool_use", "tool_calls")
    events = told(await started(), *head, *real, end)
    parts, _ = folded(events)
    assert [p.input["city"] for p in parts] == ["Bonn", "Ulm"]
    assert len({e.part for e in events if isinstance(e, ToolStarted)}) == 2


@pytest.mark.parametrize("choice", [ToolChoice("none"), ToolChoice("named", ("other",))])
async def test_a_tool_that_may_not_be_called_is_not(choice):
    events = stream(CALL)
    assert told(await started(tool_choice=choice), *events) == events


TOOLS = {
    "openai": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "anthropic": [{"name": "weather", "input_schema": SCHEMA}],
}


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_a_client_sees_a_call(autojump_clock, client, streams):
    pieces = [CALL[:9], CALL[9:40], CALL[40:]]

    script = (
        streams_of(STREAM["openai"], chat_stream(*pieces))
        if streams
        else replies(200, chat_answer(CALL))
    )
    async with stage(openai(), up={"a": script}, plugins=[ToolRepair({})]) as st_:
        asked = request(client, stream=streams, tools=TOOLS[client])
        answer = await st_.ask(client, json.dumps(asked).encode())
        text = answer.body.decode()
    assert "weather" in text
    assert "Ulm" in text
    assert "<tool_call>" not in text
    assert ("tool_calls" if client == "openai" else "tool_use") in text
    assert "tool-repair: a tool call was written as text" in st_.sink.records[0].notes
    assert st_.sink.records[0].plugins == ("tool-repair",)
