"""Hypothesis strategies for canonical values: what any client may have asked, odd things included."""

import base64

from hypothesis import strategies as st

from formats.canonical import (
    Audio,
    CitationSeen,
    Document,
    Failed,
    Finished,
    Image,
    Message,
    Opaque,
    OpaquePart,
    OutputFormat,
    PartEnded,
    PluginCall,
    RefusalDelta,
    Request,
    Response,
    Sampling,
    Started,
    Target,
    Text,
    TextDelta,
    Thinking,
    Thought,
    ThoughtDelta,
    ThoughtSigned,
    Tool,
    ToolChoice,
    ToolDelta,
    ToolResult,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import Failure
from formats.fold import parsed_arguments

ORIGINS = ("openai", "anthropic", "ollama", "responses")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 16).decode()
PDF = base64.b64encode(b"%PDF-1.7 nothing").decode()

short = st.text(max_size=8) | st.sampled_from(
    ["", " ", "\n", "\ud800", "\u2028", "ü 世界 🌍", "a\nb\n"]
)
words = st.sampled_from(["alpha", "beta", "gamma", "Grüße", "世界", "two words"])
json_scalars = st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | short
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(short, json_values, max_size=3)
extras = st.just({}) | st.dictionaries(
    st.sampled_from(["x_vendor", "future_field"]), json_values, max_size=2
)
tool_names = st.sampled_from(["f", "get_weather", "mcp.read:file", "x" * 70, "größe", "web_search"])
call_ids = st.sampled_from(["", "call_1", "call_2", "toolu_1", "functions.f:0", "a\nb", "y" * 100])
arguments = st.sampled_from(
    ["", " ", "{}", '{"a":1}', '{"n":12345678901234567890}', "[1]", '{"a":', "x"]
)
schemas = st.sampled_from(
    [
        None,
        {},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"oneOf": [{"const": 1}]}}},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}},
        {"anyOf": [{"type": "string"}, {"type": "object"}]},
    ]
)
cache_marks = st.none() | st.just({"type": "ephemeral"})

SERVER_CALL = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "q"},
}
CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "file_id": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
texts = st.builds(
    Text,
    short,
    cache=cache_marks,
    citations=st.just(()) | st.just((CITATION,)),
    refusal=st.booleans(),
    extra=extras,
)
images = st.builds(
    Image,
    data=st.just(PNG),
    mime=st.sampled_from(["image/png", "image/bmp", ""]),
    detail=st.none() | st.just("low"),
    extra=extras,
) | st.sampled_from([Image(url="https://example.com/a.png"), Image(file_id="file_1")])
documents = st.sampled_from(
    [
        Document(data=PDF, mime="application/pdf", name="a.pdf"),
        Document(text="words of a document", mime="text/plain", name="t", citations=True),
        Document(url="https://example.com/a.pdf"),
        Document(file_id="file_2"),
        Document(data="/w==", mime="application/x-odd"),
    ]
)
audios = st.builds(Audio, st.just("UklGRg=="), st.sampled_from(["wav", "mp3"]), extras)
thoughts = st.builds(
    Thought,
    short,
    signature=st.none() | st.just("c2ln"),
    redacted=st.none() | st.just("cmVk"),
    origin=st.sampled_from(["", *ORIGINS]),
)
opaques = st.sampled_from(
    [
        Opaque("anthropic", "server_tool_use", SERVER_CALL),
        Opaque("anthropic", "strange", {"type": "strange", "x": [1]}),
    ]
)
server_calls = st.just(Opaque("anthropic", "server_tool_use", SERVER_CALL))


@st.composite
def calls(draw):
    text = draw(arguments)
    kind = draw(st.sampled_from(["function", "function", "function", "custom"]))
    given = parsed_arguments(text) if kind == "function" else None
    return ToolUse(
        draw(call_ids), draw(tool_names), text, given, kind, draw(cache_marks), draw(extras)
    )


results = st.builds(
    ToolResult,
    call_ids,
    st.lists(texts | images, max_size=2).map(tuple),
    st.none() | tool_names,
    is_error=st.booleans(),
    extra=extras,
)


