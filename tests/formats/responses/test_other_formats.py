"""What a Responses client asked, written for the other formats, and their answers on the way back."""

import json

import pytest

from formats import FORMATS
from formats.canonical import (
    Finished,
    PartEnded,
    Request,
    Stamp,
    Started,
    Target,
    TextDelta,
    Thinking,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
)
from formats.errors import Unsupported
from formats.fold import fold
from formats.ledger import Ledger
from formats.responses import parse_request
from formats.token import write_token
from tests.formats.responses.wires import pieces
from tests.strategies import PNG

STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000)
OTHERS = ["openai", "anthropic", "ollama"]
SEARCH = {"type": "web_search"}
F = {"type": "function", "name": "n", "parameters": {"type": "object", "properties": {}}}


def written(name, body, target=None):
    request = parse_request(json.dumps({"model": "m", **body}).encode())
    ledger = Ledger()
    body = FORMATS[name].write_request(request, ledger, target or Target("up"))
    return json.loads(body), ledger


def user(text="q"):
    return {"role": "user", "content": text}


def call(**more):
    return {"type": "function_call", "call_id": "c1", "name": "n", "arguments": "{}", **more}


RESULT = {"type": "function_call_output", "call_id": "c1", "output": "r"}


def reasoning(sealed):
    summary = [{"type": "summary_text", "text": "hm"}]
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": sealed}


WHOLE = {
    "instructions": "I",
    "input": [
        {"role": "developer", "content": "D"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "q"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
            ],
        },
        reasoning("gAAA"),
        call(),
        RESULT,
    ],
    "tools": [F, SEARCH],
    "reasoning": {"effort": "xhigh"},
    "max_output_tokens": 500,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
}
SOFT = {"input[].id", "prompt_cache_key"}


def hard(ledger):
    return {loss.path for loss in ledger.entries if not loss.harmless}


def test_a_whole_request_for_ollama():
    body, ledger = written("ollama", WHOLE)
    assert body["messages"] == [
        {"role": "system", "content": "I"},
        {"role": "system", "content": "D"},
        {"role": "user", "content": "q", "images": [PNG]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"index": 0, "name": "n", "arguments": {}}}],
        },
        {"role": "tool", "content": "r", "tool_name": "n", "tool_call_id": "c1"},
    ]
    assert (body["think"], body["options"]) == ("max", {"num_predict": 500})
    assert (body["truncate"], body["stream"], len(body["tools"])) == (False, False, 1)
    assert hard(ledger) == {"tools[].type=web_search"}
    assert set(ledger.names()) == {
        "tools[].type=web_search",
        "input[].encrypted_content",
        *SOFT,
    }


def test_a_whole_request_for_chat_completions():
    body, ledger = written("openai", WHOLE)
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "system", "user", "assistant", "tool"]
    assistant = body["messages"][3]
    assert (assistant["content"], assistant["reasoning_content"]) == (None, "hm")
    assert (body["reasoning_effort"], body["max_tokens"]) == ("xhigh", 500)
    assert hard(ledger) == {"tools[].type=web_search", "input[].encrypted_content"}


def test_a_whole_request_for_anthropic():
    body, ledger = written("anthropic", WHOLE, Target("claude-opus-5"))
    assert [block["text"] for block in body["system"]] == ["I", "D"]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert hard(ledger) == {"tools[].type=web_search", "input[].reasoning"}


@pytest.mark.parametrize("name", OTHERS)
def test_a_vendors_tool_is_refused_where_it_is_forced_or_the_only_one(name):
    with pytest.raises(Unsupported):
        written(name, {"input": "q", "tools": [SEARCH]})
    with pytest.raises(Unsupported):
        written(name, {"input": "q", "tools": [F, SEARCH], "tool_choice": SEARCH})


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_vendors_tool_did_is_told_in_words(name):
    search = {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "x"}}
    said = {"role": "assistant", "content": "found"}
    body, ledger = written(name, {"input": [user(), search, said, user("more")]})
    assert "[web_search: x]" in json.dumps(body)
    assert "input[].web_search_call" in ledger.names()


@pytest.mark.parametrize("name", OTHERS)
def test_an_item_that_nobody_else_understands_is_refused(name):
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}
    with pytest.raises(Unsupported) as caught:
        written(name, {"input": [user(), item, user()]})
    assert "compaction" in str(caught.value)


def test_a_custom_tool_is_one_where_there_are_such_and_else_a_function():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    tool = {"type": "custom", "name": "patch", "description": "d", "format": grammar}
    use = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "raw"}
    result = {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"}
    asked = {"input": [user(), use, result], "tools": [tool]}
    body, _ = written("openai", asked, Target("m", vendor=True))
    nested = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}
    assert body["tools"][0]["custom"]["format"] == nested
    assert body["messages"][1]["tool_calls"][0]["custom"] == {"name": "patch", "input": "raw"}
    body, ledger = written("openai", asked)
    call = {"name": "patch", "arguments": '{"input":"raw"}'}
    assert body["messages"][1]["tool_calls"][0]["function"] == call
    assert "start: X" in body["tools"][0]["function"]["description"]
    assert body["tools"][0]["type"] == "function"
    body, ledger = written("anthropic", asked)
    assert body["messages"][1]["content"][0]["input"] == {"input": "raw"}
    assert "start: X" in body["tools"][0]["description"]
    assert "tools[].format" in ledger.names()
    body, _ = written("ollama", asked)
    assert "start: X" in body["tools"][0]["function"]["description"]


def test_a_summary_that_is_asked_for_is_no_wish_for_an_effort():
    for name in OTHERS:
        body, ledger = written(name, {"input": "q", "reasoning": {"summary": "auto"}})
        assert not {"reasoning_effort", "thinking", "think"} & set(body)
        assert "reasoning.effort" not in ledger.names()


