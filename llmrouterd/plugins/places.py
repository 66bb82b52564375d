"""Every text of a request, and the request with other texts in their places.

Owns: which members of a request are words of people, tools and models, and which are not (settings,
ids, signatures, pictures).
Refuses to know: what becomes of a text.

Laws:
1. What is not named here as something else is a text: a member that a later version adds is looked at.
2. Nobody sees what is sealed: signatures, bytes. A text in base64 is a text.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from formats import jsontext, media
from formats.canonical import EMPTY, Document, Image, Opaque, Request, ToolUse

if TYPE_CHECKING:
    from formats.jsontext import RawBody

# text: words. name: a name of a tool, of a speaker or of a JSON member. code: no words: a setting, an
# id. json: JSON as text, to be looked at and not replaced in, since its leaves are.
Form = Literal["text", "name", "code", "json"]
Turn = Callable[[str, Form], str]
T = TypeVar("T")

_UNSEEN = frozenset(
    {"origin", "model", "role", "kind", "mode", "version", "plugins", "bound", "raw"}
)
_BYTES = frozenset({"data", "signature", "redacted", "encrypted_content"})
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{256,}=*")  # what is shorter may as well be a key
_FORMS: Mapping[str, Form] = {
    **dict.fromkeys(("name", "names"), "name"),
    **dict.fromkeys(("type", "mime", "detail", "display", "effort"), "code"),
    **dict.fromkeys(("cache", "service_tier", "verbosity", "keep_alive"), "code"),
    **dict.fromkeys(("id", "call_id", "file_id"), "code"),
}
# Of blocks that only one format understands, and of what it alone knows of its others.
_IN_BLOCKS: Mapping[str, Form] = dict.fromkeys(
    (
        *("type", "media_type", "id", "call_id", "tool_use_id", "file_id"),
        *("previous_response_id", "encrypted_index"),
    ),
    "code",
)
# A placeholder in brackets would mean something else there.
_PATTERNS = frozenset({"pattern", "definition"})
# In a text completion's own text.
_OF_CALL = frozenset({"model", "stream", "plugins", "images", "context"})


def turned(request: Request, turn: Turn) -> Request:
    """The request with `turn` applied to every text: what stays the same over a conversation first
    (tools, settings), then the messages in their order. The same request where nothing changed."""
    rest = _fields(request, turn, without=("messages",))
    messages = tuple(_value(message, turn, "") for message in rest.messages)
    if messages != rest.messages:
        rest = replace(rest, messages=messages)
    own = request.raw if request.origin in ("completions", "generate") else None
    text = _own_text(own, turn) if own is not None else None
    if rest is request and (own is None or text is own):
        return rest
    return replace(rest, raw=text)


def _own_text(raw: RawBody, turn: Turn) -> RawBody:
    """A call that is more than a conversation (`suffix`, several prompts) keeps its own text."""
    value = {
        name: each if name in _OF_CALL else _json(each, turn) for name, each in raw.value.items()
    }
    return raw if value == raw.value else jsontext.parse_body(jsontext.dump(value))


def _fields(value: T, turn: Turn, without: tuple[str, ...] = ()) -> T:
    changed: dict[str, Any] = {}
    for each in fields(value):  # type: ignore[arg-type]
        if each.name in _UNSEEN or each.name in _BYTES or each.name in without:
            continue
        old = getattr(value, each.name)
        block = each.name == "extra" or isinstance(value, Opaque)
        new = _value(old, turn, each.name, block=block)
        if new is not old and new != old:
            changed[each.name] = new
    if isinstance(value, Document | Image) and value.data is not None:
        data = _data(value.data, value.mime, turn)
        changed |= {"data": data} if data != value.data else {}
    return replace(value, **changed) if changed else value  # type: ignore[type-var]


def _data(data: str, mime: str, turn: Turn) -> str:
    """Bytes that are a text, whatever they are called."""
    if media.sniff(data) is not None:
        return data
    content = base64.b64decode(data)
    code = _code_of(content, mime)
    if code is None:
        return data
    old = content.decode(code)
    new = turn(old, "text")
    return data if new == old else base64.b64encode(new.encode(code, "replace")).decode()


def _code_of(content: bytes, mime: str) -> str | None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not len(content) % 2:
        code = "utf-16"
    else:
        code = "utf-8"
    try:
        if "\0" not in content.decode(code):
            return code
    except ValueError:
        pass
    return "latin-1" if media.is_text(mime) else None


def _value(value: Any, turn: Turn, name: str, *, block: bool = False) -> Any:
    form = _FORMS.get(name, "text")
    if isinstance(value, str):
        return turn(value, form) if value else value
    if isinstance(value, ToolUse):
        return _call(value, turn)
    if isinstance(value, tuple):
        return tuple(_value(each, turn, name) for each in value)
    if isinstance(value, Mapping):
        if value and form == "text":
            turn(jsontext.dumps(dict(value)), "json")
        return _json(value, turn, _IN_BLOCKS if block else EMPTY, form)
    if isinstance(value, list):
        return _json(value, turn, _IN_BLOCKS if block else EMPTY, form)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value, turn)
    return value


def _call(call: ToolUse, turn: Turn) -> ToolUse:
    """Its arguments are text and object at once, and stay so."""
    rest = _fields(replace(call, input=None, arguments=""), turn)
    if call.input is None:
        out = replace(rest, arguments=turn(call.arguments, "text"))
    else:
        turn(call.arguments, "json")
        given = _json(call.input, turn)
        text = call.arguments if given == call.input else jsontext.dumps(given)
        out = replace(rest, arguments=text, input=given)
    return call if out == call else out


def _json(value: Any, turn: Turn, forms: Mapping[str, Form] = EMPTY, form: Form = "text") -> Any:
    """The same value itself where nothing changed. forms: of members that are something else than
    texts, by their names; with any, bytes are left out. form: of a text."""
    if isinstance(value, str):
        return turn(value, form)
    if isinstance(value, list | tuple):
        items = [_json(each, turn, forms, form) for each in value]
        return value if all(a is b or a == b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, Mapping):
        members = {
            turn(name, "name" if form == "text" else form): _member(name, each, turn, forms, form)
            for name, each in value.items()
        }
        return value if members == dict(value) else members
    if isinstance(value, int) and not isinstance(value, bool) and form == "text":
        text = str(value)
        covered = turn(text, "text")
        return value if covered == text else covered
    return value


def _is_sealed(name: str, value: Any) -> bool:
    """`data` is a word that anybody may use for anything."""
    return name != "data" or (isinstance(value, str) and _BASE64.fullmatch(value) is not None)


def _member(name: str, value: Any, turn: Turn, forms: Mapping[str, Form], form: Form) -> Any:
    if forms and name in _BYTES and _is_sealed(name, value):
        return value
    if name in forms:
        return _json(value, turn, forms, forms[name])
    if name in _PATTERNS and isinstance(value, str):
        return turn(value, "name")
    return _json(value, turn, forms, form)