@st.composite
def messages(draw):
    role = draw(
        st.sampled_from(["system", "developer", "user", "user", "assistant", "assistant", "tool"])
    )
    parts = {
        "system": texts,
        "developer": texts,
        "user": texts | images | documents | audios | opaques,
        "assistant": texts | thoughts | calls() | opaques,
        "tool": results,
    }[role]
    chosen = tuple(draw(st.lists(parts, min_size=1, max_size=3)))
    return Message(role, chosen, draw(st.none() | words), extra=draw(extras))


tools = st.builds(
    Tool,
    tool_names,
    description=st.none() | words,
    parameters=schemas,
    strict=st.none() | st.booleans(),
    cache=cache_marks,
    extra=extras,
) | st.sampled_from(
    [
        Tool("patch", "Changes files", kind="custom", format={"type": "text"}),
        Tool("web_search", kind="hosted", type="web_search", native={"type": "web_search"}),
    ]
)
tool_choices = st.builds(
    ToolChoice,
    st.sampled_from(["auto", "none", "required", "named", "allowed"]),
    st.lists(tool_names, min_size=1, max_size=2).map(tuple),
    st.booleans(),
)
samplings = st.builds(
    Sampling,
    temperature=st.none() | st.sampled_from([0, 0.7, 1, 1.5, 2]),
    top_p=st.none() | st.just(0.9),
    top_k=st.none() | st.just(40),
    min_p=st.none() | st.just(0.05),
    typical_p=st.none() | st.just(0.8),
    repeat_penalty=st.none() | st.just(1.1),
    frequency_penalty=st.none() | st.just(0.5),
    presence_penalty=st.none() | st.just(0.25),
    seed=st.none() | st.integers(),
    stop=st.lists(words | short, max_size=6).map(tuple),
    n=st.none() | st.sampled_from([1, 1, 1, 2]),
    logprobs=st.none() | st.booleans(),
    top_logprobs=st.none() | st.just(3),
    logit_bias=st.none() | st.just({"50256": -100}),
)
thinkings = st.builds(
    Thinking,
    st.sampled_from([None, "off", "auto", "on", "between"]),
    st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max", "odd"]),
    st.none() | st.integers(0, 50_000),
    st.none() | st.sampled_from(["summarized", "omitted"]),
)
outputs = st.builds(
    OutputFormat,
    st.sampled_from(["json", "schema"]),
    schemas.map(lambda schema: schema or {"type": "object"}),
    st.none() | words,
    st.none() | words,
    st.none() | st.booleans(),
)


def requests(origins=ORIGINS, *, min_messages=0):
    """Canonical requests of clients of any format."""
    return st.builds(
        Request,
        st.sampled_from(origins),
        st.just("model-1"),
        st.lists(messages(), min_size=min_messages, max_size=6).map(tuple),
        tools=st.lists(tools, max_size=3).map(tuple),
        tool_choice=st.none() | tool_choices,
        parallel_tool_calls=st.none() | st.booleans(),
        max_tokens=st.none() | st.integers(0, 100_000),
        sampling=st.just(Sampling()) | samplings,
        thinking=st.none() | thinkings,
        output=st.none() | outputs,
        stream=st.booleans(),
        include_usage=st.booleans(),
        user=st.none() | words,
        metadata=st.none() | st.just({"k": "v"}),
        cache=cache_marks,
        cache_key=st.none() | words,
        service_tier=st.none() | st.sampled_from(["auto", "default", "flex", "standard_only"]),
        verbosity=st.none() | st.just("low"),
        keep_alive=st.none() | st.sampled_from([0, -1, "5m"]),
        plugins=st.just(()) | st.just((PluginCall("web", {"max_results": 3}),)),
        version=st.sampled_from(["", "2023-06-01", "2026-10-21"]),
        extra=extras,
    )


targets = st.builds(
    Target,
    st.just("upstream-model"),
    vendor=st.booleans(),
    max_output=st.sampled_from([0, 8192]),
    max_tokens_field=st.sampled_from(["", "max_tokens", "max_completion_tokens"]),
    system_role=st.sampled_from(["", "system", "developer"]),
    reasoning_echo=st.sampled_from(["reasoning_content", "reasoning", "none"]),
    include_usage=st.booleans(),
)

