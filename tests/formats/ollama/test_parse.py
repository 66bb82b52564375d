"""formats/ollama/parse.py"""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from formats.canonical import (
    Audio,
    Image,
    Message,
    OutputFormat,
    Request,
    Sampling,
    Text,
    Thinking,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.ollama.parse import parse_request

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
GIF = base64.b64encode(b"GIF89a" + bytes(16)).decode()
WAV = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(16)).decode()
OBJECT = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}


def parsed(**members) -> Request:
    return parse_request(json.dumps({"model": "m", **members}).encode())


def asked(*messages: dict, **members) -> Request:
    return parsed(messages=list(messages), **members)


def user(content: str = "hi", **members) -> dict:
    return {"role": "user", "content": content, **members}


# --- reading: the top ---


def test_a_request_that_says_nothing_of_streaming_wants_a_stream():
    assert asked(user()).stream
    assert asked(user(), stream=True).stream
    assert not asked(user(), stream=False).stream


def test_usage_is_always_in_a_stream():
    assert asked(user()).include_usage


@pytest.mark.parametrize("members", [{}, {"messages": []}, {"messages": None}])
def test_no_messages_is_a_request_to_load_answered_by_one_object(members):
    request = parsed(keep_alive=0, stream=True, **members)
    assert request.messages == ()
    assert request.keep_alive == 0
    assert not request.stream


@pytest.mark.parametrize("value", [0, -1, 300, 1.5, "5m", "1h30m", "-1"])
def test_keep_alive_stays_as_it_was_sent(value):
    assert asked(user(), keep_alive=value).keep_alive == value


@pytest.mark.parametrize(
    ("think", "meant"),
    [
        (None, None),
        (True, Thinking("on")),
        (False, Thinking("off")),
        ("low", Thinking(effort="low")),
        ("max", Thinking(effort="max")),
    ],
)
def test_thinking_is_a_switch_or_a_level(think, meant):
    assert asked(user(), think=think).thinking == meant


@pytest.mark.parametrize(
    ("form", "meant"),
    [
        (None, None),
        ("", None),
        ("json", OutputFormat("json")),
        (OBJECT, OutputFormat("schema", OBJECT)),
    ],
)
def test_the_form_of_the_answer(form, meant):
    assert asked(user(), format=form).output == meant


def test_options_are_sampling_the_limit_and_others():
    request = asked(
        user(),
        options={
            "temperature": 0,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.1,
            "typical_p": 0.7,
            "repeat_penalty": 1.1,
            "presence_penalty": 1,
            "frequency_penalty": 0.5,
            "seed": 12345678901234567890,
            "stop": ["\n", "user:"],
            "num_predict": 100,
            "num_ctx": 8192,
            "mirostat": 2,
        },
        logprobs=True,
        top_logprobs=3,
    )
    assert request.max_tokens == 100
    assert request.sampling == Sampling(
        temperature=0,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        typical_p=0.7,
        repeat_penalty=1.1,
        presence_penalty=1,
        frequency_penalty=0.5,
        seed=12345678901234567890,
        stop=("\n", "user:"),
        logprobs=True,
        top_logprobs=3,
    )
    assert request.extra == {"options.num_ctx": 8192, "options.mirostat": 2}


