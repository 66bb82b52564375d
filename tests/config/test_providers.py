"""Addresses, keys and headers of providers."""

import base64

import pytest

from llmrouterd.config import Config, parse
from llmrouterd.config.providers import is_local_host, masked
from llmrouterd.guard import egress
from llmrouterd.model import ConfigError, Provider, Secret, Slots

ECHO = '[[providers]]\nname = "spare"\nformat = "echo"\n'


def config_with(text: str, environ: dict[str, str] | None = None) -> Config:
    return parse(f'[[providers]]\nname = "p"\n{text}\n{ECHO}', "x.toml", environ or {})


def provider(text: str, environ: dict[str, str] | None = None) -> Provider:
    return config_with(text, environ).providers[0]


def problems(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        config_with(text, environ)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "written", "used"),
    [
        ("openai", "http://localhost:8080", "http://localhost:8080/v1"),
        ("openai", "http://localhost:8080/", "http://localhost:8080/v1"),
        ("openai", "https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("openai", "https://x.example/api/openai", "https://x.example/api/openai"),
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("anthropic", "https://x.example/anthropic/v1", "https://x.example/anthropic/v1"),
        ("ollama", "http://localhost:11434/", "http://localhost:11434"),
        ("ollama", "http://[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_base_urls(kind: str, written: str, used: str) -> None:
    assert provider(f'format = "{kind}"\nbase_url = "{written}"').base_url == used


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("localhost:11434", "must begin with http:// or https://"),
        ("ftp://localhost", "must begin with http:// or https://"),
        ("http://", "names no host"),
        ("http://:80", "names no host"),
        ("http://h:0", "names no host or port"),
        ("http://h:99999", "not a URL with a host and a port"),
        ("http://[::1", "not a URL with a host and a port"),
        ("http://h /x", "holds a blank"),
        ("http://bücher.example", "holds a blank, or a letter"),
        ("http://h/v1?key=1", "no ? and no #"),
        ("http://h/#x", "no ? and no #"),
        ("unix:x.sock", "expected a socket by its whole path"),
        ("unix:/run/x.sock:v1", "what follows the socket is a path"),
        ("", 'the key "base_url" is missing'),
    ],
)
def test_what_is_no_base_url(written: str, said: str) -> None:
    assert said in problems(f'format = "ollama"\nbase_url = "{written}"')


def test_a_user_in_the_url_becomes_a_header_and_is_never_shown() -> None:
    text = 'format = "ollama"\nbase_url = "http://me:p%40ss@nas:11434"'
    with_user = provider(text)
    wanted = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert with_user.base_url == "http://nas:11434"
    assert with_user.headers == (("authorization", wanted),)
    assert "p%40ss" not in problems(text.replace("nas:11434", "nas:99999"))
    assert "keep one" in problems(text + '\napi_key_env = "K"', {"K": "x"})


def test_echo_needs_no_address_and_takes_none() -> None:
    assert provider('format = "echo"').local
    assert "has no address" in problems('format = "echo"\nbase_url = "http://a"')


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("fe80::1%eth0", True),
        ("0.0.0.0", True),
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("192.168.0.9", True),
        ("169.254.1.1", True),
        ("fd00::1", True),
        ("ollama", True),
        ("gpu.local", True),
        ("nas.home.arpa", True),
        ("host.docker.internal", True),
        ("172.32.0.1", False),
        ("100.64.0.1", False),
        ("8.8.8.8", False),
        ("2001:db8::1", False),
        ("::ffff:8.8.8.8", False),
        ("api.openai.com", False),
        ("localhost.evil.example", False),
        ("local", True),
        ("134744072", False),
        ("0x8080808", False),
        ("", False),
    ],
)
def test_which_hosts_are_local(host: str, local: bool) -> None:
    assert is_local_host(host) is local


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "172.32.0.1", "192.168.1.1", "169.254.0.1"),
        *("100.64.0.1", "8.8.8.8", "0.0.0.0", "::", "::1", "fe80::1", "fc00::1", "2001:db8::1"),
        "::ffff:10.0.0.1",
    ],
)
def test_an_address_is_local_here_just_where_it_is_to_the_guard(address: str) -> None:
    assert is_local_host(address) is egress.is_local(address)


def test_the_owner_may_say_what_is_local() -> None:
    text = 'format = "openai"\nbase_url = "https://llm.example"\n'
    assert not provider(text).local
    assert provider(text + "local = true").local
    assert not provider('format = "ollama"\nbase_url = "http://127.0.0.1"\nlocal = false').local


