"""Which models lie in a server's memory, and for whom they are kept."""

import pytest

from llmrouterd.guard.residents import Residents


def holding(*models, most=1, kept_s=10.0):
    residents = Residents(most, kept_s)
    for at, model in enumerate(models):
        residents.enter(model, "ann", float(at), batch=False)
        residents.leave(model, float(at))
    return residents


def test_without_a_number_nothing_is_known_of_the_memory():
    residents = holding("a", "b", most=0)
    assert residents.names == ()
    assert not residents.must_swap("c")


def test_the_first_request_for_a_model_loads_it():
    residents = Residents(1, 10.0)
    assert residents.enter("a", "ann", 0.0, batch=False)
    assert not residents.enter("a", "bob", 1.0, batch=False)


def test_while_there_is_room_nothing_has_to_go():
    residents = holding("a", most=2)
    assert not residents.must_swap("b")
    assert residents.enter("b", "ann", 5.0, batch=False)
    assert residents.names == ("a", "b")
    assert residents.must_swap("c")


def test_what_was_unused_the_longest_goes():
    residents = holding("a", "b", most=2)
    residents.enter("a", "ann", 5.0, batch=False)
    residents.leave("a", 6.0)
    assert residents.victim().model == "b"
    residents.enter("c", "ann", 7.0, batch=False)
    assert residents.names == ("a", "c")


def test_a_model_at_work_does_not_go():
    residents = Residents(1, 10.0)
    residents.enter("a", "ann", 0.0, batch=False)
    assert residents.victim() is None
    residents.leave("a", 1.0)
    assert residents.victim().model == "a"


@pytest.mark.parametrize(
    ("user", "its_batch", "who", "batch", "kept"),
    [
        ("ann", False, "ann", False, 1.0),  # alone: nothing is kept from oneself
        ("ann", False, "bob", False, 11.0),
        ("ann", False, "bob", True, 11.0),
        ("ann", True, "bob", False, 1.0),  # batch keeps nothing from a person
        ("ann", True, "bob", True, 11.0),
    ],
)
def test_for_whom_a_model_is_kept(user, its_batch, who, batch, kept):
    residents = Residents(1, 10.0)
    residents.enter("a", user, 0.0, batch=its_batch)
    residents.leave("a", 1.0)
    assert residents.kept_until(residents.victim(), who, batch=batch) == kept


def test_residency_begins_when_the_first_request_after_the_loading_is_over():
    residents = Residents(1, 10.0)
    residents.enter("a", "ann", 0.0, batch=False)
    residents.leave("a", 20.0)
    residents.enter("a", "ann", 25.0, batch=False)
    residents.leave("a", 26.0)
    assert residents.kept_until(residents.victim(), "bob", batch=False) == 30.0


def test_a_load_is_measured_within_reason():
    residents = Residents(1, 10.0)
    residents.loaded(-3.0, 0.0)
    assert residents.load_s.value == 0.0
    residents.loaded(8.0, 1e6)
    assert residents.load_s.value == pytest.approx(8.0)
