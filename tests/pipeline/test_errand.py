"""What extensions fetch: within which bounds, under which policies, and what the record says of it."""

import ssl
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trio
import trustme

from formats.canonical import Message, Request, Text
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Pool
from llmrouterd.edge.wire import StreamWire
from llmrouterd.guard.egress import Label, is_loopback, may
from llmrouterd.hooks import Context, FetchFailed, Plugin
from llmrouterd.model import Caller, Policy, Receipt, Routing
from llmrouterd.pipeline import errand
from llmrouterd.pipeline.daemon import Daemon, Generation, Installed
from llmrouterd.pipeline.errand import Errand, place
from llmrouterd.pipeline.extend import Extensions
from llmrouterd.pipeline.story import Story
from tests.pipeline.stage import Stage, chat_answer, openai, replies, request, stage

HERE, LAN, FAR = "127.0.0.1", "10.9.0.3", "203.0.113.10"
FOUND = {HERE: replies(200, b"near"), LAN: replies(200, b"lan"), FAR: replies(200, b"far")}
TAGGED = Policy("policies[0]", tags=("private",), local=True)


class Fetches(Plugin):
    """Fetches in one hook, and keeps what came of it."""

    id = "fetches"

    def __init__(self, url: str = f"http://{FAR}/x", hook: str = "pre_request", **how) -> None:
        self.url = url
        self.hook = hook
        self.how = {"method": "GET", **how}
        self.got: list[object] = []

    async def _fetch(self, hook: str, ctx: Context) -> None:
        if hook == self.hook:
            try:
                self.got.append(await ctx.fetch(url=self.url, **self.how))
            except FetchFailed as error:
                self.got.append(str(error))

    async def on_start(self, request: Request, ctx: Context) -> Request:
        await self._fetch("on_start", ctx)
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        await self._fetch("pre_request", ctx)
        return request

    async def post_response(self, response, ctx: Context):
        await self._fetch("post_response", ctx)
        return response


class Tags:
    id = "tags"
    may_set = ("private",)

    def __init__(self, *tags: str, fails: bool = False) -> None:
        self.tags = tags
        self.fails = fails

    async def classify(self, request: Request, ctx: Context) -> tuple[str, ...]:
        if self.fails:
            raise RuntimeError("ill")
        return self.tags


@contextmanager
def world(st: Stage):
    """The stage's dialler reaches addresses that are no provider's, with egress asked as at the door."""
    known = st._dial
    st.asked |= {host: [] for host in st.scripts if host not in st.asked}

    async def dial(origin, *, contexts, label=None):
        if origin.host in st.gen.providers:
            return await known(origin, contexts=contexts, label=label)
        st.dialled.append(origin.host)
        st.labels.append(label)
        if not may(label or Label(), origin.host):
            raise DialError("denied", f"{origin.where} is not on this network")
        ours, theirs = st.upstream_pair()
        st.nursery.start_soon(st._upstream, theirs, origin.host)
        left = not is_loopback(origin.host)
        return StreamWire(ours), Receipt(f"{origin.host}:{origin.port}", left_host=left)

    st.pool._dial = dial
    yield st


def on_stage(plugin: Plugin, *policies: Policy, tags: Tags | None = None, up=None, **more):
    routing = Routing(aliases={"m": ("a/a-model",)}, policies=policies)
    classifiers = [Installed("tags", tags)] if tags else []
    scripts = {"a": replies(200, chat_answer("x")), **FOUND, **(up or {})}
    return stage(
        openai(local=True),
        up=scripts,
        plugins=[plugin],
        classifiers=classifiers,
        routing=routing,
        **more,
    )


async def asked(plugin: Plugin, *policies: Policy, tags: Tags | None = None, up=None, **more):
    """One request with this plugin: the stage after it, and the answer."""
    async with on_stage(plugin, *policies, tags=tags, up=up) as st:
        with world(st):
            out = await st.ask("openai", request("openai", **more))
    return st, out


async def test_an_answer_comes_with_its_status_and_its_bytes(autojump_clock) -> None:
    plugin = Fetches(
        f"http://{HERE}:81/search?q=a%20b",
        method="POST",
        body=b'{"q":1}',
        headers={"Content-Type": "application/json", "X-Key": "k"},
    )
    st, out = await asked(plugin, up={HERE: replies(418, b"tea")})
    assert plugin.got == [(418, b"tea")]
    assert out.status == 200
    (sent,) = st.asked[HERE]
    assert (sent.target, sent.body) == ("/search?q=a%20b", b'{"q":1}')
    assert (sent.headers.get("x-key"), sent.headers.get("content-type")) == (
        "k",
        "application/json",
    )
    assert sent.headers.get("host") == f"{HERE}:81"


