"""formats/responses/tools.py"""

import pytest

from formats.canonical import Tool, ToolChoice
from formats.errors import Invalid
from formats.responses.tools import parse_choice, parse_tools

SCHEMA = {"type": "object", "properties": {}}


def tools(*given):
    return parse_tools({"tools": list(given)})


def choice(value):
    extra = {}
    return parse_choice({"tool_choice": value}, extra), extra


def test_functions_and_custom_tools():
    form = {"type": "grammar", "syntax": "lark", "definition": "x"}
    assert tools(
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False, "async": True},
        {"type": "custom", "name": "patch", "description": "d", "format": form},
    ) == (
        Tool("f", parameters=SCHEMA, strict=False, extra={"async": True}),
        Tool("patch", "d", kind="custom", format=form),
    )


def test_a_namespace_is_taken_apart():
    space = {"type": "namespace", "name": "agents", "description": "d"}
    inner = [{"type": "function", "name": "spawn"}, {"type": "custom", "name": "say"}]
    assert tools({**space, "tools": inner}) == (
        Tool("agents__spawn", type="namespace", native=space),
        Tool("agents__say", kind="custom", type="namespace", native=space),
    )


@pytest.mark.parametrize("inner", [[{"type": "web_search"}], [], None])
def test_a_namespace_of_other_tools_stays_whole(inner):
    space = {"type": "namespace", "name": "n", "tools": inner}
    assert tools(space) == (Tool("n", kind="hosted", type="namespace", native=space),)


def test_tools_that_a_vendor_runs_are_kept_whole():
    search = {"type": "web_search", "external_web_access": True}
    assert tools(search) == (Tool("web_search", kind="hosted", type="web_search", native=search),)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("named", ("f",))),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", ("f",))),
        ({"type": "custom", "name": "p"}, ToolChoice("named", ("p",), kind="custom")),
        ({"type": "function", "name": "f", "namespace": "n"}, ToolChoice("named", ("n__f",))),
        ({"type": "web_search"}, ToolChoice("named", ("web_search",), kind="hosted")),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}],
            },
            ToolChoice("allowed", ("f",), must=True),
        ),
        ({"type": "auto"}, ToolChoice("auto")),
    ],
)
def test_a_choice(value, wanted):
    assert choice(value) == (wanted, {})


def test_a_choice_that_is_more_than_names_is_kept():
    mcp = {"type": "mcp", "server_label": "s"}
    assert choice(mcp) == (ToolChoice("named", ("mcp",), kind="hosted"), {"tool_choice": mcp})
    allowed = {"type": "allowed_tools", "tools": [mcp, {"type": "function", "name": "f"}]}
    assert choice(allowed) == (ToolChoice("allowed", ("mcp", "f")), {"tool_choice": allowed})


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "name": ""}, "tools[0].name"),
        ({"type": "namespace", "name": "n", "tools": [{"name": 1}]}, "tools[0].tools[0].name"),
        ({"type": "namespace", "tools": [{"name": "f"}]}, "tools[0].name"),
        ("f", "tools[0]"),
    ],
)
def test_a_mistake_is_named_with_its_place(given, path):
    with pytest.raises(Invalid) as caught:
        tools(given)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("value", "path"),
    [("some", "tool_choice"), ({}, "tool_choice.type"), ({"type": "function"}, "tool_choice.name")],
)
def test_a_wrong_choice_is_named_with_its_place(value, path):
    with pytest.raises(Invalid) as caught:
        choice(value)
    assert caught.value.path == path
