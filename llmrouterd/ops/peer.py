"""Who is at the other end of the hub's socket.

Owns: looking at that, and the workers' way in, which looks first.
Refuses to know: what is said there (frames.py, lines.py).

Law: both ends make values of what the other one says, so neither takes the folder's mode on trust: where
a stranger may rename what lies in the folder for temporary files, the socket there may be the stranger's.
"""

from __future__ import annotations

import os
import socket
import struct

import trio

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


def ours(stream: trio.SocketStream) -> bool:
    """Whether the other end runs as this user, or as root; where the system does not say, the
    folder's mode alone keeps others away."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    found = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return _PEER.unpack(found)[1] in (0, os.geteuid())


async def reach(path: str) -> trio.SocketStream:
    """A connection to the hub. Raises OSError, too, when somebody else listens there."""
    stream = await trio.open_unix_socket(path)
    if not ours(stream):
        stream.socket.close()
        raise PermissionError(f"{path} is somebody else's socket")
    return stream
