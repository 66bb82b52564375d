"""formats/responses/parse.py"""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import (
    Finished,
    Message,
    OutputFormat,
    Sampling,
    Stamp,
    Target,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.ledger import Ledger
from formats.responses import encoder, parse_request, stored, write_request
from tests.formats.responses.wires import damaged

CONVERSATIONS = ["openai", "anthropic", "ollama", "responses"]
CLIENTS = Path(__file__).parents[2] / "transcripts" / "clients"
FIXTURES = sorted(CLIENTS.glob("*-responses*.json"))


def parsed(**members):
    return parse_request(json.dumps({"model": "m", "input": "hi", **members}).encode())


def refused(**members):
    with pytest.raises(Invalid) as caught:
        parsed(**members)
    return caught.value.path


# --- requests of real clients ---


def fixture(path):
    return json.loads(path.read_text())["body"]


def written_out(body):
    """A request with everything that may be left unsaid said."""
    body = json.loads(json.dumps(body))
    items = body["input"]
    body["input"] = [{"role": "user", "content": items}] if isinstance(items, str) else items
    for item in body["input"]:
        if "role" not in item:
            continue
        item["type"] = "message"
        if isinstance(item["content"], str):
            kind = "output_text" if item["role"] == "assistant" else "input_text"
            item["content"] = [{"type": kind, "text": item["content"]}]
        for part in item["content"]:
            if part["type"] == "output_text":
                part.setdefault("annotations", [])
                part.pop("logprobs", None)
    body["stream"] = body.get("stream", False)
    return body


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_real_clients_request_is_read_and_written_again_whole(path):
    body = fixture(path)
    request = replace(parse_request(json.dumps(body).encode()), raw=None)
    ledger = Ledger()
    again = json.loads(write_request(request, ledger, Target(body["model"])))
    assert written_out(again) == written_out(body)
    assert ledger.entries == []


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_real_clients_request_passes_to_the_character_but_for_its_model(path):
    sent = json.dumps(fixture(path), indent=1)
    body = write_request(parse_request(sent.encode()), Ledger(), Target("other"))
    name = json.dumps(fixture(path)["model"])
    assert body.decode() == sent.replace(f'"model": {name}', '"model": "other"', 1)


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_real_clients_request_means_the_same_in_every_format(path, name):
    request = replace(parse_request(json.dumps(fixture(path)).encode()), raw=None)
    ledger = Ledger()
    body = FORMATS[name].write_request(request, ledger, Target("m"))
    again = FORMATS[name].parse_request(body)
    assert [t.name for t in again.tools if t.kind != "hosted"] == [
        t.name for t in request.tools if t.kind != "hosted"
    ]
    assert said(again) == said(request)
    assert calls(again) == calls(request)
    left_out = {f"tools[].type={t.type}" for t in request.tools if t.kind == "hosted"}
    assert name == "responses" or left_out <= set(ledger.names())


def said(request):
    """All words of all messages, results included, in order."""
    parts = [part for message in request.messages for part in message.parts]
    inner = [p for part in parts for p in (part.parts if isinstance(part, ToolResult) else [part])]
    return "".join(part.text for part in inner if isinstance(part, Text)).replace("\n", "")


def calls(request):
    """Who was called with what, and which results came."""
    parts = [part for message in request.messages for part in message.parts]
    uses = [(p.id, p.name, p.input) for p in parts if isinstance(p, ToolUse)]
    return uses, [p.call_id for p in parts if isinstance(p, ToolResult)]


# --- members ---


def test_a_string_is_one_message_of_the_users():
    assert parsed().messages == (Message("user", (Text("hi"),)),)


def test_instructions_lead_and_stand_apart():
    request = parsed(instructions="be brief", input=[{"role": "system", "content": "late"}])
    assert request.messages == (
        Message("system", (Text("be brief"),), hoisted=True),
        Message("system", (Text("late"),)),
    )
    assert parsed(instructions=None).messages == parsed().messages


def test_settings_find_their_places():
    request = parsed(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        parallel_tool_calls=False,
        stream=True,
        metadata={"a": "b"},
        prompt_cache_key="k",
        service_tier="flex",
        text={"verbosity": "low"},
    )
    assert request.max_tokens == 9
    assert request.sampling == Sampling(0.5, 0.9, logprobs=True, top_logprobs=2)
    assert request.extra == {"include": ["reasoning.encrypted_content"]}
    assert (request.parallel_tool_calls, request.stream) == (False, True)
    assert (request.metadata, request.cache_key) == ({"a": "b"}, "k")
    assert (request.service_tier, request.verbosity) == ("flex", "low")
    assert request.include_usage


@pytest.mark.parametrize(
    ("reasoning", "thinking", "kept"),
    [
        ({"effort": "high", "summary": "auto"}, Thinking(None, "high", display="auto"), None),
        ({"effort": "none"}, Thinking("off", "none"), None),
        ({"effort": "odd", "mode": "pro"}, None, {"effort": "odd", "mode": "pro"}),
        ({"effort": None, "summary": None}, None, None),
        (None, None, None),
    ],
)
def test_reasoning(reasoning, thinking, kept):
    request = parsed(reasoning=reasoning)
    assert request.thinking == thinking
    assert request.extra.get("reasoning") == kept


def test_the_form_of_the_answer():
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    assert parsed(text={"format": wanted}).output == OutputFormat("schema", schema, "n", None, True)
    nested = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert parsed(text={"format": nested}).output == OutputFormat("schema", schema, "n")
    assert parsed(text={"format": {"type": "json_object"}}).output == OutputFormat("json")
    assert parsed(text={"format": {"type": "text"}}).output is None
    odd = parsed(text={"format": {"type": "grammar"}, "more": 1})
    assert odd.extra["text"] == {"format": {"type": "grammar"}, "more": 1}


def test_of_two_names_of_the_end_user_either_counts():
    assert parsed(user="u").user == "u"
    assert parsed(safety_identifier="s").user == "s"
    assert parsed(user="u", safety_identifier="s").user == "u"


def test_references_are_kept_for_who_can_look_them_up():
    request = parsed(previous_response_id="resp_1", input=[])
    assert request.extra == {"previous_response_id": "resp_1"}
    assert request.messages == ()
    assert parsed(prompt={"id": "p"}, input=None).extra == {"prompt": {"id": "p"}}


def test_unknown_members_are_kept():
    assert parsed(truncation="auto", x=1).extra == {"truncation": "auto", "x": 1}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "input"),
        ({"instructions": []}, "instructions"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"verbosity": 1}}, "text.verbosity"),
        ({"include": "x"}, "include"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_mistake_is_named_with_its_place(members, path):
    assert refused(**members) == path


@pytest.mark.slow
@given(st.sampled_from(FIXTURES), st.sampled_from(CONVERSATIONS), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_a_damaged_request_is_served_or_refused_with_a_reason(path, name, random):
    body = json.dumps(damaged(fixture(path), random)).encode()
    with suppress(Invalid):
        request = parse_request(body)
        encoder(request, Ledger(), Stamp("0" * 24, 1)).encode(Finished("end_turn"))
        stored.expanded(request, stored.input_items(request))
        for each in (request, replace(request, raw=None)):
            FORMATS[name].write_request(each, Ledger(), Target("gpt-6", vendor=True))