async def test_nothing_of_the_clients_goes_along(autojump_clock) -> None:
    plugin = Fetches(f"http://{HERE}/")
    async with on_stage(plugin) as st:
        with world(st):
            fields = [("authorization", "Bearer secret"), ("cookie", "c=1"), ("user-agent", "me")]
            await st.ask("openai", request("openai"), fields)
    names = {name.lower() for name, _ in st.asked[HERE][0].headers.raw}
    assert names == {b"host", b"user-agent", b"accept-encoding"}
    assert st.asked[HERE][0].headers.get("user-agent") == "llmrouter"


async def test_a_redirect_is_an_answer_and_not_followed(autojump_clock) -> None:
    away = replies(302, b"", headers=[("location", f"http://{FAR}/")])
    plugin = Fetches(f"http://{HERE}/")
    st, _ = await asked(plugin, up={HERE: away})
    assert plugin.got == [(302, b"")]
    assert st.asked[FAR] == []


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"url": "ftp://x/"}, "a URL is http://host/path"),
        ({"url": "http:///x"}, "a URL is http://host/path"),
        ({"url": "http://x:0/"}, "a URL is http://host/path"),
        ({"url": "http://x:99999/"}, "this is no URL"),
        ({"url": "http://[::1/"}, "this is no URL"),
        ({"url": "http://me:pw@x/"}, "user's name"),
        ({"url": "http://x/a b"}, "percent-encoded"),
        ({"url": "http://x/ä"}, "percent-encoded"),
        ({"url": "http://x/" + "a" * 9000}, "over 8192 characters"),
        ({"method": "CONNECT"}, "the method 'CONNECT' is none of"),
        ({"method": "get"}, "the method 'get' is none of"),
        ({"headers": {"x": "a\r\nb: c"}}, "no header field can be like 'x'"),
        ({"headers": {"a b": "c"}}, "no header field can be like 'a b'"),
        ({"headers": {"Host": "c"}}, "'Host' is the router's to write"),
        ({"headers": {"transfer-encoding": "chunked"}}, "is the router's to write"),
    ],
)
async def test_what_is_no_request_is_refused_in_words(how, words, autojump_clock) -> None:
    plugin = Fetches(**how)
    st, out = await asked(plugin)
    assert words in plugin.got[0]
    assert (out.status, st.dialled) == (200, ["a"])


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(autojump_clock) -> None:
    plugin = Fetches(f"http://{HERE}/", max_bytes=100)
    await asked(plugin, up={HERE: replies(200, bytes(101))})
    assert plugin.got == [f"{HERE}:80: the upstream's answer is over 100 bytes"]


@pytest.mark.parametrize("asked_s", [3, 0, -1])
async def test_whoever_says_nothing_costs_the_time_and_no_more(asked_s, autojump_clock) -> None:
    async def silent(up) -> None:
        await up.request()
        await trio.sleep(1000)

    plugin = Fetches(f"http://{HERE}/", timeout_s=asked_s)
    begun = trio.current_time()
    await asked(plugin, up={HERE: silent})
    assert plugin.got == [f"{HERE}:80: no answer within {max(asked_s, 0.01):g} s"]
    assert trio.current_time() - begun == pytest.approx(max(asked_s, 0.01))


async def test_a_connection_that_breaks_off_is_said(autojump_clock) -> None:
    async def cut(up) -> None:
        await up.request()
        await up.cut()

    plugin = Fetches(f"http://{HERE}/")
    await asked(plugin, up={HERE: cut})
    assert plugin.got[0].startswith(f"{HERE}:80: ")


async def test_one_request_may_not_fetch_without_end(autojump_clock, monkeypatch) -> None:
    monkeypatch.setattr(errand, "MOST", 2)

    class Endless(Fetches):
        async def pre_request(self, request: Request, ctx: Context) -> Request:
            for _ in range(3):
                await self._fetch("pre_request", ctx)
            return request

    plugin = Endless(f"http://{HERE}/")
    st, _ = await asked(plugin)
    assert plugin.got[:2] == [(200, b"near")] * 2
    assert plugin.got[2] == "fetches has fetched 2 times for this request"
    assert len(st.asked[HERE]) == 2


