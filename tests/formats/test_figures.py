"""Figures of answers that nobody counted."""

import pytest

from formats.canonical import Response, Text, Thought, ToolUse, Usage
from formats.figures import counted, figures, tokens, with_figures


@pytest.mark.parametrize(
    ("usage", "whole"),
    [
        (None, False),
        (Usage(), False),
        (Usage(input=5), False),
        (Usage(output=5), False),
        (Usage(0, 0), True),
        (Usage(5, 7), True),
    ],
)
def test_clients_want_both_figures(usage, whole):
    assert counted(usage) is whole


def test_what_a_server_said_stays():
    said = Usage(output=3, cache_read=2)
    assert figures(said, 100, 38) == Usage(100, 3, cache_read=2)
    assert figures(None, 100, 38) == Usage(100, 10)


def test_an_answer_counts_with_all_that_the_model_wrote():
    call = ToolUse("c", "get_it", '{"a":1}', {"a": 1})
    answer = Response("", "m", (Thought("hm, hm"), Text("Looking."), call))
    assert with_figures(answer, 9).usage == Usage(9, tokens(6 + 8 + 6 + 7))


@pytest.mark.parametrize(("letters", "number"), [(0, 0), (1, 1), (38, 10), (39, 11)])
def test_the_last_piece_of_a_token_counts_as_one(letters, number):
    assert tokens(letters) == number
