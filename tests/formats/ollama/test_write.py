"""formats/ollama/write.py"""

import base64
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    PluginCall,
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
from formats.ollama.parse import parse_request
from formats.ollama.write import write_request
from tests import strategies
from tests.formats.ollama.test_parse import GIF, OBJECT, PNG, SHAPED, WAV, asked, parsed, user

TESTS = Path(__file__).parents[2]
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(16)).decode()
TARGET = Target("m")
HELLO = (Message("user", (Text("hello"),)),)


def written(request: Request, target: Target = TARGET) -> tuple[dict, Ledger]:
    ledger = Ledger()
    return json.loads(write_request(request, ledger, target)), ledger


def canonical(messages=HELLO, origin="openai", **members) -> Request:
    return Request(origin, "m", tuple(messages), **members)


# --- writing for the client's own format ---


FULL = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "cached": True},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "look", "images": [PNG]},
        {
            "role": "assistant",
            "content": "text",
            "thinking": "hm",
            "tool_calls": [
                {
                    "id": "c 1",
                    "note": 1,
                    "function": {"index": 0, "name": "a b", "arguments": {"z": 1, "a": 2}, "x": 1},
                }
            ],
        },
        {"role": "tool", "content": "r", "tool_name": "a b", "tool_call_id": "c 1", "took": 3},
        {"role": "tool", "content": "nobody's"},
    ],
    "stream": False,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "a b",
                "description": "d",
                "parameters": {"type": "object", "$defs": {"q": {}}, "properties": {}},
                "strict": True,
            },
            "cached": 1,
        }
    ],
    "format": {"type": "object", "title": "T"},
    "options": {"num_ctx": 8192, "penalize_newline": True, "temperature": 0.5, "num_predict": -2},
    "think": "high",
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 2,
    "truncate": True,
    "shift": False,
    "_debug_render_only": True,
    "foo": {"bar": [1, 2]},
}


def test_an_ollama_client_s_request_comes_out_with_every_member_it_had():
    request = parse_request(json.dumps(FULL).encode())
    body, ledger = written(replace(request, raw=None))
    assert body == FULL
    assert ledger.entries == []


def test_the_client_s_own_text_is_kept_to_the_character_but_for_the_model():
    text = '{ "model" : "m", "stream":true,"options":{"temperature":1.0,"x":1e2}, "messages":[{"role":"user","content":"\\u00fc"}] }'
    request = parse_request(text.encode())
    assert write_request(request, Ledger(), TARGET) == text.encode()
    renamed = write_request(request, Ledger(), Target("n"))
    assert renamed == text.replace('"m"', '"n"').encode()


def test_no_limit_and_any_seed_stay_what_they_are():
    for options in ({"num_predict": -1}, {"seed": -1}):
        request = replace(asked(user(), options=options), raw=None)
        assert written(request)[0]["options"] == options


def test_the_data_of_a_data_url_is_sent():
    request = asked(user("look", images=[f"data:image/jpeg;base64,{PNG}"]))
    assert written(request)[0]["messages"][0]["images"] == [PNG]


@pytest.mark.parametrize(
    "body",
    [
        {
            "model": "m",
            "messages": [user(tool_calls=[{"function": {"name": "f", "arguments": 0}}])],
        },
        {"model": "m", "messages": [user()], "options": {"num_ctx": 0}},
    ],
)
def test_a_number_beyond_all_bounds_is_invalid(body):
    text = json.dumps(body).replace(": 0", ": 1e999", 1)
    text = text.replace('"arguments": 1e999', '"arguments": {"a": 1e999}')
    with pytest.raises(Invalid, match="too large"):
        write_request(replace(parse_request(text.encode()), raw=None), Ledger(), TARGET)


def test_stream_is_written_out_always():
    request = asked(user())
    assert written(request)[0]["stream"] is True
    assert written(replace(request, raw=None))[0]["stream"] is True
    assert written(parsed())[0] == {"model": "m", "stream": False}
    assert written(replace(parsed(), raw=None))[0] == {
        "model": "m",
        "messages": [],
        "stream": False,
    }


@pytest.mark.parametrize("text", [True, False])
def test_configured_options_stand_behind_the_client_s_but_for_the_context(text):
    target = Target("m", options={"num_ctx": 4096, "temperature": 0.1, "num_gpu": 1})
    request = asked(user(), options={"temperature": 1, "num_ctx": 8192})
    body, ledger = written(request if text else replace(request, raw=None), target)
    assert body["options"] == {"num_ctx": 4096, "temperature": 1, "num_gpu": 1}
    assert ledger.names() == ("options.num_ctx",)
    assert ledger.entries[0].harmless