@pytest.mark.parametrize("options", [{"num_predict": -1}, {"num_predict": -2}, {"seed": -1}])
def test_no_limit_and_any_seed_are_not_asked_of_other_formats(options):
    request = asked(user(), options=options)
    assert request.max_tokens is None
    assert request.sampling.seed is None
    assert request.extra == {f"options.{name}": value for name, value in options.items()}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [user(), {"content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [user([{"type": "text", "text": "x"}])]}, "messages[0].content"),
        ({"messages": [user(images="x")]}, "messages[0].images"),
        ({"messages": [user(images=[3])]}, "messages[0].images[0]"),
        ({"messages": [user(images=["http://x/y.png"])]}, "messages[0].images[0]"),
        ({"messages": [user(images=["%%%"])]}, "messages[0].images[0]"),
        ({"messages": [user(images=["data:image/png"])]}, "messages[0].images[0]"),
        ({"messages": [user(thinking=1)]}, "messages[0].thinking"),
        ({"messages": [user(tool_calls=[1])]}, "messages[0].tool_calls[0]"),
        ({"messages": [user(tool_calls=[{}])]}, "messages[0].tool_calls[0].function"),
        (
            {"messages": [user(tool_calls=[{"function": {}}])]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            {"messages": [user(tool_calls=[{"function": {"name": "f", "arguments": [1]}}])]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": [{"role": "tool", "tool_name": 1}]}, "messages[0].tool_name"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"options": []}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"top_k": 1.5}}, "options.top_k"),
        ({"options": {"num_predict": "all"}}, "options.num_predict"),
        ({"options": {"stop": [1]}}, "options.stop[0]"),
        ({"options": {"stop": 1}}, "options.stop"),
        ({"think": "very"}, "think"),
        ({"think": 1}, "think"),
        ({"format": "yaml"}, "format"),
        ({"format": []}, "format"),
        ({"keep_alive": True}, "keep_alive"),
        ({"keep_alive": []}, "keep_alive"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": "a"}, "top_logprobs"),
    ],
)
def test_a_mistake_is_told_with_its_place(members, path):
    with pytest.raises(Invalid) as caught:
        parsed(**members)
    assert caught.value.path == path


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"model":"m","model":"n"}'])
def test_a_body_that_is_no_json_object_is_invalid(body):
    with pytest.raises(Invalid):
        parse_request(body)


# --- reading: messages ---


def test_an_assistant_message_with_all_that_it_may_hold():
    request = asked(
        {
            "role": "Assistant",
            "content": "text",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"b": 1}}},
                {"function": {"index": 1, "name": "g"}},
            ],
        }
    )
    assert request.messages == (
        Message(
            "assistant",
            (
                Thought("hm"),
                Text("text"),
                ToolUse("c1", "f", '{"b":1}', {"b": 1}),
                ToolUse("", "g", "", {}),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "text", "value"),
    [
        ({"a": 1}, '{"a":1}', {"a": 1}),
        ('{"a": 1}', '{"a": 1}', {"a": 1}),
        ("", "", {}),
        (None, "", {}),
        ("{broken", "{broken", None),
        ("[1]", "[1]", None),
    ],
)
def test_arguments_come_as_an_object_or_as_its_text(arguments, text, value):
    call = {"function": {"name": "f", "arguments": arguments}}
    use = asked({"role": "assistant", "tool_calls": [call]}).messages[0].parts[0]
    assert (use.arguments, use.input) == (text, value)


def test_numbers_in_arguments_stay_exact():
    call = {"function": {"name": "f", "arguments": {"id": 12345678901234567890123, "x": 1.0}}}
    use = asked({"role": "assistant", "tool_calls": [call]}).messages[0].parts[0]
    assert use.arguments == '{"id":12345678901234567890123,"x":1.0}'


def test_the_results_of_one_turn_are_one_group():
    request = asked(
        user(),
        {"role": "tool", "content": "1", "tool_call_id": "c1", "tool_name": "f"},
        {"role": "tool", "content": "2", "tool_name": "g"},
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "4", "name": "old"},
        user("go on"),
    )
    assert request.messages[1] == Message(
        "tool",
        (
            ToolResult("c1", (Text("1"),), "f"),
            ToolResult("", (Text("2"),), "g"),
            ToolResult("", (Text("3"),)),
            ToolResult("", (Text("4"),), "old"),
        ),
    )
    assert [message.role for message in request.messages] == ["user", "tool", "user"]


def test_images_are_known_by_their_first_bytes():
    parts = asked(user("look", images=[PNG, WAV])).messages[0].parts
    assert parts == (Text("look"), Image(PNG, "image/png"), Audio(WAV, "wav"))


def test_a_data_url_is_taken_for_its_data():
    request = asked(user("look", images=[f"data:image/jpeg;base64,{PNG}"]))
    assert request.messages[0].parts[1] == Image(PNG, "image/png")
    assert request.raw is None  # the server would not take it


def test_empty_content_is_no_part():
    assert asked(user("")).messages == (Message("user", ()),)
    assert asked({"role": "user", "content": None}).messages == (Message("user", ()),)


# --- properties ---

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "model",
                    "messages",
                    "role",
                    "content",
                    "thinking",
                    "images",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "tools",
                    "parameters",
                    "options",
                    "stop",
                    "num_predict",
                    "think",
                    "format",
                    "keep_alive",
                    "user",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
SHAPED = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
                optional={
                    "content": st.none() | st.text(max_size=3),
                    "thinking": st.text(max_size=3),
                    "images": st.lists(st.sampled_from([PNG, WAV, GIF]), max_size=2),
                    "tool_calls": st.lists(
                        st.fixed_dictionaries(
                            {
                                "function": st.fixed_dictionaries(
                                    {
                                        "name": st.sampled_from(["f", "g", ""]),
                                        "arguments": st.dictionaries(st.text(), JSON_VALUES)
                                        | st.sampled_from(["", "{}", "{", "[]"]),
                                    }
                                )
                            },
                            optional={"id": st.sampled_from(["", "a", "b"])},
                        ),
                        max_size=3,
                    ),
                    "tool_name": st.sampled_from(["f", "g"]),
                    "tool_call_id": st.sampled_from(["a", "b", "zzz", ""]),
                },
            ),
            max_size=5,
        ),
        "tools": st.lists(
            st.fixed_dictionaries(
                {
                    "function": st.fixed_dictionaries(
                        {"name": st.sampled_from(["f", "g"])},
                        optional={"parameters": st.dictionaries(st.text(), JSON_VALUES)},
                    )
                }
            ),
            max_size=2,
        ),
        "options": st.dictionaries(
            st.sampled_from(["num_ctx", "temperature", "num_predict", "other"]), st.integers()
        ),
        "think": st.sampled_from([True, False, "low", None]),
        "truncate": st.booleans(),
        "foo": JSON_VALUES,
    },
)


@given(JSON_VALUES | SHAPED)
@example({"model": "m", "messages": [{"role": "user", "images": ["\ud800"]}]})
def test_any_json_is_a_request_or_invalid(value):
    body = json.dumps(value).replace("Infinity", "1e999").encode()
    try:
        request = parse_request(body)
    except Invalid:
        return
    assert request.origin == "ollama"
