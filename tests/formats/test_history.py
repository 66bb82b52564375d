"""Histories as clients really send them, put in the order that strict upstreams want."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import ids
from formats.canonical import Image, Message, Text, Thought, ToolResult, ToolUse
from formats.history import NO_RESULT, joined_text, merged, settle, unsigned
from formats.ids import ANTHROPIC, OLLAMA, OPENAI
from formats.ledger import Ledger
from tests import strategies


def user(text="u"):
    return Message("user", (Text(text),))


def call(call_id="", name="f", arguments="{}"):
    return ToolUse(call_id, name, arguments, {})


def turn(*parts):
    return Message("assistant", parts)


def result(call_id="", text="r", name=None, **more):
    return ToolResult(call_id, (Text(text),), name, **more)


def tool(*results):
    return Message("tool", results)


def settled(*messages, rule=OPENAI):
    ledger = Ledger()
    return settle(messages, ledger, rule), ledger


def said(messages):
    """The conversation in short: (role, (call ids | result ids: text | text)...)."""
    out = []
    for message in messages:
        row = [message.role]
        for part in message.parts:
            if isinstance(part, ToolUse):
                row.append(part.id)
            elif isinstance(part, ToolResult):
                row.append(f"{part.call_id}: {joined_text(part.parts, role='tool')}")
            elif isinstance(part, Text):
                row.append(part.text)
        out.append(tuple(row))
    return out


def test_a_conversation_in_order_comes_back_untouched():
    messages = (
        Message("system", (Text("s"),), hoisted=True),
        user(),
        turn(Text("t"), call("a"), call("b")),
        Message("tool", (result("a"),), extra={"x": 1}),
        Message("tool", (result("b"),)),
        turn(Text("done")),
        user(),
    )
    out, ledger = settled(*messages)
    assert all(one is other for one, other in zip(out, messages, strict=True))
    assert ledger.entries == []


def test_an_illegal_id_is_mapped_for_the_call_and_its_result_alike():
    out, ledger = settled(
        turn(call("functions.f:0")), tool(result("functions.f:0")), rule=ANTHROPIC
    )
    wanted = ids.legal_id("functions.f:0", ANTHROPIC)
    assert said(out) == [("assistant", wanted), ("tool", f"{wanted}: r")]
    assert [(e.path, e.what, e.harmless) for e in ledger.entries] == [
        ("messages[].tool_calls[].id", "renamed", True)
    ]


def test_missing_ids_are_made_up_alike_on_every_turn():
    messages = [user(), turn(call(), call()), tool(result(), result())]
    first, _ = settled(*messages)
    later, _ = settled(*messages, turn(Text("ok")), user("more"))
    assert later[: len(first)] == first
    one, two = (part.id for part in first[1].parts)
    assert one != two
    assert one.startswith("call_1_0_")
    assert two.startswith("call_1_1_")
    assert all(ids.is_legal(each, rule) for each in (one, two) for rule in (OPENAI, ANTHROPIC))
    assert [part.call_id for part in first[2].parts] == [one, two]


def test_ids_that_stand_twice_in_a_turn_are_told_apart():
    out, _ = settled(turn(call("a"), call("a")), tool(result("a", "1"), result("a", "2")))
    assert said(out) == [("assistant", "a", "a_2"), ("tool", "a: 1", "a_2: 2")]


def test_ids_that_come_again_in_a_later_turn_are_told_apart():
    out, _ = settled(
        turn(call("a")), tool(result("a", "1")), turn(call("a")), tool(result("a", "2"))
    )
    assert said(out) == [
        ("assistant", "a"),
        ("tool", "a: 1"),
        ("assistant", "a_2"),
        ("tool", "a_2: 2"),
    ]


def test_a_suffix_never_makes_an_id_illegal_or_a_double():
    long = "x" * 40
    out, _ = settled(turn(call(long), call(long), call(long), call("a_2"), call("a"), call("a")))
    given_ids = [part.id for part in out[0].parts]
    assert len(set(given_ids)) == 6
    assert all(ids.is_legal(each, OPENAI) for each in given_ids)


def test_results_follow_their_turn_in_the_order_of_the_calls():
    out, ledger = settled(
        turn(call("a"), call("b")), tool(result("b", "2")), tool(result("a", "1"))
    )
    assert said(out) == [("assistant", "a", "b"), ("tool", "a: 1"), ("tool", "b: 2")]
    assert [e.what for e in ledger.entries] == ["approximated"]


def test_a_group_out_of_order_is_put_in_order_and_said():
    out, ledger = settled(turn(call("a"), call("b")), tool(result("b", "2"), result("a", "1")))
    assert said(out)[1] == ("tool", "a: 1", "b: 2")
    assert [e.what for e in ledger.entries] == ["approximated"]


def test_a_result_behind_a_word_of_the_user_goes_to_its_turn():
    out, ledger = settled(turn(call("a"), call("b")), tool(result("a")), user(), tool(result("b")))
    assert said(out) == [("assistant", "a", "b"), ("tool", "a: r"), ("tool", "b: r"), ("user", "u")]
    assert [e.what for e in ledger.entries] == ["approximated"]


def test_a_late_result_finds_its_call_in_an_earlier_turn():
    out, _ = settled(turn(call("a")), user(), turn(call("b")), tool(result("b"), result("a")))
    assert said(out) == [
        ("assistant", "a"),
        ("tool", "a: r"),
        ("user", "u"),
        ("assistant", "b"),
        ("tool", "b: r"),
    ]


def test_results_without_ids_are_matched_by_name_and_then_by_order():
    calls = turn(call(name="f"), call(name="g"), call(name="f"))
    out, _ = settled(
        calls, tool(result(text="g", name="g"), result(text="f1", name="f"), result(text="f2"))
    )
    texts = [text.partition(": ")[2] for text in said(out)[1][1:]]
    assert texts == ["f1", "g", "f2"]


def test_a_result_without_any_mark_takes_the_oldest_open_call():
    out, _ = settled(turn(call("a"), call("b")), tool(result()), tool(result(text="2")))
    assert said(out) == [("assistant", "a", "b"), ("tool", "a: r"), ("tool", "b: 2")]


def test_a_result_with_a_foreign_id_never_takes_a_call_with_another_one():
    out, _ = settled(turn(call("a")), tool(result("zzz", "lost")))
    assert said(out) == [
        ("assistant", "a"),
        ("tool", f"a: {NO_RESULT}"),
        ("user", "Result of an earlier tool call: lost"),
    ]


def test_a_result_with_an_id_may_answer_a_call_that_has_none():
    out, _ = settled(turn(call("")), tool(result("made-by-the-client")))
    assert said(out)[1][1].endswith(": r")
    assert len(out) == 2


def test_a_call_without_a_result_gets_one_that_says_so():
    out, ledger = settled(turn(call("a", "f"), call("b")), tool(result("b")), user())
    assert said(out) == [
        ("assistant", "a", "b"),
        ("tool", f"a: {NO_RESULT}"),
        ("tool", "b: r"),
        ("user", "u"),
    ]
    added = out[1].parts[0]
    assert (added.is_error, added.name) == (True, "f")
    assert ("messages[].tool_calls", "emulated") in [(e.path, e.what) for e in ledger.entries]


def test_a_call_at_the_very_end_waits_for_its_result():
    out, ledger = settled(user(), turn(call("a")))
    assert said(out) == [("user", "u"), ("assistant", "a")]
    assert ledger.entries == []


def test_an_interrupted_call_before_a_new_word_of_the_user_is_answered():
    out, _ = settled(turn(call("a")), user("stop that"))
    assert said(out) == [("assistant", "a"), ("tool", f"a: {NO_RESULT}"), ("user", "stop that")]


def test_a_result_nobody_asked_for_becomes_text_and_keeps_its_image():
    image = Image(data=strategies.PNG, mime="image/png")
    orphan = ToolResult("x", (Text("42"), image))
    out, ledger = settled(tool(orphan), user())
    assert out[0] == Message("user", (Text("Result of an earlier tool call: 42"), image))
    assert [e.what for e in ledger.entries] == ["approximated"]


def test_a_second_result_for_one_call_is_not_lost():
    out, _ = settled(turn(call("a")), tool(result("a", "1"), result("a", "2")))
    assert said(out) == [
        ("assistant", "a"),
        ("tool", "a: 1"),
        ("user", "Result of an earlier tool call: 2"),
    ]


def test_consecutive_assistant_messages_are_one_turn():
    out, _ = settled(turn(call("a")), turn(Text("and"), call("b")), tool(result("a"), result("b")))
    assert said(out) == [("assistant", "a"), ("assistant", "and", "b"), ("tool", "a: r", "b: r")]


def test_empty_texts_are_dropped_everywhere():
    messages = (
        Message("user", (Text(""), Text("a"))),
        Message("assistant", (Text(""), call("c"))),
        tool(ToolResult("c", (Text(""),))),
        Message("user", (Text(""),)),
    )
    out, ledger = settled(*messages)
    assert out == (
        Message("user", (Text("a"),)),
        Message("assistant", (call("c"),)),
        tool(ToolResult("c")),
        Message("user", ()),
    )
    assert ledger.entries == []


def test_thoughts_and_extras_of_changed_messages_stay():
    thought = Thought("hm", "sig", None, "anthropic")
    message = Message("assistant", (thought, replace(call("a b"), extra={"k": 1})), extra={"z": 1})
    out, _ = settled(message, Message("tool", (result("a b"),), extra={"y": 2}), rule=ANTHROPIC)
    assert out[0].parts[0] is thought
    assert out[0].parts[1].extra == {"k": 1}
    assert (out[0].extra, out[1].extra) == ({"z": 1}, {"y": 2})


@pytest.mark.slow
def test_a_long_history_of_doubles_and_strangers_is_settled_in_reasonable_time():
    """A quarter of a million steps would show; the test's own time limit is the watch."""
    many = 3000
    messages = [turn(*[call("a", "f") for _ in range(many)])]
    messages += [
        tool(*[result("a", name="f") for _ in range(many)], *[result("") for _ in range(many)])
    ]
    out, _ = settled(*messages)
    assert len(out[1].parts) == many
    assert len(out[2].parts) == many