def test_the_context_that_the_client_chose_holds_where_none_is_configured():
    assert written(asked(user(), options={"num_ctx": 8192}))[0]["options"] == {"num_ctx": 8192}


@pytest.mark.parametrize("text", [True, False])
def test_a_model_that_does_not_think_is_not_told_to(text):
    request = asked(user(), think=True)
    target = Target("m", capabilities=frozenset({"tools"}))
    body, ledger = written(request if text else replace(request, raw=None), target)
    assert "think" not in body
    assert ledger.names() == ("think",)


def test_text_for_arguments_and_a_single_stop_are_mended_for_the_server():
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    request = asked({"role": "assistant", "tool_calls": [call]}, options={"stop": "x"})
    body, _ = written(request)
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert body["options"]["stop"] == ["x"]


def fixtures() -> list[Path]:
    return sorted((TESTS / "transcripts" / "clients").glob("*-api-chat*.json"))


@pytest.mark.parametrize("path", fixtures(), ids=lambda path: path.stem)
def test_what_real_clients_send_is_read_and_means_the_same_when_written(path):
    body = json.loads(path.read_text())["body"]
    request = parse_request(json.dumps(body).encode())
    first, ledger = written(replace(request, raw=None), Target(request.model))
    assert ledger.entries == []
    again = parse_request(json.dumps(first).encode())
    assert again == request


# --- writing for clients of other formats ---


def test_a_plain_question_of_another_format():
    body, ledger = written(canonical(stream=True, max_tokens=9))
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "options": {"num_predict": 9},
        "truncate": False,
    }
    assert ledger.entries == []


def test_instructions_stay_where_they_are_as_system_messages():
    messages = (
        Message("system", (Text("a"), Text("b")), hoisted=True),
        *HELLO,
        Message("developer", (Text("c"),)),
    )
    body, _ = written(canonical(messages))
    assert body["messages"] == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "hello"},
        {"role": "system", "content": "c"},
    ]


def test_a_turn_with_calls_and_its_results():
    messages = (
        *HELLO,
        Message(
            "assistant",
            (
                Thought("hm", signature="S", origin="anthropic"),
                Text("Loo"),
                Text("king."),
                ToolUse("c1", "f", '{"a":1}', {"a": 1}),
                ToolUse("c2", "g", ""),
            ),
        ),
        Message("tool", (ToolResult("c2", (Text("no"),), is_error=True),)),
        Message("tool", (ToolResult("c1", (Text("1"), Image(PNG, "image/png"))),)),
    )
    body, ledger = written(canonical(messages, origin="anthropic"))
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
                {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}},
            ],
        },
        {
            "role": "tool",
            "content": "1",
            "images": [PNG],
            "tool_name": "f",
            "tool_call_id": "c1",
        },
        {"role": "tool", "content": "Error: no", "tool_name": "g", "tool_call_id": "c2"},
    ]
    assert "messages[].thinking" in ledger.names()


def test_a_message_of_nothing_but_calls_has_empty_content():
    messages = (*HELLO, Message("assistant", (ToolUse("c", "f"),)))
    assert written(canonical(messages))[0]["messages"][1]["content"] == ""


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (ToolUse("c", "f", '{"a":1}'), {"a": 1}),
        (ToolUse("c", "f", "  "), {}),
        (ToolUse("c", "f", "*** patch", kind="custom"), {"input": "*** patch"}),
    ],
)
def test_arguments_are_an_object(call, arguments):
    body, ledger = written(canonical((*HELLO, Message("assistant", (call,)))))
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == arguments
    assert ledger.entries == []


@pytest.mark.parametrize("text", ['{"a":', "[1]", "7"])
def test_arguments_that_are_no_object_are_wrapped_and_noted(text):
    body, ledger = written(canonical((*HELLO, Message("assistant", (ToolUse("c", "f", text),)))))
    function = body["messages"][1]["tool_calls"][0]["function"]
    assert function["arguments"] == {"_raw_arguments": text}
    assert [loss.what for loss in ledger.entries] == ["approximated"]


