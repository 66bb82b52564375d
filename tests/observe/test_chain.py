"""Whatever is done to the lines of a chain is found."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.observe.chain import Check, Link, head_text, name_of, read_head, seal_of, sealed

KEY = b"sixteen bytes of key"
TEXTS = ("", 'a","seq":7}', "wörter \\ \n", "x" * 300)


def chained(count: int, key: bytes = b"", *, each: int = 1000) -> tuple[list[bytes], Link]:
    """Lines of a chain with their ends; a new file begins after `each` of them."""
    link, lines = Link("c0ffee"), []
    for number in range(count):
        text = json.dumps({"type": "complete", "ts_ms": number, "words": TEXTS[number % 4]})
        line, link = sealed(text, link, key, first=number % each == 0, more={})
        lines.append(line + b"\n")
    return lines, link


def checked(*files: Sequence[bytes], key: bytes = b"", head: Link | None = None) -> Check:
    check = Check(key, head)
    for number, lines in enumerate(files):
        check.begin(f"file{number}")
        for line in lines:
            check.take(line)
    check.end()
    return check


def faults(check: Check) -> list[tuple[str, int, str]]:
    return [(each.file, each.line, each.what) for each in check.faults]


@pytest.mark.parametrize("key", [b"", KEY])
def test_a_chain_holds_over_files(key: bytes) -> None:
    lines, link = chained(9, key, each=3)
    check = checked(lines[:3], lines[3:6], lines[6:], key=key, head=link)
    assert (check.count, check.lines, check.first_seq, check.last_seq) == (0, 9, 1, 9)
    assert check.chain == "c0ffee"
    assert check.last_hash == link.hash


def test_a_sealed_line_is_the_object_with_more_members() -> None:
    lines, _ = chained(2)
    first, second = map(json.loads, lines)
    assert first["chain"] == {"id": "c0ffee", "method": "sha256"}
    assert (first["seq"], first["prev"]) == (1, "0" * 64)
    assert (second["seq"], second["prev"], second["type"]) == (2, first["hash"], "complete")
    assert "chain" not in second


def test_the_hash_is_that_of_the_line_without_it() -> None:
    """So that any program can check it."""
    import hashlib

    (line,), _ = chained(1)
    mark = json.loads(line)["hash"]
    text = line.rstrip(b"\n").replace(f',"hash":"{mark}"'.encode(), b"")
    assert hashlib.sha256(text).hexdigest() == mark


def test_older_files_may_be_gone() -> None:
    lines, link = chained(9, each=3)
    check = checked(lines[3:6], lines[6:], head=link)
    assert (check.count, check.first_seq) == (0, 4)


@given(st.data())
def test_any_change_of_a_byte_is_found(data: st.DataObject) -> None:
    lines, link = chained(5)
    at = data.draw(st.integers(0, 4))
    line = bytearray(lines[at])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    lines[at] = bytes(line)
    # as a file is read: a line end that has come or gone changes what the lines are
    assert checked(b"".join(lines).splitlines(keepends=True), head=link).count
    assert checked(lines, head=link).count


@given(st.data(), st.sampled_from([1, 3, 1000]))
def test_any_removal_is_found(data: st.DataObject, each: int) -> None:
    lines, link = chained(9, each=each)
    gone = data.draw(st.sets(st.integers(0, 8), min_size=1, max_size=8))
    files = [
        [line for at, line in enumerate(lines) if at // each == file and at not in gone]
        for file in range(9)
    ]
    kept = [at for at in range(9) if at not in gone]
    oldest_files = min(kept) % each == 0 and len(gone) == min(kept)  # as rotation takes them away
    assert bool(checked(*files, head=link).count) is not oldest_files


@given(st.data())
def test_any_insertion_is_found(data: st.DataObject) -> None:
    lines, link = chained(6)
    strange = data.draw(
        st.sampled_from([b"\n", b"{}\n", *lines, b'{"type":"complete"}\n', *chained(9, KEY)[0][6:]])
    )
    lines.insert(data.draw(st.integers(0, 6)), strange)
    assert checked(lines, head=link).count


@given(st.data())
def test_any_other_order_is_found(data: st.DataObject) -> None:
    lines, link = chained(6)
    mixed = data.draw(st.permutations(lines))
    assert bool(checked(mixed, head=link).count) is (mixed != lines)


def test_a_fault_is_told_with_its_place_and_kind() -> None:
    lines, link = chained(6)
    changed = [*lines[:3], lines[3].replace(b"300", b"301").replace(b"x", b"y"), *lines[4:]]
    assert faults(checked(changed, head=link)) == [("file0", 4, "changed")]
    assert faults(checked([*lines[:2], *lines[4:]], head=link)) == [("file0", 3, "missing")]
    assert faults(checked(lines[:4], head=link)) == [("file0", 4, "truncated")]
    assert faults(checked([*lines[:5], lines[5][:-9]], head=link))[0] == ("file0", 6, "torn")
    assert faults(checked(lines[1:], head=link)) == [("file0", 1, "missing")]
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    assert ("file0", 3, "reordered") in faults(checked(swapped, head=link))


def test_without_a_head_an_end_that_was_cut_off_is_not_seen() -> None:
    assert not checked(chained(6)[0][:4]).count


def test_an_older_head_is_no_fault_and_one_that_differs_is() -> None:
    """A crash may come between a line and the head."""
    lines, _ = chained(6)
    assert not checked(lines, head=chained(4)[1]).count
    assert checked(lines, head=Link("c0ffee", 4, "f" * 64)).count
    assert checked(lines, head=Link("another", 6, "f" * 64)).count
    assert checked(lines, head=Link("")).count


def test_who_has_no_key_cannot_forge_the_chain() -> None:
    lines, link = chained(3, KEY)
    assert checked(lines, key=b"another key of bytes").count
    forged, _ = chained(3, b"")
    assert checked(forged, key=KEY).count
    assert checked([*lines[:2], forged[2]], key=KEY, head=link).count


def test_a_chain_in_the_place_of_another_is_found() -> None:
    lines, _ = chained(3)
    other, link = [], Link("other")
    for _number in range(2):
        line, link = sealed('{"a":1}', link, b"", first=not other, more={})
        other.append(line + b"\n")
    assert ("file1", 1, "renamed") in faults(checked(lines, other))


def test_faults_without_end_are_counted_and_not_kept() -> None:
    check = checked([b"{}\n"] * 1000)
    assert check.count > 1000 - 1
    assert len(check.faults) == 20


def test_what_the_daemon_could_not_do_is_heard() -> None:
    line, _ = sealed('{"a":1}', Link("c"), b"", first=True, more={"lost": 3, "break": "torn"})
    check = checked([line + b"\n"])
    assert (check.count, check.lost, check.breaks) == (0, 3, ["torn"])


@given(st.binary(max_size=300))
def test_no_bytes_confuse_the_readers(text: bytes) -> None:
    assert seal_of(text, b"") is None
    assert name_of(text) is None
    assert read_head(text, b"") is None


@pytest.mark.parametrize("key", [b"", KEY])
def test_a_head_is_read_as_it_was_written_and_by_its_key_only(key: bytes) -> None:
    link = Link("c0ffee", 12, "a" * 64)
    assert read_head(head_text(link, key), key) == link
    assert read_head(head_text(link, key), b"another") is None
    assert read_head(head_text(link, key).replace(b"12", b"11"), key) is None
