"""From a file to a configuration, or to all that is wrong with it."""

import contextlib
import importlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.config import Config, load, overridden, parse
from llmrouterd.config.server import is_loopback
from llmrouterd.model import ConfigError, Secret

DATA = Path(__file__).parent.parent / "data" / "original"
ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
KEYS = {"ROUTER_API_KEY": "r", "OPENAI_API_KEY": "o", "XAI_API_KEY": "x"}


def problems(text: str, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.toml", environ or {})
    return caught.value.problems


# ---- files of the original -----------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(DATA.glob("*.toml")), ids=lambda f: f.stem)
def test_a_file_of_the_original_loads(file: Path) -> None:
    config = load(file, KEYS)
    assert config.providers
    assert config.routing.rules
    assert not config.routing.implicit


@pytest.mark.parametrize("file", sorted(DATA.glob("*.toml")), ids=lambda f: f.stem)
def test_a_file_of_the_original_can_be_served(file: Path) -> None:
    """What the extensions ask of their settings is no more than what the loader lets through."""
    build = importlib.import_module("llmrouterd.ops.generation").build
    config = load(file, KEYS)
    assert set(build(config, 1, "test").providers) == {each.name for each in config.providers}


def original(name: str, environ: dict[str, str] | None = None) -> Config:
    return load(DATA / f"{name}.toml", KEYS if environ is None else environ)


def test_what_the_original_ignored_is_ignored_with_a_warning() -> None:
    config = original("plugins")
    assert set(config.plugins) == {"response-healing", "pareto-router", "pdf"}
    assert [w.split(": ", 2)[1] for w in config.warnings] == [
        "plugins.my-own",
        "classifiers.sentiment",
    ]
    assert config.plugins["pareto-router"]["tiers"]["medium"] == ["small", "large"]
    assert config.plugins["response-healing"] == {"enabled": True}


def test_defaults_of_the_original_hold() -> None:
    config = original("prefix-and-fallback")
    assert (config.server.hosts, config.server.port) == (("127.0.0.1",), 8090)
    assert not config.logging.enabled
    assert config.server.api_key is None
    assert config.providers[0].base_url == "http://127.0.0.1:8080/v1"
    assert (config.providers[0].quality, config.providers[0].latency_ms) == (0, None)
    assert [name for name, _ in config.skipped] == ["claude"]


def test_settings_of_classifiers_arrive_whole() -> None:
    config = original("tags")
    assert config.classifiers["keyword"]["tags"]["vision"] == ["image", "photo"]
    assert config.response_classifiers["refusal"]["enabled"]


def test_key_logging_and_skipped_providers() -> None:
    config = original("everything", {"ROUTER_API_KEY": "r"})
    assert config.server.api_key == Secret("r")
    assert config.logging.enabled
    assert [each.name for each in config.providers] == ["ollama"]
    assert config.routing.rules[0].providers == ("xai",)
    with pytest.raises(ConfigError, match="ROUTER_API_KEY is empty"):
        original("everything", {"ROUTER_API_KEY": ""})


# ---- the file itself -----------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "x.toml", {})
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(ConfigError, match=r"x\.toml:2: not UTF-8"):
        load(file, {})


def test_a_file_that_is_far_too_large(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.touch()
    os.truncate(file, 17 * 1024 * 1024)
    with pytest.raises(ConfigError, match="too large"):
        load(file, {})


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbf" + ECHO.replace("\n", "\r\n").encode())
    assert load(file, {}).path == str(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = \n", "x.toml:2: not TOML, column 5: "),
        ('a = """\n\n', "x.toml:3: not TOML: "),
        ("a = 1\na = 2\n", "x.toml:2: not TOML"),
        ("a = " + "[" * 100_000, "x.toml: nested too deeply"),
        ("a = " + "1" * 5000, "x.toml: not TOML"),
    ],
)
def test_what_is_not_toml_names_its_line(text: str, said: str) -> None:
    assert problems(text)[0].startswith(said)


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    said = problems(
        '[server]\nprot = 1\nport = "x"\n[logging]\nkeep = 0\n'
        + ECHO
        + ECHO.replace("e", "e", 1)
        + '[[routers]]\ntype = "discover"\nprovder = "e"\n[[policies]]\ntag = "pii"\n[typo]\n'
    )
    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in said] == [
        "x.toml:2: server.prot",
        "x.toml:3: server.port",
        "x.toml:5: logging.keep",
        "x.toml:10: providers[1].name",
        "x.toml:14: routers[0].provder",
        "x.toml:15: policies[0]",
        "x.toml:17: typo",
    ]
    assert 'did you mean "provider"?' in said[4]
    assert all("\n" not in line for line in said)


