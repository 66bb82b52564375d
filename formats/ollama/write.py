"""A canonical request, written for an Ollama server's /api/chat.

Owns: what each canonical concept becomes in this format.
Refuses to know: how requests are read, how the answer is; which server was chosen and why.

Laws:
1. What an Ollama client sent goes out with every member it had; its own text is kept to the
   character where nobody changed the request, but for what the server must be told otherwise.
2. `stream` is always written out: the server's default is a stream. `shift`, and `num_ctx` but for
   the configuration, come from nobody but an Ollama client: a change of either makes the server
   load the model again.
3. The server cuts a prompt that is too long without a word, so for clients of other formats it is
   told not to: they would never learn of it.
4. A request that lost all its messages on the way is never sent: an empty list means "load".
5. What cannot be carried is noted under the client's own name for it, or refused with Unsupported
   where leaving it out would change what was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import jsontext, plugins
from formats.canonical import (
    JSON,
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Target,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from formats.errors import Invalid
from formats.fields import field
from formats.fold import parsed_arguments
from formats.freeform import as_function
from formats.history import joined_text, settle
from formats.ids import OLLAMA
from formats.limits import capped_tokens
from formats.losses import CASES, Losses, record
from formats.media import document_text
from formats.namespaces import note_namespaces
from formats.ollama.wire import LEVELS, NUMBERS, TOO_LARGE, WHOLE
from formats.opaque import opaque_text
from formats.prompt import as_conversation
from formats.references import refuse_references
from formats.toolschema import for_ollama

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.jsontext import RawBody
    from formats.ledger import Ledger

# What a model writes its calls as well without.
_MILD = frozenset({"additionalProperties", "examples", "oneOf", "default"})


def write_request(request: Request, ledger: Ledger, target: Target, /) -> bytes:
    """The body for an Ollama server. Raises Unsupported."""
    if request.origin == "ollama" and request.raw is not None:
        return passed_request(request, request.raw, ledger, target)
    try:
        return jsontext.dump(_Writer(request, ledger, target).body())
    except ValueError:
        raise Invalid("", TOO_LARGE) from None


def passed_request(request: Request, raw: RawBody, ledger: Ledger, target: Target) -> bytes:
    """The client's own text, but for what the server must be told otherwise; of /api/chat and of
    /api/generate alike."""
    writer = _Writer(request, ledger, target)
    try:
        return _spliced(raw, writer)
    except ValueError:
        raise Invalid("", TOO_LARGE) from None


def _spliced(raw: RawBody, writer: _Writer) -> bytes:
    request, target = writer.request, writer.target
    edits: dict[str, JSON] = {}
    if raw.value["model"] != target.model:
        edits["model"] = target.model
    if raw.value.get("stream") is not request.stream:
        edits["stream"] = request.stream
    if target.options:
        options = writer.options()
        if options != raw.value.get("options"):
            edits["options"] = options
    thinks = raw.value.get("think") is not None
    remove = ["think"] if thinks and writer.think() is None else []
    return raw.spliced(edits, [*remove, plugins.MEMBER]).removeprefix(b"\xef\xbb\xbf")


class _Writer:
    """One request on its way to one server. `native`: an Ollama client sent it, to either call."""

    __slots__ = ("_losses", "_where", "ledger", "native", "request", "target")

    def __init__(self, request: Request, ledger: Ledger, target: Target) -> None:
        self.request = request
        self.ledger = ledger
        self.target = target
        self.native = request.origin in ("ollama", "generate")
        self._where = field(request.origin, "messages")
        self._losses = Losses("ollama", request, ledger, request.extra)

    def body(self) -> dict[str, JSON]:
        request = self.request
        if not self.native or request.origin == "generate":
            as_conversation(request, self._losses)
        refuse_references(request, self._losses)
        tools, line = self._tools()
        body: dict[str, JSON] = {
            "model": self.target.model,
            "messages": self._messages(line),
            "stream": request.stream,
        }
        found: dict[str, JSON] = {
            "tools": tools or None,
            "format": self._format(),
            "options": self.options() or None,
            "think": self.think(),
            "keep_alive": request.keep_alive,
            "logprobs": request.sampling.logprobs,
            "top_logprobs": request.sampling.top_logprobs,
            "truncate": None if self.native else False,
        }
        body.update((name, value) for name, value in found.items() if value is not None)
        if self.native:
            body.update((k, v) for k, v in request.extra.items() if not k.startswith("options."))
        else:
            self._note_members()
        return body

    def _note_members(self) -> None:
        """Whatever else the client's format has at the top of its requests."""
        request = self.request
        for concept in ("user", "metadata", "cache", "cache_key", "service_tier", "verbosity"):
            if getattr(request, concept) is not None:
                self._losses.note(concept)
        if request.parallel_tool_calls is False:
            self._losses.note("parallel_tool_calls")
        modalities = request.extra.get("modalities")
        if type(modalities) is list and any(kind != "text" for kind in modalities):
            raise self._losses.refusal("modalities")
        self._losses.note_rest("", request.extra)

    # --- messages

    def _messages(self, line: str) -> list[JSON]:
        given = self.request.messages
        if not self.native:
            given = settle(given, self.ledger, OLLAMA, path=self._where)
        names = {p.id: p.name for m in given for p in m.parts if isinstance(p, ToolUse)}
        out: list[JSON] = []
        for message in given:
            results = [p for p in message.parts if isinstance(p, ToolResult)]
            out += [self._result(result, names) for result in results]
            if message.role != "tool":
                out.append(self._message(message))
        if not out and (given or not self.native):
            raise Invalid(self._where, "no message is left to send")
        if line:
            roles = [message["role"] for message in out]
            first = next((i for i, role in enumerate(roles) if role != "system"), len(out))
            out.insert(first, {"role": "system", "content": line})
        return out

    def _message(self, message: Message) -> dict[str, JSON]:
        texts, media = self._gathered(message.parts)
        role = message.role
        if role == "developer" and not self.native:
            role = "system"  # the server's templates leave out roles that they do not know
        out: dict[str, JSON] = {"role": role, "content": joined_text(texts, role=role)}
        thinking = "".join([p.text for p in message.parts if isinstance(p, Thought)])
        if thinking:
            out["thinking"] = thinking
        if media:
            out["images"] = media
        calls = [p for p in message.parts if isinstance(p, ToolUse)]
        if calls:
            out["tool_calls"] = [self._call(call, index) for index, call in enumerate(calls)]
        if self.native:
            out.update(message.extra)
        else:
            self._note_message(message)
        return out

    def _note_message(self, message: Message) -> None:
        if message.name is not None:
            self._losses.note("name")
        self._losses.note_rest(f"{self._where}[].", message.extra)
        call_seen = False
        for part in message.parts:
            if isinstance(part, ToolUse):
                call_seen = True
            elif isinstance(part, Text) and part.text and call_seen:
                self._losses.note("content: order")
            elif isinstance(part, Thought):
                self._note_thought(part)

    def _note_thought(self, part: Thought) -> None:
        if part.redacted is not None:
            self._losses.note("redacted")
        elif part.signature is not None:
            self._losses.note("signature: text kept" if part.text else "signature")
        self._losses.note_item("content", part.extra)

    def _gathered(self, parts: Sequence[Part]) -> tuple[list[Part], list[str]]:
        """What goes into `content` and what into `images`."""
        texts: list[Part] = []
        media: list[str] = []
        for part in parts:
            match part:
                case Text():
                    texts.append(part)
                    if part.citations:
                        self._losses.note("citations")
                case Image():
                    media.append(self._image(part))
                case Audio():
                    media.append(self._audio(part))
                case Document():
                    texts.append(Text(self._document(part)))
                case Opaque():
                    texts.append(Text(self._opaque(part)))
                case Thought() | ToolUse() | ToolResult():
                    continue
            if not isinstance(part, Opaque):
                self._losses.note_item("content", part.extra)
                if not isinstance(part, Audio) and part.cache is not None:
                    self._losses.note("cache")
        return texts, media

    def _image(self, part: Image) -> str:
        if part.data is None:
            what = "a stored file" if part.file_id is not None else "an image's URL"
            raise self._losses.refusal("image: bytes", kind=what)
        if not self.native and part.mime not in ("image/jpeg", "image/png", "image/webp"):
            mime = part.mime or "data of an unknown kind"
            raise self._losses.refusal("image: type", mime=mime)
        if part.detail is not None:
            self._losses.note("image.detail")
        return part.data

    def _audio(self, part: Audio) -> str:
        able = self.target.capabilities
        if able is not None and "audio" not in able and not self.native:
            raise self._losses.refusal("audio", model=self.target.model)
        if part.format and not self.native:
            self._losses.note("audio.format")
        return part.data

    def _document(self, part: Document) -> str:
        text = document_text(part)
        if text is None:
            raise self._losses.refusal("document: type", mime=part.mime or "file")
        if part.citations:
            self._losses.note("document.citations")
        return text

    def _opaque(self, part: Opaque) -> str:
        path = f"{self._where}[].{part.type}"
        text = opaque_text(part)
        if text is None:
            raise self._losses.refusal("vendor's block: no text", at=path, type=part.type)
        self._losses.note("vendor's block", at=path)
        return text

    def _call(self, call: ToolUse, index: int) -> dict[str, JSON]:
        function: dict[str, JSON] = {
            "index": index,
            "name": call.name,
            "arguments": self._call_arguments(call),
        }
        out: dict[str, JSON] = {"id": call.id} if call.id else {}
        out["function"] = function
        if self.native:
            _unfold(call.extra, out, function)
        else:
            if call.cache is not None:
                self._losses.note("cache")
            self._losses.note_item("tool_calls", call.extra)
        return out

    def _call_arguments(self, call: ToolUse) -> Mapping[str, JSON]:
        if call.kind == "custom":
            return {"input": call.arguments}
        if call.input is not None:
            return dict(call.input)
        parsed = parsed_arguments(call.arguments)
        if parsed is None:
            self._losses.note("arguments")
            return {"_raw_arguments": call.arguments}
        return parsed

    def _result(self, result: ToolResult, names: Mapping[str, str]) -> dict[str, JSON]:
        texts, media = self._gathered(result.parts)
        content = joined_text(texts, role="tool")
        if result.is_error and not content.startswith("Error:"):
            content = f"Error: {content}"
        out: dict[str, JSON] = {"role": "tool", "content": content}
        if media:
            out["images"] = media
        name = result.name or ("" if self.native else names.get(result.call_id))
        if name:
            out["tool_name"] = name
        if result.call_id:
            out["tool_call_id"] = result.call_id
        if self.native:
            out.update(result.extra)
        else:
            if result.cache is not None:
                self._losses.note("cache")
            self._losses.note_rest(f"{self._where}[].", result.extra)
        return out

    # --- tools

    def _tools(self) -> tuple[list[JSON], str]:
        """The tools to send, and what to tell the model in place of a `tool_choice`."""
        choice = self.request.tool_choice
        if choice is not None and choice.mode == "none":
            if self.request.tools:
                self._losses.note("tool_choice: none")
            return [], ""
        kept = self._own_tools()
        line = ""
        if choice is not None and choice.mode in ("named", "allowed"):
            known = {tool.name for tool in kept}
            if choice.mode == "named" and not known.issuperset(choice.names[:1]):
                raise Invalid(
                    self._losses.name("tool_choice"),
                    f"there is no tool {choice.names[0]!r} to call",
                )
            kept = [tool for tool in kept if tool.name in choice.names]
        if choice is not None and kept:
            must = "You must call one of the tools."
            if choice.mode == "named":
                line = f"You must call the tool {choice.names[0]}."
            elif choice.mode == "required" or choice.must:
                line = must
        if line:
            self._losses.note("tool_choice: told")
        elif choice is not None and choice.mode == "allowed":
            self._losses.note("tool_choice: allowed")
        elif choice is not None and choice.mode == "required":
            self._losses.note("tool_choice: no tools")
        return [self._tool(tool) for tool in kept], line

    def _own_tools(self) -> list[Tool]:
        """The tools but those that a vendor runs, which nobody would run here."""
        request, choice = self.request, self.request.tool_choice
        note_namespaces(request.tools, self._losses)
        hosted = [tool for tool in request.tools if tool.kind == "hosted"]
        for tool in hosted:
            what = tool.type or tool.name
            forced = choice is not None and (choice.kind == "hosted" or tool.name in choice.names)
            if forced or len(hosted) == len(request.tools):
                raise self._losses.refusal("hosted tool: needed", at=f"tools[].type={what}")
            self._losses.note("hosted tool", at=f"tools[].type={what}")
        return [tool for tool in request.tools if tool.kind != "hosted"]

    def _tool(self, tool: Tool) -> dict[str, JSON]:
        function: dict[str, JSON] = {"name": tool.name}
        out: dict[str, JSON] = {"type": "function", "function": function}
        if tool.description is not None:
            function["description"] = tool.description
        if self.native:
            if tool.parameters is not None:
                function["parameters"] = tool.parameters
            _unfold(tool.extra, out, function)
            return out
        if tool.kind == "custom":
            function["description"], function["parameters"] = as_function(tool, self._losses)
        else:
            function["parameters"], lost = for_ollama(tool.parameters)
            if lost:
                case = "tools: schema, mild" if _MILD.issuperset(lost) else "tools: schema"
                self._losses.note(case, words=", ".join(sorted(set(lost))))
        if tool.strict:
            self._losses.note("strict")
        if tool.cache is not None:
            self._losses.note("cache")
        self._losses.note_rest("tools[].", tool.extra)
        return out

    # --- the rest

    def _format(self) -> JSON:
        output = self.request.output
        if output is None:
            return None
        if output.kind == "json" or output.schema is None:
            return "json"
        if not self.native:
            self._losses.note_schema(output)
        return output.schema

    def options(self) -> dict[str, JSON]:
        request, sampling = self.request, self.request.sampling
        own: dict[str, JSON] = {}
        if self.native:
            for key, value in request.extra.items():
                if key.startswith("options."):
                    own[key.removeprefix("options.")] = value
        for name in (*NUMBERS, *WHOLE):
            value = getattr(sampling, name)
            if value is not None:
                own[name] = value
        if sampling.stop:
            own["stop"] = list(sampling.stop)
        if request.max_tokens is not None:
            own["num_predict"] = self._limit(request.max_tokens)
        if sampling.n is not None and sampling.n != 1:
            raise self._losses.refusal("n")
        if sampling.logit_bias is not None:
            self._losses.note("logit_bias")
        return merged_options(own, self.ledger, self.target)

    def _limit(self, tokens: int) -> int:
        if tokens <= 0:
            raise self._losses.refusal("max_tokens: none")
        if self.native:
            return tokens
        return capped_tokens(self.request, self._losses, self.target) or tokens

    def think(self) -> bool | str | None:
        thinking = self.request.thinking
        if thinking is None:
            return None
        wanted = _wanted(thinking)
        able = self.target.capabilities
        if thinking.display is not None:
            self._losses.note("display")
        if thinking.mode == "between" and wanted is None:
            self._losses.note("thinking: between")
        elif able is not None and "thinking" not in able:
            if wanted is not False:
                concept = "effort" if thinking.mode is None else "thinking"
                where = self._losses.name(concept)
                self._losses.note("thinking: unable", at=where, model=self.target.model)
            return None
        elif not self.native and thinking.budget_tokens is not None and isinstance(wanted, str):
            self._losses.note("thinking: budget", budget=thinking.budget_tokens, effort=wanted)
        return wanted


