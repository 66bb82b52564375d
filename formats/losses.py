"""What no translation can carry over unchanged: the one table of it.

Owns: for each format that an upstream may speak, every case in which a request loses something or
is refused: what is done, why, and whether the answer may differ for it; and the same of answers for
each format of a client. The writers say which case it is, and nothing about it; docs/translation.md
is made from the same lines.
Refuses to know: when a case comes up. That is the writers' business.

Laws:
1. A writer notes or refuses only what stands here: there is no other way into a request's ledger.
2. A case is named by its concept, and by what makes it special: `stop: more than four`.
3. The place is told in the client's own words (`formats.fields`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from formats.errors import Unsupported
from formats.fields import field, lost

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from formats.canonical import JSON, OutputFormat, Request
    from formats.ledger import Ledger, What


@dataclass(frozen=True, slots=True)
class Case:
    """place: a concept of `formats.fields`, perhaps with a member of it behind a dot, or a path in
    which `{messages}` is what the client calls its messages; "" where the writer names the place.
    why: may hold `{words}` that the writer fills in. harmless: the answer is practically the same.
    """

    what: What | Literal["refused"]
    place: str
    why: str
    harmless: bool = False


class Losses:
    """The cases of one target, as they come up while one request is written."""

    __slots__ = ("_cases", "_ledger", "_messages", "_origin", "_present")

    def __init__(
        self, target: str, request: Request, ledger: Ledger, present: Container[str] = ()
    ) -> None:
        """present: the members that the client's body has, where one thing has two names."""
        self._cases = CASES[target]
        self._ledger = ledger
        self._origin = request.origin
        self._messages = field(request.origin, "messages")
        self._present = present

    def note(self, case: str, /, at: str = "", **words: object) -> None:
        """Put a case down. at: its place, where the table leaves that open."""
        found = self._cases[case]
        record(self._ledger, found, at or self._place(found.place), **words)

    def refusal(self, case: str, /, at: str = "", **words: object) -> Unsupported:
        """What to raise."""
        found = self._cases[case]
        assert found.what == "refused"
        return Unsupported(at or self._place(found.place), found.why.format(**words))

    def note_rest(self, prefix: str, extra: Mapping[str, JSON]) -> None:
        """Members that only the client's format knows. prefix: where they stood. Those of the item
        of Responses that a part stood in are kept beside the part's own, as `item`."""
        item = extra.get("item") if self._origin == "responses" else None
        if isinstance(item, dict):
            self.note_rest(f"{self._messages}[].", item)
        for name in lost(self._origin, extra) if extra else ():
            last = name.rpartition(".")[2]
            self.note("unknown: mild" if last in HARMLESS else "unknown", at=prefix + name)

    def note_item(self, member: str, extra: Mapping[str, JSON]) -> None:
        """The same of reasoning, a call or a result, which in Responses are items of their own and
        elsewhere stand in a message's `member`."""
        self.note_rest(
            f"{self._messages}[]." + ("" if self._origin == "responses" else f"{member}[]."), extra
        )

    def note_schema(self, output: OutputFormat) -> None:
        """What an answer's schema has besides itself, for targets that take nothing but it."""
        for member in ("name", "description", "strict"):
            if getattr(output, member) is not None:
                self.note(f"schema.{member}")

    def name(self, concept: str) -> str:
        """What the client calls a concept."""
        return field(self._origin, concept, self._present)

    def _place(self, place: str) -> str:
        if "{" in place:
            return place.format(messages=self._messages)
        concept, dot, member = place.partition(".")
        return self.name(concept) + dot + member


def record(ledger: Ledger, case: Case, path: str, **words: object) -> None:
    assert case.what != "refused"
    ledger.note(path, case.what, case.why.format(**words), harmless=case.harmless)


# Members of one format that tune or tag a request, so that an answer without them is the same.
HARMLESS = frozenset(
    """num_ctx num_batch num_gpu main_gpu num_thread num_keep use_mmap use_mlock low_vram numa
    f16_kv logits_all vocab_only truncate shift eager_input_streaming include store client_metadata
    prompt_cache_options prompt_cache_retention safety_identifier stream_options defer_loading
    id status phase""".split()  # noqa: SIM905
)

