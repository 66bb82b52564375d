"""llmrouterd/plugins/flowing.py"""

import json
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmrouterd.plugins.flowing import Flow
from llmrouterd.plugins.response_healing import healed

TEXT = st.text(st.characters(exclude_characters="`", codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
STRUCTURES = VALUES.filter(lambda value: isinstance(value, dict | list))
# What a flow takes for JSON from its beginning: a bracket, and behind it what no prose has there.
CLEAR = st.dictionaries(TEXT, VALUES, min_size=1, max_size=4) | st.lists(
    st.dictionaries(TEXT, VALUES, max_size=3) | TEXT, min_size=1, max_size=3
)
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
ODD = st.text(alphabet='{}[]",\\: a1`\nu0-e.', max_size=40)
PIECES = st.lists(
    st.sampled_from(
        [
            "```json\n",
            "```",
            "\n",
            '{"a": ',
            '{"a": 1',
            "[",
            "]",
            "}",
            ",",
            ' "b"',
            ": ",
            "1",
            "-1.5e3",
            "tru",
            "true",
            "nul",
            '"',
            "\\",
            "\\u00",
            "41",
            "Sure: ",
            " ",
            '{"x": [',
            "{}",
            "1e999",
        ]
    ),
    max_size=14,
).map("".join)


def pieces(text: str, sizes: list[int]) -> list[str]:
    out, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        out.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return out


def flowed(parts: list[str], **of: int) -> tuple[str, bool]:
    flow = Flow(healed, **of)
    out = [flow.feed(part) for part in parts]
    out.append(flow.end())
    return "".join(out), flow.changed


# --- the same wherever it is cut ------------------------------------------------------------------


@given(ODD | PIECES | STRUCTURES.map(json.dumps), CUTS)
@example('{"a": "\\u0041"}', [1])
@example("Sure: ```json\n[[1,],]", [1])
@example("``` ```json\n{}", [2])
@example('{"a": 1,', [1])
def test_the_result_is_that_of_the_whole_text_wherever_it_is_cut(text, sizes):
    assert flowed(pieces(text, sizes)) == flowed([text])


@given(ODD | PIECES, CUTS, st.integers(0, 60))
def test_the_bound_does_not_depend_on_the_cuts_either(text, sizes, most):
    assert flowed(pieces(text, sizes), most=most) == flowed([text], most=most)


# --- what comes out -------------------------------------------------------------------------------


@given(VALUES, st.sampled_from([None, 1]), st.sampled_from(["", " ", "\n\t"]))
def test_json_that_is_whole_is_not_touched_to_the_character(value, indent, space):
    text = space + json.dumps(value, indent=indent) + space
    assert flowed([text]) == (text, False)


@given(
    CLEAR,
    st.sampled_from(["", "\n", "```json\n", "Here you are:\n```\n"]),
    st.sampled_from(["", "\n```", "\n```\nAnything else?", "\nThere."]),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1),
)
def test_what_it_heals_is_what_would_be_healed_of_the_whole_text(
    value, before, behind, commas, ascii_only, share
):
    """Cut anywhere, with trailing commas, in a fence or not."""
    body = json.dumps(value, ensure_ascii=ascii_only)
    if commas:
        body = _with_commas(body)
    cut = body[: max(4, int(len(body) * share))]
    text = before + (cut if share < 1 else body + behind)
    whole = healed(text)
    if whole is None:
        return
    if "```" not in text and not text.strip().startswith(("{", "[")):
        return
    out, changed = flowed([text])
    if not _is_json(out):
        assert not _is_json(whole) or _was_given_up(text)
        return
    assert json.loads(out) == json.loads(whole) or _was_given_up(text)
    assert changed


def _was_given_up(text: str) -> bool:
    """A value that cannot be closed where it was cut: of the whole text an inner one may be left."""
    flow = Flow(lambda text: None)
    return not _is_json(flow.feed(text) + flow.end())


def _with_commas(body: str) -> str:
    out, quoted, escaped = [], False, False
    for char in body:
        if char in "]}" and not quoted and out[-1] not in "[{":
            out.append(",")
        out.append(char)
        quoted = quoted ^ (char == '"' and not escaped)
        escaped = char == "\\" and not escaped
    return "".join(out)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@given(CLEAR)
def test_trailing_commas_are_left_out_and_nothing_else(value):
    body = json.dumps(value)
    assert flowed([_with_commas(body)])[0] == body


@given(CLEAR, st.integers(4, 400))
def test_what_was_cut_is_closed_or_left_as_it_is(value, at):
    cut = json.dumps(value)[:at]
    out, _ = flowed([cut])
    assert _is_json(out) or out == cut


@pytest.mark.parametrize(
    ("text", "comes_to"),
    [
        ('{"a": 1,}', '{"a": 1}'),
        ('{"a": [1, {"b": 2,},],}', '{"a": [1, {"b": 2}]}'),
        ('```json\n{"a": "``` in it"}\n```\nDone.', '{"a": "``` in it"}'),
        ('{"a": "cut of', '{"a": "cut of"}'),
        ('{"a": "cut in an escape \\u00', '{"a": "cut in an escape "}'),
        ('{"a": {"b": [1, 2', '{"a": {"b": [1, 2]}}'),
        ('{"a": [1,', '{"a": [1]}'),
        ('{"a": 1, "b', '{"a": 1, "b'),
        ('{"a": tru', '{"a": tru'),
        ('{"a": 1} Hope that helps.', '{"a": 1} '),
        ('{"a": oops, "b": 1,}', '{"a": oops, "b": 1,}'),
        ('{"a": "line\nbreak",}', '{"a": "line\nbreak",}'),
        ('["a", "b",]', '["a", "b"]'),
        ("{}", "{}"),
        ("Hello.", "Hello."),
        ("", ""),
        ("[[wiki]] links", "[[wiki]] links"),
        ('Sure! {"a": 1} Hope that helps.', '{"a": 1}'),
        ('[1] is short, {"a": "long"} is it', '{"a": "long"}'),
    ],
)
def test_by_example(text, comes_to):
    assert flowed([text])[0] == comes_to
    assert flowed(list(text))[0] == comes_to


# --- what waits -----------------------------------------------------------------------------------


def test_what_is_surely_final_goes_on_at_once():
    flow = Flow(healed)
    assert flow.feed(' {"a') == ' {"a'
    assert flow.feed('": [1') == '": [1'
    assert flow.feed(", ") == ""  # a bracket may follow
    assert flow.feed("2") == ", 2"
    assert flow.feed(',]\n, "b": "x\\') == ']\n, "b": "x'
    assert flow.feed('n"') == '\\n"'
    assert flow.feed("}") == "}"
    assert flow.feed("\n") == "\n"
    assert not flow.settled
    assert flow.feed("Done.") == ""
    assert flow.settled


def test_a_fence_is_gone_as_soon_as_it_shows_what_is_in_it():
    flow = Flow(healed)
    assert flow.feed("Here you are:\n``") == ""
    assert flow.feed("`json\n{") == ""
    assert flow.feed('"a"') == '{"a"'


def test_prose_waits_for_its_end():
    flow = Flow(healed)
    for word in ("Well", ", ", "let me see"):
        assert flow.feed(word) == ""
    assert flow.end() == "Well, let me see"


def test_no_more_waits_than_may():
    flow = Flow(healed, most=1000)
    assert flow.feed("x" * 900) == ""
    assert flow.feed("y" * 200) == "x" * 900 + "y" * 200
    assert flow.settled
    assert flow.feed("z") == "z"
    assert flow.end() == ""


def test_what_flows_is_never_held_for_longer_than_a_comma_and_an_escape():
    flow = Flow(healed, most=10)
    body = json.dumps({"a": list(string.ascii_letters), "b": "x" * 5000})
    assert "".join(flow.feed(char) for char in body) == body


def test_a_word_without_end_is_none():
    flow = Flow(healed)
    text = '{"a": ' + "x" * 5000
    assert flow.feed(text) == text
    assert flow.settled


def test_release_gives_out_what_waits_as_it_is():
    flow = Flow(healed)
    assert flow.feed('{"a": 1, ') == '{"a": 1'
    assert flow.release() == ", "
    assert flow.feed("}") == "}"
    prose = Flow(healed)
    prose.feed("Sure: ```")
    assert prose.release() == "Sure: ```"


def test_nesting_has_a_bound():
    text = '[["' + "[" * 300
    assert flowed([text])[0].startswith('[["')
    deep = "[" * 300
    assert flowed([deep])[0] == (healed(deep) or deep)


def test_white_space_without_end_behind_a_comma_does_not_wait():
    flow = Flow(lambda text: None)
    out = [flow.feed('{"a":1,')]
    out += [flow.feed("\n" * 1000) for _ in range(1000)]
    assert "".join(out) + flow.end() == '{"a":1,' + "\n" * 1_000_000