def test_what_a_url_means() -> None:
    origin, target = place("https://[2001:db8::1]/a?b=c#d")
    assert (origin.scheme, origin.host, origin.port) == ("https", "2001:db8::1", 443)
    assert target == "/a?b=c"
    assert place("http://x")[1] == "/"
    assert place("http://x?q")[1] == "/?q"


# --- policies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["pre_request", "post_response"])
async def test_once_classified_the_policies_that_bind_count(hook: str, autojump_clock) -> None:
    free, held = Fetches(hook=hook), Fetches(hook=hook)
    await asked(free, TAGGED, tags=Tags())
    await asked(held, TAGGED, tags=Tags("private"))
    assert free.got == [(200, b"far")]
    assert held.got == [f"{FAR}:80 is not on this network"]


@pytest.mark.parametrize("url", [f"http://{HERE}/", f"http://{LAN}/"])
async def test_this_network_may_be_asked_all_the_same(url: str, autojump_clock) -> None:
    plugin = Fetches(url)
    await asked(plugin, TAGGED, tags=Tags("private"))
    assert plugin.got[0][0] == 200


async def test_a_policys_networks_hold_for_fetching_too(autojump_clock) -> None:
    narrow = replace(TAGGED, networks=("10.8.0.0/16",))
    plugin = Fetches(f"http://{LAN}/")
    await asked(plugin, narrow, tags=Tags("private"))
    assert plugin.got == [f"{LAN}:80 is not on this network"]


async def test_a_tag_that_nobody_could_judge_counts_as_set(autojump_clock) -> None:
    plugin = Fetches()
    await asked(plugin, TAGGED, tags=Tags(fails=True))
    assert plugin.got == [f"{FAR}:80 is not on this network"]


@pytest.mark.parametrize(
    "policy",
    [
        TAGGED,
        Policy("p", tags=("private",), block=True),
        Policy("p", tags=("private",), allow=("a",)),
        Policy("p", models=("other*",), local=True),  # the plugin may yet name another one
    ],
    ids=["local", "block", "allow", "model"],
)
async def test_before_it_is_classified_every_policy_that_might_bind_counts(
    policy: Policy, autojump_clock
) -> None:
    plugin, near = Fetches(hook="on_start"), Fetches(f"http://{LAN}/", hook="on_start")
    st, out = await asked(plugin, policy, tags=Tags())
    assert plugin.got == [f"{FAR}:80 is not on this network"]
    assert (out.status, st.asked[FAR]) == (200, [])
    await asked(near, policy, tags=Tags())
    assert near.got == [(200, b"lan")]


async def test_another_clients_policy_never_binds(autojump_clock) -> None:
    policy = Policy("p", clients=("ann",), local=True)
    for client, got in (("ann", f"{FAR}:80 is not on this network"), ("bob", (200, b"far"))):
        plugin = Fetches(hook="on_start")
        async with on_stage(plugin, policy) as st:
            with world(st):
                st.callers = {client: Caller(client)}
                await st.ask("openai", request("openai"), [("x-router-key", client)])
        assert plugin.got == [got]


async def test_where_only_local_providers_may_see_it_nobody_elsewhere_is_asked(
    autojump_clock,
) -> None:
    plugin = Fetches()
    await asked(plugin, Policy("p", tags=("private",), allow=("a",)), tags=Tags("private"))
    assert plugin.got == [f"{FAR}:80 is not on this network"]


async def test_of_what_is_blocked_nothing_is_sent_to_anybody(autojump_clock) -> None:
    plugin = Fetches(f"http://{HERE}/")
    policy = Policy("policies[0]", tags=("private",), block=True, message="not this")
    st, out = await asked(plugin, policy, tags=Tags("private"))
    assert plugin.got == ["policies[0]: not this"]
    assert (out.status, st.dialled) == (403, [])


async def test_the_model_that_a_plugin_named_is_the_one_that_policies_go_by(autojump_clock) -> None:
    class Names(Fetches):
        id = "names"

        async def pre_request(self, request: Request, ctx: Context) -> Request:
            return replace(request, model="a/private")

    last = Fetches()
    routing = Routing(policies=(Policy("p", models=("private",), local=True),))
    scripts = {"a": replies(200, chat_answer("x")), **FOUND}
    async with stage(openai(), up=scripts, plugins=[Names(), last], routing=routing) as st:
        with world(st):
            await st.ask("openai", request("openai", model="a/x"))
    assert last.got == [f"{FAR}:80 is not on this network"]


