import gzip
import zlib

import pytest

from formats.errors import Garbled, Truncated
from llmrouterd.edge.coding import STEP_BYTES, UnknownCoding, inflater

TEXT = b"".join(b"line %d\n" % i for i in range(5000))
RAW = zlib.compressobj(wbits=-15)
CASES = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-GZip", gzip.compress(TEXT)),
    "members": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", RAW.compress(TEXT) + RAW.flush()),
}


def undo(coding: str, pieces: list[bytes]) -> bytes:
    inflating = inflater(coding)
    assert inflating is not None
    out = []
    for piece in pieces:
        inflating.feed(piece)
        while got := inflating.take():
            assert len(got) <= STEP_BYTES
            out.append(got)
    inflating.eof()
    return b"".join(out)


@pytest.mark.parametrize("case", CASES)
def test_whole_and_byte_by_byte(case: str) -> None:
    coding, data = CASES[case]
    assert undo(coding, [data]) == TEXT
    assert undo(coding, [data[i : i + 1] for i in range(len(data))]) == TEXT


@pytest.mark.parametrize("case", CASES)
def test_a_cut_is_truncated(case: str) -> None:
    coding, data = CASES[case]
    with pytest.raises(Truncated):
        undo(coding, [data[:-5]])


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_garbage_is_garbled(coding: str) -> None:
    with pytest.raises(Garbled):
        undo(coding, [b"\xff\xfe not compressed at all" * 10])


def test_bytes_behind_a_deflate_stream_are_garbled() -> None:
    with pytest.raises(Garbled):
        undo("deflate", [zlib.compress(b"x") + b"more"])


def test_an_empty_body_is_empty() -> None:
    assert undo("gzip", []) == b""


@pytest.mark.slow
def test_a_bomb_comes_out_in_bounded_steps() -> None:
    inflating = inflater("gzip")
    assert inflating is not None
    inflating.feed(gzip.compress(bytes(50_000_000)))
    total = 0
    while piece := inflating.take():
        assert len(piece) <= STEP_BYTES
        total += len(piece)
    assert total == 50_000_000


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_other_codings_are_named(coding: str) -> None:
    with pytest.raises(UnknownCoding, match=coding):
        inflater(coding)


@pytest.mark.parametrize("coding", [None, "", "identity", " Identity "])
def test_nothing_to_undo(coding: str | None) -> None:
    assert inflater(coding) is None
