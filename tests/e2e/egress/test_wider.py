"""The same promise with more that could break it: IPv6, addresses that hide where they are, attempts
beside each other, a collector elsewhere, pictures, models that a local server passes on; and what the
receipt and the log say of it."""

from pathlib import Path

import pytest

from tests.e2e.egress.test_egress import seen_in_a_network_of_its_own

pytestmark = pytest.mark.e2e

WIDER = Path(__file__).parent / "wider.py"
ROUNDS = 7


def test_not_one_packet_leaves_by_any_family_and_the_log_says_the_same() -> None:
    seen = seen_in_a_network_of_its_own(WIDER, ROUNDS, timeout_s=900)
    assert seen["left"] == []
    assert seen["wrong"] == []  # a name looked up, a receipt or an address that is not so
    assert seen["cloud"] == 0  # no server here was asked for what it passes on
    assert seen["asked"] == ROUNDS * 11
    assert seen["logged"] == seen["hosts"] > ROUNDS
    assert seen["collectors"] > 1
    assert seen["control"] == ROUNDS  # without the tag it leaves, and the wire shows it
