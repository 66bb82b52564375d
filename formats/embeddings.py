"""Embeddings: texts in, vectors out, in the calls of OpenAI and of Ollama (its newer and its older).

Owns: the three requests and answers, and what becomes of one call's members in another's.
Refuses to know: which upstream was chosen, sockets; failures are written as the client's format
writes them everywhere.

Laws:
1. The same call on both sides: the client's text goes out and the upstream's comes back, with
   single members spliced. Numbers are only touched where a conversion is asked.
2. An answer is as many vectors of numbers as were asked for, in that order and of one length, or
   it is Garbled: a wrong vector in an index is found by nobody.
3. base64 is that of little-endian 32-bit floats, whatever machine this runs on.
"""

from __future__ import annotations

import binascii
import math
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeGuard

from formats import check, plugins
from formats.canonical import EMPTY, JSON, PluginCall, Usage
from formats.errors import Garbled, Invalid, Unsupported
from formats.jsontext import RawBody, dump, dump_ascii, parse_body
from formats.ollama import errors as ollama_errors
from formats.ollama.parse import keep_alive_of, model_of
from formats.ollama.write import merged_options
from formats.openai_chat import errors as openai_errors
from formats.openai_chat.answer import usage_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Target
    from formats.ledger import Ledger

Call = Literal["openai", "ollama", "ollama_old"]
Vector = list[float] | str  # numbers, or the base64 of them

PATHS: Final[Mapping[Call, str]] = {
    "openai": "/embeddings",
    "ollama": "/api/embed",
    "ollama_old": "/api/embeddings",
}
_KNOWN: Final[Mapping[Call, frozenset[str]]] = {
    "openai": frozenset({"model", "input", "dimensions", "encoding_format", "user"}),
    "ollama": frozenset({"model", "input", "dimensions", "truncate", "keep_alive", "options"}),
    "ollama_old": frozenset({"model", "prompt", "keep_alive", "options"}),
}


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """One request for vectors.

    origin: the call that the client made. texts or tokens: the inputs, never both. encoding: what
    the client wants its vectors as. bound: members that only upstreams of its format understand.
    """

    origin: Call
    model: str
    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    user: str | None = None
    truncate: bool | None = None
    keep_alive: JSON = None
    options: Mapping[str, JSON] = EMPTY
    bound: tuple[str, ...] = ()
    plugins: tuple[PluginCall, ...] = ()
    extra: Mapping[str, JSON] = EMPTY
    raw: RawBody = field(kw_only=True, compare=False, repr=False)

    @property
    def count(self) -> int:
        """How many vectors are asked for."""
        return len(self.texts) + len(self.tokens)


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """The vectors, in the order of the inputs. raw: the upstream's own body, where it is just what
    the client asked for."""

    model: str
    vectors: tuple[Vector, ...]
    input_tokens: int | None = None
    raw: RawBody | None = field(default=None, compare=False, repr=False)


# --- a client's request ---------------------------------------------------------------------------


def parse_request(origin: Call, body: bytes) -> EmbedRequest:
    """A client's request. Raises Invalid."""
    raw = parse_body(body)
    value = raw.value
    extra = check.rest(value, _KNOWN[origin] | {plugins.MEMBER}) or EMPTY
    if origin == "openai":
        return _parse_openai(raw, extra)
    old = origin == "ollama_old"
    return EmbedRequest(
        origin,
        model_of(value),
        _prompt(value) if old else _ollama_texts(value.get("input")),
        dimensions=None if old else check.opt_int(value, "dimensions"),
        truncate=None if old else check.opt_bool(value, "truncate"),
        keep_alive=keep_alive_of(value),
        options=check.opt_object(value, "options") or EMPTY,
        plugins=plugins.plugin_calls(value),
        extra=extra,
        raw=raw,
    )


