"""llmrouterd/plugins/restoring.py, on the wire: however a stream of any server is cut, into events and
into bytes, every client reads what it would read of the whole answer."""

import json
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import (
    CitationSeen,
    Event,
    Finished,
    Message,
    PartEnded,
    Request,
    Response,
    Stamp,
    Started,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolDelta,
    ToolStarted,
    ToolUse,
)
from formats.fold import fold, unfold
from formats.ledger import Ledger
from llmrouterd.hooks import Context
from llmrouterd.plugins.redact import Redact

CHATS = ("openai", "anthropic", "ollama", "responses")
MAIL, WORD = "jan.kowalski@firma.pl", 'Nacht"igall\\ß'
STAMP = Stamp("0123456789abcdef01234567", 1795464000, model="m")
SAID = st.lists(
    st.sampled_from(
        [
            *("[EMAIL_1]", "__WORD_1__", "[WORD_1E]", "__EMAIL_1", "[EMAIL_2]", "[EMA"),
            *("[", "_", "]", "1", "a", " ", '"', "\\", "ß", "\n", "😀"),
        ]
    ),
    min_size=1,
    max_size=14,
).map("".join)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def asked(fmt: str) -> Request:
    text = f"I am {MAIL}, it is about {WORD}"
    return Request(fmt, "m", (Message("user", (Text(text),)),), stream=True, include_usage=True)


def redacting() -> tuple[Redact, Context]:
    plugin, ctx = Redact({"words": [WORD]}), Context("redact", {})
    done = plugin.pre_request(asked("openai"), ctx)
    with pytest.raises(StopIteration):
        done.send(None)
    return plugin, ctx


def cut(text, sizes: list[int]) -> list:
    out, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        out.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return out


def said(text: str, thought: str, argument: str, sizes: list[int], *, mixed: bool) -> list[Event]:
    """The answer as an upstream's model makes it. mixed: its parts come beside each other."""
    arguments = json.dumps({"to": argument})
    thoughts: list[Event] = [ThoughtDelta(0, piece) for piece in cut(thought, sizes)]
    words: list[Event] = [TextDelta(1, piece) for piece in cut(text, sizes)]
    calls: list[Event] = [
        ToolStarted(2, "call_1", "t"),
        *(ToolDelta(2, piece) for piece in cut(arguments, sizes)),
    ]
    parts = [[*thoughts, PartEnded(0)], [*words, PartEnded(1)], [*calls, PartEnded(2)]]
    if mixed:
        between = [each for turn in zip_longest(*parts) for each in turn if each is not None]
    else:
        between = [each for part in parts for each in part]
    return [Started("id", "m"), *between, Finished("tool_use")]


def read(fmt: str, data: bytes) -> Response:
    decoder = FORMATS[fmt].decoder(limit=1 << 20)
    folded = fold([*decoder.feed(data), *decoder.eof()])
    assert isinstance(folded, Response), folded
    return folded


def shown(response: Response) -> tuple[str, str, list]:
    """What a client makes of an answer."""
    thoughts = "".join(part.text for part in response.parts if isinstance(part, Thought))
    calls = [part.input for part in response.parts if isinstance(part, ToolUse)]
    return response.text, thoughts, calls


@pytest.mark.slow
@pytest.mark.parametrize("client", CHATS)
@pytest.mark.parametrize("up", CHATS)
@given(SAID, SAID, SAID, SIZES, SIZES, st.booleans())
@settings(max_examples=50)
def test_every_split_of_every_stream_reads_as_the_whole_answer(
    up, client, text, thought, argument, in_events, in_bytes, mixed
) -> None:
    events = said(text, thought, argument, in_events, mixed=mixed)
    writer = FORMATS[up].encoder(asked(up), Ledger(), STAMP)
    wire = b"".join(map(writer.encode, events))
    plugin, ctx = redacting()
    whole = fold([e for each in unfold(read(up, wire)) for e in plugin.on_event(each, ctx)])
    assert isinstance(whole, Response)

    ctx.stream = None
    decoder = FORMATS[up].decoder(limit=1 << 20)
    encoder = FORMATS[client].encoder(asked(client), Ledger(), STAMP)
    out, came = b"", []
    for piece in [*cut(wire, [size * 7 for size in in_bytes]), None]:
        for event in decoder.eof() if piece is None else decoder.feed(piece):
            for restored in plugin.on_event(event, ctx):
                came.append(restored)
                out += encoder.encode(restored)
    assert shown(fold(came)) == shown(whole)
    table = ctx.state.table
    assert shown(whole)[0] == table.restore(text)
    assert shown(whole)[2] == [{"to": table.restore(argument)}]
    got = shown(read(client, out))
    assert got[0] == shown(whole)[0]
    assert got[2] == shown(whole)[2]
    if client in ("openai", "ollama") or (client == "responses" and not mixed):
        assert got[1] == shown(whole)[1]  # the others want it signed, or before all text


def test_a_placeholder_that_a_call_cuts_in_two_is_one_all_the_same() -> None:
    plugin, ctx = redacting()
    events = [
        *(TextDelta(0, "to [EM"), PartEnded(0), ToolStarted(1, "c", "t"), PartEnded(1)),
        *(TextDelta(2, "AIL_1]!"), PartEnded(2), Finished("tool_use")),
    ]
    out = [each for event in events for each in plugin.on_event(event, ctx)]
    assert [e.text for e in out if isinstance(e, TextDelta)] == ["to ", f"{MAIL}!"]
    assert [e.part for e in out if isinstance(e, PartEnded)] == [1, 0]


def test_a_part_that_only_seemed_to_go_on_is_ended_at_the_end() -> None:
    plugin, ctx = redacting()
    events = [TextDelta(0, "to [EM"), PartEnded(0), Finished("end_turn", sequence="[EMAIL_1]")]
    out = [each for event in events for each in plugin.on_event(event, ctx)]
    end = Finished("end_turn", sequence=MAIL)
    assert out == [TextDelta(0, "to "), TextDelta(0, "[EM"), PartEnded(0), end]


def test_a_citation_within_a_placeholder_does_not_cut_it() -> None:
    plugin, ctx = redacting()
    cited = CitationSeen(0, {"cited_text": "[EMAIL_1]"})
    events = [TextDelta(0, "[EMAIL"), cited, TextDelta(0, "_1]"), PartEnded(0)]
    out = [each for event in events for each in plugin.on_event(event, ctx)]
    assert out == [CitationSeen(0, {"cited_text": MAIL}), TextDelta(0, MAIL), PartEnded(0)]
