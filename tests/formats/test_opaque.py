"""formats/opaque.py"""

from formats.canonical import Opaque
from formats.opaque import opaque_text


def test_blocks_of_a_vendors_own_tools_become_text() -> None:
    use = Opaque("anthropic", "server_tool_use", {"name": "web_search", "input": {"query": "q"}})
    found = [{"type": "web_search_result", "title": "T", "url": "https://x", "encrypted": "e"}]
    result = Opaque("anthropic", "web_search_tool_result", {"content": found})
    source = {"title": "T", "source": "S", "content": [{"type": "text", "text": "w"}]}
    assert opaque_text(use) == "[web_search: q]"
    assert opaque_text(result) == "T\nhttps://x"
    assert opaque_text(Opaque("anthropic", "search_result", source)) == "T\nS\nw"


def test_a_reference_to_a_deferred_tool_says_that_it_can_be_called() -> None:
    part = Opaque("anthropic", "tool_reference", {"tool_name": "WebSearch"})
    assert opaque_text(part) == "The tool WebSearch can be called now."


def test_a_block_that_nobody_knows_has_no_words() -> None:
    assert opaque_text(Opaque("anthropic", "container_upload", {"file_id": "f"})) is None


def test_items_of_a_vendors_own_tools_become_text() -> None:
    def said(kind: str, **members: object) -> str | None:
        return opaque_text(Opaque("responses", kind, {"type": kind, **members}))

    assert said("web_search_call", action={"type": "search", "query": "q"}) == "[web_search: q]"
    assert said("web_search_call") == "[web_search]"
    assert said("file_search_call", queries=["a", "b"]) == '[file_search: ["a","b"]]'
    assert said("code_interpreter_call", code="1+1") == "[code_interpreter: 1+1]"
    assert said("image_generation_call", revised_prompt="p") == "[image_generation: p]"
    assert said("mcp_call", name="f", arguments="{}", output="done") == "[f: {}]\ndone"
    assert said("tool_search_call", arguments={"query": "x"}) == '[tool_search: {"query":"x"}]'
    assert said("tool_search_output", tools=[]) == "Tools were searched for."
    assert said("computer_call") is None
    assert said("item_reference", id="msg_1") is None
