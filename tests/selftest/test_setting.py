from llmrouterd.config import Config, parse
from llmrouterd.selftest.faults import FAULTS, HEALTHY, named
from llmrouterd.selftest.setting import LONG, SHORT, SUBJECTS, setting

URL, NOBODY = "http://127.0.0.1:1", "http://127.0.0.1:2"
OWN = """
[server]
api_key_env = "ROUTER_KEY"
max_body_bytes = 4096
[logging]
enabled = true
path = "somewhere"
[[providers]]
name = "cloud"
format = "openai"
base_url = "https://api.openai.com/v1"
api_key_env = "CLOUD_KEY"
headers = { "X-Team" = "red-team" }
http_proxy = "http://user:pass@proxy.example:3128"
max_retries = 3
[[providers]]
name = "box"
format = "ollama"
base_url = "http://box.example:11434"
options = { num_ctx = 8192 }
total_timeout = 60
[[providers]]
name = "twin"
format = "ollama"
base_url = "http://twin.example:11434"
options = { num_ctx = 8192 }
total_timeout = 60
[[providers]]
name = "other"
format = "responses"
base_url = "http://other.example/v1"
[plugins.response-healing]
enabled = true
[plugins.pareto-router]
enabled = true
[plugins.mine]
path = "mine.py"
enabled = true
[classifiers.mine]
path = "mine.py"
[classifiers.structure]
enabled = true
"""
ENVIRON = {"ROUTER_KEY": "sesame", "CLOUD_KEY": "sk-cloud"}


def own(text: str = OWN) -> Config:
    return parse(text, "own.toml", ENVIRON)


def test_nobody_but_the_upstream_is_asked_and_no_secret_is_left():
    made = setting(own(), URL, NOBODY).config
    for provider in made.providers:
        assert provider.base_url.startswith((URL, NOBODY))
        secrets = provider.key, provider.keys, provider.headers, provider.http_proxy
        assert not any(secrets)
    assert made.server.api_key is None
    assert not any((made.clients, made.logging.enabled, made.images.fetch_hosts))
    assert (made.server.hosts, made.server.port) == (("127.0.0.1",), 0)


def test_the_owners_ways_stay():
    made = setting(own(), URL, NOBODY)
    providers = {p.name: p for p in made.config.providers}
    assert providers["box"].options == {"num_ctx": 8192}
    assert providers["cloud"].dialect == own().providers[0].dialect
    assert made.config.server.max_body_bytes == 4096
    assert set(made.config.plugins) == {"response-healing"}
    assert set(made.config.classifiers) == {"structure"}


def test_each_case_stands_for_itself():
    for provider in setting(own(), URL, NOBODY).config.providers:
        assert (provider.max_retries, provider.circuit_failures) == (0, 0)
        assert provider.clocks == (SHORT if "hasty" in provider.name else LONG)


def test_who_differs_in_nothing_is_tried_once_and_it_is_said():
    mute = '[[providers]]\nname = "mute"\nformat = "echo"\n'
    made = setting(own(OWN + mute), URL, NOBODY)
    assert [subject.name for subject in made.subjects] == ["cloud", "box", "other"]
    notes = "\n".join(made.notes)
    assert "twin is tried as box" in notes
    assert "mute is not tried" in notes
    assert "response-healing" in notes
    assert "no total_timeout in the file, so that nothing ends by it: cloud, other" in notes


def test_a_file_of_which_nothing_can_be_tried_is_not_called_good():
    made = setting(own('[[providers]]\nname = "e"\nformat = "echo"\n'), URL, NOBODY)
    assert [subject.format for subject in made.subjects] == ["openai", "anthropic", "ollama"]
    assert "made up" in "\n".join(made.notes)


def test_more_than_can_be_tried_in_time_are_named():
    entry = '[[providers]]\nname = "p{0}"\nformat = "ollama"\noptions = {{ num_ctx = {0}024 }}\n'
    entry += 'base_url = "http://p{0}.example:1"\n'
    made = setting(own("".join(entry.format(at) for at in range(1, SUBJECTS + 3))), URL, NOBODY)
    assert len(made.subjects) == SUBJECTS
    assert any(f"p{SUBJECTS + 1}, p{SUBJECTS + 2}" in note for note in made.notes)


def test_every_fault_has_a_name_to_ask_for_alone_and_with_another_one():
    made = setting(None, URL, NOBODY)
    aliases = made.config.routing.aliases
    assert len(aliases) == 2 * len(made.subjects) * len(FAULTS)
    subject = made.subjects[0]
    alone, both = (aliases[subject.model("html", alone=each)] for each in (True, False))
    assert alone == ("openai/html",)
    assert both == ("openai/html", f"selftest-healthy-anthropic/{HEALTHY}")
    assert subject.asked(named("refused")) == "selftest-nobody-openai"
    assert subject.asked(named("slow-head")) == "selftest-hasty-openai"
