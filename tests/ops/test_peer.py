"""Who is at the other end of the hub's socket."""

import os
import socket
import struct
from pathlib import Path

import pytest
import trio

from llmrouterd.ops import peer
from llmrouterd.ops.archive import Far
from llmrouterd.ops.peer import ours, reach


async def test_only_this_users_processes_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(one))
    try:
        assert ours(stream)
        monkeypatch.setattr(peer.os, "geteuid", lambda: os.getuid() + 1)
        assert ours(stream) is (os.getuid() == 0)  # root may
    finally:
        one.close()
        other.close()


class Strangers:
    """What the system says of a socket, as if another user had made it."""

    size = 12

    def unpack(self, found: bytes) -> tuple[int, int, int]:
        pid, _, gid = struct.unpack("3i", found)
        return pid, os.getuid() + 1, gid


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not say")
async def test_nothing_is_said_to_a_strangers_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "hub.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        stream = await reach(path)
        await stream.aclose()
        listening.accept()[0].close()
        monkeypatch.setattr(peer, "_PEER", Strangers())
        with pytest.raises(PermissionError):
            await reach(path)
        listening.accept()[0].close()
        with trio.fail_after(20):
            assert not await Far(path, 1, print).drop("ann", "resp_1")
        heard, _ = listening.accept()
        assert heard.recv(1) == b""
        heard.close()
