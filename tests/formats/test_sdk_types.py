"""Every field of every request type of the official SDKs: it reaches the upstream, or the ledger
names it, or the request is refused in its name. There is no third case.

The types are walked as the SDKs declare them, so a new version brings its new fields under test. A
field that passes none of the three is either a defect or, with its reason, a line of NEUTRAL.
"""

from __future__ import annotations

import json
import typing
from base64 import b64encode
from dataclasses import replace
from functools import cache
from typing import Any

import ollama._types as ollama_types
import pytest
from anthropic.types import message_create_params as anthropic_messages
from anthropic.types.beta import message_create_params as anthropic_beta
from openai.types import completion_create_params as openai_completions
from openai.types.chat import completion_create_params as openai_chat
from openai.types.responses import response_create_params as openai_responses

from formats import FORMATS
from formats.canonical import Target
from formats.errors import Invalid, Unsupported
from formats.ledger import Ledger
from tests.formats.sdk_bodies import whole
from tests.formats.sdk_types import ABSENT, Probe, folded, picture, probes

TARGETS = ("openai", "anthropic", "ollama", "responses")
ROOTS: dict[str, tuple[str, Any]] = {
    "openai-chat": ("openai", openai_chat.CompletionCreateParamsBase),
    "openai-completions": ("completions", openai_completions.CompletionCreateParamsBase),
    "openai-responses": ("responses", openai_responses.ResponseCreateParamsBase),
    "anthropic": ("anthropic", anthropic_messages.MessageCreateParamsBase),
    "anthropic-beta": ("anthropic", anthropic_beta.MessageCreateParamsBase),
    "ollama-chat": ("ollama", ollama_types.ChatRequest),
    "ollama-generate": ("generate", ollama_types.GenerateRequest),
}
# Not members of the body, or not of one request.
ELSEWHERE = {
    "model": "the router's own to change",
    "betas": "the SDK sends it as a header",
    "workspace_id": "the SDK sends it as a header",
}


def schema(which: str) -> dict[str, Any]:
    return {"type": "object", "properties": {f"probe_{which}": {"type": "string"}}}


def pdf(which: str) -> str:
    return b64encode(b"%PDF-1.4 " + which.encode()).decode()


def _reference(which: str) -> dict[str, Any]:
    return {"name": f"probe_{which}", "function": {"name": f"probe_{which}"}}


_FILLS: dict[str, tuple[Any, Any]] = {
    "n": (2, 3),
    "top_logprobs": (3, 4),
    "max_tokens": (20_000, 21_000),
    "budget_tokens": (2000, 9000),
    "parameters": (schema("one"), schema("two")),
    "schema": (schema("one"), schema("two")),
    "input_schema": (schema("one"), schema("two")),
    "file_data": tuple(f"data:application/pdf;base64,{pdf(each)}" for each in ("one", "two")),
    "role": ("user", "assistant"),
    "think": (True, False),
    "images": ([picture("one")], [picture("two")]),
}


def fill(name: str, kind: Any) -> tuple[Any, Any] | None:
    if name == "role" and kind is not str:
        return None
    if name == "tools" and typing.get_args(kind) == (str, object):  # as `allowed_tools` writes them
        return tuple({"type": "function", **_reference(each)} for each in ("one", "two"))
    return _FILLS.get(name)


@cache
def probed(root: str) -> dict[str, list[Probe]]:
    """The probes of a root by their place."""
    out: dict[str, list[Probe]] = {}
    for each in probes(ROOTS[root][1], fill):
        if each.path[0] not in ELSEWHERE:
            out.setdefault(folded(each.path), []).append(each)
    return out


# Places where a value says what its absence says: nothing is lost when nothing is sent.
_USAGE = "usage is always asked for, and shown to whom asked"
_BYTES = "the bytes tell what they are, and a wrong word for it is not believed"
NEUTRAL: dict[tuple[str, str], str] = {
    ("messages[].content[].prompt_cache_breakpoint.ttl", "30m"): "the least there is, as is 5m",
    ("input[].content[].prompt_cache_breakpoint.ttl", "30m"): "the least there is, as is 5m",
    ("input[].output[].prompt_cache_breakpoint.ttl", "30m"): "the least there is, as is 5m",
    ("messages[].content[].image_url.detail", "auto"): "the default",
    ("stream_options.include_usage", ""): _USAGE,
    ("format", ""): "an empty format is none",
    ("tools[].type", "custom"): "the default of a client's own tool",
    ("tools[].type", ""): "there is one type",
    ("input[].type", "message"): "the default",
    ("messages[].content[].source.media_type", "image/png"): _BYTES,
    ("messages[].content[].source.media_type", "image/webp"): _BYTES,
    ("messages[].content[].content[].source.media_type", "image/png"): _BYTES,
    ("messages[].content[].content[].source.media_type", "image/webp"): _BYTES,
}
# Places that the router sees to itself, whoever answers.
SEEN_TO = {("openai-responses", "store"): "answers are kept here, or not, as is asked"}
# Places that the client would know by another word of its format.
CALLED = {"input[].id": "input[].item_reference"}