# --- the cases of every target --------------------------------------------------------------------

_ANY: Mapping[str, Case] = {
    "unknown": Case("dropped", "", "only the client's own format has this"),
    "unknown: mild": Case("dropped", "", "only the client's own format has this", harmless=True),
    "call id: changed": Case(
        "renamed", "", "the id was changed to one the target takes", harmless=True
    ),
    "call id: made": Case("renamed", "", "the id was made up", harmless=True),
    "call: no result": Case("emulated", "", "a call had no result"),
    "result: no call": Case("approximated", "", "a tool result had no call: sent as text"),
    "result: order": Case("approximated", "", "tool results were put in order"),
    "prompt": Case("approximated", "prompt", "a bare prompt is sent as a message of the user's"),
    "namespace": Case(
        "approximated",
        "tools[].type=namespace",
        "its tools are offered under longer names, without what is said of them together",
        harmless=True,
    ),
    "hosted tool": Case("dropped", "", "only its own vendor can run this tool"),
    "hosted tool: needed": Case("refused", "", "only its own vendor can run this tool"),
    "vendor's block": Case("approximated", "", "a block of the vendor's own tools, sent as text"),
    "vendor's block: no text": Case(
        "refused", "", "a block of type {type!r} has no counterpart here"
    ),
    "sealed": Case("dropped", "reasoning", "sealed by another server than the one that is asked"),
    "max_tokens: maximum": Case("clamped", "max_tokens", "the model writes at most {most} tokens"),
    "max_tokens: room": Case(
        "clamped", "max_tokens", "the prompt leaves room for about {most} tokens", harmless=True
    ),
    "max_tokens: none": Case(
        "refused", "max_tokens", "an answer of no tokens cannot be asked for here"
    ),
    "tool_choice: no tools": Case("dropped", "tool_choice", "there is no tool to call"),
    "content: order": Case(
        "approximated",
        "{messages}[].content",
        "text behind a tool call is sent before it",
        harmless=True,
    ),
    "document: text": Case(
        "approximated", "document", "a text document, sent as text", harmless=True
    ),
    "document.citations": Case("dropped", "document.citations", "no citations are made here"),
    "citations": Case("dropped", "citations", "texts have no citations here", harmless=True),
    "n": Case("refused", "n", "this server gives one answer at a time"),
    "modalities": Case("refused", "modalities", "this server answers in text only"),
    "mcp_servers": Case("refused", "mcp_servers", "the tools of these servers would be missing"),
    "messages: none": Case("refused", "messages", "there is no message that could be sent"),
    "bound": Case("refused", "", "only an upstream of the client's own format has this"),
    "thread": Case("refused", "thread", "no thread is kept here: send the whole conversation"),
    "reference": Case("refused", "", "only the server that keeps it could know what it means"),
    "image: stored": Case("refused", "image", "a file stored at one vendor is read by no other"),
    "image.detail": Case("dropped", "image.detail", "there is no such choice", harmless=True),
    "keep_alive": Case(
        "dropped", "keep_alive", "how long a model stays loaded is the upstream's affair", True
    ),
    "service_tier": Case("dropped", "service_tier", "the upstream has no such tier", True),
    "display": Case("dropped", "display", "how reasoning is shown is not asked for", True),
    "thinking: unable": Case("dropped", "thinking", "{model} does not reason"),
    "thinking: budget": Case(
        "approximated", "thinking", "a budget of {budget} tokens is sent as {effort}"
    ),
    "thinking: no effort": Case(
        "approximated", "thinking", "sent without an effort: the model decides", harmless=True
    ),
    "name": Case("dropped", "name", "messages have no name here"),
    "schema.name": Case("dropped", "schema.name", "a schema has no name here", harmless=True),
    "schema.description": Case(
        "dropped", "schema.description", "a schema has no description here", harmless=True
    ),
    "schema.strict": Case(
        "dropped", "schema.strict", "an answer is always bound by its schema here", harmless=True
    ),
}