def test_no_providers_at_all() -> None:
    assert problems("")[0].startswith("x.toml: no [[providers]]")
    assert "no [[providers]]" in problems("providers = []")[0]
    assert "[[double brackets]]" in problems("[providers]\nname = 'x'")[0]


def test_every_provider_skipped() -> None:
    text = '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "https://a.example"\n'
    said = problems(text + 'api_key_env = "K"')
    assert said == ("x.toml: every provider was skipped: o: the variable K is not set",)


# ---- [server] ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.168.1.5", "router.example"])
def test_beyond_this_machine_only_with_a_key(host: str) -> None:
    server = f'[server]\nhost = "{host}"\n'
    said = problems(server + ECHO)[0]
    assert all(way in said for way in ("127.0.0.1", "api_key_env", "allow_unauthenticated = true"))
    assert parse(server + "allow_unauthenticated = true\n" + ECHO, "x", {}).server.hosts
    keyed = parse(server + 'api_key_env = "K"\n' + ECHO, "x", {"K": "v"})
    assert keyed.server.api_key == Secret("v")
    assert "[" not in keyed.server.hosts[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    server = parse(f'[server]\nhost = "{host}"\n' + ECHO, "x", {}).server
    assert all(map(is_loopback, server.hosts))


def test_a_missing_key_of_our_own_is_an_error_and_only_one() -> None:
    text = '[server]\nhost = "0.0.0.0"\napi_key_env = "K"\n' + ECHO
    assert len(problems(text)) == 1
    assert "the variable K is not set" in problems(text)[0]
    assert "the variable K is empty" in problems(text, {"K": " "})[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = 65536", "from 0 to 65535"),
        ("port = -1", "from 0 to 65535"),
        ("port = 80.0", "expected a whole number"),
        ('host = ""', "must not be empty"),
        ('host = "http://x"', "expected an address"),
        ('host = "127.0.0.1:80"', "expected an address"),
        ('trusted_hosts = ["a.example:80"]', "expected a host's name"),
        ('host = "unix:x.sock"', 'expected "unix:/absolute/path.sock"'),
        ('host = ["::1", "[::1]"]', "the same address twice"),
        ('unix_mode = "rw"', 'expected a mode like "0660"'),
        ("workers = 0", "from 1 to 256"),
        ('tls_cert = "/not/there.pem"\ntls_key = "/dev/null"', "cannot be read"),
        ('tls_cert = "/dev/null"', "tls_cert and tls_key go together"),
        ('tls_client_ca = "/dev/null"', "goes with tls_cert"),
        ('api_key_file = "/not/there"', "cannot be read"),
        ('api_key_file = "/dev/null"\napi_key_env = "K"', "either api_key_env or api_key_file"),
        ("allow_model_admin = 1", "true or false"),
        ("header_timeout = 0", "at least 0.1"),
        ("life_sign = -1", "at least 0"),
        ("max_body_bytes = 0", "at least 1"),
        ('half_close = "no"', 'expected one of "gone", "ignore"'),
        ('cors_origins = ["https://a.example/"]', "without a path"),
        ('cors_origins = ["a.example"]', "without a path"),
        ('cors_origins = ["https://*.example"]', "without a path"),
        ('trusted_hosts = ["http://a"]', "expected a host's name"),
        ('api_key_env = "sk-ant-x"', "not the key itself"),
    ],
)
def test_a_wrong_key_of_the_server(line: str, said: str) -> None:
    (problem,) = problems(f"[server]\n{line}\n{ECHO}")  # once, and nothing that follows from it
    assert said in problem


def test_what_means_off_is_accepted() -> None:
    text = '[server]\nworkers = 1\ntls_cert = ""\ntls_key = ""\nallow_model_admin = false\n'
    text += 'cors_origins = ["*", "http://localhost:3000"]\ntrusted_hosts = ["router.lan", "[fd00::1]"]\n'
    text += "failover_to_remote = true\n[telemetry]\nenabled = false\n"
    config = parse("policies = []\nclients = []\n" + text + ECHO, "x", {})
    assert config.routing.failover_to_remote
    assert config.server.cors_origins == ("*", "http://localhost:3000")
    assert config.server.trusted_hosts == ("router.lan", "fd00::1")


def test_provider_keys_that_are_off() -> None:
    off = 'dialect = "auto"\ncredentials = "provider"\napi_key_file = ""\n'
    parse(ECHO + off + "api_key_envs = []\n", "x", {})


