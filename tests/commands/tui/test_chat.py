"""A conversation through the router."""

from llmrouterd.commands.tui import chat as module
from llmrouterd.commands.tui.chat import Chat


def said(chat: Chat) -> list[tuple[str, str]]:
    return [(each.who, each.text) for each in chat.said]


def test_a_conversation_goes_on_with_all_that_was_said() -> None:
    chat = Chat()
    chat.command(":system be brief")
    request = chat.ask("hi")
    assert request["stream"] is True
    assert request["model"] == "any"
    assert request["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]
    assert chat.busy
    chat.heard("hm", thought=True)
    chat.heard("hel")
    chat.heard("lo")
    chat.ended("a/m")
    assert not chat.busy
    assert (chat.said[-1].text, chat.said[-1].thought, chat.said[-1].about) == (
        "hello",
        "hm",
        "a/m",
    )
    again = chat.ask("and?")["messages"]
    assert [each["content"] for each in again] == ["be brief", "hi", "hello", "and?"]


def test_the_model_is_the_one_that_was_named_or_the_first_there_is() -> None:
    chat = Chat()
    chat.models = ["llama", "qwen"]
    assert chat.ask("x")["model"] == "llama"
    chat.ended("")
    assert chat.command(":model  cloud/gpt-4o ")
    assert chat.ask("x")["model"] == "cloud/gpt-4o"
    chat.command(":models")
    assert "llama, qwen" in chat.said[-1].text
    chat.command(":nonsense")
    assert ":model NAME" in chat.said[-1].text
    assert not chat.command("model x")
    chat.command(":clear")
    assert chat.said == []


def test_a_question_without_an_answer_is_not_sent_again() -> None:
    """Two turns of the user in a row are refused by some models."""
    chat = Chat()
    chat.ask("lost")
    chat.ended("", "no provider")
    assert said(chat) == [("note", "lost"), ("error", "no provider")]
    assert [each["content"] for each in chat.ask("new")["messages"]] == ["new"]


def test_what_came_of_an_answer_that_broke_off_stays() -> None:
    chat = Chat()
    chat.ask("hi")
    chat.heard("half")
    chat.ended("a/m", "stopped")
    assert said(chat) == [("user", "hi"), ("assistant", "half"), ("error", "stopped")]
    chat.heard("late")
    assert chat.said[1].text == "half"


def test_it_is_bounded() -> None:
    chat = Chat()
    for _ in range(500):
        chat.note("x")
    assert len(chat.said) == module._KEPT
    chat.ask("x")
    for _ in range(3):
        chat.heard("x" * 100_000)
    assert chat.said[-1].text == "x" * module._ANSWER_CHARS
