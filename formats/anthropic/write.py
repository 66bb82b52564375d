"""A canonical request, written for an Anthropic Messages server.

Owns: the order and form in which this strict format wants roles, results and blocks, and what
becomes of every canonical member it has no place for.
Refuses to know: how a client's request was read; sockets, headers, retries.

Laws:
1. What came in this same format goes out as it came: members, order and blocks. Only what the
   target would misread is changed: tokens of ours are taken out, an absent max_tokens is set.
2. From another format, whatever cannot be said here is noted under the client's own name for it, or
   refused as Unsupported where leaving it out would change the meaning.
3. Only members that the format has are sent: servers answer 400 to any other.
4. Thinking blocks are sent whole and unaltered, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, assert_never

from formats import jsontext, plugins
from formats.anthropic.blocks import BlockWriter
from formats.anthropic.models import Traits, traits
from formats.anthropic.wire import NAME
from formats.canonical import Message, Request, Target, Thinking, Tool, ToolChoice
from formats.fields import field
from formats.freeform import as_function
from formats.history import joined_text, settle
from formats.ids import ANTHROPIC, ANTHROPIC_NAMES, NameMap
from formats.limits import capped_tokens
from formats.losses import Losses
from formats.namespaces import note_namespaces
from formats.prompt import as_conversation
from formats.references import refuse_references
from formats.token import TOKEN_PREFIX
from formats.toolschema import as_object, for_anthropic_format

if TYPE_CHECKING:
    from formats.jsontext import RawBody
    from formats.ledger import Ledger

JSON = Any
_Object = dict[str, JSON]

_DEFAULT_MAX: Final = 4096
_DEFAULT_MAX_CLAUDE: Final = 32_000
_MIN_BUDGET: Final = 1024
_MAX_MARKS: Final = 4
_PROPERTY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BUDGETS = {
    "minimal": 2048,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 32_000,
}
_MODES = {"auto": "adaptive", "on": "enabled", "off": "disabled", "between": "between_tools"}
# Members of the request that hold others; the reader keeps their unknown members as `parent.name`.
_PARENTS = ("output_config.format", "output_config", "thinking", "metadata", "tool_choice")
_JSON_LINE: Final = "Answer with one JSON object and nothing else."
_MUST_CALL: Final = "You must call one of the tools."


def write_request(request: Request, ledger: Ledger, target: Target) -> bytes:
    """The body for the server. Raises Unsupported."""
    losses = Losses(NAME, request, ledger, request.extra)
    if request.origin != NAME:
        as_conversation(request, losses)
    own = request.origin == NAME
    refuse_references(request, losses, own=own, vendor=target.vendor)
    if not request.messages:
        raise losses.refusal("messages: none")
    if passes(request, target):
        edits: _Object = {} if target.model == request.model else {"model": target.model}
        assert request.raw is not None
        edits |= _with_room(request, request.raw, losses)
        if request.stream and request.raw.value.get("stream") is not True:
            edits["stream"] = True
        return request.raw.spliced(edits, (plugins.MEMBER,))
    return jsontext.dump(_Writer(request, ledger, losses, target).body())


def passes(request: Request, target: Target) -> bool:
    """Whether the client's own text can go to the server as it stands, but for the model's name:
    nothing of the router's own is in it, and nothing must be added or taken out."""
    raw = request.raw
    if raw is None or request.origin != NAME or request.max_tokens is None:
        return False
    if any(0 < most < request.max_tokens for most in (target.max_output, target.room)):
        return False
    renamed = target.model != request.model
    if renamed and any(name in raw.value for name in ("temperature", "top_p", "top_k")):
        return False
    return TOKEN_PREFIX not in raw.text


