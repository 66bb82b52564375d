"""Wire formats, sans-IO: bytes in, values out, and back. No sockets, no clock, no log, no chance.

A format is a package or module with the functions of `Format`. `FORMATS` maps its name to it; a new
format is one more of them and one more line here. Most names are those of the configuration, which
says what a provider speaks; "completions" and "generate" are older calls of such servers, which
clients still make: `speaks` says when an upstream is asked by one of them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Event, Request, Response, Stamp, Target, Usage
    from formats.errors import Failure
    from formats.ledger import Ledger


class Decoder(Protocol):
    """An upstream's stream, as h11 does it: bytes in, events out. Takes bytes in any split."""

    def feed(self, data: bytes, /) -> list[Event]: ...

    def eof(self) -> list[Event]:
        """The upstream's body has ended. Always completes the law: the stream's last event is
        Finished or Failed (truncated, when the format's own end mark never came)."""
        ...


class Encoder(Protocol):
    """A client's stream: events in, bytes out.

    failure: the answer ended in something that this format cannot carry, and the last bytes said so.
    """

    @property
    def failure(self) -> Failure | None: ...

    def encode(self, event: Event, /) -> bytes:
        """b"" when this format has nothing to say here."""
        ...

    def ping(self) -> bytes:
        """A life sign that is legal right now, or b"" where the format has none."""
        ...


class Observer(Protocol):
    """Watches a stream that passes through unchanged, parsing no more than it must.

    content: a first text, reasoning, refusal or tool-call event has passed.
    failure: the stream's own error, when one came. told: the client has it, in an event that the
    readers of this format raise on. ended: the format's end mark has passed; nothing follows it.
    """

    content: bool
    usage: Usage | None
    failure: Failure | None
    told: bool

    @property
    def ended(self) -> bool: ...

    def feed(self, data: bytes, /) -> bytes:
        """The whole events in what has come so far, as received; a partial one is held back."""
        ...

    def eof(self) -> Failure | None:
        """None when the stream ended with its format's own end mark, else what it was."""
        ...


class Format(Protocol):
    """What every format module offers. Attributes and functions, in this order in each module."""

    NAME: str
    STREAM_TYPE: str  # content type of a streamed answer
    COMMENT: bytes  # a life sign legal before the first event, b"" where there is none

    def parse_request(self, body: bytes, /) -> Request:
        """A client's request. Raises Invalid."""
        ...

    def write_request(self, request: Request, ledger: Ledger, target: Target, /) -> bytes:
        """The body for an upstream of this format. Raises Unsupported for what would change the
        meaning; notes every other loss."""
        ...

    def parse_response(self, body: bytes, /) -> Response:
        """An upstream's whole answer (status 200). Raises Garbled when it is not one."""
        ...

    def write_response(
        self, response: Response, ledger: Ledger, stamp: Stamp, request: Request | None = None, /
    ) -> bytes:
        """The body for a client of this format. request: what it asked, which says what it calls
        its tools and whether it wants to see thinking. Raises Garbled for an answer that this
        format cannot show (a call whose arguments are not an object)."""
        ...

    def write_failure(self, failure: Failure, /) -> tuple[int, bytes]:
        """Status and body of an error before the first byte, in the client's own shape."""
        ...

    def decoder(self, *, limit: int) -> Decoder:
        """limit: bytes of one event or line."""
        ...

    def encoder(self, request: Request, ledger: Ledger, stamp: Stamp, /) -> Encoder: ...

    def observer(self, request: Request, /, *, limit: int) -> Observer: ...

    def parse_error(self, status: int, body: bytes, /) -> Failure:
        """An upstream's error answer, whatever shape it really has."""
        ...


def speaks(provider_format: str, request: Request) -> str:
    """The name of the format in which an upstream that speaks `provider_format` is asked this
    request: the client's own call, where the same servers have it and nobody changed the request;
    else that of conversations."""
    same_server = (provider_format, request.origin) in _OLDER_CALLS
    return request.origin if same_server and request.raw is not None else provider_format


_OLDER_CALLS = frozenset({("openai", "completions"), ("ollama", "generate")})


def _formats() -> Mapping[str, Format]:
    import formats.anthropic as anthropic
    import formats.completions as completions
    import formats.generate as generate
    import formats.ollama as ollama
    import formats.openai_chat as openai_chat
    import formats.responses as responses

    return MappingProxyType(
        {
            "openai": openai_chat,
            "anthropic": anthropic,
            "ollama": ollama,
            "completions": completions,
            "generate": generate,
            "responses": responses,
        }
    )


FORMATS: Mapping[str, Format] = _formats()
