"""llmrouterd/classifiers/keyword.py"""

import pytest

from formats.canonical import Image, Message, Request, Text, ToolResult
from llmrouterd.classifiers.keyword import Keyword
from llmrouterd.hooks import Context

CODE_AND_LAW = {"tags": {"legal": ["contract"], "code": ["Python", "rust"]}}


async def tags(settings, *messages):
    request = Request("openai", "m", messages)
    return list(await Keyword(settings).classify(request, Context("keyword", {})))


def said(role, *texts):
    return Message(role, tuple(Text(text) for text in texts))


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (said("user", "some PYTHON please"), ["code"]),
        (said("user", "I trust you"), ["code"]),
        (said("system", "You know Rust"), ["code"]),
        (said("assistant", "a contract for a pythonista"), ["code", "legal"]),
        (said("user", "hello"), []),
    ],
)
async def test_words_are_found_in_any_text_whatever_their_case(message, found):
    assert await tags(CODE_AND_LAW, message) == found


async def test_all_messages_are_read_and_each_tag_stands_once_in_order():
    messages = [said("user", "contract", "python"), said("user", "rust and python")]
    assert await tags(CODE_AND_LAW, *messages) == ["code", "legal"]


async def test_a_word_is_not_put_together_from_two_texts():
    assert await tags(CODE_AND_LAW, said("user", "pyt", "hon")) == []


async def test_tool_results_and_images_are_no_text_of_the_conversation():
    result = Message("tool", (ToolResult("c", (Text("python"),)),))
    picture = Message("user", (Image(data="python"),))
    assert await tags(CODE_AND_LAW, result, picture) == []


async def test_without_settings_there_are_no_tags():
    assert await tags({}, said("user", "python")) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tags": ["a"]}, "tags: expected a table of lists"),
        ({"tags": {"code": "python"}}, r"tags\.code: expected a list of words"),
        ({"tags": {"code": ["a", 1]}}, r"tags\.code\[1\]: expected a word"),
        ({"tags": {"code": [""]}}, r"tags\.code\[0\]: expected a word"),
    ],
)
def test_a_wrong_setting_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        Keyword(settings)


# --- whole words, patterns, roles -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I trust you", []),
        ("Rust!", ["code"]),
        ("trust rust", ["code"]),
        ("rusty", []),
        ("rust_lang", []),
        ("(python)", ["code"]),
        ("Äcontract", []),
    ],
)
async def test_a_whole_word_is_no_part_of_another(text, found):
    assert await tags({**CODE_AND_LAW, "whole_words": True}, said("user", text)) == found


async def test_a_word_that_ends_in_a_sign_ends_there():
    settings = {"tags": {"code": ["c++", "#include"]}, "whole_words": True}
    assert await tags(settings, said("user", "in c++11")) == ["code"]
    assert await tags(settings, said("user", "x#includes")) == []


async def test_patterns_give_tags_beside_words():
    settings = {**CODE_AND_LAW, "patterns": {"ticket": [r"\b[A-Z]{2,5}-\d+\b"], "code": ["^def "]}}
    message = said("user", "see ABC-123\ndef f():")
    assert await tags(settings, message) == ["code", "ticket"]
    assert await tags(settings, said("user", "abc-123, a def")) == []


async def test_roles_say_whose_texts_are_read():
    messages = [said("system", "python"), said("user", "contract")]
    assert await tags({**CODE_AND_LAW, "roles": ["user"]}, *messages) == ["legal"]
    settings = {**CODE_AND_LAW, "roles": ["user"], "tag_roles": {"code": ["system", "user"]}}
    assert await tags(settings, *messages) == ["code", "legal"]


def test_it_says_which_tags_it_may_set():
    assert Keyword({**CODE_AND_LAW, "patterns": {"x": ["y"]}}).may_set == ("code", "legal", "x")


def test_everything_wrong_is_named_at_once():
    settings = {
        "tags": {"a": "b"},
        "patterns": {"p": ["(", "(a+)+"]},
        "whole_words": "yes",
        "roles": ["me"],
        "tag_roles": {"q": ["user"], "p": ["you"]},
    }
    with pytest.raises(ValueError, match=r"tags\.a") as caught:
        Keyword(settings)
    problems = str(caught.value).splitlines()
    assert len(problems) == 7
    assert problems[3].startswith("patterns.p[0]: not a regular expression")
