import h11
import pytest

from llmrouterd.edge import rawhead
from llmrouterd.edge.rawhead import BadHead, check_request, check_response, find_end, likely_path

HEAD = b"POST /v1/chat?a=b HTTP/1.1\r\nHost: h:1\r\n%b\r\n"


def request(extra: bytes) -> bytes:
    return HEAD % extra


SMUGGLING = {
    "bare LF": (b"POST / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", "bare LF"),
    "bare LF at the line": (b"POST / HTTP/1.1\nHost: h\r\n\r\n", "bare LF"),
    "bare CR": (request(b"X: a\rb\r\n"), "bare CR"),
    "fold": (request(b"X: a\r\n b\r\n"), "folded"),
    "fold by tab": (request(b"X: a\r\n\tb\r\n"), "folded"),
    "NUL": (request(b"X: a\0b\r\n"), "NUL"),
    "control": (request(b"X: a\x01b\r\n"), "control"),
    "CL beside TE": (request(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), "beside"),
    "TE beside CL": (request(b"transfer-encoding: chunked\r\ncontent-length: 3\r\n"), "beside"),
    "two CL": (request(b"Content-Length: 3\r\nContent-Length: 4\r\n"), "several Content"),
    "two equal CL": (request(b"Content-Length: 3\r\nContent-Length: 3\r\n"), "several Content"),
    "CL list": (request(b"Content-Length: 3, 3\r\n"), "malformed Content-Length"),
    "CL plus": (request(b"Content-Length: +3\r\n"), "malformed Content-Length"),
    "CL minus": (request(b"Content-Length: -3\r\n"), "malformed Content-Length"),
    "CL hex": (request(b"Content-Length: 0x3\r\n"), "malformed Content-Length"),
    "CL empty": (request(b"Content-Length:\r\n"), "malformed Content-Length"),
    "CL space": (request(b"Content-Length: 1 2\r\n"), "malformed Content-Length"),
    "CL huge": (request(b"Content-Length: 9999999999999999999\r\n"), "malformed Content-Length"),
    "two TE": (request(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), "several Tr"),
    "two TE chunked": (request(b"Transfer-Encoding: chunked\r\n" * 2), "several Transfer"),
    "TE on 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", "no Host"),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "several Host"),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "malformed Host"),
    "Host with path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "malformed Host"),
    "Host with userinfo": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "malformed Host"),
    "space before colon": (request(b"Content-Length : 3\r\n"), "white space before"),
    "no colon": (request(b"Content-Length\r\n"), "without a colon"),
    "empty name": (request(b": x\r\n"), "malformed header name"),
    "odd name": (request(b"a(b): x\r\n"), "malformed header name"),
    "high name": (request("a\xe9: x\r\n".encode()), "malformed header name"),
    "relative target": (b"GET foo HTTP/1.1\r\nHost: h\r\n\r\n", "target"),
    "star": (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", "target"),
    "absolute, other host": (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "disagree"),
    "absolute, other port": (b"GET http://a:2/ HTTP/1.1\r\nHost: a:3\r\n\r\n", "disagree"),
    "absolute, userinfo": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
    "absolute, other scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "request line"),
    "tab": (b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", "request line"),
    "space in target": (b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "request line"),
    "raw UTF-8 in target": ("GET /\xe9 HTTP/1.1\r\nHost: h\r\n\r\n".encode(), "request line"),
    "lower-case version": (b"GET / http/1.1\r\nHost: h\r\n\r\n", "request line"),
    "no version": (b"GET /\r\nHost: h\r\n\r\n", "request line"),
    "white space line first": (b"GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", "folded"),
}


@pytest.mark.parametrize("case", SMUGGLING)
def test_a_shape_that_two_readers_could_read_differently_is_refused(case: str) -> None:
    head, why = SMUGGLING[case]
    with pytest.raises(BadHead, match=why) as caught:
        check_request(head)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT h:1 HTTP/1.1", 501),
        (b"TRACE / HTTP/1.1", 501),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/3", 505),
        (b"GET / HTTP/1.2", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET /%b HTTP/1.1" % (b"a" * 20000), 414),
    ],
)
def test_what_is_understood_but_not_served_has_its_own_status(line: bytes, status: int) -> None:
    with pytest.raises(BadHead) as caught:
        check_request(line + b"\r\nHost: h\r\n\r\n")
    assert caught.value.status == status


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b""])
def test_a_transfer_coding_other_than_chunked_is_refused(coding: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        check_request(request(b"Transfer-Encoding: %b\r\n" % coding))
    assert caught.value.status == 501


def test_the_facts_of_a_clean_head() -> None:
    head = check_request(request(b"Content-Length: 12\r\nX-Empty:\r\nX-Latin: \xe9\r\n"))
    assert (head.method, head.target, head.http_version) == ("POST", "/v1/chat?a=b", "1.1")
    assert (head.length, head.chunked) == (12, False)
    head = check_request(request(b"TRANSFER-ENCODING:  Chunked \r\n"))
    assert (head.length, head.chunked) == (None, True)
    head = check_request(b"GET / HTTP/1.0\r\n\r\n")
    assert (head.length, head.http_version) == (None, "1.0")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://h:1/v1/x?q", "/v1/x?q"),
        (b"HTTP://H:1", "/"),
        (b"http://h:1?q=1", "/?q=1"),
    ],
)
def test_an_absolute_target_that_agrees_with_host_becomes_a_path(target: bytes, path: str) -> None:
    head = check_request(b"GET %b HTTP/1.1\r\nHost: h:1\r\n\r\n" % target)
    assert head.target == path