def check_lawful(messages, rule):
    used = []
    waiting = []
    for index, message in enumerate(messages):
        found = [part for part in message.parts if isinstance(part, ToolResult)]
        if message.role == "tool":
            assert found
            assert len(found) == len(message.parts)
            for part in found:
                assert part.call_id == waiting.pop(0)
            continue
        assert not found
        if message.role == "assistant":
            calls = [part.id for part in message.parts if isinstance(part, ToolUse)]
            used += calls
            if index and messages[index - 1].role == "assistant":
                waiting += calls
            else:
                assert not waiting
                waiting = calls
        else:
            assert not waiting
    assert len(set(used)) == len(used)
    assert all(ids.is_legal(each, rule) for each in used)


histories = st.lists(strategies.messages(), max_size=10).map(tuple)


@pytest.mark.slow
@given(histories, st.sampled_from([OPENAI, ANTHROPIC, OLLAMA]))
def test_any_history_becomes_lawful_and_settling_again_changes_nothing(messages, rule):
    once, _ = settled(*messages, rule=rule)
    check_lawful(once, rule)
    again, ledger = settled(*once, rule=rule)
    assert again == once
    assert ledger.entries == []


@pytest.mark.slow
@given(histories)
def test_nothing_that_was_said_disappears(messages):
    out, _ = settled(*messages)
    there = "|".join(texts_of(out))
    assert all(text in there for text in texts_of(messages))


