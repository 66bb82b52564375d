import pytest

from formats.openai_chat.indices import Indices


def chunk(*calls, choice=0):
    return {"choices": [{"index": choice, "delta": {"tool_calls": list(calls)}}]}


def call(index, call_id=None):
    made = {"index": index} if index is not None else {}
    return made | ({"id": call_id} if call_id else {})


def places(indices, *chunks):
    out = []
    for each in chunks:
        indices.repaired(each)
        out += [c["index"] for c in each["choices"][0]["delta"]["tool_calls"]]
    return out


def test_right_numbers_stay_and_nothing_is_changed():
    indices = Indices()
    for each in (call(0, "a"), call(0), call(1, "b"), call(1), call(0)):
        assert indices.repaired(chunk(each)) is False


def test_calls_that_all_claim_the_first_place_are_put_apart():
    indices = Indices()
    assert indices.repaired(chunk(call(0, "a"))) is False
    assert indices.repaired(chunk(call(0, "b"))) is True
    assert places(indices, chunk(call(0)), chunk(call(0, "c")), chunk(call(0))) == [1, 2, 2]


def test_several_in_one_chunk_are_put_apart_too():
    assert places(Indices(), chunk(call(0, "a"), call(0, "b"), call(0, "c"))) == [0, 1, 2]


def test_a_server_that_repeats_the_id_in_every_piece_means_one_call():
    assert places(Indices(), chunk(call(0, "a")), chunk(call(0, "a")), chunk(call(0))) == [0, 0, 0]


def test_missing_numbers_are_given():
    assert places(Indices(), chunk(call(None, "a")), chunk(call(None)), chunk(call(None, "b"))) == [
        0,
        0,
        1,
    ]


def test_a_place_that_was_given_away_is_not_given_twice():
    given = chunk(call(0, "a")), chunk(call(0, "b")), chunk(call(1, "c")), chunk(call(1))
    assert places(Indices(), *given) == [0, 1, 2, 2]


def test_choices_are_numbered_apart():
    indices = Indices()
    assert indices.repaired(chunk(call(0, "a"), choice=0)) is False
    assert indices.repaired(chunk(call(0, "b"), choice=1)) is False


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"choices": None},
        {"choices": [None, {"delta": None}, {"delta": {"tool_calls": {}}}]},
        {"choices": [{"delta": {"tool_calls": [None]}, "index": []}]},
    ],
)
def test_what_is_no_call_is_left_alone(odd):
    assert Indices().repaired(odd) is False


@pytest.mark.parametrize("index", [-1, "0", [], 1.5, True])
def test_a_number_that_is_none_is_replaced(index):
    assert places(Indices(), chunk({"index": index, "id": "a"})) == [0]
