"""The estimate: close enough to route by, cheap enough to do always, never an error."""

import base64
import math
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Request,
    Response,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from formats.jsontext import dumps, parse_body
from llmrouterd.route.estimate import (
    answer_tokens,
    fits,
    image_size,
    image_tokens,
    text_tokens,
    tokens,
    with_margin,
)


def ask(*parts: Part, **more) -> Request:
    return Request("openai", "m", (Message("user", parts),), **more)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return head + b"\x08\x06\x00\x00\x00" + bytes(64)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(64)


def jpeg(width: int, height: int, *, before: bytes = b"", sof: int = 0xC0) -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, sof, 17, 8, height, width, 3)
    app0 = b"\xff\xe0" + struct.pack(">H", 16) + bytes(14)
    return b"\xff\xd8" + app0 + before + frame + bytes(64)


def exif(size: int) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", size + 2) + b"\xff" * size


def webp(kind: bytes, payload: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + struct.pack("<I", len(payload)) + payload


def vp8(width: int, height: int) -> bytes:
    frame = b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height)
    return webp(b"VP8 ", frame + bytes(32))


def vp8l(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(32))


def vp8x(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", bytes(4) + size + bytes(32))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("a" * 38, 10),
        ("é" * 22, 10),
        ("ẞ" * 22, 10),
        ("漢" * 10, 11),
        ("한" * 10, 11),
        ("ア" * 10, 11),
        ("Ж" * 10, 9),
        ("ع" * 10, 9),
        ("😀" * 10, 9),
        ("a" * 38 + "é" * 22 + "漢" * 10 + "Ж" * 10, 40),
        ("\ud800", 0.9),
    ],
)
def test_each_class_of_characters_has_its_own_weight(text: str, expected: float) -> None:
    assert text_tokens(text) == pytest.approx(expected)


def test_a_message_costs_four_tokens_beside_its_text() -> None:
    assert tokens(ask(Text("a" * 38))) == 14
    twice = Request("openai", "m", (Message("system", (Text("a" * 38),)),) * 2)
    assert tokens(twice) == 28


def test_calls_and_their_results_count_as_code() -> None:
    call = Message("assistant", (ToolUse("1", "", "x" * 32),))
    result = Message("tool", (ToolResult("1", (Text("x" * 32),)),))
    assert tokens(Request("openai", "m", (call, result))) == 4 + 10 + 4 + 10


def test_thoughts_count_only_after_the_last_question() -> None:
    thought = Message("assistant", (Thought("t" * 380),))
    question = Message("user", (Text(""),))
    assert tokens(Request("openai", "m", (thought, question))) == 8
    assert tokens(Request("openai", "m", (question, thought))) == 108


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), (640, 480)),
        (gif(320, 200), (320, 200)),
        (jpeg(1024, 768), (1024, 768)),
        (jpeg(1024, 768, sof=0xC2), (1024, 768)),
        (jpeg(1024, 768, before=exif(60_000)), (1024, 768)),
        (jpeg(1024, 768, before=exif(60_001) + exif(60_002)), (1024, 768)),
        (jpeg(1024, 768, before=b"\xff\xff\xff\x01\xff\xd0"), (1024, 768)),
        (jpeg(1024, 768, before=b"\xff\xc4\x00\x04\x00\x00"), (1024, 768)),
        (vp8(400, 300), (400, 300)),
        (vp8l(400, 300), (400, 300)),
        (vp8x(4000, 3000), (4000, 3000)),
        (png(0, 480), None),
        (jpeg(1, 1)[:20], None),
        (b"\xff\xd8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", None),
        (b"\xff\xd8" + b"\xff" * 9000, None),
        (webp(b"VP8?", bytes(40)), None),
        (webp(b"VP8 ", b""), None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_the_size_of_an_image_is_read_from_its_header(
    data: bytes, size: tuple[int, int] | None
) -> None:
    assert image_size(b64(data)) == size


@pytest.mark.parametrize("text", ["a", "abcde", "====", "not base64 at all \N{SNOWMAN}", "@@@@"])
def test_broken_base64_is_an_image_of_unknown_size(text: str) -> None:
    assert image_size(text) is None
    assert image_tokens(Image(data=text)) == 1600


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image(data=b64(png(750, 100))), 100),
        (Image(data=b64(png(3136, 1568))), math.ceil(1568 * 784 / 750)),
        (Image(data=b64(png(1, 1))), 1),
        (Image(data=b64(png(3136, 1568)), detail="low"), 85),
        (Image(url="https://example.org/a.png"), 1600),
        (Image(file_id="file-1"), 1600),
    ],
)
def test_an_image_costs_by_its_pixels_scaled_to_the_longest_edge(
    image: Image, expected: int
) -> None:
    assert image_tokens(image) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (Document(text="a" * 38), 10),
        (Document(data=b64(bytes(40_000)), mime="application/pdf"), 1000),
        (Document(url="https://example.org/a.pdf"), 2000),
    ],
)
def test_a_document_costs_by_its_text_or_its_bytes_or_a_page(
    document: Document, expected: int
) -> None:
    assert tokens(ask(document)) == pytest.approx(4 + expected, abs=1)


