"""The loss ledger."""

from formats.ledger import Ledger, Loss


def test_a_loss_is_recorded_as_it_was_told():
    ledger = Ledger()
    ledger.note("seed", "dropped", "not known there")
    ledger.note("prompt_cache_key", "dropped", "a hint", harmless=True)
    assert ledger.entries == [
        Loss("seed", "dropped", "not known there", harmless=False),
        Loss("prompt_cache_key", "dropped", "a hint", harmless=True),
    ]


def test_a_thousand_losses_of_one_kind_are_one_entry():
    ledger = Ledger()
    for index in range(1000):
        ledger.note(f"messages[{index}].content[{index % 3}].detail", "dropped", "unknown there")
    assert [loss.path for loss in ledger.entries] == ["messages[].content[].detail"]


def test_two_things_done_to_one_field_are_two_entries_but_one_name():
    ledger = Ledger()
    ledger.note("temperature", "clamped", "at most 1")
    ledger.note("tools", "dropped", "none are taken")
    ledger.note("temperature", "dropped", "not taken")
    assert len(ledger.entries) == 3
    assert ledger.names() == ("temperature", "tools")


def test_a_new_ledger_is_empty():
    assert Ledger().names() == ()
