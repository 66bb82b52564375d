"""Canonical requests for upstreams that speak Chat Completions: what is sent, what is noted."""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Request,
    Sampling,
    Target,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid, Unsupported
from formats.ledger import Ledger
from formats.openai_chat.parse import parse_request
from formats.openai_chat.write import write_request
from tests import strategies

VENDOR = Target("gpt-4.1", vendor=True)
LOCAL = Target("local")
USER = Message("user", (Text("hi"),))
TOOL = Tool("f", parameters={"type": "object"})


def written(request, target=LOCAL, ledger=None):
    return json.loads(write_request(request, ledger or Ledger(), target))


def from_anthropic(*messages, **fields):
    return Request("anthropic", "m", messages or (USER,), **fields)


def messages_of(*messages, target=LOCAL, origin="anthropic"):
    return written(Request(origin, "m", messages), target)["messages"]


def losses(request, target=LOCAL):
    ledger = Ledger()
    write_request(request, ledger, target)
    return {loss.path: (loss.what, loss.harmless) for loss in ledger.entries}


# --- the same format ---


def same(body, target=LOCAL):
    """What a request of this format becomes after a plugin has touched it."""
    request = replace(parse_request(json.dumps(body).encode()), raw=None)
    ledger = Ledger()
    out = json.loads(write_request(request, ledger, target))
    return out, ledger


def test_blocks_of_a_vendors_own_tools_become_text():
    use = Opaque("anthropic", "server_tool_use", {"name": "web_search", "input": {"query": "q"}})
    result = Opaque("anthropic", "web_search_tool_result", {"content": [{"title": "T"}]})
    out = messages_of(USER, Message("assistant", (use, result, Text("so"))), USER)
    assert out[1]["content"] == "[web_search: q]Tso"


def test_everything_a_client_can_say_comes_back():
    body = {
        "model": "local",
        "messages": [
            {"role": "system", "content": "s", "name": "n", "x": 1},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://x/y", "detail": "low", "z": 1},
                    },
                    {"type": "file", "file": {"file_id": "file-1"}, "w": 1},
                    {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "r",
                "tool_calls": [
                    {
                        "id": "functions.f:0",
                        "type": "function",
                        "function": {"name": "f.x", "arguments": '{"a": 1.0}', "q": 1},
                        "extra_content": {"sig": "s"},
                    },
                    {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "raw"}},
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "functions.f:0",
                "content": "r",
                "name": "f.x",
                "y": 1,
            },
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "assistant", "content": "", "refusal": "no"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f.x", "strict": True, "v": 1}, "u": 2},
            {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "g"}},
        "parallel_tool_calls": False,
        "max_tokens": 5,
        "temperature": 1.5,
        "top_k": 40,
        "seed": 2**80,
        "n": 2,
        "logprobs": True,
        "stop": ["a", "b", "c", "d", "e"],
        "reasoning_effort": "none",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"a": 1}},
        },
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "user": "u",
        "metadata": {"k": "v"},
        "prompt_cache_key": "k",
        "service_tier": "flex",
        "verbosity": "low",
        "modalities": ["text"],
        "future": {"a": [1]},
    }
    out, ledger = same(body)
    assert out == body
    assert ledger.entries == []


def test_functions_come_back_as_functions():
    body = {
        "model": "local",
        "messages": [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": "{}"},
            },
            {"role": "function", "name": "f", "content": "r"},
        ],
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
    }
    assert same(body)[0] == body


def test_calls_without_ids_get_some_that_results_agree_with():
    body = {
        "model": "local",
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "r"},
        ],
    }
    messages = same(body)[0]["messages"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] != ""


def client_bodies():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    user = {"role": "user", "content": "x"}
    return [
        {"model": "local", "messages": [user], "stream": True},
        {"model": "local", "messages": [user, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "tools": [tool], "tool_choice": "auto"},
        {"model": "local", "messages": [user, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "r"}], "tools": [tool]},
    ]  # fmt: skip


@pytest.mark.parametrize("body", client_bodies())
def test_what_real_clients_send_comes_back(body):
    out, ledger = same(body, Target("local", include_usage=False))
    assert out == body
    assert ledger.entries == []


# --- messages of other formats ---


