"""llmrouterd/classifiers/structure.py"""

import pytest

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    OutputFormat,
    Request,
    Text,
    Tool,
    ToolResult,
)
from llmrouterd.classifiers.structure import Structure
from llmrouterd.hooks import Context


async def tags(*messages, settings=None, **more) -> list[str]:
    request = Request("openai", "m", tuple(messages), **more)
    return list(await Structure(settings or {}).classify(request, Context("structure", {})))


def user(*parts) -> Message:
    return Message("user", tuple(Text(p) if isinstance(p, str) else p for p in parts))


async def test_a_plain_question_has_only_its_script() -> None:
    assert await tags(user("How are you?")) == ["script-latin"]


@pytest.mark.parametrize(
    ("part", "tag"),
    [
        (Image(data="aGk="), "vision"),
        (Audio("aGk=", "wav"), "audio"),
        (Document(data="aGk="), "documents"),
        (ToolResult("1", (Image(data="aGk="),)), "vision"),
    ],
)
async def test_parts_that_are_no_text_give_their_tag(part, tag: str) -> None:
    assert tag in await tags(user("see", part))


async def test_tools_and_json_are_what_was_asked_with() -> None:
    found = await tags(user("hi"), tools=(Tool("f"),), output=OutputFormat("json"))
    assert found == ["tools", "json", "script-latin"]


async def test_long_counts_every_text() -> None:
    system = Message("system", (Text("x" * 60),))
    assert "long" in await tags(system, user("y" * 40), settings={"long_chars": 100})
    assert "long" not in await tags(system, user("y" * 39), settings={"long_chars": 100})


@pytest.mark.parametrize(
    ("message", "is_code"),
    [
        (user("fix this:\n```python\nx\n```"), True),
        (user("  ~~~\nx\n~~~"), True),
        (user("what is ``` good for?"), False),
        (Message("system", (Text("```\nx\n```"),)), False),
    ],
)
async def test_code_is_a_block_that_the_user_wrote(message: Message, is_code: bool) -> None:
    assert ("code" in await tags(message)) is is_code


async def test_script_and_language_are_those_of_the_last_question() -> None:
    found = await tags(user("Hello"), Message("assistant", (Text("Hi"),)), user("Как дела?"))
    assert found == ["script-cyrillic", "lang-ru"]


async def test_only_some_of_them_and_under_a_prefix() -> None:
    settings = {"only": ["lang", "vision"], "prefix": "is-"}
    assert await tags(user("Как дела?"), settings=settings) == ["is-lang-ru"]
    assert {"is-vision", "is-lang-ja"} <= set(Structure(settings).may_set)
    assert "is-script-latin" not in Structure(settings).may_set


async def test_every_tag_that_is_set_may_be_set() -> None:
    found = await tags(
        user("Как?\n```\nx", Image(data=""), Audio("", "wav"), Document()),
        tools=(Tool("f"),),
        output=OutputFormat("json"),
        settings={"long_chars": 1},
    )
    assert len(found) == 9
    assert set(found) <= set(Structure({}).may_set)


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="only") as caught:
        Structure({"only": ["size"], "long_chars": 0, "prefix": 1})
    assert len(str(caught.value).splitlines()) == 3
