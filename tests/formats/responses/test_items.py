"""formats/responses/items.py"""

import pytest

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.responses.items import parse_items
from formats.token import TOKEN_PREFIX, write_token
from tests.strategies import PDF, PNG


def only(item):
    (message,) = parse_items([item])
    return message


def part(block, role="user"):
    (found,) = only({"role": role, "content": [block]}).parts
    return found


def refused(*items):
    with pytest.raises(Invalid) as caught:
        parse_items(list(items))
    return caught.value.path


def call(call_id, name="f", arguments="{}", **more):
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **more,
    }


def output(call_id, value="ok", **more):
    return {"type": "function_call_output", "call_id": call_id, "output": value, **more}


# --- turns ---


def test_the_items_of_one_turn_are_one_message():
    messages = parse_items(
        [
            {"role": "user", "content": "q"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": "let me see"},
            call("c1"),
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "raw"},
            output("c1"),
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
            call("c3"),
            output("c3"),
            {"role": "user", "content": "more"},
        ]
    )
    assert [message.role for message in messages] == [
        *("user", "assistant", "tool", "assistant", "tool", "user")
    ]
    thought, text, first, second = messages[1].parts
    assert (thought.text, text.text) == ("hm", "let me see")
    assert first == ToolUse("c1", "f", "{}", {})
    assert second == ToolUse("c2", "patch", "raw", kind="custom")
    assert messages[2].parts == (
        ToolResult("c1", (Text("ok"),)),
        ToolResult("c2", (Text("done"),), kind="custom"),
    )


def test_two_messages_of_one_turn_stay_two():
    said = [
        {"type": "message", "role": "assistant", "content": "a", "phase": "commentary"},
        {"type": "message", "role": "assistant", "content": "b"},
    ]
    (message,) = parse_items(said)
    assert message.parts == (
        Text("a", extra={"item": {"phase": "commentary"}}),
        Text("b", extra={"item": {}}),
    )


def test_an_item_without_type_is_a_message_or_a_reference():
    assert only({"role": "developer", "content": "x"}) == Message("developer", (Text("x"),))
    assert only("words") == Message("user", (Text("words"),))
    reference = {"id": "msg_1"}
    assert only(reference).parts == (Opaque("responses", "item_reference", reference),)


def test_what_an_item_has_besides_its_meaning_is_kept():
    assert only({"role": "user", "content": "x", "id": "msg_1"}).extra == {"id": "msg_1"}
    (use,) = only(call("c", id="fc_1", status="completed")).parts
    assert use.extra == {"id": "fc_1", "status": "completed"}
    (result,) = only(output("c", id="fco_1")).parts
    assert result.extra == {"id": "fco_1"}


def test_an_item_of_an_unknown_type_is_kept_whole():
    item = {"type": "web_search_call", "id": "ws_1", "action": {"query": "q"}}
    assert only(item) == Message("assistant", (Opaque("responses", "web_search_call", item),))
    result = {"type": "computer_call_output", "call_id": "c"}
    assert only(result) == Message("user", (Opaque("responses", "computer_call_output", result),))


# --- calls and results ---


def test_a_call_in_a_namespace_has_a_flat_name():
    (use,) = only(call("c", name="spawn", namespace="agents")).parts
    assert use.name == "agents__spawn"
    assert use.extra == {"namespace": "agents"}


def test_arguments_are_read_as_far_as_they_are_an_object():
    assert only(call("c", arguments='{"a":1}')).parts[0].input == {"a": 1}
    assert only(call("c", arguments={"a": 1})).parts[0].arguments == '{"a":1}'
    assert only(call("c", arguments="[1]")).parts[0].input is None
    assert only(call("c", arguments=None)).parts[0].input == {}


def test_a_result_is_text_parts_or_whatever_a_client_left_it():
    assert only(output("c", [{"type": "input_text", "text": "a"}])).parts[0].parts == (Text("a"),)
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
    found = only(output("c", [image])).parts[0].parts
    assert found == (Image(data=PNG, mime="image/png", detail="auto"),)
    assert only(output("c", {"ok": True})).parts[0].parts == (Text('{"ok":true}'),)
    assert only(output("c", None)).parts[0].parts == ()


