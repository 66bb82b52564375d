"""Configuration files of opensourcellmrouter 0.7.0, served as they are: each request goes where
that program would send it.

Only the addresses in them are replaced, by those of fakes; keys come from the environment that a
file names.
"""

import json
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from tests.e2e.scripts_sdks import CLIENTS
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import FakeModel, Said

pytestmark = pytest.mark.e2e
FOLDER = Path(__file__).parent.parent / "data" / "original"
TOOLS = [("get_time", "What time it is", {"type": "object", "properties": {}})]
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
OLLAMA = "http://localhost:11434"


class Place:
    """A running daemon, the fakes behind it by provider, and an OpenAI client of it."""

    def __init__(self, daemon, fakes, talk):
        self.daemon, self.fakes, self.talk = daemon, fakes, talk

    def went(self, model, words="hi", **more):
        """Where a request goes: (provider, the model it was asked for)."""
        for name, fake in self.fakes.items():
            fake.says(Said(f"from {name}"))
        heard = self.talk.ask(model, words, **more)
        ((name, asked),) = [(n, chat.json) for n, f in self.fakes.items() for chat in f.chats]
        assert heard.text == f"from {name}"
        told = self.talk.headers
        assert (told["x-router-provider"], told["x-router-model"]) == (name, asked["model"])
        assert told["x-router-attempts"] == "1"
        return name, asked["model"]

    @property
    def rule(self):
        return self.talk.headers["x-router-rule"]


@contextmanager
def served(file, folder, providers, env=None, key="none"):
    """providers: name -> (fake, the address in the file that it stands for)."""
    text = (FOLDER / file).read_text()
    with ExitStack() as stack:
        for fake, address in providers.values():
            assert text.count(address) == 1, address
            text = text.replace(address, stack.enter_context(fake).url)
        running = stack.enter_context(RunningDaemon(text, folder, "--port", "0", env=env))
        talk = CLIENTS["openai"](f"http://127.0.0.1:{running.port}", key)
        stack.callback(talk.close)
        yield Place(running, {name: fake for name, (fake, _) in providers.items()}, talk)


def fixture_of(file, providers, **more):
    """A fixture for one file; providers: name -> (format, address in the file, models)."""

    @pytest.fixture(scope="module")
    def place(tmp_path_factory):
        folder = tmp_path_factory.mktemp(file.removesuffix(".toml"))
        with served(file, folder, made(providers), **more) as running:
            running.folder = folder
            yield running

    return place


def made(providers):
    return {n: (FakeModel(fmt, *names), url) for n, (fmt, url, names) in providers.items()}


def test_every_file_is_served_here():
    files = {path.name for path in FOLDER.glob("*.toml")}
    assert files == {
        "everything.toml",
        "plugins.toml",
        "prefix-and-fallback.toml",
        "price-latency-throughput.toml",
        "random-candidates.toml",
        "tags.toml",
    }


# --- everything.toml: a key, a log, prefix, discover, fallback ------------------------------------

everything = fixture_of(
    "everything.toml",
    {
        "openai": ("openai", "https://api.openai.com", ("gpt-4o-mini", "gpt-4o")),
        "xai": ("openai", "https://api.x.ai", ("grok-3",)),
        "ollama": ("ollama", OLLAMA, ("llama3.1:8b",)),
    },
    env={"ROUTER_API_KEY": "secret-1", "OPENAI_API_KEY": "ok", "XAI_API_KEY": "xk"},
    key="secret-1",
)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("model", "where", "rule"),
    [
        ("grok-3", ("xai", "grok-3"), "routers[0]"),
        ("grok-unheard-of", ("xai", "grok-unheard-of"), "routers[0]"),
        ("llama3.1:8b", ("ollama", "llama3.1:8b"), "routers[1]"),
        ("gpt-4o", ("openai", "gpt-4o-mini"), "routers[2]"),
        ("no-such-model", ("openai", "gpt-4o-mini"), "routers[2]"),
    ],
)
def test_everything_routes_by_prefix_discovery_and_fallback(everything, model, where, rule, stream):
    assert everything.went(model, stream=stream) == where
    assert everything.rule.startswith(rule)


def test_everything_sends_each_provider_its_own_key(everything):
    for model, provider, key in (("grok-3", "xai", "xk"), ("gpt-4o", "openai", "ok")):
        everything.went(model)
        (chat,) = everything.fakes[provider].chats
        assert chat.headers["authorization"] == f"Bearer {key}"


