"""The member `plugins`: read alike in every format, and never sent on."""

import json

import pytest

from formats import FORMATS
from formats.canonical import PluginCall, Target
from formats.errors import Invalid
from formats.ledger import Ledger
from formats.plugins import plugin_calls
from tests.formats.sdk_readers import READERS


def body(name: str, **more: object) -> bytes:
    words = [{"role": "user", "content": "hi"}]
    said: dict[str, object] = {"max_tokens": 5, "messages": words}
    if name == "responses":
        said = {"max_output_tokens": 5, "input": words}
    return json.dumps({"model": "m", **said, **more}).encode()


def test_settings_are_all_but_the_id() -> None:
    asked = plugin_calls({"plugins": [{"id": "a", "tier": "low"}, {"id": "b"}]})
    assert asked == (PluginCall("a", {"tier": "low"}), PluginCall("b"))


@pytest.mark.parametrize("absent", [{}, {"plugins": None}, {"plugins": []}])
def test_none_are_asked_for(absent: dict) -> None:
    assert plugin_calls(absent) == ()


@pytest.mark.parametrize(
    ("value", "path"),
    [("a", "plugins"), ({"id": "a"}, "plugins"), (["a"], "plugins[0]"), ([{}], "plugins[0].id")],
)
def test_mistakes_name_their_place(value: object, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        plugin_calls({"plugins": value})
    assert caught.value.path == path


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", [[{"id": "a", "tier": "low"}], [], None])
def test_every_format_reads_them_and_sends_none(name: str, value: list | None) -> None:
    """Not even an empty list: a strict server refuses every member that it does not know."""
    request = FORMATS[name].parse_request(body(name, plugins=value))
    assert request.plugins == ((PluginCall("a", {"tier": "low"}),) if value else ())
    for target in READERS:
        ledger = Ledger()
        sent = FORMATS[target].write_request(request, ledger, Target("m"))
        assert "plugins" not in json.loads(sent)
        assert "plugins" not in ledger.names()
