"""Requests written for Anthropic Messages servers, from this format and from others."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.anthropic.request import parse_request
from formats.anthropic.write import write_request
from formats.canonical import (
    Message,
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
from formats.token import write_token
from tests import strategies

CLIENTS = Path(__file__).parents[2] / "transcripts" / "clients"
MESSAGES = [path for path in CLIENTS.glob("*messages*.json") if "count_tokens" not in path.stem]
F = Tool("f", "does f", {"type": "object", "properties": {}})
CLAUDE = "claude-opus-4-8"


def user(*texts):
    return Message("user", tuple(map(Text, texts)))


def written(request=None, *, model="clone", **members):
    """(body, ledger) of a request of an OpenAI client, unless another is given."""
    ledger = Ledger()
    request = request or Request(
        "openai", "m", **{"messages": (user("hi"),), "max_tokens": 9000} | members
    )
    target = model if isinstance(model, Target) else Target(model)
    return json.loads(write_request(request, ledger, target)), ledger


def lost(**members):
    return written(**members)[1].names()


# --- the same format ------------------------------------------------------------------------------


def plainer(value):
    """A body without differences that mean nothing: a string is one text, absent is the default."""
    if isinstance(value, list):
        return [plainer(each) for each in value]
    if not isinstance(value, dict):
        return value
    empty = {"is_error": False, "stream": False, "citations": None}
    value = {k: plainer(v) for k, v in value.items() if k not in empty or v != empty[k]}
    for name in ("content", "system"):
        if isinstance(value.get(name), str):
            value[name] = [{"type": "text", "text": value[name]}]
    return value


@pytest.mark.parametrize("path", sorted(MESSAGES), ids=lambda p: p.stem)
def test_what_real_clients_send_goes_out_as_it_came(path):
    body = json.loads(path.read_text())["body"]
    request = parse_request(json.dumps(body).encode())
    out, ledger = written(request, model=Target(request.model, vendor=True))
    if body.get("thinking", {}).get("budget_tokens", 0) >= body["max_tokens"]:  # refused by all
        body["thinking"]["budget_tokens"] = body["max_tokens"] - 1
        assert ledger.names() == ("thinking",)
    else:
        assert ledger.entries == []
    assert plainer(out) == plainer(body)


def test_a_budget_that_leaves_no_room_is_cut_in_the_clients_own_text():
    text = (
        b'{"model": "m", "max_tokens": 2000,'
        b' "thinking": {"type": "enabled", "budget_tokens": 2000, "x": 1},'
        b' "messages": [{"role": "user",  "content": "hi"}]}'
    )
    ledger = Ledger()
    out = write_request(parse_request(text), ledger, Target("m"))
    assert out == text.replace(
        b'{"type": "enabled", "budget_tokens": 2000, "x": 1}',
        b'{"type":"enabled","budget_tokens":1999,"x":1}',
    )
    assert [(loss.path, loss.what) for loss in ledger.entries] == [("thinking", "clamped")]


RICH = {
    "model": "m",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look", "x_new": 1},
                {
                    "type": "image",
                    "source": {"type": "url", "url": "https://x", "x_new": 2},
                    "transformations": [],
                },
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                    "title": "T",
                    "context": "C",
                    "citations": {"enabled": True, "x_new": 3},
                },
                {"type": "document", "source": {"type": "content", "content": "words"}},
                {"type": "search_result", "source": "s", "title": "t", "content": []},
            ],
            "x_new": 4,
        },
        {"role": "system", "content": "late", "clear_at": "turn"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "SIG", "x_new": 5},
                {"type": "redacted_thinking", "data": "D"},
                {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"z": 1, "a": 1.5}, "x": 6},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "tool_reference", "tool_name": "g"}],
                    "cache_control": {"type": "ephemeral"},
                    "x_new": 7,
                },
                {"type": "text", "text": "go on"},
            ],
        },
    ],
    "tools": [
        {"name": "f", "input_schema": {"type": "object"}, "type": "custom", "defer_loading": True},
        {"type": "bash_20250124", "name": "bash", "cache_control": {"type": "ephemeral"}},
    ],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True, "x_new": 8},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "x_new": 9},
    "output_config": {
        "effort": "high",
        "task_budget": {"total": 1},
        "format": {"type": "json_schema", "schema": {"minimum": 1}, "x_new": 10},
    },
    "metadata": {"user_id": "u", "x_new": 11},
    "cache_control": {"type": "ephemeral"},
    "service_tier": "standard_only",
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 4,
    "stop_sequences": ["X", " "],
    "stream": True,
    "context_management": {"edits": []},
}


def test_every_member_of_this_format_survives_at_every_level():
    out, ledger = written(parse_request(json.dumps(RICH).encode()), model="m")
    assert plainer(out) == plainer(RICH)
    assert ledger.entries == []


def test_plugins_are_never_sent():
    request = parse_request(json.dumps(RICH | {"plugins": [{"id": "web"}]}).encode())
    assert "plugins" not in written(request, model="m")[0]


def test_reasoning_from_a_token_is_taken_out_and_thinking_that_needs_it_turned_off():
    messages = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": write_token("openai", "hm")},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
    ]
    body = {
        "model": "m",
        "max_tokens": 2000,
        "messages": messages,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    out, ledger = written(parse_request(json.dumps(body).encode()), model="claude-sonnet-4-5")
    assert out["messages"][1]["content"] == [
        {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    ]
    assert "thinking" not in out
    assert set(ledger.names()) == {"messages[].thinking", "thinking"}


def test_an_absent_limit_is_set_and_one_too_high_is_cut():
    request = parse_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert written(request, model="m")[0]["max_tokens"] == 4096
    assert written(request, model="claude-opus-5")[0]["max_tokens"] == 32_000
    out, ledger = written(request, model=Target("m", max_output=700))
    assert out["max_tokens"] == 700
    assert [(loss.path, loss.what, loss.harmless) for loss in ledger.entries] == [
        ("max_tokens", "emulated", True)
    ]
    out, ledger = written(replace(request, max_tokens=900), model=Target("m", max_output=700))
    assert out["max_tokens"] == 700
    assert ledger.entries[0].what == "clamped"


def test_a_limit_of_nothing_fills_a_cache_and_goes_through():
    request = parse_request(
        b'{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}'
    )
    assert written(request, model="m")[0]["max_tokens"] == 0


# --- roles and order ------------------------------------------------------------------------------


def test_the_example_of_a_chat_completions_conversation():
    messages = (
        Message("system", (Text("S1"),)),
        user("a"),
        user("b"),
        Message("assistant", (ToolUse("functions.f:0", "f", '{"x":1}', {"x": 1}),)),
        Message("tool", (ToolResult("functions.f:0", (Text("r"),)),)),
        Message("system", (Text("S2"),)),
        user("c"),
    )
    out, ledger = written(
        messages=messages,
        tools=(F,),
        tool_choice=ToolChoice("required"),
        sampling=Sampling(temperature=0.3),
        max_tokens=None,
    )
    call = out["messages"][1]["content"][0]["id"]
    assert call.startswith("call_")
    assert out["system"] == "S1"
    assert out["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": call, "name": "f", "input": {"x": 1}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call, "content": "r"},
                {"type": "text", "text": "<system-reminder>\nS2\n</system-reminder>"},
                {"type": "text", "text": "c"},
            ],
        },
    ]
    assert (out["tool_choice"], out["temperature"], out["max_tokens"]) == (
        {"type": "any"},
        0.3,
        4096,
    )
    assert "messages[].role" in ledger.names()


def test_leading_system_and_developer_messages_are_one_block_each():
    messages = (Message("system", (Text("S"),)), Message("developer", (Text("D"),)), user("hi"))
    assert written(messages=messages)[0]["system"] == [
        {"type": "text", "text": "S"},
        {"type": "text", "text": "D"},
    ]


def test_a_late_system_message_is_kept_where_the_model_and_the_place_allow_it():
    messages = (
        user("a"),
        Message("system", (Text("S"),)),
        Message("assistant", (Text("b"),)),
        user("c"),
    )
    out, ledger = written(messages=messages, model=CLAUDE)
    assert [m["role"] for m in out["messages"]] == ["user", "system", "assistant", "user"]
    assert ledger.names() == ()
    for model in ("claude-opus-4-6", Target(CLAUDE, system_role="user")):
        out, ledger = written(messages=messages, model=model)
        assert [m["role"] for m in out["messages"]] == ["user", "assistant", "user"]
        assert ledger.names() == ("messages[].role",)


def test_a_conversation_begins_with_the_user():
    for messages in (
        (Message("assistant", (Text("hello"),)), user("hi")),
        (Message("system", (Text("S"),)),),
    ):
        out, ledger = written(messages=messages)
        assert out["messages"][0] == {"role": "user", "content": "(conversation start)"}
        assert ledger.names() == ("messages",)


def test_empty_messages_are_dropped_or_said_to_be_empty():
    messages = (user(""), Message("assistant", (Text(""),)), user("hi"))
    out, _ = written(messages=messages)
    texts = [{"type": "text", "text": "(empty)"}, {"type": "text", "text": "hi"}]
    assert out["messages"] == [{"role": "user", "content": texts}]


def test_a_begun_answer_is_gone_on_from_only_by_models_that_can():
    messages = (user("hi"), Message("assistant", (Text("Once \n"),)))
    assert written(messages=messages)[0]["messages"][1]["content"] == "Once"
    assert (
        written(messages=messages, model="claude-opus-4-5")[0]["messages"][1]["content"] == "Once"
    )
    with pytest.raises(Unsupported) as caught:
        written(messages=messages, model="claude-opus-4-6")
    assert caught.value.path == "messages"


def test_names_of_messages_are_noted():
    assert lost(messages=(replace(user("hi"), name="Ada"),)) == ("messages[].name",)


def test_a_request_without_messages_is_refused():
    with pytest.raises(Unsupported):
        written(messages=())


# --- tools ----------------------------------------------------------------------------------------


def test_tools_of_another_format():
    tool = Tool("mcp.read", "reads", {"properties": {}}, strict=None)
    out, _ = written(tools=(tool, Tool("g")))
    assert out["tools"] == [
        {
            "name": "mcp_read",
            "description": "reads",
            "input_schema": {"type": "object", "properties": {}},
        },
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]


def test_a_strict_tools_schema_is_cleaned_and_that_is_noted():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    out, ledger = written(tools=(Tool("f", None, schema, strict=True),))
    assert "minimum" not in out["tools"][0]["input_schema"]["properties"]["n"]
    assert out["tools"][0]["strict"] is True
    assert ledger.names() == ("tools[].schema",)
    assert written(tools=(Tool("f", None, schema),))[0]["tools"][0]["input_schema"] == schema


def test_a_property_name_the_vendor_refuses_is_unsupported():
    tool = Tool("f", None, {"type": "object", "properties": {"größe": {}}})
    with pytest.raises(Unsupported, match="'größe' of tool 'f'"):
        written(tools=(tool,), model=Target(CLAUDE, vendor=True))
    assert written(tools=(tool,))[0]["tools"][0]["input_schema"]["properties"] == {"größe": {}}


def test_a_custom_tool_takes_an_object_with_its_text():
    tool = Tool("patch", "Patches.", kind="custom", format={"type": "grammar", "definition": "x"})
    out, ledger = written(tools=(tool,))
    (wire,) = out["tools"]
    assert wire["description"].startswith('Patches. Put the whole input text in "input".')
    assert wire["input_schema"]["required"] == ["input"]
    assert ledger.names() == ("tools[].format",)


def test_hosted_tools_of_others_are_left_out_unless_nothing_remains():
    hosted = Tool("web_search", kind="hosted", type="web_search")
    out, ledger = written(tools=(F, hosted))
    assert [tool["name"] for tool in out["tools"]] == ["f"]
    assert ledger.names() == ("tools[].type=web_search",)
    with pytest.raises(Unsupported):
        written(tools=(hosted,))
    with pytest.raises(Unsupported):
        written(tools=(F, hosted), tool_choice=ToolChoice("named", ("web_search",), kind="hosted"))


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (ToolChoice("auto"), {"type": "auto"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("required"), {"type": "any"}),
        (ToolChoice("named", ("f",)), {"type": "tool", "name": "f"}),
        (ToolChoice("allowed", ("f",)), {"type": "auto"}),
        (ToolChoice("allowed", ("f",), must=True), {"type": "any"}),
    ],
)
def test_tool_choice(choice, wire):
    out, ledger = written(tools=(F, Tool("g")), tool_choice=choice)
    assert out["tool_choice"] == wire
    assert len(out["tools"]) == (1 if choice.mode == "allowed" else 2)
    assert ledger.names() == ()


def test_one_call_at_a_time():
    def choice(**members):
        return written(tools=(F,), parallel_tool_calls=False, **members)[0]["tool_choice"]

    assert choice() == {"type": "auto", "disable_parallel_tool_use": True}
    assert choice(tool_choice=ToolChoice("none")) == {"type": "none"}
    assert "tool_choice" not in written(parallel_tool_calls=False)[0]


def test_models_that_cannot_be_forced_are_told_in_words():
    out, ledger = written(tools=(F,), tool_choice=ToolChoice("required"), model="claude-opus-5-5")
    assert out["tool_choice"] == {"type": "auto"}
    assert out["system"] == "You must call one of the tools."
    assert ledger.names() == ("tool_choice",)


# --- thinking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "thinking", "wire", "effort"),
    [
        ("clone", Thinking(effort="low"), {"type": "enabled", "budget_tokens": 2048}, None),
        ("clone", Thinking("on"), {"type": "enabled", "budget_tokens": 6750}, None),
        ("clone", Thinking("off"), {"type": "disabled"}, None),
        ("clone", Thinking(effort="none"), {"type": "disabled"}, None),
        (
            "claude-sonnet-4-5",
            Thinking(effort="minimal"),
            {"type": "enabled", "budget_tokens": 2048},
            None,
        ),
        (CLAUDE, Thinking(effort="high"), {"type": "adaptive", "display": "summarized"}, "high"),
        (CLAUDE, Thinking("on"), {"type": "adaptive", "display": "summarized"}, None),
        (CLAUDE, Thinking(effort="minimal"), {"type": "adaptive", "display": "summarized"}, "low"),
        (CLAUDE, Thinking("off"), {"type": "disabled"}, None),
        (
            "claude-opus-4-6",
            Thinking(effort="xhigh"),
            {"type": "adaptive", "display": "summarized"},
            "high",
        ),
        ("claude-sonnet-5-5", Thinking("off"), {"type": "between_tools"}, None),
        ("claude-opus-5-5", Thinking("off"), None, "low"),
        ("claude-3-opus-20240229", Thinking("on"), None, None),
        ("clone", None, None, None),
    ],
)
def test_how_thinking_is_asked_for(model, thinking, wire, effort):
    out, _ = written(thinking=thinking, model=model)
    assert out.get("thinking") == wire
    assert out.get("output_config", {}).get("effort") == effort


def test_thinking_needs_room():
    out, ledger = written(thinking=Thinking("on"), max_tokens=1000)
    assert "thinking" not in out
    assert ledger.names() == ("reasoning_effort",)
    assert written(thinking=Thinking("on"), max_tokens=None)[0]["max_tokens"] == 8192 + 4096


def test_a_forced_choice_turns_thinking_off():
    members = {
        "tools": (F,),
        "tool_choice": ToolChoice("required"),
        "thinking": Thinking(effort="low"),
    }
    out, ledger = written(model="claude-sonnet-4-5", **members)
    assert (out["thinking"], out["tool_choice"]) == ({"type": "disabled"}, {"type": "any"})
    assert ledger.names() == ("reasoning_effort",)


def test_reasoning_of_another_vendor_is_not_sent():
    messages = (user("q"), Message("assistant", (Thought("hm"), Text("a"))), user("r"))
    out, ledger = written(messages=messages)
    assert out["messages"][1] == {"role": "assistant", "content": "a"}
    assert ledger.names() == ("messages[].reasoning_content",)


# --- the rest -------------------------------------------------------------------------------------


def test_a_schema_is_bound_and_json_is_asked_for_in_words():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": False,
    }
    out, ledger = written(output=OutputFormat("schema", schema, name="n", strict=True))
    assert out["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert [(loss.path, loss.harmless) for loss in ledger.entries] == [
        ("response_format.json_schema.name", True),
        ("response_format.json_schema.strict", True),
    ]
    out, ledger = written(
        output=OutputFormat("json"), messages=(Message("system", (Text("S"),)), user("x"))
    )
    assert [block["text"] for block in out["system"]] == [
        "S",
        "Answer with one JSON object and nothing else.",
    ]
    assert ledger.names() == ("response_format",)
    with pytest.raises(Unsupported):
        written(output=OutputFormat("schema", schema), model="claude-opus-4-1-20250805")


@pytest.mark.parametrize(
    ("model", "given", "sent", "names"),
    [
        (
            "clone",
            {"temperature": 1.5, "top_p": 0.5},
            {"temperature": 1, "top_p": 0.5},
            ("temperature",),
        ),
        ("claude-opus-4-5", {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ("top_p",)),
        ("claude-opus-4-7", {"temperature": 0, "top_k": 4}, {}, ("temperature", "top_k")),
        (
            "clone",
            {"seed": 0, "frequency_penalty": 0, "logit_bias": {"1": 2}},
            {},
            ("seed", "logit_bias"),
        ),
    ],
)
def test_sampling(model, given, sent, names):
    out, ledger = written(sampling=Sampling(**given), model=model)
    assert {name: out[name] for name in ("temperature", "top_p", "top_k") if name in out} == sent
    assert ledger.names() == names


def test_an_ollama_clients_fields_are_named_as_it_names_them():
    request = Request(
        "ollama",
        "m",
        messages=(user("hi"),),
        max_tokens=None,
        sampling=Sampling(min_p=0.1, stop=(" ",)),
        keep_alive="5m",
        extra={"options.num_ctx": 8192, "options.mirostat": 1},
    )
    out, ledger = written(request)
    assert set(out) == {"model", "max_tokens", "messages"}
    assert {loss.path: loss.harmless for loss in ledger.entries} == {
        "options.num_predict": True,
        "options.stop": False,
        "options.num_ctx": True,
        "options.mirostat": False,
        "options.min_p": False,
        "keep_alive": True,
    }


def test_more_than_one_answer_is_refused():
    with pytest.raises(Unsupported) as caught:
        written(sampling=Sampling(n=2))
    assert caught.value.path == "n"
    assert lost(sampling=Sampling(n=1)) == ()


def test_user_tier_and_unknown_members():
    out, ledger = written(
        user="u",
        service_tier="default",
        metadata={"k": "v"},
        cache_key="c",
        extra={"foo": 1, "store": True},
    )
    assert (out["metadata"], out["service_tier"]) == ({"user_id": "u"}, "standard_only")
    assert {loss.path: loss.harmless for loss in ledger.entries} == {
        "foo": False,
        "store": True,
        "prompt_cache_key": True,
        "metadata": True,
    }
    assert lost(service_tier="flex") == ("service_tier",)


def test_at_most_four_cache_marks_are_sent_and_the_later_ones_win():
    marked = tuple(Text(str(n), cache={"mode": "explicit"}) for n in range(6))
    out, ledger = written(messages=(Message("user", marked),))
    assert ["cache_control" in block for block in out["messages"][0]["content"]] == [False] * 2 + [
        True
    ] * 4
    assert ledger.names() == ("prompt_cache_breakpoint",)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    strategies.requests(),
    strategies.targets,
    st.sampled_from(
        ["x", "claude-opus-4-5", "claude-opus-5-5", "claude-sonnet-5-5", "claude-opus-4-7"]
    ),
)
def test_any_request_is_written_in_order_or_refused(request, target, model):
    try:
        body = write_request(request, Ledger(), replace(target, model=model))
    except Invalid:
        return
    if request.origin == "anthropic":
        return
    parse_request(body)
    roles = [message["role"] for message in json.loads(body)["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))


_TEXT = st.builds(
    lambda text, extra: {"type": "text", "text": text, **extra}, strategies.short, strategies.extras
)
_RESULT = st.builds(
    lambda inner, error: {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": inner,
        "is_error": error,
    },
    strategies.short | st.lists(_TEXT, min_size=1, max_size=2),
    st.booleans(),
)
_CALL = st.builds(
    lambda value: {"type": "tool_use", "id": "t", "name": "f", "input": value},
    strategies.json_objects,
)
_THOUGHT = st.sampled_from(
    [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "D"},
        {"type": "future_block", "x": [1.5, None]},
    ]
)
_MESSAGE = st.one_of(
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": st.lists(_TEXT, min_size=1, max_size=2)}
    ),
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": st.lists(_RESULT, min_size=1, max_size=2)}
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.lists(_TEXT | _CALL | _THOUGHT, min_size=1, max_size=3),
        }
    ),
)


@given(st.lists(_MESSAGE, min_size=1, max_size=4), strategies.extras)
def test_the_same_format_gives_back_what_came_in(messages, extra):
    body = {"model": "m", "max_tokens": 5, "messages": messages, **extra}
    out, ledger = written(parse_request(json.dumps(body).encode()), model="m")
    assert joined(plainer(out)) == joined(plainer(body))
    assert ledger.entries == []


def joined(body):
    """A user's texts after a message of results belong to it: servers join the two as well."""
    messages = []
    for message in body["messages"]:
        last = messages[-1] if messages else {}
        types = [block["type"] for block in last.get("content", [])]
        ends = last.get("role") == message["role"] == "user" and types[-1] == "tool_result"
        if ends and message["content"][0]["type"] != "tool_result":
            last["content"] = last["content"] + message["content"]
        else:
            messages.append(dict(message))
    return body | {"messages": messages}
