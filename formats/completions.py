"""OpenAI's legacy text completions, /v1/completions, spoken to clients, and to upstreams where a
client's own text passes on.

Owns: what this call has and Chat Completions has not: `prompt` in all its shapes, the members that
only make sense here, `text` in place of a message. Settings, figures, errors and the framing of
streams are those of formats.openai_chat.
Refuses to know: messages, tools: this call has none.

Laws:
1. One prompt of text is a message of the user's, and goes to any upstream as one. What only this
   call can say (several prompts, token ids, `suffix`, `echo`, ...) binds a request to it.
2. A figure of no tokens at all is no figure: some servers write zeros until they know better.
3. An answer is text. What else an upstream's answer holds is noted, never shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from formats import check, plugins
from formats.canonical import (
    EMPTY,
    JSON,
    CitationSeen,
    Event,
    Failed,
    Finished,
    Message,
    Opaque,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    Request,
    Response,
    Stamp,
    Started,
    StopReason,
    Target,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, Garbled, Invalid, Unsupported
from formats.fold import unfold
from formats.jsontext import dump, loads, parse_body
from formats.limits import capped_tokens
from formats.losses import Losses, note_answer
from formats.openai_chat import answer, parse
from formats.openai_chat.errors import event_for_client, parse_error, write_failure
from formats.openai_chat.splice import edit_stream_options
from formats.openai_chat.stream import DONE, PING, ChatDecoder, not_a_stream, quoted
from formats.openai_chat.watch import ChatObserver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.jsontext import RawBody
    from formats.ledger import Ledger

__all__ = [
    "COMMENT",
    "NAME",
    "STREAM_TYPE",
    "decoder",
    "encoder",
    "observer",
    "parse_error",
    "parse_request",
    "parse_response",
    "write_failure",
    "write_request",
    "write_response",
]

NAME: Final = "completions"
STREAM_TYPE: Final = "text/event-stream; charset=utf-8"
COMMENT: Final = PING
_LIMITS = ("max_tokens", "max_completion_tokens")
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})  # they have another meaning in a chat
_TOP = frozenset(
    """model prompt suffix echo best_of logprobs stream stream_options max_tokens
    max_completion_tokens temperature top_p top_k min_p typical_p repeat_penalty repetition_penalty
    frequency_penalty presence_penalty seed stop n logit_bias response_format reasoning_effort
    verbosity user metadata prompt_cache_key service_tier""".split()  # noqa: SIM905
) | {plugins.MEMBER}
_ANSWER = frozenset({"id", "object", "created", "model", "choices", "usage"})
_CHOICE = frozenset({"text", "index", "finish_reason"})


# --- requests -------------------------------------------------------------------------------------


def parse_request(body: bytes, /) -> Request:
    """A client's request. Raises Invalid."""
    raw = parse_body(body)
    obj = raw.value
    model = check.string(obj, "model")
    if not model:
        raise Invalid("model", "the model name is empty")
    extra = check.rest(obj, _TOP)
    return Request(
        origin=NAME,
        model=model,
        messages=tuple(Message("user", (Text(text),)) for text in _texts(obj.get("prompt"))),
        max_tokens=parse.max_tokens(obj),
        sampling=parse.sampling(check.rest(obj, _LOGPROBS)),
        thinking=parse.thinking(obj, extra),
        output=parse.output(obj, extra),
        stream=check.opt_bool(obj, "stream") or False,
        include_usage=parse.include_usage(obj, extra),
        user=check.opt_string(obj, "user"),
        metadata=check.opt_object(obj, "metadata"),
        cache_key=check.opt_string(obj, "prompt_cache_key"),
        service_tier=check.opt_string(obj, "service_tier"),
        verbosity=check.opt_string(obj, "verbosity"),
        plugins=plugins.plugin_calls(obj),
        bound=_bound(obj),
        extra=extra or EMPTY,
        raw=raw,
    )


def _texts(prompt: JSON) -> list[str]:
    """The prompts that are text; token ids are no words to anybody but one model."""
    if type(prompt) is str:
        return [prompt]
    if type(prompt) is not list:
        if prompt is not None and type(prompt) is not dict:  # some servers take media in an object
            why = f"expected a string or a list, got {check.named(prompt)}"
            raise Invalid("prompt", why)
        return []
    if not prompt:
        raise Invalid("prompt", "there must be at least one prompt")
    for index, item in enumerate(prompt):
        if type(item) not in (str, int, list, dict):
            why = f"expected a string or token ids, got {check.named(item)}"
            raise Invalid(f"prompt[{index}]", why)
    return [item for item in prompt if type(item) is str]