def test_options_may_ask_for_the_server_itself() -> None:
    assert check_request(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").target == "*"


@pytest.mark.parametrize("host", [b"", b"[::1]:80", b"a.b-c_d:", b"127.0.0.1:8090"])
def test_hosts_that_clients_send(host: bytes) -> None:
    check_request(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)


def test_all_clean_heads_are_clean_for_h11_too() -> None:
    connection = h11.Connection(h11.SERVER)
    head = request(b"X: a\tb\r\nY: \xff\r\nZ:\r\nContent-Length: 0\r\n")
    check_request(head)
    connection.receive_data(head)
    assert isinstance(connection.next_event(), h11.Request)


# --- unfinished heads -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "path"),
    [
        (b"POST /v1/messages?beta=true HTTP/2.0\r\n\r\n", "/v1/messages"),
        (b"POST /api/chat HTTP/1.1\nHost: h\n\n", "/api/chat"),
        (b"POST /api/chat\r\n\r\n", "/api/chat"),
        (b"POST /a" + b"b" * 99_999, "/a" + "b" * (16384 - 7)),
        (b"POST http://h/v1/messages HTTP/1.1\r\n", ""),
        (b"\x16\x03\x01 /a", "/a"),
        (b"POST", ""),
        (b"", ""),
    ],
)
def test_where_a_refused_head_seems_to_go(begun: bytes, path: str) -> None:
    assert likely_path(begun) == path


def test_the_end_is_found_at_every_split() -> None:
    head = request(b"A: b\r\n")
    for cut in range(len(head)):
        assert find_end(head[:cut]) == -1
        assert find_end(head + b"rest", max(0, cut)) == len(head)


@pytest.mark.parametrize(
    "begun",
    [b"GET / HTTP/1.1\nHost: h\n\n", b"GET\0", b"a\rb", b" GET", b"PRI * HTTP/2.0\r\n\r\nSM"],
)
def test_what_cannot_become_a_head_is_refused_before_it_ends(begun: bytes) -> None:
    with pytest.raises(BadHead):
        rawhead.check_unfinished(begun)


def test_a_clean_beginning_is_waited_for_at_every_split() -> None:
    head = request(b"A: b\r\n")
    for cut in range(1, len(head)):
        rawhead.check_unfinished(head[:cut])


# --- responses ------------------------------------------------------------------------------------


def test_what_llama_cpp_sends_is_clean() -> None:
    """An empty header value is legal."""
    head = (
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: \r\nContent-Length: 2\r\n"
        b"Keep-Alive: timeout=5, max=100\r\nServer: llama.cpp\r\n\r\n"
    )
    assert check_response(head) == 200


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 404 N\xf6", b"HTTP/1.1 599 x"]
)
def test_status_lines_that_servers_send(line: bytes) -> None:
    check_response(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"<html>\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_bad_response_head_is_refused(head: bytes) -> None:
    with pytest.raises(BadHead):
        check_response(head)
