"""`[[clients]]`: who may come in with a key of its own."""

import pytest

from llmrouterd.config import parse
from llmrouterd.model import Allowance, Caller, ConfigError, Secret

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


def test_limits_budget_and_priority_are_read():
    more = "rpm = 5\ntpm = 1000\nmax_concurrency = 2\nbudget_usd_per_day = 1.5\n"
    [holder] = read(client(more=more + 'priority = "batch"')).clients
    assert holder.caller.allowance == Allowance(5, 1000, 2, 1.5)
    assert holder.caller.batch


def test_without_limits_there_is_no_allowance():
    [holder] = read(client(more='rpm = 0\npriority = "interactive"')).clients
    assert holder.caller.allowance is None
    assert not holder.caller.batch


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rpm = -1", "whole number of at least 0"),
        ("tpm = 1.5", "whole number of at least 0"),
        ("budget_usd_per_day = -0.5", "a number of at least 0"),
        ('priority = "high"', 'expected one of "interactive", "batch"'),
    ],
)
def test_wrong_limits_are_refused(line, said):
    assert said in problems(client(more=line))[0]


def test_a_budget_before_a_provider_without_prices_is_warned_of():
    cloud = '[[providers]]\nname = "c"\nformat = "openai"\nbase_url = "https://c.example"\n'
    budget = client(more="budget_usd_per_day = 1")
    [warning] = read(budget + cloud).warnings
    assert 'no prices are declared for "c"' in warning
    assert not read(budget + cloud + "cost_per_1m_tokens = 0\n").warnings
    assert not read(client() + cloud).warnings