def merged_options(own: dict[str, JSON], ledger: Ledger, target: Target) -> dict[str, JSON]:
    """The client's options over the configured ones, but for the size of the context."""
    configured = target.options
    if "num_ctx" in configured and own.pop("num_ctx", None) not in (None, configured["num_ctx"]):
        record(ledger, CASES["ollama"]["num_ctx"], "options.num_ctx")
    return {**configured, **own}


def _wanted(thinking: Thinking) -> bool | str | None:
    """The value of `think`. Levels beyond Ollama's own become its nearest."""
    if thinking.mode == "off" or (thinking.mode is None and thinking.effort == "none"):
        return False
    level = {"minimal": "low", "xhigh": "max"}.get(thinking.effort or "", thinking.effort)
    if level in LEVELS:
        return level
    budget = thinking.budget_tokens
    if budget is not None:
        limits = ((2048, "low"), (8192, "medium"), (24576, "high"))
        return next((name for most, name in limits if budget <= most), "max")
    return True if thinking.mode in ("on", "auto") else None


def _unfold(extra: Mapping[str, JSON], outer: dict[str, JSON], function: dict[str, JSON]) -> None:
    """Dotted names go back into `function`, the others beside it."""
    for key, value in extra.items():
        if key.startswith("function."):
            function[key.removeprefix("function.")] = value
        else:
            outer[key] = value
