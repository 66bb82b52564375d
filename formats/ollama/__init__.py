"""Ollama's native API, /api/chat, spoken to clients and to upstreams.

Owns: the name and the whole face of this format; the work is done in the modules beside it: `parse`
reads a client's request, `write` writes one for a server, `answer` is whole answers both ways,
`stream` streams, `errors` errors, and `wire` holds what they share.
Refuses to know: HTTP, /api/generate, /api/tags and the other calls of that server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formats.ollama.answer import load_answer, parse_response, write_response
from formats.ollama.errors import parse_error, write_failure
from formats.ollama.parse import parse_request
from formats.ollama.stream import Decoder, Encoder, Observer
from formats.ollama.write import write_request

if TYPE_CHECKING:
    from formats.canonical import Request, Stamp
    from formats.ledger import Ledger

__all__ = [
    "COMMENT",
    "NAME",
    "STREAM_TYPE",
    "decoder",
    "encoder",
    "load_answer",
    "observer",
    "parse_error",
    "parse_request",
    "parse_response",
    "write_failure",
    "write_request",
    "write_response",
]

NAME: Final = "ollama"
STREAM_TYPE: Final = "application/x-ndjson"
COMMENT: Final = b""


def decoder(*, limit: int) -> Decoder:
    return Decoder(limit=limit)


def encoder(request: Request, ledger: Ledger, stamp: Stamp, /) -> Encoder:
    return Encoder(request, ledger, stamp)


def observer(request: Request, /, *, limit: int) -> Observer:
    return Observer(request, limit=limit)