# --- answers ---

usages = st.builds(
    Usage,
    *[st.none() | st.integers(0, 10**6) for _ in range(2)],
    *[st.none() | st.integers(0, 100) for _ in range(3)],
)
answer_parts = st.one_of(
    st.builds(Text, short, refusal=st.booleans()),
    st.builds(Text, words, citations=st.just((CITATION,))),
    st.builds(Thought, short),
    st.builds(Thought, short, signature=st.just("c2ln"), origin=st.just("anthropic")),
    st.builds(Thought, redacted=st.just("cmVk"), origin=st.just("anthropic")),
    calls(),
    server_calls,
)
stops = st.sampled_from(
    ["end_turn", "max_tokens", "context_window", "stop_sequence", "tool_use", "refusal",
     "content_filter", "pause", "load", "unload"]
)  # fmt: skip


def responses(parts=answer_parts):
    """Whole answers of upstreams."""
    return st.builds(
        Response,
        st.sampled_from(["", "chatcmpl-1", "msg_1"]),
        st.just("upstream-model"),
        st.lists(parts, max_size=4).map(tuple),
        stops,
        stop_native=st.none() | st.just("stop"),
        stop_sequence=st.none() | st.just("END"),
        usage=st.none() | usages,
        created=st.none() | st.integers(0, 2**33),
    )


@st.composite
def event_streams(draw):
    """Lawful streams: parts interleave, each ends before Finished; a failed one may stop anywhere."""
    kinds = draw(st.lists(st.sampled_from("trhscco"), max_size=4))
    queues = [_part_events(draw, kind, index) for index, kind in enumerate(kinds)]
    order = _interleaved(draw, kinds, queues)
    events = [Started("id-1", "upstream-model", 5), *order]
    if draw(st.booleans()):
        events.append(UsageSeen(draw(usages)))
    if draw(st.integers(0, 3)) == 0:
        cut = draw(st.integers(1, len(events)))
        return [*events[:cut], Failed(Failure("upstream", "it broke", type="server_error"))]
    has_call = "c" in kinds
    return [*events, Finished("tool_use" if has_call else draw(stops), None)]


def _interleaved(draw, kinds, queues):
    """Parts begin in the order of their numbers; calls may run beside what follows them."""
    out = []
    for number, queue in enumerate(queues):
        out.append(queue.pop(0))
        while kinds[number] != "c" and queue:
            out.append(queue.pop(0))
            out += _pieces_of_calls(draw, queues[:number])
        out += _pieces_of_calls(draw, queues[: number + 1])
    return out + [event for queue in queues for event in queue]


def _pieces_of_calls(draw, queues):
    ready = [queue for queue in queues if queue]
    return [draw(st.sampled_from(ready)).pop(0)] if ready and draw(st.booleans()) else []


def _part_events(draw, kind, index):
    pieces = draw(st.lists(short, min_size=1, max_size=3))
    if kind == "c":
        started = ToolStarted(index, draw(call_ids), draw(tool_names))
        text = draw(arguments)
        cut = draw(st.integers(0, len(text)))
        body = [started, ToolDelta(index, text[:cut]), ToolDelta(index, text[cut:])]
    elif kind == "o":
        body = [OpaquePart(index, "anthropic", "server_tool_use", SERVER_CALL)]
    elif kind == "s":
        signed = ThoughtSigned(index, "c2ln", None, "anthropic")
        body = [*[ThoughtDelta(index, piece) for piece in pieces], signed]
    elif kind == "h":
        body = [ThoughtDelta(index, piece) for piece in pieces]
    elif kind == "r":
        body = [RefusalDelta(index, piece) for piece in pieces]
    else:
        body = [*[TextDelta(index, piece) for piece in pieces], CitationSeen(index, CITATION)]
        body = body if draw(st.booleans()) else body[:-1]
    return [*body, PartEnded(index)]