def texts_of(messages):
    return [
        inner.text
        for message in messages
        for part in message.parts
        for inner in (part.parts if isinstance(part, ToolResult) else (part,))
        if isinstance(inner, Text)
    ]


def test_runs_of_one_role_join():
    one = Message("user", (Text("a"),), name="n")
    two = Message("user", (Text("b"),), extra={"x": 1})
    assert merged([one, two, turn(), turn(Text("c"))]) == (
        Message("user", (Text("a"), Text("b")), "n", extra={"x": 1}),
        Message("assistant", (Text("c"),)),
    )


def test_hoisted_system_words_stay_apart_from_those_of_the_conversation():
    top = Message("system", (Text("a"),), hoisted=True)
    assert merged([top, top, Message("system", (Text("b"),))]) == (
        Message("system", (Text("a"), Text("a")), hoisted=True),
        Message("system", (Text("b"),)),
    )


@pytest.mark.parametrize(
    ("role", "texts", "joined"),
    [
        ("assistant", ["a", "b"], "ab"),
        ("user", ["a", "b"], "a\nb"),
        ("system", ["a\n", "b"], "a\nb"),
        ("tool", ["a", "\nb"], "a\nb"),
        ("user", ["", "a", "", "b", ""], "a\nb"),
        ("user", [], ""),
    ],
)
def test_texts_join_by_role(role, texts, joined):
    image = Image(url="https://a/b")
    assert joined_text([*map(Text, texts), image], role=role) == joined


def test_sealed_reasoning_is_left_out_and_told_once() -> None:
    ledger = Ledger()
    sealed = Message("assistant", (Thought("a", signature="S"), Thought(redacted="R"), Text("b")))
    open_ = Message("assistant", (Thought("a"), Text("b")))
    got = unsigned((sealed, open_, sealed), ledger, "messages[].thinking")
    assert [len(message.parts) for message in got] == [1, 2, 1]
    assert ledger.names() == ("messages[].thinking",)
    assert unsigned((open_,), Ledger(), "x") == (open_,)
