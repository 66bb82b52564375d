"""The dashboard in a real browser, in front of a real daemon."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.fakes.browser import Browser, Page
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

pytestmark = pytest.mark.e2e

KEY = "a key/with+odd %signs;"
NETWORK = re.compile("Failed to load resource: ")  # what a browser notes of a router that is away
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>window.caught=1</script>",
    "\u202egpj.exe\u0000\n\tname\x1b[31m",
    "${alert(1)}{{7*7}}' onclick='x",
    "w" * 5000,
)


class Upstream:
    """Answers in a stream that waits: for `begin` before its first words, for `end` before its end."""

    def __init__(self) -> None:
        self.begin, self.end = threading.Event(), threading.Event()

    def free(self) -> None:
        self.begin.set()
        self.end.set()

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            data = [{"id": "small"}, {"id": "large"}]
            return turn.whole({"object": "list", "data": data})
        if not turn.received.json.get("stream"):
            return turn.whole(WHOLE)
        turn.begin()
        assert self.begin.wait(PATIENCE_S)
        turn.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"One word."}}]}\n\n')
        assert self.end.wait(PATIENCE_S)
        usage = b'{"prompt_tokens":1234,"completion_tokens":56}'
        turn.chunk(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        turn.chunk(b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % usage)
        return turn.end()


WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The answer is <b>42</b>."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 17, "completion_tokens": 6, "total_tokens": 23},
}


def breaks(turn: Turn) -> None:
    if turn.received.method == "GET":
        return turn.whole({"object": "list", "data": [{"id": "ill"}]})
    return turn.whole({"error": {"message": "out of <i>memory</i>", "type": "server_error"}}, 500)


def config(works: str, fails: str, *, port: int = 0, key: bool = False) -> str:
    return f"""
        [server]
        port = {port}
        {'api_key_env = "KEY"' if key else ""}
        [[providers]]
        name = "works"
        format = "openai"
        base_url = "{works}"
        [[providers]]
        name = "fails"
        format = "openai"
        base_url = "{fails}"
        max_retries = 0
        [[providers]]
        name = "away"
        format = "ollama"
        base_url = "http://127.0.0.1:1"
        max_retries = 0
        [[routers]]
        type = "prefix"
        model_prefix = "ill"
        provider = "fails"
        [[routers]]
        type = "prefix"
        model_prefix = "far"
        provider = "away"
        [[routers]]
        type = "prefix"
        model_prefix = ""
        provider = "works"
        [classifiers.keyword]
        enabled = true
        tags.code = ["python"]
    """


class House:
    """The daemon, its upstreams and a browser."""

    def __init__(self, url: str, upstream: Upstream, browser: Browser) -> None:
        self.url = url
        self.upstream = upstream
        self._browser = browser

    def ask(self, model: str, text: str = "hi", **more: Any) -> str:
        """One chat; the id it got."""
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, **more}
        said = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)
        return said.headers["x-router-request-id"]

    @contextmanager
    def asking(self, model: str) -> Iterator[Future[str]]:
        """A streaming chat that runs until the upstream ends it."""
        self.upstream.begin.clear()
        self.upstream.end.clear()
        with ThreadPoolExecutor(1) as pool:
            try:
                yield pool.submit(self.ask, model, stream=True)
            finally:
                self.upstream.free()

    def page(self, *, tolerate: re.Pattern[str] | None = None, **look: Any) -> "Looking":
        return Looking(self, self._browser.page(**look), tolerate)


class Looking:
    """The dashboard, open. Leaving sees that nothing went wrong that a test would not look at."""

    def __init__(self, house: House, page: Page, tolerate: re.Pattern[str] | None) -> None:
        self._house = house
        self._page = page
        self._tolerate = tolerate

    def __enter__(self) -> Page:
        self._page.go(f"{self._house.url}/dashboard")
        return self._page

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        page, url = self._page, self._house.url
        bad = [e for e in page.errors if not (self._tolerate and self._tolerate.match(e))]
        assert not bad
        assert page.requests
        elsewhere = [r for r in page.requests if not r.startswith((f"{url}/dashboard", "data:"))]
        assert not elsewhere


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    upstream = Upstream()
    upstream.free()
    with FakeUpstream(upstream) as works, FakeUpstream(breaks) as fails:
        text = config(works.url, fails.url)
        with RunningDaemon(text, tmp_path_factory.mktemp("daemon")) as daemon:
            yield House(daemon.url, upstream, browser)
    assert not works.errors


def row(model: str, within: str = "#feed") -> str:
    """JavaScript for the newest row that begins with this model's name."""
    route = f"i.querySelector('.route').innerText.startsWith({model!r})"
    return f"[...document.querySelectorAll('{within} > li')].find((i) => {route})"


