"""How search engines are asked, and what is believed of what they say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import Secret
from llmrouterd.plugins.engine import Engine, Found, SearchFailed, link_of, plain

SEARX = {"url": "http://localhost:8888"}
GET = {"url": "https://api.example/v1?q={query}&n={count}", "headers": {"X-Key": "{key}"}}
POST = {"url": "https://api.example/s", "body": '{"q": "{query}", "n": {count}, "k": "{key}"}'}


def results(*entries: dict) -> bytes:
    return json.dumps({"results": list(entries)}).encode()


def entry(n: int = 1, **more: object) -> dict:
    return {"title": f"T{n}", "url": f"https://x.example/{n}", "content": f"C{n}", **more}


def found(engine: Engine, body: bytes, most: int = 5, most_chars: int = 100) -> list[Found]:
    return engine.found(200, body, most=most, most_chars=most_chars)


# --- asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://localhost:8888", "http://localhost:8888/search?q=a+b&format=json"),
        ("http://localhost:8888/", "http://localhost:8888/search?q=a+b&format=json"),
        ("http://lan/searx/search", "http://lan/searx/search?q=a+b&format=json"),
    ],
)
def test_a_bare_address_is_a_searxng(url: str, asked: str) -> None:
    engine = Engine({"url": url})
    assert engine.plain
    assert engine.asks("a b", 5).url == asked
    assert engine.asks("a b", 5).method == "GET"


def test_parameters_of_the_owner_go_along() -> None:
    asked = Engine({**SEARX, "parameters": {"language": "de", "categories": "it,science"}})
    assert asked.asks("q", 5).url.endswith("?q=q&format=json&language=de&categories=it%2Cscience")
    asked = Engine({**GET, "parameters": {"a": "1"}, "key": Secret("k")})
    assert asked.asks("q", 5).url == "https://api.example/v1?q=q&n=5&a=1"


def test_a_template_is_filled() -> None:
    asked = Engine({**GET, "key": Secret("s3")}).asks("what is 1&1?", 7)
    assert (asked.method, asked.url) == (
        "GET",
        "https://api.example/v1?q=what%20is%201%261%3F&n=7",
    )
    assert asked.headers["X-Key"] == "s3"
    asked = Engine({**POST, "key": Secret('"k')}).asks('say "hi"\n', 7)
    assert asked.method == "POST"
    assert json.loads(asked.body) == {"q": 'say "hi"\n', "n": 7, "k": '"k'}
    assert asked.headers["content-type"] == "application/json"


def test_a_question_with_a_placeholder_in_it_is_only_a_question() -> None:
    asked = Engine({**POST, "key": Secret("s3")}).asks("{key} {count} {query}", 7)
    assert json.loads(asked.body)["q"] == "{key} {count} {query}"


@given(st.text())
def test_no_question_leaves_its_place(query: str) -> None:
    url = Engine({**GET, "key": Secret("k")}).asks(query, 3).url
    assert url.startswith("https://api.example/v1?q=")
    assert url.endswith("&n=3")
    assert url.count("&") == 1
    assert url.isascii()
    searx = Engine(SEARX).asks(query, 3).url
    assert searx.isascii()
    assert searx.count("&") == 1
    assert set(json.loads(Engine({**POST, "key": Secret("k")}).asks(query, 3).body)) == set("qnk")


def test_without_its_key_nobody_is_asked() -> None:
    for settings in (GET, POST):
        with pytest.raises(SearchFailed, match="key is missing"):
            Engine(settings).asks("q", 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "localhost:8888"}, "url: expected http"),
        ({"url": "ftp://x"}, "url: expected http"),
        ({"url": "http://"}, "url: expected http"),
        ({"url": "http://x:99999"}, "url: expected http"),
        ({"url": "http://{query}/"}, "url: expected http"),
        ({"url": "http://me:pw@x/"}, "url: no user and password"),
        ({"url": "http://x/?key={key}"}, "url: a key does not belong"),
        ({**SEARX, "body": '{"q": {query}}'}, "body: with a question in it this is no JSON"),
        ({**SEARX, "headers": {"a b": "c"}}, "headers: 'a b' is no header field"),
        ({**SEARX, "headers": {"a": "c\n"}}, "headers: 'a' is no header field"),
        ({**SEARX, "results": "a..b"}, "results: expected names of JSON members"),
        ({**SEARX, "link": ""}, "link: expected names of JSON members"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=r"\A") as wrong:
        Engine(settings)
    assert str(wrong.value).startswith(said)


# --- what is found --------------------------------------------------------------------------------


def test_searxngs_results() -> None:
    body = results(entry(1, publishedDate="2026-01-02"), entry(2, content=None, score=3))
    assert found(Engine(SEARX), body) == [
        Found("T1", "https://x.example/1", "C1", "2026-01-02"),
        Found("T2", "https://x.example/2"),
    ]


def test_anybodys_results() -> None:
    paths = {"results": "web.results", "title": "t.0.v", "link": "l", "snippet": "s", "date": "d"}
    engine = Engine({**GET, **paths, "key": Secret("k")})
    body = {"web": {"results": [{"t": [{"v": "T"}], "l": "http://x/", "s": "S", "d": "now"}]}}
    assert found(engine, json.dumps(body).encode()) == [Found("T", "http://x/", "S", "now")]


def test_each_link_once_and_not_more_than_wanted() -> None:
    body = results(entry(1), entry(1, title="again"), entry(2), entry(3))
    assert [each.title for each in found(Engine(SEARX), body, most=2)] == ["T1", "T2"]


@pytest.mark.parametrize("bad", [None, 3, "x", [], {}, {"url": "javascript:alert(1)"}, {"url": 5}])
def test_what_is_no_result_is_left_out(bad: object) -> None:
    body = json.dumps({"results": [bad, entry(2)]}).encode()
    assert [each.title for each in found(Engine(SEARX), body)] == ["T2"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b"", "localhost:8888 answered 403: is json among search.formats"),
        (500, b"", "localhost:8888 answered 500"),
        (302, b"", "localhost:8888 answered 302"),
        (200, b"<html>", "localhost:8888 answered with something that is no JSON"),
        (200, b"\xff", "no JSON"),
        (200, b"[" * 200_000, "no JSON"),
        (200, b"[]", "there is no list at 'results' in the answer of localhost:8888"),
        (200, b'{"results": {}}', "there is no list at 'results'"),
    ],
)
def test_what_is_no_answer_fails_in_words(status: int, body: bytes, said: str) -> None:
    with pytest.raises(SearchFailed) as failed:
        Engine(SEARX).found(status, body, most=5, most_chars=100)
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a  b\n\tc", "a b c"),
        ("a <b>bold</b> &amp; <br/>x", "a bold & x"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("a\u200bb\u202ec\U000e0041d\x00e\ue000f", "abcdef"),
        ("\ud800x", "x"),
        ("x" * 50, "x" * 9 + "…"),
        (None, ""),
        (5, ""),
    ],
)
def test_a_strangers_text_is_made_plain(text: object, said: str) -> None:
    assert plain(text, 10 if isinstance(text, str) and len(text) == 50 else 100) == said


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("https://x.example/ä b?c=%20d", "https://x.example/%C3%A4%20b?c=%20d"),
        ("https://x.example/ä?c=%20d", "https://x.example/%C3%A4?c=%20d"),
        (" http://x ", "http://x"),
        ("http://x/\r\nSet-Cookie: a", ""),
        ("data:text/html,x", ""),
        ("//x", ""),
        ("http://[", ""),
        ("http://x/" + "a" * 1000, ""),
    ],
)
def test_what_a_link_may_be(link: str, said: str) -> None:
    assert link_of(link) == said
