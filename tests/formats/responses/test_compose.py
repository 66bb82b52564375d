"""formats/responses/compose.py"""

import json

import pytest

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Target,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import Unsupported
from formats.ledger import Ledger
from formats.responses import write_request
from tests.strategies import PDF, PNG

USER = Message("user", (Text("q"),))
VENDOR = Target("up", vendor=True)


def composed(*messages, origin="anthropic", target=None):
    ledger = Ledger()
    request = Request(origin, "m", messages)
    body = json.loads(write_request(request, ledger, target or Target("up")))
    return body.get("instructions"), body["input"], ledger


def items(*messages, **more):
    return composed(*messages, **more)[1]


def content(part, **more):
    return items(Message("user", (part,)), **more)[0]["content"]


def refused(*messages, **more):
    with pytest.raises(Unsupported) as caught:
        composed(*messages, **more)
    return caught.value.path


# --- order ---


def test_a_turn_is_text_calls_and_results():
    turn = Message(
        "assistant", (Text("a"), Text("b"), ToolUse("c1", "f", '{"x": 1}'), ToolUse("c2", "g"))
    )
    results = Message("tool", (ToolResult("c1", (Text("r"),)), ToolResult("c2", (), is_error=True)))
    assert items(USER, turn, results) == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
        {"type": "function_call_output", "call_id": "c2", "output": "Error: "},
    ]


def test_a_custom_calls_result_is_a_custom_calls():
    turn = Message("assistant", (ToolUse("c", "p", "raw", kind="custom"),))
    _, call, result = items(
        USER, turn, Message("tool", (ToolResult("c", (Text("r"),)),)), origin="openai"
    )
    assert call == {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "raw"}
    assert result["type"] == "custom_tool_call_output"


def test_what_led_is_instructions_and_what_came_later_a_message():
    lead = Message("system", (Text("a"), Text("b")), hoisted=True)
    instructions, written, _ = composed(lead, Message("system", (Text("late"),)), USER)
    assert instructions == "a\n\nb"
    assert [item["role"] for item in written] == ["system", "user"]


@pytest.mark.parametrize(
    ("origin", "target", "role"),
    [
        ("openai", VENDOR, "developer"),
        ("openai", Target("up"), "system"),
        ("anthropic", VENDOR, "system"),
        ("openai", Target("up", system_role="developer"), "developer"),
        ("responses", Target("up"), "developer"),
    ],
)
def test_the_word_for_instructions(origin, target, role):
    lead = Message("developer", (Text("x"),))
    assert items(lead, USER, origin=origin, target=target)[0]["role"] == role


def test_a_last_message_of_the_assistants_cannot_be_continued():
    assert refused(USER, Message("assistant", (Text("so"),))) == "messages[1]"
    able = Target("up", capabilities=frozenset({"prefill"}))
    assert len(items(USER, Message("assistant", (Text("so"),)), target=able)) == 2


def test_nothing_to_say_is_refused():
    assert refused(Message("system", (Text("x"),), hoisted=True)) == "messages"


def test_a_name_is_named():
    ledger = composed(Message("user", (Text("x"),), name="bob"), origin="openai")[2]
    assert ledger.names() == ("messages[].name",)


# --- reasoning ---


def turn(thought):
    return (USER, Message("assistant", (thought, Text("a"))), USER)


def test_the_vendor_gets_what_it_sealed_itself():
    thought = Thought("hm", signature="gAAA", origin="responses")
    item = items(*turn(thought), target=VENDOR)[1]
    assert item["type"] == "reasoning"
    assert item["encrypted_content"] == "gAAA"
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert item["id"].startswith("rs_")


def test_the_vendor_gets_nobody_elses_reasoning():
    for thought in (Thought("hm"), Thought("hm", signature="c2ln", origin="anthropic")):
        _, written, ledger = composed(*turn(thought), target=VENDOR)
        assert [item["type"] for item in written] == ["message"] * 3
        assert ledger.names() == ("messages[].thinking",)


