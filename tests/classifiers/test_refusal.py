"""llmrouterd/classifiers/refusal.py"""

import pytest

from formats.canonical import Request, Response, Text, Thought
from llmrouterd.classifiers.refusal import PHRASES, Refusal
from llmrouterd.hooks import Context


async def tags(*parts, settings=None, stop="end_turn"):
    response = Response("id", "m", parts, stop)
    ctx = Context("refusal", {})
    return list(await Refusal(settings or {}).classify(Request("openai", "m"), response, ctx))


@pytest.mark.parametrize("phrase", PHRASES)
async def test_each_of_the_eight_phrases_gives_a_refusal_away(phrase):
    assert len(PHRASES) == 8
    assert await tags(Text(f"Well, {phrase.upper()} that.")) == ["refusal"]


async def test_an_answer_is_no_refusal():
    assert await tags(Text("Certainly, here it is.")) == []


async def test_the_typographic_apostrophe_counts_as_the_plain_one():
    assert await tags(Text("I can\u2019t help with that.")) == ["refusal"]


async def test_what_the_model_only_thought_is_not_its_answer():
    assert await tags(Thought("I must decline? No."), Text("Here it is.")) == []


async def test_configured_phrases_take_the_place_of_our_own():
    settings = {"phrases": ["NOPE"]}
    assert await tags(Text("nope!"), settings=settings) == ["refusal"]
    assert await tags(Text("I must decline."), settings=settings) == []


async def test_an_empty_list_of_phrases_means_our_own():
    assert await tags(Text("I must decline."), settings={"phrases": []}) == ["refusal"]


async def test_a_refusal_that_the_format_tells_needs_no_phrase():
    assert await tags(stop="refusal") == ["refusal"]
    assert await tags(Text("No.", refusal=True)) == ["refusal"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"phrases": "no"}, "phrases: expected a list of texts"),
        ({"phrases": ["no", ""]}, r"phrases\[1\]: expected a text"),
        ({"phrases": [1]}, r"phrases\[0\]: expected a text"),
    ],
)
def test_a_wrong_setting_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        Refusal(settings)
