"""llmrouterd/classifiers/__init__.py"""

from llmrouterd import classifiers
from llmrouterd.config import keys


def test_every_classifier_is_made_without_settings_and_knows_its_own_id():
    for table in (classifiers.BUILTIN, classifiers.RESPONSE_BUILTIN):
        for name, factory in table.items():
            assert factory({}).id == name


def test_the_configuration_knows_the_same_ids():
    assert set(keys.CLASSIFIERS) == set(classifiers.BUILTIN)
    assert set(keys.RESPONSE_CLASSIFIERS) == set(classifiers.RESPONSE_BUILTIN)