def shown(page: Page) -> str:
    """The text of all rows that are to be seen."""
    return str(page.ask("document.querySelector('#feed').innerText"))


LIVE = "document.querySelector('#state').innerText === 'live'"


def settled(page: Page, model: str) -> None:
    page.wait(row(model))


# --- what is shown --------------------------------------------------------------------------------


def test_a_request_is_seen_from_its_beginning_to_its_end(house: House) -> None:
    with house.page() as page:
        page.wait(LIVE)
        with house.asking("live") as running:
            page.wait(f"{row('live', '#running')}?.innerText.includes('waiting')")
            assert page.ask("document.title").startswith("(1)")
            house.upstream.begin.set()
            page.wait(f"{row('live', '#running')}.innerText.includes('answering')")
            house.upstream.end.set()
            running.result(PATIENCE_S)
        settled(page, "live")
        text = page.ask(f"{row('live')}.innerText")
        assert re.search(r"done\s+live → works", text)
        assert re.search(r"\d m?s", text)
        assert "1,234 / 56" in text
        assert page.ask("document.querySelectorAll('#running > li').length") == 0
        page.wait("document.title === 'llmrouter'")


def test_a_page_opened_later_shows_what_was_before(house: House) -> None:
    house.ask("earlier", "about python")
    with house.page() as page:
        settled(page, "earlier")
        assert "code" in page.ask(f"{row('earlier')}.innerText")


def test_a_failure_says_what_and_whose_fault_it_was(house: House) -> None:
    httpx.post(f"{house.url}/v1/messages", json={"model": "m"}, timeout=PATIENCE_S)
    house.ask("ill-advised")
    with house.page() as page:
        settled(page, "ill-advised")
        text = page.ask(f"{row('ill-advised')}.innerText")
        assert "tried before: fails: out of <i>memory</i>" in text
        refused = page.ask(f"{row('/v1/messages')}.innerText")
        assert "refused" in refused
        assert "the client\u2019s fault" in refused


def test_each_provider_says_how_it_is(house: House) -> None:
    house.ask("ill")
    house.ask("fine")
    with house.page() as page:
        page.wait("document.querySelectorAll('.provider').length === 3")
        settled(page, "fine")
        page.wait("document.querySelector('#providers').innerText.includes('answered')")
        works, fails, away = page.ask(
            "[...document.querySelectorAll('.provider')].map((p) => p.innerText)"
        )
        assert re.match(r"works\s+up\s", works)
        assert "2\u00a0models" in works
        assert re.match(r"fails\s+last (one|\d+) failed", fails)
        assert "out of <i>memory</i>" in fails
        assert re.match(r"away\s+no answer", away)
        assert "refused the connection" in away


def test_an_opened_request_tells_where_why_and_what_was_said(house: House) -> None:
    id_ = house.ask("ill-told", "tell me <u>all</u>")
    with house.page() as page:
        settled(page, "ill-told")
        page.ask(f"{row('ill-told')}.querySelector('details').open = true")
        page.wait(f"{row('ill-told')}.innerText.includes('all of it as JSON')")
        text = page.ask(f"{row('ill-told')}.innerText")
        for told in (
            "openai, /v1/chat/completions, whole",
            "works · ill-told",
            "routers[2] prefix",  # because of
            "fails/ill-told: upstream: out of <i>memory</i>",
            "routers[0] prefix: candidate fails/ill-told",
            "tell me <u>all</u>",
            "The answer is <b>42</b>.",
            id_,
        ):
            assert told in text
        link = page.ask(f"{row('ill-told')}.querySelector('a').href")
        assert httpx.get(link, timeout=PATIENCE_S).json()["request_id"] == id_


def test_a_running_request_that_is_open_stays_open_when_it_ends(house: House) -> None:
    with house.page() as page:
        with house.asking("watched") as running:
            page.wait(row("watched", "#running"))
            page.ask(f"{row('watched', '#running')}.querySelector('summary').focus()")
            page.press("Enter")
            page.wait(f"{row('watched', '#running')}.querySelector('details').open")
            house.upstream.free()
            running.result(PATIENCE_S)
        page.wait(f"{row('watched')}?.innerText.includes('One word.')")
        assert page.ask(f"{row('watched')}.contains(document.activeElement)")


# --- what must not happen -------------------------------------------------------------------------