def test_images_of_tool_results_follow_the_last_result_in_one_message():
    """The worked example of an agent's turn with a screenshot and a failed call."""
    ledger = Ledger()
    request = from_anthropic(
        USER,
        Message(
            "assistant",
            (
                Thought("", signature="S", origin="anthropic"),
                Text("Looking."),
                ToolUse("toolu_1", "shot", "", {}),
                ToolUse("toolu_2", "ls", "", {"p": "/"}),
            ),
        ),
        Message(
            "tool",
            (
                ToolResult("toolu_1", (Text("ok"), Image("iVBOR", "image/png"))),
                ToolResult("toolu_2", (Text("denied"),), is_error=True),
            ),
        ),
        Message("user", (Text("Go on."),)),
    )
    assert written(request, ledger=ledger)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "shot", "arguments": "{}"}},
                {"id": "toolu_2", "type": "function", "function": {"name": "ls", "arguments": '{"p":"/"}'}},
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "toolu_1",
            "content": "ok\n[image 1 of tool result toolu_1 follows in the next message]",
        },
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: denied"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Images from tool results:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}},
                {"type": "text", "text": "Go on."},
            ],
        },
    ]  # fmt: skip
    assert "messages[].thinking" in ledger.names()


def test_images_of_results_at_the_end_get_a_message_of_their_own():
    out = messages_of(
        USER,
        Message("assistant", (ToolUse("c", "f"),)),
        Message("tool", (ToolResult("c", (Image("iVBOR", "image/png"),)),)),
    )
    assert out[-1]["role"] == "user"
    assert out[-1]["content"][1]["type"] == "image_url"
    assert out[1]["content"] is None


def test_instructions_of_others_are_system_messages_in_their_place():
    late = Message("system", (Text("late"),))
    first = Message("system", (Text("a"), Text("b")), hoisted=True)
    out = messages_of(first, USER, late, target=VENDOR)
    assert [(m["role"], m["content"]) for m in out] == [
        ("system", "a\nb"), ("user", "hi"), ("system", "late"),
    ]  # fmt: skip
    out = messages_of(first, USER, target=Target("m", system_role="developer"))
    assert out[0]["role"] == "developer"


def test_pieces_of_an_assistants_text_run_on():
    out = messages_of(USER, Message("assistant", (Text("one"), Text(" two"))), USER)
    assert out[1]["content"] == "one two"


@pytest.mark.parametrize(
    ("echo", "vendor", "expected"),
    [
        ("reasoning_content", False, {"reasoning_content": "why"}),
        ("reasoning", False, {"reasoning": "why"}),
        ("none", False, {}),
        ("reasoning_content", True, {}),
    ],
)
def test_reasoning_goes_back_under_the_name_the_server_knows(echo, vendor, expected):
    turn = Message("assistant", (Thought("why"), Text("so")))
    target = Target("m", vendor=vendor, reasoning_echo=echo)
    out = messages_of(USER, turn, USER, target=target, origin="ollama")[1]
    assert {k: v for k, v in out.items() if k.startswith("reasoning")} == expected


def test_a_conversation_that_ends_with_the_assistant_is_refused_unless_it_can_be_continued():
    request = from_anthropic(USER, Message("assistant", (Text("Once"),)))
    with pytest.raises(Unsupported, match=r"messages\[1\]: the last message"):
        written(request)
    able = Target("m", capabilities=frozenset({"prefill"}))
    assert written(request, able)["messages"][-1] == {"role": "assistant", "content": "Once"}
    own = Request("openai", "m", request.messages)
    assert written(own)["messages"][-1]["content"] == "Once"


def test_documents_and_audio():
    text = Document(text="words", name="t.txt", mime="text/plain", citations=True)
    pdf = Document("JVBERi0=", mime="application/pdf")
    request = from_anthropic(Message("user", (text, pdf, Audio("AA==", "wav"))))
    assert written(request)["messages"][0]["content"] == [
        {"type": "text", "text": '<document title="t.txt">\nwords\n</document>'},
        {
            "type": "file",
            "file": {
                "file_data": "data:application/pdf;base64,JVBERi0=",
                "filename": "document.pdf",
            },
        },
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    assert "messages[].document.citations" in losses(request)


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (Image(file_id="f"), "messages[].image"),
        (Document(file_id="f"), "messages[].document"),
        (Document(url="https://x/y.pdf"), "messages[].document"),
        (Opaque("anthropic", "container_upload", {}), "messages[].container_upload"),
    ],
)
def test_what_only_its_vendor_can_read_is_refused(part, path):
    with pytest.raises(Unsupported) as caught:
        written(from_anthropic(Message("user", (part,))))
    assert caught.value.path == path


def test_foreign_ids_and_names_become_legal_ones_alike_in_all_places():
    name = "mcp.read:file"
    request = from_anthropic(
        USER,
        Message("assistant", (ToolUse("a\nb", name, "{}", {}),)),
        Message("tool", (ToolResult("a\nb", (Text("r"),)),)),
        tools=(Tool(name),),
        tool_choice=ToolChoice("named", (name,)),
    )
    out = written(request)
    sent = out["tools"][0]["function"]["name"]
    assert sent == "mcp_read_file"
    assert out["messages"][1]["tool_calls"][0]["function"]["name"] == sent
    assert out["tool_choice"]["function"]["name"] == sent
    assert out["messages"][1]["tool_calls"][0]["id"] == out["messages"][2]["tool_call_id"]
    assert "\n" not in out["messages"][2]["tool_call_id"]