async def test_a_url_of_a_clients_may_be_kept_off_this_network(autojump_clock) -> None:
    near = Fetches(f"http://{LAN}/", public_only=True)
    await asked(near)
    assert near.got == [f"{LAN}:80 is not on this network"]


@pytest.mark.parametrize("url", [f"http://{HERE}/", f"http://{FAR}/"])
async def test_whoever_passes_it_on_is_not_asked_what_must_stay(url: str, autojump_clock) -> None:
    held, free = Fetches(url, passes_on=True), Fetches(url, passes_on=True)
    st, _ = await asked(held, TAGGED, tags=Tags("private"))
    assert "whoever is asked passes it on" in held.got[0]
    assert st.dialled == ["a"]
    await asked(free, TAGGED, tags=Tags())
    assert free.got[0][0] == 200


async def test_an_idle_connection_is_judged_anew(autojump_clock) -> None:
    plugin = Fetches()
    tags = Tags()
    async with on_stage(plugin, TAGGED, tags=tags) as st:
        with world(st):
            await st.ask("openai", request("openai"))
            tags.tags = ("private",)
            await st.ask("openai", request("openai"))
    assert plugin.got == [(200, b"far"), f"{FAR}:80 is not on this network"]


# --- the record -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("url", "said"), [(f"http://{FAR}/x", "yes"), (f"http://{HERE}/x", "no")])
async def test_the_receipt_counts_what_was_fetched(url: str, said: str, autojump_clock) -> None:
    plugin = Fetches(url)
    st, out = await asked(plugin)
    assert out.headers.get("x-router-left-host") == said
    assert st.record.left_host == (said == "yes")
    host = url.split("/")[2]
    assert st.record.notes == (f"fetches asked {host}:80 at {host}:80: 200",)
    assert st.record.address == "a:80"  # the provider's


async def test_the_receipt_counts_those_that_never_answered(autojump_clock) -> None:
    async def silent(up) -> None:
        await up.request()
        await trio.sleep(1000)

    st, out = await asked(Fetches(timeout_s=2), up={FAR: silent})
    assert out.headers.get("x-router-left-host") == "yes"
    assert st.record.notes == (f"fetches asked {FAR}:80 at {FAR}:80: no answer",)


async def test_who_was_not_reached_has_got_nothing(autojump_clock) -> None:
    st, out = await asked(Fetches(), TAGGED, tags=Tags("private"))
    assert out.headers.get("x-router-left-host") == "no"
    assert st.record.notes == ()


async def test_a_plugin_that_lets_it_fail_fails_the_request_with_its_words(autojump_clock) -> None:
    class Careless(Plugin):
        id = "careless"

        async def pre_request(self, request: Request, ctx: Context) -> Request:
            await ctx.fetch("GET", "nonsense")
            return request

    _, out = await asked(Careless())
    assert out.status == 500
    assert "plugin 'careless' failed: a URL is" in out.json["error"]["message"]


async def test_an_explained_or_counted_request_asks_nobody(autojump_clock) -> None:
    plugin = Fetches()
    seen: list[bool] = []

    async def pre_request(request: Request, ctx: Context) -> Request:
        seen.append(ctx.dry)
        await plugin._fetch("pre_request", ctx)
        return request

    plugin.pre_request = pre_request  # type: ignore[method-assign]
    async with on_stage(plugin) as st:
        story = Story(st.daemon, client_format="openai", endpoint="/x")
        asking = Request("openai", "m", (Message("user", (Text("hi"),)),))
        for asks in (False, True):
            with world(st):
                await Extensions(st.gen, asking, story, asks=asks).before(asking)
    assert seen == [True, False]
    assert plugin.got == ["fetching is not possible here", (200, b"far")]


async def test_an_https_address_may_have_a_ca_of_its_own(tmp_path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def serve(stream: trio.SSLStream) -> None:
        await stream.receive_some(10_000)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await stream.aclose()

    story = Story(Daemon(Pool()), client_format="openai", endpoint="/x")
    fetch = Errand(Generation(1, Routing(), {}, {}), story, "me", lambda: None).fetch
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        url = f"https://localhost:{port}/"
        assert await fetch("GET", url, ca_file=str(tmp_path / "ca.pem")) == (200, b"ok")
        with pytest.raises(FetchFailed, match="TLS with localhost"):
            await fetch("GET", url)
        story.daemon.pool.close()
        nursery.cancel_scope.cancel()
    assert story.left_host is False
    assert story.notes[0].endswith(f"me asked localhost:{port} at 127.0.0.1:{port}: 200")