# --- each target's own ----------------------------------------------------------------------------

_CHAT: Mapping[str, Case] = {
    "system": Case("approximated", "system", "sent as {role}", harmless=True),
    "reasoning": Case("dropped", "reasoning", "the upstream takes no reasoning", harmless=True),
    "reasoning: empty": Case("dropped", "reasoning", "the reasoning has no text", harmless=True),
    "redacted": Case("dropped", "redacted", "sealed reasoning is only good where it was made"),
    "signature": Case("dropped", "signature", "signed reasoning is only good where it was made"),
    "cache: calls": Case("dropped", "cache", "no cache marks on tools, calls and results", True),
    "cache": Case("dropped", "cache", "the upstream caches by itself", harmless=True),
    "cache: breakpoint": Case(
        "approximated", "cache", "as a breakpoint of 30 minutes", harmless=True
    ),
    "image: result": Case(
        "approximated",
        "image",
        "tool results hold only text here: sent in a message of the user's after them",
        harmless=True,
    ),
    "document: unreadable": Case(
        "refused", "document", "a document by URL or of another vendor's store cannot be read here"
    ),
    "document.context": Case("dropped", "document.context", "files have no context here"),
    "tool_choice: allowed": Case("approximated", "tool_choice", "only the allowed tools are sent"),
    "custom tool: format": Case(
        "approximated", "tools[].format", "the form of a custom tool's input is only described"
    ),
    "stop: emulated": Case(
        "emulated", "stop", "the upstream is not told: the router ends the answer there", True
    ),
    "sampling: reasoning model": Case("dropped", "", "the vendor's reasoning models refuse it"),
    "sampling: vendor": Case("dropped", "", "the vendor has no such setting"),
    "prefill": Case(
        "refused",
        "",
        "the last message is the assistant's, and this upstream cannot continue it",
    ),
}
_RESPONSES: Mapping[str, Case] = {
    "system": Case("approximated", "system", "sent as system", harmless=True),
    "instructions": Case(
        "refused", "{messages}[].content", "instructions are nothing but text here"
    ),
    "reasoning: foreign": Case(
        "dropped", "reasoning", "reasoning of another upstream, which this cannot read"
    ),
    "reasoning: own only": Case(
        "dropped", "reasoning", "the upstream takes only reasoning of its own", harmless=True
    ),
    "reasoning: last": Case(
        "dropped", "reasoning", "reasoning that led to nothing is refused", harmless=True
    ),
    "redacted": _CHAT["redacted"],
    "signature": _CHAT["signature"],
    "cache: calls": _CHAT["cache: calls"],
    "cache": _CHAT["cache"],
    "cache: breakpoint": Case("approximated", "cache", "as a breakpoint of this vendor", True),
    "audio": Case("refused", "audio", "this server takes no sound"),
    "document: unreadable": Case(
        "refused", "document", "a document of another vendor's store cannot be read here"
    ),
    "document.context": _CHAT["document.context"],
    "tool_choice: allowed": _CHAT["tool_choice: allowed"],
    "custom tool: format": _CHAT["custom tool: format"],
    "stop: emulated": _CHAT["stop: emulated"],
    "sampling": Case("dropped", "", "Responses has no such setting"),
    "sampling: reasoning model": _CHAT["sampling: reasoning model"],
    "max_tokens: least": Case("clamped", "max_tokens", "the least that is taken is {least}"),
    "prefill": _CHAT["prefill"],
}
_ANTHROPIC: Mapping[str, Case] = {
    "system": Case(
        "approximated", "system", "a late system message is sent by the user, marked as one"
    ),
    "messages: first": Case(
        "emulated", "messages", "a conversation begins with the user: a line is put before it"
    ),
    "prefill": Case("refused", "messages", "{model} cannot go on from a begun answer"),
    "reasoning": Case(
        "dropped", "reasoning", "reasoning goes back only to the vendor that signed it"
    ),
    "thinking: always": Case(
        "approximated", "thinking", "the model always thinks; it is told to little"
    ),
    "thinking: clamped": Case(
        "clamped", "thinking", "{most} tokens in all leave {room} to think with"
    ),
    "thinking: no room": Case("dropped", "thinking", "{most} tokens leave no room for it"),
    "thinking: adaptive": Case("approximated", "thinking", "the model decides how long it thinks"),
    "thinking: history": Case(
        "dropped", "thinking", "the history lacks the thinking that must stand before its calls"
    ),
    "thinking: forced tool": Case(
        "dropped", "thinking", "it cannot be had together with a forced tool"
    ),
    "effort: xhigh": Case("clamped", "effort", "the model has no level between high and max"),
    "tool_choice: emulated": Case(
        "emulated", "tool_choice", "{model} cannot be forced to call: it is told to"
    ),
    "custom tool: format": _CHAT["custom tool: format"],
    "tools: none left": Case(
        "refused", "tools", "this server has none of the tools that the request offers"
    ),
    "tools: property": Case(
        "refused", "tools[].schema", "the property name {name!r} of tool {tool!r} is refused"
    ),
    "tools: object": Case("approximated", "tools[].schema", "a tool's input is an object"),
    "tools: strict": Case("approximated", "tools[].schema", "strict tools cannot hold {words}"),
    "output: json": Case(
        "approximated", "output", "asked for in words: the format has no such mode"
    ),
    "output: schema": Case("approximated", "output", "schemas cannot hold {words}"),
    "output: unable": Case("refused", "output", "{model} cannot bind its answer to a schema"),
    "max_tokens": Case("emulated", "max_tokens", "this format wants a limit: {most}", True),
    "temperature: above 1": Case("clamped", "temperature", "the highest this format has is 1"),
    "sampling": Case("dropped", "", "the Anthropic format has no such field"),
    "sampling: model": Case("dropped", "", "{model} does not take it"),
    "top_p: one of two": Case("dropped", "top_p", "the model takes either this or temperature"),
    "stop: blank": Case("dropped", "stop", "a sequence of nothing but blanks is refused"),
    "verbosity": Case("dropped", "verbosity", "the Anthropic format has no such field"),
    "cache_key": Case("dropped", "cache_key", "the Anthropic format has no such field", True),
    "metadata": Case("dropped", "metadata", "the Anthropic format has no such field", True),
    "cache": Case("dropped", "cache", "only single blocks are marked here", harmless=True),
    "cache: four": Case("dropped", "cache", "at most four marks are taken", harmless=True),
    "audio": Case("refused", "audio", "this server takes no sound"),
    "image: type": Case("refused", "image", "images of type {mime!r} are not taken"),
    "document: type": Case("refused", "document", "documents of type {mime!r} are not taken"),
    "document: stored": Case(
        "refused", "document", "a file stored at one vendor is read by no other"
    ),
    "arguments": Case("approximated", "arguments", "a call's arguments were not a JSON object"),
}
_OLLAMA: Mapping[str, Case] = {
    "signature": Case("dropped", "signature", "only the vendor that signed it can read it"),
    "signature: text kept": Case(
        "dropped", "signature", "only the vendor that signed it can read it", harmless=True
    ),
    "redacted": Case("dropped", "redacted", "only the vendor that sealed it can read it"),
    "cache": Case("dropped", "cache", "Ollama has no cache marks", harmless=True),
    "image: bytes": Case("refused", "image", "Ollama takes images as base64 data, not {kind}"),
    "image: type": Case("refused", "image", "Ollama takes JPEG, PNG and WebP images, not {mime}"),
    "audio": Case("refused", "audio", "{model} does not take audio"),
    "audio.format": Case("dropped", "audio.format", "Ollama looks at the bytes", harmless=True),
    "document: type": Case(
        "refused", "document", "Ollama takes text documents only, not this {mime} document"
    ),
    "arguments": Case(
        "approximated",
        "arguments",
        "Ollama takes arguments as an object, and these are not the text of one",
    ),
    "tool_choice: none": Case("approximated", "tool_choice", "the tools are left out instead"),
    "tool_choice: told": Case(
        "dropped", "tool_choice", "Ollama cannot force a call: the model is told to"
    ),
    "tool_choice: allowed": Case(
        "approximated", "tool_choice", "the other tools are left out instead"
    ),
    "parallel_tool_calls": Case(
        "dropped", "parallel_tool_calls", "Ollama has no way to ask for one call at a time"
    ),
    "tools: schema": Case("approximated", "tools[].schema", "Ollama loses {words} of a schema"),
    "tools: schema, mild": Case(
        "approximated", "tools[].schema", "Ollama loses {words} of a schema", harmless=True
    ),
    "strict": Case("dropped", "strict", "Ollama has no strict tools"),
    "custom tool: format": _CHAT["custom tool: format"],
    "user": Case("dropped", "user", "Ollama knows no users", harmless=True),
    "metadata": Case("dropped", "metadata", "Ollama has no such field", harmless=True),
    "cache_key": Case("dropped", "cache_key", "Ollama caches by itself", harmless=True),
    "verbosity": Case("dropped", "verbosity", "Ollama has no such field"),
    "logit_bias": Case("dropped", "logit_bias", "Ollama has no such field"),
    "max_tokens: none": Case("refused", "max_tokens", "to Ollama that means no limit at all"),
    "thinking: between": Case("dropped", "thinking", "Ollama cannot think only in between"),
    "num_ctx": Case(
        "dropped",
        "options.num_ctx",
        "the configuration's holds: another value makes the server reload the model",
        harmless=True,
    ),
}

