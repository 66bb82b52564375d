"""Work on a stranger's data, in a process of its own: it can be ended, and what it eats is not ours.

Owns: beginning such a process, what goes in and comes out, its bounds, its end.
Refuses to know: what is computed.

Laws:
1. A thread that computes cannot be stopped, and slows everybody down. A process can be killed, and
   is: when its time is over, when it says too much, when nobody waits for it any more.
2. It has nothing of this one's but what it is given: no environment, no descriptors, no secrets.
3. Few at a time; the others wait, within the same time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from llmrouterd.apart.child import FULL
from llmrouterd.hooks import ApartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON

AT_ONCE = 2
_REAP_S = 5.0
_PIECE = 65536
_KEPT = ("LD_LIBRARY_PATH", "SYSTEMROOT")  # what Python itself may need to start
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from llmrouterd.apart.child import main; "
    "main(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))"
)


class Apart:
    """What `ctx.apart` is; one for the whole daemon."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = trio.Semaphore(at_once)

    async def __call__(
        self,
        function: str,
        data: bytes,
        settings: Mapping[str, JSON] | None = None,
        *,
        timeout_s: float = 30.0,
        memory_bytes: int = 512 * 1024 * 1024,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> bytes:
        """What the function returned. Raises ApartFailed."""
        with trio.move_on_after(timeout_s):
            async with self._places:
                command = _command(function, settings or {}, memory_bytes, timeout_s)
                return await _run(command, data, max_bytes)
        raise ApartFailed(f"it took longer than {timeout_s:g} s")


def _command(
    function: str, settings: Mapping[str, JSON], memory_bytes: int, timeout_s: float
) -> list[str]:
    if not sys.executable:
        raise ApartFailed("this Python does not know where it is, and cannot be started again")
    paths = json.dumps([str(Path(each).absolute()) for each in sys.path])
    bounds = str(memory_bytes), str(int(timeout_s) + 1)
    return [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _START,
        paths,
        function,
        json.dumps(settings),
        *bounds,
    ]


async def _run(command: list[str], data: bytes, max_bytes: int) -> bytes:
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    try:
        process = await trio.lowlevel.open_process(
            command, stdin=pipe, stdout=pipe, stderr=nowhere, env=env, cwd="/"
        )
    except OSError as error:
        raise ApartFailed(f"no process could be started: {error.strerror}") from None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process, data)
            answer = await _read(process, max_bytes)
            nursery.cancel_scope.cancel()  # whoever has answered reads no more
        code = await process.wait()
    finally:
        with trio.move_on_after(_REAP_S, shield=True):
            await _end(process)
    if answer is None:
        raise ApartFailed(f"it said more than {max_bytes} bytes")
    if code:
        raise ApartFailed(_why(code))
    return answer


async def _feed(process: trio.Process, data: bytes) -> None:
    assert process.stdin is not None
    try:
        await process.stdin.send_all(data)
        await process.stdin.aclose()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it ended before it had read all: its exit code says why


async def _read(process: trio.Process, max_bytes: int) -> bytes | None:
    """All that it says; None when that is too much."""
    assert process.stdout is not None
    out = bytearray()
    while piece := await process.stdout.receive_some(_PIECE):
        out += piece
        if len(out) > max_bytes:
            process.kill()
            return None
    return bytes(out)


async def _end(process: trio.Process) -> None:
    """It is gone, and so are its pipes."""
    if process.returncode is None:
        process.kill()
        await process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()


def _why(code: int) -> str:
    if code == FULL:
        return "it wanted more memory than it may have"
    if code < 0:
        return f"its process was ended by signal {-code}"
    return "it failed"
