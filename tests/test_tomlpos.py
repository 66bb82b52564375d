"""Line numbers of a TOML file's keys."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmrouterd.tomlpos import find, lines

ROOT = Path(__file__).parent.parent


def test_tables_and_keys() -> None:
    found = lines("a = 1\n\n[server]\n# a comment = 3\nport = 1\n[ other . table ]\nx = 1\n")
    assert found["a",] == 1
    assert found["server",] == 3
    assert found["server", "port"] == 5
    assert found["other", "table"] == 6
    assert found["other", "table", "x"] == 7


def test_arrays_of_tables_are_counted() -> None:
    found = lines("[[r]]\nk = 1\n[[r]]\nk = 2\n[r.sub]\nz = 1\n[[r.many]]\nq = 1\n[[r.many]]\n")
    assert found["r", 0, "k"] == 2
    assert found["r", 1] == 3
    assert found["r", 1, "sub", "z"] == 6
    assert found["r", 1, "many", 0, "q"] == 8
    assert found["r", 1, "many", 1] == 9


def test_dotted_and_quoted_keys() -> None:
    found = lines('"gpt-4.1" = 1\na . \'b c\'."\\u0064" = 2\n')
    assert found["gpt-4.1",] == 1
    assert found["a", "b c", "d"] == 2


def test_strings_that_look_like_tables_hide_nothing() -> None:
    text = (
        'a = """\n[x]\nb = "1"\\\n\\""""\nb = 1\nc = \'\'\'\n[[y]]\n\'\'\'\'\'\nd = "#]"\ne = 1\n'
    )
    found = lines(text)
    assert set(found) == {("a",), ("b",), ("c",), ("d",), ("e",)}
    assert found["b",] == 5
    assert found["e",] == 10


def test_arrays_and_inline_tables_over_several_lines() -> None:
    found = lines(
        'a = [ # one\n  1,\n  "]", # two\n  { b = 1, c.d = [2, 3] },\n  [[]],\n]\nz = {}\n'
    )
    assert found["a", 0] == 2
    assert found["a", 1] == 3
    assert found["a", 2, "b"] == 4
    assert found["a", 2, "c", "d", 1] == 4
    assert found["a", 3, 0] == 5
    assert found["z",] == 7


def test_dates_with_a_blank_and_windows_line_ends() -> None:
    found = lines("a = [1979-05-27 07:32:00, 1]\r\nb = 1979-05-27 07:32:00 # x\r\nc = inf\r\nd = 1")
    assert found["a", 1] == 1
    assert found["d",] == 4


def test_find_goes_out_to_the_next_thing_that_has_a_line() -> None:
    found = lines("a = 1\n[t]\nb = 1\n")
    assert find(found, ("t", "missing", 3)) == 2
    assert find(found, ("nowhere",)) is None


def test_what_is_not_toml_raises_nothing() -> None:
    for text in ("a", "[", "[[", "a = ", "= 1", 'a = "', "a = [1", "]", "\0", "[a]]", "a = {b"):
        lines(text)
    lines("a = " + "[" * 100_000)


@given(st.text(alphabet="ab.=[]{}\"'#\n\\ ,1", max_size=40))
@example('"\\1"')  # a key that only tomllib can tell is none
def test_no_text_raises_or_hangs(text: str) -> None:
    lines(text)


KEYS = st.text(alphabet="abc-_. \"'\\#=é", min_size=1, max_size=6)
LEAVES = st.integers() | st.text(alphabet="a[]{}\"'\\#=\n,", max_size=12) | st.booleans()
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@given(DOCUMENTS)
def test_every_path_of_a_document_has_its_line(document: dict[str, Any]) -> None:
    """Each top-level key is written on a line of its own."""
    pairs = [f"{quoted(key)} = {written(value)}" for key, value in document.items()]
    text = "\n".join(pairs)
    assert tomllib.loads(text) == document
    found = lines(text)
    for index, (key, value) in enumerate(document.items()):
        for path in ((key,), *((key, *rest) for rest in paths(value))):
            assert found[path] == index + 1


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{quoted(k)} = {written(v)}" for k, v in value.items()) + "}"
        case _:
            return str(value)


def paths(value: Any) -> Iterator[tuple[str | int, ...]]:
    items: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for key, each in items:
        yield (key,)
        yield from ((key, *rest) for rest in paths(each))


FILES = sorted((ROOT / "tests" / "data" / "original").glob("*.toml"))


@pytest.mark.parametrize(
    "file", [*FILES, ROOT / "contrib" / "llmrouter.toml"], ids=lambda f: f.stem
)
def test_every_key_of_a_real_file_is_found_on_its_line(file: Path) -> None:
    text = file.read_text("utf-8")
    found = lines(text)
    rows = text.splitlines()
    for path in paths(tomllib.loads(text)):
        row = rows[found[path] - 1]
        names = [part for part in path if isinstance(part, str)]
        assert isinstance(path[-1], int) or names[-1] in row
