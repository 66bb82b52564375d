"""Where a prompt stopped being the same as the one before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from llmrouterd.route.prefixes import (
    KEPT_S,
    Prefixes,
    conversation_of,
    differs,
    place_of,
    prints_of,
)
from tests import strategies as some

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
LONG = "s1 u1 a1 u2 a2 u3"


def asked(words: str, *tools: str) -> Request:
    """`s1 u1 a1`: a message for each word, by the role that its first letter stands for."""
    said = tuple(Message(ROLES[word[0]], (Text(word),)) for word in words.split())  # type: ignore[arg-type]
    return Request("openai", "m", said, tuple(Tool(name) for name in tools))


def seen(*prompts: Request, prefixes: Prefixes | None = None) -> list[str | None]:
    """What is said of each of them, one after the other."""
    prefixes = prefixes or Prefixes()
    places = [(p, prefixes.compared("c", prints_of(p), 0.0)) for p in prompts]
    return [None if at is None else place_of(p, at) for p, at in places]


@pytest.mark.parametrize(
    ("before", "now", "where"),
    [
        ("s1 u1", "s2 u1 a1 u2", "message 1 (system)"),
        ("s1 u1 a1 u2", "s1 u1 a9 u2 a2 u3", "message 3 (assistant)"),
        ("s1 u1 a1 u2", "s1 s9 u1 a1 u2", "message 2 (system)"),
        (LONG, "s1 u2 a2 u3", "message 2 (user)"),
        (LONG, "s1 u1 s9 u3", "message 3 (system)"),
    ],
    ids=["a line that changes", "an answer rewritten", "one put in", "a window", "a summary"],
)
def test_the_first_place_that_changed_is_named(before: str, now: str, where: str) -> None:
    assert seen(asked(before), asked(now)) == [None, where]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("s1 u1", "s1 u1"),
        ("s1 u1", "s1 u1 a1 u2"),
        ("s1 u1 a1 u2", "s1 u1"),
        ("s1 u1 a1 u2", "s1 u1 a1 u9"),
        ("s1 u1", "s9 u9"),
    ],
    ids=["again", "it goes on", "taken back", "said differently", "another conversation"],
)
def test_what_conversations_do_is_no_difference(before: str, now: str) -> None:
    assert seen(asked(before), asked(now)) == [None, None]


def test_tools_stand_before_everything() -> None:
    """In another order, or with one more, the whole prompt is another one."""
    tools = ("read", "write")
    given_ = [asked(LONG, *tools), asked(LONG, *tools), asked(LONG, "write", "read")]
    assert seen(*given_, asked(LONG, *tools, "more"))[1:] == [None, "its tools", "its tools"]


def test_a_question_on_the_side_does_not_hide_the_conversation() -> None:
    title = asked("s8 u8")
    assert seen(asked("s1 u1"), title, asked("s1 u1 a1 u2"), title, asked("s9 u1 a1 u2 a2 u3")) == [
        None,
        None,
        None,
        None,
        "message 1 (system)",
    ]


def test_what_changes_every_time_is_told_every_time() -> None:
    turns = [asked(f"s{n} u1 a1 u2") for n in range(6)]
    assert seen(*turns) == [None, *["message 1 (system)"] * 5]


def test_marks_and_earlier_reasoning_are_no_words() -> None:
    marked = Message("user", (Text("u1", cache={"type": "ephemeral"}),))
    bare = Message("user", (Text("u1"),))
    thought = Message("assistant", (Thought("hm"), Text("a1")))
    other = Message("assistant", (Thought("so"), Text("a1")))
    last = Message("user", (Text("u2"),))
    first, second = (
        Request("anthropic", "m", (marked, thought)),
        Request("anthropic", "m", (bare, other, last)),
    )
    assert differs(prints_of(first), prints_of(second)) is None


@pytest.mark.parametrize(
    "part",
    [
        Text("x"),
        Image(data="x"),
        Image(url="x"),
        Document(text="x"),
        Audio("x", "wav"),
        ToolUse("i", "x", "{}"),
        ToolResult("i", (Text("x"),)),
        Opaque("anthropic", "x"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_every_kind_of_part_counts(part) -> None:
    one, none = (Request("openai", "m", (Message("user", p),)) for p in ((part,), ()))
    assert prints_of(one) != prints_of(none)


@given(some.requests(), some.requests())
def test_any_two_requests_can_be_compared(one: Request, other: Request) -> None:
    for at in (
        differs(prints_of(one), prints_of(other)),
        Prefixes().compared("c", prints_of(one), 0.0),
    ):
        assert at is None or place_of(other, at)
    assert differs(prints_of(one), prints_of(one)) is None


words = st.lists(st.sampled_from(["s1", "s2", "u1", "u2", "a1"]), max_size=6).map(" ".join)


@given(words, words)
def test_the_place_is_the_first_in_which_they_differ(one: str, other: str) -> None:
    at = differs(prints_of(asked(one)), prints_of(asked(other)))
    if at is not None:
        mine, theirs = one.split(), other.split()
        assert mine[: at - 1] == theirs[: at - 1]
        assert mine[at - 1] != theirs[at - 1]


# --- which conversation ---------------------------------------------------------------------------


def test_a_conversation_keeps_its_name_when_its_instructions_change() -> None:
    names = {conversation_of(asked(w), {}, "") for w in ("s1 u1", "s2 u1 a1 u2", "u1")}
    assert len(names) == 1


def test_other_questions_clients_and_names_are_other_conversations() -> None:
    names = [
        conversation_of(asked("s1 u1"), {}, ""),
        conversation_of(asked("s1 u2"), {}, ""),
        conversation_of(asked("s1 u1"), {}, "ann"),
        conversation_of(asked("s1 u1"), {"x-session-id": "7"}, ""),
        conversation_of(asked(""), {}, ""),
    ]
    assert len(set(names)) == len(names)
    named = (conversation_of(asked(w), {"x-session-id": "7"}, "") for w in ("u1", "u2"))
    assert len(set(named)) == 1


# --- what is kept ---------------------------------------------------------------------------------


def test_a_prompt_of_long_ago_is_not_compared_with() -> None:
    prefixes = Prefixes()
    prefixes.compared("c", prints_of(asked("s1 u1")), 0.0)
    assert prefixes.compared("c", prints_of(asked("s2 u1")), KEPT_S) is None
    assert prefixes.compared("c", prints_of(asked("s3 u1")), KEPT_S + 1) == 1


def test_conversations_prompts_and_messages_are_bounded() -> None:
    prefixes = Prefixes(most=2)
    for name in "abc":
        for n in range(5):
            prefixes.compared(name, prints_of(asked(f"s{n} u1")), 0.0)
    kept = {name: len(prompts) for name, (_, prompts) in prefixes._seen.items()}
    assert kept == {"b": 3, "c": 3}
    assert len(prints_of(asked("u1 " * 5000))) == 401


def test_no_word_is_kept() -> None:
    prefixes = Prefixes()
    prefixes.compared("c", prints_of(asked("s-secret u-secret")), 0.0)
    assert "secret" not in repr(prefixes._seen)
