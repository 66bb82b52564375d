"""formats/namespaces.py"""

import pytest

from formats import FORMATS
from formats.canonical import Message, Request, Target, Text, Tool
from formats.ledger import Ledger
from formats.namespaces import flat_name, inner_name, namespaces_by_name

AGENTS = {"type": "namespace", "name": "agents", "description": "runs agents"}
TOOL = Tool("agents__spawn", type="namespace", native=AGENTS, parameters={"type": "object"})


def test_a_flat_name_has_a_way_back():
    assert inner_name("a", flat_name("a", "b__c")) == "b__c"
    assert inner_name("a", "other") == "other"


def test_only_what_was_taken_out_of_a_namespace_stands_in_one():
    whole = Tool("agents", kind="hosted", type="namespace", native=AGENTS)
    assert namespaces_by_name([TOOL, whole, Tool("f")]) == {"agents__spawn": "agents"}


@pytest.mark.parametrize("name", ["openai", "anthropic", "ollama"])
def test_a_tool_of_a_namespace_is_offered_under_its_flat_name(name):
    ledger = Ledger()
    said = (Message("user", (Text("hi"),)),)
    request = Request("responses", "m", said, tools=(TOOL,))
    body = FORMATS[name].write_request(request, ledger, Target("m"))
    assert [tool.name for tool in FORMATS[name].parse_request(body).tools] == ["agents__spawn"]
    assert "tools[].type=namespace" in ledger.names()