def test_other_servers_get_its_text():
    item = items(*turn(Thought("hm", signature="c2ln", origin="anthropic")))[1]
    assert item["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert "encrypted_content" not in item
    silent = Target("up", reasoning_echo="none")
    assert len(items(*turn(Thought("hm")), target=silent)) == 3


def test_reasoning_that_led_to_nothing_is_left_out_for_the_vendor():
    thought = Thought("hm", signature="gAAA", origin="responses")
    alone = Message("assistant", (thought,))
    assert [i["type"] for i in items(USER, alone, USER, target=VENDOR)] == ["message", "message"]
    led = Message("assistant", (thought, ToolUse("c", "f")))
    done = Message("tool", (ToolResult("c"),))
    assert items(USER, led, done, target=VENDOR)[1]["type"] == "reasoning"


# --- parts ---


def test_images():
    image = Image(data=PNG, mime="image/png")
    url = f"data:image/png;base64,{PNG}"
    assert content(image) == [{"type": "input_image", "detail": "auto", "image_url": url}]
    assert content(Image(url="https://x", detail="low"))[0]["image_url"] == "https://x"
    assert refused(Message("user", (Image(file_id="f"),))) == "messages[].image"


def test_documents():
    pdf = Document(data=PDF, mime="application/pdf", name="a.pdf")
    data = f"data:application/pdf;base64,{PDF}"
    assert content(pdf) == [{"type": "input_file", "file_data": data, "filename": "a.pdf"}]
    assert content(Document(url="https://x")) == [{"type": "input_file", "file_url": "https://x"}]
    text = content(Document(text="words", name="t"))[0]
    assert text == {"type": "input_text", "text": '<document title="t">\nwords\n</document>'}
    assert refused(Message("user", (Document(file_id="f"),))) == "messages[].document"


def test_sound_comes_from_chat_completions_only():
    block = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
    assert content(Audio("UklG", "wav"), origin="openai") == [block]
    assert refused(Message("user", (Audio("UklG", "wav"),)), origin="ollama") == "messages[].images"


def test_an_image_in_a_result_stays_there():
    use = Message("assistant", (ToolUse("c", "shot"),))
    result = ToolResult("c", (Text("see"), Image(url="https://x")))
    written = items(USER, use, Message("tool", (result,)))[2]["output"]
    assert [block["type"] for block in written] == ["input_text", "input_image"]


def test_a_vendors_block_becomes_words_or_is_refused():
    use = Opaque("anthropic", "server_tool_use", {"name": "web_search", "input": {"query": "q"}})
    written = items(USER, Message("assistant", (use, Text("a"))), USER)[1]["content"]
    assert [block["text"] for block in written] == ["[web_search: q]", "a"]
    strange = Message("assistant", (Opaque("anthropic", "strange", {}), Text("a")))
    assert refused(USER, strange, USER) == "messages[].strange"


def test_cache_marks_are_breakpoints_of_the_newest_models():
    marked = Text("x", cache={"type": "ephemeral"})
    new = Target("gpt-5.6", vendor=True)
    assert content(marked, target=new)[0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert content(marked) == [{"type": "input_text", "text": "x"}]


# --- the same format ---


def test_items_of_one_turn_stay_the_items_they_were():
    first = Text("a", extra={"item": {"phase": "commentary", "id": "msg_1"}})
    search = Opaque("responses", "web_search_call", {"type": "web_search_call", "id": "ws_1"})
    use = ToolUse("c", "n__f", "{}", extra={"id": "fc_1", "namespace": "n"})
    said = Message("assistant", (first, Text("b", extra={"item": {}}), search, use))
    one, two, three, four = items(said, origin="responses")
    assert (one["phase"], one["content"][0]["text"]) == ("commentary", "a")
    assert two["content"][0]["text"] == "b"
    assert three == {"type": "web_search_call", "id": "ws_1"}
    assert (four["name"], four["namespace"], four["id"]) == ("f", "n", "fc_1")


def test_reasoning_of_another_upstream_is_its_text_here_and_nothing_to_the_vendor():
    thought = Thought(
        "hm", signature="c2ln", origin="anthropic", extra={"id": "rs_1", "summary": []}
    )
    said = (USER, Message("assistant", (thought, Text("a"))), USER)
    item = items(*said, origin="responses")[1]
    assert item == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
    }
    assert len(items(*said, origin="responses", target=VENDOR)) == 3