def test_a_text_document_is_written_into_the_message():
    parts = (Document(text="words", mime="text/plain", name="a.txt"), Text("sum up"))
    body, _ = written(canonical((Message("user", parts),)))
    content = body["messages"][0]["content"]
    assert content == '<document title="a.txt">\nwords\n</document>\nsum up'


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (Image(url="https://x/y.png"), "messages[].image_url"),
        (Image(file_id="f"), "messages[].image_url"),
        (Image(GIF, "image/gif"), "messages[].image_url"),
        (Image("AAAA", ""), "messages[].image_url"),
        (Document(data=PDF, mime="application/pdf"), "messages[].file"),
        (Document(url="https://x/y.pdf"), "messages[].file"),
        (Document(file_id="f"), "messages[].file"),
        (Opaque("openai", "video_url", {}), "messages[].video_url"),
    ],
)
def test_what_ollama_cannot_be_shown_is_refused_by_name(part, path):
    with pytest.raises(Unsupported) as caught:
        written(canonical((Message("user", (part,)),)))
    assert caught.value.path == path


def test_a_sound_goes_to_models_that_listen():
    request = canonical((Message("user", (Audio(WAV, "wav"),)),))
    for able in (None, frozenset({"audio"})):
        body, _ = written(request, Target("m", capabilities=able))
        assert body["messages"][0]["images"] == [WAV]
    with pytest.raises(Unsupported, match="does not take audio"):
        written(request, Target("m", capabilities=frozenset({"vision"})))


def test_blocks_of_a_vendor_s_own_tools_become_text():
    part = Opaque("anthropic", "server_tool_use", {"name": "web_search", "input": {"query": "q"}})
    body, ledger = written(canonical((*HELLO, Message("assistant", (part,))), origin="anthropic"))
    assert body["messages"][1]["content"] == "[web_search: q]"
    assert ledger.names() == ("messages[].server_tool_use",)


def test_a_tool_that_was_searched_for_is_told_of_in_words():
    """Claude Code gets its deferred tools so, and every later request holds the result."""
    found = Opaque("anthropic", "tool_reference", {"tool_name": "WebFetch"})
    messages = (
        *HELLO,
        Message("assistant", (ToolUse("c", "ToolSearch"),)),
        Message("tool", (ToolResult("c", (found,)),)),
    )
    tool = Tool("WebFetch", parameters=OBJECT, extra={"defer_loading": True})
    body, ledger = written(canonical(messages, origin="anthropic", tools=(tool,)))
    assert body["messages"][2]["content"] == "The tool WebFetch can be called now."
    assert [t["function"]["name"] for t in body["tools"]] == ["WebFetch"]
    assert {loss.path: loss.harmless for loss in ledger.entries} == {
        "messages[].tool_reference": False,
        "tools[].defer_loading": True,
    }


def test_a_conversation_without_a_message_left_is_refused_and_never_a_load_request():
    with pytest.raises(Invalid, match="no message is left"):
        written(canonical(()))


# --- tools ---

TOOLS = (Tool("f", "does f", OBJECT), Tool("g"))


def test_tools_have_a_schema_always():
    body, ledger = written(canonical(tools=TOOLS))
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "does f", "parameters": OBJECT},
        },
        {
            "type": "function",
            "function": {"name": "g", "parameters": {"type": "object", "properties": {}}},
        },
    ]
    assert ledger.entries == []


def test_what_ollama_loses_of_a_schema_is_noted():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    body, ledger = written(canonical(tools=(Tool("f", parameters=schema),)))
    told = body["tools"][0]["function"]["parameters"]["properties"]["n"]["description"]
    assert "minimum: 1" in told
    assert [(e.path, e.harmless) for e in ledger.entries] == [("tools[].schema", False)]
    closed = {**OBJECT, "additionalProperties": False}
    _, ledger = written(canonical(tools=(Tool("f", parameters=closed),)))
    assert [(e.path, e.harmless) for e in ledger.entries] == [("tools[].schema", True)]


LINE = {"role": "system", "content": "You must call one of the tools."}
NAMED = {"role": "system", "content": "You must call the tool g."}