def _bound(obj: Mapping[str, JSON]) -> tuple[str, ...]:
    prompt = obj.get("prompt")
    one = prompt[0] if type(prompt) is list and len(prompt) == 1 else prompt
    found = {
        "prompt": type(one) is not str,
        "suffix": check.opt_string(obj, "suffix"),
        "echo": check.opt_bool(obj, "echo"),
        "best_of": (check.opt_int(obj, "best_of") or 1) > 1,
        "n": (check.opt_int(obj, "n") or 1) > 1,
        "logprobs": _asks_logprobs(obj),
    }
    return tuple(name for name, said in found.items() if said)


def _asks_logprobs(obj: Mapping[str, JSON]) -> bool:
    """A number of alternatives, of which 0 asks for the chosen tokens' own; false for none."""
    value = obj.get("logprobs")
    return value if type(value) is bool else check.opt_int(obj, "logprobs") is not None


def write_request(request: Request, ledger: Ledger, target: Target, /) -> bytes:
    """The client's own text for an upstream of this format. Whatever else is asked is a
    conversation, and an upstream is asked that as a chat. Raises Unsupported."""
    if request.origin != NAME or request.raw is None:
        raise Unsupported("messages", "a conversation cannot be asked as a text completion")
    return _passed(request, request.raw, ledger, target)


def _passed(request: Request, raw: RawBody, ledger: Ledger, target: Target) -> bytes:
    edits: dict[str, JSON] = {}
    remove = [plugins.MEMBER]
    if request.model != target.model:
        edits["model"] = target.model
    losses = Losses("openai", request, ledger, raw.members)
    limit = capped_tokens(request, losses, target)
    if limit != request.max_tokens:
        edits |= {name: limit for name in _LIMITS if raw.value.get(name) is not None}
    edit_stream_options(request, raw, target, edits, remove)
    edits |= {name: value for name, value in target.options.items() if name not in raw.members}
    return raw.spliced(edits, remove).removeprefix(b"\xef\xbb\xbf")


# --- whole answers --------------------------------------------------------------------------------


def parse_response(body: bytes, /) -> Response:
    """An upstream's whole answer (status 200). Raises Garbled when it is not one."""
    return _response_of(answer.object_in(body))


def _response_of(obj: Mapping[str, JSON]) -> Response:
    failure = answer.failure_in(obj)
    if failure is not None:
        raise Garbled(f"the upstream answered with an error: {failure.message}")
    choices = obj.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if type(first) is not dict or type(first.get("text")) is not str:
        raise Garbled("the upstream's answer has no choice with a text")
    message = {"content": first["text"]}
    as_chat = {**_counted(obj), "choices": [{**first, "message": message}]}
    return replace(answer.response_of(as_chat), extra=_kept(obj, first))


