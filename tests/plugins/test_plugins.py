"""llmrouterd/plugins/__init__.py"""

from llmrouterd import plugins
from llmrouterd.config import keys
from llmrouterd.hooks import Plugin


def test_every_plugin_is_made_without_settings_and_knows_its_own_id():
    for name, factory in plugins.BUILTIN.items():
        made = factory({})
        assert isinstance(made, Plugin)
        assert made.id == name


def test_the_configuration_knows_the_same_ids():
    assert set(keys.PLUGINS) == set(plugins.BUILTIN)