# --- reasoning ---


def thought(**members):
    (found,) = only({"type": "reasoning", "id": "rs_1", "summary": [], **members}).parts
    return found


def test_reasoning_shows_its_own_words_and_else_their_summary():
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    assert thought(summary=summary).text == "a\n\nb"
    own = [{"type": "reasoning_text", "text": "words"}]
    assert thought(summary=summary, content=own).text == "words"
    assert thought(summary=summary, content=None).text == "a\n\nb"


def test_a_vendors_payload_is_kept_as_it_is():
    found = thought(encrypted_content="gAAA")
    assert (found.signature, found.origin) == ("gAAA", "responses")


def test_a_token_of_ours_is_what_it_holds():
    sealed = write_token("anthropic", "whole", "c2ln")
    found = thought(summary=[{"type": "summary_text", "text": "x"}], encrypted_content=sealed)
    assert (found.text, found.signature, found.origin) == ("whole", "c2ln", "anthropic")
    assert thought(encrypted_content=write_token("ollama", "hm")).text == "hm"


def test_a_damaged_token_is_nobodys_signature():
    found = thought(encrypted_content=TOKEN_PREFIX + "!!")
    assert found == Thought(origin="responses", extra={"id": "rs_1", "summary": []})


# --- parts ---


def test_texts_and_refusals():
    assert part({"type": "input_text", "text": "a"}) == Text("a")
    assert part({"type": "text", "text": "a"}) == Text("a")
    note = {"type": "url_citation", "url": "https://x"}
    block = {"type": "output_text", "text": "a", "annotations": [note], "logprobs": []}
    assert part(block, "assistant") == Text("a", citations=(note,))
    assert part({"type": "refusal", "refusal": "no"}, "assistant") == Text("no", refusal=True)
    marked = {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert part(marked) == Text("a", cache={"mode": "explicit"})


def test_images():
    url = f"data:image/jpg;base64,{PNG}"
    block = {"type": "input_image", "image_url": url, "detail": "low"}
    assert part(block) == Image(data=PNG, mime="image/png", detail="low")
    assert part({"type": "input_image", "image_url": "https://x/a.png"}) == Image(
        url="https://x/a.png"
    )
    assert part({"type": "input_image", "image_url": {"url": url}}).data == PNG
    assert part({"type": "input_image", "file_id": "file_1"}) == Image(file_id="file_1")


def test_files():
    pdf = {"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}", "filename": "a"}
    assert part(pdf) == Document(data=PDF, mime="application/pdf", name="a")
    assert part({"type": "input_file", "file_data": PDF}).mime == "application/pdf"
    text = {"type": "input_file", "file_data": "data:text/plain;base64,aGk="}
    assert part(text) == Document(text="hi", mime="text/plain")
    assert part({"type": "input_file", "file_url": "https://x"}) == Document(url="https://x")
    assert part({"type": "input_file", "file_id": "f"}) == Document(file_id="f")


def test_sound_and_the_unknown():
    block = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
    assert part(block) == Audio("UklG", "wav")
    assert part({"type": "input_video", "x": 1}).type == "input_video"


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (1, "input[0]"),
        ({"content": "x"}, "input[0].role"),
        ({"role": "tool", "content": "x"}, "input[0].role"),
        ({"role": "user", "content": 1}, "input[0].content"),
        ({"role": "user", "content": [{}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]},
            "input[0].content[0].image_url",
        ),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "input_file", "file_data": "?"}]},
            "input[0].content[0].file_data",
        ),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "input[0].content[0].input_audio"),
        ({"type": "function_call", "call_id": "c"}, "input[0].name"),
        ({"type": "function_call", "call_id": 1, "name": "f"}, "input[0].call_id"),
        ({"type": "reasoning", "summary": "x"}, "input[0].summary"),
    ],
)
def test_a_mistake_is_named_with_its_place(item, path):
    assert refused(item) == path
