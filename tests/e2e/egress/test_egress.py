"""What must stay here stays here: read from the wire, not from what the router says of itself.

A request that a policy keeps local meets random configurations: local servers that fail, redirect
or hang up, servers elsewhere that are written out as fallbacks, a name whose address changes, a
server that the owner wrongly believes to be local, a proxy; a search engine elsewhere, by its address
and by name, and a plugin that asks others before the classifiers have looked. Not one packet may leave
the network.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

INSIDE = Path(__file__).parent / "inside.py"
ROUNDS = 12


def can_unshare() -> bool:
    tools = all(map(shutil.which, ("unshare", "nsenter", "ip", "mount")))
    command = ["unshare", "--net", "--mount", "true"]
    return tools and subprocess.run(command, capture_output=True).returncode == 0


def seen_in_a_network_of_its_own(script: Path, rounds: int, timeout_s: int) -> dict[str, Any]:
    """What `script` has seen there. Without namespaces the test is skipped; in CI it fails."""
    if not can_unshare():
        if os.environ.get("CI") == "true":
            pytest.fail("no network namespaces here (root and iproute2 are needed)")
        pytest.skip("network namespaces need root and iproute2")
    command = ["unshare", "--net", "--mount", sys.executable, str(script), "1", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_not_one_packet_of_a_local_only_request_leaves_this_network() -> None:
    seen = seen_in_a_network_of_its_own(INSIDE, ROUNDS, timeout_s=600)
    assert seen["left"] == []
    assert seen["asked"] == ROUNDS * 8
    assert seen["served"] > ROUNDS  # they were not all refused
    assert seen["control"] == ROUNDS  # without the tag it leaves, and the wire shows it
    assert (
        seen["searched"] >= ROUNDS * 2 // 3
    )  # so does a search, but where the name is of this network
