"""Anthropic Messages, spoken to clients and to upstreams.

Owns: the name and the whole face of this format; the work is done in the modules beside it: `request`
reads a client's request, `write` writes one for a server (`blocks`: its content), `answer` is whole
answers both ways, `decode` reads a server's stream, `encode` writes a client's, `errors` words what
failed, `wire` holds what they share and `models` what Claude models take.
Refuses to know: other formats, headers, addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formats.anthropic.answer import parse_response, write_response
from formats.anthropic.decode import Decoder, Observer
from formats.anthropic.encode import COMMENT, Encoder
from formats.anthropic.errors import parse_error, write_failure
from formats.anthropic.request import parse_request
from formats.anthropic.wire import NAME
from formats.anthropic.write import write_request

if TYPE_CHECKING:
    from formats.canonical import Request, Stamp
    from formats.ledger import Ledger

STREAM_TYPE: Final = "text/event-stream; charset=utf-8"

__all__ = [
    "COMMENT",
    "NAME",
    "STREAM_TYPE",
    "decoder",
    "encoder",
    "observer",
    "parse_error",
    "parse_request",
    "parse_response",
    "write_failure",
    "write_request",
    "write_response",
]


def decoder(*, limit: int) -> Decoder:
    """limit: bytes of one event."""
    return Decoder(limit=limit)


def encoder(request: Request, ledger: Ledger, stamp: Stamp, /) -> Encoder:
    return Encoder(request, ledger, stamp)


def observer(request: Request, /, *, limit: int) -> Observer:
    del request
    return Observer(limit=limit)
