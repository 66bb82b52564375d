"""A configuration made ready: origins, paths, plugins; whole or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmrouterd import classifiers, plugins
from llmrouterd.config import Config, Server
from llmrouterd.edge.pool import Origin
from llmrouterd.hooks import Kept
from llmrouterd.model import ConfigError, Provider, Routing
from llmrouterd.ops.generation import build, kept_answers, upstream
from llmrouterd.plugins import BUILTIN


@pytest.mark.parametrize(
    ("base_url", "origin", "path"),
    [
        ("http://127.0.0.1:11434", Origin("http", "127.0.0.1", 11434), ""),
        ("http://localhost/v1", Origin("http", "localhost", 80), "/v1"),
        ("https://api.example/v1", Origin("https", "api.example", 443), "/v1"),
        ("https://api.example:8443/a/b/", Origin("https", "api.example", 8443), "/a/b"),
        ("http://[::1]:8080/v1", Origin("http", "::1", 8080), "/v1"),
    ],
)
def test_where_connections_go_and_what_stands_before_every_path(
    base_url: str, origin: Origin, path: str
) -> None:
    assert upstream(Provider("p", "openai", base_url)) == (origin, path)


def test_a_providers_proxy_and_certificates_belong_to_its_origin() -> None:
    p = Provider("p", "openai", "https://a.example/v1", ca_file="/c.pem", http_proxy="http://x:1")
    origin, _ = upstream(p)
    assert (origin.ca_file, origin.proxy) == ("/c.pem", "http://x:1")


def test_a_generation_holds_what_requests_need() -> None:
    config = Config(
        server=Server(life_sign=3),
        providers=(Provider("e", "echo"), Provider("o", "ollama", "http://127.0.0.1:1")),
        routing=Routing(implicit=True),
    )
    gen = build(config, 4, "agent/1")
    assert (gen.number, gen.life_sign_s, gen.user_agent) == (4, 3, "agent/1")
    assert list(gen.providers) == ["e", "o"]
    assert list(gen.upstreams) == ["o"]  # an echo has no address
    assert gen.routing is config.routing


def test_only_enabled_classifiers_run_and_every_plugin_can_be_asked_for() -> None:
    config = Config(
        providers=(Provider("e", "echo"),),
        classifiers={"keyword": {"enabled": True, "tags": {"code": ["rust"]}}},
        response_classifiers={"refusal": {"enabled": False}},
        plugins={"response-healing": {"enabled": True}},
    )
    gen = build(config, 1, "t")
    assert [c.id for c in gen.classifiers] == ["keyword"]
    assert gen.classifiers[0].settings == {"tags": {"code": ["rust"]}}
    assert gen.response_classifiers == ()
    enabled = {p.id: p.enabled for p in gen.plugins.values()}
    assert enabled == {name: name == "response-healing" for name in BUILTIN}


def test_the_settings_of_a_plugin_that_is_off_are_there_for_requests_that_ask_for_it() -> None:
    tiers = {"low": ["e"], "medium": ["e"]}
    config = Config(
        providers=(Provider("e", "echo"),),
        plugins={"pareto-router": {"enabled": False, "tiers": tiers}},
    )
    installed = build(config, 1, "t").plugins["pareto-router"]
    assert (installed.enabled, installed.settings) == (False, {"tiers": tiers})


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(settings: object) -> object:
        raise ValueError("these settings cannot be")

    monkeypatch.setitem(plugins.BUILTIN, "pareto-router", refusing)
    monkeypatch.setitem(classifiers.BUILTIN, "keyword", refusing)
    config = Config(
        providers=(Provider("e", "echo"),),
        classifiers={"keyword": {"enabled": True}},
        plugins={"pareto-router": {"enabled": True}},
    )
    with pytest.raises(ConfigError) as wrong:
        build(config, 1, "t")
    assert wrong.value.problems == (
        "plugins.pareto-router: these settings cannot be",
        "classifiers.keyword: these settings cannot be",
    )


def test_what_the_cache_holds_is_told_by_the_metrics_names() -> None:
    gen = build(Config(providers=(Provider("e", "echo"),)), 1, "t")
    assert kept_answers(gen) == {"llmrouter_cache_entries": 0, "llmrouter_cache_bytes": 0}
    cache = gen.plugins["cache"].hook
    cache.store.put(b"k", Kept(b"12345", stream=False, provider="e", model="m"), 0.0)
    assert kept_answers(gen) == {"llmrouter_cache_entries": 1, "llmrouter_cache_bytes": 1029}
    assert kept_answers(replace(gen, plugins={})) == {}


OWN = "from llmrouterd.hooks import Plugin\nclass Mine(Plugin):\n    def __init__(self, settings):\n        self.settings = settings\n"
TAGS = "class Mine:\n    async def classify(self, request, {}ctx):\n        return []\n"


def test_the_owners_files_are_extensions_like_others(tmp_path: Path) -> None:
    for name, text in (("p", OWN), ("c", TAGS.format("")), ("r", TAGS.format("response, "))):
        (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / f"{name}.py").chmod(0o600)
    table = {"enabled": True, "timeout": 2.0, "x": 1}
    config = Config(
        providers=(Provider("e", "echo"),),
        plugins={"mine": {**table, "path": str(tmp_path / "p.py")}},
        classifiers={"mine": {**table, "path": str(tmp_path / "c.py")}},
        response_classifiers={"mine": {**table, "path": str(tmp_path / "r.py")}},
    )
    gen = build(config, 1, "t")
    plugin, classifier = gen.plugins["mine"], gen.classifiers[0]
    assert (plugin.id, plugin.enabled, plugin.timeout_s, plugin.settings) == (
        *("mine", True, 2.0),
        {"x": 1},
    )
    assert plugin.hook.settings == {"x": 1}
    assert (classifier.id, classifier.timeout_s, classifier.settings) == ("mine", 2.0, {"x": 1})
    assert gen.response_classifiers[0].id == "mine"


def test_what_is_wrong_with_an_owners_file_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(OWN + "    nonsense()\n")
    (tmp_path / "p.py").chmod(0o600)
    config = Config(
        providers=(Provider("e", "echo"),),
        plugins={"mine": {"enabled": False, "path": str(tmp_path / "p.py")}},
    )
    with pytest.raises(ConfigError) as wrong:
        build(config, 1, "t")
    (said,) = wrong.value.problems
    assert said.startswith(f"plugins.mine: {tmp_path}/p.py:5: while it was loaded: NameError")
