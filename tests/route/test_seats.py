"""What tells conversations apart, and where they sit."""

import pytest

from formats.canonical import Image, Message, Request, Text
from llmrouterd.route.seats import Seats, session_of

HERE, THERE = ("a", "m"), ("b", "m")


def said(*texts, **more):
    roles = ("user", "assistant")
    messages = tuple(Message(roles[n % 2], (Text(t),)) for n, t in enumerate(texts))
    return Request("openai", "m", messages, **more)


def test_a_conversation_has_one_name_on_every_turn():
    first = session_of(said("hi"), {}, "")
    assert session_of(said("hi", "yes?", "more"), {}, "") == first
    assert session_of(said("hello"), {}, "") != first
    assert len(first) == 24


@pytest.mark.parametrize(
    "name", ["x-claude-code-session-id", "x-session-affinity", "x-session-id", "session-id"]
)
def test_what_a_client_calls_it_counts_more_than_how_it_begins(name):
    fields = {name: "s-1"}
    assert session_of(said("hi"), fields, "") == session_of(said("other"), fields, "")
    assert session_of(said("hi"), fields, "") != session_of(said("hi"), {name: "s-2"}, "")


def test_the_body_may_say_it_too():
    named = said("hi", cache_key="k")
    assert session_of(named, {}, "") == session_of(said("other", cache_key="k"), {}, "")
    assert session_of(said("hi", user="u"), {}, "") == session_of(said("x", user="u"), {}, "")


def test_the_same_words_of_another_client_are_another_conversation():
    assert session_of(said("hi"), {}, "ann") != session_of(said("hi"), {}, "bob")


def test_pictures_and_odd_letters_are_no_trouble():
    parts = (Image(data="x"), Text("\ud800"))
    assert session_of(Request("openai", "m", (Message("user", parts),)), {}, "")


def test_a_seat_is_kept_for_a_while():
    seats = Seats(kept_s=10)
    assert seats.of("s", 0) is None
    seats.sit("s", HERE, 0)
    assert (seats.of("s", 9), seats.of("s", 10)) == (HERE, None)
    seats.sit("s", HERE, 9)
    assert seats.of("s", 18) == HERE


def test_who_was_served_elsewhere_comes_back_unless_it_lasts():
    seats = Seats(kept_s=10)
    seats.sit("s", HERE, 0)
    seats.sit("s", THERE, 5)
    assert seats.of("s", 6) == HERE
    seats.sit("s", THERE, 11)
    assert seats.of("s", 12) == THERE


def test_the_oldest_seats_are_given_away():
    seats = Seats(most=2)
    for name in "abc":
        seats.sit(name, HERE, 0)
    assert [seats.of(name, 1) for name in "abc"] == [None, HERE, HERE]
