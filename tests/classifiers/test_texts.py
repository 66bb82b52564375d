"""llmrouterd/classifiers/texts.py"""

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Response,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from llmrouterd.classifiers import texts as module
from llmrouterd.classifiers.texts import answered, last_said, pieces, shortened, texts

CONVERSATION = Request(
    "openai",
    "m",
    (
        Message("system", (Text("be kind"),)),
        Message(
            "user", (Text("look"), Image(data="aGk="), Document(text="a will", name="will.txt"))
        ),
        Message(
            "assistant",
            (
                Thought("hm"),
                ToolUse("1", "f", '{"a": "x\\ny"}', {"a": "x\ny", "b": ["z", 1, {"c": "w"}]}),
            ),
        ),
        Message("tool", (ToolResult("1", (Text("found"), Image(data="aGk="))),)),
        Message(
            "assistant", (ToolUse("2", "g", "not json"), Opaque("anthropic", "x", {"t": "seen"}))
        ),
        Message("user", (Audio("aGk=", "wav"),)),
    ),
)


def test_everything_that_somebody_wrote_is_read() -> None:
    assert list(texts(CONVERSATION)) == [
        *(
            "be kind",
            "look",
            "will.txt",
            "a will",
            "hm",
            "x\ny",
            "z",
            "w",
            "found",
            "not json",
            "seen",
        )
    ]


def test_only_the_roles_that_are_asked_for_are_read() -> None:
    assert list(texts(CONVERSATION, ("system", "tool"))) == ["be kind", "found"]


def test_what_was_said_last_is_the_last_text_of_the_user() -> None:
    assert last_said(CONVERSATION, 100) == "look\na will"
    assert last_said(Request("openai", "m"), 100) == ""


def test_of_a_long_text_the_beginning_and_the_end_are_read() -> None:
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("a" * 50 + "b" * 50, 10) == "aaaaa\n...\nbbbbb"


def test_an_answer_is_read_like_a_message() -> None:
    parts = (Thought("hm"), Text("yes"), ToolUse("1", "f", "{}", {"q": "why"}))
    assert list(answered(Response("", "m", parts))) == ["hm", "yes", "why"]


def test_a_short_text_is_one_piece() -> None:
    assert list(pieces("")) == [""]
    assert list(pieces("abc")) == ["abc"]


def test_a_long_text_is_cut_at_the_end_of_a_line() -> None:
    line = "x" * 99 + "\n"
    text = line * 2000
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert all(len(piece) <= module.PIECE and piece.endswith("\n") for piece in cut)


def test_a_line_without_an_end_is_cut_with_an_overlap() -> None:
    text = "".join(map(str, range(40000)))
    cut = list(pieces(text))
    assert len(cut) > 2
    joined = cut[0]
    for piece in cut[1:]:
        assert joined.endswith(piece[: module._OVERLAP])
        joined += piece[module._OVERLAP :]
    assert joined == text