KEYED = 'format = "openai"\nbase_url = "https://a.example"\napi_key_env = "MY_KEY"'


@pytest.mark.parametrize(
    ("environ", "why"), [({}, "not set"), ({"MY_KEY": ""}, "empty"), ({"MY_KEY": " \n"}, "empty")]
)
def test_without_its_key_a_provider_is_skipped_with_a_warning(
    environ: dict[str, str], why: str
) -> None:
    config = config_with(KEYED, environ)
    assert [each.name for each in config.providers] == ["spare"]
    assert config.skipped == (("p", f"the variable MY_KEY is {why}"),)
    assert config.warnings == (
        f'x.toml:1: providers[0]: the provider "p" is skipped: the variable MY_KEY is {why}',
    )


def test_a_skipped_provider_is_checked_all_the_same() -> None:
    assert "unknown key" in problems(KEYED + "\nqualty = 3")


def test_a_key_loses_the_newline_that_files_end_with() -> None:
    key = provider(KEYED, {"MY_KEY": "sk-1\n"}).key
    assert key is not None
    assert key.reveal() == "sk-1"
    assert "no key has" in problems(KEYED, {"MY_KEY": "a\nb"})
    assert "no key has" in problems(KEYED, {"MY_KEY": "a€b"})


@pytest.mark.parametrize(
    "key", ["sk-ant-api03-x", "gsk_Ab3dEf6hIj9LmNo2pQr5", "hf_aBcDeFgHiJkLmNoP"]
)
def test_a_key_in_the_place_of_its_name_is_not_shown(key: str) -> None:
    """It is what people write by mistake, and then the message ends up in a bug report."""
    text = KEYED.replace("MY_KEY", key)
    try:
        shown = repr(config_with(text))
    except ConfigError as error:
        shown = str(error)
    assert key not in shown
    assert "key itself" in shown or "looks like a key" in shown


def test_headers() -> None:
    text = 'format = "ollama"\nbase_url = "http://a"\nheaders = '
    assert provider(text + '{ X-Team = "r&d" }').headers == (("x-team", "r&d"),)
    assert "not a header's name" in problems(text + '{ "x y" = "a" }')
    assert "own business" in problems(text + '{ Host = "a" }')
    assert "own business" in problems(text + '{ Content-Length = "1" }')
    assert "characters that no header" in problems(text + '{ x = "a\\nb" }')
    assert "given twice" in problems(text + '{ x = "a", X = "b" }')


def test_files_proxies_and_options_are_checked() -> None:
    text = 'format = "openai"\nbase_url = "http://a"\n'
    said = problems(text + 'ca_file = "/nonexistent/ca.pem"')
    assert '"/nonexistent/ca.pem" cannot be read: no such file' in said
    assert "cannot be read: is a directory" in problems(text + 'ca_file = "/"')
    assert "cannot be read: file name too long" in problems(text + f'ca_file = "{"a" * 5000}"')
    said = problems(text + 'http_proxy = "socks5://me:hush@p:1"')
    assert "must begin with http" in said
    assert "hush" not in said
    assert "must begin with http://, like" in problems(text + 'http_proxy = "https://p:1"')
    assert 'only the format "ollama"' in problems(text + "options = { num_ctx = 1 }")


def test_a_proxy_for_this_machine_is_never_silently_unused() -> None:
    text = 'format = "openai"\nhttp_proxy = "http://me:hush@p:1"\nbase_url = "%s"'
    for here in ("http://localhost:1", "https://[::1]/v1", "http://127.0.0.2", "http://0.0.0.0:1"):
        (warning,) = config_with(text % here).warnings
        assert "x.toml:4: providers[0].http_proxy: not used" in warning
        assert "hush" not in warning
    for there in ("http://10.0.0.1", "http://localhost.example", "http://ollama:11434"):
        assert config_with(text % there).warnings == ()