def test_sound_costs_by_the_second() -> None:
    wav = b"RIFF" + bytes(24) + struct.pack("<I", 32_000) + bytes(32_000 * 4 - 32)
    assert tokens(ask(Audio(b64(wav), "wav"))) == pytest.approx(4 + 100, abs=1)
    assert tokens(ask(Audio(b64(bytes(16_000 * 4)), "mp3"))) == pytest.approx(4 + 100, abs=1)
    assert tokens(ask(Audio("", "wav"))) == 4


def test_an_image_inside_a_tool_result_counts() -> None:
    inner = ToolResult("1", (Image(data=b64(png(750, 100))),))
    assert tokens(Request("openai", "m", (Message("tool", (inner,)),))) == 104


def test_tools_count_the_same_from_the_body_and_from_their_values() -> None:
    schema = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(40)}}
    wire = [{"name": "look", "description": "d" * 200, "parameters": schema}] * 5
    body = parse_body(dumps({"model": "m", "tools": wire}).encode())
    tools = (Tool("look", "d" * 200, schema),) * 5
    sent, built = tokens(ask(tools=tools, raw=body)), tokens(ask(tools=tools))
    assert sent == pytest.approx(built, rel=0.15)
    assert sent == pytest.approx(4 + 5 * 12 + len(dumps(wire)) / 3.4, abs=1)


def test_hosted_tools_schemas_and_opaque_blocks_count_by_their_json() -> None:
    native = {"type": "web_search", "x": "y" * 340}
    assert tokens(ask(tools=(Tool("web_search", kind="hosted", native=native),))) > 110
    assert tokens(ask(output=OutputFormat("schema", {"x": "y" * 340}))) > 100
    assert tokens(ask(Opaque("anthropic", "odd", {"x": "y" * 340}))) > 100


@pytest.mark.slow
def test_what_cannot_be_written_as_json_is_still_estimated() -> None:
    deep: dict = {}
    for _ in range(100_000):
        deep = {"d": deep}
    assert tokens(ask(tools=(Tool("t", parameters=deep),))) > 0
    assert tokens(ask(tools=(Tool("t", parameters={"x": float("nan")}),))) > 0
    while deep:  # taken apart by hand: the interpreter would free it recursively
        deep = deep["d"]


@pytest.mark.parametrize(
    ("estimate", "context", "does"),
    [(1000, 0, True), (1000, 1100, True), (1000, 1099, False), (0, 1, True), (10**9, 8192, False)],
)
def test_a_prompt_fits_with_a_tenth_to_spare_or_when_nothing_is_known(
    estimate: int, context: int, does: bool
) -> None:
    assert fits(estimate, context) is does


@given(st.integers(0, 10**9))
def test_the_margin_is_never_less_than_the_estimate(estimate: int) -> None:
    assert with_margin(estimate) >= estimate


@given(st.text())
def test_any_text_has_a_finite_estimate_that_is_not_negative(text: str) -> None:
    assert 0 <= text_tokens(text) <= len(text) * 1.1 + 1e-9


@given(st.binary(max_size=200))
def test_any_bytes_have_an_image_size_or_none(data: bytes) -> None:
    for head in (b"", b"\xff\xd8", b"RIFF\x00\x00\x00\x00WEBP", b"GIF89a", b"\x89PNG\r\n\x1a\n"):
        size = image_size(b64(head + data))
        assert size is None or (size[0] > 0 and size[1] > 0)


def test_a_big_agent_request_is_estimated_in_far_less_than_it_takes_to_parse() -> None:
    texts = tuple(Message("user", (Text("word " * 700 + "é"),)) for _ in range(32))
    request = Request("openai", "m", texts)
    best = 1.0
    for _ in range(20):
        begun = time.perf_counter()
        tokens(request)
        best = min(best, time.perf_counter() - begun)
    assert best < 0.005  # measured 0.0001; generous for a busy machine


def test_an_answer_counts_its_words_thoughts_and_calls() -> None:
    said = Text("x" * 38)
    call = ToolUse("c", "f", '{"a":1}')
    words = answer_tokens(Response("i", "m", (said,)))
    assert words == 10
    assert answer_tokens(Response("i", "m", (said, Thought("y" * 38)))) == 20
    assert answer_tokens(Response("i", "m", (said, call))) > words
    assert answer_tokens(Response("i", "m")) == 0
