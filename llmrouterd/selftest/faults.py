"""What can go wrong with an upstream, and what must happen then.

Owns: the table of faults: what the upstream does, act by act, and what this router owes its client
and its log for it.
Refuses to know: sockets, clocks, who looks.

A fault's `stream` and `whole` say what is expected of a streamed answer and of one in a piece:

walks   nobody has seen a word of this upstream: the next candidate answers. With none left the
        client gets an error, in its own format and with a status that is its business
breaks  the first words are out: the answer ends in the client format's own error
passes  it is no fault at all: the answer is good and whole
stops   the client's own mistake: it is told, and nobody else is asked
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from llmrouterd.selftest.voices import VOICES, Voice, compact

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.model import EndState

FIRST, REST = "These are the", " words of an answer."
WORDS = FIRST + REST
LETTERS = "Grüße, 世界 🌍"
HEALTHY = "healthy"  # the model that is in order
REFUSED = "refused"  # the one whose server is not there
CALLS = ("first_call", "second_call")
RETRY_S = 17
HEADER_BYTES = 1024 * 1024
# Far enough ahead that a slow machine does not come to it.
DATE_S = 3600


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """Until the client has the first words: what comes with an error in one piece is not shown."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Not a byte, until the other side hangs up."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The same again and again, until the other side hangs up."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Hang up."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Hang up as a process that died."""


Act = Send | Heard | Silence | Drip | Close | Reset
Acts = tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for an answer. now: UTC seconds, for what is dated."""

    format: str
    stream: bool
    now: float = 0.0

    @property
    def voice(self) -> Voice:
        return VOICES[self.format]


@dataclass(frozen=True, slots=True)
class Expected:
    """kind: X-Router-Error and the log's error_kind; other_kind: what the same fault comes to in
    other words. status: to clients of OpenAI's format and Ollama's, and to Anthropic's, when nobody
    else is left. retry_s: the Retry-After that is passed on."""

    outcome: Literal["walks", "breaks", "passes", "stops"]
    kind: str = ""
    end: EndState = "complete"
    fault: str = ""
    status: tuple[int, int] = (200, 200)
    retry_s: int = 0
    text: str = WORDS
    calls: tuple[str, ...] = ()
    estimated: bool = False
    other_kind: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.kind, self.other_kind) if self.other_kind else (self.kind,)


@dataclass(frozen=True, slots=True)
class Fault:
    """whole: None where there is no such thing with an answer in one piece."""

    name: str
    what: str
    acts: Callable[[Asked], Acts]
    stream: Expected
    whole: Expected | None
    slow: bool = False  # it takes a clock to end it


def walks(
    kind: str, status: tuple[int, int], *, fault: str = "upstream", retry_s: int = 0
) -> Expected:
    return Expected("walks", kind, "upstream_error", fault, status, retry_s)


def breaks(kind: str, end: EndState) -> Expected:
    return Expected("breaks", kind, end, "upstream")


def stops(kind: str, status: int, other_kind: str = "") -> Expected:
    return Expected("stops", kind, "refused", "client", (status, status), other_kind=other_kind)


def held(expected: Expected) -> Expected:
    """The same where a plugin holds answers back until they are whole: nobody has seen a word."""
    if expected.outcome != "breaks":
        return expected
    return walks(expected.kind, LATE if expected.kind.startswith("timeout") else BAD)


BAD = (502, 500)
LATE = (504, 504)
CUT = walks("truncated", BAD)
UPSTREAM = walks("upstream", BAD)
NO_TOKEN = walks("timeout:first_token", LATE)
GOOD = Expected("passes")


# --- what HTTP needs ------------------------------------------------------------------------------


def head(status: int, kind: str, *fields: str) -> Send:
    lines = [f"HTTP/1.1 {status} Selftest", f"Content-Type: {kind}", *fields]
    return Send(("\r\n".join(lines) + "\r\n\r\n").encode())


