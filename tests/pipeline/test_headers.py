"""Which header fields go where: what an upstream is sent, what a client gets back."""

import string
from dataclasses import replace

import h11
import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st_

from formats.canonical import Usage
from formats.errors import Failure
from formats.ledger import Ledger
from llmrouterd.config.dialects import PRESETS
from llmrouterd.model import Candidate, Dialect, Headers, Provider, Secret
from llmrouterd.pipeline import headers
from llmrouterd.pipeline.daemon import Daemon
from llmrouterd.pipeline.story import Story
from tests.pipeline.stage import (
    REFUSED,
    anthropic,
    chat_answer,
    ollama,
    openai,
    replies,
    request,
    stage,
)

KEYED = {
    "openai": openai(key=Secret("sk-1")),
    "anthropic": anthropic(key=Secret("sk-ant-api-1")),
    "ollama": ollama(key=Secret("ok-1")),
}
# What no upstream ever gets, with a value that would show.
PRIVATE = [
    *(("authorization", "Bearer leak"), ("x-api-key", "leak"), ("api-key", "leak")),
    *(("x-goog-api-key", "leak"), ("x-router-key", "leak"), ("x-router-provider", "leak")),
    *(("cookie", "leak=1"), ("origin", "http://leak"), ("referer", "http://leak")),
    *(("forwarded", "for=leak"), ("x-forwarded-for", "leak"), ("x-real-ip", "leak")),
    *(("sec-fetch-site", "leak"), ("cf-connecting-ip", "leak"), ("via", "leak")),
    *(("connection", "leak"), ("keep-alive", "leak"), ("proxy-connection", "leak")),
    *(("proxy-authorization", "leak"), ("te", "leak"), ("trailer", "leak")),
    *(("upgrade", "leak"), ("expect", "leak"), ("http2-settings", "leak"), ("leak", "leak")),
    *(("accept-encoding", "leak"), ("content-type", "leak"), ("accept", "leak")),
    *(("openai-organization", "leak"), ("openai-project", "leak")),
    *(("anthropic-workspace-id", "leak"), ("x-stainless-timeout", "leak"), ("x-app", "leak")),
]
VENDOR = [
    ("user-agent", "Client/1"),
    ("openai-beta", "assistants=v2"),
    ("anthropic-version", "2026-10-21"),
    ("anthropic-beta", "one, two"),
    ("anthropic-beta", "two,three"),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("idempotency-key", "idem"),
    ("x-client-request-id", "cr-1"),
    ("x-request-id", "r-1"),
    ("traceparent", "00-1-2-01"),
    ("tracestate", "a=b"),
    ("baggage", "c=d"),
]


def incoming(*fields: tuple[str, str]) -> Headers:
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in fields])


def sent(provider: Provider, *fields: tuple[str, str], same: bool = True, **more) -> dict:
    more.setdefault("stream", False)
    out = headers.for_upstream(
        provider, incoming(*fields), same_format=same, agent="llmrouter/1", **more
    )
    assert len({name for name, _ in out}) == len(out), "a field twice"
    return dict(out)


# --- towards an upstream --------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", KEYED)
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("local", [True, False])
def test_nothing_private_reaches_an_upstream(fmt: str, same: bool, local: bool) -> None:
    provider = Provider("a", KEYED[fmt].format, key=KEYED[fmt].key, local=local)
    out = sent(provider, *PRIVATE, same=same, stream=True, idempotency="leak")
    assert "leak" not in " ".join([*out, *out.values()])
    assert set(out) <= {
        *("content-type", "accept-encoding", "accept", "user-agent"),
        *("authorization", "x-api-key", "anthropic-version"),
    }


def test_the_credential_is_the_providers_own() -> None:
    assert sent(KEYED["openai"])["authorization"] == "Bearer sk-1"
    assert sent(KEYED["ollama"])["authorization"] == "Bearer ok-1"
    own = sent(KEYED["anthropic"])
    assert own["x-api-key"] == "sk-ant-api-1"
    assert "authorization" not in own
    for keyless in (openai(), anthropic(), ollama()):
        assert not {"authorization", "x-api-key"} & sent(keyless).keys()


