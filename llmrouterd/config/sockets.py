"""`unix:/run/llama.sock`, or `unix:/run/llama.sock:/v1`: a server's address on a unix socket.

Owns: how such an address is written, and taking it apart. The second part, where it is given, stands
before all paths of requests, as in the addresses of nginx.
Refuses to know: who listens there; edge/dial.py finds out.
"""

from __future__ import annotations

from llmrouterd.config.server import UNIX

EXAMPLE = "unix:/run/llama.sock or unix:/run/llama.sock:/v1"


def on_socket(address: str) -> tuple[str, str] | None:
    """The socket's path and what stands before the paths of requests; None: an address of another
    kind. What is wrong with one is `wrong_socket`'s to say."""
    if not address.startswith(UNIX):
        return None
    path, _, prefix = address.removeprefix(UNIX).partition(":")
    return path, prefix.rstrip("/")


def wrong_socket(address: str) -> str:
    """What is wrong with an address that begins as a unix socket's; "": nothing."""
    path, _, prefix = address.removeprefix(UNIX).partition(":")
    shown = (path + prefix).isprintable() and " " not in prefix
    if not path.startswith("/") or path.endswith("/") or not shown:
        return f"expected a socket by its whole path, like {EXAMPLE}"
    if prefix and (not prefix.startswith("/") or not prefix.isascii() or set(prefix) & set("?#:")):
        return f"what follows the socket is a path, like {EXAMPLE}"
    return ""