# --- tools ---


def test_a_schema_without_a_type_gets_one_and_the_rest_is_untouched():
    schema = {"properties": {"a": {"type": "string", "minLength": 1}}, "$schema": "x"}
    out = written(from_anthropic(tools=(Tool("f", "d", schema, strict=True),)))
    assert out["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", **schema},
                "strict": True,
            },
        }
    ]


def test_a_vendors_tool_is_left_out_and_noted_or_refused_when_nothing_else_is_left():
    hosted = Tool("web_search", kind="hosted", type="web_search_20250305")
    request = from_anthropic(tools=(TOOL, hosted))
    assert len(written(request)["tools"]) == 1
    assert losses(request) == {"tools[].type=web_search_20250305": ("dropped", False)}
    for broken in (
        replace(request, tools=(hosted,)),
        replace(request, tool_choice=ToolChoice("named", ("web_search",))),
    ):
        with pytest.raises(Unsupported):
            written(broken)


@pytest.mark.parametrize(
    ("choice", "target", "expected"),
    [
        (ToolChoice("none"), LOCAL, "none"),
        (ToolChoice("required"), LOCAL, "required"),
        (ToolChoice("named", ("f",)), LOCAL, {"type": "function", "function": {"name": "f"}}),
        (ToolChoice("allowed", ("f",), must=True), LOCAL, "required"),
        (
            ToolChoice("allowed", ("f",)),
            VENDOR,
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        ),
    ],
)
def test_tool_choices(choice, target, expected):
    request = from_anthropic(tools=(TOOL, Tool("g")), tool_choice=choice)
    out = written(request, target)
    assert out["tool_choice"] == expected
    if choice.mode == "allowed" and target is LOCAL:
        assert [t["function"]["name"] for t in out["tools"]] == ["f"]


def test_a_choice_without_tools_is_not_sent():
    request = from_anthropic(tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    out = written(request)
    assert "tool_choice" not in out
    assert "parallel_tool_calls" not in out


# --- settings ---


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (LOCAL, "max_tokens"),
        (VENDOR, "max_completion_tokens"),
        (Target("m", max_tokens_field="max_completion_tokens"), "max_completion_tokens"),
    ],
)
def test_the_token_limit_is_capped_and_named_as_the_target_wants(target, name):
    request = Request("ollama", "m", (USER,), max_tokens=9000)
    assert written(request, target)[name] == 9000
    capped = replace(target, max_output=4096)
    assert written(request, capped)[name] == 4096
    assert losses(request, capped) == {"options.num_predict": ("clamped", False)}
    assert name not in written(from_anthropic(), target)


def test_an_answer_of_no_tokens_cannot_be_asked_for():
    with pytest.raises(Unsupported, match="max_tokens"):
        written(from_anthropic(max_tokens=0))


def test_local_settings_go_to_local_servers_under_both_names_and_are_noted_for_the_vendor():
    sampling = Sampling(top_k=40, min_p=0.1, repeat_penalty=1.1, temperature=0.5)
    request = Request("ollama", "m", (USER,), sampling=sampling)
    out = written(request)
    assert (out["top_k"], out["min_p"]) == (40, 0.1)
    assert (out["repeat_penalty"], out["repetition_penalty"]) == (1.1, 1.1)
    assert "top_k" not in written(request, VENDOR)
    assert set(losses(request, VENDOR)) == {
        "options.top_k", "options.min_p", "options.repeat_penalty",
    }  # fmt: skip


def test_the_vendors_reasoning_models_are_spared_what_they_refuse():
    sampling = Sampling(temperature=0.3, top_p=1, frequency_penalty=0, stop=("x",))
    request = from_anthropic(sampling=sampling)
    out = written(request, Target("gpt-5.6", vendor=True))
    assert "temperature" not in out
    assert "stop" not in out
    assert (out["top_p"], out["frequency_penalty"]) == (1, 0)
    assert set(losses(request, Target("o3-mini", vendor=True))) == {"temperature", "stop_sequences"}
    assert written(request, Target("gpt-5.6"))["temperature"] == 0.3


def test_the_vendor_takes_four_stop_sequences_and_the_router_looks_out_for_the_rest():
    request = from_anthropic(sampling=Sampling(stop=tuple("abcdef")))
    assert written(request, VENDOR)["stop"] == list("abcd")
    assert losses(request, VENDOR) == {"stop_sequences": ("emulated", True)}
    assert written(request)["stop"] == list("abcdef")