def test_hostile_names_are_text(house: House) -> None:
    for name in HOSTILE:
        house.ask(name, text=name)
    with house.page(width=360, height=740) as page:
        settled(page, "www")
        for details in range(len(HOSTILE)):
            page.ask(f"document.querySelectorAll('#feed details')[{details}].open = true")
        page.wait(f"document.querySelectorAll('#feed a').length === {len(HOSTILE)}")
        assert (
            page.ask("document.querySelectorAll('img, script[src], iframe, [onclick]').length") == 0
        )
        assert page.ask("document.scripts.length") == 1
        assert page.ask("window.caught") is None
        text = page.text("#feed")
        assert HOSTILE[0] in text
        assert HOSTILE[1] in text
        assert r"\u202egpj.exe\u0000\u000a\u0009name\u001b[31m → works" in text
        assert page.ask("document.documentElement.scrollWidth") == 360  # nothing sticks out


def test_the_policy_refuses_what_is_not_the_pages_own(house: House) -> None:
    """If a name did become markup one day, it would still not run."""
    with house.page() as page:
        page.wait(LIVE)
        assert page.ask(
            "(() => { try { document.body.innerHTML = '<p>'; } catch { return 'no'; } })()"
        )
        page.ask("""(() => { const s = document.createElement('style'); s.textContent = 'body { color: red }';
                    document.body.append(s); })()""")
        assert page.ask("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
        assert page.errors
        page.errors.clear()


def test_a_request_whose_end_was_missed_does_not_run_for_ever(house: House) -> None:
    """What a reader that was too slow is told, told by hand."""
    start = "{type: 'start', id: 1e9, ts_ms: Date.now(), model: 'never-ending', in_flight: 1}"
    with house.page() as page:
        page.wait(LIVE)
        page.ask(f"TAKE.start({start}); TAKE.lost({{count: 12}}); poll()")
        settled(page, "never-ending")
        assert "its end was among the events that were missed" in shown(page)
        assert re.search(r"events missed\s+12", page.text("#figures"))


@pytest.mark.slow
def test_a_page_that_is_left_open_stays_small(house: House) -> None:
    with house.page() as page, httpx.Client(timeout=PATIENCE_S) as client:
        page.wait(LIVE)
        body = {"model": "many", "messages": [{"role": "user", "content": "x" * 10_000}]}
        for _ in range(320):
            client.post(f"{house.url}/v1/chat/completions", json=body)
        house.ask("the last of them")
        settled(page, "the last of them")
        assert page.ask("document.querySelectorAll('#feed > li').length") == 300
        assert page.ask("JSON.stringify(ended).length") < 1_000_000  # the words are not in the page
        assert page.ask("running.size + fresh.length") == 0


# --- what a person does ---------------------------------------------------------------------------


def test_the_filter_leaves_what_fits(house: House) -> None:
    for model in ("apple-1", "apple-2", "ill-pear"):
        house.ask(model)
    httpx.post(f"{house.url}/v1/messages", json={"model": "plum"}, timeout=PATIENCE_S)
    with house.page() as page:
        settled(page, "ill-pear")
        page.press("/", text="/")
        assert page.ask("document.activeElement.id") == "filter"
        page.type("apple WORKS")
        page.wait("!document.querySelector('#feed').innerText.includes('pear')")
        assert "apple-1" in shown(page)
        assert "apple-2" in shown(page)
        house.ask("ill-cherry")  # what comes now is filtered, too
        house.ask("apple-3")
        page.wait("document.querySelector('#feed').innerText.includes('apple-3')")
        assert "cherry" not in shown(page)
        page.type(" nothing like this")
        page.wait("!document.querySelector('#none').hidden")
        assert page.text("#none") == "No request fits the filter."
        page.ask("at('filter').value = ''; at('filter').oninput()")
        for only, has, lacks in (
            ("bad", "refused", "apple"),
            ("again", "pear", "apple-1"),
            ("good", "apple-1", "refused"),
        ):
            page.ask(f"at('only').value = '{only}'; at('only').onchange()")
            assert has in shown(page)
            assert lacks not in shown(page)


def test_a_paused_list_stands_still_and_catches_up(house: House) -> None:
    with house.page() as page:
        page.wait(LIVE)
        page.ask("at('pause').focus()")
        page.press(" ")
        page.wait("at('pause').getAttribute('aria-pressed') === 'true'")
        house.ask("meanwhile")
        page.wait("at('pause').innerText.includes('new')")
        assert "meanwhile" not in shown(page)
        page.press(" ")
        page.wait("document.querySelector('#feed').innerText.includes('meanwhile')")


def test_everything_can_be_reached_and_opened_by_keyboard(house: House) -> None:
    house.ask("by-hand")
    with house.page() as page:
        settled(page, "by-hand")
        seen = []
        for _ in range(4):
            page.press("Tab")
            seen.append(page.ask("document.activeElement.id || document.activeElement.tagName"))
        assert seen == ["filter", "only", "pause", "SUMMARY"]
        outline = page.ask("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        page.press("Enter")
        page.wait("document.querySelector('#feed details').open")
        names = page.ask(
            "[...document.querySelectorAll('input, select, button')]"
            ".map((e) => e.labels[0]?.innerText || e.ariaLabel || e.innerText)"
        )
        assert all(names)


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_written_can_be_read(house: House, dark: bool) -> None:
    """WCAG AA asks for a contrast of 4.5 between text and what is behind it."""
    house.ask("ill-lit", "python")
    with house.page(dark=dark) as page:
        settled(page, "ill-lit")
        page.ask(f"{row('ill-lit')}.querySelector('details').open = true")
        page.wait(f"{row('ill-lit')}.innerText.includes('all of it as JSON')")
        pairs = page.ask(PAIRS)
        assert len(pairs) > 20
        poor = [p for p in pairs if contrast(p[0], p[1]) < 4.5]
        assert not poor
        ground = page.ask("getComputedStyle(document.body).backgroundColor")
        assert (luminance(ground) < 0.1) is dark


# Of each element with text of its own: its colour, what is painted behind it, and the text.
PAIRS = """[...document.body.querySelectorAll('*')].filter((e) => e.checkVisibility() &&
    [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((e) => {
  let behind = e;
  while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor, e.innerText.slice(0, 40)];
})"""


def luminance(colour: str) -> float:
    parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- coming and going -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_outlives_a_restart_of_the_router(browser: Browser, tmp_path: Path) -> None:
    upstream = Upstream()
    with FakeUpstream(upstream) as works, FakeUpstream(breaks) as fails:
        text = config(works.url, fails.url)
        first = RunningDaemon(text, tmp_path)
        first.__enter__()
        house = House(first.url, upstream, browser)
        with house.page(tolerate=NETWORK) as page, ThreadPoolExecutor(1) as pool:
            house.ask("before")
            settled(page, "before")
            cut = pool.submit(house.ask, "in the middle", stream=True)
            page.wait(row("in the middle", "#running"))
            first.process.kill()  # nobody says goodbye
            first.process.wait(PATIENCE_S)
            first._reader.join(PATIENCE_S)
            assert first.process.stderr
            first.process.stderr.close()
            assert cut.exception(PATIENCE_S)
            page.wait("document.querySelector('#state').innerText.startsWith('not connected')")
            upstream.free()
            with RunningDaemon(config(works.url, fails.url, port=first.port), tmp_path):
                house.ask("after")
                house.ask("after that")
                house.ask("and one more")
                settled(page, "and one more")
                page.wait(LIVE)
                shows = shown(page)
                assert re.search(r"lost\s+in the middle", shows)
                assert shows.count("before → works") == 1
                assert shows.count("after → works") == 1
                assert page.ask("running.size") == 0


def test_a_locked_dashboard_asks_for_the_key(browser: Browser, tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.free()
    with FakeUpstream(upstream) as works, FakeUpstream(breaks) as fails:
        text = config(works.url, fails.url, key=True)
        with RunningDaemon(text, tmp_path, env={"KEY": KEY}) as daemon:
            house = House(daemon.url, upstream, browser)
            with house.page(tolerate=NETWORK) as page:
                page.wait("document.activeElement.id === 'key'")
                assert page.ask("at('main').hidden")
                page.type("not it")
                page.press("Enter")
                page.wait("at('wrong').innerText === 'That is not the key.'")
                page.type(KEY)  # what was there is selected, and goes
                page.press("Enter")
                page.wait(LIVE)
                page.wait("document.querySelectorAll('.provider').length === 3")
                assert page.ask("at('door').hidden && at('key').value === ''")
                assert page.ask("document.cookie") == ""  # no script can read it
                page.go(f"{daemon.url}/dashboard")
                page.wait(LIVE)
            with house.page(tolerate=NETWORK) as page:  # nobody else has got in
                page.wait("!at('door').hidden")
                page.go(f"{daemon.url}/dashboard?api_key={quote(KEY, safe='')}")
                page.wait(LIVE)
                assert page.ask("location.href") == f"{daemon.url}/dashboard"
        assert KEY not in daemon.log