def _counted(obj: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """An answer or a chunk without figures that say nothing."""
    usage = obj.get("usage")
    if type(usage) is not dict or any(usage.get(n) for n in ("prompt_tokens", "completion_tokens")):
        return obj
    return {name: value for name, value in obj.items() if name != "usage"}


def _kept(obj: Mapping[str, JSON], first: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """What only clients of this format understand: other choices, log probabilities, ..."""
    kept = check.rest(obj, _ANSWER)
    choice = {n: v for n, v in check.rest(first, _CHOICE).items() if v is not None}
    others = obj["choices"][1:]
    if choice or others:
        kept["choices"] = [choice, *others]
    return {NAME: kept} if kept else EMPTY


def write_response(
    response: Response,
    ledger: Ledger,
    stamp: Stamp,
    request: Request | None = None,
    /,
) -> bytes:
    """The body for a client of this format."""
    own = response.extra.get(NAME)
    own = own if isinstance(own, dict) else {}
    first, *others = own.get("choices") or [{}]
    text = _shown(response, ledger)
    choice = _choice(text, _native_stop(response.stop, response.stop_native)) | first
    out: dict[str, JSON] = {
        "id": f"cmpl-{stamp.id}",
        "object": "text_completion",
        "created": stamp.created,
        "model": response.model or stamp.model,
        "choices": [choice, *others],
    }
    figures = None if response.usage is None else answer.usage_object(response.usage)
    if figures is not None:
        out["usage"] = figures
    out.update({name: value for name, value in own.items() if name not in out})
    return dump(out)


def _choice(text: str, finish: str | None) -> dict[str, JSON]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}


def _native_stop(reason: StopReason, native: str | None) -> str:
    word = answer.native_stop(reason, native)
    return "stop" if word == "tool_calls" else word


def _shown(response: Response, ledger: Ledger) -> str:
    texts: list[str] = []
    for part in response.parts:
        match part:
            case Text(text):
                texts.append(text)
                if part.citations:
                    _note_citation(ledger)
            case Thought():
                _note_thought(ledger)
            case ToolUse():
                _note_call(ledger)
            case _:
                answer.note_unshown(part.type if isinstance(part, Opaque) else "", ledger)
    if response.stop == "refusal" and not any(texts):
        texts.append(answer.refusal_words(response.stop_details))
    return "".join(texts)


def _note_thought(ledger: Ledger) -> None:
    note_answer(ledger, NAME, "reasoning")


def _note_call(ledger: Ledger) -> None:
    note_answer(ledger, NAME, "call")


def _note_citation(ledger: Ledger) -> None:
    note_answer(ledger, NAME, "citations")


# --- streams --------------------------------------------------------------------------------------


def _as_chat(choice: JSON) -> JSON:
    """A choice of a chunk, in the shape of a chat's."""
    if type(choice) is not dict:
        return choice
    text = choice.get("text")
    return {**choice, "delta": {"content": text} if text and type(text) is str else {}}


class CompletionDecoder(ChatDecoder):
    """An upstream's stream into events."""

    __slots__ = ()

    def _choices(self, obj: Mapping[str, JSON], choices: list[JSON], out: list[Event]) -> None:
        super()._choices(obj, [_as_chat(choice) for choice in choices], out)

    def _figures(self, obj: Mapping[str, JSON], out: list[Event]) -> None:
        super()._figures(_counted(obj), out)

    def _whole(self, body: bytes) -> list[Event]:
        self._over = True
        try:
            obj = loads(body.decode("utf-8"))
            failure = answer.failure_in(obj)
            return unfold(_response_of(obj)) if failure is None else [Failed(failure)]
        except (ValueError, Garbled):
            return [Failed(not_a_stream(body))]


class CompletionObserver(ChatObserver):
    """Watches an upstream's stream on its way to a client of the same format."""

    __slots__ = ()

    def _look(self, obj: Mapping[str, JSON]) -> bool:
        return super()._look(_counted(obj))

    def _choice(self, choice: Mapping[str, JSON]) -> bool:
        return super()._choice(_as_chat(choice))

    def _last(self, reason: str) -> dict[str, JSON]:
        return {"text": "", "index": 0, "logprobs": None, "finish_reason": reason}


class CompletionEncoder:
    """Events into a client's stream."""

    failure: Failure | None = None
    __slots__ = ("_head", "_included", "_ledger", "_over", "_spoken", "_stamp", "_tail", "_usage")

    def __init__(self, request: Request, ledger: Ledger, stamp: Stamp) -> None:
        self._ledger = ledger
        self._stamp = stamp
        self._included = request.include_usage
        self._usage: Usage | None = None
        self._over = False
        self._spoken = False
        self._tail = b',"usage":null}\n\n' if self._included else b"}\n\n"
        self._set_model(stamp.model or request.model)

    def _set_model(self, model: str) -> None:
        """Everything that stands before the choice, which is the same in all chunks."""
        fields = {
            "id": f"cmpl-{self._stamp.id}",
            "object": "text_completion",
            "created": self._stamp.created,
            "model": model,
        }
        self._head = b"data: " + dump(fields)[:-1] + b',"choices":['

    def ping(self) -> bytes:
        """A life sign, legal everywhere."""
        return b"" if self._over else PING

    def encode(self, event: Event, /) -> bytes:
        if self._over:
            return b""
        match event:
            case TextDelta(_, text) | RefusalDelta(_, text):
                return self._text(text)
            case Started(_, model):
                if model:
                    self._set_model(model)
            case UsageSeen(usage):
                self._usage = usage if self._usage is None else self._usage.merged(usage)
            case Finished():
                return self._finished(event)
            case Failed(failure):
                self._over = True
                return b"data: " + dump({"error": event_for_client(failure)}) + b"\n\n"
            case ThoughtDelta() | ThoughtSigned():
                _note_thought(self._ledger)
            case ToolStarted():
                _note_call(self._ledger)
            case CitationSeen():
                _note_citation(self._ledger)
            case OpaquePart(_, _, kind):
                answer.note_unshown(kind, self._ledger)
            case ToolDelta() | PartEnded():
                pass
        return b""

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        self._spoken = True
        rest = b',"index":0,"logprobs":null,"finish_reason":null}]'
        return self._head + b'{"text":' + quoted(text) + rest + self._tail

    def _finished(self, event: Finished) -> bytes:
        silent = event.reason == "refusal" and not self._spoken
        out = self._text(answer.refusal_words(event.details)) if silent else b""
        self._over = True
        choice = _choice("", _native_stop(event.reason, event.native))
        out += self._head + dump(choice) + b"]" + self._tail
        figures = None if self._usage is None else answer.usage_object(self._usage)
        if self._included and figures is not None:
            out += self._head + b'],"usage":' + dump(figures) + b"}\n\n"
        return out + DONE


def decoder(*, limit: int) -> CompletionDecoder:
    return CompletionDecoder(limit=limit)


def encoder(request: Request, ledger: Ledger, stamp: Stamp, /) -> CompletionEncoder:
    return CompletionEncoder(request, ledger, stamp)


def observer(request: Request, /, *, limit: int) -> CompletionObserver:
    return CompletionObserver(request, limit=limit)