def test_a_subscription_token_goes_as_bearer_with_its_beta() -> None:
    provider = anthropic(key=Secret("sk-ant-oat01-x"), dialect=PRESETS["anthropic"])
    out = sent(provider, ("anthropic-beta", "one"))
    assert out["authorization"] == "Bearer sk-ant-oat01-x"
    assert "x-api-key" not in out
    assert out["anthropic-beta"] == f"one,{headers.OAUTH}"


def test_the_same_format_gets_what_its_vendor_reads() -> None:
    vendor = replace(KEYED["anthropic"], dialect=PRESETS["anthropic"])
    out = sent(vendor, *VENDOR, idempotency="idem")
    assert out["user-agent"] == "Client/1"
    assert out["anthropic-version"] == "2026-10-21"
    assert out["anthropic-beta"] == "one,two,three"
    assert out["anthropic-dangerous-direct-browser-access"] == "true"
    assert out["idempotency-key"] == "idem"
    assert (out["x-client-request-id"], out["x-request-id"]) == ("cr-1", "r-1")
    assert "openai-beta" not in out
    out = sent(KEYED["openai"], *VENDOR, idempotency="idem")
    assert out["openai-beta"] == "assistants=v2"
    assert not [name for name in out if name.startswith("anthropic")]
    assert "idempotency-key" not in sent(KEYED["ollama"], *VENDOR, idempotency="idem")


def test_betas_are_the_vendor_s_and_others_get_only_those_they_are_said_to_take() -> None:
    beta = (("anthropic-beta", "one, two"), ("anthropic-beta", "three,one"))
    assert "anthropic-beta" not in sent(anthropic(), *beta)
    some = anthropic(dialect=Dialect(betas=("two", "four")))
    assert sent(some, *beta)["anthropic-beta"] == "two"
    everything = anthropic(dialect=Dialect(betas=("*",)))
    assert sent(everything, *beta)["anthropic-beta"] == "one,two,three"
    assert sent(everything, *beta, refused_betas={"two"})["anthropic-beta"] == "one,three"
    assert "anthropic-beta" not in sent(everything, *beta, same=False)


def test_what_a_client_says_of_itself_goes_to_its_own_vendor_only() -> None:
    said = [("x-app", "cli"), ("x-claude-code-session-id", "s"), ("x-codex-window-id", "w")]
    vendor = sent(anthropic(dialect=PRESETS["anthropic"]), *said)
    assert (vendor["x-app"], vendor["x-claude-code-session-id"]) == ("cli", "s")
    assert "x-codex-window-id" not in vendor
    assert not {"x-app", "x-claude-code-session-id"} & sent(anthropic(), *said).keys()


def test_the_key_stands_where_the_dialect_wants_it() -> None:
    out = sent(openai(key=Secret("k"), dialect=PRESETS["azure"]))
    assert out["api-key"] == "k"
    assert "authorization" not in out


OWN = Secret("router-key")


@pytest.mark.parametrize(
    ("name", "value"),
    [("authorization", "Bearer sk-mine"), ("x-api-key", "sk-mine"), ("api-key", "sk-mine")],
)
def test_a_client_s_own_credential_goes_on_in_the_header_it_came_in(name: str, value: str) -> None:
    provider = anthropic(credentials="client")
    account = ("anthropic-workspace-id", "w1")
    out = sent(provider, (name, value), account, own_keys=(OWN,))
    assert out[name] == value
    assert out["anthropic-workspace-id"] == "w1"
    assert "anthropic-workspace-id" not in sent(anthropic(), account)
    assert "anthropic-workspace-id" not in sent(provider, account, same=False)


@pytest.mark.parametrize(
    ("name", "value"), [("authorization", "Bearer router-key"), ("x-api-key", "router-key")]
)
def test_the_router_s_own_key_never_goes_on(name: str, value: str) -> None:
    out = sent(anthropic(credentials="client"), (name, value), own_keys=(OWN,))
    assert "router-key" not in " ".join(out.values())


def test_headers_that_the_owner_lists_go_on_whatever_the_format() -> None:
    provider = openai(dialect=Dialect(forward=("x-team", "x-title")))
    out = sent(provider, ("x-team", "red"), ("x-other", "no"), same=False)
    assert out["x-team"] == "red"
    assert "x-title" not in out
    assert "x-other" not in out


