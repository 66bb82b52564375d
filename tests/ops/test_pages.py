"""Every path, and the shape of every answer that is not a chat."""

import json

import pytest

from formats.errors import Failure
from llmrouterd.config import Config, Server
from llmrouterd.model import Headers, ModelInfo, Provider, ProviderState, Routing, Secret
from llmrouterd.observe.feed import Feed
from llmrouterd.ops.pages import canonical_path, format_of, refuse, tags_of
from llmrouterd.pipeline.admit import Admission
from tests.ops.stage import HERE, ask, pages_of, states_of

ECHO = (Provider("echo", "echo"),)
ANTHROPIC = ("anthropic-version", "2023-06-01")
CHAT = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}).encode()
MESSAGES = json.dumps(
    {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
).encode()
OLLAMA = json.dumps(
    {"model": "echo", "stream": False, "messages": [{"role": "user", "content": "hi"}]}
).encode()


def shape_of(body: dict) -> str:
    """Whose error shape this is."""
    if isinstance(body.get("error"), str):
        return "ollama"
    if body.get("type") == "error" and set(body["error"]) >= {"type", "message"}:
        return "anthropic"
    assert {"message", "type"} <= set(body["error"]), body
    return "openai"


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/", "/"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/responses", "/v1/responses"),
        ("/api/chat", "/api/chat"),
        ("/api/chat/", "/api/chat"),
        ("/dashboard/", "/dashboard"),
    ],
)
def test_one_spelling_for_what_clients_spell_differently(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/chat/completions", CHAT, ["choices", 0, "message", "content"]),
        ("/chat/completions", CHAT, ["choices", 0, "message", "content"]),
        ("/v1/v1/chat/completions", CHAT, ["choices", 0, "message", "content"]),
        ("/v1/messages", MESSAGES, ["content", 0, "text"]),
        ("/messages", MESSAGES, ["content", 0, "text"]),
        ("/v1/v1/messages?beta=true", MESSAGES, ["content", 0, "text"]),
        ("/api/chat", OLLAMA, ["message", "content"]),
    ],
)
async def test_a_chat_is_answered_in_every_spelling_of_its_path(
    path: str, body: bytes, words: list
) -> None:
    said = await ask(pages_of().answer, "POST", path, body=body)
    assert said.status == 200
    found = said.json
    for step in words:
        found = found[step]
    assert found == "hi"


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "shape"),
    [
        ("GET", "/nothing", 404, "not_found", "openai"),
        ("POST", "/v1/nothing", 404, "not_found", "openai"),
        ("GET", "/v1/messages/nothing", 404, "not_found", "anthropic"),
        ("GET", "/api/nothing", 404, "not_found", "ollama"),
        ("HEAD", "/api/hello", 404, "not_found", ""),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed", "openai"),
        ("PUT", "/v1/messages", 405, "method_not_allowed", "anthropic"),
        ("DELETE", "/api/chat", 405, "method_not_allowed", "ollama"),
        ("POST", "/v1/models", 405, "method_not_allowed", "openai"),
        ("POST", "/api/tags", 405, "method_not_allowed", "ollama"),
        ("POST", "/health", 405, "method_not_allowed", "openai"),
        ("POST", "/v1/responses", 400, "bad_request", "openai"),
        ("GET", "/v1/responses", 405, "method_not_allowed", "openai"),
        ("GET", "/v1/responses/resp_1", 404, "not_found", "openai"),
        ("POST", "/v1/responses/resp_1", 405, "method_not_allowed", "openai"),
        ("POST", "/v1/embeddings", 400, "bad_request", "openai"),
        ("POST", "/completions", 400, "bad_request", "openai"),
        ("POST", "/api/generate", 400, "bad_request", "ollama"),
        ("GET", "/api/embed", 405, "method_not_allowed", "ollama"),
        ("POST", "/api/embeddings", 400, "bad_request", "ollama"),
        ("GET", "/v1/messages/count_tokens", 405, "method_not_allowed", "anthropic"),
        ("POST", "/v1/messages/count_tokens", 400, "bad_request", "anthropic"),
        ("GET", "/api/show", 405, "method_not_allowed", "ollama"),
        ("POST", "/api/show", 400, "bad_request", "ollama"),
        ("DELETE", "/api/delete", 403, "forbidden", "ollama"),
        ("POST", "/api/delete", 405, "method_not_allowed", "ollama"),
        ("GET", "/metrics", 404, "not_found", "openai"),
        ("GET", "/v1/models/llama3", 404, "model_not_found", "openai"),
        ("GET", "/models/llama3", 404, "model_not_found", "openai"),
        ("POST", "/v1/models/llama3", 405, "method_not_allowed", "openai"),
        ("POST", "/api/blobs/sha256:0", 501, "not_available", "ollama"),
        ("GET", "/dashboard", 404, "not_found", "openai"),
    ],
)
async def test_an_error_has_the_shape_of_the_paths_client_format(
    method: str, path: str, status: int, kind: str, shape: str
) -> None:
    said = await ask(pages_of().answer, method, path)
    assert (said.status, said.get("x-router-error")) == (status, kind)
    assert said.get("content-type") == "application/json"
    if method == "HEAD":
        assert said.body == b""
    else:
        assert shape_of(said.json) == shape


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/chat/completions", "POST"),
        ("/v1/messages", "POST"),
        ("/api/chat", "POST"),
        ("/v1/models", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/dashboard", "GET, HEAD, POST"),
        ("/dashboard/events", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(path: str, allow: str) -> None:
    said = await ask(pages_of(feed=Feed()).answer, "PATCH", path)
    assert (said.status, said.get("allow")) == (405, allow)


async def test_the_event_stream_is_not_begun_for_a_head_request() -> None:
    """It would never end."""
    said = await ask(pages_of(feed=Feed()).answer, "HEAD", "/dashboard/events")
    assert said.status == 405


async def test_the_path_decides_the_shape_and_only_then_the_version_header() -> None:
    answer = pages_of().answer
    assert shape_of((await ask(answer, "POST", "/v1/models", ANTHROPIC)).json) == "anthropic"
    assert shape_of((await ask(answer, "GET", "/v1/nothing", ANTHROPIC)).json) == "anthropic"
    said = await ask(answer, "GET", "/v1/chat/completions", ANTHROPIC)
    assert shape_of(said.json) == "openai"
    assert shape_of((await ask(answer, "GET", "/api/nothing", ANTHROPIC)).json) == "ollama"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/messages"])
async def test_a_web_socket_is_refused_so_that_the_client_falls_back(path: str) -> None:
    upgrade = [("upgrade", "websocket"), ("connection", "Upgrade")]
    said = await ask(pages_of().answer, "GET", path, *upgrade)
    assert (said.status, said.get("x-router-error")) == (426, "upgrade_refused")
    assert said.get("upgrade") == "HTTP/1.1"
    assert shape_of(said.json) == ("anthropic" if "messages" in path else "openai")


async def test_a_post_that_offers_http2_is_answered_as_it_is() -> None:
    """Java's HttpClient sends `Upgrade: h2c` with everything."""
    h2c = [("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings"), ("http2-settings", "AA")]
    said = await ask(pages_of().answer, "POST", "/v1/chat/completions", *h2c, body=CHAT)
    assert said.status == 200


def test_the_edges_own_refusals_have_the_shape_of_the_path() -> None:
    for path, shape in [
        ("", "openai"),
        ("/v1/messages?beta=true", "anthropic"),
        ("/api/chat", "ollama"),
        ("/v1/v1/messages", "anthropic"),
    ]:
        status, fields, body = refuse(path, Failure("too_large", "too large"))
        assert (status, shape_of(json.loads(body))) == (413, shape), path
        assert ("x-router-error", "too_large") in fields
        assert "retry-after" not in dict(fields)
        for kind, wanted in (("too_slow", 408), ("http_version", 505), ("not_available", 501)):
            assert refuse(path, Failure(kind, "no"))[0] == wanted, path  # type: ignore[arg-type]
    assert ("retry-after", "1") in refuse("/", Failure("draining", "ending"))[1]


def test_every_chat_path_names_its_format() -> None:
    assert format_of("/chat/completions") == "openai"
    assert format_of("/messages") == "anthropic"
    assert format_of("/api/chat") == "ollama"
    assert format_of("/v1/models") == "openai"
    assert format_of("/v1/models", headers_name_anthropic=True) == "anthropic"


# --- who comes in ---------------------------------------------------------------------------------

KEYED = Config(Server(api_key=Secret("s3cret")), providers=ECHO)


@pytest.mark.parametrize(
    "path",
    ["/", "/ready", "/v1/models", "/api/tags", "/api/version", "/dashboard", "/dashboard/events"],
)
async def test_everything_but_health_needs_the_key(path: str) -> None:
    answer = pages_of(KEYED, feed=Feed()).answer
    assert (await ask(answer, "GET", "/health")).status == 200
    said = await ask(answer, "GET", path)
    assert (said.status, said.get("x-router-error")) == (401, "unauthorized")
    if path != "/dashboard/events":
        assert (await ask(answer, "GET", path, ("x-router-key", "s3cret"))).status == 200


async def test_a_chat_without_the_key_is_refused_in_its_own_shape() -> None:
    answer = pages_of(KEYED).answer
    for path, body, shape in [
        ("/v1/chat/completions", CHAT, "openai"),
        ("/v1/messages", MESSAGES, "anthropic"),
        ("/api/chat", OLLAMA, "ollama"),
    ]:
        said = await ask(answer, "POST", path, ("authorization", "Bearer no"), body=body)
        assert (said.status, shape_of(said.json)) == (401, shape)
        assert b"s3cret" not in said.body
        good = await ask(answer, "POST", path, ("authorization", "Bearer s3cret"), body=body)
        assert good.status == 200


async def test_a_path_that_is_not_there_is_not_told_to_strangers() -> None:
    assert (await ask(pages_of(KEYED).answer, "GET", "/nothing")).status == 401


async def test_the_cookie_opens_the_dashboard_and_nothing_else() -> None:
    answer = pages_of(KEYED, feed=Feed()).answer
    cookie = ("cookie", "llmrouter_key=s3cret")
    assert (await ask(answer, "GET", "/dashboard", cookie)).status == 200
    assert (await ask(answer, "GET", "/v1/models", cookie)).status == 401
    assert (await ask(answer, "POST", "/v1/chat/completions", cookie, body=CHAT)).status == 401


async def test_the_cookie_is_a_key_for_what_the_page_itself_sends() -> None:
    """SameSite lets another port of this machine through, so the origin has to be the very same."""
    answer = pages_of(KEYED, feed=Feed()).answer
    cookie = ("cookie", "llmrouter_key=s3cret")
    own = ("origin", f"http://{HERE[1]}")
    body = json.dumps({"name": "echo", "paused": False}).encode()
    for path, sent in (("/dashboard/api/provider", body), ("/dashboard/api/chat/api/chat", OLLAMA)):
        assert (await ask(answer, "POST", path, cookie, own, body=sent)).status == 200
        assert (await ask(answer, "POST", path, cookie, body=sent)).status == 401
        for other in ("http://127.0.0.1:9999", "null", "http://evil.example"):
            said = await ask(answer, "POST", path, cookie, ("origin", other), body=sent)
            assert said.status == 403
    said = await ask(answer, "POST", "/v1/chat/completions", cookie, own, body=CHAT)
    assert said.status == 401
    trusted = Config(
        Server(api_key=KEYED.server.api_key, cors_origins=("https://app.example",)), providers=ECHO
    )
    app = ("origin", "https://app.example")  # the owner lets it in, with a key of its own
    answer = pages_of(trusted, feed=Feed()).answer
    path = "/dashboard/api/provider"
    assert (await ask(answer, "POST", path, cookie, app, body=body)).status == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES), ("/api/chat", OLLAMA)],
)
async def test_the_playground_is_the_real_thing(path: str, body: bytes) -> None:
    feed = Feed()
    answer = pages_of(feed=feed).answer
    said = await ask(answer, "POST", f"/dashboard/api/chat{path}", body=body)
    plain = await ask(answer, "POST", path, body=body)
    assert (said.status, said.json.keys()) == (200, plain.json.keys())
    told = [json.loads(entry.text()) for entry in feed.since(0)]
    assert [e["endpoint"] for e in told if e["type"] == "complete"] == [path, path]


