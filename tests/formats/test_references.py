"""formats/references.py"""

import pytest

from formats import FORMATS
from formats.canonical import Message, Opaque, Request, Target, Text
from formats.errors import Unsupported
from formats.ledger import Ledger
from formats.references import REFERENCES

OTHERS = ["openai", "anthropic", "ollama"]
SAID = (Message("user", (Text("hi"),)),)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("member", REFERENCES["responses"])
def test_what_another_server_keeps_is_refused_by_its_name(member, name):
    value = True if member == "background" else "resp_1"
    request = Request("responses", "m", SAID, extra={member: value})
    with pytest.raises(Unsupported) as caught:
        FORMATS[name].write_request(request, Ledger(), Target("m"))
    assert caught.value.path == member


@pytest.mark.parametrize("name", OTHERS)
def test_what_refers_to_nothing_is_no_loss(name):
    extra = {"background": False, "conversation": None, "previous_response_id": None}
    ledger = Ledger()
    request = Request("responses", "m", SAID, max_tokens=9, extra=extra)
    FORMATS[name].write_request(request, ledger, Target("m"))
    assert ledger.names() == ()


@pytest.mark.parametrize("name", OTHERS)
def test_an_item_that_another_server_keeps_is_refused(name):
    item = Opaque("responses", "item_reference", {"type": "item_reference", "id": "msg_1"})
    request = Request("responses", "m", (*SAID, Message("assistant", (item,)), *SAID))
    with pytest.raises(Unsupported) as caught:
        FORMATS[name].write_request(request, Ledger(), Target("m"))
    assert "item_reference" in str(caught.value)


@pytest.mark.parametrize("name", ["openai", "responses", "ollama"])
@pytest.mark.parametrize("member", REFERENCES["anthropic"])
def test_what_only_anthropic_keeps_or_runs_is_refused_elsewhere(member, name):
    request = Request("anthropic", "m", SAID, max_tokens=9, extra={member: [{"type": "create"}]})
    with pytest.raises(Unsupported) as caught:
        FORMATS[name].write_request(request, Ledger(), Target("m"))
    assert caught.value.path == member


def test_a_thread_is_kept_by_the_vendor_and_by_nobody_who_speaks_alike():
    extra = {"thread": {"type": "create"}}
    request = Request("anthropic", "m", SAID, max_tokens=9, extra=extra)
    write = FORMATS["anthropic"].write_request
    assert b'"thread"' in write(request, Ledger(), Target("m", vendor=True))
    with pytest.raises(Unsupported) as caught:
        write(request, Ledger(), Target("m"))
    assert caught.value.path == "thread"


def test_mcp_servers_are_left_to_whoever_speaks_the_format():
    extra = {"mcp_servers": [{"type": "url", "name": "a", "url": "https://example.com"}]}
    request = Request("anthropic", "m", SAID, max_tokens=9, extra=extra)
    out = FORMATS["anthropic"].write_request(request, Ledger(), Target("m"))
    assert b'"mcp_servers"' in out
