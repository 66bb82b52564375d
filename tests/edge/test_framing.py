import pytest

from llmrouterd.edge import framing
from llmrouterd.edge.framing import CHUNK_BYTES, MAX_CHUNKS, ChunkGuard, FramingError

GOOD = [
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;a=b\r\nabc\r\n0;x\r\n\r\n",
    b"0000000000000003\r\nabc\r\n0\r\n\r\n",
    b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    b"0\r\nX: y\r\nZ:\r\n\r\n",
    b"2\r\n\r\n\r\n0\r\n\r\n",
]
BAD = [
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabcd0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"1_0\r\nabc\r\n",
    b"\r\nabc\r\n",
    b"g\r\n",
    b"00000000000000003\r\nabc\r\n0\r\n\r\n",  # 17 digits
    b"3;\r\nabc\r\n0\r\n\r\n",
    b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    b"3;a\0b\r\nabc\r\n0\r\n\r\n",
    b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
]


def judge(data: bytes, cuts: list[int]) -> ChunkGuard:
    guard = ChunkGuard()
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        guard.feed(data[start:stop])
    return guard


@pytest.mark.parametrize("body", GOOD)
def test_a_good_body_is_good_in_every_split(body: bytes) -> None:
    assert judge(body, []).done
    assert judge(body, list(range(1, len(body)))).done
    for cut in range(1, len(body)):
        assert judge(body, [cut]).done
        assert not judge(body[:cut], []).done


@pytest.mark.parametrize("body", BAD)
def test_a_bad_body_is_refused_in_every_split(body: bytes) -> None:
    for cuts in ([], list(range(1, len(body))), *([cut] for cut in range(1, len(body)))):
        with pytest.raises(FramingError):
            judge(body, cuts)


def test_what_follows_the_body_is_not_judged() -> None:
    assert judge(b"0\r\n\r\nGET / HTTP/1.1\n\n", []).done


def test_a_size_line_without_end_is_refused() -> None:
    guard = ChunkGuard()
    with pytest.raises(FramingError, match="size line over"):
        guard.feed(b"3;" + b"a" * framing.MAX_CHUNK_LINE_BYTES)


def test_extensions_are_bounded_in_sum() -> None:
    guard = ChunkGuard()
    with pytest.raises(FramingError, match="extensions over"):
        for _ in range(200):
            guard.feed(b"1;" + b"e" * 200 + b"\r\nx\r\n")


def test_trailers_are_bounded() -> None:
    guard = ChunkGuard()
    with pytest.raises(FramingError, match="trailers over"):
        guard.feed(b"0\r\n" + b"A: b\r\n" * 3000)


def test_a_body_in_crumbs_is_refused() -> None:
    """What costs work is the number of chunks, and a large body has many of a useful size."""
    crumbs = b"1\r\nx\r\n" * MAX_CHUNKS
    guard = ChunkGuard()
    guard.feed(crumbs)
    with pytest.raises(FramingError, match="larger ones"):
        guard.feed(crumbs)
    guard = ChunkGuard()
    guard.feed((b"%x\r\n%b\r\n" % (CHUNK_BYTES, bytes(CHUNK_BYTES))) * (2 * MAX_CHUNKS))
    guard.feed(b"0\r\n\r\n")
    assert guard.done