async def test_the_playground_sends_nothing_but_chats() -> None:
    answer = pages_of(feed=Feed()).answer
    for path in ("/v1/embeddings", "/v1/models", "", "/dashboard/api/chat/v1/messages"):
        said = await ask(answer, "POST", f"/dashboard/api/chat{path}", body=CHAT)
        assert said.status == 404
    assert (await ask(pages_of().answer, "POST", "/dashboard/api/chat/v1/messages")).status == 404


async def test_a_foreign_host_is_refused_on_every_path() -> None:
    answer = pages_of(feed=Feed()).answer
    for path in ("/health", "/v1/models", "/dashboard", "/nothing"):
        said = await ask(answer, "GET", path, ("Host", "evil.example"), host=False)
        assert (said.status, said.get("x-router-error")) == (403, "forbidden")


async def test_cors_is_off_until_an_origin_is_listed() -> None:
    app = ("origin", "https://app.example")
    wants = ("access-control-request-method", "POST")
    closed = pages_of().answer
    listed = pages_of(Config(Server(cors_origins=(app[1],)), providers=ECHO)).answer
    for method, more in (("GET", ()), ("OPTIONS", (wants,))):
        said = await ask(closed, method, "/v1/models", app, *more)
        assert said.status == 403
        assert not any(name.startswith("access-control") for name, _ in said.headers)
    said = await ask(listed, "OPTIONS", "/v1/chat/completions", app, wants)
    assert (said.status, said.get("access-control-allow-origin")) == (204, app[1])
    for path, body in [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)]:
        said = await ask(listed, "POST", path, app, body=body)
        assert (said.status, said.get("access-control-allow-origin")) == (200, app[1])
        said = await ask(listed, "POST", path, app, body=b"{")
        assert (said.status, said.get("access-control-allow-origin")) == (400, app[1])
    said = await ask(listed, "GET", "/nothing", app)
    assert (said.status, said.get("access-control-allow-origin")) == (404, app[1])


