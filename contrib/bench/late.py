"""How long a llama.cpp server goes on writing a whole answer for which nobody waits any more.

    bash tests/upstreams/start_llama_server.sh 18431 slow      # in another terminal
    python contrib/bench/late.py http://127.0.0.1:18431

A client asks the router for a whole answer, leaves after a second, and the slot is watched: alone on
the server, and while somebody else's stream runs there. With `stream_upstream` never and always.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from processes import ROOT, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_S = 20.0
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Tell me a story."}]}


@contextmanager
def router(upstream: str, how: str) -> Iterator[int]:
    """The router before `upstream`, as a process; its port."""
    port = free_port()
    text = f'[server]\nport = {port}\n[[providers]]\nname = "llama"\nformat = "openai"\n'
    text += f'base_url = "{upstream}"\nstream_upstream = "{how}"\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "late.toml"
        path.write_text(text)
        command = [sys.executable, str(ROOT / "llmrouter.py"), "serve", str(path)]
        with Process("router", command, None, Path(folder) / "log") as process:
            process.wait_ready(port, "/health")
            yield port


def busy(upstream: str) -> int:
    """How many slots work."""
    at = urlsplit(upstream)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    connection.request("GET", "/slots")
    slots = json.loads(connection.getresponse().read())
    connection.close()
    return sum(slot["is_processing"] for slot in slots)


def post(port: int, body: dict[str, object]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    fields = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), fields)
    return connection


def left_for(upstream: str, port: int, others: int, poll_s: float, most: int) -> float:
    """Seconds from the client's leaving until its slot is free."""
    streams = [post(port, {**ASKED, "stream": True, "max_tokens": 4000}) for _ in range(others)]
    pumps = [threading.Thread(target=_read, args=(each,), daemon=True) for each in streams]
    for pump in pumps:
        pump.start()
    mine = post(port, {**ASKED, "max_tokens": most})
    time.sleep(1.0)
    mine.close()
    begun = time.monotonic()
    while busy(upstream) > others and time.monotonic() - begun < LONGEST_S:
        time.sleep(poll_s)
    took = time.monotonic() - begun
    for each in streams:
        if each.sock is not None:
            each.sock.close()
        each.close()
    end = time.monotonic() + 30
    while busy(upstream) and time.monotonic() < end:
        time.sleep(2.5)
    return took


def _read(connection: http.client.HTTPConnection) -> None:
    try:
        while connection.getresponse().read1(65536):
            pass
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "upstream", help="the base URL of a llama.cpp server with two slots or more"
    )
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=400, help="of the answer that is left")
    args = parser.parse_args()
    for how in ("never", "always"):
        with router(args.upstream, how) as port:
            for others, poll_s, name in ((0, 2.5, "alone"), (1, 0.25, "beside a stream")):
                if how == "always":
                    poll_s = 0.02
                took = [
                    left_for(args.upstream, port, others, poll_s, args.tokens)
                    for _ in range(args.times)
                ]
                shown = f"{statistics.median(took):.2f} s ({min(took):.2f} to {max(took):.2f})"
                print(f"stream_upstream = {how!r:10} {name:16} {shown}", flush=True)


if __name__ == "__main__":
    main()
