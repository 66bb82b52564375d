"""`[[clients]]`: who may come in with a key of its own."""

import pytest

from llmrouterd.config import parse
from llmrouterd.model import Caller, ConfigError, Secret

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
KEYS = {"ANN": "key-of-ann", "BOB": "key-of-bob", "ROUTER": "key-of-all"}


def read(text, environ=KEYS):
    return parse(text + ECHO, "f.toml", environ)


def problems(text, environ=KEYS):
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    return caught.value.problems


def client(name="ann", key="ANN", more=""):
    return f'[[clients]]\nname = "{name}"\nkey_env = "{key}"\n{more}\n'


def test_a_client_has_a_name_a_key_and_what_it_is_good_for():
    more = 'models = ["small", "qwen*"]\nstrict = true\nadmin = true'
    [holder] = read(client(more=more)).clients
    assert holder.key == Secret("key-of-ann")
    assert holder.caller == Caller("ann", ("small", "qwen*"), strict=True, admin=True)


def test_what_is_not_said_is_everything_but_administration():
    [holder] = read(client()).clients
    assert holder.caller == Caller("ann", (), strict=False, admin=False)


@pytest.mark.parametrize(
    ("model", "may"), [("small", True), ("qwen3:8b", True), ("Small", False), ("large", False)]
)
def test_names_of_models_are_globs(model, may):
    assert Caller("ann", ("small", "qwen*")).may_ask(model) is may
    assert Caller("ann").may_ask(model)


def test_its_key_is_named_and_must_be_there():
    [line] = problems('[[clients]]\nname = "ann"\n')
    assert "key_env" in line
    [line] = problems(client(key="NOBODY"))
    assert line.endswith("the variable NOBODY is not set: set it, or remove this client")
    [line] = problems(client(key="sk-1234567890abcdefgh"))
    assert "sk-1234567890" not in line


def test_two_of_one_name_or_one_key_are_refused():
    assert 'there is another client "ann"' in problems(client() + client(key="BOB"))[0]
    assert problems(client() + client("bob"))[0].endswith("another client has the same key")
    shared = '[server]\napi_key_env = "ANN"\n'
    assert problems(shared + client())[0].endswith("another client has the same key")


def test_with_clients_there_is_a_key_and_others_may_be_let_in():
    server = '[server]\nhost = "0.0.0.0"\n'
    assert read(server + client()).server.hosts == ("0.0.0.0",)
    assert "there is no key" in problems(server)[0]


@pytest.mark.parametrize("line", ["rpm = 5", "tpm = 5", "max_concurrency = 1"])
def test_limits_of_later_are_refused(line):
    assert "not available in this version" in problems(client(more=line))[0]