async def test_options_without_a_pre_flight_says_what_there_is() -> None:
    said = await ask(pages_of().answer, "OPTIONS", "/v1/models")
    assert (said.status, said.get("allow")) == (204, "GET, HEAD, POST, OPTIONS")


# --- pages ----------------------------------------------------------------------------------------


async def test_ollama_clients_find_the_sentence_they_look_for() -> None:
    answer = pages_of().answer
    assert (await ask(answer, "GET", "/")).body == b"Ollama is running"
    said = await ask(answer, "HEAD", "/")
    assert (said.status, said.body, said.get("content-length")) == (200, b"", "17")


async def test_health_is_ok() -> None:
    assert (await ask(pages_of().answer, "GET", "/health")).body == b"ok"


async def test_ready_says_who_can_be_asked() -> None:
    states = states_of({"a": (ModelInfo("m"), ModelInfo("n")), "b": None})
    said = await ask(pages_of(states=states).answer, "GET", "/ready")
    assert said.status == 200
    assert said.json == {
        "ready": True,
        "draining": False,
        "in_flight": 0,
        "providers": {
            "a": {"healthy": True, "reached": None, "models": 2, "why": None},
            "b": {"healthy": True, "reached": None, "models": None, "why": None},
        },
    }


async def test_not_ready_when_nobody_is_healthy() -> None:
    sick = ProviderState(Provider("a", "openai"), healthy=False, why="its key was refused")
    said = await ask(pages_of(states={"a": sick}).answer, "GET", "/ready")
    assert (said.status, said.json["ready"]) == (503, False)
    assert said.json["providers"]["a"]["why"] == "its key was refused"


