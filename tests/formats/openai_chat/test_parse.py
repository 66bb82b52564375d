"""What clients of Chat Completions send, and what of it is refused, and where."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Audio,
    Document,
    Image,
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
from formats.openai_chat.parse import parse_request

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 8).decode()
PDF = base64.b64encode(b"%PDF-1.7 x").decode()
USER = {"role": "user", "content": "hi"}


def parse(**body):
    return parse_request(json.dumps({"model": "m", "messages": [USER], **body}).encode())


def parts_of(message):
    return parse(messages=[message]).messages[0].parts


def refused(**body):
    with pytest.raises(Invalid) as caught:
        parse(**body)
    return str(caught.value)


def part_refused(*parts):
    return refused(messages=[{"role": "user", "content": list(parts)}])


# --- settings ---


def test_the_smallest_request():
    request = parse()
    assert (request.origin, request.model, request.stream) == ("openai", "m", False)
    assert request.messages[0].parts == (Text("hi"),)
    assert request.max_tokens is None
    assert request.extra == {}
    assert request.raw is not None


def test_all_sampling_settings_are_read_as_they_are():
    request = parse(
        temperature=0, top_p=0.9, top_k=40, min_p=0.1, typical_p=1, repetition_penalty=1.1,
        frequency_penalty=-1, presence_penalty=2, seed=2**70, n=2, logprobs=True, top_logprobs=3,
        logit_bias={"1": -100}, stop="END",
    )  # fmt: skip
    sampling = request.sampling
    assert type(sampling.temperature) is int
    assert sampling.seed == 2**70
    assert sampling.repeat_penalty == 1.1
    assert sampling.stop == ("END",)
    assert (sampling.n, sampling.top_k, sampling.logit_bias) == (2, 40, {"1": -100})


def test_the_new_name_of_the_token_limit_wins_over_the_old_one():
    assert parse(max_tokens=5).max_tokens == 5
    assert parse(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_effort_none_means_thinking_off_and_an_unknown_effort_stays_with_its_format():
    assert parse(reasoning_effort="none").thinking == Thinking("off", "none")
    assert parse(reasoning_effort="high").thinking == Thinking(None, "high")
    request = parse(reasoning_effort="default")
    assert request.thinking is None
    assert request.extra == {"reasoning_effort": "default"}


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat("json")),
        ({"type": "json_object", "schema": {"a": 1}}, OutputFormat("schema", {"a": 1})),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
            OutputFormat("schema", {}, "n", strict=True),
        ),
    ],
)
def test_output_formats(wanted, output):
    assert parse(response_format=wanted).output == output


def test_an_output_format_of_one_server_stays_with_its_format():
    request = parse(response_format={"type": "grammar", "grammar": "x"})
    assert request.output is None
    assert request.extra["response_format"] == {"type": "grammar", "grammar": "x"}


def test_whether_usage_is_wanted_and_what_else_stood_beside_it():
    request = parse(
        stream=True, stream_options={"include_usage": True, "include_obfuscation": False}
    )
    assert request.include_usage
    assert request.extra == {"stream_options": {"include_obfuscation": False}}
    assert not parse(stream=True).include_usage


def test_plugins_are_the_routers_and_leave_the_body():
    request = parse(plugins=[{"id": "web", "max_results": 3}])
    assert request.plugins == (PluginCall("web", {"max_results": 3}),)
    assert request.extra == {}
    assert refused(plugins=[{"max": 1}]) == "plugins[0].id: this field is required"
    assert refused(plugins={"id": "x"}).startswith("plugins: expected a list")


def test_unknown_members_are_kept():
    request = parse(cache_prompt=True, messages=[{**USER, "x": 1}])
    assert request.extra == {"cache_prompt": True}
    assert request.messages[0].extra == {"x": 1}


# --- messages ---


def test_roles_stay_in_place_and_results_that_belong_together_are_one_group():
    request = parse(
        messages=[
            {"role": "developer", "content": "d"},
            USER,
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
            {"role": "system", "content": "s", "name": "n"},
        ]
    )
    assert [m.role for m in request.messages] == ["developer", "user", "tool", "system"]
    assert request.messages[2].parts == (
        ToolResult("a", (Text("1"),)),
        ToolResult("b", (Text("2"),)),
    )
    assert request.messages[3].name == "n"


def test_an_assistants_turn_is_thought_then_text_then_refusal_then_calls():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1e3}'}}
    message = {"role": "assistant", "content": "t", "reasoning_content": "r", "refusal": "no"}
    assert parts_of({**message, "tool_calls": [call]}) == (
        Thought("r", origin="openai"),
        Text("t"),
        Text("no", refusal=True),
        ToolUse("c", "f", '{"a":1e3}', {"a": 1e3}),
    )


def test_the_other_name_of_reasoning_is_read_too():
    assert parts_of({"role": "assistant", "content": None, "reasoning": "r"}) == (
        Thought("r", origin="openai"),
    )


def test_odd_calls_of_known_clients_are_taken():
    calls = [
        {"function": {"name": "f", "arguments": {"a": 1}}},
        {"id": "x", "type": "function", "function": {"name": "g", "arguments": None}, "y": 2},
        {"id": "z", "type": "custom", "custom": {"name": "h", "input": "raw"}},
        {"id": "w", "type": "function", "function": {"name": "i", "arguments": "[1"}},
    ]
    parts = parts_of({"role": "assistant", "tool_calls": calls})
    assert parts[0] == ToolUse("", "f", '{"a":1}', {"a": 1})
    assert parts[1] == ToolUse("x", "g", "", {}, extra={"y": 2})
    assert parts[2] == ToolUse("z", "h", "raw", kind="custom")
    assert parts[3] == ToolUse("w", "i", "[1", None)


def test_an_empty_list_of_calls_is_none_at_all():
    assert parts_of({"role": "assistant", "content": "t", "tool_calls": []}) == (Text("t"),)


def test_functions_and_their_calls_are_read_as_tools():
    request = parse(
        messages=[
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": "r"},
        ],
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    assert request.messages[1].parts == (ToolUse("", "f", "", {}),)
    assert request.messages[2].parts == (ToolResult("", (Text("r"),), "f"),)
    assert request.tools[0].name == "f"
    assert request.tool_choice == ToolChoice("named", ("f",))
    assert request.extra == {}


# --- parts ---


@pytest.mark.parametrize("url", [f"data:image/png;base64,{PNG}", f"DATA:image/jpg;base64,{PNG}"])
@pytest.mark.parametrize("bare", [True, False])
def test_an_image_by_data_url_is_what_its_bytes_say(url, bare):
    value = url if bare else {"url": url}
    parts = parts_of({"role": "user", "content": [{"type": "image_url", "image_url": value}]})
    assert parts == (Image(PNG, "image/png"),)


def test_an_image_by_url_keeps_its_detail_and_unknown_members():
    inner = {"url": "https://x/y.png", "detail": "low", "format": "png"}
    parts = parts_of(
        {"role": "user", "content": [{"type": "image_url", "image_url": inner, "z": 1}]}
    )
    extra = {"z": 1, "image_url": {"format": "png"}}
    assert parts == (Image(url="https://x/y.png", detail="low", extra=extra),)


def test_files_audio_and_cache_marks():
    text = base64.b64encode("Grüße".encode()).decode()
    mark = {"mode": "explicit"}
    parts = parts_of(
        {
            "role": "user",
            "content": [
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
                {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
                {"type": "file", "file": {"file_data": f"data:text/plain;base64,{text}"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "text", "text": "t", "prompt_cache_breakpoint": mark},
                {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
            ],
        }
    )
    assert parts[0] == Document(PDF, mime="application/pdf")
    assert parts[1] == Document(PDF, mime="application/pdf", name="a.pdf")
    assert parts[2] == Document(text="Grüße", mime="text/plain")
    assert parts[3] == Document(file_id="file-1")
    assert parts[4] == Audio("AA==", "wav")
    assert parts[5] == Text("t", cache=mark)
    assert isinstance(parts[6], Opaque)
    assert parts[6].type == "video_url"


# --- tools ---


def test_tools_of_all_kinds():
    tools = parse(
        tools=[
            {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"a": 1}}},
            {"function": {"name": "g", "x": 1}, "y": 2},
            {"type": "custom", "custom": {"name": "h", "format": {"type": "text"}}},
            {"type": "web_search", "max_uses": 1},
        ]
    ).tools
    assert [(t.name, t.kind) for t in tools] == [
        ("f", "function"), ("g", "function"), ("h", "custom"), ("web_search", "hosted"),
    ]  # fmt: skip
    assert tools[0].strict is True
    assert tools[0].parameters == {"a": 1}
    assert tools[1].extra == {"y": 2, "function": {"x": 1}}
    assert tools[2].format == {"type": "text"}
    assert tools[3].native == {"type": "web_search", "max_uses": 1}


@pytest.mark.parametrize(
    ("sent", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", ("f",))),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice("named", ("f",), kind="custom")),
        ({"type": "web_search"}, ToolChoice("named", ("web_search",), kind="hosted")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            ToolChoice("allowed", ("f",), must=True),
        ),
    ],
)
def test_tool_choices(sent, choice):
    assert parse(tool_choice=sent).tool_choice == choice


# --- what is refused, and where ---


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": None}, "model: this field is required"),
        ({"model": 5}, "model: expected a string, got a whole number"),
        ({"model": ""}, "model: the model name is empty"),
        ({"messages": None}, "messages: this field is required"),
        ({"messages": []}, "messages: there must be at least one message"),
        ({"messages": "not a list"}, "messages: expected a list, got a string"),
        ({"messages": [5]}, "messages[0]: expected an object, got a whole number"),
        ({"messages": [{}]}, "messages[0].role: this field is required"),
        ({"messages": [{"role": "x", "content": ""}]}, "messages[0].role: unknown role 'x'"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: this field is required"),
        (
            {"messages": [USER, {"role": "user", "content": 5}]},
            "messages[1].content: expected a string or a list of parts, got a whole number",
        ),
        ({"stream": "yes"}, "stream: expected true or false, got a string"),
        ({"max_tokens": "5"}, "max_tokens: expected a whole number, got a string"),
        ({"temperature": True}, "temperature: expected a number, got true or false"),
        ({"stop": [1]}, "stop[0]: expected a string, got a whole number"),
        ({"tools": [{"type": "function"}]}, "tools[0].function: this field is required"),
        ({"tools": [{}]}, "tools[0].type: this field is required"),
        (
            {"tools": [{"type": "function", "function": {"name": ""}}]},
            "tools[0].function.name: the name is empty",
        ),
        ({"tool_choice": "whatever"}, "tool_choice: unknown tool choice 'whatever'"),
        ({"response_format": {}}, "response_format.type: this field is required"),
        ({"stream_options": 1}, "stream_options: expected an object, got a whole number"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "x"}]}]},
            "messages[0].tool_calls[0].type: unknown kind of tool call 'x'",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name: this field is required",
        ),
        ({"messages": [{"role": "function"}]}, "messages[0].name: this field is required"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(body, said):
    assert refused(**body) == said


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "foo"}, "messages[0].content[0].type: unknown content part 'foo'"),
        ({"text": "x"}, "messages[0].content[0].type: this field is required"),
        ({"type": "text"}, "messages[0].content[0].text: this field is required"),
        (
            {"type": "image_url", "image_url": {"url": "ftp://x"}},
            "messages[0].content[0].image_url.url: expected an http(s) URL or a data URL",
        ),
        ({"type": "file", "file": {}}, "messages[0].content[0].file: one of file_data and file_id is required"),
    ],
)  # fmt: skip
def test_a_bad_part_is_named_with_its_place(part, said):
    assert part_refused(part) == said


def test_a_broken_data_url_is_named_with_its_place():
    bad = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@"}}
    assert part_refused({"type": "text", "text": "x"}, bad).startswith(
        "messages[0].content[1].image_url.url: "
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff{}", b'{"model":"a","model":"b"}', b"null", b'{"a":NaN}']
)
def test_a_body_that_is_no_object_is_invalid(body):
    with pytest.raises(Invalid):
        parse_request(body)


names = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "tools",
        "function",
        "name",
        "arguments",
        "tool_calls",
        "id",
        "stop",
        "response_format",
        "json_schema",
        "schema",
        "plugins",
        "tool_choice",
        "allowed_tools",
        "file",
        "file_data",
        "input_audio",
        "data",
        "format",
        "stream_options",
        "functions",
        "function_call",
        "reasoning_effort",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "user", "assistant", "tool", "function", "text", "image_url", "file", "json_schema",
         "data:,", "data:image/png;base64,AAAA", "custom", "allowed_tools", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(names, values, max_size=6), st.lists(values, max_size=3))
def test_no_json_makes_it_raise_anything_but_invalid(body, messages):
    for sent in (
        body,
        {"model": "m", "messages": messages, **body},
        {**body, "messages": messages},
    ):
        with suppress(Invalid):
            parse_request(json.dumps(sent).encode())
