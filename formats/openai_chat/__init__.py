"""OpenAI Chat Completions, spoken to clients and to upstreams.

Owns: the name and the whole face of this format; the work is done in the modules beside it
(`parse` a client's request, `write` an upstream's request, `splice` one that passes, `answer` whole
answers, `stream` streams, `watch` streams that pass, `errors` errors).
Refuses to know: other formats, sockets, the clock.
"""

from __future__ import annotations

from formats.openai_chat.answer import parse_response, write_response
from formats.openai_chat.errors import parse_error, write_failure
from formats.openai_chat.parse import NAME, parse_request
from formats.openai_chat.stream import ChatDecoder, ChatEncoder, decoder, encoder
from formats.openai_chat.watch import ChatObserver, observer
from formats.openai_chat.write import write_request

STREAM_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b": keep-alive\n\n"

__all__ = [
    "COMMENT",
    "NAME",
    "STREAM_TYPE",
    "ChatDecoder",
    "ChatEncoder",
    "ChatObserver",
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