async def test_not_ready_when_nobody_answers_and_ready_when_nobody_was_asked() -> None:
    """Who was never asked may well answer: a provider with a list of its own, a cloud."""

    async def status(*reached: bool | None) -> int:
        states = {
            str(n): ProviderState(Provider(str(n), "openai"), reached=each)
            for n, each in enumerate(reached)
        }
        return (await ask(pages_of(states=states).answer, "GET", "/ready")).status

    assert await status(None) == 200
    assert await status(False, True) == 200
    assert await status(False, None) == 200
    assert await status(False, False) == 503
    assert await status() == 503


async def test_not_ready_while_nobody_counts_what_is_limited() -> None:
    class Away(Admission):
        away = True

    pages = pages_of()
    pages._daemon.admission, pages._daemon.in_flight_elsewhere = Away(), 2
    said = await ask(pages.answer, "GET", "/ready")
    assert (said.status, said.json["in_flight"]) == (503, 2)


async def test_not_ready_while_it_drains_but_in_good_health() -> None:
    pages = pages_of()
    assert (await ask(pages.answer, "GET", "/ready")).json["draining"] is False
    pages._daemon.draining = True
    said = await ask(pages.answer, "GET", "/ready")
    assert (said.status, said.json["ready"], said.json["draining"]) == (503, False, True)
    assert (await ask(pages.answer, "GET", "/health")).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/v1/models", "/api/tags", "/api/version", "/dashboard"]
)
async def test_head_is_get_without_the_body(path: str) -> None:
    answer = pages_of(feed=Feed()).answer
    got = await ask(answer, "GET", path)
    head = await ask(answer, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-length", "cache-control", "content-security-policy"):
        assert head.get(name) == got.get(name)
    assert head.get("content-length") == str(len(got.body))


async def test_the_version_is_one_that_codex_accepts() -> None:
    said = await ask(pages_of().answer, "GET", "/api/version")
    assert tuple(map(int, said.json["version"].split("."))) >= (0, 13, 4)


FLEET = states_of({"a": (ModelInfo("m"), ModelInfo("n")), "b": (ModelInfo("m"),), "c": None})
ALIASED = Config(providers=ECHO, routing=Routing(aliases={"small": ("a/m",)}, implicit=True))


async def test_models_are_listed_in_openais_shape() -> None:
    said = await ask(pages_of(ALIASED, FLEET).answer, "GET", "/v1/models")
    assert said.json["object"] == "list"
    assert [(m["id"], m["object"], m["owned_by"]) for m in said.json["data"]] == [
        ("small", "model", "llmrouter"),
        ("m", "model", "a"),
        ("n", "model", "a"),
    ]
    assert all(isinstance(m["created"], int) for m in said.json["data"])


async def test_models_are_listed_in_anthropics_shape_when_its_version_is_sent() -> None:
    said = await ask(pages_of(ALIASED, FLEET).answer, "GET", "/v1/models?limit=20", ANTHROPIC)
    body = said.json
    assert [m["id"] for m in body["data"]] == ["small", "m", "n"]
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "small", "n")
    assert {m["type"] for m in body["data"]} == {"model"}
    assert all(m["display_name"] and m["created_at"].endswith("Z") for m in body["data"])
    empty = await ask(pages_of(states=states_of({"a": None})).answer, "GET", "/models", ANTHROPIC)
    assert empty.json == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_tags_tell_what_is_known_of_each_model() -> None:
    able = frozenset({"completion", "tools"})
    infos = (ModelInfo("m", able, 4096, "llama", 1234), ModelInfo("n"))
    said = await ask(pages_of(states=states_of({"a": infos})).answer, "GET", "/api/tags")
    first, second = said.json["models"]
    assert (first["name"], first["model"], first["size"]) == ("m", "m", 1234)
    assert first["details"]["families"] == ["llama"]
    assert first["capabilities"] == ["completion", "tools"]
    assert second["capabilities"] == ["completion", "tools"]
    assert second["details"]["families"] == []


