"""The plugin pdf in a configuration: what it needs, and whom it names."""

import importlib.util

import pytest

from llmrouterd.config import parse, pdf
from llmrouterd.model import ConfigError
from llmrouterd.plugins.pdf import MISSING

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n[plugins.pdf]\n'


def without_pypdf(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pypdf" else known(name)
    )


def test_without_pypdf_it_cannot_be_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    parse(ECHO + "enabled = true", "x.toml", {})
    without_pypdf(monkeypatch)
    with pytest.raises(ConfigError) as wrong:
        parse(ECHO + "enabled = true", "x.toml", {})
    assert wrong.value.problems == (f"x.toml:4: plugins.pdf: {pdf.MISSING}",)
    parse(ECHO + "enabled = false", "x.toml", {})


def test_the_words_are_the_same_for_whoever_asks_for_it() -> None:
    assert pdf.MISSING == MISSING


def test_whoever_reads_pdf_is_a_provider() -> None:
    config = parse(ECHO + 'native = ["e"]', "x.toml", {})
    assert config.plugins["pdf"]["native"] == ["e"]
    with pytest.raises(ConfigError, match=r'native\[0\]: there is no provider "f"'):
        parse(ECHO + 'native = ["f"]', "x.toml", {})