# --- reasoning of one vendor by way of a client of another format ---


def history_of(name, events, *, extra):
    """What a client of a format sends back of an answer."""
    request = Request(name, "m", thinking=Thinking("on"), version="2023-06-01", extra=extra)
    codec = FORMATS[name]
    answer = fold(events)
    return json.loads(codec.write_response(answer, Ledger(), STAMP, request)), b"".join(
        map(codec.encoder(request, Ledger(), STAMP).encode, events)
    )


def thought_then_called(origin, signature, text="hm"):
    return [
        Started("", "m"),
        ThoughtDelta(0, text),
        ThoughtSigned(0, signature, origin=origin),
        PartEnded(0),
        ToolStarted(1, "c1", "n"),
        ToolDelta(1, "{}"),
        PartEnded(1),
        Finished("tool_use"),
    ]


def test_signed_thinking_goes_back_to_its_vendor_through_a_client_of_this_format():
    extra = {"include": ["reasoning.encrypted_content"]}
    whole, stream = history_of("responses", thought_then_called("anthropic", "c2ln"), extra=extra)
    last = pieces(stream)[-1][1]["response"]["output"]
    for items in (whole["output"], last):
        body, ledger = written("anthropic", {"input": [user(), *items, RESULT], "tools": [F]})
        assert body["messages"][1]["content"][0] == {
            "type": "thinking",
            "thinking": "hm",
            "signature": "c2ln",
        }
        assert "input[].reasoning" not in ledger.names()
        body, _ = written("openai", {"input": [user(), *items, RESULT], "tools": [F]})
        assert body["messages"][1]["reasoning_content"] == "hm"
        assert "llmr1." not in json.dumps(body)


@pytest.mark.parametrize("text", ["hm", ""])
def test_sealed_reasoning_goes_back_to_its_vendor_through_an_anthropic_client(text):
    events = thought_then_called("responses", "gAAA", text)
    whole, stream = history_of("anthropic", events, extra={})
    streamed = fold(decoded_anthropic(stream))
    assert streamed.parts[0].text == text
    for signature in (whole["content"][0]["signature"], streamed.parts[0].signature):
        thinking = {"type": "thinking", "thinking": text, "signature": signature}
        use = {"type": "tool_use", "id": "c1", "name": "n", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "r"}
        said = [
            user(),
            {"role": "assistant", "content": [thinking, use]},
            {"role": "user", "content": [result]},
        ]
        request = FORMATS["anthropic"].parse_request(
            json.dumps({"model": "m", "max_tokens": 9, "messages": said}).encode()
        )
        target = Target("gpt-6", vendor=True)
        body = json.loads(FORMATS["responses"].write_request(request, Ledger(), target))
        assert body["input"][1]["encrypted_content"] == "gAAA"
        assert body["input"][2]["type"] == "function_call"
        assert b"gAAA" not in FORMATS["openai"].write_request(request, Ledger(), Target("m"))


def decoded_anthropic(data):
    reader = FORMATS["anthropic"].decoder(limit=1 << 20)
    return [*reader.feed(data), *reader.eof()]


def test_a_token_never_reaches_a_vendor():
    items = [user(), reasoning(write_token("ollama", "hm")), call(), RESULT]
    for name in [*OTHERS, "responses"]:
        body, _ = written(name, {"input": items, "tools": [F]}, Target("up", vendor=True))
        assert "llmr1." not in json.dumps(body)


# --- answers ---


def test_a_citation_of_this_format_is_nested_for_chat_completions():
    note = {
        "type": "url_citation",
        "url": "https://x",
        "title": "t",
        "start_index": 0,
        "end_index": 1,
    }
    text = {"type": "output_text", "text": "a", "annotations": [note]}
    body = {"id": "r", "output": [{"type": "message", "content": [text]}], "status": "completed"}
    answer = FORMATS["responses"].parse_response(json.dumps(body).encode())
    chat = json.loads(FORMATS["openai"].write_response(answer, Ledger(), STAMP))
    inner = {name: value for name, value in note.items() if name != "type"}
    (made,) = chat["choices"][0]["message"]["annotations"]
    assert made == {"type": "url_citation", "url_citation": inner}


def test_a_codex_turn_through_every_other_upstream():
    """A namespace, a custom tool and a text, by way of what each upstream calls them."""
    space = {
        "type": "namespace",
        "name": "agents",
        "tools": [{"type": "function", "name": "spawn"}],
    }
    tools = [space, {"type": "custom", "name": "patch"}, F]
    request = parse_request(json.dumps({"model": "m", "input": "q", "tools": tools}).encode())
    events = [
        Started("", "m"),
        TextDelta(0, "so"),
        PartEnded(0),
        ToolStarted(1, "a", "agents__spawn"),
        ToolDelta(1, "{}"),
        PartEnded(1),
        ToolStarted(2, "b", "patch"),
        ToolDelta(2, '{"input":"raw"}'),
        PartEnded(2),
        Finished("tool_use"),
    ]
    for name in OTHERS:
        upstream = FORMATS[name]
        asked = Request(name, "m")
        stream = b"".join(map(upstream.encoder(asked, Ledger(), STAMP).encode, events))
        reader = upstream.decoder(limit=1 << 20)
        encoder = FORMATS["responses"].encoder(request, Ledger(), STAMP)
        again = b"".join(map(encoder.encode, [*reader.feed(stream), *reader.eof()]))
        said, spawn, patch = pieces(again)[-1][1]["response"]["output"]
        assert said["content"][0]["text"] == "so"
        assert (spawn["name"], spawn["namespace"], spawn["call_id"]) == ("spawn", "agents", "a")
        assert (patch["type"], patch["input"]) == ("custom_tool_call", "raw")
