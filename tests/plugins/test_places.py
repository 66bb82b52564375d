"""llmrouterd/plugins/places.py"""

import base64
import json

import pytest

from formats import FORMATS
from formats.canonical import (
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Request,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from llmrouterd.plugins.places import turned

SAID = "SECRET"


def full() -> Request:
    return Request(
        "anthropic",
        "m",
        (
            Message("system", (Text(SAID),), hoisted=True),
            Message("user", (Text(SAID), Image(data="QQ==", extra={"alt": SAID})), name=SAID),
            Message("user", (Document(text=SAID, name=SAID, context=SAID), Image(url=SAID))),
            Message(
                "assistant",
                (
                    Thought(SAID, signature="SECRET-signature"),
                    ToolUse("call-SECRET", SAID, '{"SECRET":["SECRET",7]}', {SAID: [SAID, 7]}),
                    ToolUse("c2", "t", "plain SECRET", None, "custom"),
                    Opaque("anthropic", "x", {"id": "id-SECRET", "query": SAID}),
                ),
            ),
            Message("tool", (ToolResult("call-SECRET", (Text(SAID),), SAID),)),
        ),
        tools=(Tool(SAID, SAID, {"properties": {SAID: {"enum": [SAID]}, "id": SAID}}),),
        tool_choice=ToolChoice("named", (SAID,)),
        output=OutputFormat("schema", {"description": SAID}),
        user=SAID,
        metadata={"id": SAID, "n": 7},
        cache_key=SAID,
        extra={"more": SAID},
    )


def cover(text: str, form: str) -> str:
    return text if form == "json" else text.replace(SAID, "-").replace("7", "seven")


def test_every_text_is_turned_and_nothing_that_is_sealed():
    out = turned(full(), cover)
    assert repr(out).count(SAID) == 1  # the signature
    assert "QQ==" in repr(out)
    call = out.messages[3].parts[1]
    assert call.input == {"-": ["-", "seven"]}
    assert call.arguments == '{"-":["-","seven"]}'


def test_a_request_in_which_nothing_changes_stays_the_same_one():
    request = full()
    assert turned(request, lambda text, form: text) is request


def test_what_stays_over_a_conversation_is_shown_before_the_messages():
    seen: list[str] = []
    request = Request("openai", "m", (Message("user", (Text("hi"),)),), tools=(Tool("t", "what"),))
    turned(request, lambda text, form: seen.append(text) or text)
    assert seen == ["t", "what", "hi"]


def in_base64(text: str, code: str = "utf-8") -> str:
    return base64.b64encode(text.encode(code)).decode()


@pytest.mark.parametrize(
    ("mime", "code"),
    [
        ("application/json", "utf-8"),
        ("text/plain", "latin-1"),
        ("", "utf-8"),
        ("application/yaml", "utf-8"),
        ("text/csv", "utf-16"),
        ("image/svg+xml", "utf-8"),
    ],
)
def test_a_text_in_base64_is_a_text(mime: str, code: str):
    kind = Image if mime.startswith("image") else Document
    request = Request(
        "openai", "m", (Message("user", (kind(data=in_base64("é SECRET", code), mime=mime),)),)
    )
    part = turned(request, cover).messages[0].parts[0]
    assert base64.b64decode(part.data).decode(code) == "é -"


@pytest.mark.parametrize("data", [b"%PDF-1.7 SECRET", b"\x89PNG SECRET", b"\x00\xff SECRET"])
def test_other_bytes_are_not_looked_at(data: bytes):
    document = Document(data=base64.b64encode(data).decode(), mime="application/x")
    request = Request("openai", "m", (Message("user", (document,)),))
    assert turned(request, cover) is request


def test_a_text_completion_keeps_a_text_of_its_own():
    body = {"model": "m", "prompt": ["a SECRET", "b"], "suffix": SAID, "stream": False}
    request = FORMATS["completions"].parse_request(json.dumps(body).encode())
    out = turned(request, cover)
    assert out.raw.value == {**body, "prompt": ["a -", "b"], "suffix": "-"}
    plain = FORMATS["completions"].parse_request(
        json.dumps({**body, "suffix": "", "prompt": "x"}).encode()
    )
    assert turned(plain, cover) is plain


def test_a_pattern_gets_a_name_since_brackets_mean_something_there():
    seen = {}
    schema = {"properties": {"a": {"type": "string", "pattern": "p", "enum": ["e"]}}}
    request = Request("openai", "m", tools=(Tool("t", None, schema),))
    turned(request, lambda text, form: seen.setdefault(text, form) and text)
    assert (seen["p"], seen["e"], seen["a"]) == ("name", "text", "name")


def test_data_that_is_short_may_as_well_be_a_secret():
    bytes_, words = "QUJD" * 100, "my SECRET"
    request = Request("anthropic", "m", extra={"x": {"data": bytes_}, "y": {"data": words}})
    assert turned(request, cover).extra == {"x": {"data": bytes_}, "y": {"data": "my -"}}
