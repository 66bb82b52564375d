"""The head of a message as it really came, judged before any parser that forgives sees it.

Owns: the refusal of every shape on which two HTTP implementations could disagree (request
smuggling), for requests from clients and for responses from upstreams; the few facts of a head that
others need before h11 has parsed it.
Refuses to know: sockets, time, bodies.

Laws:
1. Pure. A head goes in (from its first byte to its empty line), facts come out, or BadHead.
2. Nothing is repaired: bare LF, bare CR, folded lines, NUL, Content-Length beside Transfer-Encoding,
   more than one of either, a space before the colon are refused, and the message says which.
3. It looks at bytes that h11 holds but has not parsed (`trailing_data`); h11 parses what passed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# Field values: visible characters, space, tab, and bytes over 0x7f (latin-1, as h11 takes them).
_FIELDS = re.compile(rb"(?:%b++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+" % _TOKEN)
_JUDGED = re.compile(rb"^(content-length|transfer-encoding|host):([^\r]*)", re.MULTILINE)
_REQUEST_LINE = re.compile(rb"(%b{1,32}) ([\x21-\x7e]+) HTTP/(\d)\.(\d)" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) ([1-9]\d\d)(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_HTTP_ISH = re.compile(rb" HTTP/\d+(\.\d+)?$")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::\d{0,5})?")
_END = b"\r\n\r\n"
MAX_TARGET_BYTES = 16384  # twice what nginx and Apache take; a longer one is an attack or a mistake


class BadHead(Exception):
    """A head that is refused. `status` is what a server answers; `why` names the shape."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A clean request head. target: origin form, or `*`. length None and not chunked: no body."""

    method: str
    target: str
    http_version: str
    length: int | None
    chunked: bool


def find_end(buffer: bytes, searched: int = 0) -> int:
    """Where the body begins, or -1. `searched`: how many bytes were looked at before."""
    at = buffer.find(_END, max(0, searched - 3))
    return -1 if at < 0 else at + 4


def likely_path(buffer: bytes) -> str:
    """The path that a refused head seems to ask for, "" where none shows: good for choosing the
    words of the refusal and for nothing else."""
    words = buffer[:MAX_TARGET_BYTES].split(b"\n", 1)[0].split(b" ", 2)
    path = words[1].partition(b"?")[0] if len(words) > 1 else b""
    return path.decode("latin-1").strip() if path.startswith(b"/") else ""


def check_unfinished(buffer: bytes) -> None:
    """Refuse at once what can no longer become a head, instead of waiting for its time-out."""
    whole = buffer[:-1] if buffer.endswith(b"\r") else buffer
    _check_line_ends(whole)
    if buffer.startswith(b"PRI "):
        raise BadHead("HTTP/2 is not spoken here; use HTTP/1.1", 505)
    if buffer[:1].isspace():
        raise BadHead("white space before the request line")


def check_request(head: bytes) -> RequestHead:
    """The facts of a request head.

    Raises:
        BadHead: with the status to answer (400, 414, 501 or 505).
    """
    line, fields = _split(head)
    try:
        method, target, version = _request_line(line)
        _check_fields(fields)
    except BadHead:
        _check_line_ends(head)  # which no clean line has: it is the better reason
        raise
    lengths, codings, hosts = _values(fields)
    length, chunked = _framing(lengths, codings)
    if chunked and version == "1.0":
        raise BadHead("Transfer-Encoding in an HTTP/1.0 request")
    target = _checked_target(method, target, _checked_host(hosts, version))
    return RequestHead(method.decode(), target.decode(), version, length, chunked)


def check_response(head: bytes) -> int:
    """Judge a response head, interim or final; its status.

    Raises:
        BadHead: the upstream broke the protocol, or plays with it. 101 too: we never ask to switch.
    """
    line, fields = _split(head)
    match = _STATUS_LINE.fullmatch(line)
    if match is None or match[1] != b"1":
        _check_line_ends(head)
        raise BadHead(f"not an HTTP/1 status line: {_shown(line)}")
    check_fields(fields)
    lengths, codings, _ = _values(fields)
    _, chunked = _framing(lengths, codings)
    if chunked and match[2] == b"0":
        raise BadHead("Transfer-Encoding in an HTTP/1.0 response")
    status = int(match[3])
    if status == 101:
        raise BadHead("101 Switching Protocols though no upgrade was asked for")
    return status


