"""The table of keys: whole, and in step with the rooms that it speaks of."""

import importlib

import pytest

from llmrouterd.config import keys
from llmrouterd.config.read import fault
from llmrouterd.model import EMPTY

TABLES = {
    "server": keys.SERVER,
    "logging": keys.LOGGING,
    "telemetry": keys.TELEMETRY,
    "providers": keys.PROVIDER,
    **{f"rule {name}": table for name, table in keys.RULES.items()},
    **{f"plugin {name}": table for name, table in keys.PLUGINS.items()},
    "top": keys.TOP,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_default_passes_its_own_check(name: str) -> None:
    for key in TABLES[name].values():
        value = list(key.default) if key.default == () else key.default
        value = dict(value) if value == EMPTY else value
        if value is not None and value != "":
            assert fault(key, value) is None


def test_the_rules_are_those_that_routing_has() -> None:
    rules = importlib.import_module("llmrouterd.route.rules")
    assert set(keys.RULES) == set(rules.RULES)


def test_the_ids_are_those_that_the_rooms_have() -> None:
    plugins = importlib.import_module("llmrouterd.plugins")
    classifiers = importlib.import_module("llmrouterd.classifiers")
    assert set(keys.PLUGINS) == set(plugins.BUILTIN)
    assert set(keys.CLASSIFIERS) == set(classifiers.BUILTIN)
    assert set(keys.RESPONSE_CLASSIFIERS) == set(classifiers.RESPONSE_BUILTIN)


def test_what_is_meant_exists() -> None:
    known = {*keys.SERVER, *keys.PROVIDER, *keys.TOP}
    assert set(keys.MEANT.values()) <= known


def test_the_words_of_classifiers_are_those_that_their_rooms_have() -> None:
    detect = importlib.import_module("llmrouterd.detect")
    structure = importlib.import_module("llmrouterd.classifiers.structure")
    settings = importlib.import_module("llmrouterd.classifiers.settings")
    for tables in (keys.CLASSIFIERS, keys.RESPONSE_CLASSIFIERS):
        assert tables["pii"]["kinds"].one_of == detect.PII
    assert keys.CLASSIFIERS["secrets"]["kinds"].one_of == detect.SECRETS
    assert keys.CLASSIFIERS["structure"]["only"].one_of == structure.GROUPS
    assert keys.CLASSIFIERS["pii"]["roles"].one_of == settings.ROLES