def test_every_figure_of_a_provider_arrives() -> None:
    text = 'format = "ollama"\nbase_url = "http://a"\n'
    bare = provider(text)
    assert bare.cost_per_1m_tokens is None
    assert bare.latency_ms is None
    full = provider(
        text + "input_cost_per_1m = 1\noutput_cost_per_1m = 2\ncached_input_cost_per_1m = 0.5\n"
        "cost_per_1m_tokens = 0\nquality = 7\nlatency_ms = 5\nthroughput_tokens_per_sec = 9\n"
        'models = ["m"]\ncontext_length = 8192\nconnect_timeout = 1\nfirst_token_timeout = 2\n'
        "idle_timeout = 3\ntotal_timeout = 4\nmax_retries = 0\noptions = { num_ctx = 4 }\n"
    )
    costs = (full.input_cost_per_1m, full.output_cost_per_1m, full.cached_input_cost_per_1m)
    assert costs == (1, 2, 0.5)
    assert (full.cost_per_1m_tokens, full.quality, full.latency_ms) == (0, 7, 5)
    assert full.throughput_tokens_per_sec == 9
    assert (full.models, full.context_length, full.max_retries) == (("m",), 8192, 0)
    clocks = full.clocks
    assert (clocks.connect_s, clocks.first_token_s, clocks.idle_s, clocks.total_s) == (1, 2, 3, 4)
    assert full.options == {"num_ctx": 4}


def test_masked_urls_hold_no_user() -> None:
    assert masked("http://me:hush@h:1/v1") == "http://h:1/v1"
    assert masked("http://me:hu@sh@h:1") == "http://h:1"
    assert masked("http://h/a@b") == "http://h/a@b"


def test_several_keys_and_those_that_are_missing_are_left_out() -> None:
    text = (
        '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "http://x.example"\n'
        'api_key_envs = ["ONE", "GONE", "TWO", "ONE_AGAIN"]\n'
    )
    environ = {"ONE": "k1", "TWO": "k2", "ONE_AGAIN": "k1"}
    config = parse(text, "f.toml", environ)
    [provider] = config.providers
    assert provider.keys == (Secret("k1"), Secret("k2"))
    assert provider.key == Secret("k1")
    assert "left out: the variable GONE is not set" in config.warnings[0]


def test_one_of_several_keys_is_one_key_and_none_skips_the_provider() -> None:
    text = (
        '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "http://x.example"\n'
        'api_key_envs = ["ONE", "GONE"]\n[[providers]]\nname = "e"\nformat = "echo"\n'
    )
    [provider, _] = parse(text, "f.toml", {"ONE": "k1"}).providers
    assert (provider.key, provider.keys) == (Secret("k1"), ())
    config = parse(text, "f.toml", {})
    assert [name for name, _ in config.skipped] == ["o"]


def test_one_key_and_several_are_too_many() -> None:
    text = (
        '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "http://x.example"\n'
        'api_key_env = "ONE"\napi_key_envs = ["TWO"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml", {"ONE": "k1", "TWO": "k2"})
    assert "give one of api_key_env and api_key_envs, not both" in caught.value.problems[0]


# ---- places and queues ---------------------------------------------------------------------------

WAITS = 'format = "ollama"\nbase_url = "http://localhost:1"\n'


def test_without_a_limit_there_is_no_queue() -> None:
    assert provider(WAITS).slots is None
    assert provider(WAITS + "max_concurrency = 0\nmodel_concurrency = {}\n").slots is None


def test_any_limit_makes_one() -> None:
    assert provider(WAITS + "max_concurrency = 2").slots == Slots(at_once=2)
    assert provider(WAITS + "max_loaded_models = 1").slots == Slots(max_loaded=1)
    per_model = 'model_concurrency = { "Big:latest" = 1, "x*" = 4 }'
    assert provider(WAITS + per_model).slots == Slots(per_model=(("big", 1), ("x*", 4)))


def test_how_one_waits() -> None:
    text = "max_concurrency = 1\nmax_loaded_models = 2\nmax_queue = 0\nqueue_timeout = 0\n"
    text += "swap_wait = 1\nmin_residency = 2.5\nbatch_wait = 3\n"
    assert provider(WAITS + text).slots == Slots(1, (), 0, 0.0, 2, 1.0, 2.5, 3.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_concurrency = -1", "whole number of at least 0"),
        ('model_concurrency = { "a" = 0 }', '"a" must be a whole number of at least 1, got 0'),
        (
            'model_concurrency = { "a" = true }',
            '"a" must be a whole number of at least 1, got true',
        ),
        ("model_concurrency = 3", 'expected a table like {"name" = 2}, got 3'),
    ],
)
def test_wrong_limits(line: str, said: str) -> None:
    assert said in problems(WAITS + line)


def test_a_key_that_has_nothing_to_act_on_is_warned_of() -> None:
    [warning] = config_with(WAITS + "max_queue = 5").warnings
    assert warning.endswith(
        "nobody waits without one of max_concurrency, model_concurrency, max_loaded_models"
    )
    [warning] = config_with(WAITS + "max_concurrency = 1\nswap_wait = 5").warnings
    assert warning.endswith("swap_wait: it means nothing without max_loaded_models")
