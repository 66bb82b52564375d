"""Tool calls that a model wrote as text, read.

Owns: the notations in which models are taught to call, and which leak out where a server does not
know its model's: Hermes and Qwen (`<tool_call>` with JSON), Qwen's coders (`<function=NAME>` with
`<parameter=NAME>`), GLM (`<arg_key>`, `<arg_value>`), Llama (`<|python_tag|>`, or bare JSON),
Mistral (`[TOOL_CALLS]`).
Refuses to know: streams, and what becomes of a call.

Laws:
1. All or nothing: one call that names no declared tool, or whose arguments do not fit its schema, and
   the text is text.
2. JSON that stands alone is a call only if it is all there is.
3. The work is bounded: a text is read once, and at most so many calls are found in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from formats import jsontext
from llmrouterd.plugins.arguments import Work, fits
from llmrouterd.plugins.response_healing import mended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import JSON

# What such a call begins with, wherever it stands in a text.
MARKS = ("<tool_call>", "<function=", "[TOOL_CALLS]", "<|python_tag|>")
MARK = re.compile("|".join(map(re.escape, MARKS)))
_MOST_CALLS = 64
_FENCED = re.compile(r"```(?:json|tool_call|tool_code)?[ \t]*\n(.*?)\n?```", re.DOTALL)
_BLOCK = re.compile(
    r"<tool_call>(?P<hermes>.*?)(?:</tool_call>|(?=<tool_call>)|\Z)"
    r"|(?P<coder><function=.*?(?:</function>|\Z))(?:\s*</tool_call>)?"
    r"|\[TOOL_CALLS\](?P<mistral>.*?)(?=\[TOOL_CALLS\]|\Z)"
    r"|<\|python_tag\|>(?P<llama>.*?)(?:<\|eom_id\|>|<\|eot_id\|>|(?=<\|python_tag\|>)|\Z)",
    re.DOTALL,
)
_CODER = re.compile(r"\s*<function=([^<>\n]+)>(.*?)(?:</function>|\Z)\s*", re.DOTALL)
_PARAMETER = re.compile(
    r"<parameter=([^<>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL
)
_GLM_NAME = re.compile(r"[^\s<>{}\[\]]+")
# No pair reaches into the next one: else each of many that are not closed is looked for to the end.
_GLM_PAIR = re.compile(
    r"<arg_key>([^<]*)</arg_key>\s*<arg_value>((?:(?!<arg_key>).)*?)</arg_value>", re.DOTALL
)
_MISTRAL_NAMED = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w*)?\[ARGS\](.*)", re.DOTALL)
_WRAPPINGS = frozenset({"name", "arguments", "parameters", "type", "id"})


class Call(NamedTuple):
    """arguments: JSON of an object."""

    name: str
    arguments: str


def read(text: str, tools: Mapping[str, JSON]) -> tuple[str, list[Call]] | None:
    """The words beside the calls, and the calls; None when the text is no calls. tools: the schema
    of each tool that may be called, by its name."""
    work = Work()
    if MARK.search(text) is None:
        fenced = _FENCED.fullmatch(text.strip())
        return _checked("", _of_json((fenced[1] if fenced else text).strip()), tools, work)
    rest: list[str] = []
    calls: list[Call] = []
    at = 0
    for block in _BLOCK.finditer(text):
        found = _of_block(block, tools, work)
        if not found or len(calls) + len(found) > _MOST_CALLS:
            return None
        calls += found
        rest.append(text[at : block.start()])
        at = block.end()
    rest.append(text[at:])
    return _checked("".join(rest).strip(), calls, tools, work)


def _checked(
    rest: str, calls: Sequence[Call], tools: Mapping[str, JSON], work: Work
) -> tuple[str, list[Call]] | None:
    if not calls or MARK.search(rest) is not None:
        return None
    for call in calls:
        schema = tools.get(call.name)
        if schema is None or not fits(jsontext.loads(call.arguments), schema, work):
            return None
    return rest, list(calls)


def _of_block(block: re.Match[str], tools: Mapping[str, JSON], work: Work) -> list[Call]:
    if (coder := block["coder"]) is not None:
        return _of_coder(coder, tools, work)
    if (mistral := block["mistral"]) is not None:
        named = _MISTRAL_NAMED.fullmatch(mistral)
        return _call(named[1], _json(named[2])) if named else _of_json(mistral.strip())
    inner = block["hermes"] if block["hermes"] is not None else block["llama"]
    if inner.lstrip().startswith("<function="):
        return _of_coder(inner, tools, work)
    if inner.lstrip()[:1] in ("{", "["):
        return _of_json(inner.strip())
    name = _GLM_PAIR.sub("", inner).strip()
    if _GLM_NAME.fullmatch(name) is None:
        return []
    pairs = [(key.strip(), value) for key, value in _GLM_PAIR.findall(inner)]
    return _call(name, _typed(pairs, tools.get(name), work))


def _of_coder(text: str, tools: Mapping[str, JSON], work: Work) -> list[Call]:
    """`<function=NAME>` with parameters, or with JSON."""
    found = _CODER.fullmatch(text)
    if found is None:
        return []
    name, inner = found[1].strip(), found[2].strip()
    if inner.startswith("{"):
        return _call(name, _json(inner))
    if _PARAMETER.sub("", inner).strip():
        return []
    pairs = [(key.strip(), _unwrapped(value)) for key, value in _PARAMETER.findall(inner)]
    return _call(name, _typed(pairs, tools.get(name), work))


def _unwrapped(value: str) -> str:
    """Without the line breaks that stand round each value."""
    return value.removeprefix("\n").removesuffix("\n")


def _typed(pairs: Sequence[tuple[str, str]], schema: JSON, work: Work) -> JSON:
    """Arguments from texts, each of the type that the schema names."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    known = properties if isinstance(properties, dict) else {}
    return {key: _value(text, known.get(key), work) for key, text in pairs}


def _value(text: str, schema: JSON, work: Work) -> JSON:
    if fits("", schema, work) or fits(text, schema, work):
        return text
    value = _json(text.strip())
    return text if value is None and text.strip() != "null" else value


def _of_json(text: str) -> list[Call]:
    """`{"name": ..., "arguments": {...}}`, or a list of such."""
    value = _json(text)
    found: list[Call] = []
    for each in value if isinstance(value, list) else [value]:
        call = _of_object(each)
        if call is None or len(found) >= _MOST_CALLS:
            return []
        found.append(call)
    return found


def _of_object(value: JSON) -> Call | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict) and value.keys() <= {"function", "type", "id"}:
        value = inner
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(name, str) or arguments is None or not value.keys() <= _WRAPPINGS:
        return None
    if isinstance(arguments, str):  # JSON within JSON
        arguments = _json(arguments)
    return next(iter(_call(name, arguments)), None)


def _call(name: str, arguments: JSON) -> list[Call]:
    return [Call(name, jsontext.dumps(arguments))] if isinstance(arguments, dict) else []


def _json(text: str) -> JSON:
    """The value; None when it is none. A comma or a bracket too few is put right where nothing was
    cut off."""
    try:
        value: JSON = jsontext.loads(text)
    except ValueError:
        text = text.strip()
        whole = mended(text) if text[:1] in ("{", "[") and text[-1:] in ("}", "]") else None
        return None if whole is None else jsontext.loads(whole)
    return value
