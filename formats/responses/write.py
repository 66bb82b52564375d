"""A canonical request, written for an upstream that speaks Responses.

Owns: the members of the body, its tools, and what each canonical concept becomes in this format.
Refuses to know: items and parts (`compose`), how the answer is read, which upstream was chosen.

Laws:
1. A request that came in this format and was not changed goes out as the client's own text with
   single members edited.
2. What cannot be carried is noted under the client's own name for it, or refused with Unsupported
   where leaving it out would change what was asked. Nothing else raises.
3. No value is written that the client did not send, but for two whose absence would say something
   else here than in the client's format: `store` and a tool's `strict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import ids, openai_models, stops, toolschema
from formats.canonical import Target
from formats.freeform import flat_format
from formats.jsontext import dump
from formats.limits import capped_tokens
from formats.losses import Losses
from formats.namespaces import inner_name, namespace_of
from formats.prompt import as_conversation
from formats.references import refuse_references
from formats.responses.compose import Composer
from formats.responses.parse import LOGPROBS
from formats.responses.splice import passed_request
from formats.responses.wire import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON, Request, Tool, ToolChoice
    from formats.ledger import Ledger

_LEAST_TOKENS = 16  # the vendor answers less with 400
# What has no name here, with the value that changes nothing.
_NEVER: Mapping[str, JSON] = {
    "top_k": None,
    "min_p": 0,
    "typical_p": 1,
    "repeat_penalty": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "seed": None,
    "logit_bias": {},
}
# Members that Chat Completions and this format have in common, by name and meaning.
_SHARED = frozenset(
    ["store", "safety_identifier", "prompt_cache_retention", "prompt_cache_options", "moderation"]
)


def write_request(request: Request, ledger: Ledger, target: Target, /) -> bytes:
    """The body for an upstream of this format. Raises Unsupported."""
    if request.origin == NAME and request.raw is not None:
        return passed_request(request, request.raw, Losses(NAME, request, ledger), target)
    return dump(_Writer(request, ledger, target).body())


def written_settings(request: Request, ledger: Ledger) -> dict[str, JSON]:
    """The members of a request of this format that say how to answer, as it writes them."""
    return _Writer(request, ledger, Target(request.model)).settings()


class _Writer:
    """One request on its way out. `same`: it came in this format, so nothing is translated."""

    __slots__ = ("_ledger", "_losses", "_names", "_origin", "_request", "_same", "_target")

    def __init__(self, request: Request, ledger: Ledger, target: Target) -> None:
        self._request = request
        self._ledger = ledger
        self._target = target
        self._origin = request.origin
        self._same = request.origin == NAME
        present = request.raw.members if request.raw is not None else request.extra
        self._losses = Losses(NAME, request, ledger, present)
        names = [] if self._same else [t.name for t in request.tools if t.kind != "hosted"]
        self._names = ids.NameMap(ids.OPENAI_NAMES, names)

    def body(self) -> dict[str, JSON]:
        if not self._same:
            as_conversation(self._request, self._losses)
        self._refuse()
        composer = Composer(self._request, self._ledger, self._losses, self._target, self._name)
        instructions, items = composer.composed()
        body: dict[str, JSON] = {"model": self._target.model}
        if instructions is not None:
            body["instructions"] = instructions
        body["input"] = items
        self._put_tools(body)
        self._put_limits(body)
        self._put_thinking(body)
        self._put_text(body)
        self._put_identity(body)
        if self._request.stream:
            body["stream"] = True
        self._put_extra(body)
        return {**self._target.options, **body} if self._target.options else body

    def settings(self) -> dict[str, JSON]:
        body: dict[str, JSON] = {}
        self._put_tools(body)
        self._put_thinking(body)
        self._put_text(body)
        for name in ("tool_choice", "reasoning", "text"):
            if self._same and name in self._request.extra:
                _merge(body, name, self._request.extra[name])
        return body

    def _name(self, name: str) -> str:
        return name if self._same else self._names.to_wire(name)

    def _refuse(self) -> None:
        """What no server of this format can do."""
        request = self._request
        if (request.sampling.n or 1) > 1:
            raise self._losses.refusal("n")
        modalities = request.extra.get("modalities")
        if not self._same and isinstance(modalities, list) and "audio" in modalities:
            raise self._losses.refusal("modalities")
        refuse_references(request, self._losses, own=self._same, vendor=self._target.vendor)

    # --- tools ---

    def _put_tools(self, body: dict[str, JSON]) -> None:
        tools = self._tools()
        if tools:
            body["tools"] = tools
        if self._request.parallel_tool_calls is not None and (tools or self._same):
            body["parallel_tool_calls"] = self._request.parallel_tool_calls
        choice = self._request.tool_choice
        if choice is None:
            return
        if tools or self._same:
            body["tool_choice"] = self._choice(choice)
        elif choice.mode != "none":
            self._losses.note("tool_choice: no tools")

    def _tools(self) -> list[JSON]:
        out: list[JSON] = []
        space: dict[str, JSON] | None = None  # the namespace that is being put together again
        for tool in self._offered():
            name = namespace_of(tool) if self._same else None
            if name is None:
                space = None
                out.append(self._tool(tool))
                continue
            if space is None or space["name"] != name:
                space = {**tool.native, "tools": []}
                out.append(space)
            space["tools"].append(self._tool(tool))
        return out

    def _offered(self) -> list[Tool]:
        """The tools that this upstream can be told of."""
        tools = list(self._request.tools)
        if self._same:
            return tools
        choice = self._request.tool_choice
        kept = [tool for tool in tools if tool.kind != "hosted"]
        for tool in tools:
            if tool.kind == "hosted":
                self._leave_out(tool, only=not kept, choice=choice)
        if choice is not None and choice.mode == "allowed" and not self._target.vendor:
            self._losses.note("tool_choice: allowed")
            kept = [tool for tool in kept if tool.name in choice.names]
        return kept

    def _leave_out(self, tool: Tool, *, only: bool, choice: ToolChoice | None) -> None:
        path = f"tools[].type={tool.type}"
        names = choice.names if choice is not None and choice.mode == "named" else ()
        if only or tool.name in names or tool.type in names or tool.type.startswith("mcp"):
            raise self._losses.refusal("hosted tool: needed", at=path)
        self._losses.note("hosted tool", at=path)

    def _tool(self, tool: Tool) -> dict[str, JSON]:
        if tool.kind == "hosted":
            return dict(tool.native)
        name = self._name(tool.name)
        space = namespace_of(tool) if self._same else None
        if space is not None:
            name = inner_name(space, name)
        out: dict[str, JSON] = {"type": tool.kind, "name": name}
        if tool.description is not None:
            out["description"] = tool.description
        if tool.kind == "function":
            self._put_schema(out, tool)
        elif tool.format is not None:
            out["format"] = flat_format(tool.format)
        if self._same:
            return {**tool.extra, **out} if tool.extra else out
        if tool.cache is not None:
            self._losses.note("cache: calls")
        self._losses.note_rest("tools[].", tool.extra)
        return out

    def _put_schema(self, out: dict[str, JSON], tool: Tool) -> None:
        if not self._same:
            out["parameters"] = toolschema.as_object(tool.parameters)
            out["strict"] = bool(tool.strict)  # without a word servers try to be strict
            return
        if tool.parameters is not None:
            out["parameters"] = dict(tool.parameters)
        if tool.strict is not None:
            out["strict"] = tool.strict

    def _choice(self, choice: ToolChoice) -> JSON:
        if choice.mode == "named":
            if choice.kind == "hosted":
                return {"type": choice.names[0]}
            return self._reference(choice.names[0], choice.kind)
        if choice.mode != "allowed":
            return choice.mode
        mode = "required" if choice.must else "auto"
        if not self._target.vendor and not self._same:
            return mode
        tools = [self._reference(name) for name in choice.names]
        return {"type": "allowed_tools", "mode": mode, "tools": tools}

    def _reference(self, name: str, kind: str = "function") -> dict[str, JSON]:
        for tool in self._request.tools:
            if tool.name != name:
                continue
            if tool.kind == "hosted":
                return {"type": tool.type}
            space = namespace_of(tool) if self._same else None
            if space is not None:
                return {"type": tool.kind, "name": inner_name(space, name), "namespace": space}
            kind = tool.kind
        return {"type": kind, "name": self._name(name)}

    # --- settings ---

    def _put_limits(self, body: dict[str, JSON]) -> None:
        limit = capped_tokens(self._request, self._losses, self._target)
        if limit is not None and limit < 1 and not self._same:
            raise self._losses.refusal("max_tokens: none")
        if limit is not None and limit < _LEAST_TOKENS and self._target.vendor and not self._same:
            self._losses.note("max_tokens: least", least=_LEAST_TOKENS)
            limit = _LEAST_TOKENS
        if limit is not None:
            body["max_output_tokens"] = limit
        self._put_sampling(body)

    def _put_sampling(self, body: dict[str, JSON]) -> None:
        sampling = self._request.sampling
        for name in ("temperature", "top_p"):
            value = getattr(sampling, name)
            if value is not None and (value == 1 or self._takes(name)):
                body[name] = value
        if sampling.logprobs and self._takes("logprobs"):
            body["include"] = [LOGPROBS]
        if sampling.top_logprobs is not None and self._takes("top_logprobs"):
            body["top_logprobs"] = sampling.top_logprobs
        for name, neutral in _NEVER.items():
            if getattr(sampling, name) not in (None, neutral):
                self._losses.note("sampling", at=self._losses.name(name))
        if stops.untold(self._request, NAME, self._target):
            self._losses.note("stop: emulated")

    def _takes(self, name: str) -> bool:
        """Whether the model may be told this: the vendor's reasoning models answer it with 400."""
        if self._same or not self._target.vendor:
            return True
        if not openai_models.is_reasoning(self._target.model):
            return True
        self._losses.note("sampling: reasoning model", at=self._losses.name(name))
        return False

    def _put_thinking(self, body: dict[str, JSON]) -> None:
        thinking = self._request.thinking
        if thinking is None:
            return
        if self._same:
            given = {"effort": thinking.effort, "summary": thinking.display}
            body["reasoning"] = {name: word for name, word in given.items() if word is not None}
            return
        able = self._target.capabilities
        if able is not None and "thinking" not in able:
            if thinking.mode != "off":
                self._losses.note("thinking: unable", model=self._target.model)
            return
        wanted: dict[str, JSON] = {}
        effort = self._effort()
        if effort is not None:
            wanted["effort"] = effort
        if thinking.mode in ("auto", "on") and thinking.display != "omitted":
            wanted["summary"] = "auto"  # without being asked servers show none
        elif thinking.display is not None:
            self._losses.note("display")
        if wanted:
            body["reasoning"] = wanted

    def _effort(self) -> str | None:
        thinking = self._request.thinking
        assert thinking is not None
        if thinking.mode == "off":
            return openai_models.least_effort(self._target)
        if thinking.effort is not None:
            return thinking.effort
        if thinking.budget_tokens is not None:
            budget = thinking.budget_tokens
            effort = openai_models.effort_of(budget)
            self._losses.note("thinking: budget", budget=budget, effort=effort)
            return effort
        if thinking.mode is not None:
            self._losses.note("thinking: no effort")
        return None

    def _put_text(self, body: dict[str, JSON]) -> None:
        text: dict[str, JSON] = {}
        output = self._request.output
        if output is not None and output.kind == "json":
            text["format"] = {"type": "json_object"}
        elif output is not None:
            text["format"] = self._schema()
        if self._request.verbosity is not None:
            text["verbosity"] = self._request.verbosity
        if text:
            body["text"] = text

    def _schema(self) -> dict[str, JSON]:
        output = self._request.output
        assert output is not None
        schema = dict(output.schema or {})
        out: dict[str, JSON] = {
            "type": "json_schema",
            "name": output.name or "response",
            "schema": schema,
        }
        if output.description is not None:
            out["description"] = output.description
        strict = output.strict
        if strict is None and not self._same:
            strict = toolschema.is_openai_strict(schema)
        if strict is not None:
            out["strict"] = strict
        return out

    def _put_identity(self, body: dict[str, JSON]) -> None:
        request = self._request
        if request.user is not None and request.extra.get("safety_identifier") != request.user:
            body["user"] = request.user
        if request.metadata is not None:
            body["metadata"] = dict(request.metadata)
        if request.cache_key is not None:
            body["prompt_cache_key"] = request.cache_key
        self._put_tier(body)
        if request.cache is not None:
            self._losses.note("cache")
        if request.keep_alive is not None:
            self._losses.note("keep_alive")

    def _put_tier(self, body: dict[str, JSON]) -> None:
        tier = self._request.service_tier
        if tier is None:
            return
        if self._same or self._origin == "openai":
            body["service_tier"] = tier
        elif self._target.vendor and tier in ("auto", "standard_only"):
            body["service_tier"] = "auto" if tier == "auto" else "default"
        else:
            self._losses.note("service_tier")

    def _put_extra(self, body: dict[str, JSON]) -> None:
        for name, value in self._request.extra.items():
            if self._same:
                _merge(body, name, value)
            elif self._origin == "openai" and name in _SHARED:
                body.setdefault(name, value)
            elif self._origin == "ollama" and name == "options" and isinstance(value, dict):
                self._losses.note_rest("options.", value)
            else:
                self._losses.note_rest("", {name: value})
        if not self._same:
            body.setdefault("store", False)  # who did not ask for it does not expect it


def _merge(body: dict[str, JSON], name: str, value: JSON) -> None:
    """A member back in its place. Of those that have a canonical meaning only the rest is kept."""
    there = body.get(name)
    if name == "tool_choice" or there is None:
        body[name] = value
    elif isinstance(there, dict) and isinstance(value, dict):
        body[name] = {**there, **value}
    elif isinstance(there, list) and isinstance(value, list):
        body[name] = [*value, *there]