def whole(body: object, status: int = 200, *fields: str, kind: str = "application/json") -> Acts:
    data = body if isinstance(body, bytes) else compact(body).encode()
    return head(status, kind, f"Content-Length: {len(data)}", *fields), Send(data)


def begun(asked: Asked) -> Send:
    return head(200, asked.voice.stream_type, "Transfer-Encoding: chunked")


def chunk(data: bytes) -> Send:
    return Send(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")


END = Send(b"0\r\n\r\n")


def half(asked: Asked) -> Acts:
    """A whole answer up to its middle."""
    first, body = whole(asked.voice.whole(WORDS))
    assert isinstance(body, Send)
    return first, Send(body.data[: len(body.data) // 2])


def first_words(asked: Asked) -> Acts:
    """A stream, up to and with the first words, which the client has heard."""
    voice = asked.voice
    return (
        begun(asked),
        chunk(voice.opening()),
        chunk(voice.text(FIRST, first=True)),
        Heard(),
    )


# --- the acts of each fault -----------------------------------------------------------------------


def answers(asked: Asked) -> Acts:
    """No fault."""
    voice = asked.voice
    if not asked.stream:
        return whole(voice.whole(WORDS))
    pieces = (voice.opening(), voice.text(FIRST, first=True), voice.text(REST), voice.closing())
    return begun(asked), *map(chunk, pieces), END


def _before_head(*acts: Act) -> Callable[[Asked], Acts]:
    return lambda asked: acts


def _cut_after_head(asked: Asked) -> Acts:
    if asked.stream:
        return begun(asked), Close()
    return half(asked)[0], Close()


def _before_content(*acts: Act) -> Callable[[Asked], Acts]:
    """After the head and what comes before any content; in the middle of a whole answer."""

    def script(asked: Asked) -> Acts:
        if not asked.stream:
            return *half(asked), *acts
        return begun(asked), chunk(asked.voice.opening()), *acts

    return script


def _after_content(*acts: Act) -> Callable[[Asked], Acts]:
    def script(asked: Asked) -> Acts:
        return *(first_words(asked) if asked.stream else half(asked)), *acts

    return script


def _cut_in_event(asked: Asked) -> Acts:
    if not asked.stream:
        return *whole(asked.voice.whole(WORDS))[:1], Send(b"{"), Close()
    event = asked.voice.text(REST)
    return *first_words(asked), chunk(event[: len(event) // 2]), Close()


def _garbage_before(asked: Asked) -> Acts:
    """The rest is good, so that only the garbage can be what is objected to."""
    voice = asked.voice
    if not asked.stream:
        return whole(b'{"id":"x","cho')
    good = (voice.text(WORDS, first=True), voice.closing())
    return begun(asked), *map(chunk, (voice.opening(), voice.garbage(), *good)), END


def _garbage_after(asked: Asked) -> Acts:
    voice = asked.voice
    good = (voice.text(REST), voice.closing())
    return *first_words(asked), *map(chunk, (voice.garbage(), *good)), END


def _html(asked: Asked) -> Acts:
    return whole(b"<html><title>Sign in</title></html>", kind="text/html")


def _empty(asked: Asked) -> Acts:
    return (begun(asked), END) if asked.stream else whole(b"")


def _split(asked: Asked) -> Acts:
    """Every byte in a chunk of its own."""
    voice = asked.voice
    if asked.stream:
        parts = voice.opening() + voice.text(LETTERS, first=True) + voice.closing()
        first = begun(asked)
    else:
        parts = compact(voice.whole(LETTERS)).encode()
        first = head(200, "application/json", "Transfer-Encoding: chunked")
    return first, *(chunk(bytes([byte])) for byte in parts), END


def _same_index(asked: Asked) -> Acts:
    voice = asked.voice
    if not asked.stream:
        return whole(voice.whole("", calls=CALLS))
    pieces = (voice.opening(), voice.calls(CALLS), voice.closing(calls=True))
    return begun(asked), *map(chunk, pieces), END


def _no_usage(asked: Asked) -> Acts:
    voice = asked.voice
    if not asked.stream:
        return whole(voice.whole(WORDS, usage=False))
    pieces = (
        voice.opening(usage=False),
        voice.text(WORDS, first=True),
        voice.closing(usage=False),
    )
    return begun(asked), *map(chunk, pieces), END


def _error_before(asked: Asked) -> Acts:
    voice = asked.voice
    if not asked.stream:
        return whole(voice.error("server_error", "it broke"))
    return begun(asked), chunk(voice.opening()), chunk(voice.error_event("it broke")), END


def _error_after(asked: Asked) -> Acts:
    return *first_words(asked), chunk(asked.voice.error_event("it broke")), END


def _no_end_mark(asked: Asked) -> Acts:
    return *first_words(asked), chunk(asked.voice.text(REST)), END


def _endless(asked: Asked) -> Acts:
    voice = asked.voice
    if not asked.stream:
        first = head(200, "application/json", "Transfer-Encoding: chunked")
        return first, chunk(b'{"id":"'), Drip(chunk(b"and then, ").data)
    pieces = (voice.opening(), voice.thought("Hm", first=True))
    return begun(asked), *map(chunk, pieces), Drip(chunk(voice.thought(", or else")).data)


def _big_head(asked: Asked) -> Acts:
    return head(200, "application/json", "X-Big: " + "x" * HEADER_BYTES), Close()


def _redirect(asked: Asked) -> Acts:
    return whole(b"", 307, "Location: http://127.0.0.1:9/")


def _says(status: int, kind: str, message: str, *fields: str) -> Callable[[Asked], Acts]:
    return lambda asked: whole(asked.voice.error(kind, message), status, *fields)


def _limited_until(asked: Asked) -> Acts:
    until = formatdate(asked.now + DATE_S, usegmt=True)
    return _says(429, "rate_limit_error", "slow down", f"Retry-After: {until}")(asked)


def _mistaken(asked: Asked) -> Acts:
    """What real servers say of a request that is wrong, with the status that they give it."""
    return _says(500, "server_error", _MISTAKES[asked.format])(asked)


_TOO_LONG = "This model's maximum context length is 4096 tokens, but you asked for 60019 tokens"
_TRUNCATED = breaks("truncated", "truncated")
_BROKEN = breaks("upstream", "upstream_error")
_SLOWED = "rate_limit"
_MISTAKES = {
    "openai": "'messages' is required",
    "anthropic": "'messages' is required",
    "responses": "'input' is required",
    "ollama": 'option "num_predict" must be of type integer',
}
_MISTAKE = stops("bad_request", 400, "refused_by_upstream")
_NO_IMAGES = "image input is not supported - hint: you may need to provide the mmproj"
_UNABLE = Expected("walks", "unsupported", "refused", "client", (400, 400))

FAULTS: tuple[Fault, ...] = (
    Fault(HEALTHY, "none", answers, GOOD, GOOD),
    Fault(REFUSED, "nobody listens", _before_head(), UPSTREAM, UPSTREAM),
    Fault("reset", "reset before the head", _before_head(Reset()), CUT, CUT),
    Fault("closed", "closed before the head", _before_head(Close()), CUT, CUT),
    Fault("slow-head", "no head in time", _before_head(Silence()), NO_TOKEN, NO_TOKEN, slow=True),
    Fault("cut-at-12", "cut in the head", _before_head(Send(b"HTTP/1.1 200"), Close()), CUT, CUT),
    Fault("cut-after-head", "cut after the head", _cut_after_head, CUT, CUT),
    Fault("cut-before-content", "cut before content", _before_content(Close()), CUT, CUT),
    Fault("cut-after-content", "cut after content", _after_content(Close()), _TRUNCATED, CUT),
    Fault("cut-in-event", "cut in an event", _cut_in_event, _TRUNCATED, CUT),
    Fault("reset-after-content", "reset after content", _after_content(Reset()), _TRUNCATED, CUT),
    Fault(
        "stall-before-content",
        "a stall before content",
        _before_content(Silence()),
        NO_TOKEN,
        NO_TOKEN,
        slow=True,
    ),
    Fault(
        "stall-after-content",
        "a stall after content",
        _after_content(Silence()),
        breaks("timeout:idle", "stalled"),
        NO_TOKEN,
        slow=True,
    ),
    Fault("garbage-before", "garbage before content", _garbage_before, UPSTREAM, UPSTREAM),
    Fault("garbage-after", "garbage after content", _garbage_after, _BROKEN, None),
    Fault("html", "HTML with 200", _html, UPSTREAM, UPSTREAM),
    Fault("empty", "an empty body", _empty, CUT, UPSTREAM),
    Fault(
        "split-letters",
        "letters split over chunks",
        _split,
        Expected("passes", text=LETTERS),
        Expected("passes", text=LETTERS),
    ),
    Fault(
        "same-index",
        "wrong indices of calls",
        _same_index,
        Expected("passes", text="", calls=CALLS),
        Expected("passes", text="", calls=CALLS),
    ),
    Fault(
        "no-usage",
        "no token counts",
        _no_usage,
        Expected("passes", estimated=True),
        Expected("passes", estimated=True),
    ),
    Fault("error-before", "200 and an error", _error_before, UPSTREAM, UPSTREAM),
    Fault("error-after", "an error after content", _error_after, _BROKEN, None),
    Fault(
        "429-seconds",
        "429, Retry-After seconds",
        _says(429, "rate_limit_error", "slow down", f"Retry-After: {RETRY_S}"),
        walks(_SLOWED, (429, 429), retry_s=RETRY_S),
        walks(_SLOWED, (429, 429), retry_s=RETRY_S),
    ),
    Fault(
        "429-date",
        "429, Retry-After date",
        _limited_until,
        walks(_SLOWED, (429, 429), retry_s=DATE_S),
        walks(_SLOWED, (429, 429), retry_s=DATE_S),
    ),
    Fault("500", "500", _says(500, "server_error", "it broke"), UPSTREAM, UPSTREAM),
    Fault(
        "503",
        "503",
        _says(503, "server_error", "Loading model"),
        walks("overloaded", (503, 529)),
        walks("overloaded", (503, 529)),
    ),
    Fault(
        "529",
        "529",
        _says(529, "overloaded_error", "Overloaded"),
        walks("overloaded", (503, 529)),
        walks("overloaded", (503, 529)),
    ),
    Fault(
        "401",
        "401, not the client's",
        _says(401, "authentication_error", "invalid x-api-key"),
        walks("credential", BAD, fault="owner"),
        walks("credential", BAD, fault="owner"),
    ),
    Fault(
        "404-model",
        "404, no such model",
        _says(404, "not_found_error", "model 'x' not found"),
        walks("model_not_found", (404, 404)),
        walks("model_not_found", (404, 404)),
    ),
    Fault(
        "context",
        "400, context too long",
        _says(400, "invalid_request_error", _TOO_LONG),
        Expected("walks", "context_too_long", "refused", "client", (400, 400)),
        Expected("walks", "context_too_long", "refused", "client", (400, 400)),
    ),
    Fault(
        "mistake-as-500",
        "500 for a client's mistake",
        _mistaken,
        _MISTAKE,
        _MISTAKE,
    ),
    Fault(
        "no-images-as-500",
        "500 for what it cannot do",
        _says(500, "server_error", _NO_IMAGES),
        _UNABLE,
        _UNABLE,
    ),
    Fault(
        "endless",
        "reasoning without end",
        _endless,
        breaks("timeout:total", "truncated"),
        NO_TOKEN,
        slow=True,
    ),
    Fault("no-end-mark", "no end mark", _no_end_mark, _TRUNCATED, None),
    Fault("big-head", "a header of 1 MB", _big_head, UPSTREAM, UPSTREAM),
    Fault("redirect", "a redirect", _redirect, UPSTREAM, UPSTREAM),
)


def named(name: str) -> Fault | None:
    """The fault of this name."""
    return next((fault for fault in FAULTS if fault.name == name), None)
