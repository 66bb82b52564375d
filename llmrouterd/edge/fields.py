"""Header fields that have nothing to do with framing, written past h11 in one piece.

Owns: making field lines out of names and values, judging them, putting them into a head.
Refuses to know: which fields, whose head.

Laws:
1. Nothing that HTTP does not allow in a field gets into a head, whoever asks for it.
2. h11 keeps every field that it needs to know about (Host, Content-Length, Connection, ...).

h11 looks at each field several times in Python: with a dozen fields that is a twentieth of all the
work for a short request. One regular expression judges them all here.
"""

from __future__ import annotations

import h11

from llmrouterd.edge.rawhead import BadHead, check_fields

_CRLF = b"\r\n"


def lines(fields: list[str]) -> bytes:
    """`name: value` texts as the lines of a head.

    Raises:
        h11.LocalProtocolError: a field that HTTP does not allow (a bug of the caller).
    """
    try:
        out = "".join([f"{field}\r\n" for field in fields]).encode("latin-1")
        check_fields(out)
    except BadHead as exc:
        raise h11.LocalProtocolError(exc.why) from exc
    except UnicodeEncodeError as exc:
        raise h11.LocalProtocolError("a character that no header field can hold") from exc
    if out.count(_CRLF) != len(fields):
        raise h11.LocalProtocolError("a line end in a header field")
    return out


def put(head: bytes, added: bytes) -> bytes:
    """A head that h11 wrote, with `added` lines behind its own."""
    return head[:-2] + added + _CRLF