def test_everything_wants_its_key(everything):
    url = f"http://127.0.0.1:{everything.daemon.port}"
    body = {"model": "grok-3", "messages": [{"role": "user", "content": "hi"}]}
    chat = f"{url}/v1/chat/completions"
    refused = httpx.post(chat, json=body, timeout=20)
    assert refused.status_code == 401
    assert refused.json()["error"]["message"].startswith("missing or invalid API key")
    assert httpx.post(f"{chat}?api_key=wrong", json=body, timeout=20).status_code == 401
    assert httpx.post(f"{chat}?api_key=secret-1", json=body, timeout=20).status_code == 200
    assert httpx.get(f"{url}/health", timeout=20).text == "ok"
    assert httpx.get(f"{url}/dashboard?api_key=secret-1", timeout=20).status_code in (200, 303)


def test_everything_logs_complete_events(tmp_path):
    providers = made({"ollama": ("ollama", OLLAMA, ("llama3.1:8b",))})
    env = {"ROUTER_API_KEY": "secret-1"}
    with served("everything.toml", tmp_path, providers, env=env, key="secret-1") as place:
        assert place.went("llama3.1:8b") == ("ollama", "llama3.1:8b")
        assert place.went("grok-3") == ("ollama", "gpt-4o-mini")  # xai and openai have no key
    first, second = map(json.loads, (tmp_path / "logs/requests.jsonl").read_text().splitlines())
    assert (first["type"], first["provider"]) == ("complete", "ollama")
    assert first["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert first["response"]["content"] == "from ollama"
    assert first["response"]["usage"] == {"input_tokens": 11, "output_tokens": 7}
    assert (second["requested_model"], second["sent_model"]) == ("grok-3", "gpt-4o-mini")


# --- prefix-and-fallback.toml ---------------------------------------------------------------------

PREFIXES = {
    "llamacpp": ("openai", "http://127.0.0.1:8080", ("llama3.2-3b",)),
    "claude": ("anthropic", "https://api.anthropic.com", ("claude-sonnet-5-5",)),
}
prefixes = fixture_of("prefix-and-fallback.toml", PREFIXES, env={"ANTHROPIC_API_KEY": "ak"})


@pytest.mark.parametrize(
    ("model", "where", "rule"),
    [
        ("claude-sonnet-5-5", ("claude", "claude-sonnet-5-5"), "routers[0]"),
        ("gpt-4", ("llamacpp", "llama3.2-3b"), "routers[1]"),
        ("other", ("claude", "llama3.2-3b"), "routers[2]"),  # 0.7 * 95 - 0.3 * 15 against 0
    ],
)
def test_prefix_and_fallback_route_by_prefix_and_by_quality_against_price(
    prefixes, model, where, rule
):
    assert prefixes.went(model) == where
    assert prefixes.rule.startswith(rule)
    if where[0] == "claude":
        (chat,) = prefixes.fakes["claude"].chats
        assert chat.headers["x-api-key"] == "ak"
        assert chat.json["max_tokens"] >= 4096


def test_prefix_and_fallback_pass_over_a_provider_without_its_key(tmp_path):
    providers = made({"llamacpp": PREFIXES["llamacpp"]})
    with served("prefix-and-fallback.toml", tmp_path, providers) as place:
        assert "ANTHROPIC_API_KEY" in place.daemon.log
        assert place.went("claude-sonnet-5-5") == ("llamacpp", "llama3.2-3b")
        assert place.rule.startswith("routers[2]")


# --- price-latency-throughput.toml ----------------------------------------------------------------

ranks = fixture_of(
    "price-latency-throughput.toml",
    {
        "slow-and-good": ("openai", "http://192.168.1.20:8000", ("big",)),
        "quick": ("ollama", f"{OLLAMA}/", ("small:1b",)),
    },
)


@pytest.mark.parametrize("model", ["small:1b", "big", "unheard-of"])
def test_price_takes_the_cheapest_with_the_model_as_asked(ranks, model):
    assert ranks.went(model) == ("quick", model)
    assert ranks.rule.startswith("routers[0]")


def test_after_the_cheap_and_the_quick_has_failed_throughput_names_the_other(ranks):
    """Price and latency leave it out by their limits; a throughput it declares."""
    ranks.fakes["slow-and-good"].says(Said("from the slow one"))
    ranks.fakes["quick"].does(lambda turn: turn.whole({"error": "CUDA error"}, 500))
    assert ranks.talk.ask("big", "hi").text == "from the slow one"
    assert ranks.rule.startswith("routers[2]")


def test_without_a_dashboard_there_is_none(ranks):
    assert httpx.get(f"{ranks.daemon.url}/dashboard", timeout=20).status_code == 404


# --- random-candidates.toml -----------------------------------------------------------------------

RANDOM = {
    "ollama": ("ollama", OLLAMA, ("llama3.1:8b", "gemma3:latest")),
    "workers-ai": ("openai", "https://api.cloudflare.com", ()),
}
LOCAL_TWO = {("ollama", "llama3.1:8b"), ("ollama", "gemma3:latest")}
CLOUD = ("workers-ai", "@cf/meta/llama-3.1-8b-instruct")
PATH = "/client/v4/accounts/0123456789abcdef/ai"


def test_random_takes_each_of_its_candidates_in_time(tmp_path):
    providers = made(RANDOM)
    providers["workers-ai"][0].prefix = PATH
    with served("random-candidates.toml", tmp_path, providers, {"CLOUDFLARE_API_TOKEN": "t"}) as at:
        went = [at.went("whatever") for _ in range(60)]
        assert set(went) == {*LOCAL_TWO, CLOUD}
        assert at.rule.startswith("routers[0]")


def test_random_passes_over_a_candidate_without_its_key(tmp_path):
    providers = made({"ollama": RANDOM["ollama"]})
    with served("random-candidates.toml", tmp_path, providers) as place:
        assert {place.went("whatever") for _ in range(40)} == LOCAL_TWO


# --- tags.toml ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tags(tmp_path_factory):
    names = ("deepseek-r1:latest", "llama3.1:8b", "blind:1b")
    fake = FakeModel("ollama", *names)
    fake.able = {"deepseek-r1:latest": ["completion", "thinking"], "blind:1b": ["completion"]}
    with served("tags.toml", tmp_path_factory.mktemp("tags"), {"ollama": (fake, OLLAMA)}) as place:
        yield place


@pytest.mark.parametrize(
    ("words", "model", "sent", "rule", "said"),
    [
        ("Please REFACTOR it", "llama3.1:8b", "deepseek-r1:latest", "routers[0]", "code"),
        ("look at the photo", "llama3.1:8b", "llama3.1:8b", "routers[1]", "vision"),
        ("a class of an image", "llama3.1:8b", "deepseek-r1:latest", "routers[0]", "code,vision"),
        ("look at the photo", "unheard-of", "unheard-of", "routers[1]", "vision"),
        ("hello", "llama3.1:8b", "llama3.1:8b", "routers[2]", None),
        ("hello", "deepseek-r1", "deepseek-r1:latest", "routers[2]", None),
    ],
)
def test_tags_route_by_the_words_of_the_request(tags, words, model, sent, rule, said):
    assert tags.went(model, words) == ("ollama", sent)
    assert tags.rule.startswith(rule)
    assert tags.talk.headers.get("x-router-request-tags") == said


def test_a_tag_is_passed_over_when_its_model_cannot_serve(tags):
    """deepseek-r1 has no tools, so the code goes to the model that was asked for."""
    assert tags.went("llama3.1:8b", "refactor it", tools=TOOLS) == ("ollama", "llama3.1:8b")
    assert tags.rule.startswith("routers[2]")


def test_a_model_that_nobody_has_or_that_cannot_see_is_refused(tags):
    with pytest.raises(openai.BadRequestError, match="no provider configured for model 'nope'"):
        tags.talk.ask("nope", "hello")
    with pytest.raises(openai.BadRequestError, match="vision"):
        tags.talk.ask("blind:1b", [tags.talk.user("hello", PNG)])


@pytest.mark.parametrize(
    ("answer", "tag"),
    [
        ("Sorry, I can't help with that.", "refusal"),
        ("Ich kann dabei nicht helfen", "refusal"),
        ("Sure", None),
    ],
)
def test_a_refusal_is_seen_in_the_answer(tags, answer, tag):
    tags.fakes["ollama"].says(Said(answer))
    tags.talk.ask("llama3.1:8b", "hello")
    assert tags.talk.headers.get("x-router-response-tags") == tag


# --- plugins.toml ---------------------------------------------------------------------------------

plugins = fixture_of(
    "plugins.toml",
    {
        "small": ("ollama", OLLAMA, ("llama3.1:8b",)),
        "large": ("openai", "http://gpu.local:8000", ("big",)),
    },
)


@pytest.mark.parametrize(
    ("tier", "provider"),
    [(None, "small"), ("low", "small"), ("medium", "small"), ("high", "large")],
)
def test_the_pareto_router_forces_the_first_provider_of_a_tier(plugins, tier, provider):
    asked = [{"id": "pareto-router"} | ({"tier": tier} if tier else {})]
    went = plugins.went("some-model", extra_body={"plugins": asked})
    assert went == (provider, "some-model")
    (chat,) = plugins.fakes[provider].chats
    assert "plugins" not in chat.json


def test_a_tier_that_is_not_configured_is_an_error_of_the_plugin(plugins):
    asked = {"plugins": [{"id": "pareto-router", "tier": "golden"}]}
    with pytest.raises(openai.InternalServerError, match="plugin 'pareto-router' failed"):
        plugins.talk.ask("some-model", "hi", extra_body=asked)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_that_is_nearly_json_is_healed(plugins, stream):
    plugins.fakes["small"].says(Said('Here it is:\n```json\n{"a": [1, 2,],}\n```'))
    heard = plugins.talk.ask("some-model", "json, please", stream=stream)
    assert json.loads(heard.text) == {"a": [1, 2]}
