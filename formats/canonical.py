"""What a client asked and what a model answered, whatever format either of them spoke.

Owns: the canonical request, the canonical response and the stream events between the two.
Refuses to know: any wire format. A codec (openai_chat, anthropic, ollama, ...) translates to and
from this; what a format cannot carry goes into its Ledger, never silently away.

Laws:
1. Everything is frozen and slotted. `None` means "the client did not say", never a default.
2. A stream is exactly one `Started`, then content events, then exactly one `Finished` or `Failed`.
   Before `Finished` every part that began has had its `PartEnded`. After `Failed` parts may be
   left open: a call that was cut is not a call.
3. `part` is our own index, counted from 0 in order of first appearance; never the upstream's.
   Parts may interleave (parallel calls do).
4. `Finished.reason` is derived from what was really sent: a finished tool call means "tool_use"
   unless the model was cut off (max_tokens, content_filter, ...). A stop is never invented.
5. `extra` holds members known only to the format in `Request.origin`; writing that same format
   gives them back, writing another one records them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from formats.errors import Failure
    from formats.jsontext import RawBody

JSON = Any  # None | bool | int | float | str | list[JSON] | dict[str, JSON]


class _Nothing(Mapping[str, JSON]):
    """An object without members, as a default: dataclasses ask for one that can be hashed, which a
    read-only view of a dict cannot be before Python 3.12."""

    __slots__ = ()

    def __getitem__(self, key: str) -> JSON:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"


EMPTY: Mapping[str, JSON] = _Nothing()

Origin = Literal["openai", "anthropic", "ollama", "responses", "completions", "generate"]
Role = Literal["system", "developer", "user", "assistant", "tool"]
StopReason = Literal[
    "end_turn",
    "max_tokens",
    "context_window",
    "stop_sequence",
    "tool_use",
    "refusal",
    "content_filter",
    "pause",
    "load",
    "unload",
]
# Reasons that say the model was cut off or refused: a finished call does not turn them to tool_use.
CUT_SHORT: frozenset[str] = frozenset(
    {"max_tokens", "context_window", "content_filter", "refusal", "pause", "load", "unload"}
)


# --- parts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """cache: the client's cache mark as its format writes it (Anthropic `cache_control`, OpenAI
    `prompt_cache_breakpoint`). citations: as the format writes them. refusal: words of a refusal
    (Chat Completions keeps those apart from text)."""

    text: str
    cache: JSON = None
    citations: tuple[JSON, ...] = ()
    refusal: bool = False
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Image:
    """Either `data` (base64, no data-URL prefix; `mime` sniffed where the client gave none) or
    `url` (http or https) or `file_id` (a vendor's stored file, which only that vendor can read)."""

    data: str | None = None
    mime: str = ""
    url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    cache: JSON = None
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Document:
    """`text` for text documents (already decoded), `data` (base64) for others such as PDF."""

    data: str | None = None
    text: str | None = None
    mime: str = ""
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    context: str | None = None
    citations: bool = False
    cache: JSON = None
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Audio:
    """`data` is base64; `format` is "wav", "mp3", ..."""

    data: str
    format: str
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Thought:
    """Visible or hidden reasoning. signature: the vendor's, valid only at `origin`. redacted: a
    block that is nothing but opaque data. Neither is ever altered."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call. arguments: the text as the model wrote it (for custom tools: the whole input text).
    input: the parsed object, or None when the text is not a JSON object. Empty text means {}."""

    id: str
    name: str
    arguments: str = ""
    input: Mapping[str, JSON] | None = None
    kind: Literal["function", "custom"] = "function"
    cache: JSON = None
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    parts: tuple[Part, ...] = ()
    name: str | None = None
    is_error: bool = False
    kind: Literal["function", "custom"] = "function"
    cache: JSON = None
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Opaque:
    """A block of one format that has no canonical meaning; only `origin` can carry it."""

    origin: str
    type: str
    value: Mapping[str, JSON] = EMPTY


Part = Text | Image | Document | Audio | Thought | ToolUse | ToolResult | Opaque


# --- the request ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """role "tool" holds nothing but ToolResult parts (a group of results that belong together);
    ToolResult parts stand nowhere else. hoisted: it came from a top-level `system` member."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    hoisted: bool = False
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Tool:
    """kind "hosted": run by a vendor (web search, ...); `native` then is the whole definition.
    parameters: the JSON schema, None when the client sent none. format: of a custom tool."""

    name: str
    description: str | None = None
    parameters: Mapping[str, JSON] | None = None
    kind: Literal["function", "custom", "hosted"] = "function"
    strict: bool | None = None
    format: JSON = None
    type: str = ""
    cache: JSON = None
    native: Mapping[str, JSON] = EMPTY
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """mode "named": exactly `names[0]`. mode "allowed": any of `names`, and one must be called
    when `must`. "required": any tool, but one."""

    mode: Literal["auto", "none", "required", "named", "allowed"]
    names: tuple[str, ...] = ()
    must: bool = False
    kind: Literal["function", "custom", "hosted"] = "function"


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """mode: off, auto (the model decides), on, between (only between tools); None: only an effort
    was given. effort: none minimal low medium high xhigh max. display: as the client's format
    writes it ("summarized", "omitted", ...)."""

    mode: Literal["off", "auto", "on", "between"] | None = None
    effort: str | None = None
    budget_tokens: int | None = None
    display: str | None = None


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """kind "json": any JSON object; "schema": JSON bound by `schema`."""

    kind: Literal["json", "schema"]
    schema: Mapping[str, JSON] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class PluginCall:
    """One entry of a body's `plugins`: the router's own plugin asked for by this request."""

    id: str
    settings: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class Request:
    """One chat request.

    origin: the format it came in. version: the format's version header, where it has one.
    max_tokens: None means absent. cache: a top-level cache mark. keep_alive: Ollama's, as sent.
    include_usage: the client wants usage in its stream (always so in formats without a switch).
    raw: the client's own bytes with the places of their members, for pass-through; whoever changes
    the request sets it to None (`dataclasses.replace(request, ..., raw=None)`).
    bound: the client's names of members without which the request would mean something else, and
    which only its own format has (`suffix`, token ids, ...). A bound request goes to no upstream
    that is asked in another format: that is Unsupported, naming the first of them.
    """

    origin: Origin
    model: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None
    output: OutputFormat | None = None
    stream: bool = False
    include_usage: bool = False
    user: str | None = None
    metadata: Mapping[str, JSON] | None = None
    cache: JSON = None
    cache_key: str | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    keep_alive: JSON = None
    plugins: tuple[PluginCall, ...] = ()
    version: str = ""
    bound: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = EMPTY
    raw: RawBody | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """What the writer of an upstream request must know of that upstream besides its format.

    model: the name to send. vendor: the server really is the format's own vendor (api.openai.com,
    api.anthropic.com), not something that speaks alike. max_output: the model's known maximum (0:
    unknown). room: what its context leaves for an answer, where more is refused (0: it is not, or
    nobody knows). template_thinking: thinking is a switch of the model's chat template there.
    vendor-neutral switches have the names of the configuration's keys.
    """

    model: str
    vendor: bool = False
    max_output: int = 0
    room: int = 0
    template_thinking: bool = False
    max_tokens_field: str = ""  # "", "max_tokens", "max_completion_tokens"
    system_role: str = ""  # "", "system", "developer"
    reasoning_echo: str = "reasoning_content"  # "reasoning_content" | "reasoning" | "none"
    reasoning_required: bool = False  # tool calls in a history need their reasoning beside them
    include_usage: bool = True
    capabilities: frozenset[str] | None = None  # None: unknown, taken as able
    options: Mapping[str, JSON] = EMPTY


# --- the response ---------------------------------------------------------------------------------


MOST_TOKENS = 10**12


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; None is unknown. input includes cache reads and writes, output includes reasoning.
    load_ms, prefill_ms: what the server says it took to load the model and to read the prompt.

    A figure below nought, or beyond all counting, is none: it would turn costs into nonsense, and one
    of a thousand digits cannot even be multiplied by a price."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    load_ms: int | None = None
    prefill_ms: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            figure = getattr(self, name)
            if figure is not None and not 0 <= figure <= MOST_TOKENS:
                object.__setattr__(self, name, None)

    def merged(self, later: Usage) -> Usage:
        """Later figures replace earlier ones where they say anything (streams report twice)."""
        return Usage(
            self.input if later.input is None else later.input,
            self.output if later.output is None else later.output,
            self.cache_read if later.cache_read is None else later.cache_read,
            self.cache_write if later.cache_write is None else later.cache_write,
            self.reasoning if later.reasoning is None else later.reasoning,
            self.load_ms if later.load_ms is None else later.load_ms,
            self.prefill_ms if later.prefill_ms is None else later.prefill_ms,
        )


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. id, model: the upstream's. stop_native: what the wire said."""

    id: str
    model: str
    parts: tuple[Part, ...] = ()
    stop: StopReason = "end_turn"
    stop_native: str | None = None
    stop_sequence: str | None = None
    stop_details: JSON = None
    usage: Usage | None = None
    created: int | None = None
    extra: Mapping[str, JSON] = EMPTY

    @property
    def text(self) -> str:
        """All visible text, refusals apart."""
        return "".join(p.text for p in self.parts if isinstance(p, Text) and not p.refusal)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Chance and clock, as values: what an encoder needs to name and date an answer.

    id: 24 hex digits, random; ids of the answer and of calls without one derive from it.
    created: UTC seconds. elapsed_ns: nanoseconds since the request came, read when needed.
    model: the name to show where a format shows the requested one.
    input_estimate: estimated prompt tokens, for formats that must say a number before they know.
    """

    id: str
    created: int
    elapsed_ns: Callable[[], int] = lambda: 0
    model: str = ""
    input_estimate: int = 0


# --- the stream -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    id: str
    model: str
    created: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    part: int
    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    part: int
    text: str


@dataclass(frozen=True, slots=True)
class CitationSeen:
    """A citation of the text part `part`, as `origin` writes it."""

    part: int
    citation: JSON


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """Reasoning text. An empty delta is legal: it says that hidden reasoning has begun."""

    part: int
    text: str


@dataclass(frozen=True, slots=True)
class ThoughtSigned:
    """signature: whole, once, last before the part's end; or redacted: the whole block's data."""

    part: int
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """id is "" when the upstream gave none: whoever shows it to a client mints one."""

    part: int
    id: str
    name: str
    kind: Literal["function", "custom"] = "function"
    extra: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """The next piece of the arguments' text."""

    part: int
    fragment: str


@dataclass(frozen=True, slots=True)
class OpaquePart:
    """A whole block that only its own format understands."""

    part: int
    origin: str
    type: str
    value: Mapping[str, JSON] = EMPTY


@dataclass(frozen=True, slots=True)
class PartEnded:
    part: int


@dataclass(frozen=True, slots=True)
class UsageSeen:
    """Figures so far; a later one replaces what it names."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    reason: StopReason
    native: str | None = None
    sequence: str | None = None
    details: JSON = None


@dataclass(frozen=True, slots=True)
class Failed:
    failure: Failure


Event = (
    Started
    | TextDelta
    | RefusalDelta
    | CitationSeen
    | ThoughtDelta
    | ThoughtSigned
    | ToolStarted
    | ToolDelta
    | OpaquePart
    | PartEnded
    | UsageSeen
    | Finished
    | Failed
)