class Sent:
    """What an upstream of one kind is asked for a client's body.

    names: the fields that the ledger or a refusal names. refused: nobody is asked.
    """

    def __init__(self, origin: str, body: dict[str, Any], to: str, vendor: bool) -> None:
        ledger = Ledger()
        self.out: Any = None
        try:
            request = FORMATS[origin].parse_request(json.dumps(body).encode())
            request = replace(request, raw=None)
            written = FORMATS[to].write_request(request, ledger, Target("m", vendor=vendor))
            self.out = json.loads(written)
        except Unsupported as error:
            ledger.note(error.path, "dropped", str(error))
        except Invalid as error:
            self.out = f"invalid: {error}"
        self.names = ledger.names()


def names_it(names: tuple[str, ...], probe: Probe) -> bool:
    """Whether one of the ledger's names is the client's word for the probed place, for something
    around it, or for the kind of part that it stands in."""
    whole = folded(probe.path)
    if CALLED.get(whole) in names:
        return True
    for name in names:
        last = name.replace("[]", "").rpartition(".")[2]
        kind = last.partition("=")[2]
        if kind and kind in probe.words:
            return True
        if whole == name or (whole.startswith((name + ".", name + "[")) and name not in _TOO_WIDE):
            return True
        if last in probe.words or (last in probe.path and last not in _TOO_WIDE):
            return True
    return False


_TOO_WIDE = frozenset({"messages", "messages[]", "input", "input[]", "tools", "tools[]"})


def silent(root: str, place: str) -> list[str]:
    """The targets at which a field is neither sent, nor named, nor refused by name."""
    origin = ROOTS[root][0]
    out = []
    for probe in probed(root)[place]:
        if (place, probe.note) in NEUTRAL or (root, place) in SEEN_TO:
            continue
        one = whole(origin, probe.one)
        other = whole(origin, {} if probe.other is ABSENT else probe.other, beside=probe.one)
        for to in TARGETS:
            for vendor in (False, True):
                a, b = Sent(origin, one, to, vendor), Sent(origin, other, to, vendor)
                if isinstance(a.out, str):
                    out.append(f"{probe.note or ''} -> {a.out}")
                elif a.out == b.out and not names_it(a.names + b.names, probe):
                    out.append(f"{probe.note} -> {to}{' (vendor)' if vendor else ''} {a.names}")
    return list(dict.fromkeys(out))


def _param(root: str, place: str) -> Any:
    slow = [pytest.mark.slow] if root == "anthropic-beta" else []
    return pytest.param(root, place, marks=slow, id=f"{root}-{place}")


PLACES = [(root, place) for root in ROOTS for place in probed(root)]


@pytest.mark.parametrize(("root", "place"), [_param(*each) for each in PLACES])
def test_a_field_reaches_the_upstream_or_is_named(root, place):
    assert silent(root, place) == []


def test_the_types_were_walked_to_their_leaves():
    """That the walk finds what it should: places deep in each SDK's types."""
    found = set(PLACES)
    assert {
        ("openai-chat", "messages[].content[].input_audio.format"),
        ("openai-chat", "tools[].custom.format.grammar.syntax"),
        ("openai-responses", "input[].content[].annotations[].container_id"),
        ("anthropic", "messages[].content[].content[].citations[].cited_text"),
        ("anthropic-beta", "mcp_servers[].authorization_token"),
        ("ollama-chat", "messages[].tool_calls[].function.name"),
        ("ollama-chat", "options.mirostat_tau"),
        ("ollama-generate", "suffix"),
    } <= found


def test_a_neutral_value_is_one_that_some_type_has():
    notes = {(place, each.note) for root, place in PLACES for each in probed(root)[place]}
    assert set(NEUTRAL) <= notes
