"""formats/responses/write.py"""

import json

import pytest

from formats.canonical import (
    Message,
    OutputFormat,
    Request,
    Sampling,
    Target,
    Text,
    Thinking,
    Tool,
    ToolChoice,
)
from formats.errors import Unsupported
from formats.ledger import Ledger
from formats.responses import parse_request, write_request
from formats.responses.write import written_settings

SAID = (Message("user", (Text("hi"),)),)
SCHEMA = {"type": "object", "properties": {}}
F = Tool("f", parameters=SCHEMA)
SEARCH = Tool("web_search", kind="hosted", type="web_search", native={"type": "web_search"})
SPACE = {"type": "namespace", "name": "n", "description": "d"}


def written(origin="openai", target=None, **members):
    ledger = Ledger()
    request = Request(origin, "m", SAID, **members)
    body = json.loads(write_request(request, ledger, target or Target("up")))
    return body, ledger


def names(ledger):
    return {(loss.path, loss.what) for loss in ledger.entries}


def test_the_least_request():
    body, ledger = written()
    assert body == {
        "model": "up",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
        ],
        "store": False,
    }
    assert ledger.entries == []


def test_the_configurations_own_members_stand_behind_what_was_asked():
    target = Target("up", options={"store": True, "x": 1})
    body, _ = written(target=target)
    assert (body["store"], body["x"]) == (False, 1)


# --- tools ---


def test_tools_of_another_format_are_not_strict_unless_they_said_so():
    body, _ = written(tools=(F, Tool("g", "d", strict=True)))
    assert body["tools"] == [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False},
        {"type": "function", "name": "g", "description": "d", "parameters": SCHEMA, "strict": True},
    ]


def test_a_custom_tool_has_a_flat_grammar():
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}
    body, _ = written(tools=(Tool("p", kind="custom", format=form),))
    flat = {"type": "grammar", "syntax": "lark", "definition": "x"}
    assert body["tools"] == [{"type": "custom", "name": "p", "format": flat}]


def test_names_that_are_not_legal_here_are_changed_everywhere():
    body, _ = written(tools=(Tool("a.b"),), tool_choice=ToolChoice("named", ("a.b",)))
    assert body["tools"][0]["name"] == body["tool_choice"]["name"] == "a_b"


def test_a_vendors_tool_is_left_out_and_named_unless_nothing_is_left():
    body, ledger = written("anthropic", tools=(F, SEARCH))
    assert len(body["tools"]) == 1
    assert names(ledger) == {("tools[].type=web_search", "dropped")}
    with pytest.raises(Unsupported):
        written("anthropic", tools=(SEARCH,))
    with pytest.raises(Unsupported):
        choice = ToolChoice("named", ("web_search",), kind="hosted")
        written("anthropic", tools=(F, SEARCH), tool_choice=choice)


def test_a_namespace_is_put_together_again():
    inside = [
        Tool("n__a", type="namespace", native=SPACE),
        Tool("n__b", type="namespace", native=SPACE),
    ]
    other = Tool("o__a", type="namespace", native={"type": "namespace", "name": "o"})
    body, _ = written("responses", tools=(*inside, F, other))
    space, plain, second = body["tools"]
    assert [tool["name"] for tool in space["tools"]] == ["a", "b"]
    assert (space["description"], plain["name"], second["name"]) == ("d", "f", "o")


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", ("f",)), {"type": "function", "name": "f"}),
        (ToolChoice("named", ("p",), kind="custom"), {"type": "custom", "name": "p"}),
    ],
)
def test_a_choice(choice, wanted):
    body, _ = written(tools=(F, Tool("p", kind="custom")), tool_choice=choice)
    assert body["tool_choice"] == wanted


def test_allowed_tools_are_named_to_the_vendor_and_the_only_ones_for_others():
    choice = ToolChoice("allowed", ("f",), must=True)
    tools = (F, Tool("g"))
    body, _ = written(tools=tools, tool_choice=choice, target=Target("up", vendor=True))
    allowed = [{"type": "function", "name": "f"}]
    assert body["tool_choice"] == {"type": "allowed_tools", "mode": "required", "tools": allowed}
    body, ledger = written(tools=tools, tool_choice=choice)
    assert ([t["name"] for t in body["tools"]], body["tool_choice"]) == (["f"], "required")
    assert names(ledger) == {("tool_choice", "approximated")}


def test_a_choice_without_tools_is_left_out():
    body, ledger = written(tool_choice=ToolChoice("required"))
    assert "tool_choice" not in body
    assert names(ledger) == {("tool_choice", "dropped")}


def test_one_call_at_a_time():
    body, _ = written(tools=(F,), parallel_tool_calls=False)
    assert body["parallel_tool_calls"] is False


# --- settings ---