def test_another_format_gets_none_of_it() -> None:
    out = sent(KEYED["anthropic"], *VENDOR, same=False, idempotency="idem")
    assert out.keys() == {
        *("content-type", "accept-encoding", "accept", "user-agent", "x-api-key"),
        *("anthropic-version", "traceparent", "tracestate", "baggage"),
    }
    assert out["user-agent"] == "llmrouter/1"
    assert out["anthropic-version"] == headers.ANTHROPIC_VERSION


def test_traces_stay_near() -> None:
    near, far = openai(local=True), openai(local=False)
    assert {"traceparent", "tracestate", "baggage"} <= sent(near, *VENDOR).keys()
    assert not {"traceparent", "tracestate", "baggage"} & sent(far, *VENDOR).keys()


@pytest.mark.parametrize("value", ["x" * 129, "caf\xe9", "a\x01b", ""])
def test_a_request_id_that_is_no_plain_name_is_dropped(value: str) -> None:
    assert "x-request-id" not in sent(openai(), ("x-request-id", value))


def test_what_is_accepted_follows_the_stream() -> None:
    assert sent(openai())["accept"] == "application/json"
    assert sent(openai(), stream=True)["accept"] == "text/event-stream"
    assert sent(ollama(), stream=True)["accept"] == "application/x-ndjson"
    assert sent(openai())["accept-encoding"] == "identity"


def test_configured_fields_take_the_place_of_ours() -> None:
    provider = openai(key=Secret("k"), headers=(("Authorization", "Azure"), ("X-Team", "t")))
    out = sent(provider, ("user-agent", "c"))
    assert out["authorization"] == "Azure"
    assert out["x-team"] == "t"


# --- towards a client -----------------------------------------------------------------------------


@pytest.fixture
def story() -> Story:
    daemon = Daemon(None)  # type: ignore[arg-type]
    return Story(daemon, client_format="openai", endpoint="/x")


def test_the_fields_of_an_answer(story: Story) -> None:
    story.candidate = Candidate("a", "llama3:8b", "routers[0] fallback")
    story.tags = ("code", "pii")
    story.ledger = Ledger()
    story.ledger.note("top_k", "dropped", "why")
    story.left_host = False
    story.usage = Usage(input=3, output=4)
    story.response_tags = ("refusal",)
    out = dict(headers.for_client(story, stream=False))
    assert out == {
        "x-router-request-id": story.request_id,
        "x-request-id": story.request_id,
        "x-router-provider": "a",
        "x-router-model": "llama3:8b",
        "x-router-rule": "routers[0] fallback",
        "x-router-attempts": "1",
        "x-router-request-tags": "code,pii",
        "x-router-dropped": "top_k",
        "x-router-left-host": "no",
        "x-router-input-tokens": "3",
        "x-router-output-tokens": "4",
        "x-router-response-tags": "refusal",
    }
    late = dict(headers.known_at_end(story))
    streamed = dict(headers.for_client(story, stream=True))
    assert out == streamed | late
    assert not streamed.keys() & late.keys()


def test_a_whole_answer_always_has_its_counts(story: Story) -> None:
    """Scripts of the original's users read them unasked."""
    out = dict(headers.for_client(story, stream=False))
    assert (out["x-router-input-tokens"], out["x-router-output-tokens"]) == ("0", "0")
    assert headers.known_at_end(story) == []


@pytest.mark.parametrize(
    ("client", "upstream", "value"),
    [
        ("openai", "openai", "up-1"),
        ("openai", "anthropic", None),
        ("anthropic", "anthropic", "up-1"),
    ],
)
def test_the_upstreams_request_id_is_shown_as_its_own_format_shows_it(
    story: Story, client: str, upstream: str, value: str | None
) -> None:
    story.client_format = client
    story.begin(Ledger(), upstream)
    story.upstream_request_id = "up-1"
    out = dict(headers.for_client(story, stream=True))
    name = "request-id" if client == "anthropic" else "x-request-id"
    assert out[name] == (value or story.request_id)
    assert out["x-router-request-id"] == story.request_id
    assert out["x-router-upstream-request-id"] == "up-1"


