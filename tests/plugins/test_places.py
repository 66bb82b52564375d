"""llmrouterd/plugins/places.py"""

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
