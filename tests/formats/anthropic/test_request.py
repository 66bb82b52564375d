"""Clients' Anthropic Messages requests, read."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.anthropic.request import parse_request
from formats.canonical import (
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    PluginCall,
    Text,
    Thinking,
    Thought,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.token import write_token
from tests import strategies

HI = [{"role": "user", "content": "hi"}]
MARK = {"type": "ephemeral"}


def parsed(**members):
    return parse_request(
        json.dumps({"model": "m", "max_tokens": 9, "messages": HI} | members).encode()
    )


def content(*blocks, role="user"):
    return parsed(messages=[{"role": role, "content": list(blocks)}]).messages


def refused(**members):
    with pytest.raises(Invalid) as caught:
        parsed(**members)
    return caught.value


def test_a_plain_request():
    request = parsed(stream=True, temperature=1, top_k=3, stop_sequences=["X"], service_tier="auto")
    assert (request.origin, request.model, request.max_tokens, request.stream) == (
        "anthropic",
        "m",
        9,
        True,
    )
    assert request.messages == (Message("user", (Text("hi"),)),)
    assert (request.sampling.temperature, request.sampling.top_k, request.sampling.stop) == (
        1,
        3,
        ("X",),
    )
    assert (request.service_tier, request.include_usage, request.extra) == ("auto", True, {})
    assert request.raw.text.startswith('{"model"')


def test_the_top_level_system_prompt_stands_first_and_is_known_as_such():
    request = parsed(system=[{"type": "text", "text": "S", "cache_control": MARK}])
    assert request.messages[0] == Message("system", (Text("S", cache=MARK),), hoisted=True)
    assert parsed(system="S").messages[0].parts == (Text("S"),)


def test_a_system_message_inside_the_conversation_stays_in_place():
    request = parsed(messages=[*HI, {"role": "system", "content": "late"}])
    assert [(m.role, m.hoisted) for m in request.messages] == [("user", False), ("system", False)]


def test_tool_results_leave_their_message_and_stand_before_it():
    group, rest = content(
        {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "cache_control": MARK},
        {"type": "text", "text": "go on"},
    )
    assert group == Message(
        "tool",
        (ToolResult("t1", (Text("one"),)), ToolResult("t2", is_error=True, cache=MARK)),
    )
    assert rest == Message("user", (Text("go on"),))


def test_a_result_holds_texts_images_and_blocks_of_its_own():
    reference = {"type": "tool_reference", "tool_name": "WebSearch"}
    image = {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}
    (group,) = content({"type": "tool_result", "tool_use_id": "t", "content": [image, reference]})
    assert group.parts[0].parts == (
        Image(url="https://x/a.png"),
        Opaque("anthropic", "tool_reference", reference),
    )


def test_calls_keep_their_input_and_its_order():
    block = {
        "type": "tool_use",
        "id": "t1",
        "name": "f",
        "input": {"b": 1, "a": "ü"},
        "caller": {"type": "direct"},
    }
    (message,) = content(block, role="assistant")
    extra = {"caller": {"type": "direct"}}
    assert message.parts == (
        ToolUse("t1", "f", '{"b":1,"a":"ü"}', {"b": 1, "a": "ü"}, extra=extra),
    )


def test_images_of_all_sources():
    def image(source):
        return content(
            {"type": "image", "source": source, "cache_control": MARK, "transformations": []}
        )[0].parts[0]

    extra = {"transformations": []}
    given = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert image(given) == Image("aGk=", "image/png", cache=MARK, extra=extra)
    assert image({"type": "url", "url": "https://x"}) == Image(
        url="https://x", cache=MARK, extra=extra
    )
    assert image({"type": "file", "file_id": "f"}) == Image(file_id="f", cache=MARK, extra=extra)
    assert isinstance(image({"type": "future"}), Opaque)


def test_documents_of_all_sources():
    def document(source, **members):
        return content({"type": "document", "source": source, **members})[0].parts[0]

    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    assert document(pdf, title="T", context="C", citations={"enabled": True}) == Document(
        data="JVBERg==", mime="application/pdf", name="T", context="C", citations=True
    )
    plain = {"type": "text", "media_type": "text/plain", "data": "words"}
    assert document(plain) == Document(text="words", mime="text/plain")
    assert document({"type": "url", "url": "https://x"}) == Document(url="https://x")
    assert document({"type": "file", "file_id": "f"}) == Document(file_id="f")
    assert document({"type": "content", "content": "words"}).text == "words"
    assert isinstance(document({"type": "content", "content": []}), Opaque)


def test_a_block_without_canonical_meaning_is_kept_whole():
    block = {"type": "search_result", "source": "s", "title": "t", "content": []}
    assert content(block)[0].parts == (Opaque("anthropic", "search_result", block),)


def test_thinking_is_kept_with_its_signature():
    (message,) = content(
        {"type": "thinking", "thinking": "hm", "signature": "SIG=="},
        {"type": "redacted_thinking", "data": "DATA"},
        {"type": "thinking", "thinking": "own", "signature": ""},
        role="assistant",
    )
    assert message.parts == (
        Thought("hm", "SIG==", origin="anthropic"),
        Thought(redacted="DATA", origin="anthropic"),
        Thought("own", origin="anthropic"),
    )


def test_a_token_of_the_router_becomes_the_reasoning_it_carries():
    token = write_token("openai", "the whole reasoning")
    (message,) = content({"type": "thinking", "thinking": "", "signature": token}, role="assistant")
    assert message.parts == (Thought("the whole reasoning", origin="openai"),)


def test_a_damaged_token_is_never_taken_for_a_vendors_signature():
    (message,) = content(
        {"type": "thinking", "thinking": "x", "signature": "llmr1.zz"}, role="assistant"
    )
    assert message.parts == (Thought("x"),)


@pytest.mark.parametrize(
    ("wire", "thinking"),
    [
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            Thinking("auto", display="omitted"),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            Thinking("on", budget_tokens=1024),
        ),
        ({"thinking": {"type": "disabled"}}, Thinking("off")),
        ({"thinking": {"type": "between_tools"}}, Thinking("between")),
        ({"output_config": {"effort": "high"}}, Thinking(effort="high")),
        ({}, None),
    ],
)
def test_thinking_and_effort(wire, thinking):
    assert parsed(**wire).thinking == thinking


def test_members_inside_known_objects_are_kept_under_dotted_names():
    request = parsed(
        thinking={"type": "future_mode", "speed": 2},
        metadata={"user_id": "u", "team": "t"},
        output_config={"task_budget": {"total": 1}},
        context_management={"edits": []},
    )
    assert request.extra == {
        "thinking.type": "future_mode",
        "thinking.speed": 2,
        "metadata.team": "t",
        "output_config.task_budget": {"total": 1},
        "context_management": {"edits": []},
    }
    assert request.user == "u"


def test_a_bound_answer():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert parsed(output_config={"format": form}).output == OutputFormat(
        "schema", {"type": "object"}
    )


def test_tools_are_functions_or_hosted():
    hosted = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}
    function = {
        "name": "f",
        "input_schema": {"type": "object"},
        "defer_loading": True,
        "cache_control": MARK,
        "strict": True,
    }
    tools = parsed(tools=[function, hosted]).tools
    assert (tools[0].kind, tools[0].cache, tools[0].strict) == ("function", MARK, True)
    assert tools[0].extra == {"defer_loading": True}
    assert (tools[1].kind, tools[1].type, tools[1].native) == ("hosted", hosted["type"], hosted)


@pytest.mark.parametrize(
    ("wire", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        ({"type": "none"}, ToolChoice("none"), None),
        (
            {"type": "tool", "name": "f", "disable_parallel_tool_use": False},
            ToolChoice("named", ("f",)),
            True,
        ),
    ],
)
def test_tool_choice(wire, choice, parallel):
    request = parsed(tool_choice=wire)
    assert (request.tool_choice, request.parallel_tool_calls) == (choice, parallel)


def test_plugins_are_the_routers_own():
    request = parsed(plugins=[{"id": "web", "max_results": 3}])
    assert request.plugins == (PluginCall("web", {"max_results": 3}),)
    assert refused(plugins=[{"id": 1}]).path == "plugins[0].id"


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"messages": [*HI, {"role": "user", "content": [{"text": "x"}]}]},
            "messages[1].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
                ]
            },
            "messages[0].content",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "name": "f", "input": "x"}],
                    }
                ]
            },
            "messages[0].content[0].input",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}
                ]
            },
            "messages[0].content[0].source.data",
        ),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": True}, "temperature"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"tools": [{}]}, "tools[0].name"),
        ({"tools": [{"name": ""}]}, "tools[0].name"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"thinking": {}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"cache_control": "yes"}, "cache_control"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
    ],
)
def test_a_mistake_is_named_with_its_place(members, path):
    assert refused(**members).path == path


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"model":"\xff"}', b'{"model":"a","model":"b"}']
)
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(Invalid):
        parse_request(body)


_NAMES = [
    "type",
    "role",
    "content",
    "text",
    "source",
    "id",
    "name",
    "input",
    "thinking",
    "data",
    "tool_use_id",
    "tools",
    "messages",
]
_NOISE = st.recursive(
    st.sampled_from([None, True, 1, "text", "image", "tool_result", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    _NOISE | strategies.json_values,
    st.sampled_from(
        [
            "messages",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "metadata",
            "plugins",
            "content",
        ]
    ),
)
def test_no_json_makes_anything_but_invalid(value, place):
    members = {place: value}
    if place == "content":
        members = {"messages": [{"role": "user", "content": value}]}
    body = json.dumps({"model": "m", "messages": HI} | members).encode()
    with contextlib.suppress(Invalid):
        parse_request(body)
