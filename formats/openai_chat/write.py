"""A canonical request, written for an upstream that speaks Chat Completions.

Owns: what each canonical concept becomes in this format, and which server of this format wants
what name for it (the vendor's own, or one of the many that speak alike).
Refuses to know: how the answer is read; sockets; which upstream was chosen and why.

Laws:
1. A request that came in this format and was not changed goes out as the client's own text with
   single members edited; only what the target is configured or known to need is edited.
2. What cannot be carried is noted under the client's own name for it, or refused with Unsupported
   where leaving it out would change what was asked. Nothing else raises.
3. No value is written that the client did not send, except what switches usage figures on.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, assert_never

from formats import history, ids, media, openai_models, stops, toolschema
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
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from formats.fields import field
from formats.freeform import as_function, nested_format, wrapped
from formats.jsontext import dump, dumps
from formats.limits import capped_tokens
from formats.losses import Losses
from formats.namespaces import note_namespaces
from formats.opaque import opaque_text
from formats.openai_chat.answer import CARRIED
from formats.openai_chat.parse import NAME, is_legacy
from formats.openai_chat.splice import max_tokens_name, passed_request, system_role
from formats.prompt import as_conversation
from formats.references import refuse_references

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from formats.ledger import Ledger

IMAGES_FOLLOW = "Images from tool results:"


def write_request(request: Request, ledger: Ledger, target: Target, /) -> bytes:
    """The body for an upstream of this format. Raises Unsupported."""
    if request.origin == NAME and request.raw is not None:
        losses = Losses(NAME, request, ledger, request.raw.members)
        return passed_request(request, request.raw, losses, target)
    return dump(_Writer(request, ledger, target).body())


def _echo(target: Target) -> str:
    """The member in which reasoning goes back."""
    return "reasoning" if target.reasoning_echo == "reasoning" else "reasoning_content"


# --- one request ------------------------------------------------------------------------------


class _Writer:
    """One request on its way out. `same`: it came in this format, so nothing is translated."""

    __slots__ = (
        "_ledger",
        "_legacy",
        "_losses",
        "_names",
        "_origin",
        "_request",
        "_same",
        "_target",
        "_where",
    )

    def __init__(self, request: Request, ledger: Ledger, target: Target) -> None:
        self._request = request
        self._ledger = ledger
        self._target = target
        self._origin = request.origin
        self._same = request.origin == NAME
        self._legacy = self._same and is_legacy(request)
        present = request.raw.members if request.raw is not None else request.extra
        self._losses = Losses(NAME, request, ledger, present)
        self._where = field(request.origin, "messages")
        names = [] if self._same else [t.name for t in request.tools if t.kind != "hosted"]
        self._names = ids.NameMap(ids.OPENAI_NAMES, names)

    def body(self) -> dict[str, JSON]:
        if not self._same:
            as_conversation(self._request, self._losses)
        refuse_references(self._request, self._losses)
        body: dict[str, JSON] = {"model": self._target.model, "messages": self._messages()}
        self._put_tools(body)
        self._put_limits(body)
        self._put_sampling(body)
        self._put_thinking(body)
        self._put_output(body)
        self._put_identity(body)
        self._put_stream(body)
        self._put_extra(body)
        return {**self._target.options, **body} if self._target.options else body

    def _name(self, name: str) -> str:
        return name if self._same else self._names.to_wire(name)

    # --- messages ---

    def _messages(self) -> list[JSON]:
        messages = self._settled()
        out: list[JSON] = []
        shown: list[JSON] = []  # images of tool results, to follow the last result of the group
        for message in messages:
            if message.role == "tool":
                out += self._results(message, shown)
                continue
            if shown and message.role != "user":
                out.append({"role": "user", "content": _announced(shown)})
                shown = []
            written = self._message(message)
            if shown:
                written["content"] = _announced(shown) + _as_list(written["content"])
                shown = []
            out.append(written)
        if shown:
            out.append({"role": "user", "content": _announced(shown)})
        return out

    def _settled(self) -> tuple[Message, ...]:
        messages = self._request.messages
        if self._same:
            if self._legacy or _all_have_ids(messages):
                return messages
            return history.settle(messages, self._ledger, ids.OPENAI)
        messages = history.settle(messages, self._ledger, ids.OPENAI, path=self._where)
        if not messages:
            raise self._losses.refusal("messages: none")
        if messages[-1].role == "assistant" and "prefill" not in (self._target.capabilities or ()):
            raise self._losses.refusal("prefill", at=f"{self._where}[{len(messages) - 1}]")
        return messages

    def _message(self, message: Message) -> dict[str, JSON]:
        role = system_role(message.role, self._origin, self._target)
        if role != message.role and not self._same:
            self._losses.note("system", role=role)
        out: dict[str, JSON] = {"role": role}
        if message.role == "assistant":
            self._put_assistant(out, message)
        else:
            out["content"] = self._content(message)
        if message.name is not None:
            out["name"] = message.name
        if self._same:
            return {**message.extra, **out} if message.extra else out
        self._losses.note_rest(f"{self._where}[].", message.extra)
        return out

    def _content(self, message: Message) -> JSON:
        blocks = [block for part in message.parts for block in self._blocks(part)]
        if all(set(block) == {"type", "text"} for block in blocks):
            if not self._same:
                texts = tuple(Text(block["text"]) for block in blocks)
                return history.joined_text(texts, role=message.role)
            if len(blocks) < 2:
                return blocks[0]["text"] if blocks else ""
        return blocks

    def _put_assistant(self, out: dict[str, JSON], message: Message) -> None:
        thoughts = [part for part in message.parts if isinstance(part, Thought)]
        calls = [part for part in message.parts if isinstance(part, ToolUse)]
        rest = [part for part in message.parts if not isinstance(part, Thought | ToolUse)]
        words = "".join(part.text for part in rest if isinstance(part, Text) and part.refusal)
        if words:
            rest = [part for part in rest if not (isinstance(part, Text) and part.refusal)]
            if self._target.vendor or self._same:
                out["refusal"] = words
            else:
                rest.append(Text(words))
        content = self._content(Message("assistant", tuple(rest))) if rest else None
        out["content"] = content
        if content is None and not calls and not words:
            out["content"] = ""
        self._put_thoughts(out, thoughts)
        if calls and self._target.reasoning_required:
            out.setdefault(_echo(self._target), " ")  # its own was not handed back by the client
        if calls:
            self._note_order(message.parts)
            written = [self._call(call) for call in calls]
            if self._legacy and len(calls) == 1 and not calls[0].id:
                out["function_call"] = written[0]["function"]
            else:
                out["tool_calls"] = written

    def _note_order(self, parts: Sequence[Part]) -> None:
        seen = False
        for part in parts:
            if seen and isinstance(part, Text):
                self._losses.note("content: order")
            seen = seen or isinstance(part, ToolUse)

    def _put_thoughts(self, out: dict[str, JSON], thoughts: Sequence[Thought]) -> None:
        if not thoughts:
            return
        text = "".join(thought.text for thought in thoughts)
        sealed = any(thought.redacted is not None for thought in thoughts)
        if sealed:
            self._losses.note("redacted")
        echo = self._target.reasoning_echo
        if self._target.vendor or echo == "none":
            self._losses.note("reasoning")
            return
        if text:
            out[echo] = text
        signed = any(thought.signature for thought in thoughts)
        if signed:
            self._losses.note("signature")
        if not (sealed or signed or text):
            self._losses.note("reasoning: empty")
        if not self._same:
            for thought in thoughts:
                self._losses.note_item("content", thought.extra)

    def _call(self, call: ToolUse) -> dict[str, JSON]:
        arguments = call.arguments
        if not arguments and call.input:
            arguments = dumps(dict(call.input))
        kind = self._kind(call.kind)
        if kind != call.kind:
            arguments = wrapped(arguments)
        inner = {"name": self._name(call.name)}
        inner["input" if kind == "custom" else "arguments"] = arguments
        if kind == "function" and not arguments.strip() and not self._same:
            inner["arguments"] = "{}"
        if self._same:
            return _with_extra({"id": call.id, "type": kind, kind: inner}, call.extra)
        if call.cache is not None:
            self._losses.note("cache: calls")
        own = {name: call.extra[name] for name in CARRIED if name in call.extra}
        rest = {name: value for name, value in call.extra.items() if name not in own}
        self._losses.note_item("content", rest)
        return {"id": call.id, "type": kind, kind: inner, **own}

    # --- tool results ---

    def _results(self, message: Message, shown: list[JSON]) -> list[JSON]:
        return [
            self._same_result(part) if self._same else self._result(part, shown)
            for part in message.parts
            if isinstance(part, ToolResult)
        ]

    def _same_result(self, result: ToolResult) -> dict[str, JSON]:
        content = self._content(Message("tool", result.parts))
        if result.is_error and isinstance(content, str):
            content = _as_error(content)
        out = {"role": "tool", "tool_call_id": result.call_id, "content": content}
        if self._legacy and not result.call_id:
            out = {"role": "function", "content": content}
        if result.name is not None:
            out["name"] = result.name
        return {**result.extra, **out} if result.extra else out

    def _result(self, result: ToolResult, shown: list[JSON]) -> dict[str, JSON]:
        """Only text may stand in a result here; the rest is announced, and follows."""
        texts: list[Text] = []
        count = 0
        for part in result.parts:
            for block in self._blocks(part):
                if block.get("type") == "text":
                    texts.append(Text(block["text"]))
                    continue
                count += 1
                kind = "image" if block.get("type") == "image_url" else "file"
                place = (
                    f"[{kind} {count} of tool result {result.call_id} follows in the next message]"
                )
                texts.append(Text(place))
                shown.append(block)
        if count:
            self._losses.note("image: result")
        text = history.joined_text(texts, role="tool")
        if result.cache is not None:
            self._losses.note("cache: calls")
        self._losses.note_item("content", result.extra)
        if result.is_error:
            text = _as_error(text)
        return {"role": "tool", "tool_call_id": result.call_id, "content": text}

    # --- parts ---

    def _blocks(self, part: Part) -> list[dict[str, JSON]]:
        match part:
            case Text():
                return [self._text(part)]
            case Image():
                return [self._marked(self._image(part), part.cache, part.extra)]
            case Document():
                return [self._marked(self._document(part), part.cache, part.extra)]
            case Audio(data, format):
                block = {"type": "input_audio", "input_audio": {"data": data, "format": format}}
                return [self._marked(block, None, part.extra)]
            case Opaque(origin, _, value):
                if origin == NAME and self._same:
                    return [dict(value)]
                return [{"type": "text", "text": self._opaque(part)}]
            case Thought() | ToolUse() | ToolResult():
                return []
            case _:
                assert_never(part)

    def _text(self, part: Text) -> dict[str, JSON]:
        if part.citations:
            self._losses.note("citations")
        key = "refusal" if part.refusal else "text"
        return self._marked({"type": key, key: part.text}, part.cache, part.extra)

    def _marked(
        self, block: dict[str, JSON], cache: JSON, extra: Mapping[str, JSON]
    ) -> dict[str, JSON]:
        """The block with its cache mark, as far as the target has such, and its other members."""
        if self._same:
            if cache is not None:
                block["prompt_cache_breakpoint"] = cache
            return _with_extra(block, extra)
        if cache is not None:
            if openai_models.takes_breakpoints(self._target):
                block["prompt_cache_breakpoint"] = openai_models.breakpoint_of(cache)
                self._losses.note("cache: breakpoint")
            else:
                self._losses.note("cache")
        self._losses.note_rest(f"{self._where}[].content[].", extra)
        return block

    def _image(self, part: Image) -> dict[str, JSON]:
        if part.data is not None:
            url = media.data_url(part.mime or "image/png", part.data)
        elif part.url is not None:
            url = part.url
        else:
            raise self._losses.refusal("image: stored")
        inner: dict[str, JSON] = {"url": url}
        if part.detail is not None:
            inner["detail"] = part.detail
        return {"type": "image_url", "image_url": inner}

    def _document(self, part: Document) -> dict[str, JSON]:
        if part.citations:
            self._losses.note("document.citations")
        if not self._same:
            text = media.document_text(part)
            if text is not None:
                self._losses.note("document: text")
                return {"type": "text", "text": text}
            if part.context:
                self._losses.note("document.context")
        inner: dict[str, JSON] = {}
        if part.text is not None:
            data = b64encode(part.text.encode("utf-8", "surrogatepass")).decode()
            inner["file_data"] = media.data_url(part.mime or "text/plain", data)
        elif part.data is not None:
            inner["file_data"] = media.data_url(part.mime or "application/pdf", part.data)
        elif part.file_id is not None and self._same:
            inner["file_id"] = part.file_id
        else:
            raise self._losses.refusal("document: unreadable")
        if part.name is not None or not self._same:
            inner["filename"] = part.name or "document.pdf"
        return {"type": "file", "file": inner}

    def _opaque(self, part: Opaque) -> str:
        path = f"{self._where}[].{part.type}"
        text = opaque_text(part)
        if text is None:
            raise self._losses.refusal("vendor's block: no text", at=path, type=part.type)
        self._losses.note("vendor's block", at=path)
        return text

    # --- tools ---

    def _put_tools(self, body: dict[str, JSON]) -> None:
        tools = [self._tool(tool) for tool in self._offered()]
        if tools and self._legacy:
            body["functions"] = [tool.get("function", tool) for tool in tools]
        elif tools:
            body["tools"] = tools
            if self._request.parallel_tool_calls is not None:
                body["parallel_tool_calls"] = self._request.parallel_tool_calls
        choice = self._request.tool_choice
        if choice is None:
            return
        if self._legacy:
            named = choice.mode == "named"
            body["function_call"] = {"name": choice.names[0]} if named else choice.mode
        elif tools or self._same:
            body["tool_choice"] = self._choice(choice)
        elif choice.mode != "none":
            self._losses.note("tool_choice: no tools")

    def _offered(self) -> list[Tool]:
        """The tools that this upstream can be told of."""
        tools = list(self._request.tools)
        if self._same:
            return tools
        choice = self._request.tool_choice
        kept = [tool for tool in tools if tool.kind != "hosted"]
        note_namespaces(kept, self._losses)
        for tool in tools:
            if tool.kind == "hosted":
                self._leave_out(tool, only=not kept, choice=choice)
        if choice is not None and choice.mode == "allowed" and not self._target.vendor:
            self._losses.note("tool_choice: allowed")
            kept = [tool for tool in kept if tool.name in choice.names]
        return kept

    def _leave_out(self, tool: Tool, *, only: bool, choice: ToolChoice | None) -> None:
        path = f"tools[].type={tool.type}"
        forced = choice is not None and choice.mode == "named" and tool.name in choice.names
        forced = forced or (choice is not None and tool.type in choice.names)
        if only or forced or tool.type.startswith("mcp"):
            raise self._losses.refusal("hosted tool: needed", at=path)
        self._losses.note("hosted tool", at=path)

    def _tool(self, tool: Tool) -> dict[str, JSON]:
        if tool.kind == "hosted":
            return dict(tool.native)
        inner: dict[str, JSON] = {"name": self._name(tool.name)}
        if tool.description is not None:
            inner["description"] = tool.description
        kind = self._kind(tool.kind)
        if kind == "custom":
            if tool.format is not None:
                inner["format"] = tool.format if self._same else nested_format(tool.format)
        elif tool.kind == "custom":
            inner["description"], inner["parameters"] = as_function(tool, self._losses)
        else:
            self._put_schema(inner, tool)
        block = {"type": kind, kind: inner}
        if self._same:
            return _with_extra(block, tool.extra)
        if tool.cache is not None:
            self._losses.note("cache: calls")
        self._losses.note_rest("tools[].", tool.extra)
        return block

    def _kind(self, kind: str) -> str:
        """Of a tool or a call, as this upstream knows it: only the vendor has custom tools."""
        custom = kind == "custom" and (self._same or self._target.vendor)
        return "custom" if custom else "function"

    def _put_schema(self, inner: dict[str, JSON], tool: Tool) -> None:
        if tool.parameters is not None:
            schema = dict(tool.parameters)
            if not self._same and "type" not in schema:
                schema = {"type": "object", **schema}
            inner["parameters"] = schema
        if tool.strict is not None:
            inner["strict"] = tool.strict

    def _choice(self, choice: ToolChoice) -> JSON:
        kind = choice.kind
        if choice.mode == "named":
            if kind == "hosted":
                return {"type": choice.names[0]}
            known = self._kind(kind)
            return {"type": known, known: {"name": self._name(choice.names[0])}}
        if choice.mode != "allowed":
            return choice.mode
        mode = "required" if choice.must else "auto"
        if not self._target.vendor and not self._same:
            return mode
        return {
            "type": "allowed_tools",
            "allowed_tools": {"mode": mode, "tools": [self._reference(n) for n in choice.names]},
        }

    def _reference(self, name: str) -> dict[str, JSON]:
        for tool in self._request.tools:
            if tool.name == name and tool.kind != "function":
                return {"type": tool.type} if tool.kind == "hosted" else _custom_reference(name)
        return {"type": "function", "function": {"name": self._name(name)}}

    # --- settings ---

    def _put_limits(self, body: dict[str, JSON]) -> None:
        limit = capped_tokens(self._request, self._losses, self._target)
        if limit == 0 and not self._same:
            raise self._losses.refusal("max_tokens: none")
        if limit is not None:
            body[max_tokens_name(self._target)] = limit
        untold = stops.untold(self._request, NAME, self._target)
        if untold:
            self._losses.note("stop: emulated")
        if told := [each for each in self._request.sampling.stop if each not in untold]:
            body["stop"] = told

    def _put_sampling(self, body: dict[str, JSON]) -> None:
        sampling = self._request.sampling
        for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
            value = getattr(sampling, name)
            neutral = 0 if name.endswith("penalty") else 1
            if value is not None and (value == neutral or self._plain_sampling(name)):
                body[name] = value
        for name in ("seed", "n", "logit_bias"):
            if getattr(sampling, name) is not None:
                body[name] = getattr(sampling, name)
        for name in ("logprobs", "top_logprobs"):
            if getattr(sampling, name) is not None and self._plain_sampling(name):
                body[name] = getattr(sampling, name)
        self._put_local_sampling(body)

    def _plain_sampling(self, name: str) -> bool:
        """Whether the model may be told this: the vendor's reasoning models answer it with 400."""
        if self._same or not self._target.vendor:
            return True
        if not openai_models.is_reasoning(self._target.model):
            return True
        self._losses.note("sampling: reasoning model", at=self._losses.name(name))
        return False

    def _put_local_sampling(self, body: dict[str, JSON]) -> None:
        """Settings that only servers of local models know. Repetition has two names among them."""
        sampling = self._request.sampling
        for name in ("top_k", "min_p", "typical_p", "repeat_penalty"):
            value = getattr(sampling, name)
            if value is None:
                continue
            if self._target.vendor and not self._same:
                self._losses.note("sampling: vendor", at=self._losses.name(name))
                continue
            body[name] = value
            if name == "repeat_penalty":
                body["repetition_penalty"] = value

    def _put_thinking(self, body: dict[str, JSON]) -> None:
        thinking = self._request.thinking
        if thinking is None:
            return
        if thinking.display is not None:
            self._losses.note("display")
        able = self._target.capabilities
        if able is not None and "thinking" not in able and not self._same:
            if thinking.mode != "off":
                self._losses.note("thinking: unable", model=self._target.model)
            return
        effort = self._effort()
        if effort is not None:
            body["reasoning_effort"] = effort
        if self._target.template_thinking and thinking.mode in ("off", "on") and not self._same:
            own = self._target.options.get("chat_template_kwargs")
            switch = {"enable_thinking": thinking.mode == "on"}
            body["chat_template_kwargs"] = (own if isinstance(own, dict) else {}) | switch

    def _effort(self) -> str | None:
        thinking = self._request.thinking
        if thinking is None:
            return None
        if thinking.mode == "off" and not self._same:
            return openai_models.least_effort(self._target)
        if thinking.effort is not None:
            return thinking.effort
        if thinking.mode == "off":
            return "none"
        if thinking.budget_tokens is not None:
            budget = thinking.budget_tokens
            effort = openai_models.effort_of(budget)
            self._losses.note("thinking: budget", budget=budget, effort=effort)
            return effort
        if thinking.mode is None:
            return None
        self._losses.note("thinking: no effort")
        return None

    def _put_output(self, body: dict[str, JSON]) -> None:
        output = self._request.output
        if output is None:
            return
        if output.kind == "json":
            body["response_format"] = {"type": "json_object"}
            return
        schema = dict(output.schema or {})
        inner: dict[str, JSON] = {"name": output.name or "response", "schema": schema}
        if output.description is not None:
            inner["description"] = output.description
        strict = output.strict
        if strict is None and not self._same:
            strict = toolschema.is_openai_strict(schema)
        if strict is not None:
            inner["strict"] = strict
        body["response_format"] = {"type": "json_schema", "json_schema": inner}

    def _put_identity(self, body: dict[str, JSON]) -> None:
        request = self._request
        if request.user is not None:
            body["user"] = request.user
        if request.metadata is not None:
            body["metadata"] = dict(request.metadata)
        if request.cache_key is not None:
            body["prompt_cache_key"] = request.cache_key
        if request.verbosity is not None:
            body["verbosity"] = request.verbosity
        self._put_tier(body)
        if request.cache is not None:
            self._losses.note("cache")
        if request.keep_alive is not None:
            self._losses.note("keep_alive")

    def _put_tier(self, body: dict[str, JSON]) -> None:
        tier = self._request.service_tier
        if tier is None:
            return
        if self._same or self._origin == "responses":
            body["service_tier"] = tier
        elif self._target.vendor and tier in ("auto", "standard_only"):
            body["service_tier"] = "auto" if tier == "auto" else "default"
        else:
            self._losses.note("service_tier")

    def _put_stream(self, body: dict[str, JSON]) -> None:
        given = self._request.extra.get("stream_options") if self._same else None
        options = dict(given) if isinstance(given, dict) else {}
        if self._request.stream:
            body["stream"] = True
            if self._target.include_usage:
                options["include_usage"] = True
        elif self._same and self._request.include_usage and self._target.include_usage:
            options["include_usage"] = True
        if options:
            body["stream_options"] = options

    def _put_extra(self, body: dict[str, JSON]) -> None:
        for name, value in self._request.extra.items():
            if self._same:
                body.setdefault(name, value)
            elif self._origin == "ollama" and name == "options" and isinstance(value, dict):
                self._losses.note_rest("options.", value)
            else:
                self._losses.note_rest("", {name: value})


# --- small things ---------------------------------------------------------------------------------


def _all_have_ids(messages: Iterable[Message]) -> bool:
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolUse) and not part.id:
                return False
            if isinstance(part, ToolResult) and not part.call_id:
                return False
    return True


def _announced(shown: Sequence[JSON]) -> list[JSON]:
    return [{"type": "text", "text": IMAGES_FOLLOW}, *shown]


def _as_list(content: JSON) -> list[JSON]:
    """A message's content as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _as_error(text: str) -> str:
    return text if text.startswith("Error: ") else f"Error: {text}"


def _with_extra(block: dict[str, JSON], extra: Mapping[str, JSON]) -> dict[str, JSON]:
    """Unknown members back in their place, those of an inner object inside it."""
    for name, value in extra.items():
        if name not in block:
            block[name] = value
        elif isinstance(block[name], dict) and isinstance(value, dict):
            block[name] = {**value, **block[name]}
    return block


def _custom_reference(name: str) -> dict[str, JSON]:
    return {"type": "custom", "custom": {"name": name}}