def check_fields(fields: bytes) -> None:
    """Refuse unclean header or trailer lines (each with its CRLF, without the empty line)."""
    try:
        _check_fields(fields)
    except BadHead:
        _check_line_ends(fields)
        raise


# --- the pieces -----------------------------------------------------------------------------------


def _split(head: bytes) -> tuple[bytes, bytes]:
    line, _, rest = head.partition(b"\r\n")
    return line, rest[:-2]


def _check_line_ends(data: bytes) -> None:
    pairs = data.count(b"\r\n")
    if data.count(b"\n") != pairs:
        raise BadHead("a line that ends in a bare LF")
    if data.count(b"\r") != pairs:
        raise BadHead("a bare CR")
    if b"\0" in data:
        raise BadHead("a NUL byte")


def _request_line(line: bytes) -> tuple[bytes, bytes, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _HTTP_ISH.search(line) and not re.search(rb" HTTP/1\.[01]$", line):
            raise BadHead("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
        raise BadHead("a malformed request line")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in (b"0", b"1"):
        raise BadHead("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
    if method in (b"CONNECT", b"TRACE"):
        raise BadHead(f"{method.decode()} is not supported", 501)
    if len(target) > MAX_TARGET_BYTES:
        raise BadHead(f"a request target over {MAX_TARGET_BYTES} bytes", 414)
    return method, target, f"1.{minor.decode()}"


def _check_fields(fields: bytes) -> None:
    if _FIELDS.fullmatch(fields):
        return
    for line in fields.split(b"\r\n"):
        if line and not _FIELDS.fullmatch(line + b"\r\n"):
            raise BadHead(_what_is_wrong(line))
    raise BadHead("a malformed header line")


def _what_is_wrong(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "a folded header line"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "a header line without a colon"
    if name.rstrip() != name:
        return "white space before a header's colon"
    if re.fullmatch(rb"%b+" % _TOKEN, name) is None:
        return "a malformed header name"
    return f"a control character in the header {name[:64].decode('ascii')}"


def _values(fields: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """All that a clean head says for Content-Length, Transfer-Encoding and Host, lower-cased."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    hosts: list[bytes] = []
    of = {b"content-length": lengths, b"transfer-encoding": codings, b"host": hosts}
    for name, value in _JUDGED.findall(fields.lower()):
        of[name].append(value.strip(b" \t"))
    return lengths, codings, hosts


def _framing(lengths: list[bytes], codings: list[bytes]) -> tuple[int | None, bool]:
    """(length, chunked), or BadHead where two readers could disagree."""
    if codings:
        if lengths:
            raise BadHead("Content-Length beside Transfer-Encoding")
        if len(codings) > 1:
            raise BadHead("several Transfer-Encoding headers")
        if codings[0] != b"chunked":
            raise BadHead(f"Transfer-Encoding {_shown(codings[0])}: only chunked is supported", 501)
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1:
        raise BadHead("several Content-Length headers")
    if not (lengths[0].isdigit() and len(lengths[0]) <= 18):
        raise BadHead(f"a malformed Content-Length: {_shown(lengths[0])}")
    return int(lengths[0]), False


def _shown(value: bytes) -> str:
    """The beginning of a value, in quotes, for a message."""
    return repr(value[:40].decode("latin-1"))


def _checked_host(hosts: list[bytes], version: str) -> bytes | None:
    if len(hosts) > 1:
        raise BadHead("several Host headers")
    if not hosts:
        if version == "1.1":
            raise BadHead("no Host header")
        return None
    if _HOST.fullmatch(hosts[0]) is None:
        raise BadHead("a malformed Host header")
    return hosts[0]


def _checked_target(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """The target in origin form (or `*`); an absolute one must name the Host it came with."""
    if target.startswith(b"/"):
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadHead("a malformed request target")
    if host is not None and match[1].lower() != host:
        raise BadHead("the request target's host and the Host header disagree")
    rest = match[2]
    return rest if rest.startswith(b"/") else b"/" + rest
