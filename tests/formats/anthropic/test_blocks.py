"""Parts as content blocks."""

import pytest

from formats.anthropic.blocks import BlockWriter
from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Target,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import Unsupported
from formats.ledger import Ledger
from formats.losses import Losses
from tests.strategies import PDF, PNG

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def written(*parts, origin="openai", vendor=False):
    ledger = Ledger()
    request = Request(origin, "m")
    losses = Losses("anthropic", request, ledger)
    writer = BlockWriter(request, losses, Target("t", vendor=vendor), lambda name: name)
    return writer.blocks(Message("user", parts)), ledger.names()


def test_texts_and_blank_ones_of_other_formats_left_out():
    assert written(Text("a"), Text(" \n"))[0] == [{"type": "text", "text": "a"}]
    assert written(Text(" "), origin="anthropic")[0] == [{"type": "text", "text": " "}]


def test_the_cache_marks_of_openai_become_this_formats():
    mark = {"mode": "explicit", "ttl": "12h"}
    (block,), lost = written(Text("a", cache=mark))
    assert block["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    (block,), _ = written(Text("a", cache={"mode": "explicit"}))
    assert block["cache_control"] == {"type": "ephemeral"}
    assert lost == ()


def test_an_image_is_sent_with_the_type_its_bytes_tell():
    assert written(Image(PNG)) == ([IMAGE], ())
    assert written(Image(PNG, "image/png", detail="low")) == (
        [IMAGE],
        ("messages[].image_url.detail",),
    )


@pytest.mark.parametrize(
    "part",
    [
        Image("AAAA", "image/bmp"),
        Image(file_id="f"),
        Document(file_id="f"),
        Document(data="/w==", mime="application/zip"),
        Audio("AAAA", "wav"),
        Opaque("openai", "strange"),
    ],
)
def test_what_cannot_be_sent_is_refused_not_left_out(part):
    with pytest.raises(Unsupported):
        written(part)


def test_documents():
    blocks, _ = written(
        Document(data=PDF, mime="application/pdf", name="a.pdf"),
        Document(text="words", citations=True),
        Document(data="d29yZHM=", mime="text/csv"),
    )
    assert blocks == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "words"},
            "citations": {"enabled": True},
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "words"},
        },
    ]


def test_only_what_a_vendor_signed_is_sent_as_thinking():
    signed = Thought("hm", "SIG", origin="anthropic")
    redacted = Thought(redacted="DATA", origin="anthropic")
    blocks, lost = written(
        signed, redacted, Thought("of ours", origin="openai"), origin="anthropic"
    )
    assert blocks == [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "DATA"},
    ]
    assert lost == ("messages[].thinking",)
    assert written(Thought("hm")) == ([], ("messages[].reasoning_content",))


def test_unsigned_thinking_goes_back_to_servers_that_sign_nothing():
    part = Thought("hm", origin="anthropic")
    block = {"type": "thinking", "thinking": "hm", "signature": ""}
    assert written(part, origin="anthropic")[0] == [block]
    assert written(part, origin="anthropic", vendor=True)[0] == []


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (ToolUse("i", "f", '{"a":1}', {"a": 1}), {"a": 1}),
        (ToolUse("i", "f", " "), {}),
        (ToolUse("i", "f", '{"n":12345678901234567890}'), {"n": 12345678901234567890}),
        (ToolUse("i", "f", "rm -rf", kind="custom"), {"input": "rm -rf"}),
    ],
)
def test_a_calls_input_is_an_object(call, value):
    assert written(call) == ([{"type": "tool_use", "id": "i", "name": "f", "input": value}], ())


def test_arguments_that_are_no_object_are_kept_as_text():
    (block,), lost = written(ToolUse("i", "f", "[1]"))
    assert block["input"] == {"_raw_arguments": "[1]"}
    assert lost == ("messages[].tool_calls[].arguments",)


def test_tool_results():
    blocks, _ = written(
        ToolResult("a", (Text("one"),)),
        ToolResult("b", (Text("two"), Image(PNG)), is_error=True),
        ToolResult("c"),
    )
    assert blocks == [
        {"type": "tool_result", "tool_use_id": "a", "content": "one"},
        {
            "type": "tool_result",
            "tool_use_id": "b",
            "content": [{"type": "text", "text": "two"}, IMAGE],
            "is_error": True,
        },
        {"type": "tool_result", "tool_use_id": "c"},
    ]


def test_members_unknown_here_are_noted_and_those_of_this_format_kept():
    assert written(Text("a", extra={"x": 1})) == (
        [{"type": "text", "text": "a"}],
        ("messages[].content[].x",),
    )
    assert written(Text("a", extra={"x": 1}), origin="anthropic") == (
        [{"type": "text", "text": "a", "x": 1}],
        (),
    )


def test_opaque_blocks_of_this_format_go_back_as_they_came():
    block = {"type": "container_upload", "file_id": "f"}
    assert written(Opaque("anthropic", "container_upload", block))[0] == [block]