async def test_two_models_never_have_one_digest() -> None:
    """The llm tool takes two tags with one digest for one model."""
    states = states_of({"a": (ModelInfo("m"), ModelInfo("n"))})
    models = (await ask(pages_of(states=states).answer, "GET", "/api/tags")).json["models"]
    assert len({m["digest"] for m in models}) == 2
    assert all(len(m["digest"]) == 64 for m in models)


async def test_a_clients_wish_reaches_the_routing() -> None:
    answer = pages_of().answer
    wish = ("x-router-provider", "echo")
    said = await ask(answer, "POST", "/v1/chat/completions", wish, body=CHAT)
    assert said.get("x-router-provider") == "echo"
    assert said.get("x-router-rule") == "X-Router-Provider"


def test_the_tags_a_client_gives_its_own_request() -> None:
    fields = Headers([(b"x-router-tags", b"pii, code ,,"), (b"x-router-tags", b"late")])
    assert tags_of(fields) == ("pii", "code", "late")
    assert tags_of(Headers()) == ()
    for coding in ("utf-8", "latin-1"):
        assert tags_of(Headers([(b"x-router-tags", "stra\u00dfe".encode(coding))])) == (
            "stra\u00dfe",
        )


@pytest.mark.parametrize(
    "tags",
    [",".join(f"t{n}" for n in range(33)), "y" * 65, "pii,a\x85b"],
    ids=["many", "long", "odd"],
)
async def test_a_tag_that_cannot_be_taken_is_refused_and_not_left_out(tags: str) -> None:
    """It may be the one that keeps the request here."""
    field = ("x-router-tags", tags)
    said = await ask(pages_of().answer, "POST", "/v1/chat/completions", field, body=CHAT)
    assert said.status == 400
    assert "X-Router-Tags" in said.json["error"]["message"]


async def test_a_clients_tags_reach_the_routing() -> None:
    answer = pages_of().answer
    said = await ask(
        answer, "POST", "/v1/chat/completions", ("x-router-tags", "batch,code"), body=CHAT
    )
    assert said.get("x-router-request-tags") == "batch,code"


async def test_a_provider_is_left_out_and_asked_again() -> None:
    answer = pages_of().answer

    async def pause(body: bytes):
        return await ask(answer, "POST", "/dashboard/api/provider", body=body)

    told = await pause(b'{"name": "echo", "paused": true}')
    assert told.json == {"name": "echo", "paused": True, "in_flight": 0, "stale_s": 0.0}
    said = await ask(answer, "POST", "/v1/chat/completions", body=CHAT)
    assert said.status == 503
    assert "paused by the operator" in said.json["error"]["message"]
    await pause(b'{"name": "echo", "paused": false}')
    assert (await ask(answer, "POST", "/v1/chat/completions", body=CHAT)).status == 200
    assert (await pause(b'{"name": "x", "paused": true}')).status == 404
    assert (await pause(b'{"name": "echo", "paused": 1}')).status == 400
