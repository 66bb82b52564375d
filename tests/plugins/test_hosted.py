"""Search tools that clients leave to their vendors, in each of the formats."""

import json

import pytest

from formats import FORMATS
from formats.canonical import Request, Tool, ToolChoice
from llmrouterd.plugins.hosted import Hosted, hosted, without

MESSAGES = [{"role": "user", "content": "hi"}]
OWN = Tool("get_time")
SEARCH = Tool("web_search", kind="hosted", type="web_search_20250305")
OTHER = Tool("code_execution", kind="hosted", type="code_execution_20250522")
ASKS = {
    "anthropic": {
        "max_tokens": 9,
        "messages": MESSAGES,
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
    },
    "responses": {"input": "hi", "tools": [{"type": "web_search"}]},
    "openai": {"messages": MESSAGES, "web_search_options": {"search_context_size": "low"}},
}


def parsed(fmt: str, **more: object) -> Request:
    body = {"model": "m", **ASKS[fmt], **more}
    return FORMATS[fmt].parse_request(json.dumps(body).encode())


@pytest.mark.parametrize("fmt", ASKS)
def test_it_is_found_and_taken_out_in_every_format(fmt: str) -> None:
    request = parsed(fmt)
    assert hosted(request) == Hosted()
    bare = without(request)
    assert hosted(bare) is None
    assert bare.tools == ()
    assert "web_search_options" not in bare.extra
    assert bare.raw is None
    assert bare.messages == request.messages


def test_older_names_of_it_are_known() -> None:
    for name in ("web_search_preview", "web_search_2025_08_26", "web_search_preview_2025_03_11"):
        assert hosted(parsed("responses", tools=[{"type": name}])) is not None


@pytest.mark.parametrize("tools", [(), (OWN,), (OTHER,), (Tool("web_search"),)])
def test_what_is_no_hosted_search_is_none(tools: tuple[Tool, ...]) -> None:
    assert hosted(Request("openai", "m", tools=tools)) is None


def test_other_tools_and_their_choice_stay() -> None:
    choice = ToolChoice("named", ("get_time",))
    request = Request(
        *("anthropic", "m"),
        tools=(OWN, SEARCH, OTHER),
        tool_choice=choice,
        parallel_tool_calls=True,
    )
    bare = without(request)
    assert (bare.tools, bare.tool_choice, bare.parallel_tool_calls) == ((OWN, OTHER), choice, True)


@pytest.mark.parametrize(
    "choice",
    [
        ToolChoice("named", ("web_search",), kind="hosted"),
        ToolChoice("named", ("web_search_20250305",), kind="hosted"),
        ToolChoice("allowed", ("get_time", "web_search")),
    ],
)
def test_a_choice_that_names_it_is_none(choice: ToolChoice) -> None:
    request = Request("anthropic", "m", tools=(OWN, SEARCH), tool_choice=choice)
    assert without(request).tool_choice is None


def test_without_any_tool_there_is_nothing_to_choose() -> None:
    request = Request(
        *("anthropic", "m"),
        tools=(SEARCH,),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
    )
    bare = without(request)
    assert (bare.tool_choice, bare.parallel_tool_calls) == (None, None)


def test_domains_are_those_that_the_client_wants() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    some = hosted(parsed("anthropic", tools=[{**tool, "allowed_domains": ["www.a.example/x", 3]}]))
    assert some == Hosted(allowed=("a.example",))
    assert [
        some.takes(f"http://{each}/") for each in ("a.example", "b.a.example", "ba.example")
    ] == [
        True,
        True,
        False,
    ]
    none = hosted(parsed("anthropic", tools=[{**tool, "blocked_domains": ["a.example"]}]))
    assert not none.takes("https://www.a.example/1")
    assert none.takes("https://b.example/")
    filtered = {"type": "web_search", "filters": {"allowed_domains": ["A.example"]}}
    assert hosted(parsed("responses", tools=[filtered])).allowed == ("a.example",)
