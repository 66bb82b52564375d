"""OpenAI Responses, spoken to clients and to upstreams.

Owns: the name and the whole face of this format; the work is done in the modules beside it: `parse`
reads a client's request (`items`: its input, `tools`: its tools), `write` writes one for a server
(`compose`: its input, `splice`: one that passes), `answer` is whole answers, `decode` reads a
server's stream, `encode` writes a client's (`echo`: what an answer repeats of its request), `watch`
sees one pass, `errors` words what failed, `wire` holds what they share, and `stored` is what a
keeper of answers needs.
Refuses to know: headers, addresses, where answers are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formats.responses.answer import parse_response, write_response
from formats.responses.decode import Decoder
from formats.responses.encode import COMMENT, Encoder
from formats.responses.errors import parse_error, write_failure
from formats.responses.parse import parse_request
from formats.responses.watch import Observer
from formats.responses.wire import NAME
from formats.responses.write import write_request

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