def _with_room(request: Request, raw: RawBody, losses: Losses) -> _Object:
    """The edit that leaves an answer some room beside its thinking: servers refuse a budget that
    takes it all."""
    budget = request.thinking.budget_tokens if request.thinking else None
    most = request.max_tokens
    if budget is None or most is None or budget < most or most <= _MIN_BUDGET:
        return {}
    losses.note("thinking: clamped", most=most, room=most - 1)
    return {"thinking": {**raw.value["thinking"], "budget_tokens": most - 1}}


class _Writer:
    def __init__(self, request: Request, ledger: Ledger, losses: Losses, target: Target) -> None:
        self._request = request
        self._ledger = ledger
        self._losses = losses
        self._target = target
        self._own = request.origin == NAME
        self._traits: Traits = traits(target.model)
        names = NameMap(ANTHROPIC_NAMES, (t.name for t in request.tools if t.kind != "hosted"))
        self._name = (lambda name: name) if self._own else names.to_wire
        self._blocks = BlockWriter(request, losses, target, self._name)
        self._lines: list[str] = []  # what must be said to the model in the system prompt

    def body(self) -> _Object:
        request = self._request
        self._refuse()
        tools = self._tools()
        choice = self._tool_choice(tools)
        output = self._output()
        max_tokens = self._max_tokens()
        thinking, effort = self._thinking(max_tokens)
        system, messages = self._messages()  # last: what the model must be told is known by now
        thinking = self._possible(thinking, choice, messages)
        config = {"effort": effort, "format": output}
        body: _Object = {
            "model": self._target.model,
            "max_tokens": max_tokens,
            "messages": messages,
        }
        optional = {
            "system": system,
            "tools": tools,
            "tool_choice": choice,
            "thinking": thinking,
            "output_config": {name: value for name, value in config.items() if value is not None},
            "metadata": {} if request.user is None else {"user_id": request.user},
            "cache_control": request.cache if self._own else None,
            "service_tier": self._service_tier(),
            **self._sampling(),
            "stop_sequences": self._stop(),
            "stream": request.stream or None,
        }
        body |= {name: value for name, value in optional.items() if value not in (None, {}, [])}
        if self._own:
            self._restore(body)
        else:
            self._note_rest()
            self._limit_marks(body)
        return body

    # --- notes ---

    def _refuse(self) -> None:
        """What no server of this format can do."""
        request = self._request
        if (request.sampling.n or 1) > 1:
            raise self._losses.refusal("n")
        modalities = request.extra.get("modalities")
        if not self._own and isinstance(modalities, list) and "audio" in modalities:
            raise self._losses.refusal("modalities")

    def _note_rest(self) -> None:
        request = self._request
        self._losses.note_rest("", request.extra)
        sampling = request.sampling
        for concept, neutral in _NEVER.items():
            if getattr(sampling, concept) not in (None, neutral):
                self._losses.note("sampling", at=self._losses.name(concept))
        for concept in ("verbosity", "cache_key", "metadata", "keep_alive", "cache"):
            if getattr(request, concept) is not None:
                self._losses.note(concept)
        thinking = request.thinking
        if thinking is not None and thinking.display is not None and self._asked() is None:
            self._losses.note("display")

    def _restore(self, body: _Object) -> None:
        """The members that only this format knows, back in their places."""
        for key, value in self._request.extra.items():
            parent = next((p for p in _PARENTS if key.startswith(p + ".")), None)
            if parent is None:
                body[key] = value
                continue
            node = body
            for step in parent.split("."):
                node = node.setdefault(step, {})
            node[key[len(parent) + 1 :]] = value

    # --- numbers ---

    def _max_tokens(self) -> int:
        given, most = self._request.max_tokens, self._target.max_output
        if given is None or (given < 1 and not self._own):
            known = _DEFAULT_MAX_CLAUDE if self._traits.claude else _DEFAULT_MAX
            default = most or max(known, (self._wanted_budget() or 0) + _DEFAULT_MAX)
            self._losses.note("max_tokens", most=default)
            return default
        return capped_tokens(self._request, self._losses, self._target) or given

    def _same_model(self) -> bool:
        return self._own and self._request.model == self._target.model

    def _sampling(self) -> _Object:
        sampling = self._request.sampling
        values = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
        values = {name: value for name, value in values.items() if value is not None}
        if self._same_model():
            return values
        if self._traits.sampling == "none":
            for name in values:
                where = self._losses.name(name)
                self._losses.note("sampling: model", at=where, model=self._target.model)
            return {}
        if sampling.temperature is not None and sampling.temperature > 1:
            self._losses.note("temperature: above 1")
            values["temperature"] = 1
        if self._traits.sampling == "one" and "temperature" in values and "top_p" in values:
            self._losses.note("top_p: one of two")
            del values["top_p"]
        return values

    def _stop(self) -> list[str]:
        stop = self._request.sampling.stop
        if self._own or all(each.strip() for each in stop):
            return list(stop)
        self._losses.note("stop: blank")
        return [each for each in stop if each.strip()]

    def _service_tier(self) -> str | None:
        tier = self._request.service_tier
        if self._own or tier is None or tier == "auto":
            return tier
        if tier == "default":
            return "standard_only"
        self._losses.note("service_tier")
        return None

    # --- tools ---

    def _tools(self) -> list[_Object]:
        tools = list(self._request.tools)
        note_namespaces(tools, self._losses)
        choice = self._request.tool_choice
        if choice is not None and choice.mode == "allowed":
            tools = [tool for tool in tools if tool.name in choice.names]
        written = [each for each in map(self._tool, tools) if each is not None]
        if not written and any(tool.kind == "hosted" for tool in tools):
            raise self._losses.refusal("tools: none left")
        return written

    def _tool(self, tool: Tool) -> _Object | None:
        if tool.kind == "hosted":
            if self._own:
                return dict(tool.native)
            self._note_left_out(tool)
            return None
        out: _Object = {} if not (self._own and tool.type) else {"type": tool.type}
        out["name"] = self._name(tool.name)
        description, schema = tool.description, tool.parameters
        if tool.kind == "custom":
            description, schema = as_function(tool, self._losses)
        if description is not None:
            out["description"] = description
        out["input_schema"] = (
            schema if self._own and schema is not None else self._schema(tool, schema)
        )
        if tool.strict is not None:
            out["strict"] = tool.strict
        if (mark := self._blocks.mark(tool.cache)) is not None:
            out["cache_control"] = mark
        if self._own:
            return out | dict(tool.extra)
        self._losses.note_rest("tools[].", tool.extra)
        return out

    def _note_left_out(self, tool: Tool) -> None:
        choice, path = self._request.tool_choice, f"tools[].type={tool.type}"
        if choice is not None and choice.mode == "named" and choice.kind == "hosted":
            raise self._losses.refusal("hosted tool: needed", at=path)
        self._losses.note("hosted tool", at=path)

    def _schema(self, tool: Tool, schema: Mapping[str, JSON] | None) -> _Object:
        out = as_object(schema)
        properties = out.get("properties")
        for name in properties if self._target.vendor and isinstance(properties, Mapping) else ():
            if not _PROPERTY.fullmatch(name):
                raise self._losses.refusal("tools: property", name=name, tool=tool.name)
        if out.get("type") != "object":
            self._losses.note("tools: object")
            out["type"] = "object"
        if tool.strict:
            out, lost = for_anthropic_format(out)
            if lost:
                self._losses.note("tools: strict", words=", ".join(lost))
        return out

    def _tool_choice(self, tools: list[_Object]) -> _Object | None:
        choice = self._request.tool_choice
        out = None if choice is None else self._choice(choice)
        alone = self._request.parallel_tool_calls is False
        given = self._request.parallel_tool_calls is not None
        if alone and (out is None or out["type"] != "none") and (tools or self._own):
            out = {**(out or {"type": "auto"}), "disable_parallel_tool_use": True}
        elif given and self._own and out is not None:
            out = {**out, "disable_parallel_tool_use": alone}
        if out is None or tools or self._own:
            return out
        if out["type"] not in ("auto", "none"):
            self._losses.note("tool_choice: no tools")
        return None

    def _choice(self, choice: ToolChoice) -> _Object:
        match choice.mode:
            case "auto":
                return {"type": "auto"}
            case "none":
                return {"type": "none"}
            case "required":
                out: _Object = {"type": "any"}
            case "named":
                out = {"type": "tool", "name": self._name(choice.names[0])}
            case "allowed":
                if not choice.must:
                    return {"type": "auto"}
                out = {"type": "any"}
            case _:
                assert_never(choice.mode)
        if self._traits.forced_choice or self._same_model():
            return out
        self._losses.note("tool_choice: emulated", model=self._target.model)
        self._lines.append(_MUST_CALL)
        return {"type": "auto"}

    # --- the answer's form ---

    def _output(self) -> _Object | None:
        output = self._request.output
        if output is None:
            return None
        if output.kind == "json":
            self._losses.note("output: json")
            self._lines.append(_JSON_LINE)
            return None
        if self._own:
            return {"type": "json_schema", "schema": output.schema or {}}
        if not self._traits.output_format:
            raise self._losses.refusal("output: unable", model=self._target.model)
        schema, lost = for_anthropic_format(as_object(output.schema))
        if lost:
            self._losses.note("output: schema", words=", ".join(lost))
        self._losses.note_schema(output)
        return {"type": "json_schema", "schema": schema}

    # --- thinking ---

    def _asked(self) -> Thinking | None:
        thinking = self._request.thinking
        if thinking is None or thinking == Thinking(display=thinking.display):
            return None
        return thinking

    def _wanted_budget(self) -> int | None:
        """Tokens to think with, where the model must be told a number."""
        asked = self._asked()
        if asked is None or _is_off(asked):
            return None
        if self._own or self._traits.thinking != "budget":
            return asked.budget_tokens if self._own else None
        return asked.budget_tokens or _BUDGETS.get(asked.effort or "medium", _BUDGETS["medium"])

    def _thinking(self, max_tokens: int) -> tuple[_Object | None, str | None]:
        """The `thinking` member, and the effort."""
        thinking, asked = self._request.thinking, self._asked()
        if self._own:
            given = _as_given(thinking, self._request.extra)
            if given and _MIN_BUDGET < max_tokens <= given.get("budget_tokens", 0):
                given["budget_tokens"] = max_tokens - 1
                self._losses.note("thinking: clamped", most=max_tokens, room=max_tokens - 1)
            return given, None if thinking is None else thinking.effort
        if asked is None:
            return None, None
        if self._traits.thinking == "none":
            self._losses.note("thinking: unable", model=self._target.model)
            return None, None
        if _is_off(asked):
            return self._off()
        budget = self._wanted_budget()
        if budget is None:
            return self._adaptive(asked), self._effort(asked.effort)
        if max_tokens <= _MIN_BUDGET:
            self._losses.note("thinking: no room", most=max_tokens)
            return None, None
        # A quarter is kept for the answer, as far as the smallest budget that is taken allows.
        room = max(_MIN_BUDGET, min(budget, max_tokens * 3 // 4))
        if room < budget:
            self._losses.note("thinking: clamped", most=max_tokens, room=room)
        return {"type": "enabled", "budget_tokens": room}, None

    def _off(self) -> tuple[_Object | None, str | None]:
        match self._traits.thinking:
            case "always":
                self._losses.note("thinking: always")
                return None, "low"
            case "between":
                return {"type": "between_tools"}, None
            case _:
                return {"type": "disabled"}, None

    def _adaptive(self, asked: Thinking) -> _Object:
        out: _Object = {"type": "adaptive"}
        if self._traits.displays:
            # Without being asked these models send no text, and clients of other formats want it.
            out["display"] = "summarized"
        if asked.budget_tokens is not None:
            self._losses.note("thinking: adaptive")
        return out

    def _effort(self, effort: str | None) -> str | None:
        if effort == "minimal":
            return "low"
        if effort == "xhigh" and not self._traits.takes_xhigh:
            self._losses.note("effort: xhigh")
            return "high"
        return effort

    def _possible(
        self, thinking: _Object | None, choice: _Object | None, messages: list[_Object]
    ) -> _Object | None:
        """Thinking, unless this request cannot be had with it."""
        type_ = None if thinking is None else thinking.get("type")
        if type_ in (None, "disabled") or not self._traits.claude:
            return thinking
        if type_ == "enabled" and self._lacks_thinking(messages):
            self._losses.note("thinking: history")
            return None
        forced = choice is not None and choice["type"] in ("any", "tool")
        if forced and not self._own:
            self._losses.note("thinking: forced tool")
            return self._off()[0]
        return thinking

    def _lacks_thinking(self, messages: list[_Object]) -> bool:
        """Models that are told a budget refuse a running loop of calls whose thinking is gone."""
        if self._own and not self._blocks.thoughts_dropped:
            return False
        for message in reversed(messages):
            types = [block["type"] for block in _listed(message["content"])]
            if message["role"] == "assistant":
                calls = "tool_use" in types
                return calls and types[0] not in ("thinking", "redacted_thinking")
            if "tool_result" not in types and message["role"] == "user":
                return False
        return False

    # --- messages ---

    def _messages(self) -> tuple[JSON, list[_Object]]:
        """The top-level system prompt, and the messages."""
        messages, path = self._request.messages, field(self._request.origin, "messages")
        if not self._own:
            messages = settle(messages, self._ledger, ANTHROPIC, path=path)
        lead = 0
        while lead < len(messages) and self._leads(messages[lead]):
            lead += 1
        system = [block for message in messages[:lead] for block in self._system(message)]
        system += [{"type": "text", "text": line} for line in self._lines]
        rest = messages[lead:]
        written = self._as_came(rest) if self._own else self._in_order(rest)
        if not written:
            raise self._losses.refusal("messages: none")
        return _short(system), written

    def _leads(self, message: Message) -> bool:
        """Whether it goes to the top. This format's own system messages stay where they were."""
        if message.role not in ("system", "developer"):
            return False
        if self._own:
            return message.hoisted
        self._note_message(message)
        return True

    def _system(self, message: Message) -> list[_Object]:
        blocks = self._blocks.blocks(message)
        return blocks if self._own else [b for b in blocks if b["type"] == "text"]

    def _as_came(self, messages: Iterable[Message]) -> list[_Object]:
        """This format's own messages: only the results that were split off are joined again."""
        out: list[_Object] = []
        previous = ""
        for message in messages:
            blocks = self._blocks.blocks(message)
            role = "user" if message.role == "tool" else message.role
            if role == "developer":
                role = "system"
            if previous == "tool" and message.role == "user":
                out[-1]["content"] += blocks
                out[-1] |= message.extra
            elif blocks or not message.parts:
                out.append({"role": role, "content": blocks, **message.extra})
            previous = message.role
        for entry in out:
            entry["content"] = _short(entry["content"])
        return out

    def _in_order(self, messages: Iterable[Message]) -> list[_Object]:
        """Another format's messages: user and assistant in turn, the user first."""
        runs: list[tuple[str, list[_Object]]] = []
        for message in messages:
            self._note_message(message)
            role = "user" if message.role == "tool" else message.role
            if role in ("system", "developer"):
                if text := joined_text(message.parts, role="system"):
                    _add(runs, "system", [{"type": "text", "text": text}])
                continue
            blocks = self._blocks.blocks(message)
            if not blocks and role == "user":
                blocks = [{"type": "text", "text": "(empty)"}]
            if blocks:
                _add(runs, role, blocks)
        runs = self._placed(runs)
        if not runs or runs[0][0] != "user":
            self._losses.note("messages: first")
            runs.insert(0, ("user", [{"type": "text", "text": "(conversation start)"}]))
        self._end(runs)
        return [{"role": role, "content": _short(blocks)} for role, blocks in runs]

    def _note_message(self, message: Message) -> None:
        if message.name is not None and message.role != "tool":
            self._losses.note("name")
        where = field(self._request.origin, "messages")
        self._losses.note_rest(f"{where}[].", message.extra)

    def _placed(self, runs: list[tuple[str, list[_Object]]]) -> list[tuple[str, list[_Object]]]:
        """System messages inside the conversation: kept where model and place allow it, else said
        by the user, marked as what they are. Never moved to the top: that changes the meaning."""
        role = self._target.system_role
        able = role == "system" or (self._traits.system_inside and role != "user")
        out: list[tuple[str, list[_Object]]] = []
        for index, (kind, blocks) in enumerate(runs):
            follower = runs[index + 1][0] if index + 1 < len(runs) else "assistant"
            if kind != "system":
                _add(out, kind, blocks)
            elif able and out and out[-1][0] == "user" and follower == "assistant":
                out.append((kind, blocks))
            else:
                self._losses.note("system")
                text = "\n".join(block["text"] for block in blocks)
                wrapped = f"<system-reminder>\n{text}\n</system-reminder>"
                _add(out, "user", [{"type": "text", "text": wrapped}])
        return out

    def _end(self, runs: list[tuple[str, list[_Object]]]) -> None:
        """A last message of the assistant is a beginning to go on from."""
        role, blocks = runs[-1]
        last = blocks[-1]
        if role != "assistant" or last["type"] != "text":
            return
        if not self._traits.prefill:
            raise self._losses.refusal("prefill", model=self._target.model)
        last["text"] = last["text"].rstrip()

    # --- cache marks ---

    def _limit_marks(self, body: _Object) -> None:
        """At most four marks; the later ones reach furthest, so they win."""
        marked = [block for block in _markable(body) if "cache_control" in block]
        if len(marked) > _MAX_MARKS:
            self._losses.note("cache: four")
            for block in marked[:-_MAX_MARKS]:
                del block["cache_control"]


# What has no name here, with the value that changes nothing.
_NEVER: dict[str, JSON] = {
    "min_p": 0,
    "typical_p": 1,
    "repeat_penalty": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "seed": None,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
}


def _is_off(thinking: Thinking) -> bool:
    return thinking.mode == "off" or (thinking.mode is None and thinking.effort == "none")


def _as_given(thinking: Thinking | None, extra: Mapping[str, JSON]) -> _Object | None:
    if thinking is None or (thinking.mode is None and "thinking.type" not in extra):
        return None
    out: _Object = {} if thinking.mode is None else {"type": _MODES[thinking.mode]}
    if thinking.budget_tokens is not None:
        out["budget_tokens"] = thinking.budget_tokens
    if thinking.display is not None:
        out["display"] = thinking.display
    return out


def _add(runs: list[tuple[str, list[_Object]]], role: str, blocks: list[_Object]) -> None:
    if runs and runs[-1][0] == role:
        runs[-1][1].extend(blocks)
    else:
        runs.append((role, list(blocks)))


def _short(blocks: list[_Object]) -> str | list[_Object]:
    """One plain text block is written as the string it stands for."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks


def _listed(content: str | list[_Object]) -> list[_Object]:
    return [{"type": "text"}] if isinstance(content, str) else content


def _markable(body: _Object) -> Iterable[_Object]:
    """Everything that may carry a cache mark, in the order in which the server reads it."""
    yield from body.get("tools", ())
    for content in (body.get("system", ""), *(m["content"] for m in body["messages"])):
        for block in _listed(content):
            yield block
            inner = block.get("content")
            if isinstance(inner, list):
                yield from (each for each in inner if isinstance(each, dict))
