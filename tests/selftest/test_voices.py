"""Each voice says what the codec of its format, which was written apart from it, understands."""

import pytest

from formats import FORMATS
from formats.canonical import Failed, Finished, TextDelta, ThoughtDelta, ToolStarted, ToolUse
from formats.fold import fold
from llmrouterd.selftest.voices import INPUT, OUTPUT, VOICES, compact

LIMIT = 1 << 20
every_voice = pytest.mark.parametrize("name", VOICES)


def events(name, *pieces):
    decoder = FORMATS[name].decoder(limit=LIMIT)
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.eof()


@every_voice
def test_a_stream_says_its_words_and_its_figures(name):
    voice = VOICES[name]
    pieces = voice.opening(), voice.text("a ", first=True), voice.text("b"), voice.closing()
    response = fold(events(name, *pieces))
    assert (response.text, response.usage.input, response.usage.output) == ("a b", INPUT, OUTPUT)


@every_voice
def test_nothing_before_the_first_words_is_content(name):
    voice = VOICES[name]
    content = (TextDelta, ThoughtDelta, ToolStarted, Finished)
    decoder = FORMATS[name].decoder(limit=LIMIT)
    assert not [e for e in decoder.feed(voice.opening()) if isinstance(e, content)]


@every_voice
def test_thoughts_are_thoughts(name):
    voice = VOICES[name]
    found = events(name, voice.opening(), voice.thought("hm", first=True), voice.thought("so"))
    assert "".join(e.text for e in found if isinstance(e, ThoughtDelta)) == "hmso"


@every_voice
def test_calls_in_misleading_places_are_two_calls(name):
    voice = VOICES[name]
    pieces = voice.opening(), voice.calls(("one", "two")), voice.closing(calls=True)
    streamed = fold(events(name, *pieces))
    whole = FORMATS[name].parse_response(compact(voice.whole("", calls=("one", "two"))).encode())
    for response in (streamed, whole):
        assert [p.name for p in response.parts if isinstance(p, ToolUse)] == ["one", "two"]


@every_voice
@pytest.mark.parametrize("said", ["garbage", "error_event"])
def test_what_is_wrong_is_heard_as_wrong(name, said):
    voice = VOICES[name]
    wrong = voice.garbage() if said == "garbage" else voice.error_event("it broke")
    found = events(name, voice.opening(), voice.text("a", first=True), wrong, voice.closing())
    assert isinstance(found[-1], Failed)
    assert said == "garbage" or found[-1].failure.message == "it broke"


@every_voice
def test_an_answer_may_come_without_figures(name):
    voice = VOICES[name]
    whole = FORMATS[name].parse_response(compact(voice.whole("a", usage=False)).encode())
    assert whole.usage is None
    pieces = voice.opening(usage=False), voice.text("a", first=True), voice.closing(usage=False)
    assert fold(events(name, *pieces)).usage is None


@every_voice
def test_an_error_is_read_with_its_words(name):
    body = compact(VOICES[name].error("server_error", "it broke")).encode()
    assert FORMATS[name].parse_error(500, body).message == "it broke"