def test_limits():
    assert written(max_tokens=100)[0]["max_output_tokens"] == 100
    body, ledger = written(max_tokens=5, target=Target("up", vendor=True))
    assert body["max_output_tokens"] == 16
    assert names(ledger) == {("max_tokens", "clamped")}
    body, ledger = written(max_tokens=100, target=Target("up", max_output=50))
    assert (body["max_output_tokens"], names(ledger)) == (50, {("max_tokens", "clamped")})
    with pytest.raises(Unsupported):
        written(max_tokens=0)


def test_what_the_format_has_no_word_for_is_named():
    sampling = Sampling(top_k=5, seed=1, stop=("x",), frequency_penalty=0, presence_penalty=0.5)
    _, ledger = written(sampling=sampling)
    assert set(ledger.names()) == {"top_k", "seed", "stop", "presence_penalty"}


def test_sampling_goes_to_all_but_the_vendors_reasoning_models():
    sampling = Sampling(temperature=0.5, top_p=1, logprobs=True, top_logprobs=3)
    body, _ = written(sampling=sampling)
    assert (body["temperature"], body["top_p"], body["top_logprobs"]) == (0.5, 1, 3)
    assert body["include"] == ["message.output_text.logprobs"]
    body, ledger = written(sampling=sampling, target=Target("gpt-6", vendor=True))
    assert body["top_p"] == 1
    assert set(ledger.names()) == {"temperature", "logprobs", "top_logprobs"}


@pytest.mark.parametrize(
    ("thinking", "wanted"),
    [
        (Thinking("off", "none"), {"effort": "none"}),
        (Thinking(None, "high"), {"effort": "high"}),
        (Thinking("on", budget_tokens=5000), {"effort": "medium", "summary": "auto"}),
        (Thinking("auto", display="omitted"), None),
        (Thinking("auto"), {"summary": "auto"}),
        (Thinking(None, None, display="summarized"), None),
    ],
)
def test_thinking(thinking, wanted):
    body, _ = written("anthropic", thinking=thinking)
    assert body.get("reasoning") == wanted


def test_thinking_is_not_asked_of_a_model_that_cannot():
    target = Target("up", capabilities=frozenset({"tools"}))
    body, ledger = written("anthropic", thinking=Thinking("on"), target=target)
    assert "reasoning" not in body
    assert names(ledger) == {("thinking", "dropped")}


def test_the_form_of_the_answer():
    output = OutputFormat("schema", SCHEMA, description="d")
    body, _ = written(output=output, verbosity="low")
    assert body["text"] == {
        "format": {
            "type": "json_schema",
            "name": "response",
            "schema": SCHEMA,
            "description": "d",
            "strict": False,
        },
        "verbosity": "low",
    }
    assert written(output=OutputFormat("json"))[0]["text"] == {"format": {"type": "json_object"}}


def test_what_chat_completions_shares_goes_along():
    extra = {"store": True, "safety_identifier": "s", "logit_something": 1}
    body, ledger = written(user="u", metadata={"a": "b"}, cache_key="k", extra=extra)
    assert (body["store"], body["safety_identifier"], body["user"]) == (True, "s", "u")
    assert (body["metadata"], body["prompt_cache_key"]) == ({"a": "b"}, "k")
    assert ledger.names() == ("logit_something",)


@pytest.mark.parametrize(
    ("origin", "tier", "vendor", "wanted"),
    [
        ("openai", "flex", False, "flex"),
        ("anthropic", "auto", True, "auto"),
        ("anthropic", "standard_only", True, "default"),
        ("anthropic", "standard_only", False, None),
    ],
)
def test_a_tier(origin, tier, vendor, wanted):
    body, ledger = written(origin, service_tier=tier, target=Target("up", vendor=vendor))
    assert body.get("service_tier") == wanted
    assert (wanted is None) == ("service_tier" in ledger.names())


@pytest.mark.parametrize(
    "members",
    [
        {"sampling": Sampling(n=2)},
        {"extra": {"modalities": ["text", "audio"]}},
    ],
)
def test_what_nobody_here_can_do_is_refused(members):
    with pytest.raises(Unsupported):
        written(**members)


# --- the same format ---


def test_members_with_a_meaning_and_without_are_joined_again():
    body = {
        "model": "m",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
        ],
        "reasoning": {"effort": "high", "mode": "pro"},
        "text": {"verbosity": "low", "more": 1},
        "include": ["a", "message.output_text.logprobs"],
        "tool_choice": {"type": "mcp", "server_label": "s"},
        "tools": [{"type": "mcp", "server_label": "s"}],
        "safety_identifier": "s",
        "store": True,
        "previous_response_id": "resp_1",
    }
    request = parse_request(json.dumps(body).encode())
    again = write_request(request.__class__(**members_of(request), raw=None), Ledger(), Target("m"))
    assert json.loads(again) == body


def members_of(request):
    names_ = [name for name in request.__slots__ if name != "raw"]
    return {name: getattr(request, name) for name in names_}


def test_the_settings_of_a_request():
    request = Request("responses", "m", SAID, tools=(F,), thinking=Thinking(None, "low"))
    assert written_settings(request, Ledger()) == {
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "reasoning": {"effort": "low"},
    }
