"""Pictures by URL: who may be asked, what is believed, and what becomes of the rest."""

import base64

import pytest
import trio.testing

from formats.canonical import Image
from llmrouterd.edge.pool import Pool
from llmrouterd.edge.wire import StreamWire
from llmrouterd.model import Images, Provider, Receipt
from llmrouterd.pipeline.fetch import allowed, fetch
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.stage import replies, request, stage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
DATA = base64.b64encode(PNG).decode()
URL = "http://pictures.example/a.png?size=2"
RULES = Images(fetch_hosts=("pictures.example", "*.pictures.example"))
OLLAMA = {"model": "up", "message": {"role": "assistant", "content": "a cat"}, "done": True}
OLLAMA |= {"done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}


def asking(*urls: str) -> dict:
    parts = [{"type": "text", "text": "What is it?"}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return request("openai", messages=[{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    ("url", "may"),
    [
        (URL, True),
        ("https://PICTURES.example./x", True),
        ("https://deep.below.pictures.example:8443/x", True),
        ("https://pictures.example.evil.example/", False),
        ("https://evilpictures.example/", False),
        ("https://user@pictures.example/", False),
        ("ftp://pictures.example/", False),
        ("file:///etc/passwd", False),
        ("http://127.0.0.1/", False),
        ("http://[::1/", False),
        ("http://pictures.example:99999/", False),
        ("http:///x", False),
        ("nonsense", False),
    ],
)
def test_who_may_be_asked(url: str, may: bool) -> None:
    assert allowed(url, RULES) is may


def test_without_hosts_nobody_is_asked() -> None:
    assert not allowed(URL, Images())


# --- over the stage's dialler ---------------------------------------------------------------------


def ollama(name: str = "a") -> Provider:
    return Provider(name, "ollama", f"http://{name}", max_retries=0)


def picture_host(**up) -> dict:
    return {"a": replies(200, OLLAMA), "pictures.example": replies(200, PNG, "image/png"), **up}


async def test_a_picture_is_fetched_for_ollama() -> None:
    async with stage(ollama(), up=picture_host(), images=RULES) as st:
        public(st)
        out = await st.ask("openai", asking(URL, URL))
        (asked,) = st.asked["pictures.example"]
        sent = st.asked["a"][0].json
    assert out.status == 200
    assert sent["messages"][0]["images"] == [DATA, DATA]
    assert asked.target == "/a.png?size=2"
    assert "authorization" not in asked.headers


def public(st) -> None:
    """Let the stage's dialler find the host of pictures, which is no provider."""
    st.asked["pictures.example"] = []
    known = st._dial

    async def dial(origin, *, contexts, label=None):
        if origin.host != "pictures.example":
            return await known(origin, contexts=contexts, label=label)
        assert label is not None
        assert label.public_only
        ours, theirs = st.upstream_pair()
        st.nursery.start_soon(st._upstream, theirs, origin.host)
        return StreamWire(ours), Receipt("203.0.113.7:80", left_host=True)

    st.pool._dial = dial


@pytest.mark.parametrize(
    "up",
    [
        replies(404, b"no", "text/plain"),
        replies(302, b"", "text/plain", [("location", "http://127.0.0.1/secret")]),
        replies(200, b"<html>", "image/png"),
        replies(200, PNG + bytes(2000), "image/png"),
    ],
)
async def test_what_cannot_be_had_is_a_clear_refusal(up) -> None:
    rules = Images(RULES.fetch_hosts, max_bytes=1000)
    hosts = picture_host(**{"pictures.example": up})
    async with stage(ollama(), up=hosts, images=rules) as st:
        public(st)
        out = await st.ask("openai", asking(URL))
        assert st.asked["a"] == []
        assert len(st.asked["pictures.example"]) == 1
    assert (out.status, "image_url" in out.json["error"]["message"]) == (400, True)


async def test_a_host_that_says_nothing_costs_its_time_and_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def silent(up) -> None:
        await up.request()
        await trio.sleep(1000)

    hosts = picture_host(**{"pictures.example": silent})
    async with stage(ollama(), up=hosts, images=RULES) as st:
        public(st)
        begun = trio.current_time()
        out = await st.ask("openai", asking(URL))
        took = trio.current_time() - begun
    assert out.status == 400
    assert took == pytest.approx(RULES.timeout / 2)


async def test_it_is_fetched_once_for_all_tries() -> None:
    hosts = picture_host(b=replies(200, OLLAMA), a=replies(500, {"error": "no"}))
    async with stage(ollama("a"), ollama("b"), up=hosts, images=RULES) as st:
        public(st)
        assert (await st.ask("openai", asking(URL))).status == 200
        assert len(st.asked["pictures.example"]) == 1


async def test_who_fetches_for_himself_gets_the_url() -> None:
    up = picture_host(a=replies(200, {"choices": []}))
    async with stage(Provider("a", "openai", "http://a/v1"), up=up, images=RULES) as st:
        public(st)
        await st.ask("openai", asking(URL))
        assert st.asked["pictures.example"] == []
        assert URL in str(st.asked["a"][0].json)


async def test_an_unlisted_host_is_not_asked() -> None:
    async with stage(ollama(), up=picture_host(), images=RULES) as st:
        public(st)
        out = await st.ask("openai", asking("http://other.example/x.png"))
        assert st.asked["pictures.example"] == []
    assert out.status == 400


# --- over real sockets ----------------------------------------------------------------------------


async def test_an_address_of_this_network_is_refused_whatever_its_name_is() -> None:
    pool = Pool()
    with FakeUpstream(lambda turn: turn.whole(PNG, kind="image/png")) as up:
        rules = Images(fetch_hosts=("localhost",))
        assert await fetch(f"http://localhost:{up.port}/x.png", pool, rules) is None
        assert up.received == []
    pool.close()


async def test_a_picture_is_what_its_bytes_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrouterd.guard.egress.is_public", lambda address: True)
    pool = Pool()
    with FakeUpstream(lambda turn: turn.whole(PNG, kind="text/plain")) as up:
        got = await fetch(f"http://127.0.0.1:{up.port}/x", pool, Images())
    pool.close()
    assert got == Image(data=DATA, mime="image/png")


@pytest.mark.parametrize("path", ["a b.png", "a\x7f.png", "a\x00.png", "\u00e4.png", "a.png?q= "])
async def test_a_url_that_http_cannot_ask_for_is_a_clear_refusal(path: str) -> None:
    async with stage(ollama(), up=picture_host(), images=RULES) as st:
        public(st)
        out = await st.ask("openai", asking(f"https://pictures.example/{path}"))
        assert st.asked["pictures.example"] == []
    assert (out.status, "image_url" in out.json["error"]["message"]) == (400, True)
