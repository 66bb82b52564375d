"""Typed access with errors that name the place."""

import pytest

from formats import check
from formats.errors import Invalid

READERS = {
    check.string: "x",
    check.opt_string: "x",
    check.opt_bool: True,
    check.opt_int: 5,
    check.opt_number: 1.5,
    check.opt_list: [1],
    check.opt_object: {"a": 1},
}
VALUES = [None, True, 5, 1.5, "x", [1], {"a": 1}]
ALSO_TAKEN = {check.opt_number: [5]}


@pytest.mark.parametrize("reader", READERS, ids=lambda each: each.__name__)
def test_each_reader_takes_its_own_type_and_refuses_all_others(reader):
    for value in VALUES:
        taken = value == READERS[reader] and type(value) is type(READERS[reader])
        taken = taken or (type(value) is int and value in ALSO_TAKEN.get(reader, []))
        if value is None and reader is not check.string:
            taken = True
        if taken:
            assert reader({"key": value}, "key", "at") == value
        else:
            with pytest.raises(Invalid) as caught:
                reader({"key": value}, "key", "at[2]")
            assert caught.value.path == "at[2].key"


@pytest.mark.parametrize("reader", [r for r in READERS if r is not check.string])
def test_an_absent_member_is_none_where_it_may_be_absent(reader):
    assert reader({}, "key") is None


def test_a_required_member_that_is_absent_says_so():
    with pytest.raises(Invalid, match=r"^messages\[1\]\.role: this field is required$"):
        check.string({}, "role", "messages[1]")


def test_the_message_says_what_stood_there():
    with pytest.raises(Invalid, match="expected a string, got a list"):
        check.opt_string({"a": []}, "a")
    with pytest.raises(Invalid, match="expected a whole number, got true or false"):
        check.opt_int({"a": True}, "a")


def test_a_whole_number_may_be_written_with_a_point():
    value = check.opt_int({"a": 5.0}, "a")
    assert (value, type(value)) == (5, int)
    for odd in (5.5, float("inf"), float("nan")):
        with pytest.raises(Invalid):
            check.opt_int({"a": odd}, "a")


def test_numbers_stay_what_they_are():
    big = 10**30
    assert check.opt_int({"a": big}, "a") == big
    assert type(check.opt_number({"a": 1}, "a")) is int


def test_elements_are_checked_by_their_place():
    assert check.an_object({}, "a[0]") == {}
    assert check.a_list([], "a[0]") == []
    assert check.a_string("", "a[0]") == ""
    for reader in (check.an_object, check.a_list, check.a_string):
        with pytest.raises(Invalid, match=r"^a\[0\]: expected an? \w+, got null"):
            reader(None, "a[0]")


def test_places_are_joined_as_people_write_them():
    assert check.join("", "a") == "a"
    assert check.join("a", "b") == "a.b"
    assert check.join("a", 3) == "a[3]"


def test_the_rest_is_what_is_not_known_in_order():
    assert list(check.rest({"z": 1, "a": 2, "k": 3}, frozenset({"a"})).items()) == [
        ("z", 1),
        ("k", 3),
    ]