# ---- plugins and classifiers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[plugins.response-healing]\nenabled = 1", "expected true or false"),
        ("[plugins.response-healing]\nstrict = true", "unknown key"),
        ("[plugins]\nresponse-healing = true", "expected a table, written [plugins.response-h"),
        ('[plugins.pareto-router.tiers]\nlow = ["zz"]', 'tiers.low[0]: there is no provider "zz"'),
        ('[classifiers.keyword]\ntags = ["a"]', "expected a table like"),
        ("[classifiers.keyword.tags]\na = [1]", "got 1 in place 0"),
        ('[response_classifiers.refusal]\nphrases = "no"', "expected a list of texts"),
        ('[response_classifiers.refusal]\nphrases = [""]', "must not hold an empty text"),
    ],
)
def test_a_wrong_setting(text: str, said: str) -> None:
    assert said in "\n".join(problems(ECHO + text))


def test_an_unknown_id_that_is_nearly_known_says_so() -> None:
    config = parse(ECHO + "[plugins.response-heeling]\nenabled = true", "x.toml", {})
    assert config.warnings[0].endswith('did you mean "response-healing"?')


# ---- the command line's own ----------------------------------------------------------------------


def test_host_and_port_of_the_command_line() -> None:
    config = parse('[server]\ncors_origins = ["*"]\n' + ECHO, "x", {})
    assert overridden(config) == config
    changed = overridden(config, host="[::1]", port=0)
    assert (changed.server.hosts, changed.server.port) == (("::1",), 0)
    assert changed.server.cors_origins == ("*",)


def test_the_command_line_opens_nothing_by_itself() -> None:
    config = parse(ECHO, "x", {})
    with pytest.raises(ConfigError, match=r"command line: host: .* allow_unauthenticated"):
        overridden(config, host="0.0.0.0")
    with pytest.raises(ConfigError, match="command line: port"):
        overridden(config, port=70000)
    with pytest.raises(ConfigError, match="command line: host: must not be empty"):
        overridden(config, host="")
    open_to_all = parse("[server]\nallow_unauthenticated = true\n" + ECHO, "x", {})
    assert overridden(open_to_all, host="0.0.0.0").server.hosts == ("0.0.0.0",)


# ---- anything ------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *[
            "[server]",
            "[[providers]]",
            "[[routers]]",
            "[models]",
            "[plugins.x]",
            "name",
            "format",
            "=",
            "=",
            "=",
            "type",
        ],
        *[
            "providers",
            "[",
            "]",
            "{",
            "}",
            ".",
            ",",
            "1",
            "true",
            "enabled",
            "port",
            "#",
            "nan",
            "candidates",
            "tags",
            "host",
            "1979-05-27",
        ],
        *("'echo'", '"random"', '"a/b"', "'x'", "\n", "\n", "\n"),
    ]
)


@given(st.lists(WORDS, max_size=40))
def test_any_text_gives_a_configuration_or_its_problems(words: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        assert parse(" ".join(words), "x.toml", {}).providers


# --- tags that nothing holds ----------------------------------------------------------------------

NEAR = '[[providers]]\nname = "near"\nformat = "ollama"\nbase_url = "http://127.0.0.1:11434"\n'
FAR = '[[providers]]\nname = "far"\nformat = "openai"\nbase_url = "https://far.example/v1"\n'
TAGGED = '[[routers]]\ntype = "tag"\ntag = "pii"\nprovider = "near"\n'


def _unheld(text: str) -> list[str]:
    return [w for w in parse(text, "x.toml", {}).warnings if "go on to the next rule" in w]


def test_a_tag_rule_for_a_local_provider_without_a_policy_is_a_warning() -> None:
    [warning] = _unheld(NEAR + FAR + TAGGED)
    assert warning.startswith("x.toml:11: routers[0].tag: ")
    assert 'tag = "pii" and require = "local"' in warning


def test_there_is_no_warning_where_nothing_can_leave_or_a_policy_holds_it() -> None:
    assert _unheld(NEAR + TAGGED) == []
    assert _unheld(NEAR + FAR + TAGGED.replace('"near"', '"far"')) == []
    policy = '[[policies]]\ntag = "P*"\nrequire = "local"\n'
    assert _unheld(NEAR + FAR + TAGGED + policy) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("system-prompt", 'text = "x"'),
        ("system-prompt", 'prompts = [{ text = "x" }]'),
        ("model-params", "max = { n = 1 }"),
        ("model-params", 'remove = ["seed"]'),
    ],
)
def test_a_plugin_that_was_told_nothing_is_a_warning(name: str, said: str) -> None:
    text = f"{ECHO}[plugins.{name}]\nenabled = true\n"
    [warning] = parse(text, "x.toml", {}).warnings
    assert warning.startswith(f"x.toml:4: plugins.{name}: does nothing: give ")
    assert not parse(text + said, "x.toml", {}).warnings
    assert not parse(text.replace("true", "false"), "x.toml", {}).warnings