CASES: Mapping[str, Mapping[str, Case]] = MappingProxyType(
    {
        "openai": {**_ANY, **_CHAT},
        "responses": {**_ANY, **_RESPONSES},
        "anthropic": {**_ANY, **_ANTHROPIC},
        "ollama": {**_ANY, **_OLLAMA},
        "": _ANY,
    }
)

# --- of answers -----------------------------------------------------------------------------------

_CITATIONS = Case("dropped", "citations", "this format has no citations", harmless=True)
_BLOCK = Case("dropped", "", "a block that this format has no word for")
# By the client's format: what it cannot be shown of an answer. The places are those of the answer.
ANSWERS: Mapping[str, Mapping[str, Case]] = MappingProxyType(
    {
        "openai": {
            "citations": Case(
                "dropped", "citations", "only web pages can be cited here", harmless=True
            ),
            "signature": Case(
                "dropped", "reasoning.signature", "no place for signatures", harmless=True
            ),
            "block": _BLOCK,
            "second call": Case(
                "dropped", "function_call", "a client of functions takes one call in an answer"
            ),
        },
        "responses": {
            "citations": Case(
                "dropped", "annotations", "only web pages and files can be cited here", True
            ),
            "block": Case("dropped", "", "a block of another format", harmless=True),
        },
        "anthropic": {
            "citations": Case(
                "dropped", "content[].annotations", "citations of another format", harmless=True
            ),
            "block": Case("dropped", "", "a block of another format", harmless=True),
            "arguments": Case(
                "approximated",
                "content[].tool_use.input",
                "the model's arguments were not a JSON object",
            ),
            "arguments: cut": Case(
                "dropped", "content[].tool_use.input", "the answer was cut within a call"
            ),
        },
        "ollama": {"citations": _CITATIONS, "block": _BLOCK},
        "completions": {
            "reasoning": Case(
                "dropped", "reasoning", "a text completion shows no reasoning", harmless=True
            ),
            "call": Case("dropped", "tool_calls", "a text completion has no place for a call"),
            "citations": _CITATIONS,
        },
        "generate": {
            "citations": _CITATIONS,
            "block": _BLOCK,
            "call": Case(
                "dropped", "tool_calls", "an answer of /api/generate has no place for a call"
            ),
            "context": Case(
                "dropped", "context", "there is no way to hold this conversation in one"
            ),
        },
    }
)


def note_answer(ledger: Ledger, client: str, case: str, at: str = "") -> None:
    """Put down what a client of this format is not shown. at: its place, where it may be anything."""
    found = ANSWERS[client][case]
    record(ledger, found, at or found.place)