def _parse_openai(raw: RawBody, extra: Mapping[str, JSON]) -> EmbedRequest:
    value = raw.value
    model = model_of(value)
    texts, tokens = _openai_inputs(value.get("input"))
    encoding = check.opt_string(value, "encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise Invalid("encoding_format", 'expected "float" or "base64"')
    return EmbedRequest(
        "openai",
        model,
        texts,
        tokens,
        dimensions=check.opt_int(value, "dimensions"),
        encoding="base64" if encoding == "base64" else "float",
        user=check.opt_string(value, "user"),
        bound=("input",) if tokens else (),
        plugins=plugins.plugin_calls(value),
        extra=extra,
        raw=raw,
    )


def _openai_inputs(value: JSON) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Texts, or token ids: one text, several, the ids of one, or those of several."""
    if value is None:
        raise Invalid("input", "this field is required")
    if type(value) is str:
        return (value,), ()
    items = check.a_list(value, "input")
    if not items:
        raise Invalid("input", "there must be at least one input")
    if type(items[0]) is str:
        return _strings(items), ()
    if type(items[0]) is int:
        return (), (_ids(items, "input"),)
    return (), tuple(
        _ids(check.a_list(item, f"input[{index}]"), f"input[{index}]")
        for index, item in enumerate(items)
    )


def _strings(items: list[JSON]) -> tuple[str, ...]:
    return tuple(check.a_string(item, f"input[{index}]") for index, item in enumerate(items))


def _ids(items: list[JSON], path: str) -> tuple[int, ...]:
    for index, item in enumerate(items):
        if type(item) is not int:
            why = f"expected a token id, got {check.named(item)}"
            raise Invalid(f"{path}[{index}]", why)
    return tuple(items)


def _ollama_texts(value: JSON) -> tuple[str, ...]:
    """No input at all is no mistake: it loads the model."""
    if value is None or type(value) is str:
        return (value,) if value else ()
    return _strings(check.a_list(value, "input"))


def _prompt(value: Mapping[str, JSON]) -> tuple[str, ...]:
    prompt = check.opt_string(value, "prompt")
    return (prompt,) if prompt else ()


def replaced(
    request: EmbedRequest,
    texts: tuple[str, ...],
    *,
    user: str | None,
    extra: Mapping[str, JSON],
    options: Mapping[str, JSON],
) -> EmbedRequest:
    """The request with other texts, as many as before, and other members; its own text follows."""
    value = {n: v for n, v in request.raw.value.items() if n in _KNOWN[request.origin]}
    if request.texts:
        name = "prompt" if request.origin == "ollama_old" else "input"
        value[name] = texts[0] if type(value[name]) is str else list(texts)
    value |= extra
    value |= {"user": user} if user is not None and request.origin == "openai" else {}
    value |= {"options": dict(options)} if options else {}
    return replace(
        request,
        texts=texts,
        user=user,
        extra=extra,
        options=options,
        raw=parse_body(dump(value)),
    )


# --- an upstream's request ------------------------------------------------------------------------


def call_of(request: EmbedRequest, upstream_format: str) -> Call:
    """The call by which an upstream of this format ("openai" or "ollama") is asked. Ollama's older
    one gives other vectors (their length is not 1), so it stays itself."""
    if upstream_format == "openai":
        return "openai"
    return "ollama_old" if request.origin == "ollama_old" else "ollama"


def write_request(
    request: EmbedRequest, upstream_format: str, ledger: Ledger, target: Target
) -> bytes:
    """The body for an upstream of this format ("openai" or "ollama"). Raises Unsupported."""
    if call_of(request, upstream_format) == request.origin:
        return _passed(request, ledger, target)
    if request.bound:
        raise Unsupported(request.bound[0], "token ids mean nothing to another model's server")
    if not request.count:
        raise Unsupported("input", "there is nothing to ask an upstream of this format")
    body: dict[str, JSON] = {"model": target.model}
    body["input"] = request.texts[0] if request.count == 1 else list(request.texts)
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.origin == "openai":
        body["truncate"] = False  # such clients know no cut inputs: they would never learn of one
        options = merged_options({}, ledger, target)
        if options:
            body["options"] = options
    _note_rest(request, ledger)
    return dump(body)


def _passed(request: EmbedRequest, ledger: Ledger, target: Target) -> bytes:
    raw = request.raw
    edits: dict[str, JSON] = {}
    if request.model != target.model:
        edits["model"] = target.model
    if request.origin != "openai" and target.options:
        options = merged_options(dict(request.options), ledger, target)
        if options != raw.value.get("options"):
            edits["options"] = options
    return raw.spliced(edits, (plugins.MEMBER,)).removeprefix(b"\xef\xbb\xbf")


def _note_rest(request: EmbedRequest, ledger: Ledger) -> None:
    """What the client said that the other call has no word for."""
    mild = {"user": request.user, "truncate": request.truncate, "keep_alive": request.keep_alive}
    for name, said in mild.items():
        if said is not None:
            ledger.note(name, "dropped", "the upstream has no such field", harmless=True)
    for name in request.options:
        why = "how a model is run is the upstream's affair"
        ledger.note(f"options.{name}", "dropped", why, harmless=True)
    for name in request.extra:
        ledger.note(name, "dropped", "the upstream has no such field")


# --- an upstream's answer -------------------------------------------------------------------------


def nothing_asked(request: EmbedRequest) -> EmbedAnswer | None:
    """The answer to a request that only loads a model, where the upstream has no way to: None for
    one that asks for vectors."""
    return None if request.count else EmbedAnswer(request.model, ())


def parse_answer(upstream_format: str, body: bytes, request: EmbedRequest) -> EmbedAnswer:
    """An upstream's answer (status 200) to this request. Raises Garbled."""
    call = call_of(request, upstream_format)
    try:
        raw = parse_body(body)
    except Invalid as error:
        raise Garbled(f"the upstream's embeddings: {error}") from None
    if raw.value.get("error"):
        said = openai_errors if call == "openai" else ollama_errors
        words = said.parse_error(200, body).message
        raise Garbled(f"the upstream answered with an error: {words}")
    given = _openai_vectors(raw.value) if call == "openai" else _ollama_vectors(raw.value, call)
    if len(given) != request.count:
        raise Garbled(f"the upstream gave {len(given)} vectors for {request.count} inputs")
    vectors = _checked(given, keep_text=request.encoding == "base64" and call == "openai")
    model = raw.value.get("model")
    text_asked = request.encoding == "base64"
    as_asked = call == request.origin and all((type(v) is str) == text_asked for v in given)
    return EmbedAnswer(
        model if type(model) is str else "",
        vectors,
        _input_tokens(raw.value, call),
        raw if as_asked else None,
    )


def _openai_vectors(value: Mapping[str, JSON]) -> list[JSON]:
    items = value.get("data")
    if type(items) is not list:
        raise Garbled("the upstream's embeddings have no list `data`")
    for position, item in enumerate(items):
        if type(item) is not dict:
            raise Garbled(f"the upstream's data[{position}] is no object")
        index = item.get("index")
        if index is not None and (type(index) is not int or index != position):
            raise Garbled(f"the upstream's data[{position}] has the index {index!r}")
    return [item.get("embedding") for item in items]


def _ollama_vectors(value: Mapping[str, JSON], call: Call) -> list[JSON]:
    if call == "ollama_old":
        given = value.get("embedding")
        return [given] if given else []
    given = value.get("embeddings")
    if given is not None and type(given) is not list:
        raise Garbled("the upstream's `embeddings` are no list")
    return given or []


def _checked(given: list[JSON], *, keep_text: bool) -> tuple[Vector, ...]:
    vectors: list[Vector] = []
    lengths: set[int] = set()
    for position, value in enumerate(given):
        numbers = _decoded(value) if type(value) is str else value
        if not _is_vector(numbers):
            raise Garbled(f"the upstream's vector {position} is no list of numbers")
        lengths.add(len(numbers))
        vectors.append(value if type(value) is str and keep_text else numbers)
    if len(lengths) > 1:
        raise Garbled("the upstream's vectors differ in length")
    return tuple(vectors)


def _is_vector(value: JSON) -> TypeGuard[list[float]]:
    """Its sum tells at once whether all numbers are finite: of base64 they need not be."""
    if type(value) is not list or not value or not {float, int}.issuperset(map(type, value)):
        return False
    try:
        return math.isfinite(sum(value))
    except OverflowError:  # a whole number beyond all floats
        return False


def _decoded(text: str) -> list[float] | None:
    """The numbers in base64; None where there are none."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    except (ValueError, struct.error):
        return None


def _encoded(vector: list[float]) -> str:
    try:
        data = struct.pack(f"<{len(vector)}f", *vector)
    except (OverflowError, struct.error):
        raise Garbled("the upstream's vectors hold numbers beyond 32-bit floats") from None
    return binascii.b2a_base64(data, newline=False).decode()


def _input_tokens(value: Mapping[str, JSON], call: Call) -> int | None:
    if call == "openai":
        usage = usage_of(value)
        return None if usage is None else usage.input
    count = value.get("prompt_eval_count")
    return Usage(count).input if type(count) is int else None


# --- the client's answer --------------------------------------------------------------------------


def write_answer(answer: EmbedAnswer, request: EmbedRequest) -> bytes:
    """The body for the client. Raises Garbled for numbers that cannot be given as it wants them."""
    if answer.raw is not None:
        return _as_it_came(answer.raw, request)
    vectors = _shown(answer.vectors, request)
    if request.origin == "openai":
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        count = _estimate(request) if answer.input_tokens is None else answer.input_tokens
        usage = {"prompt_tokens": count, "total_tokens": count}
        model = answer.model or request.model
        return dump({"object": "list", "data": data, "model": model, "usage": usage})
    if request.origin == "ollama_old":
        return dump({"embedding": vectors[0] if vectors else []})
    out: dict[str, JSON] = {"model": request.model, "embeddings": list(vectors)}
    if answer.input_tokens is not None:
        out["prompt_eval_count"] = answer.input_tokens
    return dump_ascii(out)


def _as_it_came(raw: RawBody, request: EmbedRequest) -> bytes:
    """Ollama's clients know a model by the name they asked for."""
    renamed = request.origin == "ollama" and raw.value.get("model", "") != request.model
    edits = {"model": request.model} if renamed else {}
    return raw.spliced(edits).removeprefix(b"\xef\xbb\xbf")


def _shown(vectors: tuple[Vector, ...], request: EmbedRequest) -> tuple[Vector, ...]:
    """The vectors as the client wants them."""
    if request.encoding == "float":
        return vectors
    return tuple(_encoded(v) if isinstance(v, list) else v for v in vectors)


def _estimate(request: EmbedRequest) -> int:
    """Clients want a number, and not every server counts."""
    return sum((len(text) + 3) // 4 for text in request.texts) + sum(map(len, request.tokens))