@pytest.mark.parametrize(
    ("thinking", "model", "effort"),
    [
        (Thinking("off"), "gpt-5.2", "none"),
        (Thinking("off"), "gpt-5-mini", "minimal"),
        (Thinking("auto", "xhigh"), "m", "xhigh"),
        (Thinking(None, "max"), "m", "max"),
        (Thinking("on", None, 2048), "m", "low"),
        (Thinking("on", None, 8000), "m", "medium"),
        (Thinking("on", None, 24576), "m", "high"),
        (Thinking("on", None, 31999), "m", "xhigh"),
        (Thinking("auto"), "m", None),
    ],
)
def test_efforts(thinking, model, effort):
    out = written(from_anthropic(thinking=thinking), Target(model, vendor=True))
    assert out.get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("thinking", "switch"),
    [
        (Thinking("off"), {"enable_thinking": False}),
        (Thinking("on", None, 2048), {"enable_thinking": True}),
        (Thinking("auto"), None),
        (None, None),
    ],
)
def test_thinking_is_switched_in_the_template_where_there_is_one(thinking, switch):
    request = from_anthropic(thinking=thinking)
    out = written(request, Target("m", template_thinking=True))
    assert out.get("chat_template_kwargs") == switch
    assert "chat_template_kwargs" not in written(request)
    assert "chat_template_kwargs" not in written(request, VENDOR)


def test_what_the_owner_tells_the_template_stays_beside_the_switch():
    own = {"chat_template_kwargs": {"tone": "dry", "enable_thinking": True}}
    target = Target("m", template_thinking=True, options=own)
    out = written(from_anthropic(thinking=Thinking("off")), target)
    assert out["chat_template_kwargs"] == {"tone": "dry", "enable_thinking": False}
    assert written(from_anthropic(), target)["chat_template_kwargs"] == own["chat_template_kwargs"]


def test_no_effort_is_asked_of_a_model_that_does_not_reason():
    request = from_anthropic(thinking=Thinking("auto", "high", display="omitted"))
    plain = Target("m", capabilities=frozenset({"tools"}))
    assert "reasoning_effort" not in written(request, plain)
    assert losses(request, plain)["thinking"] == ("dropped", False)


def test_output_formats_of_others_get_a_name_and_are_strict_only_where_that_is_legal():
    strict = {
        "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
        "additionalProperties": False,
    }  # fmt: skip
    for schema, expected in ((strict, True), ({"type": "object", "properties": {"a": {}}}, False)):
        out = written(from_anthropic(output=OutputFormat("schema", schema)))
        assert out["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": schema, "strict": expected},
        }
    out = written(Request("ollama", "m", (USER,), output=OutputFormat("json")))
    assert out["response_format"] == {"type": "json_object"}


def test_cache_marks_become_breakpoints_only_where_there_are_such():
    marked = Message("user", (Text("a", cache={"type": "ephemeral", "ttl": "1h"}), Text("b")))
    request = from_anthropic(marked)
    out = written(request, Target("gpt-5.6-sol", vendor=True))
    assert out["messages"][0]["content"][0] == {
        "type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
    }  # fmt: skip
    assert written(request, Target("gpt-5.4", vendor=True))["messages"][0]["content"] == "a\nb"
    assert losses(request) == {"cache_control": ("dropped", True)}


def test_unknown_members_of_other_formats_are_noted_under_their_own_names():
    request = Request(
        "ollama", "m", (USER,), keep_alive="5m", extra={"foo": 1, "options": {"num_ctx": 1, "mirostat": 1}}
    )  # fmt: skip
    assert losses(request) == {
        "foo": ("dropped", False),
        "options.num_ctx": ("dropped", True),
        "options.mirostat": ("dropped", False),
        "keep_alive": ("dropped", True),
    }


def test_usage_is_always_asked_for_in_streams_unless_configured_otherwise():
    request = from_anthropic(stream=True)
    assert written(request)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in written(request, Target("m", include_usage=False))
    assert "stream" not in written(from_anthropic())


@pytest.mark.slow
@given(strategies.requests(), strategies.targets)
def test_every_request_is_written_or_refused_by_name(request, target):
    ledger = Ledger()
    try:
        body = write_request(request, ledger, target)
    except Invalid:
        return
    out = json.loads(body)
    assert out["model"] == target.model
    assert "plugins" not in out
    for name in request.extra:
        noted = [path for path in ledger.names() if path.split(".")[0] == name]
        assert name in out or noted or (name == "options" and request.origin == "ollama")


@pytest.mark.slow
@given(strategies.requests(("anthropic", "ollama")), strategies.targets)
def test_what_is_written_for_others_can_be_read_again(request, target):
    try:
        body = write_request(request, Ledger(), target)
    except Invalid:
        return
    again = parse_request(body)
    calls = [p.id for m in again.messages for p in m.parts if isinstance(p, ToolUse)]
    results = [p.call_id for m in again.messages for p in m.parts if isinstance(p, ToolResult)]
    assert len(set(calls)) == len(calls)
    assert results == calls[: len(results)]
