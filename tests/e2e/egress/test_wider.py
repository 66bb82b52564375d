"""The same promise with more that could break it: IPv6, addresses that hide where they are, attempts
beside each other, a collector elsewhere, pictures, models that a local server passes on; and what the
receipt and the log say of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.egress.test_egress import can_unshare

pytestmark = pytest.mark.e2e

WIDER = Path(__file__).parent / "wider.py"
ROUNDS = 7


def test_not_one_packet_leaves_by_any_family_and_the_log_says_the_same() -> None:
    if not can_unshare():
        if os.environ.get("CI") == "true":
            pytest.fail("no network namespaces here (root and iproute2 are needed)")
        pytest.skip("network namespaces need root and iproute2")
    command = ["unshare", "--net", "--mount", sys.executable, str(WIDER), "1", str(ROUNDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["left"] == []
    assert seen["wrong"] == []  # a name looked up, a receipt or an address that is not so
    assert seen["cloud"] == 0  # no server here was asked for what it passes on
    assert seen["asked"] == ROUNDS * 11
    assert seen["logged"] == seen["hosts"] > ROUNDS
    assert seen["collectors"] > 1
    assert seen["control"] == ROUNDS  # without the tag it leaves, and the wire shows it