VISIBLE = set(string.printable) - set("\t\n\r\x0b\x0c")


@given(name=st_.text(max_size=600))
def test_a_name_is_clean_before_it_is_a_header(name: str) -> None:
    value = headers.clean(name)
    assert set(value) <= VISIBLE
    assert len(value) <= headers.MAX_VALUE
    h11.Response(status_code=200, headers=[("x", value.encode("latin-1"))])


def test_a_list_of_names_is_cut_between_names() -> None:
    names = tuple(f"messages[{i}].content, \r\n" for i in range(200))
    value = headers.clean_list(names)
    assert len(value) < 1100
    assert value.endswith(",...")
    assert set(value) <= VISIBLE
    assert value.startswith("messages[0].content_")
    assert headers.clean_list(()) == ""


@pytest.mark.parametrize(
    ("failure", "fields"),
    [
        (Failure("rate_limit", "x", retry_after_s=1.2), {"retry-after": "2"}),
        (Failure("rate_limit", "x", retry_after_s=0.0), {"retry-after": "1"}),
        (Failure("overloaded", "x"), {"retry-after": "1"}),
        (Failure("timeout", "x", clock="idle"), {"x-router-error": "timeout:idle"}),
        (Failure("no_provider", "x"), {"x-should-retry": "false"}),
        (Failure("upstream", "x"), {"x-router-error": "upstream"}),
    ],
)
def test_the_fields_of_an_error(story: Story, failure: Failure, fields: dict) -> None:
    out = dict(headers.for_failure(story, failure))
    assert out.items() >= fields.items()
    for name in ("retry-after", "x-should-retry"):
        assert (name in out) == (name in fields)


# --- the whole way --------------------------------------------------------------------------------


async def test_only_what_is_listed_comes_back_from_an_upstream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    leaks = [
        *(("set-cookie", "a=leak"), ("server", "leak"), ("via", "leak"), ("cf-ray", "leak")),
        *(("openai-organization", "leak"), ("x-ratelimit-limit-requests", "leak")),
        *(("anthropic-organization-id", "leak"), ("access-control-allow-origin", "leak")),
        *(("alt-svc", "leak"), ("strict-transport-security", "leak"), ("anything", "leak")),
    ]
    script = replies(200, chat_answer("x"), headers=[*leaks, ("x-request-id", "up-7")])
    async with stage(openai(), up={"a": script}) as st:
        out = await st.ask("openai", request("openai"))
    assert "leak" not in str(list(out.headers))
    assert out.headers.get("x-request-id") == "up-7"
    assert st.record.upstream_request_id == "up-7"
    assert {n for n, _ in out.headers if not n.startswith("x-router-")} == {
        *("content-type", "content-length", "date", "x-request-id"),
    }


async def test_each_provider_has_its_own_idempotency_key(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A second vendor must not take the request for one that it has seen."""
    bad = replies(500, {"error": {"message": "x"}})
    async with stage(openai("a"), openai("b"), up={"a": bad, "b": bad}) as st:
        await st.ask("openai", request("openai"), [("idempotency-key", "mine")])
    keys = {n: [a.headers.get("idempotency-key") for a in st.asked[n]] for n in "ab"}
    assert keys["a"] == ["mine"] * 2
    assert len(keys["b"]) == 2
    assert len(set(keys["b"])) == 1
    assert keys["b"][0] not in (None, "mine")


async def test_a_models_name_from_the_client_cannot_break_a_header(
    autojump_clock: trio.testing.MockClock,
) -> None:
    name = 'a/x\r\nset-cookie: a=b \u2028"\u00fc' + "y" * 500
    for script in (REFUSED, replies(200, chat_answer("x"))):
        async with stage(openai(), up={"a": script}) as st:
            out = await st.ask("openai", request("openai", model=name))
        assert out.headers.get("set-cookie") is None
        value = out.headers.get("x-router-model") or ""
        assert value.startswith("x??set-cookie")
        assert len(value) <= headers.MAX_VALUE


def test_tags_as_a_header_value() -> None:
    assert headers.tag_header(["code", "pii"]) == "code,pii"
    assert headers.tag_header(["a,b", "c\r\nd", "ü", "e f"]) == "a_b,c__d,_,e_f"
