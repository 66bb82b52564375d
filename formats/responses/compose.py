"""A canonical conversation as the instructions and input items of Responses.

Owns: one item or part for each canonical part, in which order, and what a part cannot say here.
Refuses to know: every member of a request but its messages.

Laws:
1. What came in this format goes back item by item, with every member it had.
2. A call stands behind the text of its turn and before its result; each is an item of its own.
3. Reasoning goes to the vendor only as the vendor itself sealed it, and never as the last of a turn:
   both are refused. Other servers of this format get its text.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, assert_never

from formats import history, ids, media, openai_models
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
    ToolResult,
    ToolUse,
)
from formats.fields import field
from formats.jsontext import dumps
from formats.namespaces import inner_name, namespaces_by_name
from formats.opaque import opaque_text
from formats.responses.wire import NAME, reasoning_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from formats.ledger import Ledger
    from formats.losses import Losses

_Object = dict[str, JSON]


class Composer:
    def __init__(
        self,
        request: Request,
        ledger: Ledger,
        losses: Losses,
        target: Target,
        name: Callable[[str], str],
    ) -> None:
        self._request = request
        self._ledger = ledger
        self._losses = losses
        self._target = target
        self._name = name
        self._origin = request.origin
        self._same = request.origin == NAME
        self._where = field(request.origin, "messages")
        self._kinds: dict[str, str] = {}  # of the calls seen so far
        self._namespaces = namespaces_by_name(request.tools)

    def composed(self) -> tuple[str | None, list[JSON]]:
        """(instructions, input). Raises Unsupported."""
        messages = self._settled()
        leading = [message for message in messages if message.hoisted]
        items: list[_Object] = []
        for message in messages:
            if not message.hoisted:
                items += self._items(message)
        instructions = self._instructions(leading) if leading else None
        if not self._same:
            items = self._without_orphans(items)
        if not items and not self._same:
            raise self._losses.refusal("messages: none")
        return instructions, list(items)

    def _settled(self) -> tuple[Message, ...]:
        messages = self._request.messages
        if self._same:
            return messages
        messages = history.settle(messages, self._ledger, ids.RESPONSES, path=self._where)
        able = self._target.capabilities or ()
        if messages and messages[-1].role == "assistant" and "prefill" not in able:
            raise self._losses.refusal("prefill", at=f"{self._where}[{len(messages) - 1}]")
        return messages

    def _instructions(self, leading: list[Message]) -> str:
        texts: list[str] = []
        for message in leading:
            for part in message.parts:
                if not isinstance(part, Text):
                    raise self._losses.refusal("instructions")
                texts.append(part.text)
                if not self._same:
                    self._block(part, "system")  # for what it has besides its text
        return "\n\n".join(texts)

    def _note_rest(self, where: str, extra: Mapping[str, JSON]) -> None:
        self._losses.note_rest(f"{self._where}[].{where}", extra)

    # --- messages ---

    def _items(self, message: Message) -> list[_Object]:
        if message.name is not None and message.role != "tool" and not self._same:
            self._losses.note("name")
        if not self._same:
            self._note_rest("", message.extra)
        if message.role == "assistant":
            return self._turn(message)
        if message.role == "tool":
            return [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
        whole = [self._own_item(part) for part in message.parts]
        if whole and all(item is not None for item in whole):
            return [item for item in whole if item is not None]
        blocks = [self._block(part, message.role) for part in message.parts]
        item: _Object = {"type": "message", "role": self._role(message.role)}
        content = [block for block in blocks if block is not None]
        item["content"] = content if content or message.parts else ""
        return [{**message.extra, **item} if self._same else item]

    def _own_item(self, part: Part) -> _Object | None:
        """A whole item of this format that has no canonical meaning."""
        if not isinstance(part, Opaque) or part.origin != NAME or not self._same:
            return None
        is_part = part.type.startswith(("input_", "output_")) or part.type in ("refusal", "text")
        return None if is_part else dict(part.value)

    def _role(self, role: str) -> str:
        if role == "user":
            return role
        if self._target.system_role:
            return self._target.system_role
        kept = self._same or (self._target.vendor and self._origin == "openai")
        if not kept and role != "system":
            self._losses.note("system")
        return role if kept else "system"

    def _turn(self, message: Message) -> list[_Object]:
        """The items of an assistant's turn: texts that follow each other are one message."""
        items: list[_Object] = []
        content: list[_Object] | None = None  # of the message that is being put together
        for part in message.parts:
            whole = self._assistant_item(part)
            if whole is not None:
                items.append(whole)
                content = None
                continue
            block = self._block(part, "assistant")
            if block is None:
                continue
            if content is None or (isinstance(part, Text) and "item" in part.extra):
                own = part.extra.get("item") if self._same and isinstance(part, Text) else None
                content = []
                item = {"type": "message", "role": "assistant", "content": content}
                items.append({**own, **item} if isinstance(own, dict) else item)
            content.append(block)
        return items

    def _assistant_item(self, part: Part) -> _Object | None:
        """A part that is an item of its own."""
        match part:
            case ToolUse():
                return self._call(part)
            case Thought():
                return self._thought(part)
            case Opaque():
                return self._own_item(part)
            case _:
                return None

    # --- reasoning ---

    def _thought(self, part: Thought) -> _Object | None:
        if self._same:
            sealed = part.signature if part.origin == NAME else None
            if sealed is None and part.origin != NAME and (self._target.vendor or not part.text):
                self._losses.note("reasoning: foreign")
                return None
            return _reasoning(part, sealed, given=True)
        if part.origin == NAME and part.signature:
            return _reasoning(part, part.signature, given=False)
        if self._target.vendor or self._target.reasoning_echo == "none":
            if not self._note_sealed(part):
                self._losses.note("reasoning: own only")
            return None
        self._note_sealed(part)
        if not part.text:
            return None
        own: JSON = [{"type": "reasoning_text", "text": part.text}]
        return {**_reasoning(part, None, given=False), "content": own}

    def _note_sealed(self, part: Thought) -> bool:
        if part.redacted is not None:
            self._losses.note("redacted")
        elif part.signature:
            self._losses.note("signature")
        else:
            return False
        return True

    def _without_orphans(self, items: list[_Object]) -> list[_Object]:
        """The vendor refuses reasoning that led to nothing."""
        if not self._target.vendor:
            return items
        out: list[_Object] = []
        follows = False  # something of the assistant's
        for item in reversed(items):
            if item["type"] == "reasoning" and not follows:
                self._losses.note("reasoning: last")
                continue
            follows = item["type"].endswith("_call") or item["type"] == "reasoning"
            follows = follows or item.get("role") == "assistant"
            out.append(item)
        return out[::-1]

    # --- calls and results ---

    def _call(self, call: ToolUse) -> _Object:
        arguments = call.arguments
        if not arguments and call.input:
            arguments = dumps(dict(call.input))
        self._kinds[call.id] = call.kind
        item: _Object = {"type": "function_call", "call_id": call.id, "name": self._name(call.name)}
        if call.kind == "custom":
            item["type"] = "custom_tool_call"
            item["input"] = arguments
        elif arguments.strip() or self._same:
            item["arguments"] = arguments
        else:
            item["arguments"] = "{}"
        if self._same:
            space = call.extra.get("namespace") or self._namespaces.get(call.name)
            if isinstance(space, str):
                item["name"] = inner_name(space, call.name)
                item["namespace"] = space
            return {**call.extra, **item}
        if call.cache is not None:
            self._losses.note("cache: calls")
        self._note_rest("tool_calls[].", call.extra)
        return item

    def _result(self, result: ToolResult) -> _Object:
        kind = result.kind if self._same else self._kinds.get(result.call_id, result.kind)
        item: _Object = {
            "type": "custom_tool_call_output" if kind == "custom" else "function_call_output",
            "call_id": result.call_id,
            "output": self._output(result),
        }
        if self._same:
            if result.name is not None:
                item["name"] = result.name
            return {**result.extra, **item}
        if result.cache is not None:
            self._losses.note("cache: calls")
        self._note_rest("content[].", result.extra)
        return item

    def _output(self, result: ToolResult) -> JSON:
        blocks = [self._block(part, "tool") for part in result.parts]
        content = [block for block in blocks if block is not None]
        texts = [block["text"] for block in content if block.keys() == {"type", "text"}]
        if len(texts) < len(content) or (self._same and len(texts) > 1):
            if result.is_error:
                content.insert(0, {"type": "input_text", "text": "Error: "})
            return content
        text = history.joined_text([Text(each) for each in texts], role="tool")
        return f"Error: {text}" if result.is_error and not text.startswith("Error: ") else text

    # --- parts ---

    def _block(self, part: Part, role: str) -> _Object | None:
        match part:
            case Text():
                return self._text(part, role)
            case Image():
                return self._marked(self._image(part), part.cache, part.extra)
            case Document():
                return self._marked(self._document(part), part.cache, part.extra)
            case Audio(data, format):
                if self._origin == "ollama":
                    raise self._losses.refusal("audio")
                block = {"type": "input_audio", "input_audio": {"data": data, "format": format}}
                return self._marked(block, None, part.extra)
            case Opaque(origin, _, value):
                if origin == NAME and self._same:
                    return dict(value)
                kind = "output_text" if role == "assistant" else "input_text"
                return {"type": kind, "text": self._opaque(part)}
            case Thought() | ToolUse() | ToolResult():
                return None
            case _:
                assert_never(part)

    def _text(self, part: Text, role: str) -> _Object | None:
        extra = {name: value for name, value in part.extra.items() if name != "item"}
        if part.refusal and role == "assistant":
            return self._marked({"type": "refusal", "refusal": part.text}, part.cache, extra)
        if not part.text and not self._same:
            return None
        kind = "output_text" if role == "assistant" else "input_text"
        block: _Object = {"type": kind, "text": part.text}
        if self._same:
            if role == "assistant":
                block["annotations"] = list(part.citations)
        elif part.citations:
            self._losses.note("citations")
        return self._marked(block, part.cache, extra)

    def _marked(self, block: _Object, cache: JSON, extra: Mapping[str, JSON]) -> _Object:
        """The block with its cache mark, as far as the target has such, and its other members."""
        if self._same:
            if cache is not None:
                block["prompt_cache_breakpoint"] = cache
            return {**extra, **block}
        if cache is not None:
            if openai_models.takes_breakpoints(self._target):
                block["prompt_cache_breakpoint"] = openai_models.breakpoint_of(cache)
                self._losses.note("cache: breakpoint")
            else:
                self._losses.note("cache")
        self._note_rest("content[].", extra)
        return block

    def _image(self, part: Image) -> _Object:
        block: _Object = {"type": "input_image"}
        if part.detail is not None or not self._same:
            block["detail"] = part.detail or "auto"  # the format wants one
        if part.data is not None:
            block["image_url"] = media.data_url(part.mime or "image/png", part.data)
        elif part.url is not None:
            block["image_url"] = part.url
        elif self._same:
            block["file_id"] = part.file_id
        else:
            raise self._losses.refusal("image: stored")
        return block

    def _document(self, part: Document) -> _Object:
        if part.citations:
            self._losses.note("document.citations")
        if not self._same:
            text = media.document_text(part)
            if text is not None:
                self._losses.note("document: text")
                return {"type": "input_text", "text": text}
            if part.context:
                self._losses.note("document.context")
        block: _Object = {"type": "input_file"}
        if part.text is not None:
            data = b64encode(part.text.encode("utf-8", "surrogatepass")).decode()
            block["file_data"] = media.data_url(part.mime or "text/plain", data)
        elif part.data is not None:
            block["file_data"] = media.data_url(part.mime or "application/pdf", part.data)
        elif part.url is not None:
            block["file_url"] = part.url
        elif part.file_id is not None and self._same:
            block["file_id"] = part.file_id
        else:
            raise self._losses.refusal("document: unreadable")
        if part.name is not None:
            block["filename"] = part.name
        elif part.data is not None and not self._same:
            block["filename"] = "document.pdf"
        return block

    def _opaque(self, part: Opaque) -> str:
        path = f"{self._where}[].{part.type}"
        text = opaque_text(part)
        if text is None:
            raise self._losses.refusal("vendor's block: no text", at=path, type=part.type)
        self._losses.note("vendor's block", at=path)
        return text


def _reasoning(part: Thought, sealed: str | None, *, given: bool) -> _Object:
    """A reasoning item. given: its pieces may stand as they came, where they say the same."""
    item: _Object = {"type": "reasoning"}
    extra = part.extra if given else {}
    if extra and reasoning_text(extra) == part.text:
        item |= extra
    else:
        item |= {n: v for n, v in extra.items() if n not in ("summary", "content")}
        pieces: JSON = [{"type": "summary_text", "text": part.text}] if part.text else []
        item["summary"] = pieces
    if "id" not in item and not given:
        item["id"] = "rs_" + ids.digest(sealed or part.text, 24)
    if sealed is not None:
        item["encrypted_content"] = sealed
    return item