@pytest.mark.parametrize(
    ("choice", "names", "line", "what"),
    [
        (ToolChoice("auto"), ["f", "g"], None, None),
        (ToolChoice("none"), None, None, "approximated"),
        (ToolChoice("required"), ["f", "g"], LINE, "dropped"),
        (ToolChoice("named", ("g",)), ["g"], NAMED, "dropped"),
        (ToolChoice("allowed", ("g",)), ["g"], None, "approximated"),
        (ToolChoice("allowed", ("g",), must=True), ["g"], LINE, "dropped"),
    ],
)
def test_a_choice_is_told_and_helped_along(choice, names, line, what):
    messages = (Message("system", (Text("s"),)), *HELLO)
    body, ledger = written(canonical(messages, tools=TOOLS, tool_choice=choice))
    tools = body.get("tools")
    assert (tools and [tool["function"]["name"] for tool in tools]) == names
    assert [m for m in body["messages"] if m["content"].startswith("You must")] == (
        [line] if line else []
    )
    if line:  # behind the instructions, so that what comes before stays cached
        assert body["messages"][1] == line
    assert [loss.what for loss in ledger.entries] == ([what] if what else [])
    assert "tool_choice" not in body


def test_a_choice_of_a_tool_that_is_not_there_is_invalid():
    with pytest.raises(Invalid) as caught:
        written(canonical(tools=TOOLS, tool_choice=ToolChoice("named", ("h",))))
    assert caught.value.path == "tool_choice"


def test_a_custom_tool_becomes_a_function_of_one_text():
    tool = Tool("patch", "Edits.", kind="custom", format={"type": "grammar", "definition": "g: x"})
    body, ledger = written(canonical(tools=(tool,)))
    function = body["tools"][0]["function"]
    assert function["description"] == (
        'Edits. Put the whole input text in "input". It must follow this grammar:\ng: x'
    )
    assert function["parameters"]["required"] == ["input"]
    assert ledger.names() == ("tools[].format",)


SEARCH = Tool("web_search", kind="hosted", type="web_search_20250305")


def test_a_tool_that_its_vendor_runs_is_left_out_and_noted():
    body, ledger = written(canonical(tools=(*TOOLS, SEARCH)))
    assert len(body["tools"]) == 2
    assert ledger.names() == ("tools[].type=web_search_20250305",)


@pytest.mark.parametrize(
    "members",
    [
        {"tools": (SEARCH,)},
        {"tools": (*TOOLS, SEARCH), "tool_choice": ToolChoice("named", ("web_search",))},
        {
            "tools": (*TOOLS, SEARCH),
            "tool_choice": ToolChoice("named", ("other",), kind="hosted"),
        },
    ],
)
def test_a_vendor_s_tool_that_is_needed_is_refused(members):
    with pytest.raises(Unsupported) as caught:
        written(canonical(**members))
    assert caught.value.path == "tools[].type=web_search_20250305"


# --- thinking, form, sampling, the rest ---


@pytest.mark.parametrize(
    ("thinking", "think"),
    [
        (Thinking("off"), False),
        (Thinking("off", effort="high"), False),
        (Thinking(effort="none"), False),
        (Thinking(effort="minimal"), "low"),
        (Thinking(effort="medium"), "medium"),
        (Thinking(effort="xhigh"), "max"),
        (Thinking("auto"), True),
        (Thinking("auto", effort="max"), "max"),
        (Thinking("on"), True),
        (Thinking("between", effort="low"), "low"),
    ],
)
def test_thinking_becomes_a_switch_or_a_level(thinking, think):
    body, ledger = written(canonical(thinking=thinking))
    assert body["think"] == think
    assert ledger.entries == []


@pytest.mark.parametrize(
    ("budget", "think"), [(2048, "low"), (8192, "medium"), (24576, "high"), (24577, "max")]
)
def test_a_budget_becomes_the_level_nearest_to_it(budget, think):
    body, ledger = written(canonical(thinking=Thinking("on", budget_tokens=budget)))
    assert body["think"] == think
    why = f"a budget of {budget} tokens is sent as {think}"
    assert [(loss.what, loss.why) for loss in ledger.entries] == [("approximated", why)]


def test_thinking_that_was_not_asked_for_is_not_spoken_of():
    assert "think" not in written(canonical())[0]


def test_thinking_only_between_calls_is_noted_as_lost():
    body, ledger = written(canonical(thinking=Thinking("between"), origin="anthropic"))
    assert "think" not in body
    assert ledger.names() == ("thinking",)


def test_a_model_that_does_not_think_anyway_loses_nothing_when_told_not_to():
    target = Target("m", capabilities=frozenset())
    body, ledger = written(canonical(thinking=Thinking("off")), target)
    assert "think" not in body
    assert ledger.entries == []
    _, ledger = written(canonical(thinking=Thinking(effort="low")), target)
    assert ledger.names() == ("reasoning_effort",)


def test_the_form_of_the_answer_is_json_or_a_schema():
    assert written(canonical(output=OutputFormat("json")))[0]["format"] == "json"
    output = OutputFormat("schema", OBJECT, name="n", strict=True)
    assert written(canonical(output=output))[0]["format"] == OBJECT


def test_sampling_becomes_options():
    sampling = Sampling(
        temperature=0.0, top_k=5, seed=-7, stop=("a",), logprobs=True, top_logprobs=2, n=1
    )
    body, ledger = written(canonical(sampling=sampling))
    assert body["options"] == {"temperature": 0.0, "top_k": 5, "seed": -7, "stop": ["a"]}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert ledger.entries == []


def test_more_answers_than_one_are_refused():
    with pytest.raises(Unsupported) as caught:
        written(canonical(sampling=Sampling(n=2)))
    assert caught.value.path == "n"


def test_a_limit_of_nothing_is_refused_for_ollama_takes_it_as_none():
    with pytest.raises(Unsupported) as caught:
        written(canonical(max_tokens=0))
    assert caught.value.path == "max_tokens"


def test_a_limit_beyond_the_model_s_is_clamped_and_noted():
    body, ledger = written(canonical(max_tokens=32000), Target("m", max_output=4096))
    assert body["options"]["num_predict"] == 4096
    assert [(loss.path, loss.what) for loss in ledger.entries] == [("max_tokens", "clamped")]


def test_the_context_comes_from_the_configuration_and_the_server_may_not_cut():
    body, _ = written(canonical(), Target("m", options={"num_ctx": 4096}))
    assert body["options"] == {"num_ctx": 4096}
    assert body["truncate"] is False
    assert "shift" not in body


def test_whatever_else_is_lost_is_noted_under_the_client_s_own_name():
    request = canonical(
        (Message("user", (Text("x", cache={"type": "ephemeral"}, extra={"q": 1}),), name="bob"),),
        user="u",
        metadata={"a": "b"},
        cache_key="k",
        service_tier="flex",
        verbosity="low",
        parallel_tool_calls=False,
        sampling=Sampling(logit_bias={"1": 2}),
        tools=(Tool("f", strict=True, extra={"z": 1}),),
        extra={"foo": 1, "prediction": {}},
    )
    body, ledger = written(request)
    assert set(body) == {"model", "messages", "stream", "tools", "truncate"}
    assert {loss.path: loss.harmless for loss in ledger.entries} == {
        "user": True,
        "metadata": True,
        "prompt_cache_key": True,
        "service_tier": True,
        "verbosity": False,
        "parallel_tool_calls": False,
        "logit_bias": False,
        "messages[].name": False,
        "messages[].content[].q": False,
        "prompt_cache_breakpoint": True,
        "tools[].strict": False,
        "tools[].z": False,
        "foo": False,
        "prediction": False,
    }


def test_answers_that_ollama_cannot_give_are_refused():
    with pytest.raises(Unsupported) as caught:
        written(canonical(extra={"modalities": ["text", "audio"]}))
    assert caught.value.path == "modalities"


def test_the_router_s_own_plugins_are_never_sent():
    body, ledger = written(canonical(plugins=(PluginCall("pareto-router"),)))
    assert "plugins" not in body
    assert ledger.entries == []


# --- properties ---


@given(SHAPED)
def test_reading_what_was_written_gives_the_same_request(value):
    text = json.dumps(value).replace("Infinity", "9").encode()
    try:
        request = replace(parse_request(text), raw=None)
    except Invalid:
        return
    body, ledger = written(request)
    assert set(ledger.names()) <= {"messages[].tool_calls[].arguments"}  # text that is no object
    again = parse_request(json.dumps(body).encode())
    assert written(replace(again, raw=None))[0] == body
    if not ledger.entries:
        assert _meaning(again) == _meaning(request)


def _meaning(request: Request) -> Request:
    """Without the text of arguments, whose spelling may differ."""
    messages = tuple(
        replace(
            message,
            parts=tuple(
                replace(part, arguments="") if isinstance(part, ToolUse) else part
                for part in message.parts
            ),
        )
        for message in request.messages
    )
    return replace(request, messages=messages)


@given(strategies.requests(), strategies.targets)
def test_any_request_is_written_or_refused(request, target):
    with suppress(Invalid):
        body = json.loads(write_request(request, Ledger(), target))
        assert body["model"] == target.model
        assert type(body["stream"]) is bool
